"""Conditions on events in a fraction of the time, for events in bulk.

Each test is that of rules/sql/events.py, with shortcuts before it where a value is of the frequent
kind: a text without an escape, or a number that is clear as a double. `may_hold` is a test of the
whole text of an event, before it is taken apart.
"""

from __future__ import annotations

import re

from profilectl.rules.event.condition import AllOf, AnyCondition, Compared, EventCondition, Node
from profilectl.rules.event.field import caseless
from profilectl.rules.sql.events import EventSql, unchanged
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import by_double
from profilectl.rules.text.numbers import NUMBER, quantity
from profilectl.store.statements import case, in_any, matches, or_else

_PLAIN = re.compile(r"(?=.*[a-df-z])[a-z0-9 -]{3,}")
"""A text that JSON writes as it is, that is nothing special to LIKE, and that is no number."""
_NUMBER_IN_TEXT = f'"({NUMBER})"'
"""A text in JSON that is a number."""
_NO_NUMBER = "'n', 't', 'f', '{'"
"""The first characters in JSON of values that are no number, and have none in them."""
_FEW = 3
"""The most texts that are looked for in each event."""
_ESCAPE = "\\"
"""The character that begins an escape in JSON."""


class QuickEventSql(EventSql):
    """Writes conditions on an event, the frequent kinds of values first."""

    def _node(self, node: Node) -> str:
        if not isinstance(node, Compared) or node.path.walks:
            return super()._node(node)
        if node.literal.number:
            return self._number(node)
        folded = caseless(node.literal.text)
        if node.operator == "=" and _PLAIN.fullmatch(folded):
            return self._text(node, folded)
        return super()._node(node)

    def _text(self, node: Compared, folded: str) -> str:
        """Return the SQL of whether a value is a text.

        A string without an escape is compared in its quotes, which saves a copy of each.
        """
        part, quoted = self.part(node.path), quote_text(f'"{folded}"')
        unsure = f"contains({part}, {quote_text(_ESCAPE)}) or not starts_with({part}, '\"')"
        return (
            f"case when lower({part}) = {quoted} then true"
            f" when {unsure} then {super()._node(node)} else false end"
        )

    def _number(self, node: Compared) -> str:
        """Return the SQL of how a value compares with a number.

        A number that is clear as a double need not be spelled out: digits are compared only where
        the doubles are the same. A text counts if it is a number. The shortcut is null where it
        does not know: the longer a statement is, the longer DuckDB plans it.
        """
        part, number = self.part(node.path), quantity(node.literal.text)

        def doubles(text: str) -> str:
            return by_double(text, sign=node.operator, number=number, exact="null")

        text, literal = f"({part})[2:-2]", quote_text(node.literal.text)
        # DuckDB may write a number that is equal as a double in another way: then it is not known
        surely = (
            f"{unchanged(part)}"
            f" or try_cast({part} as double) is distinct from try_cast({literal} as double)"
        )
        # in the order of characters, these are the minus sign and the digits
        quick = (
            f"case when {part} >= '-' and {part} < ':' then {case(surely, doubles(part))}"
            f" when {matches(part, _NUMBER_IN_TEXT)} then {doubles(text)}"
            f" when starts_with({part}, '\"') and not contains({part}, {quote_text(_ESCAPE)})"
            f" then false when {part} is null or left({part}, 1) in ({_NO_NUMBER}) then false end"
        )
        # A list of one has the value of a field that is no list: the test stands here once, and not
        # once for each, which spares planning.
        return or_else(quick, self._many(node.path, self._test_of_number(node)))


def may_hold(condition: EventCondition, event: str) -> str:
    """Return the SQL of whether a condition can hold for an event, by its text alone; "": it can.

    The event's text must have the text that the condition asks for. An escape may hide it. That
    costs a fifth of taking the event apart.
    """
    words = _words(condition.node)
    if not 1 <= len(words) <= _FEW:
        return ""
    tests = [f"{event} ilike {quote_text(f'%{word}%')}" for word in sorted(words)]
    return f"({in_any([*tests, f'contains({event}, {quote_text(_ESCAPE)})'])})"


def _words(node: Node) -> set[str]:
    """Return texts of which an event must have one for a condition to hold; none: not sure."""
    match node:
        case AllOf(parts):
            # the longest is the rarest, as far as anybody can tell
            of_parts = [words for part in parts if (words := _words(part))]
            return max(of_parts, key=lambda words: min(map(len, words)), default=set())
        case AnyCondition(parts):
            of_parts = [_words(part) for part in parts]
            return set().union(*of_parts) if all(of_parts) else set()
        case Compared(operator="=") if not node.literal.number:
            folded = caseless(node.literal.text)
            return {folded} if _PLAIN.fullmatch(folded) else set()
    return set()
