"""The table of columns: what each becomes, its kind and its first values. Nothing in it is cut."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from profilectl.render import screen
from profilectl.render.screen import counted
from profilectl.rules.text.terminal import visible

if TYPE_CHECKING:
    from profilectl.importing.columns.tables import ColumnTable, TableColumn

WIDEST = 36
"""The most characters that the names of columns, and what they become, are given side by side on a
terminal of 80 columns; a wide one has more room.
"""
WIDEST_KIND = 19
"""The most characters of a kind, such as `attribute (boolean)`."""
NARROWEST = 12
"""The least that they are folded to, so that there is room for values."""
FEW = 20
"""What they are given where WIDEST would leave no room: longer ones stand on lines of their own."""
VALUES = 22
"""The room for values that is looked for."""
LEAST = 8
"""The least room for values."""
GAP = 2
"""The blanks between two columns of the table."""
PIPED = 80
"""The width of the table in a pipe, if COLUMNS does not say another."""
MOST_BEFORE_IMPORT = 100
"""The most columns of a file that are shown before an import."""
HEADINGS = ("first values", "values")
"""What stands above the values: as much of it as there is room for."""
FORMATS = {"csv": "CSV", "parquet": "Parquet", "jsonl": "JSON lines", "json": "JSON"}


class ShownColumns:
    """Shows the columns of files on stderr, before they are imported."""

    def __init__(self) -> None:
        self.shown = False
        """Whether any were shown."""

    def __call__(self, tables: Sequence[ColumnTable]) -> None:
        """Show them."""
        self.shown = bool(tables)
        for table in tables:
            lines = table_lines(table, width_of(sys.stderr), most=MOST_BEFORE_IMPORT)
            # Nothing of the progress is drawn meanwhile.
            with screen.aside():
                sys.stderr.write("".join(f"{line}\n" for line in lines) + "\n")


def print_tables(tables: Sequence[ColumnTable], *, quiet: bool) -> None:
    """Print the tables on stdout, each with what is odd about its file on stderr behind it."""
    width = width_of(sys.stdout)
    for place, table in enumerate(tables):
        blank = "\n" if place else ""
        sys.stdout.write(blank + "".join(f"{line}\n" for line in table_lines(table, width)))
        if not quiet:
            print_notices(table)


def print_notices(table: ColumnTable) -> None:
    """Print on stderr what is odd about a file."""
    for notice in table.notices:
        screen.notice(notice)
    if not table.names_somebody:
        screen.notice(nobody(table))


def width_of(stream: TextIO) -> int:
    """Return the width of a terminal, or of a pipe what COLUMNS says, else PIPED."""
    if stream.isatty() or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return PIPED


def table_lines(table: ColumnTable, width: int, *, most: int | None = None) -> Iterator[str]:
    """Yield the lines of a table. most: how many columns are shown at most."""
    columns = table.columns[:most]
    files = visible(table.paths[0])
    if len(table.paths) > 1:
        files += f" and {len(table.paths) - 1:,} more"
    noun = "key" if table.format in ("jsonl", "json") else "column"
    number = counted(len(table.columns), noun)
    title = f"{files} ({FORMATS[table.format]}): {number}, {_of_rows(table)}"
    yield from _folded(title, width, indent=GAP)
    cells = [_cells(column) for column in columns]
    headings = [noun, "becomes", "kind"]
    places = _places([headings, *cells], width)
    # On a narrow terminal there may be room for values that are shorter than their heading.
    values = next((name for name in HEADINGS if _length(name) <= width - places[3]), "")
    yield from _row(headings, [values] if values else [], places, width=width)
    for column, texts in zip(columns, cells, strict=True):
        yield from _row(texts, [visible(value) for value in column.values], places, width=width)
        if column.suggested:
            yield from _questions(column, width)
    more = len(table.columns) - len(columns)
    if more:
        yield f"... and {counted(more, f'more {noun}')}: profilectl columns shows them"


def nobody(table: ColumnTable) -> str:
    """Return the notice of a file whose rows would be nobody's."""
    noun = "key of these rows" if table.format in ("jsonl", "json") else "column"
    return f"{table.paths[0]}: no {noun} is an identity or an mpid: its rows would be nobody's"


def _of_rows(table: ColumnTable) -> str:
    """Return which rows the values are of."""
    if table.rows < 2:
        return "values of the first row" if table.rows else "no rows"
    return f"values of the first {table.rows:,} rows"


def _cells(column: TableColumn) -> list[str]:
    """Return the name of a column, what it becomes, and its kind."""
    kind, field = column.field.kind, column.field
    values = column.look or " or ".join(column.kinds)
    becomes, word = field.name, {"plain": "field", "kept": "field"}.get(kind, kind)
    match kind:
        case "ignored":
            becomes, word, values = "nothing", "left out", ""
        case "unknown identity":
            becomes, word, values = "nothing", "no identity type", ""
        case "unknown":
            becomes, word, values = "nothing", "rejects its rows", ""
    return [visible(column.name), visible(becomes), f"{word} ({values})" if values else word]


def _questions(column: TableColumn, width: int) -> Iterator[str]:
    """Yield what a column may be. The option is never folded, so that it can be copied."""
    assert column.suggested is not None
    question, option = "an identity?", visible(column.option)
    if column.suggested.kind == "reserved":
        question = f"the platform's {column.suggested.field}?"
    line = f"{' ' * GAP}{question} {option}"
    if _length(line) <= width:
        yield line
    else:
        yield from (f"{' ' * GAP}{question}", f"{' ' * 2 * GAP}{option}")


def _places(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return where each column of the table begins.

    Names are folded between words until there is room for values, but no word is moved out of its
    column for that.
    """
    kinds = max(_sizes([row[2] for row in rows], WIDEST_KIND))
    room = width - kinds - VALUES - 3 * GAP
    names, becomes = ([row[place] for row in rows] for place in (0, 1))
    most = widest = max(WIDEST, width // 3)
    for fewer in range(widest, NARROWEST - 1, -2):
        if _too_long([*names, *becomes], fewer) > _too_long([*names, *becomes], widest):
            break
        if max(_sizes(names, fewer)) + max(_sizes(becomes, fewer)) <= room:
            most = fewer
            break
    if max(_sizes(names, most)) + max(_sizes(becomes, most)) > width - kinds - LEAST - 3 * GAP:
        most = FEW
    places = [0]
    for wide in (max(_sizes(names, most)), max(_sizes(becomes, most)), kinds):
        places.append(places[-1] + wide + GAP)
    return places


def _sizes(texts: Sequence[str], most: int) -> list[int]:
    """Return the lengths of the lines of folded texts, of those that are not too long."""
    lengths = [_length(line) for text in texts for line in _folded(text, most)]
    return [length for length in lengths if length <= most]


def _too_long(texts: Sequence[str], most: int) -> int:
    """Return how many lines of folded texts are too long."""
    return sum(_length(line) > most for text in texts for line in _folded(text, most))


def _row(
    cells: Sequence[str], values: Sequence[str], places: Sequence[int], *, width: int
) -> Iterator[str]:
    """Yield the lines of a row; the values stand in its last column, or below it."""
    lines, place_of_kind = _beside(cells, places)
    room = width - places[len(cells)]
    shown = _fitting(values, room)
    if shown and _length(lines[place_of_kind]) <= places[len(cells)] - GAP:
        lines[place_of_kind] = _padded(lines[place_of_kind], places[len(cells)]) + shown
        yield from lines
        return
    yield from lines
    if values:
        yield " " * (2 * GAP) + (_fitting(values, width - 2 * GAP) or _beginning(values[0], width))


def _beside(cells: Sequence[str], places: Sequence[int]) -> tuple[list[str], int]:
    """Return the lines of cells side by side, folded between words, and where the last one begins.

    A word that is too long for its column moves the cells behind it to the next line.
    """
    folded = [
        _folded(cell, after - place - GAP)
        for cell, place, after in zip(cells, places, places[1:], strict=False)
    ]
    lines, begin = [""], 0
    for texts, place in zip(folded, places, strict=False):
        has_room = all(_length(line) <= max(place - GAP, 0) for line in lines[: len(texts)])
        begin = line = 0 if has_room else len(lines)
        for text in texts:
            if line == len(lines):
                lines.append("")
            lines[line] = _padded(lines[line], place) + text
            line += 1
    return lines, begin


def _fitting(values: Sequence[str], room: int) -> str:
    """Return as many whole values as there is room for; none is cut."""
    shown = ""
    for value in values:
        longer = f"{shown}, {value}" if shown else value
        if _length(longer) > room:
            break
        shown = longer
    return shown


def _beginning(value: str, width: int) -> str:
    """Return the first whole words of a value that is too long, and its length."""
    length = f"... ({len(value):,} characters)"
    words = ""
    for word in value.split(" "):
        longer = f"{words}{word} "
        if _length(longer) + len(length) > width - 2 * GAP:
            break
        words = longer
    return words + length


def _padded(line: str, place: int) -> str:
    return line + " " * (place - _length(line))


def _folded(text: str, width: int, *, indent: int = 0) -> list[str]:
    """Return the lines of a text, folded between words; the others are indented."""
    lines = textwrap.wrap(
        text,
        max(width, 1),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [""]


def _length(text: str) -> int:
    """Return how many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
