"""Batches that arrive together become one import.

An import costs some tenths of a second, however small it is. What arrives for a feed within
GATHER_S of its first batch, and while another import runs, goes into one. A sender gets its 202
when its batches are committed in the store: what was accepted outlives any crash.

Imports run in a process of their own. DuckDB's locks are a process's, not a thread's: in this one,
the lock by which a snapshot is taken would stand for the one by which an import writes. It also
leaves the interpreter to those who ask.
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
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

from profilectl.codes import ChangeRefused, InputRefused, NobodyFound, ProfilectlError, UsageError
from profilectl.files.ending import end_with_parent
from profilectl.files.suppression_key import choose_key, chosen_key
from profilectl.importing.outcomes import RowOutcome
from profilectl.server.trouble import Trouble, trouble_of
from profilectl.store.same_store import hold_to
from profilectl.store.store_key import known_store_key, take_store_key

T = TypeVar("T")
GATHER_S = 0.2
MOST_WAITING = 64 * 1024 * 1024
"""Bytes that may wait to be imported; beyond, senders are told to come later."""
MOST_TOGETHER = 16 * 1024 * 1024
WAIT_S = 30.0
"""So long an import waits for another process that holds the store."""
END_S = 10.0
"""So long what is being imported may take at the very end."""
NAMES = {
    "batch": "POST /v2/events",
    "identify": "POST /v1/identify",
    "login": "POST /v1/login",
    "logout": "POST /v1/logout",
}
"""What stands for the file's name in the history, of what is sent."""
Change = tuple[str, str | None, str | None]
"""An identity type, its old value, its new one."""


class Later(Exception):
    """The batches were not taken: the sender may try again. trouble: why."""

    def __init__(self, words: str = "", trouble: Trouble = Trouble.UNAVAILABLE) -> None:
        super().__init__(words)
        self.trouble = trouble


class BatchesRefused(Exception):
    """The batches can never be taken. code: why."""

    def __init__(self, code: str = "BAD_REQUEST") -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class _Parcel:
    """Batches of one request.

    call: of NAMES; done: what became of each, but of batches, whose senders are not told.
    """

    feed: str
    call: str
    lines: Sequence[str]
    size: int
    done: asyncio.Future[list[RowOutcome | None]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Intake:
    """Takes batches in, into the store with an id and no other.

    All methods are called in the thread of the event loop.
    """

    def __init__(self, store: Path, store_id: str) -> None:
        self.store, self.store_id = store, store_id
        self._waiting: dict[tuple[str, str], list[_Parcel]] = {}
        self._size = 0
        self._something = asyncio.Event()
        self._pool: ProcessPoolExecutor | None = None
        self.imports = 0
        self.last_ms = 0
        """When the last import was done."""
        self._failing = ""
        """The code of what stood in the way of the last import; "" for nothing."""

    async def take(
        self, feed: str, lines: Sequence[str], call: str = "batch"
    ) -> list[RowOutcome | None]:
        """Take batches (JSON texts, one a line) of a feed, and return when they are in the store;
        of what an application says of its user, what became of each. call: of NAMES.

        Raises Later where there is too much to do or the store cannot be written, Refused.
        """
        if not lines:
            return []
        size = sum(map(len, lines))
        with self._room(size):
            parcel = _Parcel(feed, call, lines, size)
            self._waiting.setdefault((feed, call), []).append(parcel)
            self._something.set()
            return await asyncio.shield(parcel.done)

    async def modify(
        self,
        feed: str,
        environment: str,
        mpid: str,
        changes: Sequence[Change],
        request: str | None,
        *,
        dry_run: bool,
    ) -> None:
        """Change the identities of a profile, and return when that is in the store.

        Raises Later, Refused.
        """
        with self._room(sum(len(value or "") for change in changes for value in change)):
            # It is done, or not, whether or not somebody still waits for it: as an import.
            work = asyncio.ensure_future(
                self._work(modify, self.store, feed, environment, mpid, changes, request, dry_run)
            )
            code = await asyncio.shield(work)
        if isinstance(code, Exception):
            raise code
        if code is not None:
            raise BatchesRefused(code)

    @contextlib.contextmanager
    def _room(self, size: int) -> Iterator[None]:
        """Take the room for so many bytes. Raises Later where there is none."""
        if self._size + size > MOST_WAITING:
            raise Later("too much waits")
        self._size += size
        try:
            yield
        finally:
            self._size -= size

    async def run(self) -> None:
        """Import what arrives, until cancelled."""
        while True:
            await self._something.wait()
            await asyncio.sleep(GATHER_S)
            for sent in list(self._waiting):
                await self._import(self._gathered(sent))
            if not self._waiting:
                self._something.clear()

    def _gathered(self, sent: tuple[str, str]) -> list[_Parcel]:
        waiting, size = self._waiting.pop(sent), 0
        taken: list[_Parcel] = []
        while waiting and (not taken or size + waiting[0].size <= MOST_TOGETHER):
            taken.append(waiting.pop(0))
            size += taken[-1].size
        if waiting:
            self._waiting[sent] = waiting
        return taken

    async def _import(self, parcels: Sequence[_Parcel]) -> None:
        done = await self._try(parcels)
        if isinstance(done, Exception) and not isinstance(done, Later) and len(parcels) > 1:
            # One of them is at fault, and it shall not be the others' as well.
            for parcel in parcels:
                _finish([parcel], await self._try([parcel]))
            return
        _finish(parcels, done)

    async def _try(self, parcels: Sequence[_Parcel]) -> list[RowOutcome] | Exception:
        """Import, and return what became of each batch, or what stood in the way."""
        try:
            content = "".join(f"{line}\n" for parcel in parcels for line in parcel.lines)
        except MemoryError:
            return Later("no memory")
        return await self._work(import_lines, self.store, parcels[0].feed, content, parcels[0].call)

    async def _work(self, work: Callable[..., T], *arguments: object) -> T | Exception:
        """Work in the process of imports, and return what came of it, or what stood in the way."""
        if self._pool is None:
            starting = (self.store, self.store_id, chosen_key(), known_store_key())
            self._pool = ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"), _begin, starting
            )
        pool = self._pool
        try:
            done = await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)
        except BrokenProcessPool:
            pool.shutdown(wait=False)
            if self._pool is pool:
                self._pool = None
            return self._failed(Later("the import was interrupted"))
        except (InputRefused, UsageError):  # nothing was written
            return BatchesRefused()
        except Exception as error:  # noqa: BLE001 - senders keep what they have, and try again
            return self._failed(
                Later(type(error).__name__, trouble_of(error, self.store) or Trouble.UNAVAILABLE)
            )
        if self._failing:
            self._failing = ""
            _log(intake="well")
        self.imports += 1
        self.last_ms = time.time_ns() // 1_000_000
        return done

    def _failed(self, later: Later) -> Later:
        """Log what stands in the way, when that begins or changes."""
        if later.trouble.code != self._failing:
            self._failing = later.trouble.code
            _log(intake="failed", code=later.trouble.code, kind=str(later))
        return later

    async def finish(self, within_s: float) -> None:
        """Wait until everything that has arrived is imported, not for ever."""
        until = time.monotonic() + within_s
        while self._size and time.monotonic() < until:  # noqa: ASYNC110 - at the very end, once
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """End the process of imports.

        One that does not end is killed, in time or by whoever interrupts this: an import is whole
        or not there, and what it leaves is taken away by the next command.
        """
        if self._pool is None:
            return
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False)
        try:
            wait([one.sentinel for one in processes], END_S)
        finally:
            for one in processes:
                if one.is_alive():
                    one.kill()
                one.join()


def _finish(parcels: Sequence[_Parcel], done: list[RowOutcome] | Exception) -> None:
    """Tell those who wait. A row that could not be read has no outcome."""
    told = {} if isinstance(done, Exception) else {one.row: one for one in done}
    first = 0
    for parcel in parcels:
        places = range(first, first + len(parcel.lines))
        first = places.stop
        if not parcel.done.done():
            if isinstance(done, Exception):
                parcel.done.set_exception(done)
                parcel.done.exception()  # the sender may have left
            else:
                parcel.done.set_result([told.get(place) for place in places])


def modify(
    store: Path,
    feed: str,
    environment: str,
    mpid: str,
    changes: Sequence[Change],
    request: str | None,
    dry_run: bool,
) -> str | None:
    """Change the identities of a profile; return None, or the code of why not.

    Runs in the process of imports.
    """
    from profilectl.importing.corrections.identities import modify_identities

    try:
        modify_identities(
            store,
            ("mpid", mpid),
            changes,
            feed=feed,
            environment=environment,
            request=request,
            dry_run=dry_run,
            wait_s=WAIT_S,
        )
    except ChangeRefused as error:
        return error.code
    except NobodyFound:
        return "PROFILE_NOT_FOUND"
    return None


def import_lines(store: Path, feed: str, content: str, call: str = "batch") -> list[RowOutcome]:
    """Import batches of a feed; return what became of each, where an application says them.

    Runs in the process of imports.
    """
    from profilectl.importing.request import ImportRequest
    from profilectl.importing.run import import_files
    from profilectl.store.scratch import folder_beside_or_elsewhere

    # What is rejected is kept in the store (store.reject); a file of rejects is made because every
    # import makes one.
    told: list[RowOutcome] = []

    def tell(outcomes: list[RowOutcome]) -> None:
        told[:] = outcomes

    with folder_beside_or_elsewhere(store.absolute()) as folder:
        request = ImportRequest(
            # As standard input, not as `content`: the history remembers that, and it may not keep
            # what a person asks to have erased.
            ["-"],
            feed,
            format="jsonl",
            stdin=io.BytesIO(content.encode()),
            stdin_name=NAMES[call],
            again=True,
            wait_s=WAIT_S,
            rejects=str(folder / "rejects.jsonl"),
            call="identify" if call == "batch" else call,
            outcomes=None if call == "batch" else tell,
        )
        try:
            import_files(store, request)
        except ProfilectlError as error:
            # Its words may quote a row: only what it is goes back.
            raise type(error)(type(error).__name__) from None
    return told


def _log_warning(message: Warning | str, *rest: object) -> None:
    """Put a notice of the import into the log."""
    _log(notice=str(message))


def _log(**said: str) -> None:
    """Write a line into the log, as a request does."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with contextlib.suppress(OSError):  # who reads the log may be gone
        sys.stderr.write(json.dumps({"time": now, **said}) + "\n")
        sys.stderr.flush()


def _begin(
    store: Path, store_id: str, key: Path | None, store_key: tuple[Path, str] | None
) -> None:
    """Begin the process of imports: it ends with the one that began it, not with a signal meant for
    that one. Each time it opens the store it looks whether that is the one with the id; it never
    makes one. key: the file that was named with --suppression-key; store_key: the key of a store
    that is encrypted, and its file.
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
