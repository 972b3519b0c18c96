"""How long a receiver asks to be left alone: its Retry-After header, for every command that sends
(push, forward, uid2).

Sources: RFC 9110 10.2.3 (a whole number of seconds, or a date), 5.6.7 (the three forms of a date),
domain.md 5.4.
"""

from __future__ import annotations

import datetime
import math
import re
import time

MAX_WAIT_S = 300
"""Where a receiver asks for longer, a command ends and says when to come back (--max-wait)."""
LONGEST_S = 100 * 365 * 86_400
"""A number that is larger means as much as this one."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CLOCK = "([0-9]{2}):([0-9]{2}):([0-9]{2})"
_MONTH = f"({'|'.join(MONTHS)})"
# fmt: off
_DATES = (
    # the form of a date                                     the groups of year, month, day, hour, minute, second
    (f"[A-Z][a-z]{{2}}, ([0-9]{{2}}) {_MONTH} ([0-9]{{4}}) {_CLOCK} GMT",  (3, 2, 1, 4, 5, 6)),  # Sun, 06 Nov 1994 08:49:37 GMT
    (f"[A-Z][a-z]{{5,8}}, ([0-9]{{2}})-{_MONTH}-([0-9]{{2}}) {_CLOCK} GMT", (3, 2, 1, 4, 5, 6)),  # Sunday, 06-Nov-94 08:49:37 GMT
    (f"[A-Z][a-z]{{2}} {_MONTH} ([ 0-9][0-9]) {_CLOCK} ([0-9]{{4}})",      (6, 1, 2, 3, 4, 5)),  # Sun Nov  6 08:49:37 1994
)
# fmt: on


def asked_pause_s(
    stated: str | None, date: str | None = None, *, now_s: float | None = None
) -> int | None:
    """Return the seconds that an answer asks for; None where it says nothing that can be read.

    stated: its Retry-After. date: its Date: what its clock says, which may differ from ours
    (now_s). A date in the past means 0, as 0 does.

    >>> asked_pause_s(" 120 "), asked_pause_s("-1"), asked_pause_s("1.5")
    (120, None, None)
    >>> asked_pause_s("Sun, 06 Nov 1994 08:50:07 GMT", "Sunday, 06-Nov-94 08:49:37 GMT")
    30
    """
    text = (stated or "").strip()
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
    """Return the pause after so many tries in a row where the receiver asks for less, as with 0:
    the first one, then twice as long each time.

    >>> least_pause_s(1, 0.5, 60), least_pause_s(3, 0.5, 60), least_pause_s(5000, 0.5, 60)
    (0.5, 2.0, 60)
    """
    return min(first_s * float(2 ** min(tries - 1, 60)), longest_s)


def _date_s(text: str) -> float | None:
    """Return the time that a date of HTTP means, in epoch seconds; None where it is none."""
    for form, groups in _DATES:
        found = re.fullmatch(form, text)
        if found is None:
            continue
        year, month, day, hour, minute, second = (found[one] for one in groups)
        number = int(year)
        if len(year) == 2:
            # RFC 9110: what would be more than 50 years ahead is of the century before.
            this = datetime.datetime.now(datetime.UTC).year
            number += this // 100 * 100
            number -= 100 if number > this + 50 else 0
        leap = second == "60"
        try:
            at = datetime.datetime(
                number,
                MONTHS.index(month) + 1,
                int(day),
                int(hour),
                int(minute),
                59 if leap else int(second),
                tzinfo=datetime.UTC,
            )
        except ValueError:
            return None
        return at.timestamp() + leap
    return None


def come_back(pause_s: float, *, now_s: float | None = None) -> tuple[int, str]:
    """Return when a pause that begins now is over: in epoch milliseconds, and for a person, in
    local time and in how long."""
    at_s = math.ceil((time.time() if now_s is None else now_s) + pause_s)
    local = datetime.datetime.fromtimestamp(at_s, datetime.UTC).astimezone()
    return at_s * 1000, f"{local:%Y-%m-%d %H:%M:%S %Z} (in {lasting(pause_s)})"


def lasting(seconds: float) -> str:
    """Return how long that is, in its two largest units.

    >>> lasting(0), lasting(59.2), lasting(3720), lasting(90061)
    ('0 s', '60 s', '1 h 2 min', '1 d 1 h')
    """
    rest = math.ceil(seconds)
    if rest <= 60:
        return f"{rest} s"
    found: list[str] = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count or found:
            found.append(f"{count:,} {unit}" if count else "")
        if len(found) == 2:
            break
    return " ".join(filter(None, found))
