"""profilectl config: the rules in force, as one TOML file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from profilectl.cli.app import app, options_of
from profilectl.cli.options import JsonOption, WaitOption

config_app = typer.Typer(help="Apply or write the configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")
DEFINED = ("calculated", "audiences", "outputs", "connections")
"""The sections whose entries are removed if the file leaves them out.

In all other sections an entry that is left out gets its default back.
"""


@config_app.command("apply", epilog="Example: profilectl config apply profilectl.toml")
def apply_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The configuration to apply.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Apply a configuration to the store, and show what changes."""
    from profilectl.configuration import apply_file
    from profilectl.render import screen

    changes = apply_file(options_of(context).store, file, dry_run=dry_run, wait_s=wait)
    if as_json:
        stated = [
            {"name": change.name, "before": change.before, "after": change.after}
            for change in changes
        ]
        screen.print_json({"dry_run": dry_run, "changes": stated})
        return
    for change in () if options_of(context).quiet else changes:
        before = "" if change.before is None else f"{_shown(change.before)} -> "
        absent = "gone" if change.name.partition(".")[0] in DEFINED else "default"
        after = absent if change.after is None else _shown(change.after)
        screen.notice(f"{change.name}: {before}{after}")
    if not options_of(context).quiet:
        verb = "would change" if dry_run else "changed"
        screen.notice(
            f"{len(changes)} {'setting' if len(changes) == 1 else 'settings'} {verb}"
            if changes
            else "nothing to change"
        )


def _shown(value: object) -> str:
    return (
        ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
        if isinstance(value, dict)
        else _plain(value)
    )


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


@config_app.command("export", epilog="Example: profilectl config export > profilectl.toml")
def export_command(
    context: typer.Context, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Write the configuration as TOML on standard output; with --json the same tables as JSON."""
    import tomllib

    from profilectl.configuration import export_text
    from profilectl.render import screen

    text = export_text(options_of(context).store, wait_s=wait)
    screen.print_json(tomllib.loads(text)) if as_json else screen.print_text(text)
