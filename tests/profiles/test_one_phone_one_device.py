"""One phone is one device, whichever of its identities a batch names."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from support.audience_people import NOW_MS, by_engine
from support.doors import run_here
from support.effort import at_length

from profilectl.audiences.sql.membership_sql import AudienceToEvaluate
from profilectl.rules.criteria.text import criterion_of
from profilectl.rules.device import DEVICE_KEYS, Id, device_ids, devices_of
from profilectl.rules.membership import OtherFields, PersonFacts, devices
from profilectl.rules.sql.devices import devices_named
from profilectl.store.scratch import connect

VENDOR, ADVERTISING = "0a0a0a0a-1111-2222-3333-444444444444", "0b0b0b0b-1111-2222-3333-444444444444"
STAMP = "0c0c0c0c-1111-2222-3333-444444444444"
NOBODY = "00000000-0000-0000-0000-000000000000"
KINDS = {
    "S": "mp_deviceid",
    "V": "ios_idfv",
    "A": "ios_advertising_id",
    "T": "push_token",
    "R": "roku_publisher_id",
}
DATABASE = connect()


def ids(text: str) -> list[Id]:
    """Return what a batch states: "V1 A1" is a vendor id and an advertising id."""
    found = [(KINDS[word[0]], word.lower()) for word in text.split()]
    return sorted(found, key=lambda one: (DEVICE_KEYS.index(one[0]), one[1]))


# fmt: off
CASES = [
    # batches, in the order of arrival                  devices, by number    why
    (["V1", "V1 A1", "A1"],                             [0, 0, 0],            "they share ids"),
    (["V1", "A1", "V1 A1"],                             [0, 0, 0],            "the order does not matter"),
    (["V1", "A1", "R1 A1", "V1 R1"],                    [0, 0, 0, 0],         "by way of a third"),
    (["V1", "A1"],                                      [0, 1],               "they share nothing"),
    (["S1 V1", "V1 A1", "A1"],                          [0, 0, 0],            "of the device of the stamp, be it by way of a second"),
    (["A1", "V1 A1", "S1 V1"],                          [0, 0, 0],            "a stamp that comes late is of the same device"),
    (["S1 A1", "S2 A1"],                                [0, 1],               "two stamps are never one device"),
    (["S1 A1", "S2 A1", "A1"],                          [0, 1, 1],            "an id of two stamps: the last"),
    (["A1", "S2 A1", "S1 A1"],                          [0, 1, 0],            "... in the order of arrival"),
    (["S1 V1 A1", "S2 V2 A1", "V1 A1", "V1", "V2"],     [0, 1, 0, 0, 1],      "an id of one stamp counts before one of two"),
    (["S1 V1", "S2 V2", "V1 R1", "V2 R1", "R1"],        [0, 1, 0, 1, 1],      "ids that two devices say: of the last one"),
    (["S1 V1", "S2 V2", "V1 V2"],                       [0, 1, 1],            "ids of two stamps: the last stated"),
    (["V1 T1", "A1 T1"],                                [0, 1],               "a token joins nobody"),
    (["S1 T1", "V1 T1"],                                [0, 1],               "... not even to a stamp"),
    (["V1 T1", "T1", "T2"],                             [0, 0, 1],            "a token alone is of the device that stated it"),
    (["T1", "V1 T1", "A1 T1", "T1"],                    [0, 1, 0, 0],         "... of the one that stated it last"),
    (["T1", "T1"],                                      [0, 0],               "a token names a device where nothing else does"),
    (["", "V1", ""],                                    [0, 1, 0],            "what states nothing is of one device"),
    (["S1", "S1 V1", "V1"],                             [0, 0, 0],            "a stamp alone"),
]
# fmt: on


def numbered(names: list[Any]) -> list[int]:
    """Return devices as numbers, in the order in which they appear."""
    order = {name: number for number, name in reversed([*enumerate(names)])}
    places = sorted(order.values())
    return [places.index(order[name]) for name in names]


def by_sql(batches: list[list[Id]]) -> list[Id]:
    rows = [
        f"(7, {arrival}, '{kind}:{text}')"
        for arrival, some in enumerate(batches)
        for kind, text in some
    ]
    # A second profile says the same of the ids: nobody's devices are another's.
    rows += [
        f"(8, {arrival + 100}, '{kind}:{text}')"
        for arrival, some in enumerate(batches)
        for kind, text in reversed(some)
    ]
    DATABASE.execute("create or replace temp table id (profile bigint, arrival bigint, id varchar)")
    if rows:
        DATABASE.execute(f"insert into id values {', '.join(rows)}")
    found = DATABASE.execute(f"select * from ({devices_named('id')})").fetchall()
    assert len(found) == len({(profile, arrival) for profile, arrival, _ in found}), (
        "each batch once"
    )
    named = {arrival: tuple(key.split(":", 1)) for profile, arrival, key in found if profile == 7}
    other = {
        arrival - 100: tuple(key.split(":", 1)) for profile, arrival, key in found if profile == 8
    }
    assert named == other
    return [named.get(arrival, ("", "")) for arrival in range(len(batches))]  # type: ignore[misc]


@pytest.mark.parametrize(("batches", "expected", "why"), CASES, ids=[case[2] for case in CASES])
def test_the_rule(batches: list[str], expected: list[int], why: str) -> None:
    told = [ids(one) for one in batches]
    assert numbered(devices_of(told)) == expected
    assert by_sql(told) == devices_of(told)


words = st.sampled_from([letter + number for letter in KINDS for number in "123"])
histories = st.lists(st.lists(words, max_size=3).map(lambda some: ids(" ".join(some))), max_size=9)


def check_rule(batches: list[list[Id]]) -> None:
    batches = [
        [one for place, one in enumerate(some) if one[0] != "mp_deviceid" or place == 0]
        for some in batches
    ]  # one stamp each
    batches = [list(dict.fromkeys(some)) for some in batches]
    note(batches)
    names = devices_of(batches)
    assert by_sql(batches) == names
    strong = [
        {one for one in some if one[0] not in ("mp_deviceid", "push_token")} for some in batches
    ]
    stamps = [some[0] if some and some[0][0] == "mp_deviceid" else None for some in batches]
    for one, other in itertools.combinations(range(len(batches)), 2):
        if stamps[one] and stamps[other]:
            assert (names[one] == names[other]) is (stamps[one] == stamps[other])
        elif len({*filter(None, stamps)}) < 2 and strong[one] & strong[other]:
            assert names[one] == names[other]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(histories)
def test_everybody_at_once_is_told_what_each_is_told(batches: list[list[Id]]) -> None:
    check_rule(batches)


@pytest.mark.slow
@settings(max_examples=at_length(300, by_night=5_000), deadline=None, database=None)
@given(histories)
def test_everybody_at_once_is_told_what_each_is_told_at_length(batches: list[list[Id]]) -> None:
    check_rule(batches)


@pytest.mark.slow
def test_many_batches_of_one_device_take_no_square() -> None:
    """One advertising id of thousands of installs: a quadratic join would be 10^8 rows."""
    told = [ids(f"V{number} A1") for number in range(10_000)]
    assert set(devices_of(told)) == {("ios_idfv", "v0")}
    assert set(by_sql(told)) == {("ios_idfv", "v0")}


DOCUMENTS = st.fixed_dictionaries(
    {
        "device_info": st.fixed_dictionaries(
            {},
            optional={
                "ios_idfv": st.sampled_from([VENDOR, VENDOR.upper(), NOBODY]),
                "ios_vendor_id": st.sampled_from([VENDOR, STAMP]),
                "ios_advertising_id": st.sampled_from([ADVERTISING, NOBODY]),
                "push_token": st.sampled_from(["tök\\en", "TÖK\\EN"]),
                "platform": st.sampled_from(["a", "b"]),
            },
        )
    },
    optional={"mp_deviceid": st.sampled_from([STAMP, STAMP.upper(), VENDOR])},
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.lists(DOCUMENTS, max_size=5), min_size=1, max_size=4))
def test_audiences_over_devices_agree(told: list[list[Any]]) -> None:
    people = [
        PersonFacts(rest=[OtherFields(arrival, 0, one) for arrival, one in enumerate(documents)])
        for documents in told
    ]
    found = by_engine(
        [AudienceToEvaluate(one, criterion_of(f"device.platform = '{one}'")) for one in "ab"],
        people,
        NOW_MS,
    )
    assert found == {
        (one, place)
        for place, person in enumerate(people)
        for one in "ab"
        if any(device.get("platform") == one for device in devices(person.rest))
    }


def test_what_a_phone_says_that_may_not_be_tracked_names_no_device() -> None:
    assert device_ids(
        {"device_info": {"ios_advertising_id": NOBODY, "ios_idfv": VENDOR.upper()}}
    ) == [("ios_idfv", VENDOR)]


def phone(name: str, at_ms: int, platform: str, **more: Any) -> str:
    """Return a batch of A that names its phone by "V", "VA" or "A"."""
    named = {
        key: value
        for letter, key, value in (
            ("V", "ios_idfv", VENDOR),
            ("A", "ios_advertising_id", ADVERTISING),
        )
        if letter in name
    }
    return (
        json.dumps(
            {
                "user_identities": {"customer_id": "A"},
                "timestamp_unixtime_ms": at_ms,
                "device_info": {**named, "os_version": platform},
                **more,
            }
        )
        + "\n"
    )


def devices_shown(folder: Path) -> list[dict[str, Any]]:
    """Return the devices that the view of one person has, and see to it that the export of
    everybody has the same.
    """
    (shown,) = json.loads(
        run_here("show", "A", "--json", "--section", "devices", folder=folder).stdout
    )["profiles"]
    (exported,) = map(
        json.loads, run_here("export", "profiles", "--whole", folder=folder).stdout.splitlines()
    )
    assert exported["devices"] == shown["devices"]
    found: list[dict[str, Any]] = shown["devices"]
    return found


def test_a_phone_that_is_named_three_ways_is_one_device(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        phone("V", 5, "16") + phone("VA", 6, "17") + phone("A", 7, "18")
    )
    assert run_here("import", "a.jsonl", "--feed", "f", folder=tmp_path).returncode == 0
    assert devices_shown(tmp_path) == [
        {
            "identities": {"ios_idfv": VENDOR, "ios_advertising_id": ADVERTISING},
            "first_seen_ms": 5,
            "last_seen_ms": 7,
            "info": {"os_version": "18"},
        }
    ]
    preview = [
        json.loads(
            run_here(
                "audiences", "preview", f"device.os_version = '{one}'", "--json", folder=tmp_path
            ).stdout
        )["members"]
        for one in ("16", "17", "18")
    ]
    assert preview == [0, 0, 1]


def test_a_phone_whose_stamp_comes_last_is_shown_with_it(tmp_path: Path) -> None:
    for number, row in enumerate(
        (phone("A", 5, "16"), phone("VA", 6, "17"), phone("V", 7, "18", mp_deviceid=STAMP))
    ):
        (tmp_path / f"{number}.jsonl").write_text(row)
        assert run_here("import", f"{number}.jsonl", "--feed", "f", folder=tmp_path).returncode == 0
    (device,) = devices_shown(tmp_path)
    assert device["identities"] == {
        "ios_advertising_id": ADVERTISING,
        "ios_idfv": VENDOR,
        "mp_deviceid": STAMP,
    }
    assert (device["first_seen_ms"], device["last_seen_ms"]) == (5, 7)


def test_each_workspace_tells_devices_apart_by_what_it_has_seen(tmp_path: Path) -> None:
    """What joins two names of a phone in one workspace says nothing in another."""
    rows = {"one": phone("V", 5, "16") + phone("A", 6, "17"), "two": phone("VA", 7, "18")}
    (tmp_path / "c.toml").write_text(
        "".join(
            (
                f'[feeds.{one}]\nsource = "sdk"\nprotection = "create-and-update"\nworkspace ='
                f' "{one}"\n'
            )
            for one in rows
        )
    )
    assert run_here("config", "apply", "c.toml", folder=tmp_path).returncode == 0
    for workspace, text in rows.items():
        (tmp_path / f"{workspace}.jsonl").write_text(text)
        assert (
            run_here(
                "import", f"{workspace}.jsonl", "--feed", workspace, folder=tmp_path
            ).returncode
            == 0
        )
    for workspace, number in (("one", 2), ("two", 1)):
        (shown,) = json.loads(
            run_here(
                "--workspace",
                workspace,
                "show",
                "A",
                "--json",
                "--section",
                "devices",
                folder=tmp_path,
            ).stdout
        )["profiles"]
        (exported,) = map(
            json.loads,
            run_here(
                "--workspace", workspace, "export", "profiles", "--whole", folder=tmp_path
            ).stdout.splitlines(),
        )
        assert len(shown["devices"]) == number
        assert exported["devices"] == shown["devices"]
