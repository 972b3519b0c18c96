"""A webhook: each batch a POST of its own, signed where there is a secret."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from profilectl.outputs.delivery.credentials import OutputCredentials
from profilectl.outputs.delivery.http import HttpSender
from profilectl.outputs.delivery.parcel import Delivered, DeliveryManner, Parcel, Result
from profilectl.rules.leaving.output import DeliveryFate
from profilectl.rules.text.values import to_json

IDEMPOTENCY = "Idempotency-Key"
SIGNATURE = "X-Profilectl-Signature"


def signature(secret: str, at_s: int, body: bytes) -> str:
    """Return the signature header: `t=SECONDS,v1=HEX`.

    HEX is the HMAC-SHA256 of `SECONDS.` and the body.
    """
    signed = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256)
    return f"t={at_s},v1={signed.hexdigest()}"


class Webhook:
    """A webhook that is open.

    Batches of one person wait for one another; batches of several people go beside one another, in
    lanes.
    """

    def __init__(
        self,
        url: str,
        credentials: OutputCredentials,
        *,
        sender: HttpSender,
        manner: DeliveryManner,
    ) -> None:
        self._url, self._credentials = url, credentials
        self._sender, self._lanes = sender, manner.lanes
        self._lock = threading.Lock()

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Send batches, each until there is an answer that ends it."""
        lanes: dict[int, list[Parcel]] = {}
        for parcel in parcels:
            # All batches of a person are in one lane.
            lanes.setdefault(parcel.lane % self._lanes, []).append(parcel)
        delivered = Delivered()
        with ThreadPoolExecutor(self._lanes) as pool:
            running = [pool.submit(self._lane, lane, delivered) for lane in lanes.values()]
            try:
                for lane_run in running:
                    lane_run.result()
            except BaseException:
                # nobody waits for the requests under way: they are sent again, under the same id
                self._sender.close()
                raise
        return delivered

    def _lane(self, lane: Sequence[Parcel], delivered: Delivered) -> None:
        for parcel in lane:
            if self._sender.stopping.is_set():
                return
            body = to_json(parcel.document).encode()
            answer = self._sender.post(self._url, body, self._headers(parcel, body))
            with self._lock:
                if answer.fate is DeliveryFate.STOP:
                    delivered.stopped = delivered.stopped or answer.why
                    delivered.rest_s = max(delivered.rest_s, answer.after_s or 0)
                    delivered.come_back_ms = delivered.come_back_ms or answer.come_back_ms
                    self._sender.stopping.set()
                    return
                delivered.results.append(Result(parcel.arrival, answer.fate, answer.why))

    def _headers(self, parcel: Parcel, body: bytes) -> dict[str, str]:
        headers = {IDEMPOTENCY: parcel.request}
        if self._credentials.secret:
            headers[SIGNATURE] = signature(self._credentials.secret, int(time.time()), body)
        if self._credentials.header:
            name, value = self._credentials.header
            headers[name] = value
        return headers
