"""profilectl diff: what an import changed, or what lies between two."""

from __future__ import annotations

import enum
import itertools
from typing import Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import WaitOption, app, options_of
from profilectl.cli.who import one_identity

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
ChangeName = enum.Enum("ChangeName", {name: name for name in CHANGES}, type=str)  # type: ignore[misc]


@app.command("diff", epilog="Example: profilectl diff 3 --change changed --attribute tier")
def diff_command(
    context: typer.Context,
    older: Annotated[
        int | None,
        typer.Argument(
            metavar="N",
            min=0,
            help="An import: what it changed; else the last one.",
            autocompletion=complete.imports_in_force,
        ),
    ] = None,
    newer: Annotated[
        int | None,
        typer.Argument(
            metavar="M",
            min=0,
            help="A second one: what leads from the state after the first to that after this one, which may be the earlier; 0 is the empty store.",
            autocompletion=complete.imports_in_force,
        ),
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute",
            metavar="KEY",
            help="Only changes of this attribute; repeatable.",
            autocompletion=complete.keys,
        ),
    ] = None,
    change: Annotated[
        list[ChangeName] | None,
        typer.Option("--change", help="Only changes of this kind; repeatable."),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            "--identity",
            metavar="TYPE=VALUE",
            help="Only the profiles that have this identity, or mpid=NUMBER.",
            autocompletion=complete.typed,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many changes.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document a line, a change each.")
    ] = False,
    wait: WaitOption = 0,
) -> None:
    """Show what an import changed, or what lies between two, profile by profile and attribute by
    attribute.
    """
    from profilectl.reading.actions import changes_of
    from profilectl.render import imports as render_imports
    from profilectl.render import screen as render_screen

    found = changes_of(
        options_of(context).store,
        older,
        newer,
        who=one_identity(identity) if identity else None,
        changes=[str(one.value) for one in change or ()],
        attributes=attribute or (),
        wait_s=wait,
    )
    if limit is not None:
        found = itertools.islice(found, limit)
    if as_json:
        for line, *_ in found:
            render_screen.print_text(f"{line}\n")
    else:
        render_imports.print_changes(found)
