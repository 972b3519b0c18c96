"""profilectl uid2: raw UIDs for an audience, from an operator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from profilectl.cli.app import JsonOption, WaitOption, app, options_of
from profilectl.rules.text.retry_after import MAX_WAIT_S

group = typer.Typer(no_args_is_help=True, help="Enrich profiles with UID2, from an operator.")
app.add_typer(group, name="uid2")


@group.callback()
def _uid2() -> None:
    """Enrich profiles with UID2, from an operator."""


@group.command("run", epilog="Example: profilectl uid2 run --audience newsletter --dry-run")
def run_command(
    context: typer.Context,
    audience: Annotated[
        str | None,
        typer.Option("--audience", metavar="NAME", help="Members of this audience (everybody)."),
    ] = None,
    older_than: Annotated[
        int,
        typer.Option(
            "--older-than",
            metavar="DAYS",
            min=0,
            max=36_500,
            help="Who was not enriched for so long; 0: whenever.",
        ),
    ] = 30,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how much would be asked; nothing leaves.")
    ] = False,
    feed: Annotated[
        str,
        typer.Option("--feed", metavar="NAME", help="The custom feed that the answers come in by."),
    ] = "uid2",
    partner_identity: Annotated[
        str, typer.Option("--partner-identity", metavar="NAME", help="What the UID is kept as.")
    ] = "TheTradeDesk_UID2",
    operator: Annotated[
        str, typer.Option("--operator", metavar="URL", help="The operator that is asked.")
    ] = "https://prod.uidapi.com",
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials",
            metavar="FILE",
            help="A TOML file of mode 0600 with key and secret; else UID2_API_KEY and UID2_CLIENT_SECRET of the environment.",
        ),
    ] = None,
    max_wait: Annotated[
        float,
        typer.Option(
            "--max-wait",
            metavar="SECONDS",
            min=0,
            help="Where the operator asks for a longer pause, end with exit 9 and say when to come back.",
        ),
    ] = MAX_WAIT_S,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Ask an operator for the UIDs of an audience's e-mails and phones, and import the answers."""
    from profilectl.outputs.uid2.operator import (
        Patience,
        Uid2Operator,
        address_of,
        operator_credentials,
    )
    from profilectl.outputs.uid2.run import Enrichment, enrich
    from profilectl.render import screen as render_screen
    from profilectl.render.uid2 import print_outcome

    options = options_of(context)
    address = address_of(operator)

    def asked() -> Uid2Operator:
        return Uid2Operator(
            address,
            operator_credentials(credentials, os.environ),
            Patience(max_wait_s=max_wait),
            said=lambda text: None if options.quiet else render_screen.notice(text),
        )

    with render_screen.progress_bar(quiet=options.quiet) as progress:
        wanted = Enrichment(
            audience, older_than, feed, partner_identity, dry_run, wait_s=wait, progress=progress
        )
        done = enrich(options.store, wanted, asked)
    render_screen.print_json(done.as_json()) if as_json else print_outcome(done)
