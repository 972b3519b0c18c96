"""What an import writes: prepared beside the store, then copied into it in one transaction.

Everything that takes time (sorting, comparing, putting together) happens in the scratch, while
others read the store; under the write lock tables are only copied. A prepared table is named after
the table it becomes: ready_row becomes row_N.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import orjson

from profilectl.files import progress
from profilectl.importing.known import know_event_names
from profilectl.importing.relations import Relations, fill, make_empty, only_row, union_of
from profilectl.importing.stage.staged import Rejects, Staged, StagedFile
from profilectl.rules.counts import NO_REJECTS, ImportReport
from profilectl.rules.event.event import NAMED_FREELY, names_warning
from profilectl.rules.feed import ACCOUNT, Feed
from profilectl.rules.identity import NO_JUDGING, Judging
from profilectl.rules.mpid import mix_of
from profilectl.rules.sql.identities import HASH_BITS
from profilectl.store.segments import Segment, write_parts
from profilectl.store.store import OpenStore, who

if TYPE_CHECKING:
    from profilectl.importing.leaving import Leaves
    from profilectl.importing.suppression import Guard

# 1. The tables of the segment.
# Rows and identities are views, which are read when they are written: the rows of a first load go
# from the staged file straight into the store. They are sorted on the way (IN_ORDER), because no
# join of DuckDB keeps an order. That takes little, as they nearly lie in order.
READY_ROW = """
select * from new_segment_row
union all
select * from fresh_segment_row
union all
select * from contested_segment_row
"""
READY_INDEX = """
select hash, profile, type from lone_gain
union all
select hash, profile, type from settled_gain
"""
# Sorted in parts when it is written, so that less of it is held at once: claims lie in the order of
# the hashes. With all columns in the key DuckDB sorts nothing beside it. 7.5M identities in 700 MB
# take 1.35 CPU s, and 1.7 in one part by the hash alone.
PART_OF_INDEX = """
select *
from ready_index
where hash >= {start} and hash < {end}
order by hash, profile, type
"""
PART_OF_IDENTITIES = 1_000_000
"""About how many rows an index has a part for."""
# Rows are sorted and written in parts, so that a part of them is held at once. Without the MPIDs
# where they are mixes.
PART_OF_ROWS = """
select {columns}
from ready_row
where profile >= {start} and profile < {end}
order by profile, arrival
"""
# The founding rows (merge.FOUNDING_ROW) of such a part, by their places in the import.
FOUNDING_PART = """
select *
from usable
where seq >= {start} and seq < {end}
  and get_bit((select bits from other_bits)[(seq >> 16) + 1], (seq & 65535)::integer) = 0
"""
PART = 500_000
"""About how many profiles a part of the rows has. A million rows in one part take 150 MB more
memory than in two; in four they take a tenth longer.
"""
READY_MPID = """
select mpid, environment, profile
from ready_row
where mpid is not null
order by mpid
"""
READY_BLOCKED = """
select profile, seq + $first as arrival, * exclude (profile, seq)
from blocked_cell
order by profile, arrival
"""
READY_LOOSE = """
select profile, seq + $first as arrival, $feed::usmallint as feed, key, value
from loose_cell
where coalesce(w, 'SET') = 'SET'
order by profile, arrival
"""
READY_BLOCKED_LOOSE = """
select profile, seq + $first as arrival, $feed::usmallint as feed, w as code, key, value
from loose_cell
where w <> 'SET'
order by profile, arrival
"""
READY_REST = """
select resolved.profile, usable.seq + $first as arrival, usable.rest
from usable
join resolved on resolved.seq = usable.seq
where usable.rest is not null and resolved.profile is not null
order by resolved.profile, arrival
"""
# The events lie by profile, arrival and place (compaction.ORDER).
READY_EVENT = """
select row.profile, row.arrival, event.place, row.environment, row.feed, event.type, event.name,
       coalesce(event.at_ms, row.at_ms) as at_ms, event.session, event.event
from staged_event as event
join ready_row as row on row.arrival = event.seq + $first
order by row.profile, row.arrival, event.place
"""
# In a first load, where every row founds a profile, they lie in this order as they were read. They
# are most of what there is to write: as a view they are neither sorted nor held before they are
# copied, which saves a sixth of the whole.
READY_EVENT_AS_READ = "select {columns}, type, name, at_ms, session, event from staged_event"
ONLY_ENVIRONMENT = "select any_value(environment) from ready_row"
ALL_FOUND = """
select count(*) filter (profile = arrival) = count(*) and min(environment) = max(environment),
       count(*)
from ready_row
"""
HAS_EVENT_WITHOUT_TIME = "select exists (from staged_event where at_ms is null)"

# 2. What an import leaves beside its segment.
READY_REMOVED = "select profile, type, hash, arrival, $number::integer as import from lost_identity"
READY_DROPPED = """
select seq + $first as arrival, code from dropped
union all
select seq + $first, code from resolved where code is not null
"""
READY_REQUEST = """
select $feed::integer as feed, request, $now_ms::bigint as at_ms, $number::integer as import,
       seq + $first as arrival
from usable
where request is not null
"""
# Where each row of a file is, as runs of rows that follow each other line by line.
ONE_LINE_RUN = "select {first_arrival}::bigint as first_arrival, {first_line}::bigint as first_line"
LINE_RUNS = """
select seq + {first_arrival} as first_arrival, line as first_line
from (
  select seq, line, line - seq as shift, lag(line - seq) over (order by seq) as shift_before
  from {lines}
)
where shift_before is null or shift_before <> shift
"""
READY_REJECT = """
select $number::integer as import, file, coalesce(line, row) as line, code, message, raw
from read_ndjson(
  $path,
  columns = {
    file: 'VARCHAR', line: 'BIGINT', row: 'BIGINT', code: 'VARCHAR', message: 'VARCHAR',
    raw: 'VARCHAR'
  },
  maximum_object_size = 134217728
)
"""
# 3. What is remembered of rows: what was left out of them, and what is worth knowing.
OF_WARNINGS = """
select seq, code, null::varchar as attribute, null::utinyint as type, null::varchar as value
from warning
"""
OF_SKIPS = "select seq, code, attribute, null, null from skipped"
OF_SKIPPED_IDENTITIES = "select seq, code, null, type, value from skipped_identity"
OF_REFUSED_CONSENT = """
select seq, 'CONSENT_SOURCE_NOT_ALLOWED', null, null, null
from consent_refused
"""
OF_CONSENT_AHEAD = "select seq, 'CONSENT_FUTURE', purpose, null, null from consent_ahead"
# No value is kept of a row that did not apply: nobody's profile has it, so nobody's erasure would
# take it along.
READY_REMARK = """
select arrival, code, type,
       case when applied then value end as value,
       case when applied then attribute end as attribute
from (
  select seq + $first as arrival, code, type, value, attribute,
         seq + $first not in (select arrival from ready_dropped) as applied
  from remark
)
order by arrival, code, type, attribute
"""
READY_PASSED_CLAIM = """
select seq + $first as arrival, type, hash
from sharing_claim
where seq in (select seq from warning where code = 'PROTECTED_MATCH')
  and type in (select type from lookup_type)
order by arrival, type
"""
EVENT_NAMES = """
select count(distinct name)
from (
  select name from known_event_name
  union all
  select name from ready_event where list_contains($types::varchar[], type)
)
"""

# 4. The write.
WRITTEN_BY_NAME = (
    "removed",
    "dropped",
    "request",
    "line_run",
    "reject",
    "remark",
    "passed_claim",
    "alias",
)
"""The fixed tables that get the rows of a prepared one, if there is one."""
PUT_FILE = """
insert into store.import_file
values ($import, $place, $path, $sha256, $unit, $first, $arrivals)
"""
PUT_IMPORT = """
insert into store.import
values ($number, $feed, $source, $protection, $environment, $started, $finished, $first, $arrivals,
        $report, $made_by, $request, $needs, null, null)
"""
FILES_OF_ERASED = """
select distinct file.place, file.sha256
from store.import_file as file
join store.dropped as dropped
  on dropped.arrival >= file.first_arrival
  and dropped.arrival < file.first_arrival + file.arrivals
where file.import = $import and dropped.code = 'SUPPRESSED'
"""
SEAL_FILE = """
update store.import_file
set sha256 = $sealed
where import = $import and place = $place
"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tables that are ready."""

    kinds: tuple[str, ...]
    """Which tables of a segment there are."""
    rows: int
    """How many rows the segment has; 0: there is none."""


@dataclass(frozen=True, slots=True)
class Import:
    """The entry that an import gets in the history, and what it is made from."""

    number: int
    """Its number."""
    first_arrival: int
    """The arrival of its first row."""
    feed: Feed
    """The feed that brings it."""
    registers: bool
    """Whether it registers the feed."""
    started_ms: int
    """When it began."""
    request: Mapping[str, object]
    """Its files and options, as JSON."""
    needs: list[int]
    """The earlier imports it rests on (dependence.py)."""
    staged: Staged
    """Its rows, as they were staged."""
    report: ImportReport
    """Its report."""
    judging: Judging = NO_JUDGING
    """The rule of which values are nobody's identity."""
    guard: Guard | None = None
    """The guard that keeps erased people out; None if nobody was erased."""
    reading: Mapping[str, object] | None = None
    """The reading that becomes the feed's; None: it stays as it is."""


def prepare(
    relations: Relations,
    store: OpenStore,
    entry: Import,
    *,
    rejects: Rejects,
    leaves: Sequence[Leaves] = (),
) -> Prepared:
    """Make the tables that `write` copies. The relations of sift, resolve and merge are made.

    The store is open; for reading is enough. leaves: where the batches go.
    """
    # Here, because a correction only writes, and what leaves takes 50 ms to load.
    from profilectl.importing.leaving import Leaving, prepare_outgoing

    applied = entry.report.counts.rows["applied"]
    kinds = _prepare_segment(relations, entry) if applied else ()
    prepare_history(relations, store, entry, rejects=rejects)
    _prepare_remarks(relations, entry.first_arrival)
    leaving = Leaving(
        staged=entry.staged,
        first_arrival=entry.first_arrival,
        environment=entry.report.environment,
        now_ms=entry.started_ms,
        protection=entry.report.protection,
    )
    prepare_outgoing(relations, leaving, leaves, applied=bool(applied))
    return Prepared(kinds, applied)


def _prepare_segment(relations: Relations, entry: Import) -> tuple[str, ...]:
    """Make the tables of the segment; return those that have rows, and "row" always."""
    arrival, feed = {"first": entry.first_arrival}, {"feed": entry.feed.number}
    relations.make("ready_row", READY_ROW, keep=False)
    relations.make("ready_index", READY_INDEX, keep=False)
    relations.make("ready_blocked", READY_BLOCKED, arrival)
    kinds = ["row", "index", "blocked"]
    if relations.has("kept_mpid"):
        relations.make("ready_mpid", READY_MPID)
        kinds.append("mpid")
    if relations.has("loose_cell"):
        relations.make("ready_loose", READY_LOOSE, {**arrival, **feed})
        relations.make("ready_blocked_loose", READY_BLOCKED_LOOSE, {**arrival, **feed})
        kinds += ["loose", "blocked_loose"]
    if "rest" in entry.staged.plain:
        relations.make("ready_rest", READY_REST, arrival)
        kinds.append("rest")
    if entry.staged.events:
        _lay_events(relations, entry)
        kinds.append("event")
    # Of the index it is enough to see whether there is an entry: to count it takes 0.12 s.
    filled = [kind for kind in kinds if kind == "row" or _has_rows(relations, f"ready_{kind}")]
    for kind in set(kinds).difference(filled):
        relations.drop(f"ready_{kind}")
    return tuple(filled)


def _has_rows(relations: Relations, name: str) -> bool:
    """Return whether a relation has a row."""
    return bool(relations.rows(f"select 1 from {name} limit 1"))


def _lay_events(relations: Relations, entry: Import) -> None:
    """Make `ready_event`, in the order in which it is written."""
    bound = {"first": entry.first_arrival}
    if entry.staged.events_in_order and _all_found(relations):
        (environment,) = only_row(relations, ONLY_ENVIRONMENT)
        arrival = f"seq + {entry.first_arrival}"
        columns = (
            f"{arrival} as profile, {arrival} as arrival, place,"
            f" {environment}::utinyint as environment, {entry.feed.number}::usmallint as feed"
        )
        relations.make("ready_event", READY_EVENT_AS_READ.format(columns=columns), keep=False)
    else:
        relations.make("ready_event", READY_EVENT, bound)


def _all_found(relations: Relations) -> bool:
    """Return whether every row founds a profile, in one environment, and every event has a time."""
    own, rows = only_row(relations, ALL_FOUND)
    if not own or rows != relations.count("staged"):
        return False
    return not only_row(relations, HAS_EVENT_WITHOUT_TIME)[0]


def prepare_history(
    relations: Relations, store: OpenStore, entry: Import, *, rejects: Rejects
) -> None:
    """Make the tables of what an import leaves beside its segment.

    The relations lost_identity, dropped and resolved are made.
    """
    number, arrival = {"number": entry.number}, {"first": entry.first_arrival}
    relations.make("ready_removed", READY_REMOVED, number)
    relations.make("ready_dropped", READY_DROPPED, arrival)
    relations.drop("ready_request")
    if "request" in entry.staged.plain and entry.report.protection != "read-only":
        bound = {**number, **arrival, "feed": entry.feed.number, "now_ms": entry.started_ms}
        relations.make("ready_request", READY_REQUEST, bound)
    runs = [
        _line_runs(file, entry.first_arrival + offset)
        for file, offset in zip(entry.staged.files, entry.staged.offsets, strict=True)
        if file.span
    ]
    if runs:
        relations.make("ready_line_run", union_of(runs))
    else:
        make_empty(relations, "ready_line_run")
    relations.drop("ready_reject")
    if len(rejects) and entry.request.get("rejects") != NO_REJECTS:
        with store.scratch.ordered():
            if rejects.select:
                relations.make("ready_reject", rejects.select, number)
            else:
                relations.make("ready_reject", READY_REJECT, {**number, "path": str(rejects.path)})
            if entry.guard is not None:
                from profilectl.importing.suppression import clear_rejects

                clear_rejects(
                    relations, entry.first_arrival, judging=entry.judging, guard=entry.guard
                )


def _line_runs(file: StagedFile, first_arrival: int) -> str:
    """Return the SELECT of where the rows of a file stand in it."""
    if file.lines is None:
        return fill(ONE_LINE_RUN, first_arrival=first_arrival, first_line=file.first_line)
    return fill(LINE_RUNS, first_arrival=first_arrival, lines=file.lines)


def make_remarks(relations: Relations) -> None:
    """Make `remark`: what was left out of rows, and what is worth knowing of them.

    Nothing of it kept a row out.
    """
    selects = [OF_WARNINGS, OF_SKIPS]
    if relations.has("skipped_identity"):
        selects.append(OF_SKIPPED_IDENTITIES)
    if relations.has("consent_refused"):
        selects.append(OF_REFUSED_CONSENT)
    if relations.has("consent_ahead"):
        selects.append(OF_CONSENT_AHEAD)
    relations.make("remark", union_of(selects), keep=False)


def _prepare_remarks(relations: Relations, first_arrival: int) -> None:
    """Make the remarks, and the identities of rows that protection kept from a profile."""
    make_remarks(relations)
    relations.make("ready_remark", READY_REMARK, {"first": first_arrival})
    relations.make("ready_passed_claim", READY_PASSED_CLAIM, {"first": first_arrival})


def warn_of_names(
    relations: Relations, store: OpenStore, feed: Feed, *, report: ImportReport
) -> None:
    """Add a notice if the workspace has more distinct event names than the platform takes."""
    if feed.source == ACCOUNT:
        return
    know_event_names(relations, store, feed.workspace, types=NAMED_FREELY)
    (count,) = only_row(relations, EVENT_NAMES, {"types": list(NAMED_FREELY)})
    warning = names_warning(count, f"the workspace {feed.workspace}")
    if warning and warning not in report.notices:
        report.notices.append(warning)


def write(store: OpenStore, prepared: Prepared, entry: Import) -> None:
    """Copy what is prepared into the store, with the history, in one transaction.

    Raises StoreUnusable where the disk does not take it; then the store is as before.
    """
    scratch = store.scratch
    # The prepared tables are sorted; they are copied as they lie.
    with scratch.ordered(), store.transaction():
        if entry.registers:
            store.put_feed(entry.feed, by_import=entry.number)
        if entry.reading is not None:
            store.put_reading(entry.feed.name, entry.reading)
        if prepared.rows:
            _write_segment(store, prepared, entry)
        progress.step("history")
        for table in WRITTEN_BY_NAME:
            if scratch.has(f"ready_{table}"):
                scratch.run(f"insert into store.{table} by name select * from ready_{table}")
        if any(scratch.has(f"ready_{table}") for table in ("passed", "outgoing")):
            from profilectl.importing.leaving import write_outgoing

            write_outgoing(
                store,
                number=entry.number,
                feed=entry.feed.number,
                first_arrival=entry.first_arrival,
            )
        _write_import(store, entry)


def _write_segment(store: OpenStore, prepared: Prepared, entry: Import) -> None:
    """Write the tables of the segment, and the segment into the list of them."""
    segment = Segment(
        number=store.next_segment(),
        first_import=entry.number,
        last_import=entry.number,
        rows=prepared.rows,
        tables=prepared.kinds,
        identities=tuple(entry.staged.identities),
        keys=tuple(entry.staged.keys),
        mix=mix_of(store.meta("secret")),
    )
    for kind in prepared.kinds:
        parts: Iterable[str] = [f"select * from ready_{kind}"]
        if kind == "index":
            parts = _index_parts(segment.rows)
        elif kind == "row":
            parts = _row_parts(store.scratch, segment, entry)
        table, size = segment.table(kind), segment.rows
        write_parts(store.scratch, table=table, kind=kind, parts=parts, size=size)
    store.put_segment(segment)


def _index_parts(rows: int) -> list[str]:
    """Return the SELECT of each part of the index of a segment with a number of rows."""
    parts = max(1, rows // PART_OF_IDENTITIES)
    ends = [(place << HASH_BITS) // parts for place in range(parts + 1)]
    return [fill(PART_OF_INDEX, start=start, end=end) for start, end in pairwise(ends)]


def _row_parts(relations: Relations, segment: Segment, entry: Import) -> Iterator[str]:
    """Yield the SELECT of each part of the rows; make `founding_row` for it.

    DuckDB does not see from the profiles of a part which rows of the file it need not read.
    """
    columns = "*" if segment.holds_mpids else "* exclude (mpid)"
    spans, first = _parts_of(entry), entry.first_arrival
    progress.step("write row")
    for place, (start, end) in enumerate(spans):
        progress.part(place, len(spans))
        if len(spans) > 1 and entry.report.counts.profiles["created"]:
            # A new profile has the number of its founder.
            founding = fill(FOUNDING_PART, start=start - first, end=end - first)
            relations.make("founding_row", founding, keep=False)
        yield fill(PART_OF_ROWS, columns=columns, start=start, end=end)


def _parts_of(entry: Import) -> list[tuple[int, int]]:
    """Return the spans of profiles whose rows are written together, in order: begin and end.

    The profiles that were known, if they are many, and the new ones are each cut into spans of one
    width.
    """
    first, span, counts = entry.first_arrival, entry.staged.span, entry.report.counts.profiles
    known, new = counts["updated"] // PART, max(1, round(counts["created"] / PART))
    starts = [first * place // known for place in range(known)]
    starts += [first + span * place // new for place in range(new)]
    starts[0] = 0
    return list(zip(starts, [*starts[1:], first + span], strict=True))


def _write_import(store: OpenStore, entry: Import) -> None:
    """Write the files of an import, and what it reports, into the history."""
    _write_files(store, entry)
    sealed = _sealed_files(store, entry, entry.guard) if entry.guard is not None else {}
    # The history keeps numbers, and nobody's values.
    complete = entry.report.as_json()
    report = {name: value for name, value in complete.items() if name not in ("shared", "advice")}
    for file in report["files"]:
        file["sha256"] = sealed.get(file["sha256"], file["sha256"])
    store.scratch.run(
        PUT_IMPORT,
        {
            "number": entry.number,
            "feed": entry.feed.number,
            "source": entry.feed.source,
            "protection": entry.report.protection,
            "environment": entry.report.environment,
            "started": entry.started_ms,
            "finished": time.time_ns() // 1_000_000,
            "first": entry.first_arrival,
            "arrivals": entry.staged.span,
            "report": orjson.dumps(report).decode(),
            "made_by": who(),
            "request": orjson.dumps(entry.request).decode(),
            "needs": entry.needs,
        },
    )


def _write_files(store: OpenStore, entry: Import) -> None:
    """Write the files into the history; staged parts of one file (`more`) count as one."""
    files = [
        (file, offset)
        for file, offset in zip(entry.staged.files, entry.staged.offsets, strict=True)
        if not file.more
    ]
    ends = [*(offset for _, offset in files[1:]), entry.staged.span]
    for place, ((file, offset), end) in enumerate(zip(files, ends, strict=True)):
        store.scratch.run(
            PUT_FILE,
            {
                "import": entry.number,
                "place": place,
                "path": file.name,
                "sha256": file.sha256,
                "unit": file.unit,
                "first": entry.first_arrival + offset,
                "arrivals": end - offset,
            },
        )


def _sealed_files(store: OpenStore, entry: Import, guard: Guard) -> dict[str, str]:
    """Replace the hashes of files that hold a row of somebody erased by hashes with the key.

    Return the new ones by the plain ones: anybody who guesses the row could make a plain hash.
    """
    bound = {"import": entry.number}
    sealed: dict[str, str] = {}
    for place, sha256 in store.scratch.rows(FILES_OF_ERASED, bound):
        sealed[sha256] = guard.text(sha256)
        store.scratch.run(SEAL_FILE, {**bound, "sealed": sealed[sha256], "place": place})
    return sealed
