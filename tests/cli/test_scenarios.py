"""Scenarios 34 and 36 to 39 of domain.md 16 by the command line, from files to what is shown.

The rules alone have their cases in conformance/ (34), calculated/ (36), audience_cases/ (34, 37);
38 and 39 have test_retention.py and test_requests.py; 35 is of outputs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from support.doors import call

DAY_MS = 86_400_000
ORDER = {"custom_event_type": "transaction"}


def done(folder: Path, *arguments: str, status: int = 0) -> str:
    found = call(*arguments, folder=folder)
    assert found.exit_code == status, (arguments, found.output, found.exception)
    return found.stdout


def bring(
    folder: Path, feed: str, *batches: dict[str, Any], source: str = "custom-feed"
) -> dict[str, Any]:
    name = f"{len(list(folder.glob('*.jsonl')))}.jsonl"
    (folder / name).write_text("".join(json.dumps(one) + "\n" for one in batches))
    report: dict[str, Any] = json.loads(
        done(folder, "import", name, "--feed", feed, "--source", source, "--json")
    )
    return report


def shown(folder: Path, *who: str) -> dict[str, Any]:
    (found,) = json.loads(done(folder, "show", *who, "--json"))["profiles"]
    return dict(found)


def members(folder: Path, audience: str) -> list[str]:
    lines = done(folder, "audiences", "members", audience, "--json").splitlines()
    return sorted(json.loads(line)["identities"]["customer_id"][0] for line in lines)


def event(name: str, **attributes: Any) -> dict[str, Any]:
    return {
        "event_type": "custom_event",
        "data": {"event_name": name, **ORDER, "custom_attributes": attributes},
    }


def opted_out_of_sale(value: bool, at_ms: int) -> dict[str, Any]:
    return {"ccpa": {"data_sale_opt_out": {"consented": value, "timestamp_unixtime_ms": at_ms}}}


def test_34_the_newest_consent_holds_and_a_partner_may_not_say_any(tmp_path: Path) -> None:
    bring(
        tmp_path,
        "feed",
        {"user_identities": {"customer_id": "A"}, "consent_state": opted_out_of_sale(True, 10)},
        {"user_identities": {"customer_id": "B"}},
    )
    (tmp_path / "c.toml").write_text(
        '[audiences.sellable]\nexclude = [{ consent = "ccpa.data_sale_opt_out", is = "granted" }]\n'
    )
    done(tmp_path, "config", "apply", "c.toml")
    assert members(tmp_path, "sellable") == ["B"]
    bring(
        tmp_path,
        "feed",
        {"user_identities": {"customer_id": "A"}, "consent_state": opted_out_of_sale(False, 5)},
    )
    (found,) = shown(tmp_path, "--customer-id", "A", "--section", "consent")["consent"]
    assert found["said"]["consented"] is True, found  # what was said at 10, not what was said of 5
    assert members(tmp_path, "sellable") == ["B"]
    bring(
        tmp_path,
        "partner",
        {"user_identities": {"customer_id": "B"}, "consent_state": opted_out_of_sale(True, 20)},
        source="partner",
    )
    assert members(tmp_path, "sellable") == ["B"]
    assert bring(
        tmp_path,
        "feed",
        {"user_identities": {"customer_id": "A"}, "consent_state": opted_out_of_sale(False, 30)},
    )["audiences"] == {"sellable": {"entered": 1, "left": 0}}


def test_36_calculated_attributes(tmp_path: Path) -> None:
    for name, kind in (
        ("color", "most_frequent"),
        ("models", "unique_list"),
        ("spent", "sum"),
        ("mean", "average"),
    ):
        of = {"color": "color", "models": "model", "spent": "price", "mean": "color"}[name]
        done(tmp_path, "calculated", "add", name, "--type", kind, "--event", "view", "--of", of)
    views = [event("view", color=color) for color in ("red", "blue", "red", "blue")] + [
        event("view", model=f"m{n:03}") for n in reversed(range(120))
    ]
    bring(
        tmp_path,
        "app",
        {"user_identities": {"customer_id": "A"}, "events": [*views, event("view", price="34.32")]},
        source="sdk",
    )
    found = shown(tmp_path, "--customer-id", "A")["user_attributes"]
    assert (found["color"], found["spent"], found["mean"]) == ("blue", 34.32, "-")
    assert found["models"] == [f"m{n:03}" for n in range(20, 120)]


def test_37_who_opts_out_leaves_every_audience(tmp_path: Path) -> None:
    bring(
        tmp_path,
        "app",
        {
            "user_identities": {"customer_id": "A"},
            "user_attributes": {"tier": "gold", "joined": "2018-09-09T00:00Z"},
        },
        source="sdk",
    )
    for name, criteria in (
        ("golden", "tier = 'GOLD'"),
        ("early", "joined before '2018-09-09'"),
        ("late", "joined after '2018-09-09'"),
    ):
        done(tmp_path, "audiences", "add", name, criteria)
    assert {name: members(tmp_path, name) for name in ("golden", "early", "late")} == {
        "golden": ["A"],
        "early": [],
        "late": ["A"],
    }
    out = {"event_type": "opt_out", "data": {"is_opted_out": True}}
    moved = bring(
        tmp_path, "app", {"user_identities": {"customer_id": "A"}, "events": [out]}, source="sdk"
    )["audiences"]
    assert {name: one["left"] for name, one in moved.items() if one["left"]} == {
        "golden": 1,
        "late": 1,
    }
    assert shown(tmp_path, "--customer-id", "A")["audience_memberships"] == []


def test_38_beyond_its_lifetime_a_profile_is_in_no_audience(tmp_path: Path) -> None:
    at = datetime.now(UTC) - timedelta(days=31)
    bring(
        tmp_path,
        "app",
        {
            "user_identities": {"customer_id": "A"},
            "user_attributes": {"tier": "gold"},
            "timestamp_unixtime_ms": int(at.timestamp() * 1000),
        },
        source="sdk",
    )
    before = shown(tmp_path, "--customer-id", "A")
    done(tmp_path, "audiences", "add", "golden", "tier = 'gold'")
    assert members(tmp_path, "golden") == ["A"]
    done(tmp_path, "retention", "set", "--lifetime-days", "30", "--retention-days", "730")
    done(tmp_path, "retention", "apply", "--yes")
    told = [
        json.loads(line)
        for line in done(tmp_path, "audiences", "diff", "golden", "--json").splitlines()
    ]
    assert [(one["change"], one["mpid"]) for one in told] == [
        ("entered", before["mpid"]),
        ("left", before["mpid"]),
    ]
    done(tmp_path, "audiences", "refresh")
    assert members(tmp_path, "golden") == []
    found = shown(tmp_path, "--customer-id", "A")
    assert (found["mpid"], found["user_attributes"], found["audience_memberships"]) == (
        before["mpid"],
        {},
        [],
    )
    bring(tmp_path, "app", {"user_identities": {"customer_id": "A"}}, source="sdk")
    assert shown(tmp_path, "--customer-id", "A")["mpid"] == before["mpid"]


def test_39_erasure_waits_and_then_they_are_somebody_new(tmp_path: Path) -> None:
    device = "deadbeef-1111-2222-3333-444444444444"
    bring(
        tmp_path,
        "app",
        {"user_identities": {"customer_id": "A"}, "device_info": {"ios_advertising_id": device}},
        source="sdk",
    )
    before = shown(tmp_path, "--customer-id", "A")

    def ask(number: int, identities: dict[str, str]) -> str:
        document = {
            "regulation": "gdpr",
            "subject_request_id": f"a755196{number}-d5d6-44b2-9831-815ac9017798",
            "subject_request_type": "erasure",
            "submitted_time": "2026-11-20T15:00:00Z",
            "api_version": "3.0",
            "subject_identities": {
                kind: {"value": value, "encoding": "raw"} for kind, value in identities.items()
            },
        }
        (tmp_path / "r.json").write_text(json.dumps(document))
        done(tmp_path, "privacy", "request", "r.json")
        return str(document["subject_request_id"])

    def later(days: float) -> str:
        return (datetime.now(UTC) + timedelta(days=days)).isoformat()

    ask(1, {"ios_advertising_id": device})
    done(tmp_path, "privacy", "run", "--yes", "--now", later(8))
    assert shown(tmp_path, "--customer-id", "A")["mpid"] == before["mpid"]
    done(tmp_path, "privacy", "cancel", ask(2, {"controller_customer_id": "A"}))
    done(tmp_path, "privacy", "run", "--yes", "--now", later(8))
    assert shown(tmp_path, "--customer-id", "A")["mpid"] == before["mpid"]
    ask(3, {"controller_customer_id": "A"})
    done(tmp_path, "privacy", "run", "--yes", "--now", later(6.9))
    assert shown(tmp_path, "--customer-id", "A")["mpid"] == before["mpid"]
    done(tmp_path, "privacy", "run", "--yes", "--now", later(7.1))
    done(tmp_path, "forget", "--customer-id", "A", "--allow-return", "--yes")
    bring(
        tmp_path,
        "app",
        {"user_identities": {"customer_id": "A"}, "user_attributes": {"n": "1"}},
        source="sdk",
    )
    assert shown(tmp_path, "--customer-id", "A")["mpid"] != before["mpid"]
