"""The tests of one value: what every operator of the language of conditions says (operators.py).

The same in SQL: rules/sql/values.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from profilectl.rules.criteria.tree import Operand
from profilectl.rules.event.field import caseless
from profilectl.rules.text.moments import Days, Moment, time_of
from profilectl.rules.text.numbers import quantity, quantity_of
from profilectl.rules.text.presence import is_filled
from profilectl.rules.text.values import Value, to_json

Tested = str | int | Sequence[Value]
"""A value as the operators see it: a text, a time in milliseconds, or a list. Where None may stand
too, it is a tag: an attribute that exists without a text.
"""


def text_of(value: Value) -> str | None:
    """Return the text of a value of a document: a number as it was written, true or false.

    Returns None for null, lists and objects.
    """
    if isinstance(value, str):
        return str(value)
    return to_json(value) if isinstance(value, bool) else None


def moment_in(value: Tested | None) -> int | None:
    """Return the time that a value is, in milliseconds since 1970, or None."""
    return value if isinstance(value, int) else time_of(value) if isinstance(value, str) else None


def passes(value: Tested | None, operator: str, operands: Sequence[Operand], now_ms: int) -> bool:
    """Return whether one value passes a test (domain.md 11.2).

    An operator that does not suit the value finds nothing: a list has no text and no number, a text
    has no entries. A list contains what an entry of it contains.

    value: None is a tag, which exists without a text (2.2).
    """
    if operator == "exists":
        return True
    if operator == "filled":
        return is_filled(value)
    if operator in ("includes", "part") or (operator == "contains" and isinstance(value, list)):
        entries = [text_of(entry) for entry in value] if isinstance(value, list) else []
        inner = "equals" if operator == "includes" else "contains"
        # A null in a list is an entry without a text.
        return any(entry is not None and _text_passes(entry, inner, operands) for entry in entries)
    if operands and isinstance(operands[0], Moment | Days):
        at_ms = moment_in(value)
        return at_ms is not None and time_passes(at_ms, operator, operands, now_ms=now_ms)
    return isinstance(value, str) and _text_passes(value, operator, operands)


def _text_passes(text: str, operator: str, operands: Sequence[Operand]) -> bool:
    if operator == "among":
        return any(_text_passes(text, "equals", [operand]) for operand in operands)
    if isinstance(operands[0], Decimal):
        number = quantity_of(text)
        limits = [quantity(str(operand)) for operand in operands if isinstance(operand, Decimal)]
        return number is not None and _order_passes(
            [number.order(limit) for limit in limits], operator
        )
    folded, sought = caseless(text), caseless(str(operands[0]))
    match operator:
        case "equals":
            return folded == sought
        case "contains":
            return sought in folded
        case "starts":
            return folded.startswith(sought)
        case "ends":
            return folded.endswith(sought)
        case "less" | "at_most" | "more" | "at_least":
            return _order_passes([(folded > sought) - (folded < sought)], operator)
    return pattern_of(sought).fullmatch(folded) is not None


def count_passes(count: int, operator: str, limits: Sequence[int]) -> bool:
    """Return whether a number of events passes a test."""
    return _order_passes([(count > limit) - (count < limit) for limit in limits], operator)


def _order_passes(orders: Sequence[int], operator: str) -> bool:
    """Return whether a number passes a test.

    orders: -1, 0 or 1, as it compares with each operand.
    """
    match operator:
        case "equals":
            return orders[0] == 0
        case "less":
            return orders[0] < 0
        case "at_most":
            return orders[0] <= 0
        case "more":
            return orders[0] > 0
        case "at_least":
            return orders[0] >= 0
    return orders[0] >= 0 >= orders[1]


def time_passes(at_ms: int, operator: str, operands: Sequence[Operand], now_ms: int) -> bool:
    """Return whether a time passes a test of criteria.tree.TIMES (domain.md 11.2)."""
    start, end = operands[0], operands[-1]
    if isinstance(start, Days):
        since_ms = now_ms - start.ms
        return since_ms < at_ms <= now_ms if operator == "within" else at_ms <= since_ms
    assert isinstance(start, Moment)
    assert isinstance(end, Moment)
    # Before is exclusive; after, on and between include their bounds (domain.md 11.2).
    match operator:
        case "before":
            return at_ms < start.first_ms
        case "after":
            return at_ms >= start.first_ms
    return start.first_ms <= at_ms <= end.last_ms  # on, between


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
