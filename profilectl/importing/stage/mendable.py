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
from profilectl.store.scratch import Scratch

OPTION = "--rejects-as-input"


@dataclass(frozen=True, slots=True)
class Mendable:
    """Where the rejected rows go, and the encoding of the input."""

    path: Path
    encoding: str

    def write(self, scratch: Scratch, staged: Staged, rejects: Rejects) -> None:
        """Write the rejected rows of all files, in their order, under one header."""
        with rejects.path.open("rb") as lines:
            # by file and line
            found = [(reject["file"], place_of(reject)) for reject in map(json.loads, lines)]
        wanted: dict[str, list[int]] = {file.name: [] for file in staged.files}
        for name, line in found:
            # a file that is named twice has each of its lines twice
            if wanted[name][-1:] != [line]:
                wanted[name].append(line)
        files = [file for file in staged.files if wanted[file.name] and not file.more]
        if files[0].format == "parquet":
            self._write_parquet(files, wanted)
            return
        # one byte order mark a file
        encoder = codecs.getincrementalencoder(self.encoding)("surrogateescape")
        with whole_file(self.path, OPTION) as out:
            head = (
                _lines(files[0], 1, files[0].first_line) if files[0].format == "csv" else iter(())
            )
            for text in head:
                out.write(encoder.encode(text))
            for file in files:
                for text in _records(scratch, file, wanted[file.name]):
                    out.write(
                        encoder.encode(
                            text.rstrip("\r\n") + ("\r\n" if text.endswith("\r\n") else "\n")
                        )
                    )

    def _write_parquet(self, files: Sequence[StagedFile], wanted: dict[str, list[int]]) -> None:
        import pyarrow.parquet

        try:
            units = {_int96_unit(file.path, wanted[file.name]) for file in files}
            with whole_file(self.path, OPTION) as out:
                writer = None
                for file in files:
                    rows, first = wanted[file.name], 1
                    with pyarrow.parquet.ParquetFile(
                        file.path, coerce_int96_timestamp_unit=max(units)
                    ) as source:
                        writer = writer or pyarrow.parquet.ParquetWriter(out, source.schema_arrow)
                        for batch in source.iter_batches():
                            here = [
                                row - first for row in rows if first <= row < first + batch.num_rows
                            ]
                            if here:
                                writer.write_batch(batch.take(pyarrow.array(here)))
                            first += batch.num_rows
                if writer is not None:
                    writer.close()
        except pyarrow.ArrowException:
            raise OSError(
                errno.ENOTSUP, "its Parquet has a column that cannot be written again"
            ) from None


def _int96_unit(path: Path, rows: Sequence[int]) -> str:
    """Return the finest unit that all INT96 timestamps of some rows can be written in: nanoseconds
    reach from 1677 to 2262.
    """
    import pyarrow
    import pyarrow.compute as compute
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path, coerce_int96_timestamp_unit="s") as source:
        names = [
            column.path
            for place in range(len(source.schema))
            if (column := source.schema.column(place)).physical_type == "INT96"
        ]
        if not names:
            return "ns"
        for column in source.read(columns=names).take([row - 1 for row in rows]).flatten().columns:
            if pyarrow.types.is_timestamp(column.type):
                seconds = compute.min_max(column.cast(pyarrow.int64()))
                if any(
                    one is not None and abs(one) > 9_223_372_036
                    for one in (seconds["min"].as_py(), seconds["max"].as_py())
                ):
                    return "us"
    return "ns"


def mendable(
    path: Path,
    files: Sequence[InputFile],
    encoding: str | None,
    head: Callable[[InputFile], object],
) -> Mendable:
    """Say how the rejected rows of some files will be written.

    head: what a CSV file says of its columns. Raises UsageError, InputRefused where they could not
    be imported as one file.
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
    if format == "parquet" and len(files) > 1:
        import pyarrow.parquet

        first = pyarrow.parquet.read_schema(files[0].local)
        if any(not pyarrow.parquet.read_schema(file.local).equals(first) for file in files[1:]):
            raise InputRefused(
                f"{OPTION}: the files have different columns", "import them one by one"
            )
    return Mendable(path, encoding or "utf-8")


def _lines(file: StagedFile, first: int, end: int) -> Iterator[str]:
    """Return the physical lines from the first up to, but not, the end."""
    with file.path.open(encoding="utf-8", errors="surrogateescape", newline="") as content:
        for number, line in enumerate(content, start=1):
            if number >= end:
                return
            if number >= first:
                yield line.removeprefix("\ufeff") if number == 1 else line


def _records(scratch: Scratch, file: StagedFile, wanted: list[int]) -> Iterator[str]:
    """Return the text of the records that begin at some lines, up to where the next record begins."""
    ends: dict[int, int] = {}
    if file.lines and file.format == "csv":
        begins = sorted(
            {line for (line,) in scratch.rows(f"select line from {file.lines} as lines")}
            | set(wanted)
        )
        following = dict(itertools.pairwise(begins))
        ends = {line: following.get(line, 1 << 62) for line in wanted}
    places = iter(wanted)
    line = next(places, None)
    text: list[str] = []
    for number, physical in enumerate(_lines(file, 1, 1 << 62), start=1):
        while line is not None and text and number >= ends.get(line, line + 1):
            yield "".join(text)
            text, line = [], next(places, None)
        if line is None:
            return
        if number >= line:
            text.append(physical)
    if text:
        yield "".join(text)
