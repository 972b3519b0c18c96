"""Verify the promises of a store, and make again what can be derived from its rows.

A promise is a query that finds what breaks it. Indexes, the order of rows and the numbers of rows
are derived from the rows of the segments. Only what is derived can be repaired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from profilectl.files import progress
from profilectl.reading.index_repair import (
    FOUNDING_ROWS,
    TABLES_THERE,
    has_mpids,
    is_of_segment,
    repair_derived,
)
from profilectl.reading.recomputed import differences
from profilectl.reading.repeated import (
    load_everything,
    load_repeated,
    profiles_with_several,
    values_of_several,
)
from profilectl.rules.counts import PastImport
from profilectl.rules.identity import CODE, NAME
from profilectl.rules.sql.quoting import quote_identifier
from profilectl.store.attaching import plain
from profilectl.store.compaction import ORDER, index_select
from profilectl.store.engine import duckdb
from profilectl.store.history import history_of
from profilectl.store.segments import Segment, hash_fingerprint
from profilectl.store.statements import count_rows, kind_of, reading, rows_of, union
from profilectl.store.store import OpenStore

PROMISES = {
    "readable": "every block of every table can be read",
    "fingerprint": "identities are hashed as they were when the store was made",
    "tables": "every table that a segment names is there, and no other",
    "sorted": "rows lie by profile and arrival, indexes by hash, MPIDs by number",
    "rows": "a segment has as many rows as it says",
    "imports": "every row belongs to an import in force and to a feed, and every cell to a row",
    "founders": "every profile has one founding row and one MPID, and no MPID belongs to two of"
    " an environment",
    "environment": "every row of a profile, and every event, is of the profile's environment",
    "identities": "every identity of a row is in the index, and every entry of an index comes from"
    " a row",
    "unique": "a unique or immutable identity is held by one profile only",
    "immutable": "a profile has one value at most of an immutable type",
    "history": "the history's counts of rows and of profiles made are those of the store, and"
    " of what was erased",
    "computed": "every calculated value and every membership is a profile's, and of what is"
    " defined",
    "recomputed": "every calculated value and every real-time membership is what a computation"
    " anew gives (a sample is compared)",
    "outbox": "every batch that waits to leave is of a row that is there, or has all of"
    " itself, and none has left; of a member one change at most waits for an output",
}

HAS_COLUMNS = """
select 1
from duckdb_columns()
where database_name = 'store' and table_name = $name
limit 1
"""
# A window without an order reads the rows as they lie, one after the other.
OUT_OF_ORDER = """
select 1
from (
    select row({columns}) as sort_key, lag(row({columns})) over () as key_before
    from stored
)
where key_before is not null and key_before > sort_key
"""

IMPORTS_IN_FORCE = """
select number, feed, first_arrival, first_arrival + arrivals as past_the_end
from store.import
where undone_ms is null and arrivals > 0
"""
# An asof join finds the last import that begins at or before a row; the row may be past its end.
ROWS_OF_NO_IMPORT = """
select 1
from stored
asof left join span on stored.arrival >= span.first_arrival
where span.number is null
   or stored.arrival >= span.past_the_end
   or span.number not between $first_import and $last_import
   or stored.feed <> span.feed
"""
# Other fields of batches have no feed of their own.
REST_OF_NO_IMPORT = """
select 1
from stored
asof left join span on stored.arrival >= span.first_arrival
where span.number is null
   or stored.arrival >= span.past_the_end
   or span.number not between $first_import and $last_import
"""
CELLS_OF_NO_ROW = """
select 1
from stored
where not exists (
    select 1
    from arrived
    where arrived.arrival = stored.arrival and arrived.profile = stored.profile
)
"""
IMPORTS_OF_NO_FEED = """
select 1
from store.import
where undone_ms is null
  and feed not in (select number from store.feed)
"""
# Without a run of lines nobody can tell in which line a row of the file stands.
FILES_WITHOUT_LINES = """
select 1
from store.import_file
join store.import on import.number = import_file.import
where undone_ms is null
  and import_file.arrivals > 0
  and not exists (
    select 1
    from store.line_run
    where line_run.first_arrival >= import_file.first_arrival
      and line_run.first_arrival < import_file.first_arrival + import_file.arrivals
  )
"""
IMPORTS_WITHOUT_FILES = """
select 1
from store.import
where number not in (select import from store.import_file)
"""

ROWS = "select profile, arrival, mpid, environment from stored"
# The number of a profile is the arrival of its founding row, the only one that has the MPID.
WITHOUT_ONE_FOUNDER = """
select profile
from arrived
group by profile
having count(mpid) <> 1
    or count(*) filter (mpid is not null and arrival = profile) <> 1
"""
MPIDS_OF_SEVERAL = """
select 1
from arrived
where mpid is not null
group by mpid, environment
having count(*) > 1
"""
MPIDS_LISTED = "select mpid, environment, profile from stored"
MPIDS_THAT_DIFFER = """
((from founded) except (from listed))
union all
((from listed) except (from founded))
"""
FOUNDED = "select profile, environment from stored where mpid is not null"
OF_ANOTHER_ENVIRONMENT = """
select 1
from stored
join founder using (profile)
where stored.environment is distinct from founder.environment
"""

# Two digests of rows in any order: what is alike needs no comparison, which takes thrice as long.
DIGEST = """
select count(*), sum(hash({columns})), bit_xor(hash('', {columns}))
from entry
"""
INDEX_ENTRIES = "select hash, profile, type from stored"
NOT_AMONG = "(from entry) except all (from compared)"
CHANGES_WAITING_TWICE = """
select 1
from store.audience_outbox
where profile is not null
group by output, audience, profile
having count(*) > 1
"""
ARRIVED = "select profile, arrival from stored"
NOTHING_ARRIVED = "select 0 as profile, 0 as arrival where false"
BATCHES_OF_NO_ROW = """
select 1
from store.outbox
where case
    when profile is null then content is null
    else (profile, arrival) not in (select (profile, arrival) from arrived)
end
"""
BATCHES_THAT_LEFT = """
select 1
from store.outbox
join store.forwarded
  on forwarded.output = outbox.output and forwarded.arrival = outbox.arrival
"""

# Profiles by their founding rows, not by the tables of MPIDs, which may be what is broken.
FOUNDERS = "select profile from stored where mpid is not null"
STALE = "select profile from store.stale"
STRAY_VALUES = """
select 1
from store.calculated
where profile not in (select profile from founder)
   or name not in (select name from store.calculation)
"""
STRAY_MEMBERSHIPS = """
select 1
from store.membership
where profile not in (select profile from founder)
   or audience not in (select number from store.audience)
"""

SPAN_OF_IMPORT = """
select first_arrival, first_arrival + arrivals
from store.import
where number = $number
"""
APPLIED_ROWS = "select mpid from stored where arrival >= $start and arrival < $end"
APPLIED_ALIASES = "select null::bigint as mpid from store.alias where import = $number"
APPLIED = "select count(*), count(mpid) from applied"
ERASED = """
select count(*), count(*) filter (founder)
from store.erased_row
where import = $number
"""
DROPPED = "select 1 from store.dropped where arrival >= $start and arrival < $end"
REJECTED = "select 1 from store.reject where import = $number"


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that is broken."""

    promise: str
    """The promise: a key of PROMISES."""
    message: str
    """What was found."""
    repairable: bool = False
    """Whether what is broken can be made again from the rows."""
    repaired: bool = False
    """Whether it was made again."""

    def as_json(self) -> dict[str, object]:
        """Return the entry of `check --json`."""
        return {
            "promise": self.promise,
            "message": self.message,
            "repairable": self.repairable,
            "repaired": self.repaired,
        }


def check(store: OpenStore, *, repair: bool = False) -> list[Breach]:
    """Return every breach; with `repair`, make again what can be derived, in one transaction.

    To be repaired, the store must be attached for writing.
    """
    before = list(_breaches(store))
    if not repair or not any(breach.repairable for breach in before):
        return before
    with store.transaction():
        repair_derived(store)
    after = list(_breaches(store))
    still = {(breach.promise, breach.message) for breach in after}
    earlier = {(breach.promise, breach.message) for breach in before}
    return [
        *(
            Breach(
                breach.promise,
                breach.message,
                repairable=breach.repairable,
                repaired=(breach.promise, breach.message) not in still,
            )
            for breach in before
        ),
        # Once an index is right, breaches that it hid come to light.
        *(breach for breach in after if (breach.promise, breach.message) not in earlier),
    ]


@dataclass(frozen=True, slots=True)
class _Checked:
    """A store as it is checked."""

    store: OpenStore
    """The store, attached."""
    segments: Sequence[Segment]
    """Its segments."""
    tables: frozenset[str]
    """The tables that are there."""
    found: list[Breach] = field(default_factory=list)
    """The breaches so far: without any, the indexes are right."""

    def has(self, segment: Segment, kind: str) -> bool:
        """Return whether a segment names a kind of table, and the table is there."""
        return kind in segment.tables and f"{kind}_{segment.number}" in self.tables

    def count(self, select: str, bound: dict[str, Any] | None = None, **relations: str) -> int:
        """Return how many rows a SELECT has, over some relations."""
        statement = reading(select, **relations) if relations else select
        return count_rows(self.store.scratch, statement, bound)

    def are_alike(self, columns: str, entry: str, compared: str) -> bool:
        """Return whether two SELECTs of some columns have the same rows, each as often."""
        digest = DIGEST.format(columns=columns)
        rows = [self.store.scratch.row(reading(digest, entry=rows)) for rows in (entry, compared)]
        return rows[0] == rows[1]

    def rows_of_segments(self, select: str, *, nothing: str | None = None) -> str:
        """Return the union of a SELECT over the rows of each segment."""
        parts = [reading(select, stored=segment.stored_rows) for segment in self.segments]
        return union([*parts, nothing] if nothing else parts)


def _breaches(store: OpenStore) -> Iterator[Breach]:
    """Yield the breaches of a store, in one pass over it."""
    tables = frozenset(name for (name,) in store.scratch.rows(TABLES_THERE))
    checked = _Checked(store, segments=store.segments(), tables=tables)
    missing = list(_missing_tables(checked))
    checked.found.extend(missing)
    yield from missing
    damaged = list(_unreadable(checked))
    yield from damaged
    if damaged or any(not breach.repairable for breach in missing):
        return  # the other promises rest on these
    for breaches in progress.each(CHECKS):
        for breach in breaches(checked):
            checked.found.append(breach)
            yield breach
    for past in history_of(store):
        if past.undone_ms is None:
            yield from _wrong_counts(checked, past)
    yield from _wrongly_computed(checked)
    yield from _wrongly_waiting(checked)


def _missing_tables(checked: _Checked) -> Iterator[Breach]:
    named = {f"{kind}_{segment.number}" for segment in checked.segments for kind in segment.tables}
    for name in sorted(named - checked.tables):
        yield Breach(
            "tables", f"the table {name} is gone", repairable=kind_of(name) in ("index", "mpid")
        )
    for name in sorted(filter(is_of_segment, checked.tables - named)):
        yield Breach("tables", f"the table {name} belongs to no segment", repairable=True)


def _unreadable(checked: _Checked) -> Iterator[Breach]:
    scratch = checked.store.scratch
    for name in sorted(checked.tables):
        if not scratch.rows(HAS_COLUMNS, {"name": name}):
            continue
        # a hash of every value, so that every block is read
        try:
            scratch.run(f"select sum(hash(columns(*))) from store.{quote_identifier(name)}")
        except duckdb.Error as error:
            yield Breach("readable", f"the table {name} cannot be read: {plain(error)}")


def _wrong_fingerprint(checked: _Checked) -> Iterator[Breach]:
    if checked.store.meta("hash_fingerprint") != hash_fingerprint(checked.store.scratch):
        yield Breach(
            "fingerprint",
            "identities would be hashed differently than they are in the indexes",
            repairable=True,
        )


def _out_of_order(checked: _Checked) -> Iterator[Breach]:
    for segment in checked.segments:
        for kind in segment.tables:
            if not checked.has(segment, kind):
                continue
            select = OUT_OF_ORDER.format(columns="hash" if kind == "index" else ORDER[kind])
            places = checked.count(select, stored=rows_of(f"{kind}_{segment.number}"))
            if places:
                yield Breach(
                    "sorted",
                    f"{kind}_{segment.number} is out of order in {places:,} places",
                    repairable=True,
                )


def _wrong_numbers_of_rows(checked: _Checked) -> Iterator[Breach]:
    for segment in checked.segments:
        rows = checked.count(rows_of(f"row_{segment.number}"))
        if rows != segment.rows:
            yield Breach("rows", f"row_{segment.number} has {rows:,} rows, not {segment.rows:,}")


def _strays_of_imports(checked: _Checked) -> Iterator[Breach]:
    for segment in checked.segments:
        for kind in segment.tables:
            if kind not in ("index", "mpid"):
                yield from _strays_of_table(checked, segment, kind)
    orphans = checked.count(IMPORTS_OF_NO_FEED)
    if orphans:
        yield Breach("imports", f"{orphans} imports are of a feed that is not registered")
    files = checked.count(FILES_WITHOUT_LINES)
    if files:
        yield Breach("imports", f"of {files} files it is not known any more where their rows stand")
    bare = checked.count(IMPORTS_WITHOUT_FILES)
    if bare:
        yield Breach("imports", f"{bare} imports have no files")


def _strays_of_table(checked: _Checked, segment: Segment, kind: str) -> Iterator[Breach]:
    table = f"{kind}_{segment.number}"
    stray = checked.count(
        REST_OF_NO_IMPORT if kind == "rest" else ROWS_OF_NO_IMPORT,
        {"first_import": segment.first_import, "last_import": segment.last_import},
        stored=rows_of(table),
        span=IMPORTS_IN_FORCE,
    )
    if stray:
        yield Breach(
            "imports",
            f"{stray:,} rows of {table} belong to no import in force, or to another feed",
        )
    if kind == "row":
        return
    arrived = rows_of(f"row_{segment.number}")
    bare = checked.count(CELLS_OF_NO_ROW, stored=rows_of(table), arrived=arrived)
    if bare:
        yield Breach(
            "imports", f"{bare:,} rows of {table} belong to no row that touched their profile"
        )


def _wrong_founders(checked: _Checked) -> Iterator[Breach]:
    if not checked.segments:
        return
    arrived = checked.rows_of_segments(ROWS)
    without = checked.count(WITHOUT_ONE_FOUNDER, arrived=arrived)
    if without:
        yield Breach("founders", f"profiles without exactly one founding row: {without:,}")
    shared = checked.count(MPIDS_OF_SEVERAL, arrived=arrived)
    if shared:
        yield Breach("founders", f"{shared:,} MPIDs belong to several profiles")
    for segment in checked.segments:
        if not has_mpids(checked.store.scratch, segment):
            continue
        founded = reading(FOUNDING_ROWS, stored=rows_of(f"row_{segment.number}"))
        if checked.has(segment, "mpid"):
            listed = reading(MPIDS_LISTED, stored=rows_of(f"mpid_{segment.number}"))
            if checked.are_alike("mpid, environment, profile", founded, listed):
                continue
            differing = checked.count(MPIDS_THAT_DIFFER, founded=founded, listed=listed)
            if differing:
                yield Breach(
                    "founders",
                    f"mpid_{segment.number} and the rows differ in {differing:,} profiles",
                    repairable=True,
                )
        elif "mpid" not in segment.tables and checked.count(founded):
            missing = f"segment {segment.number} has no table of MPIDs"
            yield Breach("founders", missing, repairable=True)


def _of_another_environment(checked: _Checked) -> Iterator[Breach]:
    for segment in checked.segments:
        for kind in ("row", "event"):
            if not checked.has(segment, kind):
                continue
            table = f"{kind}_{segment.number}"
            founder = checked.rows_of_segments(FOUNDED)
            stray = checked.count(OF_ANOTHER_ENVIRONMENT, stored=rows_of(table), founder=founder)
            if stray:
                yield Breach(
                    "environment",
                    f"{stray:,} rows of {table} are of another environment than their profile",
                )


def _wrong_indexes(checked: _Checked) -> Iterator[Breach]:
    for segment in checked.segments:
        index = f"index_{segment.number}"
        rows = index_select(checked.store, segment)
        if not checked.has(segment, "index"):
            if "index" not in segment.tables and checked.count(rows):
                yield Breach(
                    "identities",
                    f"segment {segment.number} has no index of its identities",
                    repairable=True,
                )
            continue
        listed = reading(INDEX_ENTRIES, stored=rows_of(index))
        if checked.are_alike("hash, profile, type", rows, listed):
            continue
        missing = checked.count(NOT_AMONG, entry=rows, compared=listed)
        if missing:
            message = f"{missing:,} identities are not in {index}"
            yield Breach("identities", message, repairable=True)
        extra = checked.count(NOT_AMONG, entry=listed, compared=rows)
        if extra:
            message = f"{extra:,} identities come from no row, but are in {index}"
            yield Breach("identities", message, repairable=True)


def _shared_identities(checked: _Checked) -> Iterator[Breach]:
    rules, scratch = checked.store.settings().rules, checked.store.scratch
    alone = [CODE[name] for name in sorted(rules.unique | rules.immutable)]
    if not alone:
        return
    load = load_everything if checked.found else load_repeated
    load(
        scratch,
        [segment for segment in checked.segments if checked.has(segment, "index")],
        removals=checked.store.removals(),
    )
    for kind, number in values_of_several(scratch, alone):
        yield Breach("unique", f"values of {NAME[kind]} held by several profiles: {number:,}")
    immutable = [CODE[name] for name in sorted(rules.immutable)]
    for kind, number in profiles_with_several(scratch, immutable):
        yield Breach("immutable", f"profiles with several values of {NAME[kind]}: {number:,}")


def _wrong_counts(checked: _Checked, past: PastImport) -> Iterator[Breach]:
    """Yield where the report of an import differs from the rows that are there or were erased."""
    scratch, number = checked.store.scratch, {"number": past.number}
    start, end = scratch.row(SPAN_OF_IMPORT, number)
    span = {"start": start, "end": end}
    parts = [
        reading(APPLIED_ROWS, stored=segment.stored_rows)
        for segment in checked.segments
        if segment.first_import <= past.number <= segment.last_import
    ]
    # an alias has no row, and is counted as one
    applied = union([*parts, APPLIED_ALIASES])
    bound = {**number, **span} if parts else number
    rows, created = scratch.row(reading(APPLIED, applied=applied), bound)
    erased, founders = scratch.row(ERASED, number)
    counted = {
        "applied": rows + erased,
        "created": created + founders,
        "dropped": checked.count(DROPPED, span),
        "rejected": checked.count(REJECTED, number),
    }
    reported = past.rows_there
    for name, count in counted.items():
        if reported[name] != count:
            yield Breach(
                "history",
                f"import {past.number} says {reported[name]:,} {name}, the store has {count:,}",
            )


def _wrongly_computed(checked: _Checked) -> Iterator[Breach]:
    # the stale may be gone already: the next refresh takes away what is computed of them
    founder = union([checked.rows_of_segments(FOUNDERS, nothing=STALE)])
    for select, kind, table in (
        (STRAY_VALUES, "calculated values", "calculated"),
        (STRAY_MEMBERSHIPS, "memberships", "membership"),
    ):
        if not checked.count(rows_of(table)):
            continue
        stray = checked.count(select, founder=founder)
        if stray:
            yield Breach("computed", f"{stray:,} {kind} are of nobody, or of what is not defined")
            return
    for difference in differences(checked.store):
        yield Breach(
            "recomputed",
            f"{difference.name} of the workspace {difference.workspace} is not what a computation"
            f" anew gives, in {difference.profiles:,} of the profiles compared:"
            " profilectl calculated recalculate and profilectl audiences refresh mend it",
        )


def _wrongly_waiting(checked: _Checked) -> Iterator[Breach]:
    """Yield what must not wait in the outboxes of batches and of audiences, and does."""
    twice = checked.count(CHANGES_WAITING_TWICE)
    if twice:
        yield Breach(
            "outbox", f"several changes wait for an output of {twice:,} members of an audience"
        )
    if not checked.count(rows_of("outbox")):
        return
    arrived = checked.rows_of_segments(ARRIVED, nothing=NOTHING_ARRIVED)
    bare = checked.count(BATCHES_OF_NO_ROW, arrived=arrived)
    if bare:
        yield Breach("outbox", f"{bare:,} batches wait to leave of which there is no row")
    again = checked.count(BATCHES_THAT_LEFT)
    if again:
        yield Breach("outbox", f"{again:,} batches wait to leave that have left")


# The promises of the segments, in the order in which they are checked.
CHECKS: tuple[Callable[[_Checked], Iterator[Breach]], ...] = (
    _wrong_fingerprint,
    _out_of_order,
    _wrong_numbers_of_rows,
    _strays_of_imports,
    _wrong_founders,
    _of_another_environment,
    _wrong_indexes,
    _shared_identities,
)
