"""One request and its answer, tried again as output.py says."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profilectl import __version__
from profilectl.delivery import Manner
from profilectl.output import TROUBLES, Fate, fate_of
from profilectl.retry_after import asked_pause_s, come_back

if TYPE_CHECKING:
    import tenacity

LONGEST_PAUSE_S = 60.0
UNDECIDED = (Fate.AGAIN, Fate.LATER)
READ = 65_536
"""So much of an answer is read, that the connection can be used again; what it says is not looked at."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. why: the status, or what was in the way; after_s: what Retry-After asks for; come_back_ms: when that is
    over, where it is too long to be waited for."""

    fate: Fate
    why: str
    after_s: float | None = None
    come_back_ms: int | None = None


class Sender:
    """Requests over connections that are kept. One for all threads; when it is stopped no request is tried again."""

    def __init__(self, manner: Manner) -> None:
        import httpx

        self._manner = manner
        self.stopping = threading.Event()
        self._client = httpx.Client(
            timeout=httpx.Timeout(manner.timeout_s), follow_redirects=False, trust_env=False,
            headers={"User-Agent": f"profilectl/{__version__}", "Content-Type": "application/json"},
            limits=httpx.Limits(max_connections=manner.lanes, max_keepalive_connections=manner.lanes),
        )

    def post(self, url: str, body: bytes, headers: Mapping[str, str], auth: tuple[str, str] | None = None) -> Answer:
        """Send a body until there is an answer that ends it: delivered, known, dead, or stop."""
        import tenacity

        def pause(state: tenacity.RetryCallState) -> float:
            answer: Answer = state.outcome.result()  # type: ignore[union-attr]
            growing = tenacity.wait_random_exponential(multiplier=self._manner.pause_s, max=LONGEST_PAUSE_S)(state)
            return growing if answer.after_s is None else answer.after_s

        retrying = tenacity.Retrying(
            stop=tenacity.stop_any(tenacity.stop_after_attempt(self._manner.attempts), tenacity.stop_when_event_set(self.stopping)),
            wait=pause,
            retry=tenacity.retry_if_result(lambda answer: answer.fate in UNDECIDED and (answer.after_s or 0) <= self._manner.max_wait_s),
            sleep=tenacity.sleep_using_event(self.stopping),
            retry_error_callback=_in_vain,
        )
        found: Answer = retrying(self._once, url, body, headers, auth)
        if self.stopping.is_set() and found.fate is Fate.DEAD and found.why.startswith("after "):
            return Answer(Fate.STOP, found.why)  # it was not tried as often as it may be
        if found.fate in UNDECIDED:
            # The other outputs do not wait for it.
            at_ms, words = come_back(found.after_s or 0)
            return Answer(Fate.STOP, f"{found.why}: it asks to be left alone until {words}", found.after_s, at_ms)
        return found

    def _once(self, url: str, body: bytes, headers: Mapping[str, str], auth: tuple[str, str] | None) -> Answer:
        import httpx

        began = time.monotonic()
        try:
            with self._client.stream("POST", url, content=body, headers=headers, auth=auth) as response:
                read = 0
                for chunk in response.iter_raw(4096):
                    read += len(chunk)
                    if read > READ or time.monotonic() - began > self._manner.timeout_s:
                        break
                status, stated, date = response.status_code, response.headers.get("Retry-After"), response.headers.get("Date")
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return _trouble("no connection")
        except httpx.TimeoutException:
            return _trouble("timeout")
        except httpx.HTTPError:
            return _trouble("broken")
        return Answer(fate_of(status), f"HTTP {status}", asked_pause_s(stated, date))

    def close(self) -> None:
        """Close the connections."""
        self.stopping.set()
        self._client.close()


def _trouble(what: str) -> Answer:
    return Answer(TROUBLES[what], what)


def _in_vain(state: Any) -> Answer:
    """Say what becomes of a batch that was tried as often as it may be."""
    answer: Answer = state.outcome.result()
    tried = f"after {state.attempt_number} attempt{'s' if state.attempt_number > 1 else ''}: {answer.why}"
    return Answer(Fate.DEAD if answer.fate is Fate.AGAIN else Fate.STOP, tried)
