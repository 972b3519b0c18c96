"""The nested values of a flat row (design.md R19).

An object is taken apart into dotted names; an object of Mongo's Extended JSON is the value that it
means. This holds for flat rows only: in a Batch an object stays an object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from typing import NamedTuple

from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.values import Number, Value

DEEPEST = 32
"""An object at this depth is not taken apart."""
LONGEST_NAME = 1024
"""An object with a longer name is not taken apart: no attribute's name is so long."""
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class FlatCell(NamedTuple):
    """A value of a flat row under its name."""

    name: str
    """The name, dotted if the value was a member of an object."""
    value: Value
    """The value."""
    nested: bool = False
    """Whether it was a member of an object."""


def flattened(row: Mapping[str, Value], whole: Container[str] = ()) -> Iterator[FlatCell]:
    """Yield the cells of a flat row, its objects taken apart (design.md R19).

    whole: the names of objects that are not taken apart. Raises UnusableRow (DUPLICATE_KEY) if two
    members get one name.
    """
    # Most rows are flat already, and their names cannot meet.
    if not any(isinstance(value, dict | list) for value in row.values()):
        yield from (FlatCell(name, value) for name, value in row.items())
        return
    # {"a.b": 1, "a": {"b": 2}} has two cells of one name, and neither may win.
    names: set[str] = set()
    for name, value in row.items():
        for cell in _cells(FlatCell(name, value), whole, 1):
            if cell.name in names:
                raise UnusableRow("DUPLICATE_KEY", cell.name)
            names.add(cell.name)
            yield cell


def _cells(cell: FlatCell, whole: Container[str], depth: int) -> Iterator[FlatCell]:
    """Yield the cells in a cell at a depth, counted from 1."""
    name, value = cell.name, _unwrapped(cell.value)
    if (
        not isinstance(value, dict)
        or name in whole
        or _is_mongo(value)
        or depth >= DEEPEST
        or len(name) > LONGEST_NAME
    ):
        yield FlatCell(name, value, cell.nested)
        return
    for key, member in value.items():
        yield from _cells(FlatCell(f"{name}.{key}", member, nested=True), whole, depth + 1)


def _unwrapped(value: Value) -> Value:
    """Return the value in an object of Mongo's Extended JSON, also in a list; any other as it is.

    An object whose value is not exact (NaN, infinity) stays an object.
    """
    if isinstance(value, list):
        return [_unwrapped(entry) if isinstance(entry, dict) else entry for entry in value]
    if isinstance(value, dict) and _is_mongo(value):
        ((kind, inner),) = value.items()
        plain = _MONGO[kind](inner)
        return value if plain is None else plain
    return value


def _is_mongo(value: Mapping[str, Value]) -> bool:
    return len(value) == 1 and next(iter(value)) in _MONGO


def _text(value: Value) -> Value:
    return value if isinstance(value, str) and not isinstance(value, Number) else None


def _number(pattern: re.Pattern[str]) -> Callable[[Value], Value]:
    return lambda value: (
        Number(value) if isinstance(value, str) and pattern.fullmatch(value) else None
    )


def _date(value: Value) -> Value:
    """Return a date: ISO 8601 text, or a number of milliseconds since 1970."""
    if isinstance(value, dict) and "$numberLong" in value:
        return _unwrapped(value) if _is_mongo(value) else None
    return value if isinstance(value, str) else None


# fmt: off
_MONGO: dict[str, Callable[[Value], Value]] = {
    # the key of the object, and the function that returns its value or None
    "$oid":           _text,
    "$numberInt":     _number(_WHOLE),
    "$numberLong":    _number(_WHOLE),
    "$numberDouble":  _number(_NUMBER),
    "$numberDecimal": _number(_NUMBER),
    "$date":          _date,
}
# fmt: on
