"""A receiver of batches on this machine that is not always kind: it refuses, is slow, cuts
connections, asks for patience.
"""

from __future__ import annotations

import base64
import contextlib
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Got:
    """One request: its headers, body and what it was answered (None: the connection was cut
    before).
    """

    path: str
    headers: dict[str, str]
    body: bytes
    status: int | None

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """What a receiver got.

    answer: from a request to the status it gets; an int, None (it is cut off before it is
    answered), or a status with headers.
    """

    url: str = ""
    answer: Callable[[Got], int | tuple[int, dict[str, str]] | None] = lambda got: 202
    got: list[Got] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def accepted(self) -> list[Got]:
        """Return the requests that were answered with success."""
        return [one for one in self.got if one.status is not None and one.status < 300]


@contextlib.contextmanager
def receiver(answer: Callable[[Got], Any] = lambda got: 202) -> Iterator[Receiver]:
    """Run a receiver in a thread."""
    found = Receiver(answer=answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if len(body) < int(self.headers.get("Content-Length", "0")):
                self.close_connection = True  # the sender is gone: nothing was received
                return
            got = Got(
                self.path, {name.lower(): value for name, value in self.headers.items()}, body, None
            )
            with found.lock:
                said = found.answer(got)
                status, headers = said if isinstance(said, tuple) else (said, {})
                got.status = status
                found.got.append(got)
            if status is None:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *said: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *said: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def unkind(seed: int, share: float = 0.4) -> Callable[[Got], Any]:
    """Return a receiver's answers: so many of them are troubles that pass."""
    chance = random.Random(seed)

    def answer(got: Got) -> Any:
        if chance.random() >= share:
            return 202
        return chance.choice([500, 502, 503, 504, 408, None, (429, {"Retry-After": "0"})])

    return answer


def basic(got: Got) -> tuple[str, str]:
    """Return the key and the secret of a request."""
    key, _, secret = (
        base64.b64decode(got.headers["authorization"].removeprefix("Basic "))
        .decode()
        .partition(":")
    )
    return key, secret
