"""Tables: with lines on a terminal, aligned plain text in a pipe; as narrow as their words."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from profilectl.render.screen import ANY_WIDTH, console
from profilectl.rules.text.terminal import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LONGEST_WORD = 20
"""The most characters of a word that is never broken, such as an MPID or a protection level."""
SHORTEST_WORD = 12
"""The most characters of a word that is not broken in a narrow table, such as a day or a type."""
FRAME = 3
"""The characters that the frame takes for each column; the table takes one more."""


def print_table(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Sequence[int] = (),
    spare: Sequence[int] = (),
) -> None:
    """Print a table.

    right: the columns that are aligned to the right.
    spare: the columns to leave out on a narrow terminal; the title then names them.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    screen = console()
    cells = [[visible(str(cell)) for cell in row] for row in rows]
    columns = list(zip(headings, *cells, strict=True))
    room = screen.width if screen.width < ANY_WIDTH else None
    drawn: Sequence[int] = range(len(headings))
    if spare and not _fits([_least(column, LONGEST_WORD) for column in columns], room):
        drawn = [place for place in drawn if place not in spare]
        names = ", ".join(headings[place] for place in spare)
        title = f"{title} (a wider terminal shows {names} too)".lstrip()
    if title:
        screen.print(Text(title), style="bold" if screen.is_terminal else None)
    table = Table(box=box.ROUNDED if screen.is_terminal else box.SIMPLE_HEAD)
    widths = _widths([columns[place] for place in drawn], room)
    for place, width in zip(drawn, widths, strict=True):
        table.add_column(
            Text(headings[place]),
            justify="right" if place in right else "left",
            overflow="fold",
            width=width,
        )
    for row in cells:
        table.add_row(*(Text(row[place]) for place in drawn))
    draw(screen, table)


def draw(screen: Console, table: Table) -> None:
    """Print a table of Rich. A pipe gets it without blanks at the ends of lines."""
    if screen.is_terminal:
        screen.print(table)
        return
    with screen.capture() as drawn:
        screen.print(table)
    lines = drawn.get().strip("\n").splitlines()
    sys.stdout.write("".join(line.rstrip() + "\n" for line in lines))


def _fits(widths: Sequence[int], room: int | None) -> bool:
    """Return whether columns of these widths fit. room: the terminal's width; None: any."""
    return room is None or sum(width + FRAME for width in widths) + 1 <= room


def _widths(columns: Sequence[Sequence[str]], room: int | None) -> list[int]:
    """Return the width of each column: its words whole if there is room."""
    from rich.cells import cell_len

    whole = [max(cell_len(text) for text in column) for column in columns]
    least = [1] * len(columns)
    for longest in (LONGEST_WORD, SHORTEST_WORD):
        widths = [_least(column, longest) for column in columns]
        if _fits(widths, room):
            least = widths
            break
    left_over = sum(whole) if room is None else room - 1 - sum(width + FRAME for width in least)
    lacks = {place: max(whole[place] - least[place], 0) for place in range(len(columns))}
    shares = _shares(left_over, lacks)
    return [min(least[place] + shares[place], whole[place]) for place in range(len(columns))]


def _shares(room: int, lacks: Mapping[int, int]) -> dict[int, int]:
    """Return the room that each column gets: equal shares, but none more than it lacks."""
    shares = {}
    waiting = sorted(lacks, key=lambda place: lacks[place])
    for count, place in zip(range(len(waiting), 0, -1), waiting, strict=True):
        shares[place] = min(lacks[place], max(room, 0) // count)
        room -= shares[place]
    return shares


def _least(column: Sequence[str], longest: int) -> int:
    """Return the least width of a column that keeps its heading and its words whole.

    Words longer than `longest` may be folded. A column of single words, such as MPIDs, keeps words
    of up to LONGEST_WORD.
    """
    from rich.cells import cell_len

    if not any(" " in text for text in column[1:]):
        longest = LONGEST_WORD
    words = (cell_len(word) for text in column for word in text.split())
    return max(min(len(column[0]), 10), *(length for length in words if length <= longest), 0)
