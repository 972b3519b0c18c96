"""All commands, in the order of the help.

Each is imported when it is asked for: `show` does not pay for the others.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import typer.core
import typer.main
from typer.exceptions import TyperException

from profilectl.cli.complete import inert
from profilectl.codes import UsageError
from profilectl.rules.identity import TYPES
from profilectl.rules.text.terminal import spelled, visible

# command -> the file here that registers it
MODULES = {
    "import": "import_",
    "apply": "plan",
    "diff": "diff",
    "show": "show",
    "browse": "browse",
    "events": "events",
    "stream": "events",
    "search": "search",
    "lookup": "search",
    "set": "correct",
    "modify": "correct",
    "alias": "correct",
    "identify": "correct",
    "check": "upkeep",
    "backup": "upkeep",
    "restore": "upkeep",
    "compact": "upkeep",
    "stats": "upkeep",
    "plan": "plan",
    "imports": "imports",
    "explain": "explain",
    "export": "export",
    "push": "push",
    "calculated": "calculated",
    "audiences": "audiences",
    "enrich": "outputs",
    "forward": "outputs",
    "outbox": "outputs",
    "usage": "outputs",
    "uid2": "uid2",
    "access": "privacy",
    "forget": "privacy",
    "privacy": "privacy",
    "retention": "retention",
    "serve": "serve",
    "credentials": "serve",
    "feeds": "feeds",
    "config": "config",
}


PLAIN = (str, bool, int, float, Path)
# fmt: off
CHOOSING = frozenset((
    "--and", "--as-of", "--attribute", "--audience", "--client", "--device", "--event", "--feed",
    "--field", "--fields", "--from", "--group", "--identity", "--lookback", "--month", "--mpid",
    "--name", "--now", "--of", "--output", "--partition-by", "--partner", "--since", "--to",
    "--type", "--until", "--where", "--within", "--workspace",
    *(f"--{kind.name.replace('_', '-')}" for kind in TYPES),
))
# fmt: on
"""The options that choose a part of what there is.

An empty text is refused: else "$UNSET" in a script would mean everything.
"""
NAMING = frozenset(("VALUE",))
"""The arguments that name a person, by their name in the help; an empty one is refused too."""


LARGEST = 2**63 - 1
"""The largest number that an option takes: the store counts with 64 bits."""
PATIENT = frozenset(("--give-up", "--max-wait", "--wait"))
"""Options that say how long to wait, which may be for ever: inf."""


class Interrupted(Exception):
    """The person at the terminal stopped a command."""


class ReaderLeft(Exception):
    """Whoever read the output reads no more, such as `head`. (Typer would make a failure of a
    broken pipe.)
    """


class Commands(typer.core.TyperGroup):
    """The commands of profilectl: known by name, made when asked for."""

    def __init__(self, **stated: Any) -> None:
        super().__init__(**stated)
        _spared(self)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in MODULES and cmd_name not in self.commands:
            self.commands[cmd_name] = _made(cmd_name)
        return self.commands.get(cmd_name)

    def make_context(self, info_name: Any, args: list[str], *rest: Any, **more: Any) -> Any:
        """Read what stands before the command.

        Raises UsageError for a word, anywhere on the line, that is not UTF-8.
        """
        _check_words(
            [
                *args,
                *(value for name, value in os.environ.items() if name.startswith("PROFILECTL_")),
            ]
        )
        with _inert_errors():
            return super().make_context(info_name, args, *rest, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run a command. A reader that leaves is no failure, and an interruption is no fault."""
        _check_words([str(Path.cwd())])
        try:
            with _inert_errors():
                result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            raise ReaderLeft from None
        except (KeyboardInterrupt, typer.Abort):
            raise Interrupted from None
        except Exception as error:
            # Ctrl-C while DuckDB works
            if "interrupted" in str(error).lower() and type(error).__name__ in (
                "RuntimeError",
                "InterruptException",
            ):
                raise Interrupted from None
            raise
        return result

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in MODULES:
            for name in MODULES:  # Typer suggests from those that are made
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)


def _check_words(words: Sequence[str]) -> None:
    """Refuse what is not UTF-8, in one place: neither the store nor JSON can say it. Raises
    UsageError.
    """
    for word in words:
        if not word.isascii() and any("\ud800" <= character <= "\udfff" for character in word):
            raise UsageError(
                f"{spelled(word)} is not UTF-8",
                "rename the file, or its folder, and give the command again",
            )


@contextlib.contextmanager
def _inert_errors() -> Iterator[None]:
    """Make what Typer says of a wrong line harmless to a terminal: it quotes names of files."""
    try:
        yield
    except TyperException as error:
        if hasattr(error, "message"):
            error.message = "\n".join(map(visible, error.message.split("\n")))
        raise


def _made(name: str) -> Any:
    """Import the file of a command, and make Typer's command of what it registered."""
    from profilectl.cli.app import app

    importlib.import_module(f"profilectl.cli.commands.{MODULES[name]}")
    alone = typer.Typer(
        callback=lambda: None, rich_markup_mode=app.rich_markup_mode, pretty_exceptions_enable=False
    )
    alone.registered_commands = [
        registered for registered in app.registered_commands if registered.name == name
    ]
    alone.registered_groups = [
        registered for registered in app.registered_groups if registered.name == name
    ]
    return _spared(typer.main.get_group(alone).commands[name])


def _spared(command: Any) -> Any:
    """Let a command read plain texts and what was left at its default without Typer's validation:
    importing what that takes (pydantic) costs more than finding a person. Numbers, choices and
    lists are validated as ever.
    """
    for param in command.params:
        annotation, checked = (
            param.type_descriptor.annotation,
            partial(_in_our_words, param, param.process_value),
        )

        def process_value(
            ctx: Any,
            value: Any,
            param: Any = param,
            annotation: Any = annotation,
            checked: Any = checked,
        ) -> Any:
            _check_chosen(param, value)
            if param.required or param.callback is not None or param.nargs != 1:
                return checked(ctx, value)
            if value is None or (annotation in PLAIN and isinstance(value, annotation)):
                return value
            if annotation is Path and isinstance(value, str):
                return Path(value)
            return (
                float(value)
                if annotation is float and isinstance(value, int)
                else checked(ctx, value)
            )

        param.process_value = process_value
        param.shell_complete = inert(param.shell_complete)
    command.shell_complete = inert(command.shell_complete)
    _legible(command)
    for subcommand in getattr(command, "commands", {}).values():
        _spared(subcommand)
    return command


def _legible(command: Any) -> None:
    """Let the help of a command be folded to the terminal: paragraphs not where the code breaks its
    lines, choices not within one.
    """
    if command.help:
        command.help = "\n\n".join(
            " ".join(paragraph.split()) for paragraph in command.help.split("\n\n")
        )
    for param in command.params:
        param.display_type_rich = partial(_spaced, param.display_type_rich)


def _spaced(display_type: Any, ctx: Any) -> str | None:
    shown: str | None = display_type(ctx=ctx)
    return shown.replace("|", " | ") if shown else shown


def _check_chosen(param: Any, value: Any) -> None:
    """Refuse an option or an argument that chooses something and says nothing.

    Raises UsageError.
    """
    values = value if isinstance(value, list | tuple) else [value]
    naming = NAMING if param.param_type_name == "argument" else frozenset[str]()
    for option in CHOOSING.intersection(param.opts) | naming.intersection([param.metavar]):
        if any(isinstance(text, str) and not text.strip() for text in values):
            raise UsageError(f"{option} is empty", f"say what is meant, or leave {option} out")


def _in_our_words(param: Any, checked: Any, ctx: Any, value: Any) -> Any:
    """Check a value as Typer does; what is wrong with it is said without what pydantic puts before
    it.
    """
    try:
        value_read = checked(ctx, value)
    except typer.BadParameter as error:
        error.message = error.message.removeprefix("Value error, ")
        raise
    if isinstance(value_read, int) and not -LARGEST <= value_read <= LARGEST:
        raise typer.BadParameter(f"Input should be at most {LARGEST}", ctx=ctx, param=param)
    if (
        isinstance(value_read, float)
        and math.isinf(value_read)
        and not PATIENT.intersection(param.opts)
    ):
        raise typer.BadParameter("Input should be a finite number", ctx=ctx, param=param)
    return value_read
