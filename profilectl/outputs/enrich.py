"""What would leave for each batch of a file: imported into a copy of the store that is thrown away.

So it is an import like any other, with the profiles as they would be; the store itself is only
read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from profilectl.codes import UsageError
from profilectl.files.suppression_key import key_of_store
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.outputs.compose import Composer, composer_of
from profilectl.outputs.handed_over import Riding, riding_of
from profilectl.outputs.outbox import WaitingBatch, dead_of, routes, waiting_for
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
"""Where everything goes: each batch is put together, whatever the outputs take of it."""
Routes = Sequence[tuple[Connection, Output]]


@dataclass(frozen=True, slots=True)
class Enriched:
    """A batch of a file.

    unit: line or row, place: which. code: why its row was left out ("": it was not). document: it,
    completed, as it would leave to an output that takes everything. leaves: output -> what leaves
    to it, or why nothing does.
    """

    file: str
    unit: str
    place: int
    code: str
    document: dict[str, Value] | None
    leaves: dict[str, dict[str, Value] | str]

    @property
    def enriched(self) -> bool:
        """Whether a profile completes it: one of a feed that only reads leaves as it came."""
        return self.document is not None and "mpid" in self.document

    def as_value(self) -> dict[str, Value]:
        """Return the line of `enrich --json`; numbers digit for digit."""
        outputs: list[Value] = [
            {
                "output": name,
                "leaves": not isinstance(found, str),
                "reason": found if isinstance(found, str) else None,
                "batch": None if isinstance(found, str) else found,
            }
            for name, found in self.leaves.items()
        ]
        return {
            "file": self.file,
            self.unit: Number(str(self.place)),
            "code": self.code or None,
            "enriched": self.enriched,
            "batch": self.document,
            "outputs": outputs,
        }


def enrich(
    path: Path, request: ImportRequest, *, output: str | None = None
) -> tuple[ImportReport, list[Enriched]]:
    """Return what would leave for each batch of some files, and the report that their import would
    give.

    output: to that one only. Raises UsageError where the feed is not connected to it, and what an
    import raises.
    """
    with scratch_beside(path.absolute()) as scratch:
        copy = scratch.folder / "enriched.duckdb"
        if path.exists():
            copy_store(path, copy, until=time.monotonic() + request.wait_s)
        with open_store(scratch, copy, write=True, create=True) as store:
            connected = routes(store)
            wanted = [
                (one, to)
                for one, to in connected
                if one.feed == request.feed and (output is None or output == one.output)
            ]
            declared = sorted(one.name for one in outputs(store))
            if output is not None and output not in declared:
                raise no_such("output", output, declared, option="--output")
            if output is not None and not wanted:
                raise UsageError(
                    f"the feed {request.feed} is not connected to an output {output}",
                    "profilectl config export shows the connections",
                )
            with store.transaction():
                replace_connections(
                    store,
                    [ANY, *(one for one in outputs(store) if one.name != ANY.name)],
                    [Connection("any", request.feed, ANY.name)],
                )
        with key_of_store(path):
            report = import_files(
                copy, replace(request, again=True, rejects=str(scratch.folder / "rejects.jsonl"))
            )
        with open_store(scratch, copy) as store:
            return report, _enriched(store, report, wanted, connected)


def _riding(
    store: OpenStore,
    composer: Composer,
    output: str,
    connected: Routes,
    waiting: Sequence[WaitingBatch],
    first: int,
) -> Riding:
    """Return what an output will have of those who are in a file once all that waits for it now has
    left, which leaves first. connected: all that is; first: the arrival of the file's first row.
    """
    profiles = {one.profile for one in waiting if one.profile is not None}
    riding = riding_of(store, output, profiles, dead_of(store, output))
    there = {one.feed: (one, to) for one, to in connected if one.output == output and one.active}
    feeds = {
        number: there[feed.name] for number, feed in composer.feeds.items() if feed.name in there
    }
    before = waiting_for(
        store, output, list(feeds), after=-1, limit=2**31, before=first, profiles=profiles
    )
    composed = composer.compose(before)
    for one in before:
        if one.arrival in composed:
            composer.leaving(one, composed[one.arrival], *feeds[one.feed], riding)
    return riding


def _enriched(
    store: OpenStore, report: ImportReport, wanted: Routes, connected: Routes
) -> list[Enriched]:
    composer = composer_of(store)
    feed = store.feed(report.feed)
    waiting = waiting_for(store, ANY.name, [feed.number] if feed else [], after=-1, limit=2**31)
    composed = composer.compose(waiting)
    places = (
        {
            arrival: (file, unit, place)
            for arrival, file, unit, place in store.scratch.rows(
                "select one.arrival, file.path, file.unit, run.first_line + one.arrival - run.first_arrival from"
                " (select unnest(range(first_arrival, first_arrival + arrivals)) as arrival from store.import where number = $number) as one"
                " asof join (select * from store.import_file where import = $number) as file on one.arrival >= file.first_arrival"
                " asof join store.line_run as run on one.arrival >= run.first_arrival",
                {"number": report.number},
            )
        }
        if report.number
        else {}
    )
    codes = dict(store.scratch.rows("select arrival, code from store.dropped"))
    by_arrival = {one.arrival: one for one in waiting}
    riding = {
        one.output: _riding(store, composer, one.output, connected, waiting, min(places, default=0))
        for one, _ in wanted
    }
    found = []
    for arrival, (file, unit, place) in sorted(places.items()):
        outgoing = composed.get(arrival)
        if outgoing is None and arrival not in codes:
            continue  # a line that has no row, or was rejected
        leaves: dict[str, dict[str, Value] | str] = {}
        for one, to in wanted:
            if outgoing is None:
                leaves[one.output] = codes[arrival]
                continue
            leaves[one.output] = (
                composer.leaving(by_arrival[arrival], outgoing, one, to, riding[one.output])
                if one.active
                else "INACTIVE"
            )
        found.append(
            Enriched(
                file,
                unit,
                place,
                codes.get(arrival, ""),
                outgoing.document if outgoing else None,
                leaves,
            )
        )
    return found
