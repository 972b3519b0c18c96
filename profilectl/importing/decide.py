"""One import is decided on the open store: all steps up to the write."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from profilectl.codes import InputRefused, StoreBusy
from profilectl.files import progress
from profilectl.importing.commit import Import
from profilectl.importing.consenting import look_at_consent
from profilectl.importing.content import check_overtaken, remembered_reading
from profilectl.importing.dependence import rests_on
from profilectl.importing.known import know_holders, know_store
from profilectl.importing.merge import Merging, merge
from profilectl.importing.rejects import check_rejects, check_strict, reject_staged_rows
from profilectl.importing.relations import only_row
from profilectl.importing.request import ImportJob, ImportRequest, remembered
from profilectl.importing.resolve import resolve
from profilectl.importing.settle import Resolution
from profilectl.importing.sharing import MOST_TOLD, SHARED_BY_MANY, shared_identities
from profilectl.importing.sift import Frame, sift
from profilectl.importing.suppression import guard_of
from profilectl.rules.counts import Counts, ImportReport
from profilectl.rules.feed import Feed, computed, workspaces_of
from profilectl.rules.text.moments import latest_ms
from profilectl.store.settings import Settings
from profilectl.store.store import OpenStore, State, choose_feed

KEPT_EVENTS = """
select count(*)
from staged_event
where seq in (select seq from resolved where profile is not null)
"""


@dataclass(frozen=True, slots=True)
class DecidedImport:
    """An import as it was decided."""

    state: State
    """The state of the store: the decision holds as long as it is the same."""
    entry: Import
    """The entry that it gets in the history."""


def latest_of(request: ImportRequest, now_ms: int) -> int | None:
    """Return the latest time that the rows of an import may state; None: any time."""
    return None if request.any_time else latest_ms(now_ms)


def feed_of(store: OpenStore, request: ImportRequest) -> Feed:
    """Return the feed of an import: the registered one, or a new one without a number."""
    return choose_feed(
        known=store.feed(request.feed),
        name=request.feed,
        source=request.source,
        protection=request.protection,
        partner=request.partner,
        workspace=request.workspace or store.workspace,
    )


def decide(job: ImportJob, store: OpenStore) -> DecidedImport:
    """Run the steps up to the write, and complete the report.

    Raises Overtaken if another process imported the content, StoreBusy if it changed what the rows
    were read by, InputRefused if the request rules the outcome out.
    """
    report, counts = job.report, Counts()
    report.counts, report.shared = counts, []
    state, settings = store.state(), store.settings()
    # The rows were read and judged by the settings, so that others need another reading.
    if state.settings != job.settings:
        raise StoreBusy(
            "the configuration was changed while the files were read", "run the import again"
        )
    feed = feed_of(store, job.request)
    check_overtaken(store, feed, job.fresh, request=job.request)
    registers = not feed.number
    # The commit takes the numbers; if another import is faster, this one is decided again.
    if registers:
        feed = replace(feed, number=store.next_feed())
    number, first_arrival = store.next_import()
    # An import that is made again gets the arrivals that it had.
    if job.request.first_arrival is not None:
        first_arrival = job.request.first_arrival
    frame = _frame(job, store, feed, first_arrival=first_arrival)
    job.request.progress("deciding", 0)
    needs = _run_steps(job, store, frame, settings=settings, registers=registers)
    _count_rows(job, counts)
    report.number = None if job.request.dry_run else number
    report.feed_registered = registers
    check_rejects(job)
    check_strict(job)
    entry = Import(
        number=number,
        first_arrival=first_arrival,
        feed=feed,
        registers=registers,
        started_ms=job.now_ms,
        request=remembered(job.request),
        needs=needs,
        staged=job.staged,
        report=report,
        judging=frame.judging,
        guard=frame.guard,
        reading=remembered_reading(job.request),
    )
    return DecidedImport(state, entry)


def _frame(job: ImportJob, store: OpenStore, feed: Feed, *, first_arrival: int) -> Frame:
    """Return what the rows are read against."""
    judging = store.settings().rules.judging
    return Frame(
        feed=feed,
        protection=job.report.protection,
        environment=job.report.environment,
        strict=job.request.environment is not None,
        judging=replace(judging, allow_spoiled=job.request.allow_spoiled),
        secret=store.meta("secret"),
        now_ms=job.now_ms,
        first_arrival=first_arrival,
        latest_ms=latest_of(job.request, job.now_ms),
        mixes_mpids=first_arrival >= int(store.meta("mpids_mixed_from")),
        guard=guard_of(store),
        again=job.request.first_arrival is not None,
        call=job.request.call,
    )


def _run_steps(
    job: ImportJob, store: OpenStore, frame: Frame, *, settings: Settings, registers: bool
) -> list[int]:
    """Run the steps; return the numbers of the earlier imports that the outcome rests on."""
    relations, staged, counts = job.relations, job.staged, job.report.counts
    segments = store.segments()
    know_store(relations, store)
    progress.step("sift")
    sift(relations, staged, frame, counts=counts)
    if "mpid" in staged.plain:
        know_holders(relations, segments)
    how = Resolution.of(staged, frame, settings.rules)
    progress.step("resolve")
    job.report.slow_path_rows = resolve(relations, how, counts=counts)
    _check_shared(job)
    feeds = [*store.feeds(), frame.feed] if registers else store.feeds()
    refused = computed(frame.feed, store.calculated_by_workspace(), workspaces_of(feeds))
    merging = Merging(
        frame=frame,
        feeds=feeds,
        priority=settings.priority,
        segments=segments,
        calculated=sorted(refused),
    )
    progress.step("merge")
    merge(relations, staged, merging, counts=counts)
    needs = rests_on(relations, staged, segments, feed=frame.feed.number)
    if staged.events:
        (counts.events["added"],) = only_row(relations, KEPT_EVENTS)
    if "rest" in staged.plain:
        job.report.notices += look_at_consent(relations, staged, frame, counts=counts)
    return needs


def _check_shared(job: ImportJob) -> None:
    """Report identities that many share, before anything is written (design.md R14).

    Raises InputRefused if more rows and profiles share one than may.
    """
    most = job.request.max_shared
    shared = shared_identities(job.relations, most)
    job.report.shared = [
        identity for identity in shared if identity.rows + identity.profiles >= SHARED_BY_MANY
    ][:MOST_TOLD]
    if most is not None and shared:
        widest = max(shared, key=lambda identity: identity.rows + identity.profiles)
        if widest.rows + widest.profiles > most:
            raise InputRefused(
                f"{widest.told()}, more than --max-shared {most}",
                "mend the rows, or make it a placeholder",
            )


def _count_rows(job: ImportJob, counts: Counts) -> None:
    """Complete the counts of rows, of the import and of its files."""
    reject_staged_rows(job)
    rows, relations = counts.rows, job.relations
    rows["rejected"] = len(job.rejects)
    counts.codes.update(job.rejects.counts)
    # The rejects have both the lines that were never staged and the staged rows that failed later.
    rows["read"] = relations.count("staged") + len(job.rejects) - relations.count("rejected")
    rows["applied"] = rows["read"] - rows["dropped"] - rows["rejected"]
    _count_files(job, job.report)


def _count_files(job: ImportJob, report: ImportReport) -> None:
    """Report how many rows each file that was read has, and how its columns were read.

    A file that was named twice is reported twice, each time with its own rows.
    """
    staged = {file.name: file for file in job.staged.files}
    named = Counter(file.path for file in job.files if file.already_imported is None)
    rows = job.rejects.early.copy()
    for file in job.staged.files:
        rows[file.name] += file.rows
    report.files = [
        replace(file, rows=rows[file.path] // named[file.path], columns=staged[file.path].meaning)
        if file.already_imported is None
        else file
        for file in job.files
    ]
