"""Make again what is derived from the rows of a store's segments: indexes, MPIDs, their order."""

from __future__ import annotations

from profilectl.rules.sql.quoting import quote_identifier
from profilectl.store.compaction import COLUMNS, ORDER, index_select
from profilectl.store.scratch import Scratch
from profilectl.store.segments import Segment, hash_fingerprint
from profilectl.store.statements import count_rows, kind_of, reading, rows_of
from profilectl.store.store import OpenStore

TABLES_THERE = "select table_name from duckdb_tables() where database_name = 'store'"
FOUNDING_ROWS = "select mpid, environment, profile from stored where mpid is not null"
SORTED = "select * from stored order by {columns}"

NAME_TABLES = "update store.segment set tables = $tables where number = $number"
WRITE_FINGERPRINT = "update store.meta set value = $value where name = 'hash_fingerprint'"


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
