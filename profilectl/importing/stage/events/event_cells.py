"""The events.* columns of a file with columns -> staged events, all rows at once.

The set-based twin of profilectl.rules.event.event.event_of_cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from profilectl.importing.stage.cells import FILLED, NO_TEXT, any_filled
from profilectl.importing.stage.nested import clash, members_sql, object_sql, tree_of, value_sql
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.event.event import (
    BOOLEAN_CELLS,
    COLUMN_TYPES,
    COMMERCE,
    CUSTOM_TYPES,
    EVENT_LIMITS,
    EVENT_TYPES,
    TYPED_CELLS,
    steps_of,
)
from profilectl.rules.fields import BOOLEANS
from profilectl.rules.sql.identities import trimmed
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import whole_number

_AT = "data.timestamp_unixtime_ms"

# The events of the rows, in the shape of staged.EVENT.
EVENTS = SqlTemplate("""
select {seq} as seq, 0::integer as place, {type} as type, {name} as name, {at_ms} as at_ms,
       {session} as session, {event} as event
from {cells}
where {filled}
""")

# A cell says the type, else the name of the file or the columns that are filled.
TYPE = SqlTemplate("coalesce({event_type}, {inferred})")
# The member that names an event of its type; an empty one names nothing.
NAME = SqlTemplate("nullif(case {type} {named} when 'commerce_event' then {action} end, '')")
# The action of a product; where nothing of a product is stated, that of a promotion.
ACTION = SqlTemplate(
    "coalesce({product_action}, case when not {any_product} then {promotion_action} end)"
)
# A session that reads as a boolean is one, and names no session.
SESSION = SqlTemplate(
    "coalesce(nullif({uuid}, ''), case when {id} not in ('', 'true', 'false') then {id} end)"
)
# The event as JSON; data is left out where nothing is in it.
JSON = SqlTemplate(
    """'{' || coalesce('"data":' || {data} || ',', '')"""
    """ || '"event_type":' || to_json({type})::varchar || '}'"""
)
# A custom event that says no type is of the type other, and is stored so.
CUSTOM_TYPE = SqlTemplate(
    "case when {type} = 'custom_event' and {custom_type} is null"
    """ then '"custom_event_type":"other"' end"""
)
# A member that is stated as an object, in the place of a text.
OBJECT = SqlTemplate("case when {filled} then 'object' end")
# A text as a message shows it.
SHOWN = SqlTemplate("case when length({text}) > 40 then {text}[:40] || '...' else {text} end")

# Conditions of faults and of limits.
MISSING = SqlTemplate("{type} = '{name}' and coalesce({member}, '{default}') = ''")
# An opt-out that says neither true nor false.
NOT_BOOLEAN = SqlTemplate(
    "{type} = 'opt_out' and (lower({text}) not in ({booleans}) or {is_object})"
)
# A cell that is filled and no whole number.
NO_NUMBER = SqlTemplate("{text} <> '' and {number} is null")
# Conditions; if one is null, it is not met.
IN_FORCE = SqlTemplate("coalesce({conditions}, false)")
# The first fault of a row that has an event.
FAULT = SqlTemplate("case when not {filled} then null {faults} end")


class EventFault(NamedTuple):
    """A fault of a row's event."""

    condition: str
    """The SQL of whether a row has the fault."""
    detail: str
    """The SQL of the message."""


@dataclass(frozen=True, slots=True)
class EventCells:
    """The columns of a file that make one event a row."""

    columns: Mapping[str, str]
    """The SQL of the text of each, null for an empty cell, by its path without `events.`."""
    file_type: str | None
    """The event type that the name of the file says."""

    def clash(self) -> tuple[str, str] | None:
        """Return two columns of which one is a member of the other, if there are any."""
        steps = {steps_of(path): path for path in self.columns}
        paths = clash(list(steps))
        return (steps[tuple(paths[0])], steps[tuple(paths[1])]) if paths else None

    def filled(self) -> str:
        """Return the condition that a row has an event."""
        return self._any(list(self.columns))

    def fault(self) -> str:
        """Return the SQL of what is wrong with a row's event, null where nothing is."""
        faults = [
            *self._type_faults(),
            *self._missing_members(),
            *self._custom_faults(),
            *self._commerce_faults(),
            *self._opt_out_faults(),
            *self._time_faults(),
        ]
        cases = " ".join(f"when {fault.condition} then {fault.detail}" for fault in faults)
        return FAULT(filled=self.filled(), faults=cases)

    def over(self) -> str:
        """Return the condition that a row's event is over a limit; it is kept all the same."""
        begin = "data.custom_attributes."
        attributes = {path: text for path, text in self.columns.items() if path.startswith(begin)}
        limits = [f"length({self._name()}) > {EVENT_LIMITS['name']}"]
        limits += [f"length({text}) > {EVENT_LIMITS['value']}" for text in attributes.values()]
        limits += [
            FILLED(text=text)
            for path, text in attributes.items()
            if len(path.removeprefix(begin)) > EVENT_LIMITS["key"]
        ]
        if len(attributes) > EVENT_LIMITS["attributes"]:
            count = " + ".join(f"({text} is not null)::int" for text in attributes.values())
            limits.append(f"({count}) > {EVENT_LIMITS['attributes']}")
        return IN_FORCE(conditions=" or ".join(limits))

    def select(self, seq: str, cells: str) -> str:
        """Return the SELECT of the events of a relation's rows, in the shape of staged.EVENT."""
        session = SESSION(uuid=self._text("data.session_uuid"), id=self._text("data.session_id"))
        return EVENTS(
            seq=seq,
            type=self._type(),
            name=self._name(),
            at_ms=whole_number(trimmed(self._text(_AT))),
            session=session,
            event=self._json(),
            cells=cells,
            filled=self.filled(),
        )

    # The texts of columns

    def _text(self, path: str) -> str:
        return self.columns.get(path, NO_TEXT)

    def _any(self, paths: Sequence[str]) -> str:
        return any_filled([self.columns[path] for path in paths])

    def _under(self, root: str) -> list[str]:
        return [path for path in self.columns if path == root or path.startswith(f"{root}.")]

    def _is_object(self, path: str) -> str:
        """Return the condition that a member is stated as an object."""
        return self._any([below for below in self._under(path) if below != path])

    def _data(self, member: str) -> str:
        """Return the text of a member of data: an object counts as stated where any of it is."""
        path = f"data.{member}"
        has_parts = len(self._under(path)) > (path in self.columns)
        return OBJECT(filled=self._is_object(path)) if has_parts else self._text(path)

    # What an event says

    def _type(self) -> str:
        """Return the SQL of the event type."""
        if self.file_type:
            return TYPE(event_type=self._text("event_type"), inferred=quote_text(self.file_type))
        cases = " ".join(
            f"when {self._any(self._beginning(begin))} then '{event_type}'"
            for begin, event_type in COLUMN_TYPES
        )
        return TYPE(event_type=self._text("event_type"), inferred=f"case {cases} end")

    def _beginning(self, begin: str) -> list[str]:
        return [path for path in self.columns if path == begin or f"{path}.".startswith(begin)]

    def _name(self) -> str:
        named = " ".join(
            f"when '{name}' then {self._text(f'data.{event_type.name}')}"
            for name, event_type in EVENT_TYPES.items()
            if event_type.name and name != "commerce_event"
        )
        action = ACTION(
            product_action=self._text("data.product_action.action"),
            any_product=self._any(self._under("data.product_action")),
            promotion_action=self._text("data.promotion_action.action"),
        )
        return NAME(type=self._type(), named=named, action=action)

    def _json(self) -> str:
        """Return the SQL of the event's JSON.

        Its members are in the order of their columns; those of empty cells are left out.
        """
        values = {
            steps_of(path): value_sql(
                text, typed=path in TYPED_CELLS, boolean=path in BOOLEAN_CELLS
            )
            for path, text in self.columns.items()
            if path != "event_type"
        }
        data = tree_of(values).get("data")
        members = members_sql(data) if isinstance(data, dict) else []
        members.append(
            CUSTOM_TYPE(type=self._type(), custom_type=self._text("data.custom_event_type"))
        )
        return JSON(data=object_sql(members), type=self._type())

    # What can be wrong with it, in the order of the messages

    def _type_faults(self) -> list[EventFault]:
        event_type = self._type()
        return [
            EventFault(f"{event_type} is null", quote_text("event 1: no cell says its event_type")),
            EventFault(
                f"{event_type} not in ({_quoted(EVENT_TYPES)})",
                f"'event 1: unknown event_type ' || {SHOWN(text=event_type)}",
            ),
        ]

    def _missing_members(self) -> list[EventFault]:
        return [
            EventFault(
                MISSING(
                    type=self._type(),
                    name=name,
                    member=self._data(need),
                    default="other" if need == "custom_event_type" else "",
                ),
                quote_text(f"event 1: a {name} needs data.{need}"),
            )
            for name, event_type in EVENT_TYPES.items()
            for need in event_type.needs
        ]

    def _custom_faults(self) -> list[EventFault]:
        is_custom = f"{self._type()} = 'custom_event'"
        custom_type = self._text("data.custom_event_type")
        objects = [
            EventFault(
                f"{is_custom} and {self._is_object(f'data.{need}')}",
                quote_text(f"event 1: data.{need} is an object"),
            )
            for need in ("event_name", "custom_event_type")
        ]
        return [
            *objects,
            EventFault(
                FILLED(text=self._text("data.custom_attributes")),
                quote_text("event 1: data.custom_attributes is a string"),
            ),
            EventFault(
                f"{is_custom} and {custom_type} not in ({_quoted(CUSTOM_TYPES)})",
                f"'event 1: unknown custom_event_type ' || {SHOWN(text=custom_type)}",
            ),
        ]

    def _commerce_faults(self) -> list[EventFault]:
        actions = " + ".join(
            f"{self._any(self._under(f'data.{member}'))}::int" for member in COMMERCE
        )
        return [
            EventFault(
                f"{self._type()} = 'commerce_event' and {actions} <> 1",
                quote_text(f"event 1: a commerce event needs exactly one of {', '.join(COMMERCE)}"),
            )
        ]

    def _opt_out_faults(self) -> list[EventFault]:
        condition = NOT_BOOLEAN(
            type=self._type(),
            text=self._text("data.is_opted_out"),
            booleans=_quoted(BOOLEANS),
            is_object=self._is_object("data.is_opted_out"),
        )
        detail = quote_text("event 1: data.is_opted_out must be true or false")
        return [EventFault(condition, detail)]

    def _time_faults(self) -> list[EventFault]:
        text = self._text(_AT)
        return [
            EventFault(self._is_object(_AT), quote_text(f"event 1: {_AT}: an object")),
            EventFault(
                NO_NUMBER(text=text, number=whole_number(trimmed(text))),
                f"'event 1: {_AT}: ' || {SHOWN(text=text)}",
            ),
        ]


def _quoted(texts: Sequence[str] | Mapping[str, object]) -> str:
    return ", ".join(map(quote_text, texts))
