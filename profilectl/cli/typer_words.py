"""What a module of `commands/` registered without Typer, in Typer's words."""

from __future__ import annotations

import functools
import inspect
from typing import Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.context import Context
from profilectl.cli.groups import GroupWithDefault
from profilectl.cli.registry import COMMANDS, GROUPS, Annotation, Described, Run


def add_registered(app: typer.Typer, name: str) -> None:
    """Add to an app what a module registered under a name: a command, or a group of commands."""
    if (name,) in COMMANDS:
        app.command(name, epilog=COMMANDS[name,].epilog)(COMMANDS[name,].run)
    if name not in GROUPS:
        return
    group = GROUPS[name]
    kind = typer.core.TyperGroup if group.default is None else _with_default(group.default)
    own = typer.Typer(help=group.help, no_args_is_help=True, cls=kind)
    for words, registered in COMMANDS.items():
        if len(words) > 1 and words[0] == name:
            own.command(words[1], epilog=registered.epilog)(registered.run)
    app.add_typer(own, name=name)


def _with_default(name: str) -> type[GroupWithDefault]:
    return type("GroupWithDefault", (GroupWithDefault,), {"default": name})


def describe_all(app: typer.Typer) -> None:
    """Give all commands of an app parameters that Typer reads."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = described(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            describe_all(group.typer_instance)


def described(command: Run) -> Run:
    """Return a command with parameters that Typer reads: itself, where it has them already."""
    signature = inspect.signature(command, eval_str=True)
    parameters = [
        parameter.replace(
            annotation=typer.Context
            if parameter.annotation is Context
            else _read_by_typer(parameter.annotation)
        )
        for parameter in signature.parameters.values()
    ]
    if parameters == list(signature.parameters.values()):
        return command

    # A function of its own: the door reads the parameters of the command as they were.
    @functools.wraps(command)
    def read_by_typer(*arguments: object, **values: object) -> None:
        command(*arguments, **values)

    read_by_typer.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=parameters
    )
    read_by_typer.__annotations__ = {
        parameter.name: parameter.annotation for parameter in parameters
    }
    return read_by_typer


def _read_by_typer(annotation: Annotation) -> Annotation:
    """Return an annotation with Typer's description in the place of ours."""
    described = next(iter(getattr(annotation, "__metadata__", ())), None)
    if not isinstance(described, Described):
        return annotation
    settings: dict[str, Annotation] = dict(described.settings)
    if described.completion is not None:
        settings["autocompletion"] = getattr(complete, described.completion)
    parameter = (
        typer.Option(*described.names, **settings)
        if described.names
        else typer.Argument(**settings)
    )
    return Annotated[annotation.__origin__, parameter]
