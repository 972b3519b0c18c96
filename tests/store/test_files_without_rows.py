"""A file or an import without rows takes nothing from the next one, which begins at the same row.

A nightly job that finds no customers leaves a file with a header only. Every command that tells the
file, the line, the feed or the import of a value tells those that brought it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.doors import call, made_once, run_here

HEADER = "customer_id,tier\n"
BATCH = {
    "user_identities": {"customer_id": "E"},
    "user_attributes": {"tier": "tin"},
    "events": [
        {
            "event_type": "custom_event",
            "data": {"event_name": "visit", "custom_event_type": "other"},
        }
    ],
}


def make(folder: Path) -> None:
    """Make a store whose imports 1 and 4 have no rows, and whose import 3 begins and ends so."""
    (folder / "none.csv").write_text(HEADER)
    (folder / "b.csv").write_text(f"{HEADER}B,gold\n")
    (folder / "before.csv").write_text(HEADER)
    (folder / "d.csv").write_text(f"{HEADER}D,gold\n,tin\n")
    (folder / "after.csv").write_text(HEADER + "\n")
    (folder / "none-again.csv").write_text(f"{HEADER}\n\n")
    (folder / "e.jsonl").write_text(json.dumps(BATCH) + "\n")
    (folder / "c.toml").write_text(
        '[outputs.lake]\ntype = "jsonl"\npath = "lake.jsonl"\n'
        '[connections.lake]\nfeed = "events"\noutput = "lake"\n'
    )
    for arguments, status in (
        ("feeds add events", 0),
        ("config apply c.toml", 0),
        ("import none.csv --feed nobody", 0),
        ("import b.csv --feed b", 0),
        ("import before.csv d.csv after.csv --feed d", 3),
        ("import none-again.csv --feed nobody", 0),
        ("import e.jsonl --feed events", 0),
    ):
        ended = call(*arguments.split(), folder=folder)
        assert ended.exit_code == status, ended.stderr


made = made_once(make)

PLACES = {
    "show --customer-id B": "import 2, b.csv:2",
    "show --customer-id D": "import 3, d.csv:2",
    "show --customer-id E": "import 5, e.jsonl:1",
    "explain --customer-id D --attribute tier": "import 3, d.csv:2",
    "explain identity --customer-id D": "d.csv:2",
    "explain row d.csv:2": "import 3",
    "explain row d.csv:3": "NO_IDENTITY",
    "explain row before.csv:2": "no row begins there",
    "export attributes": '"import":3,"file":"d.csv","line":2',
    "export identities": '"import":3,"file":"d.csv","line":2',
    "export profiles --provenance": "d.csv",
    "diff 3": "d.csv:2",
    "diff 2": "b.csv:2",
    "imports show 3": "d.csv  2 rows",
    "stream": "e.jsonl",
    "events": "visit",
    "usage --rows": "e.jsonl",
    "access --customer-id D": "d.csv",
    "enrich d.csv --feed d": "D",
}
SILENT = ("none.csv", "before.csv", "after.csv", "none-again.csv")


@pytest.mark.parametrize("arguments", PLACES)
def test_the_place_of_a_row_is_the_file_that_has_it(arguments: str, tmp_path: Path) -> None:
    ended = run_here(*arguments.split(), folder=made(tmp_path))
    said = ended.stdout + ended.stderr
    assert PLACES[arguments] in said
    if "before.csv" not in arguments and arguments != "imports show 3":
        assert not [name for name in SILENT if name in said]


def test_no_promise_is_broken(tmp_path: Path) -> None:
    ended = call("check", folder=made(tmp_path))
    assert ended.exit_code == 0, ended.stdout


def test_who_is_erased_goes_from_the_file_that_has_the_row(tmp_path: Path) -> None:
    folder = made(tmp_path)
    ended = call("forget", "--customer-id", "D", "--yes", "--json", folder=folder)
    document: dict[str, Any] = json.loads(ended.stdout)
    assert "d.csv" in json.dumps(document)
    assert not [name for name in SILENT if name in json.dumps(document)]
    assert call("check", folder=folder).exit_code == 0


def test_an_import_without_rows_is_undone_alone(tmp_path: Path) -> None:
    folder = made(tmp_path)
    assert call("imports", "undo", "1", "--yes", folder=folder).exit_code == 0
    assert call("check", folder=folder).exit_code == 0
    assert "import 2, b.csv:2" in call("show", "--customer-id", "B", folder=folder).stdout
