"""How many requests a second: a bucket of tokens for each client and feed.

A bucket takes thirty lines; the limiter libraries count windows (twice the rate passes where two meet) or want a server.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Lets through `rate` requests a second of each name, and a second's worth at once. The names are those of
    credentials: they do not grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, name: str, rate: float) -> float:
        """Take one request of a name, and return 0; or return in how many seconds the next may come."""
        now, most = self._clock(), max(rate, 1.0)
        left, at = self._left.get(name, (most, now))
        left = min(most, left + (now - at) * rate)
        taken = left >= 1
        self._left[name] = (left - 1 if taken else left, now)
        return 0.0 if taken else (1 - left) / rate
