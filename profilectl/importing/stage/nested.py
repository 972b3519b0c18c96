"""Columns with dotted names -> one JSON object a row, as SQL: members in the order of their
columns, empty ones left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from profilectl.rules.fields import BOOLEANS, TYPED
from profilectl.rules.sql.quoting import quote_text

Tree = dict[str, "Tree | str"]


def tree_of(columns: Mapping[tuple[str, ...], str]) -> Tree:
    """Return a tree of the SQL at the end of each path; "[]" in a path is the only entry of a list."""
    tree: Tree = {}
    for steps, sql in columns.items():
        here = tree
        for step in steps[:-1]:
            below = here.setdefault(step, {})
            assert isinstance(below, dict)
            here = below
        here[steps[-1]] = sql
    return tree


def clash(paths: Sequence[Sequence[str]]) -> tuple[Sequence[str], Sequence[str]] | None:
    """Return two paths of which one leads to a value and the other through it, if there are any."""
    ends = {tuple(one): one for one in paths}
    for other in paths:
        for length in range(1, len(other)):
            if (one := ends.get(tuple(other[:length]))) is not None:
                return one, other
    return None


def value_sql(text: str, *, typed: bool = False, boolean: bool = False) -> str:
    """Return the SQL of a cell's JSON, null for an empty one.

    typed: a number or a boolean where it reads as one; boolean: a boolean where it stands for one.
    """
    if boolean:
        listed = " ".join(
            f"when '{cell}' then '{str(value).lower()}'" for cell, value in BOOLEANS.items()
        )
        return f"case lower({text}) {listed} else to_json({text})::varchar end"
    if typed:
        return f"case when regexp_full_match({text}, '{TYPED.pattern}') then {text} else to_json({text})::varchar end"
    return f"to_json({text})::varchar"


def members_sql(tree: Tree) -> list[str]:
    """Return the SQL of each member, null where it is not there."""
    found = []
    for name, below in tree.items():
        if isinstance(below, str):
            text = below
        elif isinstance(entry := below.get("[]"), dict):
            text = f"'[' || {object_sql(members_sql(entry))} || ']'"
        else:
            text = object_sql(members_sql(below))
        found.append(f"{quote_text(json.dumps(name, ensure_ascii=False) + ':')} || {text}")
    return found


def object_sql(members: Sequence[str]) -> str:
    """Return the SQL of an object of the members that are there, null where none is."""
    listed = ", ".join(members) or "null::varchar"
    return f"nullif('{{' || concat_ws(',', {listed}) || '}}', '{{}}')"
