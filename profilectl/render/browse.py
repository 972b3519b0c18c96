"""`profilectl browse`: search, the activity view and explanations, on one screen with the keyboard.

It reads as the commands do. The store is opened for each look and closed again, so that imports can
go on meanwhile. It needs Textual (the extra `browse`), so no other module imports this one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
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
from profilectl.reading.actions import explain_chains, names_in
from profilectl.reading.explain import explain_attribute
from profilectl.reading.people import read_activities, search_store
from profilectl.reading.search import Hit, SearchRequest
from profilectl.render.activity import without_fonts
from profilectl.render.explain import attribute_lines, chain_lines
from profilectl.render.panels import panels
from profilectl.render.screen import now_ms
from profilectl.render.sections import View
from profilectl.render.words import NAME_KEYS, name_of, reserved_first
from profilectl.rules.text.terminal import visible

MOST_PEOPLE = 200
"""The most people that are listed."""
MOST_HITS = 2_000
"""The most hits that are read, to be grouped by person."""
MOST_MATCHES = 3
"""The most values that the entry of one person shows."""
PAUSE_S = 0.3
"""The seconds after the last key when a search begins by itself."""
CONDITION = "where "
"""The beginning of a search by attributes."""
IDENTITIES = "why one profile"
"""The label of the first explanation: the rows that joined the identities."""


class Why(ModalScreen[None]):
    """The explanations of a profile: of each attribute, and of its identities."""

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
        """Yield the widgets of the screen."""
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
        """List all attributes."""
        self._list("")
        self.query_one("#keys").focus()

    def action_filter(self) -> None:
        """Go to the filter."""
        self.query_one("#filter").focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """List the attributes that match the filter."""
        event.stop()
        self._list(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go from the filter to the list."""
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
        """Show the explanation of the highlighted attribute, or of the identities."""
        event.stop()
        if event.option_index == 0:
            self._explain_identities()
        # A list may still report a line that the filter has removed.
        elif event.option_index <= len(self.listed):
            key = self.listed[event.option_index - 1]
            self._print(list(attribute_lines(explain_attribute(self.activity, key))))

    @work(thread=True, exclusive=True)
    def _explain_identities(self) -> None:
        try:
            chains = explain_chains(self.store, "mpid", str(self.activity.mpid))
            lines = [
                line
                for activity, links in chains
                if activity.profile == self.activity.profile
                for line in chain_lines(links)
            ]
        except ProfilectlError as error:
            lines = [error.message, error.hint]
        self.app.call_from_thread(self._print, lines)

    def _print(self, lines: list[str]) -> None:
        self.query_one("#words", Static).update(Text("\n".join(visible(line) for line in lines)))


@dataclass(frozen=True, slots=True)
class FoundPerson:
    """Somebody who was found, with all that matched."""

    mpid: int
    """The MPID of the profile."""
    environment: str
    """Its environment."""
    matches: list[tuple[str, str]] = field(default_factory=list)
    """What matched: an identity type or an attribute, and its value."""


def people_of(hits: Iterable[Hit]) -> list[FoundPerson]:
    """Return the people that hits are of, each once, in the order of their first hits."""
    people: dict[tuple[int, str], FoundPerson] = {}
    for hit in hits:
        # An MPID may stand for a profile in each environment.
        person = people.setdefault(
            (hit.mpid, hit.environment), FoundPerson(hit.mpid, hit.environment)
        )
        matches = [(hit.type, hit.value)] if hit.type else list(hit.values.items())
        person.matches.extend(match for match in matches if match not in person.matches)
    return list(people.values())


def name_condition(text: str, keys: Iterable[str]) -> str:
    """Return the condition that somebody is called so; "" for a text that is nobody's name.

    One word is the beginning of the first or the last name, several are both. keys: the attributes
    that there are.
    """
    names = [key for key in NAME_KEYS if key in set(keys)]
    # Nobody's name has an @ or a digit: most searches are for identities, and need no look at all
    # attributes.
    if not names or not any(map(str.isalpha, text)) or set(text) & set("@0123456789"):
        return ""
    words = text.split(maxsplit=1)
    if len(words) == 2 and len(names) == 2:
        return " and ".join(map(_begins, names, words))
    return " or ".join(_begins(name, text) for name in names)


def _begins(name: str, text: str) -> str:
    quoted = text.replace("'", "''")
    return f"\"{name}\" starts with '{quoted}'"


def _by_name(hit: Hit, text: str) -> Hit:
    """Return a hit of a name without the name that did not match."""
    words = [word.lower() for word in (text, *text.split(maxsplit=1))]
    values = {name: str(json.loads(value)) for name, value in hit.values.items()}
    matching = {
        name: value for name, value in values.items() if value.lower().startswith(tuple(words))
    }
    return replace(hit, values=matching or values)


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """The outcome of a search."""

    text: str
    """The text that was searched for."""
    people: list[FoundPerson] = field(default_factory=list)
    """Who was found; not all, where is_part says so."""
    is_part: bool = False
    """Whether more was found than is read."""
    error: str = ""
    """Why the search failed; "" if it did not."""

    def message(self) -> str:
        """Return the line under the search box."""
        if self.error:
            return self.error
        if not self.people:
            return "nobody was found" if self.text.strip() else ""
        listed = min(len(self.people), MOST_PEOPLE)
        if self.is_part or listed < len(self.people):
            more = "more than " if self.is_part else ""
            return f"{more}{len(self.people):,} found, the first {listed:,} are listed"
        return f"{len(self.people):,} found"


class Browse(App[None]):
    """The application: a search box, who was found, and the highlighted one's activity view."""

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
        self.people: list[FoundPerson] = []
        self.activity: Activity | None = None
        self.on: set[str] = set()
        self.pause: Timer | None = None

    def compose(self) -> ComposeResult:
        """Yield the widgets of the screen."""
        yield Input(
            self.text,
            placeholder=f"an identity or a name, how it begins; or: {CONDITION}tier = 'gold'",
            id="search",
        )
        yield Static(id="said", markup=False)
        with Horizontal(id="both"):
            yield OptionList(id="found")
            with VerticalScroll(id="view"):
                yield Static(id="activity", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin with the first search."""
        self.query_one("#search").focus()
        if self.text:
            self._search(self.text)

    # Search

    def action_search(self) -> None:
        """Go to the search box."""
        self.query_one("#search").focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search a moment after the last key."""
        if self.pause:
            self.pause.stop()
        # An unfinished condition is an error, so a search by condition begins at Enter only.
        if not event.value.lower().startswith(CONDITION):
            self.pause = self.set_timer(PAUSE_S, lambda: self._search(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Search at once, and go to the list."""
        if self.pause:
            self.pause.stop()
        self._search(event.value)
        self.query_one("#found").focus()

    @work(thread=True, exclusive=True, group="search")
    def _search(self, text: str) -> None:
        outcome = SearchOutcome(text)
        try:
            if text.strip():
                count, hits = self._find(text.strip())
                outcome = SearchOutcome(text, people_of(hits), is_part=count > len(hits))
        except ProfilectlError as error:
            hint = f"; {error.hint}" if error.hint else ""
            outcome = SearchOutcome(text, error=f"{error.message}{hint}")
        self.call_from_thread(self._list, outcome)

    def _find(self, text: str) -> tuple[int, list[Hit]]:
        """Return the hits of a condition; or of a beginning, or else of any part, and of a name."""
        if text.lower().startswith(CONDITION):
            condition = text[len(CONDITION) :]
            return search_store(self.store, SearchRequest(where=condition, limit=MOST_HITS))
        count, hits = search_store(self.store, SearchRequest(text, limit=MOST_HITS))
        if not hits:
            request = SearchRequest(text, "substring", limit=MOST_HITS)
            count, hits = search_store(self.store, request)
        condition = name_condition(text, names_in(self.store, "keys"))
        if not condition:
            return count, hits
        request = SearchRequest(where=condition, limit=MOST_HITS)
        named_count, named = search_store(self.store, request)
        return count + named_count, hits + [_by_name(hit, text) for hit in named]

    def _list(self, outcome: SearchOutcome) -> None:
        """Show the hits of a search, unless the text in the box is another by now."""
        if outcome.text != self.query_one("#search", Input).value:
            return
        self.people = outcome.people[:MOST_PEOPLE]
        listed = self.query_one("#found", OptionList)
        listed.clear_options()
        listed.add_options([Option(_entry(person)) for person in self.people])
        self._show_message(outcome.message(), is_error=bool(outcome.error))
        if self.people:
            listed.highlighted = 0
        else:
            self.activity = None
            self._draw()

    # The activity view

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Read the profile of the highlighted person."""
        self._read(self.people[event.option_index])

    def on_option_list_option_selected(self) -> None:
        """Explain the profile of the selected person."""
        self.action_why()

    @work(thread=True, exclusive=True, group="read")
    def _read(self, person: FoundPerson) -> None:
        try:
            profiles = read_activities(self.store, "mpid", str(person.mpid))
        except ProfilectlError as error:
            self.call_from_thread(self._show_message, error.message, is_error=True)
            return
        of_person = (
            activity for activity in profiles if activity.environment == person.environment
        )
        self.call_from_thread(self._show, next(of_person, None))

    def _show_message(self, message: str, *, is_error: bool) -> None:
        """Print a line under the search box."""
        line = self.query_one("#said", Static)
        line.set_class(is_error, "wrong")
        line.update(Text(visible(message)))

    def _show(self, activity: Activity | None) -> None:
        self.activity = activity
        self._draw()
        self.query_one("#view").scroll_home(animate=False)

    def on_resize(self) -> None:
        """Draw the view again, as wide as the terminal is now."""
        self.call_after_refresh(self._draw)

    def action_turn(self, part: str) -> None:
        """Turn a part of the view on or off: "history", "batches" (the whole timeline) or "raw"."""
        self.on ^= {part}
        self._draw()

    def _draw(self) -> None:
        """Draw the activity view."""
        views = self.query("#activity")
        if not views:  # the application ends before it has begun
            return
        drawn = views.first(Static)
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
        """Show the explanations of the profile."""
        if self.activity is not None:
            self.push_screen(Why(self.store, self.activity))


def _entry(person: FoundPerson) -> Text:
    """Return the lines of a person in the list: what matched, a line each, and the profile."""
    shown = person.matches[:MOST_MATCHES]
    more = len(person.matches) - len(shown)
    parts: list[str | tuple[str, str]] = []
    for name, value in shown:
        parts += [visible(value), (f"  {visible(name)}\n", "dim")]
    if not shown:
        parts.append("all conditions\n")
    if more:
        parts.append((f"and {more:,} more\n", "dim"))
    environment = "" if person.environment == "production" else f"  {person.environment}"
    parts.append((f"MPID {person.mpid}{environment}", "dim"))
    return Text.assemble(*parts, overflow="ellipsis", no_wrap=True)


def browse(store: Path, text: str = "") -> None:
    """Run the application until the user leaves it. text: the first search.

    Raises StoreUnusable, StoreBusy if the store cannot be opened.
    """
    names_in(store, "feeds")
    app = Browse(store, text)
    with leaving(app.exit):
        app.run()
    if app.return_code:
        sys.exit(app.return_code)
