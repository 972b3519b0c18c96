"""Where two features of serving meet: erasure beside a server, keys of its process of imports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.doors import run
from support.serving import Server, served

from profilectl.codes import OtherStore
from profilectl.outputs.delivery import run as forwarding_of
from profilectl.outputs.push.ledger import Ledger, LedgerEntry
from profilectl.server import intake as intake_of
from profilectl.server.intake import Intake, Later
from profilectl.store.same_store import is_held
from profilectl.store.store_key import choose_store_key, store_key

KEY = "k" * 40


def done(*arguments: str, folder: Path) -> str:
    """Run a command that must do; return what it says on both streams."""
    ended = run(*arguments, folder=folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a folder with a store of two people, and credentials."""
    people = [{"customer_id": name, "tier": "gold"} for name in ("ann", "bob")]
    (tmp_path / "people.jsonl").write_text("".join(json.dumps(one) + "\n" for one in people))
    done("--quiet", "import", "people.jsonl", "--feed", "crm", folder=tmp_path)
    done("credentials", "new", "api.toml", "--feed", "crm", folder=tmp_path)
    return tmp_path


def code_of(server: Server, customer: str) -> tuple[int, str]:
    """Send a batch of somebody; return the status and the code of the answer."""
    answer = server.send("crm", {"user_identities": {"customer_id": customer}})
    return answer.status_code, answer.json()["errors"][0]["code"] if answer.content else ""


def test_a_server_that_has_answered_is_not_said_to_hold_the_erased(shop: Path) -> None:
    with served(shop) as server:
        words = done("forget", "--customer-id", "ann", "--yes", folder=shop)
        assert "may hold them" not in words
        assert "may still be told" not in words
        key = shop / "profiles.duckdb.suppression-key"
        key.rename(shop / "away")
        assert code_of(server, "eve") == (503, "NO_SUPPRESSION_KEY")
        assert server.health()["status"] == "ok", "all is told"
        (shop / "away").rename(key)
        assert code_of(server, "eve") == (202, "")
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert [line.get("code") for line in lines if "intake" in line] == ["NO_SUPPRESSION_KEY", None]


def test_a_process_of_imports_that_hangs_does_not_keep_the_server_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_of, "END_S", 0.2)

    async def hanging() -> tuple[object, object]:
        intake = Intake(tmp_path / "profiles.duckdb", "")
        assert await intake._work(max, 1, 2) == 2, "the process is there"
        works = [asyncio.ensure_future(intake._work(time.sleep, 60)) for _ in range(2)]
        await asyncio.sleep(0.1)
        await asyncio.to_thread(intake.close)
        return tuple(await asyncio.gather(*works))

    began = time.monotonic()
    first, second = asyncio.run(asyncio.wait_for(hanging(), 20))
    assert time.monotonic() - began < 10
    assert isinstance(first, Later)
    assert isinstance(second, Later)


def test_what_was_delivered_is_not_written_down_in_another_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = """[outputs.o]
type = "jsonl"
path = "out.jsonl"
[feeds.crm]
source = "sdk"
[connections.c]
feed = "crm"
output = "o"
"""
    event = {"event_type": "screen_view", "data": {"screen_name": "home"}}
    batch = {"user_identities": {"customer_id": "ann"}, "events": [event]}
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "c.toml").write_text(config)
        (folder / "in.jsonl").write_text(json.dumps(batch) + "\n")
        done("config", "apply", "c.toml", folder=folder)
        done("import", "in.jsonl", "--feed", "crm", folder=folder)
    first, second = (tmp_path / name / "profiles.duckdb" for name in ("first", "second"))
    delivery_of = forwarding_of.delivery_of

    def exchanging(*arguments: Any, **named: Any) -> Any:
        first.rename(tmp_path / "away")
        second.rename(first)
        return delivery_of(*arguments, **named)

    monkeypatch.setattr(forwarding_of, "delivery_of", exchanging)
    with pytest.raises(OtherStore):
        forwarding_of.forward(first, forwarding_of.ForwardRequest())
    monkeypatch.undo()
    (found,) = forwarding_of.forward(first, forwarding_of.ForwardRequest())
    assert found.delivered == 1, "its own batch still waited"
    assert not is_held(first)


def test_what_was_pushed_is_not_written_down_in_another_store(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / "in.csv").write_text("customer_id\nann\n")
        done("--store", name, "import", "in.csv", "--feed", "crm", folder=tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    with contextlib.closing(Ledger(second, 0)) as ledger:
        ledger.begin("file", {"sha256": "1"}, None, again=False, dry_run=False)
    with contextlib.closing(Ledger(first, 0)) as ledger:
        begun = ledger.begin("file", {"sha256": "1"}, None, again=False, dry_run=False)
        ledger.write(begun, LedgerEntry([(0, 0)], rows=1, accepted=1))
        first.rename(tmp_path / "away")
        second.rename(first)
        with pytest.raises(OtherStore):
            ledger.write(begun, LedgerEntry([(0, 1)], rows=1, accepted=1))
    assert not is_held(first)


def test_the_process_of_imports_has_the_key_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROFILECTL_STORE_KEY", raising=False)
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    choose_store_key(tmp_path / "key")
    try:
        assert store_key() == KEY
        (tmp_path / "key").unlink()  # it was read: nobody needs the file any more

        async def in_the_process() -> object:
            intake = Intake(tmp_path / "profiles.duckdb", "")
            try:
                return await intake._work(store_key)
            finally:
                intake.close()

        assert asyncio.run(in_the_process()) == KEY
    finally:
        choose_store_key(None)
