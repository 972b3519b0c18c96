"""A JSON document -> the texts of its elements, each with its line and column.

They are cut at their borders in one pass, which looks at brackets, strings and commas only. The
text of an element is read later, by itself, as a line of JSON is, so that a fault in it is a fault
of that element alone. Where brackets do not match, a string goes on past its line, or a comma is
missing, nobody can say where an element ends: the document is refused whole.
"""

from __future__ import annotations

import functools
import re
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from profilectl.codes import InputRefused, sentence
from profilectl.rules.text.values import NotJson, parse_json, parse_json_at

NESTED = 5
"""Elements with up to this many levels in them are cut by one expression; deeper ones bracket by
bracket.
"""
PLACE = [("seq", "BIGINT"), ("line", "BIGINT"), ("col", "BIGINT")]
"""The relation of where the elements of a document begin."""
BLOCK = 20_000
"""How many elements a block has at most."""
# The quantifiers (++, *+) never give back what they took, so that no letter is looked at twice.
_STRING = r'"(?:[^"\\\n]++|\\.)*+"'
_BLANK = r"[ \t\r\n]*+"
_skip = re.compile(_BLANK)
_bracket = re.compile(rf"{_STRING}|[\[\]{{}}\"]")
_CLOSES = {"]": "[", "}": "{"}


class Block(NamedTuple):
    """Elements of a document.

    Three lists, because a tuple for each element would cost as much as to cut it.
    """

    texts: list[str]
    """Their texts."""
    lines: list[int]
    """The lines at which they begin."""
    columns: list[int]
    """The columns at which they begin, from 1."""


class Piece(NamedTuple):
    """One element, as it is cut."""

    text: str
    """Its text."""
    comma: str
    """The comma or the bracket that follows it."""
    after: int
    """The place of the next element."""


class Places:
    """Where the elements of a document begin, in their order."""

    def __init__(self) -> None:
        self.lines, self.columns = array("q"), array("q")

    def detail(self, seq: int, detail: str, text: str, position: int | None = None) -> str:
        """Return the detail of a reject with the place of a position in an element's text."""
        if position is None and len(self.lines) == 1:
            return detail
        line, column = place_in(text, position or 0, self.lines[seq], column=self.columns[seq])
        return of_element(seq, line, column, detail=detail)


def of_element(seq: int, line: int, column: int, *, detail: str) -> str:
    """Return the detail of a reject with the place of its element."""
    return f"element {seq + 1}, line {line}, column {column}" + (f": {detail}" if detail else "")


def place_in(text: str, position: int, line: int = 1, column: int = 1) -> tuple[int, int]:
    """Return the line and the column of a position in a text that begins at a line and a column."""
    newline = text.rfind("\n", 0, position)
    if newline < 0:
        return line, column + position
    return line + text.count("\n", 0, position), position - newline


def elements(name: str, text: str) -> Iterator[Block]:
    """Yield the elements of a document in blocks: those of an array, else the document itself.

    Raises InputRefused where it is broken: a single value anywhere, an array in its structure.
    """
    try:
        begin = _blank(text, 0)
        if text[begin : begin + 1] == "[":
            yield from _of_array(text)
        else:
            parse_json(text)
            line, column = place_in(text, begin)
            yield Block([text.strip(" \t\r\n")], [line], [column])
    except NotJson as error:
        raise _refused(name, text, error) from None


def _of_array(text: str) -> Iterator[Block]:
    after = _blank(text, _blank(text, 0) + 1)
    line, column = place_in(text, after)
    block = Block([], [], [])
    if text[after : after + 1] == "]":
        after += 1
    else:
        ended = False
        while not ended:
            start = after
            element, comma, after = _cut(text, start)
            block.texts.append(element)
            block.lines.append(line)
            block.columns.append(column)
            if len(block.texts) == BLOCK:
                yield block
                block = Block([], [], [])
            ended = comma == "]"
            # Counted on from the element before: from the beginning it would take its square.
            if more := text.count("\n", start, after):
                line, column = line + more, after - text.rfind("\n", start, after)
            else:
                column += after - start
    if block.texts:
        yield block
    end = _blank(text, after)
    if end < len(text):
        raise NotJson("JSON_INVALID", "text after the end of the JSON", end)


def _cut(text: str, start: int) -> Piece:
    """Cut out the element at a place. Raises NotJson where it has no end."""
    if match := _expression().match(text, start):
        return Piece(match[1], match[2], match.end())
    end = _end_of_deep(text, start)
    place = _blank(text, end)
    comma = text[place : place + 1]
    if comma not in ("]", ","):
        raise NotJson("JSON_INVALID", "a comma or ] is missing", place)
    return Piece(text[start:end], comma, _blank(text, place + 1))


def _blank(text: str, place: int) -> int:
    """Return the place behind the blanks that begin at a place."""
    match = _skip.match(text, place)
    return match.end() if match else place


@functools.cache
def _expression() -> re.Pattern[str]:
    """Return the expression of an element and the comma or bracket that follows it."""
    inside = rf"[^\"{{}}\[\]]++|{_STRING}"
    array, structure = rf"\[(?:{inside})*+\]", rf"\{{(?:{inside})*+\}}"
    for _ in range(NESTED):
        within = f"{inside}|{array}|{structure}"
        array, structure = rf"\[(?:{within})*+\]", rf"\{{(?:{within})*+\}}"
    return re.compile(rf"({structure}|{array}|{_STRING}|[^\s,\[\]{{}}\"]++){_BLANK}([,\]]){_BLANK}")


def _end_of_deep(text: str, start: int) -> int:
    """Return where an element ends, bracket by bracket. Raises NotJson where it does not end."""
    open_brackets: list[str] = []
    is_structure = text[start : start + 1] in _CLOSES.values()
    for match in _bracket.finditer(text, start) if is_structure else ():
        token = match.group()
        if token in "[{":
            open_brackets.append(token)
        elif token == '"' or (token in _CLOSES and open_brackets.pop() != _CLOSES[token]):
            break
        if not open_brackets:
            return match.end()
    # The parser says better what is wrong.
    _, end = parse_json_at(text, start)
    raise NotJson("JSON_INVALID", "a comma or ] is missing", _blank(text, end))


def _refused(name: str, text: str, error: NotJson) -> InputRefused:
    """Return the error that says where a document is not JSON, and what to mend (design.md R12)."""
    if error.position is None:
        return InputRefused(
            f"{name}: {sentence(error.code)}: {error.detail}",
            "mend the document",
        )
    place = error.position
    is_json = error.code != "JSON_INVALID"
    fault = f"{sentence(error.code) if is_json else 'not JSON'}: {error.detail}"
    hint = "mend it there; a file of one batch a line is named .jsonl"
    before = text[:place].rstrip()
    if before.endswith(",") and text[place : place + 1] in ("}", "]"):
        place, fault = len(before) - 1, "a comma before the closing bracket"
        hint = "remove the comma"
    line, column = place_in(text, place)
    return InputRefused(f"{name}:{line}:{column}: {fault}", hint)
