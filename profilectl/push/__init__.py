"""profilectl push: what the store holds, what an import changed, or a file of batches goes to the platform's Events API.

    source -> rows -> parcels -> requests -> the platform -> ledger

What is written down was accepted before, so nothing is lost; what was accepted and not yet written down is
sent again under the same request ids, which the platform knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from profilectl.codes import ProfilectlError, StoreBusy, UsageError, sentence
from profilectl.credentials import Credentials
from profilectl.events_api import address_of
from profilectl.export import Wanted
from profilectl.fields import Unusable
from profilectl.packing import Parcel, Track, body_of, pack, request_id
from profilectl.push.ledger import Begun, Entry, Ledger
from profilectl.push.sending import Counts, Pace, Refused, Sender
from profilectl.push.source import OfFile, OfStore, Row, Source
from profilectl.scratch import scratch_beside
from profilectl.whole_file import check_apart, check_target, whole_file
from profilectl.workspace import chosen_workspace

MOST_OPEN = 100_000
"""So many positions may be begun and not be written down as done."""
WRITE_EVERY_S = 1.0
SHARE_OF_TIME = 10
"""... and not more often than lets it take a tenth of the time."""
LAST_WAIT_S = 60.0
"""How long the end of a push waits for a busy store."""

Progress = Callable[[int, int], None]
"""Is told how many rows are done, of how many."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be pushed: profiles (that meet a condition, that an import touched), or a file. with_mpid: batches
    name our MPIDs; with_times: they say timestamp_unixtime_ms. again: also what was pushed before. opt_outs: profiles leave with
    the opt-out in force, as an event."""

    file: Path | None = None
    by_import: int | None = None
    where: str | None = None
    environment: str | None = None
    with_mpid: bool = False
    with_times: bool = False
    again: bool = False
    opt_outs: bool = True

    @property
    def kind(self) -> str:
        return "file" if self.file else "profiles" if self.by_import is None else "import"

    def wanted(self) -> Wanted:
        return Wanted("batches", where=self.where, environment=self.environment, touched_by=self.by_import, with_mpid=self.with_mpid, opt_outs=self.opt_outs)


@dataclass(slots=True)
class PushReport:
    """What a push did. rows: profiles or lines; packed: batches that were put into requests; it, counts and reasons are of this run. stopped: why it did not come to its end.

    number is that of the push; finished_before: it was at its end already, and nothing was sent.
    """

    number: int
    kind: str
    address: str | None
    dry_run: str | None = None
    resumed: bool = False
    finished: bool = False
    finished_before: bool = False
    total: int = 0
    done: int = 0
    packed: int = 0
    accepted_before: int = 0
    counts: Counts = field(default_factory=Counts)
    reasons: Counter[str] = field(default_factory=Counter)
    refused_file: str | None = None
    elapsed_ms: int = 0
    stopped: BaseException | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the document that push --json prints."""
        left = 0 if self.finished else self.total - self.done
        return {
            "push": self.number, "of": self.kind, "address": self.address, "dry_run": self.dry_run, "resumed": self.resumed, "finished": self.finished,
            "rows": {"total": self.total, "done": self.done, "left": left, "without_batch": self.total - self.done - left},
            "batches": {"packed": self.packed, "accepted": self.counts.accepted, "accepted_before": self.accepted_before, "refused": sum(self.reasons.values())},
            "reasons": dict(sorted(self.reasons.items())), "requests": self.counts.requests, "bytes": self.counts.bytes, "retries": self.counts.retries,
            "throttled": dict(sorted(self.counts.throttled.items())), "refused": self.refused_file, "elapsed_ms": self.elapsed_ms,
        }


def push(
    store_path: Path,
    asked: Asked,
    *,
    host: str | None,
    credentials: Credentials | None,
    pace: Pace = Pace(),  # noqa: B008  (frozen)
    refused: Path | None = None,
    dry_run: Path | None = None,
    memory_limit: str | None = None,
    wait_s: float = 0,
    progress: Progress = lambda done, total: None,
    said: Callable[[str], None] = lambda text: None,
) -> PushReport:
    """Send what is asked for to a host (events_api.address_of), or write the requests to a file (dry_run), and return the report.

    refused: where refused batches are written, else push-N.refused.jsonl; of a dry run only where it is given. said: is told what a person should know
    at once. A push that stops on the way says why in its report. Raises UsageError, InputRefused, StoreBusy,
    StoreUnusable before anything is sent.
    """
    began = time.monotonic()
    address = address_of(host) if host else None
    if address is None and dry_run is None:
        raise UsageError("--host is missing: where to?", "name a URL, or us1, us2, eu1, au1; or write the requests to a file with --dry-run FILE")
    check_apart([("--dry-run", dry_run), ("--refused", refused)], [store_path, *([asked.file] if asked.file else [])])
    for option, path in (("--dry-run", dry_run), ("--refused", refused)):
        if path is not None:
            check_target(path, option)
    with scratch_beside(store_path.absolute(), memory_limit) as scratch, contextlib.closing(Ledger(store_path, wait_s)) as ledger:
        file = OfFile(scratch, asked.file, with_times=asked.with_times) if asked.file else None
        store = None if file else OfStore(scratch, store_path, asked.wanted(), with_times=asked.with_times, wait_s=wait_s)
        sealed = {
            "kind": asked.kind, "sha256": file.sha256 if file else None, "import": asked.by_import, "where": asked.where, "environment": asked.environment,
            "with_mpid": asked.with_mpid, "with_times": asked.with_times, "opt_outs": asked.opt_outs, "workspace": chosen_workspace(), "address": address,
        }
        begun = ledger.begin(asked.kind, sealed, store.until if store else None, again=asked.again, dry_run=dry_run is not None)
        report = PushReport(
            begun.number, asked.kind, address, str(dry_run) if dry_run else None, begun.resumed, begun.finished, begun.finished,
            done=begun.rows, accepted_before=begun.accepted,
        )
        if begun.finished:
            report.total = report.done
            return report
        if store:
            store.end_before(begun.until or 0)
        source: Source = store or file  # type: ignore[assignment]
        report.total = source.total
        run = _Run(source, begun, ledger, report, refused, progress)
        if dry_run is not None:
            with whole_file(dry_run, "--dry-run") as out:
                run.write_down(out)
        else:
            assert address is not None
            assert credentials is not None
            asyncio.run(run.send(lambda: Sender(address, credentials, pace, said), pace.parallel))
        report.elapsed_ms = round((time.monotonic() - began) * 1000)
        return report


class _Run:
    """One run of a push: reads ahead, sends, and writes down what is done."""

    def __init__(self, source: Source, begun: Begun, ledger: Ledger, report: PushReport, refused: Path | None, progress: Progress) -> None:
        self._source, self._begun, self._ledger, self._report, self._progress = source, begun, ledger, report, progress
        self._track = Track(source.first, begun.done)
        self._store, self._stop = asyncio.Lock(), asyncio.Event()
        self._places: dict[int, dict[str, Any]] = {}
        self._pending = Entry([])
        # A dry run leaves nothing behind that was not asked for.
        self._refused = refused or (None if report.dry_run else Path(f"push-{begun.number}.refused.jsonl"))

    # rows

    def _name(self, position: int, part: int, content: str) -> str:
        return request_id(self._begun.namespace, self._begun.number, position, part, content)

    def _blocks(self) -> Iterator[list[Row]]:
        return self._source.blocks(self._track, self._name)

    def _begin(self, row: Row) -> list[Parcel]:
        """Begin a row; what of it cannot be sent is refused at once."""
        self._track.begin(row.position, len(row.parcels) + len(row.bad))
        self._places[row.position] = row.place
        for one in row.bad:
            self._refuse(row.position, one.part, one.error.code, _said(one.error), one.raw)
        if not row.parcels and not row.bad:
            self._row_is_done(row.position)
        return row.parcels

    def _refuse(self, position: int, part: int, code: str, message: str, raw: str) -> None:
        self._report.reasons[code] += 1
        self._pending.refused = [*self._pending.refused, (position, part, code)]
        if self._refused is not None:
            line = {**self._places[position], "part": part, "code": code, "message": message, "raw": raw}
            _append(self._refused, json.dumps(line, ensure_ascii=False) + "\n")
            self._report.refused_file = str(self._refused)
        if self._track.end(position):
            self._row_is_done(position)

    def _row_is_done(self, position: int) -> None:
        del self._places[position]
        self._pending.rows += 1
        self._report.done += 1
        self._progress(self._report.done, self._report.total)

    def _accept(self, parcels: Sequence[Parcel]) -> None:
        for one in parcels:
            if self._track.end(one.position):
                self._row_is_done(one.position)
        self._pending.accepted += len(parcels)

    # to a file

    def write_down(self, out: BinaryIO) -> None:
        """Write each request as one line, and count it as if it had been sent."""
        for request in pack(parcel for block in self._blocks() for row in block for parcel in self._begin(row)):
            body = body_of(request)
            out.write(body + b"\n")
            self._report.packed += len(request)
            self._report.counts.requests += 1
            self._report.counts.bytes += len(body)
            self._accept(request)
            self._track.runs()

    # to the platform

    async def send(self, sender_of: Callable[[], Sender], parallel: int) -> None:
        """Send everything that is not done; what stops it is in the report, and all that was done in the ledger."""
        writing = asyncio.create_task(self._write_now_and_then())
        try:
            async with sender_of() as sender:
                self._report.counts = sender.counts
                await self._send_all(sender, parallel, writing)
            self._report.finished = True
        except ProfilectlError as error:
            self._report.stopped = error
        finally:
            self._stop.set()
            await asyncio.wait([writing])
            await self._write(finished=self._report.finished, wait_s=LAST_WAIT_S)

    async def _send_all(self, sender: Sender, parallel: int, writing: asyncio.Task[None]) -> None:
        under_way: dict[asyncio.Task[None], frozenset[str]] = {}

        async def settle() -> None:
            done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del under_way[task]
                task.result()

        try:
            async for request in self._requests():
                # What speaks of the same person does not travel at the same time: it would arrive in any order.
                if writing.done():
                    writing.result()  # the ledger cannot be written: raises why
                about = frozenset[str]().union(*(one.who for one in request))
                while under_way and (len(under_way) >= parallel or len(self._track) > MOST_OPEN or any(not about.isdisjoint(other) for other in under_way.values())):
                    await settle()
                self._report.packed += len(request)
                under_way[asyncio.create_task(self._deliver(sender, request))] = about
            while under_way:
                await settle()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _deliver(self, sender: Sender, request: Sequence[Parcel]) -> None:
        refused: list[Refused] = await sender.deliver(request)
        apart = {id(one.parcel) for one in refused}
        for one in refused:
            self._refuse(one.parcel.position, one.parcel.part, one.code, one.message or sentence(one.code), one.parcel.body.decode())
        self._accept([one for one in request if id(one) not in apart])

    async def _requests(self) -> AsyncIterator[tuple[Parcel, ...]]:
        """Yield full requests, and at the end one that is not."""
        blocks = self._blocks()
        waiting: list[Parcel] = []
        while True:
            block = await self._apart(lambda: next(blocks, None))
            if block is None:
                break
            waiting += [parcel for row in block for parcel in self._begin(row)]
            *full, rest = pack(waiting) if waiting else ((),)
            for request in full:
                yield request
            waiting = list(rest)
        if waiting:
            yield tuple(waiting)

    # the ledger

    async def _apart(self, work: Callable[[], Any]) -> Any:
        """Do what opens the store in a thread, one thing after another; who is interrupted waits for its end."""
        async with self._store:
            task = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                await asyncio.wait([task])
                raise

    async def _write_now_and_then(self) -> None:
        pause = WRITE_EVERY_S
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
            began = time.monotonic()
            with contextlib.suppress(StoreBusy):
                await self._write()
            pause = max(WRITE_EVERY_S, (time.monotonic() - began) * SHARE_OF_TIME)

    async def _write(self, *, finished: bool = False, wait_s: float = 0) -> None:
        """Write down what is done since the last time; where the store is busy it stays to be written."""
        written, self._pending = self._pending, Entry([])
        written.runs = self._track.runs()
        if not (written.rows or written.accepted or written.refused or finished):
            return
        try:
            await self._apart(lambda: self._ledger.write(self._begun, written, finished=finished, wait_s=wait_s))
        except BaseException:
            self._pending.rows += written.rows
            self._pending.accepted += written.accepted
            self._pending.refused = [*written.refused, *self._pending.refused]
            raise


def _said(error: Unusable) -> str:
    return f"{sentence(error.code)}{': ' + error.detail if error.detail else ''}"


def _append(path: Path, line: str) -> None:
    """Add a line to a file of our own; what it holds is for its owner only."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "a", encoding="utf-8") as out:
        out.write(line)
