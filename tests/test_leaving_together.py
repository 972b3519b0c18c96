"""What leaves and what takes people away, together: erasure, undo, retention, outputs of both kinds, audiences, pushes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from doors import call
from receiver import receiving
from test_push import tried


def done(folder: Path, *arguments: str, status: int = 0) -> str:
    found = call(*arguments, folder=folder)
    assert found.exit_code == status, (arguments, found.output, found.exception)
    return found.stdout


def imported(folder: Path, *batches: dict[str, Any], feed: str = "app") -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in batches))
    done(folder, "import", "in.jsonl", "--feed", feed, "--again")


def seen(name: str, **more: Any) -> dict[str, Any]:
    """Return a batch of somebody with an event."""
    event = {"event_type": "custom_event", "data": {"event_name": "seen", "custom_event_type": "other"}}
    return {"user_identities": {"customer_id": name}, "events": [event], **more}


def sent(folder: Path, address: str, *options: str) -> dict[str, Any]:
    status, told, noticed = tried(folder, "push", "--host", address, "--rate", "0", "--json", *options)
    assert status == 0, (told, noticed)
    document: dict[str, Any] = json.loads(told)
    return document


def later(days: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86400))


RETAINED = "[retention]\nlifetime_days = 30\nretention_days = 600\n"


def test_what_retention_takes_away_is_deleted_at_the_host_of_a_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(RETAINED)
    done(tmp_path, "config", "apply", "c.toml")
    imported(tmp_path, {"user_identities": {"customer_id": "A"}, "user_attributes": {"tier": "gold"}})
    with receiving() as receiver:
        sent(tmp_path, receiver.url)
        done(tmp_path, "retention", "apply", "--now", later(40))
        sent(tmp_path, receiver.url)
        assert receiver.accepted[-1].get("deleted_user_attributes") == ["tier"]
        assert len(receiver.accepted) == 2
        sent(tmp_path, receiver.url)
        assert len(receiver.accepted) == 2


def test_events_that_a_host_accepted_are_not_sent_again_after_retention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(RETAINED)
    done(tmp_path, "config", "apply", "c.toml")
    imported(tmp_path, seen("A", user_attributes={"tier": "gold"}))
    with receiving() as receiver:
        sent(tmp_path, receiver.url, "--events")
        assert len(receiver.accepted) == 1
        done(tmp_path, "retention", "apply", "--now", later(40))
        sent(tmp_path, receiver.url, "--events")
        assert len(receiver.accepted) == 1


GOLD = (
    '[feeds.app]\nsource = "sdk"\n[audiences.gold]\ncriteria = "tier = \'gold\'"\n'
    '[outputs.mail]\ntype = "jsonl"\npath = "mail.jsonl"\n[connections.gold-mail]\naudience = "gold"\noutput = "mail"\n'
)


def in_bytes(folder: Path, text: str) -> bool:
    return any(text.encode() in one.read_bytes() for one in folder.glob("profiles.duckdb*"))


def test_whoever_was_taken_back_and_waits_to_be_removed_can_be_erased(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(GOLD)
    done(tmp_path, "config", "apply", "c.toml")
    imported(tmp_path, {"user_identities": {"customer_id": "BOB-1"}, "user_attributes": {"tier": "gold"}})
    imported(tmp_path, {"user_identities": {"customer_id": "ANN-4711"}, "user_attributes": {"tier": "gold"}})
    done(tmp_path, "forward")
    done(tmp_path, "imports", "undo", "2", "--yes")
    assert "ANN-4711" in table_text(tmp_path)
    done(tmp_path, "forget", "--customer-id", "ANN-4711", "--yes")
    done(tmp_path, "forward")
    (removed,) = json.loads((tmp_path / "mail.jsonl").read_text().splitlines()[-1])["user_profiles"]
    assert removed["user_identities"][0]["value"] == "ANN-4711"
    assert removed["audiences"][0]["action"] == "delete"
    assert not in_bytes(tmp_path, "ANN-4711")
    assert "ANN-4711" not in table_text(tmp_path)
    done(tmp_path, "check")


def test_removals_of_stubs_and_of_whoever_is_gone_are_two_messages(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(GOLD + "[retention]\nlifetime_days = 30\nretention_days = 60\n")
    done(tmp_path, "config", "apply", "c.toml")
    long_ago = int(time.time() * 1000) - 25 * 86_400_000
    old = {"user_identities": {"customer_id": "OLD"}, "user_attributes": {"tier": "gold"}, "timestamp_unixtime_ms": long_ago}
    imported(tmp_path, old, {"user_identities": {"customer_id": "NEW"}, "user_attributes": {"tier": "gold"}})
    done(tmp_path, "forward")
    done(tmp_path, "retention", "apply", "--now", later(40))
    with duckdb.connect(str(tmp_path / "profiles.duckdb"), read_only=True) as store:
        numbers = store.execute("select number from audience_outbox").fetchall()
    assert len(numbers) == len(set(numbers)) == 2


def table_text(folder: Path) -> str:
    """Return all that the tables of a store say."""
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        names = [name for (name,) in store.execute("select table_name from duckdb_tables()").fetchall()]
        return "\n".join(str(store.execute(f'select * from "{name}"').fetchall()) for name in names)
