"""How long a profile is kept: two clocks, both counted from its last update (domain.md 13).

    beyond lifetime    its attributes, consent and devices go; the stub (MPID, identities, first and last seen,
                       events) stays, so that a batch that matches it finds the same MPID
    beyond retention   the stub goes as well; whoever comes back is somebody new

An update is any batch that was applied; an alias is one at the time when it takes effect. An event
leaves by itself when it was received longer ago than retention.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from profilectl.codes import UsageError

DAY_MS = 24 * 60 * 60 * 1000
SETTINGS = ("retention.lifetime_days", "retention.retention_days", "retention.lifetime_profiles")


class Stage(enum.Enum):
    """Where a profile stands between its clocks."""

    LIVE = "live"
    STUB = "stub"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks in force, in milliseconds; None: there is none. lifetime_profiles: a profile
    beyond its lifetime keeps its attributes and consent for when it comes back; only its devices
    go.
    """

    lifetime_ms: int | None = None
    retention_ms: int | None = None
    lifetime_profiles: bool = False

    def stage(self, last_update_ms: int, now_ms: int) -> Stage:
        """Return where a profile stands. On the boundary itself nothing expires yet."""
        if self.retention_ms is not None and now_ms - last_update_ms > self.retention_ms:
            return Stage.GONE
        if self.lifetime_ms is not None and now_ms - last_update_ms > self.lifetime_ms:
            return Stage.STUB
        return Stage.LIVE


def clocks_of(stated: Mapping[str, Any]) -> Clocks:
    """Return the clocks that settings state."""
    lifetime, retention = (stated.get(name) for name in SETTINGS[:2])
    return Clocks(
        lifetime * DAY_MS if lifetime is not None else None,
        retention * DAY_MS if retention is not None else None,
        bool(stated.get(SETTINGS[2], False)),
    )


def check_clocks(stated: Mapping[str, Any]) -> None:
    """Refuse clocks that contradict each other. Raises UsageError."""
    lifetime, retention = stated.get(SETTINGS[0]), stated.get(SETTINGS[1])
    if lifetime is not None and retention is not None and lifetime > retention:
        raise UsageError(
            f"a profile cannot live {lifetime} days and be kept for {retention}",
            "retention is at least the lifetime",
        )
