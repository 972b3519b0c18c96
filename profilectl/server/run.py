"""The process of `profilectl serve`: what runs, for how long, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from profilectl.codes import StoreUnusable, UsageError
from profilectl.scratch import private_folder
from profilectl.server.application import Service, make_application
from profilectl.server.credentials import Credentials
from profilectl.server.desk import Desk
from profilectl.server.gate import Gate, Notices
from profilectl.server.intake import Intake
from profilectl.server.peers import MOST_CONNECTIONS, MOST_OF_A_PEER, Address, Peers
from profilectl.server.snapshot import Snapshots
from profilectl.server.wire import Limits, config_of
from profilectl.store import check_path

LOOK_S = 0.05
"""So often it is looked whether the store has changed: a stat."""
OTHER_FILES = 500
LAST_S = 20
"""So long what has been accepted may take at the end."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What is asked of `serve`. refresh_s: seconds between two snapshots at least; rates: requests a second; of_a_peer:
    connections of one address; proxies: whose X-Forwarded-For is believed."""

    host: str = "127.0.0.1"
    port: int = 8080
    rate: float = 15
    feed_rate: float = 270
    refresh_s: float = 0
    timeout_s: float = 60
    wait_s: float = 0
    of_a_peer: int = MOST_OF_A_PEER
    proxies: Sequence[Address] = ()


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return make_application(None).openapi()


def serve(store: Path, credentials: Credentials, asked: Serving, ready: Callable[[str], None]) -> None:
    """Serve until a signal ends it. ready: told the address, once requests are taken.

    Raises UsageError for an address that cannot be had, StoreBusy, StoreUnusable.
    """
    check_path(store)  # before a folder is made beside it
    try:
        family = socket.AF_INET6 if ":" in asked.host else socket.AF_INET
        listening = socket.create_server((asked.host, asked.port), family=family, backlog=1024)
    except OSError as error:
        raise UsageError(f"{asked.host} port {asked.port}: {error.strerror}", "--host and --port name another address") from None
    # Whoever ends it by SIGTERM ends it as Ctrl-C does, with all folders removed.
    signal.signal(signal.SIGTERM, lambda *_: _end())
    with listening, private_folder(store, "snapshot") as folder:
        snapshots = Snapshots(store, folder, sorted(set(credentials.workspaces.values())), refresh_s=asked.refresh_s)
        snapshots.open(asked.wait_s)
        host, port = listening.getsockname()[:2]
        _allow_connections()
        address = f"http://{f'[{host}]' if family == socket.AF_INET6 else host}:{port}"

        @contextlib.asynccontextmanager
        async def running() -> AsyncIterator[None]:
            tasks = [asyncio.create_task(_keep_fresh(snapshots)), asyncio.create_task(service.intake.run())]
            ready(address)
            try:
                yield
            finally:
                await service.intake.finish(LAST_S)
                await service.desk.finish()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        service: Service
        held: dict[str, Service] = {}

        async def start() -> None:
            nonlocal service
            peers = Peers(MOST_CONNECTIONS, asked.of_a_peer, asked.proxies)
            service = held["service"] = Service(credentials, Desk(snapshots), Intake(store), asked.rate, asked.feed_rate, peers)
            gate = Gate(make_application(service, running()), timeout_s=asked.timeout_s)
            peers.notice = gate.notice
            logging.getLogger().addHandler(Notices(gate.notice))
            config = config_of(gate, Limits(work_s=asked.timeout_s + 10), peers, gate.write)
            config.timeout_graceful_shutdown = LAST_S
            await uvicorn.Server(config).serve(sockets=[listening])

        try:
            with contextlib.suppress(KeyboardInterrupt, SystemExit):
                asyncio.run(start())
        finally:
            if "service" in held:
                held["service"].intake.close()
                held["service"].desk.close()
            snapshots.close()


def _allow_connections() -> None:
    """Have the system allow as many files as there may be connections, and others beside them."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OTHER_FILES
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        with contextlib.suppress(OSError, ValueError):
            more = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, most))


def _end() -> None:
    raise SystemExit(0)


async def _keep_fresh(snapshots: Snapshots) -> None:
    """Take a new snapshot whenever the store has changed. A store that cannot be read for a while is tried again;
    until then the old snapshot answers, and /healthz says so."""
    while True:
        await asyncio.sleep(LOOK_S)
        with contextlib.suppress(StoreUnusable, OSError):
            taken = await asyncio.to_thread(snapshots.renew)
            if taken is not None:
                snapshots.put(taken)
            snapshots.told_ms = snapshots.checked_ms
