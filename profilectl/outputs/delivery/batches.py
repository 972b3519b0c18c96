"""Batches of feeds on their way to an output: each is put together as it is sent."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.outputs.compose import Composer, composer_of
from profilectl.outputs.delivery.parcel import SURE, Parcel
from profilectl.outputs.delivery.waiting import StoreAccess, Taken
from profilectl.outputs.handed_over import Riding, View, riding_of
from profilectl.outputs.outbox import (
    FeedRoute,
    WaitingBatch,
    dead_of,
    record,
    routes,
    waiting_for,
)
from profilectl.rules.leaving.enrichment import HandedOver, Outgoing
from profilectl.rules.leaving.output import BatchOutcome, Output
from profilectl.store.store import OpenStore


@dataclass(slots=True)
class BatchesWaiting:
    """The batches of feeds that wait for an output."""

    stores: StoreAccess
    """Opens the store."""
    output: Output
    """The output."""
    written: dict[int, tuple[View, HandedOver]] = field(default_factory=dict)
    """By the arrival of a batch that was taken: what the output has once it has reached it."""

    def take(self, after: int, limit: int) -> Taken | None:
        """Put the next batches together; None: nothing waits."""
        with self.stores.open() as store:
            block = _block_of(store, self.output.name, after=after, limit=limit)
        if block is None:
            return None
        leaving = _taken(block, self.output)
        self.written = block.riding.written
        return leaving

    def record(self, store: OpenStore, outcomes: Sequence[BatchOutcome]) -> None:
        """Write down what became of the batches that were taken in the call before."""
        now_ms = time.time_ns() // 1_000_000
        record(store, self.output.name, outcomes, now_ms=now_ms, written=self.written)


@dataclass(frozen=True, slots=True)
class _Block:
    """Batches that wait for an output, and what is needed to let them leave."""

    waiting: Sequence[WaitingBatch]
    """The batches, in order of arrival."""
    composed: Mapping[int, Outgoing]
    """The same put together, by arrival; a batch is missing if its profile is not there any more.
    """
    composer: Composer
    """What put them together."""
    routes: Mapping[int, FeedRoute]
    """The connections to the output, by the number of the feed."""
    riding: Riding
    """The deletions that ride along."""


def _block_of(store: OpenStore, output: str, *, after: int, limit: int) -> _Block | None:
    """Return the next batches that wait for an output; None: nothing waits."""
    composer = composer_of(store)
    active = {
        route.connection.feed: route
        for route in routes(store)
        if route.connection.output == output and route.connection.active
    }
    by_number = {
        number: active[feed.name] for number, feed in composer.feeds.items() if feed.name in active
    }
    waiting = waiting_for(store, output, list(by_number), after=after, limit=limit)
    if not waiting:
        return None
    profiles = {batch.profile for batch in waiting if batch.profile is not None}
    return _Block(
        waiting=waiting,
        composed=composer.compose(waiting),
        composer=composer,
        routes=by_number,
        riding=riding_of(store, output, profiles, watched=dead_of(store, output)),
    )


def _taken(block: _Block, output: Output) -> Taken:
    """Return the batches of a block that leave now.

    If a batch that states deletions does not arrive, the next batch of the person states them. So
    that next batch waits for another round, unless the output takes every batch or none.
    """
    parcels: list[Parcel] = []
    outcomes: list[BatchOutcome] = []
    telling: set[int] = set()
    later: list[int] = []
    for batch in block.waiting:
        if batch.profile in telling and output.type not in SURE:
            later.append(batch.arrival)
            continue
        outgoing = block.composed.get(batch.arrival)
        if outgoing is None:
            outcomes.append(BatchOutcome(batch.arrival, "GONE"))
            continue
        route = block.routes[batch.feed]
        leaving = block.composer.leaving(batch, outgoing, route, riding=block.riding)
        if isinstance(leaving, str):
            outcomes.append(BatchOutcome(batch.arrival, leaving))
            continue
        # From here on the later batches of this person wait for what becomes of this one.
        if batch.profile is not None and "deleted_user_attributes" in leaving:
            telling.add(batch.profile)
        parcels.append(
            Parcel(
                arrival=batch.arrival,
                lane=outgoing.mpid if outgoing.mpid is not None else batch.arrival,
                request=str(leaving["source_request_id"]),
                received_ms=batch.received_ms,
                document=leaving,
            )
        )
    after = later[0] - 1 if later else block.waiting[-1].arrival
    return Taken(after, parcels, outcomes)
