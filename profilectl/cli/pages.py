"""The pages of help: of the program from tables, of a command from its parameters.

The page of the program needs neither Typer nor any command, so that `profilectl --help` is there
at once.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from typing import Protocol, get_type_hints

from profilectl.cli.everywhere import EverywhereOptions
from profilectl.cli.registry import Described, FromTyper
from profilectl.cli.summaries import ABOUT, EXITS, SUMMARIES, VARIABLES
from profilectl.render.help import Example, HelpRow, Page, Section
from profilectl.rules.identity import TYPES

PROGRAM = "profilectl"
SHOWN_FLAGS = ("--customer-id", "--email")
"""The options of identity types that the help shows; the others are folded into --identity."""
FOLDED = frozenset(f"--{kind.name.replace('_', '-')}" for kind in TYPES) - {*SHOWN_FLAGS}
IDENTITIES = "identities"
"""The topic of help that lists the identity types."""
ELSEWHERE = (
    "The options of every command may stand before or after it: --store, --workspace, --store-key,"
    " --suppression-key, --quiet. `profilectl --help` explains them, and the exit status."
)


class Parameter(Protocol):
    """An option or argument of a command, as Typer has it."""

    name: str
    param_type_name: str
    opts: list[str]
    metavar: str | None
    help: str | None
    required: bool
    hidden: bool
    default: object
    show_default: bool | str
    envvar: object
    multiple: bool
    nargs: int
    type_descriptor: object


class CommandMade(Protocol):
    """A command as Typer has made it."""

    help: str | None
    epilog: str | None
    params: list[Parameter]


def root_page() -> Page:
    """Return the page of the program."""
    groups = [
        Section(title, [HelpRow(name, summary) for name, summary in commands.items()])
        for title, commands in SUMMARIES.items()
    ]
    statuses = [
        HelpRow(str(status), f"{text[0].upper()}{text[1:]}.") for status, text in EXITS.items()
    ]
    return Page(
        name=PROGRAM,
        usage=f"{PROGRAM} [OPTIONS] COMMAND ...",
        paragraphs=[
            ABOUT,
            "Begin with `profilectl import FILE --feed NAME`, then `profilectl browse`.",
        ],
        sections=[
            *groups,
            Section("Options, before or after the command", list(_root_rows())),
            Section("Exit status", statuses),
        ],
        examples=[],
        notes=[
            "`profilectl help COMMAND`, or `profilectl COMMAND --help`, shows one with examples."
        ],
    )


def _root_rows() -> Iterator[HelpRow]:
    hints = get_type_hints(EverywhereOptions, include_extras=True)
    for annotation in hints.values():
        described: Described = annotation.__metadata__[0]
        takes = described.settings.get("metavar")
        names = ", ".join(described.names)
        yield HelpRow(f"{names} {takes}" if takes else names, str(described.settings["help"]))
    yield HelpRow("--json", "Print JSON for scripts, of a command that has --json.")
    yield HelpRow("--version", "Print the version.")
    yield HelpRow("--install-completion", "Install completion for the current shell.")
    yield HelpRow(
        "--show-completion",
        "Show completion for the current shell, to copy it or customize the installation.",
    )
    yield HelpRow("--help, -h", "Show this, or the help of a command.")


def identities_page() -> Page:
    """Return the page of the identity types."""
    rows = [
        HelpRow(kind.name, f"--{kind.name.replace('_', '-')} VALUE" + _aliases(kind.aliases))
        for kind in TYPES
    ]
    return Page(
        name=f"{PROGRAM} help {IDENTITIES}",
        usage="profilectl COMMAND --identity TYPE=VALUE",
        paragraphs=[
            "Each type of identity can be named by --identity, or by an option of its own."
        ],
        sections=[Section("Identity types", rows)],
        examples=[
            Example("The same person, both ways", "profilectl show --identity customer_id=C-1001"),
            Example("", "profilectl show --customer-id C-1001"),
        ],
        notes=[],
    )


def _aliases(names: Sequence[str]) -> str:
    return f"; in files also {', '.join(names)}" if names else ""


def command_page(words: Sequence[str], command: CommandMade) -> Page:
    """Return the page of a command. words: those that name it."""
    name = " ".join((PROGRAM, *words))
    shown = [param for param in command.params if not param.hidden and not is_everywhere(param)]
    paragraphs = [" ".join(text.split()) for text in (command.help or "").split("\n\n")]
    default = getattr(command, "default", None)
    if default is not None:
        paragraphs.append(f"Without one of its commands, `{name}` is `{name} {default}`.")
    arguments = [param for param in shown if param.param_type_name == "argument"]
    options = [param for param in shown if param.param_type_name == "option"]
    subcommands: dict[str, CommandMade] = getattr(command, "commands", {})
    sections = [
        Section("Commands", [HelpRow(key, summary_of(sub)) for key, sub in subcommands.items()]),
        Section("Arguments", [HelpRow(_takes(param), _says(param)) for param in arguments]),
        Section("Who", list(_identity_rows(options))),
        Section("Options", [_option_row(param) for param in options if not _is_of_a_person(param)]),
    ]
    return Page(
        name=name,
        usage=_usage(name, [*options, *arguments], several=bool(subcommands), default=default),
        paragraphs=[text for text in paragraphs if text],
        sections=[section for section in sections if section.rows],
        examples=examples_of(command.epilog),
        notes=[ELSEWHERE],
    )


def summary_of(command: CommandMade) -> str:
    """Return the summary of a command: its help as far as the first empty line."""
    return " ".join((command.help or "").split("\n\n")[0].split())


def is_everywhere(parameter: Parameter) -> bool:
    """Return whether an option is of those that every command has."""
    return parameter.name.startswith("everywhere_")


def examples_of(epilog: str | None) -> list[Example]:
    """Return the examples of a command.

    epilog: lines of which those with `$ ` in front are commands and others say what for; or
    "Example: " and a command.
    """
    examples: list[Example] = []
    caption = ""
    for line in (epilog or "").splitlines():
        text = line.strip()
        if text.startswith(("$ ", "Example: ")):
            examples.append(Example(caption, text.partition(" ")[2]))
            caption = ""
        else:
            caption = text
    return examples


def _usage(
    name: str, parameters: Sequence[Parameter], *, several: bool, default: str | None
) -> str:
    if several:
        return f"{name} {'COMMAND' if default is None else '[COMMAND]'} [OPTIONS]"
    words = [
        f"{param.opts[0]} {_takes(param)}" if param.param_type_name == "option" else _takes(param)
        for param in parameters
        if param.required
    ]
    words += [
        f"[{_takes(param)}]"
        for param in parameters
        if not param.required and param.param_type_name == "argument"
    ]
    return " ".join((name, "[OPTIONS]", *words))


def _is_of_a_person(parameter: Parameter) -> bool:
    return parameter.name in ("mpid", "identity") or bool(
        (FOLDED | {*SHOWN_FLAGS}).intersection(parameter.opts)
    )


def _identity_rows(options: Sequence[Parameter]) -> Iterator[HelpRow]:
    """Yield the rows of the options that name a person: most of them folded into one."""
    names = {name for param in options for name in param.opts}
    if not names >= FOLDED:  # an option of the name, such as --other, without the others
        yield from (_option_row(param) for param in options if _is_of_a_person(param))
        return
    for flag in SHOWN_FLAGS:
        kind = flag.strip("-").replace("-", "_")
        yield HelpRow(f"{flag} VALUE", f"An identity of type {kind}.")
    yield from (_option_row(param) for param in options if param.name == "mpid")
    yield HelpRow(
        "--identity TYPE=VALUE",
        "An identity of any type. Each type is an option, too: ios_idfv is --ios-idfv VALUE."
        f" `profilectl help {IDENTITIES}` lists the types.",
    )


def _option_row(parameter: Parameter) -> HelpRow:
    names = ", ".join(parameter.opts)
    takes = _takes(parameter)
    return HelpRow(f"{names} {takes}" if takes else names, _says(parameter))


def _takes(parameter: Parameter) -> str:
    """Return the name of the value of a parameter; nothing for a flag."""
    if parameter.metavar:
        return parameter.metavar
    if parameter.param_type_name == "argument":
        return parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
    if getattr(parameter, "is_flag", False):
        return ""
    return max(parameter.opts, key=len).lstrip("-").rpartition("-")[2].upper()


def _says(parameter: Parameter) -> str:
    """Return the help of a parameter, with its choices and its default."""
    text = parameter.help or ""
    choices = choices_of(parameter)
    default = _default(parameter)
    default = f" (default: {default})" if default and "default: " not in text else ""
    if not all(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) for name in choices):
        text += f" One of {', '.join(choices)}{default}."
    elif default:
        text = f"{text.removesuffix('.')}{default}."
    if parameter.multiple and not re.search("repeatable|several times", text):
        text += " Repeatable."
    if parameter.required and parameter.param_type_name == "option":
        text += " Required."
    return text.strip()


def choices_of(parameter: Parameter) -> list[str]:
    """Return the values that an option may have; none where any will do."""
    kind: object = getattr(parameter.type_descriptor, "annotation", None)
    kind = (getattr(kind, "__args__", None) or [kind])[0]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [str(choice.value) for choice in kind]
    return []


def _default(parameter: Parameter) -> str:
    if isinstance(parameter.envvar, str):
        return parameter.envvar
    value = parameter.default
    value = value.value if isinstance(value, enum.Enum) else value
    if parameter.show_default is False or callable(value) or value in (None, False, "", (), []):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def manual_page() -> str:
    """Return the manual page of the program, all pages in one, as man reads it."""
    import typer.main

    from profilectl.cli.app import app
    from profilectl.render.man import Manual, troff_of
    from profilectl.version import __version__

    variables = [HelpRow(name, f"{text[0].upper()}{text[1:]}.") for name, text in VARIABLES.items()]
    return troff_of(
        Manual(
            version=__version__,
            about=ABOUT,
            program=root_page(),
            sections=[Section("Environment", variables), *identities_page().sections],
            commands=list(_pages(typer.main.get_command(app), [])),
        )
    )


def _pages(command: FromTyper, words: Sequence[str]) -> Iterator[Page]:
    """Yield the page of each command of a group, and of its commands."""
    for name in command.list_commands(None):
        subcommand = command.get_command(None, name)
        yield command_page([*words, name], subcommand)
        if hasattr(subcommand, "list_commands"):
            yield from _pages(subcommand, [*words, name])
