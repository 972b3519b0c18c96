"""Arrow tables into a store and out of it: through a Parquet file that only the owner may read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from profilectl.codes import InputRefused, UsageError

if TYPE_CHECKING:
    import pyarrow

    from profilectl.reading.exporting.export import ExportRequest

ROWS_AT_ONCE = 50_000
"""How many rows a batch has at most."""


class ArrowStream(Protocol):
    """What gives Arrow data: tables and readers of pyarrow, data frames, results of DuckDB."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the stream of the Arrow C data interface."""


@contextlib.contextmanager
def as_parquet(table: ArrowStream, store: Path) -> Iterator[Path]:
    """Yield the path of a Parquet file with the rows of a table, which is removed at the end.

    It lies in a private folder beside the store. Raises UsageError for what is no table,
    InputRefused where Parquet cannot hold a column.
    """
    import pyarrow
    import pyarrow.parquet

    from profilectl.reading.actions import folder_for_input

    if not hasattr(table, "__arrow_c_stream__"):
        raise UsageError(
            f"a {type(table).__name__} is no Arrow table",
            "a pyarrow.Table or RecordBatchReader, or a data frame that gives one",
        )
    reader = pyarrow.RecordBatchReader.from_stream(table)
    with folder_for_input(store) as folder:
        path = folder / "table.parquet"
        try:
            with pyarrow.parquet.ParquetWriter(path, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
        except (pyarrow.ArrowNotImplementedError, pyarrow.ArrowInvalid) as error:
            raise InputRefused(
                f"the table cannot be written as Parquet: {error}", "cast the column, or drop it"
            ) from None
        yield path


def from_parquet(
    store: Path, request: ExportRequest, *, wait_s: float
) -> pyarrow.RecordBatchReader:
    """Return a reader of an export. The file behind it has no name any more, and goes with it."""
    import pyarrow
    import pyarrow.parquet

    from profilectl.reading.actions import export_store, folder_for_input

    with folder_for_input(store) as folder:
        path = folder / "export.parquet"
        with path.open("w+b") as out:
            export_store(store, request, out, wait_s=wait_s)
        parquet = pyarrow.parquet.ParquetFile(pyarrow.OSFile(str(path)))
    # A short program must not end while a pool of threads still runs.
    batches = parquet.iter_batches(ROWS_AT_ONCE, use_threads=False)
    return pyarrow.RecordBatchReader.from_batches(parquet.schema_arrow, batches)
