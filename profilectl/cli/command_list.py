"""All commands, in the order of the help.

A command is imported only when it is used, so that `show` does not wait for the others.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import typer.core
import typer.main

from profilectl.cli.complete import inert
from profilectl.cli.ends import telling_ends
from profilectl.cli.everywhere import VARIABLES
from profilectl.cli.pages import command_page, root_page
from profilectl.cli.registry import MODULES, FromTyper
from profilectl.cli.summaries import SUMMARIES
from profilectl.cli.typer_words import add_registered, describe_all
from profilectl.cli.words_anywhere import take_between, take_everywhere
from profilectl.cli.wrong_usage import telling_plainly, wrong_value
from profilectl.codes import Exit, UsageError
from profilectl.render.help import screen_of
from profilectl.rules.identity import TYPES
from profilectl.rules.text.terminal import spelled

PLAIN = (str, bool, int, float, Path)
"""The types that need no validation if a value has them already."""
# fmt: off
CHOOSING = frozenset((
    "--and", "--as-of", "--attribute", "--audience", "--client", "--device", "--event", "--feed",
    "--field", "--fields", "--from", "--group", "--identity", "--lookback", "--month", "--mpid",
    "--name", "--now", "--of", "--output", "--partition-by", "--partner", "--since", "--to",
    "--type", "--until", "--where", "--within", "--workspace",
    *(f"--{kind.name.replace('_', '-')}" for kind in TYPES),
))
# fmt: on
"""The options that choose some of the data.

An empty value is refused: otherwise "$UNSET" in a script would choose everything.
"""
NAMING = frozenset(("VALUE",))
"""The arguments that name a person, by their name in the help. An empty one is refused too."""


LARGEST = 2**63 - 1
"""The largest number that an option takes: the store counts with 64 bits."""
PATIENT = frozenset(("--give-up", "--max-wait", "--wait"))
"""The options for how long to wait, which may be for ever: inf."""


class Commands(typer.core.TyperGroup):
    """The commands of profilectl: all are listed, and each is made when it is used."""

    def __init__(self, **options: FromTyper) -> None:
        super().__init__(**options)
        self.params = [_spared_parameter(param) for param in self.params]
        self.shell_complete = inert(self.shell_complete)  # type: ignore[method-assign]
        self.help = _unfolded(self.help)
        # Typer has made those of modules that are loaded already, without our descriptions.
        self.commands = {}

    def list_commands(self, ctx: FromTyper) -> list[str]:
        """Return the names of all commands."""
        listed = [name for commands in SUMMARIES.values() for name in commands]
        return [*listed, *(name for name in MODULES if name not in listed)]

    def get_command(self, ctx: object, cmd_name: str) -> FromTyper:
        """Return a command, which is made at its first use; None if there is none of the name."""
        if cmd_name in MODULES and cmd_name not in self.commands:
            self.commands[cmd_name] = _command(cmd_name)
        return self.commands.get(cmd_name)

    def make_context(
        self, info_name: FromTyper, args: list[str], *arguments: FromTyper, **more: FromTyper
    ) -> FromTyper:
        """Read the words before the command.

        Raises UsageError if a word anywhere on the line is not UTF-8.
        """
        _check_words(
            [
                *args,
                *(value for name, value in os.environ.items() if name.startswith("PROFILECTL_")),
            ]
        )
        for param in self.params:  # Typer adds two for completion when all has been made
            _spared_parameter(param)
            param.envvar = VARIABLES.get(param.opts[0])
        with telling_plainly():
            return super().make_context(info_name, args, *arguments, **more)

    def parse_args(self, ctx: FromTyper, args: list[str]) -> list[str]:
        """Read the options before the command. Without a word the help is shown, with status 2."""
        _show_if_empty(ctx, args)
        with telling_plainly(ctx):
            return super().parse_args(ctx, args)

    def format_help(self, ctx: FromTyper, formatter: FromTyper) -> None:
        """Write the help of the program."""
        formatter.write(screen_of(root_page()))

    def get_help_option(self, ctx: FromTyper) -> FromTyper:
        """Return --help."""
        return _help_option(super().get_help_option, ctx)

    def invoke(self, ctx: FromTyper) -> FromTyper:
        """Run a command. A reader that ended is no failure, and an interruption is no fault."""
        _check_words([str(Path.cwd())])
        with telling_ends(), telling_plainly(ctx):
            return super().invoke(ctx)


def _check_words(words: Sequence[str]) -> None:
    """Check that words are UTF-8: neither the store nor JSON can hold other bytes.

    Raises UsageError.
    """
    for word in words:
        # Python reads a byte that is not UTF-8 as a lone surrogate.
        if not word.isascii() and any("\ud800" <= character <= "\udfff" for character in word):
            raise UsageError(
                f"{spelled(word)} is not UTF-8",
                "rename the file, or its folder, and give the command again",
            )


def _command(name: str) -> FromTyper:
    """Import the module of a command, and return the command that it registered."""
    from profilectl.cli.app import app

    importlib.import_module(f".{MODULES[name]}", "profilectl.cli.commands")
    alone = typer.Typer(
        callback=lambda: None, rich_markup_mode=app.rich_markup_mode, pretty_exceptions_enable=False
    )
    add_registered(alone, name)
    alone.registered_commands += [
        registered for registered in app.registered_commands if registered.name == name
    ]
    alone.registered_groups += [
        registered for registered in app.registered_groups if registered.name == name
    ]
    describe_all(alone)
    return _spared(typer.main.get_group(alone).commands[name], [name])


def _spared(command: FromTyper, words: Sequence[str]) -> FromTyper:
    """Return a command with cheap parameters, inert completions and our help.

    words: those that name the command.
    """
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        take_everywhere(command, " ".join(words))
    else:
        take_between(command)
    command.params = [_spared_parameter(param) for param in command.params]
    command.shell_complete = inert(command.shell_complete)
    command.help = _unfolded(command.help)
    command.format_help = partial(_write_help, command, words)
    command.get_help_option = partial(_help_option, command.get_help_option)
    if subcommands is None:
        return command
    command.parse_args = partial(_shown_if_empty, command.parse_args)
    for name, subcommand in subcommands.items():
        _spared(subcommand, [*words, name])
    return command


def _help_option(make: FromTyper, ctx: FromTyper) -> FromTyper:
    """Return --help, without Typer's validation of its value, which imports pydantic: 100 ms."""
    option = make(ctx)
    if option is not None:
        option.process_value = lambda ctx, value: option.callback(ctx, option, bool(value))
    return option


def _write_help(
    command: FromTyper, words: Sequence[str], _context: object, formatter: FromTyper
) -> None:
    formatter.write(screen_of(command_page(words, command)))


def _shown_if_empty(parse: FromTyper, ctx: FromTyper, args: list[str]) -> FromTyper:
    """Read the words of a group of commands. Without a word its help is shown."""
    _show_if_empty(ctx, args)
    return parse(ctx, args)


def _show_if_empty(ctx: FromTyper, args: Sequence[str]) -> None:
    """Show the help of a command that nothing stands behind, and end with status 2."""
    if not args and not ctx.resilient_parsing:
        typer.echo(ctx.get_help())
        ctx.exit(Exit.USAGE)


def _spared_parameter(param: FromTyper) -> FromTyper:
    """Let a parameter read plain texts and defaults without Typer's validation.

    The validation imports pydantic, which takes longer than finding a person. Numbers, choices and
    lists are still validated.
    """
    if hasattr(param, "spared"):
        return param
    annotation = param.type_descriptor.annotation
    checked = partial(_in_our_words, param, param.process_value)

    def process_value(ctx: FromTyper, value: FromTyper) -> FromTyper:
        _check_chosen(param, value)
        if param.callback is not None:
            absent = value is None and not param.required
            return param.callback(ctx, param, value) if absent else checked(ctx, value)
        if param.required and param.value_is_missing(value):
            return checked(ctx, value)
        if annotation == list[str] and value and all(isinstance(text, str) for text in value):
            return list(value)
        if param.nargs != 1:
            return checked(ctx, value)
        if value is None or (annotation in PLAIN and isinstance(value, annotation)):
            return value
        if annotation is Path and isinstance(value, str):
            return Path(value)
        if annotation is float and isinstance(value, int):
            return float(value)
        return checked(ctx, value)

    param.spared = True
    param.process_value = process_value
    param.shell_complete = inert(param.shell_complete)
    return param


def _unfolded(text: str | None) -> str | None:
    """Return a help text whose paragraphs are one line each, so that a terminal can fold them."""
    if not text:
        return text
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _check_chosen(param: FromTyper, value: FromTyper) -> None:
    """Check that an option or argument that chooses data is not empty. Raises UsageError."""
    values = value if isinstance(value, list | tuple) else [value]
    naming = NAMING if param.param_type_name == "argument" else frozenset[str]()
    for option in CHOOSING.intersection(param.opts) | naming.intersection([param.metavar]):
        if any(isinstance(text, str) and not text.strip() for text in values):
            raise UsageError(f"{option} is empty", f"give it a value, or leave {option} out")


def _in_our_words(
    param: FromTyper, checked: FromTyper, ctx: FromTyper, value: FromTyper
) -> FromTyper:
    """Return a value that Typer has checked. Raises UsageError; our own limits hold for numbers."""
    try:
        value_read = checked(ctx, value)
        if isinstance(value_read, int) and not -LARGEST <= value_read <= LARGEST:
            raise typer.BadParameter(f"Input should be less than or equal to {LARGEST}")
        if (
            isinstance(value_read, float)
            and math.isinf(value_read)
            and not PATIENT.intersection(param.opts)
        ):
            raise typer.BadParameter("Input should be a finite number")
    except typer.BadParameter as error:
        if type(error) is not typer.BadParameter:  # it is missing
            raise
        raise wrong_value(error, ctx, param=param, value=value) from None
    return value_read
