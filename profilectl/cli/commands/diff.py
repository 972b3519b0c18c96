"""profilectl diff: the changes of an import, or between two imports."""

from __future__ import annotations

import enum
import itertools
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import app, options_of
from profilectl.cli.at_work import working_until_rows
from profilectl.cli.options import WaitOption, with_options
from profilectl.cli.who import typed_identity

CHANGES = (
    "created",
    "gone",
    "aliased",
    "unaliased",
    "identity-added",
    "identity-removed",
    "set",
    "changed",
    "deleted",
)
ChangeName = enum.Enum(  # type: ignore[misc]
    "ChangeName", {name: name for name in CHANGES}, type=str
)


@dataclass(frozen=True, kw_only=True)
class DiffOptions:
    """The options of `profilectl diff`."""

    older: Annotated[
        int | None,
        typer.Argument(
            metavar="N",
            min=0,
            help="The import whose changes to show (default: the last one).",
            autocompletion=complete.imports_in_force,
        ),
    ] = None
    newer: Annotated[
        int | None,
        typer.Argument(
            metavar="M",
            min=0,
            help=(
                "A second import: show the changes from the state after N to the state after M."
                " M may be the earlier one; 0 is the empty store."
            ),
            autocompletion=complete.imports_in_force,
        ),
    ] = None
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute",
            metavar="KEY",
            help="Show only changes of this attribute; repeatable.",
            autocompletion=complete.keys,
        ),
    ] = None
    change: Annotated[
        list[ChangeName] | None,
        typer.Option("--change", help="Show only changes of this kind; repeatable."),
    ] = None
    identity: Annotated[
        str | None,
        typer.Option(
            "--identity",
            metavar="TYPE=VALUE",
            help="Show only profiles that have this identity, or mpid=NUMBER.",
            autocompletion=complete.typed,
        ),
    ] = None
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Show at most N changes.")
    ] = None
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document a line, one for each change.")
    ] = False
    wait: WaitOption = 0


@app.command("diff", epilog="Example: profilectl diff 3 --change changed --attribute tier")
@with_options(DiffOptions)
def diff_command(context: typer.Context, options: DiffOptions) -> None:
    """Show what an import changed, for each profile and attribute.

    With two imports it shows what changed between them.
    """
    from profilectl.reading.actions import DiffRequest, changed_lines, changes_of
    from profilectl.render import imports, screen
    from profilectl.render.progress import works

    common = options_of(context)
    request = DiffRequest(
        options.older,
        options.newer,
        who=typed_identity(options.identity) if options.identity else None,
        changes=[str(change.value) for change in options.change or ()],
        attributes=options.attribute or (),
    )
    if options.as_json and options.limit is None:
        blocks = changed_lines(common.store, request, wait_s=options.wait)
        for lines in working_until_rows(common, works.DIFF, blocks):
            sys.stdout.buffer.write(lines)
        return
    every_change = changes_of(common.store, request, wait_s=options.wait)
    changes = working_until_rows(common, works.DIFF, itertools.islice(every_change, options.limit))
    if options.as_json:
        for line, *_ in changes:
            screen.print_text(f"{line}\n")
    else:
        imports.print_changes(changes)
