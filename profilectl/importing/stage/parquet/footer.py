"""The footer of a Parquet file: what it says of rows, columns and sizes, before any of it is read.

A value that stands once may be meant a billion times (a dictionary, a run of the same), and a row
that is null takes nothing. So a value counts as a byte at least, and what a file comes to is what
it may unpack to, as of gzip.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from profilectl.codes import InputRefused
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.source.unpacking import free_space, most_of, refusal, size_of, sized
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch

MOST_COLUMNS = 10_000
ROW = 8
"""So many bytes a row takes at least where it is read: its number."""
FOOTER_TIMES = 20
"""A footer takes so many times its size in memory."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What a footer says."""

    rows: int
    """How many rows there are."""
    columns: int
    """How many columns, the members of structs by themselves."""
    unpacked: int
    """How many bytes the file comes to at least."""


def check_footer(scratch: Scratch, file: InputFile) -> None:
    """Raise InputRefused for a file whose footer says more than there is room for."""
    size = file.local.stat().st_size
    memory = memory_limit(scratch)
    with file.local.open("rb") as stream:
        stream.seek(max(size - 8, 0))
        length = int.from_bytes(stream.read(4), "little")
    if length <= size and length * FOOTER_TIMES > memory:
        raise InputRefused(
            f"{file.name}: its footer has {sized(length)}, too much for {sized(memory)} of memory",
            "give --memory-limit more, or make several files of it",
        )
    footer = footer_of(scratch, file)
    if footer is None:
        return  # what cannot be read is said where it is read
    if footer.columns > MOST_COLUMNS:
        raise InputRefused(
            f"{file.name}: {footer.columns:,} columns; at most {MOST_COLUMNS:,} can be read",
            "write the columns that are needed",
        )
    most = most_of(size, size_of(file.max_unpacked))
    if footer.unpacked > most:
        said = f"says that it has {footer.rows:,} rows of {footer.columns:,} columns, which are"
        raise refusal(file.name, size, footer.unpacked, most, said)
    room = memory + max(free_space(scratch.folder), 0)
    if footer.rows * ROW > room:
        raise InputRefused(
            f"{file.name} says that it has {footer.rows:,} rows: their numbers alone take"
            f" {sized(footer.rows * ROW)}, and memory and disk have {sized(room)}",
            "look at what it is, or read it where there is more",
        )


def footer_of(scratch: Scratch, file: InputFile) -> Footer | None:
    """Return what a footer says; None where neither reader can read it."""
    import pyarrow.parquet

    try:
        return _by_arrow(pyarrow.parquet.read_metadata(file.local))
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if "hrift" in str(error):  # a list that says it has more entries than anybody can read
            from profilectl.importing.stage.parquet.arrow import unreadable

            raise unreadable(file.name, error) from None
    literal = quote_text(str(file.local))
    try:
        (rows,) = scratch.row(f"select num_rows from parquet_file_metadata({literal})")
        columns, values, sizes = scratch.row(
            "select count(distinct column_id), coalesce(sum(num_values), 0),"
            f" coalesce(sum(total_uncompressed_size), 0) from parquet_metadata({literal})"
        )
    except duckdb.Error:
        return None
    return Footer(int(rows), int(columns), max(int(values), int(sizes)))


def _by_arrow(metadata: Any) -> Footer:
    columns = metadata.num_columns
    if columns > MOST_COLUMNS:
        return Footer(metadata.num_rows, columns, 0)
    listed = [
        place for place in range(columns) if metadata.schema.column(place).max_repetition_level
    ]
    values = metadata.num_rows * (columns - len(listed))
    packed = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        packed += max(group.total_byte_size, 0)
        values += sum(max(group.column(place).num_values, 0) for place in listed)
    return Footer(metadata.num_rows, columns, max(values, packed))


@contextlib.contextmanager
def within_room(scratch: Scratch, file: InputFile) -> Iterator[None]:
    """Let a file that is read take no more of the disk than it may unpack to, and leave the reserve
    free; a footer may be wrong.

    Raises InputRefused where that, and the memory, is not enough."""
    size = file.local.stat().st_size
    most = most_of(size, size_of(file.max_unpacked))
    (taken,) = scratch.row("select coalesce(sum(size), 0) from duckdb_temporary_files()")
    room = min(most, max(free_space(scratch.folder), 0))
    scratch.run(f"set max_temp_directory_size = '{int(taken) + room}B'")
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        if "No space left" in str(error):
            raise
        raise InputRefused(
            f"{file.name} has {sized(size)} and takes more than {sized(memory_limit(scratch))}"
            f" of memory, and {sized(room)} of disk, to be read",
            "look at what it is: a value in it may be meant very often;"
            " --memory-limit and --max-unpacked give it more",
        ) from None
    finally:
        scratch.run("reset max_temp_directory_size")


def memory_limit(scratch: Scratch) -> int:
    """Return the bytes of memory that a scratch may take."""
    (stated,) = scratch.row("select current_setting('memory_limit')")
    return size_of(str(stated)) or 0
