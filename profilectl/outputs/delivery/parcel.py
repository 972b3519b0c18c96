"""TODO outputs.delivery.parcel (split off outputs.delivery.kinds)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from profilectl.rules.leaving.output import DeliveryFate
from profilectl.rules.text.retry_after import MAX_WAIT_S
from profilectl.rules.text.values import Value

REST_S = 60.0
"""So long an output that takes nothing is left alone where forwarding goes on (--follow), if it
does not ask for longer.
"""


SURE = ("jsonl",)
"""Types of outputs that take every batch or none: of two batches of a person the second need not
wait for what becomes of the first.
"""


# How many batches are put together at once, by the type of output.
BLOCKS = {"jsonl": 2000, "webhook": 200, "events-api": 1000, "csv": 2000}


@dataclass(frozen=True, slots=True)
class Parcel:
    """A batch, or a message about a member of an audience, on its way.

    lane: whose it is; of two of one lane the later must not overtake. request: the id it is sent
    under; received_ms: when it was received.
    """

    arrival: int
    lane: int
    request: str
    received_ms: int
    document: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a batch: delivered, known, or dead (then why)."""

    arrival: int
    fate: DeliveryFate
    why: str = ""


@dataclass(slots=True)
class Delivered:
    """What became of some batches; those without a result go on waiting.

    stopped: why no more were sent ("": all were); rest_s: so long the output is to be left alone
    then; come_back_ms: when it asks to be tried again.
    """

    results: list[Result] = field(default_factory=list)
    stopped: str = ""
    hint: str = ""
    rest_s: float = REST_S
    come_back_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DeliveryManner:
    """How to deliver. attempts: how often one batch is tried; timeout_s: how long one exchange may
    last, from connecting to the last byte; lanes: how many are under way at once; pause_s: the
    first pause before something is tried again; max_wait_s: the longest that a receiver may ask
    for.
    """

    attempts: int = 5
    timeout_s: float = 30.0
    lanes: int = 8
    pause_s: float = 0.5
    max_wait_s: float = MAX_WAIT_S


class Delivery(Protocol):
    """An output that is open."""

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Hand batches over, and say what became of them."""
