"""What would leave for each batch of a file: imported into a copy of the store that is thrown away.

So it is an import like any other, with the profiles as they would be; the store itself is only read.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from profilectl.codes import UsageError
from profilectl.composing import composer_of
from profilectl.copies import copy_store
from profilectl.definitions import outputs, replace_connections
from profilectl.engine import ImportRequest, import_files
from profilectl.enrichment import addressed
from profilectl.forwarding import Connection, filtered, refusal
from profilectl.naming import no_such
from profilectl.opening import open_store
from profilectl.outbox import routes, waiting_for
from profilectl.output import Output
from profilectl.report import ImportReport
from profilectl.scratch import scratch_beside
from profilectl.store import Store
from profilectl.values import Number, Value

ANY = Output("any", "jsonl", "any", accepts_eventless=True)
"""Where everything goes: each batch is put together, whatever the outputs take of it."""


@dataclass(frozen=True, slots=True)
class Enriched:
    """A batch of a file. code: why its row was left out ("": it was not). document: it, completed, as it would leave to an
    output that takes everything. leaves: output -> what leaves to it, or why nothing does."""

    file: str
    row: int
    code: str
    document: dict[str, Value] | None
    leaves: dict[str, dict[str, Value] | str]

    def as_value(self) -> dict[str, Value]:
        """Return the line of `enrich --json`; numbers digit for digit."""
        outputs: list[Value] = [
            {"output": name, "leaves": not isinstance(found, str), **({"reason": found} if isinstance(found, str) else {"batch": found})}
            for name, found in self.leaves.items()
        ]
        return {"file": self.file, "row": Number(str(self.row)), "code": self.code or None, "batch": self.document, "outputs": outputs}


def enrich(path: Path, request: ImportRequest, *, output: str | None = None) -> tuple[ImportReport, list[Enriched]]:
    """Return what would leave for each batch of some files, and the report that their import would give.

    output: to that one only. Raises UsageError where the feed is not connected to it, and what an import raises.
    """
    with scratch_beside(path.absolute()) as scratch:
        copy = scratch.folder / "enriched.duckdb"
        if path.exists():
            copy_store(path, copy, until=time.monotonic() + request.wait_s)
        with open_store(scratch, copy, write=True, create=True) as store:
            wanted = [(one, to) for one, to in routes(store) if one.feed == request.feed and (output is None or output == one.output)]
            declared = sorted(one.name for one in outputs(store))
            if output is not None and output not in declared:
                raise no_such("output", output, declared, option="--output")
            if output is not None and not wanted:
                raise UsageError(f"the feed {request.feed} is not connected to an output {output}", "profilectl config export shows the connections")
            with store.transaction():
                replace_connections(store, [ANY], [Connection("any", request.feed, ANY.name)])
        report = import_files(copy, replace(request, again=True, rejects=str(scratch.folder / "rejects.jsonl")))
        with open_store(scratch, copy) as store:
            return report, _enriched(store, report, wanted)


def _enriched(store: Store, report: ImportReport, wanted: list[tuple[Connection, Output]]) -> list[Enriched]:
    composer, login = composer_of(store), store.settings().rules.login
    feed = store.feed(report.feed)
    waiting = waiting_for(store, ANY.name, [feed.number] if feed else [], after=-1, limit=2**31)
    composed = composer.compose(waiting)
    places = {
        arrival: (file, place) for arrival, file, place in store.scratch.rows(
            "select one.arrival, file.path, run.first_line + one.arrival - run.first_arrival from"
            " (select unnest(range(first_arrival, first_arrival + arrivals)) as arrival from store.import where number = $number) as one"
            " asof join (select * from store.import_file where import = $number) as file on one.arrival >= file.first_arrival"
            " asof join store.line_run as run on one.arrival >= run.first_arrival",
            {"number": report.number},
        )
    } if report.number else {}
    codes = dict(store.scratch.rows("select arrival, code from store.dropped"))
    found = []
    for arrival, (file, place) in sorted(places.items()):
        outgoing = composed.get(arrival)
        if outgoing is None and arrival not in codes:
            continue  # a line that has no row, or was rejected
        leaves: dict[str, dict[str, Value] | str] = {}
        for one, to in wanted if outgoing is not None else ():
            assert outgoing is not None
            reason = refusal(outgoing, one, to, login) if one.active else "INACTIVE"
            left = None if reason else filtered(addressed(outgoing, one.output, composer.naming), one, to)
            leaves[one.output] = left if left is not None else reason or "FILTERED"
        found.append(Enriched(file, place, codes.get(arrival, ""), outgoing.document if outgoing else None, leaves))
    return found

