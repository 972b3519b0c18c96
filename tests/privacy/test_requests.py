"""Requests of people (domain.md 14, scenario 39): they wait, are answered, and are forgotten after
their year.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.effort import spread_now
from support.erasing import done, in_file, profiles, tried
from support.erika import DEVICE, ERIKA, forgotten, is_gone, store_with_erika


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return store_with_erika(tmp_path)


ID = "a7551968-d5d6-44b2-9831-815ac9017798"


def asked(
    folder: Path,
    kind: str = "erasure",
    identities: dict[str, str] | None = None,
    *,
    name: str = ID,
    **more: Any,
) -> tuple[int, str]:
    document = {
        "regulation": "gdpr",
        "subject_request_id": name,
        "subject_request_type": kind,
        "submitted_time": "2026-11-20T15:00:00Z",
        "api_version": "3.0",
        "subject_identities": {
            one: {"value": value, "encoding": "raw"}
            for one, value in (
                identities or {"controller_customer_id": ERIKA["customer_id"]}
            ).items()
        },
        **more,
    }
    (folder / "request.json").write_text(json.dumps(document))
    return tried(folder, "privacy", "request", "request.json", "--json")


def status(folder: Path, name: str = ID) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done(folder, "privacy", "show", name, "--json").stdout)
    return found


def later(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_an_erasure_waits_seven_days_and_may_be_cancelled(folder: Path) -> None:
    assert asked(folder)[0] == 0
    assert status(folder)["request_status"] == "pending"
    done(folder, "privacy", "run", "--yes", "--now", later(6.9))
    assert status(folder)["request_status"] == "pending"
    assert len(profiles(folder, "--customer-id", ERIKA["customer_id"])) == 1
    done(folder, "privacy", "cancel", ID)
    done(folder, "privacy", "run", "--yes", "--now", later(8))
    assert status(folder)["request_status"] == "cancelled"
    assert len(profiles(folder, "--customer-id", ERIKA["customer_id"])) == 1
    assert tried(folder, "privacy", "cancel", ID)[0] == 4


def test_after_seven_days_they_are_gone_and_only_the_record_is_left(folder: Path) -> None:
    asked(folder)
    done(folder, "privacy", "run", "--yes", "--now", later(7.1))
    is_gone(folder)
    found = status(folder)
    assert (found["request_status"], found["profiles"], found["encoded_request"]) == (
        "completed",
        1,
        None,
    )
    done(folder, "privacy", "run", "--yes", "--now", later(7 + 364))
    assert [
        one["subject_request_id"]
        for one in json.loads(done(folder, "privacy", "requests", "--json").stdout)
    ] == [ID]
    done(folder, "privacy", "run", "--yes", "--now", later(7 + 367))
    assert json.loads(done(folder, "privacy", "requests", "--json").stdout) == []


@pytest.mark.slow
@pytest.mark.parametrize("beside", ["nothing", "an erasure"])
def test_no_byte_of_a_record_is_left_after_its_year(beside: str, folder: Path) -> None:
    """... neither as the identity nor as the request that came with it, and whether anybody is
    erased or not.
    """
    name, value = ID.replace("a7", "d7"), "asked-for-nobody@example.org"
    asked(folder, "access", {"email": value}, name=name)
    done(folder, *["privacy", "run", "-o", "answers", "--yes"])
    encoded = status(folder, name)["encoded_request"]
    assert set(in_file(folder, [value, encoded[:60]])) == {value, encoded[:60]}
    if beside == "an erasure":
        asked(folder)
    erased = json.loads(done(folder, "stats", "--json").stdout)["profiles"]
    done(folder, "privacy", "run", "--yes", "--now", later(367))
    assert in_file(folder, [value, name, encoded[:60]]) == []
    assert [
        one["subject_request_id"]
        for one in json.loads(done(folder, "privacy", "requests", "--json").stdout)
    ] == ([ID] if beside == "an erasure" else [])
    assert erased - json.loads(done(folder, "stats", "--json").stdout)["profiles"] == (
        beside == "an erasure"
    )
    done(folder, "check")


def test_the_waiting_period_may_be_skipped(folder: Path) -> None:
    assert (
        asked(folder, extensions={"opendsr.mparticle.com": {"skip_waiting_period": True}})[0] == 0
    )
    done(folder, "privacy", "run", "--yes")
    is_gone(folder)


def test_a_request_by_a_device_alone_reaches_nobody_known(folder: Path) -> None:
    asked(
        folder,
        identities={"ios_idfv": DEVICE},
        extensions={"opendsr.mparticle.com": {"skip_waiting_period": True}},
    )
    done(folder, "privacy", "run", "--yes")
    assert status(folder)["profiles"] == 0
    assert len(profiles(folder, "--customer-id", ERIKA["customer_id"])) == 1


def test_access_and_portability_are_answered_in_files(folder: Path) -> None:
    asked(folder, "access")
    asked(folder, "portability", name=ID.replace("a7", "b7"))
    done(folder, *["privacy", "run", "-o", "answers", "--yes"])
    found = status(folder)
    assert found["request_status"] == "completed"
    assert json.loads((folder / found["results_url"]).read_text())["profiles"][0][
        "user_identities"
    ]["customer_id"] == [ERIKA["customer_id"]]
    assert sorted(one.suffix for one in (folder / "answers").iterdir()) == [
        ".html",
        ".html",
        ".json",
        ".json",
    ]
    forgotten(folder, "--customer-id", ERIKA["customer_id"])
    is_gone(folder)
    assert status(folder)["encoded_request"] is None


def test_the_same_request_twice_is_refused(folder: Path) -> None:
    asked(folder)
    assert "is there already" in asked(folder)[1]
    assert "the same erasure is pending already" in asked(folder, name=ID.replace("a7", "b7"))[1]
    assert asked(folder, "access", name=ID.replace("a7", "c7"))[0] == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    spread_now(
        [
            ({"regulation": "hipaa"}, "regulation must be one of gdpr, ccpa"),
            ({"subject_request_id": "1"}, "subject_request_id must be a UUID of version 4"),
            ({"subject_request_type": None}, "subject_request_type must be a text"),
            ({"submitted_time": "yesterday"}, "submitted_time must be a time"),
            ({"subject_identities": {}}, "subject_identities: a request needs an identity"),
            (
                {"subject_identities": {"email": {"value": "a@x.org", "encoding": "sha256"}}},
                "subject_identities.email.encoding must be raw",
            ),
            (
                {"subject_identities": {"email": {"value": ["a"]}}},
                "subject_identities.email.value must be a text",
            ),
            ({"subject_identities": {"shoe": {"value": "7"}}}, "there is no identity type shoe"),
            ({"subject_identities": {"mpid": {"value": "7"}}}, "mpid belongs into the extension"),
            (
                {
                    "extensions": {
                        "opendsr.mparticle.com": {"subject_identities": {"mpid": {"value": "7"}}}
                    }
                },
                "mpid must be the only identity",
            ),
            ({"extensions": {"opendsr.mparticle.com": {"skip": True}}}, "there is no field skip"),
            ({"status_callback_urls": "x"}, "status_callback_urls must be a list"),
            ({"unknown": 1}, "there is no field unknown"),
            ({"api_version": "2.0"}, "api_version must be 3.0"),
        ],
        3,
    ),
)
def test_a_wrong_request_is_refused_by_field(
    wrong: dict[str, Any], said: str, folder: Path
) -> None:
    code, text = asked(folder, **wrong)
    assert code == 4
    assert said in text
    assert json.loads(done(folder, "privacy", "requests", "--json").stdout) == []
