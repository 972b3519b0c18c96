"""A retry does what it is asked: content counts as imported only where it was read the same way,
and applied (R11).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.doors import call, run_here
from support.effort import first_now

A = "customer_id;tier\nA;gold\n"


def brought(
    folder: Path, *arguments: str, status: int = 0, command: str = "import"
) -> dict[str, Any]:
    done = call(command, *arguments, "--feed", "crm", "--json", folder=folder)
    assert done.exit_code == status, done.output
    document: dict[str, Any] = json.loads(done.stdout)
    report: dict[str, Any] = document.get("report", document)  # a plan has its report in it
    return report


def test_the_same_file_after_the_level_of_a_read_only_feed_was_changed_is_imported(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_text(A)
    assert (
        run_here("feeds", "add", "crm", "--protection", "read-only", folder=tmp_path).returncode
        == 0
    )
    first = brought(tmp_path, "a.csv")
    assert (first["import"], first["rows"]["applied"], first["notices"]) == (1, 0, [])
    assert (
        run_here(
            "feeds", "set", "crm", "--protection", "create-and-update", folder=tmp_path
        ).returncode
        == 0
    )
    for command, more in (("import", ["--dry-run"]), ("plan", ["-o", "p.json"]), ("import", [])):
        report = brought(tmp_path, "a.csv", *more, command=command)
        assert report["rows"]["applied"] == 1, command
        assert "import 1 brought this content before, read another way (--protection)" in " ".join(
            report["notices"]
        )
    again = brought(tmp_path, "a.csv")
    assert (again["import"], again["already_imported"], again["notices"]) == (None, 2, [])


def test_a_plan_of_a_file_that_is_read_another_way_is_applied(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(A)
    brought(tmp_path, "a.csv")
    brought(tmp_path, "a.csv", "--map", "tier=ignore", "-o", "p.json", command="plan")
    done = run_here("apply", "p.json", "--json", folder=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["import"]) == (0, 2), done.stderr


def test_what_applied_nothing_is_imported_again(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(A)
    assert brought(tmp_path, "a.csv", "--protection", "update-only")["rows"]["dropped"] == 1
    report = brought(tmp_path, "a.csv", "--protection", "update-only")
    assert report["import"] == 2
    assert report["notices"] == [
        (
            "a.csv: import 1 brought this content before and applied none of its rows: it is"
            " imported again"
        )
    ]


@pytest.mark.parametrize("option", first_now([
    ["--map", "tier=user_attributes.level"], ["--delimiter", ";"], ["--encoding", "latin-1"], ["--null", "gold"], ["--quote", "'"],
    ["--escape", "\\"], ["--ragged", "pad"], ["--unknown", "ignore"], ["--encoding-errors", "reject"], ["--path-columns"],
    ["--binary-as-text"], ["--allow-spoiled"], ["--empty", "delete"], ["--environment", "development"], ["--event", "loaded"],
    ["--protection", "update-only"], ["--format", "csv"],
], 4))  # fmt: skip
def test_a_file_that_is_to_be_read_another_way_is_no_repetition(
    option: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(A)
    brought(tmp_path, "a.csv")
    done = call("import", "a.csv", *option, "--feed", "crm", "--dry-run", "--json", folder=tmp_path)
    report = json.loads(done.stdout)
    assert "already_imported" not in report
    assert any(
        f"({option[0]})" in one and "import 1 brought this content" in one
        for one in report["notices"]
    )
    assert brought(tmp_path, "a.csv")["already_imported"] == 1


def test_the_manifest_counts_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,tier\nA,gold\n")
    (tmp_path / "m.json").write_text(
        json.dumps(
            {
                "columns": [
                    {
                        "action": "keep",
                        "column": "customer_id",
                        "target": "user_identities.customer_id",
                    },
                    {"action": "ignore", "column": "tier"},
                ]
            }
        )
    )
    first = brought(tmp_path, "a.csv", "--manifest", "m.json")
    assert brought(tmp_path, "a.csv", "--manifest", "m.json")["already_imported"] == first["import"]
    (tmp_path / "m.json").write_text((tmp_path / "m.json").read_text() + "\n")
    assert brought(tmp_path, "a.csv", "--manifest", "m.json")["import"] == 2


def test_an_import_of_an_older_version_was_read_by_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(A)
    brought(tmp_path, "a.csv")
    with duckdb.connect(str(tmp_path / "profiles.duckdb")) as store:
        store.execute("update import set request = null")
    assert brought(tmp_path, "a.csv")["already_imported"] == 1
    assert brought(tmp_path, "a.csv", "--null", "x")["import"] == 2


def test_an_undone_import_is_no_reason_and_a_replay_makes_both_ways_again(tmp_path: Path) -> None:
    (tmp_path / "z.csv").write_text("customer_id,n\nZ,1\n")
    (tmp_path / "a.csv").write_text(A)
    brought(tmp_path, "z.csv")
    brought(tmp_path, "a.csv")
    brought(tmp_path, "a.csv", "--map", "tier=level")
    assert run_here("imports", "undo", "1", "--replay", "--yes", folder=tmp_path).returncode == 0
    profile = json.loads(run_here("export", "profiles", folder=tmp_path).stdout)
    assert profile["user_attributes"] == {"tier": "gold", "level": "gold"}
    assert run_here("imports", "undo", "5", "--yes", folder=tmp_path).returncode == 0
    assert brought(tmp_path, "a.csv")["already_imported"] == 4
