"""Tables: with lines on a terminal, aligned plain text in a pipe; as narrow as their words."""

from __future__ import annotations

import re
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
PARTS = (re.compile(r"[^/]+/*|/+"), re.compile(r"[^._:@=,+-]+[._:@=,+-]*|[._:@=,+-]+"))
"""The parts of a word: it is broken behind a slash, and only then behind another mark."""
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
    widths = widths_of([columns[place] for place in drawn], room)
    for place, width in zip(drawn, widths, strict=True):
        table.add_column(
            Text(headings[place]),
            justify="right" if place in right else "left",
            overflow="fold",
            width=width,
        )
    for row in cells:
        texts = (breakable(row[place], width) for place, width in zip(drawn, widths, strict=True))
        table.add_row(*map(Text, texts))
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


def breakable(text: str, width: int) -> str:
    """Return a text with line breaks in the words that are wider than a column: after marks."""
    from rich.cells import cell_len

    if cell_len(text) <= width:
        return text
    return re.sub(r"[^ \n]+", lambda word: _in_parts(word[0], width), text)


def _in_parts(word: str, width: int, place: int = 0) -> str:
    """Return a word in lines of whole parts; a part that is too long stays as it is.

    place: the first of PARTS that are tried.
    """
    from rich.cells import cell_len

    if cell_len(word) <= width or place == len(PARTS):
        return word
    lines: list[str] = []
    for part in PARTS[place].findall(word):
        if lines and cell_len(lines[-1] + part) <= width:
            lines[-1] += part
        else:
            lines += _in_parts(part, width, place + 1).split("\n")
    return "\n".join(lines)


def _fits(widths: Sequence[int], room: int | None) -> bool:
    """Return whether columns of these widths fit. room: the terminal's width; None: any."""
    return room is None or sum(width + FRAME for width in widths) + 1 <= room


def widths_of(columns: Sequence[Sequence[str]], room: int | None) -> list[int]:
    """Return the width of each column: its words whole if there is room.

    columns: the texts of each. room: the terminal's width; None: any.
    """
    from rich.cells import cell_len

    whole = [max(cell_len(text) for text in column) for column in columns]
    least = [1] * len(columns)
    for longest in (LONGEST_WORD, SHORTEST_WORD):
        widths = [_least(column, longest) for column in columns]
        if _fits(widths, room):
            least = widths
            break
    widths = _grown(least, whole, room)
    # A folded column may need less than its share, which the last folded one then gets.
    folded = [place for place, width in enumerate(widths) if width < whole[place]]
    for place in folded[:-1]:
        least[place] = whole[place] = _longest_line(columns[place], widths[place])
    return _grown(least, whole, room)


def _grown(least: Sequence[int], most: Sequence[int], room: int | None) -> list[int]:
    """Return widths that take the room there is, each at most so much."""
    left_over = sum(most) if room is None else room - 1 - sum(width + FRAME for width in least)
    lacks = {place: max(most[place] - least[place], 0) for place in range(len(least))}
    shares = _shares(left_over, lacks)
    return [min(least[place] + shares[place], most[place]) for place in range(len(least))]


def _longest_line(column: Sequence[str], width: int) -> int:
    """Return the length of the longest line of a column that is folded to a width."""
    from rich.cells import cell_len

    longest = 0
    for text in column:
        for line in breakable(text, width).split("\n"):
            length = 0
            for word in line.split(" "):
                longer = length + 1 + cell_len(word) if length else cell_len(word)
                length = longer if longer <= width else cell_len(word)
                longest = max(longest, min(length, width))
    return longest


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
