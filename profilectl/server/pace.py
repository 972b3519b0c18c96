"""A limit of requests a second: a bucket of tokens for each name.

A bucket takes thirty lines. The limiter libraries count in windows, which lets twice the rate pass
where two windows meet, or need a server of their own.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_BUCKETS = 20_000
"""The most names remembered. An attacker with more addresses than this has a bucket each anyway."""


class RequestRate:
    """Lets through `rate` requests a second of each name, and a second's worth at once.

    Beyond `most` names, the name that was silent for the longest time is forgotten.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, most: int = MOST_BUCKETS
    ) -> None:
        self._clock, self._most = clock, most
        self._buckets: OrderedDict[object, tuple[float, float]] = OrderedDict()
        """The tokens in each bucket, and the time at which that was so."""

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, name: object, rate: float, at_once: float | None = None) -> float:
        """Let one request of a name through and return 0, or return the seconds it has to wait.

        at_once: the most requests that may come together; None: a second's worth.
        """
        tokens = self._filled(name, rate, at_once)
        passes = tokens >= 1
        self._buckets[name] = (tokens - 1 if passes else tokens, self._clock())
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return 0.0 if passes else (1 - tokens) / rate

    def due_s(self, name: object, rate: float, at_once: float | None = None) -> float:
        """Return the seconds that a request of a name would have to wait; take no token."""
        tokens = self._filled(name, rate, at_once)
        return 0.0 if tokens >= 1 else (1 - tokens) / rate

    def _filled(self, name: object, rate: float, at_once: float | None) -> float:
        """Return the tokens in a bucket now."""
        clock_s, most = self._clock(), max(rate, 1.0) if at_once is None else at_once
        tokens, at_s = self._buckets.get(name, (most, clock_s))
        return min(most, tokens + (clock_s - at_s) * rate)
