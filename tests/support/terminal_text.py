"""What a terminal shows of what it is sent: the text, and the style of each part of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
"""A sequence that acts on a terminal: of styles, of the cursor, or of its title."""


def shown(sent: str) -> str:
    """Return the text on a terminal of any height that was sent this, without styles.

    It does what the commands use: the cursor goes back and up, and what is behind it is erased.
    """
    lines, row, column = [""], 0, 0
    place = 0
    while place < len(sent):
        match = SEQUENCE.match(sent, place)
        if match:
            number = int(match[1]) if (match[1] or "").isdecimal() else 1
            if match[2] == "A":
                row = max(row - number, 0)
            elif match[2] == "J":
                lines[row:] = [lines[row][:column]]
            elif match[2] == "K":
                lines[row] = lines[row][:column]
            else:
                assert match[2] in ("m", None), f"unknown to this terminal: {match[0]!r}"
            place = match.end()
            continue
        letter = sent[place]
        place += 1
        if letter == "\n":
            row, column = row + 1, 0
            if row == len(lines):
                lines.append("")
        elif letter == "\r":
            column = 0
        else:
            lines[row] = lines[row][:column].ljust(column) + letter + lines[row][column + 1 :]
            column += 1
    return "\n".join(lines)


class Styled(NamedTuple):
    """A part of a text in one style."""

    text: str
    """What stands there."""
    foreground: tuple[int, ...]
    """The parameters of the colour of its letters; empty: the terminal's own."""
    background: tuple[int, ...]
    """The parameters of the colour behind them; empty: the terminal's own."""


def styled(sent: str) -> Iterator[Styled]:
    """Yield the parts of what a terminal is sent, each with its colours."""
    foreground: tuple[int, ...] = ()
    background: tuple[int, ...] = ()
    begin = 0
    for match in SEQUENCE.finditer(sent):
        if sent[begin : match.start()]:
            yield Styled(sent[begin : match.start()], foreground, background)
        begin = match.end()
        if match[2] != "m":
            continue
        numbers = [int(number or 0) for number in match[1].split(";")]
        while numbers:
            first = numbers.pop(0)
            more = {5: 2, 2: 4}[numbers[0]] if first in (38, 48) else 0
            colour, numbers = (first, *numbers[:more]), numbers[more:]
            if first == 0:
                foreground = background = ()
            elif 30 <= first <= 39 or 90 <= first <= 97:
                foreground = () if first == 39 else colour
            elif 40 <= first <= 49 or 100 <= first <= 107:
                background = () if first == 49 else colour
    if sent[begin:]:
        yield Styled(sent[begin:], foreground, background)
