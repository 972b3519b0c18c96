"""The shapes of events: regular expressions that match only texts of events that are right.

The events of a feed are made by a program, so most of them are spelled alike: the same members in
the same order, no blanks, no escapes. A shape is learned from an event that
profilectl.rules.event.event has read, and what that looked at is part of it: another event of the
same shape would be read in the same way. What matches is also the text that would be stored, letter
for letter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from profilectl.rules.event.event import CUSTOM_TYPES, EVENT_TYPES, Event, read_event
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.values import Number, Value

Path = tuple[str, ...]

MOST_SHAPES = 16
"""How many shapes are looked for in one file."""
LONGEST_PATTERN = 20_000
"""How many characters a pattern has at most.

An automaton grows with its pattern; one that does not fit is followed step by step, which is slow.
"""

# As JSON has them, without escapes: such a string is stored as it stands.
_STRING = r'"[^"\\\x00-\x1f]*"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:[.][0-9]+)?(?:[eE][-+]?[0-9]+)?"
_BOOLEAN = "(?:true|false)"
# What profilectl.rules.event.event looks at.
_FILLED = r'"[^"\\\x00-\x1f]+"'
_FILLED_GROUP = r'"([^"\\\x00-\x1f]+)"'
_WHOLE_GROUP = r"(0|-?[1-9][0-9]{0,17})"
# In order: the first letter of an alternative differs from all but its neighbours', and a pattern
# can be followed without going back.
_CUSTOM_TYPE = f'"(?:{"|".join(sorted(CUSTOM_TYPES))})"'
_OPENINGS = {"data": '{"data":{', "event_type": '{"event_type":"'}
"""How an event begins, by its first member: by this a line is parted into its events."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape of events."""

    opening: str
    """How an event of it begins."""
    pattern: str
    """The expression that matches an event of it, from its first letter to its last."""
    groups: tuple[str, ...]
    """The parts that the pattern captures: type, and where there are any name, at (the event's own
    time) and session, in their order in the event.
    """


class MemberPattern(NamedTuple):
    """The pattern of a member that was looked at."""

    pattern: str
    """The expression that matches its value."""
    group: str = ""
    """The name of what it captures; "" for nothing."""


class _NoShape(Exception):
    """An event spelled like this one might be read in another way."""


def frequent(shapes: Iterable[Shape]) -> list[Shape]:
    """Return the most frequent of some shapes whose events all begin alike, in order."""
    counts = Counter(shapes)
    begins: Counter[str] = Counter()
    for shape, number in counts.items():
        begins[shape.opening] += number
    return [
        shape for shape, _ in counts.most_common() if shape.opening == begins.most_common(1)[0][0]
    ][:MOST_SHAPES]


def shape_of(event: Value) -> Shape | None:
    """Return the shape of an event.

    None: an event spelled like it might be read in another way.
    """
    try:
        return _shape(event)
    except (_NoShape, UnusableRow, RecursionError):  # more levels than an event has
        return None


def _shape(event: Value) -> Shape:
    """Return the shape of an event. Raises _NoShape, UnusableRow."""
    read = read_event(event, 1)
    members = cast(dict[str, Value], event)
    data = members.get("data")
    opening = _OPENINGS.get(next(iter(members)))
    if read.over or opening is None or not isinstance(data, dict):
        raise _NoShape
    patterns = dict(_patterns(read, data))
    groups: list[str] = []
    pattern = _pattern(event, (), patterns, groups=groups)
    if len(pattern) > LONGEST_PATTERN:
        raise _NoShape
    return Shape(opening, pattern, tuple(groups))


def _patterns(read: Event, data: dict[str, Value]) -> Iterator[tuple[Path, MemberPattern]]:
    """Yield the patterns of the members that reading an event looks at, by path.

    A later pattern of a path replaces an earlier one. Raises _NoShape.
    """
    yield ("event_type",), MemberPattern(f'"({read.type})"', "type")
    needs = [need for need in EVENT_TYPES[read.type].needs if _is_text(data[need])]
    yield from ((("data", need), MemberPattern(_FILLED)) for need in needs)
    if read.type == "custom_event":
        yield ("data", "custom_event_type"), MemberPattern(_CUSTOM_TYPE)
    at = data.get("timestamp_unixtime_ms")
    if at is not None:
        if not isinstance(at, Number):
            raise _NoShape
        yield ("data", "timestamp_unixtime_ms"), MemberPattern(_WHOLE_GROUP, "at")
    for path in _name_paths(read.type):
        name = _at(data, path)
        if name is not None:
            if not _is_text(name) or not name:
                raise _NoShape
            yield ("data", *path), MemberPattern(_FILLED_GROUP, "name")
    session = next(
        (path for path in ("session_uuid", "session_id") if data.get(path) is not None), None
    )
    if session:
        if not data[session] or not isinstance(data[session], str):
            raise _NoShape
        pattern = _WHOLE_GROUP if isinstance(data[session], Number) else _FILLED_GROUP
        yield ("data", session), MemberPattern(pattern, "session")


def _name_paths(kind: str) -> tuple[Path, ...]:
    """Return the members of data that may name an event of a type; an event has only one."""
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
    value: Value, path: Path, patterns: Mapping[Path, MemberPattern], *, groups: list[str]
) -> str:
    """Return the pattern of the values that are spelled like one.

    The names of what it captures are added to `groups`. Raises _NoShape where a key is no plain
    text.
    """
    if path in patterns:
        pattern, group = patterns[path]
        groups += [group] if group else []
        return pattern
    match value:
        case Number():
            return _NUMBER
        case str():
            return _STRING
        case bool():
            return _BOOLEAN
        case None:
            return "null"
        case list():
            entries = [_pattern(entry, (*path, "[]"), patterns, groups=groups) for entry in value]
            return _list_pattern(entries)
        case _:
            members = [
                f'"{_escaped(key)}":{_pattern(member, (*path, key), patterns, groups=groups)}'
                for key, member in value.items()
            ]
            return rf"\{{{','.join(members)}\}}"


def _list_pattern(entries: Sequence[str]) -> str:
    """Return the pattern of a list: of any length, if its entries are spelled alike.

    Reading an event looks into no list, so it reads a longer one in the same way. A shape for each
    length cost 15 times as long: most lengths were beyond MOST_SHAPES.
    """
    if entries and len(set(entries)) == 1:
        return rf"\[{entries[0]}(?:,{entries[0]})*\]"
    return rf"\[{','.join(entries)}\]"


def _escaped(key: str) -> str:
    """Return a key as a pattern has it. Raises _NoShape for one that JSON writes another way."""
    if not key.isprintable() or re.search(r'["\\]', key):
        raise _NoShape
    return re.escape(key)
