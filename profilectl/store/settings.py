"""The settings of a store: those that somebody set, and defaults for all others.

The first of five modules that tell how a store is reached: settings, scratch, attaching, segments,
opening.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from profilectl.rules.batch import Reading
from profilectl.rules.batch_limits import LIMITS
from profilectl.rules.identity import HIERARCHY, PLACEHOLDERS, Rules, flags_of, judging_of

KEEP_IMPORTS = 8
"""The number of the last imports that keep segments of their own, so that they can be undone.

The setting is history.keep.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force."""

    rules: Rules
    """The rules of identities."""
    priority: str
    """The reading of source priority: rank or first-writer (design.md R1)."""
    reading: Reading
    """The settings that batches are read by: limits, placeholders, purposes of consent."""
    keep_imports: int
    """The number of the last imports that keep segments of their own."""
    stated: dict[str, Any]
    """The settings that somebody set, by name, without the defaults."""


def settings_from(stated: dict[str, Any]) -> Settings:
    """Return settings with the defaults filled in."""
    identity = {
        name.partition(".")[2]: value
        for name, value in stated.items()
        if name.startswith("identity.")
    }
    strategy = identity.get("strategy", "default")
    flags = flags_of(strategy, identity)
    # `placeholders` replaces the built-in list; `placeholders_add` adds to the list in force.
    rules = Rules(
        strategy=strategy,
        hierarchy=tuple(identity.get("hierarchy", HIERARCHY)),
        unique_conflict=identity.get("unique_conflict", "move"),
        judging=judging_of(
            [*identity.get("placeholders", PLACEHOLDERS), *identity.get("placeholders_add", ())]
        ),
        login=flags["login"],
        unique=flags["unique"],
        immutable=flags["immutable"],
    )
    limits = {name: stated.get(f"limits.{name}", most) for name, most in LIMITS.items()}
    keep = stated.get("history.keep", KEEP_IMPORTS)
    purposes = stated.get("consent.gdpr_purposes")
    return Settings(
        rules=rules,
        priority=stated.get("attributes.priority", "rank"),
        reading=Reading(
            rules.judging, limits, purposes=None if purposes is None else frozenset(purposes)
        ),
        keep_imports=keep,
        stated=stated,
    )
