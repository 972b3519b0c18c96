"""A push, for a person: how far it is, and what came of it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from profilectl.codes import sentence
from profilectl.render.screen import console, counted, notice, print_line
from profilectl.rules.text.retry_after import lasting

if TYPE_CHECKING:
    from profilectl.outputs.push.run import Estimate, PushReport

NOUNS = {"profiles": "profile", "import": "profile", "file": "line", "events": "batch"}
ALREADY_SENT = {"events": "accepted there before"}
HEADINGS = {"profiles": "profiles", "import": "profiles", "file": "lines", "events": "stored"}


@contextlib.contextmanager
def push_progress(
    *, quiet: bool, bar: bool = True
) -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """Show on a terminal how much is done and how long the rest takes; nothing in a pipe but what
    is said. bar: whether to.
    """

    def print_notice(text: str) -> None:
        if not quiet:
            notice(text)

    if quiet or not bar or not sys.stderr.isatty():
        yield lambda done, total: None, print_notice
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("pushing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as drawn:
        task = drawn.add_task("", total=None)
        yield lambda done, total: drawn.update(task, completed=done, total=total), print_notice


def print_push(report: PushReport, *, quiet: bool) -> None:
    """Print what a push did, on stdout; on stderr what a person should know beside it."""
    if report.finished_before:
        if not quiet:
            notice(f"already pushed as {report.number} (--again pushes it once more)")
        return
    document = report.as_json()
    if report.resumed and not quiet:
        before = counted(report.accepted_before, "batch")
        notice(f"push {report.number} goes on: {before} accepted before")
    if report.estimate is not None:
        print_estimate(report.estimate)
    elif report.dry_run is not None:
        size = f"{counted(report.packed, 'batch')} in {counted(report.counts.requests, 'request')}"
        bytes_sent = counted(report.counts.bytes, "byte")
        print_line(f"Dry run: {size}, {bytes_sent}, in {report.dry_run}")
    else:
        _print_counts(report, document)
    for code, number in document["reasons"].items():
        print_line(f"  reasons    {number:,} {code}: {sentence(code)}")
    if not quiet:
        sys.stdout.flush()
        _print_notices(report, document)


def _print_counts(report: PushReport, document: Mapping[str, Any]) -> None:
    """Print the lines, batches and requests of a push."""
    counts, rows, batches = report.counts, document["rows"], document["batches"]
    state = "finished" if report.finished else "not finished"
    unchanged = f",  {report.unchanged:,} unchanged" if report.unchanged else ""
    print_line(f"Push {report.number} to {report.address}: {state}")
    print_line(
        f"  {HEADINGS[report.kind]:<10} {report.done:,} done{unchanged},  {rows['left']:,} left"
    )
    print_line(f"  batches    {counts.accepted:,} accepted,  {batches['refused']:,} refused")
    sent_again = f"{counts.retries:,} sent again"
    print_line(f"  requests   {counts.requests:,},  {counts.bytes:,} bytes,  {sent_again}")


def _print_notices(report: PushReport, document: Mapping[str, Any]) -> None:
    """Print on stderr what a person should know beside the counts."""
    noun = NOUNS[report.kind]
    if report.unchanged:
        already = ALREADY_SENT.get(report.kind, "unchanged since they were accepted there")
        notice(f"{counted(report.unchanged, noun)} {already}: not sent (--again sends all)")
    if document["rows"]["without_batch"]:
        nameless = counted(document["rows"]["without_batch"], noun)
        notice(f"{nameless} without an identity: nobody would be found by their batches")
    if report.refused_file:
        notice(f"the refused batches are in {report.refused_file}")
    for warning in report.warnings:
        notice(warning)
    for limit, number in document["throttled"].items():
        which = "it does not say which" if limit == "other" else limit
        notice(f"{counted(number, 'time')} over a limit of the platform: {which}")
    if report.dry_run is None and report.estimate is None and report.counts.accepted:
        rate = report.counts.accepted / max(report.elapsed_ms, 1) * 1000
        notice(f"{rate:,.0f} batches a second")


def print_estimate(estimate: Estimate) -> None:
    """Print what a push would take, on stdout."""
    size = (
        f"{counted(estimate.batches, 'batch')} in {counted(estimate.requests, 'request')},"
        f" {counted(estimate.bytes, 'byte')}"
    )
    print_line(
        f"Estimate: {size}; {lasting(estimate.seconds)} at {estimate.rate:g} batches a second"
    )
