"""A field of an event: its name, its values, and a value as text and as a number.

A field may have several values: those of a list, or one for each product of a list of products.
Sources: domain.md 5.2 (events), 11.1 (numeric strings are converted), 11.2 (matches ignore case).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from profilectl.rules.text.values import Value

if TYPE_CHECKING:
    from decimal import Decimal

# fmt: off
DATA_MEMBERS = frozenset((
    "event_name", "custom_event_type", "screen_name", "application_transition_type",
    "push_message_type", "session_id", "session_uuid", "timestamp_unixtime_ms", "currency_code",
    "is_non_interactive", "is_opted_out",
))
"""The names without a dot that are members of `data`; every other one is a custom attribute."""
LISTS = frozenset((
    ("product_action", "products"),
    ("promotion_action", "promotions"),
    ("shopping_cart", "products"),
    ("product_impressions",),
    ("product_impressions", None, "products"),
))
"""The lists of a commerce event: a path goes through their entries, with or without [] after them.
"""
# fmt: on

_SEGMENT = re.compile(r'(?:"((?:[^"]|"")+)"|([^."\[\]]+))(\[\])?(\.|$)')
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Path:
    """A path below an event's `data`."""

    steps: tuple[str | None, ...]
    """The members to walk through; None goes through each entry of a list."""

    @property
    def walks(self) -> bool:
        """Whether the path goes through the entries of a list before its last step."""
        return None in self.steps

    @property
    def entry(self) -> tuple[Path, Path]:
        """The path to the entries of its last list, and the path from such an entry on."""
        end = max(place for place, step in enumerate(self.steps) if step is None) + 1
        return Path(self.steps[:end]), Path(self.steps[end:])


class _Segment(NamedTuple):
    """A part of a dotted name."""

    name: str
    """The member."""
    is_quoted: bool
    """Whether it was written in quotes."""
    is_list: bool
    """Whether [] follows."""


def path_of(name: str) -> Path:
    """Return the path that a name means (domain.md 5.2).

    A name without a dot is a custom attribute, except DATA_MEMBERS. A name with a dot is a path in
    `data`; `data.` before it changes nothing. A name "in quotes" may have any characters. Raises
    ValueError if it names nothing.
    """
    segments = _segments(name)
    if len(segments) == 1:
        key, is_quoted, _ = segments[0]
        is_member = key in DATA_MEMBERS and not is_quoted
        return Path((key,) if is_member else ("custom_attributes", key))
    if segments[0].name == "data" and not segments[0].is_quoted:
        segments = segments[1:]
    steps: list[str | None] = []
    for segment in segments:
        steps.append(segment.name)
        if segment.is_list or tuple(steps) in LISTS:
            steps.append(None)
    # The values of a list are those of its entries.
    return Path(tuple(steps[:-1] if steps[-1] is None else steps))


def _segments(name: str) -> list[_Segment]:
    segments: list[_Segment] = []
    place = 0
    while place < len(name) or not segments:
        match = _SEGMENT.match(name, place)
        # A dot at the end would have to be followed by a name.
        if not match or (match[4] == "." and match.end() == len(name)):
            raise ValueError(f"{name!r} names no field")
        member = match[1].replace('""', '"') if match[1] else match[2]
        segments.append(_Segment(member, is_quoted=bool(match[1]), is_list=bool(match[3])))
        place = match.end()
    return segments


def values_at(document: Value, path: Path) -> list[Value]:
    """Return the values at a path of an event: none, one, or one for each entry walked through."""
    data = document.get("data") if isinstance(document, dict) else None
    return walked(data, path.steps)


def walked(start: Value, steps: Sequence[str | None]) -> list[Value]:
    """Return the values that steps lead to from a value."""
    nodes = [start]
    for step in steps:
        if step is None:
            nodes = [entry for node in nodes if isinstance(node, list) for entry in node]
        else:
            nodes = [node[step] for node in nodes if isinstance(node, dict) and step in node]
    return nodes


def scalars(values: Sequence[Value]) -> list[Value]:
    """Return the strings, numbers and booleans among values, also those in a list."""
    flat = [entry for value in values for entry in (value if isinstance(value, list) else [value])]
    return [entry for entry in flat if isinstance(entry, str | bool)]


def text_of(value: Value) -> str:
    """Return a scalar as text, a number as it is spelled."""
    return str(value) if isinstance(value, str) else "true" if value else "false"


def number_of(value: Value) -> Decimal | None:
    """Return a scalar as an exact number, also if it is text, or None (domain.md 11.1).

    An exponent has at most three digits.
    """
    from decimal import Decimal  # loaded where it is used: who only reads a person does without

    return Decimal(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def caseless(text: str) -> str:
    """Return a text as it compares without case: letter by letter, as DuckDB's lower() does it.

    Keys of identities are folded by another rule (text.casing.fold).
    """
    if text.isascii():
        return text.lower()
    return "".join(map(_fold_letter, text))


@functools.lru_cache(maxsize=4096)
def _fold_letter(letter: str) -> str:
    # Letter by letter: within a word lower() turns a last sigma into another one. Of single letters
    # only İ would become two characters.
    return letter.lower() if letter != "İ" else "i"
