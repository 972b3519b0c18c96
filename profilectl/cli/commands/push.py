"""profilectl push: what the store holds goes to the platform."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from profilectl.cli.app import JsonOption, WaitOption, app, options_of
from profilectl.cli.commands.export import OptOuts, OptOutsOption
from profilectl.cli.commands.import_ import UnpackedOption
from profilectl.cli.commands.search import EnvironmentName
from profilectl.codes import Exit, ProfilectlError, UsageError
from profilectl.outputs.platform import HISTORICAL_AFTER_H, HOSTS, RATE
from profilectl.rules.text.retry_after import MAX_WAIT_S


@app.command(
    "push", epilog="Example: profilectl push --import 3 --host us1 --credentials push.toml"
)
def push_command(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Batches to send instead, as export batches writes them: .jsonl or .json.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="URL",
            help=f"Where to: an https address, or {', '.join(HOSTS)}; http for this machine alone.",
        ),
    ] = None,
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials",
            metavar="FILE",
            help="A file of mode 0600 with key and secret; else PROFILECTL_PUSH_KEY and PROFILECTL_PUSH_SECRET.",
        ),
    ] = None,
    by_import: Annotated[
        int | None,
        typer.Option(
            "--import",
            metavar="N",
            min=1,
            help="Only profiles that this import touched, with what it deleted.",
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="Only profiles that meet it, for example \"tier = 'gold'\".",
        ),
    ] = None,
    audience: Annotated[
        str | None,
        typer.Option("--audience", metavar="NAME", help="Only the members of this audience."),
    ] = None,
    environment: Annotated[
        EnvironmentName | None, typer.Option("--environment", help="Only this one.")
    ] = None,
    with_mpid: Annotated[
        bool, typer.Option("--with-mpid", help="Name our MPIDs, for a platform that has them.")
    ] = False,
    with_times: Annotated[
        bool,
        typer.Option(
            "--with-times", help="Say timestamp_unixtime_ms, which the platform sets itself."
        ),
    ] = False,
    events: Annotated[
        bool,
        typer.Option("--events", help="The stored events of profiles, instead of the profiles."),
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="With --events: events from then on: a day, a time, or 30d, 12h ago.",
        ),
    ] = None,
    historical_after: Annotated[
        float,
        typer.Option(
            "--historical-after",
            metavar="HOURS",
            min=0,
            help="Older events go to the historical endpoint, those of a file as well.",
        ),
    ] = HISTORICAL_AFTER_H,
    opt_outs: OptOutsOption = OptOuts["event"],
    max_unpacked: UnpackedOption = None,
    rate: Annotated[
        float,
        typer.Option(
            "--rate", metavar="N", min=0, help="At most so many batches a second; 0: no limit."
        ),
    ] = RATE,
    parallel: Annotated[
        int,
        typer.Option("--parallel", metavar="N", min=1, max=64, help="So many requests at once."),
    ] = 4,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            help="How long one exchange may last, from connecting to the last byte.",
        ),
    ] = 30,
    give_up: Annotated[
        float,
        typer.Option(
            "--give-up",
            metavar="SECONDS",
            min=0,
            help="Stop where nothing was accepted for so long.",
        ),
    ] = 300,
    max_wait: Annotated[
        float,
        typer.Option(
            "--max-wait",
            metavar="SECONDS",
            min=0,
            help="Where the platform asks for a longer pause, end with exit 9 and say when to come back.",
        ),
    ] = MAX_WAIT_S,
    refused: Annotated[
        Path | None,
        typer.Option(
            "--refused",
            metavar="FILE",
            help="Where refused batches are added; else push-N.refused.jsonl.",
        ),
    ] = None,
    dry_run: Annotated[
        Path | None,
        typer.Option(
            "--dry-run",
            metavar="FILE",
            help="Write the requests to FILE, one a line; send nothing.",
        ),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Say how many batches and requests, and how long they take; send nothing.",
        ),
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Send all, also what was pushed before and has not changed since."
        ),
    ] = False,
    memory_limit: Annotated[
        str | None, typer.Option("--memory-limit", metavar="SIZE", help="For example 2GB.")
    ] = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Send profiles, the changes of an import, stored events, or a file of batches to the
    platform's Events API.

    Run again after an interruption, the same push goes on where it stopped. Nothing is lost, and
    what is sent twice has the same source_request_id.
    """
    from profilectl.cli.options import check_memory_limit
    from profilectl.files.secrets import credentials_of
    from profilectl.outputs.push.run import PushRequest, push
    from profilectl.outputs.push.sending import SendingPace
    from profilectl.reading.actions import stated_time
    from profilectl.render import screen as render_screen
    from profilectl.render.push import print_push, push_progress

    options = options_of(context)
    if file is None and by_import is not None and events:
        raise UsageError(
            "--events and --import do not go together",
            "push --events --since TIME chooses stored events by their time",
        )
    if since is not None and not events:
        raise UsageError("--since goes with --events", "push --events --since 30d")
    if estimate and dry_run is not None:
        raise UsageError(
            "--estimate and --dry-run do not go together",
            "--dry-run says how many as well; --estimate writes nothing",
        )
    if file is not None and (
        events
        or by_import is not None
        or where is not None
        or audience is not None
        or environment is not None
        or with_mpid
    ):
        raise UsageError(
            "--import, --where, --audience, --environment, --events and --with-mpid choose profiles; a file is sent as it is"
        )
    if opt_outs.value == "none" and (file is not None or events):
        raise UsageError(
            "--opt-outs is of profiles: a file and stored events are sent as they are",
            "leave --opt-outs out",
        )
    if max_unpacked is not None and file is None:
        raise UsageError("--max-unpacked goes with a file")
    asked = PushRequest(
        file,
        by_import,
        where,
        environment.value if environment else None,
        with_mpid,
        with_times,
        again,
        events,
        since,
        stated_time("--since", since),
        historical_after,
        audience,
        opt_outs=opt_outs.value == "event",
        max_unpacked=max_unpacked,
    )
    found = None if dry_run or estimate else credentials_of(credentials, os.environ)
    with push_progress(quiet=options.quiet, bar=not as_json) as (progress, said):
        report = push(
            options.store,
            asked,
            host=host,
            credentials=found,
            pace=SendingPace(rate, parallel, timeout, give_up, max_wait_s=max_wait),
            refused=refused,
            dry_run=dry_run,
            estimate=estimate,
            memory_limit=check_memory_limit(memory_limit),
            wait_s=wait,
            progress=progress,
            said=said,
        )
    if as_json:
        render_screen.print_json(report.as_json())
    else:
        print_push(report, quiet=options.quiet)
    if isinstance(report.stopped, ProfilectlError):
        raise report.stopped
    raise typer.Exit(Exit.REJECTED_ROWS if report.reasons else Exit.DONE)
