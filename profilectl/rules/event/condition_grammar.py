"""The grammar of a condition on an event, and the parser (condition.py says what it means).

GRAMMAR defines the language. _ConditionReading reads the same without lark, into the same nodes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from profilectl.rules.text.numbers import LITERAL
from profilectl.rules.text.scanner import NotQuick, ScannedNode, ScannedToken, Scanner, parsed_by

if TYPE_CHECKING:
    from lark import Lark

_WORDS = "and|or|not|is|in|contains|matches|exists|null|true|false"
_QUOTED = '"([^"]|"")+"'
_BARE = rf"(?!({_WORDS})\b)[^\W\d][\w$]*"
TERMINALS = {
    "OPERATOR": "=|!=|<>|<=|>=|<|>",
    "NUMBER": LITERAL,
    "BOOLEAN": r"(true|false)\b",
    "STRING": "'([^']|'')*'",
    "NAME": rf"({_QUOTED}|{_BARE}|\$\w+)(\[\])?(\.({_QUOTED}|[\w$]+)(\[\])?)*",
}
"""The pattern of each token but the words, in any case."""
# A rule that begins with ? has no node of its own if it has a single child.
GRAMMAR = r"""
?start: any
?any: all ("or"i all)*                                   -> any
?all: one ("and"i one)*                                  -> all
?one: "not"i one                                         -> negation
    | "(" any ")"
    | NAME OPERATOR literal                              -> compared
    | NAME "in"i "(" literal ("," literal)* ")"          -> among
    | NAME "not"i "in"i "(" literal ("," literal)* ")"   -> not_among
    | NAME "contains"i literal                           -> contains
    | NAME "not"i "contains"i literal                    -> not_contains
    | NAME "matches"i STRING                             -> matches
    | NAME "not"i "matches"i STRING                      -> not_matches
    | NAME "is"i "empty"i                                -> empty
    | NAME "is"i "not"i "empty"i                         -> filled
    | NAME ("exists"i | "is"i "not"i "null"i)            -> exists
    | NAME ("not"i "exists"i | "is"i "null"i)            -> not_exists
?literal: STRING -> text
    | NUMBER     -> number
    | BOOLEAN    -> boolean
%import common.WS
%ignore WS
""" + "".join(f"{name}: /{pattern}/i\n" for name, pattern in TERMINALS.items())

DEEPEST = 20
"""The most brackets and `not` within one another that are read without lark."""
_SIGNS = ("(", ")", ",")
_KEYWORDS = ("and", "or", "not", "in", "is", "contains", "matches", "exists", "empty", "null")
_PATTERNS = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in (
        TERMINALS | {word: word for word in _KEYWORDS} | {sign: re.escape(sign) for sign in _SIGNS}
    ).items()
}
_BLANKS = re.compile(r"[ \t\f\r\n]*")
_LITERALS = {"STRING": "text", "NUMBER": "number", "BOOLEAN": "boolean"}
"""The rules of literals, by their token."""


class ParsedNode(Protocol):
    """A node of the tree that the parser makes; its leaves are texts."""

    data: str
    """The name of its rule in the grammar."""
    children: Sequence[ParsedNode]
    """The nodes and leaves below it."""


def parsed(text: str) -> ParsedNode:
    """Return the tree of a condition. Raises Unparsed."""
    try:
        return quickly_parsed(text)
    except NotQuick:
        return parsed_by_lark(text)


def parsed_by_lark(text: str) -> ParsedNode:
    """Return the tree of a condition as lark reads it. Raises Unparsed."""
    return cast(ParsedNode, parsed_by(_parser(), text))


# lark is loaded with the first condition that needs it: most commands read none.
@functools.cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=False)


def quickly_parsed(text: str) -> ParsedNode:
    """Return the tree of a condition, read without lark. Raises NotQuick."""
    reading = _ConditionReading(text)
    tree = reading.any_of(0)
    if not reading.scanner.ends():
        raise NotQuick
    return cast(ParsedNode, tree)


class _ConditionReading:
    """Reads a condition: a method for each rule of GRAMMAR, and for its longer alternatives."""

    def __init__(self, text: str) -> None:
        self.scanner = Scanner(text, _BLANKS)

    def take(self, *names: str) -> ScannedToken | None:
        """Read the next token if it is one of these."""
        for name in names:
            if (token := self.scanner.take(name, _PATTERNS[name])) is not None:
                return token
        return None

    def need(self, *names: str) -> ScannedToken:
        """Read the next token, which is one of these."""
        if (token := self.take(*names)) is None:
            raise NotQuick
        return token

    def any_of(self, depth: int) -> ScannedNode:
        return self._listed(
            "any", "or", lambda: self._listed("all", "and", lambda: self._one(depth))
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
        # a name before `not`: it may begin with that word
        if (name := self.take("NAME")) is not None:
            return self._test(name)
        if self.take("not") is not None:
            return ScannedNode("negation", [self._one(depth + 1)])
        self.need("(")
        inner = self.any_of(depth + 1)
        self.need(")")
        return inner

    def _test(self, name: ScannedToken) -> ScannedNode:
        if (operator := self.take("OPERATOR")) is not None:
            return ScannedNode("compared", [name, operator, self._literal()])
        if self.take("is") is not None:
            return self._presence(name)
        negated = "not_" if self.take("not") is not None else ""
        test = self.need("in", "contains", "matches", "exists").type
        match test:
            case "in":
                return ScannedNode(f"{negated}among", [name, *self._among()])
            case "contains":
                return ScannedNode(f"{negated}contains", [name, self._literal()])
            case "matches":
                return ScannedNode(f"{negated}matches", [name, self.need("STRING")])
        return ScannedNode(f"{negated}exists", [name])

    def _presence(self, name: ScannedToken) -> ScannedNode:
        """Read what follows the word is."""
        negated = self.take("not") is not None
        if self.need("empty", "null").type == "empty":
            return ScannedNode("filled" if negated else "empty", [name])
        return ScannedNode("exists" if negated else "not_exists", [name])

    def _among(self) -> list[ScannedNode]:
        self.need("(")
        literals = [self._literal()]
        while self.take(",") is not None:
            literals.append(self._literal())
        self.need(")")
        return literals

    def _literal(self) -> ScannedNode:
        token = self.need(*_LITERALS)
        return ScannedNode(_LITERALS[token.type], [token])
