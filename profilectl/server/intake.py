"""Batches that arrive together become one import.

Even a small import takes some tenths of a second. So all batches of a feed that arrive within
GATHER_S of the first one, or while another import runs, go into one import. A sender gets its 202
once its batches are committed in the store: an accepted batch survives any crash.

Imports run in another process. DuckDB's locks belong to a process, not to a thread: here the lock
that a snapshot takes would count as the lock that an import needs. Another process also leaves the
Python interpreter free to answer questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

from profilectl.codes import ChangeRefused, InputRefused, NobodyFound, ProfilectlError, UsageError
from profilectl.files.ending import end_with_parent
from profilectl.files.suppression_key import choose_key, chosen_key
from profilectl.importing.answers.outcomes import RowOutcome
from profilectl.server.trouble import Trouble, trouble_of
from profilectl.store.same_store import hold_to
from profilectl.store.store_key import known_store_key, take_store_key

T = TypeVar("T")
GATHER_S = 0.2
"""The seconds between a batch and its import, in which others may join it."""
MOST_WAITING = 64 * 1024 * 1024
"""The most bytes that wait to be imported; beyond that, senders have to try again later."""
MOST_TOGETHER = 16 * 1024 * 1024
"""The most bytes of one import."""
WAIT_S = 30.0
"""The seconds that an import waits for another process that holds the store."""
END_S = 10.0
"""The seconds that a running import has when the server ends."""
NAMES = {
    "batch": "POST /v2/events",
    "identify": "POST /v1/identify",
    "login": "POST /v1/login",
    "logout": "POST /v1/logout",
}
"""The name of the file in the history, for each call."""
Change = tuple[str, str | None, str | None]
"""An identity type, its old value, its new one."""


class Later(Exception):
    """The batches were not imported, and the sender may try again. trouble: why."""

    def __init__(self, message: str = "", trouble: Trouble = Trouble.UNAVAILABLE) -> None:
        super().__init__(message)
        self.trouble = trouble


class BatchesRefused(Exception):
    """The batches can never be imported. code: why."""

    def __init__(self, code: str = "BAD_REQUEST") -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class _Parcel:
    """The batches of one request."""

    feed: str
    """The feed that sent them."""
    call: str
    """The call, of NAMES."""
    lines: Sequence[str]
    """The batches, each a JSON text."""
    size: int
    """Their characters."""
    outcomes: asyncio.Future[list[RowOutcome | None]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """The outcome of each, once they are in the store; None for each that is a plain batch."""


@dataclass(frozen=True, slots=True)
class ModifyRequest:
    """A request to change the identities of a profile."""

    feed: str
    """The feed that sent it."""
    environment: str
    """The environment of the profile."""
    mpid: str
    """The profile's MPID."""
    changes: Sequence[Change]
    """The changes: all of them are made, or none."""
    key: str | None
    """The digest by which the same request is recognized; None if it has no id."""
    dry_run: bool
    """Whether to check only."""


class Intake:
    """Imports batches into the store that has a certain id, and into no other.

    All methods are called in the thread of the event loop.
    """

    def __init__(self, store: Path, store_id: str) -> None:
        self.store, self.store_id = store, store_id
        self._waiting: dict[tuple[str, str], list[_Parcel]] = {}
        self._size = 0
        self._arrived = asyncio.Event()
        self._pool: ProcessPoolExecutor | None = None
        self.imports = 0
        self.last_ms = 0
        """When the last import ended, in milliseconds since 1970."""
        self._failing = ""
        """The code of the trouble of the last import; "" for none."""

    async def take(
        self, feed: str, lines: Sequence[str], call: str = "batch"
    ) -> list[RowOutcome | None]:
        """Import batches of a feed (JSON texts), and return once they are in the store.

        call: of NAMES. The outcome of each is returned for every call but "batch". Raises Later if
        too much waits or the store cannot be written, and BatchesRefused.
        """
        if not lines:
            return []
        size = sum(map(len, lines))
        with self._room(size):
            parcel = _Parcel(feed=feed, call=call, lines=lines, size=size)
            self._waiting.setdefault((feed, call), []).append(parcel)
            self._arrived.set()
            return await asyncio.shield(parcel.outcomes)

    async def modify(self, request: ModifyRequest) -> None:
        """Change the identities of a profile, and return once that is in the store.

        Raises Later, BatchesRefused.
        """
        with self._room(sum(len(value or "") for change in request.changes for value in change)):
            # The change goes on if the sender leaves, as an import does.
            work = asyncio.ensure_future(self._work(modify, self.store, request))
            code = await asyncio.shield(work)
        if isinstance(code, Exception):
            raise code
        if code is not None:
            raise BatchesRefused(code)

    @contextlib.contextmanager
    def _room(self, size: int) -> Iterator[None]:
        """Reserve room for `size` characters. Raises Later if there is none."""
        if self._size + size > MOST_WAITING:
            raise Later("too much waits")
        self._size += size
        try:
            yield
        finally:
            self._size -= size

    async def run(self) -> None:
        """Import arriving batches, until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GATHER_S)
            for feed_and_call in list(self._waiting):
                await self._import(self._gathered(feed_and_call))
            if not self._waiting:
                self._arrived.clear()

    def _gathered(self, feed_and_call: tuple[str, str]) -> list[_Parcel]:
        """Take the parcels of the next import of a feed and call."""
        waiting, size = self._waiting.pop(feed_and_call), 0
        gathered: list[_Parcel] = []
        while waiting and (not gathered or size + waiting[0].size <= MOST_TOGETHER):
            gathered.append(waiting.pop(0))
            size += gathered[-1].size
        if waiting:
            self._waiting[feed_and_call] = waiting
        return gathered

    async def _import(self, parcels: Sequence[_Parcel]) -> None:
        """Import parcels together, or one by one if that is refused, and report their outcomes."""
        outcomes = await self._try(parcels)
        if isinstance(outcomes, Exception) and not isinstance(outcomes, Later) and len(parcels) > 1:
            # One parcel made the import fail: the others must not suffer for it.
            for parcel in parcels:
                _finish([parcel], await self._try([parcel]))
            return
        _finish(parcels, outcomes)

    async def _try(self, parcels: Sequence[_Parcel]) -> list[RowOutcome] | Exception:
        """Import parcels, and return the outcome of each batch, or the error."""
        try:
            content = "".join(f"{line}\n" for parcel in parcels for line in parcel.lines)
        except MemoryError:
            return Later("no memory")
        feed, call = parcels[0].feed, parcels[0].call
        return await self._work(partial(import_lines, self.store, feed, content, call=call))

    async def _work(self, work: Callable[..., T], *arguments: object) -> T | Exception:
        """Run a function in the process of imports, and return its result or the error."""
        if self._pool is None:
            starting = (self.store, self.store_id, chosen_key(), known_store_key())
            self._pool = ProcessPoolExecutor(
                max_workers=1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=starting,
            )
        pool = self._pool
        try:
            result = await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)
        except BrokenProcessPool:
            pool.shutdown(wait=False)
            if self._pool is pool:
                self._pool = None
            return self._failed(Later("the import was interrupted"))
        except (InputRefused, UsageError):  # nothing was written
            return BatchesRefused()
        except Exception as error:  # noqa: BLE001 - senders keep their batches and try again
            return self._failed(
                Later(type(error).__name__, trouble_of(error, self.store) or Trouble.UNAVAILABLE)
            )
        if self._failing:
            self._failing = ""
            _log(intake="well")
        self.imports += 1
        self.last_ms = time.time_ns() // 1_000_000
        return result

    def _failed(self, later: Later) -> Later:
        """Log a trouble when it begins or becomes another one; return the error."""
        if later.trouble.code != self._failing:
            self._failing = later.trouble.code
            _log(intake="failed", code=later.trouble.code, kind=str(later))
        return later

    async def finish(self, within_s: float) -> None:
        """Wait, for at most `within_s` seconds, until everything that has arrived is imported."""
        until = time.monotonic() + within_s
        while self._size and time.monotonic() < until:  # noqa: ASYNC110 - at the very end, once
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """End the process of imports.

        It is killed if it does not end in time, or if this wait is interrupted. An import is
        written whole or not at all, and the next command removes the files it leaves.
        """
        if self._pool is None:
            return
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False)
        try:
            wait([process.sentinel for process in processes], END_S)
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
                process.join()


def _finish(parcels: Sequence[_Parcel], outcomes: list[RowOutcome] | Exception) -> None:
    """Give the waiting requests their outcomes. A row that could not be read has none."""
    by_row = (
        {} if isinstance(outcomes, Exception) else {outcome.row: outcome for outcome in outcomes}
    )
    next_row = 0
    for parcel in parcels:
        places = range(next_row, next_row + len(parcel.lines))
        next_row = places.stop
        if not parcel.outcomes.done():
            if isinstance(outcomes, Exception):
                parcel.outcomes.set_exception(outcomes)
                parcel.outcomes.exception()  # marks it as read: the sender may have left
            else:
                parcel.outcomes.set_result([by_row.get(place) for place in places])


def modify(store: Path, request: ModifyRequest) -> str | None:
    """Change the identities of a profile; return None, or the code of the refusal.

    Runs in the process of imports.
    """
    from profilectl.importing.corrections.identities import modify_identities

    try:
        modify_identities(
            store,
            ("mpid", request.mpid),
            request.changes,
            feed=request.feed,
            environment=request.environment,
            request=request.key,
            dry_run=request.dry_run,
            wait_s=WAIT_S,
        )
    except ChangeRefused as error:
        return error.code
    except NobodyFound:
        return "PROFILE_NOT_FOUND"
    return None


def import_lines(store: Path, feed: str, content: str, call: str = "batch") -> list[RowOutcome]:
    """Import batches of a feed; return the outcome of each, for every call but "batch".

    Runs in the process of imports.
    """
    from profilectl.importing.request import ImportRequest
    from profilectl.importing.run import import_files
    from profilectl.store.scratch import folder_beside_or_elsewhere

    row_outcomes: list[RowOutcome] = []

    def collect(outcomes: list[RowOutcome]) -> None:
        row_outcomes[:] = outcomes

    with folder_beside_or_elsewhere(store.absolute()) as folder:
        request = ImportRequest(
            # Standard input, not `content`: the history would remember the content, and must not
            # keep what a person asks to have erased.
            ["-"],
            feed,
            format="jsonl",
            stdin=io.BytesIO(content.encode()),
            stdin_name=NAMES[call],
            again=True,
            wait_s=WAIT_S,
            # Every import writes this file. Nobody reads it: the store keeps the rejects.
            rejects=str(folder / "rejects.jsonl"),
            call="identify" if call == "batch" else call,
            outcomes=None if call == "batch" else collect,
        )
        try:
            import_files(store, request)
        except ProfilectlError as error:
            # The message may quote a row, so only the class of the error goes back.
            raise type(error)(type(error).__name__) from None
    return row_outcomes


def _log_warning(message: Warning | str, *_: object) -> None:
    """Write a warning of the import into the log."""
    _log(notice=str(message))


def _log(**fields: str) -> None:
    """Write a line into the log."""
    time_now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with contextlib.suppress(OSError):  # the reader of the log may have ended
        sys.stderr.write(json.dumps({"time": time_now, **fields}) + "\n")
        sys.stderr.flush()


def _begin(
    store: Path, store_id: str, key: Path | None, store_key: tuple[Path, str] | None
) -> None:
    """Begin the process of imports.

    It ends with the server's process, and ignores the signals that are sent to that one. It never
    makes a store, and checks the id of the store each time it opens it.

    key: the file of --suppression-key.
    store_key: the file and the key of an encrypted store.
    """
    take_store_key(store_key)
    hold_to(store, store_id)
    choose_key(key)
    end_with_parent()
    os.umask(0o077)
    warnings.showwarning = _log_warning  # type: ignore[assignment]
    parent = multiprocessing.parent_process()

    def watch() -> None:
        with contextlib.suppress(OSError):
            wait([parent.sentinel] if parent else [])
        os._exit(0)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()
