"""SQL with named holes: other braces are text, and each call fills the holes that there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.places import ROOT

from profilectl.importing.stage.template import SqlTemplate

STAGE = ROOT / "profilectl" / "importing" / "stage"


class Filling(NamedTuple):
    """A call of a template of the same module."""

    place: str
    """Where it is."""
    parts: frozenset[str]
    """The names that it fills."""
    holes: frozenset[str]
    """The names of the holes."""


def test_a_hole_is_a_name_in_braces_and_other_braces_are_text() -> None:
    template = SqlTemplate("select '{' || {text} || '}', '[0-9]{1,18}', {'line': 'VARCHAR'}")
    assert template(text="c0") == "select '{' || c0 || '}', '[0-9]{1,18}', {'line': 'VARCHAR'}"


def test_what_fills_a_hole_is_not_filled_again() -> None:
    assert SqlTemplate("{text} = {other}")(text="'{other}'", other="c1") == "'{other}' = c1"


def test_a_hole_without_a_part_is_an_error() -> None:
    with pytest.raises(KeyError, match="cells"):
        SqlTemplate("select {seq} from {cells}")(seq="rowid")


def test_each_template_is_filled_with_the_parts_that_it_has_holes_for() -> None:
    fillings = [filling for path in STAGE.rglob("*.py") for filling in fillings_in(path)]
    assert len(fillings) > 150
    assert [filling for filling in fillings if filling.parts != filling.holes] == []


def fillings_in(path: Path) -> Iterator[Filling]:
    tree = ast.parse(path.read_text())
    holes = {
        node.targets[0].id: frozenset(re.findall(r"\{([a-z_]+)\}", node.value.args[0].value))
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "SqlTemplate"
        and isinstance(node.value.args[0], ast.Constant)
        and isinstance(node.value.args[0].value, str)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in holes:
            parts = frozenset(keyword.arg for keyword in node.keywords if keyword.arg)
            yield Filling(f"{path.name}:{node.lineno}", parts, holes[node.func.id])
