"""The floors: what DuckDB alone needs for the same file, without rules, identities or history."""

from __future__ import annotations

import sys
from pathlib import Path

from process import Sample, measure, run_sql, statement_seconds

# A file of CSV into a table.
READ_CSV = "create table floor as from read_csv(getvariable('path'), all_varchar = true)"

# A file of Parquet into a table.
READ_PARQUET = "create table floor as from read_parquet(getvariable('path'))"

# A file of batches into a table of its lines.
READ_LINES = """
create temp table line as
select row_number() over () as n, line
from read_csv(
    getvariable('path'), auto_detect = false, header = false, columns = {'line': 'varchar'},
    delim = '\x01', quote = '', escape = ''
)
"""

# These lines into a table of people and one of events.
READ_BATCHES = """
create table person as
select n, v[1] as customer_id, v[2] as email, v[3] as tier, v[4] as city, v[5]::bigint as at_ms
from (
    select n, json_extract_string(line, [
        '$.user_identities.customer_id', '$.user_identities.email', '$.user_attributes.tier',
        '$.user_attributes.city', '$.timestamp_unixtime_ms'
    ]) as v
    from line
)
order by n;
create table event as
select n, place, v[1] as type, v[2] as name, v[3]::bigint as at_ms, event
from (
    select n, place, event, json_extract_string(event, [
        '$.event_type', '$.data.event_name', '$.data.timestamp_unixtime_ms'
    ]) as v
    from (
        select n, unnest(events) as event, unnest(range(len(events))) as place
        from (select n, json_extract(line, '$.events[*]') as events from line)
    )
)
order by n, place
"""

# All of a file into a table; then the table into a file.
LOAD_PARQUET = "create table content as from read_parquet(getvariable('path'))"
COPY_TO_PARQUET = """
copy content to (getvariable('copy')) (format parquet, compression zstd)
"""

OPEN_STORE = "import sys, duckdb; duckdb.connect(sys.argv[1], read_only=True)"


def read_csv(file: Path | str, database: Path) -> Sample:
    """Read a file of CSV, or all that a pattern names, into a new database, without a limit."""
    return run_sql(READ_CSV, database=database, path=str(file))


def read_parquet(file: Path, database: Path) -> Sample:
    """Read a file of Parquet into a new database, without a memory limit."""
    return run_sql(READ_PARQUET, database=database, path=str(file))


def read_batches(file: Path, database: Path) -> Sample:
    """Read a file of batches into a new database: a table of people and one of events."""
    return run_sql(
        "set preserve_insertion_order = false",
        READ_LINES,
        READ_BATCHES,
        "checkpoint",
        database=database,
        path=str(file),
    )


def open_store(store: Path) -> Sample:
    """Start Python, import duckdb and open a store."""
    return measure([sys.executable, "-c", OPEN_STORE, store])


def copy_seconds(file: Path, database: Path) -> float:
    """Return the seconds that DuckDB needs to write the content of a Parquet file as Parquet."""
    copied = database.with_suffix(".parquet")
    sample = run_sql(
        LOAD_PARQUET,
        "checkpoint",
        COPY_TO_PARQUET,
        database=database,
        path=str(file),
        copy=str(copied),
    )
    return statement_seconds(sample)[-1]
