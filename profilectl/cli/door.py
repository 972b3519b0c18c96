"""The fast door: a plain call of a command that reads or corrects one person, without Typer.

It reads the same descriptions of options as command_list.py, and opens only for words of which it
is certain what Typer would make of them. For all others, such as --help, an unknown option, an
empty value or a number out of bounds, it stays shut, and Typer says what it says.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from profilectl.cli.context import DEFAULT_STORE, GlobalOptions, choose
from profilectl.cli.ends import telling_ends
from profilectl.cli.registry import COMMANDS, GROUPS, MODULES, Annotation, Described

T = TypeVar("T")
Values = dict[str, Annotation]
"""Values by the names of their parameters."""
QUICK = frozenset(("show", "explain", "search", "events", "set", "feeds", "imports", "import"))
"""The commands that the door opens for: their modules import no Typer."""
LONG = frozenset(("import", "imports"))
"""Those of them that may take long, so that garbage is looked for meanwhile."""
STORE, WORKSPACE, STORE_KEY, SUPPRESSION_KEY = (
    "--store",
    "--workspace",
    "--store-key",
    "--suppression-key",
)
VARIABLES = {
    STORE: "PROFILECTL_STORE",
    WORKSPACE: "PROFILECTL_WORKSPACE",
    SUPPRESSION_KEY: "PROFILECTL_SUPPRESSION_KEY",
}
"""The options before the command that a variable of the environment can give."""
BEFORE = frozenset((STORE, WORKSPACE, STORE_KEY, SUPPRESSION_KEY))
QUIET = frozenset(("--quiet", "-q"))
WHOLE = re.compile("0|[1-9][0-9]{0,14}")
DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,6})?")


class Shut(Exception):
    """The door stays shut: Typer reads the words."""


@dataclass(frozen=True, slots=True)
class QuickContext:
    """What a command gets first, in the place of Typer's context."""

    options: GlobalOptions
    """The options before the command."""

    def find_object(self, object_type: type[T]) -> T | None:
        """Return the object of a type that stands in the context."""
        return self.options if isinstance(self.options, object_type) else None


@dataclass(frozen=True, slots=True)
class Called:
    """A command with its values."""

    command: Callable[..., None]
    """The function of the command."""
    values: Mapping[str, object]
    """The values of its parameters."""
    before: Mapping[str, str]
    """The values of the options before the command, by their names."""
    quiet: bool
    """Whether --quiet stands before the command."""
    takes_long: bool
    """Whether it may take long."""

    def run(self) -> None:
        """Run the command. Raises what the command raises, Interrupted and ReaderLeft."""
        store_key, suppression_key = self.before.get(STORE_KEY), self.before.get(SUPPRESSION_KEY)
        options = choose(
            Path(self.before.get(STORE, DEFAULT_STORE)),
            workspace=self.before.get(WORKSPACE),
            store_key=Path(store_key) if store_key else None,
            suppression_key=Path(suppression_key) if suppression_key else None,
            quiet=self.quiet,
        )
        with telling_ends():
            self.command(QuickContext(options), **self.values)


def called(words: Sequence[str]) -> Called | None:
    """Return the command that the words of a command line call; None where Typer must read them."""
    try:
        _check_environment(words)
        remaining = list(reversed(words))
        before, quiet = _before(remaining)
        takes_long = bool(LONG.intersection(remaining[-1:]))
        command = _command(remaining)
        values = _values(command, remaining)
        return Called(command, values, before=before, quiet=quiet, takes_long=takes_long)
    except (Shut, OSError):
        return None


def _check_environment(words: Sequence[str]) -> None:
    """Check that no shell asks for completions, and that all words are UTF-8. Raises Shut."""
    ours = [value for name, value in os.environ.items() if name.startswith("PROFILECTL_")]
    if any(name.startswith("_") and name.endswith("_COMPLETE") for name in os.environ):
        raise Shut
    try:
        "".join((*words, *ours, os.getcwd())).encode()  # noqa: PTH109 (Path.cwd() makes a Path)
    except UnicodeEncodeError:
        raise Shut from None


def _before(remaining: list[str]) -> tuple[dict[str, str], bool]:
    """Take the options before the command from the words, of which the next one is the last."""
    before: dict[str, str] = {}
    quiet = False
    while remaining and remaining[-1].startswith("-"):
        word = remaining.pop()
        if word in QUIET:
            quiet = True
            continue
        name, equals, value = word.partition("=")
        if name not in BEFORE or name in before:
            raise Shut
        before[name] = _filled(value if equals else _next(remaining))
    for name, variable in VARIABLES.items():
        if name not in before and variable in os.environ:
            before[name] = _filled(os.environ[variable])
    return before, quiet


def _command(remaining: list[str]) -> Callable[..., None]:
    """Take the words of the command from the words, and return its function."""
    name = _next(remaining)
    if name not in QUICK:
        raise Shut
    importlib.import_module(f"profilectl.cli.commands.{MODULES[name]}")
    if (name,) in COMMANDS:
        return COMMANDS[name,].run
    if not remaining:
        raise Shut
    if (name, remaining[-1]) in COMMANDS:
        return COMMANDS[name, remaining.pop()].run
    default = GROUPS[name].default
    if default is None:
        raise Shut
    return COMMANDS[name, default].run


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A parameter of a command."""

    described: Described
    """Its description."""
    base: type
    """The type of its value, or of each value of a list."""
    many: bool
    """Whether it takes several values."""
    default: object
    """The value where none is given; inspect.Parameter.empty: there must be one."""


def _parameters(command: Callable[..., None]) -> dict[str, _Parameter]:
    """Return the parameters of a command, without the context."""
    signature = inspect.signature(command)
    hints: Mapping[str, Annotation] = {
        name: parameter.annotation for name, parameter in signature.parameters.items()
    }
    if any(isinstance(annotation, str) for annotation in hints.values()):
        hints = typing.get_type_hints(command, include_extras=True)
    return {
        name: _parameter(hints[name], parameter.default)
        for name, parameter in list(signature.parameters.items())[1:]
    }


def _parameter(annotation: Annotation, default: object) -> _Parameter:
    base = annotation.__origin__
    if isinstance(base, types.UnionType):  # X | None
        (base,) = (part for part in base.__args__ if part is not types.NoneType)
    many = typing.get_origin(base) is list
    if many:
        (base,) = base.__args__
    return _Parameter(annotation.__metadata__[0], base, many=many, default=default)


def _values(command: Callable[..., None], remaining: list[str]) -> dict[str, object]:
    """Take the values of a command from the words, all of which must be of it."""
    parameters = _parameters(command)
    by_option = {option: name for name, of in parameters.items() for option in of.described.names}
    values: Values = {}
    texts: list[str] = []
    while remaining:
        word = remaining.pop()
        if len(word) < 2 or not word.startswith("-"):
            texts.append(word)
            continue
        option, equals, text = word.partition("=")
        if option not in by_option or not option.startswith("--"):
            raise Shut
        name = by_option[option]
        if parameters[name].base is bool:
            if equals:
                raise Shut
            values[name] = True
        else:
            _take(values, name, parameters[name], text=text if equals else _next(remaining))
    _take_arguments(values, parameters, texts)
    return _with_defaults(values, parameters)


def _take(values: Values, name: str, parameter: _Parameter, *, text: str) -> None:
    """Add a value. Raises Shut for a second one where there may be one."""
    value = _converted(_filled(text), parameter)
    if parameter.many:
        values.setdefault(name, []).append(value)
    elif name in values:
        raise Shut
    else:
        values[name] = value


def _take_arguments(
    values: Values, parameters: Mapping[str, _Parameter], texts: Sequence[str]
) -> None:
    """Add the words that are no options. Raises Shut where they are too many."""
    remaining = list(reversed(texts))
    for name, parameter in parameters.items():
        while not parameter.described.names and remaining:
            _take(values, name, parameter, text=remaining.pop())
            if not parameter.many:
                break
    if remaining:
        raise Shut


def _with_defaults(
    values: Mapping[str, object], parameters: Mapping[str, _Parameter]
) -> dict[str, object]:
    """Return a value for every parameter. Raises Shut where one is missing."""
    filled = {name: values.get(name, of.default) for name, of in parameters.items()}
    if any(value is inspect.Parameter.empty for value in filled.values()):
        raise Shut
    return filled


def _converted(text: str, parameter: _Parameter) -> object:
    """Return the value of a text. Raises Shut where Typer might refuse it."""
    base = parameter.base
    if base is str:
        return text
    if base is Path:
        return Path(text)
    if issubclass(base, enum.Enum):
        if text not in base.__members__:
            raise Shut
        return base[text]
    if base not in (int, float) or not (WHOLE if base is int else DECIMAL).fullmatch(text):
        raise Shut
    number: int | float = base(text)
    least, most = (parameter.described.settings.get(name, number) for name in ("min", "max"))
    assert isinstance(least, int | float)
    assert isinstance(most, int | float)
    if not least <= number <= most:
        raise Shut
    return number


def _next(remaining: list[str]) -> str:
    if not remaining:
        raise Shut
    return remaining.pop()


def _filled(text: str) -> str:
    if not text.strip():
        raise Shut
    return text
