"""profilectl serve with its store moved away, exchanged, damaged and put back: nothing goes into another, nothing old is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from doors import call
from serving import ROOT, Server, served
from signing_in import SECRET, Copies, Room

from profilectl.codes import OtherStore, StoreBusy, StoreUnusable
from profilectl.server import run as serving
from profilectl.server import snapshot
from profilectl.server.snapshot import Snapshots

PEOPLE = [
    {"user_identities": {"customer_id": name, "email": f"{name}@example.com"}, "user_attributes": {"tier": "gold"}} for name in ("ann", "bob", "eve")
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
        done("--store", f"{name}.duckdb", "--quiet", "import", "people.jsonl", "--feed", "crm", folder=folder)
    done("--workspace", "default", "audiences", "add", "gold", "tier = 'gold'", folder=folder)
    done("credentials", "new", "api.toml", "--org", "1", "--account", "10", "--of-workspace", "default=100", "--client", "web", "--feed", "crm", folder=folder)
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
        "resolve": lambda: http.post(f"{api}/resolve/1/10/100?fields=user_attributes", json=whom, headers=bearer),
        "by MPID": lambda: http.get(f"{api}/1/10/100/{mpid}?fields=user_attributes", headers=bearer),
        "profiles": lambda: http.post(f"{own}/profiles", json={"identities": [whom["identity"]]}, headers=bearer),
        "audiences": lambda: http.get(f"{own}/audiences", headers=bearer),
        "members": lambda: http.get(f"{own}/audiences/1/members", headers=bearer),
        "search": lambda: http.post("/v1/search", json=known, auth=basic),
        "identify, reading only": lambda: http.post("/v1/identify?read_only=true", json=known, auth=basic),
    }


def writes(shop: Server) -> dict[str, Callable[[], httpx.Response]]:
    """Return every request that writes."""
    http, basic = shop.http, shop.basic("crm")
    known = {"environment": "production", "known_identities": {"customerid": "ann"}}
    change = {"environment": "production", "identity_changes": [{"identity_type": "facebook", "old_value": None, "new_value": "a"}]}
    return {
        "events": lambda: shop.send("crm", PEOPLE[0]),
        "bulkevents": lambda: shop.send("crm", PEOPLE, "/v2/bulkevents"),
        "login": lambda: http.post("/v1/login", json=known, auth=basic),
        "modify": lambda: http.post("/v1/1/modify", json=change, auth=basic),
    }


# what lies at the path of the store -> how it comes there, the code, and the status of /healthz
WRONG: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "nothing": (lambda _: None, "STORE_GONE", "store_gone"),
    "another store": (lambda path: shutil.copy(path.with_name("other.duckdb"), path), "OTHER_STORE", "other_store"),
    "garbage": (lambda path: path.write_bytes(b"garbage" * 50_000), "STORE_UNUSABLE", "store_unusable"),
    "half a file": (lambda path: shutil.copy(path.with_name("half"), path), "STORE_UNUSABLE", "store_unusable"),
    "a folder": (lambda path: path.mkdir(), "STORE_UNUSABLE", "store_unusable"),
    "a pipe": (lambda path: os.mkfifo(path), "STORE_UNUSABLE", "store_unusable"),
    "a link to it": (lambda path: path.symlink_to(path.with_name("away")), "STORE_UNUSABLE", "store_unusable"),
}


@pytest.mark.parametrize("what", WRONG)
def test_with_the_wrong_thing_in_the_place_of_its_store_nothing_is_taken_in_or_told(what: str, shop: Server) -> None:
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
    assert (path.lstat().st_mode if os.path.lexists(path) else None) == kind, "no store is made, and what is there is left alone"
    assert eventually(lambda: not shop.health()["answers"])
    assert shop.http.get("/healthz").status_code == 503
    for name, ask in asks.items():
        assert told(ask()) == (503, code), name
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    away.rename(path)
    assert eventually(lambda: shop.health()["status"] == "ok"), shop.health()
    assert shop.http.get(f"/profilectl/v1/1/10/100/audiences", headers=bearer).status_code == 200
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
    lines = [json.loads(line) for line in (shop.folder / "log").read_text().splitlines() if '"refresh"' in line]
    assert {line["code"] for line in lines if line["refresh"] == "failed"} >= {"STORE_GONE", "OTHER_STORE", "STORE_UNUSABLE"}
    assert all(set(line) <= {"time", "refresh", "code", "kind", "at"} for line in lines)
    assert lines[-1]["refresh"] == "well"
    assert str(shop.folder) not in json.dumps(lines)
