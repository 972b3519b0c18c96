"""Batches that arrive together become one import.

An import costs some tenths of a second, however small it is. What arrives for a feed within GATHER_S of its first batch, and
while another import runs, goes into one. A sender gets its 202 when its batches are committed in the store: what was
accepted outlives any crash.

Imports run in a process of their own. DuckDB's locks are a process's, not a thread's: in this one, the lock by which a snapshot
is taken would stand for the one by which an import writes. It also leaves the interpreter to those who ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path

from profilectl.codes import InputRefused, ProfilectlError, UsageError

GATHER_S = 0.2
MOST_WAITING = 64 * 1024 * 1024
"""Bytes that may wait to be imported; beyond, senders are told to come later."""
MOST_TOGETHER = 16 * 1024 * 1024
WAIT_S = 30.0
"""So long an import waits for another process that holds the store."""
NAME = "POST /v2/events"
"""What stands for the file's name in the history."""


class Later(Exception):
    """The batches were not taken: the sender may try again."""


class Refused(Exception):
    """The batches can never be taken."""


@dataclass(slots=True)
class _Parcel:
    feed: str
    lines: Sequence[str]
    size: int
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Intake:
    """Takes batches in. All methods are called in the thread of the event loop."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self._waiting: dict[str, list[_Parcel]] = {}
        self._size = 0
        self._something = asyncio.Event()
        self._pool: ProcessPoolExecutor | None = None
        self.imports = 0

    async def take(self, feed: str, lines: Sequence[str]) -> None:
        """Take batches (JSON texts, one a line) of a feed, and return when they are in the store.

        Raises Later where there is too much to do or the store cannot be written, Refused.
        """
        if not lines:
            return
        size = sum(map(len, lines))
        if self._size + size > MOST_WAITING:
            raise Later("too many batches wait")
        parcel = _Parcel(feed, lines, size)
        self._size += size
        self._waiting.setdefault(feed, []).append(parcel)
        self._something.set()
        try:
            await asyncio.shield(parcel.done)
        finally:
            self._size -= size

    async def run(self) -> None:
        """Import what arrives, until cancelled."""
        while True:
            await self._something.wait()
            await asyncio.sleep(GATHER_S)
            for feed in list(self._waiting):
                await self._import(feed, self._gathered(feed))
            if not self._waiting:
                self._something.clear()

    def _gathered(self, feed: str) -> list[_Parcel]:
        waiting, size = self._waiting.pop(feed), 0
        taken: list[_Parcel] = []
        while waiting and (not taken or size + waiting[0].size <= MOST_TOGETHER):
            taken.append(waiting.pop(0))
            size += taken[-1].size
        if waiting:
            self._waiting[feed] = waiting
        return taken

    async def _import(self, feed: str, parcels: Sequence[_Parcel]) -> None:
        failed = await self._try(feed, parcels)
        if failed is not None and not isinstance(failed, Later) and len(parcels) > 1:
            # One of them is at fault, and it shall not be the others' as well.
            for parcel in parcels:
                _finish([parcel], await self._try(feed, [parcel]))
            return
        _finish(parcels, failed)

    async def _try(self, feed: str, parcels: Sequence[_Parcel]) -> Exception | None:
        """Import, and return what stood in the way, if something did."""
        content = "".join(f"{line}\n" for parcel in parcels for line in parcel.lines)
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, import_lines, self.store, feed, content)
        except BrokenProcessPool:
            self._pool.shutdown(wait=False)
            self._pool = None
            return Later("the import was interrupted")
        except (InputRefused, UsageError) as error:  # nothing was written
            return Refused(type(error).__name__)
        except Exception as error:  # noqa: BLE001 - senders keep what they have, and try again
            return Later(type(error).__name__)
        self.imports += 1
        return None

    async def finish(self, within_s: float) -> None:
        """Wait until everything that has arrived is imported, not for ever."""
        until = time.monotonic() + within_s
        while self._size and time.monotonic() < until:  # noqa: ASYNC110 - at the very end, once
            await asyncio.sleep(0.05)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)


def _finish(parcels: Sequence[_Parcel], failed: Exception | None) -> None:
    for parcel in parcels:
        if not parcel.done.done():
            if failed is None:
                parcel.done.set_result(None)
            else:
                parcel.done.set_exception(failed)
                parcel.done.exception()  # the sender may have left


def import_lines(store: Path, feed: str, content: str) -> int | None:
    """Import batches of a feed; return the number of the import. Runs in the process of imports."""
    from profilectl.engine import ImportRequest, import_files

    # What is rejected is kept in the store (store.reject); a file of rejects is made because every import makes one.
    with tempfile.TemporaryDirectory(prefix="profilectl-") as folder:
        request = ImportRequest(
            # As standard input, not as `content`: the history remembers that, and it may not keep what a person asks to have erased.
            ["-"], feed, format="jsonl", stdin=io.BytesIO(content.encode()), stdin_name=NAME, again=True, wait_s=WAIT_S, rejects=str(Path(folder) / "rejects.jsonl")
        )
        try:
            return import_files(store, request).number
        except ProfilectlError as error:
            # Its words may quote a row: only what it is goes back.
            raise type(error)(type(error).__name__) from None


def _log_warning(message: Warning | str, *rest: object) -> None:
    """Put a notice of the import into the log, as a line like every other."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    sys.stderr.write(json.dumps({"time": now, "notice": str(message)}) + "\n")
    sys.stderr.flush()


def _begin() -> None:
    """Begin the process of imports: it ends with the one that began it, not with a Ctrl-C meant for that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.showwarning = _log_warning  # type: ignore[assignment]
    parent = multiprocessing.parent_process()

    def watch() -> None:
        with contextlib.suppress(OSError):
            wait([parent.sentinel] if parent else [])
        os._exit(0)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()
