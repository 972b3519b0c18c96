"""Compaction forgets nothing: a store that is laid together after every import tells the same as
one that never is.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, note, seed, settings
from hypothesis import strategies as st
from support.effort import at_length
from support.equivalence import NOW_MS, stated_settings, text_of
from support.eventful_histories import eventful
from support.histories import History, Import

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.importing.undo import to_undo, undo
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import profiles_of
from profilectl.reading.check import check
from profilectl.reading.upkeep import compact_store
from profilectl.rules.feed import DEFAULT_WORKSPACE, workspaces_of
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch


def begun(history: History, folder: Path) -> Path:
    scratch, path = Scratch(folder), folder / "store.duckdb"
    with open_store(scratch, path, create=True, write=True) as store, store.transaction():
        store.put_settings(stated_settings(history))
        for name in history.feeds:
            store.put_feed(history.feed(name))
        scratch.run("update store.meta set value = 'fixed' where name = 'secret'")
    scratch.close()
    return path


def told(path: Path) -> list[str]:
    """Return everything that is told of everybody: values with their origin, the timeline, what was
    refused, events.
    """
    scratch, found = Scratch(path.parent), []
    with open_store(scratch, path) as store:
        for workspace in workspaces_of(store.feeds()) or [DEFAULT_WORKSPACE]:
            profiles = profiles_of(store, workspace=workspace)
            rows = scratch.rows(
                f"select profile, line from ({profiles.json_lines('', provenance=True)}) order by profile"
            )
            found += [line for _, line in rows]
            found += [repr(one) for one in activities(profiles, [profile for profile, _ in rows])]
    scratch.close()
    return found


def taken_back(path: Path, number: int) -> None:
    scratch = Scratch(path.parent)
    with open_store(scratch, path, write=True) as store:
        undo(store, to_undo(store, number, cascade=False), now_ms=NOW_MS)
    scratch.close()


def compare(history: History, keeps: list[int]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        loose, laid = begun(history, Path(one)), begun(history, Path(other))
        # what is refused again, is refused in other segments
        history.imports = [*history.imports, *history.imports][: max(5, len(history.imports))]
        for number, (brought, keep) in enumerate(zip(history.imports, keeps, strict=False)):
            for path in (loose, laid):
                file = path.parent / f"{number}.jsonl"
                # Each import speaks of an attribute of its own: segments, and what was refused in
                # them, have other columns then.
                rows = [
                    {**row, "user_attributes": {**row["user_attributes"], f"only{number}": "x"}}
                    for row in brought.rows
                ]
                file.write_text("".join(text_of(row) + "\n" for row in rows) or "\n")
                name = str(file)
                import_files(
                    path,
                    ImportRequest(
                        [name],
                        brought.feed,
                        protection=brought.protection,
                        environment=brought.environment,
                        again=True,
                        now_ms=NOW_MS + number,
                    ),
                )
            scratch = Scratch(laid.parent)
            compact_store(laid, keep=keep)
            with open_store(scratch, laid) as store:
                problems = check(store)
            scratch.close()
            assert problems == []
            ours, theirs = told(laid), told(loose)
            assert [text.replace(str(laid.parent), "") for text in ours] == [
                text.replace(str(loose.parent), "") for text in theirs
            ]
        if keeps[: len(history.imports)][-1:] != [0]:
            for path in (loose, laid):
                taken_back(path, len(history.imports))
            assert [text.replace(str(laid.parent), "") for text in told(laid)] == [
                text.replace(str(loose.parent), "") for text in told(loose)
            ]


def refused_once() -> History:
    """What was refused in the second import has fewer columns than all that is laid together."""
    history = History({}, "rank", {"f": ("custom-feed", None), "g": ("sdk", None)})
    for feed, tier in (("f", "gold"), ("g", "tin"), ("f", "iron"), ("f", "lead")):
        row = {"user_identities": {"customer_id": "A"}, "user_attributes": {"tier": tier}}
        history.imports.append(Import(feed, "create-and-update", [row], None))
    return history


KEEPS = st.lists(st.integers(0, 2), min_size=20, max_size=20)


@pytest.mark.slow
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(eventful(workspaces=True), KEEPS)
@example(refused_once(), [0] * 20)
@example(refused_once(), [1] * 20)
def test_a_store_tells_the_same_however_often_it_is_laid_together(
    history: History, keeps: list[int]
) -> None:
    note(history.as_case())
    compare(history, keeps)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_a_store_tells_the_same_however_often_it_is_laid_together_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(14, by_night=2000),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(eventful(workspaces=True), KEEPS)
    def compares(history: History, keeps: list[int]) -> None:
        note(history.as_case())
        compare(history, keeps)

    compares()
