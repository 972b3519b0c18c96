"""The command line: it parses, calls and prints, and has no rules and no SQL of its own.

Each command has a file in `commands/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from profilectl.cli.command_list import Commands
from profilectl.cli.context import Context, options_of, tell_unknown
from profilectl.cli.everywhere import EverywhereOptions
from profilectl.cli.main import main
from profilectl.cli.options import with_options
from profilectl.cli.summaries import ABOUT
from profilectl.cli.typer_words import described
from profilectl.version import __version__

__all__ = ["app", "main", "options_of", "tell_unknown"]

app = typer.Typer(
    name="profilectl",
    cls=Commands,
    help=ABOUT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"profilectl {__version__}")
        raise typer.Exit


@dataclass(frozen=True, kw_only=True)
class RootOptions:
    """The options before the command."""

    everywhere: EverywhereOptions
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for scripts, of a command that has --json.")
    ] = False
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False


@with_options(RootOptions)
def _common(context: Context, options: RootOptions) -> None:
    """Take the options; each command reads them (command_list.py)."""


app.callback()(described(_common))
