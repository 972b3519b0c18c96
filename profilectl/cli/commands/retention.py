"""profilectl retention: how long profiles are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from profilectl.cli.app import app, options_of
from profilectl.cli.options import JsonOption, ServersOption, WaitOption, with_options
from profilectl.codes import UsageError

retention_app = typer.Typer(
    help="Show, set and apply how long profiles are kept.", no_args_is_help=True
)
app.add_typer(retention_app, name="retention")


@retention_app.command("show", epilog="Example: profilectl retention show")
def show_command(context: typer.Context, wait: WaitOption = 0, as_json: JsonOption = False) -> None:
    """Show the two clocks, and when they were applied."""
    from profilectl.privacy.retention import retention_of

    _told(retention_of(options_of(context).store, wait_s=wait), as_json=as_json)


@dataclass(frozen=True, kw_only=True)
class RetentionSetOptions:
    """The options of `profilectl retention set`."""

    lifetime: Annotated[
        int | None,
        typer.Option(
            "--lifetime-days",
            metavar="N",
            min=0,
            max=1_000_000,
            help="Remove attributes and consent after N days without a batch; 0 means never.",
        ),
    ] = None
    retention: Annotated[
        int | None,
        typer.Option(
            "--retention-days",
            metavar="N",
            min=0,
            max=1_000_000,
            help="Remove the profile after N days without a batch; 0 means never.",
        ),
    ] = None
    keep: Annotated[
        bool | None,
        typer.Option(
            "--lifetime-profiles/--no-lifetime-profiles",
            help="Keep attributes beyond the lifetime, in case the person comes back.",
        ),
    ] = None
    wait: WaitOption = 0
    as_json: JsonOption = False


@retention_app.command(
    "set", epilog="Example: profilectl retention set --lifetime-days 90 --retention-days 730"
)
@with_options(RetentionSetOptions)
def set_command(context: typer.Context, options: RetentionSetOptions) -> None:
    """Set the clocks. Nothing goes before they are applied."""
    from profilectl.privacy.retention import set_retention

    changes: dict[str, int | bool | None] = {
        f"retention.{name}": days or None
        for name, days in (
            ("lifetime_days", options.lifetime),
            ("retention_days", options.retention),
        )
        if days is not None
    }
    if options.keep is not None:
        changes["retention.lifetime_profiles"] = options.keep
    if not changes:
        raise UsageError(
            "say which clock to set",
            "profilectl retention set --lifetime-days 90 --retention-days 730",
        )
    _told(
        set_retention(options_of(context).store, changes, wait_s=options.wait),
        as_json=options.as_json,
    )


@retention_app.command("apply", epilog="Example: profilectl retention apply --dry-run")
def apply_command(
    context: typer.Context,
    now: Annotated[
        str | None,
        typer.Option(
            "--now",
            metavar="TIME",
            help="Act as if it were this time: 2026-11-23, or with a time of day.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed; change nothing.")
    ] = False,
    wait: WaitOption = 0,
    wait_servers: ServersOption = 30,
    as_json: JsonOption = False,
) -> None:
    """Take away what is beyond its clock, so that nothing of it is left in the file.

    It cannot be undone.
    """
    from profilectl.privacy.retention import apply_retention
    from profilectl.render import privacy, screen

    applied = apply_retention(
        options_of(context).store, now=now, dry_run=dry_run, wait_s=wait, servers_s=wait_servers
    )
    if as_json:
        screen.print_json(applied.as_json())
    else:
        privacy.print_aged(applied)


def _told(clocks: dict[str, Any], *, as_json: bool) -> None:
    from profilectl.render import privacy, screen

    if as_json:
        screen.print_json(clocks)
    else:
        privacy.print_clocks(clocks)
