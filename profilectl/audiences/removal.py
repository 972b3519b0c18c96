"""What goes with an audience or a calculated attribute that is removed, counted before it goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from profilectl.rules.calculated import NOTHING
from profilectl.store.definitions import Defined, audience_defined, check_unused
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore

Counts = Mapping[str, int]
"""How many go, by the noun for one of them."""

# What the store has of an audience besides its definition. Members are those of the last
# evaluation, also the ones who have opted out since: that is what goes.
ROWS_OF_AUDIENCE = """
select
    (select count(*) from store.membership where audience = $number),
    (select count(*) from store.membership_change where audience = $number),
    (select count(*) from store.audience_outbox where audience = $number)
"""
# An output that gets another place begins anew there; messages for the old place never leave.
MESSAGES_FOR_OUTPUT = "select count(*) from store.audience_outbox where output = $output"
VALUES_OF_CALCULATED = """
select count(*)
from store.calculated
where name = $name and held <> $nothing
"""


def rows_of_audience(store: OpenStore, audience: Defined) -> Counts:
    """Return what goes with an audience: its members, who entered and left, unsent messages."""
    counts = store.scratch.row(ROWS_OF_AUDIENCE, {"number": audience.number})
    return dict(zip(("member", "recorded change", "waiting message"), counts, strict=True))


def rows_of_calculated(store: OpenStore, name: str) -> Counts:
    """Return what goes with a calculated attribute: its values."""
    bound = {"name": name, "nothing": NOTHING}
    return {"value": int(store.scratch.row(VALUES_OF_CALCULATED, bound)[0])}


def rows_of_place(store: OpenStore, output: str) -> Counts:
    """Return what goes with the place of an output that gets another: messages that wait for it."""
    waiting = int(store.scratch.row(MESSAGES_FOR_OUTPUT, {"output": output})[0])
    return {"waiting message": waiting} if waiting else {}


def goes_with_audience(path: Path, name: str, *, wait_s: float = 0) -> Counts:
    """Return what goes with an audience. Raises UsageError where it cannot be removed."""
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        audience = audience_defined(store, name)
        check_unused(store, name)
        return rows_of_audience(store, audience)
