"""The words of every screen: values, times and rows of a profile, as a person reads them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from profilectl.codes import sentence
from profilectl.render.screen import counted
from profilectl.rules.batch_fields import RESERVED_KEYS
from profilectl.rules.feed import BECAME
from profilectl.rules.text.values import (
    DELETED,
    TAG,
    Number,
    Value,
    held_text,
    is_list,
    to_json,
)

if TYPE_CHECKING:
    from profilectl.profiles.activity import (
        Activity,
        AttributeChange,
        Carried,
        Origin,
        SeenEvent,
        Touch,
    )

UNITS = (
    (31_557_600, "year", "y"),
    (2_629_800, "month", "mo"),
    (86_400, "day", "d"),
    (3600, "hour", "h"),
    (60, "minute", "min"),
)
"""The units of an age: seconds, the word, the short form; the largest first."""
NAME_KEYS = ("$FirstName", "$LastName")
"""The attributes that are a person's name."""
SHOWN_ELSEWHERE = ("schema_version", "mp_deviceid")
"""The fields of a batch that are not listed: the device stamp is among the identities already."""


class AttributeOrder(NamedTuple):
    """The sort key of an attribute."""

    place: int
    """Its place among the reserved keys; all other keys have the place after the last one."""
    folded: str
    """The key in lower case."""
    key: str
    """The key."""


def kind_of(held: str) -> str:
    """Return the kind of a held value: text, number, boolean, list or tag."""
    if held == TAG:
        return "tag"
    if is_list(held):
        return "list"
    # \x1f begins every held value but a text; \x1f' begins a text that itself begins with \x1f.
    if held.startswith("\x1f") and not held.startswith("\x1f'"):
        return "boolean" if held[1:] in ("true", "false") else "number"
    return "text"


def shown(held: str) -> str:
    """Return a held value as a person reads it."""
    return "(tag)" if held == TAG else held_text(held)


def shown_value(value: Value) -> str:
    """Return a value as a person reads it: a text unchanged, everything else as JSON."""
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    return "(tag)" if value is None else to_json(value)


def moment(ms: int) -> str:
    """Return a time, UTC, to the second. ms: milliseconds since 1970."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"


def date(ms: str | int) -> str:
    """Return a time with its zone. ms: milliseconds since 1970."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(int(ms) / 1000))
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"


def age(ms: int, now_ms: int, *, short: bool = False) -> str:
    """Return how long ago a time was, in one unit. Both times are milliseconds since 1970."""
    seconds = (now_ms - ms) // 1000
    if seconds < 0:
        return "future" if short else "in the future"
    for size, unit, letters in UNITS:
        if seconds >= size:
            count = seconds // size
            return f"{count} {letters}" if short else f"{counted(count, unit)} ago"
    return "now" if short else "just now"


def reserved_first(key: str) -> AttributeOrder:
    """Return the sort key of an attribute: reserved keys in the platform's order come first."""
    place = RESERVED_KEYS.index(key) if key in RESERVED_KEYS else len(RESERVED_KEYS)
    return AttributeOrder(place, key.lower(), key)


def name_of(activity: Activity) -> str:
    """Return the name of a user: the first and last name, else an identity, else the MPID."""
    attributes = activity.attributes
    parts = [shown(attributes[key].held) for key in NAME_KEYS if key in attributes]
    for kind in ("customer_id", "email"):
        parts = parts or activity.values(kind)[-1:]
    return " ".join(parts) or str(activity.mpid)


def origin_line(origin: Origin) -> str:
    """Return the origin of a row: its feed, import, file and line."""
    feed = f"{origin.feed.name} ({origin.feed.owner.unit})"
    return f"{feed}, import {origin.import_number}, {origin.where}"


def processed(code: str) -> str:
    """Return why a row was left out, and what happened to it if it was processed all the same."""
    return ": ".join([sentence(code), *([BECAME[code]] if code in BECAME else [])])


# The effects of a batch


def outcome(touch: Touch) -> Iterator[tuple[str, str]]:
    """Yield the effects of a batch, as (kind, line)."""
    if touch.alias:
        yield "changed", _alias_line(touch.alias)
    if touch.founded:
        yield "set", "founded the profile"
    for identity in touch.added:
        yield "set", f"+ {identity.type} {identity.value}"
    for identity in touch.removed:
        yield "deleted", f"- {identity.type} {identity.value}{taker_of(touch)}"
    for event in touch.events:
        yield "event", event_line(event)
    for entry in touch.entries:
        if entry.kind != "unchanged":
            yield entry.kind, change_line(entry)
    unchanged = [entry.key for entry in touch.entries if entry.kind == "unchanged"]
    if unchanged:
        yield "unchanged", f"unchanged: {', '.join(unchanged)}"
    fields = [name for name in touch.rest if name not in SHOWN_ELSEWHERE]
    if fields:
        yield "unchanged", f"with {', '.join(fields)}"


def taker_of(touch: Touch) -> str:
    """Return the profile that took an identity away by this row; "" if no other did."""
    return "" if touch.taker is None else f": the row made it one of MPID {touch.taker}"


def _alias_line(alias: Carried) -> str:
    when = "" if alias.in_force else f" from {moment(alias.due_ms)} on"
    past = f"alias: MPID {alias.destination} has the past of MPID {alias.source}{when}"
    return f"{past}: first seen {moment(alias.first_seen_ms)}"


def change_line(entry: AttributeChange) -> str:
    """Return the effect of a row on an attribute."""
    before = shown(entry.before) if entry.before is not None else ""
    value = "(deletion)" if entry.held == DELETED else shown(entry.held)
    match entry.kind:
        case "set":
            return f"{entry.key} = {value}"
        case "changed":
            return f"{entry.key}: {before} -> {value}"
        case "deleted":
            return f"{entry.key}: {before} -> (deleted)"
        case "blocked":
            stays = f"; stays {before}" if entry.before is not None else ""
            return f"{entry.key}: {value} refused, {sentence(entry.code)}{stays}"
    return f"{entry.key}: unchanged {value}"


def short_change(entry: AttributeChange) -> str:
    """Return the effect of a row, to stand beside the attribute and the kind of change."""
    value = "(deletion)" if entry.held == DELETED else shown(entry.held)
    if entry.kind == "blocked":
        return f"{value}: {sentence(entry.code)}"
    return "(deleted)" if entry.kind == "deleted" else shown(entry.held)


# Events


def event_line(event: SeenEvent) -> str:
    """Return an event in one line: its time, its name and its content."""
    content = event_content(event.document)
    name = event.type if event.name is None else f"{event.name} ({event.type})"
    return f"{moment(event.at_ms)}  {name}" + (f": {content}" if content else "")


def event_content(document: Value) -> str:
    """Return the content of an event.

    That is the answer of an opt-out, the attributes, and a purchase's products, number and total.
    """
    data = _object(_object(document).get("data"))
    answer = {key: data[key] for key in ("is_opted_out",) if key in data}
    attributes = _object(data.get("custom_attributes"))
    items = (*answer.items(), *attributes.items())
    lines = [f"{key} = {_plain(value)}" for key, value in items]
    action = _object(data.get("product_action"))
    products = action.get("products")
    if isinstance(products, list):
        lines += [_product(product) for product in products if isinstance(product, dict)]
    lines += [
        f"{name} {_plain(action[key])}"
        for key, name in (("transaction_id", "transaction"), ("total_amount", "total"))
        if action.get(key) is not None
    ]
    return ", ".join(lines)


def _object(value: Value) -> Mapping[str, Value]:
    """Return a value that is an object, and an empty object for any other value."""
    return value if isinstance(value, dict) else {}


def _product(product: Mapping[str, Value]) -> str:
    count, price = product.get("quantity"), product.get("price")
    name = _plain(product.get("name") or product.get("id") or "product")
    times = f"{_plain(count)} x " if count is not None else ""
    return f"{times}{name}" + (f" at {_plain(price)}" if price is not None else "")


def _plain(value: Value) -> str:
    return value if isinstance(value, str) else to_json(value)
