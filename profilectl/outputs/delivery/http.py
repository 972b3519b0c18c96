"""One request and its answer, tried again as output.py says."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profilectl.outputs.delivery.parcel import DeliveryManner
from profilectl.outputs.exchange import Bounds, NoReply, WaitingExchanges, basic, trusted
from profilectl.rules.leaving.output import TROUBLES, DeliveryFate, fate_of
from profilectl.rules.text.retry_after import asked_pause_s, come_back, least_pause_s

if TYPE_CHECKING:
    import tenacity

LONGEST_PAUSE_S = 60.0
UNDECIDED = (DeliveryFate.AGAIN, DeliveryFate.LATER)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back. why: the status, or what was in the way; after_s: what Retry-After asks for;
    come_back_ms: when that is over, where it is too long to be waited for.
    """

    fate: DeliveryFate
    why: str
    after_s: float | None = None
    come_back_ms: int | None = None


class HttpSender:
    """Requests over connections that are kept.

    One for all threads; when it is stopped no request is tried again.
    """

    def __init__(self, manner: DeliveryManner, address: str = "https:") -> None:
        self._manner = manner
        self.stopping = threading.Event()
        # No proxy and no certificates of the environment: an output is in the configuration of a
        # store.
        self._exchanges = WaitingExchanges(
            address, manner.lanes, certificates=lambda: trusted(from_environment=False)
        )

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], auth: tuple[str, str] | None = None
    ) -> HttpAnswer:
        """Send a body until there is an answer that ends it: delivered, known, dead, or stop."""
        import tenacity

        def pause(state: tenacity.RetryCallState) -> float:
            answer: HttpAnswer = state.outcome.result()  # type: ignore[union-attr]
            growing = tenacity.wait_random_exponential(
                multiplier=self._manner.pause_s, max=LONGEST_PAUSE_S
            )(state)
            if answer.after_s is None:
                return growing
            return max(
                answer.after_s,
                least_pause_s(state.attempt_number, self._manner.pause_s, LONGEST_PAUSE_S),
            )

        retrying = tenacity.Retrying(
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(self._manner.attempts),
                tenacity.stop_when_event_set(self.stopping),
            ),
            wait=pause,
            retry=tenacity.retry_if_result(
                lambda answer: (
                    answer.fate in UNDECIDED and (answer.after_s or 0) <= self._manner.max_wait_s
                )
            ),
            sleep=tenacity.sleep_using_event(self.stopping),
            retry_error_callback=_in_vain,
        )
        found: HttpAnswer = retrying(self._once, url, body, headers, auth)
        if (
            self.stopping.is_set()
            and found.fate is DeliveryFate.DEAD
            and found.why.startswith("after ")
        ):
            return HttpAnswer(
                DeliveryFate.STOP, found.why
            )  # it was not tried as often as it may be
        if found.fate in UNDECIDED:
            # The other outputs do not wait for it.
            at_ms, words = come_back(found.after_s or 0)
            return HttpAnswer(
                DeliveryFate.STOP,
                f"{found.why}: it asks to be left alone until {words}",
                found.after_s,
                at_ms,
            )
        return found

    def _once(
        self, url: str, body: bytes, headers: Mapping[str, str], auth: tuple[str, str] | None
    ) -> HttpAnswer:
        stated = {"Content-Type": "application/json", **headers}
        if auth:
            stated["Authorization"] = basic(*auth)
        try:
            reply = self._exchanges.post(
                url, body, stated, Bounds(self._manner.timeout_s), used=False
            )
        except NoReply as error:
            return _trouble(error.trouble)
        return HttpAnswer(
            fate_of(reply.status),
            f"HTTP {reply.status}",
            asked_pause_s(reply.headers.get("retry-after"), reply.headers.get("date")),
        )

    def close(self) -> None:
        """Close the connections."""
        self.stopping.set()
        self._exchanges.close()


def _trouble(what: str) -> HttpAnswer:
    return HttpAnswer(TROUBLES[what], what)


def _in_vain(state: Any) -> HttpAnswer:
    """Say what becomes of a batch that was tried as often as it may be."""
    answer: HttpAnswer = state.outcome.result()
    tried = f"after {state.attempt_number} attempt{'s' if state.attempt_number > 1 else ''}: {answer.why}"
    return HttpAnswer(
        DeliveryFate.DEAD if answer.fate is DeliveryFate.AGAIN else DeliveryFate.STOP, tried
    )
