"""Conditions on one event: `currency = 'EUR' and price > 10`, read with a grammar, told of an
event.

Names are those of field.path_of. Texts compare ignoring case; with a number, whatever is a number
compares, also in text, digit for digit. A test of a field with several values holds where one of
them passes; a negated test (!=, not in, not contains, not matches) holds where the test itself does
not, so also where the field is absent. What exists and what is empty: presence.py. The same as SQL:
event_sql. Sources: domain.md 11.1, 11.2.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from profilectl.codes import UsageError
from profilectl.rules.event.field import Path, fold, found_at, path_of, scalars, text_of
from profilectl.rules.text.numbers import LITERAL, quantity, quantity_of
from profilectl.rules.text.presence import exists, is_filled
from profilectl.rules.text.values import Value

GRAMMAR = rf"""
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
OPERATOR: "=" | "!=" | "<>" | "<=" | ">=" | "<" | ">"
NUMBER: /{LITERAL}/i
BOOLEAN: /(true|false)\b/i
STRING: /'([^']|'')*'/
NAME: /("([^"]|"")+"|(?!(and|or|not|is|in|contains|matches|exists|null|true|false)\b)[^\W\d][\w$]*|\$\w+)(\[\])?(\.("([^"]|"")+"|[\w$]+)(\[\])?)*/i
%import common.WS
%ignore WS
"""
EXAMPLE = "for example currency = 'EUR' and price > 10"

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that a condition states.

    number: as which it compares; a boolean is the text true or false.
    """

    text: str
    number: bool = False


@dataclass(frozen=True, slots=True)
class AnyCondition:
    """One of the parts holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """All parts hold."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class NotCondition:
    """The part does not hold."""

    part: Node


@dataclass(frozen=True, slots=True)
class Exists:
    """Something other than null stands there."""

    path: Path


@dataclass(frozen=True, slots=True)
class Filled:
    """Something other than null, an empty text, list or object stands there."""

    path: Path


@dataclass(frozen=True, slots=True)
class Compared:
    """A value is =, <, <=, > or >= a literal."""

    path: Path
    operator: str
    literal: Literal


@dataclass(frozen=True, slots=True)
class Contains:
    """The text of a value has the text of the literal in it."""

    path: Path
    literal: Literal


@dataclass(frozen=True, slots=True)
class Matches:
    """The whole text of a value is as the pattern has it: * is any run of characters, ? one."""

    path: Path
    pattern: str


Node = AnyCondition | AllOf | NotCondition | Exists | Filled | Compared | Contains | Matches


@dataclass(frozen=True, slots=True)
class EventCondition:
    """A condition on an event: the text it was read from, and what it says."""

    text: str
    node: Node

    def holds(self, document: Value) -> bool:
        """Say whether the condition holds for an event (values.parse_json of its whole text)."""
        return _holds(self.node, document)

    def paths(self) -> list[Path]:
        """Return the fields that the condition reads, each once, in the order of the text."""
        return list(dict.fromkeys(_paths(self.node)))


def event_condition(text: str) -> EventCondition:
    """Read a condition.

    Raises UsageError, with a mark before the character that was not expected.
    """
    from lark.exceptions import UnexpectedEOF, UnexpectedInput, UnexpectedToken

    try:
        return EventCondition(text, _read(_parser().parse(text)))
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedEOF) or (
            isinstance(error, UnexpectedToken) and error.token.type == "$END"
        )
        at = len(text) if ended else int(error.pos_in_stream or 0)
        raise UsageError(
            f"the condition is not understood at character {at + 1}: {text[:at]}>>>{text[at:]}",
            EXAMPLE,
        ) from None
    except RecursionError:
        raise UsageError("the condition is nested too deep", "take brackets away") from None


@functools.lru_cache(maxsize=256)
def condition_read(text: str) -> EventCondition:
    """Read a condition, or give back what was read of the same text before. Raises UsageError."""
    return event_condition(text)


def condition_text(text: str) -> str:
    """Return the text of a condition without outer white space, once it is known to be one.

    Raises UsageError.
    """
    condition_read(text)
    return text.strip()


def holds(text: str, document: Value) -> bool:
    """Say whether the condition of a text holds for an event.

    Raises UsageError where it is no condition.
    """
    return condition_read(text).holds(document)


@functools.cache
def _parser() -> Any:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=False)


def _read(tree: Any) -> Node:
    kind = str(tree.data)
    if kind in ("any", "all"):
        parts = tuple(_read(one) for one in tree.children)
        return AnyCondition(parts) if kind == "any" else AllOf(parts)
    if kind == "negation":
        return NotCondition(_read(tree.children[0]))
    if kind.startswith("not_"):
        return NotCondition(_test(kind.removeprefix("not_"), tree.children))
    return _test(kind, tree.children)


def _test(kind: str, children: list[Any]) -> Node:
    name, *rest = children
    path = path_of(str(name))
    match kind:
        case "compared":
            if rest[0] in ("!=", "<>"):
                return NotCondition(Compared(path, "=", _literal(rest[1])))
            return Compared(path, str(rest[0]), _literal(rest[1]))
        case "among":
            return AnyCondition(tuple(Compared(path, "=", _literal(one)) for one in rest))
        case "contains":
            return Contains(path, _literal(rest[0]))
        case "matches":
            return Matches(path, _unquoted(rest[0]))
        case "empty":
            return NotCondition(Filled(path))
        case "filled":
            return Filled(path)
    return Exists(path)


def _literal(tree: Any) -> Literal:
    token = tree.children[0]
    if tree.data == "text":
        return Literal(_unquoted(token))
    return (
        Literal(str(token), number=True) if tree.data == "number" else Literal(str(token).lower())
    )


def _unquoted(token: Any) -> str:
    return str(token)[1:-1].replace("''", "'")


def _paths(node: Node) -> Iterator[Path]:
    match node:
        case AnyCondition(parts) | AllOf(parts):
            for part in parts:
                yield from _paths(part)
        case NotCondition(part):
            yield from _paths(part)
        case _:
            yield node.path


def _holds(node: Node, document: Value) -> bool:
    match node:
        case AnyCondition(parts):
            return any(_holds(part, document) for part in parts)
        case AllOf(parts):
            return all(_holds(part, document) for part in parts)
        case NotCondition(part):
            return not _holds(part, document)
        case Exists(path):
            return any(exists(one) for one in found_at(document, path))
        case Filled(path):
            return any(is_filled(one) for one in found_at(document, path))
    test = _value_test(node)
    return any(test(one) for one in scalars(found_at(document, node.path)))


def _value_test(node: Compared | Contains | Matches) -> Callable[[Value], bool]:
    """Return the test that one value must pass."""
    match node:
        case Compared(_, sign, Literal(text, True)):
            number = quantity(text)
            return lambda one: (
                (mine := quantity_of(one)) is not None and _ORDER[sign](mine.order(number), 0)
            )
        case Compared(_, sign, literal):
            folded = fold(literal.text)
            return lambda one: _ORDER[sign](fold(text_of(one)), folded)
        case Contains(_, literal):
            within = fold(literal.text)
            return lambda one: within in fold(text_of(one))
    pattern = pattern_of(fold(node.pattern))
    return lambda one: bool(pattern.fullmatch(fold(text_of(one))))


def pattern_of(pattern: str) -> re.Pattern[str]:
    """Return the expression that a whole folded text must match: * is any run of characters, ? one."""
    # The shortest run that reaches the next piece is taken for good, or a row of stars would try
    # them all.
    first, *rest = (re.escape(one).replace(r"\?", ".") for one in pattern.split("*"))
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    return re.compile(first + "".join(f"(?>.*?{one})" for one in middle) + ".*" + last, re.DOTALL)
