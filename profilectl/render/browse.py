"""Looking around in a store with the keyboard: search, the activity view, and why each value is
what it is.

The same read model as the commands. The store is opened for each look and closed again, so that
imports go on meanwhile. Needs Textual (the extra `browse`); nothing else imports this.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from profilectl.codes import ProfilectlError
from profilectl.files.ending import leaving
from profilectl.profiles.activity import Activity
from profilectl.reading.actions import explain_chains, names_in, read_activities, search_store
from profilectl.reading.explain import explain_attribute
from profilectl.reading.search import Hit, SearchRequest
from profilectl.render.activity import without_fonts
from profilectl.render.explain import attribute_lines, chain_lines
from profilectl.render.panels import panels
from profilectl.render.screen import now_ms
from profilectl.render.sections import View
from profilectl.render.words import name_of, reserved_first
from profilectl.rules.text.terminal import visible

MOST_HITS = 200
"""So many hits are listed."""
PAUSE_S = 0.3
"""So long after the last key a search begins by itself."""
WHERE = "where "
"""What a search by attributes begins with."""
IDENTITIES = "why one profile"
"""The first of the explanations: what joined the identities."""


class Why(ModalScreen[None]):
    """Why each attribute of a profile is what it is, and why it is one profile."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Back"),
        Binding("slash", "filter", "Filter"),
    ]

    def __init__(self, store: Path, activity: Activity) -> None:
        super().__init__()
        self.store, self.activity = store, activity
        self.keys = sorted(activity.history, key=reserved_first)
        self.listed = self.keys

    def compose(self) -> ComposeResult:
        with Vertical(id="why"):
            yield Static(
                Text(visible(f"{name_of(self.activity)}  MPID {self.activity.mpid}"), style="bold")
            )
            yield Input(placeholder="attributes with this in their name", id="filter", compact=True)
            with Horizontal():
                yield OptionList(id="keys", compact=True)
                with VerticalScroll():
                    yield Static(id="words", markup=False)
            yield Footer()

    def on_mount(self) -> None:
        self._list("")
        self.query_one("#keys").focus()

    def action_filter(self) -> None:
        self.query_one("#filter").focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._list(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one("#keys").focus()

    def _list(self, part: str) -> None:
        keys = self.query_one("#keys", OptionList)
        keys.clear_options()
        self.listed = [key for key in self.keys if part.lower() in key.lower()]
        keys.add_options(
            [
                Option(Text(IDENTITIES, style="italic")),
                *(Option(Text(visible(key))) for key in self.listed),
            ]
        )
        keys.highlighted = 1 if self.listed else 0

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if event.option_index == 0:
            self._tell_identities()
        elif event.option_index <= len(self.listed):  # a list that was typed away may still report
            self._tell(
                list(
                    attribute_lines(
                        explain_attribute(self.activity, self.listed[event.option_index - 1])
                    )
                )
            )

    @work(thread=True, exclusive=True)
    def _tell_identities(self) -> None:
        try:
            found = explain_chains(self.store, "mpid", str(self.activity.mpid))
            lines = [
                line
                for one, links in found
                if one.profile == self.activity.profile
                for line in chain_lines(links)
            ]
        except ProfilectlError as error:
            lines = [error.message, error.hint]
        self.app.call_from_thread(self._tell, lines)

    def _tell(self, lines: list[str]) -> None:
        self.query_one("#words", Static).update(Text("\n".join(visible(line) for line in lines)))


class Browse(App[None]):
    """The application: a search box, what it found, and the activity view of the one that is
    highlighted.
    """

    TITLE = "profilectl"
    CSS = """
    #search { margin: 0 1; }
    #said { height: 1; margin: 0 2; color: $text-muted; }
    #said.wrong { color: $text-error; }
    #found { width: 42; height: 1fr; border: none; margin-left: 1; }
    #view { width: 1fr; padding: 0 1; }
    .-narrow #both { layout: vertical; }
    .-narrow #found { width: 1fr; height: auto; max-height: 30%; }
    .-narrow #view { height: 1fr; padding: 0; }
    Why { align: center middle; }
    #why { width: 90%; height: 90%; border: round $primary; background: $surface; padding: 0 1; }
    #why #keys { width: 34; max-width: 40%; height: 1fr; border: none; }
    #why VerticalScroll { padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search"),
        Binding("e", "why", "Explain"),
        Binding("h", "turn('history')", "History"),
        Binding("t", "turn('batches')", "Whole timeline"),
        Binding("r", "turn('raw')", "Long values"),
        Binding("tab", "app.focus_next", "Next part", show=False),
        Binding("ctrl+q", "quit", "Quit", priority=True),
    ]
    ENABLE_COMMAND_PALETTE = False

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """Return a picture of the screen that loads nothing."""
        return without_fonts(super().export_screenshot(title=title, simplify=simplify))

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012

    def __init__(self, store: Path, text: str = "") -> None:
        super().__init__()
        self.store, self.text = store, text
        self.hits: list[Hit] = []
        self.activity: Activity | None = None
        self.on: set[str] = set()
        self.pause: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Input(
            self.text,
            placeholder=f"an identity, how it begins, or any part; or: {WHERE}tier = 'gold'",
            id="search",
        )
        yield Static(id="said", markup=False)
        with Horizontal(id="both"):
            yield OptionList(id="found")
            with VerticalScroll(id="view"):
                yield Static(id="activity", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#search").focus()
        if self.text:
            self._search(self.text)

    # Search

    def action_search(self) -> None:
        self.query_one("#search").focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.pause:
            self.pause.stop()
        # A condition is searched for when it is whole: at Enter.
        if not event.value.lower().startswith(WHERE):
            self.pause = self.set_timer(PAUSE_S, lambda: self._search(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if self.pause:
            self.pause.stop()
        self._search(event.value)
        self.query_one("#found").focus()

    @work(thread=True, exclusive=True, group="search")
    def _search(self, text: str) -> None:
        wanted = text.strip()
        if not wanted:
            self.call_from_thread(self._list, text, 0, [], "")
            return
        try:
            if wanted.lower().startswith(WHERE):
                count, hits = search_store(
                    self.store, SearchRequest(where=wanted[len(WHERE) :], limit=MOST_HITS)
                )
            else:
                count, hits = search_store(self.store, SearchRequest(wanted, limit=MOST_HITS))
                if not hits:
                    count, hits = search_store(
                        self.store, SearchRequest(wanted, "substring", limit=MOST_HITS)
                    )
        except ProfilectlError as error:
            self.call_from_thread(
                self._list, text, 0, [], f"{error.message}{'; ' + error.hint if error.hint else ''}"
            )
            return
        self.call_from_thread(self._list, text, count, hits, "")

    def _list(self, text: str, count: int, hits: list[Hit], wrong: str) -> None:
        """Show what a search found, unless the text in the box is another by now."""
        if text != self.query_one("#search", Input).value:
            return
        self.hits = hits
        found = self.query_one("#found", OptionList)
        found.clear_options()
        found.add_options([Option(_hit(one)) for one in hits])
        said = self.query_one("#said", Static)
        said.set_class(bool(wrong), "wrong")
        listed = f", the first {len(hits):,} are listed" if count > len(hits) else ""
        said.update(
            Text(
                visible(
                    wrong
                    or (
                        f"{count:,} found{listed}"
                        if hits
                        else "nobody was found"
                        if text.strip()
                        else ""
                    )
                )
            )
        )
        if hits:
            found.highlighted = 0
        else:
            self.activity = None
            self._draw()

    # The activity view

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._read(self.hits[event.option_index])

    def on_option_list_option_selected(self) -> None:
        self.action_why()

    @work(thread=True, exclusive=True, group="read")
    def _read(self, hit: Hit) -> None:
        try:
            people = read_activities(self.store, "mpid", str(hit.mpid))
        except ProfilectlError as error:
            self.call_from_thread(self._wrong, error.message)
            return
        self.call_from_thread(
            self._show, next((one for one in people if one.environment == hit.environment), None)
        )

    def _wrong(self, message: str) -> None:
        said = self.query_one("#said", Static)
        said.set_class(True, "wrong")
        said.update(Text(visible(message)))

    def _show(self, activity: Activity | None) -> None:
        self.activity = activity
        self._draw()
        self.query_one("#view").scroll_home(animate=False)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def action_turn(self, what: str) -> None:
        """Turn on or off: the history of each attribute, the whole timeline, long values."""
        self.on ^= {what}
        self._draw()

    def _draw(self) -> None:
        there = self.query("#activity")
        if not there:  # it is told to leave before it has begun
            return
        drawn = there.first(Static)
        if self.activity is None:
            drawn.update("")
            return
        view = View(
            now_ms(),
            history="history" in self.on,
            raw="raw" in self.on,
            batches=0 if "batches" in self.on else 10,
        )
        width = max(self.query_one("#view").scrollable_content_region.width, 40)
        drawn.update(Group(*panels(self.activity, view, width)))

    def action_why(self) -> None:
        if self.activity is not None:
            self.push_screen(Why(self.store, self.activity))


def _hit(hit: Hit) -> Text:
    """Return a hit as two lines: what was found, and whose it is."""
    values = ", ".join(f"{key} {value}" for key, value in hit.values.items())
    found = hit.value if hit.type else values or "all conditions"
    beside = f"{hit.type or 'profile'}  {hit.mpid}" + (
        "" if hit.environment == "production" else f"  {hit.environment}"
    )
    return Text.assemble(visible(found), "\n", (beside, "dim"), overflow="ellipsis", no_wrap=True)


def browse(store: Path, text: str = "") -> None:
    """Run the application until somebody leaves it. text: what is searched for first.

    Raises StoreUnusable, StoreBusy where the store cannot be opened.
    """
    names_in(store, "feeds")
    app = Browse(store, text)
    with leaving(app.exit):
        app.run()
    if app.return_code:
        sys.exit(app.return_code)
