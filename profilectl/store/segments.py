"""The segments of a store, and the SELECTs that read several as if they were one.

Each import appends a segment; compaction lays neighbours together. A segment's tables lack the
columns that its files did not have, so every SELECT here names its columns, with null for those
that a segment lacks.

The fourth of five modules that tell how a store is reached: settings, scratch, attaching, segments,
opening.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from profilectl.rules.mpid import ARRIVALS, MpidMix
from profilectl.rules.sql.identities import identity_hash
from profilectl.rules.sql.mpids import arrival_of, mpid_of
from profilectl.store.scratch import Scratch
from profilectl.store.statements import is_in, numbers, reading, select, union_all

ROW = ("profile", "arrival", "mpid", "environment", "feed", "at_ms")
"""The columns that the rows of every segment have (Segment.stored_rows)."""

# The files of the imports in force, without those that were undone: a replayed import has the
# arrivals of the one that it replaces.
IMPORT_FILES = """
select import_file.*
from store.import_file
join store.import on import.number = import_file.import
where import.undone_ms is null
"""
# Those of them that have rows. The place of a row is looked for among these, by its arrival: a file
# without rows begins at the row at which the next one begins.
FILES_WITH_ROWS = f"{IMPORT_FILES}  and import_file.arrivals > 0\n"

MANY_SEGMENTS = 12
"""The most segments that are read together without strain; if there are more, small neighbours are
laid together (compaction.py).
"""
MANY_ROWS = 50_000
"""From this many rows on it counts how long texts are packed; below, each statement counts."""

# No rows, in the shape of a kind of table: the SELECT if no segment has that table.
NO_IDENTITY = """
select null::uhugeint as hash, null::bigint as profile, null::utinyint as type,
       null::integer as segment
where false
"""
NO_MPID = """
select null::bigint as mpid, null::utinyint as environment, null::bigint as profile
where false
"""
NO_LOOSE = """
select null::bigint as profile, null::bigint as arrival, null::bigint as feed,
       null::bigint as segment, null::varchar as key, null::varchar as value
where false
"""

# The identities of a segment, but for those that a later import took away (removed).
STILL_HELD = """
select entry.hash, entry.profile, entry.type, entry.segment
from entry
where not exists (
    select 1
    from removed
    where removed.hash = entry.hash
      and removed.profile = entry.profile
)
"""

# The hash of one fixed identity: it differs if the hash function does.
FINGERPRINT = "select to_hex(hash) from probe"


@dataclass(frozen=True, slots=True)
class Segment:
    """The tables of one import, or of several that were laid together."""

    number: int
    """Its number, which the names of its tables end with."""
    first_import: int
    """The oldest import in it."""
    last_import: int
    """The newest import in it."""
    rows: int
    """The number of its rows."""
    tables: tuple[str, ...]
    """The kinds of tables it has: row, index, mpid, loose, blocked, blocked_loose, rest, event."""
    identities: tuple[str, ...]
    """The identity types that its rows have a column for."""
    keys: tuple[str, ...]
    """The attributes that its rows have a column for, in the order of the columns."""
    mix: MpidMix
    """How the store makes MPIDs."""
    by_hand: bool = False
    """Whether it has several corrections that were laid together, and nothing else. Each can still
    be taken out of it.
    """

    @property
    def holds_mpids(self) -> bool:
        """Whether its tables hold the MPIDs of the profiles that it founded.

        If not, each is the mix of the profile's number, and its rows have no column of it.
        """
        return "mpid" in self.tables

    @property
    def stored_rows(self) -> str:
        """The SELECT of its rows, with the MPID of those that founded a profile."""
        columns = list(ROW)
        if not self.holds_mpids:
            columns[ROW.index("mpid")] = f"{_founders_mpid(self.mix)} as mpid"
        columns += [f"i_{kind}" for kind in self.identities]
        columns += [f"a{place}" for place in range(len(self.keys))]
        return select(columns, self.table("row"))

    def table(self, kind: str) -> str:
        """Return the name of one of its tables."""
        return f"store.{kind}_{self.number}"

    def attribute(self, key: str) -> str | None:
        """Return the column of an attribute, or None if the segment has none."""
        return f"a{self.keys.index(key)}" if key in self.keys else None


def is_final(segments: Sequence[Segment], number: int) -> bool:
    """Return whether the rows of an import lie together with those of other imports."""
    return any(
        segment.first_import != segment.last_import
        and not segment.by_hand
        and segment.first_import <= number <= segment.last_import
        for segment in segments
    )


def write_table(scratch: Scratch, table: str, kind: str, *, rows: str, size: int) -> None:
    """Make a segment's table from the rows of a query, in the order of the query."""
    write_parts(scratch, table, kind, parts=[rows], size=size)


def write_parts(
    scratch: Scratch, table: str, kind: str, *, parts: Iterable[str], size: int
) -> None:
    """Make a segment's table from the rows of several queries, one after the other.

    Each query is asked for when the one before it was written. There is one at least.
    size: how many rows the segment has. Texts of which no two are the same are packed with zstd:
    events, and the identities of a large segment. DuckDB's own choice tries every way that it
    knows, and leaves three times the size of events; for identities it takes a fifth longer.
    """
    queries = iter(parts)
    rows = next(queries)
    if kind == "event" or (kind == "row" and size >= MANY_ROWS):
        columns = [
            f"{name} {type}{' using compression zstd' if _is_unlike_others(name) else ''}"
            for name, type, *_ in scratch.rows(f"describe {rows}")
        ]
        scratch.run(f"create table {table} ({', '.join(columns)})")
        scratch.run(f"insert into {table} {rows}", step=f"write {kind}")
    else:
        scratch.run(f"create table {table} as {rows}", step=f"write {kind}")
    for rows in queries:
        scratch.run(f"insert into {table} {rows}", step=f"write {kind}")


def _is_unlike_others(column: str) -> bool:
    """Return whether no two texts of a column are the same."""
    return column == "event" or column.startswith("i_")


def of_each(segments: Sequence[Segment], kind: str, columns: str, clause: str = "") -> list[str]:
    """Return the SELECTs of columns of a kind of table, one for each segment that has the table."""
    return [
        select(columns, segment.table(kind), clause)
        for segment in segments
        if kind in segment.tables
    ]


def known_identities(
    segments: Sequence[Segment], *, removals: bool, until: int | None = None
) -> str:
    """Return the SELECT of every identity in force: hash, profile, type, segment.

    Without `removals` no identity was ever taken away, and the join is left out. `until` is the
    last import whose removals count; None: all do.
    """
    if not removals:
        return union_all(
            (
                select(f"hash, profile, type, {segment.number} as segment", segment.table("index"))
                for segment in segments
                if "index" in segment.tables
            ),
            NO_IDENTITY,
        )
    parts = []
    for segment in segments:
        if "index" in segment.tables:
            # An identity that was taken away and comes back is in the index of a later segment.
            later = both("", f"import > {segment.last_import}")
            entry = select(f"*, {segment.number} as segment", segment.table("index"))
            removed = select(
                "hash, profile",
                "store.removed",
                later if until is None else both(later, f"import <= {until}"),
            )
            parts.append(f"({reading(STILL_HELD, entry=entry, removed=removed)})")
    return union_all(parts, NO_IDENTITY)


def known_mpids(segments: Sequence[Segment]) -> str:
    """Return the SELECT of every profile: mpid, environment, profile."""
    parts = of_each(segments, "mpid", "mpid, environment, profile")
    if founding_rows := _founding_rows(segments):
        mpid = mpid_of(segments[0].mix, "profile")
        founded = f"({' union all '.join(founding_rows)})"
        parts.append(select([f"{mpid} as mpid", "environment", "profile"], founded))
    return union_all(parts, NO_MPID)


def held_mpids(segments: Sequence[Segment]) -> str:
    """Return the SELECT of the profiles whose MPIDs a table holds: mpid, environment, profile."""
    return union_all(of_each(segments, "mpid", "mpid, environment, profile"), NO_MPID)


def holders_of(segments: Sequence[Segment], mpids: str) -> str:
    """Return the SELECT of the profiles that some MPIDs name: mpid, environment, profile.

    mpids: the SELECT of the MPIDs, each once. Their mixes are turned back into the numbers of
    profiles, so that only the blocks of these are read.
    """
    clause = both("", is_in("mpid", mpids))
    parts = of_each(segments, "mpid", "mpid, environment, profile", clause=clause)
    if founding_rows := _founding_rows(segments):
        arrival = arrival_of(segments[0].mix, "mpid")
        sought = select(["mpid", f"{arrival} as arrival"], f"({mpids})")
        parts.append(_founded(f"({sought}) as sought", founding_rows))
    return union_all(parts, NO_MPID)


def holders_of_numbers(segments: Sequence[Segment], mpids: Collection[int]) -> str:
    """Return the SELECT of the profiles that some MPIDs name, as holders_of.

    mpids: each once, of 64 bits with a sign. Python turns the mixes back, because DuckDB would
    plan that for longer than the look-up takes.
    """
    clause = both("", is_in("mpid", numbers(mpids)))
    parts = of_each(segments, "mpid", "mpid, environment, profile", clause=clause)
    founding_rows = _founding_rows(segments)
    pairs = [
        f"({mpid}, {arrival})"
        for mpid in (mpids if founding_rows else ())
        if (arrival := segments[0].mix.arrival(mpid)) < ARRIVALS
    ]
    if pairs:
        parts.append(
            _founded(f"(values {', '.join(pairs)}) as sought(mpid, arrival)", founding_rows)
        )
    return union_all(parts, NO_MPID)


def _founded(sought: str, founding_rows: Sequence[str]) -> str:
    """Return the SELECT of the profiles with the numbers that some MPIDs are mixes of.

    sought: the relation of MPIDs and the arrivals they lead back to; founding_rows: the SELECTs of
    the rows that founded profiles.
    """
    founded = f"({' union all '.join(founding_rows)}) as founded"
    return select(
        "sought.mpid::bigint as mpid, founded.environment, founded.profile",
        f"{sought} join {founded} on founded.profile = sought.arrival",
    )


def _founding_rows(segments: Sequence[Segment]) -> list[str]:
    """Return the SELECTs of the rows that founded the profiles whose MPIDs are mixes."""
    return [
        select("environment, profile", segment.table("row"), "where arrival = profile")
        for segment in segments
        if not segment.holds_mpids
    ]


def _founders_mpid(mix: MpidMix) -> str:
    """Return the SQL of the MPID of a row that founded a profile: the mix of its number, or null.

    DuckDB plans it for two milliseconds. So a statement over all segments has it once, outside
    their union.
    """
    return f"case when arrival = profile then {mpid_of(mix, 'profile')} end"


def known_rows(
    segments: Sequence[Segment],
    identities: Sequence[str],
    keys: Sequence[str],
    *,
    where: str = "",
    feeds: str = "",
) -> str:
    """Return the SELECT of the rows of all segments, with some identity and attribute columns.

    The columns are those of ROW, segment, i_<type> for each identity, and b<n> for the n-th key.
    `feeds` is the condition on a row whose attributes count; "": all do.
    """
    parts = []
    for segment in segments:
        columns = [
            "null::bigint as mpid" if name == "mpid" and not segment.holds_mpids else name
            for name in ROW
        ]
        columns.append(f"{segment.number} as segment")
        columns += [
            f"i_{kind}" if kind in segment.identities else f"null::varchar as i_{kind}"
            for kind in identities
        ]
        for place, key in enumerate(keys):
            column = segment.attribute(key)
            cell = f"case when {feeds} then {column} end" if feeds and column else column
            columns.append(f"{cell or 'null::varchar'} as b{place}")
        parts.append(select(columns, segment.table("row"), where))
    rows = union_all(parts, nothing(identities, keys))
    if all(segment.holds_mpids for segment in segments):
        return rows
    mpid = f"coalesce(mpid, {_founders_mpid(segments[0].mix)}) as mpid"
    return select(f"* replace ({mpid})", f"({rows})")


def nothing(identities: Sequence[str], keys: Sequence[str]) -> str:
    """Return the SELECT of no rows, in the shape of known_rows."""
    columns = [f"null::bigint as {name}" for name in (*ROW, "segment")]
    columns += [f"null::varchar as i_{kind}" for kind in identities]
    columns += [f"null::varchar as b{place}" for place in range(len(keys))]
    return f"select {', '.join(columns)} where false"


def both(clause: str, condition: str) -> str:
    """Return a WHERE clause with one more condition; either may be empty."""
    if clause and condition:
        return f"{clause} and {condition}"
    return clause or (f"where {condition}" if condition else "")


def known_loose(segments: Sequence[Segment], *, where: str = "") -> str:
    """Return the SELECT of the attributes without a column.

    The columns are profile, arrival, feed, segment, key and value.
    """
    return union_all(
        (
            select(
                f"profile, arrival, feed, {segment.number} as segment, key, value",
                segment.table("loose"),
                where,
            )
            for segment in segments
            if "loose" in segment.tables
        ),
        NO_LOOSE,
    )


# fmt: off
# The columns of events, and the types of those that are no BIGINT.
EVENT = ("profile", "arrival", "place", "environment", "feed", "type", "name", "at_ms", "session",
         "event")
EVENT_TYPES = {"environment": "utinyint", "feed": "usmallint", "type": "varchar", "name": "varchar",
               "session": "varchar", "event": "varchar", "place": "integer"}
# fmt: on


@dataclass(frozen=True, slots=True)
class CarriedEvents:
    """The events that an alias carries over: those of a time span that arrived before it."""

    source: int
    """The profile whose events they are."""
    destination: int
    """The profile that gets them as well."""
    start_ms: int
    """The time of the first event that is carried over."""
    end_ms: int
    """The time of the last event that is carried over."""
    before: int
    """The arrival of the alias: later events stay where they are."""

    @property
    def where(self) -> str:
        """The WHERE clause that finds them."""
        span = f"at_ms between {self.start_ms} and {self.end_ms}"
        return f"where profile = {self.source} and {span} and arrival < {self.before}"


def known_events(
    segments: Sequence[Segment],
    *,
    where: str = "",
    columns: Sequence[str] = EVENT,
    carried: Sequence[CarriedEvents] = (),
) -> str:
    """Return the SELECT of the events of all segments: some of the columns of EVENT.

    The column event is compact JSON. `carried` are events that a second profile has as well.
    """
    listed = ", ".join(columns)
    parts = of_each(segments, "event", columns=listed, clause=where)
    for alias in carried:
        renamed = f"* replace ({alias.destination}::bigint as profile)"
        for happened in of_each(segments, "event", columns=renamed, clause=alias.where):
            parts.append(select(listed, f"({happened})", where))
    nulls = (f"null::{EVENT_TYPES.get(column, 'bigint')} as {column}" for column in columns)
    return union_all(parts, f"select {', '.join(nulls)} where false")


def hash_fingerprint(scratch: Scratch) -> str:
    """Return a fixed identity's hash: if it differs from the store's, its indexes are useless."""
    probe = identity_hash(
        secret="", environment="'production'", kind="email", key="'j\u00f6rg@example.com'"
    )
    return str(
        scratch.row(
            reading(FINGERPRINT, probe=select("hash", f"(values ({probe})) as probed(hash)"))
        )[0]
    )
