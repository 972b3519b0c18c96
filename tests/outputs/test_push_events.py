"""Stored events leave as batches, each event once and at the endpoint for its age; how much leaves
is told beforehand.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.doors import call
from support.pushing import tried
from support.receiver import Do, Receiver, always, problems_of, receiving

HOUR_MS = 3_600_000


def event(name: str, hours: float | None = None, **more: Any) -> dict[str, Any]:
    """Return an event of so many hours ago."""
    at = (
        {}
        if hours is None
        else {"timestamp_unixtime_ms": int(time.time() * 1000 - hours * HOUR_MS)}
    )
    return {
        "event_type": "custom_event",
        "data": {"event_name": name, "custom_event_type": "other", **at, **more},
    }


def bring(folder: Path, *batches: dict[str, Any]) -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in batches))
    found = call("import", "in.jsonl", "--feed", "f", "--again", folder=folder)
    assert found.exit_code == 0, found.output


def sent(
    folder: Path, receiver: Receiver, *options: str, status: int = 0
) -> tuple[dict[str, Any], Counter[str]]:
    """Push events; return the report and the names of those that arrived."""
    before = len(receiver.accepted)
    found = tried(
        folder, "push", "--events", "--host", receiver.url, "--rate", "0", "--json", *options
    )
    assert found[0] == status, found
    assert receiver.problems == []
    return json.loads(found[1]), names(receiver.accepted[before:])


def names(batches: list[dict[str, Any]]) -> Counter[str]:
    return Counter(one["data"]["event_name"] for batch in batches for one in batch["events"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    phone = {
        "device_info": {"ios_idfv": "0B0E3E9A-5C2F-4A53-9C1E-000000000001", "platform": "iOS"},
        "application_info": {"application_name": "shop"},
        "ip": "10.0.0.1",
    }
    bring(
        tmp_path,
        {
            "user_identities": {"customer_id": "A", "email": "a@x.com"},
            "user_attributes": {"tier": "gold"},
            **phone,
            "events": [event("both old", 100), event("both new", 1)],
        },
        {
            "user_identities": {"customer_id": "B"},
            "user_attributes": {"tier": "tin"},
            "events": [event("no time"), event("a day", 25, price=1.10)],
        },
        {
            "device_info": {"ios_idfv": "0B0E3E9A-5C2F-4A53-9C1E-000000000009"},
            "events": [event("nobody", 800)],
        },
        {"user_identities": {"customer_id": "A"}, "user_attributes": {"tier": "iron"}},
    )
    return tmp_path


def test_events_leave_once_and_older_ones_for_the_historical_endpoint(folder: Path) -> None:
    with receiving() as receiver:
        report, arrived = sent(folder, receiver)
        assert arrived == Counter(["both old", "both new", "no time", "a day", "nobody"])
        assert names(receiver.historical) == Counter(["both old", "a day", "nobody"])
        assert (report["of"], report["batches"]["accepted"], report["historical"]) == (
            "events",
            5,
            3,
        )
        assert all(
            one["data"]["timestamp_unixtime_ms"]
            for batch in receiver.accepted
            for one in batch["events"]
        )
        assert all(batch["user_attributes"] == {} for batch in receiver.accepted), (
            "old values would be said after newer ones"
        )
        (old,) = [one for one in receiver.historical if names([one])["both old"]]
        assert old["user_identities"] == {"customer_id": "A", "email": "a@x.com"}
        assert (old["device_info"]["platform"], old["application_info"], "ip" in old) == (
            "iOS",
            {"application_name": "shop"},
            False,
        )
        assert "1 event younger than 72 hours" in report["warnings"][0]
        # A second push knows.
        report, arrived = sent(folder, receiver)
        assert (arrived, report["rows"]["unchanged"], report["rows"]["total"]) == (Counter(), 3, 3)
        bring(folder, {"user_identities": {"customer_id": "B"}, "events": [event("later", 2)]})
        assert sent(folder, receiver)[1] == Counter(["later"])
        assert sum(sent(folder, receiver, "--again")[1].values()) == 6


def test_events_are_chosen_by_time_and_by_whose_they_are(folder: Path) -> None:
    with receiving() as receiver:
        assert sent(folder, receiver, "--since", "2h")[1] == Counter(["both new", "no time"])
        assert sent(folder, receiver, "--where", "tier = 'tin'")[1] == Counter(["a day"])
        assert sent(folder, receiver)[1] == Counter(["both old", "nobody"])
    with receiving() as receiver:
        assert sent(folder, receiver, "--where", "tier = 'tin'", "--historical-after", "72")[
            1
        ] == Counter(["no time", "a day"])
        assert receiver.historical == []
        assert sent(folder, receiver)[1] == Counter(["both old", "both new", "nobody"])


@pytest.mark.slow
def test_events_go_on_where_they_stopped_at_the_endpoint_where_they_were_to_go(
    folder: Path,
) -> None:
    bring(
        folder,
        *(
            {
                "user_identities": {"customer_id": f"C{n}"},
                "events": [event(f"e{n}", n % 2 * 48 + 1)],
            }
            for n in range(250)
        ),
    )
    with receiving(lambda number, batches: Do() if number < 1 else Do(503)) as receiver:
        report, _ = sent(folder, receiver, "--give-up", "0.3", "--parallel", "1", status=9)
        assert report["rows"]["left"] > 0
        receiver.plan = always(Do())
        report, _ = sent(folder, receiver)
        assert (report["resumed"], report["rows"]) == (
            True,
            {"total": 253, "done": 253, "left": 0, "unchanged": 0, "without_batch": 0},
        )
        unique = {one["source_request_id"]: one for one in receiver.accepted}
        arrived = names(list(unique.values()))
        assert set(arrived.values()) == {1}
        assert len(arrived) == 255


@pytest.mark.slow
def test_what_is_refused_and_who_is_erased(folder: Path) -> None:
    with receiving(always(Do(400))) as receiver:
        assert sent(folder, receiver, status=3)[0]["batches"]["refused"] == 5
        receiver.plan = always(Do())
        assert len(sent(folder, receiver)[1]) == 5
        assert call("forget", "--customer-id", "A", "--yes", folder=folder).exit_code == 0
        assert sent(folder, receiver, "--again")[1] == Counter(["no time", "a day", "nobody"])


def test_of_a_batch_that_is_refused_in_part_only_that_part_goes_again(folder: Path) -> None:
    def plan(number: int, batches: list[dict[str, Any]]) -> Do:
        return Do(400) if names(batches)["both old"] else Do()

    with receiving(plan) as receiver:
        assert sent(folder, receiver, status=3)[1] == Counter(
            ["both new", "no time", "a day", "nobody"]
        )
        receiver.plan = always(Do())
        assert sent(folder, receiver)[1] == Counter(["both old"]), (
            "an event that arrives twice counts twice there"
        )


@pytest.mark.slow
def test_a_batch_of_more_events_than_one_may_have_leaves_in_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bring(
        tmp_path,
        {
            "user_identities": {"customer_id": "A"},
            "events": [
                event(f"n{n}", 1, custom_attributes={"text": "x" * 4000}) for n in range(80)
            ],
        },
    )
    with receiving() as receiver:
        report, arrived = sent(tmp_path, receiver)
    assert len(arrived) == 80
    assert report["batches"]["accepted"] == 4


@pytest.mark.slow
def test_a_dry_run_of_events_writes_the_requests_of_each_endpoint(folder: Path) -> None:
    assert tried(folder, "push", "--events", "--dry-run", "out.jsonl")[0] == 0
    found = {
        name: [one for line in (folder / name).read_text().splitlines() for one in json.loads(line)]
        for name in ("out.jsonl", "out.historical.jsonl")
    }
    assert names(found["out.historical.jsonl"]) == Counter(["both old", "a day", "nobody"])
    assert names(found["out.jsonl"]) == Counter(["both new", "no time"])
    assert problems_of([one for some in found.values() for one in some]) == []


def test_more_event_names_than_the_platform_takes_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for count in (1000, 1001):
        (tmp_path / "in.jsonl").write_text(
            json.dumps(
                {
                    "user_identities": {"customer_id": str(count)},
                    "events": [event(f"name {n}", 1) for n in range(count)],
                }
            )
        )
        found = call("import", "in.jsonl", "--feed", "f", "--json", folder=tmp_path)
        said = [one for one in json.loads(found.stdout)["notices"] if "event names" in one]
        assert said == (
            [
                (
                    "1,001 distinct event names in the workspace default: the platform takes"
                    " 1,000 by default, and leaves out events of others"
                )
            ]
            if count > 1000
            else []
        )
    assert said[0] in " ".join(tried(tmp_path, "push", "--events", "--estimate")[2].split())


def test_an_estimate_says_how_much_and_how_long_and_sends_nothing(folder: Path) -> None:
    bring(
        folder,
        *(
            {"user_identities": {"customer_id": f"C{n}"}, "user_attributes": {"n": str(n)}}
            for n in range(250)
        ),
    )
    before = (folder / "profiles.duckdb").read_bytes()
    found = call("push", "--estimate", "--json", folder=folder)  # no credentials, no host
    report = json.loads(found.stdout)
    size = (
        sum(map(len, (folder / "out.jsonl").read_bytes().splitlines()))
        if tried(folder, "push", "--dry-run", "out.jsonl")[0] == 0
        else 0
    )
    assert report["estimate"] == {
        "batches": 253,
        "requests": 3,
        "bytes": size,
        "rate": 270,
        "seconds": 0.937,
    }
    said = call("push", "--estimate", "--rate", "0.5", folder=folder).stdout
    assert ("253 batches in 3 requests" in said, "8 min 26 s at 0.5 batches a second" in said) == (
        True,
        True,
    )
    assert (folder / "profiles.duckdb").read_bytes() == before
    with receiving() as receiver:
        assert tried(folder, "push", "--host", receiver.url, "--rate", "0")[0] == 0
        assert (
            json.loads(tried(folder, "push", "--estimate", "--host", receiver.url, "--json")[1])[
                "estimate"
            ]["batches"]
            == 0
        )
    assert (
        json.loads(tried(folder, "push", "in.jsonl", "--estimate", "--json")[1])["estimate"][
            "batches"
        ]
        == 250
    )
    assert (
        tried(folder, "push", "--estimate", "--dry-run", "x")[0]
        == tried(folder, "push", "--since", "1d", "--host", "us1")[0]
        == 2
    )


def test_the_old_events_of_a_file_are_for_the_historical_endpoint_too(folder: Path) -> None:
    many = {f"k{n}": "v" for n in range(150)}
    batches = [
        {
            "source_request_id": "own",
            "user_identities": {"customer_id": "A"},
            "user_attributes": {"tier": "x"},
            "events": [event("old", 100), event("new", 1), event("undated")],
        },
        {
            "user_identities": {"customer_id": "B"},
            "user_attributes": many,
            "events": [event("older", 200), event("oldest", 300)],
        },
        {"user_identities": {"customer_id": "C"}, "user_attributes": {"tier": "y"}, "events": []},
    ]
    (folder / "b.jsonl").write_text("".join(json.dumps(one) + "\n" for one in batches))
    with receiving() as receiver:
        found = tried(folder, "push", "b.jsonl", "--host", receiver.url, "--json")
        assert found[0] == 0, found
        assert receiver.problems == []
        assert names(receiver.historical) == Counter(["old", "older", "oldest"])
        assert names(
            [
                one
                for one in receiver.accepted
                if one not in receiver.historical and one.get("events")
            ]
        ) == Counter(["new", "undated"])
        (young,) = [one for one in receiver.accepted if one["source_request_id"] == "own"]
        assert young["user_attributes"] == {"tier": "x"}
        (old,) = [one for one in receiver.historical if names([one])["old"]]
        assert (old["user_identities"], old["user_attributes"]) == ({"customer_id": "A"}, {}), (
            "the rest is said once"
        )
        whole = [one for one in receiver.accepted if one["user_identities"] == {"customer_id": "B"}]
        assert len({key for one in whole for key in one["user_attributes"]}) == 150
        assert [bool(one.get("events")) for one in whole if one in receiver.historical] == [True], (
            "a batch without events is not processed there"
        )
        assert json.loads(found[1])["historical"] == 2
    with receiving() as receiver:
        assert (
            tried(folder, "push", "b.jsonl", "--host", receiver.url, "--historical-after", "150")[0]
            == 0
        )
        assert names(receiver.historical) == Counter(["older", "oldest"])
