"""What every request goes through: a time limit, a size limit, the log, and an answer where
something fails.

A line of the log is JSON on stderr: when, method, route (the template, never what stood in its
place), status, how long, and the name that the credentials file gives the client or feed. Nothing
of an address, a query, a body or a profile is logged; of a fault of ours, its kind and place in the
code, not its words.
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
from typing import Any, TextIO

from starlette.requests import ClientDisconnect

MOST_BYTES = 256 * 1024
"""The platform's limit of a request (domain.md 2.1)."""
WHO = "profilectl.client"
REFUSED = "profilectl.refused"
"""The status by which the connection itself has answered a request that never came whole (wire.py).
"""


class Problem(Exception):
    """An answer that is no success.

    code: for programs; message: for people, without anything personal.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.headers = (
            status,
            code,
            message,
            dict(headers or {}),
        )

    def body(self) -> bytes:
        return json.dumps({"errors": [{"code": self.code, "message": self.message}]}).encode()


FAULT = Problem(500, "FAULT", "a fault in profilectl; the store is as it was")


class Gate:
    """An ASGI application around another.

    timeout_s: after so long a request is answered with 503.
    """

    def __init__(self, application: Any, *, timeout_s: float, log: TextIO | None = None) -> None:
        self.application, self.timeout_s, self.log = (
            application,
            timeout_s,
            log if log is not None else sys.stderr,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        began, status, said = time.perf_counter(), 0, {}

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            async with asyncio.timeout(self.timeout_s):
                await self.application(scope, receive, sending)
        except asyncio.CancelledError:  # the server ends, and this took too long
            if not status:
                later = {"Retry-After": "1"}
                await _answer(
                    sending, Problem(503, "UNAVAILABLE", "the server ends; try again", later)
                )
        except TimeoutError:
            if not status:
                await _answer(
                    sending,
                    Problem(
                        503,
                        "TIMEOUT",
                        f"not done within {self.timeout_s:g} s; try again",
                        {"Retry-After": "1"},
                    ),
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered and logged without its words
            said = {"fault": type(error).__name__, "at": _place(error)}
            if not status:
                await _answer(sending, FAULT)
        finally:
            route = getattr(scope.get("route"), "path", None)
            method = scope["method"] if scope["method"] in METHODS else "other"
            status = scope.get(REFUSED, status)
            self.write(
                json.dumps({**line_of(method, route, status, began, scope.get(WHO)), **said})
            )

    def notice(self, message: str) -> None:
        """Put something worth knowing into the log."""
        self.write(json.dumps({"time": _now(), "notice": message}))

    def write(self, line: str) -> None:
        """Write a line of the log."""
        self.log.write(line + "\n")
        self.log.flush()


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def line_of(
    method: str, route: str | None, status: int, began: float, client: str | None
) -> dict[str, Any]:
    """Return what a line of the log says. began: by time.perf_counter."""
    took_ms = round((time.perf_counter() - began) * 1000, 1)
    return {
        "time": _now(),
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": took_ms,
        "client": client,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _place(error: BaseException) -> str:
    """Return where in the code something failed: without the values that the words of an error may
    quote.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames[-4:])
    )


class Notices(logging.Handler):
    """Puts into the log what a library warns of: the first line as it stands in its code, and the
    kind of an error. What it fills in, and the words of an error, may be anybody's.
    """

    def __init__(self, notice: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._notice = notice

    def emit(self, record: logging.LogRecord) -> None:
        first = str(record.msg).strip().partition("\n")[0]
        error = record.exc_info[0] if record.exc_info else None
        self._notice(f"{record.name}: {first}" + (f" ({error.__name__})" if error else ""))


async def _answer(send: Any, problem: Problem) -> None:
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


async def body_of(request: Any, most: int = MOST_BYTES) -> bytes:
    """Return the body of a request. most: bytes. Raises Problem for one that is too long, packed or
    not sent to its end."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(400, "BAD_REQUEST", "a body is read as it is: without Content-Encoding")
    told = request.headers.get("content-length", "")
    body, size = bytearray(), int(told) if told.isdecimal() else 0
    if size <= most:
        try:
            async for part in request.stream():  # not a list of parts: each may be of two bytes
                body += part
                size = len(body)
                if size > most:
                    break
        except ClientDisconnect:
            raise Problem(400, "BAD_REQUEST", "the body ends too early") from None
    if size > most:
        raise Problem(413, "REQUEST_TOO_LARGE", f"a request has at most {most // 1024} KB")
    return bytes(body)
