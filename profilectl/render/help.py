"""The help screens: pages of text, folded between words at the width of the terminal.

They are drawn without Rich, whose loading would take as long as everything else that --help does.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDEST = 100
"""The longest lines, in characters: longer ones are hard to read."""
NARROWEST = 40
"""The shortest lines, in characters, however narrow the terminal claims to be."""
TERMS = 28
"""The characters of the longest term that its text stands beside; below a longer one."""
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
WORD = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s"'])+""")
"""A word of a command, with the blanks that stand in quotes."""


@dataclass(frozen=True, slots=True)
class HelpRow:
    """A line of a section: a term and what it means."""

    term: str
    """The term: a command, an option with what it takes, an exit status."""
    text: str
    """What it means."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page."""

    title: str
    """Its title."""
    rows: Sequence[HelpRow]
    """Its lines."""


@dataclass(frozen=True, slots=True)
class Example:
    """A command that works, and what it is for."""

    caption: str
    """What it is for; may be empty."""
    command: str
    """The command, in one line."""


@dataclass(frozen=True, slots=True)
class Page:
    """What --help shows of one command."""

    name: str
    """The words of the command, with the name of the program."""
    usage: str
    """How it is called."""
    paragraphs: Sequence[str]
    """What it does, each paragraph in one line."""
    sections: Sequence[Section]
    """Its commands, arguments and options."""
    examples: Sequence[Example]
    """Its examples."""
    notes: Sequence[str]
    """What stands below all, each paragraph in one line."""


def screen_of(page: Page) -> str:
    """Return a page as the screen of the standard output shows it."""
    stream = sys.stdout
    styled = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = max(NARROWEST, min(shutil.get_terminal_size().columns, WIDEST))
    return text_of(page, width, styled=styled)


def text_of(page: Page, width: int, *, styled: bool = False) -> str:
    """Return a page in lines of at most `width` characters; styled: with titles in bold."""
    lines = _folded(f"Usage: {page.usage}", width, "       ")
    for paragraph in page.paragraphs:
        lines += ["", *_folded(paragraph, width)]
    for section in page.sections:
        beside = [len(row.term) for row in section.rows if len(row.term) <= TERMS]
        column = max(beside, default=0) + 4
        lines += ["", _bold(section.title, styled=styled)]
        for row in section.rows:
            lines += _row(row, width, column, styled=styled)
    if page.examples:
        lines += ["", _bold("Examples" if len(page.examples) > 1 else "Example", styled=styled)]
        for number, example in enumerate(page.examples):
            lines += ([""] if number and example.caption else []) + _example(example, width)
    for note in page.notes:
        lines += ["", *_folded(note, width)]
    return "\n".join(lines) + "\n"


def _row(row: HelpRow, width: int, column: int, *, styled: bool) -> list[str]:
    indent = " " * column
    term = "  " + _bold(row.term, styled=styled)
    if len(row.term) > column - 4:
        return ["  " + line for line in _folded(row.term, width - 2, "  ")] + _folded(
            indent + row.text, width, indent
        )
    lines = _folded(indent + row.text, width, indent) or [indent]
    return [(term + " " * (column - 2 - len(row.term)) + lines[0].strip()).rstrip(), *lines[1:]]


def _example(example: Example, width: int) -> list[str]:
    """Return the lines of an example, in a form that a shell takes."""
    lines = _folded("  " + example.caption, width, "  ") if example.caption else []
    line = "  $"
    for words in _parts(example.command, width - len("      ") - len(" \\")):
        if len(line) + len(words) + len("  \\") > width and line.strip() != "$":
            lines.append(line + " \\")
            line = "     "
        line += " " + words
    return [*lines, line]


def _parts(command: str, width: int) -> Iterator[str]:
    """Yield the words of a command, an option with its value together where they fit."""
    words = WORD.findall(command)
    while words:
        part = words.pop(0)
        beside = words and part.startswith("-") and not words[0].startswith("-")
        if beside and len(part) + len(words[0]) < width:
            part += " " + words.pop(0)
        yield part


def _folded(text: str, width: int, indent: str = "") -> list[str]:
    """Return the lines of a text, broken between words alone."""
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _bold(text: str, *, styled: bool) -> str:
    return f"{BOLD}{text}{PLAIN}" if styled else text
