"""Days, moments and spans, as a text states them. All times are UTC, in milliseconds.

Sources: domain.md 11.2 (before is exclusive, after inclusive, on that day, between inclusive at
both ends; recency in units of 24 hours from the time of evaluation), design.md R22.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

DAY_MS = 86_400_000
DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
CLOCK = "[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?"
OFFSET = "Z|[+-]([01][0-9]|2[0-3]):?[0-5][0-9]"
TIME = f"{DATE}({CLOCK}({OFFSET})?)?"
"""ISO 8601 as people and the platform write it; UTC if it has no offset. DuckDB reads the same
expression.
"""
EPOCH_MS = "[0-9]{11,14}"
"""Epoch milliseconds of 1970-04 to 5138, known by their number of digits: a year or epoch seconds
have fewer, and are not taken for a time.
"""

_time = re.compile(TIME)
_epoch = re.compile(EPOCH_MS)
_parts = re.compile(
    rf"""(?P<date>{DATE})
    (?:[T ](?P<hour>[0-9]{{2}}):(?P<minute>[0-9]{{2}})
       (?::(?P<second>[0-9]{{2}})(?:[.](?P<fraction>[0-9]+))?)?
       (?:Z|(?P<sign>[+-])(?P<off_hour>[0-9]{{2}}):?(?P<off_minute>[0-9]{{2}}))?
    )?""",
    re.VERBOSE,
)
_EPOCH = datetime.date(1970, 1, 1)


def time_of(text: str) -> int | None:
    """Return the time that a text states, or None if it states none.

    Anything below a millisecond is cut off.

    >>> time_of("1970-01-02"), time_of("1970-01-01T01:00:00.5+01:00")
    (86400000, 500)
    >>> time_of("2023-02-29"), time_of("2024")
    (None, None)
    """
    if _epoch.fullmatch(text):
        return int(text)
    # _time checks hours and minutes, as SQL does with the same pattern; _parts takes it apart.
    match = _parts.fullmatch(text) if _time.fullmatch(text) else None
    if match is None:
        return None
    try:
        days = (datetime.date.fromisoformat(match["date"]) - _EPOCH).days
    except ValueError:  # a day that no month has, or the year 0
        return None
    seconds = _seconds(match["hour"], match["minute"], match["second"])
    offset = _seconds(match["off_hour"], match["off_minute"]) * (-1 if match["sign"] == "-" else 1)
    milliseconds = int((match["fraction"] or "0")[:3].ljust(3, "0"))
    return days * DAY_MS + (seconds - offset) * 1000 + milliseconds


def _seconds(hour: str | None, minute: str | None, second: str | None = None) -> int:
    return int(hour or 0) * 3600 + int(minute or 0) * 60 + int(second or 0)


@dataclass(frozen=True, slots=True)
class Moment:
    """A whole day, or one point in time."""

    first_ms: int
    """Its first millisecond."""
    day: bool
    """Whether it is a whole day."""

    @property
    def last_ms(self) -> int:
        """Its last millisecond."""
        return self.first_ms + DAY_MS - 1 if self.day else self.first_ms

    def __str__(self) -> str:
        return written(self.first_ms, day=self.day)


def moment_of(text: str) -> Moment | None:
    """Return the day or the point in time that a text states (of years 1 to 9999), or None."""
    at_ms = time_of(text) if _time.fullmatch(text) else None
    if at_ms is None or not _FIRST_MS <= at_ms < _END_MS:
        return None
    return Moment(at_ms, day=len(text) == len("2024-01-01"))


AHEAD_MS = 366 * DAY_MS
"""The farthest that a time may lie ahead of now: a leap year (design.md R22)."""


def latest_ms(now_ms: int) -> int:
    """Return the latest time that a row may state at a moment."""
    return now_ms + AHEAD_MS


def may_be(at_ms: int, last_ms: int) -> bool:
    """Return whether a row may state a time: from 1970 to the latest (design.md R22).

    >>> may_be(0, 5), may_be(5, 5), may_be(6, 5), may_be(-1, 5)
    (True, True, False, False)
    """
    return 0 <= at_ms <= last_ms


_FIRST_MS = (datetime.date.min - _EPOCH).days * DAY_MS
_END_MS = ((datetime.date.max - _EPOCH).days + 1) * DAY_MS


def written(at_ms: int, *, day: bool) -> str:
    """Return a time as ISO 8601 in UTC: the day alone, or as exact as it is.

    A time has milliseconds only if they are not 0.

    >>> written(0, day=True), written(1500, day=False)
    ('1970-01-01', '1970-01-01T00:00:01.500Z')
    """
    days, day_ms = divmod(at_ms, DAY_MS)
    date = (_EPOCH + datetime.timedelta(days)).isoformat()
    if day:
        return date
    seconds, fraction = divmod(day_ms, 1000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{date}T{clock}{f'.{fraction:03}' if fraction else ''}Z"


@dataclass(frozen=True, slots=True)
class Days:
    """A span of one or more times 24 hours."""

    count: int
    """The number of times 24 hours."""

    @property
    def ms(self) -> int:
        """The length of the span in milliseconds."""
        return self.count * DAY_MS

    def __str__(self) -> str:
        return f"{self.count} day" + ("s" if self.count != 1 else "")


SPAN = "([0-9]{1,6})[ ]*(days?|d|weeks?|w)"
_span = re.compile(SPAN, re.IGNORECASE)


def days_of(text: str) -> Days | None:
    """Return the span that `30 days`, `30d`, `2 weeks` or `2w` states, or None.

    A week is 7 times 24 hours.

    >>> days_of("30d"), days_of("2 weeks"), days_of("0 days"), days_of("1 month")
    (Days(count=30), Days(count=14), None, None)
    """
    match = _span.fullmatch(text.strip())
    count = int(match[1]) * (7 if match[2][0] in "wW" else 1) if match else 0
    return Days(count) if count else None
