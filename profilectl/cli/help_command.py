"""profilectl help: the help of the program, of a command, or of a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from profilectl.cli.context import Context
from profilectl.cli.registry import FromTyper, argument, command, option
from profilectl.codes import UsageError

if TYPE_CHECKING:
    from profilectl.render.help import Page

EXAMPLES = """
A command
$ profilectl help import

A command of a command
$ profilectl help export profiles

The types of identities
$ profilectl help identities

All of it, in the reader of manual pages
$ profilectl help --man | man -l -
"""


@command("help", epilog=EXAMPLES)
def help_command(
    context: Context,
    words: Annotated[
        list[str] | None,
        argument(
            metavar="COMMAND...",
            help="A command, or identities: the types of identities.",
            completion="commands",
        ),
    ] = None,
    man: Annotated[
        bool, option("--man", help="Print the manual page, for man -l -; a wheel has it, too.")
    ] = False,
) -> None:
    """Show the help of a command.

    `profilectl COMMAND --help` shows the same.
    """
    from profilectl.render import screen
    from profilectl.render.help import screen_of

    if man:
        from profilectl.cli.pages import manual_page

        if words:
            raise UsageError("--man goes without a command", "profilectl help --man | man -l -")
        screen.print_text(manual_page())
        return
    screen.print_text(screen_of(_page(words or [])))


def _page(words: list[str]) -> Page:
    """Return the page that words name. Raises UsageError if there is none."""
    from typer.main import get_command

    from profilectl.cli.app import app
    from profilectl.cli.pages import (
        IDENTITIES,
        command_page,
        identities_page,
        root_page,
    )
    from profilectl.rules.text.naming import did_you_mean, nearest

    if not words:
        return root_page()
    if words == [IDENTITIES]:
        return identities_page()
    command: FromTyper = get_command(app)
    for number, word in enumerate(words):
        within: list[str] = getattr(command, "list_commands", lambda _: [])(None)
        if word not in within:
            name = " ".join(("profilectl", *words[:number]))
            there = [*within, *([] if number else [IDENTITIES])]
            raise UsageError(
                f"{name} has no command {word}{did_you_mean(nearest(word, there))}",
                f"{name} --help",
            )
        command = command.get_command(None, word)
    return command_page(words, command)
