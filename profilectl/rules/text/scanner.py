"""A text read from left to right, in a language that a grammar of lark defines.

Lark takes 60 ms of processor time until it reads its first expression, and an expression is read
here in a tenth of a millisecond. A text that does not fit is left to lark (NotQuick): what is wrong
with it, and where, only lark says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lark import Lark, Token, Tree


class NotQuick(Exception):
    """A text that only lark can read, or none that anybody can."""


class Unparsed(Exception):
    """A text that is none of its language, from a character on."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def parsed_by(parser: Lark, text: str) -> Tree[Token]:
    """Return the tree of a text as lark reads it. Raises Unparsed."""
    from lark.exceptions import UnexpectedEOF, UnexpectedInput, UnexpectedToken

    try:
        return parser.parse(text)
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedEOF) or (
            isinstance(error, UnexpectedToken) and error.token.type == "$END"
        )
        raise Unparsed(len(text) if ended else int(error.pos_in_stream or 0)) from None


class ScannedToken(str):
    """A piece of a text, with the members that a token of lark has."""

    __slots__ = ("start_pos", "type")

    type: str
    """Its name in the grammar."""
    start_pos: int
    """The place of its first character, from 0."""


@dataclass(frozen=True, slots=True)
class ScannedNode:
    """A part of a text, with the members that a node of lark has."""

    data: str
    """The name of its rule in the grammar."""
    children: Sequence[ScannedNode | ScannedToken | None]
    """The nodes and tokens below it; None for an optional one that is not there."""
    start_pos: int = 0
    """The place of its first character, from 0."""

    @property
    def meta(self) -> ScannedNode:
        """What has its place."""
        return self


class Scanner:
    """Reads tokens one after the other."""

    def __init__(self, text: str, blanks: re.Pattern[str]) -> None:
        """Begin before the first token; `blanks` matches what may stand between tokens."""
        self.text = text
        self.blanks = blanks
        self.at = 0

    def next_at(self) -> int:
        """Return the place of the next token, which may be the end of the text."""
        blank = self.blanks.match(self.text, self.at)
        return blank.end() if blank else self.at

    def ends(self) -> bool:
        """Return whether no token is left."""
        return self.next_at() == len(self.text)

    def take(self, name: str, pattern: re.Pattern[str]) -> ScannedToken | None:
        """Read the next token if a pattern matches there; None: it does not."""
        at = self.next_at()
        match = pattern.match(self.text, at)
        if match is None:
            return None
        self.at = match.end()
        token = ScannedToken(match[0])
        token.type, token.start_pos = name, at
        return token
