"""The MPIDs that a store makes: a keyed mix of the arrival of the row that founds the profile.

Sources: domain.md 2.3 (64 bits with a sign, never 0), engine.md (a mix that can be inverted, so
that a store need not hold the MPIDs that it made). sql/mpids.py does the same in SQL.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

ROUNDS = 4
"""How often the two halves of a number are mixed."""
HALF = 32
"""The bits of a half."""
MASK = (1 << HALF) - 1
"""The bits of a half that are all set."""
SHIFT = 16
"""How far a product is shifted, so that its middle bits count: they depend on all of the half."""
ARRIVALS = 1 << 48
"""No store has as many arrivals."""


@dataclass(frozen=True, slots=True)
class MpidMix:
    """The numbers by which a store mixes: made of its secret, so that nobody guesses an MPID."""

    factors: tuple[int, ...]
    """An odd number of 32 bits for each round."""
    offsets: tuple[int, ...]
    """A number of 32 bits for each round."""

    def mpid(self, arrival: int) -> int:
        """Return the MPID of the profile that the row with an arrival founded."""
        upper, lower = arrival >> HALF & MASK, arrival & MASK
        for factor, offset in zip(self.factors, self.offsets, strict=True):
            upper, lower = lower, upper ^ mixed(lower, factor, offset)
        return (upper - (1 << HALF - 1) << HALF) + lower

    def arrival(self, mpid: int) -> int:
        """Return the arrival that has an MPID: 64 bits without a sign, of which few are in use."""
        upper, lower = (mpid >> HALF) + (1 << HALF - 1), mpid & MASK
        for factor, offset in zip(reversed(self.factors), reversed(self.offsets), strict=True):
            upper, lower = lower ^ mixed(upper, factor, offset), upper
        return upper << HALF | lower


def mixed(half: int, factor: int, offset: int) -> int:
    """Return what one round makes of a half: 32 bits."""
    return ((half ^ offset) * factor >> SHIFT) & MASK


@functools.lru_cache(maxsize=64)
def mix_of(secret: str) -> MpidMix:
    """Return the mix of a store with a secret. No arrival that is in use has the MPID 0."""
    attempt = 0
    while True:
        digest = hashlib.sha256(f"profilectl: MPIDs {attempt}: {secret}".encode()).digest()
        parts = [int.from_bytes(digest[place : place + 4], "little") for place in range(0, 32, 4)]
        mix = MpidMix(tuple(part | 1 for part in parts[:ROUNDS]), tuple(parts[ROUNDS:]))
        if mix.arrival(0) >= ARRIVALS:
            return mix
        attempt += 1


def mpid_for(secret: str, arrival: int, attempt: int = 0) -> int:
    """Return the MPID of the profile that a row founded (domain.md 2.3).

    It has 64 bits with a sign, is never 0, and cannot be guessed without the store's secret.
    attempt: 0, and one more each time that the MPID is taken; then it is no mix of the arrival, and
    the store holds it.

    A pure function, so that an import that runs again makes the same MPIDs.
    """
    return digested(secret, arrival, attempt) if attempt else mix_of(secret).mpid(arrival)


def digested(secret: str, arrival: int, attempt: int) -> int:
    """Return the MPID that stores of schema 7 and before made, which later ones make for a clash.

    importing/mpids.py makes the same.
    """
    text = f"{secret}:{arrival}:{attempt}"
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "little", signed=True) or 1
