"""The platform's Events API as an output: one request after another, packed as push packs them.

A batch with more attributes than one may have leaves in parts: the first with all else, the next
with attributes alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from profilectl.files.secrets import KeyAndSecret
from profilectl.outputs.as_input import as_input
from profilectl.outputs.delivery.credentials import OutputCredentials
from profilectl.outputs.delivery.http import HttpAnswer, HttpSender
from profilectl.outputs.delivery.parcel import Delivered, Parcel, Result
from profilectl.outputs.packing import PackedBatch, body_of, pack, parcels_of
from profilectl.outputs.platform import PATH
from profilectl.rules.fields import UnusableRow
from profilectl.rules.leaving.output import DeliveryFate


@dataclass(slots=True)
class _RequestParts:
    """The parts as which parcels leave: one each, or several if a batch is split."""

    parts: list[PackedBatch] = field(default_factory=list)
    """The parts of all parcels, in order."""
    unsent: Counter[int] = field(default_factory=Counter)
    """How many parts of each parcel were not sent yet, by its arrival."""
    failed: dict[int, str] = field(default_factory=dict)
    """Why a parcel cannot arrive, by its arrival."""

    def results(self, parcels: Sequence[Parcel]) -> list[Result]:
        """Return what became of the parcels that were sent with all their parts."""
        results = []
        for parcel in parcels:
            if parcel.arrival in self.failed:
                why = self.failed[parcel.arrival]
                results.append(Result(parcel.arrival, DeliveryFate.DEAD, why))
            elif self.unsent.get(parcel.arrival) == 0:
                results.append(Result(parcel.arrival, DeliveryFate.DELIVERED))
        return results


class EventsApi:
    """The Events API, open."""

    def __init__(self, host: str, credentials: OutputCredentials, sender: HttpSender) -> None:
        self._url = host.rstrip("/").removesuffix("/v2") + PATH
        self._login = KeyAndSecret(credentials.key, credentials.secret)
        self._sender = sender

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Send batches in requests as full as they can be.

        A request that is refused as a whole is sent batch by batch.
        """
        delivered, leaving = Delivered(), _parts_of(parcels)
        for request in pack(leaving.parts):
            for part, answer in self._sent(request):
                if answer.fate is DeliveryFate.STOP:
                    delivered.stopped = answer.why
                    delivered.rest_s = max(delivered.rest_s, answer.after_s or 0)
                    delivered.come_back_ms = answer.come_back_ms
                    break
                if answer.fate is DeliveryFate.DEAD:
                    leaving.failed[part.position] = answer.why
                leaving.unsent[part.position] -= 1
            if delivered.stopped:
                break
        delivered.results = leaving.results(parcels)
        return delivered

    def _sent(self, request: Sequence[PackedBatch]) -> list[tuple[PackedBatch, HttpAnswer]]:
        """Send a request, and return the answer to each of its parts.

        If it is refused, its parts are sent one by one.
        """
        answer = self._send(request)
        if answer.fate is DeliveryFate.DEAD and len(request) > 1:
            return [(part, self._send([part])) for part in request]
        return [(part, answer) for part in request]

    def _send(self, request: Sequence[PackedBatch]) -> HttpAnswer:
        return self._sender.post(self._url, body_of(request), {}, login=self._login)


def _parts_of(parcels: Sequence[Parcel]) -> _RequestParts:
    """Return the parts as which parcels leave; those that are too large fail at once."""
    leaving = _RequestParts()
    for parcel in parcels:
        try:
            parts = parcels_of(
                {**as_input(parcel.document), "source_request_id": parcel.request},
                parcel.arrival,
                _naming(parcel.request),
            )
        except UnusableRow as error:
            leaving.failed[parcel.arrival] = error.detail
            continue
        leaving.unsent[parcel.arrival] = len(parts)
        leaving.parts += parts
    return leaving


def _naming(request: str) -> Callable[[int, str], str]:
    """Name the later parts of a batch after the first: the same each time they are sent."""
    return lambda part, content: f"{request}:{part}"
