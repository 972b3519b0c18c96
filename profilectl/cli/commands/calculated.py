"""profilectl calculated: attributes that are computed from events."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import typer

from profilectl.cli.app import JsonOption, WaitOption, app, options_of, tell_unknown
from profilectl.codes import UsageError
from profilectl.rules.calculated import TYPES, Definition, definition_of
from profilectl.rules.event.event import EVENT_TYPES

group = typer.Typer(
    no_args_is_help=True, help="Attributes that are computed from events: defined, tried, computed."
)
app.add_typer(group, name="calculated")

TypeName = enum.Enum("TypeName", {name: name for name in TYPES}, type=str)  # type: ignore[misc]
EventTypeName = enum.Enum("EventTypeName", {name: name for name in EVENT_TYPES}, type=str)  # type: ignore[misc]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The calculated attribute.")]
TypeOption = Annotated[TypeName | None, typer.Option("--type", help="What is computed.")]
EventOption = Annotated[
    str | None,
    typer.Option(
        "--event", metavar="NAME", help="Of events of this name; else of all of the type."
    ),
]
EventTypeOption = Annotated[
    EventTypeName | None,
    typer.Option("--event-type", help="Of events of this type (custom_event)."),
]
OfOption = Annotated[
    str | None,
    typer.Option(
        "--of", metavar="FIELD", help="The attribute of the event, or with dots a path in its data."
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Of events that meet it, for example \"currency = 'EUR' and price > 10\".",
    ),
]
WithinOption = Annotated[
    str | None,
    typer.Option(
        "--within", metavar="SPAN", help='Of the last days or weeks, for example "30 days".'
    ),
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="DAY", help="Of events from that day on.")
]
NowOption = Annotated[str | None, typer.Option("--now", metavar="TIME", help="As of that time.")]
STATED = ("event", "event_type", "of", "where", "within", "since")


def _definition(name: str, kind: TypeName | None, **stated: Any) -> Definition:
    if kind is None:
        raise UsageError("--type says what is computed", "it is one of " + ", ".join(TYPES))
    table = {
        key: value.value if isinstance(value, enum.Enum) else value
        for key, value in stated.items()
        if value not in (None, False)
    }
    return definition_of(name, {"type": kind.value, **table})


@group.command("list", epilog="Example: profilectl calculated list --json")
def list_command(context: typer.Context, wait: WaitOption = 0, as_json: JsonOption = False) -> None:
    """List the calculated attributes of the store."""
    from profilectl.audiences.calculated_actions import calculated_in
    from profilectl.render import audiences as render_audiences
    from profilectl.render import screen as render_screen

    found = calculated_in(options_of(context).store, wait_s=wait)
    if as_json:
        render_screen.print_json(found)
    else:
        render_audiences.print_calculated(found)


@group.command(
    "add",
    epilog='Example: profilectl calculated add spent --type sum --event-type commerce_event --event purchase --of product_action.total_amount --within "90 days"',
)
def add_command(
    context: typer.Context,
    name: NameArgument,
    kind: TypeOption = None,
    event: EventOption = None,
    event_type: EventTypeOption = None,
    of: OfOption = None,
    where: WhereOption = None,
    within: WithinOption = None,
    since: SinceOption = None,
    draft: Annotated[
        bool,
        typer.Option("--draft", help="Define it only: it has no values until it is activated."),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Give one that is there another definition.")
    ] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Define a calculated attribute and compute it for everybody.

    It outranks every input: an attribute of the same name is masked for as long as it is active.
    """
    from profilectl.audiences.calculated_actions import add_calculated
    from profilectl.render import audiences as render_audiences
    from profilectl.render import screen as render_screen

    definition = _definition(
        name,
        kind,
        event=event,
        event_type=event_type,
        of=of,
        where=where,
        within=within,
        since=since,
        draft=draft,
    )
    found = add_calculated(options_of(context).store, definition, replaces=replace, wait_s=wait)
    tell_unknown(context, definition, definition.workspace, wait)
    render_screen.print_json(found) if as_json else render_audiences.print_calculation(found)


@group.command(
    "preview", epilog="Example: profilectl calculated preview visits --type count --event visit"
)
def preview_command(
    context: typer.Context,
    name: NameArgument,
    kind: TypeOption = None,
    event: EventOption = None,
    event_type: EventTypeOption = None,
    of: OfOption = None,
    where: WhereOption = None,
    within: WithinOption = None,
    since: SinceOption = None,
    now: NowOption = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compute a definition for everybody and show what comes out, keeping nothing; without --type
    one that is defined.
    """
    from profilectl.audiences.calculated_actions import preview_calculated
    from profilectl.reading.actions import stated_time
    from profilectl.render import audiences as render_audiences
    from profilectl.render import screen as render_screen

    stated = {
        "event": event,
        "event_type": event_type,
        "of": of,
        "where": where,
        "within": within,
        "since": since,
    }
    wanted = (
        name if kind is None and not any(stated.values()) else _definition(name, kind, **stated)
    )
    found = preview_calculated(
        options_of(context).store, wanted, now_ms=stated_time("--now", now), wait_s=wait
    )
    if not isinstance(wanted, str):
        tell_unknown(context, wanted, wanted.workspace, wait)
    render_screen.print_json(found) if as_json else render_audiences.print_calculation(found)


@group.command("activate", epilog="Example: profilectl calculated activate spent")
def activate_command(
    context: typer.Context, name: NameArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Compute a draft for everybody, and keep it up to date from here on."""
    _set_state(context, name, wait, as_json, active=True)


@group.command("deactivate", epilog="Example: profilectl calculated deactivate spent")
def deactivate_command(
    context: typer.Context, name: NameArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Make it a draft: its values go, and what it masked is there again."""
    _set_state(context, name, wait, as_json, active=False)


def _set_state(
    context: typer.Context, name: str, wait: float, as_json: bool, *, active: bool
) -> None:
    from profilectl.audiences.calculated_actions import set_state
    from profilectl.render import audiences as render_audiences
    from profilectl.render import screen as render_screen

    found = set_state(options_of(context).store, name, active=active, wait_s=wait)
    render_screen.print_json(found) if as_json else render_audiences.print_calculation(found)


@group.command("recalculate", epilog="Example: profilectl calculated recalculate")
def recalculate_command(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="All, where none is named.")
    ] = None,
    now: NowOption = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compute for everybody anew; imports do it for those they touch."""
    from profilectl.audiences.calculated_actions import recalculate
    from profilectl.reading.actions import stated_time
    from profilectl.render import audiences as render_audiences
    from profilectl.render import screen as render_screen

    found = recalculate(
        options_of(context).store, names or (), now_ms=stated_time("--now", now), wait_s=wait
    )
    render_screen.print_json(found) if as_json else render_audiences.print_calculated(found)


@group.command("show", epilog="Example: profilectl calculated show spent")
def show_command(
    context: typer.Context, name: NameArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Show one: its definition, the most frequent values, some profiles that have one."""
    from profilectl.audiences.calculated_actions import calculated_named
    from profilectl.render import audiences as render_audiences
    from profilectl.render import screen as render_screen

    found = calculated_named(options_of(context).store, name, wait_s=wait)
    render_screen.print_json(found) if as_json else render_audiences.print_calculation(found)


@group.command("remove", epilog="Example: profilectl calculated remove spent")
def remove_command(context: typer.Context, name: NameArgument, wait: WaitOption = 0) -> None:
    """Forget it: its values go, and what it masked is there again."""
    from profilectl.audiences.calculated_actions import remove_calculated

    remove_calculated(options_of(context).store, name, wait_s=wait)
