"""The head of a CSV file: where it begins, its delimiter, and the names of its columns.

lines that are skipped when asked, blank lines, sep=;, the header, the first record
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from profilectl.codes import InputRefused
from profilectl.importing.stage.columns import NO_HEADER, looks_like_data
from profilectl.importing.stage.csv.dialect import Dialect, may_separate
from profilectl.importing.stage.source.files import InputFile

DELIMITERS = ",;\t|"
BOM = b"\xef\xbb\xbf"
LONGEST_HEADER = 64 * 1024 * 1024
MOST_HEADER_LINES = 1_000
FIRST_BYTES = 256 * 1024
FIRST_RECORDS = 100
"""So much of what follows the header is looked at, to see what separates cells."""
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SEPARATOR = re.compile(rb'"?sep=(\\t|[^"\r\n])"?[\r\n]*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Header:
    """The head of a file.

    names: of the columns, without the blanks around them; "" for one without a name. written: the
    names as they stand there. dialect: how cells are written. line: the physical line at which the
    header begins. lines: those up to and with it, or above the first record where there is no
    header. end: the byte at which the first record begins. width: how many cells a record has,
    which may be more than there are names. filled: the places, from 0, of nameless columns that
    have a value in one of the first records. notices: what a person should know.
    """

    names: list[str]
    written: list[str]
    dialect: Dialect
    line: int
    lines: int
    end: int
    width: int
    has_header: bool = True
    filled: frozenset[int] = frozenset()
    notices: tuple[str, ...] = ()


def read_header(
    file: InputFile,
    dialect: Dialect,
    *,
    has_header: bool = True,
    skip_lines: int = 0,
    nulls: Collection[str] = (),
) -> Header:
    """Read the head of a CSV file; the delimiter is found where it is not given.

    Raises InputRefused for a head that cannot be.

    Without a header the names are empty, as many as the first record has cells. nulls: texts that
    are as good as no value.
    """
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
    text = _decoded(file.name, above + 1, raw)
    following = _Following(sample, cut=len(sample) == FIRST_BYTES)
    if not dialect.delimiter:
        dialect = replace(dialect, delimiter=_agreeing(text, following, dialect))
    try:
        written = next(dialect.records(io.StringIO(text, newline="")), [])
    except csv.Error as error:
        raise InputRefused(
            f"{file.name}:{above + 1}: the header cannot be read: {error}",
            "close the quote, or name the --delimiter or the --quote",
        ) from None
    if not has_header:
        return Header(
            [""] * len(written),
            written,
            dialect,
            above + 1,
            above,
            begin,
            len(written),
            has_header=False,
        )
    names = _bare(written)
    records = following.records(dialect)
    nameless = [place for place, name in enumerate(names) if not name]
    filled = frozenset(
        place
        for place in nameless
        if any(
            place < len(cells) and cells[place] and cells[place] not in nulls for cells in records
        )
    )
    return Header(
        names, written, dialect, above + 1, lines.number, lines.end, _width(len(names), records), filled=filled,
        notices=tuple(_notices(file.name, above + 1, written, names, records)),
    )  # fmt: skip


class _HeadLines:
    """The physical lines of a head, counted.

    number: how many were taken; end: the byte behind them.
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
        """Pass over blank lines and the line that names the delimiter; return the dialect with it,
        where none was given.
        """
        while self._look() and not self._look().strip():
            self._take()
        found = _SEPARATOR.fullmatch(self._look())
        if not found:
            return dialect
        delimiter = found[1].decode("ascii", "replace").replace("\\t", "\t")
        if not may_separate(delimiter) or delimiter == dialect.quote:
            return dialect
        self._take()
        return self.above(dialect if dialect.delimiter else replace(dialect, delimiter=delimiter))

    def record(self, dialect: Dialect) -> bytes:
        """Take a record, which may have several lines.

        Raises InputRefused where there is none, or a quote is never closed.
        """
        first, start, quotes = self.number + 1, self.end, 0
        taken: list[bytes] = []
        while self._look():
            taken.append(self._take())
            quotes += dialect.quotes_in(taken[-1].decode("latin-1"))
            if quotes % 2 == 0:
                return b"".join(taken)
            if self.end - start > LONGEST_HEADER or self.number - first > MOST_HEADER_LINES:
                break
        if not taken:
            raise InputRefused(
                f"{self._name} has no header", "its first line must name the columns"
            )
        raise InputRefused(
            f"{self._name}:{first}: a quote in the header is never closed",
            "close it, or say --quote none where quotes are text",
        )


def _byte_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines that end in \\n, \\r\\n or a \\r that stands alone."""
    for line in stream:
        yield from _LINE.findall(line) if b"\r" in line[:-2] else (line,)


def _decoded(name: str, line: int, raw: bytes) -> str:
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


class _Following:
    """What follows the header, as far as it is looked at. cut: the file goes on."""

    def __init__(self, sample: bytes, *, cut: bool) -> None:
        self._text, self._cut = sample.decode("utf-8", "replace"), cut

    def records(self, dialect: Dialect) -> list[list[str]]:
        """Return the first records as a dialect has them."""
        found: list[list[str]] = []
        try:
            for cells in dialect.records(io.StringIO(self._text, newline=""), strict=False):
                found += [cells] if cells else []
                if len(found) > FIRST_RECORDS:
                    return found[:-1]
        except csv.Error:
            return found
        return found[:-1] if self._cut and len(found) > 1 else found


def _agreeing(header: str, following: _Following, dialect: Dialect) -> str:
    """Return the delimiter by which the header and most of the first records have as many cells; a
    comma where the header is one cell by any. Counting alone would take for it what stands in a
    name.
    """

    def weight(delimiter: str) -> tuple[bool, bool, int, float, int]:
        by_this = replace(dialect, delimiter=delimiter)
        try:
            names = next(by_this.records(io.StringIO(header, newline=""), strict=False), [])
        except csv.Error:
            names = []
        if len(names) < 2:
            return (False, False, 0, 0.0, -DELIMITERS.index(delimiter))
        records = following.records(by_this)
        agree = sum(_agrees(cells, len(names)) for cells in records) / max(len(records), 1)
        prose = sum(name.startswith(" ") for name in names) * 2 > len(names) - 1
        return (agree > 0.5, not prose, len(names), agree, -DELIMITERS.index(delimiter))

    return max((one for one in DELIMITERS if one != dialect.quote), key=weight)


def _agrees(cells: list[str], width: int) -> bool:
    return len(cells) == width or (len(cells) > width and not any(cells[width:]))


def _width(names: int, records: list[list[str]]) -> int:
    """Return how many cells a record has: more than names where all the first ones have as many
    empty ones in the end.
    """
    widths = {len(cells) for cells in records}
    if len(widths) != 1 or any(any(cells[names:]) for cells in records):
        return names
    return max(names, *widths)


def _bare(written: list[str]) -> list[str]:
    """Return the names of columns without the blanks around them; with them where only they tell
    two names apart. Blanks alone are no name.
    """
    apart: dict[str, set[str]] = {}
    for name in written:
        apart.setdefault(name.strip(), set()).add(name)
    return [
        bare if len(apart[bare]) == 1 or not bare else name
        for name in written
        for bare in (name.strip(),)
    ]


def _notices(
    name: str, line: int, written: list[str], names: list[str], records: list[list[str]]
) -> Iterator[str]:
    wider = sum(any(cells[len(names) :]) for cells in records)
    if records and wider > len(records) / 2:
        most = max(map(len, records))
        yield (
            f"{name}:{line}: the header has {len(names)} cells and most records have more, up to {most};"
            " --skip-lines N passes over lines above the header"
        )
    padded = [one for one, bare in zip(written, names, strict=True) if bare and one != bare]
    if padded:
        more = f" and {len(padded) - 5} more" if len(padded) > 5 else ""
        yield f"{name}:{line}: the blanks around names of columns are taken away: {', '.join(map(repr, padded[:5]))}{more}"
    data = [place for place, bare in enumerate(names, start=1) if looks_like_data(bare)]
    if data:
        yield f"{name}:{line}: the header looks like data and not like names (column {data[0]} is an e-mail or a number); {NO_HEADER}"
