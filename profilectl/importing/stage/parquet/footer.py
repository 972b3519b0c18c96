"""The footer of a Parquet file: what it says of rows, columns and sizes, before any of it is read.

A value that stands once may count a billion times (a dictionary, a run of the same), and a row that
is null takes nothing. So a value counts as a byte at least, and the size that a file comes to is
limited as that of gzip is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profilectl.codes import InputRefused
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.source.unpacking import free_space, most_of, refusal, size_of, sized
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.engine import duckdb
from profilectl.store.scratch import Scratch

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

MOST_COLUMNS = 10_000
"""How many columns a file may have."""
ROW = 8
"""How many bytes a row takes at least where it is read: its number."""
VALUE = 8
"""How many bytes a value takes as text, as a rule."""
FOOTER_TIMES = 20
"""A footer takes this many times its size in memory."""

# What DuckDB reads of a footer that pyarrow cannot read.
ROW_COUNT = SqlTemplate("select num_rows from parquet_file_metadata({path})")
# The columns, the values, and the bytes of all chunks.
SIZES = SqlTemplate("""
select count(distinct column_id), coalesce(sum(num_values), 0),
       coalesce(sum(total_uncompressed_size), 0)
from parquet_metadata({path})
""")
SPILLED = "select coalesce(sum(size), 0) from duckdb_temporary_files()"
MEMORY_LIMIT = "select current_setting('memory_limit')"


@dataclass(frozen=True, slots=True)
class Footer:
    """The numbers of a footer."""

    rows: int
    """How many rows there are."""
    columns: int
    """How many columns, the members of structs by themselves."""
    unpacked: int
    """How many bytes the file comes to at least."""


def check_footer(scratch: Scratch, file: InputFile) -> None:
    """Raise InputRefused for a file whose footer says more than there is room for.

    Otherwise use cores for what it unpacks to: 540,000 rows of few people are 4 MB.
    """
    size = file.local.stat().st_size
    memory = memory_limit(scratch)
    with file.local.open("rb") as stream:
        # A file ends with the length of its footer, in four bytes, and PAR1.
        stream.seek(max(size - 8, 0))
        length = int.from_bytes(stream.read(4), "little")
    if length <= size and length * FOOTER_TIMES > memory:
        raise InputRefused(
            f"{file.name}: its footer has {sized(length)}, too much for {sized(memory)} of memory",
            "give --memory-limit more, or make several files of it",
        )
    footer = footer_of(scratch, file)
    if footer is None:
        return  # the reader says that it cannot be read
    if footer.columns > MOST_COLUMNS:
        raise InputRefused(
            f"{file.name}: {footer.columns:,} columns; at most {MOST_COLUMNS:,} can be read",
            "write the columns that are needed",
        )
    most = most_of(size, size_of(file.max_unpacked))
    if footer.unpacked > most:
        verb = f"says that it has {footer.rows:,} rows of {footer.columns:,} columns, which are"
        raise refusal(file.name, size, footer.unpacked, most=most, verb=verb)
    room = memory + max(free_space(scratch.folder), 0)
    if footer.rows * ROW > room:
        raise InputRefused(
            f"{file.name} says that it has {footer.rows:,} rows: their numbers alone take"
            f" {sized(footer.rows * ROW)}, and memory and disk have {sized(room)}",
            "look at what it is, or read it where there is more",
        )
    scratch.expect(footer.rows * footer.columns * VALUE)


def footer_of(scratch: Scratch, file: InputFile) -> Footer | None:
    """Return a footer; None where neither reader can read it. Raises InputRefused."""
    import pyarrow.parquet

    try:
        return _by_arrow(pyarrow.parquet.read_metadata(file.local))
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if "hrift" in str(error):  # a list that says it has more entries than anybody can read
            from profilectl.importing.stage.parquet.arrow import unreadable

            raise unreadable(file.name, error) from None
    path = quote_text(str(file.local))
    try:
        (rows,) = scratch.row(ROW_COUNT(path=path))
        columns, values, sizes = scratch.row(SIZES(path=path))
    except duckdb.Error:
        return None
    return Footer(int(rows), int(columns), max(int(values), int(sizes)))


def _by_arrow(metadata: FileMetaData) -> Footer:
    columns = metadata.num_columns
    if columns > MOST_COLUMNS:
        return Footer(metadata.num_rows, columns, 0)
    # A column within a list has any number of values a row; all others have one.
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
    """Let a file that is read take no more of the disk than it may unpack to.

    The reserve stays free too, even if the footer is wrong. Raises InputRefused where disk and
    memory are not enough.
    """
    size = file.local.stat().st_size
    most = most_of(size, size_of(file.max_unpacked))
    (spilled,) = scratch.row(SPILLED)
    room = min(most, max(free_space(scratch.folder), 0))
    scratch.run(f"set max_temp_directory_size = '{int(spilled) + room}B'")
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        if "No space left" in str(error):
            raise
        raise InputRefused(
            f"{file.name} has {sized(size)} and takes more than {sized(memory_limit(scratch))}"
            f" of memory, and {sized(room)} of disk, to be read",
            "look at what it is: a value in it may count very often;"
            " --memory-limit and --max-unpacked give it more",
        ) from None
    finally:
        scratch.run("reset max_temp_directory_size")


def memory_limit(scratch: Scratch) -> int:
    """Return the bytes of memory that a scratch may take."""
    (limit,) = scratch.row(MEMORY_LIMIT)
    return size_of(str(limit)) or 0
