"""What a store promises, verified; and what can be derived from its rows, made again.

A promise is a query that finds what breaks it. The rows of the segments are what everything else is
derived from: indexes, the order of rows, numbers of rows. Only what is derived can be repaired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from profilectl.reading.recomputed import differences
from profilectl.rules.counts import Past
from profilectl.rules.identity import BY_NAME, CODE, NAME
from profilectl.rules.sql import identities as identity_sql
from profilectl.rules.sql.identities import environment_name, identity_hash
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.store.attaching import plain
from profilectl.store.compaction import ORDER
from profilectl.store.history import history_of
from profilectl.store.segments import Segment, hash_fingerprint, known_identities
from profilectl.store.store import OpenStore


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that is broken: which, in words, and whether it could be repaired (and was)."""

    promise: str
    message: str
    repairable: bool = False
    repaired: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "promise": self.promise,
            "message": self.message,
            "repairable": self.repairable,
            "repaired": self.repaired,
        }


PROMISES = {
    "readable":    "every block of every table can be read",
    "fingerprint": "identities are hashed as they were when the store was made",
    "tables":      "every table that a segment names is there, and no other",
    "sorted":      "rows lie by profile and arrival, indexes by hash, MPIDs by number",
    "rows":        "a segment has as many rows as it says",
    "imports":     "every row belongs to an import in force and to a feed, and every cell to a row",
    "founders":    "every profile has one founding row and one MPID, and no MPID belongs to two of an environment",
    "environment": "every row of a profile, and every event, is of the profile's environment",
    "identities":  "every identity of a row is in the index, and every entry of an index comes from a row",
    "unique":      "a unique or immutable identity is held by one profile only",
    "immutable":   "a profile has one value at most of an immutable type",
    "history":     "the history's counts of rows and of profiles made are those of the store, and of what was erased",
    "computed":    "every calculated value and every membership is a profile's, and of what is defined",
    "recomputed":  "every calculated value and every real-time membership is what a computation anew gives (a sample is compared)",
    "outbox":      "every batch that waits to leave is of a row that is there, or has all of itself, and none has left; of a member one change at most waits for an output",
}  # fmt: skip


def check(store: OpenStore, *, repair: bool = False) -> list[Breach]:
    """Return every breach; with repair, make again what can be derived, in one transaction.

    The store must be attached for writing to be repaired.
    """
    found = list(_Check(store).run())
    broken = [one for one in found if one.repairable]
    if not repair or not broken:
        return found
    with store.transaction():
        _repair(store)
    left = list(_Check(store).run())
    said = {(one.promise, one.message) for one in left}
    # What a wrong index hid is seen only when it is right.
    seen = {(one.promise, one.message) for one in found}
    return [
        *(
            Breach(one.promise, one.message, one.repairable, (one.promise, one.message) not in said)
            for one in found
        ),
        *(one for one in left if (one.promise, one.message) not in seen),
    ]


class _Check:
    """One pass over a store."""

    def __init__(self, store: OpenStore) -> None:
        self.store, self.scratch = store, store.scratch
        self.segments = store.segments()
        self.history = history_of(store)

    def run(self) -> Iterator[Breach]:
        missing = list(self._tables())
        yield from missing
        damaged = list(self._readable())
        yield from damaged
        if damaged or any(not one.repairable for one in missing):
            return  # the other promises rest on these
        for promise in (
            self._fingerprint,
            self._sorted,
            self._rows,
            self._imports,
            self._founders,
            self._environment,
            self._identities,
            self._unique,
            self._history,
            self._computed,
            self._outbox,
        ):
            yield from promise()

    def _number(self, select: str) -> int:
        return int(self.scratch.row(f"select count(*) from ({select})")[0])

    def _there(self) -> set[str]:
        return {
            name
            for (name,) in self.scratch.rows(
                "select table_name from duckdb_tables() where database_name = 'store'"
            )
        }

    def _tables(self) -> Iterator[Breach]:
        there = self._there()
        named = {f"{kind}_{one.number}" for one in self.segments for kind in one.tables}
        for name in sorted(named - there):
            kind = name.rpartition("_")[0]
            yield Breach(
                "tables", f"the table {name} is gone", repairable=kind in ("index", "mpid")
            )
        stray = {
            name
            for name in there
            if name.rpartition("_")[2].isdigit() and name.rpartition("_")[0] in {*ORDER, "index"}
        }
        for name in sorted(stray - named):
            yield Breach("tables", f"the table {name} belongs to no segment", repairable=True)

    def _readable(self) -> Iterator[Breach]:
        for name in sorted(self._there()):
            try:
                self.scratch.run(
                    f"select sum(hash(columns(*))) from store.{quote_identifier(name)}"
                    if self._columns(name)
                    else "select 1"
                )
            except duckdb.Error as error:
                yield Breach("readable", f"the table {name} cannot be read: {plain(error)}")

    def _columns(self, name: str) -> bool:
        return bool(
            self.scratch.rows(
                "select 1 from duckdb_columns() where database_name = 'store' and table_name = $name limit 1",
                {"name": name},
            )
        )

    def _fingerprint(self) -> Iterator[Breach]:
        if self.store.meta("hash_fingerprint") != hash_fingerprint(self.scratch):
            yield Breach(
                "fingerprint",
                "identities would be hashed differently than they are in the indexes",
                repairable=True,
            )

    def _has(self, segment: Segment, kind: str) -> bool:
        return kind in segment.tables and f"{kind}_{segment.number}" in self._there()

    def _sorted(self) -> Iterator[Breach]:
        for segment in self.segments:
            for kind in segment.tables:
                if not self._has(segment, kind):
                    continue
                names = "hash" if kind == "index" else ORDER[kind]
                before = ", ".join(
                    f"lag({name}) over (order by rowid) as b{n}"
                    for n, name in enumerate(names.split(", "))
                )
                lags = ", ".join(f"b{n}" for n in range(len(names.split(", "))))
                wrong = self._number(
                    f"select 1 from (select {names}, {before} from {segment.table(kind)}) where b0 is not null and row({lags}) > row({names})"
                )
                if wrong:
                    yield Breach(
                        "sorted",
                        f"{kind}_{segment.number} is out of order in {wrong:,} places",
                        repairable=True,
                    )

    def _rows(self) -> Iterator[Breach]:
        for segment in self.segments:
            rows = self._number(f"select 1 from {segment.table('row')}")
            if rows != segment.rows:
                yield Breach(
                    "rows", f"row_{segment.number} has {rows:,} rows, not {segment.rows:,}"
                )

    def _imports(self) -> Iterator[Breach]:
        spans = "select number, feed, first_arrival, first_arrival + arrivals as past_the_end from store.import where undone_ms is null"
        for segment in self.segments:
            for kind in segment.tables:
                if kind in ("index", "mpid"):
                    continue
                feed = " or one.feed <> span.feed" if kind != "rest" else ""
                stray = self._number(
                    f"select 1 from {segment.table(kind)} as one asof left join ({spans}) as span on one.arrival >= span.first_arrival"
                    f" where span.number is null or one.arrival >= span.past_the_end or span.number not between"
                    f" {segment.first_import} and {segment.last_import}{feed}"
                )
                if stray:
                    yield Breach(
                        "imports",
                        f"{stray:,} rows of {kind}_{segment.number} belong to no import in force, or to another feed",
                    )
                if kind == "row":
                    continue
                bare = self._number(
                    f"select 1 from {segment.table(kind)} as one where not exists (select 1 from {segment.table('row')} as row"
                    " where row.arrival = one.arrival and row.profile = one.profile)"
                )
                if bare:
                    yield Breach(
                        "imports",
                        f"{bare:,} rows of {kind}_{segment.number} belong to no row that touched their profile",
                    )
        orphans = self._number(
            "select 1 from store.import where undone_ms is null and feed not in (select number from store.feed)"
        )
        if orphans:
            yield Breach("imports", f"{orphans} imports are of a feed that is not registered")
        lost = self._number(
            "select 1 from store.import_file join store.import on import.number = import_file.import where undone_ms is null"
            " and import_file.arrivals > 0 and not exists (select 1 from store.line_run where line_run.first_arrival >= import_file.first_arrival"
            " and line_run.first_arrival < import_file.first_arrival + import_file.arrivals)"
        )
        if lost:
            yield Breach(
                "imports", f"of {lost} files it is not known any more where their rows stand"
            )
        bare = self._number(
            "select 1 from store.import where number not in (select import from store.import_file)"
        )
        if bare:
            yield Breach("imports", f"{bare} imports have no files")

    def _founders(self) -> Iterator[Breach]:
        rows = " union all ".join(
            f"select profile, arrival, mpid, environment from {one.table('row')}"
            for one in self.segments
        )
        if not rows:
            return
        without = self._number(
            f"select profile from ({rows}) group by profile having count(mpid) <> 1 or arg_max(arrival, mpid) filter (mpid is not null) <> profile"
        )
        if without:
            yield Breach("founders", f"profiles without exactly one founding row: {without:,}")
        twice = self._number(
            f"select 1 from ({rows}) where mpid is not null group by mpid, environment having count(*) > 1"
        )
        if twice:
            yield Breach("founders", f"{twice:,} MPIDs belong to several profiles")
        for segment in self.segments:
            founded = f"select mpid, environment, profile from {segment.table('row')} where mpid is not null"
            if self._has(segment, "mpid"):
                listed = f"select mpid, environment, profile from {segment.table('mpid')}"
                wrong = self._number(
                    f"(({founded}) except ({listed})) union all (({listed}) except ({founded}))"
                )
                if wrong:
                    yield Breach(
                        "founders",
                        f"mpid_{segment.number} and the rows differ in {wrong:,} profiles",
                        repairable=True,
                    )
            elif "mpid" not in segment.tables and self._number(founded):
                yield Breach(
                    "founders", f"segment {segment.number} has no table of MPIDs", repairable=True
                )

    def _environment(self) -> Iterator[Breach]:
        founded = " union all ".join(
            f"select profile, environment from {one.table('row')} where mpid is not null"
            for one in self.segments
        )
        for segment in self.segments:
            for kind in ("row", "event"):
                if not self._has(segment, kind):
                    continue
                stray = self._number(
                    f"select 1 from {segment.table(kind)} as one join ({founded}) as founder using (profile)"
                    " where one.environment is distinct from founder.environment"
                )
                if stray:
                    yield Breach(
                        "environment",
                        f"{stray:,} rows of {kind}_{segment.number} are of another environment than their profile",
                    )

    def _identities(self) -> Iterator[Breach]:
        for segment in self.segments:
            if "index" in segment.tables and not self._has(segment, "index"):
                continue
            rows = index_select(self.store, segment)
            listed = (
                "select hash, profile, type from store.index_" + str(segment.number)
                if self._has(segment, "index")
                else None
            )
            if listed is None:
                if self._number(rows):
                    yield Breach(
                        "identities",
                        f"segment {segment.number} has no index of its identities",
                        repairable=True,
                    )
                continue
            for what, one, other in (
                ("are not in", rows, listed),
                ("come from no row, but are in", listed, rows),
            ):
                wrong = self._number(f"({one}) except all ({other})")
                if wrong:
                    yield Breach(
                        "identities",
                        f"{wrong:,} identities {what} index_{segment.number}",
                        repairable=True,
                    )

    def _unique(self) -> Iterator[Breach]:
        rules = self.store.settings().rules
        known = known_identities(
            [one for one in self.segments if self._has(one, "index")],
            removals=self.store.removals(),
        )
        alone = [CODE[name] for name in sorted(rules.unique | rules.immutable)]
        for kind, number in self.scratch.rows(
            f"select type, count(*) from (select type, hash from ({known}) where type in (select unnest($types::utinyint[]))"
            " group by type, hash having count(distinct profile) > 1) group by type order by type",
            {"types": alone},
        ):
            yield Breach("unique", f"values of {NAME[kind]} held by several profiles: {number:,}")
        for kind, number in self.scratch.rows(
            f"select type, count(*) from (select type, profile from ({known}) where type in (select unnest($types::utinyint[]))"
            " group by type, profile having count(distinct hash) > 1) group by type order by type",
            {"types": [CODE[name] for name in sorted(rules.immutable)]},
        ):
            yield Breach("immutable", f"profiles with several values of {NAME[kind]}: {number:,}")

    def _history(self) -> Iterator[Breach]:
        for past in self.history:
            if past.undone_ms is None:
                yield from self._counts(past)

    def _outbox(self) -> Iterator[Breach]:
        twice = self._number(
            "select 1 from store.audience_outbox where profile is not null group by output, audience, profile having count(*) > 1"
        )
        if twice:
            yield Breach(
                "outbox", f"several changes wait for an output of {twice:,} members of an audience"
            )
        if not self._number("select 1 from store.outbox"):
            return
        rows = (
            " union all ".join(
                f"select profile, arrival from {one.table('row')}" for one in self.segments
            )
            or "select 0 as profile, 0 as arrival where false"
        )
        bare = self._number(
            f"select 1 from store.outbox where case when profile is null then content is null else (profile, arrival) not in (select (profile, arrival) from ({rows})) end"
        )
        if bare:
            yield Breach("outbox", f"{bare:,} batches wait to leave of which there is no row")
        again = self._number(
            "select 1 from store.outbox join store.forwarded on forwarded.output = outbox.output and forwarded.arrival = outbox.arrival"
        )
        if again:
            yield Breach("outbox", f"{again:,} batches wait to leave that have left")

    def _computed(self) -> Iterator[Breach]:
        # Of the rows, not of the tables of MPIDs, which may be what is broken.
        founded = [
            f"select profile from {one.table('row')} where mpid is not null"
            for one in self.segments
        ]
        known = " union all ".join([*founded, "select profile from store.stale"])
        for table, named, what in (
            ("calculated", "name not in (select name from store.calculation)", "calculated values"),
            ("membership", "audience not in (select number from store.audience)", "memberships"),
        ):
            stray = self._number(
                f"select 1 from store.{table} where profile not in ({known}) or {named}"
            )
            if stray:
                yield Breach(
                    "computed", f"{stray:,} {what} are of nobody, or of what is not defined"
                )
                return
        for workspace, name, count in differences(self.store):
            yield Breach(
                "recomputed",
                f"{name} of the workspace {workspace} is not what a computation anew gives, in {count:,} of the profiles compared:"
                " profilectl calculated recalculate and profilectl audiences refresh mend it",
            )

    def _counts(self, past: Past) -> Iterator[Breach]:
        first, arrivals = self.scratch.row(
            "select first_arrival, arrivals from store.import where number = $number",
            {"number": past.number},
        )
        within = f"arrival >= {first} and arrival < {first + arrivals}"
        rows = (
            " union all ".join(
                f"select mpid from {one.table('row')} where {within}"
                for one in self.segments
                if one.first_import <= past.number <= one.last_import
            )
            or "select null as mpid where false"
        )
        rows += f" union all select null from store.alias where import = {past.number}"
        applied, created = self.scratch.row(f"select count(*), count(mpid) from ({rows})")
        gone, founders = self.scratch.row(
            f"select count(*), count(*) filter (founder) from store.erased_row where import = {past.number}"
        )
        applied, created = applied + gone, created + founders
        found = {
            "applied": applied,
            "created": created,
            "dropped": self._number(f"select 1 from store.dropped where {within}"),
            "rejected": self._number(f"select 1 from store.reject where import = {past.number}"),
        }
        said = {**past.report["rows"], "created": past.report["profiles"]["created"]}
        for name, number in found.items():
            if said[name] != number:
                yield Breach(
                    "history",
                    f"import {past.number} says {said[name]:,} {name}, the store has {number:,}",
                )


def index_select(store: OpenStore, segment: Segment) -> str:
    """Return the SELECT of the index that a segment's rows make: hash, profile, type."""
    secret = store.meta("secret")
    environment = environment_name()
    parts = []
    for kind in segment.identities:
        column = f"i_{kind}"
        key = identity_sql.key(BY_NAME[kind], column)
        parts.append(
            f"select {identity_hash(secret, environment, kind, key)} as hash, profile, {CODE[kind]}::utinyint as type, arrival"
            f" from {segment.table('row')} where {column} is not null"
        )
    rows = (
        " union all ".join(parts)
        or "select null::uhugeint as hash, null::bigint as profile, null::utinyint as type, null::bigint as arrival where false"
    )
    select = f"select hash, profile, type from ({rows}) as one"
    if segment.first_import != segment.last_import and store.removals():
        # What was taken away within the segment is not in its index.
        select += (
            " where not exists (select 1 from store.removed where removed.hash = one.hash and removed.profile = one.profile"
            f" and removed.import <= {segment.last_import} and removed.arrival > one.arrival)"
        )
    return select


def _repair(store: OpenStore) -> None:
    """Make indexes and tables of MPIDs again, sort what is out of order, drop tables of no segment."""
    scratch = store.scratch
    there = {
        name
        for (name,) in scratch.rows(
            "select table_name from duckdb_tables() where database_name = 'store'"
        )
    }
    segments = store.segments()
    named = {f"{kind}_{one.number}" for one in segments for kind in one.tables}
    for name in there - named:
        if name.rpartition("_")[2].isdigit() and name.rpartition("_")[0] in {*ORDER, "index"}:
            scratch.run(f"drop table store.{quote_identifier(name)}")
    for one in segments:
        tables = list(one.tables)
        for kind, order in ORDER.items():
            if kind in tables and kind != "mpid":
                scratch.run(
                    f"create table store.sorted as select * from {one.table(kind)} order by {order}"
                )
                scratch.run(f"drop table {one.table(kind)}")
                scratch.run(f"alter table store.sorted rename to {kind}_{one.number}")
        derived = {
            "index": f"select * from ({index_select(store, one)}) order by hash",
            "mpid": f"select mpid, environment, profile from {one.table('row')} where mpid is not null order by mpid",
        }
        for kind, select in derived.items():
            scratch.run(f"drop table if exists {one.table(kind)}")
            scratch.run(f"create table {one.table(kind)} as {select}")
            filled = bool(scratch.row(f"select count(*) from {one.table(kind)}")[0])
            if not filled:
                scratch.run(f"drop table {one.table(kind)}")
            tables = [*(name for name in tables if name != kind), *([kind] if filled else [])]
        scratch.run(
            "update store.segment set tables = $tables where number = $number",
            {"tables": tables, "number": one.number},
        )
    scratch.run(
        f"update store.meta set value = {quote_text(hash_fingerprint(scratch))} where name = 'hash_fingerprint'"
    )
