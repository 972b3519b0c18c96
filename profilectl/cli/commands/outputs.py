"""profilectl enrich, forward, outbox and usage: batches for the outputs, and what is billed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import app, options_of
from profilectl.cli.at_work import working, working_until_rows
from profilectl.cli.import_options import (
    DelimiterOption,
    EmptyOption,
    EncodingOption,
    EnvironmentOption,
    EventOption,
    FilesArgument,
    FormatOption,
    ManifestOption,
    MapOption,
    PartnerOption,
    ProtectionOption,
    UnpackedOption,
)
from profilectl.cli.options import (
    JsonOption,
    SourceOption,
    WaitOption,
    YesOption,
    value_of,
    with_options,
)
from profilectl.cli.question import Loss, need_yes
from profilectl.codes import Exit, UsageError
from profilectl.files import progress as at_work
from profilectl.rules.text.retry_after import MAX_WAIT_S

if TYPE_CHECKING:
    from profilectl.outputs.delivery.run import Forwarded

OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output", metavar="NAME", help="Only this output.", autocompletion=complete.outputs
    ),
]
outbox_app = typer.Typer(
    help="List, retry and drop batches that wait to leave or could not.", no_args_is_help=True
)
app.add_typer(outbox_app, name="outbox")


@dataclass(frozen=True, kw_only=True)
class EnrichOptions:
    """The options of `profilectl enrich`."""

    files: FilesArgument
    feed: Annotated[
        str,
        typer.Option(
            "--feed", help="The feed the files would come from.", autocompletion=complete.feeds
        ),
    ]
    output: OutputOption = None
    protection: ProtectionOption = None
    source: SourceOption = None
    partner: PartnerOption = None
    format: FormatOption = None
    manifest: ManifestOption = None
    mapped: MapOption = None
    delimiter: DelimiterOption = None
    encoding: EncodingOption = None
    max_unpacked: UnpackedOption = None
    empty: EmptyOption = None
    event: EventOption = None
    environment: EnvironmentOption = None
    wait: WaitOption = 0
    as_json: JsonOption = False


@app.command("enrich", epilog="Example: profilectl enrich views.jsonl --feed web --json")
@with_options(EnrichOptions)
def enrich_command(context: typer.Context, options: EnrichOptions) -> None:
    """Show how each batch of files would leave.

    A batch leaves with its profile, and filtered for each output. Nothing is stored or sent. With
    --json one JSON line a row.
    """
    import sys

    from profilectl.importing.request import ImportRequest
    from profilectl.outputs.enrich import enrich
    from profilectl.render import outputs, screen
    from profilectl.render.progress.works import work_of_enrich
    from profilectl.rules.text.values import to_json

    request = ImportRequest(
        paths=options.files,
        feed=options.feed,
        protection=value_of(options.protection),
        source=value_of(options.source),
        partner=options.partner,
        format=value_of(options.format),
        manifest=options.manifest,
        mapped=options.mapped or (),
        delimiter=options.delimiter,
        encoding=options.encoding,
        max_unpacked=options.max_unpacked,
        empty=value_of(options.empty) or "ignore",
        event=options.event,
        environment=value_of(options.environment),
        wait_s=options.wait,
        stdin=sys.stdin.buffer,
    )
    common = options_of(context)
    marks = work_of_enrich(options.files, options.format, common.store)
    with working(common, marks):
        report, batches = enrich(common.store, request, output=options.output)
    for batch in batches:
        if options.as_json:
            screen.print_text(to_json(batch.as_value()) + "\n")
        else:
            outputs.print_enriched(batch)
    if not common.quiet:
        rejected = report.counts.rows["rejected"]
        screen.notice(
            f"{screen.counted(len(batches), 'batch')}; nothing was stored or sent"
            + (f"; {screen.counted(rejected, 'row')} would be rejected" if rejected else "")
        )
    raise typer.Exit(Exit.REJECTED_ROWS if report.counts.rows["rejected"] else Exit.DONE)


@dataclass(frozen=True, kw_only=True)
class ForwardOptions:
    """The options of `profilectl forward`."""

    output: OutputOption = None
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Send at most N batches to each output."),
    ] = None
    attempts: Annotated[
        int,
        typer.Option(
            "--attempts",
            metavar="N",
            min=1,
            max=100,
            help="How often to try a batch before it goes to the dead-letter list.",
        ),
    ] = 5
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            help="How long one exchange may last, from connecting to the last byte.",
        ),
    ] = 30
    pause: Annotated[
        float,
        typer.Option(
            "--pause",
            metavar="SECONDS",
            min=0,
            help="The first pause before a batch is tried again; later pauses are longer.",
        ),
    ] = 0.5
    max_wait: Annotated[
        float,
        typer.Option(
            "--max-wait",
            metavar="SECONDS",
            min=0,
            help=(
                "If a receiver asks for a longer pause, exit with 9 and print when to come back."
            ),
        ),
    ] = MAX_WAIT_S
    lanes: Annotated[
        int,
        typer.Option(
            "--lanes",
            metavar="N",
            min=1,
            max=100,
            help="How many people's batches to send to a webhook at the same time.",
        ),
    ] = 8
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials",
            metavar="FILE",
            help=(
                "The credentials of the outputs: a TOML file of mode 0600 (default: the"
                " environment)."
            ),
        ),
    ] = None
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help=(
                "Send the whole membership of connected audiences again, also what was sent before."
            ),
        ),
    ] = False
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on, and look every second for new batches.")
    ] = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@app.command("forward", epilog="Example: profilectl forward --output lake")
@with_options(ForwardOptions)
def forward_command(context: typer.Context, options: ForwardOptions) -> None:
    """Deliver waiting batches and audience changes to the outputs.

    Each batch leaves with its profile as it was after the batch. Deliveries are in order for each
    person, happen at least once, and repeat under the same id.

    Exit 3: some went to the dead-letter list. Exit 9: an output could not be reached, lacks
    credentials, takes nothing, or asks for a longer pause than --max-wait; the rest still waits.
    """
    from profilectl.outputs.delivery.parcel import DeliveryManner
    from profilectl.outputs.delivery.run import ForwardRequest, forward
    from profilectl.render import outputs, screen

    common = options_of(context)
    request = ForwardRequest(
        output=options.output,
        limit=options.limit,
        manner=DeliveryManner(
            attempts=options.attempts,
            timeout_s=options.timeout,
            lanes=options.lanes,
            pause_s=options.pause,
            max_wait_s=options.max_wait,
        ),
        credentials=options.credentials,
        follow_s=1.0 if options.follow else None,
        wait_s=options.wait,
        full=options.full,
    )

    def print_round(forwarded: list[Forwarded]) -> None:
        for result in filter(_did_something, forwarded):
            if options.as_json:
                screen.print_text(_line(result.as_json()))
            else:
                with screen.aside():
                    outputs.print_forwarded([result])

    with working(common, "forwarding"):
        forwarded = forward(
            common.store,
            request,
            progress=lambda output, delivered: at_work.rows(delivered),
            told=print_round,
        )
    if options.as_json:
        screen.print_json([result.as_json() for result in forwarded])
    else:
        outputs.print_forwarded(forwarded)
    for result in forwarded:
        if result.stopped:
            screen.error(f"{result.output}: {result.stopped}", result.hint)
    raise typer.Exit(_exit_of(forwarded))


def _did_something(result: Forwarded) -> bool:
    """Return whether a round with an output is worth a line."""
    counts = (result.delivered, result.known, result.dead, result.not_sent)
    return any(counts) or bool(result.stopped) or result.members is not None


def _exit_of(forwarded: list[Forwarded]) -> Exit:
    if any(result.stopped for result in forwarded):
        return Exit.UNFINISHED
    return Exit.REJECTED_ROWS if any(result.dead for result in forwarded) else Exit.DONE


def _line(document: Mapping[str, object]) -> str:
    import json

    return json.dumps(document, ensure_ascii=False) + "\n"


@outbox_app.command("list", epilog="Example: profilectl outbox list --output lake")
def list_command(
    context: typer.Context,
    output: OutputOption = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="Show at most N dead batches.")
    ] = 100,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """List waiting batches by output and feed, delivered ones, and the dead-letter list."""
    from profilectl.outputs.delivery.letters import outbox_of
    from profilectl.render import outputs, screen

    outbox = outbox_of(options_of(context).store, output=output, limit=limit, wait_s=wait)
    screen.print_json(outbox) if as_json else outputs.print_outbox(outbox)


@outbox_app.command("retry", epilog="Example: profilectl outbox retry --output lake")
def retry_command(
    context: typer.Context,
    output: OutputOption = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Move the dead-letter list back to the waiting batches, for the next forward.

    The batches leave unchanged, perhaps after later ones that the receiver has already.
    """
    from profilectl.outputs.delivery.letters import retry
    from profilectl.render import outputs, screen

    count = retry(options_of(context).store, output, wait_s=wait)
    if as_json:
        screen.print_json({"waiting_again": count.total})
    else:
        screen.print_line(
            f"{outputs.counted_letters(count)} {'waits' if count.total == 1 else 'wait'} again"
        )


@dataclass(frozen=True, kw_only=True)
class DropOptions:
    """The options of `profilectl outbox drop`."""

    output: OutputOption = None
    waiting: Annotated[
        bool,
        typer.Option("--waiting", help="Drop the batches that wait, instead of the dead ones."),
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show how many; change nothing.")] = (
        False
    )
    yes: YesOption = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@outbox_app.command("drop", epilog="Example: profilectl outbox drop --output lake --dry-run")
@with_options(DropOptions)
def drop_command(context: typer.Context, options: DropOptions) -> None:
    """Remove the dead-letter list from the outbox for good: it never leaves.

    It asks before; without a terminal it needs --yes.
    """
    from profilectl.outputs.delivery.letters import drop
    from profilectl.render import outputs, screen

    if options.waiting and options.output is None:
        raise UsageError(
            "--waiting goes with --output", "profilectl outbox drop --waiting --output NAME"
        )
    path = options_of(context).store

    def loss() -> Loss | None:
        count = drop(
            path, options.output, waiting=options.waiting, dry_run=True, wait_s=options.wait
        )
        if not count.total:
            return None
        letters = outputs.counted_letters(count)
        state = "waiting" if options.waiting else "dead"
        place = f"for {options.output}" if options.output else "for all outputs"
        return Loss(
            show=lambda: screen.notice(f"{state}, {place}: {letters}"),
            question=f"Drop {letters} for good?",
            act=f"{letters} would be dropped for good",
            unchanged="nothing was dropped",
        )

    need_yes(options.dry_run or options.yes, loss)
    count = drop(
        path, options.output, waiting=options.waiting, dry_run=options.dry_run, wait_s=options.wait
    )
    if options.as_json:
        screen.print_json({"dropped": count.total, "dry_run": options.dry_run})
    else:
        screen.print_line(
            f"{outputs.counted_letters(count)} {'would be ' if options.dry_run else ''}dropped"
        )


@app.command("usage", epilog="Example: profilectl usage --month 2026-11")
def usage_command(
    context: typer.Context,
    month: Annotated[
        str | None, typer.Option("--month", metavar="YYYY-MM", help="Only this month.")
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Print one JSON line for each batch that was processed.")
    ] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Show billable batches and tracked users, by month.

    Processed batches are counted too, by month, feed and import.
    """
    from profilectl.reading.usage import usage, usage_rows
    from profilectl.render import outputs, screen
    from profilectl.render.progress import works

    common = options_of(context)
    path = common.store
    if rows:
        every_row = usage_rows(path, month=month, wait_s=wait)
        for row in working_until_rows(common, works.USAGE_ROWS, every_row):
            screen.print_text(_line(row))
        return
    with working(common, works.USAGE):
        months = usage(path, month=month, wait_s=wait)
    screen.print_json(months) if as_json else outputs.print_usage(months)
