"""Requests to the platform's Events API: the pace they keep, and what becomes of each.

What answers mean is the table of platform.py. exchange.py speaks HTTP, tenacity sends again,
aiolimiter keeps the rate.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from profilectl.codes import InputRefused, ProfilectlError, Unfinished
from profilectl.files.secrets import KeyAndSecret
from profilectl.outputs.exchange import Bounds, Exchanges, HttpRequest, NoReply, Reply, basic
from profilectl.outputs.packing import PackedBatch, body_of
from profilectl.outputs.platform import (
    ANSWERS,
    FIRST_PAUSE_S,
    HISTORICAL,
    LONGEST_PAUSE_S,
    RATE,
    THROTTLES,
    Act,
    PlatformAnswer,
    answer_of,
)
from profilectl.rules.text.retry_after import MAX_WAIT_S, asked_pause_s, come_back, least_pause_s

LONGEST_ANSWER = 65_536
"""How many bytes of an answer are read."""
REFUSED_FROM_THE_START = 100
"""When this many batches were refused and none accepted, the push stops: all would be refused."""


@dataclass(frozen=True, slots=True)
class SendingPace:
    """How fast and how patiently batches are sent."""

    rate: float = RATE
    """How many batches leave in a second; 0: no limit."""
    parallel: int = 4
    """How many requests are under way at once."""
    timeout_s: float = 30
    """How long each exchange may last, from connecting to the last byte."""
    give_up_s: float = 300
    """The push stops where nothing was accepted for this long."""
    first_pause_s: float = FIRST_PAUSE_S
    """The pause before something is sent again the first time."""
    longest_pause_s: float = LONGEST_PAUSE_S
    """The longest of these pauses."""
    max_wait_s: float = MAX_WAIT_S
    """The push stops where the platform asks to be left alone for longer than this."""


@dataclass(slots=True)
class PushCounts:
    """What was sent."""

    requests: int = 0
    """How many requests were made."""
    bytes: int = 0
    """How many bytes their bodies had."""
    retries: int = 0
    """How many of them were made again."""
    accepted: int = 0
    """How many batches were accepted."""
    refused: int = 0
    """How many batches were refused."""
    throttled: dict[str, int] = field(default_factory=dict)
    """How often each limit of the platform was met, by what it limits."""


@dataclass(frozen=True, slots=True)
class RefusedBatch:
    """A batch that the platform refused."""

    parcel: PackedBatch
    """The batch."""
    code: str
    """The code of the reason."""
    message: str
    """What the platform says of it."""


class _SendAgain(Exception):
    """The same must be sent again. pause_s: what Retry-After says."""

    def __init__(self, why: str, pause_s: int | None = None) -> None:
        super().__init__(why)
        self.pause_s = pause_s


class _Malformed(Exception):
    """The platform refuses the request because of a batch in it."""

    def __init__(self, answer: PlatformAnswer, message: str) -> None:
        super().__init__(message)
        self.answer, self.message = answer, message


class BatchSender:
    """Sends requests to one address.

    An asynchronous context; deliver may run several times at once.

    notify: takes what a person should know: why something is sent again, once for each reason.
    """

    def __init__(
        self,
        address: str,
        credentials: KeyAndSecret,
        pace: SendingPace,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.counts = PushCounts()
        self._address, self._pace, self._notify = address, pace, notify
        # A request takes up to 100 batches from the limiter at once, so its capacity is no smaller.
        most = max(pace.rate, 100.0)
        self._limiter = AsyncLimiter(most, most / pace.rate) if pace.rate else None
        self._exchanges = Exchanges(address, pace.parallel, proxied=True)
        self._headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "Authorization": basic(credentials.key, credentials.secret),
        }
        self._bounds = Bounds(pace.timeout_s, LONGEST_ANSWER)
        self._not_before = 0.0
        self._come_back: Unfinished | None = None
        # None until the first request leaves: making it ready is no time without progress.
        self._progress_at: float | None = None
        self._reasons: set[str] = set()
        self._growing = wait_random_exponential(
            multiplier=2 * pace.first_pause_s, max=pace.longest_pause_s
        )

    @property
    def timeout_s(self) -> float:
        """How long an answer may take."""
        return self._pace.timeout_s

    async def __aenter__(self) -> Self:
        await self._exchanges.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exchanges.__aexit__(kind, error, trace)

    async def deliver(self, request: Sequence[PackedBatch]) -> list[RefusedBatch]:
        """Send batches until the platform has them; return those it refuses.

        Raises InputRefused where it takes nothing from us, Unfinished where it is away for too
        long.
        """
        try:
            await self._post(request)
        except _Malformed as error:
            if len(request) > 1:
                half = len(request) // 2
                return await self.deliver(request[:half]) + await self.deliver(request[half:])
            self._count_refused(error.message)
            return [RefusedBatch(request[0], error.answer.code, error.message)]
        self.counts.accepted += len(request)
        return []

    def _count_refused(self, message: str) -> None:
        self.counts.refused += 1
        if not self.counts.accepted and self.counts.refused >= REFUSED_FROM_THE_START:
            raise InputRefused(
                "the platform refuses every batch; the last because:"
                f" {message or 'it does not say'}",
                "push --dry-run FILE shows what is sent",
            )

    async def _post(self, request: Sequence[PackedBatch]) -> None:
        body = body_of(request)
        sending = AsyncRetrying(
            retry=retry_if_exception_type(_SendAgain),
            wait=self._pause,
            stop=self._is_hopeless,
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            address = self._address + (HISTORICAL if request[0].historical else "")
            await sending(self._send, address, body, batches=len(request))
        except _SendAgain as error:
            raise Unfinished(
                f"nothing was accepted within {self._pace.give_up_s:g} s: {error}",
                "run the same push again: it goes on where it stopped",
            ) from None

    async def _send(self, address: str, body: bytes, batches: int) -> None:
        """Send once, and act on the answer.

        Raises _SendAgain, _Malformed, InputRefused, Unfinished.
        """
        await self._take_turn(batches)
        self.counts.requests += 1
        self.counts.bytes += len(body)
        try:
            reply = await self._exchanges.post(
                HttpRequest(address, body, headers=self._headers, bounds=self._bounds)
            )
        except NoReply as error:
            if error.distrusted:
                raise InputRefused(
                    f"the certificate of {self._address} cannot be trusted",
                    "SSL_CERT_FILE names a file of certificates to trust",
                ) from None
            raise _SendAgain(_plainly(error)) from None
        self._act_on(reply)

    async def _take_turn(self, batches: int) -> None:
        """Wait until some batches may leave."""
        # Another request may move the end of the pause meanwhile.
        while (pause_s := self._not_before - time.monotonic()) > 0:
            if self._come_back:
                raise self._come_back
            await asyncio.sleep(pause_s)
        if self._limiter:
            await self._limiter.acquire(batches)
        if self._progress_at is None:
            self._progress_at = time.monotonic()

    def _act_on(self, reply: Reply) -> None:
        """Raise the error that an answer means, unless the platform has the batches."""
        answer = answer_of(reply.status)
        match answer.act:
            case Act.ACCEPTED:
                self._progress_at = time.monotonic()
            case Act.SINGLE_OUT:
                # A refusal is an answer too: the time to give up is counted from here again.
                self._progress_at = time.monotonic()
                raise _Malformed(answer, _messages(reply.body))
            case Act.STOP:
                raise _stopped(reply.status, answer, _messages(reply.body))
            case Act.AGAIN:
                raise self._again(reply, answer)

    def _again(self, reply: Reply, answer: PlatformAnswer) -> Exception:
        """Return the error to raise where the same is to be sent again."""
        pause_s = asked_pause_s(reply.headers.get("retry-after"), reply.headers.get("date"))
        if reply.status in ANSWERS:
            self._throttled(reply.headers.get("x-mp-rate-limit-exceeded", ""), pause_s)
        why = f"{answer.sentence} ({reply.status})"
        if pause_s is not None and pause_s > self._pace.max_wait_s:
            self._come_back = self._later(why, pause_s)
            return self._come_back
        return _SendAgain(why, pause_s)

    def _throttled(self, limit: str, pause_s: int | None) -> None:
        """Hold back every request, not only the one that met the limit."""
        name = limit.strip().lower()
        name = name if name in THROTTLES else "other"
        self.counts.throttled[name] = self.counts.throttled.get(name, 0) + 1
        if pause_s:
            self._not_before = max(self._not_before, time.monotonic() + pause_s)

    def _later(self, why: str, pause_s: int) -> Unfinished:
        """Hold everything back; return the error that says when to come back."""
        self._not_before = max(self._not_before, time.monotonic() + pause_s)
        at_ms, words = come_back(pause_s)
        return Unfinished(
            f"{why}: the platform asks to be left alone until {words}",
            "run the same push again then: it goes on where it stopped",
            at_ms,
        )

    def _remaining_s(self) -> float:
        """Return how long the push may still go without an acceptance."""
        return (self._progress_at or time.monotonic()) + self._pace.give_up_s - time.monotonic()

    def _pause(self, state: RetryCallState) -> float:
        # The last attempt is made when the time is up, not before.
        remaining_s = max(self._remaining_s(), 0)
        asked_s = _asked_pause_s(state)
        if asked_s is None:
            return min(self._growing(state), remaining_s)
        least_s = least_pause_s(
            state.attempt_number, self._pace.first_pause_s, self._pace.longest_pause_s
        )
        return max(asked_s, min(least_s, remaining_s))

    def _is_hopeless(self, state: RetryCallState) -> bool:
        # A pause that the platform asks for may end after the time is up.
        return self._remaining_s() <= (_asked_pause_s(state) or 0)

    def _tell(self, state: RetryCallState) -> None:
        self.counts.retries += 1
        why = str(state.outcome.exception()) if state.outcome else ""
        if why not in self._reasons and len(self._reasons) < 10:
            self._reasons.add(why)
            self._notify(f"{why}; it is sent again")


def _asked_pause_s(state: RetryCallState) -> int | None:
    """Return what the platform said of the pause."""
    error = state.outcome.exception() if state.outcome else None
    return error.pause_s if isinstance(error, _SendAgain) else None


def _messages(text: bytes) -> str:
    """Return the messages of an error's body, not too long."""
    try:
        messages = [
            ": ".join(str(error[key]) for key in ("code", "message") if error.get(key))
            for error in json.loads(text)["errors"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return "; ".join(messages)[:300]


def _stopped(status: int, answer: PlatformAnswer, message: str) -> ProfilectlError:
    return InputRefused(
        f"{answer.sentence} ({status}{': ' + message if message else ''})", answer.hint
    )


def _plainly(error: NoReply) -> str:
    """Return what went wrong on the way, for a person."""
    if error.trouble == "timeout":
        return "no answer in time"
    if error.trouble == "no connection":
        return f"no connection ({error.detail[:100] or 'refused'})"
    return "the connection broke off"
