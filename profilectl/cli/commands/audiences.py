"""profilectl audiences: segments of users, defined by rules."""

from __future__ import annotations

import contextlib
import enum
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import app, options_of, tell_unknown
from profilectl.cli.at_work import working, working_until_rows
from profilectl.cli.options import (
    JsonOption,
    LinesOption,
    WaitOption,
    YesOption,
    file_or_stdout,
    form_of_lines,
    names_of,
    value_of,
    with_options,
)
from profilectl.cli.question import loss_of, need_yes
from profilectl.codes import UsageError
from profilectl.rules.audience import KINDS

group = typer.Typer(
    no_args_is_help=True,
    help="Define, try, evaluate, compare and export segments of users.",
)
app.add_typer(group, name="audiences")

KindName = enum.Enum("KindName", names_of(KINDS), type=str)  # type: ignore[misc]
FormatName = enum.Enum(  # type: ignore[misc]
    "FormatName", {name: name for name in ("csv", "jsonl", "zip")}, type=str
)
NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The audience.", autocompletion=complete.audiences),
]
CriteriaArgument = Annotated[
    str,
    typer.Argument(
        metavar="CRITERIA",
        help="For example \"tier = 'gold' and count(event 'purchase' within 30d) >= 2\".",
    ),
]
KindOption = Annotated[
    KindName,
    typer.Option(
        "--kind", help="When it is evaluated: by every import, or by `audiences refresh`."
    ),
]
LookbackOption = Annotated[
    str | None,
    typer.Option(
        "--lookback",
        metavar="SPAN",
        help="How far back events count in a real-time audience (default: 90 days).",
    ),
]
NowOption = Annotated[
    str | None, typer.Option("--now", metavar="TIME", help="Evaluate as of this time.")
]


def _table(criteria: str, kind: KindName, lookback: str | None) -> dict[str, str]:
    """Return a definition as a configuration file has it."""
    return {
        "criteria": criteria,
        "kind": kind.value,
        **({"lookback": lookback} if lookback is not None else {}),
    }


@group.command("list", epilog="Example: profilectl audiences list --json")
def list_command(context: typer.Context, wait: WaitOption = 0, as_json: JsonOption = False) -> None:
    """List the audiences with their sizes."""
    from profilectl.audiences.actions import audiences_in
    from profilectl.render import audiences, screen

    audience_list = audiences_in(options_of(context).store, wait_s=wait)
    screen.print_json(audience_list) if as_json else audiences.print_audiences(audience_list)


@dataclass(frozen=True, kw_only=True)
class AudienceAddOptions:
    """The options of `profilectl audiences add`."""

    name: NameArgument
    criteria: CriteriaArgument
    kind: KindOption = KindName["real-time"]
    lookback: LookbackOption = None
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the criteria of an audience of this name.")
    ] = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@group.command(
    "add",
    epilog="Example: profilectl audiences add regulars \"count(event 'purchase' within 30d) >= 2\"",
)
@with_options(AudienceAddOptions)
def add_command(context: typer.Context, options: AudienceAddOptions) -> None:
    """Define an audience and evaluate it for everybody.

    A standard audience is not evaluated before `audiences refresh`.
    """
    from profilectl.audiences.actions import add_audience
    from profilectl.render import audiences, screen
    from profilectl.render.progress import works
    from profilectl.rules.audience import audience_of

    audience = audience_of(options.name, _table(options.criteria, options.kind, options.lookback))
    common = options_of(context)
    with working(common, works.REFRESH):
        added = add_audience(common.store, audience, replaces=options.replace, wait_s=options.wait)
    with working(common, "looking for unknown names"):
        tell_unknown(context, audience.tree, audience.workspace, wait_s=options.wait)
    screen.print_json(added) if options.as_json else audiences.print_audiences([added])


@dataclass(frozen=True, kw_only=True)
class AudiencePreviewOptions:
    """The options of `profilectl audiences preview`."""

    criteria: CriteriaArgument
    kind: KindOption = KindName["real-time"]
    lookback: LookbackOption = None
    as_of: NowOption = None
    wait: WaitOption = 0
    as_json: JsonOption = False


@group.command(
    "preview", epilog="Example: profilectl audiences preview \"tier = 'gold' and email exists\""
)
@with_options(AudiencePreviewOptions)
def preview_command(context: typer.Context, options: AudiencePreviewOptions) -> None:
    """Show how many users an audience would have, and some of them, without defining it."""
    from profilectl.audiences.actions import preview_audience
    from profilectl.reading.people import time_of_option
    from profilectl.render import audiences, screen
    from profilectl.rules.audience import audience_of

    audience = audience_of("preview", _table(options.criteria, options.kind, options.lookback))
    common, now_ms = options_of(context), time_of_option("--now", options.as_of)
    with working(common, "evaluating the audience"):
        preview = preview_audience(common.store, audience, now_ms=now_ms, wait_s=options.wait)
        tell_unknown(context, audience.tree, audience.workspace, wait_s=options.wait)
    screen.print_json(preview) if options.as_json else audiences.print_preview(preview)


@group.command("refresh", epilog="Example: profilectl audiences refresh")
def refresh_command(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="The audiences (default: all).",
            autocompletion=complete.audiences,
        ),
    ] = None,
    as_of: NowOption = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Evaluate audiences for everybody, and show how many users entered and left."""
    from profilectl.audiences.actions import refresh_audiences
    from profilectl.reading.people import time_of_option
    from profilectl.render import audiences, screen
    from profilectl.render.progress import works

    common, now_ms = options_of(context), time_of_option("--now", as_of)
    with working(common, works.REFRESH):
        refreshed = refresh_audiences(common.store, names or (), now_ms=now_ms, wait_s=wait)
    screen.print_json(refreshed) if as_json else audiences.print_audiences(refreshed)


@group.command("show", epilog="Example: profilectl audiences show regulars")
def show_command(
    context: typer.Context, name: NameArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Show one audience: its criteria, kind and size, and when it was last evaluated."""
    from profilectl.audiences.actions import audience_named
    from profilectl.render import audiences, screen

    shown = audience_named(options_of(context).store, name, wait_s=wait)
    screen.print_json(shown) if as_json else audiences.print_audience(shown)


@group.command("members", epilog="Example: profilectl audiences members regulars --json")
def members_command(
    context: typer.Context,
    name: NameArgument,
    limit: Annotated[
        int,
        typer.Option("--limit", min=0, metavar="N", help="Show at most N members; 0 shows all."),
    ] = 20,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """List the members of an audience; with --json one JSON document a line."""
    from profilectl.audiences.actions import members_of
    from profilectl.render import audiences

    common = options_of(context)
    members = members_of(common.store, name, limit=limit, wait_s=wait)
    audiences.print_members(
        working_until_rows(common, "looking for the members", members), as_json=as_json
    )


@group.command("diff", epilog="Example: profilectl audiences diff regulars --import 12")
def diff_command(
    context: typer.Context,
    name: NameArgument,
    number: Annotated[
        int | None,
        typer.Option("--import", metavar="N", min=1, help="Show only what this import changed."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Show only changes from this time on."),
    ] = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """List the users that entered or left an audience, and when.

    With --json one JSON document a line.
    """
    from profilectl.audiences.actions import changes_of
    from profilectl.reading.people import time_of_option
    from profilectl.render import audiences

    common, since_ms = options_of(context), time_of_option("--since", since)
    with working(common, "looking for who entered and left"):
        moves = changes_of(common.store, name, number=number, since_ms=since_ms, wait_s=wait)
    audiences.print_moves(moves, as_json=as_json)


@group.command("export", epilog="Example: profilectl audiences export regulars -o regulars.csv")
def export_command(
    context: typer.Context,
    name: NameArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write (default, or -: standard output).",
        ),
    ] = None,
    format: Annotated[
        FormatName | None,
        typer.Option(
            "--format",
            help=(
                "csv (a row for each identity, as in the platform's download), jsonl (a document"
                " for each user) or zip (the CSV with its manifest.json); default: by the name"
                " of the output, else csv."
            ),
        ),
    ] = None,
    wait: WaitOption = 0,
    as_json: LinesOption = False,
) -> None:
    """Export the members of an audience with all their identities."""
    from profilectl.audiences.download import export_audience
    from profilectl.render import screen

    output = file_or_stdout(output)
    suffix = output.suffix.removeprefix(".") if output else ""
    by_name = suffix if suffix in ("csv", "jsonl", "zip") else "csv"
    chosen = form_of_lines(value_of(format), output, by_name, as_json=as_json)
    if chosen == "zip" and output is None:
        raise UsageError("a zip goes into a file", "name it with -o")
    common = options_of(context)
    # Without a file the rows go to the terminal, and a line of progress would stand among them.
    among_rows = output is None and sys.stdout.isatty()
    with contextlib.nullcontext() if among_rows else working(common, "writing the export"):
        count = export_audience(common.store, name, output, form=chosen, wait_s=wait)
    if as_json and output is not None:
        screen.print_json({"exported": count, "kind": "members", "output": str(output)})
    elif not common.quiet:
        screen.notice(f"{screen.counted(count, 'member')} of {name} exported")


@group.command("remove", epilog="Example: profilectl audiences remove regulars --yes")
def remove_command(
    context: typer.Context,
    name: NameArgument,
    yes: YesOption = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Remove an audience and its memberships; refused while another audience refers to it.

    It asks before; without a terminal it needs --yes.
    """
    from profilectl.audiences.actions import remove_audience
    from profilectl.audiences.removal import goes_with_audience
    from profilectl.render import screen

    store = options_of(context).store
    need_yes(
        yes,
        lambda: loss_of(f"audience {name}", goes_with_audience(store, name, wait_s=wait)),
    )
    remove_audience(store, name, wait_s=wait)
    if as_json:
        screen.print_json({"removed": name})
