"""Rules of the engine, each broken in one place: what a test with teeth has to see."""

from __future__ import annotations

from typing import Any

import pytest

import profilectl.importing.merge
import profilectl.importing.resolve
import profilectl.importing.run
import profilectl.importing.sift
from profilectl.rules.priority import SET

NOTHING = "select hash from claim where $key is null"

# The rule that is broken, where, and what with.
BROKEN: dict[str, tuple[Any, str, Any]] = {
    "every source overwrites every other": (
        profilectl.importing.merge,
        "verdict",
        lambda incoming, owner, priority: SET,
    ),
    "an anonymous profile of this import never matches": (
        profilectl.importing.resolve,
        "LIVE",
        NOTHING,
    ),
    "an anonymous profile of the store never matches": (
        profilectl.importing.resolve,
        "ANONYMOUS_MATCH",
        "select hash, type, profile from open_match where $key is null",
    ),
    "deletions are forgotten": (
        profilectl.importing.merge,
        "_cell",
        lambda n, key, deletes: f"usable.a{n}",
    ),
    "the last row of a customer founds the profile": (
        profilectl.importing.resolve,
        "KEYED",
        profilectl.importing.resolve.KEYED.replace(
            "coalesce(shared_value.seq, claim.seq)",
            "max(claim.seq) over (partition by claim.hash)",
        ),
    ),
    "two values of a unique identity are no contradiction": (
        profilectl.importing.resolve,
        "HARMLESS",
        profilectl.importing.resolve.HARMLESS.replace("and not component.contradiction", ""),
    ),
    "a request is never remembered": (profilectl.importing.sift, "REQUEST_MEMORY_MS", -1),
}


def break_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break a rule for the time of a test."""
    module, name, broken = BROKEN[rule]
    assert broken != getattr(module, name), "nothing is broken: the code has changed"
    monkeypatch.setattr(module, name, broken)
