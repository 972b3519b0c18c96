"""How many requests a second: a bucket of tokens for each name.

A bucket takes thirty lines; the limiter libraries count windows (twice the rate passes where two
meet) or want a server.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_BUCKETS = 20_000
"""So many names are remembered. Who has more addresses than that has a bucket for each anyway."""


class RequestRate:
    """Lets through `rate` requests a second of each name, and a second's worth at once.

    Beyond `most` names, those are forgotten that were not heard of for the longest time.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, most: int = MOST_BUCKETS
    ) -> None:
        self._clock, self._most = clock, most
        self._left: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._left)

    def wait_s(self, name: object, rate: float, at_once: float | None = None) -> float:
        """Take one request of a name, and return 0; or return in how many seconds it may come.

        at_once: so many may come together, else a second's worth.
        """
        left = self._filled(name, rate, at_once)
        taken = left >= 1
        self._left[name] = (left - 1 if taken else left, self._clock())
        self._left.move_to_end(name)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return 0.0 if taken else (1 - left) / rate

    def due_s(self, name: object, rate: float, at_once: float | None = None) -> float:
        """Return in how many seconds a request of a name may come, and take none."""
        left = self._filled(name, rate, at_once)
        return 0.0 if left >= 1 else (1 - left) / rate

    def _filled(self, name: object, rate: float, at_once: float | None) -> float:
        now, most = self._clock(), max(rate, 1.0) if at_once is None else at_once
        left, at = self._left.get(name, (most, now))
        return min(most, left + (now - at) * rate)
