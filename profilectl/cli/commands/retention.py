"""profilectl retention: how long profiles are kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from profilectl.cli.app import app, options_of
from profilectl.cli.at_work import working
from profilectl.cli.options import JsonOption, ServersOption, WaitOption, YesOption, with_options
from profilectl.cli.question import Loss, need_yes
from profilectl.codes import UsageError

if TYPE_CHECKING:
    from profilectl.render.screen import Document

retention_app = typer.Typer(
    help="Show, set and apply how long profiles are kept.", no_args_is_help=True
)
app.add_typer(retention_app, name="retention")


@retention_app.command("show", epilog="Example: profilectl retention show")
def show_command(context: typer.Context, wait: WaitOption = 0, as_json: JsonOption = False) -> None:
    """Show how long profiles are kept, and when that was last applied."""
    from profilectl.privacy.retention import retention_of

    _print(retention_of(options_of(context).store, wait_s=wait), as_json=as_json)


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
    """Set how long profiles are kept. Nothing is removed before `retention apply`."""
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
            "name a period to set",
            "profilectl retention set --lifetime-days 90 --retention-days 730",
        )
    _print(
        set_retention(options_of(context).store, changes, wait_s=options.wait),
        as_json=options.as_json,
    )


@retention_app.command("apply", epilog="Example: profilectl retention apply --dry-run")
def apply_command(
    context: typer.Context,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--now",
            metavar="TIME",
            help="Act as if it were this time: 2026-11-23, or with a time of day.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed; change nothing.")
    ] = False,
    yes: YesOption = False,
    wait: WaitOption = 0,
    wait_servers: ServersOption = 30,
    as_json: JsonOption = False,
) -> None:
    """Remove data that are older than set, so that nothing of them is left in the store's file.

    This cannot be undone. It asks before; without a terminal it needs --yes.
    """
    from profilectl.privacy.retention import apply_retention
    from profilectl.render import privacy, screen
    from profilectl.render.progress import works

    common = options_of(context)
    apply = partial(apply_retention, common.store, now=as_of, wait_s=wait)

    def loss() -> Loss | None:
        with working(common, works.WOULD_AGE):
            would_go = apply(dry_run=True)
        if not would_go.anything():
            return None
        profiles = screen.counted(would_go.gone + would_go.stubs, "profile")
        return Loss(
            show=lambda: privacy.print_aged(would_go, stderr=True),
            question="Remove this for good?",
            act=f"data of {profiles} would be removed for good",
            unchanged="nothing was removed",
        )

    need_yes(yes or dry_run, loss)
    with working(common, works.WOULD_AGE if dry_run else works.AGE):
        applied = apply(dry_run=dry_run, servers_s=wait_servers)
    if as_json:
        screen.print_json(applied.as_json())
    else:
        privacy.print_aged(applied)


def _print(clocks: Document, *, as_json: bool) -> None:
    from profilectl.render import privacy, screen

    if as_json:
        screen.print_json(clocks)
    else:
        privacy.print_clocks(clocks)
