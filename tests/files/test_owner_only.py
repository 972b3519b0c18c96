"""Nothing that a command makes can be read by another user at any moment, whatever the umask.

Somebody else looks on: a process of another user (where the tests run as root), which tries to
open whatever appears in the
folder for as long as a command works; and, deterministically, looks once where a command stands
still with its log on the disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.doors import call
from support.stopping import started

from profilectl import Store
from profilectl.files.leftovers import private_files

NOBODY = 65534
# Says what it could read of a folder when it is told to end; files that were there before are
# passed over.
LOOKING = """
import os, signal, sys
folder, passed, read = sys.argv[1], set(sys.argv[3:]), set()
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))  # the Python itself may lie where another user has no way
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
print("looking", flush=True)
while not ended:
    with os.scandir(folder) as there:
        for one in there:
            if one.name in passed or one.name in read:
                continue
            try:
                if one.is_dir(follow_symlinks=False):
                    os.listdir(one.path)
                else:
                    os.close(os.open(one.path, os.O_RDONLY))
                read.add(one.name)
            except OSError:
                pass
print(*sorted(read), flush=True)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that everybody may look into."""
    made = Path(tempfile.mkdtemp(prefix="profilectl-test-", dir="/tmp"))
    made.chmod(0o777)
    (made / "a.csv").write_text("customer_id,tier\nA,gold\nB,silver\n,bronze\n")
    try:
        yield made
    finally:
        shutil.rmtree(made)


@contextlib.contextmanager
def somebody_looks(folder: Path) -> Iterator[None]:
    """Fail where another user could read anything that appears in a folder meanwhile."""
    if os.geteuid() != 0:  # it would be us: the modes are looked at alone
        yield
        assert readable(folder) == []
        return
    before = [one.name for one in folder.iterdir()]
    looking = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", LOOKING, str(folder), str(NOBODY), *before],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert looking.stdout
    assert looking.stdout.readline() == "looking\n"
    try:
        yield
    finally:
        looking.terminate()
        read, _ = looking.communicate(timeout=30)
    assert read.split() == []


def readable(folder: Path) -> list[str]:
    """Return what in a folder has a mode by which others could read it; but the file that is
    imported."""
    return sorted(
        one.name
        for one in folder.iterdir()
        if one.name != "a.csv" and stat.S_IMODE(one.lstat().st_mode) & 0o077
    )


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_the_log_of_an_import_is_for_its_owner_while_it_works_and_after_a_kill(
    umask: int, folder: Path
) -> None:
    with somebody_looks(folder):
        with started(
            "import",
            "a.csv",
            "--feed",
            "f",
            folder=folder,
            point="profilectl.importing.run:write",
            how="after",
            umask=umask,
        ) as command:
            command.reached()
            time.sleep(0.05)
            assert (folder / "profiles.duckdb.wal").exists()
            assert readable(folder) == []
            command.end(signal.SIGKILL)
        assert (folder / "profiles.duckdb.wal").exists()
        assert readable(folder) == []


COMMANDS = {
    # with what of it must be there in the end
    (
        "import a.csv --feed f --rejects r.jsonl --rejects-as-input r2.csv --explain-rows e.jsonl"
    ): "r.jsonl",
    "set tier=tin --customer-id A --feed f": "profiles.duckdb",
    "export profiles -o out.jsonl": "out.jsonl",
    "export profiles -o out --partition-by tier": "out",
    "backup copy.duckdb": "copy.duckdb",
    "plan a.csv --feed g -o a.plan": "a.plan",
    "access --customer-id A -o a.json --html a.html": "a.html",
    "imports undo 1 --yes": "profiles.duckdb",
    "compact": "profiles.duckdb",
}


@pytest.mark.slow
def test_every_file_of_each_command_is_for_its_owner_while_it_is_made(folder: Path) -> None:
    with somebody_looks(folder):
        for arguments, there in COMMANDS.items():
            with started(*arguments.split(), folder=folder, umask=0) as command:
                assert command.end() in (0, 3, 4), command.said()
            assert (folder / there).exists(), arguments
            assert readable(folder) == [], arguments


def test_every_file_of_a_server_and_its_process_of_imports_is_for_its_owner(folder: Path) -> None:
    assert call("credentials", "new", "api.toml", "--feed", "app", folder=folder).exit_code == 0
    import tomllib

    stated = tomllib.loads((folder / "api.toml").read_text())["feeds"]["app"]
    with (
        somebody_looks(folder),
        started(
            "serve", "--credentials", "api.toml", "--port", "0", "--json", folder=folder, umask=0
        ) as server,
    ):
        until = time.monotonic() + 60
        while "}" not in server.said():
            assert time.monotonic() < until, server.said()
            time.sleep(0.02)
        address = json.loads(server.said()[: server.said().index("}") + 1])["address"]
        for number in range(2):
            answer = httpx.post(
                f"{address}/v2/events",
                auth=(stated["key"], stated["secret"]),
                timeout=60,
                trust_env=False,
                json={
                    "environment": "production",
                    "user_identities": {"customer_id": f"C{number}"},
                    "user_attributes": {"x": "1"},
                },
            )
            assert answer.status_code == 202, answer.text
            assert readable(folder) == []
        server.end(signal.SIGTERM)
    assert readable(folder) == []


LIBRARY = """
import os, sys, time
from pathlib import Path
os.umask(0)
import profilectl.importing.run as engine
from profilectl import Store
write = engine.write
def last(store, *arguments):
    store.scratch.run("set checkpoint_threshold = '1TB'")
    write(store, *arguments)
    print(*sorted(one for one in os.listdir(".") if os.lstat(one).st_mode & 0o077), "log" if os.path.exists("profiles.duckdb.wal") else "no log", flush=True)
engine.write = last
Store("profiles.duckdb").import_files("a.csv", feed="f")
print(oct(os.umask(0)))
"""


def test_a_program_that_imports_keeps_its_umask_and_the_log_is_for_its_owner(folder: Path) -> None:
    (folder / "a.csv").chmod(0o600)
    with somebody_looks(folder):
        done = subprocess.run(
            [sys.executable, "-c", LIBRARY],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert done.stdout.splitlines() == ["log", "0o0"]
    assert readable(folder) == []


def test_threads_that_write_at_the_same_time_give_the_umask_back_together() -> None:
    before = os.umask(0o027)
    try:
        first, second = private_files(), private_files()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert os.umask(0o077) == 0o077, "one of them still writes"
        second.__exit__(None, None, None)
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_program_that_only_reads_has_its_umask_all_the_time(folder: Path) -> None:
    assert call("import", "a.csv", "--feed", "f", folder=folder).exit_code == 3
    before = os.umask(0o022)
    try:
        assert [
            one.identities for one in Store(folder / "profiles.duckdb").profile(customer_id="A")
        ] == [{"customer_id": ["A"]}]
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
