"""Write the parts of the documents that the code decides: tables of rules, codes, settings,
options.

    python docs/make.py            write them
    python docs/make.py --check    exit with 1 where a document is not current

A part stands between `<!-- made: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import enum
import inspect
import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import typer

from profilectl import codes
from profilectl.cli.app import app
from profilectl.codes import CODES, Exit, CodeEffect
from profilectl.configuration import CHOICES, SETTINGS
from profilectl.outputs.packing import SERVER_SET
from profilectl.outputs.platform import ANSWERS, CLASSES, Act
from profilectl.reading.check import PROMISES
from profilectl.rules.batch import KEPT_FIELDS, LIMITS, RESERVED_KEYS
from profilectl.rules.calculated import TYPES as CALCULATED
from profilectl.rules.event.event import EVENT_TYPES
from profilectl.rules.feed import PROTECTIONS, Effect
from profilectl.rules.identity import HIERARCHY, LOGOUTS, NOTHING, SPOILED, STRATEGIES, TYPES
from profilectl.rules.leaving import output
from profilectl.rules.leaving.audience_connection import PHONES
from profilectl.rules.leaving.connection import REASONS
from profilectl.rules.leaving.output import ANSWERS as OUTPUT_ANSWERS
from profilectl.rules.leaving.output import CLASSES as OUTPUT_CLASSES
from profilectl.rules.leaving.output import CONTENTS, SWITCHES, TROUBLES
from profilectl.rules.leaving.output import TYPES as OUTPUTS
from profilectl.rules.leaving.output import CodeEffect as FateOfBatch
from profilectl.rules.priority import OVERWRITE, SOURCES
from profilectl.rules.text.presence import PRESENCE

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PART = re.compile(r"(<!-- made: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += [
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def listed(names: Iterable[str]) -> str:
    return ", ".join(map(code, names)) or "none"


def said(member: type, module: Any) -> dict[str, str]:
    """Return the sentence under each member of an enum."""
    tree = ast.parse(inspect.getsource(module))
    body = next(
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == member.__name__
    ).body
    found = {}
    for name, text in itertools.pairwise(body):
        if (
            isinstance(name, ast.Assign)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            assert isinstance(name.targets[0], ast.Name)
            found[name.targets[0].id] = " ".join(str(text.value.value).split())
    return found


def identity_types() -> str:
    shapes = {
        "text": "white space outside removed",
        "email": "the same, and lower case",
        "guid": "a GUID, lower case",
    }
    return table(
        ("type", "column or field", "other names", "is looked up by"),
        (
            (
                code(one.name),
                code(one.field),
                listed(one.aliases) if one.aliases else "",
                shapes[one.shape],
            )
            for one in TYPES
        ),
    )


def strategies() -> str:
    rows = []
    for name, one in STRATEGIES.items():
        looked_up = (
            "its login identities alone, if it brings any"
            if one.login_decides
            else "every identity, in the hierarchy's order"
        )
        flags = (one.login, one.unique, one.immutable, one.fixed)
        rows.append((code(name), *map(listed, flags), looked_up, LOGOUTS[one.logout]))
    return table(
        (
            "strategy",
            "login",
            "unique",
            "immutable",
            "cannot be configured",
            "a row is looked up by",
            "a logout leads",
        ),
        rows,
    )


def hierarchy() -> str:
    return " > ".join(map(code, HIERARCHY)) + "\n"


def placeholders() -> str:
    return table(
        ("who writes so", "what is written"),
        ((writer, listed(values)) for writer, values in NOTHING.items()),
    )


def spoiled() -> str:
    return table(
        ("who writes so", "for example", "as a regular expression"),
        ((one.writer, code(one.example), code(one.pattern)) for one in SPOILED),
    )


def sources() -> str:
    return table(
        ("rank", "source", "who is a unit of its own"),
        (
            (
                one.rank,
                code(name),
                f"each {name}" if name == "partner" else "each feed" if one.own_unit else "",
            )
            for name, one in SOURCES.items()
        ),
    )


def overwrite() -> str:
    standings = list(next(iter(OVERWRITE.values())))
    rows = [
        (
            f"{standing}",
            *(
                "written" if row[standing] == "SET" else f"refused: {code(row[standing])}"
                for row in OVERWRITE.values()
            ),
        )
        for standing in standings
    ]
    return table(
        (
            "the incoming source, beside the owner, is",
            *(f"priority = {code(name)}" for name in OVERWRITE),
        ),
        rows,
    )


def protections() -> str:
    words = {
        Effect.CREATE: "a profile is made",
        Effect.UPDATE: "the profile is updated",
        Effect.DROP: "the row is dropped",
        Effect.PASS_BY: "the row is dropped",
    }
    return table(
        ("level", "the person is not known", "the person is known", "code of a dropped row"),
        (
            (code(name), words[one.unknown_user], words[one.known_user], code(one.code))
            for name, one in PROTECTIONS.items()
        ),
    )


def limits() -> str:
    words = {
        "attributes": ("attributes of one batch", "UA_TOO_MANY"),
        "key": ("characters of an attribute's name", "UA_KEY_TOO_LONG"),
        "value": ("characters of a value", "UA_VALUE_TOO_LONG"),
        "list": ("entries of a list", "UA_LIST_TOO_LONG"),
        "entry": ("characters of a list's entry", "UA_ENTRY_TOO_LONG"),
    }
    rows = [
        (code(f"limits.{name}"), words[name][0], f"{most:,}", code(words[name][1]))
        for name, most in LIMITS.items()
    ]
    return table(("setting", "limits the", "at most", "beyond it"), rows)


def code_table(fate: CodeEffect) -> Callable[[], str]:
    return lambda: table(
        ("code", "what a person reads"),
        ((code(name), one.sentence) for name, one in CODES.items() if one.fate is fate),
    )


def exits() -> str:
    sentences = said(Exit, codes)
    return table(("exit", "meaning"), ((int(one), sentences[one.name]) for one in Exit))


def promises() -> str:
    return table(("promise", "says"), ((code(name), text) for name, text in PROMISES.items()))


def settings() -> str:
    choices = {
        "types": "a list of identity types",
        "strings": "a list of strings",
        "nobodys": "a list of strings",
        "limit": "a whole number from 1 to 1,000,000",
        "switch": "true or false",
        **{kind: listed(names) for kind, names in CHOICES.items()},
    }
    return table(
        ("setting", "takes", "says"),
        ((code(name), choices[kind], text) for name, (kind, text) in SETTINGS.items()),
    )


def kept_fields() -> str:
    return listed(KEPT_FIELDS) + "\n"


def event_types() -> str:
    return table(
        ("event type", "must have in `data`", "is named by"),
        (
            (code(name), listed(one.needs) if one.needs else "", code(one.name))
            for name, one in EVENT_TYPES.items()
        ),
    )


def calculated_types() -> str:
    return table(
        ("type", "needs `of`", "gives"),
        ((code(name), "yes" if one.of else "", one.format) for name, one in CALCULATED.items()),
    )


def output_types() -> str:
    return table(
        ("type", "has", "credentials", "does"),
        (
            (code(name), code(one.place), one.secret or "none", one.says)
            for name, one in OUTPUTS.items()
        ),
    )


def output_switches() -> str:
    return table(
        ("switch", "says", "else"),
        (
            (code(name), says, code(str(standing).lower()))
            for name, (standing, says) in SWITCHES.items()
        ),
    )


def csv_contents() -> str:
    return table(("`content`", "the file"), ((code(name), says) for name, says in CONTENTS.items()))


def phones() -> str:
    return table(
        ("`phone`", "what is hashed of a phone number"),
        ((code(name), says) for name, says in PHONES.items()),
    )


def forward_reasons() -> str:
    return table(("reason", "means"), ((code(name), says) for name, says in REASONS.items()))


def output_answers() -> str:
    fates = said(FateOfBatch, output)
    by_fate: dict[str, list[str]] = {}
    for status, fate in sorted(OUTPUT_ANSWERS.items()):
        by_fate.setdefault(fate.name, []).append(str(status))
    for digit, fate in OUTPUT_CLASSES.items():
        by_fate.setdefault(fate.name, []).append(f"other {digit}xx")
    for trouble, fate in TROUBLES.items():
        by_fate.setdefault(fate.name, []).append(trouble)
    return table(
        ("answer", "what becomes of the batch"),
        ((", ".join(by_fate[one.name]), fates[one.name]) for one in FateOfBatch),
    )


def reserved_keys() -> str:
    return listed(RESERVED_KEYS) + "\n"


def server_set() -> str:
    return listed(SERVER_SET) + "\n"


def answers() -> str:
    words = {
        Act.ACCEPTED: "the batches are done",
        Act.AGAIN: "the same is sent again, after a pause",
        Act.STOP: "nothing more is sent; exit 4",
        Act.SINGLE_OUT: "the request is halved until the bad batch is alone; that one is refused: {}",
    }
    rows = [(str(status), one) for status, one in ANSWERS.items()] + [
        (f"other {first}xx", one) for first, one in CLASSES.items()
    ]
    return table(
        ("answer", "means", "then"),
        ((status, one.sentence, words[one.act].format(code(one.code))) for status, one in rows),
    )


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Return every command with its path, groups first."""
    yield path, command
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from walk(command.get_command(None, name), (*path, name))


def parameter_row(one: Any) -> tuple[str, str]:
    if one.param_type_name == "argument":
        return code(one.metavar or one.name.upper()), one.help or ""
    names = ", ".join(map(code, one.opts))
    if one.is_flag:
        return names, one.help or ""
    kind = one.type_descriptor.annotation
    choices = (
        [str(choice.value) for choice in kind]
        if isinstance(kind, type) and issubclass(kind, enum.Enum)
        else []
    )
    return f"{names} {one.metavar or '/'.join(choices) or 'VALUE'}", one.help or ""


def command_reference() -> str:
    parts = []
    for path, command in walk(typer.main.get_command(app), ("profilectl",)):
        rows = [
            parameter_row(one)
            for one in command.params
            if not getattr(one, "hidden", False) and one.name != "help"
        ]
        rows = [row for row in rows if "completion" not in row[0]]
        text = inspect.cleandoc(command.help or "").replace("\n\n", "\n")
        example = f"\n{code(command.epilog.removeprefix('Example: '))}\n" if command.epilog else ""
        parts.append(
            f"## {' '.join(path)}\n\n{text}\n{example}"
            + ("\n" + table(("", ""), rows) if rows else "")
        )
    return "\n".join(parts)


def presence() -> str:
    said = {True: "yes", False: "no"}
    return table(
        (
            "what stands there",
            "`exists` (`is not null`)",
            "`not exists` (`is null`)",
            "`is not empty`",
            "`is empty`",
        ),
        (
            (what, said[there], said[not there], said[filled], said[not filled])
            for what, (there, filled) in PRESENCE.items()
        ),
    )


PARTS: dict[str, Callable[[], str]] = {
    "identity-types": identity_types,
    "strategies": strategies,
    "hierarchy": hierarchy,
    "placeholders": placeholders,
    "spoiled": spoiled,
    "sources": sources,
    "overwrite": overwrite,
    "protections": protections,
    "limits": limits,
    **{f"codes-{fate.value}": code_table(fate) for fate in CodeEffect},
    "exits": exits,
    "settings": settings,
    "promises": promises,
    "kept-fields": kept_fields,
    "event-types": event_types,
    "calculated-types": calculated_types,
    "reserved-keys": reserved_keys,
    "presence": presence,
    "server-set": server_set,
    "output-types": output_types,
    "output-switches": output_switches,
    "csv-contents": csv_contents,
    "phones": phones,
    "forward-reasons": forward_reasons,
    "answers": answers,
    "output-answers": output_answers,
    "commands": command_reference,
}


def show_picture() -> str:
    """Return the picture of the activity view, of people that are the same on every machine."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import people

    with tempfile.TemporaryDirectory() as name:
        people.make(Path(name))
        environment = {**os.environ, **people.NOW, "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [
                sys.executable,
                "-m",
                "profilectl",
                "show",
                "--customer-id",
                "C1",
                "--save-svg",
                "show.svg",
            ],
            cwd=name,
            env=environment,
            check=True,
            capture_output=True,
        )
        return (Path(name) / "show.svg").read_text("utf-8")


async def settled(pilot: Any) -> None:
    """Wait until nothing is being read any more; what a newer question has made needless was
    cancelled.
    """
    from textual.worker import WorkerCancelled

    with contextlib.suppress(WorkerCancelled):
        await pilot.app.workers.wait_for_complete()
    while any(not one.is_finished for one in pilot.app.workers):
        await pilot.pause(0.02)


def browse_picture() -> str:
    """Return the picture of `browse`, after a search and a press of e."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import people

    from profilectl.render.browse import Browse

    async def drawn(store: Path) -> str:
        async with Browse(store, "amelie").run_test(size=(120, 36)) as pilot:
            for key in ("e", *["down"] * 4):
                await settled(pilot)
                await pilot.pause()
                if key == "e":
                    pilot.app.query_one("#found").focus()
                await pilot.press(key)
            await settled(pilot)
            await pilot.pause()
            return pilot.app.export_screenshot(title="profilectl browse")

    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, people.NOW):
        return asyncio.run(drawn(people.make(Path(name))))


PICTURES: dict[str, Callable[[], str]] = {"show.svg": show_picture, "browse.svg": browse_picture}


def made(text: str) -> str:
    """Return a document with its made parts as the code has them today."""
    return PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}{found[3]}", text)


def stale() -> list[Path]:
    """Return the documents that are not current."""
    old = [
        path
        for path in DOCUMENTS
        if path.exists() and made(path.read_text("utf-8")) != path.read_text("utf-8")
    ]
    pictures = ROOT / "docs" / "pictures"
    return old + [
        pictures / name
        for name, draw in PICTURES.items()
        if not (pictures / name).exists() or draw() != (pictures / name).read_text("utf-8")
    ]


def main() -> None:
    old = stale()
    check = "--check" in sys.argv[1:]
    for path in old:
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                PICTURES[path.name]() if path.name in PICTURES else made(path.read_text("utf-8")),
                "utf-8",
            )
        print(
            f"{path.relative_to(ROOT)}: {'not current: python docs/make.py writes it' if check else 'written'}"
        )
    sys.exit(1 if check and old else 0)


if __name__ == "__main__":
    main()
