"""Where two features of files and stores meet: each test is named by a fault that was there once."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import shutil
import tempfile
import threading
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from support.doors import call, run_here
from support.effort import spread_now

from profilectl.codes import InputRefused, StoreUnusable
from profilectl.importing.plans.plan_form import REQUEST
from profilectl.importing.request import REMEMBERED, ImportRequest
from profilectl.store.scratch import Scratch


def test_parquet_is_imported_into_a_store_that_is_there(tmp_path: Path) -> None:
    """The settings of DuckDB are locked by then, and the room on the disk is one of them."""
    file = tmp_path / "people.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"email": ["ann@example.com"]}), file)
    for arguments in ((), ("--again",)):
        done = call("import", str(file), "--feed", "crm", *arguments, folder=tmp_path)
        assert done.exit_code == 0, done.output


def test_a_plan_knows_every_option_that_an_import_remembers() -> None:
    """A key that the form of plans does not know is that of a forged plan: no plan could be
    applied.
    """
    assert {name for name in REMEMBERED if name not in REQUEST} == set()
    assert set(REMEMBERED) <= {one.name for one in dataclasses.fields(ImportRequest)}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store from which somebody was erased, and one who stays."""
    folder = tmp_path_factory.mktemp("once")
    (folder / "two.csv").write_text(
        "customer_id,email\nANNA-100001,anna@example.org\nBEN-100002,ben@example.org\n"
    )
    assert call("import", "two.csv", "--feed", "crm", folder=folder).exit_code == 0
    assert call("forget", "--customer-id", "ANNA-100001", "--yes", folder=folder).exit_code == 0
    return folder


@pytest.fixture
def folder(once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once, tmp_path / "f"))


@pytest.mark.parametrize("name", spread_now(["who.jsonl.gz", "who.zip", "who.ndjson.gz"], 3))
def test_json_lines_are_json_lines_when_they_are_packed(name: str, folder: Path) -> None:
    line = b'{"email": "ben@example.org"}\n'
    if name.endswith(".zip"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("who.jsonl", line)
    else:
        (folder / name).write_bytes(gzip.compress(line))
    found = call("lookup", name, folder=folder)
    assert (found.exit_code, json.loads(found.stdout)["found"]) == (0, True), found.output
    assert (
        "1 profile would be erased"
        in call("forget", "--file", name, "--dry-run", folder=folder).stdout
    )


def test_a_restored_store_says_that_its_key_is_not_there(folder: Path) -> None:
    """Else it is only the next import that says so."""
    assert call("--quiet", "backup", "b.duckdb", folder=folder).exit_code == 0
    done = run_here("--store", "again.duckdb", "restore", "b.duckdb", folder=folder)
    assert done.returncode == 0
    assert "again.duckdb.suppression-key" in done.stderr
    assert "--suppression-key" in done.stderr
    (folder / "profiles.duckdb").unlink()
    there = call("restore", "b.duckdb", "--json", folder=folder)
    assert json.loads(there.stdout)["no_key"] is None


def test_a_backup_does_not_say_that_a_key_is_where_none_is(folder: Path) -> None:
    """A store that was renamed has left its key behind: nothing is there to be copied."""
    (folder / "profiles.duckdb").rename(folder / "renamed.duckdb")
    done = run_here("--store", "renamed.duckdb", "backup", "b.duckdb", folder=folder)
    assert done.returncode == 0
    assert "renamed.duckdb.suppression-key" in done.stderr
    assert "it is not there" in done.stderr


def test_no_command_spills_into_the_systems_folder_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes /tmp/spill first would have what a backup or a plan cannot hold in memory."""
    spills, begin = [], Scratch.__init__

    def noted(self: Scratch, beside: Path, *arguments: object, **more: object) -> None:
        spills.append(beside)
        begin(self, beside, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Scratch, "__init__", noted)
    (folder / "word").write_text("correct horse battery staple\n")
    (folder / "word").chmod(0o600)
    for command in (
        ("backup", "b.duckdb"),
        ("backup", "b.age", "--encrypt", "--passphrase-file", "word"),
        ("check", "--backup", "b.duckdb"),
        ("--store", "r.duckdb", "restore", "b.duckdb"),
        ("plan", "two.csv", "--feed", "crm", "--again", "-o", "two.plan"),
        ("apply", "two.plan"),
    ):
        done = call(*command, folder=folder)
        assert done.exit_code == 0, (command, done.output, done.exception)
    assert Path(tempfile.gettempdir()) not in spills


@pytest.mark.parametrize("path", spread_now(["s?.duckdb", "none/s.duckdb", "profiles.duckdb"], 3))
def test_steps_that_cannot_be_written_down_are_said_in_words(path: str, folder: Path) -> None:
    done = call(
        "import", "two.csv", "--feed", "crm", "--again", "--keep-scratch", path, folder=folder
    )
    assert isinstance(done.exception, InputRefused)
    assert "--keep-scratch" in done.exception.message
    assert call("check", folder=folder).exit_code == 0


def test_an_import_is_made_again_from_a_file_whose_name_held_an_identity(folder: Path) -> None:
    """Its name in the request had lost its ending too, so no file could be given that name."""
    for name in ("a.csv", "cara@example.org.csv"):
        (folder / name).write_text(f"customer_id,email,n\nBEN-100002,ben@example.org,{name[0]}\n")
    (folder / "c.csv").write_text("email\ncara@example.org\n")
    for name in ("a.csv", "cara@example.org.csv", "c.csv"):
        assert call("import", name, "--feed", "crm", folder=folder).exit_code == 0
    assert call("forget", "--email", "cara@example.org", "--yes", folder=folder).exit_code == 0
    (folder / "cara@example.org.csv").rename(folder / "(erased).csv")
    done = call("imports", "undo", "2", "--replay", "--yes", folder=folder)
    assert done.exit_code == 0, done.exception


@pytest.mark.parametrize(
    "command",
    [("imports", "undo", "1", "--replay", "--yes"), ("enrich", "two.csv", "--feed", "crm")],
)
def test_a_missing_key_is_said_of_the_store_and_not_of_a_copy_that_is_worked_on(
    command: tuple[str, ...], folder: Path
) -> None:
    assert call("import", "two.csv", "--feed", "crm", "--again", folder=folder).exit_code == 0
    (folder / "profiles.duckdb.suppression-key").unlink()
    failed = call(*command, folder=folder).exception
    assert isinstance(failed, StoreUnusable)
    assert failed.message.startswith(f"{folder / 'profiles.duckdb'} keeps people out")


@pytest.mark.parametrize(
    "command",
    [
        ("backup", "{}"),
        ("backup", "{}", "--force"),
        ("export", "profiles", "-o", "{}"),
        ("plan", "two.csv", "--feed", "crm", "-o", "{}"),
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "profiles.duckdb.wal",
        "profiles.duckdb.suppression-key",
        "elsewhere.key",
        "b.duckdb.suppression-key",
    ],
)
def test_no_output_takes_the_place_of_the_log_or_the_key_of_a_store(
    command: tuple[str, ...], name: str, folder: Path
) -> None:
    """A key that is written over lets nobody in any more; what has the name of a log is read into
    the store.
    """
    shutil.copy(folder / "profiles.duckdb", folder / "b.duckdb")
    shutil.copy(folder / "profiles.duckdb.suppression-key", folder / "elsewhere.key")
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    failed = call(*(one.format(name) for one in command), folder=folder).exception
    assert isinstance(failed, InputRefused)
    assert name in failed.message
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before


@pytest.mark.parametrize(
    "command",
    [
        ("--store", "r.duckdb", "restore", "pipe"),
        ("check", "--backup", "pipe"),
        ("check", "--backup", "b.duckdb", "--seal", "pipe"),
        ("--store", "r.duckdb", "restore", "pipe", "-i", "pipe"),
    ],
)
def test_a_backup_or_a_seal_that_is_a_pipe_is_not_waited_for(
    command: tuple[str, ...], folder: Path
) -> None:
    os.mkfifo(folder / "pipe")
    shutil.copy(folder / "profiles.duckdb", folder / "b.duckdb")
    (folder / "pipe.seal").touch()
    ended = threading.Timer(
        10, lambda: os.close(os.open(folder / "pipe", os.O_WRONLY | os.O_NONBLOCK))
    )
    ended.start()
    failed = call(*command, folder=folder).exception
    ended.cancel()
    assert isinstance(failed, InputRefused)
    assert failed.message == "pipe is not a plain file"
