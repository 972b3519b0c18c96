"""Compaction forgets nothing: a store that is laid together after every import tells the same as
one that never is.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, note, seed, settings
from hypothesis import strategies as st
from support.doors import run_here
from support.effort import at_length
from support.equivalence import NOW_MS, stated_settings, text_of
from support.eventful_histories import eventful
from support.histories import History, Import
from support.profile_lines import exported

import profilectl.audiences.refresh
import profilectl.importing.commit
import profilectl.importing.run
import profilectl.store.compaction
import profilectl.store.scratch
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
                f"select profile, line from ({profiles.json_lines('', provenance=True)})"
                " order by profile"
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


def sixteen_imports(path: Path, folder: Path) -> None:
    """Import sixteen small files whose customers, attributes and identities overlap and move."""
    chance = random.Random(3)
    scratch = Scratch(folder)
    with open_store(scratch, path, create=True, write=True) as store, store.transaction():
        store.put_settings({"identity.strategy": "link"})
        scratch.run("update store.meta set value = 'fixed' where name = 'secret'")
    scratch.close()
    for number in range(16):
        file = folder / f"{number}.jsonl"
        rows = []
        for _ in range(12):
            key = f"k{chance.randrange(6)}"
            rows.append(
                {
                    "user_identities": {
                        "customer_id": f"C{chance.randrange(9)}",
                        "email": f"e{chance.randrange(9)}@example.com",
                    },
                    "user_attributes": {key: str(chance.randrange(50))},
                    "deleted_user_attributes": [f"k{chance.randrange(6)}"]
                    if chance.random() < 0.2
                    else [],
                }
            )
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        import_files(path, ImportRequest([str(file)], "f", now_ms=1_790_000_000_000 + number))


@pytest.mark.slow
def test_compaction_changes_nothing_that_can_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    sixteen_imports(tmp_path / "a" / "store.duckdb", tmp_path / "a")
    monkeypatch.setattr(profilectl.store.compaction, "MANY_SEGMENTS", 1000)
    sixteen_imports(tmp_path / "b" / "store.duckdb", tmp_path / "b")
    with (
        duckdb.connect(tmp_path / "a" / "store.duckdb") as compacted,
        duckdb.connect(tmp_path / "b" / "store.duckdb") as loose,
    ):
        segments = "select count(*) from segment"
        assert (
            compacted.execute(segments).fetchall()[0][0]
            <= 12
            < loose.execute(segments).fetchall()[0][0]
        )
    ours, theirs = (
        exported(tmp_path / "a" / "store.duckdb"),
        exported(tmp_path / "b" / "store.duckdb"),
    )
    assert [line.replace(str(tmp_path / "a"), "") for line in ours] == [
        line.replace(str(tmp_path / "b"), "") for line in theirs
    ]


@pytest.mark.slow
def test_segments_lie_in_order(tmp_path: Path) -> None:
    sixteen_imports(tmp_path / "store.duckdb", tmp_path)
    with duckdb.connect(tmp_path / "store.duckdb") as connection:
        for (number,) in connection.execute("select number from segment").fetchall():
            for table, column in ((f"row_{number}", "profile"), (f"index_{number}", "hash")):
                disorder = (
                    f"select count(*) from (select {column} as one, lag({column}) over"
                    " (order by rowid) as before"
                    f" from {table}) where before > one"
                )
                assert connection.execute(disorder).fetchall()[0][0] == 0


def test_what_was_refused_is_laid_together_again_and_again(tmp_path: Path) -> None:
    def bring(name: str, text: str, *more: str) -> None:
        (tmp_path / name).write_text(text)
        assert run_here("import", name, *more, folder=tmp_path).returncode == 0

    (tmp_path / "c.toml").write_text("[history]\nkeep = 1\n")
    run_here("config", "apply", "c.toml", folder=tmp_path)
    bring("a.csv", "customer_id,tier,colour\nA,gold,red\n", "--feed", "crm")
    bring("b.csv", "customer_id,tier\nA,silver\n", "--feed", "app", "--source", "sdk")
    for number in range(4):
        bring(f"z{number}.csv", f"customer_id,z{number}\nA,1\n", "--feed", "crm")
        assert run_here("compact", "--yes", folder=tmp_path).returncode == 0
        assert run_here("check", folder=tmp_path).returncode == 0
    told = run_here("explain", "A", "--attribute", "tier", folder=tmp_path).stdout
    assert "not silver, from app" in told
    assert run_here("diff", "0", "6", folder=tmp_path).returncode == 0


@pytest.mark.slow
def test_imports_go_on_where_something_was_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,tier,colour\nA,gold,red\n")
    (tmp_path / "b.csv").write_text("customer_id,tier\nA,silver\n")
    assert run_here("import", "a.csv", "--feed", "crm", folder=tmp_path).returncode == 0
    assert (
        run_here("import", "b.csv", "--feed", "app", "--source", "sdk", folder=tmp_path).returncode
        == 0
    )
    for number in range(24):
        (tmp_path / "s.csv").write_text(f"customer_id,seq\nA,{number}\n")
        done = run_here("import", "s.csv", "--feed", "crm", folder=tmp_path)
        assert done.returncode == 0, (number, done.stderr)
    assert (
        "not silver, from app"
        in run_here("explain", "A", "--attribute", "tier", folder=tmp_path).stdout
    )
