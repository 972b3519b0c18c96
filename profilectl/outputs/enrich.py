"""The preview of an import: what would leave for each batch of a file.

The file is imported into a copy of the store that is thrown away, so it is an import like any
other, with the profiles as they would be; the store itself is only read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from profilectl.codes import UsageError
from profilectl.files import progress
from profilectl.files.suppression_key import key_of_store
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.outputs.compose import Composer, composer_of
from profilectl.outputs.handed_over import Riding, riding_of
from profilectl.outputs.outbox import FeedRoute, WaitingBatch, dead_of, routes, waiting_for
from profilectl.rules.counts import ImportReport
from profilectl.rules.leaving.connection import Connection
from profilectl.rules.leaving.output import Output
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.values import Number, Value
from profilectl.store.copies import copy_store
from profilectl.store.definitions import outputs, replace_connections
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore

ANY = Output("any", "jsonl", "any", accepts_eventless=True)
"""Where everything goes: each batch is put together, also where no output takes it."""
ALL = 2**31
"""A limit that no file reaches."""

# The file and the line of each arrival of an import: those that begin last before the arrival.
PLACES = """
select row.arrival, file.path, file.unit,
       run.first_line + row.arrival - run.first_arrival as place
from (
    select unnest(range(first_arrival, first_arrival + arrivals)) as arrival
    from store.import
    where number = $number
) as row
asof join (
    select * from store.import_file where import = $number and arrivals > 0
) as file
  on row.arrival >= file.first_arrival
asof join store.line_run as run on row.arrival >= run.first_arrival
"""
# Why rows of the file were left out by the import.
DROPPED = "select arrival, code from store.dropped"


class EnrichedPlace(NamedTuple):
    """Where a row stands in the files."""

    file: str
    """The file."""
    unit: str
    """What is counted in it: line or row."""
    place: int
    """The number of the line or the row."""


@dataclass(frozen=True, slots=True)
class Enriched:
    """A batch of a file."""

    file: str
    """The file."""
    unit: str
    """What is counted in it: line or row."""
    place: int
    """The number of the line or the row."""
    code: str
    """Why its row was left out; "": it was not."""
    document: dict[str, Value] | None
    """The batch, completed, as it would leave to an output that takes everything."""
    leaves: dict[str, dict[str, Value] | str]
    """By output, what leaves to it, or why nothing does."""

    @property
    def enriched(self) -> bool:
        """Whether a profile completes it: a batch of a feed that only reads leaves as it came."""
        return self.document is not None and "mpid" in self.document

    def as_value(self) -> dict[str, Value]:
        """Return the line of `enrich --json`; numbers digit for digit."""
        outputs: list[Value] = [
            {
                "output": name,
                "leaves": not isinstance(leaving, str),
                "reason": leaving if isinstance(leaving, str) else None,
                "batch": None if isinstance(leaving, str) else leaving,
            }
            for name, leaving in self.leaves.items()
        ]
        return {
            "file": self.file,
            self.unit: Number(str(self.place)),
            "code": self.code or None,
            "enriched": self.enriched,
            "batch": self.document,
            "outputs": outputs,
        }


@dataclass(frozen=True, slots=True)
class _Preview:
    """The batches of a file in the copy of the store, and where they would go."""

    store: OpenStore
    """The copy of the store."""
    composer: Composer
    """Puts batches together."""
    connected: Sequence[FeedRoute]
    """All connections of the store itself."""
    chosen: Sequence[FeedRoute]
    """The connections of the feed that are looked at."""
    waiting: Sequence[WaitingBatch]
    """The batches of the file that passed the import."""
    begin: int
    """The arrival of the first row of the file."""

    def riding(self, output: str) -> Riding:
        """Return what an output will have of the people of the file when the file leaves.

        All that waits for the output leaves first.
        """
        profiles = {batch.profile for batch in self.waiting if batch.profile is not None}
        riding = riding_of(self.store, output, profiles, watched=dead_of(self.store, output))
        by_feed = {
            route.connection.feed: route
            for route in self.connected
            if route.connection.output == output and route.connection.active
        }
        routes_of = {
            number: by_feed[feed.name]
            for number, feed in self.composer.feeds.items()
            if feed.name in by_feed
        }
        before = waiting_for(
            self.store,
            output,
            list(routes_of),
            after=-1,
            limit=ALL,
            before=self.begin,
            profiles=profiles,
        )
        composed = self.composer.compose(before)
        for batch in before:
            if batch.arrival in composed:
                outgoing, route = composed[batch.arrival], routes_of[batch.feed]
                self.composer.leaving(batch, outgoing, route, riding=riding)
        return riding


def enrich(
    path: Path, request: ImportRequest, *, output: str | None = None
) -> tuple[ImportReport, list[Enriched]]:
    """Return the report of an import, and what would leave for each of its batches.

    output: to that one only. Raises UsageError where the feed is not connected to it, and the
    errors of an import.
    """
    with scratch_beside(path.absolute()) as scratch:
        copy = scratch.folder / "enriched.duckdb"
        if path.exists():
            copy_store(path, copy, until=time.monotonic() + request.wait_s)
        with open_store(scratch, copy, write=True, create=True) as store:
            connected = routes(store)
            chosen = _chosen(store, connected, request.feed, output=output)
            # In the copy the feed leads only to an output that takes everything, so that no filter
            # or rule keeps a batch from being put together.
            with store.transaction():
                replace_connections(
                    store,
                    [ANY, *(declared for declared in outputs(store) if declared.name != ANY.name)],
                    [Connection("any", request.feed, ANY.name)],
                )
        # The key that keeps erased people out lies beside the store, not beside the copy.
        with key_of_store(path):
            rejects = str(scratch.folder / "rejects.jsonl")
            # `again`: a file that was imported before can be previewed too.
            report = import_files(copy, replace(request, again=True, rejects=rejects))
        with open_store(scratch, copy) as store:
            return report, _enriched(store, report, chosen, connected=connected)


def _chosen(
    store: OpenStore, connected: Sequence[FeedRoute], feed: str, *, output: str | None
) -> list[FeedRoute]:
    """Return the connections of a feed that are looked at. Raises UsageError."""
    chosen = [
        route
        for route in connected
        if route.connection.feed == feed and output in (None, route.connection.output)
    ]
    declared = sorted(output.name for output in outputs(store))
    if output is not None and output not in declared:
        raise no_such("output", output, declared, option="--output")
    if output is not None and not chosen:
        raise UsageError(
            f"the feed {feed} is not connected to an output {output}",
            "profilectl config export shows the connections",
        )
    return chosen


def _enriched(
    store: OpenStore,
    report: ImportReport,
    chosen: Sequence[FeedRoute],
    *,
    connected: Sequence[FeedRoute],
) -> list[Enriched]:
    composer = composer_of(store)
    feed = store.feed(report.feed)
    waiting = waiting_for(store, ANY.name, [feed.number] if feed else [], after=-1, limit=ALL)
    progress.step("composing")
    composed = composer.compose(waiting)
    places = _places(store, report.number)
    codes = dict(store.scratch.rows(DROPPED))
    preview = _Preview(
        store=store,
        composer=composer,
        connected=connected,
        chosen=chosen,
        waiting=waiting,
        begin=min(places, default=0),
    )
    batches = {batch.arrival: batch for batch in waiting}
    riding = {route.connection.output: preview.riding(route.connection.output) for route in chosen}
    enriched = []
    for arrival, row in sorted(places.items()):
        outgoing = composed.get(arrival)
        if outgoing is None and arrival not in codes:
            continue  # a line that has no row, or was rejected
        leaves: dict[str, dict[str, Value] | str] = {}
        for route in chosen:
            name = route.connection.output
            if outgoing is None:
                leaves[name] = codes[arrival]
            elif route.connection.active:
                leaves[name] = composer.leaving(
                    batches[arrival], outgoing, route, riding=riding[name]
                )
            else:
                leaves[name] = "INACTIVE"
        document = outgoing.document if outgoing else None
        enriched.append(
            Enriched(*row, code=codes.get(arrival, ""), document=document, leaves=leaves)
        )
    return enriched


def _places(store: OpenStore, number: int | None) -> dict[int, EnrichedPlace]:
    """Return where each row of an import stands, by its arrival."""
    if not number:
        return {}
    rows = store.scratch.rows(PLACES, {"number": number})
    return {arrival: EnrichedPlace(*place) for arrival, *place in rows}
