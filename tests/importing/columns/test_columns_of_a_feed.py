"""`profilectl columns --feed F` reads files as the feed remembers; the command line wins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.doors import made_once, run_here

TEXT = "Contacts of May\nRef;Mail;Stadt\nC-1;a@x.org;Köln\nC-2;-;Bonn\n"
READING = {
    "map": {"Ref": "customer_id", "Mail": "email"},
    "delimiter": ";",
    "encoding": "windows-1252",
    "null": ["-"],
    "skip_lines": 1,
}


@made_once
def remembered(folder: Path) -> None:
    keys = "\n".join(
        f"{key} = {json.dumps(value)}" for key, value in READING.items() if key != "map"
    )
    text = f'[feeds.crm.reading]\n{keys}\nmap = {{ Ref = "customer_id", Mail = "email" }}\n'
    (folder / "c.toml").write_text(text)
    assert run_here("config", "apply", "c.toml", folder=folder).returncode == 0
    (folder / "a.csv").write_bytes(TEXT.encode("windows-1252"))


def columns(folder: Path, *options: str) -> dict[str, Any]:
    result = run_here("columns", "a.csv", "--json", *options, folder=folder)
    assert result.returncode == 0, result.stderr
    (table,) = json.loads(result.stdout)["files"]
    return {column["column"]: column for column in table["columns"]}


def test_the_files_are_read_as_the_feed_remembers(tmp_path: Path) -> None:
    there = columns(remembered(tmp_path), "--feed", "crm")
    assert {name: column["becomes"] for name, column in there.items()} == {
        "Ref": "user_identities.customer_id",
        "Mail": "user_identities.email",
        "Stadt": "user_attributes.Stadt",
    }
    assert there["Stadt"]["first_values"] == ["Köln", "Bonn"]
    assert there["Mail"]["filled"] == 1


def test_it_says_what_is_taken_from_the_feed(tmp_path: Path) -> None:
    result = run_here("columns", "a.csv", "--feed", "crm", folder=remembered(tmp_path))
    assert "as the feed crm is read: --map Ref=customer_id" in result.stderr
    quiet = run_here("columns", "a.csv", "--feed", "crm", "-q", folder=tmp_path)
    assert (quiet.stdout, quiet.stderr) == (result.stdout, "")


def test_the_command_line_wins(tmp_path: Path) -> None:
    folder = remembered(tmp_path)
    there = columns(folder, *("--feed", "crm", "--map", "Mail=other", "--null", "Bonn"))
    assert there["Mail"]["becomes"] == "user_identities.other"
    assert there["Mail"]["first_values"] == ["a@x.org", "-"]
    assert there["Stadt"]["first_values"] == ["Köln"]
    (folder / "a.csv").write_text("Ref,Mail\nC-1,a@x.org\n")
    there = columns(folder, *("--feed", "crm", "--skip-lines", "0", "--delimiter", ","))
    assert there["Ref"]["becomes"] == "user_identities.customer_id"


def test_without_a_feed_none_of_it_holds(tmp_path: Path) -> None:
    assert run_here("columns", "a.csv", folder=remembered(tmp_path)).returncode == 4


@pytest.mark.parametrize("name", ["crn", "x"])
def test_a_feed_that_there_is_not_is_refused(tmp_path: Path, name: str) -> None:
    result = run_here("columns", "a.csv", "--feed", name, folder=remembered(tmp_path))
    assert result.returncode == 2
    assert f"there is no feed {name}" in result.stderr
    assert "crm" in result.stderr


def test_a_feed_needs_a_store(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("email\na@x.org\n")
    result = run_here("columns", "a.csv", "--feed", "crm", folder=tmp_path)
    assert result.returncode == 6
    assert not (tmp_path / "profiles.duckdb").exists()
