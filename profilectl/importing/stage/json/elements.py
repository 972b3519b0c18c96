"""A JSON document -> the texts of its elements, cut at their borders in one pass, each with its
line and column.

Cutting looks at brackets, strings and commas only: what stands between the borders of an element is
read later, by itself, as a line of JSON is, so that a fault in it is a fault of that element. Where
brackets do not match, a string goes on past its line, or a comma is missing, nobody can say where
an element ends: the document is refused whole.
"""

from __future__ import annotations

import functools
import re
from array import array
from collections.abc import Iterator

from profilectl.codes import InputRefused, sentence
from profilectl.rules.text.values import NotJson, parse_json, parse_json_at

NESTED = 5
"""Elements with so many levels in them are cut by one expression; deeper ones bracket by bracket.
"""
PLACE = [("seq", "BIGINT"), ("line", "BIGINT"), ("col", "BIGINT")]
"""The relation of where the elements of a document begin."""
_STRING = r'"(?:[^"\\\n]++|\\.)*+"'
_BLANK = r"[ \t\r\n]*+"
_skip = re.compile(_BLANK)
_bracket = re.compile(rf"{_STRING}|[\[\]{{}}\"]")
_CLOSES = {"]": "[", "}": "{"}


BLOCK = 20_000
Block = tuple[list[str], list[int], list[int]]
"""Elements of a document: their texts, and the lines and the columns (from 1) at which they begin.
Lists, because a tuple for each element would cost as much as to cut it.
"""


class Places:
    """Where the elements of a document begin, in their order."""

    def __init__(self) -> None:
        self.lines, self.columns = array("q"), array("q")

    def said(self, seq: int, detail: str, text: str, position: int | None = None) -> str:
        """Return what is said of an element, with the line and the column of a position in its
        text.
        """
        place = place_in(text, position or 0, self.lines[seq], self.columns[seq])
        return (
            detail
            if position is None and len(self.lines) == 1
            else said_of_element(seq, *place, detail)
        )


def said_of_element(seq: int, line: int, column: int, detail: str) -> str:
    """Return what is said of an element, with its place."""
    return f"element {seq + 1}, line {line}, column {column}" + (f": {detail}" if detail else "")


def place_in(text: str, position: int, line: int = 1, column: int = 1) -> tuple[int, int]:
    """Return the line and the column of a position in a text that begins at a line and a column."""
    newline = text.rfind("\n", 0, position)
    if newline < 0:
        return line, column + position
    return line + text.count("\n", 0, position), position - newline


def elements(name: str, text: str) -> Iterator[Block]:
    """Yield the elements of a document, in blocks: those of an array, else the document itself.
    Raises InputRefused where it is broken: a single value anywhere, an array in its structure.
    """
    try:
        begin = _blank(text, 0)
        if text[begin : begin + 1] == "[":
            yield from _of_array(text)
        else:
            parse_json(text)
            line, column = place_in(text, begin)
            yield [text.strip(" \t\r\n")], [line], [column]
    except NotJson as error:
        raise _refused(name, text, error) from None


def _of_array(text: str) -> Iterator[Block]:
    after = _blank(text, _blank(text, 0) + 1)
    line, column = place_in(text, after)
    block: Block = ([], [], [])
    texts, lines, columns = block
    if text[after : after + 1] == "]":
        after += 1
    else:
        match, ended = _expression().match, False
        while not ended:
            start = after
            if found := match(text, start):
                one, comma, after = found[1], found[2], found.end()
            else:
                end = _end_of_deep(text, start)
                one, place = text[start:end], _blank(text, end)
                comma, after = text[place : place + 1], _blank(text, place + 1)
                if comma not in ("]", ","):
                    raise NotJson("JSON_INVALID", "a comma or ] is missing", place)
            texts.append(one)
            lines.append(line)
            columns.append(column)
            if len(texts) == BLOCK:
                yield block
                block = ([], [], [])
                texts, lines, columns = block
            ended = comma == "]"
            if more := text.count("\n", start, after):
                line, column = line + more, after - text.rfind("\n", start, after)
            else:
                column += after - start
    if texts:
        yield block
    rest = _blank(text, after)
    if rest < len(text):
        raise NotJson("JSON_INVALID", "text after the end of the JSON", rest)


def _blank(text: str, place: int) -> int:
    """Return where the blanks end that begin at a place."""
    found = _skip.match(text, place)
    return found.end() if found else place


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
    """Return where an element ends, bracket by bracket.

    Raises NotJson where that cannot be said.
    """
    open_brackets: list[str] = []
    for found in (
        _bracket.finditer(text, start) if text[start : start + 1] in _CLOSES.values() else ()
    ):
        one = found.group()
        if one in "[{":
            open_brackets.append(one)
        elif one == '"' or (one in _CLOSES and open_brackets.pop() != _CLOSES[one]):
            break
        if not open_brackets:
            return found.end()
    _, end = parse_json_at(text, start)  # which says better what is wrong
    raise NotJson("JSON_INVALID", "a comma or ] is missing", _blank(text, end))


def _refused(name: str, text: str, error: NotJson) -> InputRefused:
    """Say where a document is not JSON, and what to mend (design.md R12)."""
    place, what, hint = (
        error.position,
        error.detail,
        "mend it there; a file of one batch a line is named .jsonl",
    )
    if place is None:
        return InputRefused(
            f"{name}: {sentence(error.code)}: {what}", "mend the document; nothing was imported"
        )
    before = text[:place].rstrip()
    if before.endswith(",") and text[place : place + 1] in ("}", "]"):
        place, what, hint = (
            len(before) - 1,
            "a comma before the closing bracket",
            "remove the comma",
        )
    else:
        what = (
            f"not JSON: {what}"
            if error.code == "JSON_INVALID"
            else f"{sentence(error.code)}: {what}"
        )
    line, column = place_in(text, place)
    return InputRefused(f"{name}:{line}:{column}: {what}", f"{hint}; nothing was imported")
