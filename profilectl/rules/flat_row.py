"""The nested values of a flat row: objects are taken apart into dotted names, Mongo's are the
values they stand for.

Sources: design.md R19. Only flat rows: in a Batch an object stays an object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping

from profilectl.rules.fields import Unusable
from profilectl.rules.text.values import Number, Value

DEEPEST = 32
"""An object so deep in a flat row is not taken apart."""
LONGEST_NAME = 1024
"""Nor is one with so long a name: no attribute can have it."""
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def flattened(
    row: Mapping[str, Value], whole: Container[str] = ()
) -> Iterator[tuple[str, Value, bool]]:
    """Yield (name, value, whether it is of a member of an object) of a flat row.

    whole: the names of objects that are not to be taken apart. Raises Unusable (DUPLICATE_KEY)
    where two members come to one name.
    """
    if not any(isinstance(value, dict | list) for value in row.values()):
        yield from ((name, value, False) for name, value in row.items())
        return
    names: set[str] = set()
    for name, value in row.items():
        for leaf in _leaves(name, value, whole, 1):
            if leaf[0] in names:
                raise Unusable("DUPLICATE_KEY", leaf[0])
            names.add(leaf[0])
            yield leaf


def _leaves(
    name: str, value: Value, whole: Container[str], depth: int
) -> Iterator[tuple[str, Value, bool]]:
    value = _meant(value)
    if (
        not isinstance(value, dict)
        or name in whole
        or _is_mongo(value)
        or depth >= DEEPEST
        or len(name) > LONGEST_NAME
    ):
        yield name, value, depth > 1
        return
    for key, member in value.items():
        yield from _leaves(f"{name}.{key}", member, whole, depth + 1)


def _meant(value: Value) -> Value:
    """Return the value that an object of Mongo's Extended JSON stands for, in a list too; any other
    value as it is.
    """
    if isinstance(value, list):
        return [_meant(entry) if isinstance(entry, dict) else entry for entry in value]
    if isinstance(value, dict) and _is_mongo(value):
        ((kind, inner),) = value.items()
        found = _MONGO[kind](inner)
        return value if found is None else found
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
    """A date is ISO 8601 text, or a number of milliseconds since 1970."""
    if isinstance(value, dict) and "$numberLong" in value:
        return _meant(value) if _is_mongo(value) else None
    return value if isinstance(value, str) else None


# fmt: off
_MONGO: dict[str, Callable[[Value], Value]] = {
    # what makes the value; None: it has no exact value (NaN, infinity), and the object stays one
    "$oid":           _text,
    "$numberInt":     _number(_WHOLE),
    "$numberLong":    _number(_WHOLE),
    "$numberDouble":  _number(_NUMBER),
    "$numberDecimal": _number(_NUMBER),
    "$date":          _date,
}
# fmt: on
