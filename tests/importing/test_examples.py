"""The examples of a dry run and a plan: they say what is so, of every kind, whatever the values
are.
"""

from __future__ import annotations

import json
from pathlib import Path

from support.doors import run_here


def dry(folder: Path, name: str, text: str) -> dict[str, object]:
    (folder / name).write_text(text)
    done = run_here("import", name, "--feed", "f", "--dry-run", "--json", folder=folder)
    assert done.returncode in (0, 3), done.stderr
    found: dict[str, object] = json.loads(done.stdout)["examples"]
    return found


def test_a_first_load_shows_what_would_be_new(tmp_path: Path) -> None:
    found = dry(tmp_path, "a.csv", "customer_id,email,tier\nA,a@x.io,gold\n")
    assert found["profiles"]["created"] == [  # type: ignore[index]
        {
            "file": "a.csv",
            "line": 2,
            "identities": {"customer_id": "A", "email": "a@x.io"},
            "attributes": {"tier": "gold"},
        }
    ]
    assert [one["type"] for one in found["identities"]["added"]] == ["customer_id", "email"]  # type: ignore[index]
    assert [(one["attribute"], one["after"]) for one in found["attributes"]["set"]] == [
        ("tier", "gold")
    ]  # type: ignore[index]


def test_a_placeholder_is_no_identity_of_an_example_and_is_listed_by_row(tmp_path: Path) -> None:
    found = dry(tmp_path, "a.csv", "customer_id,email\nA,null\n")
    assert found["profiles"]["created"][0]["identities"] == {"customer_id": "A"}  # type: ignore[index]
    assert [one["line"] for one in found["reasons"]["IDENTITY_PLACEHOLDER"]] == [2]  # type: ignore[index]
    assert (
        run_here(
            "import", "a.csv", "--feed", "f", "--explain-rows", "rows.jsonl", folder=tmp_path
        ).returncode
        == 0
    )
    (line,) = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert (json.loads(line)["line"], json.loads(line)["code"]) == (2, "IDENTITY_PLACEHOLDER")


def test_examples_are_printed_digit_for_digit(tmp_path: Path) -> None:
    big = "18446744073709551616", "-9223372036854775809", "1.10", "1e400"
    (tmp_path / "a.jsonl").write_text(
        "".join(f'{{"customer_id": "C{n}", "n": {one}}}\n' for n, one in enumerate(big[:3]))
    )
    (tmp_path / "b.csv").write_text("customer_id,x\nA,\0z\n")
    for name in ("a.jsonl", "b.csv"):
        dry_run = run_here("import", name, "--feed", "f", "--dry-run", folder=tmp_path)
        made = run_here("plan", name, "--feed", "f", "-o", f"{name}.plan", folder=tmp_path)
        shown = run_here("plan", "show", f"{name}.plan", folder=tmp_path)
        assert dry_run.returncode == made.returncode == (3 if name == "b.csv" else 0), (
            dry_run.stderr + made.stderr
        )
        assert shown.returncode == 0, shown.stderr
        if name == "a.jsonl":
            for one in big[:3]:
                assert one in dry_run.stdout
                assert one in shown.stdout


def test_a_text_that_becomes_a_number_looks_like_a_change(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"customer_id": "A", "level": "4"}\n')
    assert run_here("import", "a.jsonl", "--feed", "f", folder=tmp_path).returncode == 0
    (tmp_path / "b.jsonl").write_text('{"customer_id": "A", "level": 4}\n')
    assert (
        'level: "4" -> 4'
        in run_here("import", "b.jsonl", "--feed", "f", "--dry-run", folder=tmp_path).stdout
    )
