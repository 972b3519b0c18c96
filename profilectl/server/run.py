"""The process of `profilectl serve`: what runs, for how long, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from profilectl.codes import StoreUnusable, UsageError
from profilectl.ending import hang_up_gently
from profilectl.scratch import private_folder
from profilectl.server.application import Service, make_application
from profilectl.server.credentials import Credentials
from profilectl.server.desk import Desk
from profilectl.server.gate import Gate
from profilectl.server.intake import Intake
from profilectl.server.snapshot import Snapshots

LOOK_S = 0.05
"""So often it is looked whether the store has changed: a stat."""
LAST_S = 20
"""So long what has been accepted may take at the end."""
MOST_CONNECTIONS = 1_000


@dataclass(frozen=True, slots=True)
class Serving:
    """What is asked of `serve`. refresh_s: seconds between two snapshots at least; rates: requests a second."""

    host: str = "127.0.0.1"
    port: int = 8080
    rate: float = 15
    feed_rate: float = 270
    refresh_s: float = 0
    timeout_s: float = 60
    wait_s: float = 0


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return make_application(None).openapi()


def serve(store: Path, credentials: Credentials, asked: Serving, ready: Callable[[str], None]) -> None:
    """Serve until a signal ends it. ready: told the address, once requests are taken.

    Raises UsageError for an address that cannot be had, StoreBusy, StoreUnusable.
    """
    try:
        family = socket.AF_INET6 if ":" in asked.host else socket.AF_INET
        listening = socket.create_server((asked.host, asked.port), family=family, backlog=1024)
    except OSError as error:
        raise UsageError(f"{asked.host} port {asked.port}: {error.strerror}", "--host and --port name another address") from None
    # Whoever ends it by SIGTERM ends it as Ctrl-C does, with all folders removed: the loop hears both.
    hang_up_gently()
    with listening, private_folder(store, "snapshot") as folder:
        snapshots = Snapshots(store, folder, sorted(set(credentials.workspaces.values())), refresh_s=asked.refresh_s)
        snapshots.open(asked.wait_s)
        host, port = listening.getsockname()[:2]
        address = f"http://{f'[{host}]' if family == socket.AF_INET6 else host}:{port}"

        @contextlib.asynccontextmanager
        async def running() -> AsyncIterator[None]:
            tasks = [asyncio.create_task(_keep_fresh(snapshots)), asyncio.create_task(service.intake.run())]
            ready(address)
            try:
                yield
            finally:
                await service.intake.finish(LAST_S)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        service: Service
        held: dict[str, Service] = {}

        async def start() -> None:
            nonlocal service
            service = held["service"] = Service(credentials, Desk(snapshots), Intake(store), asked.rate, asked.feed_rate)
            gate: Any = Gate(make_application(service, running()), timeout_s=asked.timeout_s)
            config = uvicorn.Config(
                gate, log_config=None, access_log=False, server_header=False, date_header=True, lifespan="on", timeout_keep_alive=30,
                timeout_graceful_shutdown=LAST_S, limit_concurrency=MOST_CONNECTIONS, ws="none", proxy_headers=False,
            )
            await uvicorn.Server(config).serve(sockets=[listening])

        try:
            with contextlib.suppress(KeyboardInterrupt, SystemExit):
                asyncio.run(start())
        finally:
            if "service" in held:
                held["service"].intake.close()
                held["service"].desk.close()
            snapshots.close()


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
