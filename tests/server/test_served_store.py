"""profilectl serve with its store moved away, exchanged, damaged and put back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from support.doors import call
from support.places import ROOT
from support.serving import Server, served

from profilectl.codes import OtherStore, StoreBusy, StoreUnusable
from profilectl.server import run as serving
from profilectl.server import snapshot
from profilectl.server.gate import Problem
from profilectl.server.snapshot import Snapshots

PEOPLE = [
    {
        "user_identities": {"customer_id": name, "email": f"{name}@example.com"},
        "user_attributes": {"tier": "gold"},
    }
    for name in ("ann", "bob", "eve")
]


def done(*arguments: str, folder: Path) -> str:
    """Run a command that must do; return what it prints."""
    ended = call(*arguments, folder=folder)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store, another one, half of the first, and credentials."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "people.jsonl").write_text("".join(json.dumps(one) + "\n" for one in PEOPLE))
    for name in ("profiles", "other"):
        done(
            "--store",
            f"{name}.duckdb",
            "--quiet",
            "import",
            "people.jsonl",
            "--feed",
            "crm",
            folder=folder,
        )
    done("--workspace", "default", "audiences", "add", "gold", "tier = 'gold'", folder=folder)
    done(
        "credentials",
        "new",
        "api.toml",
        "--org",
        "1",
        "--account",
        "10",
        "--of-workspace",
        "default=100",
        "--client",
        "web",
        "--feed",
        "crm",
        folder=folder,
    )
    whole = (folder / "profiles.duckdb").read_bytes()
    (folder / "half").write_bytes(whole[: len(whole) * 2 // 3])
    return folder


def copy_of(made: Path, folder: Path) -> None:
    shutil.copytree(made, folder, dirs_exist_ok=True)
    for name in ("profiles.duckdb", "other.duckdb", "api.toml"):
        (folder / name).chmod(0o600)


@pytest.fixture(scope="module")
def shop(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("shop") / "data"
    copy_of(made, folder)
    with served(folder, "--most-behind", "0.5") as server:
        yield server


def eventually(what: Callable[[], bool], within_s: float = 20) -> bool:
    until = time.monotonic() + within_s
    while not (true := what()) and time.monotonic() < until:
        time.sleep(0.02)
    return true


def told(answer: httpx.Response) -> tuple[int, str | None]:
    """Return the status and the code of an answer."""
    body = answer.json() if answer.content else {}
    return answer.status_code, body["errors"][0]["code"] if "errors" in body else None


def imports_in(path: Path) -> int:
    with contextlib.closing(duckdb.connect(str(path), read_only=True)) as connection:
        (count,) = connection.execute("select count(*) from import").fetchall()[0]
        return int(count)


def questions(shop: Server) -> dict[str, Callable[[], httpx.Response]]:
    """Return every request that tells of people."""
    bearer, http, basic = shop.bearer(), shop.http, shop.basic("crm")
    whom = {"environment_type": "production", "identity": {"type": "customer_id", "value": "ann"}}
    known = {"environment": "production", "known_identities": {"customerid": "ann"}}
    own, api = "/profilectl/v1/1/10/100", "/userprofile/v1"
    mpid = http.post("/v1/search", json=known, auth=basic).json()["mpid"]
    return {
        "resolve": lambda: http.post(
            f"{api}/resolve/1/10/100?fields=user_attributes", json=whom, headers=bearer
        ),
        "by MPID": lambda: http.get(
            f"{api}/1/10/100/{mpid}?fields=user_attributes", headers=bearer
        ),
        "profiles": lambda: http.post(
            f"{own}/profiles", json={"identities": [whom["identity"]]}, headers=bearer
        ),
        "audiences": lambda: http.get(f"{own}/audiences", headers=bearer),
        "members": lambda: http.get(f"{own}/audiences/1/members", headers=bearer),
        "search": lambda: http.post("/v1/search", json=known, auth=basic),
        "identify, reading only": lambda: http.post(
            "/v1/identify?read_only=true", json=known, auth=basic
        ),
    }


def writes(shop: Server) -> dict[str, Callable[[], httpx.Response]]:
    """Return every request that writes."""
    http, basic = shop.http, shop.basic("crm")
    known = {"environment": "production", "known_identities": {"customerid": "ann"}}
    change = {
        "environment": "production",
        "identity_changes": [{"identity_type": "facebook", "old_value": None, "new_value": "a"}],
    }
    return {
        "events": lambda: shop.send("crm", PEOPLE[0]),
        "bulkevents": lambda: shop.send("crm", PEOPLE, "/v2/bulkevents"),
        "login": lambda: http.post("/v1/login", json=known, auth=basic),
        "modify": lambda: http.post("/v1/1/modify", json=change, auth=basic),
    }


# what lies at the path of the store -> how it comes there, the code, and the status of /healthz
WRONG: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "nothing": (lambda _: None, "STORE_GONE", "store_gone"),
    "another store": (
        lambda path: shutil.copy(path.with_name("other.duckdb"), path),
        "OTHER_STORE",
        "other_store",
    ),
    "garbage": (
        lambda path: path.write_bytes(b"garbage" * 50_000),
        "STORE_UNUSABLE",
        "store_unusable",
    ),
    "half a file": (
        lambda path: shutil.copy(path.with_name("half"), path),
        "STORE_UNUSABLE",
        "store_unusable",
    ),
    "a folder": (lambda path: path.mkdir(), "STORE_UNUSABLE", "store_unusable"),
    "a pipe": (os.mkfifo, "STORE_UNUSABLE", "store_unusable"),
    "a link to it": (
        lambda path: path.symlink_to(path.with_name("away")),
        "STORE_UNUSABLE",
        "store_unusable",
    ),
}


QUICK = ("nothing", "another store", "half a file")


@pytest.mark.parametrize(
    "what",
    [what if what in QUICK else pytest.param(what, marks=pytest.mark.slow) for what in WRONG],
)
def test_with_the_wrong_thing_in_the_place_of_its_store_nothing_is_taken_in_or_told(
    what: str, shop: Server
) -> None:
    put, code, status = WRONG[what]
    path, away = shop.folder / "profiles.duckdb", shop.folder / "away"
    asks, bearer = questions(shop), shop.bearer()
    path.rename(away)
    put(path)
    kind = path.lstat().st_mode if os.path.lexists(path) else None
    for name, send in writes(shop).items():
        if what == "nothing" or name in ("events", "modify"):
            assert told(send()) == (503, code), name
    assert eventually(lambda: shop.health()["status"] == status), shop.health()
    assert (path.lstat().st_mode if os.path.lexists(path) else None) == kind, (
        "no store is made, and what is there is left alone"
    )
    assert eventually(lambda: not shop.health()["answers"])
    assert shop.http.get("/healthz").status_code == 503
    for name, ask in asks.items():
        assert told(ask()) == (503, code), name
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    away.rename(path)
    assert eventually(lambda: shop.health()["status"] == "ok"), shop.health()
    assert shop.http.get("/profilectl/v1/1/10/100/audiences", headers=bearer).status_code == 200
    if what in ("nothing", "half a file"):
        before = imports_in(path)
        assert shop.send("crm", PEOPLE[0]).status_code == 202
        assert imports_in(path) == before + 1
        shop.wait_for(before + 1)
    assert imports_in(shop.folder / "other.duckdb") == 1


def test_a_folder_that_is_moved_and_one_that_comes_in_its_place(shop: Server) -> None:
    folder, away = shop.folder, shop.folder.with_name("away")
    backup = folder.with_name("backup")
    done("backup", str(backup), folder=folder)
    folder.rename(away)
    assert told(shop.send("crm", PEOPLE[0])) == (503, "STORE_GONE")
    folder.mkdir()
    assert told(shop.send("crm", PEOPLE[0])) == (503, "STORE_GONE")
    assert eventually(lambda: shop.health()["status"] == "store_gone")
    assert not (folder / "profiles.duckdb").exists()
    shutil.copy(backup, folder / "profiles.duckdb")  # the same store, restored
    assert eventually(lambda: shop.health()["status"] == "ok"), shop.health()
    before = imports_in(folder / "profiles.duckdb")
    assert shop.send("crm", PEOPLE[0]).status_code == 202
    assert imports_in(folder / "profiles.duckdb") == before + 1
    shop.wait_for(before + 1)
    shutil.rmtree(folder)
    away.rename(folder)
    assert eventually(lambda: shop.health()["status"] == "ok"), shop.health()
    assert [one.name for one in folder.glob(".*.snapshot")] != []


def test_what_went_wrong_is_logged_by_its_kind(shop: Server) -> None:
    def said() -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for line in (shop.folder / "log").read_text().splitlines()
            if '"refresh"' in line
        ]

    assert eventually(lambda: said()[-1]["refresh"] == "well")
    lines = said()
    assert {line["code"] for line in lines if line["refresh"] == "failed"} >= {
        "STORE_GONE",
        "OTHER_STORE",
        "STORE_UNUSABLE",
    }
    assert all(set(line) <= {"time", "refresh", "code", "kind", "at"} for line in lines)
    assert str(shop.folder) not in json.dumps(lines)


# Refreshing.


@pytest.fixture
def snapshots(made: Path, tmp_path: Path) -> Iterator[Snapshots]:
    """Yield the snapshots of a store, in this process."""
    copy_of(made, tmp_path)
    (tmp_path / "copies").mkdir()
    taken = Snapshots(
        tmp_path / "profiles.duckdb", tmp_path / "copies", ["default"], most_behind_s=5
    )
    taken.open(5)
    yield taken
    taken.close()


def changed(snapshots: Snapshots) -> None:
    """Make the store look as if it had been written, a while ago."""
    os.utime(snapshots.path, (time.time() - 60, time.time() - 60 - time.monotonic() % 1))


FAULTS = [
    duckdb.IOException("IO Error: /home/eve/profiles.duckdb"),
    duckdb.OutOfMemoryException("eve@example.com"),
    duckdb.InternalException("eve@example.com"),
    MemoryError("eve@example.com"),
    RuntimeError("can't start new thread"),
    KeyError("eve@example.com"),
    OSError(28, "No space left", "/home/eve/x"),
    StoreUnusable("eve@example.com"),
    AssertionError("eve@example.com"),
    RecursionError("eve@example.com"),
]


def test_whatever_fails_refreshing_goes_on(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faults, real, pauses = list(FAULTS), snapshot.copy_for_reading, []

    def copy(*arguments: Any, **named: Any) -> Any:
        if faults:
            raise faults.pop(0)
        return real(*arguments, **named)

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        await asyncio.tasks.sleep(0.001)

    async def refresh() -> None:
        task = asyncio.create_task(serving._keep_fresh(snapshots))
        while snapshots.copies < len(FAULTS) + 2 and not task.done():
            await asyncio.tasks.sleep(0.01)
        until = time.monotonic() + 30  # the last copy was begun, and takes its time
        while snapshots.now is before and time.monotonic() < until and not task.done():
            await asyncio.tasks.sleep(0.01)
        await asyncio.tasks.sleep(0.2)
        assert task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    before = snapshots.now
    monkeypatch.setattr(snapshot, "copy_for_reading", copy)
    changed(snapshots)
    snapshots._next = 0.0
    monkeypatch.setattr(serving.asyncio, "sleep", sleep)
    asyncio.run(refresh())
    assert snapshots.now is not before
    assert snapshots.trouble is None
    growing = pauses[: len(FAULTS) + 1]
    assert growing == sorted(growing)
    assert growing[0] < growing[3] <= growing[-1] <= max(serving.MOST_PAUSE_S, snapshots.copy_s)
    assert pauses[-1] == serving.LOOK_S
    log = capsys.readouterr().err
    assert [json.loads(line)["kind"] for line in log.splitlines() if "kind" in line] == [
        type(fault).__name__ for fault in FAULTS
    ]
    assert "eve" not in log
    assert "thread" not in log


def test_what_is_too_old_is_not_told_whoever_is_in_the_way(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any, **__: Any) -> Any:
        raise StoreBusy("another process")

    monkeypatch.setattr(snapshot, "copy_for_reading", busy)
    changed(snapshots)
    snapshots._next = 0.0
    assert snapshots.renew() is None
    with snapshots.reader():
        pass
    real = time.monotonic
    for late_s, silent in ((4.0, False), (7.0 + 2 * snapshots.copy_s, True)):
        monkeypatch.setattr(time, "monotonic", lambda late_s=late_s: real() + late_s)
        assert (snapshots.silence() is not None) is silent
    with pytest.raises(Problem) as raised, snapshots.reader():
        pass
    assert (raised.value.status, raised.value.code) == (503, "BEHIND")
    monkeypatch.setattr(time, "monotonic", real)
    assert snapshots.silence() is None
    real_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + 3600 * 10**9)  # the machine slept
    assert snapshots.silence() is not None


def test_a_copy_of_another_store_is_not_put_in_use(snapshots: Snapshots) -> None:
    shutil.copy(snapshots.path.with_name("other.duckdb"), snapshots.path)
    changed(snapshots)
    for next_s in (0.0, time.monotonic() + 3600):  # also where it is not time to copy yet
        snapshots._next = next_s
        with pytest.raises(OtherStore):
            snapshots.renew()
    assert list(snapshots.folder.iterdir()) == []


def test_nothing_older_is_told_once_a_question_is_answered(snapshots: Snapshots) -> None:
    """Also not by a request that began before: it ends on the copy that it began on."""
    with snapshots.reader():
        changed(snapshots)
        snapshots._next = 0.0
        now_s = time.monotonic()
        assert not snapshots.tells_since(now_s)
        taken = snapshots.renew()
        assert taken is not None
        snapshots.put(taken)
        assert not snapshots.tells_since(now_s)
    assert snapshots.tells_since(now_s)


ENDS = """
import profilectl.server.run as serving
async def keep_fresh(*_):
    {what}
serving._keep_fresh = keep_fresh
from profilectl.cli.app import main
main()
"""


def test_a_server_whose_refreshing_ends_ends_too_and_says_so(made: Path, tmp_path: Path) -> None:
    copy_of(made, tmp_path)
    script = ENDS.format(what='raise KeyError("eve@example.com")')
    ended = subprocess.run(
        [sys.executable, "-c", script, "serve", "--credentials", "api.toml", "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "refreshing ended (KeyError)" in ended.stderr
    assert "eve" not in ended.stderr
    assert not list(tmp_path.glob(".*.snapshot"))
