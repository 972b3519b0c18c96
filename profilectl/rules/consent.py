"""Consent: the statements on it, and the one in force.

Source: domain.md 5.3. Statements are merged by regulation and purpose; the newest by its own time
is in force, of equals the later arrival. The same in SQL: sql/consent.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from profilectl.rules.text.values import Value

Purpose = tuple[str, str]
"""A regulation (gdpr, ccpa) and one of its purposes."""
Statement = Mapping[str, Value]
"""A statement: consented, timestamp_unixtime_ms, document, location, hardware_id."""
SALE: Purpose = ("ccpa", "data_sale_opt_out")
"""The only purpose that the CCPA has; its `consented: true` means opted out."""
STATED_MS = "-?[0-9]{1,18}"
"""The pattern of a statement's time, as a number or as text; nothing else is a time."""
_stated_ms = re.compile(STATED_MS)


def statements_of(state: Value) -> dict[Purpose, Statement]:
    """Return the statements in a batch's consent_state, without members that are none."""
    statements: dict[Purpose, Statement] = {}
    for regulation, purposes in state.items() if isinstance(state, dict) else ():
        for purpose, statement in purposes.items() if isinstance(purposes, dict) else ():
            if isinstance(statement, dict):
                statements[regulation, purpose] = statement
    return statements


def replaces(statement: Statement, before: Statement | None) -> bool:
    """Return whether a statement that arrives is in force after it (domain.md 5.3).

    before: the statement in force until then, if there is one.
    """
    # Equal times: the later arrival counts.
    return before is None or stated_ms(statement) >= stated_ms(before)


def stated_ms(statement: Statement) -> int:
    """Return the time that a statement states, or -1 if it states none."""
    time = statement.get("timestamp_unixtime_ms")
    return int(time) if isinstance(time, str) and _stated_ms.fullmatch(time) else -1


def state_of(statements: Mapping[Purpose, Statement]) -> dict[str, Value]:
    """Return statements as a batch's consent_state: the opposite of statements_of."""
    state: dict[str, dict[str, Value]] = {}
    for (regulation, purpose), statement in sorted(statements.items()):
        state.setdefault(regulation, {})[purpose] = dict(statement)
    return {regulation: dict(purposes) for regulation, purposes in state.items()}
