"""The application on the terminal, driven by Textual's pilot: search, the activity view,
explanations.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support import people
from support.doors import run
from support.effort import spread_now
from support.kept_screens import keep_or_compare
from textual.pilot import Pilot
from textual.widgets import Input, OptionList
from textual.worker import WorkerCancelled

from profilectl.reading.search import Hit
from profilectl.render.browse import (
    MOST_PEOPLE,
    PAUSE_S,
    Browse,
    FoundPerson,
    SearchOutcome,
    Why,
    name_condition,
    people_of,
)
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    return people.make(folder)


def drive(
    store: Path,
    act: Callable[[Pilot[None]], Awaitable[None]],
    text: str = "",
    size: tuple[int, int] = (140, 60),
) -> None:
    """Run the application on a terminal of so many columns and lines, and act on it."""

    async def whole() -> None:
        async with Browse(store, text).run_test(size=size) as pilot:
            await settled(pilot)
            await act(pilot)

    asyncio.run(whole())


async def settled(pilot: Pilot[None]) -> None:
    """Wait until nothing is being read any more; what a newer question has made needless was
    cancelled.
    """
    for _ in range(2):
        await pilot.pause()
        with contextlib.suppress(WorkerCancelled):
            await pilot.app.workers.wait_for_complete()
    await pilot.pause()
    while any(not one.is_finished for one in pilot.app.workers):
        await pilot.pause(0.02)
    await pilot.pause()


async def asks(pilot: Pilot[None], text: str) -> None:
    """Type a search and press Enter."""
    pilot.app.query_one("#search", Input).value = text
    pilot.app.query_one("#search").focus()
    await pilot.press("enter")
    await settled(pilot)


def screen(pilot: Pilot[None]) -> str:
    """What is on the screen, as text."""
    drawn = re.sub(
        r"<style.*?</style>", "", pilot.app.export_screenshot(simplify=True), flags=re.DOTALL
    )
    return html.unescape(re.sub(r"<[^>]*>", "", drawn)).replace("\xa0", " ")


async def still_lines(pilot: Pilot[None]) -> list[str]:
    """Return the lines of the screen once they stay the same: its footer is drawn late."""
    seen: list[list[str]] = []
    while len(seen) < 3 or seen[-1] != seen[-3]:
        await pilot.pause(0.1)
        strips = pilot.app.screen._compositor.render_strips()
        seen.append([strip.text.rstrip() for strip in strips])
    return seen[-1]


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
def test_the_main_view_is_as_it_was_seen(
    store: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of test_screens.py: PROFILECTL_KEEP_SCREENS=1 writes it anew."""
    for name, value in people.NOW.items():
        monkeypatch.setenv(name, value)

    async def act(pilot: Pilot[None]) -> None:
        pilot.app.query_one("#found").focus()
        lines = await still_lines(pilot)
        keep_or_compare(f"browse-{size[0]}", "\n".join(lines) + "\n")
        for strip in pilot.app.screen._compositor.render_strips():
            for segment in strip:
                style = segment.style
                assert not segment.text.strip() or (style and style.color and style.bgcolor)

    drive(store, act, "amelie", size=size)


def found(pilot: Pilot[None]) -> int:
    return pilot.app.query_one("#found", OptionList).option_count


def test_a_search_lists_and_shows_who_was_found(store: Path) -> None:
    async def act(pilot: Pilot[None]) -> None:
        await asks(pilot, "shared")
        assert found(pilot) == 2
        first = screen(pilot)
        assert "2 found" in first
        assert "User attributes" in first
        await pilot.press("down")
        await settled(pilot)
        assert {"iron", "tin"} == {
            tier for shown in (first, screen(pilot)) for tier in ("iron", "tin") if tier in shown
        }
        await asks(pilot, "where tier = 'gold' and visits >= 12")
        assert found(pilot) == 1
        assert "Amélie Lefèvre" in screen(pilot)
        await asks(pilot, "LIE@EX")  # nobody begins so: any part
        assert "amelie@example.org" in screen(pilot)
        await asks(pilot, "nobody at all")
        assert found(pilot) == 0
        assert "nobody was found" in screen(pilot)
        assert "Amélie" not in screen(pilot)

    drive(store, act)


def test_a_search_begins_by_itself(store: Path) -> None:
    async def act(pilot: Pilot[None]) -> None:
        await pilot.press(*"ame")
        await pilot.pause(PAUSE_S * 2)
        await settled(pilot)
        assert "Amélie Lefèvre" in screen(pilot)

    drive(store, act)


def test_a_wrong_condition_is_told_with_its_place(store: Path) -> None:
    async def act(pilot: Pilot[None]) -> None:
        await asks(pilot, "where tier = ")
        assert "tier" in screen(pilot)
        assert pilot.app.query_one("#said").has_class("wrong")
        await asks(pilot, "amelie")
        assert not pilot.app.query_one("#said").has_class("wrong")

    drive(store, act)


def test_a_key_explains(store: Path) -> None:
    async def act(pilot: Pilot[None]) -> None:
        pilot.app.query_one("#found").focus()
        await pilot.press("e")
        await settled(pilot)
        assert isinstance(pilot.app.screen, Why)
        await pilot.press("slash", *"colo", "enter")
        await settled(pilot)
        shown = screen(pilot)
        assert "color = black" in shown
        assert "the same source speaks again" in shown
        await pilot.press("up")
        await settled(pilot)
        assert "founded the profile" in screen(pilot)
        await pilot.press("escape")
        await settled(pilot)
        assert not isinstance(pilot.app.screen, Why)

    drive(store, act, "amelie")


def test_keys_turn_parts_on_and_off(store: Path) -> None:
    async def act(pilot: Pilot[None]) -> None:
        pilot.app.query_one("#found").focus()
        assert "silver: a source of better rank" not in screen(pilot)
        await pilot.press("h")
        await settled(pilot)
        assert "silver: a source of better rank" in screen(pilot)
        await pilot.press("h", "r", "t")
        await settled(pilot)
        assert "silver: a source of better rank" not in screen(pilot)

    drive(store, act, "amelie", size=(160, 100))


@pytest.mark.parametrize("width", spread_now([60, 80, 140], 3))
def test_narrow_and_wide(store: Path, width: int) -> None:
    async def act(pilot: Pilot[None]) -> None:
        assert "C1" in screen(pilot)
        assert "User details" in screen(pilot)
        await pilot.resize_terminal(200 - width, 40)
        await settled(pilot)
        assert "User details" in screen(pilot)

    drive(store, act, "amelie", size=(width, 40))


def test_hostile_values_are_drawn_as_text(tmp_path: Path) -> None:
    evil = "[bold red]x[/] \x1b]0;title\x07 \u202e"
    people.bring(
        tmp_path,
        "evil.jsonl",
        people.lines(
            [
                {
                    "user_identities": {"email": f"{evil}@x.org"},
                    "user_attributes": {evil: evil, "[link=x]": 1},
                }
            ]
        ),
        1,
        "f",
    )

    async def act(pilot: Pilot[None]) -> None:
        pilot.app.query_one("#found").focus()
        assert "[bold red]x[/] \\u001b]0;title\\u0007 \\u202e" in screen(pilot)
        await pilot.press("e")
        await settled(pilot)
        assert "[link=x]" in screen(pilot)
        for one in screen(pilot):
            assert one >= " " or one == "\n"

    drive(tmp_path / "profiles.duckdb", act, "[bold", size=(200, 60))


def test_a_busy_store_is_told_and_the_next_look_works(tmp_path: Path) -> None:
    store = people.make(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None

    async def act(pilot: Pilot[None]) -> None:
        assert holder.stdout
        assert holder.stdin
        await asks(pilot, "amelie")
        assert f"in use by process {holder.pid}" in screen(pilot)
        holder.stdin.write("\n")
        holder.stdin.flush()
        holder.wait()
        await asks(pilot, "amelie")
        assert "Amélie" in screen(pilot)

    assert holder.stdout.readline() == "held\n"
    with holder:
        drive(store, act)


HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


def test_it_needs_a_store_and_a_terminal(tmp_path: Path) -> None:
    done = run("browse", folder=tmp_path)
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    program = (
        "import sys; sys.modules['textual'] = None; from profilectl.cli.app import main;"
        " sys.argv = ['profilectl', 'browse']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'profilectl[browse]'" in done.stderr


def test_the_same_person_as_show(store: Path) -> None:
    """The view is that of `show`: every value it prints stands on the screen."""
    document: Any = json.loads(
        run("show", "--customer-id", "C1", "--json", folder=store.parent).stdout
    )

    async def act(pilot: Pilot[None]) -> None:
        shown = screen(pilot)
        for key, value in document["profiles"][0]["user_attributes"].items():
            assert key in shown
            if isinstance(value, str):
                assert value in shown

    drive(store, act, "C1", size=(150, 100))


def test_the_store_is_not_held(store: Path) -> None:
    async def act(pilot: Pilot[None]) -> None:
        assert "Amélie" in screen(pilot)
        with (
            contextlib.closing(Scratch(store.parent)) as scratch,
            open_store(scratch, store, write=True),
        ):
            pass

    drive(store, act, "amelie")


def hit(mpid: int, kind: str, value: str, *, environment: str = "production") -> Hit:
    return Hit(mpid, environment, type=kind, value=value, values={})


def test_a_person_is_one_entry_with_all_that_matched() -> None:
    hits = [
        hit(1, "email", "ann@example.com"),
        hit(2, "email", "anna@example.com"),
        hit(1, "other", "ann-7"),
        hit(1, "email", "ann@example.com"),
        hit(1, "email", "ann@example.com", environment="development"),
        Hit(1, "production", type="", value="", values={"$FirstName": "Ann"}),
    ]
    people_found = people_of(hits)
    assert [(person.mpid, person.environment) for person in people_found] == [
        (1, "production"),
        (2, "production"),
        (1, "development"),
    ]
    assert people_found[0].matches == [
        ("email", "ann@example.com"),
        ("other", "ann-7"),
        ("$FirstName", "Ann"),
    ]


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("am", "\"$FirstName\" starts with 'am' or \"$LastName\" starts with 'am'"),
        ("amé le", "\"$FirstName\" starts with 'amé' and \"$LastName\" starts with 'le'"),
        (
            "o'b.",
            "\"$FirstName\" starts with 'o''b.' or \"$LastName\" starts with 'o''b.'",
        ),
        ("am@", ""),
        ("C1", ""),
        ("--", ""),
    ],
)
def test_a_name_is_looked_for_where_a_text_may_be_one(text: str, condition: str) -> None:
    assert name_condition(text, ["$LastName", "tier", "$FirstName"]) == condition
    assert name_condition(text, ["tier"]) == ""


def test_who_matches_by_an_address_and_by_name_is_found_once(store: Path) -> None:
    async def act(pilot: Pilot[None]) -> None:
        await asks(pilot, "amé")
        assert found(pilot) == 1
        await asks(pilot, "am")  # begins the address amelie@example.org and the name Amélie
        assert found(pilot) == 1
        shown = screen(pilot)
        assert "1 found" in shown
        assert "amelie@example.org  email" in shown
        assert "Amélie  $FirstName" in shown
        await asks(pilot, "amélie lef")
        assert "Lefèvre  $LastName" in screen(pilot)
        await asks(pilot, "where $LastName = 'Lefèvre'")
        assert found(pilot) == 1
        await asks(pilot, "(+ [x")  # no pattern, only a text
        assert "nobody was found" in screen(pilot)

    drive(store, act)


def test_a_list_that_is_not_whole_says_so() -> None:
    many = [FoundPerson(number, "production") for number in range(MOST_PEOPLE + 1)]
    assert SearchOutcome("a", many).message() == "201 found, the first 200 are listed"
    assert SearchOutcome("a", many[:3]).message() == "3 found"
    part = SearchOutcome("a", many[:3], is_part=True).message()
    assert part == "more than 3 found, the first 3 are listed"
