"""profilectl browse: search and the activity view, with the keyboard."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from profilectl.cli.app import app, options_of
from profilectl.codes import UsageError


@app.command("browse", epilog="Example: profilectl browse john")
def browse_command(
    context: typer.Context,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="The first search.", show_default=False)
    ] = "",
) -> None:
    """Search and look at profiles with the keyboard.

    A key explains the value at the cursor. Needs the extra: pip install 'profilectl[browse]'.
    """
    try:
        from profilectl.render.browse import browse
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("textual"):
            raise
        raise UsageError(
            "profilectl browse needs Textual, which is not installed",
            "pip install 'profilectl[browse]'",
        ) from None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "profilectl browse needs a terminal", "profilectl search and profilectl show print"
        )
    browse(options_of(context).store, text)
