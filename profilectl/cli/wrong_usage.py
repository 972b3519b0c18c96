"""Wrong usage in our own words: what Typer says in a box is an error as all others are.

Typer's classes of errors are private, so that an error is known by the name of its class.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator

from typer.exceptions import TyperException

from profilectl.cli.pages import PROGRAM, choices_of
from profilectl.cli.registry import FromTyper
from profilectl.codes import UsageError
from profilectl.rules.text.naming import did_you_mean, nearest

LEFT_OUT = "profilectl.left_out"
"""The key, among what Typer's contexts share, of whether the name of a group's command is left
out.
"""
EXTRA = re.compile(r"Got unexpected extra argument\(s\) \((.*)\)", re.DOTALL)
NO_COMMAND = re.compile(r"No such command '(.*?)'\.", re.DOTALL)
# What pydantic says of a value, and what we say of it.
NUMBERS = (
    (re.compile("should be a valid integer"), "a whole number"),
    (re.compile("should be a valid number"), "a number"),
    (re.compile("should be a finite number"), "a finite number"),
    (re.compile(r"should be greater than or equal to (\S+)"), "at least {0}"),
    (re.compile(r"should be less than or equal to (\S+)"), "at most {0}"),
    (re.compile(r"should be greater than (\S+)"), "more than {0}"),
    (re.compile(r"should be less than (\S+)"), "less than {0}"),
)


@contextlib.contextmanager
def telling_plainly(ctx: FromTyper | None = None) -> Iterator[None]:
    """Raise UsageError where Typer finds wrong usage.

    ctx: the context of the command whose words are read; None before there is one.
    """
    try:
        yield
    except TyperException as error:
        of_command = getattr(error, "ctx", None) or ctx
        raise UsageError(_message(error, of_command), f"{_name(of_command)} --help") from None


def wrong_value(
    error: TyperException, ctx: FromTyper, *, param: FromTyper, value: object
) -> UsageError:
    """Return the refusal of a value of an option or argument."""
    values = value if isinstance(value, list | tuple) else [value]
    text = " ".join(str(part) for part in values)
    if choices := choices_of(param):
        text = next((str(part) for part in values if part not in choices), text)
        begun = [choice for choice in choices if text and choice.startswith(text)]
        question = _like(begun[0] if len(begun) == 1 else text, choices)
        must = f"must be one of {', '.join(choices)}{question}"
    else:
        must = _must(error.message)
    what = _parameter(param)
    saying = (
        f"{what} {text}: {must}" if param.param_type_name == "option" else f"{text}: {what} {must}"
    )
    return UsageError(saying, f"{_name(ctx)} --help")


def _like(word: str, names: Iterable[str]) -> str:
    """Return the question whether the names most like a word are meant."""
    return did_you_mean(nearest(word, list(dict.fromkeys(names))))


def _must(message: str) -> str:
    for pattern, saying in NUMBERS:
        if match := pattern.search(message):
            return f"must be {saying.format(*match.groups())}"
    return message.removeprefix("Value error, ")


def _message(error: TyperException, ctx: FromTyper | None) -> str:
    """Return what is wrong, of an error of Typer."""
    name, kind = _name(ctx), type(error).__name__
    option = getattr(error, "option_name", "")
    if kind == "NoSuchOption":
        return f"{name} has no option {option}{_like_option(option, ctx)}"
    if kind == "BadOptionUsage":
        return (
            f"{option} {'takes no value' if 'does not take' in error.message else 'needs a value'}"
        )
    param = getattr(error, "param", None)
    if kind == "MissingParameter" and param is not None:
        choices = choices_of(param)
        return f"{_parameter(param)} is missing" + (
            f": one of {', '.join(choices)}" if choices else ""
        )
    if match := EXTRA.fullmatch(error.message):
        return _of_extra_words(match[1], name, ctx)
    if match := NO_COMMAND.match(error.message):
        return _of_command(match[1], name, ctx)
    if error.message == "Missing command." and ctx is not None:
        return f"{name} needs a command: {', '.join(ctx.command.list_commands(ctx))}"
    before = f"{_parameter(param)}: " if param is not None else ""
    return f"{before}{error.message}".rstrip(".")


def _of_extra_words(words: str, name: str, ctx: FromTyper | None) -> str:
    """Return what is wrong about words that a command does not take."""
    if ctx is not None and ctx.meta.get(LEFT_OUT):
        word = words.split(" ", maxsplit=1)[0]
        if like := _like(word, ctx.parent.command.list_commands(ctx.parent)):
            return f"{_name(ctx.parent)} has no command {word}{like}"
    return f"{name} does not take {words}"


def _of_command(word: str, name: str, ctx: FromTyper | None) -> str:
    """Return that there is no command of a name, and the nearest that there is."""
    saying = f"{name} has no command {word}"
    if ctx is None:
        return saying
    return saying + (
        _like(word, ctx.command.list_commands(ctx)) or _in_a_group(word, ctx.command, ctx)
    )


def _in_a_group(word: str, command: FromTyper, ctx: FromTyper) -> str:
    """Return the question whether a command of a group is meant, such as undo of imports."""
    groups = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
    there = [name for name, group in groups if word in getattr(group, "commands", {})]
    return did_you_mean([f"{name} {word}" for name in there])


def _like_option(option: str, ctx: FromTyper | None) -> str:
    if ctx is None:
        return ""
    names = [name for param in ctx.command.get_params(ctx) for name in param.opts]
    bare = {name.lstrip("-"): name for name in names if name.startswith("--")}
    near = nearest(option.lstrip("-"), list(bare)) if len(option) > 2 else []
    return did_you_mean([bare[name] for name in near])


def _parameter(param: FromTyper) -> str:
    """Return the name of a parameter in the help."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    return str(max(param.opts, key=len))


def _name(ctx: FromTyper | None) -> str:
    """Return the words that name a command, the program's name before them."""
    words: list[str] = []
    while ctx is not None and ctx.parent is not None:
        words = [str(ctx.info_name), *words]
        ctx = ctx.parent
    return " ".join((PROGRAM, *words))
