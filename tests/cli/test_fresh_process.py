"""Each command in a process of its own: what it needs, it loads itself.

Other tests run commands in a process in which others have loaded everything, or one forked from it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.doors import run
from support.effort import spread_now

# Commands that need more of DuckDB than its module in C.
# fmt: off
WITH_ARROW = [
    "export profiles", "export profiles --format parquet -o people.parquet",
    "export profiles --format csv", "export identities --format csv",
    "export attributes --format parquet -o people.parquet", "export batches",
    "lookup list.txt --type customer_id --format csv", "lookup list.csv", "diff 1 --json",
]
OTHERS = [
    "export identities", "export attributes", "export imports", "lookup list.txt --type any",
    "diff 1", "stats", "check", "backup copy.duckdb", "compact", "search a@x --substring --json",
    "show 0017", "show 0017 --json", "show 0017 --save-html page.html", "explain 0017",
    "explain row a.csv:2", "events 0017", "imports list", "feeds list", "audiences list",
    "calculated list", "retention show", "config export", "access --customer-id 0017",
    "set --customer-id 0017 x=1", "modify --customer-id 0017 --add email=z@x.com",
    "import a.csv --feed other --source csv --dry-run",
    "plan a.csv --feed new --source csv -o one.plan",
    "audiences add golden customer_id\\ exists", "calculated add bought --type count --event buy",
    "audiences members golden", "calculated list --json", "imports undo 3 --yes", "outbox list",
    "usage", "privacy requests", "forget --customer-id 0018 --yes",
]
# fmt: on
FRESH = {"PYTHONUTF8": "1"}
"""A variable that Python reads when it starts: with it no process is forked (support/doors.py)."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store of two people, and lists of them."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / "a.csv").write_text("customer_id,email,tier\n0017,a@x.com,gold\n0018,b@x.com,\n")
    (folder / "list.txt").write_text("0017\n0018\n")
    (folder / "list.csv").write_text("customer_id\n0017\n")
    words = ("import", "a.csv", "--feed", "crm", "--source", "csv")
    imported = run(*words, folder=folder)
    assert imported.returncode == 0, imported.stderr
    return folder


@pytest.mark.parametrize("command", spread_now(WITH_ARROW, 3))
def test_a_command_that_reads_much_loads_what_it_needs(command: str, folder: Path) -> None:
    finished = run(*command.split(), folder=folder, **FRESH)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_every_command_loads_what_it_needs(folder: Path) -> None:
    for command in OTHERS:
        words = [word.replace("\\", " ") for word in command.replace("\\ ", "\\").split()]
        finished = run(*words, folder=folder, **FRESH)
        assert finished.returncode == 0, (command, finished.stderr)
