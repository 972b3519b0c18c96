"""The process of `profilectl serve`: what runs, for how long, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import socket
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn

from profilectl.codes import ProfilectlError, UsageError
from profilectl.files.ending import hang_up_gently
from profilectl.server.application import make_application
from profilectl.server.credentials import ServerCredentials
from profilectl.server.desk import Desk
from profilectl.server.gate import Gate, Notices
from profilectl.server.intake import Intake
from profilectl.server.peers import MOST_CONNECTIONS, MOST_OF_A_PEER, Address, Peers
from profilectl.server.place import Place
from profilectl.server.service import Service
from profilectl.server.snapshot import MOST_BEHIND_S, Snapshot, Snapshots
from profilectl.server.trouble import Trouble
from profilectl.server.wire import ConnectionLimits, config_of
from profilectl.store.attaching import check_path
from profilectl.store.same_store import held_to

LOOK_S = 0.05
"""So often it is looked whether the store has changed: a stat."""
MOST_PAUSE_S = 2.0
"""So long it is waited at most after a look that failed."""
SAY_AGAIN_S = 60.0
"""So often a failure that stays is logged."""
OTHER_FILES = 500
LAST_S = 20
"""So long what has been accepted may take at the end."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What is asked of `serve`.

    refresh_s: seconds between two snapshots at least; rates: requests a second; of_a_peer:
    connections of one address; proxies: whose X-Forwarded-For is believed; most_behind_s: so much
    older than promised may be what is told.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    rate: float = 15
    feed_rate: float = 270
    refresh_s: float = 0
    timeout_s: float = 60
    wait_s: float = 0
    of_a_peer: int = MOST_OF_A_PEER
    proxies: Sequence[Address] = ()
    most_behind_s: float = MOST_BEHIND_S


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return make_application(None).openapi()


def serve(
    store: Path, credentials: ServerCredentials, asked: Serving, ready: Callable[[str], None]
) -> None:
    """Serve until a signal ends it. ready: told the address, once requests are taken.

    Raises UsageError for an address that cannot be had, StoreBusy, StoreUnusable.
    """
    check_path(store)  # before a folder is made beside it
    try:
        family = socket.AF_INET6 if ":" in asked.host else socket.AF_INET
        listening = socket.create_server((asked.host, asked.port), family=family, backlog=1024)
    except OSError as error:
        raise UsageError(
            f"{asked.host} port {asked.port}: {error.strerror}",
            "--host and --port name another address",
        ) from None
    # Whoever ends it by SIGTERM ends it as Ctrl-C does, with all folders removed: the loop hears
    # both.
    hang_up_gently()
    # The place that is meant, also where the folder that this runs in is moved.
    store = store.absolute()
    with listening, contextlib.closing(Place(store)) as place:
        workspaces = sorted(set(credentials.workspaces.values()))
        snapshots = Snapshots(
            store,
            place.folder,
            workspaces,
            refresh_s=asked.refresh_s,
            most_behind_s=asked.most_behind_s,
        )
        snapshots.open(asked.wait_s)
        host, port = listening.getsockname()[:2]
        _allow_connections()
        address = f"http://{f'[{host}]' if family == socket.AF_INET6 else host}:{port}"
        place.say_who(address, snapshots.store_id)
        process = _Process(credentials, asked, snapshots, place)
        try:
            with (
                held_to(store, snapshots.store_id),
                contextlib.suppress(KeyboardInterrupt, SystemExit),
            ):
                asyncio.run(process.run(listening, lambda: ready(address)))
        finally:
            process.close()
            snapshots.close()
        if process.ended is not None:
            raise ProfilectlError(
                f"the server ended, because {process.ended}",
                "please report it, and start serve again",
            )


class _Process:
    """What runs until a signal ends it."""

    def __init__(
        self, credentials: ServerCredentials, asked: Serving, snapshots: Snapshots, place: Place
    ) -> None:
        self._asked, self._snapshots, self._place = asked, snapshots, place
        self._peers = Peers(MOST_CONNECTIONS, asked.of_a_peer, asked.proxies)
        self._service = Service(
            credentials,
            Desk(snapshots),
            Intake(snapshots.path, snapshots.store_id),
            asked.rate,
            asked.feed_rate,
            self._peers,
        )
        self._server: uvicorn.Server
        self._ending = False
        self.ended: str | None = None
        """Why it ended, where no signal asked for that."""

    async def run(self, listening: socket.socket, ready: Callable[[], None]) -> None:
        """Take requests until a signal comes, or what they rest on ends."""
        application = make_application(self._service, self._running(ready))
        gate = Gate(application, timeout_s=self._asked.timeout_s)
        self._peers.notice = gate.notice
        logging.getLogger().addHandler(Notices(gate.notice))
        config = config_of(
            gate, ConnectionLimits(work_s=self._asked.timeout_s + 10), self._peers, gate.write
        )
        config.timeout_graceful_shutdown = LAST_S
        self._server = uvicorn.Server(config)
        await self._server.serve(sockets=[listening])

    @contextlib.asynccontextmanager
    async def _running(self, ready: Callable[[], None]) -> AsyncIterator[None]:
        work = {
            "refreshing": _keep_fresh(self._snapshots, self._place),
            "taking batches in": self._service.intake.run(),
        }
        tasks = [asyncio.create_task(one, name=name) for name, one in work.items()]
        for task in tasks:
            task.add_done_callback(self._end_with)
        try:
            self._tell(ready)
            yield
        finally:
            await self._service.intake.finish(0 if self.ended else LAST_S)
            await self._service.desk.finish()
            self._ending = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _tell(self, ready: Callable[[], None]) -> None:
        try:
            ready()
        except Exception as error:
            self.ended = f"its address could not be told ({type(error).__name__})"
            raise

    def _end_with(self, task: asyncio.Task[None]) -> None:
        """End the process with a task that should have gone on: nobody is to take it for one that
        is at work."""
        if self._ending:
            return
        error = None if task.cancelled() else task.exception()
        self.ended = (
            f"{task.get_name()} ended ({type(error).__name__})"
            if error
            else f"{task.get_name()} ended"
        )
        self._server.should_exit = True

    def close(self) -> None:
        """Give back what it took."""
        self._service.intake.close()
        self._service.desk.close()


def _allow_connections() -> None:
    """Have the system allow as many files as there may be connections, and others beside them."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OTHER_FILES
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        with contextlib.suppress(OSError, ValueError):
            more = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, most))


async def _keep_fresh(snapshots: Snapshots, place: Place | None = None) -> None:
    """Take a new snapshot whenever the store has changed, and answer whoever asks what is told
    (tellers.py). Whatever is in the way is logged and tried again: until then the old snapshot
    answers, not for long, and /healthz says so."""
    failures = _Failures()
    while True:
        await asyncio.sleep(failures.pause_s)
        began_s = time.monotonic()
        try:
            taken, questions = await asyncio.to_thread(_look, snapshots, place)
            if taken is not None:
                snapshots.put(taken)
            snapshots.told_ms = snapshots.checked_ms
            if place is not None and questions and snapshots.tells_since(began_s):
                place.answer(questions)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may succeed
            snapshots.note(error)
            failures.add(error, snapshots.trouble, time.monotonic() - began_s)
        else:
            failures.end()


def _look(snapshots: Snapshots, place: Place | None) -> tuple[Snapshot | None, list[Path]]:
    """Return a new snapshot, where there is one, and what was asked before."""
    if place is None:
        return snapshots.renew(), []
    place.again()
    snapshots.folder = place.folder
    questions = place.questions()
    return snapshots.renew(at_once=bool(questions)), questions


class _Failures:
    """Looks at the store that failed in a row: each new kind is logged, and then one in a while."""

    def __init__(self) -> None:
        self.pause_s = LOOK_S
        """So long it is waited until the next look."""
        self._said = ""
        self._said_s = 0.0

    def add(self, error: Exception, trouble: Trouble | None, took_s: float) -> None:
        """Add a look that failed, after so long: the next is later each time, and never at work for
        more than half the time."""
        self.pause_s = max(min(self.pause_s * 2, MOST_PAUSE_S), took_s)
        kind = f"{trouble.code if trouble else ''} {type(error).__name__}"
        if kind != self._said or time.monotonic() - self._said_s >= SAY_AGAIN_S:
            self._said, self._said_s = kind, time.monotonic()
            # Its words may quote a value: only what it is, and where in the code.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
            _log(
                refresh="failed",
                code=trouble.code if trouble else None,
                kind=type(error).__name__,
                at=place,
            )

    def end(self) -> None:
        """Note a look that succeeded."""
        if self._said:
            _log(refresh="well")
        self.pause_s, self._said = LOOK_S, ""


def _log(**said: str | None) -> None:
    """Write a line into the log, as a request does."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with contextlib.suppress(OSError):  # who reads the log may be gone: that ends no refreshing
        sys.stderr.write(json.dumps({"time": now, **said}) + "\n")
        sys.stderr.flush()
