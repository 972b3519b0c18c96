"""What waits to leave: put into the store with the import that brought it, taken out when it has
arrived.

A row says which batch goes where; the batch itself is put together when it is sent (compose.py),
from what the store has of its profile up to that batch. Of a feed that only reads nothing is kept
but the row, so the row has all of it. Rows go with their profile when that is erased, and with
their import when that is taken back.

    ready_passed    arrival, events, environment, at_ms, types   each batch that was processed and is nobody's: it is counted
    ready_outgoing  arrival, profile, at_ms, events, devices, held, content   each batch that may leave
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from profilectl.outputs.handed_over import View, write_handed_over
from profilectl.rules.leaving.connection import Connection
from profilectl.rules.leaving.enrichment import HandedOver
from profilectl.rules.leaving.output import ARRIVED, DEAD, WAITING, BatchOutcome, Output
from profilectl.store.definitions import connections, outputs
from profilectl.store.store import OpenStore


@dataclass(frozen=True, slots=True)
class WaitingBatch:
    """A batch of the outbox.

    at_ms: its own time; received_ms: when it was received. profile: None where it is nobody's, and
    content is all of it.
    """

    arrival: int
    number: int
    feed: int
    profile: int | None
    at_ms: int
    received_ms: int
    devices: str | None
    held: str | None
    content: str | None


def waiting_for(
    store: OpenStore,
    output: str,
    feeds: Sequence[int],
    *,
    after: int,
    limit: int,
    before: int | None = None,
    profiles: Collection[int] | None = None,
) -> list[WaitingBatch]:
    """Return the next batches that wait for an output, in order of arrival.

    after, before: the arrivals they come between; profiles: of these only.
    """
    within = "" if before is None else f" and arrival < {before}"
    within += (
        "" if profiles is None else f" and profile in ({', '.join(map(str, profiles)) or 'null'})"
    )
    listed = ", ".join(map(str, feeds)) or "null"
    rows = store.scratch.rows(
        "select arrival, import, outbox.feed, profile, at_ms, import.started_ms, devices, held, content from store.outbox"
        f" join store.import on import.number = outbox.import where output = $output and state = '{WAITING}'"
        f" and outbox.feed in ({listed}) and arrival > $after{within} order by arrival limit {limit}",
        {"output": output, "after": after},
    )
    return [WaitingBatch(*row) for row in rows]


def dead_of(store: OpenStore, output: str) -> frozenset[int]:
    """Return the profiles of whom a batch to an output is dead."""
    rows = store.scratch.rows(
        f"select distinct profile from store.outbox where output = $output and state = '{DEAD}' and profile is not null",
        {"output": output},
    )
    return frozenset(profile for (profile,) in rows)


def record(
    store: OpenStore,
    output: str,
    outcomes: Sequence[BatchOutcome],
    now_ms: int,
    written: Mapping[int, tuple[View, HandedOver]] | None = None,
) -> None:
    """Write down what became of batches, in one transaction.

    One that was taken out meanwhile is not put back. written: what the output has once a batch has
    arrived, by arrival.
    """
    taken = [
        written[one.arrival]
        for one in outcomes
        if written and one.said in ARRIVED and one.arrival in written
    ]
    scratch = store.scratch
    scratch.load(
        "outcome",
        [("arrival", "BIGINT"), ("said", "VARCHAR"), ("dead", "BOOLEAN")],
        [(one.arrival, one.said, one.dead) for one in outcomes],
    )
    bound = {"output": output, "now": now_ms}
    with store.transaction():
        scratch.run(
            "insert into store.forwarded select $output, arrival, said, $now from outcome where not dead order by arrival",
            bound,
        )
        scratch.run(
            "delete from store.outbox where output = $output and arrival in (select arrival from outcome where not dead)",
            {"output": output},
        )
        if any(one.dead for one in outcomes):
            scratch.run(
                f"update store.outbox set state = '{DEAD}', why = outcome.said, failed_ms = $now from outcome"
                " where outbox.output = $output and outbox.arrival = outcome.arrival and outcome.dead",
                bound,
            )
        write_handed_over(store, output, taken)
    scratch.drop("outcome")


def routes(store: OpenStore) -> list[tuple[Connection, Output]]:
    """Return the connections of a store, with their outputs."""
    there = {one.name: one for one in outputs(store)}
    return [(one, there[one.output]) for one in connections(store) if one.output in there]
