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
    """Return the signature header: `t=SECONDS,v1=HEX`, HEX the HMAC-SHA256 of `SECONDS.` and the
    body.
    """
    return f"t={at_s},v1={hmac.new(secret.encode(), f'{at_s}.'.encode() + body, hashlib.sha256).hexdigest()}"


class Webhook:
    """A webhook that is open. Batches of one person wait for one another; others go beside them."""

    def __init__(
        self, url: str, credentials: OutputCredentials, sender: HttpSender, manner: DeliveryManner
    ) -> None:
        self._url, self._credentials, self._sender, self._lanes = (
            url,
            credentials,
            sender,
            manner.lanes,
        )
        self._lock = threading.Lock()

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Send batches, each until there is an answer that ends it."""
        lanes: dict[int, list[Parcel]] = {}
        for one in parcels:
            lanes.setdefault(one.lane % self._lanes, []).append(one)
        done = Delivered()
        with ThreadPoolExecutor(self._lanes) as pool:
            running = [pool.submit(self._lane, lane, done) for lane in lanes.values()]
            try:
                for lane_done in running:
                    lane_done.result()
            except BaseException:
                # nobody waits for what is under way: it goes again, under the same id
                self._sender.close()
                raise
        return done

    def _lane(self, lane: Sequence[Parcel], done: Delivered) -> None:
        for one in lane:
            if self._sender.stopping.is_set():
                return
            body = to_json(one.document).encode()
            headers = {IDEMPOTENCY: one.request}
            if self._credentials.secret:
                headers[SIGNATURE] = signature(self._credentials.secret, int(time.time()), body)
            if self._credentials.header:
                headers[self._credentials.header[0]] = self._credentials.header[1]
            answer = self._sender.post(self._url, body, headers)
            with self._lock:
                if answer.fate is DeliveryFate.STOP:
                    done.stopped = done.stopped or answer.why
                    done.rest_s = max(done.rest_s, answer.after_s or 0)
                    done.come_back_ms = done.come_back_ms or answer.come_back_ms
                    self._sender.stopping.set()
                    return
                done.results.append(Result(one.arrival, answer.fate, answer.why))
