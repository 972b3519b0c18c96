"""What an import writes: prepared beside the store, then copied into it in one transaction.

Everything that takes time (sorting, comparing, putting together) happens in the scratch, while
others read the store; under the write lock tables are only copied. A prepared table is named after
the table it becomes: ready_row becomes row_N.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

import duckdb
import orjson

from profilectl.importing.leaving import Leaves, prepare_outgoing, write_outgoing
from profilectl.importing.merge import Merged
from profilectl.importing.stage.run import Staged
from profilectl.importing.stage.staged import Rejects
from profilectl.importing.suppression import Guard, clear_rejects
from profilectl.rules.counts import ImportReport
from profilectl.rules.event.event import NAMED_FREELY, names_warning
from profilectl.rules.feed import ACCOUNT, Feed
from profilectl.rules.identity import NO_JUDGING, Judging
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch
from profilectl.store.segments import Segment, known_events, write_table
from profilectl.store.store import OpenStore, who

REJECT_COLUMNS = "{file: 'VARCHAR', line: 'BIGINT', row: 'BIGINT', code: 'VARCHAR', message: 'VARCHAR', raw: 'VARCHAR'}"


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tables that are ready: which kinds of a segment's there are, how many rows it applies,
    and where batches go.
    """

    kinds: tuple[str, ...]
    rows: int
    leaves: tuple[Leaves, ...] = ()


@dataclass(frozen=True, slots=True)
class Import:
    """What the history will say of an import.

    first: the arrival of its first row. request: its files and options as JSON; needs: the earlier
    imports it rests on (dependence.py); judging: what is nobody's identity.
    """

    number: int
    first: int
    feed: Feed
    registers: bool
    started_ms: int
    request: dict[str, Any]
    needs: list[int]
    judging: Judging = NO_JUDGING
    guard: Guard | None = None
    """What keeps out who was erased; None where nobody was."""


def prepare(
    scratch: Scratch,
    staged: Staged,
    merged: Merged,
    rejects: Rejects,
    made: Import,
    protection: str,
    environment: str,
    leaves: tuple[Leaves, ...] = (),
) -> Prepared:
    """Make the tables that `write` copies.

    The relations of sift, resolve and merge are made; the store is attached, for reading is enough.
    environment: of rows that state none; leaves: where the batches go.
    """
    first, number = made.first, made.feed.number
    kinds: list[str] = []

    def ready(kind: str, select: str = "", *, always: bool = False) -> None:
        if select:
            scratch.make(f"ready_{kind}", select)
        if always or scratch.count(f"ready_{kind}"):
            kinds.append(kind)
        else:
            scratch.drop(f"ready_{kind}")

    applied = int(scratch.row("select count(*) from resolved where profile is not null")[0])
    if applied:
        ready("row", merged.row, always=True)
        ready("index", "select hash, profile, type from unheld order by hash")
        ready(
            "mpid",
            "select mpid, environment, profile from ready_row where mpid is not null order by mpid",
        )
        ready(
            "blocked",
            f"select * from ({' union all '.join(merged.blocked.values())}) order by profile, arrival",
        )
        if merged.loose:
            cells = f"select profile, seq + {first} as arrival, {number}::usmallint as feed"
            ready(
                "loose",
                f"{cells}, key, value from loose_cell where coalesce(w, 'SET') = 'SET' order by profile, arrival",
            )
            ready(
                "blocked_loose",
                f"{cells}, w as code, key, value from loose_cell where w <> 'SET' order by profile, arrival",
            )
        if "rest" in staged.plain:
            ready(
                "rest",
                f"select resolved.profile, usable.seq + {first} as arrival, usable.rest from usable"
                " join resolved on resolved.seq = usable.seq where usable.rest is not null and resolved.profile is not null"
                " order by resolved.profile, arrival",
            )
        if staged.events:
            _lay_events(scratch, staged, first)
            ready("event")
    prepare_history(scratch, staged, rejects, made, protection)
    _prepare_remarks(scratch, made.first)
    prepare_outgoing(
        scratch,
        staged,
        first=first,
        environment=environment,
        now_ms=made.started_ms,
        protection=protection,
        applied=bool(applied),
        wanted=bool(leaves),
    )
    return Prepared(tuple(kinds), applied, leaves)


def _lay_events(scratch: Scratch, staged: Staged, first: int) -> None:
    """Make ready_event, sorted by profile, arrival and place (compaction.ORDER).

    Of a first load, where every row makes a profile of its own, the events lie in this order as
    they were read. They are most of what there is to write: not to sort them, and not to copy them
    before they are copied, is a sixth of the whole.
    """
    if staged.events_in_order and _all_found(scratch):
        environment, feed = scratch.row(
            "select any_value(environment), any_value(feed) from ready_row"
        )
        scratch.make(
            "ready_event",
            f"select seq + {first} as profile, seq + {first} as arrival, place, {environment}::utinyint as environment, {feed}::usmallint as feed,"
            " type, name, at_ms, session, event from staged_event",
            keep=False,
        )
        return
    scratch.make(
        "ready_event",
        "select row.profile, row.arrival, one.place, row.environment, row.feed, one.type, one.name, coalesce(one.at_ms, row.at_ms) as at_ms,"
        f" one.session, one.event from staged_event as one join ready_row as row on row.arrival = one.seq + {first}"
        " order by row.profile, row.arrival, one.place",
    )


def _all_found(scratch: Scratch) -> bool:
    """Say whether every row makes a profile of its own, of one environment, and every event says
    its time.
    """
    own, rows = scratch.row(
        "select count(*) filter (profile = arrival) = count(*) and min(environment) = max(environment), count(*) from ready_row"
    )
    return (
        bool(own)
        and rows == scratch.count("staged")
        and not scratch.row("select exists (from staged_event where at_ms is null)")[0]
    )


def prepare_history(
    scratch: Scratch, staged: Staged, rejects: Rejects, made: Import, protection: str
) -> None:
    """Make the tables of what an import leaves beside its segment, of the relations taken, dropped
    and resolved.
    """
    scratch.make(
        "ready_removed", f"select profile, type, hash, arrival, {made.number} as import from taken"
    )
    scratch.make(
        "ready_dropped",
        f"select seq + {made.first} as arrival, code from dropped union all select seq + {made.first}, code from resolved where code is not null",
    )
    if "request" in staged.plain and protection != "read-only":
        scratch.make(
            "ready_request",
            f"select {made.feed.number} as feed, request, {made.started_ms} as at_ms, {made.number} as import, seq + {made.first} as arrival from usable where request is not null",
        )
    else:
        scratch.drop("ready_request")
    runs = [
        _line_runs(file.lines, file.first_line, made.first + offset, file.span)
        for file, offset in zip(staged.files, staged.offsets, strict=True)
        if file.span
    ]
    scratch.make(
        "ready_line_run",
        " union all ".join(runs)
        or "select 0::bigint as first_arrival, 0::bigint as first_line where false",
    )
    scratch.drop("ready_reject")
    if len(rejects):
        scratch.keep_order()
        scratch.make(
            "ready_reject",
            f"select {made.number} as import, file, coalesce(line, row) as line, code, message, raw from"
            f" read_ndjson($path, columns = {REJECT_COLUMNS}, maximum_object_size = 134217728)",
            {"path": str(rejects.path)},
        )
        if made.guard is not None:
            clear_rejects(scratch, made.first, made.judging, made.guard)
        scratch.forget_order()


def remarks(scratch: Scratch) -> str:
    """Return the SELECT of (seq, code, attribute, type, value): what was left out of rows, and what
    is worth knowing of them; nothing of it kept a row out.
    """
    parts = [
        "select seq, code, null::varchar as attribute, null::utinyint as type, null::varchar as value from warned",
        "select seq, code, attribute, null, null from skipped",
    ]
    if scratch.has("skipped_identity"):
        parts.append("select seq, code, null, type, value from skipped_identity")
    if scratch.has("consent_refused"):
        parts.append(
            "select seq, 'CONSENT_SOURCE_NOT_ALLOWED', null, null, null from consent_refused"
        )
    if scratch.has("consent_ahead"):
        parts.append("select seq, 'CONSENT_FUTURE', purpose, null, null from consent_ahead")
    return " union all ".join(parts)


def _prepare_remarks(scratch: Scratch, first: int) -> None:
    """Make what was said of rows, and the identities of those that protection kept from a profile.

    Of a row that did not apply no value is kept: nobody's profile has it, so it would go with
    nobody.
    """
    scratch.make(
        "ready_remark",
        f"select seq + {first} as arrival, code, type, case when seq in (select seq from resolved where profile is not null) then value end as value,"
        f" case when seq + {first} not in (select arrival from ready_dropped) then attribute end as attribute"
        f" from ({remarks(scratch)}) order by arrival, code, type, attribute",
    )
    scratch.make(
        "ready_passed_claim",
        f"select seq + {first} as arrival, type, hash from claim where seq in (select seq from warned where code = 'PROTECTED_MATCH')"
        " and type in (select type from lookup_type) order by arrival, type",
    )


def _line_runs(lines: str | None, first_line: int, first: int, span: int) -> str:
    """Return the SELECT of where each row stands in its file, as runs of rows that follow each
    other line by line.
    """
    if lines is None:
        return f"select {first}::bigint as first_arrival, {first_line}::bigint as first_line"
    return (
        f"select seq + {first} as first_arrival, line as first_line from"
        f" (select seq, line, line - seq as shift, lag(line - seq) over (order by seq) as before from {lines})"
        " where before is null or before <> shift"
    )


def warn_of_names(store: OpenStore, feed: Feed, report: ImportReport) -> None:
    """Say in the report where the workspace has more distinct event names with this import than the
    platform takes.
    """
    if feed.source == ACCOUNT:
        return
    seen = [str(one.number) for one in store.feeds() if one.seen_in(feed.workspace)]
    named = f"type in ({', '.join(map(quote_text, NAMED_FREELY))})"
    before = known_events(
        store.segments(),
        where=f"where {named} and feed in ({', '.join(seen) or 'null'})",
        columns=("name",),
    )
    (count,) = store.scratch.row(
        f"select count(distinct name) from ({before} union all select name from ready_event where {named})"
    )
    warning = names_warning(count, f"the workspace {feed.workspace}")
    if warning and warning not in report.notices:
        report.notices.append(warning)


def write(
    store: OpenStore, prepared: Prepared, made: Import, staged: Staged, report: ImportReport
) -> None:
    """Copy what is prepared into the store, with the history, in one transaction.

    Raises StoreUnusable where the disk does not take it; then the store is as before.
    """
    scratch = store.scratch
    # The prepared tables are sorted; they are copied as they lie.
    scratch.keep_order()
    try:
        with store.transaction():
            if made.registers:
                store.put_feed(made.feed, by_import=made.number)
            if prepared.rows:
                segment = Segment(
                    store.next_segment(),
                    made.number,
                    made.number,
                    prepared.rows,
                    prepared.kinds,
                    tuple(staged.identities),
                    tuple(staged.keys),
                )
                for kind in prepared.kinds:
                    write_table(scratch, segment.table(kind), kind, f"select * from ready_{kind}")
                store.put_segment(segment)
            for table in (
                "removed",
                "dropped",
                "request",
                "line_run",
                "reject",
                "remark",
                "passed_claim",
                "alias",
            ):
                if scratch.has(f"ready_{table}"):
                    scratch.run(f"insert into store.{table} by name select * from ready_{table}")
            write_outgoing(store, made.number, made.feed.number, prepared.leaves, made.first)
            _write_import(store, made, staged, report)
    finally:
        # A database that a failed write has shut takes no further statement; why it failed is what
        # must be told.
        with contextlib.suppress(duckdb.FatalException):
            scratch.forget_order()


def _sealed_files(store: OpenStore, made: Import, guard: Guard) -> dict[str, str]:
    """Make the hashes of files with the key that hold a row of somebody erased, and return them:
    plain -> as they are kept. Whoever guesses the row could make the plain one.
    """
    bound = {"import": made.number}
    touched = store.scratch.rows(
        "select distinct place, sha256 from store.import_file as file join store.dropped as row on row.arrival >= file.first_arrival"
        " and row.arrival < file.first_arrival + file.arrivals where file.import = $import and row.code = 'SUPPRESSED'",
        bound,
    )
    for place, sha256 in touched:
        store.scratch.run(
            "update store.import_file set sha256 = $sealed where import = $import and place = $place",
            {**bound, "sealed": guard.text(sha256), "place": place},
        )
    return {sha256: guard.text(sha256) for _, sha256 in touched}


def _write_import(store: OpenStore, made: Import, staged: Staged, report: ImportReport) -> None:
    ends = [
        *(
            offset
            for file, offset in zip(staged.files, staged.offsets, strict=True)
            if not file.more
        ),
        staged.span,
    ]
    for place, (file, offset) in enumerate(
        (file, offset)
        for file, offset in zip(staged.files, staged.offsets, strict=True)
        if not file.more
    ):
        store.scratch.run(
            "insert into store.import_file values ($import, $place, $path, $sha256, $unit, $first, $arrivals)",
            {
                "import": made.number,
                "place": place,
                "path": file.name,
                "sha256": file.sha256,
                "unit": file.unit,
                "first": made.first + offset,
                "arrivals": ends[place + 1] - offset,
            },
        )
    sealed = _sealed_files(store, made, made.guard) if made.guard is not None else {}
    # The history keeps numbers, and nobody's values.
    said = {name: value for name, value in report.as_json().items() if name != "shared"}
    for file in said["files"]:
        file["sha256"] = sealed.get(file["sha256"], file["sha256"])
    store.scratch.run(
        "insert into store.import values ($number, $feed, $source, $protection, $environment, $started, $finished,"
        " $first, $arrivals, $report, $made_by, $request, $needs, null, null)",
        {
            "number": made.number,
            "feed": made.feed.number,
            "source": made.feed.source,
            "protection": report.protection,
            "environment": report.environment,
            "started": made.started_ms,
            "finished": time.time_ns() // 1_000_000,
            "first": made.first,
            "arrivals": staged.span,
            "report": orjson.dumps(said).decode(),
            "made_by": who(),
            "request": orjson.dumps(made.request).decode(),
            "needs": made.needs,
        },
    )
