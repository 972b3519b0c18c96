"""Conditions on one event, such as `currency = 'EUR' and price > 10`: read, and tested.

The tests are those of the language of conditions (criteria/grammar.py, criteria/operators.py), of
which a test of an event has all but spans of time. Names are those of field.path_of. Texts compare
without case. A comparison with a number compares
every value that is a number, also in text, digit for digit. A test of a field with several values
holds if one of them passes. A negated test (!=, not in, not contains, not matches) holds if the
test itself does not, so also if the field is absent. For what exists and what is empty see
text/presence.py. The same in SQL: sql/events.py. Sources: domain.md 11.1, 11.2.
"""

from __future__ import annotations

import functools
import operator as signs
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from profilectl.codes import UsageError
from profilectl.rules.criteria.grammar import (
    CriteriaNode,
    CriteriaToken,
    NotUnderstood,
    number_of,
    parsed,
    pattern_of_like,
    tested_by,
    unquoted,
)
from profilectl.rules.criteria.operators import BY_NAME
from profilectl.rules.criteria.passing import passes, pattern_of
from profilectl.rules.criteria.tree import CriterionFault, FaultAt, Operand, check_operands
from profilectl.rules.event.field import Path, caseless, path_of, scalars, text_of, values_at
from profilectl.rules.text.moments import moment_of
from profilectl.rules.text.numbers import quantity, quantity_of
from profilectl.rules.text.presence import exists, is_filled
from profilectl.rules.text.values import Value

OTHERS = ("starts", "ends", "between", "before", "after", "on")
"""The operators of Tested."""
EXAMPLE = "for example currency = 'EUR' and price > 10"

SPAN = (
    "a span of time stands behind the brackets: event 'purchase' where (...) within 30 days;"
    " a calculated attribute has --within"
)
DAY = "a day is written '2024-01-31', a time '2024-01-31T12:00Z'"
LIKE_WITH_STARS = "* and ? stand for any text in a pattern: write contains or starts with"

_ORDER: dict[str, Callable[[int, int], bool]] = {
    "=": signs.eq,
    "<": signs.lt,
    "<=": signs.le,
    ">": signs.gt,
    ">=": signs.ge,
}
"""The signs, as tests of an order (-1, 0 or 1: the value against the literal) against 0."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that a condition states."""

    text: str
    """The value as text; a boolean is the text true or false."""
    number: bool = False
    """Whether it compares as a number."""


@dataclass(frozen=True, slots=True)
class AnyCondition:
    """A condition that holds if at least one of its parts does."""

    parts: tuple[Node, ...]
    """The parts."""


@dataclass(frozen=True, slots=True)
class AllOf:
    """A condition that holds if all its parts do."""

    parts: tuple[Node, ...]
    """The parts."""


@dataclass(frozen=True, slots=True)
class NotCondition:
    """A condition that holds if its part does not."""

    part: Node
    """The part."""


@dataclass(frozen=True, slots=True)
class Exists:
    """A test that the field has a value other than null."""

    path: Path
    """The field."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A test that the field has a value other than null, an empty text, list or object."""

    path: Path
    """The field."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A test of how a value compares with a literal."""

    path: Path
    """The field."""
    operator: str
    """=, <, <=, > or >=."""
    literal: Literal
    """The literal."""


@dataclass(frozen=True, slots=True)
class Contains:
    """A test that the text of a value contains a text."""

    path: Path
    """The field."""
    literal: Literal
    """The text."""


@dataclass(frozen=True, slots=True)
class Matches:
    """A test that the whole text of a value matches a pattern."""

    path: Path
    """The field."""
    pattern: str
    """The pattern: * is any run of characters, ? one."""


@dataclass(frozen=True, slots=True)
class Tested:
    """Another test of a value: how a text begins or ends, a range of numbers, a date."""

    path: Path
    """The field."""
    operator: str
    """The name of the operator, one of OTHERS."""
    operands: tuple[Operand, ...]
    """Its operands."""


Node = (
    AnyCondition | AllOf | NotCondition | Exists | Filled | Compared | Contains | Matches | Tested
)


@dataclass(frozen=True, slots=True)
class EventCondition:
    """A condition on an event."""

    text: str
    """The text that it was read from."""
    node: Node
    """Its meaning."""

    def holds(self, document: Value) -> bool:
        """Return whether the condition holds for an event (values.parse_json of its text)."""
        return _holds(self.node, document)

    def paths(self) -> list[Path]:
        """Return the fields that the condition reads, each once, in the order of the text."""
        return list(dict.fromkeys(_paths(self.node)))


def event_condition(text: str) -> EventCondition:
    """Read a condition.

    Raises UsageError, with a mark before the character that is wrong.
    """
    try:
        return EventCondition(text, _read(parsed(text, "occurrence").children[0]))
    except NotUnderstood as error:
        raise _misread(text, error.at, EXAMPLE) from None
    except FaultAt as error:
        raise _misread(text, error.at, str(error)) from None
    except RecursionError:
        raise UsageError("the condition is nested too deep", "take brackets away") from None


def _misread(text: str, at: int, hint: str) -> UsageError:
    return UsageError(
        f"the condition is not understood at character {at + 1}: {text[:at]}>>>{text[at:]}", hint
    )


@functools.lru_cache(maxsize=256)
def condition_read(text: str) -> EventCondition:
    """Read a condition, once for each text. Raises UsageError."""
    return event_condition(text)


def condition_text(text: str) -> str:
    """Return the text of a condition without outer white space, if it can be read.

    Raises UsageError.
    """
    condition_read(text)
    return text.strip()


def holds(text: str, document: Value) -> bool:
    """Return whether the condition in a text holds for an event.

    Raises UsageError if the text is no condition.
    """
    return condition_read(text).holds(document)


def _read(node: CriteriaNode) -> Node:
    match node.data:
        case "any" | "all":
            parts = tuple(map(_read, node.children))
            if len(parts) == 1:
                return parts[0]
            return AnyCondition(parts) if node.data == "any" else AllOf(parts)
        case "negation":
            return NotCondition(_read(node.children[0]))
    place, test = node.children
    operator, tokens, negated = tested_by(test)
    read = _test(path_of(str(place.children[0])), operator, tokens, word=str(test.data))
    return NotCondition(read) if negated is not (node.data == "tested_not") else read


def _test(path: Path, operator: str, tokens: list[CriteriaToken], *, word: str) -> Node:
    match operator:
        case "equals" | "less" | "at_most" | "more" | "at_least":
            return Compared(path, BY_NAME[operator].word, _literal(tokens[0]))
        case "among":
            return AnyCondition(tuple(Compared(path, "=", _literal(token)) for token in tokens))
        case "contains" | "part":
            return Contains(path, _literal(tokens[0]))
        # The values of a list are those of its entries, so it includes what = finds.
        case "includes":
            return Compared(path, "=", _literal(tokens[0]))
        case "matches":
            return Matches(path, _pattern(tokens[0], word))
        case "exists":
            return Exists(path)
        case "filled":
            return Filled(path)
    return Tested(path, operator, _operands(operator, tokens))


def _pattern(token: CriteriaToken, word: str) -> str:
    pattern = pattern_of_like(unquoted(token)) if word == "like" else unquoted(token)
    if pattern is None:
        raise FaultAt(token.start_pos, LIKE_WITH_STARS)
    return pattern


def _operands(operator: str, tokens: list[CriteriaToken]) -> tuple[Operand, ...]:
    """Return the operands of a test of OTHERS. Raises FaultAt."""
    if operator not in OTHERS:
        raise FaultAt(tokens[0].start_pos, SPAN)
    operands = tuple(_operand(token, operator) for token in tokens)
    try:
        check_operands(BY_NAME[operator], operands)
    except CriterionFault as error:
        raise FaultAt(tokens[error.operand].start_pos, str(error)) from None
    return operands


def _operand(token: CriteriaToken, operator: str) -> Operand:
    if token.type == "NUMBER":
        return number_of(token)
    text = unquoted(token)
    if BY_NAME[operator].takes == ("text",):
        return text
    moment = moment_of(text)
    if moment is None:
        raise FaultAt(token.start_pos, DAY)
    return moment


def _literal(token: CriteriaToken) -> Literal:
    if token.type == "NUMBER":
        return Literal(str(token), number=True)
    # A boolean is compared as text, as a value is (text_of).
    return Literal(str(token).lower() if token.type == "BOOLEAN" else unquoted(token))


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
            return any(exists(value) for value in values_at(document, path))
        case Filled(path):
            return any(is_filled(value) for value in values_at(document, path))
    passes = _value_test(node)
    return any(passes(value) for value in scalars(values_at(document, node.path)))


def _value_test(node: Compared | Contains | Matches | Tested) -> Callable[[Value], bool]:
    """Return the test that one value must pass."""
    match node:
        case Compared(_, sign, Literal(text, True)):
            number = quantity(text)
            return lambda value: (
                # Digit for digit: two numbers that one float cannot tell apart are different.
                (mine := quantity_of(value)) is not None and _ORDER[sign](mine.order(number), 0)
            )
        case Compared(_, sign, literal):
            folded = caseless(literal.text)
            return lambda value: _ORDER[sign](_text_order(caseless(text_of(value)), folded), 0)
        case Contains(_, literal):
            within = caseless(literal.text)
            return lambda value: within in caseless(text_of(value))
        case Tested(_, operator, operands):
            # No operand is a span, so the time of the test is none.
            return lambda value: passes(text_of(value), operator, operands=operands, now_ms=0)
    pattern = pattern_of(caseless(node.pattern))
    return lambda value: bool(pattern.fullmatch(caseless(text_of(value))))


def _text_order(text: str, literal: str) -> int:
    """Return -1, 0 or 1: how a text compares with a literal."""
    return (text > literal) - (text < literal)
