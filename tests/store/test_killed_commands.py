"""A command that is killed at any of its statements leaves a sound store, and run again it
finishes.

Of what an import does beyond its commit, and of the commands that write the store anew. (Imports
and upkeep: test_crash.py.)
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.doors import call
from support.effort import at_length

from profilectl.codes import NobodyFound

# A child that counts what it does to the store, and is killed at the so-manyeth; 0: it says how
# many there are.
COUNTING = """
import os, signal, sys
from profilectl.store.scratch import Scratch
import profilectl.audiences.refresh as refresh
place, seen, marks = int(sys.argv.pop(1)), 0, []
def counting(real):
    def call(*arguments, **more):
        global seen
        seen += 1
        if seen == place:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **more)
    return call
Scratch.run, Scratch.rows = counting(Scratch.run), counting(Scratch.rows)
os.replace, os.fsync = counting(os.replace), counting(os.fsync)
begin = refresh.refresh_store
def marked(*arguments, **more):
    marks.append(seen)
    return begin(*arguments, **more)
refresh.refresh_store = marked
from profilectl.cli.app import main
sys.argv[0] = "profilectl"
try:
    main()
finally:
    if not place:
        open("counted", "w").write(f"{marks[0] if marks else 0} {seen}")
"""
DAYS = 400
PEOPLE = 300


def later(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def done(folder: Path, *arguments: str, ok: tuple[int, ...] = (0,)) -> str:
    found = call(*arguments, folder=folder)
    assert found.exit_code in ok, (arguments, found.output, found.exception)
    return found.stdout


def batches(first: int, count: int, days: float) -> str:
    at_ms = int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 1000)
    event = {
        "event_type": "custom_event",
        "data": {
            "event_name": "order",
            "custom_event_type": "transaction",
            "timestamp_unixtime_ms": at_ms,
        },
    }
    return "".join(
        json.dumps(
            {
                "user_identities": {"customer_id": f"C{n}", "email": f"p{n}@example.org"},
                "timestamp_unixtime_ms": at_ms,
                "user_attributes": {"tier": "gold" if n % 3 else "silver", "note": f"note-of-{n}"},
                "events": [event],
            }
        )
        + "\n"
        for n in range(first, first + count)
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store with calculated attributes, audiences, retention, requests, and a file to
    import.
    """
    folder = tmp_path_factory.mktemp("killed")
    (folder / "old.jsonl").write_text(batches(0, PEOPLE, DAYS))
    (folder / "new.jsonl").write_text(batches(PEOPLE // 2, PEOPLE, 0))
    done(folder, "import", "old.jsonl", "--feed", "app", "--source", "sdk")
    done(folder, "calculated", "add", "orders", "--type", "count", "--event", "order")
    done(folder, "audiences", "add", "golden", "tier = 'gold' and orders >= 2")
    done(folder, "audiences", "add", "anybody", "tier exists")
    done(folder, "retention", "set", "--lifetime-days", "30", "--retention-days", "730")
    for number, kind in enumerate(("access", "erasure")):
        document = {
            "regulation": "gdpr",
            "subject_request_id": f"a755196{number}-d5d6-44b2-9831-815ac9017798",
            "subject_request_type": kind,
            "submitted_time": "2026-11-20T15:00:00Z",
            "api_version": "3.0",
            "subject_identities": {
                "controller_customer_id": {"value": f"C{number + 1}", "encoding": "raw"}
            },
        }
        (folder / "request.json").write_text(json.dumps(document))
        done(folder, "privacy", "request", "request.json", "--json")
    return folder


def copied(base: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    return folder


def child(folder: Path, place: int, arguments: list[str]) -> int:
    found = subprocess.run(
        [sys.executable, "-c", COUNTING, str(place), *arguments],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert found.returncode in (0, -signal.SIGKILL), found.stderr
    return found.returncode


KEY = "profiles.duckdb.suppression-key"
"""It stays, whenever the command that made it is killed: the next one takes it."""


def state(folder: Path) -> dict[str, Any]:
    """Return what a store says, without the times at which it was done."""
    exported = [
        json.loads(line)
        for line in done(folder, "export", "profiles", "--sorted", "--provenance").splitlines()
    ]
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        tables = {
            name: store.execute(f"select {columns} from {table} order by all").fetchall()
            for name, columns, table in (
                ("calculated", "*", "calculated"),
                ("members", "audience, profile", "membership"),
                ("erasures", "kind, profiles, rows", "erasure"),
                # each run makes a key of its own
                ("requests", "id, status, profiles, identities", "subject_request"),
                ("suppressed", "person, type", "suppressed"),
                ("changes", "audience, profile, change, import", "membership_change"),
                ("aged", "profile", "aged"),
            )
        }
    return {"profiles": exported, **tables}


COMMANDS = {
    "import": ["import", "new.jsonl", "--feed", "app"],
    "retention": ["retention", "apply", "--yes", "--now", later(1)],
    "privacy": ["privacy", "run", "--yes", "--now", later(8), "-o", "answers"],
    "forget": ["forget", "--file", "who.txt", "--type", "customer_id", "--yes"],
}
ENOUGH = at_length(5, by_night=60)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_statement_it_is_sound_and_run_again_it_finishes(
    name: str, base: Path, tmp_path: Path
) -> None:
    arguments = COMMANDS[name]
    base = copied(base, tmp_path / "base")
    (base / "who.txt").write_text("".join(f"C{n}\n" for n in range(20, 40)))
    before = state(base)
    whole = copied(base, tmp_path / "whole")
    assert child(whole, 0, arguments) == 0
    after = state(whole)
    assert after != before
    first, last = map(int, (whole / "counted").read_text().split())
    chance = random.Random(name)
    # Of an import, only what comes after its commit; the rest is in test_crash.py. The last places
    # are where it is written.
    places = [chance.randrange(max(1, first), last + 1) for _ in range(ENOUGH)] + [
        last - 4,
        last - 2,
        last,
    ]
    for place in places:
        folder = copied(base, tmp_path / "killed")
        assert child(folder, place, arguments) == -signal.SIGKILL
        done(folder, "check")
        left = state(folder)
        again = call(*arguments, folder=folder)
        # Who is forgotten already is not found again.
        assert again.exit_code == 0 or (
            name == "forget" and left == after and isinstance(again.exception, NobodyFound)
        ), again.output
        done(folder, "check")
        assert state(folder) == after, (name, place, last)
        if name in ("retention", "forget"):
            assert left in (before, after), (name, place)
        # Killed between its commit and its end, it leaves its log, and whoever only reads leaves
        # that too.
        assert {one.name for one in folder.iterdir() if one.name.startswith((".", "profiles"))} - {
            "profiles.duckdb.wal",
            KEY,
        } == {"profiles.duckdb"}, (name, place)
