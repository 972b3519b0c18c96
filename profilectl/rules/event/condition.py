"""Conditions on one event, such as `currency = 'EUR' and price > 10`: read, and tested.

Names are those of field.path_of. Texts compare without case. A comparison with a number compares
every value that is a number, also in text, digit for digit. A test of a field with several values
holds if one of them passes. A negated test (!=, not in, not contains, not matches) holds if the
test itself does not, so also if the field is absent. For what exists and what is empty see
text/presence.py. The same in SQL: sql/events.py. Sources: domain.md 11.1, 11.2.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from profilectl.codes import UsageError
from profilectl.rules.event.condition_grammar import ParsedNode, parsed
from profilectl.rules.event.field import Path, caseless, path_of, scalars, text_of, values_at
from profilectl.rules.text.numbers import quantity, quantity_of
from profilectl.rules.text.presence import exists, is_filled
from profilectl.rules.text.scanner import Unparsed
from profilectl.rules.text.values import Value

EXAMPLE = "for example currency = 'EUR' and price > 10"

_ORDER: dict[str, Callable[[int, int], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
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


Node = AnyCondition | AllOf | NotCondition | Exists | Filled | Compared | Contains | Matches


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
        return EventCondition(text, _read(parsed(text)))
    except Unparsed as error:
        at = error.at
        raise UsageError(
            f"the condition is not understood at character {at + 1}: {text[:at]}>>>{text[at:]}",
            EXAMPLE,
        ) from None
    except RecursionError:
        raise UsageError("the condition is nested too deep", "take brackets away") from None


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


def _read(tree: ParsedNode) -> Node:
    rule = str(tree.data)
    if rule in ("any", "all"):
        parts = tuple(_read(part) for part in tree.children)
        return AnyCondition(parts) if rule == "any" else AllOf(parts)
    if rule == "negation":
        return NotCondition(_read(tree.children[0]))
    if rule.startswith("not_"):
        return NotCondition(_test(rule.removeprefix("not_"), tree.children))
    return _test(rule, tree.children)


def _test(rule: str, children: Sequence[ParsedNode]) -> Node:
    name, *operands = children
    path = path_of(str(name))
    match rule:
        case "compared":
            sign, literal = str(operands[0]), _literal(operands[1])
            if sign in ("!=", "<>"):
                return NotCondition(Compared(path, "=", literal))
            return Compared(path, sign, literal)
        case "among":
            return AnyCondition(
                tuple(Compared(path, "=", _literal(operand)) for operand in operands)
            )
        case "contains":
            return Contains(path, _literal(operands[0]))
        case "matches":
            return Matches(path, _unquoted(operands[0]))
        case "empty":
            return NotCondition(Filled(path))
        case "filled":
            return Filled(path)
    return Exists(path)


def _literal(tree: ParsedNode) -> Literal:
    token = tree.children[0]
    if tree.data == "text":
        return Literal(_unquoted(token))
    if tree.data == "number":
        return Literal(str(token), number=True)
    # A boolean is compared as text, as a value is (text_of).
    return Literal(str(token).lower())


def _unquoted(token: ParsedNode) -> str:
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
            return any(exists(value) for value in values_at(document, path))
        case Filled(path):
            return any(is_filled(value) for value in values_at(document, path))
    passes = _value_test(node)
    return any(passes(value) for value in scalars(values_at(document, node.path)))


def _value_test(node: Compared | Contains | Matches) -> Callable[[Value], bool]:
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
    pattern = pattern_of(caseless(node.pattern))
    return lambda value: bool(pattern.fullmatch(caseless(text_of(value))))


def _text_order(text: str, literal: str) -> int:
    """Return -1, 0 or 1: how a text compares with a literal."""
    return (text > literal) - (text < literal)


def pattern_of(pattern: str) -> re.Pattern[str]:
    """Return the expression that a whole folded text must match.

    In a pattern * is any run of characters, ? one.
    """
    # (?>...) takes the shortest run that reaches the next piece for good. Otherwise a pattern with
    # many stars would try every division of the text.
    beginning, *pieces = (re.escape(piece).replace(r"\?", ".") for piece in pattern.split("*"))
    if not pieces:
        return re.compile(beginning, re.DOTALL)
    *middle, end = pieces
    runs = "".join(f"(?>.*?{piece})" for piece in middle)
    return re.compile(beginning + runs + ".*" + end, re.DOTALL)
