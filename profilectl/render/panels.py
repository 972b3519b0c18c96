"""The activity view in panels, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from profilectl.render import sections
from profilectl.render.sections import AttributeRow, View
from profilectl.render.words import (
    age,
    kind_of,
    moment,
    name_of,
    outcome,
    short_change,
    shown,
)
from profilectl.rules.text.terminal import visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

    from profilectl.profiles.activity import Activity, HeldIdentity, Origin

    Cell = str | Text

LONGEST_CELL = 400
"""The most characters of a value that are drawn; --raw draws all."""
TWO_COLUMNS = 110
"""The width from which small panels stand beside one another."""
STYLES = {
    "event": "",
    "set": "green",
    "changed": "cyan",
    "deleted": "magenta",
    "blocked": "red",
    "unchanged": "dim",
}
"""The style of each kind of change, readable on light and on dark: no yellow, no white, no blue."""
FURTHER = 2
"""By how much a text of the timeline that goes on is indented further."""
AUDIENCE_HEADINGS = ("audience", "since", "until, if nothing arrives")


def panels(activity: Activity, view: View, width: int) -> Iterator[RenderableType]:
    """Yield the name and the panels of the view. width: the columns of the terminal."""
    from rich.text import Text

    name = visible(name_of(activity))
    yield Text.assemble((name, "bold"), ("  MPID ", "dim"), str(activity.mpid))
    yield from _head(activity, view, width)
    for section, panel in (
        ("devices", _devices_panel),
        ("attributes", _attributes_panel),
        ("identities", _identities_panel),
        ("consent", _consent_panel),
        ("attribution", _attribution_panel),
        ("audiences", _audiences_panel),
        ("timeline", _timeline_panel),
    ):
        if view.has(section):
            yield from panel(activity, view, width)


def _head(activity: Activity, view: View, width: int) -> Iterator[RenderableType]:
    """Yield the two small panels, beside one another if there is room."""
    from rich.table import Table

    small = []
    if view.has("details"):
        small.append(_panel("User details", _pairs(sections.details(activity, view), view)))
    if view.has("usage"):
        small.append(_panel("Workspace usage", _pairs(sections.usage(activity, view), view)))
    if len(small) < 2 or width < TWO_COLUMNS:
        yield from small
        return
    grid = Table.grid(expand=True, padding=(0, 0))
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(*small)
    yield grid


def _devices_panel(activity: Activity, view: View, _: int) -> Iterator[RenderableType]:
    devices = sections.devices(activity)
    if devices:
        yield _panel("Devices", _table(("last seen", "device"), devices, view))


def _attributes_panel(activity: Activity, view: View, width: int) -> Iterator[RenderableType]:
    calculated = [value for value in activity.calculated().values() if value is not None]
    count = len(activity.stored()) + len(calculated)
    if count or view.history:
        yield _panel(f"User attributes ({count:,})", _attributes(activity, view, width))


def _identities_panel(activity: Activity, view: View, width: int) -> Iterator[RenderableType]:
    from rich.text import Text

    identities = [*activity.identities, *activity.lost]
    if identities:
        title = f"Identities ({len(activity.identities):,})"
        yield _panel(title, _identities(identities, view, width))
    else:
        yield _panel("Identities", Text("none: this profile is orphaned", style="dim"))


def _consent_panel(activity: Activity, view: View, _: int) -> Iterator[RenderableType]:
    consents = sections.consents(activity)
    if consents:
        headings = ("regulation", "purpose", "consented", "from")
        yield _panel("Consent", _table(headings, consents, view))


def _attribution_panel(activity: Activity, view: View, _: int) -> Iterator[RenderableType]:
    attribution = [(name, str(value)) for name, value in activity.attribution().items()]
    if attribution:
        yield _panel("Attribution", _pairs(iter(attribution), view))


def _audiences_panel(activity: Activity, view: View, _: int) -> Iterator[RenderableType]:
    audiences = sections.audiences(activity)
    if audiences:
        title = f"Audience membership ({len(audiences):,})"
        yield _panel(title, _table(AUDIENCE_HEADINGS, audiences, view))


def _timeline_panel(activity: Activity, view: View, _: int) -> Iterator[RenderableType]:
    from rich.console import Group

    count = len(activity.batches())
    title = f"Timeline ({count:,} batches)" if count > 1 else "Timeline"
    yield _panel(title, Group(*_timeline(activity, view)))


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
        lines = "\n".join(visible(line) for line in text.split("\n"))
        return Text(lines, style=style, overflow="fold")
    beginning = Text(visible(text[:LONGEST_CELL]), style=style, overflow="fold")
    count = len(text) - LONGEST_CELL
    return beginning.append(f" ... {count:,} more characters (--raw)", style="dim")


def _value(held: str, view: View) -> Text:
    """Return a held value to draw. Its style tells a number from a text that looks the same."""
    style = {"text": "", "tag": "dim"}.get(kind_of(held), "cyan")
    return _cell(visible(shown(held)), view, style)


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
    rows: Sequence[Sequence[Cell]],
    view: View,
    *,
    widest: Mapping[str, int] | None = None,
) -> RenderableType:
    """Return a table without lines.

    widest: the widths at which columns fold; the column "value" gets the remaining width.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=widest is not None)
    for heading in headings:
        most = (widest or {}).get(heading)
        fills = widest is not None and heading == "value"
        table.add_column(
            Text(heading, style="dim"),
            overflow="fold",
            ratio=1 if fills else None,
            max_width=most,
            no_wrap=widest is not None and not fills and most is None,
        )
    for row in rows:
        table.add_row(*(_cell(cell, view) if isinstance(cell, str) else cell for cell in row))
    return table


def _attributes(activity: Activity, view: View, width: int) -> RenderableType:
    wide = width >= TWO_COLUMNS
    headings = ["attribute", "value", "type", "source", "feed", "set", "import"]
    rows: list[Sequence[Cell]] = []
    for attribute in sections.attributes(activity, view):
        row = _attribute_row(attribute, view, wide=wide)
        if row:
            rows.append(row)
        history = activity.history.get(attribute.key, ()) if view.history else ()
        # A history of one entry is the value itself, which the row above has already.
        if len(history) > 1 or not attribute.entry:
            rows += [
                (
                    _cell("", view),
                    _cell(visible(short_change(past)), view, STYLES[past.kind]),
                    past.kind,
                    *_origin_cells(past.origin, view, wide=wide),
                )
                for past in reversed(history)
            ]
    return _table(
        headings if wide else headings[:-1],
        rows,
        view,
        widest={"attribute": width // 4, "feed": width // 7, "import": width // 4},
    )


def _attribute_row(attribute: AttributeRow, view: View, *, wide: bool) -> Sequence[Cell] | None:
    """Return one attribute to draw; None: a calculated attribute that has no value."""
    from rich.text import Text

    name = Text(visible(attribute.key), style="bold", overflow="fold")
    if attribute.is_calculated:
        value = attribute.calculated
        if value is None:
            return None
        return (name, _value(value, view), kind_of(value), "calculated", "", "", *([""] * wide))
    if attribute.entry:
        entry = attribute.entry
        cells = _origin_cells(entry.origin, view, wide=wide)
        return (name, _value(entry.held, view), kind_of(entry.held), *cells)
    name.style = "dim"
    return (name, Text("(none)", style="dim"), "")


def _origin_cells(origin: Origin, view: View, *, wide: bool) -> list[str]:
    cells = [
        origin.feed.source,
        visible(origin.feed.name),
        age(origin.at_ms, view.now_ms, short=not wide),
    ]
    return [*cells, _source_row(origin)] if wide else cells


def _source_row(origin: Origin) -> str:
    return f"{origin.import_number}  {visible(Path(origin.file).name)}:{origin.place}"


def _identities(identities: Sequence[HeldIdentity], view: View, width: int) -> RenderableType:
    from rich.text import Text

    wide = width >= TWO_COLUMNS
    rows = [
        (
            identity.type,
            Text(
                visible(identity.value),
                style="" if identity.lost is None else "dim strike",
                overflow="fold",
            ),
            age(identity.origin.at_ms, view.now_ms, short=not wide),
            visible(identity.origin.feed.name),
            _source_row(identity.origin) if wide else str(identity.origin.import_number),
        )
        for identity in identities
    ]
    return _table(("type", "value", "since", "feed", "import"), rows, view)


class _Hanging:
    """A text that goes on further to the right, so that no line of it looks like the next text."""

    def __init__(self, text: Text, *, indent: int) -> None:
        self.text = text
        self.indent = indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        room = max(options.max_width - self.indent, FURTHER + 1)
        opening = self.text.wrap(console, room)[0]
        yield Text(" " * self.indent) + opening
        further = self.text[len(opening.plain.rstrip()) :]
        further = further[len(further.plain) - len(further.plain.lstrip()) :]
        if further.plain:
            for line in further.wrap(console, room - FURTHER):
                yield Text(" " * (self.indent + FURTHER)) + line


def _timeline(activity: Activity, view: View) -> Iterator[RenderableType]:
    from rich.text import Text

    touches, earlier = sections.timeline(activity, view)
    for touch in touches:
        origin = touch.origin
        parts = [
            (moment(origin.at_ms), ""),
            ("  ", ""),
            (visible(origin.feed.name), "bold"),
            (f" {visible(origin.feed.owner.unit)}", "dim"),
            (f"  import {origin.import_number}, {visible(origin.where)}", "dim"),
        ]
        yield _Hanging(Text.assemble(*parts, overflow="fold"), indent=0)
        for kind, line in outcome(touch):
            yield _Hanging(_cell(visible(line), view, STYLES[kind]), indent=2)
    if earlier:
        yield Text(f"... and {earlier:,} earlier (--batches 0 shows all)", style="dim")
