"""profilectl calculated: attributes that are computed from events."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import app, options_of, tell_unknown
from profilectl.cli.at_work import working
from profilectl.cli.options import (
    JsonOption,
    WaitOption,
    YesOption,
    names_of,
    value_of,
    with_options,
)
from profilectl.cli.question import Loss, loss_of, need_yes
from profilectl.codes import UsageError
from profilectl.rules.calculated import TYPES, Definition, definition_of
from profilectl.rules.event.event import EVENT_TYPES

group = typer.Typer(
    no_args_is_help=True,
    help="Define, try and compute attributes from events.",
)
app.add_typer(group, name="calculated")

TypeName = enum.Enum("TypeName", names_of(TYPES), type=str)  # type: ignore[misc]
EventTypeName = enum.Enum("EventTypeName", names_of(EVENT_TYPES), type=str)  # type: ignore[misc]
NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The calculated attribute.", autocompletion=complete.calculated
    ),
]
TypeOption = Annotated[TypeName | None, typer.Option("--type", help="What to compute.")]
EventOption = Annotated[
    str | None,
    typer.Option(
        "--event",
        metavar="NAME",
        help="Count events of this name (default: all events of the type).",
        autocompletion=complete.events,
    ),
]
EventTypeOption = Annotated[
    EventTypeName | None,
    typer.Option("--event-type", help="Count events of this type (default: custom_event)."),
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
        help="Count events that meet it, for example \"currency = 'EUR' and price > 10\".",
    ),
]
WithinOption = Annotated[
    str | None,
    typer.Option(
        "--within",
        metavar="SPAN",
        help='Count events of the last days or weeks, for example "30 days".',
    ),
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="DAY", help="Count events from this day on.")
]
NowOption = Annotated[
    str | None, typer.Option("--now", metavar="TIME", help="Compute as of this time.")
]


@dataclass(frozen=True, kw_only=True)
class DefinitionOptions:
    """The options that define a calculated attribute."""

    kind: TypeOption = None
    event: EventOption = None
    event_type: EventTypeOption = None
    of: OfOption = None
    condition: WhereOption = None
    within: WithinOption = None
    since: SinceOption = None

    def is_given(self) -> bool:
        """Return whether any of these options was given."""
        return any(value is not None for value in vars(self).values())

    def definition(self, name: str, *, draft: bool = False) -> Definition:
        """Return the definition. Raises UsageError without --type, and for a wrong one."""
        if self.kind is None:
            raise UsageError(
                "--type is missing: what to compute", "it is one of " + ", ".join(TYPES)
            )
        table = {
            "type": self.kind.value,
            "event": self.event,
            "event_type": value_of(self.event_type),
            "of": self.of,
            "where": self.condition,
            "within": self.within,
            "since": self.since,
            "draft": draft or None,
        }
        return definition_of(
            name, {key: value for key, value in table.items() if value is not None}
        )


@group.command("list", epilog="Example: profilectl calculated list --json")
def list_command(context: typer.Context, wait: WaitOption = 0, as_json: JsonOption = False) -> None:
    """List the calculated attributes of the store."""
    from profilectl.audiences.calculated_actions import calculated_in
    from profilectl.render import audiences, screen

    attributes = calculated_in(options_of(context).store, wait_s=wait)
    if as_json:
        screen.print_json(attributes)
    else:
        audiences.print_calculated(attributes)


ADD = (
    "Example: profilectl calculated add spent --type sum --event-type commerce_event"
    ' --event purchase --of product_action.total_amount --within "90 days"'
)


@dataclass(frozen=True, kw_only=True)
class CalculatedAddOptions:
    """The options of `profilectl calculated add`."""

    name: NameArgument
    what: DefinitionOptions
    draft: Annotated[
        bool,
        typer.Option("--draft", help="Only define it: it has no values until you activate it."),
    ] = False
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the definition of an attribute of this name.")
    ] = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@group.command(
    "add",
    epilog=ADD,
)
@with_options(CalculatedAddOptions)
def add_command(context: typer.Context, options: CalculatedAddOptions) -> None:
    """Define a calculated attribute and compute it for everybody.

    It outranks every input: an attribute of the same name is masked for as long as it is active.
    """
    from profilectl.audiences.calculated_actions import add_calculated
    from profilectl.render import audiences, screen
    from profilectl.render.progress import works

    definition = options.what.definition(options.name, draft=options.draft)
    common = options_of(context)
    with working(common, works.REFRESH):
        computed = add_calculated(
            common.store, definition, replaces=options.replace, wait_s=options.wait
        )
    with working(common, "looking for unknown names"):
        tell_unknown(context, definition, definition.workspace, wait_s=options.wait)
    screen.print_json(computed) if options.as_json else audiences.print_calculation(computed)


@dataclass(frozen=True, kw_only=True)
class CalculatedPreviewOptions:
    """The options of `profilectl calculated preview`."""

    name: NameArgument
    what: DefinitionOptions
    as_of: NowOption = None
    wait: WaitOption = 0
    as_json: JsonOption = False


@group.command(
    "preview", epilog="Example: profilectl calculated preview visits --type count --event visit"
)
@with_options(CalculatedPreviewOptions)
def preview_command(context: typer.Context, options: CalculatedPreviewOptions) -> None:
    """Compute a definition for everybody and show the result, without storing anything.

    Without --type it computes the attribute of this name.
    """
    from profilectl.audiences.calculated_actions import preview_calculated
    from profilectl.reading.people import time_of_option
    from profilectl.render import audiences, screen

    common, now_ms = options_of(context), time_of_option("--now", options.as_of)
    store, is_given = common.store, options.what.is_given()
    definition = options.what.definition(options.name) if is_given else None
    with working(common, "computing the values"):
        preview = preview_calculated(
            store, definition or options.name, now_ms=now_ms, wait_s=options.wait
        )
        if definition:
            tell_unknown(context, definition, definition.workspace, wait_s=options.wait)
    screen.print_json(preview) if options.as_json else audiences.print_calculation(preview)


@group.command("activate", epilog="Example: profilectl calculated activate spent")
def activate_command(
    context: typer.Context, name: NameArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Compute a draft for everybody, and keep it up to date from now on."""
    _set_state(context, name, wait_s=wait, as_json=as_json, active=True)


@group.command("deactivate", epilog="Example: profilectl calculated deactivate spent")
def deactivate_command(
    context: typer.Context, name: NameArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Make a calculated attribute a draft.

    Its values are removed, and the attribute that it masked shows again.
    """
    _set_state(context, name, wait_s=wait, as_json=as_json, active=False)


def _set_state(
    context: typer.Context, name: str, *, wait_s: float, as_json: bool, active: bool
) -> None:
    from profilectl.audiences.calculated_actions import set_state
    from profilectl.render import audiences, screen
    from profilectl.render.progress import works

    common = options_of(context)
    with working(common, works.REFRESH):
        computed = set_state(common.store, name, active=active, wait_s=wait_s)
    screen.print_json(computed) if as_json else audiences.print_calculation(computed)


@group.command("recalculate", epilog="Example: profilectl calculated recalculate")
def recalculate_command(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="The calculated attributes (default: all).",
            autocompletion=complete.calculated,
        ),
    ] = None,
    as_of: NowOption = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compute calculated attributes again for everybody.

    An import does so for the profiles it touches.
    """
    from profilectl.audiences.calculated_actions import recalculate
    from profilectl.reading.people import time_of_option
    from profilectl.render import audiences, screen
    from profilectl.render.progress import works

    common, now_ms = options_of(context), time_of_option("--now", as_of)
    with working(common, works.REFRESH):
        attributes = recalculate(common.store, names or (), now_ms=now_ms, wait_s=wait)
    screen.print_json(attributes) if as_json else audiences.print_calculated(attributes)


@group.command("show", epilog="Example: profilectl calculated show spent")
def show_command(
    context: typer.Context, name: NameArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Show one calculated attribute: its definition, frequent values, and some profiles."""
    from profilectl.audiences.calculated_actions import calculated_named
    from profilectl.render import audiences, screen

    attribute = calculated_named(options_of(context).store, name, wait_s=wait)
    screen.print_json(attribute) if as_json else audiences.print_calculation(attribute)


@group.command("remove", epilog="Example: profilectl calculated remove spent --yes")
def remove_command(
    context: typer.Context,
    name: NameArgument,
    yes: YesOption = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Remove a calculated attribute with its values.

    The attribute that it masked shows again. It asks before; without a terminal it needs --yes.
    """
    from profilectl.audiences.calculated_actions import calculated_named, remove_calculated
    from profilectl.render import screen
    from profilectl.render.progress import works

    common = options_of(context)
    store = common.store

    def loss() -> Loss:
        values = calculated_named(store, name, wait_s=wait)["profiles"]
        return loss_of(f"calculated attribute {name}", {"value": values})

    need_yes(yes, loss)
    with working(common, works.REFRESH):
        remove_calculated(store, name, wait_s=wait)
    if as_json:
        screen.print_json({"removed": name})
