"""The head of a CSV file: where it begins, its delimiter, and the names of its columns.

What can stand there, in order: lines that --skip-lines passes over, blank lines, sep=;, the header,
the first record.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, NamedTuple

from profilectl.codes import InputRefused
from profilectl.importing.stage.columns import NO_HEADER, looks_like_data
from profilectl.importing.stage.csv.dialect import Dialect, may_separate
from profilectl.importing.stage.csv.title import refuse_titles
from profilectl.importing.stage.source.files import InputFile

DELIMITERS = ",;\t|"
BOM = b"\xef\xbb\xbf"
LONGEST_HEADER = 64 * 1024 * 1024
"""How many bytes a header may have."""
MOST_HEADER_LINES = 1_000
"""How many lines a header may have."""
FIRST_BYTES = 256 * 1024
FIRST_RECORDS = 100
"""How much of what follows the header is looked at, to see what separates cells."""
PADDED_SHOWN = 5
"""How many names with blanks around them a notice names."""
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
# Spreadsheet programs take such a first line for the name of the delimiter.
_SEPARATOR = re.compile(rb'"?sep=(\\t|[^"\r\n])"?[\r\n]*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Header:
    """The head of a file."""

    names: list[str]
    """The names of the columns, without the blanks around them; "" for one without a name."""
    written: list[str]
    """The names as they stand there."""
    dialect: Dialect
    """How cells are written."""
    line: int
    """The physical line at which the header begins."""
    lines: int
    """The number of lines up to and with the header; where there is none, of those above the first
    record.
    """
    end: int
    """The byte at which the first record begins."""
    width: int
    """How many cells a record has, which may be more than there are names."""
    has_header: bool = True
    """Whether there is a header."""
    filled: frozenset[int] = frozenset()
    """The places, from 0, of nameless columns that have a value in one of the first records."""
    notices: tuple[str, ...] = ()
    """Notices for a person."""


class RawHeader(NamedTuple):
    """The header as it stands in the file, and its surroundings."""

    text: str
    """The header, or the first record of a file without one."""
    dialect: Dialect
    """How cells are written; the delimiter may still be unknown."""
    above: int
    """How many lines stand above it."""
    begin: int
    """The byte at which it begins."""
    lines: int
    """How many lines there are up to its end."""
    end: int
    """The byte behind it."""
    following: Following
    """The beginning of the rows."""


def read_header(
    file: InputFile,
    dialect: Dialect,
    *,
    has_header: bool = True,
    skip_lines: int = 0,
    nulls: Collection[str] = (),
    named: Collection[str] | None = None,
) -> Header:
    """Read the head of a CSV file; the delimiter is found where the dialect has none.

    Without a header the names are empty, as many as the first record has cells. nulls: texts that
    are as good as no value. named: the columns that a --map or a manifest names; None: title lines
    above the header are not looked for. Raises InputRefused for a head that cannot be read.
    """
    raw = _raw_header(file, dialect, skip_lines)
    dialect, line = raw.dialect, raw.above + 1
    if not dialect.delimiter:
        dialect = replace(dialect, delimiter=_agreeing(raw.text, raw.following, dialect))
    try:
        written = next(dialect.records(io.StringIO(raw.text, newline="")), [])
    except csv.Error as error:
        raise InputRefused(
            f"{file.name}:{line}: the header cannot be read: {error}",
            "close the quote, or name the --delimiter or the --quote",
        ) from None
    if not has_header:
        return Header(
            names=[""] * len(written),
            written=written,
            dialect=dialect,
            line=line,
            lines=raw.above,
            end=raw.begin,
            width=len(written),
            has_header=False,
        )
    names = _bare(written)
    records = raw.following.records(dialect)
    _check_titles(file.name, raw, named, dialect=dialect, written=written)
    return Header(
        names=names,
        written=written,
        dialect=dialect,
        line=line,
        lines=raw.lines,
        end=raw.end,
        width=_width(len(names), records),
        filled=_filled(names, records, nulls),
        notices=tuple(_notices(f"{file.name}:{line}", written, names, records=records)),
    )


def _raw_header(file: InputFile, dialect: Dialect, skip_lines: int) -> RawHeader:
    """Read the header, and the beginning of the rows. Raises InputRefused."""
    with file.local.open("rb") as stream:
        start = len(BOM) if stream.read(len(BOM)) == BOM else 0
        stream.seek(start)
        lines = _HeadLines(file.name, stream, start)
        lines.skip(skip_lines)
        dialect = lines.above(dialect)
        above, begin = lines.number, lines.end
        raw = lines.record(dialect)
        stream.seek(lines.end)
        sample = stream.read(FIRST_BYTES)
    return RawHeader(
        text=_decoded(file.name, above + 1, raw),
        dialect=dialect,
        above=above,
        begin=begin,
        lines=lines.number,
        end=lines.end,
        following=Following(sample, cut=len(sample) == FIRST_BYTES),
    )


class _HeadLines:
    """The physical lines of a head, counted.

    `number` lines were taken so far, and `end` is the byte behind them.
    """

    def __init__(self, name: str, stream: BinaryIO, start: int) -> None:
        self._name, self._lines = name, _byte_lines(stream)
        self._ahead: bytes | None = None
        self.number, self.end = 0, start

    def _look(self) -> bytes:
        """Return the next line without taking it, nothing at the end."""
        if self._ahead is None:
            self._ahead = next(self._lines, b"")
        return self._ahead

    def _take(self) -> bytes:
        line = self._look()
        self._ahead = None
        self.number += 1
        self.end += len(line)
        return line

    def skip(self, count: int) -> None:
        """Pass over lines. Raises InputRefused where there are no more."""
        for _ in range(count):
            if not self._look():
                raise InputRefused(
                    f"{self._name} has only {self.number} lines",
                    "--skip-lines says how many stand above the header",
                )
            self._take()

    def above(self, dialect: Dialect) -> Dialect:
        """Pass over blank lines and the line that names the delimiter; return the dialect.

        If the dialect had no delimiter, it gets the one that is named.
        """
        while self._look() and not self._look().strip():
            self._take()
        match = _SEPARATOR.fullmatch(self._look())
        if not match:
            return dialect
        delimiter = match[1].decode("ascii", "replace").replace("\\t", "\t")
        if not may_separate(delimiter) or delimiter == dialect.quote:
            return dialect
        self._take()
        return self.above(dialect if dialect.delimiter else replace(dialect, delimiter=delimiter))

    def record(self, dialect: Dialect) -> bytes:
        """Take a record, which may have several lines.

        Raises InputRefused where there is none, or a quote is never closed.
        """
        begin, start, quotes = self.number + 1, self.end, 0
        lines: list[bytes] = []
        while self._look():
            lines.append(self._take())
            # Any bytes are latin-1, and a quote is ASCII: what is not UTF-8 is found later.
            quotes += dialect.quotes_in(lines[-1].decode("latin-1"))
            if quotes % 2 == 0:
                return b"".join(lines)
            if self.end - start > LONGEST_HEADER or self.number - begin > MOST_HEADER_LINES:
                break
        if not lines:
            raise InputRefused(
                f"{self._name} has no header", "its first line must name the columns"
            )
        raise InputRefused(
            f"{self._name}:{begin}: a quote in the header is never closed",
            "close it, or say --quote none where quotes are text",
        )


def _byte_lines(stream: BinaryIO) -> Iterator[bytes]:
    r"""Yield lines that end in \n, \r\n or a \r that stands alone."""
    for line in stream:
        yield from _LINE.findall(line) if b"\r" in line[:-2] else (line,)


def _decoded(name: str, line: int, raw: bytes) -> str:
    """Return the text of a header. Raises InputRefused where it is not UTF-8."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise InputRefused(
            f"{name}:{line}: not UTF-8 at byte {error.start + 1}",
            "name its --encoding, for example windows-1252",
        ) from None
    if "\0" in text:
        raise InputRefused(
            f"{name}:{line}: a NUL byte in the header", "if it is UTF-16, give --encoding utf-16"
        )
    return text


class Following:
    """The beginning of the rows behind the header. cut: the file goes on."""

    def __init__(self, sample: bytes, *, cut: bool) -> None:
        self.text, self._cut = sample.decode("utf-8", "replace"), cut

    def records(self, dialect: Dialect) -> list[list[str]]:
        """Return the first records as a dialect has them."""
        records: list[list[str]] = []
        try:
            for cells in dialect.records(io.StringIO(self.text, newline=""), strict=False):
                records += [cells] if cells else []
                if len(records) > FIRST_RECORDS:
                    return records[:-1]
        except csv.Error:
            return records
        # The sample may end in the middle of its last record.
        return records[:-1] if self._cut and len(records) > 1 else records


# The delimiter


class _Weight(NamedTuple):
    """How well a delimiter fits; the greatest is the best."""

    agrees: bool
    """Whether most of the first records have as many cells as the header."""
    is_list: bool
    """Whether the names do not begin with a blank, as after a comma in a sentence."""
    names: int
    """How many names the header has by it."""
    agreement: float
    """The share of the records that have as many cells."""
    order: int
    """How usual the delimiter is."""


def _agreeing(header: str, following: Following, dialect: Dialect) -> str:
    """Return the delimiter by which the header and most of the first records have as many cells.

    A comma where the header is one cell by any. Counting alone would take a character in a name for
    the delimiter.
    """

    def weight(delimiter: str) -> _Weight:
        order = -DELIMITERS.index(delimiter)
        by_delimiter = replace(dialect, delimiter=delimiter)
        try:
            names = next(by_delimiter.records(io.StringIO(header, newline=""), strict=False), [])
        except csv.Error:
            names = []
        if len(names) < 2:
            return _Weight(agrees=False, is_list=False, names=0, agreement=0.0, order=order)
        records = following.records(by_delimiter)
        agreement = sum(_agrees(cells, len(names)) for cells in records) / max(len(records), 1)
        prose = sum(name.startswith(" ") for name in names) * 2 > len(names) - 1
        return _Weight(
            agrees=agreement > 0.5,
            is_list=not prose,
            names=len(names),
            agreement=agreement,
            order=order,
        )

    return max((mark for mark in DELIMITERS if mark != dialect.quote), key=weight)


def _agrees(cells: list[str], width: int) -> bool:
    return len(cells) == width or (len(cells) > width and not any(cells[width:]))


def _check_titles(
    name: str,
    raw: RawHeader,
    named: Collection[str] | None,
    *,
    dialect: Dialect,
    written: Sequence[str],
) -> None:
    """Check that the header is no title line, unless `named` is None. Raises InputRefused."""
    if named is None:
        return
    width = sum(bool(cell.strip()) for cell in written)
    records = raw.following.records(dialect)
    if width > 1 and sum(len(cells) == width for cells in records) * 2 >= len(records):
        return
    refuse_titles(
        raw.text + raw.following.text,
        dialect,
        raw.dialect.delimiter or DELIMITERS,
        place=name,
        above=raw.above,
        named=named,
    )


# The columns


def _width(names: int, records: list[list[str]]) -> int:
    """Return how many cells a record has.

    More than names where all the first records have as many empty cells in the end.
    """
    widths = {len(cells) for cells in records}
    if len(widths) != 1 or any(any(cells[names:]) for cells in records):
        return names
    return max(names, *widths)


def _filled(names: list[str], records: list[list[str]], nulls: Collection[str]) -> frozenset[int]:
    """Return the places of the nameless columns that have a value in a record."""
    return frozenset(
        place
        for place, name in enumerate(names)
        if not name
        and any(
            place < len(cells) and cells[place] and cells[place] not in nulls for cells in records
        )
    )


def _bare(written: list[str]) -> list[str]:
    """Return the names of columns without the blanks around them; blanks alone are no name.

    Where only the blanks tell two names apart they stay.
    """
    spellings: dict[str, set[str]] = {}
    for name in written:
        spellings.setdefault(name.strip(), set()).add(name)
    return [
        bare if len(spellings[bare]) == 1 or not bare else name
        for name in written
        for bare in (name.strip(),)
    ]


def _notices(
    place: str, written: list[str], names: list[str], *, records: list[list[str]]
) -> Iterator[str]:
    """Yield the notices of a header. place: the file and the line."""
    wider = sum(any(cells[len(names) :]) for cells in records)
    if records and wider > len(records) / 2:
        most = max(map(len, records))
        yield (
            f"{place}: the header has {len(names)} cells and most records have more, up to {most};"
            " --skip-lines N passes over lines above the header"
        )
    padded = [name for name, bare in zip(written, names, strict=True) if bare and name != bare]
    if padded:
        shown = ", ".join(map(repr, padded[:PADDED_SHOWN]))
        number = len(padded) - PADDED_SHOWN
        more = f" and {number} more" if number > 0 else ""
        yield f"{place}: the blanks around names of columns are taken away: {shown}{more}"
    data = [column for column, bare in enumerate(names, start=1) if looks_like_data(bare)]
    if data:
        yield (
            f"{place}: the header looks like data and not like names (column {data[0]} is an e-mail"
            f" or a number); {NO_HEADER}"
        )
