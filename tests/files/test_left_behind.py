"""Nothing is left behind: what a killed command leaves is removed by the next one, and nothing
else is."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.doors import call, made_once
from support.effort import spread_now
from support.places import STORES
from support.stopping import started

from profilectl.codes import StoreUnusable
from profilectl.files.leftovers import (
    ANOTHER_USERS,
    IN_USE,
    MARK,
    NO_LOCKS,
    UNKNOWN,
    folder_beside,
    left_in,
    sweep,
)
from profilectl.files.whole_file import whole_file


def make(folder: Path) -> None:
    (folder / "a.csv").write_text("customer_id,tier\nA,gold\nB,silver\n,bronze\n")
    assert (
        call("import", "a.csv", "--feed", "f", "--rejects", "r.jsonl", folder=folder).exit_code == 3
    )


made = made_once(make)

KILLED = {
    # a command, and a point of its work at which something of it lies in the folder
    "export to a file": ("export profiles -o out.jsonl", "os:fsync"),
    "export to a folder": (
        "export profiles -o out --partition-by tier",
        "profilectl.files.sinks:Parts.finish",
    ),
    "export of an audience": ("export profiles --format parquet -o out.parquet", "os:fsync"),
    "backup": ("backup copy.duckdb", "profilectl.store.copies:_digest"),
    "import": ("import a.csv --feed g", "profilectl.importing.run:write"),
    "rejects": ("import a.csv --feed g --dry-run --rejects r2.jsonl", "os:fsync"),
    "plan": ("plan a.csv --feed g -o a.plan", "os:fsync"),
    "first store": (
        "--store new.duckdb import a.csv --feed g",
        "profilectl.store.opening:make_schema",
    ),
    "compact": ("compact", "profilectl.reading.upkeep:put_in_place"),
    "forget": ("forget --customer-id A --yes", "profilectl.privacy.rewriting:put_in_place"),
    "access": ("access --customer-id A -o a.json --html a.html", "os:fsync"),
    "picture": ("show A --save-svg a.svg", "os:fsync"),
    "forward": ("forward", "profilectl.store.catalog:version_of"),
    "dry push": ("push --dry-run p.jsonl", "os:fsync"),
    "show": ("show A", "profilectl.store.catalog:version_of"),
}


def another_command(folder: Path) -> None:
    """Run a command that has nothing to do with what is left."""
    assert isinstance(
        call("--store", "other.duckdb", "feeds", "list", folder=folder).exception, StoreUnusable
    )


def names(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


@pytest.mark.parametrize("what", spread_now(KILLED, 3))
def test_what_a_killed_command_leaves_is_removed_by_the_next_one_about_another_store(
    what: str, tmp_path: Path
) -> None:
    folder, plain = made(tmp_path), names(tmp_path)
    arguments, point = KILLED[what]
    with started(*arguments.split(), folder=folder, point=point) as command:
        command.reached()
        assert command.end(signal.SIGKILL) == -signal.SIGKILL
    assert [name for name in names(folder) - plain if name.startswith(".")], (
        "nothing was in the middle"
    )
    another_command(folder)
    # The key of those who stay out is on the disk before a store needs it, and serves the next
    # time.
    assert names(folder) - {"profiles.duckdb.wal", "profiles.duckdb.suppression-key"} <= plain


def test_the_link_to_a_killed_commands_folder_is_removed_with_it(tmp_path: Path) -> None:
    folder, temporary = tmp_path / "a [b]=c", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    made(folder)
    plain = names(folder)
    with started(
        "import",
        "a.csv",
        "--feed",
        "g",
        folder=folder,
        point="profilectl.importing.run:write",
        TMPDIR=str(temporary),
    ) as command:
        command.reached().end(signal.SIGKILL)
    (link,) = temporary.iterdir()
    assert link.name.startswith("profilectl-")
    another_command(folder)
    assert list(temporary.iterdir()) == []
    assert names(folder) == plain


def test_a_half_made_backup_before_an_upgrade_is_removed(tmp_path: Path) -> None:
    (tmp_path / "profiles.duckdb").write_bytes(
        gzip.decompress((STORES / "schema-6.duckdb.gz").read_bytes())
    )
    with started(
        "feeds", "list", folder=tmp_path, point="profilectl.store.copies:_digest"
    ) as command:
        command.reached().end(signal.SIGKILL)
    assert list(tmp_path.glob(".*.copy"))
    another_command(tmp_path)
    assert names(tmp_path) == {"profiles.duckdb"}


def test_a_killed_server_and_its_process_of_imports_leave_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path)
    assert call("credentials", "new", "api.toml", "--feed", "app", folder=folder).exit_code == 0
    plain = names(folder)
    with started(
        "serve", "--credentials", "api.toml", "--port", "0", "--json", folder=folder
    ) as server:
        until = time.monotonic() + 60
        while "address" not in server.said():
            assert time.monotonic() < until
            time.sleep(0.02)
        server.end(signal.SIGKILL)
    assert list(folder.glob(".*.snapshot"))
    another_command(folder)
    assert names(folder) == plain


def test_a_killed_look_up_of_standard_input_leaves_no_copy_of_it(tmp_path: Path) -> None:
    folder, temporary = tmp_path / "here", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    made(folder)
    plain = names(folder)
    with started(
        "lookup",
        "-",
        folder=folder,
        point="profilectl.importing.stage.source.unpacking:blocks_of",
        TMPDIR=str(temporary),
    ) as command:
        command.reached().end(signal.SIGKILL)
    assert list(temporary.iterdir()) == []
    another_command(folder)
    assert names(folder) == plain


def test_no_command_puts_what_it_cannot_hold_into_a_folder_that_others_can_make(
    tmp_path: Path,
) -> None:
    """/tmp/spill was where small reading commands would have put it: anybody can make that
    first."""
    from profilectl.importing import undo as undoing
    from profilectl.reading import actions as read
    from profilectl.store import feeds as registry
    from profilectl.store.scratch import Scratch

    folder, spills = made(tmp_path), []
    begin = Scratch.__init__

    def noted(self: Scratch, beside: Path, *arguments: object, **more: object) -> None:
        spills.append(beside)
        begin(self, beside, *arguments, **more)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scratch, "__init__", noted)
        registry.feeds_of(folder / "profiles.duckdb")
        undoing.imports_of(folder / "profiles.duckdb")
        read.names_in(folder / "profiles.duckdb", "feeds")
    assert len(spills) == 3
    assert all(one.parent == folder and one.name.endswith(".scratch") for one in spills)


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with folder_beside(path, "scratch") as folder, whole_file(tmp_path / "out.jsonl") as out:
        (folder / "data").write_text("x")
        out.write(b"x")
        program = (
            "import sys; from pathlib import Path; from profilectl.files.leftovers import"
            " sweep; print(*sorted(one.why for one in sweep(Path(sys.argv[1]))), sep='\\n')"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines() == [IN_USE, IN_USE]
        assert sweep(tmp_path) == [], "what this process has made is no leftover"
        assert (folder / "data").exists()
    assert names(tmp_path) == {"out.jsonl"}
    assert (tmp_path / "out.jsonl").read_bytes() == b"x"


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    folder = (
        tmp_path / ".notes.abcd1234.scratch"
    )  # somebody's own, of such a name; or put there by whoever writes to the folder
    folder.mkdir()
    (folder / "novel.txt").write_text("all of it")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / MARK).touch()
    (tmp_path / ".link.abcd1234.copy").symlink_to(tmp_path / "precious")
    (tmp_path / ".file.abcd1234.copy").write_text("a plain file")
    (tmp_path / ".fifo.abcd1234.profilectl").unlink(missing_ok=True)
    os.mkfifo(tmp_path / ".fifo.abcd1234.profilectl")
    (tmp_path / ".mail.forward").write_text("me@example.org")
    (tmp_path / ".rsync.abcd12").write_text("half")
    before = names(tmp_path)
    left = sweep(tmp_path)
    assert names(tmp_path) == before
    assert {one.why for one in left} == {UNKNOWN}
    assert (folder / "novel.txt").read_text() == "all of it"
    assert (tmp_path / "precious" / MARK).exists()


def abandoned(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir(mode=0o700)
    (path / MARK).touch()
    (path / "inner").mkdir()
    (path / "inner" / "data").write_text("personal")
    (path / "away").symlink_to(folder / "kept.txt")
    return path


def test_a_removal_follows_no_link_and_ends_with_the_mark(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    path = abandoned(tmp_path, ".x.abcd1234.copy")
    plain = (
        tmp_path / "profilectl-abcd1234"
    )  # a mark may name the folder of a link: nothing but such a one is removed
    plain.mkdir()
    (plain / "other").write_text("kept")
    (path / MARK).write_bytes(os.fsencode(plain))
    assert sweep(tmp_path) == []
    assert not path.exists()
    assert (tmp_path / "kept.txt").read_text() == "kept"
    assert (plain / "other").read_text() == "kept"
    half = tmp_path / ".x.abcd1235.copy"  # killed while it was emptied, or before it was marked
    half.mkdir()
    assert sweep(tmp_path) == []
    assert not half.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_what_belongs_to_another_user_stays_and_is_named(tmp_path: Path) -> None:
    path = abandoned(tmp_path, ".x.abcd1234.copy")
    os.chown(path, 65534, 65534)
    assert [(one.path, one.why) for one in left_in([tmp_path])] == [(path, ANOTHER_USERS)]
    assert (path / "inner" / "data").exists()


def test_where_nothing_can_be_locked_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = abandoned(tmp_path, ".x.abcd1234.copy")

    def fails(*arguments: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fails)
    assert [one.why for one in sweep(tmp_path)] == [NO_LOCKS]
    assert path.exists()


def test_forget_names_what_is_left_and_cannot_be_removed(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder / "elsewhere").mkdir()
    shutil.copy(folder / "a.csv", folder / "elsewhere" / "b.csv")
    assert call("import", "elsewhere/b.csv", "--feed", "g", folder=folder).exit_code == 3
    gone = abandoned(folder / "elsewhere", ".b.csv.abcd1234.copy")
    stays = abandoned(folder / "elsewhere", ".b.csv.abcd1235.copy")
    here = abandoned(folder, ".out.abcd1234.parts")
    locks = []
    for one in (stays, here):
        locks.append(os.open(one, os.O_RDONLY))
        fcntl.flock(locks[-1], fcntl.LOCK_EX)
    try:
        done = call("forget", "--customer-id", "A", "--yes", "--json", folder=folder)
        told = json.loads(done.stdout)["not_touched"]["left_behind"]
        assert {(one["path"], one["why"]) for one in told} == {
            (str(stays), IN_USE),
            (str(here), IN_USE),
        }
        assert not gone.exists()
        done = call("forget", "--customer-id", "B", "--yes", folder=folder)
        assert f"{here}: {IN_USE}" in " ".join(done.output.split()), done.output
    finally:
        for lock in locks:
            os.close(lock)


def test_a_name_that_is_long_in_bytes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("長" * 80)
    with whole_file(path) as out:
        out.write(b"x")
    assert path.read_bytes() == b"x"


def test_a_rename_is_forced_to_the_disk_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, synced = made(tmp_path), []
    real = os.fsync

    def noted(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real(handle)

    monkeypatch.setattr(os, "fsync", noted)
    (folder / "new").mkdir()
    for command in (
        "export profiles -o out.jsonl", "export profiles -o out --partition-by tier", "backup copy.duckdb", "plan a.csv --feed g -o a.plan",
        "compact", "access --customer-id A -o a.json", "forget --customer-id A --yes", "import a.csv --feed h --rejects r3.jsonl",
        "credentials new api.toml --feed app",
    ):  # fmt: skip
        synced.clear()
        done = call(*command.split(), folder=folder)
        assert done.exit_code in (0, 3), done.output
        assert str(folder) in synced, command
    synced.clear()
    assert (
        call(
            "--store", "new/s.duckdb", "feeds", "add", "f", "--source", "sdk", folder=folder
        ).exit_code
        == 0
    )
    assert str(folder / "new") in synced
