"""Servers that still tell of who was erased: whoever erases waits for them, and names them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.doors import call
from support.serving import Server

from profilectl.files.leftovers import folder_beside
from profilectl.store.tellers import (
    MOST_BYTES,
    WORD,
    Teller,
    answer,
    questions_in,
    say_who,
    still_told_by,
)

NAMES = ("ann", "bob", "eve", "old")


def done(*arguments: str, folder: Path) -> Any:
    """Run a command that must do; return the document that it prints."""
    ended = call(*arguments, "--json", folder=folder)
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of some people, one of them not seen for long."""
    folder = tmp_path_factory.mktemp("made")
    people = [
        {
            "customer_id": name,
            "tier": "gold",
            **({"timestamp_unixtime_ms": 1_500_000_000_000} if name == "old" else {}),
        }
        for name in NAMES
    ]
    (folder / "people.jsonl").write_text("".join(json.dumps(one) + "\n" for one in people))
    done("--quiet", "import", "people.jsonl", "--feed", "crm", folder=folder)
    return folder / "profiles.duckdb"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Return a folder with that store."""
    shutil.copy(made, tmp_path)
    return tmp_path


def named(server: Server) -> dict[str, Any]:
    return {"process": server.process.pid, "address": server.address, "user": None}


def test_who_was_forgotten_is_told_by_no_server_once_forget_is_done(folder: Path) -> None:
    """Not even by one that copies the store once in an hour; one that cannot answer is named, and
    waited for no longer than was said."""
    call(
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
    server = Server(folder, "--refresh-every", "3600")
    try:
        bearer = server.bearer()

        def status(name: str) -> int:
            whom = {
                "environment_type": "production",
                "identity": {"type": "customer_id", "value": name},
            }
            return server.http.post(
                "/userprofile/v1/resolve/1/10/100?fields=user_attributes", json=whom, headers=bearer
            ).status_code

        assert status("ann") == 200
        assert done("forget", "--customer-id", "ann", "--yes", folder=folder)["still_told_by"] == []
        assert status("ann") == 400
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert done(
                "forget", "--customer-id", "bob", "--yes", "--wait-servers", "0.3", folder=folder
            )["still_told_by"] == [named(server)]
            assert time.monotonic() - began < 20
            shown = call(
                "forget", "--customer-id", "eve", "--yes", "--wait-servers", "0", folder=folder
            )
            assert (
                f"may still be told by {server.address} (process {server.process.pid})"
                in shown.stdout
            )
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
    finally:
        assert server.end() == 0
    assert not list(folder.glob(".*.snapshot"))


class Living:
    """A server that lives: a folder that is locked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._answer)

    def _answer(self) -> None:
        while not self.stop.wait(0.02):
            answer(questions_in(self.folder))


@pytest.fixture
def living(folder: Path) -> Iterator[Living]:
    with folder_beside(folder / "profiles.duckdb", "snapshot") as place:
        yield Living(place)


ERASURE = {
    "regulation": "gdpr",
    "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
    "subject_request_type": "erasure",
    "submitted_time": "2026-11-20T15:00:00Z",
    "api_version": "3.0",
    "subject_identities": {"controller_customer_id": {"value": "eve", "encoding": "raw"}},
}


def test_whatever_erases_waits_for_servers_and_names_them(folder: Path, living: Living) -> None:
    (folder / "erasure.json").write_text(json.dumps(ERASURE))
    done("privacy", "request", "erasure.json", folder=folder)
    done("retention", "set", "--lifetime-days", "365", folder=folder)
    nobody = {"process": None, "address": None, "user": None}
    (record,) = done(
        "privacy", "run", "--yes", "--now", "2100-01-01", "--wait-servers", "0", folder=folder
    )
    assert record["still_told_by"] == [nobody]
    assert done("retention", "apply", "--dry-run", folder=folder)["still_told_by"] == []
    living.thread.start()
    assert done("retention", "apply", "--yes", folder=folder)["still_told_by"] == []
    assert done("retention", "apply", "--yes", folder=folder)["still_told_by"] == [], (
        "nothing was to go"
    )
    living.stop.set()
    living.thread.join()
    assert done("forget", "--customer-id", "ann", "--dry-run", folder=folder)["still_told_by"] == []
    assert questions_in(living.folder) == [], "no question is left"


def test_a_server_of_another_store_and_one_that_is_dead_are_not_waited_for(
    folder: Path, living: Living
) -> None:
    path = folder / "profiles.duckdb"
    say_who(living.folder, Teller(1, "http://127.0.0.1:1", "another"))
    dead = folder / ".profiles.duckdb.abcdefgh.snapshot"
    dead.mkdir(mode=0o700)
    say_who(dead, Teller(os.getpid(), "http://127.0.0.1:2", "this"))
    began = time.monotonic()
    assert still_told_by(path, "this", 60) == []
    assert time.monotonic() - began < 30
    say_who(living.folder, Teller(1, "http://127.0.0.1:1", "this"))
    assert still_told_by(path, "this", 0) == [Teller(1, "http://127.0.0.1:1", "this")]


# what stands in the folder of a server
ODD: dict[str, bytes] = {
    "no JSON": b"{",
    "a list": b"[1]",
    "much": b'{"process": 1, "address": "' + b"x" * MOST_BYTES + b'"}',
    "odd values": json.dumps(
        {"process": True, "address": "http://a\x1b[31m", "store_id": ["this"]}
    ).encode(),
    "another address": json.dumps(
        {"process": -1, "address": "file:///etc/passwd", "store_id": "x" * 1000}
    ).encode(),
    "deep": b"[" * MOST_BYTES,
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("what", ODD)
def test_what_a_server_says_is_read_as_a_strangers(what: str, living: Living) -> None:
    (living.folder / WORD).write_bytes(ODD[what])
    (one,) = still_told_by(living.folder.parent / "profiles.duckdb", "this", 0)
    assert one == Teller()


def test_what_a_server_says_leads_nowhere(living: Living) -> None:
    path = living.folder.parent / "profiles.duckdb"
    secret = living.folder.parent / "secret"
    secret.write_text('{"process": 1, "address": "http://127.0.0.1:1", "store_id": "this"}')
    (living.folder / WORD).symlink_to(secret)
    assert still_told_by(path, "this", 0) == [Teller()]
    (living.folder / WORD).unlink()
    os.mkfifo(living.folder / WORD)
    assert still_told_by(path, "this", 0) == [Teller()]
