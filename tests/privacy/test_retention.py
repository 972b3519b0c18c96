"""What is beyond its clock is gone: first what a profile has, then the profile (domain.md 13,
scenario 38).
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from support.doors import made_once, run_here
from support.effort import at_length
from support.equivalence import (
    NOW_MS,
    canonical,
    engine_canonical,
    played,
    stated_settings,
    text_of,
)
from support.erasing import done, in_file, in_tables, profiles, tried
from support.histories import History, histories

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.privacy.retention import apply_retention
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.retention import DAY_MS, Clocks, Stage, clocks_of
from profilectl.rules.text.values import parse_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

START_MS = 1_700_000_000_000
VALUES = [
    "value-that-ages",
    "rare-that-ages",
    "document-that-ages",
    "phone-that-ages",
    "blocked-that-ages",
    "by-hand-that-ages",
]
EVENT = "event-that-stays"


def day(days: float) -> str:
    """Return a time so many days after the last update, as an option takes it."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp((START_MS + days * DAY_MS) / 1000, UTC).isoformat()


@made_once
def two_people(tmp_path: Path) -> None:
    """Make a store of two people: one was last seen on day 0, one on day 20."""
    batch: dict[str, Any] = {
        "user_identities": {"customer_id": "A-1", "email": "a@example.org"},
        "timestamp_unixtime_ms": START_MS,
        "user_attributes": {
            "note": VALUES[0],
            **{f"k{n}": "v" for n in range(40)},
            "rare": VALUES[1],
        },
        "consent_state": {
            "gdpr": {
                "marketing": {"consented": True, "timestamp_unixtime_ms": 1, "document": VALUES[2]}
            }
        },
        "device_info": {"ios_idfv": "deadbeef-1111-2222-3333-444444444444", "model": VALUES[3]},
        "events": [
            {
                "event_type": "custom_event",
                "data": {"event_name": EVENT, "custom_event_type": "other"},
            }
        ],
    }
    other = {"customer_id": "B-1", "tier": "gold", "timestamp_unixtime_ms": START_MS + 20 * DAY_MS}
    (tmp_path / "a.jsonl").write_text(json.dumps(batch) + "\n" + json.dumps(other) + "\n")
    (tmp_path / "b.jsonl").write_text(
        json.dumps({"customer_id": "A-1", "note": VALUES[4], "timestamp_unixtime_ms": START_MS})
        + "\n"
    )
    done(tmp_path, "import", "a.jsonl", "--feed", "crm")
    done(tmp_path, "import", "b.jsonl", "--feed", "low", "--source", "csv")
    done(tmp_path, "retention", "set", "--lifetime-days", "30", "--retention-days", "730")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return two_people(tmp_path)


def applied(folder: Path, days: float, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        done(folder, "retention", "apply", "--yes", "--now", day(days), "--json", *options).stdout
    )
    done(folder, "check")
    return found


def test_the_rule() -> None:
    clocks = Clocks(30 * DAY_MS, 730 * DAY_MS)
    assert [
        clocks.stage(0, at) for at in (30 * DAY_MS, 30 * DAY_MS + 1, 730 * DAY_MS, 730 * DAY_MS + 1)
    ] == [Stage.LIVE, Stage.STUB, Stage.STUB, Stage.GONE]
    assert Clocks().stage(0, 10**15) is Stage.LIVE
    assert clocks_of({"retention.lifetime_days": 1}) == Clocks(DAY_MS, None)


def test_within_its_lifetime_nothing_goes(folder: Path) -> None:
    before = (folder / "profiles.duckdb").read_bytes()
    assert applied(folder, 30) == {
        "dry_run": False,
        "now_ms": START_MS + 30 * DAY_MS,
        "stubs": 0,
        "gone": 0,
        "events": 0,
        "rows": {},
        "still_told_by": [],
    }
    assert (folder / "profiles.duckdb").read_bytes() == before


def test_beyond_its_lifetime_a_profile_is_a_stub(folder: Path) -> None:
    (before,) = profiles(folder, "--customer-id", "A-1")
    held = in_tables(folder, [*VALUES, EVENT])
    assert set(held) == {*VALUES[:5], EVENT}
    dry = applied(folder, 31, "--dry-run")
    assert in_tables(folder, [*VALUES, EVENT]) == held

    found = applied(folder, 31)

    assert found == dry | {"dry_run": False}
    assert (found["stubs"], found["gone"]) == (1, 0)
    assert in_file(folder, VALUES) == []
    assert in_tables(folder, [*VALUES, EVENT]) == [EVENT]
    (stub,) = profiles(folder, "--email", "a@example.org")
    assert stub == before | {"user_attributes": {}, "provenance": {}}
    assert profiles(folder, "--customer-id", "B-1")[0]["user_attributes"] == {"tier": "gold"}
    assert (
        "what is not kept beyond its lifetime was removed"
        in done(folder, "show", "--customer-id", "A-1").output
    )
    assert applied(folder, 31)["stubs"] == 0
    assert [
        (one["gone"], one["stubs"])
        for one in json.loads(done(folder, "retention", "show", "--json").stdout)["applied"]
    ] == [(0, 1)]
    assert "0 profiles gone, 1 stub made" in done(folder, "retention", "show").stdout
    done(folder, "compact", "--yes", "--keep", "0")
    done(folder, "check")


def test_a_batch_that_matches_a_stub_finds_the_same_mpid_without_attributes(folder: Path) -> None:
    (before,) = profiles(folder, "--customer-id", "A-1")
    applied(folder, 31)
    (folder / "c.jsonl").write_text(
        json.dumps(
            {"customer_id": "A-1", "new": "1", "timestamp_unixtime_ms": START_MS + 40 * DAY_MS}
        )
        + "\n"
    )
    report = json.loads(done(folder, "import", "c.jsonl", "--feed", "low", "--json").stdout)
    assert report["profiles"]["created"] == 0
    (again,) = profiles(folder, "--customer-id", "A-1")
    assert again["mpid"] == before["mpid"]
    assert again["user_attributes"] == {"new": "1"}
    # A worse source may set what a better one had set: what is gone outranks nobody.
    (folder / "d.jsonl").write_text(
        json.dumps(
            {"customer_id": "A-1", "note": "mine", "timestamp_unixtime_ms": START_MS + 40 * DAY_MS}
        )
        + "\n"
    )
    done(folder, "import", "d.jsonl", "--feed", "low")
    assert profiles(folder, "--customer-id", "A-1")[0]["user_attributes"]["note"] == "mine"
    assert applied(folder, 69)["stubs"] == 1  # B, last seen on day 20


def test_beyond_retention_the_profile_is_gone_and_comes_back_as_somebody_new(folder: Path) -> None:
    (before,) = profiles(folder, "--customer-id", "A-1")
    found = applied(folder, 731)
    assert (found["gone"], found["stubs"]) == (1, 1)
    assert in_tables(folder, [*VALUES, EVENT, "a@example.org", "A-1"]) == []
    done(folder, "import", "a.jsonl", "--feed", "crm", "--again")
    (again,) = profiles(folder, "--customer-id", "A-1")
    assert again["mpid"] != before["mpid"]


def test_with_lifetime_profiles_only_the_devices_go(folder: Path) -> None:
    done(folder, "retention", "set", "--lifetime-profiles")
    (before,) = profiles(folder, "--customer-id", "A-1")
    assert applied(folder, 31)["stubs"] == 1
    assert profiles(folder, "--customer-id", "A-1") == [before]
    assert in_tables(folder, VALUES) == sorted(set(VALUES[:5]) - {VALUES[3]})


def test_events_leave_one_by_one(folder: Path) -> None:
    (folder / "c.jsonl").write_text(
        json.dumps({"customer_id": "A-1", "timestamp_unixtime_ms": START_MS + 700 * DAY_MS}) + "\n"
    )
    done(folder, "import", "c.jsonl", "--feed", "crm")
    done(folder, "retention", "set", "--lifetime-days", "0")
    assert applied(folder, 730)["events"] == 0
    assert in_tables(folder, [EVENT]) == [EVENT]
    assert applied(folder, 731)["events"] == 1
    assert in_tables(folder, [EVENT]) == []
    assert profiles(folder, "--customer-id", "A-1")[0]["user_attributes"]["rare"] == VALUES[1]


def test_events_of_whoever_goes_are_counted(folder: Path) -> None:
    told = applied(folder, 731, "--dry-run")
    assert (told["gone"], told["events"]) == (1, 1)
    assert applied(folder, 731) == told | {"dry_run": False}
    assert in_tables(folder, [EVENT]) == []


def test_a_correction_by_hand_goes_with_what_it_set(folder: Path) -> None:
    done(folder, "set", "--customer-id", "A-1", f"more={VALUES[5]}")
    done(folder, "retention", "apply", "--now", "2200-01-01", "--dry-run")
    assert in_tables(folder, [VALUES[5]]) == [VALUES[5]]
    done(folder, "retention", "set", "--retention-days", "0")
    done(folder, "retention", "apply", "--yes", "--now", "2200-01-01")
    assert in_tables(folder, VALUES) == []
    assert in_file(folder, VALUES) == []
    done(folder, "check")


@pytest.mark.parametrize("days", [31, 731])
def test_undo_brings_nothing_back(days: int, folder: Path) -> None:
    applied(folder, days)
    done(folder, "imports", "undo", "2", "--cascade", "--yes")
    assert in_tables(folder, VALUES) == []
    done(folder, "imports", "undo", "1", "--cascade", "--yes")
    done(folder, "check")
    assert profiles(folder, "--customer-id", "A-1") == []


def test_the_clocks_are_settings(folder: Path) -> None:
    assert json.loads(done(folder, "retention", "show", "--json").stdout) == {
        "lifetime_days": 30,
        "retention_days": 730,
        "lifetime_profiles": None,
        "applied": [],
    }
    assert "lifetime_days = 30" in done(folder, "config", "export").stdout
    (folder / "c.toml").write_text("[retention]\nlifetime_days = 10\nlifetime_profiles = true\n")
    done(folder, *["config", "apply", "c.toml", "--prune", "--yes"])
    assert "lifetime_profiles = true" in done(folder, "config", "export").stdout
    assert tried(folder, "retention", "set", "--retention-days", "5")[0] == 2
    (folder / "c.toml").write_text("[retention]\nlifetime_days = 10\nretention_days = 5\n")
    assert tried(folder, "config", "apply", "c.toml")[0] == 4
    done(folder, "retention", "set", "--lifetime-days", "0")
    assert "no clock is set" in tried(folder, "retention", "apply")[1]
    assert tried(folder, "retention", "set")[0] == 2


def check_retention(history: History, data: st.DataObject) -> None:
    stated = {
        "retention.lifetime_days": 30,
        "retention.retention_days": 300,
        "retention.lifetime_profiles": data.draw(st.sampled_from([False, False, True])),
    }
    moments = {
        number: data.draw(st.sampled_from([None, 0, 31, 301]))
        for number in range(len(history.imports))
    }
    note(history.as_case())
    note(f"{stated} {moments}")
    reports: list[Any] = []
    with tempfile.TemporaryDirectory() as name, contextlib.closing(Scratch(Path(name))) as scratch:
        path = Path(name) / "store.duckdb"
        with open_store(scratch, path, create=True, write=True) as store, store.transaction():
            store.put_settings(stated_settings(history) | stated)
            for feed in history.feeds:
                store.put_feed(history.feed(feed))
        for number, one in enumerate(history.imports):
            file = Path(name) / f"{number}.jsonl"
            file.write_text("".join(text_of(row) + "\n" for row in one.rows) or "\n")
            reports.append(
                import_files(
                    path,
                    ImportRequest(
                        [str(file)],
                        one.feed,
                        protection=one.protection,
                        environment=one.environment,
                        again=True,
                        now_ms=NOW_MS + number,
                    ),
                ).counts.as_json()
            )
            if (days := moments[number]) is not None:
                apply_retention(path, now=NOW_MS + number + days * DAY_MS)
        with open_store(scratch, path) as store:
            lines = [
                line
                for (line,) in scratch.rows(
                    "select line from"
                    f" ({profiles_of(store).json_lines('', provenance=True)}) order by"
                    " profile"
                )
            ]
            secret = store.meta("secret")
        done(Path(name), "--store", "store.duckdb", "check")
    expected, counts = by_interpreter(history, stated, moments, secret)
    assert reports == counts
    assert [engine_canonical(parse_json(line)) for line in lines] == expected  # type: ignore[arg-type]


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(histories(), st.data())
def test_engine_equals_interpreter_with_retention(history: History, data: st.DataObject) -> None:
    check_retention(history, data)


@pytest.mark.slow
@settings(
    max_examples=at_length(30, by_night=300),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(histories(), st.data())
def test_engine_equals_interpreter_with_retention_at_length(
    history: History, data: st.DataObject
) -> None:
    check_retention(history, data)


def by_interpreter(
    history: History, stated: dict[str, Any], moments: dict[int, int | None], secret: str
) -> tuple[list[Any], list[Any]]:
    def age(interpreter: Interpreter, number: int) -> None:
        if (days := moments[number]) is not None:
            interpreter.age(clocks_of(stated), NOW_MS + number + days * DAY_MS)

    interpreter, reports, starts = played(history, secret, age)
    return [canonical(person, starts) for _, person in sorted(interpreter.people.items())], reports


def test_old_events_go_from_every_import(folder: Path) -> None:
    import time

    now, day = time.time_ns() // 1_000_000, 86_400_000

    def batch(customer: str, days: int) -> str:
        at = now - days * day
        return (
            json.dumps(
                {
                    "user_identities": {"customer_id": customer},
                    "timestamp_unixtime_ms": at,
                    "events": [
                        {"event_type": "session_start", "data": {"timestamp_unixtime_ms": at}}
                    ],
                }
            )
            + "\n"
        )

    (folder / "1.jsonl").write_text(batch("B", 50) + batch("B", 2))
    (folder / "2.jsonl").write_text(batch("B", 1) + batch("B", 49))
    for name in ("1.jsonl", "2.jsonl"):
        assert run_here("import", name, "--feed", "app", folder=folder).returncode == 0
    run_here("retention", "set", "--retention-days", "45", folder=folder)
    done = run_here("retention", "apply", "--yes", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["events"] == 3, "two of B, and that of A, who goes"
    assert len(run_here("events", "B", "--json", folder=folder).stdout.splitlines()) == 2
    assert run_here("check", folder=folder).returncode == 0


def test_nothing_is_computed_of_a_stub_and_a_preview_says_the_same(tmp_path: Path) -> None:
    import time

    folder, at_ms = tmp_path, time.time_ns() // 1_000_000 - 50 * DAY_MS
    (folder / "a.jsonl").write_text(
        json.dumps(
            {
                "user_identities": {"customer_id": "A"},
                "timestamp_unixtime_ms": at_ms,
                "events": [
                    {"event_type": "session_start", "data": {"timestamp_unixtime_ms": at_ms}}
                ],
            }
        )
        + "\n"
    )
    run_here("import", "a.jsonl", "--feed", "app", folder=folder)
    run_here(
        "calculated", "add", "n", "--type", "count", "--event-type", "session_start", folder=folder
    )
    run_here("retention", "set", "--lifetime-days", "20", folder=folder)
    run_here("retention", "apply", "--yes", folder=folder)
    preview = json.loads(
        run_here(
            "calculated",
            "preview",
            "m",
            "--type",
            "count",
            "--event-type",
            "session_start",
            "--json",
            folder=folder,
        ).stdout
    )
    added = json.loads(
        run_here(
            "calculated",
            "add",
            "m",
            "--type",
            "count",
            "--event-type",
            "session_start",
            "--json",
            folder=folder,
        ).stdout
    )
    assert preview["profiles"] == added["profiles"] == 0
    assert (
        json.loads(
            run_here("audiences", "preview", "event session_start", "--json", folder=folder).stdout
        )["members"]
        == 0
    )
    assert (
        "beyond its lifetime" in run_here("explain", "A", "--attribute", "n", folder=folder).stdout
    )


@pytest.mark.slow
def test_a_membership_ends_with_the_profile_s_lifetime_and_with_the_windows_of_what_it_rests_on(
    tmp_path: Path,
) -> None:
    """domain.md 11.2: whichever comes first."""
    now_ms, day = time.time_ns() // 1_000_000, 86_400_000
    events = [
        {
            "event_type": "custom_event",
            "data": {
                "event_name": "e",
                "custom_event_type": "other",
                "timestamp_unixtime_ms": now_ms - days * day,
            },
        }
        for days in (10, 20)
    ]
    (tmp_path / "a.jsonl").write_text(
        json.dumps(
            {
                "user_identities": {"customer_id": "A"},
                "timestamp_unixtime_ms": now_ms - 10 * day,
                "events": events,
            }
        )
        + "\n"
    )
    for arguments in (
        ("import", "a.jsonl", "--feed", "app"), ("calculated", "add", "n30", "--type", "count", "--event", "e", "--within", "30 days"),
        ("audiences", "add", "recent", "event 'e' within 30 days"), ("audiences", "add", "often", "n30 >= 2"), ("audiences", "add", "known", "customer_id exists"),
    ):  # fmt: skip
        assert run_here(*arguments, folder=tmp_path).returncode == 0

    def ends() -> dict[str, int | None]:
        (one,) = json.loads(run_here("show", "A", "--json", folder=tmp_path).stdout)["profiles"]
        return {
            each["audience_name"]: each["expiration_timestamp_ms"]
            for each in one["audience_memberships"]
        }

    assert ends() == {"recent": now_ms + 20 * day, "often": now_ms + 10 * day, "known": None}
    assert run_here("retention", "set", "--lifetime-days", "22", folder=tmp_path).returncode == 0
    assert ends() == {
        "recent": now_ms + 12 * day + 1,
        "often": now_ms + 10 * day,
        "known": now_ms + 12 * day + 1,
    }
