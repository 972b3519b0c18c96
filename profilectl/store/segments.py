"""The segments of a store, and the SELECTs that read several as if they were one.

Each import appends a segment; compaction lays neighbours together. A segment's tables lack the
columns its files did not have, so every SELECT here names what it wants and fills in nulls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profilectl.rules.sql.identities import identity_hash
from profilectl.store.scratch import Scratch

ROW = ("profile", "arrival", "mpid", "environment", "feed", "at_ms")
IMPORT_FILES = (
    "select import_file.* from store.import_file join store.import on import.number = import_file.import"
    " where import.undone_ms is null"
)
"""The files of the imports in force; a replayed import has the arrivals of the one it stands for.
"""


@dataclass(frozen=True, slots=True)
class Segment:
    """The tables of one import, or of several that were laid together."""

    number: int
    first_import: int
    last_import: int
    rows: int
    tables: tuple[str, ...]
    identities: tuple[str, ...]
    keys: tuple[str, ...]

    def table(self, kind: str) -> str:
        return f"store.{kind}_{self.number}"

    def attribute(self, key: str) -> str | None:
        """Return the column of an attribute, or None where the segment has none."""
        return f"a{self.keys.index(key)}" if key in self.keys else None


def write_table(scratch: Scratch, table: str, kind: str, select: str) -> None:
    """Make a segment's table of the rows of a query, which lie in its order.

    The texts of events are packed with zstd. Of its own accord DuckDB tries every way it knows, and
    takes one that leaves three times the size and needs twice the time.
    """
    if kind != "event":
        scratch.run(f"create table {table} as {select}", step=f"write {kind}")
        return
    columns = [
        f"{name} {type}{' using compression zstd' if name == 'event' else ''}"
        for name, type, *_ in scratch.rows(f"describe {select}")
    ]
    scratch.run(f"create table {table} ({', '.join(columns)})")
    scratch.run(f"insert into {table} {select}", step=f"write {kind}")


def known_identities(
    segments: Sequence[Segment], *, removals: bool, until: int | None = None
) -> str:
    """Return the SELECT of every identity in force: hash, profile, type, segment.

    removals: whether any identity was ever taken away; the join is left out where not. until: the
    last import whose removals count, where not all do.
    """
    parts = []
    for segment in segments:
        if "index" in segment.tables:
            part = f"select hash, profile, type, {segment.number} as segment from {segment.table('index')} as one"
            if removals:
                last = f" and removed.import <= {until}" if until is not None else ""
                part += (
                    " where not exists (select 1 from store.removed where removed.hash = one.hash"
                    f" and removed.profile = one.profile and removed.import > {segment.last_import}{last})"
                )
            parts.append(part)
    nobody = "select null::uhugeint as hash, null::bigint as profile, null::utinyint as type, null::integer as segment where false"
    return " union all ".join(parts) or nobody


def known_mpids(segments: Sequence[Segment]) -> str:
    """Return the SELECT of every profile: mpid, environment, profile."""
    parts = [
        f"select mpid, environment, profile from {one.table('mpid')}"
        for one in segments
        if "mpid" in one.tables
    ]
    nobody = "select null::bigint as mpid, null::utinyint as environment, null::bigint as profile where false"
    return " union all ".join(parts) or nobody


def known_rows(
    segments: Sequence[Segment],
    identities: Sequence[str],
    keys: Sequence[str],
    *,
    where: str = "",
    feeds: str = "",
) -> str:
    """Return the SELECT of the rows of all segments, with the identity and attribute columns
    wanted.

    The columns are those of ROW, segment, i_<type> for each identity, and b<n> for the n-th key.
    feeds: the condition on a row whose attributes count; "": all do.
    """
    parts = []
    for segment in segments:
        columns = [*ROW, f"{segment.number} as segment"]
        columns += [
            f"i_{kind}" if kind in segment.identities else f"null::varchar as i_{kind}"
            for kind in identities
        ]
        for place, key in enumerate(keys):
            column = segment.attribute(key)
            told = f"case when {feeds} then {column} end" if feeds else column
            columns.append(f"{told} as b{place}" if column else f"null::varchar as b{place}")
        parts.append(f"select {', '.join(columns)} from {segment.table('row')} {where}")
    return " union all ".join(parts) or nothing(identities, keys)


def nothing(identities: Sequence[str], keys: Sequence[str]) -> str:
    """Return the SELECT of no rows, in the shape of known_rows."""
    columns = [f"null::bigint as {name}" for name in (*ROW, "segment")]
    columns += [f"null::varchar as i_{kind}" for kind in identities]
    columns += [f"null::varchar as b{place}" for place in range(len(keys))]
    return f"select {', '.join(columns)} where false"


def both(where: str, condition: str) -> str:
    """Return a WHERE clause with one more condition; either may be empty."""
    return (
        f"{where} and {condition}"
        if where and condition
        else where or (f"where {condition}" if condition else "")
    )


def known_loose(segments: Sequence[Segment], *, where: str = "") -> str:
    """Return the SELECT of the attributes without a column: profile, arrival, feed, segment, key,
    value.
    """
    parts = [
        f"select profile, arrival, feed, {one.number} as segment, key, value from {one.table('loose')} {where}"
        for one in segments
        if "loose" in one.tables
    ]
    nobody = (
        "select null::bigint as profile, null::bigint as arrival, null::bigint as feed, null::bigint as segment, null::varchar as key,"
        " null::varchar as value where false"
    )
    return " union all ".join(parts) or nobody


EVENT = (
    "profile",
    "arrival",
    "place",
    "environment",
    "feed",
    "type",
    "name",
    "at_ms",
    "session",
    "event",
)


@dataclass(frozen=True, slots=True)
class CarriedEvents:
    """The events that an alias carries over: those of source from one time to another that had
    arrived before it.
    """

    source: int
    destination: int
    start_ms: int
    end_ms: int
    before: int

    @property
    def where(self) -> str:
        return f"where profile = {self.source} and at_ms between {self.start_ms} and {self.end_ms} and arrival < {self.before}"


def known_events(
    segments: Sequence[Segment],
    *,
    where: str = "",
    columns: Sequence[str] = EVENT,
    carried: Sequence[CarriedEvents] = (),
) -> str:
    """Return the SELECT of the events of all segments: some of the columns of EVENT; event is
    compact JSON. carried: events that are another's as well.
    """
    listed = ", ".join(columns)
    tables = [one.table("event") for one in segments if "event" in one.tables]
    parts = [f"select {listed} from {table} {where}" for table in tables]
    parts += [
        f"select {listed} from (select * replace ({one.destination}::bigint as profile) from {table} {one.where}) {where}"
        for one in carried
        for table in tables
    ]
    types = {
        "environment": "utinyint",
        "feed": "usmallint",
        "type": "varchar",
        "name": "varchar",
        "session": "varchar",
        "event": "varchar",
        "place": "integer",
    }
    nobody = (
        "select "
        + ", ".join(f"null::{types.get(column, 'bigint')} as {column}" for column in columns)
        + " where false"
    )
    return " union all ".join(parts) or nobody


def hash_fingerprint(scratch: Scratch) -> str:
    """Return a fixed identity's hash: where it differs from the store's, its indexes are of no use."""
    probe = identity_hash("", "'production'", "email", "'j\u00f6rg@example.com'")
    return str(scratch.row(f"select to_hex({probe})")[0])
