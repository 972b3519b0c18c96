"""The limits of requests and of failed logins: a bucket of tokens for each name.

A bucket takes thirty lines. The limiter libraries count in windows, which lets twice the rate pass
where two windows meet, or need a server of their own.

Nobody can guess a secret by trying. Failures count by peer and by name. The names are those of the
credentials file; all unknown names count as one, because no secret belongs to them. A peer that
guesses is slowed down for that name only: the rightful owner at another address is not, and neither
are other names at the same address. Beyond the limit a secret is not even compared, so that going
on guessing never finds it.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from profilectl.server.gate import Problem
from profilectl.server.peers import Peers

MOST_BUCKETS = 20_000
"""The most names remembered. An attacker with more addresses than this has a bucket each anyway."""
FAILURES_A_SECOND = 1.0
FAILURES_AT_ONCE = 20
"""The failures allowed at once: a program with a wrong secret repeats it until somebody notices."""
T = TypeVar("T")


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


class Attempts:
    """The failed attempts of each peer to prove who it is."""

    def __init__(self, peers: Peers, pace: RequestRate | None = None) -> None:
        self._peers, self._pace = peers, pace or RequestRate()

    def prove(self, request: Request, name: str | None, proof: Callable[[], T | None]) -> T | None:
        """Return what a secret proves; None if it is wrong.

        name: the known name that the request claims; None for an unknown one. Raises Problem
        without looking at the secret after too many failures.
        """
        counted_as = self._peers.asking(request.scope), name
        self._stop(self._pace.due_s(counted_as, FAILURES_A_SECOND, FAILURES_AT_ONCE))
        proven = proof()
        if proven is None:
            self._pace.wait_s(counted_as, FAILURES_A_SECOND, FAILURES_AT_ONCE)
        return proven

    def failed(self, request: Request) -> None:
        """Count an invalid token. Raises Problem after too many failures.

        A token is signed and cannot be guessed. So the token is checked before this is called, and
        a valid one always passes, also from an address where others guess.
        """
        counted_as = self._peers.asking(request.scope), "token"
        self._stop(self._pace.wait_s(counted_as, FAILURES_A_SECOND, FAILURES_AT_ONCE))

    def _stop(self, wait_s: float) -> None:
        if wait_s:
            message = "too many wrong credentials from this address; try again later"
            headers = {"Retry-After": str(math.ceil(wait_s))}
            raise Problem(429, "TOO_MANY_FAILURES", message, headers=headers)
