"""The retention of profiles: two clocks, both counted from the last update (domain.md 13).

    beyond its lifetime    Its attributes, consent and devices go. The stub stays: MPID, identities,
                           first and last seen, events. A batch that matches it finds the same MPID.
    beyond retention       The stub goes as well. A person who comes back is new.

An update is any batch that was applied; an alias is an update at the time when it takes effect. An
event is deleted by itself once it was received longer ago than the retention.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from profilectl.codes import UsageError

DAY_MS = 24 * 60 * 60 * 1000
SETTINGS = ("retention.lifetime_days", "retention.retention_days", "retention.lifetime_profiles")


class Stage(enum.Enum):
    """The stage of a profile between its clocks."""

    LIVE = "live"
    STUB = "stub"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks in force."""

    lifetime_ms: int | None = None
    """The lifetime in milliseconds; None: without end."""
    retention_ms: int | None = None
    """The retention in milliseconds; None: without end."""
    lifetime_profiles: bool = False
    """Whether a profile beyond its lifetime keeps its attributes and consent for when it comes
    back; then only its devices go.
    """

    def stage(self, last_update_ms: int, now_ms: int) -> Stage:
        """Return the stage of a profile; on the boundary itself nothing expires yet."""
        # Retention comes first: it is at least the lifetime (check_clocks).
        if self.retention_ms is not None and now_ms - last_update_ms > self.retention_ms:
            return Stage.GONE
        if self.lifetime_ms is not None and now_ms - last_update_ms > self.lifetime_ms:
            return Stage.STUB
        return Stage.LIVE


def clocks_of(settings: Mapping[str, object]) -> Clocks:
    """Return the clocks that settings state."""
    lifetime, retention = _days(settings)
    return Clocks(
        lifetime_ms=lifetime * DAY_MS if lifetime is not None else None,
        retention_ms=retention * DAY_MS if retention is not None else None,
        lifetime_profiles=bool(settings.get(SETTINGS[2], False)),
    )


def check_clocks(settings: Mapping[str, object]) -> None:
    """Refuse clocks that contradict each other. Raises UsageError."""
    lifetime, retention = _days(settings)
    if lifetime is not None and retention is not None and lifetime > retention:
        raise UsageError(
            f"a profile cannot live {lifetime} days and be kept for {retention}",
            "retention is at least the lifetime",
        )


def _days(settings: Mapping[str, object]) -> tuple[int | None, int | None]:
    """Return the lifetime and the retention in days; None: without end."""
    lifetime, retention = (settings.get(name) for name in SETTINGS[:2])
    assert lifetime is None or isinstance(lifetime, int)
    assert retention is None or isinstance(retention, int)
    return lifetime, retention
