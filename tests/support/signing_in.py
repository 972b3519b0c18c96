"""IDSync without a process of its own: the application that `profilectl serve` runs, asked in this
one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from support.doors import call

from profilectl.codes import InputRefused, UsageError
from profilectl.server import intake
from profilectl.server.application import make_application
from profilectl.server.credentials import FeedSender, ServerCredentials
from profilectl.server.desk import Desk
from profilectl.server.intake import BatchesRefused, Intake, Later
from profilectl.server.run import _keep_fresh
from profilectl.server.service import Service
from profilectl.server.snapshot import Snapshot, Snapshots

SECRET = "a-secret-of-this-test"
FEEDS = ("app", "careful", "reader")
CONFIG = """
[identity]
strategy = "{strategy}"
{more}
[feeds.app]
source = "sdk"
[feeds.careful]
protection = "update-only"
[feeds.reader]
protection = "read-only"
"""


ALONE = threading.Lock()
"""The locks of a store are a process's: here a copy is not taken while an import writes."""


class Inline(Intake):
    """Imports in this process: nobody else works in it."""

    async def _work(self, work: Callable[..., Any], *arguments: object) -> Any:
        try:
            with ALONE:
                done = work(*arguments)
        except (InputRefused, UsageError):
            return BatchesRefused()
        except Exception as error:  # noqa: BLE001 - as the real one
            return Later(repr(error))
        self.last_ms = time.time_ns() // 1_000_000
        return done


class Copies(Snapshots):
    """Copies that are taken while nobody writes."""

    def renew(self, *, at_once: bool = False) -> Snapshot | None:
        with ALONE:
            return super().renew(at_once=at_once)


class Room:
    """A store, and the application before it."""

    def __init__(self, folder: Path, feeds: Sequence[str] = FEEDS) -> None:
        self.folder = folder
        self.store = folder / "profiles.duckdb"
        copies = folder / "copies"
        copies.mkdir(exist_ok=True)
        self.snapshots = Copies(self.store, copies, ["default"])
        self.snapshots.open(5)
        senders = tuple(FeedSender(name, f"key-{name}", SECRET) for name in feeds)
        credentials = ServerCredentials("1", "1", "a", {"1": "default"}, (), senders)
        self.desk = Desk(self.snapshots)
        self.intake = Inline(self.store, self.snapshots.store_id)
        self.application = make_application(Service(credentials, self.desk, self.intake, 1e9, 1e9))
        self.document = self.application.openapi()
        self.runner = asyncio.Runner()
        self.tasks = self.runner.run(self._begin())

    async def _begin(self) -> list[Any]:
        return [
            asyncio.create_task(self.intake.run()),
            asyncio.create_task(_keep_fresh(self.snapshots)),
        ]

    def send(
        self, path: str, body: Any, feed: str = "app", **headers: str | bytes
    ) -> httpx.Response:
        """Send a request."""
        return self.send_all([(path, body)], feed, **headers)[0]

    def send_all(
        self, requests: list[tuple[str, Any]], feed: str = "app", **headers: str | bytes
    ) -> list[httpx.Response]:
        """Send requests at once."""
        return self.runner.run(self._send(requests, feed, headers))

    async def _send(
        self, requests: list[tuple[str, Any]], feed: str, headers: dict[str, Any]
    ) -> list[httpx.Response]:
        transport = httpx.ASGITransport(self.application)
        auth = None if headers else (f"key-{feed}", SECRET)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://here", auth=auth, headers=headers, timeout=60
        ) as http:
            answers = list(
                await asyncio.gather(
                    *(
                        http.post(
                            f"/v1/{path}",
                            content=body if isinstance(body, bytes) else json.dumps(body).encode(),
                        )
                        for path, body in requests
                    )
                )
            )
        for answer in answers:
            self.check(answer)
        return answers

    def check(self, answer: httpx.Response) -> None:
        """Hold an answer against the document that the application gives of itself."""
        path = answer.request.url.path
        told = self.document["paths"]["/v1/{mpid}/modify" if path.endswith("/modify") else path][
            "post"
        ]["responses"]
        schema = told[str(answer.status_code)]["content"]["application/json"]["schema"]
        jsonschema.validate(answer.json(), schema)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers.get("cache-control") == "no-store"

    def ask(
        self,
        path: str,
        feed: str = "app",
        /,
        *,
        environment: str = "production",
        **identities: str | None,
    ) -> dict[str, Any]:
        """Ask about identities and return the answer, which must be good."""
        answer = self.send(path, {"environment": environment, "known_identities": identities}, feed)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def mpid(self, path: str, feed: str = "app", /, **identities: str) -> str:
        return str(self.ask(path, feed, **identities)["mpid"])

    def profiles(self) -> dict[str, dict[str, Any]]:
        """Return the identities of everybody: MPID -> type -> values."""
        done = call("export", "profiles", folder=self.folder)
        assert done.exit_code == 0, done.output
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return {
            one["mpid"]: {**one["user_identities"], **one["device_identities"]} for one in found
        }

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.runner.run(asyncio.sleep(0))
        self.runner.close()
        self.desk.close()
        self.snapshots.close()


@contextlib.contextmanager
def room(folder: Path, strategy: str = "default", more: str = "") -> Iterator[Room]:
    """Make a store, and the application before it. more: of the identity rules."""
    (folder / "config.toml").write_text(CONFIG.format(strategy=strategy, more=more))
    done = call("config", "apply", "config.toml", folder=folder)
    assert done.exit_code == 0, done.output
    with room_of(folder) as made:
        yield made


@contextlib.contextmanager
def room_of(folder: Path, feeds: Sequence[str] = FEEDS) -> Iterator[Room]:
    """Put the application before a store that is there."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(intake, "GATHER_S", 0.0)
        made = Room(folder, feeds)
        try:
            yield made
        finally:
            made.close()
