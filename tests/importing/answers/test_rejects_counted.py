"""`--rejects none`: rows that cannot be used are counted, and nobody keeps them.

For files of which many rows are of nobody, such as purchases without a customer.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.doors import run_here

PURCHASES = "email,item\na@example.com,tea\n,cake-for-nobody\n,bread-for-nobody\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.csv").write_text(PURCHASES)
    return tmp_path


def words(text: str) -> list[str]:
    """Return the words of a command as a shell reads them."""
    return shlex.split(text)


def imported(folder: Path, *arguments: str, status: int = 3) -> dict[str, Any]:
    process = run_here(*words("import p.csv --feed f --json"), *arguments, folder=folder)
    assert process.returncode == status, process.stderr
    document: dict[str, Any] = json.loads(process.stdout)
    return document


def rejects_in_store(folder: Path) -> int:
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        row = store.execute("select count(*) from reject").fetchone()
    assert row is not None
    return int(row[0])


def names(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.iterdir() if "reject" in path.name or path.name == "none"
    )


def test_the_rows_are_counted_in_the_report_and_the_history_and_kept_nowhere(folder: Path) -> None:
    document = imported(folder, "--rejects", "none")
    assert document["rows"] == {"read": 3, "applied": 1, "dropped": 0, "rejected": 2}
    assert document["reasons"] == {"NO_IDENTITY": 2}
    assert document["rejects"] is None
    assert document["notices"][-1] == (
        "2 rejected rows are counted only (--rejects none): 2 NO_IDENTITY"
    )
    assert document["advice"] == []
    assert names(folder) == []
    assert rejects_in_store(folder) == 0
    assert "for-nobody" not in (folder / "profiles.duckdb").read_bytes().decode("latin-1")
    past = json.loads(run_here(*words("imports show 1 --json"), folder=folder).stdout)
    assert past["reasons"] == {"NO_IDENTITY": 2}
    assert past["rows"]["rejected"] == 2
    assert run_here("check", folder=folder).returncode == 0


def test_without_it_they_are_written_and_kept(folder: Path) -> None:
    assert imported(folder)["rejects"] == "p.csv.rejects.jsonl"
    assert rejects_in_store(folder) == 2


def test_a_file_of_that_name_is_named_with_its_folder(folder: Path) -> None:
    imported(folder, "--rejects", "./none")
    assert names(folder) == ["none"]


def test_a_dry_run_and_a_repeated_import_write_nothing_either(folder: Path) -> None:
    imported(folder, *words("--rejects none --dry-run"))
    imported(folder, "--rejects", "none")
    imported(folder, "--rejects", "none", status=0)  # imported already
    imported(folder, "--rejects", "rejects.jsonl", status=0)  # there are none to write again
    assert names(folder) == []


def test_limits_and_the_other_files_of_rejects_are_as_ever(folder: Path) -> None:
    process = run_here(
        *words("import p.csv --feed f --rejects none --max-rejects 1"), folder=folder
    )
    assert process.returncode == 4
    assert "2 of 3 rows would be rejected" in process.stderr
    assert "they are in" not in process.stderr
    document = imported(
        folder, *words("--rejects none --rejects-as-input mend.csv --explain-rows why.jsonl")
    )
    assert document["rejects_as_input"] == "mend.csv"
    assert (folder / "mend.csv").read_text().count("nobody") == 2
    assert (folder / "why.jsonl").read_text().count("NO_IDENTITY") == 2


def test_a_plan_keeps_to_it_unless_apply_names_a_file(folder: Path) -> None:
    run_here(*words("plan p.csv --feed f -o p.plan --rejects none"), folder=folder)
    process = run_here("apply", "p.plan", "--json", folder=folder)
    assert process.returncode == 3, process.stderr
    assert json.loads(process.stdout)["rejects"] is None
    assert rejects_in_store(folder) == 0
    assert names(folder) == []


def test_apply_may_say_it_of_a_plan_that_does_not(folder: Path) -> None:
    run_here(*words("plan p.csv --feed f -o p.plan"), folder=folder)
    assert run_here(*words("apply p.plan --rejects none"), folder=folder).returncode == 3
    assert rejects_in_store(folder) == 0
    assert names(folder) == []


def test_an_import_that_is_made_again_keeps_to_it(folder: Path) -> None:
    (folder / "before.csv").write_text("email,item\nz@example.com,soup\n")
    run_here(*words("import before.csv --feed f"), folder=folder)
    imported(folder, "--rejects", "none")
    process = run_here(*words("imports undo 1 --replay --yes"), folder=folder)
    assert process.returncode == 0, process.stderr
    assert rejects_in_store(folder) == 0
    assert run_here("check", folder=folder).returncode == 0


def test_explain_says_why_such_a_row_is_not_there(folder: Path) -> None:
    imported(folder, "--rejects", "none")
    process = run_here("explain", "row", "p.csv:3", folder=folder)
    assert process.returncode == 4
    assert "kept no rejects (--rejects none)" in process.stderr
