"""profilectl push: send profiles to the platform."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import app, options_of
from profilectl.cli.commands.export import OptOutsName, OptOutsOption
from profilectl.cli.import_options import UnpackedOption
from profilectl.cli.options import (
    JsonOption,
    MemoryOption,
    OnlyEnvironmentOption,
    WaitOption,
    check_memory_limit,
    value_of,
    with_options,
)
from profilectl.codes import Exit, ProfilectlError, UsageError
from profilectl.outputs.platform import HISTORICAL_AFTER_H, HOSTS, RATE
from profilectl.rules.text.retry_after import MAX_WAIT_S

if TYPE_CHECKING:
    from profilectl.outputs.push.run import PushRequest
    from profilectl.outputs.push.sending import SendingPace


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """The options of `profilectl push`."""

    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help=(
                "Send this file of batches instead, as export batches writes it: .jsonl or .json."
            ),
        ),
    ] = None
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="URL",
            help=(
                f"The address to send to: https, or {', '.join(HOSTS)};"
                " http for this machine alone."
            ),
        ),
    ] = None
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials",
            metavar="FILE",
            help=(
                "A file of mode 0600 with key and secret (default: PROFILECTL_PUSH_KEY and"
                " PROFILECTL_PUSH_SECRET)."
            ),
        ),
    ] = None
    by_import: Annotated[
        int | None,
        typer.Option(
            "--import",
            metavar="N",
            min=1,
            help="Send only profiles that this import touched, with its deletions.",
        ),
    ] = None
    condition: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="Send only profiles that meet it, for example \"tier = 'gold'\".",
        ),
    ] = None
    audience: Annotated[
        str | None,
        typer.Option(
            "--audience",
            metavar="NAME",
            help="Send only members of this audience.",
            autocompletion=complete.audiences,
        ),
    ] = None
    environment: OnlyEnvironmentOption = None
    with_mpid: Annotated[
        bool,
        typer.Option(
            "--with-mpid", help="Send the MPIDs of the store, to a platform that knows them."
        ),
    ] = False
    with_times: Annotated[
        bool,
        typer.Option(
            "--with-times",
            help="Send timestamp_unixtime_ms, which the platform otherwise sets itself.",
        ),
    ] = False
    events: Annotated[
        bool,
        typer.Option(
            "--events", help="Send the stored events of profiles, instead of the profiles."
        ),
    ] = False
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="With --events, send only events from this time on: a day, a time, or 30d ago.",
        ),
    ] = None
    historical_after: Annotated[
        float,
        typer.Option(
            "--historical-after",
            metavar="HOURS",
            min=0,
            help="Send events of more hours ago to the historical endpoint.",
        ),
    ] = HISTORICAL_AFTER_H
    opt_outs: OptOutsOption = OptOutsName["event"]
    max_unpacked: UnpackedOption = None
    rate: Annotated[
        float,
        typer.Option(
            "--rate", metavar="N", min=0, help="Send at most N batches a second; 0 sets no limit."
        ),
    ] = RATE
    parallel: Annotated[
        int,
        typer.Option(
            "--parallel", metavar="N", min=1, max=64, help="Send N requests at the same time."
        ),
    ] = 4
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            help="How long one exchange may last, from connecting to the last byte.",
        ),
    ] = 30
    give_up: Annotated[
        float,
        typer.Option(
            "--give-up",
            metavar="SECONDS",
            min=0,
            help="Stop if the platform accepts nothing for this long.",
        ),
    ] = 300
    max_wait: Annotated[
        float,
        typer.Option(
            "--max-wait",
            metavar="SECONDS",
            min=0,
            help=(
                "If the platform asks for a longer pause, exit with 9 and print when to come back."
            ),
        ),
    ] = MAX_WAIT_S
    refused: Annotated[
        Path | None,
        typer.Option(
            "--refused",
            metavar="FILE",
            help="The file that refused batches are added to (default: push-N.refused.jsonl).",
        ),
    ] = None
    dry_run: Annotated[
        Path | None,
        typer.Option(
            "--dry-run",
            metavar="FILE",
            help="Write the requests to FILE, one a line; send nothing.",
        ),
    ] = None
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Show how many batches and requests, and the time they take; send nothing.",
        ),
    ] = False
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Send everything, also unchanged profiles that were pushed before.",
        ),
    ] = False
    memory_limit: MemoryOption = None
    wait: WaitOption = 0
    as_json: JsonOption = False


def _check_together(options: PushOptions) -> None:
    """Check that the options go together. Raises UsageError."""
    if options.file is None and options.by_import is not None and options.events:
        raise UsageError(
            "--events and --import do not go together",
            "push --events --since TIME chooses stored events by their time",
        )
    if options.since is not None and not options.events:
        raise UsageError("--since goes with --events", "push --events --since 30d")
    if options.estimate and options.dry_run is not None:
        raise UsageError(
            "--estimate and --dry-run do not go together",
            "--dry-run says how many as well; --estimate writes nothing",
        )
    chooses = (options.by_import, options.condition, options.audience, options.environment)
    if options.file is not None and (
        options.events or options.with_mpid or any(value is not None for value in chooses)
    ):
        raise UsageError(
            "--import, --where, --audience, --environment, --events and --with-mpid choose"
            " profiles; a file is sent as it is"
        )
    if options.opt_outs.value == "none" and (options.file is not None or options.events):
        raise UsageError(
            "--opt-outs is of profiles: a file and stored events are sent as they are",
            "leave --opt-outs out",
        )
    if options.max_unpacked is not None and options.file is None:
        raise UsageError("--max-unpacked goes with a file")


def _request_of(options: PushOptions) -> PushRequest:
    from profilectl.outputs.push.run import PushRequest
    from profilectl.reading.people import time_of_option

    return PushRequest(
        file=options.file,
        by_import=options.by_import,
        where=options.condition,
        environment=value_of(options.environment),
        with_mpid=options.with_mpid,
        with_times=options.with_times,
        again=options.again,
        events=options.events,
        since=options.since,
        since_ms=time_of_option("--since", options.since),
        historical_after_h=options.historical_after,
        audience=options.audience,
        opt_outs=options.opt_outs.value == "event",
        max_unpacked=options.max_unpacked,
    )


def _pace_of(options: PushOptions) -> SendingPace:
    from profilectl.outputs.push.sending import SendingPace

    return SendingPace(
        rate=options.rate,
        parallel=options.parallel,
        timeout_s=options.timeout,
        give_up_s=options.give_up,
        max_wait_s=options.max_wait,
    )


EXAMPLES = """
How many batches and requests, and how long they take
$ profilectl push --estimate

The requests for what an import changed, written to a file instead
$ profilectl push --import 3 --dry-run requests.jsonl

Send what it changed
$ profilectl push --import 3 --host us1 --credentials push.toml
"""


@app.command("push", epilog=EXAMPLES)
@with_options(PushOptions)
def push_command(context: typer.Context, options: PushOptions) -> None:
    """Send profiles, changes, events or batches to the platform.

    It sends all profiles, the changes of an import, stored events, or a file of batches.

    After an interruption, run it again: it goes on where it stopped. Nothing is lost, and a batch
    that is sent twice has the same source_request_id.
    """
    from profilectl.files.secrets import credentials_of
    from profilectl.outputs.push.run import push
    from profilectl.render import screen
    from profilectl.render.push import print_push, push_progress

    common = options_of(context)
    _check_together(options)
    request = _request_of(options)
    sends = not (options.dry_run or options.estimate)
    credentials = credentials_of(options.credentials, os.environ) if sends else None
    with push_progress(quiet=common.quiet) as (progress, notice):
        report = push(
            common.store,
            request,
            host=options.host,
            credentials=credentials,
            pace=_pace_of(options),
            refused=options.refused,
            dry_run=options.dry_run,
            estimate=options.estimate,
            memory_limit=check_memory_limit(options.memory_limit),
            wait_s=options.wait,
            progress=progress,
            said=notice,
        )
    if options.as_json:
        screen.print_json(report.as_json())
    else:
        print_push(report, quiet=common.quiet)
    if isinstance(report.stopped, ProfilectlError):
        raise report.stopped
    raise typer.Exit(Exit.REJECTED_ROWS if report.reasons else Exit.DONE)
