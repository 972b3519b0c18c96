"""Rows of the file and profiles of the store that share a value count together; marks of nothing
come first (R14).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.doors import call, run_here

from profilectl.rules.identity import looks_like_nothing


def written(
    folder: Path, name: str, first: int, rows: int, email: str = "office@example.com"
) -> None:
    lines = [f"C{n},{email}\n" for n in range(first, first + rows)]
    (folder / name).write_text("customer_id,email\n" + "".join(lines))


def brought(folder: Path, name: str, *more: str, status: int = 0) -> dict[str, Any]:
    done = run_here("import", name, "--feed", "f", "--json", *more, folder=folder)
    assert done.returncode == status, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_rows_and_other_profiles_count_together(tmp_path: Path) -> None:
    written(tmp_path, "a.csv", 0, 60)
    written(tmp_path, "b.csv", 60, 60)
    assert brought(tmp_path, "a.csv")["shared"] == [
        {"type": "email", "value": "office@example.com", "rows": 60, "profiles": 0}
    ]
    refused = run_here("import", "b.csv", "--feed", "f", "--max-shared", "119", folder=tmp_path)
    assert refused.returncode == 4
    assert (
        "60 rows and 60 other profiles share the email office@example.com, more than"
        " --max-shared 119"
    ) in refused.stderr
    assert (
        brought(tmp_path, "b.csv", "--max-shared", "120", "--dry-run")["examples"]["shared"][0][
            "profiles"
        ]
        == 60
    )
    done = run_here("import", "b.csv", "--feed", "f", "--max-shared", "120", folder=tmp_path)
    assert "60 rows and 60 other profiles share the email office@example.com" in done.stderr
    # Of the same people again nobody else has the value but the others.
    assert brought(tmp_path, "b.csv", "--again")["shared"] == [
        {"type": "email", "value": "office@example.com", "rows": 60, "profiles": 60}
    ]


@pytest.mark.parametrize(("rows", "told"), [(9, 0), (10, 1)])
def test_a_value_is_told_of_from_ten_on(rows: int, told: int, tmp_path: Path) -> None:
    written(tmp_path, "a.csv", 0, rows)
    assert len(brought(tmp_path, "a.csv")["shared"]) == told


def test_one_row_with_the_value_of_many_profiles_is_told_of(tmp_path: Path) -> None:
    written(tmp_path, "a.csv", 0, 9)
    written(tmp_path, "b.csv", 9, 1)
    assert brought(tmp_path, "a.csv")["shared"] == []
    assert brought(tmp_path, "b.csv", "--dry-run")["shared"] == [
        {"type": "email", "value": "office@example.com", "rows": 1, "profiles": 9}
    ]
    done = run_here("import", "b.csv", "--feed", "f", "--max-shared", "2", folder=tmp_path)
    assert done.returncode == 4
    assert "1 row and 9 other profiles share the email" in done.stderr


def test_a_value_of_one_person_is_not_shared_however_small_the_limit(tmp_path: Path) -> None:
    written(tmp_path, "a.csv", 0, 1)
    brought(tmp_path, "a.csv")
    assert brought(tmp_path, "a.csv", "--again", "--max-shared", "1")["import"] == 2
    written(tmp_path, "b.csv", 1, 1)
    assert (
        run_here("import", "b.csv", "--feed", "f", "--max-shared", "1", folder=tmp_path).returncode
        == 4
    )


def test_marks_of_nothing_come_first_and_twenty_at_most_are_told_of(tmp_path: Path) -> None:
    lines = [f"C{value}x{n},{value}@example.com\n" for value in range(25) for n in range(12)]
    lines += [f"D{n},noreply@example.com\n" for n in range(10)]
    (tmp_path / "a.csv").write_text("customer_id,email\n" + "".join(lines))
    shared = brought(tmp_path, "a.csv")["shared"]
    assert len(shared) == 20
    assert shared[0] == {"type": "email", "value": "noreply@example.com", "rows": 10, "profiles": 0}
    assert {one["rows"] for one in shared[1:]} == {12}


def test_the_history_keeps_no_value_that_was_shared(tmp_path: Path) -> None:
    written(tmp_path, "a.csv", 0, 12)
    brought(tmp_path, "a.csv")
    done = call("imports", "show", "1", "--json", folder=tmp_path)
    assert "office" not in done.stdout
    assert (
        b"office@example.com"
        not in run_here("imports", "list", "--json", folder=tmp_path).stdout.encode()
    )


@pytest.mark.parametrize(("kind", "value", "nothing"), [
    ("mobile_number", "0000000000", True), ("mobile_number", "+1111111111", True), ("mobile_number", "+447700900123", False),
    ("email", "noreply@shop.com", True), ("email", "no-reply@shop.com", True), ("email", "Unknown@shop.com", True),
    ("email", "test1@shop.com", True), ("email", "jane@shop.com", False), ("email", "office@test.com", False),
    ("customer_id", "N/A", True), ("customer_id", "NaT", True), ("customer_id", "#REF!", True), ("customer_id", "-", True), ("customer_id", "xxxx", True), ("customer_id", "C12", False),
])  # fmt: skip
def test_what_looks_like_a_mark_of_nothing(kind: str, value: str, nothing: bool) -> None:
    assert looks_like_nothing(kind, value) == nothing
