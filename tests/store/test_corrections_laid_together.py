"""Corrections use up no room of the history, lie together among themselves, and can each be undone:
after any mixture the store is as if what was undone had never been.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from support.doors import call, run, run_here
from support.effort import at_length
from support.histories import History, Import
from support.played_histories import breaches, declare, opened, request_for

import profilectl.importing.corrections.interpreted as interpreted
import profilectl.store.compaction as compaction
from profilectl.codes import InputRefused, NobodyFound, ProfilectlError
from profilectl.importing.corrections.attributes import correct
from profilectl.importing.corrections.identities import changes_of, modify_identities
from profilectl.importing.run import import_files
from profilectl.importing.undo import imports_of, undo_import
from profilectl.profiles.read_model import profiles_of
from profilectl.reading.upkeep import compact_store, made_final
from profilectl.store.compaction import worded

PEOPLE, EMAILS, KEYS = ("A", "B", "C"), ("a@x.org", "b@x.org", "c@x.org"), ("k", "tier")


@contextlib.contextmanager
def crowded_from(segments: int) -> Iterator[None]:
    """Lay segments together from that number on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "MANY_SEGMENTS", segments)
        patch.setattr(interpreted, "MANY_SEGMENTS", segments)
        patch.setattr(compaction, "RUN_ROOM", 0)
        yield


@dataclass
class Act:
    """Something that is done to a store."""

    kind: str
    """import, set, modify, undo, replay or compact."""
    person: str
    words: dict[str, Any]
    place: int


@st.composite
def acts(draw: st.DrawFn) -> Act:
    kind = draw(
        st.sampled_from(["import", "set", "set", "set", "modify", "undo", "undo", "compact"])
    )
    words: dict[str, Any] = {
        "values": draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from("123"), min_size=1)),
        "emails": draw(st.lists(st.sampled_from(EMAILS), min_size=1, max_size=2, unique=True)),
        "delete": draw(st.sampled_from([[], [], ["k"], ["never"]])),
        "feed": draw(st.sampled_from(["f", "corrections"])),
    }
    return Act(kind, draw(st.sampled_from(PEOPLE)), words, draw(st.integers(0, 9)))


def state(path: Path) -> list[str]:
    """Return the profiles in the order of their founding, without what differs in two stores."""
    with opened(path) as store:
        select = profiles_of(store).json_lines("", provenance=True)
        rows = store.scratch.rows(f"select line from ({select}) order by profile")
    lines = [
        re.sub(r'"(import|set_ms|first_seen_ms|last_seen_ms)":\d+,?', "", line) for (line,) in rows
    ]
    return [re.sub(r'^\{"mpid":"-?\d+",', "{", line) for line in lines]


def number_of(path: Path, folder: Path, number: int, act: Act) -> int | None:
    """Do an act that makes an import; return its number, or None if it makes none."""
    identity = ("customer_id", act.person)
    try:
        if act.kind == "import":
            row = {
                "user_identities": {"customer_id": act.person, "email": act.words["emails"][0]},
                "user_attributes": act.words["values"],
            }
            brought = Import("f", "create-and-update", [row])
            return import_files(path, request_for(folder, number, brought)).number
        if act.kind == "set":
            values = act.words["values"]
            deletes = [key for key in act.words["delete"] if key not in values]
            return correct(path, identity, values, deletes, feed=act.words["feed"]).number
        adds = [("email", act.words["emails"][0])]
        removes = [("email", value) for value in act.words["emails"][1:]]
        return modify_identities(path, identity, changes_of(adds, removes)).number
    except (NobodyFound, ProfilectlError) as error:
        note(f"{act.kind} {number}: {error}")
        return None


def check_mixture(course: list[Act], strategy: str) -> None:
    history = History({"strategy": strategy}, "rank", {"f": ("custom-feed", None)})
    with tempfile.TemporaryDirectory() as name, crowded_from(3):
        folder = Path(name)
        path, never = folder / "mixed.duckdb", folder / "never.duckdb"
        declare(path, history)
        with opened(path, create=True) as store, store.transaction():
            store.put_settings({**store.settings().stated, "history.keep": 2})
        in_force: dict[int, int] = {}
        for place, act in enumerate(course):
            note(f"{place}: {act}; in force {in_force}")
            if act.kind == "compact":
                final = made_final(path, keep=1 + act.place % 3)
                before = {past.number for past in imports_of(path) if past.why_not_undoable is None}
                compacted = compact_store(path, keep=1 + act.place % 3)
                assert before - set(compacted.undoable) == set(final)
            elif act.kind == "undo":
                undo_one(path, act, in_force)
            elif number := number_of(path, folder, number=place, act=act):
                in_force[number] = place
        assert breaches(path) == []
        with crowded_from(1000):
            declare(never, history)
            for place in in_force.values():
                assert number_of(never, folder, number=place, act=course[place]) is not None, (
                    f"act {place}"
                )
        assert state(path) == state(never)


def undo_one(path: Path, act: Act, in_force: dict[int, int]) -> None:
    """Undo an import that can be undone, with those that rest on it, by replay now and then."""
    undoable = [past.number for past in imports_of(path) if past.why_not_undoable is None]
    assert set(undoable) <= set(in_force)
    if not undoable:
        return
    number = undoable[act.place % len(undoable)]
    if act.place % 3 == 0:
        try:
            undone = undo_import(path, number, replay=True)
        except InputRefused as refused:
            note(f"replay from {number}: {refused}")
            return
        places = {old: in_force[old] for old in undone.numbers}
        for old in undone.numbers:
            del in_force[old]
        in_force |= {new: places[old] for old, new in undone.replayed}
        return
    try:
        taken_out = undo_import(path, number).numbers
    except InputRefused as refused:
        assert "later imports rest on it" in refused.message  # noqa: PT017
        taken_out = undo_import(path, number, cascade=True).numbers
    note(f"undone {taken_out}")
    for one_gone in taken_out:
        del in_force[one_gone]


@pytest.mark.slow
@settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(acts(), min_size=5, max_size=7))
def test_a_mixture_leaves_what_is_in_force(course: list[Act]) -> None:
    check_mixture([Act("import", "A", course[0].words, 0), *course], "default")


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_a_mixture_leaves_what_is_in_force_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(10, by_night=200),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.lists(acts(), min_size=8, max_size=20))
    def compare(course: list[Act]) -> None:
        founding = Act("import", "A", course[0].words, 0)
        check_mixture([founding, *course], ("default", "conversion", "best-match")[part % 3])

    compare()


def bring(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    finished = call("import", name, "--feed", "crm", folder=folder)
    assert finished.exit_code == 0, finished.output


def listed(folder: Path) -> list[dict[str, Any]]:
    pasts: list[dict[str, Any]] = json.loads(
        call("imports", "list", "--json", folder=folder).stdout
    )
    return pasts


def test_corrections_use_up_no_import_and_can_each_be_undone(tmp_path: Path) -> None:
    path = tmp_path / "profiles.duckdb"
    bring(tmp_path, "a.csv", "customer_id,tier\nA,gold\nB,gold\n")
    for number in range(30):
        correct(path, ("customer_id", "A"), {f"k{number}": str(number)}, [])
    with opened(path) as store:
        assert len(store.segments()) <= 13
        assert any(segment.by_hand for segment in store.segments())
    assert all(past["undoable"] for past in listed(tmp_path))
    assert {past["why_not_undoable"] for past in listed(tmp_path)} == {None}
    assert undo_import(path, 4).numbers == [4]  # in the midst of those that lie together
    assert all(past["undoable"] for past in listed(tmp_path) if past["import"] != 4)

    refused = run_here("imports", "undo", "1", folder=tmp_path)
    assert refused.returncode == 4
    assert "later imports rest on it" in refused.stderr
    assert undo_import(path, 1, cascade=True).numbers[-1] == 1
    with opened(path) as store:
        assert store.segments() == []
    assert breaches(path) == []


def test_an_import_that_makes_older_ones_final_says_so_before(tmp_path: Path) -> None:
    for number in range(12):
        bring(tmp_path, f"{number}.csv", f"customer_id,tier\nA{number},gold\n")
    (tmp_path / "12.csv").write_text("customer_id,tier\nB,gold\n")
    finished = run(*["import", "12.csv", "--feed", "crm"], folder=tmp_path)
    assert finished.returncode == 0
    assert (
        "imports 1 to 5 cannot be undone any more after this (history.keep = 8)" in finished.stderr
    )
    assert [past["undoable"] for past in listed(tmp_path)] == [False] * 5 + [True] * 8
    assert listed(tmp_path)[0]["why_not_undoable"] == "laid together"
    shown = run_here("imports", "list", folder=tmp_path, COLUMNS="200").stdout
    assert re.search(r"in force +no +0.csv", shown)
    assert re.search(r"in force +yes +12.csv", shown)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([3], "import 3"),
        ([1, 2], "imports 1 and 2"),
        ([1, 2, 3], "imports 1 to 3"),
        ([1, 2, 3, 5], "imports 1 to 3 and 5"),
        ([1, 3, 5, 6, 7], "imports 1, 3 and 5 to 7"),
    ],
)
def test_numbers_are_worded_in_spans(numbers: list[int], words: str) -> None:
    assert worded(numbers) == words
