"""profilectl show: one person, by any identity."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from profilectl.cli import JsonOption, WaitOption, app, options_of
from profilectl.codes import NobodyFound, UsageError
from profilectl.identity import TYPES, type_named

EXAMPLE = "Example: profilectl show --email john.smith@example.com"


def _show(context: typer.Context, **stated: Any) -> None:
    """Show the profile that holds an identity: its identities, and its attributes with where each
    value comes from. Exits with 7 where nobody holds it."""
    kind, value = _query(stated)
    from profilectl import render
    from profilectl.read import read_profiles

    options = options_of(context)
    lines = read_profiles(options.store, kind, value, wait_s=stated["wait"])
    if stated["as_json"]:
        from json import dumps

        query = dumps({"type": kind, "value": value}, ensure_ascii=False)
        render.print_text(f'{{"query": {query}, "profiles": [{", ".join(lines)}]}}\n')
    elif lines:
        render.print_profiles(lines)
    if not lines:
        raise NobodyFound(f"nobody has the {kind} {value}")


def _query(stated: dict[str, Any]) -> tuple[str, str]:
    """Return the identity type and value that the options name. Raises UsageError unless it is one."""
    found = [(kind.name, stated[kind.name]) for kind in TYPES if stated[kind.name] is not None]
    if stated["mpid"] is not None:
        found.append(("mpid", stated["mpid"]))
    found += [one_identity(one) for one in stated["identity"] or ()]
    if len(found) != 1:
        raise UsageError("name one identity", EXAMPLE.removeprefix("Example: "))
    kind_name, value = found[0]
    return kind_name, _mpid(value) if kind_name == "mpid" else value


def one_identity(stated: str) -> tuple[str, str]:
    """Return the type and value of an option --identity TYPE=VALUE. Raises UsageError where it is none."""
    name, equals, value = stated.partition("=")
    kind = type_named(name)
    if not equals or (kind is None and name != "mpid"):
        raise UsageError(f"--identity {stated}: must be TYPE=VALUE", "the types are " + ", ".join(k.name for k in TYPES))
    return (kind.name, value) if kind else ("mpid", _mpid(value))


def _mpid(value: str) -> str:
    try:
        number = int(value)
    except ValueError:
        raise UsageError(f"{value} is not an MPID", "an MPID is a whole number, for example --mpid=-42") from None
    if not -(2**63) <= number < 2**63:
        raise UsageError(f"{value} is not an MPID: it has more than 64 bits")
    return str(number)


def _signature() -> inspect.Signature:
    """A flag for every identity type, made from the table of types."""
    only = inspect.Parameter.KEYWORD_ONLY

    def option(name: str, kind: Any, default: Any) -> inspect.Parameter:
        return inspect.Parameter(name, only, default=default, annotation=kind)

    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    for kind in TYPES:
        panel = "Device identities" if kind.device else "User identities"
        flag = typer.Option(f"--{kind.name.replace('_', '-')}", metavar="VALUE", rich_help_panel=panel, show_default=False)
        parameters.append(option(kind.name, Annotated[str | None, flag], None))
    parameters += [
        option("mpid", Annotated[str | None, typer.Option("--mpid", metavar="MPID", help="The mParticle ID.")], None),
        option("identity", Annotated[list[str] | None, typer.Option("--identity", metavar="TYPE=VALUE", help="Any identity.")], None),
        option("wait", WaitOption, 0),
        option("as_json", JsonOption, False),
    ]
    return inspect.Signature(parameters)


_show.__signature__ = _signature()  # type: ignore[attr-defined]
_show.__annotations__ = {name: one.annotation for name, one in _signature().parameters.items()}
app.command("show", epilog=EXAMPLE)(_show)
