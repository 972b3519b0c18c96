"""What somebody sees who uses the product for the first time, with nothing but the README."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from support.doors import call, made_once, run
from support.effort import spread_now
from support.places import ROOT

from profilectl.codes import InputRefused, UsageError
from profilectl.files.encryption import LOCKED
from profilectl.files.leftovers import MARK
from profilectl.importing.plans.plan_form import REQUEST
from profilectl.importing.request import REMEMBERED, ImportRequest
from profilectl.importing.run import import_files
from profilectl.server.intake import NAMES
from profilectl.store.scratch import CHANGEABLE

SAMPLE = ROOT / "sample_data"
BEFORE_A_STORE = {"enable_progress_bar", "enable_external_access", "lock_configuration"}
"""The settings of scratch.py that are set before a store is attached."""


def test_every_setting_that_changes_beside_a_store_may_be_changed() -> None:
    named = {
        setting
        for file in (ROOT / "profilectl").rglob("*.py")
        for setting in re.findall(r"run\(f?\"(?:re)?set (\w+)", file.read_text())
    }
    assert "max_temp_directory_size" in named
    assert named - BEFORE_A_STORE <= set(CHANGEABLE)


def test_a_parquet_file_of_the_readme_is_imported(tmp_path: Path) -> None:
    result = run("import", str(SAMPLE / "crm.parquet"), "--feed", "crm", folder=tmp_path)
    assert result.returncode == 0, result.stderr


@made_once
def one_is_erased(folder: Path) -> None:
    (folder / "people.csv").write_text("customer_id,email\n1,a@x.org\n2,b@x.org\n")
    for command in ("import people.csv --feed f", "forget --customer-id 1 --yes"):
        assert call(*command.split(), folder=folder).exit_code == 0
    (folder / "word").write_text("correct horse battery staple\n")
    (folder / "word").chmod(0o600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a store from which somebody was erased."""
    return one_is_erased(tmp_path)


@pytest.mark.parametrize(
    "target", spread_now(["profiles.duckdb", "hard.duckdb", "profiles.duckdb.wal"], 3)
)
@pytest.mark.parametrize("how", ["", "--encrypt --passphrase-file word"])
def test_a_backup_does_not_take_the_place_of_its_store(target: str, how: str, folder: Path) -> None:
    os.link(folder / "profiles.duckdb", folder / "hard.duckdb")
    before = (folder / "profiles.duckdb").read_bytes()
    done = call("backup", target, "--force", *how.split(), folder=folder)
    assert isinstance(done.exception, (InputRefused, UsageError)), done.output
    assert (folder / "profiles.duckdb").read_bytes() == before
    assert not (folder / "profiles.duckdb.wal").exists()


@pytest.mark.parametrize("command", [
    "export profiles -o {key}", "backup {key} --force", "access --customer-id 2 -o {key}",
    "plan people.csv --feed f --again -o elsewhere", "show --customer-id 2 --save-svg {key}",
    "import people.csv --feed f --again --rejects {key}",
])  # fmt: skip
def test_no_output_takes_the_place_of_the_key_of_those_who_stay_out(
    command: str, folder: Path
) -> None:
    name = "profiles.duckdb.suppression-key"
    key = (
        shutil.copy(folder / name, folder / "elsewhere")
        if "elsewhere" in command
        else folder / name
    )
    before = key.read_bytes()
    done = call(*command.format(key=name).split(), folder=folder)
    assert isinstance(done.exception, (InputRefused, UsageError)), done.output
    assert key.read_bytes() == before


def test_a_restored_store_that_needs_a_key_says_where_to_put_it(folder: Path) -> None:
    assert call("backup", "b.duckdb", folder=folder).exit_code == 0
    done = call("--store", "again.duckdb", "restore", "b.duckdb", folder=folder)
    assert str(folder / "again.duckdb.suppression-key") in done.stderr
    told = call("--store", "third.duckdb", "restore", "b.duckdb", "--json", folder=folder)
    assert str(folder / "third.duckdb.suppression-key") in json.loads(told.stdout)["no_key"]
    shutil.copy(folder / "profiles.duckdb.suppression-key", folder / "again.duckdb.suppression-key")
    again = call(
        "--store",
        "again.duckdb",
        "import",
        "people.csv",
        "--feed",
        "f",
        "--again",
        "--json",
        folder=folder,
    )
    assert json.loads(again.stdout)["reasons"] == {"SUPPRESSED": 1}


@pytest.mark.parametrize(("command", "message", "hint"), [
    ("check --backup nowhere", "nowhere cannot be read: No such file or directory", "name a file"),
    ("check --backup word", "word.seal: No such file or directory", "--seal"),
    ("backup x --encrypt", "there is no passphrase", "--recipient"),
    ("--store y.duckdb restore locked", "there is no passphrase", "PROFILECTL_PASSPHRASE"),
])  # fmt: skip
def test_a_hint_names_what_this_command_has(
    command: str, message: str, hint: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROFILECTL_PASSPHRASE", raising=False)
    (folder / "locked").write_bytes(LOCKED)
    error = call(*command.split(), folder=folder).exception
    assert isinstance(error, (InputRefused, UsageError))
    assert message in error.message
    assert hint in error.hint
    assert "identity" not in error.hint
    assert ("recipient" in error.hint) == command.startswith("backup")


def test_a_plan_may_have_whatever_an_import_remembers() -> None:
    known = {name.removesuffix("?") for name in REQUEST}
    # `rejects` only where it says that rejects are counted (--rejects none).
    assert known == {*REMEMBERED, "manifest_sha256", "folder", "rejects"}


def test_a_plan_that_was_just_made_is_applied(folder: Path) -> None:
    (folder / "more.csv").write_text("customer_id,email\n7,g@x.org\n")
    assert (
        call(
            "plan",
            "more.csv",
            "--feed",
            "f",
            "--max-unpacked",
            "1GB",
            "-o",
            "a.plan",
            folder=folder,
        ).exit_code
        == 0
    )
    assert call("plan", "show", "a.plan", folder=folder).exit_code == 0
    assert call("apply", "a.plan", folder=folder).exit_code == 0
    assert call("show", "--customer-id", "7", folder=folder).exit_code == 0


def test_forget_names_every_file_and_nothing_that_is_none(folder: Path) -> None:
    (folder / "(copy) people.csv").write_text("customer_id,email\n2,b@x.org\n")
    assert call("import", "(copy) people.csv", "--feed", "f", folder=folder).exit_code == 0
    assert (
        run(
            "import",
            "-",
            "--format",
            "csv",
            "--feed",
            "f",
            folder=folder,
            stdin=b"customer_id,a\n2,5\n",
        ).returncode
        == 0
    )
    request = ImportRequest(
        ["-"],
        "f",
        format="jsonl",
        stdin=io.BytesIO(b'{"user_identities": {"customer_id": "2"}}\n'),
        stdin_name=NAMES["batch"],
    )
    import_files(folder / "profiles.duckdb", request)
    for command in ("set tier=gold --customer-id 2", "modify --customer-id 2 --add facebook=f2"):
        assert call(*command.split(), folder=folder).exit_code == 0, command
    done = call("forget", "--customer-id", "2", "--yes", "--json", folder=folder)
    assert json.loads(done.stdout)["not_touched"]["files"] == [
        "(copy) people.csv",
        "-",
        "people.csv",
    ]
    assert "  standard input, as it was piped in\n" in done.stderr


def test_forget_does_not_name_the_folder_of_a_server_that_tells_no_more(folder: Path) -> None:
    beside = folder / ".profiles.duckdb.abcd1234.snapshot"
    beside.mkdir(0o700)
    (beside / MARK).touch()
    (beside / "server.json").write_text(
        '{"process": 1, "address": "http://127.0.0.1:1", "store_id": "x"}'
    )
    lock = os.open(beside, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        done = call(
            "forget", "--customer-id", "2", "--yes", "--json", "--wait-servers", "0", folder=folder
        )
    finally:
        os.close(lock)
    told = json.loads(done.stdout)
    assert told["still_told_by"] == []
    assert told["not_touched"]["left_behind"] == []
