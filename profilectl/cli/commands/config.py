"""profilectl config: the rules in force, as one TOML file and by single keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from profilectl.cli import complete
from profilectl.cli.app import app, options_of
from profilectl.cli.at_work import working
from profilectl.cli.options import JsonOption, WaitOption, YesOption, with_options
from profilectl.cli.question import Loss, counts_in_words, need_yes

if TYPE_CHECKING:
    from profilectl.configuration.actions import Changes, OneChange

config_app = typer.Typer(help="Apply, change or write the configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")
DEFINED = ("calculated", "audiences", "outputs", "connections")
"""The sections whose entries can be removed. In all others a key gets its default back."""


class Asked(Protocol):
    """The options that all commands have that change the configuration."""

    @property
    def dry_run(self) -> bool:
        """Whether only the difference is shown."""

    @property
    def yes(self) -> bool:
        """Whether losses are agreed to."""

    @property
    def as_json(self) -> bool:
        """Whether the changes are printed as JSON."""


class ChangeMaker(Protocol):
    """Makes the changes of a command, or looks which they would be."""

    def __call__(self, *, dry_run: bool, agreed: Changes | None = None) -> Changes:
        """Return the changes. agreed: the losses that were agreed to; None: all."""


DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")]


@dataclass(frozen=True, kw_only=True)
class ConfigApplyOptions:
    """The options of `profilectl config apply`."""

    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The configuration to apply.")]
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what the file does not state; list it first.")
    ] = False
    dry_run: DryRunOption = False
    yes: YesOption = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@config_app.command("apply", epilog="Example: profilectl config apply profilectl.toml")
@with_options(ConfigApplyOptions)
def apply_command(context: typer.Context, options: ConfigApplyOptions) -> None:
    """Change what a file states, and show the difference; leave the rest as it is.

    With --prune it also removes the rest, except feeds. It asks before; without a terminal that
    needs --yes.
    """
    from profilectl.configuration.actions import apply_file

    def change(*, dry_run: bool, agreed: Changes | None = None) -> Changes:
        return apply_file(
            options_of(context).store,
            options.file,
            prune=options.prune,
            dry_run=dry_run,
            agreed=agreed,
            wait_s=options.wait,
        )

    _make(context, change, options)


@dataclass(frozen=True, kw_only=True)
class ConfigSetOptions:
    """The options of `profilectl config set`."""

    assignments: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE",
            help="A key of the configuration, and its value; repeatable.",
            autocompletion=complete.settings,
        ),
    ]
    dry_run: DryRunOption = False
    yes: YesOption = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@config_app.command(
    "set",
    epilog="Example: profilectl config set identity.strategy=link feeds.crm.protection=update-only",
)
@with_options(ConfigSetOptions)
def set_command(context: typer.Context, options: ConfigSetOptions) -> None:
    """Set single keys of the configuration, and show the difference.

    A list is written a,b or ["a", "b"].
    """
    from profilectl.configuration.actions import set_keys

    def change(*, dry_run: bool, agreed: Changes | None = None) -> Changes:
        return set_keys(
            options_of(context).store,
            options.assignments,
            dry_run=dry_run,
            agreed=agreed,
            wait_s=options.wait,
        )

    _make(context, change, options)


@dataclass(frozen=True, kw_only=True)
class ConfigUnsetOptions:
    """The options of `profilectl config unset`."""

    keys: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY",
            help="A key of the configuration; repeatable.",
            autocompletion=complete.stated_settings,
        ),
    ]
    dry_run: DryRunOption = False
    yes: YesOption = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@config_app.command("unset", epilog="Example: profilectl config unset identity.hierarchy --yes")
@with_options(ConfigUnsetOptions)
def unset_command(context: typer.Context, options: ConfigUnsetOptions) -> None:
    """Give settings their defaults back, or remove definitions, such as connections.crm-lake.

    It asks before; without a terminal it needs --yes.
    """
    from profilectl.configuration.actions import unset_keys

    def change(*, dry_run: bool, agreed: Changes | None = None) -> Changes:
        return unset_keys(
            options_of(context).store,
            options.keys,
            dry_run=dry_run,
            agreed=agreed,
            wait_s=options.wait,
        )

    _make(context, change, options)


@config_app.command("export", epilog="Example: profilectl config export > profilectl.toml")
def export_command(
    context: typer.Context, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Write the configuration as TOML on standard output; with --json the same tables as JSON."""
    import tomllib

    from profilectl.configuration.actions import export_text
    from profilectl.render import screen

    text = export_text(options_of(context).store, wait_s=wait)
    screen.print_json(tomllib.loads(text)) if as_json else screen.print_text(text)


def _make(context: typer.Context, change: ChangeMaker, options: Asked) -> None:
    """Make the changes of a command and print them, those with which something is lost first.

    Raises UsageError where these need a yes and nobody can be asked, Declined for the answer no.
    """
    from profilectl.render.progress import works

    common = options_of(context)
    losses: Changes | None = None
    if not options.dry_run:
        with working(common, "looking for what would change"):
            losses = [each for each in change(dry_run=True) if each.is_loss]
        need_yes(options.yes, lambda: _loss(losses or ()))
        # Also with --yes: what goes is listed before it goes.
        if options.yes and not options.as_json and not common.quiet:
            _show(losses)
    with working(common, works.REFRESH):
        changes = change(dry_run=options.dry_run, agreed=losses)
    _print_changes(context, changes, options, listed=losses or ())


def _loss(losses: Changes) -> Loss | None:
    from profilectl.render.screen import counted

    if not losses:
        return None
    entries = counted(len(losses), "entry")
    removes = all(change.removes for change in losses)
    return Loss(
        show=lambda: _show(losses),
        question=f"Remove {entries} for good?" if removes else f"Give up what goes with {entries}?",
        act=f"{entries} would be removed" if removes else f"what goes with {entries} would be lost",
        unchanged="nothing was changed",
    )


def _show(changes: Changes) -> None:
    from profilectl.render import screen

    for change in changes:
        screen.notice(_line(change))


def _print_changes(
    context: typer.Context, changes: Changes, options: Asked, *, listed: Changes
) -> None:
    """Print changes. listed: the ones that were shown before."""
    from profilectl.render import screen

    if options.as_json:
        documents = [change.as_json() for change in changes]
        screen.print_json({"dry_run": options.dry_run, "changes": documents})
        return
    if options_of(context).quiet:
        return
    names = {change.name for change in listed}
    in_order = sorted(changes, key=lambda change: not change.is_loss)
    _show([change for change in in_order if change.name not in names])
    verb = "would change" if options.dry_run else "changed"
    screen.notice(
        f"{screen.counted(len(changes), 'setting')} {verb}" if changes else "nothing to change"
    )


def _line(change: OneChange) -> str:
    before = "" if change.before is None else f"{_shown(change.before)} -> "
    absent = "gone" if change.name.partition(".")[0] in DEFINED else "its default"
    after = absent if change.after is None else _shown(change.after)
    lost = counts_in_words(change.lost)
    return f"{change.name}: {before}{after}" + (f" ({lost})" if lost else "")


def _shown(value: object) -> str:
    return (
        ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
        if isinstance(value, dict)
        else _plain(value)
    )


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
