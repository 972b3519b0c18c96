"""A parcel, what becomes of it, and how an output that is open takes parcels.

Every kind of output and the run over all of them import this; it imports none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from profilectl.rules.leaving.output import DeliveryFate
from profilectl.rules.text.retry_after import MAX_WAIT_S
from profilectl.rules.text.values import Value

REST_S = 60.0
"""How long an output that takes nothing is left alone where forwarding goes on (--follow), if it
does not ask for longer.
"""
SURE = ("jsonl",)
"""Types of outputs that take every batch or none: of two batches of a person the second need not
wait for what becomes of the first.
"""
BLOCKS = {"jsonl": 2000, "webhook": 200, "events-api": 1000, "csv": 2000}
"""How many batches are put together at once, by the type of output."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A batch, or a message about a member of an audience, on its way."""

    arrival: int
    """The arrival of the batch, or the number of the message."""
    lane: int
    """The person it is about: of two parcels in one lane the later must not overtake."""
    request: str
    """The id it is sent under."""
    received_ms: int
    """When it was received."""
    document: dict[str, Value]
    """The batch or the message itself."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a parcel."""

    arrival: int
    """The parcel."""
    fate: DeliveryFate
    """Delivered, known, or dead."""
    why: str = ""
    """Why it is dead."""


@dataclass(slots=True)
class Delivered:
    """What became of some parcels; those without a result go on waiting."""

    results: list[Result] = field(default_factory=list)
    """What became of each."""
    stopped: str = ""
    """Why no more were sent; "": all were."""
    hint: str = ""
    """What a person can do about it."""
    rest_s: float = REST_S
    """How long the output is to be left alone where it was stopped."""
    come_back_ms: int | None = None
    """When it asks to be tried again."""


@dataclass(frozen=True, slots=True)
class DeliveryManner:
    """How to deliver."""

    attempts: int = 5
    """How often a batch is tried."""
    timeout_s: float = 30.0
    """How long an exchange may last, from connecting to the last byte."""
    lanes: int = 8
    """How many batches are under way at once."""
    pause_s: float = 0.5
    """The first pause before a batch is tried again."""
    max_wait_s: float = MAX_WAIT_S
    """The longest pause that a receiver may ask for."""


class Delivery(Protocol):
    """An output that is open."""

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Hand parcels over, and return what became of them."""
