"""Profiles -> JSONL, Parquet, CSV: streaming, in any number (design.md 4).

Profiles are read a stretch at a time, so that memory does not grow with the store. A file is written
under another name and renamed when it is complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from profilectl.codes import UsageError
from profilectl.identity import BY_NAME
from profilectl.profile import Profiles, held_as_text, profiles_of
from profilectl.scratch import quote_identifier
from profilectl.segments import ENVIRONMENT_NAME
from profilectl.store import Store
from profilectl.whole_file import whole_file

FORMATS = ("jsonl", "parquet", "csv")
STRETCH = 200_000
"""So many rows' worth of profiles are folded at once."""
MOST_COLUMNS = 5_000
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def export_profiles(
    store: Store,
    format: str,
    output: BinaryIO | Path,
    *,
    in_order: bool = False,
    provenance: bool = False,
    safe: bool = False,
    progress: Callable[[int], None] = lambda profiles: None,
) -> int:
    """Write every profile and return how many. in_order: by MPID. output: a stream, or a path. safe: a
    spreadsheet that opens the CSV file runs nothing of it; cells are changed for that.

    Raises UsageError for what a format cannot hold, InputRefused where the path cannot be written.
    """
    profiles = profiles_of(store)
    if provenance and format != "jsonl":
        raise UsageError("--provenance goes with --format jsonl", "a CSV or Parquet cell holds the value alone")
    if safe and format != "csv":
        raise UsageError("--safe-for-spreadsheets goes with --format csv")
    if isinstance(output, Path):
        with whole_file(output) as stream:
            return _write(profiles, format, stream, in_order, provenance, safe, progress)
    return _write(profiles, format, output, in_order, provenance, safe, progress)


def _write(
    profiles: Profiles,
    format: str,
    stream: BinaryIO,
    in_order: bool,
    provenance: bool,
    safe: bool,
    progress: Callable[[int], None],
) -> int:
    if format == "jsonl":
        return _write_jsonl(profiles, stream, in_order, provenance, progress)
    return _write_columns(profiles, format, stream, in_order, safe, progress)


def _stretches(profiles: Profiles) -> Iterator[str]:
    """Return conditions that part the profiles into stretches, oldest first."""
    _, end = profiles.store.next_import()
    for start in range(0, end, STRETCH):
        yield f"where profile between {start} and {start + STRETCH - 1}"


def _write_jsonl(
    profiles: Profiles, stream: BinaryIO, in_order: bool, provenance: bool, progress: Callable[[int], None]
) -> int:
    scratch, count = profiles.store.scratch, 0
    if in_order:
        scratch.run("create temp table export_line (mpid bigint, environment utinyint, line varchar)")
    for where in _stretches(profiles):
        select = profiles.json_lines(where, provenance=provenance)
        if in_order:
            scratch.run(f"insert into export_line select mpid, 0, line from ({select})")
            continue
        lines = [line for (line,) in scratch.rows(f"select line from ({select}) order by profile")]
        stream.write("".join(f"{line}\n" for line in lines).encode())
        count += len(lines)
        progress(count)
    if in_order:
        cursor = scratch.connection.execute("select line from export_line order by mpid, line")
        while block := cursor.fetchmany(50_000):
            stream.write("".join(f"{line}\n" for (line,) in block).encode())
            count += len(block)
            progress(count)
        scratch.run("drop table export_line")
    return count


def _columns(profiles: Profiles, format: str) -> tuple[list[str], str]:
    """Return the keys to fold, and the SELECT list of an export row (columns as an import names them)."""
    keys = profiles.attributes()
    if len(keys) > MOST_COLUMNS:
        raise UsageError(f"{len(keys):,} attributes are more columns than a {format} export has", "use --format jsonl")
    environment = " ".join(
        ["case environment", *(f"when {code} then '{name}'" for code, name in ENVIRONMENT_NAME.items()), "end"]
    )
    columns = ["mpid::varchar as mpid", f"{environment} as environment"]
    columns += [f"i_{kind}[-1] as {quote_identifier(BY_NAME[kind].field)}" for kind in profiles.identities]
    columns += [f"{held_as_text(f'v{n}')} as {quote_identifier(f'user_attributes.{key}')}" for n, key in enumerate(keys)]
    return keys, ", ".join(columns)


def _write_columns(
    profiles: Profiles, format: str, stream: BinaryIO, in_order: bool, safe: bool, progress: Callable[[int], None]
) -> int:
    scratch = profiles.store.scratch
    keys, columns = _columns(profiles, format)
    writer = _ParquetWriter(stream) if format == "parquet" else _CsvWriter(stream, safe)
    count = 0
    if in_order:
        scratch.run(f"create temp table export_row as select {columns}, mpid as sort from ({profiles.folded(keys, 'where false')})")
    for where in _stretches(profiles):
        select = profiles.folded(keys, where)
        if in_order:
            scratch.run(f"insert into export_row select {columns}, mpid as sort from ({select})")
            continue
        count += writer.write(scratch.connection.execute(f"select {columns} from ({select}) order by profile"))
        progress(count)
    if in_order:
        count = writer.write(scratch.connection.execute("select * exclude (sort) from export_row order by sort, environment"))
        scratch.run("drop table export_row")
    if not count:
        writer.write(scratch.connection.execute(f"select {columns} from ({profiles.folded(keys, 'where false')})"))
    writer.close()
    return count


class _CsvWriter:
    """RFC 4180 as the reader takes it back: a cell is quoted where it must be, an empty one is nothing."""

    def __init__(self, stream: BinaryIO, safe: bool) -> None:
        import csv
        import io

        self._safe = safe
        self._text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        self._csv = csv.writer(self._text, lineterminator="\n")
        # Python leaves a lone carriage return bare, and a reader would see the end of a row in it.
        self._quoted = csv.writer(self._text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._begun = False

    def write(self, cursor: Any) -> int:
        if not self._begun:
            self._write([[_inert(column[0]) if self._safe else column[0] for column in cursor.description]])
            self._begun = True
        count = 0
        while block := cursor.fetchmany(20_000):
            if self._safe:
                block = [[cell and _inert(cell) for cell in row] for row in block]
            self._write(block)
            count += len(block)
        return count

    def _write(self, block: Sequence[Sequence[str | None]]) -> None:
        if any("\r" in cell for row in block for cell in row if cell):
            for row in block:
                (self._quoted if any(cell and "\r" in cell for cell in row) else self._csv).writerow(row)
        else:
            self._csv.writerows(block)

    def close(self) -> None:
        self._text.flush()
        self._text.detach()


def _inert(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula. A number with its sign is none."""
    if cell[:1] not in ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20") or _NUMBER.fullmatch(cell):
        return cell
    return "'" + cell


class _ParquetWriter:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._writer: Any = None

    def write(self, cursor: Any) -> int:
        import pyarrow.parquet

        count = 0
        reader = cursor.to_arrow_reader(100_000)
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._stream, reader.schema, compression="zstd")
        for batch in reader:
            self._writer.write_batch(batch)
            count += batch.num_rows
        return count

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
