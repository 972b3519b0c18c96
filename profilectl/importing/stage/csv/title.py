"""Title lines above the header of a CSV file, which the numbers of cells show.

Export of 2024-01-01            1 cell
customer_id,email,tier          3: the header
C-1,ada@example.com,gold        3, as most records
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from profilectl.codes import InputRefused
from profilectl.importing.stage.columns import looks_like_data
from profilectl.importing.stage.csv.dialect import Dialect
from profilectl.rules.batch_fields import BATCH_FIELDS
from profilectl.rules.identity import type_named

MOST_TITLES = 20
"""How many records are looked at for the header."""
STEADY = 0.5
"""The share of the records that must have one number of cells."""
SHOWN = 4
"""How many names of the header the refusal shows."""


class HeadRecord(NamedTuple):
    """A record at the beginning of a file."""

    above: int
    """How many lines of the text stand above it."""
    cells: list[str]
    """Its cells."""

    @property
    def filled(self) -> int:
        """How many cells have a text."""
        return sum(bool(cell.strip()) for cell in self.cells)


@dataclass(frozen=True, slots=True)
class HeaderBelow:
    """A header that stands below title lines."""

    above: int
    """How many lines of the text stand above it."""
    names: Sequence[str]
    """The names in it."""
    width: int
    """How many cells it has, and most records."""
    agreement: float
    """The share of the records that have as many cells."""


def refuse_titles(
    text: str, dialect: Dialect, delimiters: Collection[str], *, place: str, above: int,
    named: Collection[str],
) -> None:  # fmt: skip
    """Refuse a file whose first line is a title and not the header.

    text: the file from there on, as far as it is looked at. delimiters: those there may be. place:
    the name of the file. above: how many lines of it stand above the text. named: the columns that
    a --map or a manifest names. Raises InputRefused.
    """
    candidates = [replace(dialect, delimiter=delimiter) for delimiter in delimiters]
    headers = [header for written in candidates if (header := header_below(text, written, named))]
    # As with the delimiter itself, the first of several that are as good is the usual one.
    header = max(headers, key=lambda below: (below.agreement, below.width), default=None)
    if header is None:
        return
    skipped = above + header.above
    names = ", ".join(map(str.strip, header.names[:SHOWN]))
    more = ", ..." if len(header.names) > SHOWN else ""
    raise InputRefused(
        f"{place}:{above + 1}: looks like a title, because most records have"
        f" {header.width} cells; the header seems to be line {skipped + 1}: {names}{more}",
        f"--skip-lines {skipped}; or, where line {above + 1} is the header, --map with one of its"
        " columns",
    )


def header_below(text: str, dialect: Dialect, named: Collection[str]) -> HeaderBelow | None:
    """Return the header below title lines; None if the text begins with its header."""
    records = [record for record in _records(text, dialect) if record.filled]
    widths = Counter(len(record.cells) for record in records[1:])
    if not widths:
        return None
    width, count = widths.most_common(1)[0]
    agreement = count / (len(records) - 1)
    if width < 2 or agreement <= STEADY or _is_full(records[0], width):
        return None
    place = next(
        (place for place, record in enumerate(records) if _is_full(record, width)), MOST_TITLES
    )
    if place >= MOST_TITLES or place + 1 >= len(records):
        return None
    titles, header = records[:place], records[place]
    if any(_has_a_known_name(record.cells, named) for record in titles):
        return None
    is_known = _has_a_known_name(header.cells, named)
    names = [cell.strip() for cell in header.cells if cell.strip()]
    if len(set(names)) < len(names) or any(looks_like_data(name) for name in names):
        return None
    if not is_known and any(record.filled > 1 for record in titles):
        return None
    return HeaderBelow(header.above, names, width=width, agreement=agreement)


def _is_full(record: HeadRecord, width: int) -> bool:
    """Return whether a record has as many cells as most, and a text in most of them."""
    return len(record.cells) == width and record.filled > max(1, width / 2)


def _has_a_known_name(cells: Sequence[str], named: Collection[str]) -> bool:
    return any(
        name in named or name.partition(".")[0] in BATCH_FIELDS or type_named(name) is not None
        for name in map(str.strip, cells)
    )


def _records(text: str, dialect: Dialect) -> Iterator[HeadRecord]:
    """Yield the records of a text; none from where its quotes are broken."""
    number = 0

    def lines() -> Iterator[str]:
        nonlocal number
        for line in io.StringIO(text, newline=""):
            number += 1
            yield line

    reader = dialect.records(lines(), strict=False)
    while True:
        above = number
        try:
            cells = next(reader, None)
        except csv.Error:
            return
        if cells is None:
            return
        yield HeadRecord(above, cells)
