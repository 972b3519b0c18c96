"""The dialect of a CSV file: the characters that separate and enclose cells, and escape quotes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from profilectl.codes import UsageError

NO_QUOTE = "none"
"""The value of `--quote` where no character encloses cells."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The characters that are no text."""

    delimiter: str = ""
    """The character between cells; "" where it is still to be found."""
    quote: str = '"'
    """The character around cells; "" where none encloses cells."""
    escape: str = ""
    """The character before a quote, or before itself, within quotes; elsewhere it means nothing.
    "": a quote is doubled.
    """

    def records(self, lines: Iterable[str], *, strict: bool = True) -> Iterator[list[str]]:
        """Yield the cells of each record, an empty list for a blank line.

        Raises csv.Error where quotes are broken and it is strict.
        """
        if self.escape:
            return _EscapedRecords(iter(lines), self)
        if not self.quote:
            return csv.reader(
                lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, strict=strict
            )
        return csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote, strict=strict)

    def quotes_in(self, text: str) -> int:
        """Return how many quotes open or close; a doubled one counts as two."""
        if not self.quote:
            return 0
        if self.escape:
            # An escaped escape goes first: the quote behind it is a quote.
            text = text.replace(self.escape * 2, "").replace(self.escape + self.quote, "")
        return text.count(self.quote)


def dialect_of(
    delimiter: str | None = None, quote: str | None = None, escape: str | None = None
) -> Dialect:
    """Return the dialect that options say. Raises UsageError for a character that cannot be."""
    separating = (
        "" if delimiter is None else _character("--delimiter", delimiter, "for example ; or \\t")
    )
    if quote is None:
        enclosing = '"'
    elif quote == NO_QUOTE:
        enclosing = ""
    else:
        enclosing = _character("--quote", quote, f"for example ' or {NO_QUOTE}")
    before = "" if escape is None else _character("--escape", escape, "for example \\")
    if before and not enclosing:
        raise UsageError(
            "--escape goes with a quote: it stands before one",
            "leave out --escape, or --quote none",
        )
    # A quote that escapes itself is a doubled quote, as where no escape is named.
    before = "" if before == enclosing else before
    characters = [character for character in (separating, enclosing, before) if character]
    if len(set(characters)) < len(characters):
        raise UsageError("--delimiter, --quote and --escape must be different characters")
    return Dialect(separating, enclosing, before)


def _character(option: str, text: str, example: str) -> str:
    """Return the character that an option says. Raises UsageError."""
    character = "\t" if text in ("\\t", "tab") else text
    if not may_separate(character) and not (option == "--quote" and character == '"'):
        raise UsageError(f"{option} {text!r}: must be one plain character", example)
    return character


def may_separate(character: str) -> bool:
    """Return whether a character can separate cells."""
    return len(character) == 1 and character.isascii() and character not in '"\r\n\0'


class _QuotedCell(NamedTuple):
    """A cell that was enclosed."""

    cell: str
    """Its text."""
    line: str
    """The line in which it ends."""
    place: int
    """The place behind it in that line."""


class _EscapedRecords:
    """Records whose quotes stand behind an escape, or are doubled.

    Python's csv module takes an escape before any character, also outside quotes, and would change
    `\\N` and `C:\\x`.
    """

    def __init__(self, lines: Iterator[str], dialect: Dialect) -> None:
        self._lines, self._dialect = lines, dialect
        quote, escape = re.escape(dialect.quote), re.escape(dialect.escape)
        self._plain = re.compile(f"[^{re.escape(dialect.delimiter)}\r\n]*")
        self._special = re.compile(f"{escape}[{escape}{quote}]|{quote}{quote}|{quote}")

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        text, place = next(self._lines), 0
        cells: list[str] = []
        while True:
            if text.startswith(self._dialect.quote, place):
                cell, text, place = self._quoted(text, place + 1)
            else:
                match = self._plain.match(text, place)
                cell = match.group() if match else ""
                place += len(cell)
                # A blank line has no cells, as csv.reader has it.
                if not cells and not cell and not text.strip("\r\n"):
                    return []
            cells.append(cell)
            if not text.startswith(self._dialect.delimiter, place):
                break
            place += 1
        if text[place:].strip("\r\n"):
            raise csv.Error("text after the closing quote")
        return cells

    def _quoted(self, text: str, place: int) -> _QuotedCell:
        """Read on from behind an opening quote. Raises csv.Error where none closes."""
        parts: list[str] = []
        while True:
            match = self._special.search(text, place)
            if match is None:
                parts.append(text[place:])
                text, place = next(self._lines, ""), 0
                if not text:
                    raise csv.Error("unexpected end of data")
                continue
            parts.append(text[place : match.start()])
            place = match.end()
            if match.group() == self._dialect.quote:
                return _QuotedCell("".join(parts), text, place)
            parts.append(match.group()[-1])
