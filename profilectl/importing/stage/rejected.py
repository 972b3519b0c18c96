"""A file of rejects as input: each row is read again in the format that it had.

The rows of one file become one part: a plain file in its format, with the header of that file. The
line in the rejects is remembered for each row: a row that is rejected again names that line, and
has it as its text.
"""

from __future__ import annotations

import csv
import io
import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TextIO

from profilectl.codes import InputRefused, Reject
from profilectl.importing.stage.csv.dialect import Dialect
from profilectl.importing.stage.csv.head import Header
from profilectl.importing.stage.source.content import is_rejects
from profilectl.importing.stage.source.files import (
    REJECTS,
    InputFile,
    format_named,
    original_of,
)
from profilectl.importing.stage.staged import (
    RAW_SHOWN,
    Rejects,
    StagedFile,
    WrittenReject,
    reject_of,
)
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.text.values import NotJson, parse_json, to_json
from profilectl.store.scratch import Scratch

ERASED = "(erased)"
"""The text of a row of somebody erased (suppression.NOTE)."""
SPOILED = re.compile(r"\\x[89a-f][0-9a-f]")
"""A byte that was not valid in its encoding, as it is written in a reject."""
BLOCK = 100_000
"""How many places are loaded at once."""
_PLACE = [("begin", "BIGINT"), ("line", "BIGINT")]

# Where each row of a part stands in the file of rejects.
LINES_OF_PART = SqlTemplate("""
select own.seq, place.line
from {own} as own
asof join {places} as place on own.line >= place.begin
""")


class RejectFault(NamedTuple):
    """Why the row of a reject cannot be read again."""

    code: str
    """The code of the new reject."""
    detail: str
    """The detail of the new reject."""


class RejectLine(NamedTuple):
    """A line of a file of rejects."""

    number: int
    """Its place, from 1."""
    offset: int
    """The byte at which it begins."""
    text: bytes
    """Its text."""


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """The rejected rows of one file."""

    source: InputFile
    """The file of rejects."""
    file: InputFile
    """The rows, as a file in their own format."""
    name: str
    """The names of the relations made of it begin with this."""
    origin: str
    """The file from which the rows come."""
    begins: array[int] = field(default_factory=lambda: array("q"))
    """Of each row, the line of `file` at which it begins."""
    lines: array[int] = field(default_factory=lambda: array("q"))
    """Of each row, its line in `source`."""
    offsets: array[int] = field(default_factory=lambda: array("q"))
    """Of each row, the byte at which that line begins."""

    def place(self, line: int) -> int:
        """Return which row a line of `file` belongs to."""
        return max(bisect_right(self.begins, line) - 1, 0)

    def text(self, place: int) -> str:
        """Return the line of `source` that a row stands in."""
        with self.source.local.open("rb") as content:
            content.seek(self.offsets[place])
            return _shown(content.readline())


class Relined(Rejects):
    """Takes the rejects of a part, and adds them as rejects of the file of rejects."""

    def __init__(self, rejects: Rejects, part: RejectedRows) -> None:
        super().__init__(rejects.path)
        self._rejects, self._part = rejects, part

    def add(self, reject: Reject, *, late: bool = False, unit: str = "line") -> None:
        """Write down a reject with the line that it has in the file of rejects."""
        place = self._part.place(reject.line)
        self._rejects.add(
            replace(reject, line=self._part.lines[place], raw=self._part.text(place)), late=late
        )


def parts_of(
    scratch: Scratch,
    file: InputFile,
    name: str,
    *,
    dialect: Dialect,
    header: Callable[[InputFile], Header] | None,
    rejects: Rejects,
) -> list[RejectedRows]:
    """Return the rows of a file of rejects by the files they come from.

    A line that cannot be a row again goes to `rejects`. header: reads the head of a CSV file; None:
    the files have none. Raises InputRefused for a line that is no reject, and where a header is not
    there.
    """
    writers: dict[str, _PartWriter] = {}
    writer: _PartWriter | None = None
    try:
        for line in _lines(file.local):
            reject = _reject_in(file, line)
            if writer is None or writer.part.origin != reject["file"]:
                if writer is not None:
                    writer.close()
                writer = writers.get(reject["file"])
            if writer is None:
                number = len(writers)
                local = scratch.folder / f"{name}.part{number}"
                part = _part(file, reject, f"{name}_{number}", local=local)
                writer = _PartWriter.create(part, dialect, header)
                writers[part.origin] = writer
            fault = writer.fault(reject)
            if fault:
                raw = _shown(line.text)
                rejects.add(
                    Reject(file.name, line.number, fault.code, raw=raw, detail=fault.detail)
                )
            else:
                writer.write(reject["raw"], line)
    finally:
        if writer is not None:
            writer.close()
    return [part_writer.complete() for part_writer in writers.values()]


def relined(scratch: Scratch, staged: StagedFile, part: RejectedRows) -> StagedFile:
    """Return a part that was staged, with the places of its rows in the file of rejects."""
    places = f"{part.name}_place"
    scratch.load(places, _PLACE, [])
    for start in range(0, len(part.lines), BLOCK):
        block = slice(start, start + BLOCK)
        scratch.append(
            places, _PLACE, list(zip(part.begins[block], part.lines[block], strict=True))
        )
    scratch.make(f"{part.name}_at", LINES_OF_PART(own=staged.places, places=places))
    rows = "row" if len(part.lines) == 1 else "rows"
    notice = f"{staged.name}: {len(part.lines):,} rejected {rows} of {part.origin}, read again"
    return replace(
        staged,
        lines=f"{part.name}_at",
        path=part.source.local,
        format="jsonl",
        unit="line",
        notices=[*staged.notices, notice],
    )


def _lines(local: Path) -> Iterator[RejectLine]:
    """Yield the lines of a file that are not blank."""
    with local.open("rb") as content:
        offset = 0
        for number, text in enumerate(content, start=1):
            if text.strip():
                yield RejectLine(number, offset, text)
            offset += len(text)


def _reject_in(file: InputFile, line: RejectLine) -> WrittenReject:
    """Return the reject that a line is. Raises InputRefused for a line that is none."""
    reject = reject_of(line.text)
    if reject is None:
        raise InputRefused(
            f"{file.name}:{line.number}: no reject, as the lines before it are",
            "take it out; a file of rejects holds nothing else",
        )
    return reject


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r\n")[:RAW_SHOWN]


def _part(file: InputFile, reject: WrittenReject, name: str, *, local: Path) -> RejectedRows:
    """Return the part that the file of a reject becomes. Raises InputRefused."""
    origin = reject["file"]
    rows = InputFile(
        name=file.name,
        local=local,
        sha256=file.sha256,
        format=_format(file, origin, reject["raw"]),
        asked=file.asked,
        encoding=file.encoding,
        origin=origin,
    )
    return RejectedRows(source=file, file=rows, name=name, origin=origin)


def _format(file: InputFile, origin: str, raw: str) -> str:
    """Return the format in which the rows of a file are read again. Raises InputRefused."""
    format = format_named(origin) or file.asked
    # Standard input has no name that says a format, so its first reject shows it.
    if format is None and origin == "-":
        format = "jsonl" if raw.lstrip().startswith("{") else "csv"
    if format is None:
        raise InputRefused(
            f"{file.name}: the name of {origin} does not say what its rows are",
            "give --format csv, parquet or jsonl",
        )
    # Rows of Parquet and of JSON documents are written down as JSON.
    return "csv" if format == "csv" else "jsonl"


class _PartWriter:
    """Writes the rows of one part to a file of their own."""

    def __init__(self, part: RejectedRows, dialect: Dialect) -> None:
        self.part = part
        self._dialect, self._line = dialect, 1
        self._out: TextIO | None = None

    @classmethod
    def create(
        cls, part: RejectedRows, dialect: Dialect, header: Callable[[InputFile], Header] | None
    ) -> _PartWriter:
        """Begin the file of a part, with the header of the file that its rows come from.

        Raises InputRefused where that file is not there.
        """
        writer = cls(part, replace(dialect, delimiter=dialect.delimiter or ","))
        part.file.local.touch(mode=0o600)
        if part.file.format == "csv" and header is not None:
            original = _original(part)
            writer._begin_with(original, header(original))
        return writer

    def _begin_with(self, original: InputFile, head: Header) -> None:
        """Write the head of a CSV file."""
        self._dialect, self._line = head.dialect, head.lines + 1
        with original.local.open("rb") as content:
            self._text.write(content.read(head.end).decode().rstrip("\r\n") + "\n")

    @property
    def _text(self) -> TextIO:
        """Return the file of the rows, open: of the parts, which may be thousands, one has it."""
        if self._out is None:
            self._out = self.part.file.local.open(
                "a", encoding="utf-8", errors="surrogatepass", newline=""
            )
        return self._out

    def close(self) -> None:
        """Close the file; it is opened again for the next row."""
        if self._out is not None:
            self._out.close()
            self._out = None

    def fault(self, reject: WrittenReject) -> RejectFault | None:
        """Return why a row cannot be read again; None: it can."""
        code, raw = reject["code"], reject["raw"]
        if not raw.strip() or raw == ERASED:
            return RejectFault(code, "the text of the row is not there")
        if len(raw) >= RAW_SHOWN:
            return RejectFault(
                "ROW_TOO_LONG",
                f"the text was cut after {RAW_SHOWN:,} characters;"
                " --rejects-as-input keeps the whole row",
            )
        if code == "ENCODING_INVALID" and SPOILED.search(raw):
            return RejectFault(code, "bytes are still written as \\x..")
        return self._csv_fault(raw) if self.part.file.format == "csv" else _json_fault(raw)

    def _csv_fault(self, raw: str) -> RejectFault | None:
        try:
            records = sum(1 for _ in self._dialect.records(io.StringIO(raw, newline="")))
        except csv.Error as error:
            return RejectFault("CSV_QUOTE", str(error))
        return None if records == 1 else RejectFault("CSV_QUOTE", "the text is more than one row")

    def write(self, raw: str, line: RejectLine) -> None:
        """Write down a row: the text it had, and where it stands in the rejects."""
        if self.part.file.format != "csv" and "\n" in raw:
            # An element of a document may go over several lines.
            raw = to_json(parse_json(raw))
        self.part.begins.append(self._line)
        self.part.lines.append(line.number)
        self.part.offsets.append(line.offset)
        self._text.write(raw + "\n")
        self._line += sum(1 for _ in io.StringIO(raw, newline=""))

    def complete(self) -> RejectedRows:
        """Return the part, complete; its rows may be rejects again."""
        file = self.part.file
        if file.format == "jsonl" and is_rejects(file.local):
            return replace(self.part, file=replace(file, format=REJECTS))
        return self.part


def _original(part: RejectedRows) -> InputFile:
    """Open the CSV file that the rows of a part come from. Raises InputRefused: it is not there."""
    folder = part.file.local.with_name(f"{part.file.local.name}.original")
    folder.mkdir(mode=0o700)
    original = original_of(part.source, part.origin, folder)
    if original is None or original.format != "csv":
        raise InputRefused(
            f"{part.source.name}: its rows come from {part.origin}, which is not there, and"
            " without it their columns have no names",
            f"put {part.origin} where it was; or import it again with --rejects-as-input, which"
            " keeps the header",
        )
    return original


def _json_fault(raw: str) -> RejectFault | None:
    if "\n" not in raw:
        return None
    try:
        parse_json(raw)
    except NotJson as error:
        return RejectFault(error.code, error.detail)
    return None
