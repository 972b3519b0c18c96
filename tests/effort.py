"""How much a slow test tries: as much as CI has time for, or by night all of it (PROFILECTL_NIGHT=1)."""

from __future__ import annotations

import os


def at_length(by_ci: int, *, by_night: int) -> int:
    """Return how many examples a slow test tries."""
    return by_night if os.environ.get("PROFILECTL_NIGHT") else by_ci
