"""The grammar of criteria as an expression, and the parser (text.py says what it means).

GRAMMAR defines the language. _CriteriaReading reads the same without lark, into the same nodes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from profilectl.rules.text.scanner import NotQuick, ScannedNode, ScannedToken, Scanner, parsed_by

if TYPE_CHECKING:
    from lark import Lark

# fmt: off
WORDS = (
    "and", "or", "not", "exclude", "in", "is", "contains", "starts", "ends", "with", "matches",
    "between", "before", "after", "on", "within", "over", "ago", "includes", "part", "exists",
    "empty", "event", "count", "where", "audience", "consent", "device", "attribution",
    "first_seen", "last_seen", "environment", "location", "of",
)
# fmt: on
"""The words of the language: an attribute with such a name is written in double quotes."""

_NOT_A_WORD = rf"(?!({'|'.join(WORDS)})(?![\w$]))"
BARE = rf"{_NOT_A_WORD}[^\W\d][\w.$]*|\$[\w.$]+"
"""A name without quotes."""

TERMINALS = {
    "COMPARISON": "=|!=|<>|<=|>=|<|>",
    "NUMBER": r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(?![\w.])",
    "SPAN": r"[0-9]+\s*[a-z]+",
    "DISTANCE": r"[0-9]+(\.[0-9]+)?\s*[a-z]+",
    "STRING": "'([^']|'')*'",
    "CONDITION": r"\(\uE000*\)",
    "NAME": rf'"([^"]|"")+"|{BARE}',
} | {f"_{word.upper()}": rf"{word}(?![\w$])" for word in WORDS}
"""The pattern of each token, in any case. That of a word has a name that begins with _."""

# A rule that begins with _ has no node of its own: its parts belong to the node above it.
GRAMMAR = r"""
start: excluding
excluding: any (_EXCLUDE any)*
any: all (_OR all)*
all: one (_AND one)*
?one: _NOT one                                              -> negation
    | "(" excluding ")"
    | field _tail                                           -> tested
    | field _NOT _word                                      -> tested_not
    | event                                                 -> happened
    | _COUNT "(" event ")" (compared | between)             -> counted
    | _AUDIENCE STRING                                      -> audience
    | _CONSENT NAME _IS NAME                                -> consent
    | _CONSENT NAME _IS _NOT NAME                           -> consent_not
    | _LOCATION _WITHIN DISTANCE _OF NUMBER "," NUMBER      -> near
field: NAME                                                 -> named
    | _DEVICE "." NAME                                      -> device
    | _ATTRIBUTION "." NAME                                 -> attribution
    | _FIRST_SEEN                                           -> first_seen
    | _LAST_SEEN                                            -> last_seen
    | _ENVIRONMENT                                          -> environment
event: _EVENT [NAME] [STRING] [_WHERE CONDITION] [recency]
_tail: compared | empty | filled | _word
_word: among | words | between | when
?recency: when | between
compared: COMPARISON _literal
empty: _IS _EMPTY
filled: _IS _NOT _EMPTY
among: _IN "(" _literal ("," _literal)* ")"
between: _BETWEEN _literal _AND _literal
words: _CONTAINS STRING                                     -> contains
    | _STARTS _WITH STRING                                  -> starts
    | _ENDS _WITH STRING                                    -> ends
    | _MATCHES STRING                                       -> matches
    | _INCLUDES _literal                                    -> includes
    | _INCLUDES _PART STRING                                -> part
    | _EXISTS                                               -> exists
when: _BEFORE STRING                                        -> before
    | _AFTER STRING                                         -> after
    | _ON STRING                                            -> on
    | _WITHIN SPAN                                          -> within
    | _OVER SPAN _AGO                                       -> ago
_literal: STRING | NUMBER
%ignore /\s+/
""" + "".join(f"{name}: /{pattern}/i\n" for name, pattern in TERMINALS.items())

DEEPEST = 20
"""The most brackets and `not` within one another that are read without lark."""
_PATTERNS = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in (
        TERMINALS | {sign: re.escape(sign) for sign in ("(", ")", ",", ".")}
    ).items()
}
_BLANKS = re.compile(r"\s*")


class Placed(Protocol):
    """A part of an expression."""

    @property
    def start_pos(self) -> int:
        """The place of its first character, from 0."""


class CriteriaToken(Placed, Protocol):
    """A token of an expression; str() of it is its text."""

    type: str
    """Its name in the grammar."""


class CriteriaNode(Protocol):
    """A node of the tree that the parser makes."""

    @property
    def data(self) -> str:
        """The name of its rule in the grammar."""

    @property
    def children(self) -> Sequence[Any]:
        """The nodes and tokens below it; None for an optional one that is not there."""

    @property
    def meta(self) -> Placed:
        """Its place in the expression."""


def parsed(text: str) -> CriteriaNode:
    """Return the tree of an expression. Raises Unparsed."""
    try:
        return quickly_parsed(text)
    except NotQuick:
        return parsed_by_lark(text)


def parsed_by_lark(text: str) -> CriteriaNode:
    """Return the tree of an expression as lark reads it. Raises Unparsed."""
    return cast(CriteriaNode, parsed_by(_parser(), text))


# lark is loaded with the first expression that needs it: most commands read none.
@functools.cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=True, propagate_positions=True)


def quickly_parsed(text: str) -> CriteriaNode:
    """Return the tree of an expression, read without lark. Raises NotQuick."""
    reading = _CriteriaReading(text)
    tree = reading.excluding(0)
    if not reading.scanner.ends():
        raise NotQuick
    return ScannedNode("start", [tree])


class _CriteriaReading:
    """Reads an expression: a method for each rule of GRAMMAR."""

    def __init__(self, text: str) -> None:
        self.scanner = Scanner(text, _BLANKS)

    def take(self, name: str) -> ScannedToken | None:
        return self.scanner.take(name, _PATTERNS[name])

    def need(self, *names: str) -> ScannedToken:
        """Read the next token, which is one of these."""
        for name in names:
            if (token := self.take(name)) is not None:
                return token
        raise NotQuick

    def word(self, *words: str) -> str:
        """Read the next word if it is one of these, and return it; "": it is none of them."""
        return next((word for word in words if self.take(f"_{word.upper()}") is not None), "")

    def excluding(self, depth: int) -> ScannedNode:
        return self._listed("excluding", "_EXCLUDE", lambda: self._any(depth))

    def _any(self, depth: int) -> ScannedNode:
        return self._listed(
            "any", "_OR", lambda: self._listed("all", "_AND", lambda: self._one(depth))
        )

    def _listed(self, rule: str, separator: str, part: Callable[[], ScannedNode]) -> ScannedNode:
        """Read parts with a word between them."""
        parts = [part()]
        while self.take(separator) is not None:
            parts.append(part())
        return ScannedNode(rule, parts)

    def _one(self, depth: int) -> ScannedNode:
        if depth > DEEPEST:
            raise NotQuick
        if self.word("not"):
            return ScannedNode("negation", [self._one(depth + 1)])
        if self.take("(") is not None:
            inner = self.excluding(depth + 1)
            self.need(")")
            return inner
        if (event := self._event()) is not None:
            return ScannedNode("happened", [event])
        match self.word("count", "audience", "consent", "location"):
            case "count":
                return self._counted()
            case "audience":
                return ScannedNode("audience", [self.need("STRING")])
            case "consent":
                return self._consent()
            case "location":
                return self._near()
        field = self._field()
        if self.word("not"):
            return ScannedNode("tested_not", [field, self._word()])
        return ScannedNode("tested", [field, self._tail()])

    def _counted(self) -> ScannedNode:
        self.need("(")
        if (event := self._event()) is None:
            raise NotQuick
        self.need(")")
        test = self._between() if self.word("between") else self._compared()
        return ScannedNode("counted", [event, test])

    def _consent(self) -> ScannedNode:
        purpose = self.need("NAME")
        self.need("_IS")
        rule = "consent_not" if self.word("not") else "consent"
        return ScannedNode(rule, [purpose, self.need("NAME")])

    def _near(self) -> ScannedNode:
        self.need("_WITHIN")
        distance = self.need("DISTANCE")
        self.need("_OF")
        latitude = self.need("NUMBER")
        self.need(",")
        return ScannedNode("near", [distance, latitude, self.need("NUMBER")])

    def _field(self) -> ScannedNode:
        at = self.scanner.next_at()
        if (name := self.take("NAME")) is not None:
            return ScannedNode("named", [name], at)
        kind = self.word("device", "attribution", "first_seen", "last_seen", "environment")
        if kind in ("device", "attribution"):
            self.need(".")
            return ScannedNode(kind, [self.need("NAME")], at)
        if not kind:
            raise NotQuick
        return ScannedNode(kind, [], at)

    def _event(self) -> ScannedNode | None:
        if not self.word("event"):
            return None
        kind, name = self.take("NAME"), self.take("STRING")
        condition = self.need("CONDITION") if self.word("where") else None
        recency = self._between() if self.word("between") else self._when()
        return ScannedNode("event", [kind, name, condition, recency])

    def _tail(self) -> ScannedNode:
        if self.word("is"):
            rule = "filled" if self.word("not") else "empty"
            self.need("_EMPTY")
            return ScannedNode(rule, [])
        if self.scanner.text[self.scanner.next_at() :][:1] in ("=", "!", "<", ">"):
            return self._compared()
        return self._word()

    def _word(self) -> ScannedNode:
        """Read a test that `not` may stand before."""
        if (when := self._when()) is not None:
            return when
        match self.word("in", "between", "contains", "matches", "exists", "starts", "ends"):
            case "in":
                return self._among()
            case "between":
                return self._between()
            case "exists":
                return ScannedNode("exists", [])
            case ("starts" | "ends") as rule:
                self.need("_WITH")
                return ScannedNode(rule, [self.need("STRING")])
            case "":
                return self._includes()
            case rule:
                return ScannedNode(rule, [self.need("STRING")])

    def _includes(self) -> ScannedNode:
        self.need("_INCLUDES")
        if self.word("part"):
            return ScannedNode("part", [self.need("STRING")])
        return ScannedNode("includes", [self._literal()])

    def _when(self) -> ScannedNode | None:
        match self.word("before", "after", "on", "within", "over"):
            case "":
                return None
            case "within":
                return ScannedNode("within", [self.need("SPAN")])
            case "over":
                span = self.need("SPAN")
                self.need("_AGO")
                return ScannedNode("ago", [span])
            case rule:
                return ScannedNode(rule, [self.need("STRING")])

    def _compared(self) -> ScannedNode:
        return ScannedNode("compared", [self.need("COMPARISON"), self._literal()])

    def _among(self) -> ScannedNode:
        self.need("(")
        literals = [self._literal()]
        while self.take(",") is not None:
            literals.append(self._literal())
        self.need(")")
        return ScannedNode("among", literals)

    def _between(self) -> ScannedNode:
        """Read what follows the word between."""
        least = self._literal()
        self.need("_AND")
        return ScannedNode("between", [least, self._literal()])

    def _literal(self) -> ScannedToken:
        return self.need("STRING", "NUMBER")
