"""A file of rejects as input: each row is read again in the format it had, with the header of the
file it comes from.

The rows of one file become one part: a plain file in its format, of which is known which line of
the rejects each row stands in. What is rejected again names that line, and has it as its text.
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
from typing import Any, TextIO

from profilectl.codes import InputRefused, Reject
from profilectl.importing.stage.csv.dialect import Dialect
from profilectl.importing.stage.csv.head import Header
from profilectl.importing.stage.original import RAW_SHOWN
from profilectl.importing.stage.source.files import (
    REJECTS,
    InputFile,
    format_named,
    is_rejects,
    original_of,
)
from profilectl.importing.stage.staged import Rejects, StagedFile, reject_of
from profilectl.rules.text.values import NotJson, parse_json, to_json
from profilectl.store.scratch import Scratch

ERASED = "(erased)"
"""What stands for the text of somebody erased (suppression.NOTE)."""
SPOILED = re.compile(r"\\x[89a-f][0-9a-f]")
"""A byte that was not valid in its encoding, as it is written in a reject."""


@dataclass(slots=True)
class RejectedRows:
    """The rejected rows of one file."""

    source: InputFile
    """The file of rejects."""
    file: InputFile
    """The rows, as a file in their own format."""
    name: str
    """How the relations are named that are made of it."""
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
            return content.readline().decode("utf-8", "replace").rstrip("\r\n")[:RAW_SHOWN]


class Relined(Rejects):
    """Takes the rejects of a part as those of the file of rejects."""

    def __init__(self, rejects: Rejects, part: RejectedRows) -> None:
        super().__init__(rejects.path)
        self._rejects, self._part = rejects, part

    def add(self, reject: Reject, *, late: bool = False, unit: str = "line") -> None:
        place = self._part.place(reject.line)
        self._rejects.add(
            replace(reject, line=self._part.lines[place], raw=self._part.text(place)), late=late
        )


def parts_of(
    scratch: Scratch,
    file: InputFile,
    name: str,
    dialect: Dialect,
    header: Callable[[InputFile], Header] | None,
    rejects: Rejects,
) -> list[RejectedRows]:
    """Return the rows of a file of rejects by the files they come from; what cannot be a row again
    goes to rejects.

    header: reads the head of a CSV file; None where the files have none. Raises InputRefused for a
    line that is no reject, and where a header is not there.
    """
    writers: dict[str, _Writer] = {}
    writer: _Writer | None = None
    try:
        for number, offset, line in _lines(file.local):
            reject = reject_of(line)
            if reject is None:
                raise InputRefused(
                    f"{file.name}:{number}: no reject, as the lines before it are",
                    "take it out; a file of rejects holds nothing else",
                )
            if writer is None or writer.origin != reject["file"]:
                if writer is not None:
                    writer.close()
                writer = writers.get(reject["file"])
            if writer is None:
                place = len(writers)
                writer = _Writer(
                    scratch.folder / f"{name}.part{place}",
                    f"{name}_{place}",
                    file,
                    reject,
                    dialect,
                    header,
                )
                writers[writer.origin] = writer
            fault = writer.fault(reject)
            if fault:
                rejects.add(
                    Reject(
                        file.name,
                        number,
                        fault[0],
                        line.decode("utf-8", "replace").rstrip("\r\n")[:RAW_SHOWN],
                        fault[1],
                    )
                )
            else:
                writer.write(reject["raw"], number, offset)
    finally:
        if writer is not None:
            writer.close()
    return [one.part() for one in writers.values()]


def _lines(local: Path) -> Iterator[tuple[int, int, bytes]]:
    with local.open("rb") as content:
        offset = 0
        for number, line in enumerate(content, start=1):
            if line.strip():
                yield number, offset, line
            offset += len(line)


class _Writer:
    """Writes the rows of one part to a file of their own."""

    def __init__(
        self,
        local: Path,
        name: str,
        file: InputFile,
        first: dict[str, Any],
        dialect: Dialect,
        header: Callable[[InputFile], Header] | None,
    ) -> None:
        self.origin = origin = first["file"]
        self._format = _format(file, origin, first["raw"])
        self._dialect, self._line = replace(dialect, delimiter=dialect.delimiter or ","), 1
        self._part = RejectedRows(
            file,
            InputFile(
                file.name, local, file.sha256, self._format, file.asked, file.encoding, origin
            ),
            name,
            origin,
        )
        self._out: TextIO | None = None
        local.touch(mode=0o600)
        if self._format != "csv":
            return
        if header is not None:
            folder = local.with_name(f"{local.name}.original")
            folder.mkdir(mode=0o700)
            original = original_of(file, origin, folder)
            if original is None or original.format != "csv":
                raise InputRefused(
                    f"{file.name}: its rows come from {origin}, which is not there, and without it their columns have no names",
                    f"put {origin} where it was; or import it again with --rejects-as-input, which keeps the header",
                )
            head = header(original)
            self._dialect, self._line = head.dialect, head.lines + 1
            with original.local.open("rb") as content:
                self._text.write(content.read(head.end).decode().rstrip("\r\n") + "\n")

    @property
    def _text(self) -> TextIO:
        """The file of the rows, open: one at a time is, for there may be thousands."""
        if self._out is None:
            self._out = self._part.file.local.open(
                "a", encoding="utf-8", errors="surrogatepass", newline=""
            )
        return self._out

    def close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    def fault(self, reject: dict[str, Any]) -> tuple[str, str] | None:
        """Return the code and the detail of a row that cannot be read again."""
        code, raw = reject["code"], reject["raw"]
        if not raw.strip() or raw == ERASED:
            return code, "the text of the row is not there"
        if len(raw) >= RAW_SHOWN:
            return (
                "ROW_TOO_LONG",
                f"the text was cut after {RAW_SHOWN:,} characters; --rejects-as-input keeps the whole row",
            )
        if code == "ENCODING_INVALID" and SPOILED.search(raw):
            return code, "bytes are still written as \\x.."
        if self._format != "csv":
            return _json_fault(raw)
        try:
            several = sum(1 for _ in self._dialect.records(io.StringIO(raw, newline=""))) != 1
        except csv.Error as error:
            return "CSV_QUOTE", str(error)
        return ("CSV_QUOTE", "the text is more than one row") if several else None

    def write(self, raw: str, number: int, offset: int) -> None:
        """Write down a row: the text it had, and where it stands in the rejects."""
        if self._format != "csv" and "\n" in raw:
            raw = to_json(
                parse_json(raw)
            )  # an element of a document, which may go over several lines
        for numbers, one in (
            (self._part.begins, self._line),
            (self._part.lines, number),
            (self._part.offsets, offset),
        ):
            numbers.append(one)
        self._text.write(raw + "\n")
        self._line += sum(1 for _ in io.StringIO(raw, newline=""))

    def part(self) -> RejectedRows:
        """Return the part, complete."""
        if self._format == "jsonl" and is_rejects(self._part.file.local):
            self._part.file = replace(self._part.file, format=REJECTS)
        return self._part


def _format(file: InputFile, origin: str, raw: str) -> str:
    """Return the format in which the rows of a file are read again. Raises InputRefused."""
    found = format_named(origin) or file.asked
    if found is None and origin == "-":
        found = "jsonl" if raw.lstrip().startswith("{") else "csv"
    if found is None:
        raise InputRefused(
            f"{file.name}: the name of {origin} does not say what its rows are",
            "give --format csv, parquet or jsonl",
        )
    return "csv" if found == "csv" else "jsonl"


def _json_fault(raw: str) -> tuple[str, str] | None:
    if "\n" not in raw:
        return None
    try:
        parse_json(raw)
    except NotJson as error:
        return error.code, error.detail
    return None


def relined(scratch: Scratch, found: StagedFile, part: RejectedRows) -> StagedFile:
    """Say of a part that was staged where its rows stand in the file of rejects."""
    places = f"{part.name}_place"
    columns = [("begin", "BIGINT"), ("line", "BIGINT")]
    scratch.load(places, columns, [])
    for start in range(0, len(part.lines), 100_000):
        scratch.append(
            places,
            columns,
            list(
                zip(
                    part.begins[start : start + 100_000],
                    part.lines[start : start + 100_000],
                    strict=True,
                )
            ),
        )
    own = (
        found.lines
        or f"(select unnest(range({found.span})) as seq, unnest(range({found.span})) + {found.first_line} as line)"
    )
    scratch.make(
        f"{part.name}_at",
        f"select own.seq, place.line from {own} as own asof join {places} as place on own.line >= place.begin",
    )
    found.notices.append(
        f"{found.name}: {len(part.lines):,} rejected {'row' if len(part.lines) == 1 else 'rows'} of {part.origin}, read again"
    )
    found.lines, found.path, found.format, found.unit = (
        f"{part.name}_at",
        part.source.local,
        "jsonl",
        "line",
    )
    return found
