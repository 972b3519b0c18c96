"""A feed remembers how its files are read: written by --remember or the configuration, taken by
every import that says nothing else, and never by one that is made again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.doors import call, run, run_here

HEAD = b"export of the CRM\n\n"
ROWS = "Kunde;E-mail;Stadt\nA1;jörg@example.com;Köln\nB2;n/a;-\n"
OPTIONS = (
    "--encoding", "windows-1252", "--delimiter", ";", "--skip-lines", "2",
    "--null", "n/a", "--null", "-", "--map", "Kunde=customer_id", "--map", "E-mail=email",
)  # fmt: skip
READING = {
    "map": {"Kunde": "customer_id", "E-mail": "email"},
    "delimiter": ";",
    "encoding": "windows-1252",
    "null": ["n/a", "-"],
    "skip_lines": 2,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_bytes(HEAD + ROWS.encode("windows-1252"))
    more = ROWS.replace("Köln", "Bonn").replace("A1", "C3").replace("jörg", "käthe")
    (tmp_path / "b.csv").write_bytes(HEAD + more.encode("windows-1252"))
    return tmp_path


def json_of_command(*arguments: str, folder: Path) -> Any:
    finished = call(*arguments, folder=folder)
    assert finished.exit_code == 0, finished.output
    return json.loads(finished.stdout)


def remembered(folder: Path) -> None:
    report = json_of_command(
        "import", "a.csv", "--feed", "crm", *OPTIONS, "--remember", "--json", folder=folder
    )
    assert report["rows"]["applied"] == 2


def reading_of(folder: Path) -> Any:
    return json_of_command("feeds", "show", "crm", "--json", folder=folder)["reading"]


def test_an_import_takes_the_reading_of_its_feed_and_says_so(folder: Path) -> None:
    remembered(folder)
    assert reading_of(folder) == READING
    finished = run(*["import", "b.csv", "--feed", "crm", "--json"], folder=folder)
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert report["rows"]["applied"] == 2
    assert report["identities"]["added"] == 2
    notice = [line for line in report["notices"] if "as the feed crm is read" in line]
    assert notice
    assert "--encoding windows-1252" in notice[0]
    assert "--skip-lines 2" in notice[0]
    assert "käthe@example.com" in run_here("export", "profiles", folder=folder).stdout
    shown = run_here("feeds", "show", "crm", folder=folder).stdout
    assert "--map Kunde=customer_id" in shown
    assert '--delimiter ";"' in shown


def test_the_command_line_wins_option_by_option(folder: Path) -> None:
    remembered(folder)
    (folder / "c.csv").write_text("Kunde,E-mail,Stadt,Punkte\nD4,d@example.com,n/a,9\n")
    report = json_of_command(
        "import", "c.csv", "--feed", "crm", "--json", "--skip-lines", "0", "--delimiter", ",",
        "--encoding", "utf-8", "--map", "Punkte=points", "--map", "E-mail=ignore",
        folder=folder,
    )  # fmt: skip
    (notice,) = [line for line in report["notices"] if "as the feed crm is read" in line]
    assert notice == "as the feed crm is read: --map Kunde=customer_id, --null n/a, --null -"
    (line,) = [
        json.loads(line)
        for line in run_here("export", "profiles", folder=folder).stdout.splitlines()
        if "D4" in line
    ]
    assert line["user_attributes"] == {"points": "9"}
    assert line["user_identities"] == {"customer_id": ["D4"]}
    assert reading_of(folder) == READING  # without --remember it stays


def test_the_same_file_is_known_by_the_reading_in_force(folder: Path) -> None:
    remembered(folder)
    again = json_of_command("import", "a.csv", "--feed", "crm", "--json", folder=folder)
    assert (again["import"], again["already_imported"]) == (None, 1)
    another = json_of_command(
        "import", "a.csv", "--feed", "crm", "--null", "x", "--json", folder=folder
    )
    assert another["import"] == 2
    # What is asked of a file that is left out is remembered all the same.
    left_out = json_of_command(
        "import", "a.csv", "--feed", "crm", "--null", "x", "--remember", "--json", folder=folder
    )
    assert left_out["already_imported"] == 2
    assert reading_of(folder) == {**READING, "null": ["x"]}


def test_a_dry_run_takes_a_reading_and_remembers_none(folder: Path) -> None:
    remembered(folder)
    report = json_of_command(
        "import", "b.csv", "--feed", "crm", "--null", "x", "--dry-run", "--remember", "--json",
        folder=folder,
    )  # fmt: skip
    assert report["rows"]["read"] == 2
    assert report["profiles"]["created"] >= 1
    assert reading_of(folder) == READING


def test_the_configuration_states_changes_and_takes_away_a_reading(folder: Path) -> None:
    remembered(folder)
    text = call(*("config", "export"), folder=folder).stdout
    assert '[feeds."crm".reading]' in text
    (folder / "same.toml").write_text(text)
    assert "nothing to change" in call(*("config", "apply"), "same.toml", folder=folder).output
    for store, file in (("other.duckdb", "same.toml"),):
        assert call("--store", store, "config", "apply", file, folder=folder).exit_code == 0
        shown = json_of_command("--store", store, "feeds", "show", "crm", "--json", folder=folder)
        assert shown["reading"] == READING
    (folder / "left.toml").write_text("[feeds.crm]\n")
    call(*("config", "apply"), "left.toml", folder=folder)
    assert reading_of(folder) == READING  # not stated: it stays
    (folder / "none.toml").write_text("[feeds.crm.reading]\n")
    assert (
        "feeds.crm.reading"
        in call(*("config", "apply"), "none.toml", "--yes", folder=folder).output
    )
    assert reading_of(folder) == {}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("encodings = 'x'", "encoding"),
        ("skip_lines = -1", "skip_lines must be a number"),
        ("skip_lines = true", "skip_lines must be a number"),
        ("null = 'x'", "null must be a list"),
        ("map = ['a=b']", "map must be a section"),
        ("map = { a = 3 }", "needs the name of a field"),
        ("map = { a = 'user_identities.emial' }", "no identity type"),
        ("empty = 'drop'", "ignore, delete, set"),
        ("ragged = 3", "must be a text"),
        ("path_columns = 'yes'", "true or false"),
    ],
)
def test_a_reading_that_is_wrong_is_refused_with_its_key(
    line: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text(f"[feeds.crm.reading]\n{line}\n")
    finished = run_here("config", "apply", "a.toml", folder=tmp_path)
    assert finished.returncode == 4, finished.stderr
    assert "[feeds.crm.reading]" in finished.stderr
    assert words in " ".join(finished.stderr.split())


def test_a_plan_is_applied_with_the_reading_that_it_was_made_with(folder: Path) -> None:
    remembered(folder)
    assert call(*("plan", "b.csv"), "--feed", "crm", "-o", "b.plan", folder=folder).exit_code == 0
    (folder / "none.toml").write_text("[feeds.crm.reading]\n")
    call(*("config", "apply"), "none.toml", folder=folder)
    report = json_of_command("apply", "b.plan", "--json", folder=folder)
    assert report["rows"]["applied"] == 2
    assert report["profiles"]["created"] == 1


def test_a_replay_reads_as_the_imports_did_and_leaves_the_reading(folder: Path) -> None:
    (folder / "first.jsonl").write_text('{"customer_id": "A1", "tier": "gold"}\n')
    assert call(*["import", "first.jsonl", "--feed", "crm"], folder=folder).exit_code == 0
    remembered(folder)
    assert call(*["import", "b.csv", "--feed", "crm"], folder=folder).exit_code == 0
    (folder / "new.toml").write_text('[feeds.crm.reading]\nencoding = "utf-16"\n')
    call(*("config", "apply"), "new.toml", folder=folder)
    finished = call(*("imports", "undo"), "1", "--replay", "--yes", folder=folder)
    assert finished.exit_code == 0, finished.output
    assert reading_of(folder) == {"encoding": "utf-16"}
    lines = run_here("export", "profiles", folder=folder).stdout
    assert "Köln" in lines
    assert "Bonn" in lines
    assert "gold" not in lines


def test_a_feed_that_comes_back_in_a_replay_keeps_its_reading(folder: Path) -> None:
    remembered(folder)
    for name in ("b.csv",):
        assert call("import", name, "--feed", "crm", folder=folder).exit_code == 0
    assert call(*("imports", "undo"), "1", "--replay", "--yes", folder=folder).exit_code == 0
    assert reading_of(folder) == READING


def test_the_library_takes_the_reading_too(folder: Path) -> None:
    import profilectl

    remembered(folder)
    store = profilectl.Store(folder / "profiles.duckdb")
    report = store.import_files(folder / "b.csv", feed="crm")
    assert report.rows.applied == 2
