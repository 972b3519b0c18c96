"""A batch that leaves is whole and of one device: what is exported or pushed makes the same people
again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from support.doors import call
from support.receiver import KEY, SECRET, receiving
from support.serving import served

IDFV, OLD, NEW = (f"0d9b0000-0000-4000-8000-00000000000{n}" for n in "123")
GAID, STAMP, OTHER = (f"1d9b0000-0000-4000-8000-00000000000{n}" for n in "abc")
NOBODY = "00000000-0000-0000-0000-000000000000"
DAY = 86_400_000
T0 = 1_700_000_000_000
D1 = {"user_identities": {"customer_id": "D-1"}}


def install(publisher: str) -> dict[str, str]:
    return {"service_provider": "s", "publisher": publisher, "campaign": "c"}


PEOPLE = [
    {
        **D1,
        "timestamp_unixtime_ms": T0,
        "mp_deviceid": STAMP,
        "attribution_info": install("phone"),
        "user_attributes": {
            "tier": "gold",
            "vip": None,
            "sizes": ["40", "41"],
            "big": 12345678901234567890,
        },
        "device_info": {
            "ios_idfv": IDFV.upper(),
            "ios_advertising_id": OLD,
            "platform": "iOS",
            "limit_ad_tracking": False,
        },
    },
    {
        **D1,
        "timestamp_unixtime_ms": T0 + 5,
        "mp_deviceid": OTHER,
        "attribution_info": install("tablet"),
        "device_info": {
            "android_aaid": GAID,
            "platform": "Android",
            "limit_ad_tracking": True,
            "screen_width": 1080,
        },
    },
    {
        **D1,
        "timestamp_unixtime_ms": T0 + 9,
        "mp_deviceid": STAMP,
        "device_info": {
            "ios_idfv": IDFV,
            "ios_advertising_id": NEW,
            "att_authorization_status": "denied",
            "att_timestamp_unixtime_ms": T0 + 8,
        },
        "consent_state": {
            "gdpr": {
                "mail": {
                    "consented": False,
                    "timestamp_unixtime_ms": T0 + 7,
                    "document": "d",
                    "location": "l",
                    "hardware_id": "h",
                },
                "ads": {"consented": True, "timestamp_unixtime_ms": T0 + 1},
            },
            "ccpa": {"data_sale_opt_out": {"consented": True, "timestamp_unixtime_ms": T0 + 2}},
        },
        "partner_identities": {"TradeDesk_UID2": "u-1", "Gone_Id": "x"},
    },
    {
        **D1,
        "timestamp_unixtime_ms": T0 + DAY,
        "partner_identities": {"Gone_Id": None},
        "deleted_user_attributes": ["tier"],
        "events": [
            {
                "event_type": "opt_out",
                "data": {"is_opted_out": True, "timestamp_unixtime_ms": T0 + 3},
            }
        ],
    },
    {
        "user_identities": {"email": "back@example.com"},
        "timestamp_unixtime_ms": T0,
        "events": [
            {"event_type": "opt_out", "data": {"is_opted_out": True}},
            {
                "event_type": "opt_out",
                "data": {"is_opted_out": False, "timestamp_unixtime_ms": T0 + 4},
            },
        ],
    },
    {
        "user_identities": {"customer_id": "plain", "email": "plain@example.com"},
        "user_attributes": {"a": 1},
        "timestamp_unixtime_ms": T0,
    },
    {"device_info": {"ios_advertising_id": NOBODY, "ios_idfv": NEW}, "timestamp_unixtime_ms": T0},
]
"""People with what a batch can say of one: D-1 has a phone and a tablet, has refused, and has
opted out."""


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    written(folder / "people.jsonl", PEOPLE)
    done(folder, "import", "people.jsonl", "--feed", "f")
    return folder


@pytest.fixture
def folder(ground: Path, tmp_path: Path) -> Path:
    shutil.copy(ground / "profiles.duckdb", tmp_path)
    return tmp_path


def done(folder: Path, *arguments: str) -> str:
    found = call(*arguments, folder=folder)
    assert found.exit_code == 0, found.output
    return str(found.stdout)


def batches(folder: Path, *options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done(folder, "export", "batches", *options).splitlines()]


def whole(
    folder: Path, store: str = "profiles.duckdb", *, same: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Return the whole profiles of a store, without the members `same`, in the order of what
    identifies them."""
    lines = done(folder, "--store", store, "export", "profiles", "--whole").splitlines()
    found = [
        {key: value for key, value in json.loads(line).items() if key not in same} for line in lines
    ]
    return sorted(
        found, key=lambda one: json.dumps([one["user_identities"], one["device_identities"]])
    )


def of(found: list[dict[str, Any]], customer: str) -> list[dict[str, Any]]:
    return [
        one
        for one in found
        if one.get("user_identities", {}).get("customer_id") in (customer, [customer])
    ]


def device_of(batch: dict[str, Any]) -> str | None:
    """Return the stamp of the one device of a batch, whose ids are all of it."""
    info = batch.get("device_info", {})
    ids = {STAMP: {IDFV, IDFV.upper(), OLD, NEW}, OTHER: {GAID}}
    named = {value for key, value in info.items() if value in {IDFV, IDFV.upper(), OLD, NEW, GAID}}
    stamp = batch.get("mp_deviceid")
    assert named <= ids.get(stamp or "", set()), batch
    return stamp


def test_two_devices_leave_in_two_batches_each_with_its_own(tmp_path: Path) -> None:
    written(
        tmp_path / "two-devices.jsonl",
        [
            {**D1, "device_info": {"ios_idfv": IDFV}, "mp_deviceid": STAMP},
            {**D1, "device_info": {"android_advertising_id": GAID}, "mp_deviceid": OTHER},
        ],
    )
    done(tmp_path, "import", "two-devices.jsonl", "--feed", "f")
    for options in ((), ("--no-mpid",)):
        found = batches(tmp_path, *options)
        assert [(one["device_info"], one["mp_deviceid"]) for one in found] == [
            ({"ios_idfv": IDFV}, STAMP),
            ({"android_advertising_id": GAID}, OTHER),
        ]
    done(tmp_path, "push", "--dry-run", "out.jsonl")
    (request,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(one["device_info"], one["mp_deviceid"]) for one in request] == [
        ({"ios_idfv": IDFV}, STAMP),
        ({"android_advertising_id": GAID}, OTHER),
    ]
    assert all(one["user_identities"] == {"customer_id": "D-1"} for one in request)


def test_a_batch_has_all_that_is_in_force(folder: Path) -> None:
    every = batches(folder)
    found = of(every, "D-1") + [
        one for one in every if "user_identities" not in one and "mp_deviceid" in one
    ]
    said = {device_of(one): one for one in found}
    phone, tablet = said[STAMP], said[OTHER]
    assert phone["device_info"] == {
        "ios_idfv": IDFV,
        "ios_advertising_id": NEW,
        "platform": "iOS",
        "limit_ad_tracking": False,
        "att_authorization_status": "denied",
        "att_timestamp_unixtime_ms": T0 + 8,
    }
    assert tablet["device_info"] == {
        "android_advertising_id": GAID,
        "platform": "Android",
        "limit_ad_tracking": True,
        "screen_width": 1080,
    }
    installs = [
        (device_of(one), one["attribution_info"]["publisher"])
        for one in found
        if "attribution_info" in one
    ]
    assert installs == [(STAMP, "phone"), (OTHER, "tablet")]
    assert [one["consent_state"] for one in every if "consent_state" in one] == [
        PEOPLE[2]["consent_state"]
    ]
    assert [one["partner_identities"] for one in every if "partner_identities" in one] == [
        {"TradeDesk_UID2": "u-1"}
    ]
    events = [event for one in every for event in one.get("events", [])]
    assert sorted(
        (one["event_type"], one["data"]["is_opted_out"], one["data"]["timestamp_unixtime_ms"] - T0)
        for one in events
    ) == [
        ("opt_out", False, 4),
        ("opt_out", True, 3),
    ]
    assert not any("events" in one for one in batches(folder, "--opt-outs", "none"))


@pytest.mark.slow
def test_batches_make_the_same_people_again(folder: Path) -> None:
    first = whole(folder)
    assert len(of(first, "D-1")[0]["devices"]) == 2
    done(folder, "export", "batches", "--sorted", "-o", "a.jsonl")
    done(folder, "--store", "b.duckdb", "import", "a.jsonl", "--feed", "f")
    done(folder, "--store", "b.duckdb", "export", "batches", "--sorted", "-o", "b.jsonl")
    assert (folder / "b.jsonl").read_bytes() == (folder / "a.jsonl").read_bytes()
    assert whole(folder, "b.duckdb") == first
    done(folder, "export", "batches", "--no-mpid", "-o", "c.jsonl")
    done(folder, "--store", "c.duckdb", "import", "c.jsonl", "--feed", "f")
    assert whole(folder, "c.duckdb", same=("mpid",)) == whole(folder, same=("mpid",))


def test_whole_profiles_make_the_same_people_again(folder: Path) -> None:
    done(folder, "export", "profiles", "--whole", "--sorted", "-o", "a.jsonl")
    done(folder, "--store", "b.duckdb", "import", "a.jsonl", "--feed", "f")
    done(
        folder, "--store", "b.duckdb", "export", "profiles", "--whole", "--sorted", "-o", "b.jsonl"
    )
    assert (folder / "b.jsonl").read_bytes() == (folder / "a.jsonl").read_bytes()


def test_a_push_says_all_of_it(folder: Path) -> None:
    with (
        receiving() as receiver,
        mock.patch.dict(os.environ, {"PROFILECTL_PUSH_KEY": KEY, "PROFILECTL_PUSH_SECRET": SECRET}),
    ):
        done(folder, "push", "--host", receiver.url, "--where", "customer_id = 'D-1'")
        assert {one.get("mp_deviceid") for one in receiver.accepted} >= {STAMP, OTHER}
        assert [device_of(one) for one in receiver.accepted if one.get("device_info")] != []
        assert [one["consent_state"] for one in receiver.accepted if "consent_state" in one] == [
            PEOPLE[2]["consent_state"]
        ]
        assert [one["events"] for one in receiver.accepted if "events" in one] == [
            [
                {
                    "event_type": "opt_out",
                    "data": {"is_opted_out": True, "timestamp_unixtime_ms": T0 + 3},
                }
            ]
        ]
        before = len(receiver.accepted)
        done(
            folder,
            "push",
            "--host",
            receiver.url,
            "--where",
            "customer_id = 'D-1'",
            "--opt-outs",
            "none",
        )
        assert receiver.accepted[before:]
        assert not any("events" in one for one in receiver.accepted[before:])


TIMES = ("mpid", "first_seen_ms", "last_seen_ms", "limit_ad_tracking")
"""What a push without times and MPIDs does not carry: which device was seen last follows from the
times."""


def untimed(people: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return whole profiles whose devices say no times, in the order of their names."""
    for one in people:
        one["devices"] = sorted(
            (
                {key: value for key, value in device.items() if not key.endswith("_seen_ms")}
                for device in one["devices"]
            ),
            key=json.dumps,
        )
        one["user_attributes"] = {
            key: json.dumps(value) if isinstance(value, int | float) else value
            for key, value in one["user_attributes"].items()
        }
    return people


@pytest.mark.slow
def test_a_push_into_a_second_store_makes_the_same_people_device_by_device(folder: Path) -> None:
    second = folder / "second"
    second.mkdir()
    done(
        second, "feeds", "add", "f", "--source", "custom-feed", "--protection", "create-and-update"
    )
    done(second, "credentials", "new", "api.toml", "--feed", "f")
    with served(second) as server:
        key, secret = server.basic("f")
        with mock.patch.dict(
            os.environ, {"PROFILECTL_PUSH_KEY": key, "PROFILECTL_PUSH_SECRET": secret}
        ):
            done(folder, "push", "--host", server.address)
    assert untimed(whole(second, same=TIMES)) == untimed(whole(folder, same=TIMES))


def test_chosen_fields_leave_with_consent_and_opt_out_alone(folder: Path) -> None:
    found = batches(
        folder, "--fields", "customer_id,ios_idfv,sizes", "--where", "customer_id = 'D-1'"
    )
    assert {key for one in found for key in one} == {
        "environment",
        "mpid",
        "timestamp_unixtime_ms",
        "user_identities",
        "device_info",
        "user_attributes",
        "consent_state",
        "events",
    }
    assert {key for one in found for key in one.get("device_info", {})} == {"ios_idfv"}
    assert [one["user_attributes"] for one in found if one["user_attributes"]] == [
        {"sizes": ["40", "41"]}
    ]


def test_an_identity_that_was_taken_away_leaves_no_more(tmp_path: Path) -> None:
    written(
        tmp_path / "a.jsonl",
        [
            {**D1, "device_info": {"ios_idfv": IDFV, "ios_advertising_id": OLD, "platform": "iOS"}},
            {**D1, "device_info": {"android_advertising_id": GAID, "platform": "Android"}},
        ],
    )
    done(tmp_path, "import", "a.jsonl", "--feed", "f")
    done(
        tmp_path,
        "modify",
        "--customer-id",
        "D-1",
        "--remove",
        f"ios_advertising_id={OLD}",
        "--remove",
        f"android_advertising_id={GAID}",
    )
    assert [one["device_info"] for one in batches(tmp_path) if "device_info" in one] == [
        {"ios_idfv": IDFV, "platform": "iOS"}
    ]


def test_a_device_is_named_in_whatever_case_its_ids_are(tmp_path: Path) -> None:
    """One rule for the view of one person, the export of all, audiences, and what leaves."""
    written(
        tmp_path / "a.jsonl",
        [
            {**D1, "device_info": {"ios_idfv": IDFV, "os_version": "16"}},
            {**D1, "device_info": {"IOS-IDFV": IDFV.upper(), "os_version": "17"}},
            {**D1, "device_info": {"push_token": 7, "os_version": "8"}},
            {**D1, "device_info": {"push_token": 7, "os_version": "9"}},
        ],
    )
    done(tmp_path, "import", "a.jsonl", "--feed", "f")
    shown = json.loads(
        done(tmp_path, "show", "--customer-id", "D-1", "--json", "--section", "devices")
    )["profiles"][0]["devices"]
    assert [one["info"] for one in shown] == [{"os_version": "9"}, {"os_version": "17"}]
    assert whole(tmp_path)[0]["devices"] == shown
    assert [one["device_info"] for one in batches(tmp_path)][-1] == {
        "push_token": "7",
        "os_version": "9",
    }
    members = [
        json.loads(
            done(tmp_path, "audiences", "preview", f"device.os_version = '{one}'", "--json")
        )["members"]
        for one in ("16", "17", "8", "9")
    ]
    assert members == [0, 1, 0, 1]


def test_the_attribution_of_an_alias_leaves(tmp_path: Path) -> None:
    written(
        tmp_path / "a.jsonl",
        [
            {"device_info": {"ios_idfv": IDFV}, "attribution_info": install("carried")},
            {"user_identities": {"customer_id": "new"}},
        ],
    )
    done(tmp_path, "import", "a.jsonl", "--feed", "f")
    mpid = {
        one["user_identities"].get("customer_id", [""])[0]: one["mpid"] for one in whole(tmp_path)
    }
    done(tmp_path, "alias", f"--from={mpid['']}", f"--to={mpid['new']}", "--now")
    (new,) = of(batches(tmp_path), "new")
    assert new["attribution_info"] == install("carried")


def test_without_mpids_each_batch_names_somebody(tmp_path: Path) -> None:
    consent = {"gdpr": {"m": {"consented": False, "timestamp_unixtime_ms": T0}}}
    rows = [
        {"mpid": 5, "device_info": {"os_version": "1"}, "consent_state": consent},
        {"mpid": 5, "device_info": {"ios_idfv": IDFV}, "timestamp_unixtime_ms": T0},
    ]
    written(tmp_path / "a.jsonl", rows)
    done(tmp_path, "import", "a.jsonl", "--feed", "f")
    found = batches(tmp_path, "--no-mpid")
    assert all(one.get("device_info", {}).get("ios_idfv") == IDFV for one in found)
    assert found[0]["consent_state"] == consent


def test_a_device_that_is_none_is_refused(tmp_path: Path) -> None:
    person = {
        "mpid": "5",
        "environment": "production",
        "workspace": "default",
        "user_identities": {"customer_id": ["C"]},
        "device_identities": {},
    }
    for device in ({"identities": {"ios_idfv": True}}, {"earlier": {"ios_idfv": [None]}}):
        written(tmp_path / "a.jsonl", [{**person, "devices": [device]}])
        found = call("import", "a.jsonl", "--feed", "f", "--json", "--again", folder=tmp_path)
        assert json.loads(found.stdout)["reasons"] == {"IDENTITY_INVALID": 1}


def test_the_order_of_devices_seen_at_the_same_time_leaves(tmp_path: Path) -> None:
    """CI's random life of 30 November 2026: the stamp of the phone came after the tablet's."""
    written(
        tmp_path / "a.jsonl",
        [
            {**D1, "timestamp_unixtime_ms": T0 + 5, "device_info": {"ios_idfv": IDFV.upper()}},
            {**D1, "timestamp_unixtime_ms": T0 + 9, "mp_deviceid": OTHER},
            {
                **D1,
                "timestamp_unixtime_ms": T0 + 9,
                "mp_deviceid": STAMP,
                "device_info": {"ios_idfv": IDFV},
            },
        ],
    )
    done(tmp_path, "import", "a.jsonl", "--feed", "f")
    before = whole(tmp_path)
    assert [device["identities"]["mp_deviceid"] for device in before[0]["devices"]] == [
        STAMP,
        OTHER,
    ]
    written(tmp_path / "b.jsonl", batches(tmp_path))
    done(tmp_path, "--store", "again.duckdb", "import", "b.jsonl", "--feed", "f")
    again = done(tmp_path, "--store", "again.duckdb", "export", "profiles", "--whole")
    assert [json.loads(line)["devices"] for line in again.splitlines()] == [before[0]["devices"]]
