"""profilectl push: profiles, events, or a file of batches go to the platform's Events API.

    source -> rows -> batches -> requests -> the platform -> ledger

Only accepted batches are written down as done, so nothing is lost. Those that were accepted and not
yet written down are sent again under the same request ids, which the platform knows.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profilectl.codes import Unfinished, UsageError
from profilectl.files import ending
from profilectl.files.secrets import KeyAndSecret
from profilectl.files.whole_file import check_apart, check_target
from profilectl.outputs.platform import HISTORICAL_AFTER_H, RATE, address_of
from profilectl.outputs.push.ages import Ages
from profilectl.outputs.push.bookkeeping import Books, Progress, books_of
from profilectl.outputs.push.dry_run import write_requests
from profilectl.outputs.push.events import OfEvents, events_of_store
from profilectl.outputs.push.host import Host
from profilectl.outputs.push.ledger import Begun, Ledger
from profilectl.outputs.push.sending import BatchSender, PushCounts, SendingPace
from profilectl.outputs.push.source import OfFile, OfStore, batches_of_file, profiles_of_store
from profilectl.outputs.push.transfer import Transferred, transfer
from profilectl.reading.exporting.export import ExportRequest
from profilectl.rules.workspace import chosen_workspace
from profilectl.store.scratch import Scratch, scratch_beside

Source = OfFile | OfStore | OfEvents


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What is to be pushed: profiles, their stored events, or a file."""

    file: Path | None = None
    """A file of batches; None: profiles of the store."""
    by_import: int | None = None
    """Only profiles that this import touched."""
    where: str | None = None
    """Only profiles that meet this condition."""
    environment: str | None = None
    """Only profiles of this environment."""
    with_mpid: bool = False
    """Whether batches name our MPIDs."""
    with_times: bool = False
    """Whether batches say timestamp_unixtime_ms."""
    again: bool = False
    """Whether what was pushed before is sent too."""
    events: bool = False
    """Whether the stored events are pushed, not the profiles."""
    since: str | None = None
    """Only events from then on, as it was typed."""
    since_ms: int | None = None
    """The same as a time."""
    historical_after_h: float = HISTORICAL_AFTER_H
    """The age in hours from which events go to the historical endpoint."""
    audience: str | None = None
    """Only the members of this audience."""
    opt_outs: bool = True
    """Whether profiles leave with the opt-out in force, as an event."""
    max_unpacked: str | None = None
    """The size that the file may unpack to."""

    @property
    def kind(self) -> str:
        """The kind of the push: file, events, profiles or import."""
        if self.file:
            return "file"
        if self.events:
            return "events"
        return "profiles" if self.by_import is None else "import"

    def wanted(self) -> ExportRequest:
        """Return which profiles are pushed."""
        return ExportRequest(
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
    """What a push would take."""

    batches: int
    """How many batches would be sent."""
    requests: int
    """How many requests they make."""
    bytes: int
    """How many bytes the bodies of the requests have."""
    rate: float
    """How many batches are sent in a second."""

    @property
    def seconds(self) -> float:
        """How long it would take."""
        return self.batches / self.rate

    def as_json(self) -> dict[str, object]:
        """Return the part `estimate` of the document that push --json prints."""
        return {
            "batches": self.batches,
            "requests": self.requests,
            "bytes": self.bytes,
            "rate": self.rate,
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class PushReport:
    """What a push did. Batches, counts and reasons are of this run."""

    number: int
    """The number of the push."""
    kind: str
    """The kind of the push."""
    address: str | None
    """Where it goes to; None: nowhere."""
    dry_run: str | None = None
    """The file that its requests are written to; None: they are sent."""
    resumed: bool = False
    """Whether it was begun in an earlier run."""
    finished: bool = False
    """Whether it came to its end."""
    finished_before: bool = False
    """Whether it was at its end already, and nothing was sent."""
    total: int = 0
    """How many profiles or lines there are."""
    done: int = 0
    """How many of them are done."""
    unchanged: int = 0
    """How many profiles the host has as they are."""
    packed: int = 0
    """How many batches were put into requests."""
    accepted_before: int = 0
    """How many batches were accepted in earlier runs."""
    counts: PushCounts = field(default_factory=PushCounts)
    """What was sent."""
    reasons: Counter[str] = field(default_factory=Counter)
    """How many batches were refused, by the code of the reason."""
    refused_file: str | None = None
    """The file that the refused batches were written to."""
    elapsed_ms: int = 0
    """How long the run took."""
    stopped: BaseException | None = None
    """Why it did not come to its end."""
    warnings: list[str] = field(default_factory=list)
    """What a person should know of what leaves."""
    estimate: Estimate | None = None
    """How long all of it takes, where nothing is sent."""
    historical: int = 0
    """How many batches are for the historical endpoint."""

    def as_json(self) -> dict[str, Any]:
        """Return the document that push --json prints."""
        remaining = 0 if self.finished else self.total - self.done - self.unchanged
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
                "left": remaining,
                "unchanged": self.unchanged,
                "without_batch": self.total - self.done - self.unchanged - remaining,
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
            "come_back_ms": (
                self.stopped.come_back_ms if isinstance(self.stopped, Unfinished) else None
            ),
            "elapsed_ms": self.elapsed_ms,
            "historical": self.historical,
            "warnings": self.warnings,
            "estimate": self.estimate.as_json() if self.estimate else None,
        }


@dataclass(frozen=True, slots=True)
class _Manner:
    """How a push is sent, or what is done instead."""

    address: str | None
    """The URL that batches go to."""
    credentials: KeyAndSecret | None
    """What proves who sends."""
    pace: SendingPace
    """How fast and how patiently it is sent."""
    refused: Path | None
    """The file for refused batches; None: the usual one."""
    dry_run: Path | None
    """The file that the requests are written to instead."""
    estimate: bool
    """Whether they are only counted."""
    progress: Progress
    """Is called with how many rows are done, of how many."""
    notify: Callable[[str], None]
    """Takes what a person should know at once."""

    @property
    def sends(self) -> bool:
        """Whether anything is sent."""
        return self.dry_run is None and not self.estimate


def push(
    store_path: Path,
    request: PushRequest,
    *,
    host: str | None,
    credentials: KeyAndSecret | None,
    pace: SendingPace = SendingPace(),  # noqa: B008  (frozen)
    refused: Path | None = None,
    dry_run: Path | None = None,
    estimate: bool = False,
    memory_limit: str | None = None,
    wait_s: float = 0,
    progress: Progress = lambda rows, total: None,
    said: Callable[[str], None] = lambda text: None,
) -> PushReport:
    """Send what is asked for, and return the report.

    host: where to (platform.address_of). dry_run: write the requests to this file instead.
    estimate: only count them. refused: where refused batches are written, else
    push-N.refused.jsonl; of a dry run only where it is given. said: takes what a person should know
    at once. A push that stops on the way says why in its report.

    Raises UsageError, InputRefused, StoreBusy, StoreUnusable before anything is sent.
    """
    began = time.monotonic()
    manner = _Manner(
        address=address_of(host) if host else None,
        credentials=credentials,
        pace=pace,
        refused=refused,
        dry_run=dry_run,
        estimate=estimate,
        progress=progress,
        notify=said,
    )
    _check(store_path, request, manner)
    with (
        scratch_beside(store_path.absolute(), memory_limit) as scratch,
        contextlib.closing(Ledger(store_path, wait_s)) as ledger,
    ):
        source = _source_of(scratch, store_path, request, wait_s=wait_s)
        begun = _begin(ledger, source, request, manner=manner)
        report = _report_of(begun, request, manner)
        # A file or an import that was pushed to its end is sent once more only with --again.
        if begun.finished:
            report.total = report.done + report.unchanged
            return report
        _prepare(source, begun, request, sends=manner.sends)
        _run(source, begun, ledger, manner=manner, report=report)
        report.elapsed_ms = round((time.monotonic() - began) * 1000)
        return report


def _check(store_path: Path, request: PushRequest, manner: _Manner) -> None:
    """Refuse a push to nowhere, and files that would be written over another.

    Raises UsageError, InputRefused.
    """
    if manner.address is None and manner.sends:
        raise UsageError(
            "--host is missing: where to?",
            "name a URL, or us1, us2, eu1, au1; or write the requests to a file with --dry-run"
            " FILE",
        )
    targets = [("--dry-run", manner.dry_run), ("--refused", manner.refused)]
    check_apart(targets, [store_path, *([request.file] if request.file else [])])
    for option, path in targets:
        if path is not None:
            check_target(path, option)


def _source_of(
    scratch: Scratch, store_path: Path, request: PushRequest, *, wait_s: float
) -> Source:
    """Return where the batches come from."""
    if request.file:
        return batches_of_file(
            scratch,
            request.file,
            with_times=request.with_times,
            max_unpacked=request.max_unpacked,
        )
    if request.events:
        return events_of_store(
            scratch, store_path, request.wanted(), since_ms=request.since_ms, wait_s=wait_s
        )
    return profiles_of_store(
        scratch, store_path, request.wanted(), with_times=request.with_times, wait_s=wait_s
    )


def _begin(ledger: Ledger, source: Source, request: PushRequest, *, manner: _Manner) -> Begun:
    """Take up the push that is asked for, or begin it."""
    # A push in the same words that did not come to its end goes on (ledger.py).
    words: dict[str, object] = {
        "kind": request.kind,
        "sha256": source.sha256 if isinstance(source, OfFile) else None,
        "import": request.by_import,
        "where": request.where,
        "environment": request.environment,
        "with_mpid": request.with_mpid,
        "with_times": request.with_times,
        "opt_outs": request.opt_outs,
        "workspace": chosen_workspace(),
        "address": manner.address,
    }
    if request.audience is not None:
        words["audience"] = request.audience
    if request.events:
        words["since"] = request.since
    if request.historical_after_h != HISTORICAL_AFTER_H:
        words["historical_after_h"] = request.historical_after_h
    return ledger.begin(
        request.kind,
        words,
        None if isinstance(source, OfFile) else source.until,
        manner=_manner_of_host(source, request, manner.address),
        again=request.again,
        dry_run=not manner.sends,
    )


def _manner_of_host(
    source: Source, request: PushRequest, address: str | None
) -> dict[str, object] | None:
    """Return what names the host of profiles; None: a file goes there, or nothing does.

    The endpoint is no part of it: a batch that went to either of the two is there.
    """
    if isinstance(source, OfFile) or not address:
        return None
    return {
        "address": address,
        "with_mpid": request.with_mpid,
        "with_times": request.with_times,
        "workspace": source.workspace,
    }


def _report_of(begun: Begun, request: PushRequest, manner: _Manner) -> PushReport:
    """Return the report of a push of which nothing was sent yet in this run."""
    return PushReport(
        number=begun.number,
        kind=request.kind,
        address=manner.address,
        dry_run=str(manner.dry_run) if manner.dry_run else None,
        resumed=begun.resumed,
        finished=begun.finished,
        finished_before=begun.finished,
        done=begun.rows,
        unchanged=begun.unchanged,
        accepted_before=begun.accepted,
    )


def _prepare(source: Source, begun: Begun, request: PushRequest, *, sends: bool) -> None:
    """Make a source ready for a push: what it leaves out, and which events are historical."""
    if not isinstance(source, OfFile):
        host = Host(
            begun.host,
            # A push of an import always sends its profiles (docs/push.md).
            whole=begun.whole or request.kind == "import",
            noting=begun.host is not None and sends,
        )
        source.end_before(begun.until or 0, host)
    if not isinstance(source, OfStore):
        source.ages = Ages(request.historical_after_h, begun.began_ms)


def _run(
    source: Source, begun: Begun, ledger: Ledger, *, manner: _Manner, report: PushReport
) -> None:
    """Send, write or count all that is not done, and put the outcome into the report."""
    # A dry run leaves nothing behind that was not asked for.
    usual = Path(f"push-{begun.number}.refused.jsonl") if manner.sends else None
    books = books_of(source, begun, refused=manner.refused or usual, progress=manner.progress)
    report.total = source.total
    outcome = _sent(books, ledger, manner)
    report.counts, report.stopped = outcome.counts, outcome.stopped
    report.finished = outcome.finished
    tally = books.tally
    report.done, report.unchanged = tally.done, tally.unchanged
    report.packed, report.historical = tally.packed, tally.historical
    report.reasons, report.refused_file = tally.reasons, tally.refused_file
    if manner.estimate:
        report.estimate = Estimate(
            batches=report.packed,
            requests=report.counts.requests,
            bytes=report.counts.bytes,
            rate=manner.pace.rate or RATE,
        )
    if isinstance(source, OfEvents):
        report.warnings = source.ages.warnings(source.names, f"the workspace {source.workspace}")
    elif isinstance(source, OfFile):
        report.warnings = source.ages.warnings(len(source.ages.names), "the file")


def _sent(books: Books, ledger: Ledger, manner: _Manner) -> Transferred:
    """Send everything, or write the requests to a file, or only count them."""
    if not manner.sends:
        return Transferred(write_requests(books, manner.dry_run))
    address, credentials = manner.address, manner.credentials
    assert address is not None
    assert credentials is not None
    return ending.run(
        transfer(
            books,
            ledger,
            lambda: BatchSender(address, credentials, manner.pace, notify=manner.notify),
            parallel=manner.pace.parallel,
        )
    )
