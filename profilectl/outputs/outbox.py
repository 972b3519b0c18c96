"""The outbox: batches that wait to leave are read from it, and taken out when they have arrived.

A row says which batch goes where; an import writes it (importing/leaving.py). The batch itself is
put together when it is sent (compose.py), from what the store has of its profile up to that batch.
A batch of a feed that only reads is not in the store, so its row holds it whole. Rows go with their
profile when that is erased, and with their import when that is taken back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from profilectl.outputs.handed_over import View, write_handed_over
from profilectl.rules.leaving.connection import Connection
from profilectl.rules.leaving.enrichment import HandedOver
from profilectl.rules.leaving.output import ARRIVED, DEAD, WAITING, BatchOutcome, Output
from profilectl.store.definitions import connections, outputs
from profilectl.store.store import OpenStore

NO_END = 2**63 - 1
"""An arrival that no batch reaches."""

# The next batches that wait for an output.
WAITING_FOR = """
select batch.arrival, batch.import, batch.feed, batch.profile, batch.at_ms,
       import.started_ms, batch.devices, batch.held, batch.content
from store.outbox as batch
join store.import on import.number = batch.import
where batch.output = $output
  and batch.state = $waiting
  and batch.feed in (select unnest($feeds::integer[]))
  and batch.arrival > $after
  and batch.arrival < $before
order by batch.arrival
limit $limit
"""
# ... those of some profiles alone.
WAITING_FOR_PROFILES = """
select batch.arrival, batch.import, batch.feed, batch.profile, batch.at_ms,
       import.started_ms, batch.devices, batch.held, batch.content
from store.outbox as batch
join store.import on import.number = batch.import
where batch.output = $output
  and batch.state = $waiting
  and batch.feed in (select unnest($feeds::integer[]))
  and batch.arrival > $after
  and batch.arrival < $before
  and batch.profile in (select unnest($profiles::bigint[]))
order by batch.arrival
limit $limit
"""
# A dead batch may be tried again, and then leave after newer ones of its profile.
DEAD_PROFILES = """
select distinct profile
from store.outbox
where output = $output and state = $dead and profile is not null
"""
# `outcome` has what became of each batch.
PUT_FORWARDED = """
insert into store.forwarded
select $output, arrival, said, $now_ms
from outcome
where not dead
order by arrival
"""
# Batches that have left, or are not to leave, wait no more.
TAKE_OUT = """
delete from store.outbox
where output = $output and arrival in (select arrival from outcome where not dead)
"""
# A dead batch stays in the outbox, with the reason, until somebody looks at it.
MARK_DEAD = """
update store.outbox as batch
set state = $dead, why = outcome.said, failed_ms = $now_ms
from outcome
where batch.output = $output and batch.arrival = outcome.arrival and outcome.dead
"""


@dataclass(frozen=True, slots=True)
class WaitingBatch:
    """A batch of the outbox."""

    arrival: int
    """Its arrival."""
    number: int
    """The import that brought it."""
    feed: int
    """The number of its feed."""
    profile: int | None
    """Its profile; None: it is nobody's, and content is all of it."""
    at_ms: int
    """Its own time."""
    received_ms: int
    """When it was received."""
    devices: str | None
    """The JSON of its device identities."""
    held: str | None
    """The JSON of identities that its profile held after it and has lost in the same import."""
    content: str | None
    """The JSON of a batch that is nobody's."""


class FeedRoute(NamedTuple):
    """A connection of a feed and the output it leads to."""

    connection: Connection
    """The connection."""
    output: Output
    """The output."""


def waiting_for(
    store: OpenStore,
    output: str,
    feeds: Sequence[int],
    *,
    after: int,
    limit: int,
    before: int = NO_END,
    profiles: Collection[int] | None = None,
) -> list[WaitingBatch]:
    """Return the next batches that wait for an output, in order of arrival.

    after, before: the arrivals they come between; profiles: of these only.
    """
    bound: dict[str, object] = {
        "output": output,
        "waiting": WAITING,
        "feeds": list(feeds),
        "after": after,
        "before": before,
        "limit": limit,
    }
    if profiles is None:
        rows = store.scratch.rows(WAITING_FOR, bound)
    else:
        rows = store.scratch.rows(WAITING_FOR_PROFILES, {**bound, "profiles": list(profiles)})
    return [WaitingBatch(*row) for row in rows]


def dead_of(store: OpenStore, output: str) -> frozenset[int]:
    """Return the profiles that have a dead batch to an output."""
    rows = store.scratch.rows(DEAD_PROFILES, {"output": output, "dead": DEAD})
    return frozenset(profile for (profile,) in rows)


def record(
    store: OpenStore,
    output: str,
    outcomes: Sequence[BatchOutcome],
    *,
    now_ms: int,
    written: Mapping[int, tuple[View, HandedOver]],
) -> None:
    """Write down what became of batches, in one transaction.

    written: what the output has once a batch has arrived, by arrival.
    """
    arrived = [
        written[outcome.arrival]
        for outcome in outcomes
        if outcome.said in ARRIVED and outcome.arrival in written
    ]
    scratch = store.scratch
    scratch.load(
        "outcome",
        [("arrival", "BIGINT"), ("said", "VARCHAR"), ("dead", "BOOLEAN")],
        [(outcome.arrival, outcome.said, outcome.dead) for outcome in outcomes],
    )
    with store.transaction():
        scratch.run(PUT_FORWARDED, {"output": output, "now_ms": now_ms})
        scratch.run(TAKE_OUT, {"output": output})
        if any(outcome.dead for outcome in outcomes):
            scratch.run(MARK_DEAD, {"output": output, "dead": DEAD, "now_ms": now_ms})
        write_handed_over(store, output, arrived)
    scratch.drop("outcome")


def routes(store: OpenStore) -> list[FeedRoute]:
    """Return the connections of a store, with their outputs."""
    declared = {output.name: output for output in outputs(store)}
    return [
        FeedRoute(connection, declared[connection.output])
        for connection in connections(store)
        if connection.output in declared
    ]
