"""Several processes and one store: nothing is lost, nothing is seen half."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.doors import call, run
from support.effort import spread_now

from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

HOLDING = """
import sys, time
from pathlib import Path
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
with open_store(Scratch(Path(".")), Path("profiles.duckdb"), write=sys.argv[1] == "write"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "profilectl", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def held(folder: Path, how: str, seconds: float = 60) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the store for so long."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, how, str(seconds)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("customer_id,tier\nA,gold\n")
    assert call("import", "a.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    (tmp_path / "b.csv").write_text("customer_id,tier\nB,iron\n")
    return tmp_path


# A busy store


@pytest.mark.parametrize(
    "arguments",
    spread_now(
        [
            "show --customer-id A",
            "export profiles",
            "import b.csv --feed f",
            "imports list",
            "check",
            "backup c.duckdb",
            "feeds list",
        ],
        3,
    ),
)
def test_a_busy_store_is_exit_5_naming_who_holds_it(arguments: str, folder: Path) -> None:
    with held(folder, "write") as holder:
        done = run(*arguments.split(), folder=folder)
        assert done.returncode == 5
        assert f"process {holder.pid} (" in done.stderr
        assert Path(sys.executable).name in done.stderr
        assert "--wait" in done.stderr


def test_wait_waits(folder: Path) -> None:
    with held(folder, "write", 1.5):
        began = time.monotonic()
        assert run("show", "--customer-id", "A", "--wait", "30", folder=folder).returncode == 0
        assert time.monotonic() - began > 0.8


def test_wait_ends(folder: Path) -> None:
    with held(folder, "write"):
        began = time.monotonic()
        assert run("show", "--customer-id", "A", "--wait", "1", folder=folder).returncode == 5
        assert 1 <= time.monotonic() - began < 10


def test_readers_read_together(folder: Path) -> None:
    with held(folder, "read"):
        assert run("show", "--customer-id", "A", folder=folder).returncode == 0
        assert run("export", "profiles", folder=folder).returncode == 0
        done = run("import", "b.csv", "--feed", "f", "--dry-run", folder=folder)
        assert done.returncode == 0, done.stderr
        assert run("plan", "b.csv", "--feed", "f", "-o", "b.plan", folder=folder).returncode == 0


def test_show_and_export_work_while_an_import_stages(folder: Path) -> None:
    importing = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "profilectl",
            "import",
            "-",
            "--format",
            "csv",
            "--feed",
            "g",
            "--json",
        ],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert importing.stdin is not None
    importing.stdin.write("customer_id,tier\nC,tin\n")
    importing.stdin.flush()
    deadline = time.monotonic() + 20
    # it has begun, and waits for the rest of its input
    while not list(folder.glob(".profiles.duckdb.*.scratch")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert run("show", "--customer-id", "A", folder=folder).returncode == 0
    assert run("export", "profiles", folder=folder).returncode == 0
    done = run("import", "b.csv", "--feed", "f", folder=folder)  # another import comes and goes
    assert done.returncode == 0, done.stderr
    out, error = importing.communicate("D,tin\n", timeout=60)
    assert importing.returncode == 0, error
    assert json.loads(out)["import"] == 3
    assert len(run("export", "profiles", folder=folder).stdout.splitlines()) == 4


def test_two_imports_at_once_both_end_right(tmp_path: Path) -> None:
    for n in (1, 2):
        (tmp_path / f"{n}.csv").write_text(
            "customer_id,x\n" + "".join(f"{n}-{i},{n}\nshared-{i},{n}\n" for i in range(500))
        )
    both = [
        start("import", f"{n}.csv", "--feed", f"f{n}", "--wait", "60", "--json", folder=tmp_path)
        for n in (1, 2)
    ]
    numbers = set()
    for one in both:
        out, error = one.communicate(timeout=120)
        assert one.returncode == 0, error
        numbers.add(json.loads(out)["import"])
    assert numbers == {1, 2}
    assert run("check", folder=tmp_path).returncode == 0
    exported = [
        json.loads(line) for line in run("export", "profiles", folder=tmp_path).stdout.splitlines()
    ]
    names = [one["user_identities"]["customer_id"][0] for one in exported]
    assert len(names) == len(set(names)) == 1500
    # The same as one after the other, in the order they committed in.
    last = json.loads(run("imports", "show", "2", "--json", folder=tmp_path).stdout)["feed"]
    expected = last.removeprefix("f")
    assert {
        one["user_attributes"]["x"]
        for one in exported
        if one["user_identities"]["customer_id"][0].startswith("shared")
    } == {expected}


def test_an_import_decided_on_what_is_no_longer_so_is_decided_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from profilectl.importing import run as engine

    (folder / "c.csv").write_text("customer_id,tier\nA,late\n")
    real, written = engine.open_store, []

    def opening(*arguments: Any, **options: Any) -> Any:
        if options.get("write"):
            written.append(1)
            if len(written) == 1:  # decided, not yet committed: somebody else comes first
                assert run("import", "c.csv", "--feed", "f", folder=folder).returncode == 0
        return real(*arguments, **options)

    monkeypatch.setattr(engine, "open_store", opening)
    (folder / "d.csv").write_text("customer_id,tier\nA,last\n")
    report = engine.import_files(
        folder / "profiles.duckdb", engine.ImportRequest([str(folder / "d.csv")], "f")
    )
    monkeypatch.undo()
    assert len(written) == 2
    assert report.number == 3
    assert '"tier":"last"' in run("export", "profiles", folder=folder).stdout
    changed = json.loads(run("diff", "3", "--json", folder=folder).stdout)
    assert (changed["before"], changed["after"]) == ("late", "last")


# For a minute

IMPORTING = """
import json, subprocess, sys, time
from pathlib import Path
worker, until = sys.argv[1], time.monotonic() + float(sys.argv[2])
made, number = [], 0
while time.monotonic() < until or not made:
    number += 1
    file = Path(f"{worker}-{number}.csv")
    # every import brings the same ten people, and one of its own
    file.write_text("customer_id,stamp,by\\n" + "".join(f"P{n},{worker}-{number},{worker}\\n" for n in range(10)) + f"{worker}-{number},x,{worker}\\n")
    done = subprocess.run([sys.executable, "-m", "profilectl", "import", file, "--feed", f"f{worker}", "--json", "--wait", sys.argv[3]], capture_output=True, text=True)
    assert done.returncode in (0, 5), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode == 0:
        made.append([json.loads(done.stdout)["import"], f"{worker}-{number}"])
print(json.dumps(made))
"""
READING = """
import json, subprocess, sys, time
until, seen = time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < until or not seen:
    done = subprocess.run([sys.executable, "-m", "profilectl", "export", "profiles", "--provenance", "--wait", sys.argv[3]], capture_output=True, text=True)
    assert done.returncode in (0, 5), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode == 0 and done.stdout:
        people = [json.loads(line) for line in done.stdout.splitlines()]
        shared = [one for one in people if one["user_identities"]["customer_id"][0].startswith("P")]
        # half of an import would leave two stamps, or a stamp without its one person
        assert len(shared) == 10, len(shared)
        (stamp,) = {one["user_attributes"]["stamp"] for one in shared}
        assert len({one["provenance"]["stamp"]["import"] for one in shared}) == 1
        assert any(one["user_identities"]["customer_id"] == [stamp] for one in people), stamp
        seen += 1
print(json.dumps(seen))
"""


def at_once(folder: Path, seconds: int, wait: int) -> tuple[list[tuple[int, str]], int]:
    """Let 4 processes import and 4 read; return the imports that said they were made, and how often
    was read.
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(worker), str(seconds), str(wait)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for program in (IMPORTING, READING)
        for worker in range(4)
    ]
    made: list[tuple[int, str]] = []
    read = 0
    for one in started:
        out, error = one.communicate(timeout=seconds + 240)
        assert one.returncode == 0, error
        found = json.loads(out)
        if isinstance(found, int):
            read += found
        else:
            made += [(number, stamp) for number, stamp in found]
    return made, read


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [
        pytest.param(6, 20, marks=pytest.mark.slow),
        pytest.param(60, 20, marks=pytest.mark.slow),
        pytest.param(20, 0, marks=pytest.mark.slow),
    ],
)
def test_four_import_and_four_read(seconds: int, wait: int, tmp_path: Path) -> None:
    # so that there is a store to read
    assert run("feeds", "add", "somebody", folder=tmp_path).returncode == 0
    made, read = at_once(tmp_path, seconds, wait)
    print(f"{len(made)} imports, {read} exports read")  # noqa: T201
    assert read
    assert len(made) >= 4
    listed = json.loads(run("imports", "list", "--json", folder=tmp_path).stdout)
    assert (
        sorted(number for number, _ in made)
        == sorted(one["import"] for one in listed)
        == list(range(1, len(listed) + 1))
    )
    people = [
        json.loads(line)
        for line in run("export", "profiles", "--provenance", folder=tmp_path).stdout.splitlines()
    ]
    own = {
        name
        for one in people
        for name in one["user_identities"]["customer_id"]
        if not name.startswith("P")
    }
    assert own == {stamp for _, stamp in made}
    number, stamp = max(made)
    shared = [one for one in people if one["user_identities"]["customer_id"][0].startswith("P")]
    assert {
        (one["user_attributes"]["stamp"], one["provenance"]["stamp"]["import"]) for one in shared
    } == {(stamp, number)}
    done = run("check", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not re.search(
        "scratch|new", " ".join(one.name for one in tmp_path.iterdir() if one.name.startswith("."))
    )


def test_a_reader_shuts_a_writer_out_and_is_waited_for(folder: Path) -> None:
    scratch = Scratch(folder)
    with open_store(scratch, folder / "profiles.duckdb"):
        waiting = start("feeds", "add", "another", "--wait", "30", folder=folder)
        time.sleep(1)
        assert waiting.poll() is None
    scratch.close()
    _, error = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, error


def test_the_same_file_by_two_processes_is_imported_once(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "customer_id,n\n" + "".join(f"C{n},{n}\n" for n in range(40_000))
    )
    assert run("feeds", "add", "fx", folder=tmp_path).returncode == 0
    both = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "profilectl",
                "import",
                "x.csv",
                "--feed",
                "fx",
                "--json",
                "--wait",
                "60",
            ],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    reports = [json.loads(one.communicate(timeout=120)[0]) for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sorted((one["import"] or 0, one.get("already_imported") or 0) for one in reports) == [
        (0, 1),
        (1, 0),
    ]
    assert len(json.loads(run("imports", "list", "--json", folder=tmp_path).stdout)) == 1
