"""The members of a batch that are checked: one table, for JSON and for columns.

Batches in JSON are checked by the table itself, columns by SQL that is made from it. Sources:
domain.md 5.1 (fields), 5.3 (consent needs a boolean and a time).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from profilectl.rules.consent import STATED_MS
from profilectl.rules.fields import BOOLEANS, UnusableRow
from profilectl.rules.text.values import Value

ATT_STATUSES = ("authorized", "denied", "not_determined", "restricted")
WHOLE = "-?[0-9]{1,38}"
"""The pattern of a whole number that 128 bits hold."""
_time = re.compile(STATED_MS)
_whole = re.compile(WHOLE)


@dataclass(frozen=True, slots=True)
class MemberKind:
    """A kind of value that a member must have."""

    must: str
    """The words that follow the member's name in a message."""
    fits: Callable[[Value], bool]
    """Whether a value of JSON is of this kind."""
    cell: str | None
    """The pattern of the cells of this kind; None if no cell can be."""


@dataclass(frozen=True, slots=True)
class BatchMember:
    """A member of a batch that is checked."""

    path: str
    """Its dotted name; `*` is any member."""
    kind: MemberKind
    """The kind of value that it must have."""
    needed: bool = False
    """Whether the object that it belongs to must have it."""

    @property
    def steps(self) -> tuple[str, ...]:
        """The names on its path."""
        return tuple(self.path.split("."))


def _is_time(value: Value) -> bool:
    return isinstance(value, str) and bool(_time.fullmatch(value))


# fmt: off
OBJECT  = MemberKind("must be an object",
                     lambda value: isinstance(value, dict), None)
BOOLEAN = MemberKind("must be true or false",
                     lambda value: isinstance(value, bool), f"(?i:{'|'.join(BOOLEANS)})")
TIME    = MemberKind("must be a whole number of milliseconds",
                     _is_time,                              STATED_MS)
STRING  = MemberKind("must be a string",
                     lambda value: isinstance(value, str),  "(?s:.*)")
STATUS  = MemberKind("must be authorized, denied, not_determined or restricted",
                     lambda value: value in ATT_STATUSES,   "|".join(ATT_STATUSES))

# In the order in which they are checked; an object comes before its members.
MEMBERS = (
    #           member                                        kind       its object needs it
    BatchMember("consent_state.*",                            OBJECT),
    BatchMember("consent_state.*.*",                          OBJECT,    needed=True),
    BatchMember("consent_state.*.*.consented",                BOOLEAN,   needed=True),
    BatchMember("consent_state.*.*.timestamp_unixtime_ms",    TIME,      needed=True),
    BatchMember("device_info.limit_ad_tracking",              BOOLEAN),
    BatchMember("device_info.att_authorization_status",       STATUS),
    BatchMember("attribution_info.service_provider",          STRING,    needed=True),
    BatchMember("attribution_info.publisher",                 STRING,    needed=True),
    BatchMember("attribution_info.campaign",                  STRING,    needed=True),
)
# fmt: on
TIMES = ("consent_state.*.*.timestamp_unixtime_ms", "device_info.att_timestamp_unixtime_ms")
"""The members that state a time, beside timestamp_unixtime_ms of a batch and its events.

Only the time of a consent decides anything.
"""


def check_members(batch: dict[str, Value]) -> None:
    """Check the members of the fields that are kept with a batch (MEMBERS).

    Raises UnusableRow (BATCH_INVALID), naming the member.
    """
    for member in MEMBERS:
        for path, value in _values_at(batch, member.steps):
            if value is None:
                if member.needed:
                    raise UnusableRow("BATCH_INVALID", f"{path} is missing")
            elif not member.kind.fits(value):
                raise UnusableRow("BATCH_INVALID", f"{path} {member.kind.must}")


def _values_at(tree: Value, steps: Sequence[str], above: str = "") -> Iterator[tuple[str, Value]]:
    """Yield the dotted name and the value (None: absent) of each member at some steps."""
    if not isinstance(tree, dict):
        return
    name, further = steps[0], steps[1:]
    for step in tree if name == "*" else [name]:
        if further:
            yield from _values_at(tree.get(step), further, f"{above}{step}.")
        else:
            yield f"{above}{step}", tree.get(step)


def times_in(batch: Value) -> list[tuple[str, int]]:
    """Return the dotted name and the value of each time in the fields that are kept with a batch.

    They are in the order of the names.
    """
    members = (member for path in TIMES for member in _values_at(batch, path.split(".")))
    return sorted(
        (path, int(value))
        for path, value in members
        if isinstance(value, str) and _whole.fullmatch(value)
    )


def is_boolean(name: str) -> bool:
    """Return whether the member of a dotted name must be a boolean."""
    steps = tuple(name.split("."))
    return any(
        member.kind is BOOLEAN
        and len(member.steps) == len(steps)
        and all(rule in ("*", step) for rule, step in zip(member.steps, steps, strict=True))
        for member in MEMBERS
    )
