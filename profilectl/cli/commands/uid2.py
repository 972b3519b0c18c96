"""profilectl uid2: get UID2s for an audience from an operator."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import app, options_of
from profilectl.cli.at_work import working
from profilectl.cli.options import JsonOption, WaitOption, with_options
from profilectl.rules.text.retry_after import MAX_WAIT_S

group = typer.Typer(no_args_is_help=True, help="Enrich profiles with UID2, from an operator.")
app.add_typer(group, name="uid2")


@group.callback()
def _uid2() -> None:
    """Enrich profiles with UID2, from an operator."""


@dataclass(frozen=True, kw_only=True)
class Uid2RunOptions:
    """The options of `profilectl uid2 run`."""

    audience: Annotated[
        str | None,
        typer.Option(
            "--audience",
            metavar="NAME",
            help="Ask only for members of this audience (default: everybody).",
            autocompletion=complete.audiences,
        ),
    ] = None
    older_than: Annotated[
        int,
        typer.Option(
            "--older-than",
            metavar="DAYS",
            min=0,
            max=36_500,
            help="Ask only for people who were not enriched for N days; 0 asks for all.",
        ),
    ] = 30
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how much would be asked; send nothing.")
    ] = False
    feed: Annotated[
        str,
        typer.Option(
            "--feed",
            metavar="NAME",
            help="The custom feed that imports the answers.",
            autocompletion=complete.feeds,
        ),
    ] = "uid2"
    partner_identity: Annotated[
        str,
        typer.Option(
            "--partner-identity", metavar="NAME", help="The partner identity that holds the UID."
        ),
    ] = "TheTradeDesk_UID2"
    operator: Annotated[
        str, typer.Option("--operator", metavar="URL", help="The operator to ask.")
    ] = "https://prod.uidapi.com"
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials",
            metavar="FILE",
            help=(
                "A TOML file of mode 0600 with key and secret (default: UID2_API_KEY and"
                " UID2_CLIENT_SECRET of the environment)."
            ),
        ),
    ] = None
    max_wait: Annotated[
        float,
        typer.Option(
            "--max-wait",
            metavar="SECONDS",
            min=0,
            help=(
                "If the operator asks for a longer pause, exit with 9 and print when to come back."
            ),
        ),
    ] = MAX_WAIT_S
    wait: WaitOption = 0
    as_json: JsonOption = False


@group.command("run", epilog="Example: profilectl uid2 run --audience newsletter --dry-run")
@with_options(Uid2RunOptions)
def run_command(context: typer.Context, options: Uid2RunOptions) -> None:
    """Ask an operator for the UIDs of an audience's e-mails and phones, and import the answers."""
    from profilectl.outputs.uid2.operator import (
        Patience,
        Uid2Operator,
        address_of,
        operator_credentials,
    )
    from profilectl.outputs.uid2.run import Enrichment, enrich
    from profilectl.render import screen
    from profilectl.render.progress import works
    from profilectl.render.uid2 import print_outcome

    common = options_of(context)
    address = address_of(options.operator)

    def operator() -> Uid2Operator:
        return Uid2Operator(
            address,
            operator_credentials(options.credentials, os.environ),
            Patience(max_wait_s=options.max_wait),
            said=lambda text: None if common.quiet else screen.notice(text),
        )

    with working(common, works.UID2):
        enrichment = Enrichment(
            audience=options.audience,
            older_than_days=options.older_than,
            feed=options.feed,
            partner_identity=options.partner_identity,
            dry_run=options.dry_run,
            wait_s=options.wait,
        )
        outcome = enrich(common.store, enrichment, operator)
    screen.print_json(outcome.as_json()) if options.as_json else print_outcome(outcome)
