"""The language of conditions, once: its words, its grammar, and its parser.

People are tested with it (`--where`, the criteria of audiences: start "person"), and events
(`where (...)` of criteria, calculated attributes and connections: start "occurrence"). Both have
the same tests, literals, `not`, `and` and `or`. They differ in what a name is, and only people have
events, consent, audiences and places beside their fields. The tests are those of operators.py.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from profilectl.rules.criteria.operators import OPERATORS
from profilectl.rules.text.numbers import LITERAL

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
_LATER_WORDS = ("like", "null")
"""Words that stand only behind a name, and may be names themselves."""
_EVENT_WORDS = "and|or|not|is|in|contains|matches|exists|null|true|false"
"""The words that are no names of fields of an event."""

_NOT_A_WORD = rf"(?!({'|'.join(WORDS)})(?![\w$]))"
BARE = rf"{_NOT_A_WORD}[^\W\d][\w.$]*|\$[\w.$]+"
"""The pattern of a name of a person's field that needs no double quotes."""
_QUOTED = '"([^"]|"")+"'
_PLACE_BARE = rf"(?!({_EVENT_WORDS})\b)[^\W\d][\w$]*"

# A rule that begins with _ has no node of its own: its parts belong to the node above it.
GRAMMAR = rf"""
person: excluding
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
occurrence: _either
_either: either
either: both (_OR both)*                                    -> any
both: part (_AND part)*                                     -> all
?part: _NOT part                                            -> negation
    | "(" _either ")"
    | place _tail                                           -> tested
    | place _NOT _word                                      -> tested_not
place: PLACE
_tail: compared | empty | filled | missing | present | _word
_word: among | words | between | when
?recency: when | between
compared: COMPARISON _literal
empty: _IS _EMPTY
filled: _IS _NOT _EMPTY
missing: _IS _NULL
present: _IS _NOT _NULL
among: _IN "(" _literal ("," _literal)* ")"
between: _BETWEEN _literal _AND _literal
words: _CONTAINS _literal                                   -> contains
    | _STARTS _WITH STRING                                  -> starts
    | _ENDS _WITH STRING                                    -> ends
    | _MATCHES STRING                                       -> matches
    | _LIKE STRING                                          -> like
    | _INCLUDES _literal                                    -> includes
    | _INCLUDES _PART STRING                                -> part
    | _EXISTS                                               -> exists
when: _BEFORE STRING                                        -> before
    | _AFTER STRING                                         -> after
    | _ON STRING                                            -> on
    | _WITHIN SPAN                                          -> within
    | _OVER SPAN _AGO                                       -> ago
_literal: STRING | NUMBER | BOOLEAN
COMPARISON: "=" | "!=" | "<>" | "<=" | ">=" | "<" | ">"
NUMBER: /{LITERAL}(?![\w.])/i
BOOLEAN: /(true|false)(?![\w$])/i
SPAN: /[0-9]+\s*[a-z]+/i
DISTANCE: /[0-9]+(\.[0-9]+)?\s*[a-z]+/i
STRING: /'([^']|'')*'/
CONDITION: /\(\uE000*\)/
NAME: /{_QUOTED}|{BARE}/i
PLACE: /({_QUOTED}|{_PLACE_BARE}|\$\w+)(\[\])?(\.({_QUOTED}|[\w$]+)(\[\])?)*/i
%ignore /\s+/
""" + "".join(rf"_{word.upper()}: /{word}(?![\w$])/i" + "\n" for word in WORDS + _LATER_WORDS)


class Placed(Protocol):
    """A part of a condition."""

    start_pos: int
    """The place of its first character, from 0."""


class CriteriaToken(Placed, Protocol):
    """A token of a condition; str() of it is its text."""

    type: str
    """Its name in the grammar."""


class CriteriaNode(Protocol):
    """A node of the tree that the parser makes."""

    data: str
    """The name of its rule in the grammar."""
    children: Sequence[Any]
    """The nodes and tokens below it; None for an optional one that is not there."""
    meta: Placed
    """Its place in the condition."""


class NotUnderstood(ValueError):
    """A text that is no condition: the place of the character that is wrong, from 0."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def parsed(text: str, start: str) -> CriteriaNode:
    """Return the tree of a condition. start: "person" or "occurrence". Raises NotUnderstood."""
    from lark.exceptions import UnexpectedEOF, UnexpectedInput, UnexpectedToken

    try:
        return cast(CriteriaNode, _parser().parse(text, start=start))
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedEOF) or (
            isinstance(error, UnexpectedToken) and error.token.type == "$END"
        )
        raise NotUnderstood(len(text) if ended else int(error.pos_in_stream or 0)) from None


# lark is loaded with the first condition: most commands read none.
@functools.cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(
        GRAMMAR,
        parser="lalr",
        start=["person", "occurrence"],
        maybe_placeholders=True,
        propagate_positions=True,
    )


def unquoted(token: object) -> str:
    """Return the text of a token in single or double quotes."""
    text = str(token)
    if text[0] in "'\"":
        return text[1:-1].replace(text[0] * 2, text[0])
    return text


_FARTHEST = "9" * 17
"""The digits of the largest exponent that a Decimal is made with."""


def number_of(token: object) -> Decimal:
    """Return the number of a token, exactly; an exponent that is too far is capped."""
    digits, letter, exponent = str(token).lower().partition("e")
    sign = "-" if exponent.startswith("-") else ""
    if len(exponent.lstrip("+-0")) > len(_FARTHEST):
        exponent = sign + _FARTHEST
    return Decimal(digits + letter + exponent)


def pattern_of_like(text: str) -> str | None:
    """Return the pattern of `matches` that a pattern of SQL's LIKE means, or None: it has none.

    >>> pattern_of_like("g%_d"), pattern_of_like("a*")
    ('g*?d', None)
    """
    return None if re.search("[*?]", text) else text.replace("%", "*").replace("_", "?")


# fmt: off
_OTHER_WORDS = {
    # rule of the grammar   the operator it means, and whether it is turned around
    "empty":                ("filled", True),
    "missing":              ("exists", True),
    "present":              ("exists", False),
    "like":                 ("matches", False),
}
# fmt: on


class TestedBy(NamedTuple):
    """A test as it was written."""

    operator: str
    """The name of its operator."""
    tokens: list[CriteriaToken]
    """Its operands."""
    negated: bool
    """Whether it is turned around."""


def tested_by(test: CriteriaNode) -> TestedBy:
    """Return the operator of operators.py that a test means, with its operands."""
    rule, tokens = str(test.data), list(test.children)
    if rule == "compared":
        operator, negated = comparison_meant(tokens.pop(0))
        return TestedBy(operator, tokens, negated)
    operator, negated = _OTHER_WORDS.get(rule, (rule, False))
    return TestedBy(operator, tokens, negated)


def comparison_meant(token: CriteriaToken) -> tuple[str, bool]:
    """Return the operator that a sign means, and whether it is turned around."""
    sign = str(token)
    if sign == "<>":
        sign = "!="
    return next(
        (operator.name, operator.word != sign)
        for operator in OPERATORS
        if sign in (operator.word, operator.negated)
    )
