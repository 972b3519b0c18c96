"""Consent: which of several statements is in force.

Sources: domain.md 5.3 (merged by regulation and purpose, the newest by its own time, of equals the
later arrival).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from profilectl.rules.text.values import Value

Purpose = tuple[str, str]
"""A regulation (gdpr, ccpa) and one of its purposes."""
Said = Mapping[str, Value]
"""What was said of a purpose: consented, timestamp_unixtime_ms, document, location, hardware_id."""
SALE: Purpose = ("ccpa", "data_sale_opt_out")
"""The only purpose that the CCPA has; its `consented: true` means opted out."""
STATED_MS = "-?[0-9]{1,18}"
"""What a statement's time looks like, a number or a text; anything else is none."""
_stated = re.compile(STATED_MS)


def statements_of(state: Value) -> dict[Purpose, Said]:
    """Return what a batch's consent_state says of each purpose; what is no statement is left out."""
    found: dict[Purpose, Said] = {}
    for regulation, purposes in state.items() if isinstance(state, dict) else ():
        for purpose, said in purposes.items() if isinstance(purposes, dict) else ():
            if isinstance(said, dict):
                found[regulation, purpose] = said
    return found


def replaces(said: Said, before: Said | None) -> bool:
    """Say whether a statement that arrives now is in force after it, where another was."""
    return before is None or stated_ms(said) >= stated_ms(before)


def stated_ms(said: Said) -> int:
    """Return a statement's own time; -1 where it states none."""
    stated = said.get("timestamp_unixtime_ms")
    return int(stated) if isinstance(stated, str) and _stated.fullmatch(stated) else -1


def state_of(statements: Mapping[Purpose, Said]) -> dict[str, Value]:
    """Return statements as a batch's consent_state."""
    found: dict[str, dict[str, Value]] = {}
    for (regulation, purpose), said in sorted(statements.items()):
        found.setdefault(regulation, {})[purpose] = dict(said)
    return {regulation: dict(purposes) for regulation, purposes in found.items()}
