"""The gate that every request passes: time limit, size limit, log, and an answer to any failure.

A line of the log is JSON on stderr: time, method, route (the template, without the values in its
place), status, duration, and the name that the credentials file gives the client or feed. Nothing
of an address, a query, a body or a profile is logged. A fault of our own is logged by its class and
its place in the code, without its message.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, TextIO

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 256 * 1024
"""The platform's limit of a request (domain.md 2.1)."""
CALLER = "profilectl.client"
"""The key of a scope under which the name of the client or feed stands."""
REFUSED = "profilectl.refused"
"""The key of a scope for the status with which wire.py refused an incomplete request."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
"""The methods that the log names; every other one is "other"."""


class Problem(Exception):
    """A failure, as the answer to a request.

    code: for programs.
    message: for people; it has no personal data.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Return the JSON body of the answer."""
        return json.dumps({"errors": [{"code": self.code, "message": self.message}]}).encode()


FAULT = Problem(500, "FAULT", "a fault in profilectl; the store is as it was")


class Gate:
    """An ASGI application around another one.

    timeout_s: the seconds after which a request is answered with 503.
    log: where the log goes; None: stderr.
    """

    def __init__(
        self, application: ASGIApp, *, timeout_s: float, log: TextIO | None = None
    ) -> None:
        self.application, self.timeout_s = application, timeout_s
        self.log = log if log is not None else sys.stderr

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        fault: dict[str, str] = {}

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            async with asyncio.timeout(self.timeout_s):
                await self.application(scope, receive, sending)
        # Once the status is sent, an answer has begun, and no other can be sent.
        except asyncio.CancelledError:  # the server ends, and this request took too long
            if not status:
                await _answer(sending, _later("UNAVAILABLE", "the server ends"))
        except TimeoutError:
            if not status:
                message = f"not done within {self.timeout_s:g} s"
                await _answer(sending, _later("TIMEOUT", message))
        except Exception as error:  # noqa: BLE001 - every failure gets an answer
            fault = {"fault": type(error).__name__, "at": _place(error)}
            if not status:
                await _answer(sending, FAULT)
        finally:
            route = getattr(scope.get("route"), "path", None)
            method = scope["method"] if scope["method"] in METHODS else "other"
            status = scope.get(REFUSED, status)
            line = LogLine(
                time=_now(),
                method=method,
                route=route,
                status=status,
                duration_ms=took_ms(began),
                client=scope.get(CALLER),
            )
            self.write(json.dumps({**line._asdict(), **fault}))

    def notice(self, message: str) -> None:
        """Write a notice into the log."""
        self.write(json.dumps({"time": _now(), "notice": message}))

    def write(self, line: str) -> None:
        """Write a line of the log."""
        self.log.write(line + "\n")
        self.log.flush()


class LogLine(NamedTuple):
    """A line of the log about one request."""

    time: str
    """When the answer was sent."""
    method: str
    """The HTTP method; "other" for an unknown one."""
    route: str | None
    """The template of the address; None for an unknown address."""
    status: int
    """The status of the answer."""
    duration_ms: float
    """How long the request took, in milliseconds."""
    client: str | None
    """The client's or feed's name in the credentials file; None if it proved none."""


def refused_line(status: int, began: float) -> str:
    """Return the log line of a request that was refused before its head was read.

    began: a time of time.perf_counter.
    """
    line = LogLine(
        time=_now(),
        method="other",
        route=None,
        status=status,
        duration_ms=took_ms(began),
        client=None,
    )
    return json.dumps(line._asdict())


def took_ms(began: float) -> float:
    """Return the milliseconds since a time of time.perf_counter."""
    return round((time.perf_counter() - began) * 1000, 1)


def _later(code: str, message: str) -> Problem:
    return Problem(503, code, f"{message}; try again", headers={"Retry-After": "1"})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _place(error: BaseException) -> str:
    """Return where in the code an error was raised, without its message, which may quote values."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames[-4:])
    )


class Notices(logging.Handler):
    """Puts the warnings of libraries into the log: the template's first line, and an error's class.

    The values of a warning and the message of an error may be personal, so they are left out.
    """

    def __init__(self, notice: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._notice = notice

    def emit(self, record: logging.LogRecord) -> None:
        """Write one warning into the log."""
        first_line = str(record.msg).strip().partition("\n")[0]
        error = record.exc_info[0] if record.exc_info else None
        self._notice(f"{record.name}: {first_line}" + (f" ({error.__name__})" if error else ""))


async def _answer(send: Send, problem: Problem) -> None:
    body = problem.body()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **{name.lower(): value for name, value in problem.headers.items()},
    }
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def body_of(request: Request, most: int = MOST_BYTES) -> bytes:
    """Return the body of a request, of at most `most` bytes.

    Raises Problem for a body that is too long, compressed or incomplete.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(400, "BAD_REQUEST", "a body is read as it is: without Content-Encoding")
    length = request.headers.get("content-length", "")
    body, size = bytearray(), int(length) if length.isdecimal() else 0
    if size <= most:
        try:
            async for part in request.stream():  # no list of parts: a part may be two bytes long
                body += part
                size = len(body)
                if size > most:
                    break
        except ClientDisconnect:
            raise Problem(400, "BAD_REQUEST", "the body ends too early") from None
    if size > most:
        raise Problem(413, "REQUEST_TOO_LARGE", f"a request has at most {most // 1024} KB")
    return bytes(body)
