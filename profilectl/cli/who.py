"""Naming one person on the command line: a flag for every identity type, --mpid, --identity, or a
bare VALUE.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from profilectl.cli import complete
from profilectl.codes import UsageError
from profilectl.rules.fields import Unusable, whole_number
from profilectl.rules.identity import TYPES, no_type, type_named

Names = Callable[..., Any]


def option(name: str, kind: Any, default: Any) -> inspect.Parameter:
    """Return a parameter of a command."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def with_identities(
    command: Names, more: list[inspect.Parameter], *, bare: bool = True, only_types: bool = False
) -> Names:
    """Give a command of **stated options the flags that name a person, made from the table of
    types, and more.

    bare: a VALUE of any type may stand alone. only_types: neither --mpid nor --identity.
    """
    parameters = [
        inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        )
    ]
    if bare:
        text = Annotated[
            str | None,
            typer.Argument(metavar="VALUE", help="Any identity, or an MPID.", show_default=False),
        ]
        parameters.append(option("text", text, None))
    for kind in TYPES:
        panel = "Device identities" if kind.device else "User identities"
        flag = typer.Option(
            f"--{kind.name.replace('_', '-')}",
            metavar="VALUE",
            rich_help_panel=panel,
            show_default=False,
        )
        parameters.append(option(kind.name, Annotated[str | None, flag], None))
    parameters += (
        more
        if only_types
        else [
            option(
                "mpid",
                Annotated[
                    str | None, typer.Option("--mpid", metavar="MPID", help="The mParticle ID.")
                ],
                None,
            ),
            option(
                "identity",
                Annotated[
                    list[str] | None,
                    typer.Option(
                        "--identity",
                        metavar="TYPE=VALUE",
                        help="Any identity.",
                        autocompletion=complete.typed,
                    ),
                ],
                None,
            ),
            *more,
        ]
    )
    signature = inspect.Signature(parameters)
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
    return command


def who_is_meant(stated: dict[str, Any], example: str) -> tuple[str, str]:
    """Return the identity type ("mpid", "any") and value that the options name.

    Raises UsageError unless it is one.
    """
    found = [(kind.name, stated[kind.name]) for kind in TYPES if stated[kind.name] is not None]
    if stated["mpid"] is not None:
        found.append(("mpid", stated["mpid"]))
    found += [one_identity(one) for one in stated["identity"] or ()]
    if stated.get("text") is not None:
        found.append(("any", stated["text"]))
    if len(found) != 1:
        raise UsageError("name one identity", example.removeprefix("Example: "))
    kind_name, value = found[0]
    return kind_name, mpid_of(value) if kind_name == "mpid" else value


def one_identity(stated: str, flag: str = "--identity", *, mpid: bool = True) -> tuple[str, str]:
    """Return the type and value of an option TYPE=VALUE; mpid: the type may be mpid. Raises
    UsageError where it is none.
    """
    name, equals, value = stated.partition("=")
    kind = type_named(name)
    if not equals or (kind is None and not (mpid and name == "mpid")):
        if equals:
            raise no_type(name, flag, ["mpid"] if mpid else [])
        raise UsageError(
            f"{flag} {stated}: must be TYPE=VALUE",
            "the types are " + ", ".join(k.name for k in TYPES),
        )
    if not value.strip():
        raise UsageError(f"{flag} {stated} is empty", f"for example {flag} {name}=VALUE")
    return (kind.name, value) if kind else ("mpid", mpid_of(value))


def mpid_of(value: str) -> str:
    """Return an MPID as it is written. Raises UsageError where it is none."""
    try:
        number = whole_number(value, "MPID_INVALID")
    except Unusable:
        number = None
    if number is None:
        raise UsageError(
            f"{value} is not an MPID",
            "an MPID is a whole number of 64 bits, for example --mpid=-42",
        )
    return str(number)
