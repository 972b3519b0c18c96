"""profilectl imports: the history of a store, and taking imports back."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import JsonOption, WaitOption, app, options_of
from profilectl.codes import InputRefused, UsageError

imports_app = typer.Typer(help="List, show and undo imports.", no_args_is_help=True)
app.add_typer(imports_app, name="imports")

NumberArgument = Annotated[
    int,
    typer.Argument(
        metavar="N", help="The number of the import.", min=1, autocompletion=complete.imports
    ),
]
UndoneArgument = Annotated[
    int,
    typer.Argument(
        metavar="N",
        help="The number of the import.",
        min=1,
        autocompletion=complete.imports_in_force,
    ),
]


@imports_app.command("list", epilog="Example: profilectl imports list --json")
def list_command(context: typer.Context, as_json: JsonOption = False, wait: WaitOption = 0) -> None:
    """List all imports, undone ones too."""
    from profilectl.importing.undo import imports_of
    from profilectl.render import imports as render_imports
    from profilectl.render import screen as render_screen

    found = imports_of(options_of(context).store, wait_s=wait)
    if as_json:
        render_screen.print_json([past.as_json() for past in found])
    else:
        render_imports.print_imports(found)


@imports_app.command("show", epilog="Example: profilectl imports show 3")
def show_command(
    context: typer.Context,
    number: NumberArgument,
    as_json: JsonOption = False,
    wait: WaitOption = 0,
) -> None:
    """Show one import: feed, files with their hashes, who and when, and its counts."""
    from profilectl.importing.undo import import_of
    from profilectl.render import imports as render_imports
    from profilectl.render import screen as render_screen

    past = import_of(options_of(context).store, number, wait_s=wait)
    if as_json:
        render_screen.print_json(past.as_json())
    else:
        render_imports.print_import(past)


@imports_app.command("undo", epilog="Example: profilectl imports undo 3 --yes")
def undo_command(
    context: typer.Context,
    number: UndoneArgument,
    cascade: Annotated[
        bool,
        typer.Option("--cascade", help="With the later imports that rest on it, newest first."),
    ] = False,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay", help="And import the files of all later imports again without it."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Take an import back.

    It stays in the history as undone, and its files may be imported again.
    """
    from profilectl.importing.undo import going, undo_import
    from profilectl.render import screen as render_screen

    if cascade and replay:
        raise UsageError(
            "--cascade and --replay exclude each other",
            "--replay makes the later imports again, --cascade does not",
        )
    options = options_of(context)
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        pasts = going(options.store, number, cascade=cascade, replay=replay, wait_s=wait)
        for past in pasts:
            again = ", to be made again" if replay and past.number != number else ""
            render_screen.notice(
                f"import {past.number}: feed {past.feed}, {render_screen.counted(past.report['rows']['applied'], 'row')} applied{again}"
            )
        if not typer.confirm(f"Take {render_screen.counted(len(pasts), 'import')} back?", err=True):
            raise InputRefused("nothing was taken back")
    with render_screen.progress_bar(quiet=options.quiet or as_json) as progress:
        done = undo_import(
            options.store, number, cascade=cascade, replay=replay, wait_s=wait, progress=progress
        )
    if as_json:
        render_screen.print_json(
            {
                "undone": done.numbers,
                "replayed": [{"import": old, "as": new} for old, new in done.replayed],
            }
        )
    elif not options.quiet:
        for one in done.numbers:
            render_screen.notice(f"import {one} is undone")
        for old, new in done.replayed:
            render_screen.notice(f"import {old} was made again as {new}")
