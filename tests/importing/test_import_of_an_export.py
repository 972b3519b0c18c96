"""An export of profiles as JSON lines is imported again: the same profiles come out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from support.doors import call
from support.effort import at_length
from support.equivalence import NOW_MS, by_engine, canonical, engine_canonical, stated_settings
from support.histories import History, histories

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.feed import Feed
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.leaving.exported_line import founders, read_profile
from profilectl.rules.text.values import parse_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.settings import settings_from

BATCHES = [
    {
        "environment": "production",
        "timestamp_unixtime_ms": 1000,
        "user_identities": {"customer_id": "C-1", "email": "ada@example.com"},
        "user_attributes": {
            "tier": "gold",
            "big": 12345678901234567890,
            "sizes": ["40", "41"],
            "vip": None,
            "flag": True,
            "text": "5",
        },
    },
    {
        "environment": "production",
        "timestamp_unixtime_ms": 5000,
        "user_identities": {"customer_id": "C-1", "email": "ada@work.example"},
        "device_info": {
            "ios_idfv": "0F0F0F0F-0000-4000-8000-00000000000A",
            "device_model": "iPhone",
            "limit_ad_tracking": True,
        },
    },
    {
        "environment": "production",
        "timestamp_unixtime_ms": 3000,
        "user_identities": {
            "customer_id": "C-1",
            "mobile_number": "+447700900123",
            "email": "ada@third.example",
        },
        "device_info": {
            "android_aaid": "0F0F0F0F-0000-4000-8000-00000000000B",
            "device_model": "Pixel",
        },
        "events": [{"event_type": "opt_out", "data": {"is_opted_out": True}}],
    },
    {
        "environment": "development",
        "user_identities": {"customer_id": "C-1"},
        "timestamp_unixtime_ms": 42,
    },
    {
        "environment": "production",
        "user_identities": {"customer_id": "C-2", "email": "ada@example.com"},
        "timestamp_unixtime_ms": 7000,
        "consent_state": {
            "gdpr": {"marketing": {"consented": True, "timestamp_unixtime_ms": 6000}}
        },
    },
    {
        "environment": "production",
        "mpid": 77,
        "user_attributes": {f"a{n}": n for n in range(100)},
        "timestamp_unixtime_ms": 9000,
    },
    {
        "environment": "production",
        "mpid": 77,
        "user_attributes": {f"b{n}": f"é{n}" for n in range(100)},
        "timestamp_unixtime_ms": 9000,
    },
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a store of some people, who share identities and have several of a type."""
    (tmp_path / "batches.jsonl").write_text("".join(json.dumps(one) + "\n" for one in BATCHES))
    done = call("import", "batches.jsonl", "--feed", "f", folder=tmp_path)
    assert done.exit_code == 0, done.output
    return tmp_path


def exported(folder: Path, store: str, *options: str) -> list[dict[str, Any]]:
    done = call(
        "--store",
        store,
        "export",
        "profiles",
        "--format",
        "jsonl",
        "--sorted",
        *options,
        folder=folder,
    )
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def again(folder: Path, *options: str) -> dict[str, Any]:
    (folder / "people.jsonl").write_text(
        "".join(
            json.dumps(one, ensure_ascii=False) + "\n"
            for one in exported(folder, "profiles.duckdb", *options)
        )
    )
    done = call(
        "--store", "other.duckdb", "import", "people.jsonl", "--feed", "f", "--json", folder=folder
    )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.slow
def test_an_export_of_profiles_is_imported_again(folder: Path) -> None:
    report = again(folder)
    first = exported(folder, "profiles.duckdb")
    assert len(first) == 4
    assert sorted(len(one["user_identities"].get("email", [])) for one in first) == [0, 0, 1, 3]
    assert exported(folder, "other.duckdb") == first
    assert report["profiles"]["created"] == 4
    assert report["rows"]["rejected"] == 0
    assert any("4 exported profiles, read as" in notice for notice in report["notices"])
    assert call("--store", "other.duckdb", "check", folder=folder).exit_code == 0


def test_the_bytes_of_an_export_come_out_again(folder: Path) -> None:
    first = call(
        "export", "profiles", "--format", "jsonl", "--sorted", "-o", "people.jsonl", folder=folder
    )
    assert first.exit_code == 0, first.output
    assert (
        call(
            "--store", "other.duckdb", "import", "people.jsonl", "--feed", "g", folder=folder
        ).exit_code
        == 0
    )
    call(
        "--store",
        "other.duckdb",
        "export",
        "profiles",
        "--format",
        "jsonl",
        "--sorted",
        "-o",
        "more.jsonl",
        folder=folder,
    )
    assert (folder / "more.jsonl").read_bytes() == (folder / "people.jsonl").read_bytes()


@pytest.mark.slow
def test_where_somebody_stands_is_imported_again(folder: Path) -> None:
    report = again(folder, "--whole", "--provenance")
    first, more = (
        exported(folder, "profiles.duckdb", "--whole"),
        exported(folder, "other.duckdb", "--whole"),
    )
    assert [one["is_opted_out"] for one in first].count(True) == 1
    assert [one["consent_state"] for one in first].count({}) == 3
    assert max(len(one["devices"]) for one in first) == 2
    assert more == first
    assert any(
        "made anew: audience_memberships, limit_ad_tracking, provenance" in notice
        for notice in report["notices"]
    )


@pytest.mark.slow
def test_some_of_the_people_are_imported_alone(folder: Path) -> None:
    report = again(folder, "--where", "tier = 'gold'")
    assert report["profiles"]["created"] == 1
    assert exported(folder, "other.duckdb") == exported(
        folder, "profiles.duckdb", "--where", "tier = 'gold'"
    )


@pytest.mark.slow
def test_people_who_are_known_by_their_identities_stay_who_they_are(folder: Path) -> None:
    people = {
        json.dumps(one["user_identities"].get("customer_id")): one["mpid"]
        for one in exported(folder, "profiles.duckdb", "--where", "environment = 'production'")
    }
    (folder / "known.csv").write_text("customer_id,tier\nC-1,silver\nC-9,silver\n")
    assert (
        call(
            "--store", "other.duckdb", "import", "known.csv", "--feed", "f", folder=folder
        ).exit_code
        == 0
    )
    known = {
        one["user_identities"]["customer_id"][0]: one["mpid"]
        for one in exported(folder, "other.duckdb")
    }
    again(folder, "--where", "tier = 'gold'")
    found = {
        one["user_identities"]["customer_id"][0]: one for one in exported(folder, "other.duckdb")
    }
    assert {name: one["mpid"] for name, one in found.items()} == known
    assert known["C-1"] not in people.values()
    assert found["C-1"]["user_identities"]["email"] == [
        "ada@example.com",
        "ada@work.example",
        "ada@third.example",
    ]


def test_a_profile_of_another_workspace_is_refused_row_by_row(folder: Path) -> None:
    lines = exported(folder, "profiles.duckdb")
    lines[1]["workspace"] = "eu"
    lines[2]["user_identities"] = {"email": "no list"}
    lines[3]["audiences"] = []
    (folder / "people.jsonl").write_text(
        "".join(json.dumps(one) + "\n" for one in lines) + '{"customer_id":"C-8"}\n\nnot json\n'
    )
    done = call(
        "--store",
        "other.duckdb",
        "import",
        "people.jsonl",
        "--feed",
        "f",
        "--rejects",
        "r.jsonl",
        "--json",
        folder=folder,
    )
    assert done.exit_code == 3, done.output
    rejects = [json.loads(line) for line in (folder / "r.jsonl").read_text().splitlines()]
    assert [(one["line"], one["code"]) for one in rejects] == [
        (2, "WORKSPACE_MISMATCH"),
        (3, "BATCH_INVALID"),
        (4, "BATCH_UNKNOWN_FIELD"),
        (7, "JSON_INVALID"),
    ]
    assert "eu, the feed is of default" in rejects[0]["message"]
    assert json.loads(done.stdout)["profiles"]["created"] == 2


@pytest.mark.slow
def test_a_row_that_is_rejected_late_names_its_line(folder: Path) -> None:
    lines = exported(folder, "profiles.duckdb")
    text = [json.dumps(one) for one in lines]
    (folder / "people.jsonl").write_text("".join(one + "\n" for one in text))
    done = call(
        "--store",
        "other.duckdb",
        "import",
        "people.jsonl",
        "--feed",
        "f",
        "--environment",
        "production",
        "--rejects",
        "r.jsonl",
        "--rejects-as-input",
        "mend.jsonl",
        folder=folder,
    )
    assert done.exit_code == 3, done.output
    (place,) = [n for n, one in enumerate(lines) if one["environment"] == "development"]
    rejects = [json.loads(line) for line in (folder / "r.jsonl").read_text().splitlines()]
    assert {(one["line"], one["code"], one["raw"]) for one in rejects} == {
        (place + 1, "ENVIRONMENT_MISMATCH", text[place])
    }
    assert (folder / "mend.jsonl").read_text() == text[place] + "\n"


@pytest.mark.slow
def test_what_explain_says_names_the_line_of_the_export(folder: Path) -> None:
    again(folder)
    lines = exported(folder, "other.duckdb", "--provenance")
    for place, one in enumerate(lines, start=1):
        assert {origin["line"] for origin in one["provenance"].values()} <= {place}
    done = call("--store", "other.duckdb", "explain", "row", "people.jsonl:1", folder=folder)
    assert done.exit_code == 0, done.output


def lines_of(folder: Path, store: str) -> list[str]:
    path, scratch = folder / store, Scratch(folder)
    with open_store(scratch, path) as opened:
        lines = scratch.rows(
            f"select line from ({profiles_of(opened).json_lines('')}) order by mpid"
        )
        secret = opened.meta("secret")
    scratch.close()
    return [secret, *(line for (line,) in lines)]


def by_interpreter(history: History, lines: list[str], secret: str) -> list[Any]:
    """Return the profiles that the interpreter makes of an export's lines."""
    found = settings_from(stated_settings(history))
    read = [read_profile(parse_json(line), found.reading) for line in lines]
    rows = [
        batch
        for batches, needed in zip(read, founders(read), strict=True)
        for batch in (batches if needed else batches[1:])
    ]
    interpreter = Interpreter(found.rules, history.priority, secret)
    interpreter.run(Feed("again", number=1), "create-and-update", rows, NOW_MS)
    people = [canonical(person, [0]) for person in interpreter.people.values()]
    return sorted(({**one, "provenance": None} for one in people), key=lambda one: int(one["mpid"]))


def check(history: History) -> None:
    note(history.as_case())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        by_engine(history, folder)
        _, *lines = lines_of(folder, "store.duckdb")
        if not lines:
            return
        (folder / "people.jsonl").write_text("".join(line + "\n" for line in lines))
        scratch = Scratch(folder)
        with (
            open_store(scratch, folder / "other.duckdb", create=True, write=True) as store,
            store.transaction(),
        ):
            store.put_settings(stated_settings(history))
        scratch.close()
        import_files(
            folder / "other.duckdb",
            ImportRequest([str(folder / "people.jsonl")], "again", now_ms=NOW_MS),
        )
        secret, *again = lines_of(folder, "other.duckdb")
    ours = [
        {**engine_canonical({**parse_json(line), "provenance": {}}), "provenance": None}
        for line in again
    ]  # type: ignore[dict-item]
    assert ours == by_interpreter(history, lines, secret)
    assert again == lines


quick = settings(
    max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@pytest.mark.slow
@quick
@given(histories())
def test_whatever_the_history_an_export_makes_the_same_profiles_again(history: History) -> None:
    check(history)


@pytest.mark.slow
@settings(quick, max_examples=at_length(80, by_night=800), derandomize=False)
@given(histories())
def test_whatever_the_history_an_export_makes_the_same_profiles_again_at_length(
    history: History,
) -> None:
    check(history)
