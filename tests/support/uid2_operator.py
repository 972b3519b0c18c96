"""A UID2 operator of our own: the documented envelope and identity map (domain.md 15), and what
goes wrong with one.

Written from the documentation of the protocol, with an AES-GCM that the tested client does not
share: `envelope` and `opened` are the envelope, answers are made of the hashes alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from Crypto.Cipher import AES

KEY = "UID2-C-L-1-test.key"
SECRET = base64.b64encode(bytes(range(32))).decode()
VERSION, IV, TAG, STAMP, NONCE = 1, 12, 16, 8, 8
OLDEST_S = 60


def hash_of(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def uid_of(digest: str) -> str:
    """Return the raw UID of a hash: case-sensitive base64, as they are."""
    return base64.b64encode(hashlib.sha256(b"uid2" + digest.encode()).digest()).decode()


OPTED_OUT = frozenset(
    map(hash_of, ("optout@example.com", "refresh-optout@example.com", "+00000000002"))
)


def opened(wire: bytes, secret: bytes, now_s: float) -> tuple[bytes, Any]:
    """Open a request: base64 of 0x01 | IV | ciphertext | tag, or these bytes; plain: int64 ms |
    nonce | JSON.
    """
    content = wire if wire[:1] == bytes([VERSION]) else base64.b64decode(wire, validate=True)
    assert content[0] == VERSION
    cipher = AES.new(secret, AES.MODE_GCM, nonce=content[1 : 1 + IV], mac_len=TAG)
    plain = cipher.decrypt_and_verify(content[1 + IV : -TAG], content[-TAG:])
    assert abs(now_s * 1000 - int.from_bytes(plain[:STAMP], "big", signed=True)) < OLDEST_S * 1000
    return plain[STAMP : STAMP + NONCE], json.loads(plain[STAMP + NONCE :])


def envelope(document: Any, secret: bytes, nonce: bytes, now_s: float) -> bytes:
    """Close an answer: IV | ciphertext | tag; plain: int64 ms | the request's nonce | JSON."""
    iv = hashlib.sha256(nonce + str(now_s).encode()).digest()[:IV]
    plain = (
        int(now_s * 1000).to_bytes(STAMP, "big", signed=True)
        + nonce
        + json.dumps(document).encode()
    )
    ciphertext, tag = AES.new(secret, AES.MODE_GCM, nonce=iv, mac_len=TAG).encrypt_and_digest(plain)
    return iv + ciphertext + tag


@dataclass
class StubOperator:
    """What it was asked, and how it behaves.

    before: statuses it answers with first, one a request: an int, "cut", "slow", "elsewhere" (a
    redirect), "nonsense", "nonce", "short" or "unknown"; refresh_s: from when on a UID may be
    another.
    """

    address: str = ""
    before: list[Any] = field(default_factory=list)
    retry_after: str | None = "0"
    refresh_s: int = 4_000_000_000
    invalid: frozenset[str] = frozenset()
    opted_out: frozenset[str] = OPTED_OUT
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    attempts: int = 0
    bodies: list[bytes] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def hashes(self) -> list[str]:
        return [
            one
            for request in self.asked
            for kind in ("email_hash", "phone_hash")
            for one in request[kind]
        ]

    def said(self, digest: str, trouble: Any) -> dict[str, Any]:
        if trouble == "unknown":
            return {"e": "a reason of next year"}
        if digest in self.opted_out:
            return {"e": "optout"}
        return (
            {"e": "invalid identifier"}
            if digest in self.invalid
            else {"u": uid_of(digest), "p": None, "r": self.refresh_s}
        )


@contextmanager
def operator(**stated: Any) -> Iterator[StubOperator]:  # noqa: C901  it fails in every way there is
    """Run an operator on this machine."""
    state = StubOperator(**stated)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.answer(418, b"")

        def do_POST(self) -> None:
            state.attempts += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.bodies.append(body)
            trouble = state.before.pop(0) if state.before else None
            if trouble == "slow":
                state.done.wait(20)
            if trouble in ("slow", "cut"):
                self.close_connection = True
                return None
            if trouble == "elsewhere":
                return self.answer(302, b"", {"Location": f"{state.address}/elsewhere"})
            if isinstance(trouble, int):
                return self.answer(
                    trouble,
                    b"",
                    {"Retry-After": state.retry_after}
                    if state.retry_after is not None and trouble in (429, 503)
                    else {},
                )
            if self.path != "/v3/identity/map":
                return self.answer(404, b"{}")
            if self.headers["Authorization"] != f"Bearer {KEY}":
                return self.answer(401, b'{"status":"unauthorized"}')
            now, secret = time.time(), base64.b64decode(SECRET)
            try:
                nonce, question = opened(body, secret, now)
            except (ValueError, AssertionError):
                return self.answer(400, b'{"status":"client_error"}')
            if sum(map(len, question.values())) > 5000 or len(body) > 1_000_000:
                return self.answer(413, b"{}")
            state.asked.append(question)
            found = {
                kind: [state.said(one, trouble) for one in hashes]
                for kind, hashes in question.items()
            }
            if trouble == "short":
                found = {kind: listed[:-1] for kind, listed in found.items()}
            document: Any = (
                {"body": found, "status": "success"}
                if trouble != "nonsense"
                else ["no", {"thing": 1}]
            )
            return self.answer(
                200, envelope(document, secret, nonce if trouble != "nonce" else b"8 others", now)
            )

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {
                "Content-Length": str(len(body)),
                "Content-Type": "application/octet-stream",
                **(headers or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        state.done.set()
        server.shutdown()
        thread.join()
        server.server_close()
