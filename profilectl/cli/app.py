"""The command line: it parses, calls and prints, and has no rules and no SQL of its own.

Each command has a file in `commands/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.command_list import Commands
from profilectl.cli.context import DEFAULT_STORE, choose, options_of, tell_unknown
from profilectl.cli.main import main
from profilectl.version import __version__

__all__ = ["app", "main", "options_of", "tell_unknown"]

app = typer.Typer(
    name="profilectl",
    cls=Commands,
    help=(
        "A customer profile store on your own machine, with the rules of a customer data platform."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"profilectl {__version__}")
        raise typer.Exit


StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="PROFILECTL_STORE",
        help="The store: a file. The first command that writes makes it.",
    ),
]
WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        envvar="PROFILECTL_WORKSPACE",
        metavar="NAME",
        help="The workspace to use, if the store has several.",
        autocompletion=complete.workspaces,
    ),
]
StoreKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--store-key",
        metavar="FILE",
        help=(
            "A file of mode 0600 with the key of an encrypted store (default: the file"
            " that PROFILECTL_STORE_KEY names)."
        ),
    ),
]
SuppressionKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--suppression-key",
        envvar="PROFILECTL_SUPPRESSION_KEY",
        metavar="FILE",
        help="The key that keeps erased people out, if it is not beside the store.",
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print no progress and no notices.")
]
VersionOption = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
]


@app.callback()
def _common(
    context: typer.Context,
    store: StoreOption = Path(DEFAULT_STORE),
    workspace: WorkspaceOption = None,
    store_key: StoreKeyOption = None,
    suppression_key: SuppressionKeyOption = None,
    quiet: QuietOption = False,
    version: VersionOption = False,
) -> None:
    context.obj = choose(
        store,
        workspace=workspace,
        store_key=store_key,
        suppression_key=suppression_key,
        quiet=quiet,
    )
