"""profilectl enrich, forward, outbox and usage: what leaves for the outputs, and what is billed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from profilectl.cli import complete
from profilectl.cli.app import JsonOption, WaitOption, app, options_of
from profilectl.cli.commands.import_ import (
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
    SourceOption,
    UnpackedOption,
    value_of,
)
from profilectl.cli.commands.import_ import EmptyName as Empty
from profilectl.codes import Exit, InputRefused, UsageError
from profilectl.rules.text.retry_after import MAX_WAIT_S

OutputOption = Annotated[
    str | None, typer.Option("--output", metavar="NAME", help="That output only.")
]
outbox_app = typer.Typer(
    help="Batches that wait to leave, and those that could not.", no_args_is_help=True
)
app.add_typer(outbox_app, name="outbox")


@app.command("enrich", epilog="Example: profilectl enrich views.jsonl --feed web --json")
def enrich_command(
    context: typer.Context,
    files: FilesArgument,
    feed: Annotated[
        str,
        typer.Option(
            "--feed", help="The feed the files would come from.", autocompletion=complete.feeds
        ),
    ],
    output: OutputOption = None,
    protection: ProtectionOption = None,
    source: SourceOption = None,
    partner: PartnerOption = None,
    format: FormatOption = None,
    manifest: ManifestOption = None,
    mapped: MapOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    max_unpacked: UnpackedOption = None,
    empty: EmptyOption = Empty["ignore"],
    event: EventOption = None,
    environment: EnvironmentOption = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Show what would leave for each batch of files: completed with its profile, and for each
    output, filtered. Nothing is stored or sent.

    With --json one JSON line a row.
    """
    import sys

    from profilectl.importing.request import ImportRequest
    from profilectl.outputs.enrich import enrich
    from profilectl.render import outputs
    from profilectl.render import screen as render_screen
    from profilectl.rules.text.values import to_json

    request = ImportRequest(
        paths=files,
        feed=feed,
        protection=value_of(protection),
        source=value_of(source),
        partner=partner,
        format=value_of(format),
        manifest=manifest,
        mapped=mapped or (),
        delimiter=delimiter,
        encoding=encoding,
        max_unpacked=max_unpacked,
        empty=empty.value,
        event=event,
        environment=value_of(environment),
        wait_s=wait,
        stdin=sys.stdin.buffer,
    )
    options = options_of(context)
    report, found = enrich(options.store, request, output=output)
    for one in found:
        if as_json:
            render_screen.print_text(to_json(one.as_value()) + "\n")
        else:
            outputs.print_enriched(one)
    if not options.quiet:
        rejected = report.counts.rows["rejected"]
        render_screen.notice(
            f"{render_screen.counted(len(found), 'batch')}; nothing was stored or sent"
            + (f"; {render_screen.counted(rejected, 'row')} would be rejected" if rejected else "")
        )
    raise typer.Exit(Exit.REJECTED_ROWS if report.counts.rows["rejected"] else Exit.DONE)


@app.command("forward", epilog="Example: profilectl forward --output lake")
def forward_command(
    context: typer.Context,
    output: OutputOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="At most so many batches to each output."),
    ] = None,
    attempts: Annotated[
        int,
        typer.Option(
            "--attempts",
            metavar="N",
            min=1,
            max=100,
            help="How often a batch is tried before it goes to the dead-letter list.",
        ),
    ] = 5,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            help="How long one exchange may last, from connecting to the last byte.",
        ),
    ] = 30,
    pause: Annotated[
        float,
        typer.Option(
            "--pause",
            metavar="SECONDS",
            min=0,
            help="The first pause before a batch is tried again; it grows.",
        ),
    ] = 0.5,
    max_wait: Annotated[
        float,
        typer.Option(
            "--max-wait",
            metavar="SECONDS",
            min=0,
            help="Where a receiver asks for a longer pause, end with exit 9 and say when to come back.",
        ),
    ] = MAX_WAIT_S,
    lanes: Annotated[
        int,
        typer.Option(
            "--lanes",
            metavar="N",
            min=1,
            max=100,
            help="How many people's batches go to a webhook at the same time.",
        ),
    ] = 8,
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials",
            metavar="FILE",
            help="Credentials of the outputs: a TOML file of mode 0600; else the environment.",
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Send the whole membership of connected audiences again, whatever was sent.",
        ),
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on, and look every second for what came in.")
    ] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Deliver what waits: each batch with its profile as it was after it, and who enters or leaves
    an audience that is connected; in order for each person, at least once, always under the same
    id.

    Exit 3: some went to the dead-letter list. Exit 9: an output could not be reached, lacks
    credentials, takes nothing, or asks for a longer pause than --max-wait; what is left waits.
    """
    from profilectl.outputs.delivery.parcel import DeliveryManner
    from profilectl.outputs.delivery.run import Forwarded, ForwardRequest, forward
    from profilectl.render import outputs
    from profilectl.render import screen as render_screen

    options = options_of(context)
    asked = ForwardRequest(
        output,
        limit,
        DeliveryManner(attempts, timeout, lanes, pause, max_wait),
        credentials,
        1.0 if follow else None,
        wait,
        full,
    )

    def told(found: list[Forwarded]) -> None:
        for one in found:
            if (
                one.delivered
                or one.known
                or one.dead
                or one.not_sent
                or one.stopped
                or one.members is not None
            ):
                render_screen.print_text(
                    _line(one.as_json())
                ) if as_json else outputs.print_forwarded([one])

    with render_screen.progress_bar(quiet=options.quiet or as_json) as progress:
        found = forward(options.store, asked, progress=progress, told=told)
    if as_json:
        render_screen.print_json([one.as_json() for one in found])
    else:
        outputs.print_forwarded(found)
    for one in found:
        if one.stopped:
            render_screen.error(f"{one.output}: {one.stopped}", one.hint)
    stopped, dead = any(one.stopped for one in found), any(one.dead for one in found)
    raise typer.Exit(Exit.UNFINISHED if stopped else Exit.REJECTED_ROWS if dead else Exit.DONE)


def _line(document: dict[str, Any]) -> str:
    import json

    return json.dumps(document, ensure_ascii=False) + "\n"


@outbox_app.command("list", epilog="Example: profilectl outbox list --output lake")
def list_command(
    context: typer.Context,
    output: OutputOption = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="So many of the dead at most.")
    ] = 100,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """List what waits, by output and feed, what has left, and the dead-letter list."""
    from profilectl.outputs.delivery.letters import outbox_of
    from profilectl.render import outputs
    from profilectl.render import screen as render_screen

    found = outbox_of(options_of(context).store, output=output, limit=limit, wait_s=wait)
    render_screen.print_json(found) if as_json else outputs.print_outbox(found)


@outbox_app.command("retry", epilog="Example: profilectl outbox retry --output lake")
def retry_command(
    context: typer.Context,
    output: OutputOption = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Let what is on the dead-letter list wait again, for the next forward.

    It leaves as it would have then: a receiver may have later batches.
    """
    from profilectl.outputs.delivery.letters import retry
    from profilectl.render import outputs
    from profilectl.render import screen as render_screen

    count = retry(options_of(context).store, output, wait_s=wait)
    if as_json:
        render_screen.print_json({"waiting_again": count.total})
    else:
        render_screen.print_line(
            f"{outputs.counted_letters(count)} {'waits' if count.total == 1 else 'wait'} again"
        )


@outbox_app.command("drop", epilog="Example: profilectl outbox drop --output lake --dry-run")
def drop_command(
    context: typer.Context,
    output: OutputOption = None,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Those that wait, instead of the dead.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Take what is on the dead-letter list out of the outbox for good: it never leaves."""
    import sys

    from profilectl.outputs.delivery.letters import drop
    from profilectl.render import outputs
    from profilectl.render import screen as render_screen

    if waiting and output is None:
        raise UsageError(
            "--waiting goes with --output", "profilectl outbox drop --waiting --output NAME"
        )
    path = options_of(context).store
    if not dry_run and not yes and sys.stdin.isatty() and sys.stderr.isatty():
        count = drop(path, output, waiting=waiting, dry_run=True, wait_s=wait)
        if not typer.confirm(f"Drop {outputs.counted_letters(count)} for good?", err=True):
            raise InputRefused("nothing was dropped")
    count = drop(path, output, waiting=waiting, dry_run=dry_run, wait_s=wait)
    if as_json:
        render_screen.print_json({"dropped": count.total, "dry_run": dry_run})
    else:
        render_screen.print_line(
            f"{outputs.counted_letters(count)} {'would be ' if dry_run else ''}dropped"
        )


@app.command("usage", epilog="Example: profilectl usage --month 2026-11")
def usage_command(
    context: typer.Context,
    month: Annotated[
        str | None, typer.Option("--month", metavar="YYYY-MM", help="That month only.")
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="One JSON line for each batch that was processed.")
    ] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say what was processed, how much of it is billable, and how many users were tracked, by
    month, feed and import.
    """
    from profilectl.reading.usage import usage, usage_rows
    from profilectl.render import outputs
    from profilectl.render import screen as render_screen

    path = options_of(context).store
    if rows:
        for one in usage_rows(path, month=month, wait_s=wait):
            render_screen.print_text(_line(one))
        return
    found = usage(path, month=month, wait_s=wait)
    render_screen.print_json(found) if as_json else outputs.print_usage(found)
