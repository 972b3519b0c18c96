"""A limit on failed logins, so that nobody can guess a secret by trying.

Failures count by peer and by name. The names are those of the credentials file; all unknown names
count as one, because no secret belongs to them. A peer that guesses is slowed down for that name
only: the rightful owner at another address is not, and neither are other names at the same address.
Beyond the limit a secret is not even compared, so that going on guessing never finds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from profilectl.server.gate import Problem
from profilectl.server.pace import RequestRate
from profilectl.server.peers import Peers

FAILURES_A_SECOND = 1.0
FAILURES_AT_ONCE = 20
"""The failures allowed at once: a program with a wrong secret repeats it until somebody notices."""
T = TypeVar("T")


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
