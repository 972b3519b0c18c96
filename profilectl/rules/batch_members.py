"""What members of a batch must be: one table. A batch is checked by it as JSON, columns by the SQL
that is made of it.

Sources: domain.md 5.1 (fields), 5.3 (consent needs a boolean and a time).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from profilectl.rules.consent import STATED_MS
from profilectl.rules.fields import BOOLEANS, Unusable
from profilectl.rules.text.values import Value

ATT_STATUSES = ("authorized", "denied", "not_determined", "restricted")
WHOLE = "-?[0-9]{1,38}"
"""A whole number of any size that 128 bits hold."""
_time = re.compile(STATED_MS)
_whole = re.compile(WHOLE)


@dataclass(frozen=True, slots=True)
class MemberKind:
    """What a value must be."""

    must: str
    """The words that follow the member's name."""
    fits: Callable[[Value], bool]
    """Whether a value of JSON is such a one."""
    cell: str | None
    """The pattern of the cells that stand for such a value, None where none does."""


@dataclass(frozen=True, slots=True)
class BatchMember:
    """A member of a batch that is checked."""

    path: str
    """Its dotted name; `*` stands for any member."""
    kind: MemberKind
    """What it must be."""
    needed: bool = False
    """Whether it must be there where the object is that it belongs to."""

    @property
    def steps(self) -> tuple[str, ...]:
        """The names that lead to it."""
        return tuple(self.path.split("."))


# fmt: off
OBJECT  = MemberKind("must be an object",                         lambda value: isinstance(value, dict), None)
BOOLEAN = MemberKind("must be true or false",                     lambda value: isinstance(value, bool), f"(?i:{'|'.join(BOOLEANS)})")
TIME    = MemberKind("must be a whole number of milliseconds",    lambda value: isinstance(value, str) and bool(_time.fullmatch(value)), STATED_MS)
STRING  = MemberKind("must be a string",                          lambda value: isinstance(value, str),  "(?s:.*)")
STATUS  = MemberKind("must be authorized, denied, not_determined or restricted",
                                                            lambda value: value in ATT_STATUSES,   "|".join(ATT_STATUSES))

# In the order in which they are looked at; an object comes before what is in it.
MEMBERS = (
    #      member                                        must be    where its object is, it is needed
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

# What states a time, beside timestamp_unixtime_ms of a batch and of its events. Consent is the only
# one by which something is decided.
TIMES = ("consent_state.*.*.timestamp_unixtime_ms", "device_info.att_timestamp_unixtime_ms")
# fmt: on


def check_members(batch: dict[str, Value]) -> None:
    """Check the members of the fields that are kept with a batch.

    Raises Unusable (BATCH_INVALID), naming the member.
    """
    for member in MEMBERS:
        for path, value in _stated(batch, member.steps):
            if value is None:
                if member.needed:
                    raise Unusable("BATCH_INVALID", f"{path} is missing")
            elif not member.kind.fits(value):
                raise Unusable("BATCH_INVALID", f"{path} {member.kind.must}")


def _stated(tree: Value, steps: Sequence[str], above: str = "") -> Iterator[tuple[str, Value]]:
    """Walk what stands at some steps: the name and the value of each, None where it is not there."""
    if not isinstance(tree, dict):
        return
    name, further = steps[0], steps[1:]
    for step in tree if name == "*" else [name]:
        if further:
            yield from _stated(tree.get(step), further, f"{above}{step}.")
        else:
            yield f"{above}{step}", tree.get(step)


def times_in(batch: Value) -> list[tuple[str, int]]:
    """Return each time that the fields kept with a batch state, by its dotted name, in the order of
    the names.
    """
    stated = (one for path in TIMES for one in _stated(batch, path.split(".")))
    return sorted(
        (path, int(value))
        for path, value in stated
        if isinstance(value, str) and _whole.fullmatch(value)
    )


def is_boolean(name: str) -> bool:
    """Say whether a member, by its dotted name, must be a boolean."""
    steps = tuple(name.split("."))
    return any(
        member.kind is BOOLEAN
        and len(member.steps) == len(steps)
        and all(rule in ("*", step) for rule, step in zip(member.steps, steps, strict=True))
        for member in MEMBERS
    )
