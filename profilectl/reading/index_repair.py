"""Make again what is derived from the rows of a store's segments: indexes, MPIDs, their order."""

from __future__ import annotations

from profilectl.rules.identity import BY_NAME, CODE
from profilectl.rules.sql import identities as identity_sql
from profilectl.rules.sql.identities import environment_name, identity_hash
from profilectl.rules.sql.quoting import quote_identifier
from profilectl.store.compaction import COLUMNS, ORDER
from profilectl.store.scratch import Scratch
from profilectl.store.segments import Segment, hash_fingerprint
from profilectl.store.statements import count_rows, kind_of, reading, rows_of, union
from profilectl.store.store import OpenStore

TABLES_THERE = "select table_name from duckdb_tables() where database_name = 'store'"
FOUNDING_ROWS = "select mpid, environment, profile from stored where mpid is not null"
SORTED = "select * from stored order by {columns}"

# The entry of an index for each identity of a row.
ENTRIES = """
select hash, profile, type, arrival, last_import
from (select {columns} from stored)
where value is not null
"""
NO_ENTRIES = """
select null::uhugeint as hash, null::bigint as profile, null::utinyint as type,
       null::bigint as arrival, null::integer as last_import
where false
"""
INDEX = "select hash, profile, type from entry"
# An identity that an import of the segment took away again is not in its index.
INDEX_OF_SEVERAL_IMPORTS = """
select hash, profile, type
from entry
where not exists (
    select 1
    from store.removed
    where removed.hash = entry.hash
      and removed.profile = entry.profile
      and removed.import <= entry.last_import
      and removed.arrival > entry.arrival
)
"""
NAME_TABLES = "update store.segment set tables = $tables where number = $number"
WRITE_FINGERPRINT = "update store.meta set value = $value where name = 'hash_fingerprint'"


def index_select(store: OpenStore, segment: Segment) -> str:
    """Return the SELECT of the index that a segment's rows make: hash, profile, type."""
    secret, environment = store.meta("secret"), environment_name()
    parts = [NO_ENTRIES]
    for kind in segment.identities:
        key = identity_sql.key(BY_NAME[kind], f"i_{kind}")
        columns = [
            f"{identity_hash(secret, environment, kind, key=key)} as hash",
            "profile",
            f"{CODE[kind]}::utinyint as type",
            "arrival",
            f"{segment.last_import} as last_import",
            f"i_{kind} as value",
        ]
        select = ENTRIES.format(columns=", ".join(columns))
        parts.append(reading(select, stored=rows_of(f"row_{segment.number}")))
    holds_several = segment.first_import != segment.last_import and store.removals()
    return reading(INDEX_OF_SEVERAL_IMPORTS if holds_several else INDEX, entry=union(parts))


def has_mpids(scratch: Scratch, segment: Segment) -> bool:
    """Return whether the rows of a segment have a column of MPIDs."""
    columns = scratch.rows(COLUMNS, {"table": f"row_{segment.number}"})
    return ("mpid",) in columns


def is_of_segment(table: str) -> bool:
    """Return whether the name of a table is one that a table of a segment has."""
    return kind_of(table) != table and kind_of(table) in {*ORDER, "index"}


def repair_derived(store: OpenStore) -> None:
    """Make indexes and tables of MPIDs again, sort tables, drop tables of no segment.

    It runs within a transaction.
    """
    scratch = store.scratch
    segments = store.segments()
    named = {f"{kind}_{segment.number}" for segment in segments for kind in segment.tables}
    for (table,) in scratch.rows(TABLES_THERE):
        if table not in named and is_of_segment(table):
            _drop(scratch, table)
    for segment in segments:
        _sort(scratch, segment)
        _derive(store, segment)
    scratch.run(WRITE_FINGERPRINT, {"value": hash_fingerprint(scratch)})


def _sort(scratch: Scratch, segment: Segment) -> None:
    # tables of MPIDs are made again anyway (_derive)
    for kind, order in ORDER.items():
        if kind in segment.tables and kind != "mpid":
            table = f"{kind}_{segment.number}"
            _create(scratch, "sorted", reading(SORTED.format(columns=order), stored=rows_of(table)))
            _drop(scratch, table)
            scratch.run(f"alter table store.sorted rename to {table}")


def _derive(store: OpenStore, segment: Segment) -> None:
    scratch = store.scratch
    tables = [kind for kind in segment.tables if kind not in ("index", "mpid")]
    derived = {"index": reading(SORTED.format(columns="hash"), stored=index_select(store, segment))}
    if has_mpids(scratch, segment):
        founded = reading(FOUNDING_ROWS, stored=rows_of(f"row_{segment.number}"))
        derived["mpid"] = reading(SORTED.format(columns="mpid"), stored=founded)
    for kind, select in derived.items():
        table = f"{kind}_{segment.number}"
        _drop(scratch, table)
        _create(scratch, table, select)
        # a segment names no empty table
        if count_rows(scratch, rows_of(table)):
            tables.append(kind)
        else:
            _drop(scratch, table)
    scratch.run(NAME_TABLES, {"tables": tables, "number": segment.number})


def _create(scratch: Scratch, table: str, select: str) -> None:
    scratch.run(f"create table store.{table} as {select}")


def _drop(scratch: Scratch, table: str) -> None:
    scratch.run(f"drop table if exists store.{quote_identifier(table)}")
