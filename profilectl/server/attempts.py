"""Secrets cannot be tried out: what fails is counted, by the peer that tries and the name it gives.

A name is one of the credentials file; all others count together, since no secret goes with them.
So whoever tries secrets of a known name is slowed down for that name and that peer, and nobody
else is: not the right one at its own address, and not others at the same address. What comes
beyond the limit is not even looked at, so that the right secret is not found by going on.
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
"""A program that was given a wrong secret says so some times before somebody mends it."""
T = TypeVar("T")


class Attempts:
    """Counts failures. peers: tells whom a request comes from."""

    def __init__(self, peers: Peers, pace: RequestRate | None = None) -> None:
        self._peers, self._pace = peers, pace or RequestRate()

    def prove(self, request: Request, name: str | None, proof: Callable[[], T | None]) -> T | None:
        """Return what a secret proves, None where it proves nothing.

        name: a known one that it is said to be of, None of others. Raises Problem, without looking
        at the secret, where too many failed before it.
        """
        of = self._peers.asking(request.scope), name
        self._stop(self._pace.due_s(of, FAILURES_A_SECOND, FAILURES_AT_ONCE))
        proven = proof()
        if proven is None:
            self._pace.wait_s(of, FAILURES_A_SECOND, FAILURES_AT_ONCE)
        return proven

    def failed(self, request: Request) -> None:
        """Count a token that is none. Raises Problem where too many failed before it.

        A token is signed and cannot be guessed. So it is looked at first, and good ones are let
        through, whatever others at the same address try.
        """
        of = self._peers.asking(request.scope), "token"
        self._stop(self._pace.wait_s(of, FAILURES_A_SECOND, FAILURES_AT_ONCE))

    def _stop(self, wait_s: float) -> None:
        if wait_s:
            message = "too many wrong credentials from this address; try again later"
            raise Problem(
                429, "TOO_MANY_FAILURES", message, {"Retry-After": str(math.ceil(wait_s))}
            )
