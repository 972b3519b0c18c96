"""The shapes of events: regular expressions of which each says, of a text that it matches, that it
is an event that is right.

The events of a feed are made by a program, so most of them are spelled alike: the same members in
the same order, no blanks, no escapes. A shape is learned from an event that profilectl.rules.event.event has
read, and what that looked at is part of it: another event of the same shape would be read in the
same way. What matches is also the text that would be stored, letter for letter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from profilectl.rules.event.event import CUSTOM_TYPES, EVENT_TYPES, read_event
from profilectl.rules.fields import Unusable
from profilectl.rules.text.values import Number, Value

Path = tuple[str, ...]

MOST_SHAPES = 16
LONGEST_PATTERN = 20_000
"""An automaton grows with its pattern; one that does not fit is followed step by step, which is
slow.
"""

# As JSON has them, without escapes: such a string is stored as it stands.
_STRING = r'"[^"\\\x00-\x1f]*"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:[.][0-9]+)?(?:[eE][-+]?[0-9]+)?"
_BOOLEAN = "(?:true|false)"
# What profilectl.rules.event.event looks at.
_FILLED = r'"[^"\\\x00-\x1f]+"'
_FOUND = r'"([^"\\\x00-\x1f]+)"'
_WHOLE_FOUND = r"(0|-?[1-9][0-9]{0,17})"
# In order: an alternative is told by its first letter from all but its neighbours, and a pattern
# can be followed without going back.
_CUSTOM_TYPE = f'"(?:{"|".join(sorted(CUSTOM_TYPES))})"'
_OPENINGS = {"data": '{"data":{', "event_type": '{"event_type":"'}
"""How an event begins, by its first member: by this the events of a line are told apart."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape. pattern: matches an event of it, from its first letter to its last; groups: what it
    finds there: type, and where there are any name, at (the event's own time) and session, in
    their order in the event.
    """

    opening: str
    pattern: str
    groups: tuple[str, ...]


def frequent(shapes: Iterable[Shape]) -> list[Shape]:
    """Return the most frequent of some shapes, as far as their events all begin alike; the most
    frequent first.
    """
    found = Counter(shapes)
    begins: Counter[str] = Counter()
    for shape, number in found.items():
        begins[shape.opening] += number
    return [
        shape for shape, _ in found.most_common() if shape.opening == begins.most_common(1)[0][0]
    ][:MOST_SHAPES]


def shape_of(event: Value) -> Shape | None:
    """Return the shape of an event; None where an event spelled like it might be read in another
    way.
    """
    try:
        return _shape(event)
    except RecursionError:  # more levels than an event has
        return None


def _shape(event: Value) -> Shape | None:
    try:
        read = read_event(event, 1)
    except Unusable:
        return None
    members = cast(dict[str, Value], event)
    data = members.get("data")
    opening = _OPENINGS.get(next(iter(members)))
    if read.over or opening is None or not isinstance(data, dict):
        return None
    known: dict[Path, tuple[str, str]] = {("event_type",): (f'"({read.type})"', "type")}
    if read.type == "custom_event":
        known["data", "custom_event_type"] = (_CUSTOM_TYPE, "")
    for need in EVENT_TYPES[read.type].needs:
        if _is_text(data[need]):
            known.setdefault(("data", need), (_FILLED, ""))
    at = data.get("timestamp_unixtime_ms")
    if at is not None:
        if not isinstance(at, Number):
            return None
        known["data", "timestamp_unixtime_ms"] = (_WHOLE_FOUND, "at")
    for path in _name_paths(read.type):
        name = _at(data, path)
        if name is not None:
            if not _is_text(name) or not name:
                return None
            known["data", *path] = (_FOUND, "name")
    session = next(
        (path for path in ("session_uuid", "session_id") if data.get(path) is not None), None
    )
    if session:
        if not data[session] or not isinstance(data[session], str):
            return None
        known["data", session] = (
            _WHOLE_FOUND if isinstance(data[session], Number) else _FOUND,
            "session",
        )
    groups: list[str] = []
    pattern = _pattern(event, (), known, groups)
    return (
        Shape(opening, pattern, tuple(groups))
        if pattern and len(pattern) <= LONGEST_PATTERN
        else None
    )


def _name_paths(kind: str) -> tuple[Path, ...]:
    """Return the members of data that may name an event of a type; an event has only one of them."""
    if kind == "commerce_event":
        return (("product_action", "action"), ("promotion_action", "action"))
    return (tuple(EVENT_TYPES[kind].name.split(".")),) if EVENT_TYPES[kind].name else ()


def _is_text(value: Value) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def _at(data: Value, steps: Path) -> Value:
    for step in steps:
        data = data.get(step) if isinstance(data, dict) else None
    return data


def _pattern(
    value: Value, path: Path, known: Mapping[Path, tuple[str, str]], groups: list[str]
) -> str | None:
    """Return the pattern of the values that are spelled like one, None where a key is no plain
    text; note what it finds.
    """
    if path in known:
        pattern, group = known[path]
        groups += [group] if group else []
        return pattern
    if isinstance(value, Number):
        return _NUMBER
    if isinstance(value, str):
        return _STRING
    if isinstance(value, bool):
        return _BOOLEAN
    if value is None:
        return "null"
    if isinstance(value, list):
        parts = [_pattern(entry, (*path, "[]"), known, groups) for entry in value]
    else:
        parts = [
            _member(key, _pattern(member, (*path, key), known, groups))
            for key, member in value.items()
        ]
    if None in parts:
        return None
    inside = ",".join(cast(list[str], parts))
    return rf"\[{inside}\]" if isinstance(value, list) else rf"\{{{inside}\}}"


def _member(key: str, pattern: str | None) -> str | None:
    plain = key.isprintable() and not re.search(r'["\\]', key)
    return f'"{re.escape(key)}":{pattern}' if plain and pattern is not None else None
