"""A correction that the interpreter decides leaves the store, byte of value for byte of value, that
the import of a file with the same batch leaves.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from support.effort import at_length
from support.equivalence import NOW_MS
from support.histories import CUSTOMERS, EMAILS, KEYS, VALUES, History, Import, histories
from support.played_histories import breaches, declare, opened, request_for

from profilectl.codes import ProfilectlError
from profilectl.importing.corrections import attributes, interpreted
from profilectl.importing.run import import_files
from profilectl.rules.text.values import Value, parse_json
from profilectl.rules.workspace import in_workspace
from profilectl.store.segments import known_mpids


@dataclass
class DrawnCorrection:
    """A correction as it is drawn: whom it is about, by the place of the profile or by a value."""

    place: int
    identity: tuple[str, str] | None
    sets: dict[str, Any]
    deletes: list[str]
    feed: str
    source: str | None
    workspace: str | None
    pick: int | None


@st.composite
def corrections(draw: st.DrawFn, history: History) -> list[DrawnCorrection]:
    named = [("email", EMAILS[0]), ("customer_id", CUSTOMERS[0]), ("any", EMAILS[1])]
    return [
        DrawnCorrection(
            place=draw(st.integers(0, 5)),
            identity=draw(st.sampled_from([None] * 5 + named)),
            sets=draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=3)),
            deletes=draw(
                st.lists(st.sampled_from(KEYS), max_size=draw(st.sampled_from([0, 0, 2])))
            ),
            feed=draw(st.sampled_from(["corrections", *history.feeds])),
            source=draw(st.sampled_from([None] * 4 + ["account", "partner", "csv"])),
            workspace=draw(st.sampled_from([None, "shop"])) if history.workspaces else None,
            pick=draw(st.sampled_from([None] * 4 + [1, 2])),
        )
        for _ in range(draw(st.integers(2, 4)))
    ]


def content_of(path: Path) -> dict[str, Any]:
    """Return every table of a store: how it was made, and its rows in any order."""
    connection = duckdb.connect(str(path), read_only=True)
    tables = connection.execute("select table_name, sql from duckdb_tables() order by 1").fetchall()
    return {
        name: (sql, sorted(map(repr, connection.execute(f'from "{name}"').fetchall())))
        for name, sql in tables
    }


def correct(path: Path, drawn: DrawnCorrection, *, at_once: bool) -> Any:
    """Make a correction; return whether it was made at once, and its report or the error."""
    identity = drawn.identity
    if identity is None:
        with opened(path) as store:
            mpids = f"select mpid from ({known_mpids(store.segments())}) order by profile"
            rows = store.scratch.rows(mpids) or [(1,)]
        identity = ("mpid", str(rows[drawn.place % len(rows)][0]))
    values: dict[str, Value] = {
        key: parse_json(json.dumps(value, ensure_ascii=False)) for key, value in drawn.sets.items()
    }
    reports = []

    def way(*arguments: Any) -> Any:
        reports.append(interpreted.correct_at_once(*arguments) if at_once else None)
        return reports[0]

    try:
        with mock.patch.object(attributes, "correct_at_once", way), in_workspace(drawn.workspace):
            report = attributes.correct(
                path,
                identity,
                sets=values,
                deletes=drawn.deletes,
                feed=drawn.feed,
                source=drawn.source,
                pick=drawn.pick,
            ).as_json()
    except ProfilectlError as error:
        return False, (type(error), error.message)
    return bool(reports[0]), report | {"elapsed_ms": 0, "locked_ms": 0}


def check_both_ways(history: History, corrections: list[DrawnCorrection]) -> int:
    """Check that both ways leave the same; return how many corrections were made at once."""
    number_at_once = 0
    with tempfile.TemporaryDirectory() as name, mock.patch("time.time_ns") as clock:
        folder = Path(name)
        path, copy = folder / "store.duckdb", folder / "copy" / "store.duckdb"
        clock.return_value = NOW_MS * 1_000_000
        declare(path, history)
        for number, drawn_import in enumerate(history.imports):
            import_files(path, request_for(folder, number, drawn_import))
        copy.parent.mkdir()
        shutil.copy(path, copy)
        for number, drawn in enumerate(corrections):
            clock.return_value = (NOW_MS + 100 + number) * 1_000_000
            is_at_once, report = correct(path, drawn, at_once=True)
            number_at_once += is_at_once
            assert report == correct(copy, drawn, at_once=False)[1], (drawn, report)
            assert content_of(path) == content_of(copy), drawn
        assert not breaches(path)
    return number_at_once


@st.composite
def cases(draw: st.DrawFn) -> tuple[History, list[DrawnCorrection]]:
    history = draw(histories(workspaces=True))
    return history, draw(corrections(history))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_a_correction_made_at_once_is_the_import_of_its_batch(
    case: tuple[History, list[DrawnCorrection]],
) -> None:
    check_both_ways(*case)


@pytest.mark.slow
@seed(20261130)
@settings(
    max_examples=at_length(100, by_night=3000),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(cases())
def test_corrections_at_length(case: tuple[History, list[DrawnCorrection]]) -> None:
    check_both_ways(*case)


FEEDS: dict[str, tuple[str, str | None]] = {"desk": ("account", None), "f": ("csv", None)}
PERSON = History(
    {},
    "rank",
    FEEDS,
    imports=[
        Import(
            feed,
            "create-and-update",
            rows=[{"user_identities": {"email": EMAILS[0]}, "user_attributes": attributes_of_feed}],
        )
        for feed, attributes_of_feed in (("desk", {"k": "1"}), ("f", {"tier": "2", "a.b": ["x"]}))
    ],
)


def drawn_of(sets: dict[str, Any], deletes: list[str], **changes: Any) -> DrawnCorrection:
    """Return a correction of the person of PERSON."""
    drawn = DrawnCorrection(
        place=0,
        identity=("email", EMAILS[0]),
        sets=sets,
        deletes=deletes,
        feed="corrections",
        source=None,
        workspace=None,
        pick=None,
    )
    return replace(drawn, **changes)


def test_corrections_of_all_kinds_are_made_at_once() -> None:
    corrections = [
        drawn_of({"tier": "9", "k": "refused", "new": 1}, []),
        drawn_of({"a.b": "no list"}, ["tier"]),
        drawn_of({}, ["k", "new", "unknown"]),
        drawn_of({"k": "x"}, ["new"], feed="desk"),
        drawn_of({"k": "x"}, [], pick=1),
    ]
    assert check_both_ways(PERSON, corrections) == len(corrections)


def test_what_only_an_import_of_files_can_say_is_left_to_it() -> None:
    """Nobody, several, a value that breaks a limit, a feed that may only read: as it was."""
    corrections = [
        drawn_of({"tier": "9"}, [], identity=("email", "nobody@x.org")),
        drawn_of({"tier": "9"}, [], pick=3),
        drawn_of({"tier": "9" * 5000}, []),
        drawn_of({"tier": "9"}, ["tier"]),
        drawn_of({"tier": "9"}, [], feed="f", source="account"),
    ]
    assert check_both_ways(PERSON, corrections) == 0


def test_a_correction_waits_for_another_process(tmp_path: Path) -> None:
    """A store that somebody reads is waited for, as by an import; it is not refused at once."""
    path = tmp_path / "store.duckdb"
    declare(path, PERSON)
    for number, drawn_import in enumerate(PERSON.imports):
        import_files(path, request_for(tmp_path, number, drawn_import))
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert reader.stdout is not None
    assert reader.stdout.readline()
    is_at_once, report = correct(path, drawn_of({"tier": "9"}, []), at_once=True)
    assert (is_at_once, report["attributes"]["changed"]) == (False, 1)
    reader.communicate()


READER = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print("reads", flush=True)
time.sleep(0.5)
"""
