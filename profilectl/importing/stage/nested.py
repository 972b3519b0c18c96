"""Columns with dotted names -> one JSON object a row, as SQL.

Its members are in the order of their columns; those of empty cells are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.fields import BOOLEANS, TYPED
from profilectl.rules.sql.quoting import quote_text

Tree = dict[str, "Tree | str"]

# The JSON of a cell that is a string.
STRING_JSON = SqlTemplate("to_json({text})::varchar")
# A number or a boolean where the text reads as one, else a string.
TYPED_JSON = SqlTemplate(
    "case when regexp_full_match({text}, '{typed}') then {text} else to_json({text})::varchar end"
)
# A boolean where the text means one, else a string.
BOOLEAN_JSON = SqlTemplate("case lower({text}) {booleans} else to_json({text})::varchar end")
# An object of the members that are there, null where none is.
OBJECT_JSON = SqlTemplate("nullif('{' || concat_ws(',', {members}) || '}', '{}')")


def tree_of(columns: Mapping[tuple[str, ...], str]) -> Tree:
    """Return a tree of the SQL at the end of each path; a step "[]" is the only entry of a list."""
    tree: Tree = {}
    for steps, sql in columns.items():
        branch = tree
        for step in steps[:-1]:
            below = branch.setdefault(step, {})
            assert isinstance(below, dict)
            branch = below
        branch[steps[-1]] = sql
    return tree


def clash(paths: Sequence[Sequence[str]]) -> tuple[Sequence[str], Sequence[str]] | None:
    """Return two paths of which one leads to a value and the other through it, if there are any."""
    ends = {tuple(path): path for path in paths}
    for path in paths:
        for length in range(1, len(path)):
            if (value := ends.get(tuple(path[:length]))) is not None:
                return value, path
    return None


def value_sql(text: str, *, typed: bool = False, boolean: bool = False) -> str:
    """Return the SQL of a cell's JSON, null for an empty one.

    typed: a number or a boolean where it reads as one. boolean: a boolean where it means one.
    """
    if boolean:
        booleans = " ".join(
            f"when '{cell}' then '{str(value).lower()}'" for cell, value in BOOLEANS.items()
        )
        return BOOLEAN_JSON(text=text, booleans=booleans)
    if typed:
        return TYPED_JSON(text=text, typed=TYPED.pattern)
    return STRING_JSON(text=text)


def members_sql(tree: Tree) -> list[str]:
    """Return the SQL of each member, null where it is not there."""
    members = []
    for name, below in tree.items():
        if isinstance(below, str):
            text = below
        elif isinstance(entry := below.get("[]"), dict):
            text = f"'[' || {object_sql(members_sql(entry))} || ']'"
        else:
            text = object_sql(members_sql(below))
        members.append(f"{quote_text(json.dumps(name, ensure_ascii=False) + ':')} || {text}")
    return members


def object_sql(members: Sequence[str]) -> str:
    """Return the SQL of an object of the members that are there, null where none is."""
    return OBJECT_JSON(members=", ".join(members) or "null::varchar")
