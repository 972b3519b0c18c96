"""A server in a thread of a test, with limits of the test, and what speaks to it byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from profilectl.server.gate import Gate
from profilectl.server.peers import Peers
from profilectl.server.wire import ConnectionLimits, config_of

QUICK = {"head_s": 0.4, "body_s": 0.4, "idle_s": 0.8, "take_s": 0.3, "linger_s": 0.3}
JSON = b"application/json"


class Served:
    """A server in a thread of this process. log: what it logs."""

    def __init__(self, application: Any, peers: Peers, **limits: Any) -> None:
        self.log = io.StringIO()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.peers = peers
        gate = Gate(application, timeout_s=limits.get("work_s", 5) - 0.5, log=self.log)
        self.server = uvicorn.Server(
            config_of(gate, ConnectionLimits(**limits), peers, log=gate.write)
        )
        self.thread = threading.Thread(
            target=lambda: asyncio.run(self.server.serve([self.listening])), daemon=True
        )
        self.thread.start()
        while not self.server.started:
            time.sleep(0.005)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.listening.getsockname(), timeout=8)

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    def end(self) -> None:
        self.server.should_exit = True
        for one in list(self.server.server_state.connections):
            self.server.servers[0].get_loop().call_soon_threadsafe(one.transport.abort)
        self.thread.join(10)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def serving(
    application: Any = None, of_each: int = 50, most: int = 100, **limits: Any
) -> Iterator[Served]:
    served = Served(application or echo, Peers(most, of_each), **limits)
    try:
        yield served
    finally:
        served.end()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path, the number of headers and of the bytes of the body."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    if scope["path"] == "/slow":
        await asyncio.sleep(0.3)
    answer = json.dumps([scope["path"], len(scope["headers"]), len(body)]).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"%d" % len(answer))],
        }
    )
    await send({"type": "http.response.body", "body": answer})


def exchange(served: Served, *parts: bytes | float, close: bool = False) -> bytes:
    """Send what the server takes; return all that it answers until it closes the connection."""
    with served.connect() as peer:
        with contextlib.suppress(OSError):
            for part in parts:
                if isinstance(part, float):
                    time.sleep(part)
                else:
                    peer.sendall(part)
        return rest_of(peer)


def rest_of(peer: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionError):
        while part := peer.recv(65536):
            got += part
    return got


def one_of(answer: bytes) -> tuple[int, dict[bytes, bytes], Any]:
    """Return status, headers and document of the last answer."""
    answer = answer[answer.rindex(b"HTTP/1.1 ") :]
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    assert int(headers[b"content-length"]) == len(body)
    return int(first.split()[1]), headers, json.loads(body)


def refused(answer: bytes, status: int) -> None:
    """Check that an answer is a refusal, in JSON."""
    got, headers, document = one_of(answer)
    assert got == status
    assert headers[b"content-type"] == JSON
    assert headers[b"connection"] == b"close"
    assert set(document["errors"][0]) == {"code", "message"}


GET = b"GET /x HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def eventually(holds: Callable[[], bool], within_s: float = 3) -> None:
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)
