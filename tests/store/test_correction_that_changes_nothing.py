"""A correction that changes nothing is no import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.doors import run


@pytest.fixture(params=["at once", "as an import"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    (tmp_path / "a.csv").write_text("customer_id,tier\nA,gold\n")
    assert run(*["import", "a.csv", "--feed", "sdk"], folder=tmp_path).returncode == 0
    if request.param == "as an import":
        # Where batches leave, the import of files decides.
        (tmp_path / "out.toml").write_text(
            '[outputs.file]\ntype = "jsonl"\npath = "out.jsonl"\n'
            '[connections.c]\nfeed = "corrections"\noutput = "file"\n[feeds.corrections]\n'
        )
        assert run("config", "apply", "out.toml", folder=tmp_path).returncode == 0
    return tmp_path


def json_of_command(*words: str, folder: Path, status: int = 0) -> Any:
    finished = run("set", "--customer-id", "A", *words, "--json", folder=folder)
    assert finished.returncode == status, finished.stderr
    return json.loads(finished.stdout)


def numbers(folder: Path) -> list[int]:
    listed = json.loads(run("imports", "list", "--json", folder=folder).stdout)
    return [past["import"] for past in listed]


def test_a_value_that_is_there_is_no_import(folder: Path) -> None:
    assert json_of_command("colour=red", folder=folder)["import"] == 2
    before = (folder / "profiles.duckdb").read_bytes()
    again = json_of_command("colour=red", folder=folder)
    assert again["import"] is None
    assert again["attributes"]["unchanged"] == 1
    assert numbers(folder) == [1, 2]
    assert (folder / "profiles.duckdb").read_bytes() == before
    finished = run(*["set", "--customer-id", "A", "colour=red"], folder=folder)
    assert finished.returncode == 0
    assert finished.stdout == "no import: nothing changes (1 unchanged)\n"


def test_a_value_of_a_lesser_source_becomes_that_of_the_correction(folder: Path) -> None:
    # The value is the same, but its source, which ranks worse, cannot change it any more.
    assert json_of_command("tier=gold", folder=folder)["import"] == 2
    (folder / "b.csv").write_text("customer_id,tier\nA,silver\n")
    run(*["import", "b.csv", "--feed", "sdk"], folder=folder)
    assert json_of_command("tier=gold", folder=folder)["import"] is None


def test_deleting_what_is_not_there_is_no_import(folder: Path) -> None:
    assert json_of_command("--delete", "nothing", folder=folder)["import"] is None
    assert json_of_command("colour=red", folder=folder)["import"] == 2
    assert json_of_command("--delete", "colour", folder=folder)["import"] == 3
    assert json_of_command("--delete", "colour", folder=folder)["import"] is None
    assert json_of_command("colour=red", folder=folder)["import"] == 4


def test_some_change_is_an_import(folder: Path) -> None:
    assert json_of_command("colour=red", folder=folder)["import"] == 2
    assert json_of_command("colour=red", "size=9", folder=folder)["import"] == 3
    assert json_of_command("size:=9", folder=folder)["import"] == 4  # a number now
    assert json_of_command("size:=9", folder=folder)["import"] is None


def test_a_feed_is_not_registered_for_nothing(folder: Path) -> None:
    assert json_of_command("colour=red", folder=folder)["import"] == 2
    report = json_of_command("colour=red", "--feed", "desk", folder=folder)
    assert (report["import"], report["notices"]) == (None, [])
    feeds = json.loads(run("feeds", "list", "--json", folder=folder).stdout)
    assert "desk" not in [feed["name"] for feed in feeds]


def test_a_refused_value_is_an_import(folder: Path) -> None:
    assert json_of_command("colour=red", folder=folder)["import"] == 2
    report = json_of_command(
        "colour=red", "--source", "csv", "--feed", "late", folder=folder, status=3
    )
    assert report["import"] == 3


def modified(*words: str, folder: Path) -> Any:
    finished = run(*["modify", "--customer-id", "A", *words, "--json"], folder=folder)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_an_identity_that_is_there_is_no_import(folder: Path) -> None:
    assert modified("--add", "email=a@x.org", folder=folder)["import"] == 2
    before = (folder / "profiles.duckdb").read_bytes()
    again = modified("--add", "email=A@x.org", "--feed", "desk", folder=folder)
    assert (again["import"], again["profiles"]["unchanged"]) == (None, 1)
    assert not any(again["identities"].values())
    assert again["notices"] == []
    assert (folder / "profiles.duckdb").read_bytes() == before
    assert numbers(folder) == [1, 2]
    finished = run(*["modify", "--customer-id", "A", "--add", "email=a@x.org"], folder=folder)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == "no import: nothing changes\n"


def test_some_identity_that_is_not_there_is_an_import(folder: Path) -> None:
    assert modified("--add", "email=a@x.org", folder=folder)["import"] == 2
    changes = ("--add", "email=a@x.org", "--add", "other=o")
    assert modified(*changes, folder=folder)["import"] == 3


def test_the_second_of_two_aliases_is_refused_so_none_changes_nothing(folder: Path) -> None:
    (folder / "b.csv").write_text("customer_id\nB\n")
    assert run(*["import", "b.csv", "--feed", "sdk"], folder=folder).returncode == 0
    lines = run("export", "profiles", folder=folder).stdout.splitlines()
    source, destination = (json.loads(line)["mpid"] for line in lines)
    command = ("alias", "--from", source, "--to", destination)
    assert run(*command, folder=folder).returncode == 0
    assert run(*command, folder=folder).returncode == 4
    assert numbers(folder) == [1, 2, 3]
