"""The progress and the outcome of a push, printed for a person."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from profilectl.codes import sentence
from profilectl.files import progress as at_work
from profilectl.render.progress.line import progress
from profilectl.render.progress.works import PUSH
from profilectl.render.screen import Document, counted, notice, print_line
from profilectl.rules.text.retry_after import lasting

if TYPE_CHECKING:
    from profilectl.outputs.push.run import Estimate, PushReport

NOUNS = {"profiles": "profile", "import": "profile", "file": "line", "events": "batch"}
ALREADY_SENT = {"events": "accepted there before"}
HEADINGS = {"profiles": "profiles", "import": "profiles", "file": "lines", "events": "stored"}


@contextlib.contextmanager
def push_progress(
    *, quiet: bool
) -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """Show the progress of a push and the time it still takes, on a terminal.

    Yields the functions that show progress and print a notice. A pipe gets the notices only.
    """

    def print_notice(text: str) -> None:
        if not quiet:
            notice(text)

    def print_rows(completed: int, total: int) -> None:
        at_work.step("pushing")
        at_work.rows(completed, total)

    with progress(PUSH, quiet=quiet):
        yield print_rows, print_notice


def print_push(report: PushReport, *, quiet: bool) -> None:
    """Print the outcome of a push on stdout, and notices on stderr."""
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


def _print_counts(report: PushReport, document: Document) -> None:
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


def _print_notices(report: PushReport, document: Document) -> None:
    """Print the notices of a push on stderr."""
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
        name = "it does not say which" if limit == "other" else limit
        notice(f"{counted(number, 'time')} over a limit of the platform: {name}")
    if report.dry_run is None and report.estimate is None and report.counts.accepted:
        rate = report.counts.accepted / max(report.elapsed_ms, 1) * 1000
        notice(f"{rate:,.0f} batches a second")


def print_estimate(estimate: Estimate) -> None:
    """Print how many batches a push would send, and how long it would take."""
    size = (
        f"{counted(estimate.batches, 'batch')} in {counted(estimate.requests, 'request')},"
        f" {counted(estimate.bytes, 'byte')}"
    )
    print_line(
        f"Estimate: {size}; {lasting(estimate.seconds)} at {estimate.rate:g} batches a second"
    )
