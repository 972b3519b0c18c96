"""Days, moments and spans: what a text says of time. All of it is UTC, in milliseconds.

Sources: domain.md 11.2 (before is exclusive, after inclusive, on that day, between inclusive at
both ends; recency in units of 24 hours from the time of evaluation).
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
"""ISO 8601 as people and the platform write it; without an offset it is UTC. The same expression in
DuckDB.
"""
EPOCH_MS = "[0-9]{11,14}"
"""A whole number is epoch milliseconds where it has as many digits as those of 1970-04 to 5138
have: a year or epoch seconds are not taken for a time.
"""

_time = re.compile(TIME)
_epoch = re.compile(EPOCH_MS)
_parts = re.compile(
    f"({DATE})(?:[T ]([0-9]{{2}}):([0-9]{{2}})(?::([0-9]{{2}})(?:[.]([0-9]+))?)?(?:Z|([+-])([0-9]{{2}}):?([0-9]{{2}}))?)?"
)
_EPOCH = datetime.date(1970, 1, 1)


def time_of(text: str) -> int | None:
    """Return the time a text means, or None where it is none.

    What is below a millisecond is cut off.

    >>> time_of("1970-01-02"), time_of("1970-01-01T01:00:00.5+01:00"), time_of("2023-02-29"),
    time_of("2024") (86400000, 500, None, None)
    """
    if _epoch.fullmatch(text):
        return int(text)
    found = _parts.fullmatch(text) if _time.fullmatch(text) else None
    if found is None:
        return None
    date, hour, minute, second, fraction, sign, off_hour, off_minute = found.groups()
    try:
        days = (datetime.date.fromisoformat(date) - _EPOCH).days
    except ValueError:
        return None
    seconds = int(hour or 0) * 3600 + int(minute or 0) * 60 + int(second or 0)
    away = (int(off_hour) * 3600 + int(off_minute) * 60) * (-1 if sign == "-" else 1) if sign else 0
    return days * DAY_MS + (seconds - away) * 1000 + int((fraction or "0")[:3].ljust(3, "0"))


@dataclass(frozen=True, slots=True)
class Moment:
    """A day (from its first to its last millisecond), or one point in time.

    first_ms: where it begins.
    """

    first_ms: int
    day: bool

    @property
    def last_ms(self) -> int:
        """The last millisecond of it."""
        return self.first_ms + DAY_MS - 1 if self.day else self.first_ms

    def __str__(self) -> str:
        return written(self.first_ms, day=self.day)


def moment_of(text: str) -> Moment | None:
    """Return the day or the point in time that a text means (of years 1 to 9999), or None."""
    found = time_of(text) if _time.fullmatch(text) else None
    if found is None or not _FIRST_MS <= found < _END_MS:
        return None
    return Moment(found, day=len(text) == len("2024-01-01"))


AHEAD_MS = 366 * DAY_MS
"""A time may lie so far ahead: a year, the longest there is (design.md R22)."""


def latest_ms(now_ms: int) -> int:
    """Return the latest time that may be stated at a moment."""
    return now_ms + AHEAD_MS


def may_be(at_ms: int, last_ms: int) -> bool:
    """Say whether a time may be stated: from 1970 to the latest.

    >>> may_be(0, 5), may_be(5, 5), may_be(6, 5), may_be(-1, 5)
    (True, True, False, False)
    """
    return 0 <= at_ms <= last_ms


def may_not_be(at_ms: str, last_ms: int) -> str:
    """Return the condition that the SQL `at_ms` is a time that may not be stated: the twin of
    may_be.
    """
    return f"{at_ms} not between 0 and {last_ms}"


_FIRST_MS = (datetime.date.min - _EPOCH).days * DAY_MS
_END_MS = ((datetime.date.max - _EPOCH).days + 1) * DAY_MS


def written(at_ms: int, *, day: bool) -> str:
    """Return a time as ISO 8601 in UTC: the day alone, or to the second, or to the millisecond
    where it has some.

    >>> written(0, day=True), written(1500, day=False)
    ('1970-01-01', '1970-01-01T00:00:01.500Z')
    """
    days, rest = divmod(at_ms, DAY_MS)
    date = (_EPOCH + datetime.timedelta(days)).isoformat()
    if day:
        return date
    seconds, fraction = divmod(rest, 1000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{date}T{clock}{f'.{fraction:03}' if fraction else ''}Z"


@dataclass(frozen=True, slots=True)
class Days:
    """A span of so many times 24 hours, at least one."""

    count: int

    @property
    def ms(self) -> int:
        return self.count * DAY_MS

    def __str__(self) -> str:
        return f"{self.count} day" + ("s" if self.count != 1 else "")


SPAN = "([0-9]{1,6})[ ]*(days?|d|weeks?|w)"
_span = re.compile(SPAN, re.IGNORECASE)


def days_of(text: str) -> Days | None:
    """Return the span that `30 days`, `30d`, `2 weeks` or `2w` means, or None.

    A week is 7 times 24 hours.

    >>> days_of("30d"), days_of("2 weeks"), days_of("0 days"), days_of("1 month")
    (Days(count=30), Days(count=14), None, None)
    """
    found = _span.fullmatch(text.strip())
    count = int(found[1]) * (7 if found[2][0] in "wW" else 1) if found else 0
    return Days(count) if count else None
