"""The connection of a client: what a request may take before anybody knows whose it is.

The parser has no limits, and uvicorn's protocol has one, of idle connections. This one counts the
bytes and seconds of everything else: of a head, of a body with all that stands around it, of an
answer that is not taken. The clock is the connection's own: a byte that comes does not set it back.
What is refused here is refused in JSON, as everything else, where an answer can still be sent.

Requests that are sent ahead of an answer wait as they came, unread, up to a limit: each that was
read would cost a hundred times its bytes.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import http
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from profilectl.server.gate import MOST_BYTES, REFUSED, Problem, line_of
from profilectl.server.peers import Peers, address_of

HEAD_PIECE, BODY_PIECE = 512, 2048
"""So many bytes are read at once: all requests within them are begun."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a connection may take."""

    head_bytes: int = 64 * 1024
    """Bytes of a request line and its headers."""
    head_s: float = 15
    """Seconds for them: since the connection was made, or, after an answer, their first byte."""
    headers: int = 100
    """Headers of a request."""
    body_bytes: int = 2 * MOST_BYTES
    """Bytes of a body as it is sent: with the sizes and extensions of its chunks, and trailers."""
    chunks: int = 4096
    """Chunks of a body: each costs as much to read as a kilobyte."""
    body_s: float = 30
    """Seconds for it, since the end of the head."""
    unread_bytes: int = 8 * 1024 * 1024
    """Bytes that are thrown away after an answer: who is still sending would not read it else."""
    ahead_bytes: int = 512 * 1024
    """Bytes that may wait while an earlier request is answered."""
    work_s: float = 70
    """Seconds in which an answer is made and sent; `serve --timeout` has ended it well before."""
    take_s: float = 30
    """Seconds in which something of an answer must be taken."""
    idle_s: float = 30
    """Seconds that a connection stays between two requests."""
    linger_s: float = 2
    """Seconds for the other side to read why it was refused."""


class Phase(enum.Enum):
    """What a connection waits for."""

    HEAD = enum.auto()
    BODY = enum.auto()
    WORK = enum.auto()
    IDLE = enum.auto()
    END = enum.auto()


class _Stop(Exception):
    """The parser shall not read on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def config_of(
    application: Any, limits: ConnectionLimits, peers: Peers, log: Callable[[str], None]
) -> uvicorn.Config:
    """Return the configuration of a server whose connections have limits. log: takes a line."""
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
        self._in_head = True  # what comes next belongs to a head,
        self._head_begun = False  # ... of which something has come
        self._size = 0  # of the head or body that is being read
        self._chunks = 0
        self._ahead = bytearray()
        self._later: Problem | None = None  # what is answered after all that is being answered
        self._deaf = False  # what comes is thrown away
        self._thrown = 0
        self._untaken = 0

    # What the transport says.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = address_of(self.client[0]) if self.client else None
        allowed = self.peers.enter(self._address)
        if allowed:
            self._expect(Phase.HEAD, self.limits.head_s)
            return
        self._deaf = True
        self._write(
            Problem(503, "UNAVAILABLE", "too many connections", {"Retry-After": "1"})
            if allowed is None
            else Problem(
                429,
                "TOO_MANY_CONNECTIONS",
                f"more than {self.peers.of_each} connections of one address",
                {"Retry-After": "1"},
            )
        )
        transport.close()
        self._expect(Phase.END, self.limits.linger_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self.peers.leave(self._address)
        self._deaf = True
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._deaf:
            self._thrown += len(data)
            if self._thrown > self.limits.unread_bytes:
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
            left = self.limits.head_bytes - self._size if self._in_head else BODY_PIECE
            if not left:
                self._refuse(
                    Problem(
                        431,
                        "HEAD_TOO_LARGE",
                        "a request line with its headers has at most"
                        f" {self.limits.head_bytes // 1024} KB",
                    )
                )
                return
            piece = data[place : place + min(HEAD_PIECE if self._in_head else BODY_PIECE, left)]
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
        """Say whether a request has come whole and is not answered: the next waits."""
        return self._in_head and self.cycle is not None and not self.cycle.response_complete

    def _wait_with(self, data: bytes) -> None:
        self._ahead += data
        self.flow.pause_reading()
        if len(self._ahead) > self.limits.ahead_bytes:
            self.transport.abort()

    # What the parser finds.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer is no header: nobody looked at it when the request was let through
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
        """Count a chunk. The parser calls it."""
        self._chunks += 1
        if self._chunks > self.limits.chunks:
            raise _Stop(
                Problem(
                    413, "REQUEST_TOO_LARGE", f"a body has at most {self.limits.chunks:,} chunks"
                )
            )

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._size = True, 0
        if self.cycle.response_complete:
            self._expect(Phase.IDLE, self.limits.idle_s)
        else:
            self._expect(Phase.WORK, self.limits.work_s)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._began = time.perf_counter()
        if self.transport.is_closing():
            self._untaken = self.transport.get_write_buffer_size()
            self._expect(Phase.END, self.limits.take_s)
        elif not self.cycle.response_complete:
            phase = Phase.WORK if self._in_head else Phase.BODY
            self._expect(phase, self.limits.work_s if self._in_head else self.limits.body_s)
        elif self._in_head:
            self._go_on()

    def _go_on(self) -> None:
        """Read what comes after all that is answered."""
        if self._later is not None:
            self._end_with(self._later)
            return
        self._untaken = self.transport.get_write_buffer_size()
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

    # What the clock says.

    def _expect(self, phase: Phase, within_s: float) -> None:
        """Wait for something, for so long."""
        if self._timer is not None:
            self._timer.cancel()
        self._phase = phase
        self._timer = self.loop.call_later(within_s, self._overdue)

    def _overdue(self) -> None:
        left = self.transport.get_write_buffer_size()
        if self._phase is Phase.HEAD:
            self._refuse(
                Problem(
                    408,
                    "REQUEST_TIMEOUT",
                    f"a request line with its headers takes at most {self.limits.head_s:g} s",
                )
            )
        elif self._phase is Phase.BODY and self.pipeline and not self.transport.is_closing():
            self._expect(self._phase, self.limits.body_s)  # it is not read, until it is its turn
        elif self._phase is Phase.BODY:
            self._refuse(
                Problem(408, "REQUEST_TIMEOUT", f"a body takes at most {self.limits.body_s:g} s")
            )
        elif self._phase is Phase.IDLE and not left:
            self.transport.close()
        elif self._phase in (Phase.IDLE, Phase.END) and 0 < left < self._untaken:
            self._untaken = left
            self._expect(self._phase, self.limits.take_s)
        else:
            self.transport.abort()

    # What is answered from here.

    def _refuse(self, problem: Problem) -> None:
        """End the connection with an answer, where one can be sent."""
        if self._deaf:
            return
        self._deaf = True
        self._ahead.clear()
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and self._in_head):
            self._end_with(problem)
        elif self._in_head:
            self._later = problem  # those before it are answered first
        elif cycle.response_started or self.pipeline:
            self.transport.abort()
        else:
            cast("dict[str, Any]", cycle.scope)[REFUSED] = problem.status
            cycle.disconnected = True
            cycle.message_event.set()
            self._end_with(problem, logged=False)

    def _end_with(self, problem: Problem, *, logged: bool = True) -> None:
        """Answer, and let the other side read that: closed with something unread, it is lost."""
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
            self.log(json.dumps(line_of("other", None, problem.status, self._began, None)))
