"""profilectl imports: the history of a store, and undoing imports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from profilectl.cli.at_work import working
from profilectl.cli.context import Context, options_of
from profilectl.cli.options import JsonOption, WaitOption, YesOption, with_options
from profilectl.cli.question import Loss, need_yes
from profilectl.cli.registry import argument, command, group, option
from profilectl.codes import UsageError

group("imports", help="List, show and undo imports.")

NumberArgument = Annotated[
    int,
    argument(metavar="N", help="The number of the import.", min=1, completion="imports"),
]
UndoneArgument = Annotated[
    int,
    argument(metavar="N", help="The number of the import.", min=1, completion="imports_in_force"),
]


@command("imports", "list", epilog="Example: profilectl imports list --json")
def list_command(context: Context, as_json: JsonOption = False, wait: WaitOption = 0) -> None:
    """List all imports, also undone ones."""
    from profilectl.importing.undo import imports_of
    from profilectl.render import imports, screen

    pasts = imports_of(options_of(context).store, wait_s=wait)
    if as_json:
        screen.print_json([past.as_json() for past in pasts])
    else:
        imports.print_imports(pasts)


@command("imports", "show", epilog="Example: profilectl imports show 3")
def show_command(
    context: Context,
    number: NumberArgument,
    as_json: JsonOption = False,
    wait: WaitOption = 0,
) -> None:
    """Show one import: its feed, files with hashes, user, time and counts."""
    from profilectl.importing.undo import import_of
    from profilectl.render import imports, screen

    past = import_of(options_of(context).store, number, wait_s=wait)
    if as_json:
        screen.print_json(past.as_json())
    else:
        imports.print_import(past)


@dataclass(frozen=True, kw_only=True)
class ImportsUndoOptions:
    """The options of `profilectl imports undo`."""

    number: UndoneArgument
    cascade: Annotated[
        bool,
        option("--cascade", help="Also undo the later imports that depend on it, newest first."),
    ] = False
    replay: Annotated[
        bool,
        option("--replay", help="Import the files of all later imports again, without it."),
    ] = False
    yes: YesOption = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@command("imports", "undo", epilog="Example: profilectl imports undo 3 --yes")
@with_options(ImportsUndoOptions)
def undo_command(context: Context, options: ImportsUndoOptions) -> None:
    """Undo an import.

    It stays in the history as undone, and its files may be imported again. It asks before; without
    a terminal it needs --yes.
    """
    from profilectl.importing.undo import undo_import
    from profilectl.render import screen
    from profilectl.render.progress import works

    if options.cascade and options.replay:
        raise UsageError(
            "--cascade and --replay exclude each other",
            "--replay makes the later imports again, --cascade does not",
        )
    common = options_of(context)
    need_yes(options.yes, lambda: _loss(common.store, options))
    with working(common, works.REPLAY if options.replay else works.REFRESH):
        undone = undo_import(
            common.store,
            options.number,
            cascade=options.cascade,
            replay=options.replay,
            wait_s=options.wait,
        )
    if options.as_json:
        screen.print_json(
            {
                "undone": undone.numbers,
                "replayed": [{"import": old, "as": new} for old, new in undone.replayed],
            }
        )
    elif not common.quiet:
        for number in undone.numbers:
            screen.notice(f"import {number} is undone")
        for old, new in undone.replayed:
            screen.notice(f"import {old} was made again as {new}")


def _loss(store: Path, options: ImportsUndoOptions) -> Loss:
    """Return what an undo would take back. Raises InputRefused if it would refuse."""
    from profilectl.importing.undo import going
    from profilectl.render import screen

    pasts = going(
        store,
        options.number,
        cascade=options.cascade,
        replay=options.replay,
        wait_s=options.wait,
    )

    def show() -> None:
        for past in pasts:
            again = ", to be made again" if options.replay and past.number != options.number else ""
            rows = screen.counted(past.report["rows"]["applied"], "row")
            screen.notice(f"import {past.number}: feed {past.feed}, {rows} applied{again}")

    imports = screen.counted(len(pasts), "import")
    return Loss(
        show=show,
        question=f"Take {imports} back?",
        act=f"{imports} would be taken back",
        unchanged="nothing was taken back",
    )
