"""One request and its answer, tried again as rules/leaving/output.py says."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profilectl.files.secrets import KeyAndSecret
from profilectl.outputs.delivery.parcel import DeliveryManner
from profilectl.outputs.exchange import (
    Bounds,
    HttpRequest,
    NoReply,
    WaitingExchanges,
    basic,
    trusted,
)
from profilectl.rules.leaving.output import TROUBLES, DeliveryFate, fate_of
from profilectl.rules.text.retry_after import asked_pause_s, come_back, least_pause_s

if TYPE_CHECKING:
    import tenacity

LONGEST_PAUSE_S = 60.0
UNDECIDED = (DeliveryFate.AGAIN, DeliveryFate.LATER)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back."""

    fate: DeliveryFate
    """What becomes of what was sent."""
    why: str
    """The status, or what was in the way."""
    after_s: float | None = None
    """How long Retry-After asks to wait."""
    come_back_ms: int | None = None
    """When that pause is over, if it is too long to wait for."""


class HttpSender:
    """Requests over connections that stay open.

    One sender serves all threads; once it is stopped, no request is tried again.
    """

    def __init__(self, manner: DeliveryManner, address: str = "https:") -> None:
        self._manner = manner
        self.stopping = threading.Event()
        # No proxy and no certificates of the environment: the configuration of the store alone
        # says where an output is.
        self._exchanges = WaitingExchanges(
            address, manner.lanes, certificates=lambda: trusted(from_environment=False)
        )

    def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        login: KeyAndSecret | None = None,
    ) -> HttpAnswer:
        """Send a body until there is an answer that ends it: delivered, known, dead, or stop.

        login: what the header Authorization says; None: nothing.
        """
        listed = {"Content-Type": "application/json", **headers}
        if login:
            listed["Authorization"] = basic(login.key, login.secret)
        bounds = Bounds(self._manner.timeout_s)
        request = HttpRequest(url, body, headers=listed, bounds=bounds, used=False)
        answer: HttpAnswer = self._retrying()(self._once, request)
        if (
            self.stopping.is_set()
            and answer.fate is DeliveryFate.DEAD
            and answer.why.startswith("after ")
        ):
            # The stop ended the attempts early, so the batch is not dead: it goes on waiting.
            return HttpAnswer(DeliveryFate.STOP, answer.why)
        if answer.fate in UNDECIDED:
            # The other outputs do not wait for it.
            at_ms, words = come_back(answer.after_s or 0)
            return HttpAnswer(
                fate=DeliveryFate.STOP,
                why=f"{answer.why}: it asks to be left alone until {words}",
                after_s=answer.after_s,
                come_back_ms=at_ms,
            )
        return answer

    def _retrying(self) -> tenacity.Retrying:
        """Return what tries a request as often as it may be, with growing pauses."""
        import tenacity

        return tenacity.Retrying(
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(self._manner.attempts),
                tenacity.stop_when_event_set(self.stopping),
            ),
            wait=self._pause_s,
            retry=tenacity.retry_if_result(self._is_tried_again),
            sleep=tenacity.sleep_using_event(self.stopping),
            retry_error_callback=_in_vain,
        )

    def _is_tried_again(self, answer: HttpAnswer) -> bool:
        return answer.fate in UNDECIDED and (answer.after_s or 0) <= self._manner.max_wait_s

    def _pause_s(self, state: tenacity.RetryCallState) -> float:
        """Return the pause before the next try: what the receiver asks for, or a growing one."""
        import tenacity

        answer = _answer_in(state)
        if answer.after_s is None:
            growing = tenacity.wait_random_exponential(
                multiplier=self._manner.pause_s, max=LONGEST_PAUSE_S
            )
            return growing(state)
        least_s = least_pause_s(state.attempt_number, self._manner.pause_s, LONGEST_PAUSE_S)
        return max(answer.after_s, least_s)

    def _once(self, request: HttpRequest) -> HttpAnswer:
        try:
            reply = self._exchanges.post(request)
        except NoReply as error:
            return HttpAnswer(TROUBLES[error.trouble], error.trouble)
        return HttpAnswer(
            fate_of(reply.status),
            f"HTTP {reply.status}",
            asked_pause_s(reply.headers.get("retry-after"), reply.headers.get("date")),
        )

    def close(self) -> None:
        """Close the connections."""
        self.stopping.set()
        self._exchanges.close()


def _answer_in(state: tenacity.RetryCallState) -> HttpAnswer:
    assert state.outcome is not None
    answer: HttpAnswer = state.outcome.result()
    return answer


def _in_vain(state: tenacity.RetryCallState) -> HttpAnswer:
    """Return what becomes of a batch that was tried as often as it may be."""
    answer = _answer_in(state)
    attempts = f"{state.attempt_number} attempt{'s' if state.attempt_number > 1 else ''}"
    return HttpAnswer(
        DeliveryFate.DEAD if answer.fate is DeliveryFate.AGAIN else DeliveryFate.STOP,
        f"after {attempts}: {answer.why}",
    )
