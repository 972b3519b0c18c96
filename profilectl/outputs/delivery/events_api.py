"""The platform's Events API: batches packed as push packs them (packing.py), one request after
another.

A batch with more attributes than one may have leaves in parts: the first with all else, the next
with attributes alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from profilectl.outputs.as_input import as_input
from profilectl.outputs.delivery.credentials import OutputCredentials
from profilectl.outputs.delivery.http import HttpAnswer, HttpSender
from profilectl.outputs.delivery.parcel import Delivered, Parcel, Result
from profilectl.outputs.packing import PackedBatch as Part
from profilectl.outputs.packing import body_of, pack, parcels_of
from profilectl.outputs.platform import PATH
from profilectl.rules.fields import Unusable
from profilectl.rules.leaving.output import DeliveryFate


class EventsApi:
    """The Events API, open."""

    def __init__(self, host: str, credentials: OutputCredentials, sender: HttpSender) -> None:
        self._url = host.rstrip("/").removesuffix("/v2") + PATH
        self._auth = (credentials.key, credentials.secret)
        self._sender = sender

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Send batches in requests as full as they can be; one that is refused as a whole is sent
        batch by batch.
        """
        done, failed, left = Delivered(), dict[int, str](), Counter[int]()
        for request in pack(_parts(parcels, failed, left)):
            answer = self._send(request)
            sent = [(part, answer) for part in request]
            if answer.fate is DeliveryFate.DEAD and len(request) > 1:
                sent = [(part, self._send([part])) for part in request]
            for part, one in sent:
                if one.fate is DeliveryFate.STOP:
                    done.stopped, done.rest_s, done.come_back_ms = (
                        one.why,
                        max(done.rest_s, one.after_s or 0),
                        one.come_back_ms,
                    )
                    break
                if one.fate is DeliveryFate.DEAD:
                    failed[part.position] = one.why
                left[part.position] -= 1
            if done.stopped:
                break
        for parcel in parcels:
            if parcel.arrival in failed:
                done.results.append(
                    Result(parcel.arrival, DeliveryFate.DEAD, failed[parcel.arrival])
                )
            elif left.get(parcel.arrival) == 0:
                done.results.append(Result(parcel.arrival, DeliveryFate.DELIVERED))
        return done

    def _send(self, request: Sequence[Part]) -> HttpAnswer:
        return self._sender.post(self._url, body_of(request), {}, self._auth)


def _parts(parcels: Sequence[Parcel], failed: dict[int, str], left: Counter[int]) -> list[Part]:
    """Return what batches leave as.

    failed: gets those that are too large; left: how many parts there are of each.
    """
    found: list[Part] = []
    for parcel in parcels:
        try:
            parts = parcels_of(
                {**as_input(parcel.document), "source_request_id": parcel.request},
                parcel.arrival,
                _naming(parcel.request),
            )
        except Unusable as error:
            failed[parcel.arrival] = error.detail
            continue
        left[parcel.arrival] = len(parts)
        found += parts
    return found


def _naming(request: str) -> Callable[[int, str], str]:
    """Name the later parts of a batch after the first: the same each time they are sent."""
    return lambda part, content: f"{request}:{part}"
