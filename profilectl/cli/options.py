"""Commands whose options are the fields of a dataclass.

The Annotated type of a field describes its option. A field whose type is a dataclass of options
adds all options of that dataclass.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Protocol, TypeVar, cast, get_type_hints

from profilectl.cli.context import Context
from profilectl.cli.registry import option
from profilectl.codes import UsageError
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.priority import FEED_SOURCES


def names_of(names: Iterable[str]) -> dict[str, str]:
    """Return the members of an enum of choices, in the order of the help."""
    return {name: name for name in names}


def value_of(chosen: enum.Enum | None) -> str | None:
    """Return a choice as text; None if nothing was chosen."""
    return None if chosen is None else str(chosen.value)


EnvironmentName = enum.Enum(  # type: ignore[misc]
    "EnvironmentName", names_of(ENVIRONMENTS), type=str
)
SourceName = enum.Enum("SourceName", names_of(FEED_SOURCES), type=str)  # type: ignore[misc]
OnlyEnvironmentOption = Annotated[
    EnvironmentName | None, option("--environment", help="Only this environment.")
]
SourceOption = Annotated[
    SourceName | None,
    option(
        "--source",
        help="The source of a new feed (default: the source of its name, else custom-feed).",
    ),
]
WaitOption = Annotated[
    float,
    option("--wait", metavar="SECONDS", min=0, help="How long to wait for a busy store."),
]
ServersOption = Annotated[
    float,
    option(
        "--wait-servers",
        metavar="SECONDS",
        min=0,
        help=(
            "How long to wait until no running server shows them any more; servers that still"
            " do are named."
        ),
    ),
]
JsonOption = Annotated[bool, option("--json", help="Print JSON for scripts.")]
LinesOption = Annotated[
    bool,
    option("--json", help="Write JSON lines; with -o also print JSON that says how many."),
]
PickOption = Annotated[int | None, option("--pick", metavar="N", help="Which of several profiles.")]
EveryOption = Annotated[
    bool, option("--all", help="All of several profiles that have the identity.")
]
YesOption = Annotated[
    bool, option("--yes", "-y", help="Go on without a question; needed where nobody can be asked.")
]
MemoryOption = Annotated[
    str | None, option("--memory-limit", metavar="SIZE", help="For example 2GB.")
]


class OptionGroup(Protocol):
    """A class that makes its own options, such as the flags that name a person."""

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """Return the parameters that Typer reads."""

    @classmethod
    def of_values(cls, values: dict[str, object]) -> object:
        """Return the group, made of its part of a command's values."""


Options = TypeVar("Options")
Given = TypeVar("Given")
"""The context: ours, or Typer's."""
Command = Callable[..., None]


def with_options(
    options: type[Options],
) -> Callable[[Callable[[Given, Options], None]], Command]:
    """Give a command the options of a dataclass, which it gets as one value.

    Typer reads the signature of a command. This makes the signature from the fields, in their
    order, so that the code of a command is not longer because it has thirty options.
    """

    def decorate(run: Callable[[Given, Options], None]) -> Command:
        def command(context: Given, **values: object) -> None:
            run(context, cast("Options", _made(options, values)))

        context = inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Context
        )
        parameters = [context, *_parameters(options)]
        command.__name__, command.__doc__ = run.__name__, run.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def parameter(name: str, annotation: object, default: object) -> inspect.Parameter:
    """Return one parameter of a command."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _fields(options: type) -> Iterator[tuple[dataclasses.Field[object], object]]:
    """Yield the fields of a class of options, each with its type."""
    hints = get_type_hints(options, include_extras=True)
    for field in dataclasses.fields(options):
        yield field, hints[field.name]


def _is_group(kind: object) -> bool:
    return hasattr(kind, "of_values") and hasattr(kind, "parameters")


def _parameters(options: type) -> Iterator[inspect.Parameter]:
    for field, kind in _fields(options):
        if _is_group(kind):
            yield from cast("type[OptionGroup]", kind).parameters()
        elif dataclasses.is_dataclass(kind):
            yield from _parameters(cast("type", kind))
        else:
            absent = inspect.Parameter.empty
            default = absent if field.default is dataclasses.MISSING else field.default
            yield parameter(field.name, kind, default)


def _made(options: type, values: dict[str, object]) -> object:
    """Return the options of a class, made of a command's values."""
    fields: dict[str, object] = {}
    for field, kind in _fields(options):
        if _is_group(kind):
            fields[field.name] = cast("type[OptionGroup]", kind).of_values(values)
        elif dataclasses.is_dataclass(kind):
            fields[field.name] = _made(cast("type", kind), values)
        else:
            fields[field.name] = values[field.name]
    return options(**fields)


def check_memory_limit(size: str | None) -> str | None:
    """Return a memory limit for DuckDB. Raises UsageError for a text that is no size."""
    if size is not None and not re.fullmatch(
        r"[0-9]+(\.[0-9]+)?\s*([KMGT]i?B)", size.strip(), re.IGNORECASE
    ):
        raise UsageError(f"--memory-limit {size}: must be a size such as 2GB or 800MB")
    return size


def form_of_lines(chosen: str | None, output: Path | None, by_name: str, *, as_json: bool) -> str:
    """Return the format of what a command writes as rows, which with --json are JSON lines.

    chosen: of --format. output: the file; None: standard output. by_name: of the file's name.
    Raises UsageError for another format on standard output with --json.
    """
    if not as_json or output is not None:
        return chosen or by_name
    if chosen not in (None, "jsonl"):
        raise UsageError(
            f"--json and --format {chosen} exclude each other", f"-o FILE takes {chosen}"
        )
    return "jsonl"


def file_or_stdout(output: Path | None) -> Path | None:
    """Return the file that -o names; None for "-", which is standard output."""
    return None if output is None or str(output) == "-" else output
