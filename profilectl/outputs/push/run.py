"""profilectl push: what the store holds, what an import changed, or a file of batches goes to the
platform's Events API.

    source -> rows -> parcels -> requests -> the platform -> ledger

What is written down was accepted before, so nothing is lost; what was accepted and not yet written
down is sent again under the same request ids, which the platform knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from profilectl.codes import (
    ProfilectlError,
    StoreBusy,
    StoreUnusable,
    Unfinished,
    UsageError,
    sentence,
)
from profilectl.files import ending
from profilectl.files.secrets import KeyAndSecret
from profilectl.files.whole_file import check_apart, check_target, whole_file
from profilectl.outputs.packing import PackedBatch, Track, body_of, pack, request_id
from profilectl.outputs.platform import HISTORICAL_AFTER_H, RATE, address_of
from profilectl.outputs.push.ages import Ages
from profilectl.outputs.push.events import OfEvents
from profilectl.outputs.push.known import Host, Noted, SentEvent
from profilectl.outputs.push.ledger import Begun, Ledger, LedgerEntry
from profilectl.outputs.push.sending import BatchSender, PushCounts, RefusedBatch, SendingPace
from profilectl.outputs.push.source import OfFile, OfStore, PushSource, Row
from profilectl.reading.export import Wanted
from profilectl.rules.fields import Unusable
from profilectl.rules.workspace import chosen_workspace
from profilectl.store.scratch import Scratch, scratch_beside

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
class PushRequest:
    """What is to be pushed: profiles (that meet a condition, that an import touched, that are in an
    audience), their stored events, or a file.

    with_mpid: batches name our MPIDs; with_times: they say timestamp_unixtime_ms. again: also what
    was pushed before. since: as it was typed, since_ms: events from then on; historical_after_h:
    the age from which events go to the historical endpoint. audience: whose members. opt_outs:
    profiles leave with the opt-out in force, as an event. max_unpacked: the size that the file may
    unpack to.
    """

    file: Path | None = None
    by_import: int | None = None
    where: str | None = None
    environment: str | None = None
    with_mpid: bool = False
    with_times: bool = False
    again: bool = False
    events: bool = False
    since: str | None = None
    since_ms: int | None = None
    historical_after_h: float = HISTORICAL_AFTER_H
    audience: str | None = None
    opt_outs: bool = True
    max_unpacked: str | None = None

    @property
    def kind(self) -> str:
        return (
            "file"
            if self.file
            else "events"
            if self.events
            else "profiles"
            if self.by_import is None
            else "import"
        )

    def wanted(self) -> Wanted:
        return Wanted(
            "batches",
            where=self.where,
            environment=self.environment,
            touched_by=self.by_import,
            with_mpid=self.with_mpid,
            audience=self.audience,
            opt_outs=self.opt_outs,
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a push would take. rate: batches a second."""

    batches: int
    requests: int
    bytes: int
    rate: float

    @property
    def seconds(self) -> float:
        return self.batches / self.rate

    def as_json(self) -> dict[str, Any]:
        return {
            "batches": self.batches,
            "requests": self.requests,
            "bytes": self.bytes,
            "rate": self.rate,
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class PushReport:
    """What a push did. rows: profiles or lines; unchanged: profiles that the host has as they are;
    packed: batches that were put into requests; it, counts and reasons are of this run. stopped:
    why it did not come to its end.

    number is that of the push; finished_before: it was at its end already, and nothing was sent.
    warnings: what a person should know of what leaves; historical: batches for the historical
    endpoint; estimate: how long all of it takes, where nothing is sent.
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
    unchanged: int = 0
    packed: int = 0
    accepted_before: int = 0
    counts: PushCounts = field(default_factory=PushCounts)
    reasons: Counter[str] = field(default_factory=Counter)
    refused_file: str | None = None
    elapsed_ms: int = 0
    stopped: BaseException | None = None
    warnings: list[str] = field(default_factory=list)
    estimate: Estimate | None = None
    historical: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the document that push --json prints."""
        left = 0 if self.finished else self.total - self.done - self.unchanged
        return {
            "push": self.number,
            "of": self.kind,
            "address": self.address,
            "dry_run": self.dry_run,
            "resumed": self.resumed,
            "finished": self.finished,
            "rows": {
                "total": self.total,
                "done": self.done,
                "left": left,
                "unchanged": self.unchanged,
                "without_batch": self.total - self.done - self.unchanged - left,
            },
            "batches": {
                "packed": self.packed,
                "accepted": self.counts.accepted,
                "accepted_before": self.accepted_before,
                "refused": sum(self.reasons.values()),
            },
            "reasons": dict(sorted(self.reasons.items())),
            "requests": self.counts.requests,
            "bytes": self.counts.bytes,
            "retries": self.counts.retries,
            "throttled": dict(sorted(self.counts.throttled.items())),
            "refused": self.refused_file,
            "come_back_ms": self.stopped.come_back_ms
            if isinstance(self.stopped, Unfinished)
            else None,
            "elapsed_ms": self.elapsed_ms,
            "historical": self.historical,
            "warnings": self.warnings,
            "estimate": self.estimate.as_json() if self.estimate else None,
        }


def push(
    store_path: Path,
    asked: PushRequest,
    *,
    host: str | None,
    credentials: KeyAndSecret | None,
    pace: SendingPace = SendingPace(),  # noqa: B008  (frozen)
    refused: Path | None = None,
    dry_run: Path | None = None,
    estimate: bool = False,
    memory_limit: str | None = None,
    wait_s: float = 0,
    progress: Progress = lambda done, total: None,
    said: Callable[[str], None] = lambda text: None,
) -> PushReport:
    """Send what is asked for to a host (events_api.address_of), or write the requests to a file
    (dry_run), or only count them (estimate), and return the report.

    refused: where refused batches are written, else push-N.refused.jsonl; of a dry run only where
    it is given. said: is told what a person should know at once. A push that stops on the way says
    why in its report. Raises UsageError, InputRefused, StoreBusy, StoreUnusable before anything is
    sent.
    """
    began = time.monotonic()
    address = address_of(host) if host else None
    if address is None and dry_run is None and not estimate:
        raise UsageError(
            "--host is missing: where to?",
            "name a URL, or us1, us2, eu1, au1; or write the requests to a file with --dry-run FILE",
        )
    check_apart(
        [("--dry-run", dry_run), ("--refused", refused)],
        [store_path, *([asked.file] if asked.file else [])],
    )
    for option, path in (("--dry-run", dry_run), ("--refused", refused)):
        if path is not None:
            check_target(path, option)
    sending = dry_run is None and not estimate
    with (
        scratch_beside(store_path.absolute(), memory_limit) as scratch,
        contextlib.closing(Ledger(store_path, wait_s)) as ledger,
    ):
        source = _source_of(scratch, store_path, asked, wait_s)
        begun = _begin(ledger, source, asked, address, sending)
        report = PushReport(
            begun.number,
            asked.kind,
            address,
            str(dry_run) if dry_run else None,
            begun.resumed,
            begun.finished,
            begun.finished,
            done=begun.rows,
            unchanged=begun.unchanged,
            accepted_before=begun.accepted,
        )
        if begun.finished:
            report.total = report.done + report.unchanged
            return report
        if not isinstance(source, OfFile):
            source.end_before(
                begun.until or 0,
                Host(
                    begun.host,
                    begun.whole or asked.kind == "import",
                    begun.host is not None and sending,
                ),
            )
        if not isinstance(source, OfStore):
            source.ages = Ages(asked.historical_after_h, begun.began_ms)
        report.total = source.total
        run = _PushRun(source, begun, ledger, report, refused, progress, sending)
        if not sending:
            run.write_down(dry_run)
        else:
            assert address is not None
            assert credentials is not None
            ending.run(
                run.send(lambda: BatchSender(address, credentials, pace, said), pace.parallel)
            )
        if estimate:
            report.estimate = Estimate(
                report.packed, report.counts.requests, report.counts.bytes, pace.rate or RATE
            )
        if isinstance(source, OfEvents):
            report.warnings = source.ages.warnings(
                source.names, f"the workspace {source.workspace}"
            )
        elif isinstance(source, OfFile):
            report.warnings = source.ages.warnings(len(source.ages.names), "the file")
        report.elapsed_ms = round((time.monotonic() - began) * 1000)
        return report


def _source_of(
    scratch: Scratch, store_path: Path, asked: PushRequest, wait_s: float
) -> OfFile | OfStore | OfEvents:
    """Return where the batches come from."""
    if asked.file:
        return OfFile(
            scratch, asked.file, with_times=asked.with_times, max_unpacked=asked.max_unpacked
        )
    if asked.events:
        return OfEvents(scratch, store_path, asked.wanted(), wait_s, Ages(), asked.since_ms)
    return OfStore(scratch, store_path, asked.wanted(), with_times=asked.with_times, wait_s=wait_s)


def _begin(
    ledger: Ledger,
    source: OfFile | OfStore | OfEvents,
    asked: PushRequest,
    address: str | None,
    sending: bool,
) -> Begun:
    """Take up the push that is asked for, or begin it."""
    sealed: dict[str, Any] = {
        "kind": asked.kind,
        "sha256": source.sha256 if isinstance(source, OfFile) else None,
        "import": asked.by_import,
        "where": asked.where,
        "environment": asked.environment,
        "with_mpid": asked.with_mpid,
        "with_times": asked.with_times,
        "opt_outs": asked.opt_outs,
        "workspace": chosen_workspace(),
        "address": address,
    }
    if asked.audience is not None:
        sealed["audience"] = asked.audience
    if asked.events:
        sealed["since"] = asked.since
    if asked.historical_after_h != HISTORICAL_AFTER_H:
        sealed["historical_after_h"] = asked.historical_after_h
    if isinstance(source, OfFile):
        return ledger.begin(asked.kind, sealed, None, again=asked.again, dry_run=not sending)
    # Whether a batch goes to the one endpoint or the other, its events are there then.
    manner = (
        {
            "address": address,
            "with_mpid": asked.with_mpid,
            "with_times": asked.with_times,
            "workspace": source.workspace,
        }
        if address
        else None
    )
    return ledger.begin(
        asked.kind, sealed, source.until, manner, again=asked.again, dry_run=not sending
    )


class _PushRun:
    """One run of a push: reads ahead, sends, and writes down what is done."""

    def __init__(
        self,
        source: PushSource,
        begun: Begun,
        ledger: Ledger,
        report: PushReport,
        refused: Path | None,
        progress: Progress,
        sending: bool,
    ) -> None:
        self._source, self._begun, self._ledger, self._report, self._progress = (
            source,
            begun,
            ledger,
            report,
            progress,
        )
        self._track = Track(source.first, begun.done)
        self._store, self._stop = asyncio.Lock(), asyncio.Event()
        self._places: dict[int, dict[str, Any]] = {}
        self._noted: dict[int, Noted] = {}
        self._whose: dict[int, int] = {}
        self._pending = LedgerEntry([])
        if not begun.rows and not begun.unchanged:
            self._pending.unchanged = report.unchanged = source.unchanged
        # A dry run leaves nothing behind that was not asked for.
        self._refused = refused or (
            None if not sending else Path(f"push-{begun.number}.refused.jsonl")
        )

    # rows

    def _name(self, position: int, part: int, content: str) -> str:
        return request_id(self._begun.namespace, self._begun.number, position, part, content)

    def _blocks(self) -> Iterator[list[Row]]:
        return self._source.blocks(self._track, self._name)

    def _begin(self, row: Row) -> list[PackedBatch]:
        """Begin a row; what of it cannot be sent is refused at once."""
        self._track.begin(row.position, len(row.parcels) + len(row.bad))
        if row.unchanged:
            self._pending.unchanged += 1
            self._report.unchanged += 1
            self._show()
            return []
        self._places[row.position] = row.place
        if row.noted and not row.bad:
            self._noted[row.position] = row.noted
        if row.profile is not None:
            self._whose[row.position] = row.profile
        for one in row.bad:
            self._refuse(row.position, one.part, one.error.code, _said(one.error), one.raw)
        if not row.parcels and not row.bad:
            self._row_is_done(row.position)
        return row.parcels

    def _parcels(self, block: Iterable[Row]) -> list[PackedBatch]:
        return [parcel for row in block for parcel in self._begin(row)]

    def _refuse(self, position: int, part: int, code: str, message: str, raw: str) -> None:
        self._report.reasons[code] += 1
        self._noted.pop(position, None)
        self._pending.refused = [*self._pending.refused, (position, part, code)]
        if self._refused is not None:
            line = {
                **self._places[position],
                "part": part,
                "code": code,
                "message": message,
                "raw": raw,
            }
            _append(self._refused, json.dumps(line, ensure_ascii=False) + "\n")
            self._report.refused_file = str(self._refused)
        if self._track.end(position):
            self._row_is_done(position)

    def _row_is_done(self, position: int) -> None:
        del self._places[position]
        self._pending.rows += 1
        self._report.done += 1
        self._whose.pop(position, None)
        if noted := self._noted.pop(position, None):
            self._pending.known.append(noted)
        self._show()

    def _show(self) -> None:
        self._progress(self._report.done + self._report.unchanged, self._report.total)

    def _accept(self, parcels: Sequence[PackedBatch]) -> None:
        for one in parcels:
            if (profile := self._whose.get(one.position)) is not None:
                self._pending.events += [
                    SentEvent(profile, one.position, place) for place in one.places
                ]
            if self._track.end(one.position):
                self._row_is_done(one.position)
        self._pending.accepted += len(parcels)

    # to a file

    def write_down(self, target: Path | None) -> None:
        """Write each request as one line, those for the historical endpoint to a file of their own;
        count them as if they had been sent. target: None: count only.
        """
        waiting = _Waiting()
        with contextlib.ExitStack() as files:
            out: dict[bool, BinaryIO] = {}
            if target is not None:
                out[False] = files.enter_context(whole_file(target, "--dry-run"))
            for request in waiting.requests(self._parcels(block) for block in self._blocks()):
                historical = request[0].historical
                if target is not None and historical not in out:
                    out[historical] = files.enter_context(
                        whole_file(target.with_suffix(f".historical{target.suffix}"), "--dry-run")
                    )
                body = body_of(request)
                if target is not None:
                    out[historical].write(body + b"\n")
                self._count(request)
                self._report.counts.requests += 1
                self._report.counts.bytes += len(body)
                self._accept(request)
                self._track.runs()

    def _count(self, request: Sequence[PackedBatch]) -> None:
        self._report.packed += len(request)
        self._report.historical += len(request) if request[0].historical else 0

    # to the platform

    async def send(self, sender_of: Callable[[], BatchSender], parallel: int) -> None:
        """Send everything that is not done; what stops it is in the report, and all that was done
        in the ledger.
        """
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
            writing.exception()  # what could not be written then is written now, or fails again
            await self._write_the_last()

    async def _send_all(
        self, sender: BatchSender, parallel: int, writing: asyncio.Task[None]
    ) -> None:
        under_way: dict[asyncio.Task[None], frozenset[str]] = {}

        async def settle() -> None:
            done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del under_way[task]
                task.result()

        try:
            async for request in self._requests():
                # What speaks of the same person does not travel at the same time: it would arrive
                # in any order.
                if writing.done():
                    writing.result()  # the ledger cannot be written: raises why
                about = frozenset[str]().union(*(one.who for one in request))
                while under_way and (
                    len(under_way) >= parallel
                    or len(self._track) > MOST_OPEN
                    or any(not about.isdisjoint(other) for other in under_way.values())
                ):
                    await settle()
                self._count(request)
                under_way[asyncio.create_task(self._deliver(sender, request))] = about
            while under_way:
                await settle()
        except Unfinished:
            # What is on its way may be accepted yet: it is waited for, so that it is written down
            # and not sent again.
            if under_way:
                await asyncio.wait(under_way, timeout=sender.timeout_s)
            raise
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _deliver(self, sender: BatchSender, request: Sequence[PackedBatch]) -> None:
        refused: list[RefusedBatch] = await sender.deliver(request)
        apart = {id(one.parcel) for one in refused}
        for one in refused:
            self._refuse(
                one.parcel.position,
                one.parcel.part,
                one.code,
                one.message or sentence(one.code),
                one.parcel.body.decode(),
            )
        self._accept([one for one in request if id(one) not in apart])

    async def _requests(self) -> AsyncIterator[tuple[PackedBatch, ...]]:
        """Yield full requests, and at the end those that are not."""
        blocks = self._blocks()
        waiting = _Waiting()
        while True:
            block = await self._apart(lambda: next(blocks, None))
            if block is None:
                break
            for request in waiting.full(self._parcels(block)):
                yield request
        for request in waiting.left():
            yield request

    # the ledger

    async def _apart(self, work: Callable[[], Any]) -> Any:
        """Do what opens the store in a thread, one thing after another; who is interrupted waits
        for its end.
        """
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

    async def _write_the_last(self) -> None:
        """Write down what is left.

        Raises StoreUnusable, which says what becomes of what was sent.
        """
        try:
            await self._write(finished=self._report.finished, wait_s=LAST_WAIT_S)
        except StoreUnusable as error:
            raise StoreUnusable(
                f"what was sent could not all be written down: {error.message}",
                "mend the disk and push again: what is not written down is sent again, under the same ids",
            ) from None

    async def _write(self, *, finished: bool = False, wait_s: float = 0) -> None:
        """Write down what is done since the last time; where the store is busy it stays to be
        written.
        """
        written, self._pending = self._pending, LedgerEntry([])
        written.runs = self._track.runs()
        if not (
            written.rows or written.accepted or written.refused or written.unchanged or finished
        ):
            return
        try:
            await self._apart(
                lambda: self._ledger.write(self._begun, written, finished=finished, wait_s=wait_s)
            )
        except BaseException:
            self._pending.rows += written.rows
            self._pending.accepted += written.accepted
            self._pending.unchanged += written.unchanged
            self._pending.known = [*written.known, *self._pending.known]
            self._pending.events = [*written.events, *self._pending.events]
            self._pending.refused = [*written.refused, *self._pending.refused]
            raise


class _Waiting:
    """Batches that are packed into requests, those for each endpoint apart."""

    def __init__(self) -> None:
        self._parcels: dict[bool, list[PackedBatch]] = {False: [], True: []}

    def full(self, parcels: Iterable[PackedBatch]) -> Iterator[tuple[PackedBatch, ...]]:
        """Add batches; yield the requests that are full."""
        for one in parcels:
            self._parcels[one.historical].append(one)
        for historical, waiting in self._parcels.items():
            *requests, last = pack(waiting) if waiting else ((),)
            yield from requests
            self._parcels[historical] = list(last)

    def left(self) -> Iterator[tuple[PackedBatch, ...]]:
        """Yield the requests that are not full."""
        yield from (tuple(one) for one in self._parcels.values() if one)

    def requests(
        self, blocks: Iterable[Iterable[PackedBatch]]
    ) -> Iterator[tuple[PackedBatch, ...]]:
        """Yield all requests of blocks of batches."""
        for block in blocks:
            yield from self.full(block)
        yield from self.left()


def _said(error: Unusable) -> str:
    return f"{sentence(error.code)}{': ' + error.detail if error.detail else ''}"


def _append(path: Path, line: str) -> None:
    """Add a line to a file of our own; what it holds is for its owner only."""
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600),
        "a",
        encoding="utf-8",
    ) as out:
        out.write(line)
