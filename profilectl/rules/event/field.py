"""A field of an event: how it is named, the values it has, and what a value is as text and as a
number.

Sources: domain.md 5.2 (events), 11.1 (numeric strings are converted), 11.2 (matches ignore case).
A field may have several values: those of a list, or one for each product of a list of products.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from profilectl.rules.text.values import Number, Value

# fmt: off
# Names without a dot that are members of `data`; every other name without a dot is a custom attribute.
DATA_MEMBERS = frozenset((
    "event_name", "custom_event_type", "screen_name", "application_transition_type", "push_message_type",
    "session_id", "session_uuid", "timestamp_unixtime_ms", "currency_code", "is_non_interactive", "is_opted_out",
))
# Lists of a commerce event: a path goes through each of their entries, with or without [] after
# their name.
LISTS = frozenset((
    ("product_action", "products"), ("promotion_action", "promotions"), ("shopping_cart", "products"),
    ("product_impressions",), ("product_impressions", None, "products"),
))
# fmt: on

_SEGMENT = re.compile(r'(?:"((?:[^"]|"")+)"|([^."\[\]]+))(\[\])?(\.|$)')
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Path:
    """The members to walk through below `data`; None goes through each entry of a list."""

    steps: tuple[str | None, ...]

    @property
    def walks(self) -> bool:
        """Say whether the path goes through the entries of a list before its last step."""
        return None in self.steps

    @property
    def entry(self) -> tuple[Path, Path]:
        """Return the path of the entries of its last list, and the path from such an entry on."""
        last = max(place for place, step in enumerate(self.steps) if step is None)
        return Path(self.steps[: last + 1]), Path(self.steps[last + 1 :])


def path_of(name: str) -> Path:
    """Return the path a name stands for.

    Without a dot a custom attribute (but for DATA_MEMBERS), with a dot a path in `data` (`data.`
    before it changes nothing); "in quotes" a name with any characters. Raises ValueError where it
    names nothing.
    """
    segments: list[tuple[str, bool, bool]] = []
    place = 0
    while place < len(name) or not segments:
        found = _SEGMENT.match(name, place)
        if not found or (found[4] == "." and found.end() == len(name)):
            raise ValueError(f"{name!r} names no field")
        segments.append(
            (found[1].replace('""', '"') if found[1] else found[2], bool(found[1]), bool(found[3]))
        )
        place = found.end()
    if len(segments) == 1:
        key, quoted, _ = segments[0]
        return Path((key,) if key in DATA_MEMBERS and not quoted else ("custom_attributes", key))
    if segments[0][0] == "data" and not segments[0][1]:
        segments = segments[1:]
    steps: list[str | None] = []
    for member, _, each in segments:
        steps.append(member)
        if each or tuple(steps) in LISTS:
            steps.append(None)
    # the values of a list are those of its entries
    return Path(tuple(steps[:-1] if steps[-1] is None else steps))


def found_at(document: Value, path: Path) -> list[Value]:
    """Return what stands at a path of an event: nothing, one thing, or one for each entry walked
    through.
    """
    data = document.get("data") if isinstance(document, dict) else None
    return walked(data, path.steps)


def walked(start: Value, steps: Sequence[str | None]) -> list[Value]:
    """Return what the steps lead to from a value."""
    here = [start]
    for step in steps:
        if step is None:
            here = [entry for one in here if isinstance(one, list) for entry in one]
        else:
            here = [one[step] for one in here if isinstance(one, dict) and step in one]
    return here


def scalars(found: Sequence[Value]) -> list[Value]:
    """Return the values among what was found: strings, numbers and booleans, those of a list one by
    one.
    """
    flat = [entry for one in found for entry in (one if isinstance(one, list) else [one])]
    return [one for one in flat if isinstance(one, str | bool)]


def text_of(value: Value) -> str:
    """Return a scalar as text, a number as it is spelled."""
    return str(value) if isinstance(value, str) else "true" if value else "false"


def number_of(value: Value) -> Decimal | None:
    """Return a scalar as a number, exactly, or None: a number or a text that is one, exponents to
    three digits.
    """
    return Decimal(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def is_number(value: Value) -> bool:
    """Say whether a value is a JSON number."""
    return isinstance(value, Number)


def fold(text: str) -> str:
    """Return a text as it is compared ignoring case: letter by letter, as DuckDB's lower() does it."""
    if text.isascii():
        return text.lower()
    return "".join(map(_fold_one, text))


@functools.lru_cache(maxsize=4096)
def _fold_one(letter: str) -> str:
    # Alone, a letter has no place in a word: a sigma at the end is no other sigma. Only İ would
    # become two.
    return letter.lower() if letter != "İ" else "i"
