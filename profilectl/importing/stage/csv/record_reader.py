"""CSV read record by record: a broken record costs only the line at which it begins."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from profilectl.codes import InputRefused, Reject
from profilectl.importing.stage.csv.head import Header
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.staged import RAW_SHOWN
from profilectl.importing.stage.template import SqlTemplate
from profilectl.store.engine import duckdb
from profilectl.store.scratch import fetched

LONGEST_RECORD = 64 * 1024 * 1024
"""How many characters a record may have."""
MOST_LINES = 100_000
"""How many lines a record may have."""
MOST_BROKEN = 1_000
"""How many records with broken quotes a file may have: with more, its dialect is another."""
ROWS = 20_000
"""How many rows are written at once."""

# The cells of each row.
CREATE_ROWS = SqlTemplate("create temp table {table} ({columns})")
# The line at which each row begins.
CREATE_LINES = SqlTemplate("create temp table {table}_line (seq BIGINT, line BIGINT)")
# Rows as lists, one a column: a hundred times faster than row by row.
INSERT_ROWS = SqlTemplate("insert into {table} select {columns}")
# Their places and lines.
INSERT_LINES = SqlTemplate("""
insert into {table}_line
select unnest($seq::BIGINT[]), unnest($line::BIGINT[])
""")


class RowFault(NamedTuple):
    """A fault that makes a record unusable."""

    code: str
    """The code of the reject."""
    detail: str
    """The detail of the reject."""


class CsvRecord(NamedTuple):
    """A record that can be used."""

    line: int
    """The physical line at which it begins."""
    cells: list[str]
    """Its cells, one for each column."""


@dataclass(frozen=True, slots=True)
class RowShape:
    """How many cells a row has."""

    width: int
    """How many columns there are."""
    needed: int
    """How many cells must be there; those that lack behind them are empty."""

    def fit(self, cells: list[str]) -> None:
        """Make a row as wide as it must be, where that loses nothing and invents nothing."""
        if len(cells) > self.width and not any(cells[self.width :]):
            del cells[self.width :]
        elif self.needed <= len(cells) < self.width:
            cells += [""] * (self.width - len(cells))


@dataclass(slots=True)
class RowTable:
    """The relation of cells, and that of the lines at which rows begin."""

    connection: duckdb.DuckDBPyConnection
    """Where they are."""
    name: str
    """The name of the first; that of the second is this and `_line`."""
    count: int = 0
    """How many rows were written."""
    waiting: list[CsvRecord] = field(default_factory=list)
    """Those that are not written yet."""

    @classmethod
    def create(cls, connection: duckdb.DuckDBPyConnection, name: str, width: int) -> RowTable:
        """Make the relations, empty."""
        columns = ", ".join(f"c{place} VARCHAR" for place in range(width))
        fetched(connection, CREATE_ROWS(table=name, columns=columns))
        fetched(connection, CREATE_LINES(table=name))
        return cls(connection, name)

    def add(self, record: CsvRecord) -> bool:
        """Add a row; return whether rows were written with it."""
        self.waiting.append(record)
        if len(self.waiting) < ROWS:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Write the rows that are not written yet."""
        if not self.waiting:
            return
        places = range(len(self.waiting[0].cells))
        columns = ", ".join(f"unnest($c{place}::VARCHAR[])" for place in places)
        bound: dict[str, object] = {
            f"c{place}": [record.cells[place] or None for record in self.waiting]
            for place in places
        }
        fetched(self.connection, INSERT_ROWS(table=self.name, columns=columns), bound)
        end = self.count + len(self.waiting)
        lines = [record.line for record in self.waiting]
        fetched(
            self.connection,
            INSERT_LINES(table=self.name),
            {"seq": list(range(self.count, end)), "line": lines},
        )
        self.count = end
        self.waiting = []


class PhysicalLines:
    """The physical lines of a file, which can be given back by the reader that took them."""

    def __init__(self, file: InputFile, header: Header) -> None:
        self._stream = file.local.open(encoding="utf-8", errors="surrogateescape", newline="")
        self.number = header.lines
        self.of_record: list[str] = []
        self._again: list[str] = []

    @classmethod
    def behind(cls, file: InputFile, header: Header) -> PhysicalLines:
        """Return the lines behind the header."""
        lines = cls(file, header)
        if lines._stream.read(1) != "\ufeff":
            lines._stream.seek(0)
        for _ in range(header.lines):
            lines._stream.readline()
        return lines

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else self._stream.readline()
        if not line:
            raise StopIteration
        if (
            sum(map(len, self.of_record[-1:])) + len(line) > LONGEST_RECORD
            or len(self.of_record) >= MOST_LINES
        ):
            self.of_record.append(line)
            raise csv.Error("the record is longer than a record may be")
        self.number += 1
        self.of_record.append(line)
        return line

    def begin(self) -> int:
        """Begin a record; return its first line."""
        self.of_record = []
        return self.number + 1

    def give_back(self) -> None:
        """Give back all lines of the record but its first."""
        self._again += reversed(self.of_record[1:])
        self.number -= len(self.of_record) - 1
        del self.of_record[1:]

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Reads the records of a file, and rejects those that cannot be used."""

    file: InputFile
    """The file."""
    header: Header
    """Its head."""
    shape: RowShape
    """How many cells a row has."""
    reject: Callable[[Reject], None]
    """Takes the records that cannot be used."""

    def records(self) -> Iterator[CsvRecord]:
        """Yield the records that can be used.

        Raises InputRefused where quotes are broken in too many.
        """
        csv.field_size_limit(LONGEST_RECORD)
        lines, broken = PhysicalLines.behind(self.file, self.header), 0
        reader = self.header.dialect.records(lines)
        while True:
            line = lines.begin()
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                broken += 1
                if broken > MOST_BROKEN:
                    raise InputRefused(
                        f"{self.file.name}:{line}: quotes are broken in more than"
                        f" {MOST_BROKEN:,} rows",
                        "are --delimiter and --quote right?",
                    ) from None
                lines.give_back()
                reader = self.header.dialect.records(lines)
                quote = self.header.dialect.quote
                self._reject(line, lines.of_record, _broken(error, lines.of_record, quote))
                continue
            if not cells:
                continue
            self.shape.fit(cells)
            fault = _row_fault(cells, self.shape.width)
            if fault:
                self._reject(line, lines.of_record, fault)
            else:
                yield CsvRecord(line, cells)
        lines.close()

    def _reject(self, line: int, of_record: list[str], fault: RowFault) -> None:
        raw = "".join(of_record)[:RAW_SHOWN].rstrip("\r\n")
        # Bytes that are not UTF-8 are shown as \x...
        shown = raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        self.reject(Reject(self.file.name, line, fault.code, raw=shown, detail=fault.detail))


def _broken(error: csv.Error, of_record: list[str], quote: str) -> RowFault:
    """Return the fault of a record that the reader could not read."""
    if "longer" in str(error) or "field limit" in str(error):
        most = f"over {LONGEST_RECORD // 1024**2} MiB or {MOST_LINES:,} lines"
        return RowFault("ROW_TOO_LONG", most)
    place = of_record[0].find(quote) + 1 if of_record and quote else 0
    return RowFault("CSV_QUOTE", f"the quote at column {place}" if place else "")


def _row_fault(cells: list[str], width: int) -> RowFault | None:
    """Return the fault of the cells of a row."""
    if len(cells) != width:
        code = "CSV_TOO_FEW_CELLS" if len(cells) < width else "CSV_TOO_MANY_CELLS"
        return RowFault(code, f"{len(cells)} cells, the header has {width} columns")
    for place, cell in enumerate(cells, start=1):
        if "\0" in cell:
            return RowFault("NUL_CHARACTER", f"column {place}")
        if not cell.isascii() and any("\udc80" <= letter <= "\udcff" for letter in cell):
            return RowFault("ENCODING_INVALID", f"column {place}")
    return None
