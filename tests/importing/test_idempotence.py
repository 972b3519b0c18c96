"""The same again changes nothing: contents are known by feed, requests by feed and id."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.doors import run_here
from support.effort import spread_now

A = "customer_id,tier\nA,gold\nB,iron\n"


def brought(folder: Path, *arguments: str, feed: str = "f", status: int = 0) -> dict[str, Any]:
    done = run_here("import", *arguments, "--feed", feed, "--json", folder=folder)
    assert done.returncode == status, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def batch(customer: str, request: str, **values: Any) -> str:
    return (
        json.dumps(
            {
                "user_identities": {"customer_id": customer},
                "user_attributes": values,
                "source_request_id": request,
            }
        )
        + "\n"
    )


def values(folder: Path) -> dict[str, Any]:
    lines = [
        json.loads(line)
        for line in run_here("export", "profiles", folder=folder).stdout.splitlines()
    ]
    return {one["user_identities"]["customer_id"][0]: one["user_attributes"] for one in lines}


def test_the_same_content_for_the_same_feed_is_imported_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(A)
    (tmp_path / "copy.csv").write_text(A)
    assert brought(tmp_path, "a.csv")["import"] == 1
    store = (tmp_path / "profiles.duckdb").read_bytes()
    again = brought(tmp_path, "copy.csv")
    assert (again["import"], again["already_imported"], again["rows"]["read"]) == (None, 1, 0)
    assert (tmp_path / "profiles.duckdb").read_bytes() == store
    assert (
        "already imported as 1"
        in run_here("import", "copy.csv", "--feed", "f", folder=tmp_path).stderr
    )
    assert brought(tmp_path, "copy.csv", feed="g")["import"] == 2
    repeated = brought(tmp_path, "a.csv", "--again")
    assert (
        repeated["import"],
        repeated["attributes"]["changed"],
        repeated["attributes"]["unchanged"],
    ) == (3, 0, 2)
    assert brought(tmp_path, "a.csv")["already_imported"] == 3


def test_of_several_files_only_the_new_ones_are_imported(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(A)
    (tmp_path / "b.csv").write_text("customer_id,tier\nC,tin\n")
    brought(tmp_path, "a.csv")
    report = brought(tmp_path, "a.csv", "b.csv")
    assert (report["import"], report["rows"]["read"]) == (2, 1)
    assert [one.get("already_imported") for one in report["files"]] == [1, None]
    assert brought(tmp_path, "a.csv", "b.csv")["already_imported"] == 2


def test_a_refused_or_a_dry_import_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(A + ",nobody\n")
    assert (
        run_here("import", "a.csv", "--feed", "f", "--max-rejects", "0", folder=tmp_path).returncode
        == 4
    )
    brought(tmp_path, "a.csv", "--dry-run", status=3)
    assert brought(tmp_path, "a.csv", status=3)["import"] == 1


@pytest.mark.parametrize("how", spread_now(["one file", "two files", "two imports"], 3))
def test_a_request_is_made_once_across_rows_files_and_imports(how: str, tmp_path: Path) -> None:
    first, second = (
        batch("A", "r1", tier="gold"),
        batch("A", "r1", tier="lead") + batch("A", "r2", city="Ulm"),
    )
    if how == "one file":
        (tmp_path / "a.jsonl").write_text(first + second)
        reports = [brought(tmp_path, "a.jsonl")]
    else:
        (tmp_path / "a.jsonl").write_text(first)
        (tmp_path / "b.jsonl").write_text(second)
        reports = (
            [brought(tmp_path, "a.jsonl", "b.jsonl")]
            if how == "two files"
            else [brought(tmp_path, "a.jsonl"), brought(tmp_path, "b.jsonl")]
        )
    assert sum(one["reasons"].get("DUPLICATE_REQUEST", 0) for one in reports) == 1
    assert sum(one["rows"]["dropped"] for one in reports) == 1
    assert values(tmp_path) == {"A": {"tier": "gold", "city": "Ulm"}}


def test_a_request_is_known_by_its_feed_and_forgotten_with_its_import(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(batch("A", "r1", tier="gold"))
    (tmp_path / "b.jsonl").write_text(batch("A", "r1", tier="lead"))
    brought(tmp_path, "a.jsonl")
    assert brought(tmp_path, "b.jsonl")["rows"]["dropped"] == 1
    assert brought(tmp_path, "b.jsonl", feed="g")["rows"]["applied"] == 1
    # The drop rests on the first import: it cannot go alone.
    assert run_here(*["imports", "undo", "1", "--yes"], folder=tmp_path).returncode == 4
    assert run_here("imports", "undo", "1", "--replay", "--yes", folder=tmp_path).returncode == 0
    assert values(tmp_path) == {"A": {"tier": "lead"}}
    assert run_here("check", folder=tmp_path).returncode == 0


def test_an_interrupted_import_is_made_again_by_the_same_command(tmp_path: Path) -> None:
    """The file is read whole before anything is written; a kill at any point stands in
    test_crash.py.
    """
    (tmp_path / "a.csv").write_text(A)
    assert run_here("import", "a.csv", "gone.csv", "--feed", "f", folder=tmp_path).returncode == 4
    assert not (tmp_path / "profiles.duckdb").exists()
    (tmp_path / "gone.csv").write_text("customer_id,tier\nC,tin\n")
    assert brought(tmp_path, "a.csv", "gone.csv")["rows"]["applied"] == 3


@pytest.mark.parametrize("rows", [2, 60_000], ids=["small", "of 1.5 MB"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_file_is_known_by_the_sha256_of_all_its_bytes(
    rows: int, name: str, tmp_path: Path
) -> None:
    content = b"customer_id,name\n" + b"".join(b"C%09d,a person\n" % row for row in range(rows))
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    report = brought(tmp_path, name)
    known = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert [file["sha256"] for file in report["files"]] == [known]
