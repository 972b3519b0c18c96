"""Whatever stops an import, the store is the one before or the one after it, never between.

Processes are killed, disks fill up, writes fail, logs are cut. Copies of one store give equal
MPIDs, and the times are in the files, so that what lies between two exports is the import alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.doors import call, run

from profilectl.codes import StoreUnusable
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.importing.undo import undo_import
from profilectl.store.scratch import Scratch

# A child says on its standard output when its commit begins and when it is done; a moment after the
# last word of the commit nothing is between any more.
ANNOUNCING = """
import sys
import profilectl.importing.run as engine
write = engine.write
def announced(*arguments):
    print("begins", flush=True)
    write(*arguments)
    print("done", flush=True)
engine.write = announced
from profilectl.cli.app import main
sys.argv[0] = "profilectl"
main()
"""
# ... and one that is gone before the log is folded into the store.
LEAVING_ITS_LOG = """
import os, signal, sys
import profilectl.importing.run as engine
write = engine.write
def last(store, *arguments):
    store.scratch.run("set checkpoint_threshold = '1TB'")
    write(store, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)
engine.write = last
from profilectl.cli.app import main
main()
"""


def write_rows(path: Path, first: int, count: int, tier: str) -> None:
    with path.open("w", encoding="utf-8") as out:
        out.write("customer_id,email,tier,city,timestamp_unixtime_ms\n")
        out.writelines(
            f"C{n},p{n}@example.com,{tier}{n % 5},Zürich {n % 1000},{1_600_000_000_000 + n}\n"
            for n in range(first, first + count)
        )


@dataclass
class Ground:
    """A store, a file to import into it, and what its export is before and after."""

    folder: Path
    file: Path
    before: str
    after: str

    @property
    def store(self) -> Path:
        return self.folder / "profiles.duckdb"

    def copy(self, target: Path) -> Path:
        """Begin anew in a folder of its own."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        shutil.copy(self.store, target / "profiles.duckdb")
        return target

    def arguments(self) -> list[str]:
        return ["import", str(self.file), "--feed", "f"]


def made_ground(folder: Path, base: int, rows: int) -> Ground:
    """Make a store with so many profiles, and a file that changes half of them and founds others."""
    folder.mkdir()
    write_rows(folder / "base.csv", 0, base, "old")
    write_rows(folder / "file.csv", base // 2, rows, "new")
    ground = Ground(folder, folder / "file.csv", "", "")
    assert call("import", "base.csv", "--feed", "f", folder=folder).exit_code == 0
    ground.before = digest(folder)
    after = ground.copy(folder / "after")
    assert call(*ground.arguments(), folder=after).exit_code == 0
    ground.after = digest(after)
    assert ground.before != ground.after
    return ground


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return made_ground(tmp_path_factory.mktemp("crash") / "large", 40_000, 120_000)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return made_ground(tmp_path_factory.mktemp("crash") / "small", 2_000, 6_000)


def digest(folder: Path) -> str:
    """Return the hash of the sorted export; it says the import and the row of every value."""
    done = call(
        "export", "profiles", "--sorted", "--provenance", "-o", "export.jsonl", folder=folder
    )
    assert done.exit_code == 0, done.output
    with (folder / "export.jsonl").open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def state_of(folder: Path, ground: Ground) -> str:
    """Return whether a store is the one before or the one after; whatever else it is fails the test."""
    found = digest(folder)  # opens it for reading first, as `show` would
    done = call("check", folder=folder)
    assert done.exit_code == 0, done.output
    assert found in (ground.before, ground.after)
    return "before" if found == ground.before else "after"


@contextlib.contextmanager
def child(
    program: str, arguments: list[str], folder: Path, **more: Any
) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        **more,
    ) as started:
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                started.kill()


def heard(started: subprocess.Popen[bytes], word: bytes) -> bool:
    assert started.stdout is not None
    return started.stdout.readline().strip() == word


def timed(ground: Ground, folder: Path) -> tuple[float, float]:
    """Return how long an import takes until its commit, and how long the commit takes, in seconds."""
    began = time.monotonic()
    with child(ANNOUNCING, ground.arguments(), ground.copy(folder)) as started:
        assert heard(started, b"begins")
        commits = time.monotonic()
        assert heard(started, b"done")
        return commits - began, time.monotonic() - commits


def killed_inside(ground: Ground, folder: Path, delay_s: float) -> bool:
    """Kill an import so long after its commit began; say whether it was still in it."""
    with child(ANNOUNCING, ground.arguments(), ground.copy(folder)) as started:
        assert heard(started, b"begins")
        time.sleep(delay_s)
        started.send_signal(signal.SIGKILL)
        started.wait()
        return not heard(started, b"done")


def made_again(folder: Path, ground: Ground) -> None:
    """An interrupted import, run again, leaves what one uninterrupted run leaves, and nothing
    beside the store.
    """
    done = call(*ground.arguments(), folder=folder)
    assert done.exit_code == 0, done.output
    assert digest(folder) == ground.after
    assert sorted(one.name for one in folder.iterdir()) == ["export.jsonl", "profiles.duckdb"]


# Killed


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_an_import_killed_anywhere_leaves_all_or_nothing(
    part: int, large: Ground, tmp_path: Path
) -> None:
    chance = random.Random(part)
    until_s, _ = timed(large, tmp_path / "timed")
    for _ in range(10):
        folder = large.copy(tmp_path / "killed")
        with child(ANNOUNCING, large.arguments(), folder) as started:
            # from the start of Python to a little after the end
            time.sleep(chance.uniform(0, until_s * 1.4))
            started.send_signal(signal.SIGKILL)
            started.wait()
        if state_of(folder, large) == "before" and chance.random() < 0.4:
            made_again(folder, large)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_an_import_killed_inside_its_commit_leaves_all_or_nothing(
    part: int, large: Ground, tmp_path: Path
) -> None:
    chance = random.Random(100 + part)
    _, commit_s = timed(large, tmp_path / "timed")
    inside = 0
    for _ in range(40):
        if killed_inside(large, tmp_path / "killed", chance.uniform(0, commit_s)):
            inside += 1
            if state_of(tmp_path / "killed", large) == "before" and inside % 4 == 0:
                made_again(tmp_path / "killed", large)
        if inside == 10:
            break
    assert inside == 10


@pytest.mark.slow
def test_a_small_import_killed_inside_its_commit_leaves_all_or_nothing(
    small: Ground, tmp_path: Path
) -> None:
    chance = random.Random(3)
    _, commit_s = timed(small, tmp_path / "timed")
    for _ in range(4):
        killed_inside(small, tmp_path / "killed", chance.uniform(0, commit_s))
        if state_of(tmp_path / "killed", small) == "before":
            made_again(tmp_path / "killed", small)


@pytest.mark.slow
def test_the_first_import_killed_anywhere_leaves_no_store_or_a_whole_one(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", 0, 500, "x")
    chance = random.Random(4)
    for place in range(30):
        folder = tmp_path / str(place)
        folder.mkdir()
        with child(ANNOUNCING, ["import", "../a.csv", "--feed", "f"], folder) as started:
            time.sleep(chance.uniform(0.1, 1.2))
            started.send_signal(signal.SIGKILL)
            started.wait()
        done = call("import", "../a.csv", "--feed", "f", folder=folder)
        assert done.exit_code == 0, done.output
        assert call("check", folder=folder).exit_code == 0
        assert len(call("export", "profiles", folder=folder).stdout.splitlines()) == 500
        # Killed between its commit and its end, it leaves its log, and whoever only reads leaves
        # that too.
        assert {one.name for one in folder.iterdir()} - {"profiles.duckdb.wal"} == {
            "profiles.duckdb"
        }


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "imports undo 2 --yes",
        "imports undo 1 --replay --yes",
        "compact --keep 0 --yes",
        "backup copy.duckdb",
    ],
)
def test_upkeep_killed_anywhere_leaves_all_or_nothing(command: str, tmp_path: Path) -> None:
    ground = made_ground(tmp_path / "ground", 20_000, 60_000)
    ground.folder = ground.folder / "after"
    whole = ground.copy(tmp_path / "whole")
    began = time.monotonic()
    assert run(*command.split(), folder=whole).returncode == 0
    took_s = time.monotonic() - began
    allowed = {digest(ground.folder), digest(whole)}
    chance = random.Random(command)
    for _ in range(12):
        folder = ground.copy(tmp_path / "killed")
        with child(
            "from profilectl.cli.app import main; main()", command.split(), folder
        ) as started:
            time.sleep(chance.uniform(0.2, 1.0) * took_s)
            started.send_signal(signal.SIGKILL)
            started.wait()
        assert digest(folder) in allowed
        done = call("check", folder=folder)
        assert done.exit_code == 0, done.output
        if (folder / "copy.duckdb").exists():
            assert call("--store", "copy.duckdb", "check", folder=folder).exit_code == 0


# The disk


def with_room(
    arguments: list[str], folder: Path, most_bytes: int
) -> subprocess.CompletedProcess[str]:
    """Run the command where no file may grow beyond so many bytes."""
    return subprocess.run(
        [sys.executable, "-m", "profilectl", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
    )


def is_refused_in_words(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 6, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert "a fault in profilectl" not in done.stderr


@pytest.mark.slow
def test_a_full_disk_leaves_all_or_nothing(large: Ground, tmp_path: Path) -> None:
    size = (large.folder / "after" / "profiles.duckdb").stat().st_size
    chance = random.Random(5)
    for most in [
        0,
        4096,
        large.store.stat().st_size,
        *(round(size * chance.uniform(0.2, 1.02)) for _ in range(12)),
    ]:
        folder = large.copy(tmp_path / "full")
        done = with_room(large.arguments(), folder, most)
        found = state_of(folder, large)
        if done.returncode == 0:
            assert found == "after"
        else:
            is_refused_in_words(done)
            assert found == "before"
            assert [one.name for one in folder.iterdir() if one.name.startswith(".")] == []


def test_a_full_disk_is_told_in_words(small: Ground, tmp_path: Path) -> None:
    size = small.store.stat().st_size
    outcomes = set()
    for most in (0, size // 2, size, size + 300_000, size + 1_000_000):
        folder = small.copy(tmp_path / "full")
        done = with_room(small.arguments(), folder, most)
        outcomes.add(done.returncode)
        if done.returncode:
            is_refused_in_words(done)
            assert state_of(folder, small) == "before"
        else:
            assert state_of(folder, small) == "after"
    assert 6 in outcomes


@pytest.mark.skipif(
    not shutil.which("mount") or os.geteuid() != 0, reason="needs to mount a file system"
)
@pytest.mark.slow
def test_a_full_file_system_leaves_all_or_nothing(small: Ground, tmp_path: Path) -> None:
    size = small.store.stat().st_size
    mount = tmp_path / "small"
    mount.mkdir()
    for room in (size * 2, size + 1_000_000, size + 3_000_000):
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={room}", "none", mount],
            check=False,
            capture_output=True,
        ).returncode:
            pytest.skip("may not mount")
        try:
            shutil.copy(small.store, mount)
            done = run(*small.arguments(), folder=mount)
            if done.returncode:
                is_refused_in_words(done)
            shutil.rmtree(tmp_path / "seen", ignore_errors=True)
            shutil.copytree(mount, tmp_path / "seen")
            assert state_of(tmp_path / "seen", small) == ("before" if done.returncode else "after")
        finally:
            subprocess.run(["umount", mount], check=True)


# A write that fails


def failing_at(monkeypatch: pytest.MonkeyPatch, place: int) -> Callable[[], bool]:
    """Let the so-manyeth statement of a transaction fail as a disk does; say whether it came to
    that.
    """
    real = Scratch.run
    seen = {"within": False, "statements": 0}

    def run(
        self: Scratch, statement: str, bound: dict[str, Any] | None = None, *, step: str = ""
    ) -> None:
        if statement == "begin transaction":
            seen["within"] = True
        elif seen["within"]:
            seen["statements"] += 1
            if seen["statements"] == place:
                raise duckdb.IOException("IO Error: Could not write file: No space left on device")
        real(self, statement, bound, step=step)
        if statement == "commit":
            seen["within"] = False

    monkeypatch.setattr(Scratch, "run", run)
    return lambda: seen["statements"] >= place


def every_statement(
    monkeypatch: pytest.MonkeyPatch, folder: Path, ground: Ground, work: Callable[[Path], object]
) -> int:
    """Do a work with each of its statements failing in turn, until none is left to fail; return how
    many there were.
    """
    for place in range(1, 100):
        ground.copy(folder)
        with monkeypatch.context() as patch:
            came = failing_at(patch, place)
            try:
                work(folder / "profiles.duckdb")
            except StoreUnusable as error:
                assert "the store is as before" in error.hint  # noqa: PT017
            if not came():
                return place - 1
        assert digest(folder) == ground.before, f"statement {place}"
        assert call("check", folder=folder).exit_code == 0
    raise AssertionError("it never ends")


def test_a_write_that_fails_at_any_statement_leaves_the_store_as_it_was(
    small: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(store: Path) -> None:
        import_files(store, ImportRequest([str(small.file)], "another", explain_rows=None))

    assert every_statement(monkeypatch, tmp_path / "failing", small, work) > 5
    assert digest(tmp_path / "failing") != small.before


@pytest.mark.slow
def test_an_undo_that_fails_at_any_statement_leaves_the_store_as_it_was(
    small: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = Ground(small.folder / "after", small.file, small.after, small.before)
    assert (
        every_statement(
            monkeypatch, tmp_path / "failing", ground, lambda store: undo_import(store, 2)
        )
        > 5
    )
    assert digest(tmp_path / "failing") == small.before


# The log


def with_log(ground: Ground, folder: Path) -> tuple[Path, bytes]:
    """Commit an import that dies before its log is folded in; return the log and its bytes."""
    ground.copy(folder)
    with child(LEAVING_ITS_LOG, ground.arguments(), folder) as started:
        assert started.wait() == -signal.SIGKILL
    log = folder / "profiles.duckdb.wal"
    content = log.read_bytes()
    assert content
    return log, content


def damaged(ground: Ground, folder: Path, store: bytes, log: Path, content: bytes) -> str:
    """Open a store whose log is what it is; say what comes of it."""
    (folder / "profiles.duckdb").write_bytes(store)
    log.write_bytes(content)
    done = call(
        "export", "profiles", "--sorted", "--provenance", "-o", "export.jsonl", folder=folder
    )
    if done.exit_code:
        import profilectl.codes

        assert isinstance(done.exception, profilectl.codes.StoreUnusable), done.exception
        assert "log profiles.duckdb.wal is damaged" in str(done.exception.message)
        return "refused"
    return state_of(folder, ground)


@pytest.mark.parametrize("size", ["small", pytest.param("large", marks=pytest.mark.slow)])
def test_a_log_left_behind_holds_the_import(
    size: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    ground = request.getfixturevalue(size)
    with_log(ground, tmp_path / "left")
    assert state_of(tmp_path / "left", ground) == "after"
    assert call(*ground.arguments(), folder=tmp_path / "left").exit_code == 0  # known already
    assert state_of(tmp_path / "left", ground) == "after"


@pytest.mark.parametrize(
    ("size", "cuts"),
    [
        ("small", 6),
        pytest.param("small", 50, marks=pytest.mark.slow),
        pytest.param("large", 50, marks=pytest.mark.slow),
    ],
)
def test_a_log_cut_anywhere_is_recovered_or_refused(
    size: str, cuts: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    ground = request.getfixturevalue(size)
    log, content = with_log(ground, tmp_path / "cut")
    store = (tmp_path / "cut" / "profiles.duckdb").read_bytes()
    chance = random.Random(size)
    lengths = [0, len(content) - 1, *(chance.randrange(len(content)) for _ in range(cuts - 2))]
    outcomes = [
        damaged(ground, tmp_path / "cut", store, log, content[:length]) for length in lengths
    ]
    assert "after" not in outcomes
    assert outcomes[0] == "before"


@pytest.mark.parametrize("bits", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_a_log_with_a_wrong_byte_is_recovered_or_refused(
    bits: int, small: Ground, tmp_path: Path
) -> None:
    log, content = with_log(small, tmp_path / "wrong")
    store = (tmp_path / "wrong" / "profiles.duckdb").read_bytes()
    chance = random.Random(bits)
    for _ in range(bits):
        place = chance.randrange(len(content))
        wrong = (
            content[:place]
            + bytes([content[place] ^ chance.randrange(1, 256)])
            + content[place + 1 :]
        )
        damaged(small, tmp_path / "wrong", store, log, wrong)
