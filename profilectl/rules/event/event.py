"""An event of a batch: its types, the data it must have, and the event in the cells of a row.

Sources: domain.md 5.2 (types and required data), 2.1 (limits), 8.1 (columns of a CSV file), 14
(opt-out).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from profilectl.rules.fields import (
    UnusableRow,
    boolean,
    json_type,
    put_cell,
    shown,
    typed,
    whole_number,
    without_empty,
)
from profilectl.rules.text.values import Number, Value, to_json


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of event."""

    needs: tuple[str, ...] = ()
    """The members that its data must have."""
    name: str = ""
    """The member that names the event; empty: none does."""


# fmt: off
_CUSTOM = ("event_name", "custom_event_type")
_TRANSITION = "application_transition_type"
EVENT_TYPES: dict[str, EventType] = {
    #                                         must have               is named by
    "custom_event":                 EventType(_CUSTOM,                "event_name"),
    "screen_view":                  EventType((),                     "screen_name"),
    "commerce_event":               EventType((),                     "product_action.action"),
    "session_start":                EventType(),
    "session_end":                  EventType(),
    "application_state_transition": EventType((_TRANSITION,),         _TRANSITION),
    "first_run":                    EventType(),
    "opt_out":                      EventType(),
    "push_registration":            EventType(("register", "registration_token")),
    "push_message":                 EventType(("push_message_type",), "push_message_type"),
    "push_reaction":                EventType(),
    "breadcrumb":                   EventType(("label",),             "label"),
    "crash_report":                 EventType((),                     "class_name"),
    "network_performance":          EventType((),                     "url"),
    "profile":                      EventType((),                     "profile_event_type"),
    "pre_attribution":              EventType(),
    "user_attribute_change":        EventType((),                     "user_attribute_name"),
    "user_identity_change":         EventType(),
    "uninstall":                    EventType(),
}

CUSTOM_TYPES = (
    "navigation", "location", "search", "transaction", "user_content", "user_preference", "social",
    "other", "attribution", "media",
)
COMMERCE = ("product_action", "promotion_action", "product_impressions")
"""The members of which a commerce event has exactly one (domain.md 5.2). The event is named by the
action of a product_action or promotion_action.
"""
EVENT_LIMITS = {"name": 256, "attributes": 100, "key": 256, "value": 4096}
"""The limits of an event (domain.md 2.1). An event beyond them is kept whole, with a warning; the
platform cuts it.
"""
NAMED_FREELY = ("custom_event", "screen_view")
"""The types whose events have names of the sender's choice."""
MOST_NAMES = 1_000
"""The most distinct names of such events that the platform takes from a workspace by default."""
COLUMN_TYPES = (
    # the event type of a row without a cell for it: the first whose beginning a cell has
    # (domain.md 8.1)
    ("data.product_action.",         "commerce_event"),
    ("data.promotion_action.",       "commerce_event"),
    ("data.product_impressions.",    "commerce_event"),
    ("data.event_name",              "custom_event"),
    ("data.screen_name",             "screen_view"),
    ("data.is_opted_out",            "opt_out"),
)
FILE_ENDINGS = {
    # the ending of a file's name, and the type of its events
    "-custom_event":   "custom_event",
    "-commerce_event": "commerce_event",
    "-screen_view":    "screen_view",
}
TYPED_CELLS = (
    "data.timestamp_unixtime_ms",
    "data.session_id",
    "data.session_start_unixtime_ms",
    "data.register",
    "data.product_action.total_amount",
    "data.product_action.tax_amount",
    "data.product_action.shipping_amount",
    "data.product_action.checkout_step",
    "data.product_action.products.price",
    "data.product_action.products.quantity",
    "data.product_action.products.position",
    "data.product_action.products.total_product_amount",
)
"""Cells that become a number or a boolean if they read as one; all others stay strings."""
BOOLEAN_CELLS = ("data.is_opted_out",)
"""Cells that are booleans if they read as one (fields.BOOLEANS)."""
LISTS = (
    "data.product_action.products", "data.promotion_action.promotions", "data.product_impressions",
)
"""The lists of an event; the path of a cell names a member of the only entry."""
# fmt: on

_ATTRIBUTES = "data.custom_attributes."


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is stored."""

    type: str
    """Its type, one of EVENT_TYPES."""
    name: str | None
    """Its name, if it has one."""
    at_ms: int | None
    """Its own time; None: its batch's time counts."""
    session: str | None
    """Its session, if it states one."""
    text: str
    """The whole event as compact JSON, numbers digit for digit."""
    over: bool = False
    """Whether it is over a limit."""


def added_event(name: str) -> Event:
    """Return the event that `import --event NAME` adds to every batch (the seed page's example)."""
    return read_event(
        {"data": {"event_name": name, "custom_event_type": "other"}, "event_type": "custom_event"},
        1,
    )


def read_events(events: Value) -> tuple[Event, ...]:
    """Read the events of a batch. Raises UnusableRow (BATCH_INVALID), naming the event."""
    assert isinstance(events, list)
    return tuple(read_event(event, place) for place, event in enumerate(events, start=1))


def read_event(event: Value, place: int) -> Event:
    """Read one event (domain.md 5.2). Raises UnusableRow.

    place: its place in the batch, from 1.
    """
    if not isinstance(event, dict):
        raise UnusableRow("BATCH_INVALID", f"event {place} is {json_type(event)}")
    kind = event.get("event_type")
    if not isinstance(kind, str) or isinstance(kind, Number) or kind not in EVENT_TYPES:
        raise UnusableRow("BATCH_INVALID", f"event {place}: unknown event_type {shown(kind)}")
    data = event.get("data")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise UnusableRow("BATCH_INVALID", f"event {place}: data is {json_type(data)}")
    for need in EVENT_TYPES[kind].needs:
        if data.get(need) in (None, ""):
            raise UnusableRow("BATCH_INVALID", f"event {place}: a {kind} needs data.{need}")
    _check_data(kind, data, place)
    try:
        at_ms = whole_number(data.get("timestamp_unixtime_ms"), "BATCH_INVALID")
    except UnusableRow as error:
        raise UnusableRow(
            "BATCH_INVALID", f"event {place}: data.timestamp_unixtime_ms: {error.detail}"
        ) from None
    return _event(event, kind, data, at_ms=at_ms)


def unchecked_event(event: dict[str, Value]) -> Event:
    """Return an event that an older version let pass, without checking it."""
    members = event.get("data")
    data = members if isinstance(members, dict) else {}
    try:
        at_ms = whole_number(data.get("timestamp_unixtime_ms"), "BATCH_INVALID")
    except UnusableRow:
        at_ms = None
    return _event(event, str(event.get("event_type")), data, at_ms=at_ms)


def _event(event: Value, kind: str, data: Mapping[str, Value], *, at_ms: int | None) -> Event:
    session = data.get("session_uuid") or data.get("session_id")
    name = name_of(kind, data)
    return Event(
        type=kind,
        name=name,
        at_ms=at_ms,
        session=str(session) if isinstance(session, str) else None,
        text=to_json(event),
        over=_is_over(name, data),
    )


def _check_data(kind: str, data: Mapping[str, Value], place: int) -> None:
    attributes = data.get("custom_attributes")
    if not isinstance(attributes, dict | None):
        raise UnusableRow(
            "BATCH_INVALID", f"event {place}: data.custom_attributes is {json_type(attributes)}"
        )
    if kind == "custom_event":
        for member in ("event_name", "custom_event_type"):
            if not isinstance(data[member], str) or isinstance(data[member], Number):
                raise UnusableRow(
                    "BATCH_INVALID", f"event {place}: data.{member} is {json_type(data[member])}"
                )
        if data["custom_event_type"] not in CUSTOM_TYPES:
            raise UnusableRow(
                "BATCH_INVALID",
                f"event {place}: unknown custom_event_type {shown(data['custom_event_type'])}",
            )
    if kind == "commerce_event" and sum(data.get(member) is not None for member in COMMERCE) != 1:
        raise UnusableRow(
            "BATCH_INVALID",
            f"event {place}: a commerce_event needs exactly one of {', '.join(COMMERCE)}",
        )
    if kind == "opt_out" and not isinstance(data.get("is_opted_out"), bool | None):
        raise UnusableRow(
            "BATCH_INVALID", f"event {place}: data.is_opted_out must be true or false"
        )


def name_of(kind: str, data: Mapping[str, Value]) -> str | None:
    """Return the name of an event, by which conditions, filters and lists call it, or None."""
    path = EVENT_TYPES[kind].name.split(".") if kind in EVENT_TYPES else []
    # A commerce event has one of COMMERCE: without a product_action, a promotion may name it.
    if kind == "commerce_event" and data.get("product_action") is None:
        path = ["promotion_action", "action"]
    name: Value = dict(data)
    for step in path:
        name = name.get(step) if isinstance(name, dict) else None
    return name if isinstance(name, str) and not isinstance(name, Number) and name else None


def _is_over(name: str | None, data: Mapping[str, Value]) -> bool:
    """Return whether an event is over a limit (domain.md 2.1)."""
    members = data.get("custom_attributes")
    attributes = members if isinstance(members, dict) else {}
    return (
        len(name or "") > EVENT_LIMITS["name"]
        or len(attributes) > EVENT_LIMITS["attributes"]
        or any(len(key) > EVENT_LIMITS["key"] for key in attributes)
        or any(
            isinstance(value, str) and len(value) > EVENT_LIMITS["value"]
            for value in attributes.values()
        )
    )


def event_of_cells(cells: Mapping[str, Value], file_type: str | None = None) -> Event | None:
    """Return the event in the cells of a row, or None if no cell is filled (domain.md 8.1).

    A custom event without a cell for its custom type is of the custom type other.

    cells: by their columns without `events.`, in order. file_type: the event type in the file's
    name, if any. Raises UnusableRow.
    """
    filled = {path: value for path, value in cells.items() if value is not None}
    if not filled:
        return None
    type_cell = filled.pop("event_type", None)
    by_columns = file_type or type_of_columns(list(filled))
    kind = type_cell if isinstance(type_cell, str) else by_columns
    if kind is None:
        raise UnusableRow("BATCH_INVALID", "event 1: no cell says its event_type")
    if kind == "custom_event":
        filled.setdefault("data.custom_event_type", "other")
    event: dict[str, Value] = {}
    # Empty cells too, so that the members have the order of the columns (put_cell).
    for path in {**cells, **filled}:
        if path != "event_type":
            put_cell(event, steps_of(path), _typed_cell(path, filled.get(path)))
    event = without_empty(event)
    event["event_type"] = kind
    return read_event(event, 1)


def _typed_cell(path: str, value: Value) -> Value:
    if path in BOOLEAN_CELLS:
        return boolean(value)
    return typed(value) if path in TYPED_CELLS else value


def type_of_columns(paths: Sequence[str]) -> str | None:
    """Return the event type that the filled columns of a row mean, or None (COLUMN_TYPES)."""
    for beginning, kind in COLUMN_TYPES:
        # With a dot behind it, a path below a beginning and the beginning itself are found alike.
        if any(f"{path}.".startswith(beginning) or path == beginning for path in paths):
            return kind
    return None


def steps_of(path: str) -> tuple[str, ...]:
    """Return the members on the path of a column; "[]" leads into the only entry of a list.

    Raises UnusableRow (BATCH_UNKNOWN_FIELD) for a path that names nothing.
    """
    if path.startswith(_ATTRIBUTES):
        steps: tuple[str, ...] = ("data", "custom_attributes", path.removeprefix(_ATTRIBUTES))
    else:
        steps = tuple(path.split("."))
    if "" in steps or (steps[0] != "data" and steps != ("event_type",)) or steps == ("data",):
        raise UnusableRow("BATCH_UNKNOWN_FIELD", f"events.{path}: no part of an event")
    for listed in LISTS:
        root = tuple(listed.split("."))
        if steps[: len(root)] == root and len(steps) > len(root):
            steps = (*root, "[]", *steps[len(root) :])
    return steps


class EventOrder(NamedTuple):
    """The order of a person's events: by their times, of equals by arrival."""

    at_ms: int
    """The time of the event."""
    arrival: int
    """The arrival of its row."""
    place: int
    """Its place in the row's batch."""


@dataclass(frozen=True, slots=True)
class Occurred:
    """An event of a person, for everything that is computed from events."""

    type: str
    """Its type."""
    name: str | None
    """Its name, if it has one."""
    at_ms: int
    """Its time, or that of its batch if it has none."""
    arrival: int
    """The arrival of its row."""
    place: int
    """Its place in the row's batch."""
    session: str | None
    """Its session, if it states one."""
    document: dict[str, Value]
    """The whole event."""

    @property
    def order(self) -> EventOrder:
        """Its place in the order of the person's events."""
        return EventOrder(self.at_ms, self.arrival, self.place)


def last_opt_out(events: Iterable[Occurred]) -> Occurred | None:
    """Return the opt_out event in force, or None (domain.md 14).

    It is the last by its time, of equals the later arrival.
    """
    opt_outs = [event for event in events if event.type == "opt_out"]
    return max(opt_outs, key=lambda event: event.order, default=None)


def opted_out(events: Iterable[Occurred]) -> bool:
    """Return whether the opt_out event in force opts out (domain.md 14)."""
    in_force = last_opt_out(events)
    data = in_force.document.get("data") if in_force else None
    return isinstance(data, dict) and data.get("is_opted_out") in (True, "true")


def names_warning(count: int, place: str) -> str:
    """Return the warning that the events have too many distinct names, or "".

    place: the workspace or the files that have them.
    """
    if count <= MOST_NAMES:
        return ""
    return (
        f"{count:,} distinct event names in {place}: the platform takes {MOST_NAMES:,} by default,"
        " and leaves out events of others"
    )
