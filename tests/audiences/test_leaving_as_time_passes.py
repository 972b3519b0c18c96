"""Who leaves an audience as time passes leaves it when its membership says so, and an opt-out
outlasts retention.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.doors import call

from profilectl.rules.text.moments import written

DAY_MS = 86_400_000
NOW_MS = time.time_ns() // 1_000_000


def ok(folder: Path, *arguments: str) -> str:
    done = call(*arguments, folder=folder)
    assert done.exit_code == 0, done.output
    return done.stdout


def took(folder: Path, name: str, *batches: dict[str, Any]) -> None:
    (folder / name).write_text("".join(json.dumps(one) + "\n" for one in batches))
    ok(folder, "import", name, "--feed", "app")


def event(days_ago: int, kind: str = "session_start", **data: Any) -> dict[str, Any]:
    return {
        "event_type": kind,
        "data": {"timestamp_unixtime_ms": NOW_MS - days_ago * DAY_MS, **data},
    }


def batch(person: str, days_ago: int, *events: dict[str, Any]) -> dict[str, Any]:
    return {
        "user_identities": {"customer_id": person},
        "timestamp_unixtime_ms": NOW_MS - days_ago * DAY_MS,
        "user_attributes": {"tier": "gold"},
        "events": list(events),
    }


def sizes(folder: Path) -> dict[str, int]:
    return {
        one["name"]: one["members"] for one in json.loads(ok(folder, "audiences", "list", "--json"))
    }


def ends(folder: Path, person: str) -> dict[str, int | None]:
    (one,) = json.loads(ok(folder, "show", person, "--json"))["profiles"]
    return {
        each["audience_name"]: each["expiration_timestamp_ms"]
        for each in one["audience_memberships"]
    }


def moves(folder: Path, name: str) -> list[str]:
    return [
        one["change"]
        for one in map(json.loads, ok(folder, "audiences", "diff", name, "--json").splitlines())
    ]


@pytest.mark.parametrize(
    "keeps", ["--lifetime-profiles", pytest.param("--no-lifetime-profiles", marks=pytest.mark.slow)]
)
def test_who_is_beyond_the_lifetime_leaves_at_the_next_refresh_and_comes_back_with_the_next_batch(
    tmp_path: Path, keeps: str
) -> None:
    ok(tmp_path, "retention", "set", "--lifetime-days", "30", keeps)
    ok(tmp_path, "audiences", "add", "rt", "tier = 'gold'")
    ok(tmp_path, "audiences", "add", "std", "tier = 'gold'", "--kind", "standard")
    ok(tmp_path, "audiences", "add", "of std", "audience 'std'")
    ok(tmp_path, "audiences", "add", "other", "tier = 'none'")
    took(tmp_path, "a.jsonl", batch("A", 10), batch("B", 50))
    ok(tmp_path, "audiences", "refresh")
    assert sizes(tmp_path) == {"rt": 1, "std": 1, "of std": 1, "other": 0}, (
        "B was seen too long ago"
    )
    end_ms = NOW_MS + 20 * DAY_MS + 1
    assert ends(tmp_path, "A") == {"rt": end_ms, "std": end_ms, "of std": end_ms}
    ok(tmp_path, "audiences", "refresh", "other", "--now", written(end_ms - 1, day=False))
    assert moves(tmp_path, "rt") == moves(tmp_path, "std") == ["entered"]
    ok(tmp_path, "audiences", "refresh", "other", "--now", written(end_ms, day=False))
    assert (
        moves(tmp_path, "rt")
        == moves(tmp_path, "std")
        == moves(tmp_path, "of std")
        == ["entered", "left"]
    )
    took(tmp_path, "b.jsonl", batch("A", 0))
    assert sizes(tmp_path) == {"rt": 1, "std": 0, "of std": 0, "other": 0}


@pytest.mark.slow
def test_a_lifetime_that_is_set_later_holds_at_every_door_at_once(tmp_path: Path) -> None:
    ok(tmp_path, "audiences", "add", "rt", "tier = 'gold'")
    took(tmp_path, "a.jsonl", batch("A", 50), batch("B", 10))
    ok(tmp_path, "retention", "set", "--lifetime-days", "30")
    assert sizes(tmp_path) == {"rt": 1}
    assert ends(tmp_path, "A") == {}
    assert [
        json.loads(line)["identities"]["customer_id"]
        for line in ok(tmp_path, "audiences", "members", "rt", "--json").splitlines()
    ] == [["B"]]
    assert (
        json.loads(ok(tmp_path, "audiences", "preview", "tier = 'gold'", "--json"))["members"] == 1
    )


@pytest.mark.slow
def test_time_alone_moves_nobody_out_of_a_standard_audience(tmp_path: Path) -> None:
    took(tmp_path, "a.jsonl", batch("A", 0, event(1)))
    for kind in ("real-time", "standard"):
        ok(tmp_path, "audiences", "add", kind, "event session_start within 30 days", "--kind", kind)
    ok(tmp_path, "audiences", "refresh")
    assert ends(tmp_path, "A") == {"real-time": NOW_MS + 29 * DAY_MS, "standard": None}


def test_an_opt_out_outlasts_the_retention_of_events(tmp_path: Path) -> None:
    ok(tmp_path, "retention", "set", "--retention-days", "60")
    out = event(100, "opt_out", is_opted_out=True)
    took(
        tmp_path,
        "a.jsonl",
        batch("A", 100, out, event(100)),
        batch("A", 1, event(1)),
        batch("B", 1),
    )
    ok(tmp_path, "audiences", "add", "rt", "tier = 'gold'")
    assert json.loads(ok(tmp_path, "retention", "apply", "--yes", "--json"))["events"] == 1
    ok(tmp_path, "audiences", "refresh")
    assert sizes(tmp_path) == {"rt": 1}
    (one,) = json.loads(ok(tmp_path, "show", "A", "--json"))["profiles"]
    assert one["is_opted_out"] is True
