"""An event of a batch: its types, what each must say, and the event that the cells of a row make.

Sources: domain.md 5.2 (types and required data), 2.1 (limits), 8.1 (columns of a CSV file).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from profilectl.rules.fields import (
    Unusable,
    boolean,
    json_type,
    put,
    shown,
    typed,
    whole_number,
    without_empty,
)
from profilectl.rules.text.values import Number, Value, to_json


@dataclass(frozen=True, slots=True)
class EventType:
    """What the data of an event of this type must have, and the member that names the event ("":
    none does).
    """

    needs: tuple[str, ...] = ()
    name: str = ""


# fmt: off
EVENT_TYPES: dict[str, EventType] = {
    #                                         must have                              is named by
    "custom_event":                 EventType(("event_name", "custom_event_type"),   "event_name"),
    "screen_view":                  EventType((),                                    "screen_name"),
    "commerce_event":               EventType((),                                    "product_action.action"),
    "session_start":                EventType(),
    "session_end":                  EventType(),
    "application_state_transition": EventType(("application_transition_type",),      "application_transition_type"),
    "first_run":                    EventType(),
    "opt_out":                      EventType(),
    "push_registration":            EventType(("register", "registration_token")),
    "push_message":                 EventType(("push_message_type",),                "push_message_type"),
    "push_reaction":                EventType(),
    "breadcrumb":                   EventType(("label",),                            "label"),
    "crash_report":                 EventType((),                                    "class_name"),
    "network_performance":          EventType((),                                    "url"),
    "profile":                      EventType((),                                    "profile_event_type"),
    "pre_attribution":              EventType(),
    "user_attribute_change":        EventType((),                                    "user_attribute_name"),
    "user_identity_change":         EventType(),
    "uninstall":                    EventType(),
}

CUSTOM_TYPES = ("navigation", "location", "search", "transaction", "user_content", "user_preference", "social", "other",
                "attribution", "media")

# A commerce event says exactly one of these; the name of the event is the action of the first two.
COMMERCE = ("product_action", "promotion_action", "product_impressions")

# Kept whole beyond these (the platform cuts them), and counted.
EVENT_LIMITS = {"name": 256, "attributes": 100, "key": 256, "value": 4096}

# The platform takes so many distinct event names of a workspace by default; of the types whose
# names somebody thinks up.
NAMED_FREELY = ("custom_event", "screen_view")
MOST_NAMES = 1_000

# Which type the event of a row has where no cell says it: the first that a cell begins with
# (domain.md 8.1).
COLUMN_TYPES = (
    ("data.product_action.",         "commerce_event"),
    ("data.promotion_action.",       "commerce_event"),
    ("data.product_impressions.",    "commerce_event"),
    ("data.event_name",              "custom_event"),
    ("data.screen_name",             "screen_view"),
    ("data.is_opted_out",            "opt_out"),
)
FILE_ENDINGS = {"-custom_event": "custom_event", "-commerce_event": "commerce_event", "-screen_view": "screen_view"}

# Cells of these are numbers or booleans where they read as one; all others are strings.
TYPED_CELLS = (
    "data.timestamp_unixtime_ms", "data.session_id", "data.session_start_unixtime_ms", "data.register",
    "data.product_action.total_amount", "data.product_action.tax_amount", "data.product_action.shipping_amount",
    "data.product_action.checkout_step", "data.product_action.products.price", "data.product_action.products.quantity",
    "data.product_action.products.position", "data.product_action.products.total_product_amount",
)
# Cells of these are booleans where they stand for one.
BOOLEAN_CELLS = ("data.is_opted_out",)
# A cell's path names a member of the only entry of these lists.
LISTS = ("data.product_action.products", "data.promotion_action.promotions", "data.product_impressions")
# fmt: on

_ATTRIBUTES = "data.custom_attributes."


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it is stored.

    at_ms: its own time, or None where it states none and its batch's counts. text: the whole event
    as compact JSON, numbers digit for digit; over: whether it is over a limit.
    """

    type: str
    name: str | None
    at_ms: int | None
    session: str | None
    text: str
    over: bool = False


def added_event(name: str) -> Event:
    """Return the event that `import --event NAME` adds to every batch: the seed page's example."""
    return read_event(
        {"data": {"event_name": name, "custom_event_type": "other"}, "event_type": "custom_event"},
        1,
    )


def read_events(events: Value) -> tuple[Event, ...]:
    """Read the events of a batch. Raises Unusable (BATCH_INVALID), naming the event."""
    assert isinstance(events, list)
    return tuple(read_event(event, place) for place, event in enumerate(events, start=1))


def read_event(event: Value, place: int) -> Event:
    """Read one event; place: which of its batch, from 1. Raises Unusable."""
    if not isinstance(event, dict):
        raise Unusable("BATCH_INVALID", f"event {place} is {json_type(event)}")
    kind = event.get("event_type")
    if not isinstance(kind, str) or isinstance(kind, Number) or kind not in EVENT_TYPES:
        raise Unusable("BATCH_INVALID", f"event {place}: unknown event_type {shown(kind)}")
    data = event.get("data")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise Unusable("BATCH_INVALID", f"event {place}: data is {json_type(data)}")
    for need in EVENT_TYPES[kind].needs:
        if data.get(need) in (None, ""):
            raise Unusable("BATCH_INVALID", f"event {place}: a {kind} needs data.{need}")
    _check_data(kind, data, place)
    try:
        at_ms = whole_number(data.get("timestamp_unixtime_ms"), "BATCH_INVALID")
    except Unusable as error:
        raise Unusable(
            "BATCH_INVALID", f"event {place}: data.timestamp_unixtime_ms: {error.detail}"
        ) from None
    return _event(kind, data, at_ms, event)


def event_kept(event: dict[str, Value]) -> Event:
    """Return an event that an older version let pass, whatever is said of it today."""
    found = event.get("data")
    data = found if isinstance(found, dict) else {}
    try:
        at_ms = whole_number(data.get("timestamp_unixtime_ms"), "BATCH_INVALID")
    except Unusable:
        at_ms = None
    return _event(str(event.get("event_type")), data, at_ms, event)


def _event(kind: str, data: Mapping[str, Value], at_ms: int | None, event: Value) -> Event:
    session = data.get("session_uuid") or data.get("session_id")
    name = name_of(kind, data)
    return Event(
        kind,
        name,
        at_ms,
        str(session) if isinstance(session, str) else None,
        to_json(event),
        _over(name, data),
    )


def _check_data(kind: str, data: Mapping[str, Value], place: int) -> None:
    attributes = data.get("custom_attributes")
    if not isinstance(attributes, dict | None):
        raise Unusable(
            "BATCH_INVALID", f"event {place}: data.custom_attributes is {json_type(attributes)}"
        )
    if kind == "custom_event":
        for member in ("event_name", "custom_event_type"):
            if not isinstance(data[member], str) or isinstance(data[member], Number):
                raise Unusable(
                    "BATCH_INVALID", f"event {place}: data.{member} is {json_type(data[member])}"
                )
        if data["custom_event_type"] not in CUSTOM_TYPES:
            raise Unusable(
                "BATCH_INVALID",
                f"event {place}: unknown custom_event_type {shown(data['custom_event_type'])}",
            )
    if kind == "commerce_event" and sum(data.get(one) is not None for one in COMMERCE) != 1:
        raise Unusable(
            "BATCH_INVALID",
            f"event {place}: a commerce_event needs exactly one of {', '.join(COMMERCE)}",
        )
    if kind == "opt_out" and not isinstance(data.get("is_opted_out"), bool | None):
        raise Unusable("BATCH_INVALID", f"event {place}: data.is_opted_out must be true or false")


def name_of(kind: str, data: Mapping[str, Value]) -> str | None:
    """Return the name of an event of a type: what a condition, a filter and a list call it by."""
    path = EVENT_TYPES[kind].name.split(".") if kind in EVENT_TYPES else []
    if kind == "commerce_event" and data.get("product_action") is None:
        path = ["promotion_action", "action"]
    found: Value = dict(data)
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return found if isinstance(found, str) and not isinstance(found, Number) and found else None


def _over(name: str | None, data: Mapping[str, Value]) -> bool:
    found = data.get("custom_attributes")
    attributes = found if isinstance(found, dict) else {}
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
    """Return the event that the cells of a row make, or None where no cell is filled.

    cells: by their columns without the `events.` before them, in order; file_type: what the file's
    name says. A custom event whose type no cell states is of type other. Raises Unusable.
    """
    filled = {path: value for path, value in cells.items() if value is not None}
    if not filled:
        return None
    stated = filled.pop("event_type", None)
    kind = stated if isinstance(stated, str) else file_type or type_of_columns(list(filled))
    if kind is None:
        raise Unusable("BATCH_INVALID", "event 1: no cell says its event_type")
    if kind == "custom_event":
        filled.setdefault("data.custom_event_type", "other")
    event: dict[str, Value] = {}
    for path in {**cells, **filled}:
        if path != "event_type":
            put(event, steps_of(path), _typed(path, filled.get(path)))
    event = without_empty(event)
    event["event_type"] = kind
    return read_event(event, 1)


def _typed(path: str, value: Value) -> Value:
    if path in BOOLEAN_CELLS:
        return boolean(value)
    return typed(value) if path in TYPED_CELLS else value


def type_of_columns(paths: Sequence[str]) -> str | None:
    """Return the event type that the filled columns of a row stand for."""
    return next(
        (
            kind
            for begin, kind in COLUMN_TYPES
            if any(f"{path}.".startswith(begin) or path == begin for path in paths)
        ),
        None,
    )


def steps_of(path: str) -> tuple[str, ...]:
    """Return the members that a column's path walks through; "[]" goes into the only entry of a
    list.

    Raises Unusable (BATCH_UNKNOWN_FIELD) for a path that names nothing.
    """
    if path.startswith(_ATTRIBUTES):
        steps: tuple[str, ...] = ("data", "custom_attributes", path.removeprefix(_ATTRIBUTES))
    else:
        steps = tuple(path.split("."))
    if "" in steps or (steps[0] != "data" and steps != ("event_type",)) or steps == ("data",):
        raise Unusable("BATCH_UNKNOWN_FIELD", f"events.{path}: no part of an event")
    for listed in LISTS:
        root = tuple(listed.split("."))
        if steps[: len(root)] == root and len(steps) > len(root):
            steps = (*root, "[]", *steps[len(root) :])
    return steps


@dataclass(frozen=True, slots=True)
class Occurred:
    """One event of a person, as what is computed of events sees it.

    at_ms: its time; arrival, place: its row, and where in the row's batch; document: the whole of
    it.
    """

    type: str
    name: str | None
    at_ms: int
    arrival: int
    place: int
    session: str | None
    document: dict[str, Value]


def last_opt_out(events: Iterable[Occurred]) -> Occurred | None:
    """Return the opt_out event that is in force: the last, by its time, then by arrival (domain.md
    14).
    """
    said = [one for one in events if one.type == "opt_out"]
    return max(said, key=lambda one: (one.at_ms, one.arrival, one.place), default=None)


def opted_out(events: Iterable[Occurred]) -> bool:
    """Say whether the opt_out event in force opts out."""
    last = last_opt_out(events)
    data = last.document.get("data") if last else None
    return isinstance(data, dict) and data.get("is_opted_out") in (True, "true")


def names_warning(count: int, where: str) -> str:
    """Return what is said of the distinct event names of a workspace, or of what leaves for it; ""
    where there are not too many.
    """
    if count <= MOST_NAMES:
        return ""
    return f"{count:,} distinct event names in {where}: the platform takes {MOST_NAMES:,} by default, and leaves out events of others"
