"""The platform's Events API: up to 100 batches in a request, within the documented limits (domain.md 5.4).

A batch with more attributes than one may have leaves in parts: the first with all else, the next with attributes alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from profilectl.batch import LIMITS
from profilectl.delivery import Delivered, Parcel, Result
from profilectl.delivery.credentials import Credentials
from profilectl.delivery.http import Answer, Sender
from profilectl.forwarding import as_input
from profilectl.output import Fate
from profilectl.values import Value, to_json

PATH = "/v2/bulkevents"
REQUEST_BATCHES, REQUEST_BYTES, BATCH_BYTES = 100, 262_144, 131_072
SAID_AGAIN = ("environment", "mpid", "user_identities", "mp_deviceid")
Part = tuple[Parcel, bytes]


class EventsApi:
    """The Events API, open: one request after another, so that order is kept."""

    def __init__(self, host: str, credentials: Credentials, sender: Sender) -> None:
        self._url = host.rstrip("/").removesuffix("/v2") + PATH
        self._auth = (credentials.key, credentials.secret)
        self._sender = sender

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Send batches in requests as full as they can be; one that is refused as a whole is sent batch by batch."""
        done, failed, left = Delivered(), dict[int, str](), Counter[int]()
        for request in _packed(parcels, failed, left):
            answer = self._send(request)
            sent = [(part, answer) for part in request]
            if answer.fate is Fate.DEAD and len(request) > 1:
                sent = [(part, self._send([part])) for part in request]
            for (parcel, _), one in sent:
                if one.fate is Fate.STOP:
                    done.stopped = one.why
                    break
                if one.fate is Fate.DEAD:
                    failed[parcel.arrival] = one.why
                left[parcel.arrival] -= 1
            if done.stopped:
                break
        for one_parcel in parcels:
            arrival = one_parcel.arrival
            if arrival in failed:
                done.results.append(Result(arrival, Fate.DEAD, failed[arrival]))
            elif left.get(arrival) == 0:
                done.results.append(Result(arrival, Fate.DELIVERED))
        return done

    def _send(self, request: Sequence[Part]) -> Answer:
        return self._sender.post(self._url, b"[" + b",".join(body for _, body in request) + b"]", {}, self._auth)


def _bodies(parcel: Parcel) -> list[bytes]:
    document = as_input(parcel.document)
    attributes = document.pop("user_attributes", {})
    listed = list(attributes.items()) if isinstance(attributes, dict) else []
    most = LIMITS["attributes"]
    found = []
    for place in range(max(1, -(-len(listed) // most))):
        part: dict[str, Value] = document if not place else {name: document[name] for name in SAID_AGAIN if name in document}
        part = {**part, "source_request_id": parcel.request if not place else f"{parcel.request}:{place}", "user_attributes": dict(listed[place * most : (place + 1) * most])}
        found.append(to_json(part).encode())
    return found


def _packed(parcels: Sequence[Parcel], failed: dict[int, str], left: Counter[int]) -> Iterator[list[Part]]:
    """Part batches into requests: in order, each as full as it can be. failed: gets those that are too large; left: how
    many parts there are of each."""
    request: list[Part] = []
    size = 2
    for parcel in parcels:
        bodies = _bodies(parcel)
        if any(len(body) > BATCH_BYTES for body in bodies):
            failed[parcel.arrival] = f"more than {BATCH_BYTES:,} bytes"
            continue
        left[parcel.arrival] = len(bodies)
        for body in bodies:
            if request and (len(request) == REQUEST_BATCHES or size + len(body) + 1 > REQUEST_BYTES):
                yield request
                request, size = [], 2
            request.append((parcel, body))
            size += len(body) + 1
    if request:
        yield request
