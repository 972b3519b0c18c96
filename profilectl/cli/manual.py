"""The manual page of the program: all pages of help in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import typer.main

from profilectl.cli.app import app
from profilectl.cli.pages import command_page, identities_page, root_page
from profilectl.cli.registry import FromTyper
from profilectl.cli.summaries import ABOUT, VARIABLES
from profilectl.render.help import HelpRow, Page, Section
from profilectl.render.man import Manual, troff_of
from profilectl.version import __version__


def manual_page() -> str:
    """Return the manual page, as man reads it."""
    root = typer.main.get_command(app)
    variables = [HelpRow(name, f"{text[0].upper()}{text[1:]}.") for name, text in VARIABLES.items()]
    return troff_of(
        Manual(
            version=__version__,
            about=ABOUT,
            program=root_page(),
            sections=[Section("Environment", variables), *identities_page().sections],
            commands=list(_pages(root, [])),
        )
    )


def _pages(command: FromTyper, words: Sequence[str]) -> Iterator[Page]:
    """Yield the page of each command of a group, and of its commands."""
    for name in command.list_commands(None):
        subcommand = command.get_command(None, name)
        yield command_page([*words, name], subcommand)
        if hasattr(subcommand, "list_commands"):
            yield from _pages(subcommand, [*words, name])
