"""Commands and their options as data, from which Typer's are made where Typer is needed.

Importing Typer takes 50 ms of processor time, and making its commands 40: more than it takes to
find a person. So a module of `commands/` says here what it has, and imports no Typer; door.py
calls a command by that, and command_list.py makes Typer's command of it for everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Run = Callable[..., None]
R = TypeVar("R", bound=Run)
Annotation = Any
"""The annotation of a parameter: Annotated[type, Described], or with Typer's description."""


FromTyper = Any
"""A command, a context or a parameter as Typer made it: its classes are not for others."""
# The module in `commands/` that registers each command.
MODULES = {
    "import": "import_",
    "columns": "columns",
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
    "help": ".help_command",  # beside `commands/`, because it is about them
    "schema": ".schema_command",
}


@dataclass(frozen=True, slots=True)
class Described:
    """An option or an argument, in the place of Typer's in an annotation."""

    names: tuple[str, ...]
    """The names of an option, such as --json; none for an argument."""
    completion: str | None
    """The function of complete.py that completes its value."""
    settings: Mapping[str, object]
    """The other settings of typer.Option or typer.Argument, by their names."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A command that a module of `commands/` has registered."""

    run: Run
    """The function; its first parameter is the context, the others are annotated."""
    epilog: str
    """The example below its help."""


@dataclass(frozen=True, slots=True)
class Group:
    """A command that has commands of its own."""

    help: str
    """Its help."""
    default: str | None
    """The command that is meant if none is named."""


COMMANDS: dict[tuple[str, ...], Registered] = {}
"""The commands that were registered so far, by their words: ("explain", "row")."""
GROUPS: dict[str, Group] = {}
"""The groups that were registered so far."""


def option(*names: str, completion: str | None = None, **settings: object) -> Described:
    """Describe an option. settings: those of typer.Option."""
    return Described(names, completion, settings)


def argument(*, completion: str | None = None, **settings: object) -> Described:
    """Describe an argument. settings: those of typer.Argument."""
    return Described((), completion, settings)


def command(*words: str, epilog: str) -> Callable[[R], R]:
    """Register a function as the command that words name."""

    def register(run: R) -> R:
        COMMANDS[words] = Registered(run, epilog)
        return run

    return register


def group(name: str, *, help: str, default: str | None = None) -> None:
    """Register a command that has commands of its own."""
    GROUPS[name] = Group(help, default)
