"""A platform of our own that receives batches and can be hostile: it answers what a test tells it
to, and remembers.

Every batch that it gets is checked against the platform's OpenAPI document.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import itertools
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml
from openapi_schema_validator import OAS30Validator
from support.places import CASES

KEY, SECRET = "input-key", "s3cret/+=:value"
DOCUMENT = CASES / "mparticle-events.oas.yaml"


def document() -> dict[str, Any]:
    """Return the platform's OpenAPI document.

    Two places of it are artefacts of its generator, which contradict the platform's reference
    (domain.md 2.2 and 5.3), and are mended: it has the values of attributes be objects, and consent
    without its purposes.
    """
    found: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text("utf-8"))
    batch = found["components"]["schemas"]["Batch"]["properties"]
    text = {"type": "string", "nullable": True}
    batch["user_attributes"]["additionalProperties"] = {
        "anyOf": [text, {"type": "array", "items": text}]
    }
    batch["consent_state"] = {"type": "object"}
    return found


@functools.cache
def validator() -> OAS30Validator:
    """Return what checks a request of batches."""
    return OAS30Validator(
        {"$ref": "#/components/schemas/BulkBatch", "components": document()["components"]}
    )


def problems_of(batches: Any) -> list[str]:
    """Return where a request is not as the platform's document has it."""
    return [
        f"{'/'.join(map(str, one.absolute_path))}: {one.message[:200]}"
        for one in validator().iter_errors(batches)
    ]


@dataclass(frozen=True)
class Do:
    """What is done with one request: nothing said is an acceptance."""

    status: int = 202
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: str = ""
    """before: the connection is closed and nothing was taken; after: it was taken, and the answer
    is lost.
    """
    slow_s: float = 0


Plan = Callable[[int, list[dict[str, Any]]], Do]
"""From the number of a request, from 0, and its batches to what is done."""


def always(done: Do) -> Plan:
    return lambda number, batches: done


ACCEPT = always(Do())


class Receiver:
    """What was received.

    accepted: the batches of requests that were taken, in order, also where the answer was lost;
    historical: those of them that came to the historical endpoint.
    """

    def __init__(self, plan: Plan = ACCEPT) -> None:
        self.plan = plan
        self.numbers = itertools.count()
        self.lock = threading.Lock()
        self.requests: list[bytes] = []
        self.accepted: list[dict[str, Any]] = []
        self.historical: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.under_way: Counter[str] = Counter()
        self.overtaking: list[str] = []
        self.most_at_once = self.at_once = 0
        self.url = ""

    def ids(self) -> dict[str, set[str]]:
        """Return the request ids under which each content was accepted."""
        found: dict[str, set[str]] = defaultdict(set)
        for one in self.accepted:
            content = {name: value for name, value in one.items() if name != "source_request_id"}
            found[json.dumps(content, sort_keys=True)].add(one["source_request_id"])
        return found

    def contents(self) -> Counter[str]:
        """Return what the platform has, each request id counted once as it does."""
        unique = {one["source_request_id"]: one for one in self.accepted}
        return contents_of(unique.values())


def contents_of(batches: Any) -> Counter[str]:
    """Return batches without their request ids, counted."""
    return Counter(
        json.dumps(
            {name: value for name, value in one.items() if name != "source_request_id"},
            sort_keys=True,
        )
        for one in batches
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self) -> None:
        receiver: Receiver = self.server.receiver  # type: ignore[attr-defined]
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        wanted = "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
        assert self.path in ("/v2/bulkevents", "/v2/bulkevents/historical")
        if self.headers.get("Authorization") != wanted:
            self._answer(Do(403 if "Authorization" in self.headers else 401))
            return
        batches = json.loads(raw)
        people = {
            f"{kind}={value}"
            for one in batches
            for kind, value in one.get("user_identities", {}).items()
        }
        with receiver.lock:
            number = next(receiver.numbers)
            receiver.requests.append(raw)
            receiver.problems += problems_of(batches)
            if (
                len(batches) > 100
                or len(raw) > 262_144
                or not all(
                    len(json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode())
                    <= 131_072
                    for one in batches
                )
            ):
                receiver.problems.append("over a limit")
            receiver.overtaking += [one for one in people if receiver.under_way[one]]
            receiver.under_way.update(people)
            receiver.at_once += 1
            receiver.most_at_once = max(receiver.most_at_once, receiver.at_once)
            done = receiver.plan(number, batches)
        if done.slow_s:
            time.sleep(done.slow_s)
        with receiver.lock:
            if done.cut != "before" and 200 <= done.status < 300:
                receiver.accepted += batches
                receiver.historical += batches if self.path.endswith("/historical") else []
            receiver.under_way.subtract(people)
            receiver.at_once -= 1
        if done.cut:
            self.close_connection = True
        else:
            self._answer(done)

    def _answer(self, done: Do) -> None:
        with contextlib.suppress(OSError):  # a client that was killed, or does not wait
            (self.send_response_only if "Date" in done.headers else self.send_response)(done.status)
            for name, value in {**done.headers, "Content-Length": str(len(done.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(done.body)

    def log_message(self, *arguments: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextlib.contextmanager
def receiving(plan: Plan = ACCEPT) -> Iterator[Receiver]:
    """Receive on a port of this machine, as long as the context lasts."""
    receiver = Receiver(plan)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.receiver = receiver  # type: ignore[attr-defined]
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
