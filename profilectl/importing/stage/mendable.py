"""Rejected rows in the input's own format, so that they can be mended and imported as they are."""

from __future__ import annotations

import codecs
import errno
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from profilectl.codes import InputRefused, UsageError
from profilectl.files.whole_file import whole_file
from profilectl.importing.stage.source.files import FORMATS, REJECTS, InputFile
from profilectl.importing.stage.staged import Rejects, Staged, StagedFile, place_of
from profilectl.importing.stage.template import SqlTemplate
from profilectl.store.scratch import Scratch

OPTION = "--rejects-as-input"
NS_REACH_S = 9_223_372_036
"""How many seconds from 1970 a time in nanoseconds may be: 64 bits reach from 1677 to 2262."""
_ENDLESS = 1 << 62
# The lines at which the staged rows begin.
LINES = SqlTemplate("select line from {lines} as lines")


@dataclass(frozen=True, slots=True)
class Mendable:
    """Where the rejected rows go."""

    path: Path
    """The file."""
    encoding: str
    """The encoding of the input."""

    def write(self, scratch: Scratch, staged: Staged, rejects: Rejects) -> None:
        """Write the rejected rows of all files, in their order, under one header."""
        lines = _rejected_lines(staged, rejects)
        files = [file for file in staged.files if lines[file.name] and not file.more]
        if files[0].format == "parquet":
            self._write_parquet(files, lines)
            return
        # One encoder, so that the file has one byte order mark.
        encoder = codecs.getincrementalencoder(self.encoding)("surrogateescape")
        with whole_file(self.path, OPTION) as out:
            if files[0].format == "csv":
                for text in _lines(files[0], 1, files[0].first_line):
                    out.write(encoder.encode(text))
            for file in files:
                for text in _records(scratch, file, lines[file.name]):
                    end = "\r\n" if text.endswith("\r\n") else "\n"
                    out.write(encoder.encode(text.rstrip("\r\n") + end))

    def _write_parquet(self, files: Sequence[StagedFile], rows: dict[str, list[int]]) -> None:
        """Write rows of Parquet files. rows: of each file, counted from 1."""
        import pyarrow.parquet

        try:
            # The coarsest unit that any file needs: "us" sorts behind "ns".
            unit = max(_int96_unit(file.path, rows[file.name]) for file in files)
            with whole_file(self.path, OPTION) as out:
                writer = None
                for file in files:
                    with pyarrow.parquet.ParquetFile(
                        file.path, coerce_int96_timestamp_unit=unit
                    ) as source:
                        writer = writer or pyarrow.parquet.ParquetWriter(out, source.schema_arrow)
                        begin = 1
                        for batch in source.iter_batches():
                            end = begin + batch.num_rows
                            places = [row - begin for row in rows[file.name] if begin <= row < end]
                            if places:
                                writer.write_batch(batch.take(pyarrow.array(places)))
                            begin = end
                if writer is not None:
                    writer.close()
        except pyarrow.ArrowException:
            raise OSError(
                errno.ENOTSUP, "its Parquet has a column that cannot be written again"
            ) from None


def mendable(
    path: Path,
    files: Sequence[InputFile],
    encoding: str | None,
    head: Callable[[InputFile], object],
) -> Mendable:
    """Return how the rejected rows of some files will be written.

    head: returns the columns that a CSV file says it has. Raises UsageError, InputRefused where the
    rows could not be imported as one file.
    """
    formats = {"jsonl" if file.format == REJECTS else file.format for file in files}
    if "json" in formats:
        raise InputRefused(
            f"{OPTION}: a JSON document is mended where it is",
            "it is for CSV, JSON lines and Parquet",
        )
    if len(formats) > 1:
        raise InputRefused(
            f"{OPTION}: the files are of several formats", "import them format by format"
        )
    (format,) = formats
    if FORMATS.get(path.suffix.lower()) != format:
        raise UsageError(
            f"{OPTION} {path}: the name must end as that of a {format} file",
            f"for example rejects.{format}",
        )
    if format == "csv" and len({head(file) for file in files}) > 1:
        raise InputRefused(f"{OPTION}: the files have different headers", "import them one by one")
    if format == "parquet" and not _same_columns(files):
        raise InputRefused(f"{OPTION}: the files have different columns", "import them one by one")
    return Mendable(path, encoding or "utf-8")


def _same_columns(files: Sequence[InputFile]) -> bool:
    """Return whether Parquet files have the same columns."""
    if len(files) < 2:
        return True
    import pyarrow.parquet

    schemas = [pyarrow.parquet.read_schema(file.local) for file in files]
    return all(schema.equals(schemas[0]) for schema in schemas)


def _int96_unit(path: Path, rows: Sequence[int]) -> str:
    """Return the finest unit in which all INT96 timestamps of some rows can be written."""
    import pyarrow
    import pyarrow.compute as compute
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path, coerce_int96_timestamp_unit="s") as source:
        columns = [source.schema.column(place) for place in range(len(source.schema))]
        names = [column.path for column in columns if column.physical_type == "INT96"]
        if not names:
            return "ns"
        for times in source.read(columns=names).take([row - 1 for row in rows]).flatten().columns:
            if not pyarrow.types.is_timestamp(times.type):
                continue
            seconds = compute.min_max(times.cast(pyarrow.int64()))
            bounds = (seconds["min"].as_py(), seconds["max"].as_py())
            if any(bound is not None and abs(bound) > NS_REACH_S for bound in bounds):
                return "us"
    return "ns"


def _rejected_lines(staged: Staged, rejects: Rejects) -> dict[str, list[int]]:
    """Return the lines, or rows, of each file that were rejected, in their order."""
    lines: dict[str, list[int]] = {file.name: [] for file in staged.files}
    with rejects.path.open("rb") as written:
        for reject in map(json.loads, written):
            # A file that is named twice has each of its lines twice.
            line = place_of(reject)
            if lines[reject["file"]][-1:] != [line]:
                lines[reject["file"]].append(line)
    return lines


def _lines(file: StagedFile, begin: int, end: int) -> Iterator[str]:
    """Yield the physical lines from `begin` up to, but not, `end`."""
    with file.path.open(encoding="utf-8", errors="surrogateescape", newline="") as content:
        for number, line in enumerate(content, start=1):
            if number >= end:
                return
            if number >= begin:
                yield line.removeprefix("\ufeff") if number == 1 else line


def _records(scratch: Scratch, file: StagedFile, lines: list[int]) -> Iterator[str]:
    """Yield the records that begin at some lines, each up to where the next record begins."""
    ends: dict[int, int] = {}
    if file.lines and file.format == "csv":
        of_rows = {line for (line,) in scratch.rows(LINES(lines=file.lines))}
        following = dict(itertools.pairwise(sorted(of_rows | set(lines))))
        ends = {line: following.get(line, _ENDLESS) for line in lines}
    begins = iter(lines)
    line = next(begins, None)
    text: list[str] = []
    for number, physical in enumerate(_lines(file, 1, _ENDLESS), start=1):
        while line is not None and text and number >= ends.get(line, line + 1):
            yield "".join(text)
            text, line = [], next(begins, None)
        if line is None:
            return
        if number >= line:
            text.append(physical)
    if text:
        yield "".join(text)
