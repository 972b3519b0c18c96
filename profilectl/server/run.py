"""The process of `profilectl serve`: how it begins, what runs in it, and how it ends."""

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

import uvicorn

from profilectl.codes import ProfilectlError, UsageError
from profilectl.files.ending import hang_up_gently
from profilectl.server.application import make_application
from profilectl.server.credentials import ServerCredentials
from profilectl.server.desk import Desk
from profilectl.server.documents import Schema
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
"""The seconds between two looks whether the store has changed, which take one stat each."""
MOST_PAUSE_S = 2.0
"""The most seconds between a failed look and the next one."""
SAY_AGAIN_S = 60.0
"""The seconds after which a lasting failure is logged again."""
OTHER_FILES = 500
"""The open files that the process needs beside its connections."""
LAST_S = 20
"""The seconds that accepted requests and batches have when the server ends."""


@dataclass(frozen=True, slots=True)
class Serving:
    """The options of a server."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = 8080
    """The port to listen on; 0 takes a free one."""
    rate: float = 15
    """The requests a second of a client whose credentials set no rate."""
    feed_rate: float = 270
    """The requests a second of a feed whose credentials set no rate."""
    refresh_s: float = 0
    """The least seconds between two snapshots."""
    timeout_s: float = 60
    """The seconds after which a request is answered with 503."""
    wait_s: float = 0
    """The seconds to wait for a busy store at the start."""
    of_a_peer: int = MOST_OF_A_PEER
    """The most connections of one address."""
    proxies: Sequence[Address] = ()
    """The proxies whose X-Forwarded-For is believed."""
    most_behind_s: float = MOST_BEHIND_S
    """How many seconds older than promised an answer may be."""


def openapi_document() -> Schema:
    """Return the OpenAPI document."""
    return make_application(None).openapi()


def serve(
    store: Path, credentials: ServerCredentials, serving: Serving, *, ready: Callable[[str], None]
) -> None:
    """Serve until a signal ends it. ready: called with the address once the server answers.

    Raises UsageError for an address that cannot be used, StoreBusy, StoreUnusable, and
    ProfilectlError if a part of the server ended by itself.
    """
    check_path(store)  # before a folder is made beside it
    listening = _listen(serving)
    # SIGTERM ends the server as Ctrl-C does, so that its folders are removed.
    hang_up_gently()
    # An absolute path stays right if the current folder is moved.
    store = store.absolute()
    with listening, contextlib.closing(Place.beside(store)) as place:
        workspaces = sorted(set(credentials.workspaces.values()))
        snapshots = Snapshots(
            store,
            place.folder,
            workspaces,
            refresh_s=serving.refresh_s,
            most_behind_s=serving.most_behind_s,
        )
        snapshots.open(serving.wait_s)
        _allow_connections()
        address = _address(listening)
        place.introduce(address, snapshots.store_id)
        process = _process_of(credentials, serving, snapshots=snapshots, place=place)
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


def _listen(serving: Serving) -> socket.socket:
    """Return a socket that listens. Raises UsageError for an address that cannot be used."""
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    try:
        return socket.create_server((serving.host, serving.port), family=family, backlog=1024)
    except OSError as error:
        raise UsageError(
            f"{serving.host} port {serving.port}: {error.strerror}",
            "--host and --port name another address",
        ) from None


def _address(listening: socket.socket) -> str:
    """Return the URL of a socket that listens."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if listening.family == socket.AF_INET6 else host}:{port}"


def _process_of(
    credentials: ServerCredentials, serving: Serving, *, snapshots: Snapshots, place: Place
) -> _Process:
    """Return the process of a server, ready to run."""
    service = Service(
        credentials=credentials,
        desk=Desk(snapshots),
        intake=Intake(snapshots.path, snapshots.store_id),
        rate=serving.rate,
        feed_rate=serving.feed_rate,
        peers=Peers(MOST_CONNECTIONS, serving.of_a_peer, serving.proxies),
    )
    return _Process(service, snapshots, place, timeout_s=serving.timeout_s)


class _Process:
    """The work of a server until a signal ends it."""

    def __init__(
        self, service: Service, snapshots: Snapshots, place: Place, *, timeout_s: float
    ) -> None:
        self._service, self._snapshots, self._place = service, snapshots, place
        self._timeout_s = timeout_s
        self._server: uvicorn.Server
        self._ending = False
        self.ended: str | None = None
        """Why the server ended, if no signal ended it."""

    async def run(self, listening: socket.socket, ready: Callable[[], None]) -> None:
        """Answer requests until a signal comes, or a part that they need ends."""
        application = make_application(self._service, self._running(ready))
        gate = Gate(application, timeout_s=self._timeout_s)
        peers = self._service.peers
        peers.notice = gate.notice
        logging.getLogger().addHandler(Notices(gate.notice))
        limits = ConnectionLimits(work_s=self._timeout_s + 10)
        config = config_of(gate, limits, peers, log=gate.write)
        config.timeout_graceful_shutdown = LAST_S
        self._server = uvicorn.Server(config)
        await self._server.serve(sockets=[listening])

    @contextlib.asynccontextmanager
    async def _running(self, ready: Callable[[], None]) -> AsyncIterator[None]:
        """Renew snapshots and import batches while the server runs."""
        work = {
            "refreshing": _keep_fresh(self._snapshots, self._place),
            "taking batches in": self._service.intake.run(),
        }
        tasks = [
            asyncio.create_task(work_of_task, name=name) for name, work_of_task in work.items()
        ]
        for task in tasks:
            task.add_done_callback(self._end_with)
        try:
            self._announce(ready)
            yield
        finally:
            await self._service.intake.finish(0 if self.ended else LAST_S)
            await self._service.desk.finish()
            self._ending = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _announce(self, ready: Callable[[], None]) -> None:
        try:
            ready()
        except Exception as error:
            self.ended = f"its address could not be printed ({type(error).__name__})"
            raise

    def _end_with(self, task: asyncio.Task[None]) -> None:
        """End the process because a task ended that should go on.

        A server that answers but no longer imports would look as if it worked.
        """
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
        """End the process of imports and the threads that read."""
        self._service.intake.close()
        self._service.desk.close()


def _allow_connections() -> None:
    """Raise the limit of open files to that of connections and of the other files."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = MOST_CONNECTIONS + OTHER_FILES
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        with contextlib.suppress(OSError, ValueError):
            more = needed if most == resource.RLIM_INFINITY else min(needed, most)
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, most))


async def _keep_fresh(snapshots: Snapshots, place: Place | None = None) -> None:
    """Take a snapshot whenever the store has changed, and answer commands that erase (tellers.py).

    A failure is logged and the look repeated. Until it succeeds the old snapshot answers, for a
    limited time, and /healthz shows the trouble.
    """
    failures = _Failures()
    while True:
        await asyncio.sleep(failures.pause_s)
        began_s = time.monotonic()
        try:
            snapshot, questions = await asyncio.to_thread(_look, snapshots, place)
            if snapshot is not None:
                snapshots.put(snapshot)
            snapshots.answered_ms = snapshots.checked_ms
            if place is not None and questions and snapshots.tells_since(began_s):
                place.answer(questions)
        except Exception as error:  # noqa: BLE001 - the next look may succeed
            snapshots.note(error)
            failures.add(error, snapshots.trouble, time.monotonic() - began_s)
        else:
            failures.end()


def _look(snapshots: Snapshots, place: Place | None) -> tuple[Snapshot | None, list[Path]]:
    """Return a new snapshot, if there is one, and the questions that were asked before it."""
    if place is None:
        return snapshots.renew(), []
    place.restore()
    snapshots.folder = place.folder
    questions = place.questions()
    return snapshots.renew(at_once=bool(questions)), questions


class _Failures:
    """Failed looks at the store: each new kind is logged at once, a lasting one now and then."""

    def __init__(self) -> None:
        self.pause_s = LOOK_S
        """The seconds until the next look."""
        self._logged = ""
        self._logged_s = 0.0

    def add(self, error: Exception, trouble: Trouble | None, took_s: float) -> None:
        """Add a look that failed after `took_s` seconds.

        Each pause is twice as long as the one before, and at least as long as the look took.
        """
        self.pause_s = max(min(self.pause_s * 2, MOST_PAUSE_S), took_s)
        kind = f"{trouble.code if trouble else ''} {type(error).__name__}"
        if kind != self._logged or time.monotonic() - self._logged_s >= SAY_AGAIN_S:
            self._logged, self._logged_s = kind, time.monotonic()
            # The message may quote a value, so only the class and the place in the code are logged.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
            _log(
                refresh="failed",
                code=trouble.code if trouble else None,
                kind=type(error).__name__,
                at=place,
            )

    def end(self) -> None:
        """Forget the failures after a look that succeeded."""
        if self._logged:
            _log(refresh="well")
        self.pause_s, self._logged = LOOK_S, ""


def _log(**fields: str | None) -> None:
    """Write a line into the log."""
    time_now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with contextlib.suppress(OSError):  # the reader of the log may have ended: refreshing goes on
        sys.stderr.write(json.dumps({"time": time_now, **fields}) + "\n")
        sys.stderr.flush()
