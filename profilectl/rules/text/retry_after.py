"""The pause that a receiver asks for: its Retry-After header.

Every command that sends keeps it (push, forward, uid2). Sources: RFC 9110 10.2.3 (a whole number
of seconds, or a date), 5.6.7 (the three forms of a date), domain.md 5.4.
"""

from __future__ import annotations

import datetime
import math
import re
import time

MAX_WAIT_S = 300
"""The longest pause a command waits for; if a receiver asks for more, the command ends and names
the time to come back (--max-wait).
"""
LONGEST_S = 100 * 365 * 86_400
"""A larger number of seconds counts as this one."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CLOCK = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_MONTH = f"(?P<month>{'|'.join(MONTHS)})"
_YEAR = "(?P<year>[0-9]{4})"
_DATES = (
    # Sun, 06 Nov 1994 08:49:37 GMT
    f"[A-Z][a-z]{{2}}, (?P<day>[0-9]{{2}}) {_MONTH} {_YEAR} {_CLOCK} GMT",
    # Sunday, 06-Nov-94 08:49:37 GMT
    f"[A-Z][a-z]{{5,8}}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_CLOCK} GMT",
    # Sun Nov  6 08:49:37 1994
    f"[A-Z][a-z]{{2}} {_MONTH} (?P<day>[ 0-9][0-9]) {_CLOCK} {_YEAR}",
)


def asked_pause_s(
    retry_after: str | None, date: str | None = None, *, now_s: float | None = None
) -> int | None:
    """Return the seconds that an answer asks for, or None if it asks for nothing readable.

    retry_after, date: those headers of the answer. date is the receiver's clock, which
    may differ from ours (now_s). A date in the past means 0, as 0 does.

    >>> asked_pause_s(" 120 "), asked_pause_s("-1"), asked_pause_s("1.5")
    (120, None, None)
    >>> asked_pause_s("Sun, 06 Nov 1994 08:50:07 GMT", "Sunday, 06-Nov-94 08:49:37 GMT")
    30
    """
    text = (retry_after or "").strip()
    if re.fullmatch("[0-9]+", text):
        digits = text.lstrip("0") or "0"
        return min(int(digits), LONGEST_S) if len(digits) < 20 else LONGEST_S
    until_s = _date_s(text)
    if until_s is None:
        return None
    from_s = _date_s((date or "").strip())
    if from_s is None:
        from_s = time.time() if now_s is None else now_s
    return min(max(math.ceil(until_s - from_s), 0), LONGEST_S)


def least_pause_s(tries: int, first_s: float, longest_s: float) -> float:
    """Return the shortest pause after a number of tries in a row, if the receiver asks for less.

    The pause is `first_s` after the first try, and doubles each time.

    >>> least_pause_s(1, 0.5, 60), least_pause_s(3, 0.5, 60), least_pause_s(5000, 0.5, 60)
    (0.5, 2.0, 60)
    """
    # Doubled at most 60 times: a float cannot hold the power of thousands of tries.
    return min(first_s * float(2 ** min(tries - 1, 60)), longest_s)


def _date_s(text: str) -> float | None:
    """Return the time of an HTTP date in epoch seconds, or None if the text is no such date."""
    for form in _DATES:
        date = re.fullmatch(form, text)
        if date is None:
            continue
        # A leap second, which datetime does not know: the second before it, and one more.
        is_leap = date["second"] == "60"
        try:
            at = datetime.datetime(
                year=_year(date["year"]),
                month=MONTHS.index(date["month"]) + 1,
                day=int(date["day"]),
                hour=int(date["hour"]),
                minute=int(date["minute"]),
                second=59 if is_leap else int(date["second"]),
                tzinfo=datetime.UTC,
            )
        except ValueError:
            return None
        return at.timestamp() + is_leap
    return None


def _year(digits: str) -> int:
    """Return a year; one of two digits that would be over 50 years ahead is of the last century."""
    if len(digits) > 2:
        return int(digits)
    this_year = datetime.datetime.now(datetime.UTC).year
    year = int(digits) + this_year // 100 * 100
    return year - 100 if year > this_year + 50 else year


def come_back(pause_s: float, *, now_s: float | None = None) -> tuple[int, str]:
    """Return when a pause that begins now is over: in epoch milliseconds, and for a person.

    The text has the local time, and how long it is until then.
    """
    at_s = math.ceil((time.time() if now_s is None else now_s) + pause_s)
    local = datetime.datetime.fromtimestamp(at_s, datetime.UTC).astimezone()
    return at_s * 1000, f"{local:%Y-%m-%d %H:%M:%S %Z} (in {lasting(pause_s)})"


def lasting(seconds: float) -> str:
    """Return a length of time in its two largest units.

    >>> lasting(0), lasting(59.2), lasting(3720), lasting(90061)
    ('0 s', '60 s', '1 h 2 min', '1 d 1 h')
    """
    remaining = math.ceil(seconds)
    if remaining <= 60:
        return f"{remaining} s"
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, remaining = divmod(remaining, size)
        if count or parts:
            parts.append(f"{count:,} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts))
