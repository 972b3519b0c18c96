"""The connection of a client, with limits that hold before the server knows who the client is.

The parser has no limits, and uvicorn's protocol has one, for idle connections. This protocol limits
the bytes and seconds of everything else: of a head, of a body with its framing, of an answer that
the client does not read. Arriving bytes do not reset a clock. A refusal is JSON, like every other
answer, if an answer can still be sent.

Requests that a client sends before it has its last answer wait as raw bytes, up to a limit: a
parsed request takes a hundred times its bytes.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import http
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from profilectl.server.gate import MOST_BYTES, REFUSED, Problem, refused_line
from profilectl.server.peers import Peers, address_of

HEAD_PIECE, BODY_PIECE = 512, 2048
"""The bytes of a head and of a body that are parsed at once. All requests within them are begun."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of one connection."""

    head_bytes: int = 64 * 1024
    """Bytes of a request line and its headers."""
    head_s: float = 15
    """Seconds for a head, from the connection or, after an answer, from the head's first byte."""
    headers: int = 100
    """Headers of a request."""
    body_bytes: int = 2 * MOST_BYTES
    """Bytes of a body as it is sent, with the sizes and extensions of its chunks, and trailers."""
    chunks: int = 4096
    """Chunks of a body: to parse one takes as long as a kilobyte."""
    body_s: float = 30
    """Seconds for a body, from the end of the head."""
    unread_bytes: int = 8 * 1024 * 1024
    """Bytes that are read and dropped after an early answer: some clients send all, then read."""
    ahead_bytes: int = 512 * 1024
    """Bytes that may wait while an earlier request is answered."""
    work_s: float = 70
    """Seconds to make and send an answer; `serve --timeout` ends the work well before."""
    take_s: float = 30
    """Seconds in which the client must read some part of an answer."""
    idle_s: float = 30
    """Seconds that a connection stays open between two requests."""
    linger_s: float = 2
    """Seconds for the client to read why it was refused."""


class Phase(enum.Enum):
    """The states of a connection: which clock runs."""

    HEAD = enum.auto()
    BODY = enum.auto()
    WORK = enum.auto()
    IDLE = enum.auto()
    END = enum.auto()


class _Stop(Exception):
    """The parser must stop, because the request is refused."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def config_of(
    application: ASGIApp, limits: ConnectionLimits, peers: Peers, *, log: Callable[[str], None]
) -> uvicorn.Config:
    """Return the configuration of a server whose connections have limits. log: writes a line."""
    protocol = functools.partial(Wire, limits=limits, peers=peers, log=log)
    return uvicorn.Config(
        application,
        http=cast("type[asyncio.Protocol]", protocol),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        lifespan="on",
        timeout_keep_alive=int(limits.idle_s) + 1,
        limit_concurrency=None,
        ws="none",
        proxy_headers=False,
    )


class Wire(HttpToolsProtocol):
    """A connection with limits."""

    def __init__(
        self,
        *arguments: Any,
        limits: ConnectionLimits,
        peers: Peers,
        log: Callable[[str], None],
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self.limits, self.peers, self.log = limits, peers, log
        self._phase = Phase.HEAD
        self._timer: asyncio.TimerHandle | None = None
        self._began = time.perf_counter()
        self._in_head = True  # the next bytes belong to a head
        self._head_begun = False  # some bytes of the head have come
        self._size = 0  # bytes of the head or body that is being read
        self._chunks = 0
        self._ahead = bytearray()
        self._later: Problem | None = None  # the answer to send after those under way
        self._deaf = False  # arriving bytes are dropped
        self._dropped = 0  # bytes that were dropped
        self._unsent = 0  # bytes of the answer that the client has not read

    # Called by the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, or refuse it if there are too many."""
        super().connection_made(transport)
        self._address = address_of(self.client[0]) if self.client else None
        allowed = self.peers.enter(self._address)
        if allowed:
            self._expect(Phase.HEAD, self.limits.head_s)
            return
        self._deaf = True
        self._write(
            Problem(503, "UNAVAILABLE", "too many connections", headers={"Retry-After": "1"})
            if allowed is None
            else Problem(
                429,
                "TOO_MANY_CONNECTIONS",
                f"more than {self.peers.of_each} connections of one address",
                headers={"Retry-After": "1"},
            )
        )
        transport.close()
        self._expect(Phase.END, self.limits.linger_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        self.peers.leave(self._address)
        self._deaf = True
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read bytes, or keep them until the request before them is answered."""
        self._unset_keepalive_if_required()
        if self._deaf:
            self._dropped += len(data)
            if self._dropped > self.limits.unread_bytes:
                self.transport.abort()
            return
        if self._ahead or self._is_busy():
            self._wait_with(data)
            return
        self._read(data)

    def _read(self, data: bytes) -> None:
        place = 0
        while place < len(data) and not self._deaf:
            if self._is_busy():
                self._wait_with(data[place:])
                return
            room = self.limits.head_bytes - self._size if self._in_head else BODY_PIECE
            if not room:
                self._refuse(
                    Problem(
                        431,
                        "HEAD_TOO_LARGE",
                        "a request line with its headers has at most"
                        f" {self.limits.head_bytes // 1024} KB",
                    )
                )
                return
            piece = data[place : place + min(HEAD_PIECE if self._in_head else BODY_PIECE, room)]
            place += len(piece)
            self._read_piece(piece)

    def _read_piece(self, piece: bytes) -> None:
        if self._phase is Phase.IDLE:
            self._expect(Phase.HEAD, self.limits.head_s)
        self._size += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._deaf = True  # the connection ends with the answer
        except httptools.HttpParserError as error:
            cause = error.__context__
            problem = Problem(400, "BAD_REQUEST", "the request is not HTTP as it should be")
            self._refuse(cause.problem if isinstance(cause, _Stop) else problem)
            return
        if self._in_head or self._deaf:
            return
        answered = self.cycle.response_started
        if self._size > (self.limits.unread_bytes if answered else self.limits.body_bytes):
            self._refuse(
                Problem(413, "REQUEST_TOO_LARGE", f"a request has at most {MOST_BYTES // 1024} KB")
            )

    def _is_busy(self) -> bool:
        """Return whether a complete request is not answered yet, so that the next has to wait."""
        return self._in_head and self.cycle is not None and not self.cycle.response_complete

    def _wait_with(self, data: bytes) -> None:
        self._ahead += data
        self.flow.pause_reading()
        if len(self._ahead) > self.limits.ahead_bytes:
            self.transport.abort()

    # Called by the parser

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._head_begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; refuse a request that has too many."""
        if not self._in_head:
            return  # a trailer: it was not there when the request was checked, so it does not count
        if len(self.headers) >= self.limits.headers:
            raise _Stop(
                Problem(
                    431,
                    "HEAD_TOO_LARGE",
                    f"a request has at most {self.limits.headers} headers",
                )
            )
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the head, and begin the body."""
        upgrade = self.parser.should_upgrade()
        if upgrade and any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
            for name, value in self.headers
        ):
            # The parser takes the body of such a request for the next request.
            raise _Stop(
                Problem(400, "BAD_REQUEST", "a request with Upgrade and a body: leave out Upgrade")
            )
        super().on_headers_complete()
        if upgrade:
            self.cycle.keep_alive = False
        self._in_head, self._head_begun, self._size, self._chunks = False, False, 0, 0
        self._expect(Phase.BODY, self.limits.body_s)

    def on_chunk_header(self) -> None:
        """Count a chunk of the body."""
        self._chunks += 1
        if self._chunks > self.limits.chunks:
            raise _Stop(
                Problem(
                    413, "REQUEST_TOO_LARGE", f"a body has at most {self.limits.chunks:,} chunks"
                )
            )

    def on_message_complete(self) -> None:
        """End a request: the next bytes belong to another one."""
        super().on_message_complete()
        self._in_head, self._size = True, 0
        if self.cycle.response_complete:
            self._expect(Phase.IDLE, self.limits.idle_s)
        else:
            self._expect(Phase.WORK, self.limits.work_s)

    def on_response_complete(self) -> None:
        """End an answer, and go on with the next request."""
        super().on_response_complete()
        self._began = time.perf_counter()
        if self.transport.is_closing():
            self._unsent = self.transport.get_write_buffer_size()
            self._expect(Phase.END, self.limits.take_s)
        elif not self.cycle.response_complete:
            phase = Phase.WORK if self._in_head else Phase.BODY
            self._expect(phase, self.limits.work_s if self._in_head else self.limits.body_s)
        elif self._in_head:
            self._go_on()

    def _go_on(self) -> None:
        """Read the bytes after the last request that was answered."""
        if self._later is not None:
            self._end_with(self._later)
            return
        self._unsent = self.transport.get_write_buffer_size()
        self._expect(Phase.IDLE, self.limits.idle_s)
        if self._head_begun:
            self._expect(Phase.HEAD, self.limits.head_s)
        if self._ahead:
            self.loop.call_soon(self._read_ahead)

    def _read_ahead(self) -> None:
        ahead, self._ahead = bytes(self._ahead), bytearray()
        self.flow.resume_reading()
        if not self._deaf:
            self._read(ahead)

    # The clock

    def _expect(self, phase: Phase, within_s: float) -> None:
        """Enter a phase, and end the connection if it takes longer than `within_s` seconds."""
        if self._timer is not None:
            self._timer.cancel()
        self._phase = phase
        self._timer = self.loop.call_later(within_s, self._overdue)

    def _overdue(self) -> None:
        """Refuse the request or end the connection, because a phase took too long."""
        unsent = self.transport.get_write_buffer_size()
        if self._phase is Phase.HEAD:
            self._refuse(
                Problem(
                    408,
                    "REQUEST_TIMEOUT",
                    f"a request line with its headers takes at most {self.limits.head_s:g} s",
                )
            )
        elif self._phase is Phase.BODY and self.pipeline and not self.transport.is_closing():
            self._expect(self._phase, self.limits.body_s)  # its body is not read before its turn
        elif self._phase is Phase.BODY:
            self._refuse(
                Problem(408, "REQUEST_TIMEOUT", f"a body takes at most {self.limits.body_s:g} s")
            )
        elif self._phase is Phase.IDLE and not unsent:
            self.transport.close()
        elif self._phase in (Phase.IDLE, Phase.END) and 0 < unsent < self._unsent:
            self._unsent = unsent
            self._expect(self._phase, self.limits.take_s)
        else:
            self.transport.abort()

    # Refusals

    def _refuse(self, problem: Problem) -> None:
        """End the connection, with an answer if one can be sent."""
        if self._deaf:
            return
        self._deaf = True
        self._ahead.clear()
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and self._in_head):
            self._end_with(problem)
        elif self._in_head:
            self._later = problem  # the requests before this one are answered first
        elif cycle.response_started or self.pipeline:
            self.transport.abort()
        else:
            cast("dict[str, Any]", cycle.scope)[REFUSED] = problem.status
            cycle.disconnected = True
            cycle.message_event.set()
            self._end_with(problem, logged=False)

    def _end_with(self, problem: Problem, *, logged: bool = True) -> None:
        """Send an answer, and leave the client time to read it.

        A connection that is closed with unread bytes is reset, and the answer lost.
        """
        self._write(problem, logged=logged)
        self.transport.write_eof()
        self.flow.resume_reading()
        self._expect(Phase.END, self.limits.linger_s)

    def _write(self, problem: Problem, *, logged: bool = True) -> None:
        body = problem.body()
        headers = [
            *((name.decode(), value.decode()) for name, value in self.server_state.default_headers),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
            *problem.headers.items(),
        ]
        phrase = http.HTTPStatus(problem.status).phrase
        head = "".join(f"{name.lower()}: {value}\r\n" for name, value in headers)
        self.transport.write(f"HTTP/1.1 {problem.status} {phrase}\r\n{head}\r\n".encode() + body)
        if logged:
            self.log(refused_line(problem.status, self._began))
