"""One person on a screen: the user activity view, in panels on a terminal, in plain lines in a
pipe.

The panels and their order are the platform's (domain.md 10); one without data is left out.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilectl.codes import sentence
from profilectl.files.whole_file import whole_file
from profilectl.profiles.activity import (
    Activity,
    AttributeChange,
    Carried,
    HeldIdentity,
    Origin,
    SeenEvent,
    Touch,
)
from profilectl.render.imports import processed
from profilectl.render.screen import console, counted, print_line
from profilectl.rules.batch import RESERVED_KEYS
from profilectl.rules.feed import DEFAULT_WORKSPACE
from profilectl.rules.text.terminal import visible
from profilectl.rules.text.values import DELETED, TAG, Value, held_text, is_list, to_json

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from profilectl.reading.stream import Arrived, Unowned

LONGEST_CELL = 400
"""So many characters of a value are drawn on a terminal; --raw draws all."""
TWO_COLUMNS = 110
"""From this width on the small panels stand beside one another."""


@dataclass(frozen=True, slots=True)
class View:
    """What is to be drawn.

    sections: of SECTIONS, all where empty; batches: so many of the timeline (0: all).
    """

    now_ms: int
    sections: Sequence[str] = ()
    history: bool = False
    raw: bool = False
    batches: int = 10

    def has(self, section: str) -> bool:
        return not self.sections or section in self.sections


def kind_of(held: str) -> str:
    """Return what a held value is: text, number, boolean, list or tag."""
    if held == TAG:
        return "tag"
    if is_list(held):
        return "list"
    if held.startswith("\x1f") and not held.startswith("\x1f'"):
        return "boolean" if held[1:] in ("true", "false") else "number"
    return "text"


def shown(held: str) -> str:
    """Return a held value as a person reads it."""
    return "(tag)" if held == TAG else held_text(held)


def moment(ms: int) -> str:
    """Return a time, UTC, to the second."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"


UNITS = (
    (31_557_600, "year", "y"),
    (2_629_800, "month", "mo"),
    (86_400, "day", "d"),
    (3600, "hour", "h"),
    (60, "minute", "min"),
)


def age(ms: int, now_ms: int, *, short: bool = False) -> str:
    """Return how long ago a time is, in one unit."""
    seconds = (now_ms - ms) // 1000
    if seconds < 0:
        return "future" if short else "in the future"
    for size, unit, letters in UNITS:
        if seconds >= size:
            return (
                f"{seconds // size} {letters}" if short else f"{counted(seconds // size, unit)} ago"
            )
    return "now" if short else "just now"


def reserved_first(key: str) -> tuple[int, str, str]:
    """Return the order of an attribute: reserved keys in the documented order, then alphabetically."""
    place = RESERVED_KEYS.index(key) if key in RESERVED_KEYS else len(RESERVED_KEYS)
    return place, key.lower(), key


def name_of(activity: Activity) -> str:
    """Return what a person calls the user: the name, else an identity, else the MPID."""
    parts = [
        shown(activity.attributes[key].held)
        for key in ("$FirstName", "$LastName")
        if key in activity.attributes
    ]
    for kind in ("customer_id", "email"):
        parts = parts or activity.values(kind)[-1:]
    return " ".join(parts) or str(activity.mpid)


# What the panels say


def details(activity: Activity, view: View) -> Iterator[tuple[str, str]]:
    yield "MPID", str(activity.mpid)
    for label, kind in (("customer id", "customer_id"), ("e-mail", "email")):
        if values := activity.values(kind):
            yield label, ", ".join(values)
    for name, (value, _) in activity.partner_identities().items():
        yield "partner id", f"{name} {value}"
    yield "environment", activity.environment
    yield (
        "first seen",
        f"{moment(activity.first_seen_ms)}  {age(activity.first_seen_ms, view.now_ms)}",
    )
    yield "last seen", f"{moment(activity.last_seen_ms)}  {age(activity.last_seen_ms, view.now_ms)}"
    if activity.opted_out():
        yield "opted out", "yes"
    if (limited := activity.limit_ad_tracking()) is not None:
        yield "ad tracking", "limited" if limited else "allowed"
    for at_ms in activity.aged_ms:
        yield "retention", f"what is not kept beyond its lifetime was removed {moment(at_ms)}"


def usage(activity: Activity, view: View) -> Iterator[tuple[str, str]]:
    yield "workspace", activity.workspace or DEFAULT_WORKSPACE
    if activity.elsewhere:
        seen = [one.origin.at_ms for one in activity.batches()]
        yield (
            "seen here",
            f"first {moment(min(seen))}, last {moment(max(seen))}" if seen else "never",
        )
    yield "batches", f"{len(activity.batches()):,}"
    for name, (feed, count, last_ms) in activity.feeds().items():
        yield (
            "feed",
            f"{name} ({feed.owner.unit}): {counted(count, 'batch')}, last {age(last_ms, view.now_ms)}",
        )
    if device := activity.latest_device():
        yield "latest device", f"{device[0]} {device[1]}"


def devices(activity: Activity, view: View) -> list[tuple[str, str]]:
    rows = []
    for device in activity.devices():
        said = [
            str(device.info[name])
            for name in ("platform", "brand", "model", "device_model", "os_version")
            if name in device.info
        ]
        tracking = device.info.get("limit_ad_tracking")
        if tracking is not None:
            said.append("ad tracking limited" if tracking is True else "ad tracking allowed")
        if "att_authorization_status" in device.info:
            said.append(f"tracking {device.info['att_authorization_status']}")
        names = [f"{kind} {value}" for kind, value in device.identities.items()]
        if device.attribution:
            names.append(
                "installed through "
                + ", ".join(str(value) for value in device.attribution.values())
            )
        rows.append(
            (moment(device.last_seen_ms), "\n".join(([", ".join(said)] if said else []) + names))
        )
    return rows


def consents(activity: Activity) -> list[tuple[str, str, str, str]]:
    return [
        (regulation, purpose, _consented(said), f"{origin.feed.name}, {origin.where}")
        for (regulation, purpose), (said, origin) in sorted(activity.consent().items())
    ]


def _consented(said: dict[str, Any]) -> str:
    word = (
        "yes"
        if said.get("consented") is True
        else "no"
        if said.get("consented") is False
        else to_json(said.get("consented"))
    )
    try:
        return f"{word}, {moment(int(said['timestamp_unixtime_ms']))}"
    except (KeyError, TypeError, ValueError):
        return word


def audiences(activity: Activity) -> list[tuple[str, str, str]]:
    memberships = activity.standing.memberships if activity.standing else []
    return [
        (one.name, moment(one.since_ms), "" if one.expires_ms is None else moment(one.expires_ms))
        for one in memberships
    ]


def outcome(touch: Touch) -> Iterator[tuple[str, str]]:
    """Yield what a batch did, as (kind, line)."""
    if touch.alias:
        yield "changed", _carried(touch.alias)
    if touch.founded:
        yield "set", "founded the profile"
    for one in touch.added:
        yield "set", f"+ {one.type} {one.value}"
    for one in touch.removed:
        yield "deleted", f"- {one.type} {one.value}{taken(touch)}"
    for event in touch.events:
        yield "event", event_line(event)
    unchanged = [entry.key for entry in touch.entries if entry.kind == "unchanged"]
    for entry in touch.entries:
        if entry.kind != "unchanged":
            yield entry.kind, told(entry)
    if unchanged:
        yield "unchanged", f"unchanged: {', '.join(unchanged)}"
    # the stamp is among the identities
    more = [name for name in touch.rest if name not in ("schema_version", "mp_deviceid")]
    if more:
        yield "unchanged", f"with {', '.join(more)}"


def taken(touch: Touch) -> str:
    """Say who got what a batch took away, where it was a batch of somebody else."""
    return "" if touch.taker is None else f": the row made it one of MPID {touch.taker}"


def event_line(event: SeenEvent) -> str:
    """Say what happened: the event, its time, what it says, and the products of a commerce event."""
    said = said_of(event.document)
    name = event.type if event.name is None else f"{event.name} ({event.type})"
    return f"{moment(event.at_ms)}  {name}" + (f": {said}" if said else "")


def said_of(document: Value) -> str:
    """Return what an event says: the answer of an opt-out, its attributes, and the products, number
    and total of a commerce event.
    """
    data = document.get("data") if isinstance(document, dict) else None
    data = data if isinstance(data, dict) else {}
    said = [f"{key} = {_plain(data[key])}" for key in ("is_opted_out",) if key in data]
    attributes = data.get("custom_attributes")
    said += (
        [f"{key} = {_plain(value)}" for key, value in attributes.items()]
        if isinstance(attributes, dict)
        else []
    )
    action = data.get("product_action")
    if isinstance(action, dict):
        products = action.get("products")
        said += (
            [_product(one) for one in products if isinstance(one, dict)]
            if isinstance(products, list)
            else []
        )
        said += [
            f"{name} {_plain(action[key])}"
            for key, name in (("transaction_id", "transaction"), ("total_amount", "total"))
            if action.get(key) is not None
        ]
    return ", ".join(said)


def batch_lines(batch: Arrived | Unowned) -> Iterator[str]:
    """Yield a batch in plain lines: when and where it came from, whose it is or why nobody's, what
    it did.
    """
    from profilectl.reading.stream import Unowned

    if isinstance(batch, Unowned):
        yield f"{moment(batch.origin.at_ms)}  {origin_line(batch.origin)}  {batch.environment}"
        yield f"  no MPID: {processed(batch.code)}"
        if batch.types:
            yield f"    {', '.join(f'{count:,} {kind}' for kind, count in batch.types.items())}"
        return
    activity, touch = batch.activity, batch.touch
    yield f"{moment(touch.origin.at_ms)}  {origin_line(touch.origin)}  {activity.environment}"
    yield f"  {name_of(activity)}: profilectl show --mpid={activity.mpid}"
    for _, line in outcome(touch):
        yield f"    {line}"


def _product(product: dict[str, Value]) -> str:
    count = product.get("quantity")
    name = product.get("name") or product.get("id") or "product"
    price = product.get("price")
    return (
        (f"{_plain(count)} x " if count is not None else "")
        + _plain(name)
        + (f" at {_plain(price)}" if price is not None else "")
    )


def _plain(value: Value) -> str:
    return value if isinstance(value, str) else to_json(value)


def _carried(one: Carried) -> str:
    """Say what an alias carries over, or will."""
    when = "" if one.in_force else f" from {moment(one.due_ms)} on"
    return f"alias: MPID {one.destination} has the past of MPID {one.source}{when}: first seen {moment(one.first_seen_ms)}"


def told(entry: AttributeChange) -> str:
    """Say what a row did to an attribute."""
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
            return f"{entry.key}: {value} refused, {sentence(entry.code)}" + (
                f"; stays {before}" if entry.before is not None else ""
            )
    return f"{entry.key}: unchanged {value}"


def short_told(entry: AttributeChange) -> str:
    """Say what a row did to an attribute, where the attribute and the kind stand beside it."""
    if entry.kind == "blocked":
        return f"{'(deletion)' if entry.held == DELETED else shown(entry.held)}: {sentence(entry.code)}"
    return "(deleted)" if entry.kind == "deleted" else shown(entry.held)


def origin_line(origin: Origin) -> str:
    return f"{origin.feed.name} ({origin.feed.owner.unit}), import {origin.import_number}, {origin.where}"


# In a pipe


def plain(activity: Activity, view: View) -> Iterator[str]:
    """Yield the view as plain lines, nothing cut."""
    yield f"{name_of(activity)}  MPID {activity.mpid}"
    sections: list[tuple[str, str, Callable[[], Iterator[str]]]] = [
        (
            "details",
            "User details",
            lambda: (f"{label}: {value}" for label, value in details(activity, view)),
        ),
        (
            "usage",
            "Workspace usage",
            lambda: (f"{label}: {value}" for label, value in usage(activity, view)),
        ),
        (
            "devices",
            "Devices",
            lambda: (
                f"{seen}  {said.replace(chr(10), ', ')}" for seen, said in devices(activity, view)
            ),
        ),
        ("attributes", "User attributes", lambda: _plain_attributes(activity, view)),
        ("identities", "Identities", lambda: _plain_identities(activity)),
        ("consent", "Consent", lambda: ("  ".join(row) for row in consents(activity))),
        (
            "attribution",
            "Attribution",
            lambda: (f"{name}: {value}" for name, value in activity.attribution().items()),
        ),
        (
            "audiences",
            "Audience membership",
            lambda: (
                f"{name}: since {since}" + (f", until {until} if nothing arrives" if until else "")
                for name, since, until in audiences(activity)
            ),
        ),
        ("timeline", "Timeline", lambda: _plain_timeline(activity, view)),
    ]
    for name, title, lines in sections:
        found = list(lines()) if view.has(name) else []
        if found:
            yield ""
            yield title
            yield from (f"  {line}" for line in found)


def _plain_attributes(activity: Activity, view: View) -> Iterator[str]:
    calculated = activity.calculated()
    for key in sorted(
        {*activity.attributes, *calculated, *(activity.history if view.history else ())},
        key=reserved_first,
    ):
        entry = activity.attributes.get(key)
        if key in calculated:
            held = calculated[key]
            if held is not None or view.history:
                yield (
                    f"{key}: (nothing)  [calculated]"
                    if held is None
                    else f"{key}: {shown(held)}  [{kind_of(held)}, calculated]"
                )
        elif entry:
            yield f"{key}: {shown(entry.held)}  [{kind_of(entry.held)}, {origin_line(entry.origin)}, {moment(entry.origin.at_ms)}]"
        else:
            yield f"{key}: (none)"
        if view.history:
            for past in reversed(activity.history.get(key, ())):
                yield f"  {moment(past.origin.at_ms)}  {told(past)}  [{origin_line(past.origin)}]"


def _plain_identities(activity: Activity) -> Iterator[str]:
    for one in (*activity.identities, *activity.lost):
        origin = activity.taken_by(one) if one.lost is not None else None
        lost = (
            ""
            if one.lost is None
            else f", lost by {origin_line(origin)}"
            if origin
            else ", lost since"
        )
        yield f"{one.type}: {one.value}  [{origin_line(one.origin)}, {moment(one.origin.at_ms)}{lost}]"


def _plain_timeline(activity: Activity, view: View) -> Iterator[str]:
    touches = activity.timeline()[::-1]
    listed = touches[: view.batches] if view.batches else touches
    for touch in listed:
        yield f"{moment(touch.origin.at_ms)}  {origin_line(touch.origin)}"
        for _, line in outcome(touch):
            yield f"  {line}"
    if len(touches) > len(listed):
        yield f"... and {len(touches) - len(listed):,} earlier (--batches 0 shows all)"


# On a terminal

STYLES = {
    "event": "blue",
    "set": "green",
    "changed": "cyan",
    "deleted": "magenta",
    "blocked": "red",
    "unchanged": "dim",
}
"""Readable on light and on dark: no yellow, no white."""


def panels(activity: Activity, view: View, width: int) -> Iterator[RenderableType]:
    """Yield what is drawn on a terminal of so many columns."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    yield Text.assemble(
        (visible(name_of(activity)), "bold"), ("  MPID ", "dim"), str(activity.mpid)
    )
    small = []
    if view.has("details"):
        small.append(_panel("User details", _pairs(details(activity, view), view)))
    if view.has("usage"):
        small.append(_panel("Workspace usage", _pairs(usage(activity, view), view)))
    if len(small) == 2 and width >= TWO_COLUMNS:
        beside = Table.grid(expand=True, padding=(0, 0))
        beside.add_column(ratio=1)
        beside.add_column(ratio=1)
        beside.add_row(*small)
        yield beside
    else:
        yield from small
    found = devices(activity, view) if view.has("devices") else []
    if found:
        yield _panel("Devices", _table(("last seen", "device"), found, view))
    count = len(activity.stored()) + sum(
        held is not None for held in activity.calculated().values()
    )
    if view.has("attributes") and (count or view.history):
        yield _panel(f"User attributes ({count:,})", _attributes(activity, view, width))
    if view.has("identities"):
        held = [*activity.identities, *activity.lost]
        if held:
            yield _panel(
                f"Identities ({len(activity.identities):,})", _identities(held, view, width)
            )
        else:
            yield _panel("Identities", Text("none: this profile is orphaned", style="dim"))
    found_consent = consents(activity) if view.has("consent") else []
    if found_consent:
        yield _panel(
            "Consent", _table(("regulation", "purpose", "consented", "from"), found_consent, view)
        )
    attribution = activity.attribution() if view.has("attribution") else {}
    if attribution:
        yield _panel(
            "Attribution", _pairs(((name, str(value)) for name, value in attribution.items()), view)
        )
    found_audiences = audiences(activity) if view.has("audiences") else []
    if found_audiences:
        yield _panel(
            f"Audience membership ({len(found_audiences):,})",
            _table(("audience", "since", "until, if nothing arrives"), found_audiences, view),
        )
    if view.has("timeline"):
        yield _panel(
            f"Timeline ({len(activity.batches()):,} batches)"
            if len(activity.batches()) > 1
            else "Timeline",
            Group(*_timeline(activity, view)),
        )


def _panel(title: str, body: RenderableType) -> RenderableType:
    from rich import box
    from rich.panel import Panel
    from rich.text import Text

    return Panel(
        body,
        title=Text(title, style="bold"),
        title_align="left",
        box=box.ROUNDED,
        border_style="dim",
        padding=(0, 1),
    )


def _cell(text: str, view: View, style: str = "") -> Text:
    from rich.text import Text

    if view.raw or len(text) <= LONGEST_CELL:
        return Text(
            "\n".join(visible(line) for line in text.split("\n")), style=style, overflow="fold"
        )
    cut = Text(visible(text[:LONGEST_CELL]), style=style, overflow="fold")
    return cut.append(f" ... {len(text) - LONGEST_CELL:,} more characters (--raw)", style="dim")


def _value(held: str, view: View) -> Text:
    """Return a value to draw; what is not text is told apart from text that looks the same."""
    kind = kind_of(held)
    return _cell(visible(shown(held)), view, {"text": "", "tag": "dim"}.get(kind, "cyan"))


def _pairs(rows: Iterator[tuple[str, str]], view: View) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(Text(visible(label), style="dim"), _cell(visible(value), view))
    return grid


def _table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    view: View,
    *,
    widest: Mapping[str, int] | None = None,
) -> RenderableType:
    """Return a table without lines.

    widest: columns that fold at a width; "value" takes what is left.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=widest is not None)
    for heading in headings:
        most = (widest or {}).get(heading)
        fill = widest is not None and heading == "value"
        table.add_column(
            Text(heading, style="dim"),
            overflow="fold",
            ratio=1 if fill else None,
            max_width=most,
            no_wrap=widest is not None and not fill and most is None,
        )
    for row in rows:
        table.add_row(*(_cell(cell, view) if isinstance(cell, str) else cell for cell in row))
    return table


def _attributes(activity: Activity, view: View, width: int) -> RenderableType:
    from rich.text import Text

    wide = width >= TWO_COLUMNS
    headings = [
        "attribute",
        "value",
        "type",
        "source",
        "feed",
        "set",
        *(["import"] if wide else []),
    ]
    rows: list[list[str | Text]] = []

    def line(key: Text, value: Text, kind: str, origin: Origin | None) -> None:
        found: list[str | Text] = [key, value, kind]
        if origin:
            found += [
                origin.feed.source,
                visible(origin.feed.name),
                age(origin.at_ms, view.now_ms, short=not wide),
            ]
            found += [_source_row(origin)] if wide else []
        rows.append(found)

    calculated = activity.calculated()
    for key in sorted(
        {*activity.attributes, *calculated, *(activity.history if view.history else ())},
        key=reserved_first,
    ):
        entry = activity.attributes.get(key)
        if key in calculated:
            held = calculated[key]
            if held is not None:
                rows.append(
                    [
                        Text(visible(key), style="bold", overflow="fold"),
                        _value(held, view),
                        kind_of(held),
                        "calculated",
                        "",
                        "",
                        *([""] if wide else []),
                    ]
                )
        elif entry:
            line(
                Text(visible(key), style="bold", overflow="fold"),
                _value(entry.held, view),
                kind_of(entry.held),
                entry.origin,
            )
        else:
            line(
                Text(visible(key), style="dim", overflow="fold"),
                Text("(none)", style="dim"),
                "",
                None,
            )
        if (
            view.history
            and key in activity.history
            and (not entry or len(activity.history[key]) > 1)
        ):
            for past in reversed(activity.history[key]):
                line(
                    Text(""),
                    _cell(visible(short_told(past)), view, STYLES[past.kind]),
                    past.kind,
                    past.origin,
                )
    return _table(
        headings,
        rows,
        view,
        widest={"attribute": width // 4, "feed": width // 7, "import": width // 4},
    )


def _source_row(origin: Origin) -> str:
    return f"{origin.import_number}  {visible(Path(origin.file).name)}:{origin.place}"


def _identities(held: Sequence[HeldIdentity], view: View, width: int) -> RenderableType:
    from rich.text import Text

    rows: list[list[str | Text]] = []
    for one in held:
        style = "dim strike" if one.lost is not None else ""
        row: list[str | Text] = [
            one.type,
            Text(visible(one.value), style=style, overflow="fold"),
            age(one.origin.at_ms, view.now_ms, short=width < TWO_COLUMNS),
            visible(one.origin.feed.name),
        ]
        row.append(
            _source_row(one.origin) if width >= TWO_COLUMNS else str(one.origin.import_number)
        )
        rows.append(row)
    return _table(("type", "value", "since", "feed", "import"), rows, view)


def _timeline(activity: Activity, view: View) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    touches = activity.timeline()[::-1]
    listed = touches[: view.batches] if view.batches else touches
    for touch in listed:
        origin = touch.origin
        yield Text.assemble(
            (moment(origin.at_ms), ""),
            "  ",
            (visible(origin.feed.name), "bold"),
            (f" {visible(origin.feed.owner.unit)}", "dim"),
            (f"  import {origin.import_number}, {visible(origin.where)}", "dim"),
            overflow="fold",
        )
        for kind, line in outcome(touch):
            yield Padding(_cell(visible(line), view, STYLES[kind]), (0, 0, 0, 2))
    if len(touches) > len(listed):
        yield Text(
            f"... and {len(touches) - len(listed):,} earlier (--batches 0 shows all)", style="dim"
        )


def print_activity(activity: Activity, view: View) -> None:
    """Print the view: panels on a terminal, plain lines in a pipe."""
    out = console()
    if not out.is_terminal:
        for line in plain(activity, view):
            print_line(line)
        return
    for one in panels(activity, view, out.width):
        out.print(one)


def save(path: Path, form: str, activity: Activity, view: View) -> None:
    """Write the view as a picture or a page. form: svg or html."""
    from rich.console import Console

    width = int(os.environ.get("COLUMNS", "0") or 0) or 120
    recorded = Console(
        record=True,
        width=width,
        file=io.StringIO(),
        force_terminal=True,
        highlight=False,
        markup=False,
        emoji=False,
        color_system="truecolor",
    )
    for one in panels(activity, view, width):
        recorded.print(one)
    title = visible(f"profilectl show: {name_of(activity)}")
    text = (
        without_fonts(recorded.export_svg(title=title))
        if form == "svg"
        else recorded.export_html(inline_styles=True)
    )
    with whole_file(path, f"--save-{form}") as out:
        out.write(text.encode())


def without_fonts(picture: str) -> str:
    """Return an SVG that loads nothing: whoever opens it would tell a stranger's machine so. No
    value stands before the end of its style.
    """
    head, end, drawn = picture.partition("</style>")
    head = re.sub(r"\s*@font-face\s*\{[^}]*\}", "", head)
    return re.sub(r"\s*<!--.*?-->", "", head) + end + drawn


def print_candidates(found: Sequence[Activity], view: View) -> None:
    """Print several profiles to choose from."""
    for n, one in enumerate(found, start=1):
        print_line(f"{n:>2}  {name_of(one)}")
        print_line(
            f"    MPID {one.mpid}, {one.environment}, last seen {age(one.last_seen_ms, view.now_ms)}"
        )
        print_line("    " + ", ".join(f"{held.type} {held.value}" for held in one.identities))
