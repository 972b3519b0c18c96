"""What a command writes never takes the place of what nothing can bring back: a store, or what it
reads.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.doors import call, made_once, run
from support.effort import spread_now

ROWS = "customer_id,name\nA,Ann\n,x\nB,Bob\n"


@made_once
def made(folder: Path) -> None:
    (folder / "a.csv").write_text(ROWS)
    assert call("import", "a.csv", "--feed", "f", folder=folder).exit_code == 3
    (folder / "b.csv").write_text(ROWS + "C,Cid\n")


@made_once
def made_with_plan(folder: Path) -> None:
    made(folder)
    assert call("plan", "b.csv", "--feed", "g", "-o", "load.plan", folder=folder).exit_code == 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path)


OVER_A_STORE = [
    "import b.csv --feed g --rejects {}",
    "import b.csv --feed g --explain-rows {}",
    "import b.csv --feed g --explain-rows {} --dry-run",
    "import b.csv --feed g --rejects-as-input {}",
    "plan b.csv --feed g -o {}",
    "plan b.csv --feed g -o p.plan --explain-rows {}",
    "export profiles -o {}",
    "export batches -o {}",
    "export imports -o {}",
    "lookup b.csv -o {}",
    "show A --save-svg {}",
    "show A --save-html {}",
]


@pytest.mark.parametrize("command", OVER_A_STORE)
@pytest.mark.parametrize("name", ["profiles.duckdb", "../{folder}/profiles.duckdb", "other.duckdb"])
def test_no_output_takes_the_place_of_a_store(command: str, name: str, folder: Path) -> None:
    (folder / "other.duckdb").write_bytes((folder / "profiles.duckdb").read_bytes())
    before = (folder / "profiles.duckdb").read_bytes()
    done = call(*command.format(name.format(folder=folder.name)).split(), folder=folder)
    assert done.exit_code in (2, 4) or type(done.exception).__name__ in (
        "InputRefused",
        "UsageError",
    ), done.output
    assert (
        (folder / "profiles.duckdb").read_bytes()
        == (folder / "other.duckdb").read_bytes()
        == before
    )


OVER_AN_INPUT = [
    "import b.csv --feed g --rejects b.csv",
    "import b.csv --feed g --rejects-as-input b.csv",
    "import b.csv --feed g --explain-rows ./b.csv",
    "plan b.csv --feed g -o b.csv",
    "lookup b.csv -o b.csv",
    "import b.csv --feed g --rejects x.csv --rejects-as-input x.csv",
    "import b.csv --feed g --rejects x --explain-rows x",
    "apply load.plan --rejects load.plan",
]


@pytest.mark.parametrize("command", spread_now(OVER_AN_INPUT, 3))
def test_no_output_takes_the_place_of_what_is_read_or_of_another(
    command: str, tmp_path: Path
) -> None:
    folder = made_with_plan(tmp_path)
    plan = (folder / "load.plan").read_bytes()
    done = run(*command.split(), folder=folder)
    assert done.returncode == 2, done.stdout
    assert (folder / "b.csv").read_text() == ROWS + "C,Cid\n"
    assert (folder / "load.plan").read_bytes() == plan
    assert len(json.loads(run("imports", "list", "--json", folder=folder).stdout)) == 1


def test_a_backup_may_replace_a_backup(folder: Path) -> None:
    assert run("backup", "b.duckdb", folder=folder).returncode == 0
    assert run("backup", "b.duckdb", folder=folder).returncode == 4
    assert run("backup", "b.duckdb", "--force", folder=folder).returncode == 0


def test_a_refused_import_leaves_no_store(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    (tmp_path / "odd.csv").write_text("user_identities.customer_id,what.is.this\nA,1\n")
    for arguments in (
        ["import", "a.csv", "--feed", "f", "--max-rejects", "0"],
        ["import", "odd.csv", "--feed", "f"],
    ):
        assert run(*arguments, folder=tmp_path).returncode == 4
        assert not (tmp_path / "profiles.duckdb").exists()
    # What was there before stays, be it as bare.
    assert run("feeds", "add", "g", folder=tmp_path).returncode == 0
    assert (
        run("import", "a.csv", "--feed", "f", "--max-rejects", "0", folder=tmp_path).returncode == 4
    )
    assert (tmp_path / "profiles.duckdb").exists()


def test_what_was_asked_for_is_written_when_too_many_rows_are_rejected(folder: Path) -> None:
    done = run(
        "import",
        "b.csv",
        "--feed",
        "g",
        "--max-rejects",
        "0",
        "--rejects-as-input",
        "mend.csv",
        "--explain-rows",
        "rows.jsonl",
        folder=folder,
    )
    assert done.returncode == 4
    assert "1 NO_IDENTITY" in done.stderr
    assert (folder / "mend.csv").read_text() == "customer_id,name\n,x\n"
    assert json.loads((folder / "rows.jsonl").read_text())["code"] == "NO_IDENTITY"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_an_output_without_room_is_told_with_exit_9(folder: Path) -> None:
    for command in (
        "show A",
        "export profiles",
        "search A",
        "imports list --json",
        "import b.csv --feed g",
    ):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "profilectl", *command.split()],
                cwd=folder,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (
            done.returncode,
            "No space left on device: where the output goes" in done.stderr,
        ) == (9, True), command
    assert len(json.loads(run("imports", "list", "--json", folder=folder).stdout)) == 2


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_failure(folder: Path) -> None:
    (folder / "many.csv").write_text(
        "customer_id,text\n" + "".join(f"P{n},{'x' * 200}\n" for n in range(3000))
    )
    assert run("import", "many.csv", "--feed", "many", folder=folder).returncode == 0
    for command in (
        "export profiles",
        "export attributes --format csv",
        "diff 2",
        "search P --limit 0",
    ):
        done = subprocess.run(
            [
                "bash",
                "-c",
                f"set -o pipefail; {sys.executable} -m profilectl {command} | head -1 > /dev/null",
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
