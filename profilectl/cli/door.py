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
from typing import NoReturn, TypeVar

from profilectl.cli.context import CommonValues, GlobalOptions
from profilectl.cli.ends import helped_by, telling_ends
from profilectl.cli.everywhere import VARIABLES
from profilectl.cli.registry import COMMANDS, GROUPS, MODULES, Annotation, Described

T = TypeVar("T")
Values = dict[str, Annotation]
"""Values by the names of their parameters."""
QUICK = frozenset(("show", "explain", "search", "events", "set", "feeds", "imports", "import"))
"""The commands that the door opens for: their modules import no Typer."""
LONG = frozenset(("import", "imports"))
"""Those of them that may take long, so that garbage is looked for meanwhile."""
BEFORE = frozenset(("--store", "--workspace", "--store-key", "--suppression-key"))
"""The options with a value that may stand before and after every command."""
QUIET = frozenset(("--quiet", "-q"))
JSON = "--json"
HELP = (["--help"], ["-h"], ["help"])
"""The words that ask for the help of the program."""
NEGATIVE = re.compile("-[0-9]+")
"""A word that is no option, though it begins with a minus: half of the MPIDs are negative."""
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

    words: tuple[str, ...]
    """The words that name it."""
    command: Callable[..., None]
    """The function of the command."""
    values: Mapping[str, object]
    """The values of its parameters."""
    common: CommonValues
    """The values of the options that every command has."""
    takes_long: bool
    """Whether it may take long."""

    def run(self) -> None:
        """Run the command. Raises what the command raises, Interrupted and ReaderLeft."""
        options = self.common.chosen()
        with telling_ends(), helped_by(self.words):
            self.command(QuickContext(options), **self.values)


def asks_for_help(words: Sequence[str]) -> bool:
    """Return whether the words ask for the help of the program, and Typer need not read them."""
    if list(words) not in HELP:
        return False
    try:
        _check_environment(words)
    except (Shut, OSError):
        return False
    return True


def called(words: Sequence[str]) -> Called | None:
    """Return the command that the words of a command line call; None where Typer must read them."""
    try:
        _check_environment(words)
        remaining = list(reversed(words))
        beside = _Beside({})
        _take_before(remaining, beside)
        takes_long = bool(LONG.intersection(remaining[-1:]))
        name = _command(remaining)
        command = COMMANDS[name].run
        values = _values(command, remaining, beside)
        return Called(name, command, values=values, common=beside.common(), takes_long=takes_long)
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


@dataclass(slots=True)
class _Beside:
    """What the words have beside the words of the command: the options that every command has."""

    texts: dict[str, str]
    """The values of the options with a value, by their names."""
    quiet: bool = False
    """Whether --quiet is there."""
    as_json: bool = False
    """Whether --json stands before the command."""

    def takes(self, word: str, remaining: list[str]) -> bool:
        """Return whether a word is an option of every command, and take it with its value."""
        if word in QUIET:
            self.quiet = True
            return True
        name, equals, value = word.partition("=")
        if name not in BEFORE:
            return False
        if name in self.texts:
            raise Shut
        self.texts[name] = _filled(value if equals else _next(remaining))
        return True

    def common(self) -> CommonValues:
        """Return the values, with those of the environment where there are none."""
        for name, variable in VARIABLES.items():
            if name not in self.texts and variable in os.environ:
                self.texts[name] = _filled(os.environ[variable])
        paths = {name: Path(text) for name, text in self.texts.items()}
        return CommonValues(
            store=paths.get("--store"),
            workspace=self.texts.get("--workspace"),
            store_key=paths.get("--store-key"),
            suppression_key=paths.get("--suppression-key"),
            quiet=self.quiet,
        )


def _take_before(remaining: list[str], beside: _Beside) -> None:
    """Take the options before the command from the words, of which the next one is the last."""
    while remaining and remaining[-1].startswith("-"):
        word = remaining.pop()
        if word == JSON:
            beside.as_json = True
        elif not beside.takes(word, remaining):
            raise Shut


def _command(remaining: list[str]) -> tuple[str, ...]:
    """Take the words that name the command from the words, and return them."""
    name = _next(remaining)
    if name not in QUICK:
        raise Shut
    importlib.import_module(f"profilectl.cli.commands.{MODULES[name]}")
    if (name,) in COMMANDS:
        return (name,)
    if not remaining or remaining[-1].partition("=")[0] in {JSON, *QUIET, *BEFORE}:
        raise Shut
    if (name, remaining[-1]) in COMMANDS:
        return name, remaining.pop()
    default = GROUPS[name].default
    if default is None:
        raise Shut
    return name, default


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


def _values(
    command: Callable[..., None], remaining: list[str], beside: _Beside
) -> dict[str, object]:
    """Take the values of a command from the words, all of which must be of it or beside it."""
    parameters = _parameters(command)
    by_option = {option: name for name, of in parameters.items() for option in of.described.names}
    values: Values = {}
    texts: list[str] = []
    if beside.as_json:
        values[by_option.get(JSON) or _shut()] = True
    while remaining:
        word = remaining.pop()
        if len(word) < 2 or not word.startswith("-") or NEGATIVE.fullmatch(word):
            texts.append(word)
            continue
        option, equals, text = word.partition("=")
        name = by_option.get(option)
        if name is None:
            if not beside.takes(word, remaining):
                raise Shut
            continue
        if not option.startswith("--"):
            raise Shut
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


def _shut() -> NoReturn:
    raise Shut


def _next(remaining: list[str]) -> str:
    if not remaining:
        raise Shut
    return remaining.pop()


def _filled(text: str) -> str:
    if not text.strip():
        raise Shut
    return text
