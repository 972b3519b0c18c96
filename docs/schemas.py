"""Write the JSON Schemas of all documents, and docs/schemas.md, from the declarations of members.

    python docs/schemas.py            write them
    python docs/schemas.py --check    exit with 1 where one is not current

The declarations are the dataclasses of profilectl/schemas/; the sentence under each member is its
description.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import sys
import textwrap
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from profilectl.schemas.catalog import FOLDER, LINES, LISTED, SCHEMAS, Schema
from profilectl.schemas.members import LEFT_OUT, Narrowed

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "schemas.md"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
CELL = 160
"""The most characters of a cell of a table."""
HEAD = """# Documents

Every document that a command prints with `--json`, and every line that it writes as JSON lines.

```console
$ profilectl schema imports list
{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
...
```

The [JSON page](json.md) has the rules that hold for all of them. This page is made from the same
declarations as the schemas. A key with `?` is not in every document; what an object of another kind
has stands under its name at the end.
"""


@cache
def sentences_in(declared: type) -> dict[str, str]:
    """Return the sentence under each member that a class itself declares."""
    (tree,) = ast.parse(inspect.getsource(declared)).body
    assert isinstance(tree, ast.ClassDef)
    sentences = {}
    for above, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(above, ast.AnnAssign)
            and isinstance(above.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            sentences[above.target.id] = " ".join(str(below.value.value).split())
    return sentences


@dataclasses.dataclass(frozen=True)
class Member:
    """A member of a document."""

    name: str
    """Its key."""
    type: Any
    """Its type."""
    sentence: str
    """What it is."""
    optional: bool
    """Whether it is not in every document."""


def members_of(declared: type) -> Iterator[Member]:
    """Yield the members of a document that is an object."""
    hints = get_type_hints(declared, include_extras=True)
    sentences: dict[str, str] = {}
    for base in reversed(declared.__mro__):
        if dataclasses.is_dataclass(base):
            sentences |= sentences_in(base)
    for field in dataclasses.fields(declared):
        yield Member(
            # import, from and as are words of Python, so that they end with _ here
            field.name.rstrip("_"),
            hints[field.name],
            sentences[field.name],
            field.default is LEFT_OUT,
        )


def purpose(declared: Any) -> str:
    """Return the sentence of a declaration; of several kinds, those of each."""
    if is_union(declared):
        return " Or: ".join(purpose(kind) for kind in get_args(declared))
    if not dataclasses.is_dataclass(declared):
        return "The configuration, by section, as the TOML file has it."
    return " ".join(str(inspect.getdoc(declared)).split())


def is_union(declared: Any) -> bool:
    return get_origin(declared) in (Union, types.UnionType)


def shape(declared: Any, defined: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type. defined: gets the objects that it refers to."""
    if declared is object or declared is Any:
        return {}
    if declared in TYPES or declared is None:
        return {"type": TYPES[declared if declared is not None else type(None)]}
    if dataclasses.is_dataclass(declared):
        name = declared.__name__.removesuffix("Json")
        if name not in defined:
            defined[name] = {}  # it may refer to itself
            defined[name] = object_of(declared, defined)
        return {"$ref": f"#/$defs/{name}"}
    return composed(declared, defined)


def composed(declared: Any, defined: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list, of members by any name, of a choice, or of several kinds."""
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is list:
        return {"type": "array", "items": shape(arguments[0], defined)}
    if origin is dict:
        return {"type": "object", "additionalProperties": shape(arguments[1], defined)}
    if origin is Literal:
        return {"enum": list(arguments)} if len(arguments) > 1 else {"const": arguments[0]}
    if origin is Annotated:
        narrowed = next(each for each in arguments[1:] if isinstance(each, Narrowed))
        return {**shape(arguments[0], defined), "pattern": narrowed.pattern}
    assert is_union(declared), declared
    shapes = [shape(kind, defined) for kind in arguments]
    if all(each.keys() == {"type"} for each in shapes):
        return {"type": [each["type"] for each in shapes]}
    return {"anyOf": shapes}


def object_of(declared: type, defined: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object."""
    members = list(members_of(declared))
    schema: dict[str, Any] = {
        "description": purpose(declared),
        "type": "object",
        "properties": {
            member.name: {**shape(member.type, defined), "description": member.sentence}
            for member in members
        },
        "required": [member.name for member in members if not member.optional],
        "additionalProperties": getattr(declared, "OPEN", False),
    }
    optional = {member.name for member in members if member.optional and member.type is int}
    if {"line", "row"} <= optional:
        schema["oneOf"] = [{"required": ["line"]}, {"required": ["row"]}]
    return schema


def declaration(schema: Schema) -> Any:
    """Return what a schema declares."""
    module, _, name = schema.shape.partition(".")
    return getattr(importlib.import_module(f"profilectl.schemas.{module}"), name)


def text_of(name: str) -> str:
    """Return the text of a schema."""
    schema, defined = SCHEMAS[name], dict[str, Any]()
    declared = declaration(schema)
    document = shape(declared, defined)
    if schema.form == LISTED:
        document = {"type": "array", "items": document}
    whole = {
        "$schema": DIALECT,
        "$id": f"urn:profilectl:{name}",
        "title": purpose(declared),
        "$comment": "By "
        + ", ".join(f"profilectl {words}" for words in schema.commands)
        + ("; each line is a document of its own." if schema.form == LINES else "."),
        **document,
        **({"$defs": dict(sorted(defined.items()))} if defined else {}),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def type_of(declared: Any) -> str:
    """Return a type in the words of the page."""
    if declared is object or declared is Any:
        return "any value"
    if declared in TYPES or declared is None:
        return TYPES[declared if declared is not None else type(None)]
    if dataclasses.is_dataclass(declared):
        name = declared.__name__.removesuffix("Json")
        return f"[{name}](#{name.lower()})"
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is list:
        return f"list of {type_of(arguments[0])}"
    if origin is dict:
        return f"name: {type_of(arguments[1])}"
    if origin is Literal:
        return ", ".join(f"`{json.dumps(each)}`" for each in arguments)
    if origin is Annotated:
        return "MPID"
    return " or ".join(type_of(kind) for kind in arguments)


def objects_in(declared: Any) -> Iterator[type]:
    """Yield the objects in a type, the outer before the inner."""
    if isinstance(declared, type) and dataclasses.is_dataclass(declared):
        yield declared
        for member in members_of(declared):
            yield from objects_in(member.type)
    else:
        for part in get_args(declared):
            yield from objects_in(part)


def rows_of(declared: type) -> str:
    """Return the table of the members of an object; below it what is too long for a cell."""
    lines, below = ["| key | type | what |", "|---|---|---|"], []
    for member in members_of(declared):
        key, kind = f"`{member.name}`{'?' if member.optional else ''}", type_of(member.type)
        if len(kind) > CELL:
            below.append(textwrap.fill(f"- {key}: {kind}", 100, subsequent_indent="  "))
            kind = "one of a few, below"
        lines.append(f"| {key} | {kind} | {member.sentence} |")
    return "\n".join([*lines, *([""] if below else []), *below]) + "\n"


def page() -> str:
    """Return docs/schemas.md."""
    lines, met = ["| schema | by | document |", "|---|---|---|"], dict[type, None]()
    below = []
    for name, schema in SCHEMAS.items():
        declared = declaration(schema)
        met |= dict.fromkeys(objects_in(declared))
        commands = ", ".join(f"`{words}`" for words in schema.commands)
        if len(commands) > CELL:
            told = f"- `{name}`: {commands}"
            below.append(textwrap.fill(told, 100, subsequent_indent="  ", break_on_hyphens=False))
            commands = "several, below"
        many = {LINES: "each line: ", LISTED: "list of "}.get(schema.form, "")
        lines.append(f"| `{name}` | {commands} | {many}{type_of(declared)} |")
    parts = [HEAD, "\n".join([*lines, "", *below]) + "\n", "## The objects\n"]
    for declared in sorted(met, key=lambda each: each.__name__):
        title = declared.__name__.removesuffix("Json")
        told = textwrap.fill(purpose(declared), 100, break_on_hyphens=False)
        parts.append(f"### {title}\n\n{told}\n\n{rows_of(declared)}")
    return "\n".join(parts)


def texts() -> dict[Path, str]:
    """Return what each file is to hold."""
    return {FOLDER / f"{name}.json": text_of(name) for name in SCHEMAS} | {PAGE: page()}


def stale() -> list[Path]:
    """Return the files that are not current, and schemas that nothing declares."""
    current = texts()
    outdated = [
        path
        for path, text in current.items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    return [*outdated, *(path for path in FOLDER.glob("*.json") if path not in current)]


def main() -> None:
    """Write what is not current."""
    outdated, current, check = stale(), texts(), "--check" in sys.argv[1:]
    for path in outdated:
        if not check and path in current:
            path.parent.mkdir(exist_ok=True)
            path.write_text(current[path], "utf-8")
        elif not check:
            path.unlink()
        state = "not current: python docs/schemas.py writes it" if check else "written"
        print(f"{path.relative_to(ROOT)}: {state}")
    sys.exit(1 if check and outdated else 0)


if __name__ == "__main__":
    main()
