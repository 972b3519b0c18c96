"""An opt-out that an alias had carried over stays with the person, when whoever it came from is
erased or ages out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.doors import call, made_once

DAY_MS = 86_400_000
NOW_MS = time.time_ns() // 1_000_000
IDFV = "0a0a0a0a-1111-2222-3333-444444444444"
CONFIG = """
[feeds.app]
source = "sdk"
workspace = "main"
[feeds.shop]
source = "sdk"
workspace = "side"
[audiences.mail]
criteria = "email exists"
workspace = "side"
"""


def ok(folder: Path, *arguments: str) -> Any:
    done = call("--workspace", "side", *arguments, "--json", folder=folder)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def took(folder: Path, feed: str, batch: dict[str, Any]) -> None:
    (folder / f"{feed}.jsonl").write_text(json.dumps(batch) + "\n")
    done = call("import", f"{feed}.jsonl", "--feed", feed, folder=folder)
    assert done.exit_code == 0, done.output


def opt_out(at_ms: int, out: bool = True) -> list[dict[str, Any]]:
    return [
        {"event_type": "opt_out", "data": {"is_opted_out": out, "timestamp_unixtime_ms": at_ms}}
    ]


@made_once
def store(folder: Path) -> None:
    """Ann of the side, out by what a phone of the main workspace said."""
    (folder / "config.toml").write_text(CONFIG)
    assert call("config", "apply", "config.toml", folder=folder).exit_code == 0
    ann = {
        "user_identities": {"customer_id": "ann", "email": "ann@example.org"},
        "timestamp_unixtime_ms": NOW_MS - DAY_MS,
    }
    took(folder, "shop", {**ann, "events": opt_out(NOW_MS - 9 * DAY_MS, False)})
    took(
        folder,
        "app",
        {
            "device_info": {"ios_idfv": IDFV},
            "timestamp_unixtime_ms": NOW_MS - 3 * DAY_MS,
            "events": opt_out(NOW_MS - 5 * DAY_MS),
        },
    )
    ok(
        folder,
        "alias",
        f"--from={mpid_of(folder, 'main', IDFV)}",
        f"--to={mpid_of(folder, 'side', 'ann')}",
        "--now",
    )


def mpid_of(folder: Path, workspace: str, value: str) -> str:
    done = call("--workspace", workspace, "show", value, "--json", folder=folder)
    return str(json.loads(done.stdout)["profiles"][0]["mpid"])


def by_forget(folder: Path) -> None:
    assert [one["mpid"] for one in ok(folder, "forget", IDFV, "--yes")["opt_outs_kept"]] == [
        mpid_of(folder, "side", "ann")
    ]


def by_request(folder: Path) -> None:
    (folder / "erasure.json").write_text(
        json.dumps(
            {
                "regulation": "gdpr",
                "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
                "subject_request_type": "erasure",
                "submitted_time": "2026-11-20T15:00:00Z",
                "api_version": "3.0",
                "subject_identities": {"ios_idfv": {"value": IDFV, "encoding": "raw"}},
                "extensions": {"opendsr.mparticle.com": {"skip_waiting_period": True}},
            }
        )
    )
    ok(folder, "privacy", "request", "erasure.json")
    done = call(*["privacy", "run", "-o", "answers", "--yes"], folder=folder)
    assert done.exit_code == 0, done.output


def by_age(folder: Path) -> None:
    ok(folder, "retention", "set", "--retention-days", "2")
    assert ok(folder, "retention", "apply", "--yes")["gone"] == 1


def standing(folder: Path) -> dict[str, Any]:
    profiles: list[dict[str, Any]] = [
        json.loads(line)
        for line in call(
            "--workspace", "side", "export", "profiles", "--whole", folder=folder
        ).stdout.splitlines()
    ]
    (ann,) = [one for one in profiles if "email" in one["user_identities"]]
    return {
        name: ann[name]
        for name in (
            "is_opted_out",
            "opt_out_ms",
            "first_seen_ms",
            "last_seen_ms",
            "audience_memberships",
        )
    }


@pytest.mark.slow
@pytest.mark.parametrize("way", [by_forget, by_request, by_age])
def test_who_was_out_by_an_alias_stays_out_without_it(
    way: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = store(tmp_path)
    before = standing(folder)
    assert (before["is_opted_out"], before["opt_out_ms"]) == (True, NOW_MS - 5 * DAY_MS)
    way(folder)
    assert call("show", IDFV, folder=folder).exit_code != 0
    assert standing(folder) == {**before, "first_seen_ms": NOW_MS - DAY_MS}
    assert not ok(folder, "audiences", "show", "mail")["members"]
    assert (
        "ann@example.org"
        not in call("--workspace", "main", "export", "profiles", folder=folder).stdout
    )  # seen where they were


def test_a_dry_run_keeps_nothing(tmp_path: Path) -> None:
    folder = store(tmp_path)
    before = (folder / "profiles.duckdb").read_bytes()
    assert len(ok(folder, "forget", IDFV, "--dry-run")["opt_outs_kept"]) == 1
    assert (folder / "profiles.duckdb").read_bytes() == before


def test_an_own_answer_that_is_newer_needs_nothing(tmp_path: Path) -> None:
    folder = store(tmp_path)
    took(
        folder,
        "shop",
        {"user_identities": {"customer_id": "ann"}, "events": opt_out(NOW_MS - DAY_MS)},
    )
    assert ok(folder, "forget", IDFV, "--yes")["opt_outs_kept"] == []
    assert standing(folder)["opt_out_ms"] == NOW_MS - DAY_MS


def test_the_history_made_again_keeps_it_and_an_erasure_takes_it(tmp_path: Path) -> None:
    folder = store(tmp_path)
    ok(folder, "import", "shop.jsonl", "--feed", "shop", "--again")
    by_forget(folder)
    before = standing(folder)
    ok(folder, "imports", "undo", "4", "--replay", "--yes")
    assert standing(folder) == before
    mpid = mpid_of(folder, "side", "ann")
    ok(folder, "forget", "ann", "--yes")
    assert mpid.encode() not in (folder / "profiles.duckdb").read_bytes()
    for table in ("export imports", "imports list"):
        assert mpid not in call(*table.split(), folder=folder).stdout
