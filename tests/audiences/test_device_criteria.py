"""Criteria of devices see a device of which a row has only the ids, in columns of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.doors import call
from support.effort import spread_now

from profilectl.audiences.one_person import person_of
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.criteria.text import criterion_of
from profilectl.rules.membership import holds
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside

IDFV, OTHER, STAMP = (f"0a0a0a0a-1111-2222-3333-44444444444{n}" for n in range(3))
# fmt: off
CASES = [
    # criteria                                                    who is in it
    ("device.ios_idfv exists",                                    "ABD"),
    (f"device.ios_idfv = '{IDFV.upper()}'",                       "AB"),
    ("device.platform = 'iOS'",                                   "B"),
    ("not device.ios_idfv exists",                                "CEF"),
    ("device.android_uuid exists",                                "E"),
    ("device.ios_idfv exists and not device.platform exists",     "AD"),
]
# fmt: on


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    (folder / "a.csv").write_text(
        f"customer_id,ios_idfv,android_uuid,mp_deviceid\nA,{IDFV},,\nC,,,\n"
        f"D,{OTHER},,{STAMP}\nE,,{OTHER},\nF,,,{STAMP}\n"
    )
    (folder / "b.jsonl").write_text(
        "\n".join(
            json.dumps(one)
            for one in (
                {"customer_id": "B", "ios_idfv": IDFV},
                {
                    "user_identities": {"customer_id": "B"},
                    "device_info": {"platform": "iOS", "ios_idfv": IDFV},
                },
                {
                    "user_identities": {"customer_id": "A"},
                    "consent_state": {
                        "gdpr": {"x": {"consented": True, "timestamp_unixtime_ms": 1}}
                    },
                },
            )
        )
        + "\n"
    )
    for name in ("a.csv", "b.jsonl"):
        assert call("import", name, "--feed", "app", folder=folder).exit_code == 0
    return folder


@pytest.mark.parametrize(("criteria", "people"), spread_now(CASES, 3))
def test_a_row_of_device_ids_alone_counts_as_that_device(
    folder: Path, criteria: str, people: str
) -> None:
    done = call("audiences", "preview", criteria, "--json", folder=folder)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    sample = sorted(one["user_identities"]["customer_id"][0] for one in found["sample"])
    assert (found["members"], "".join(sample)) == (len(people), people)
    with (
        scratch_beside(folder / "profiles.duckdb") as scratch,
        open_store(scratch, folder / "profiles.duckdb") as store,
    ):
        profiles = profiles_of(store)
        everybody = activities(
            profiles, [profile for one in "ABCDEF" for profile in profiles.find("customer_id", one)]
        )
    assert (
        "".join(
            sorted(
                one.values("customer_id")[0]
                for one in everybody
                if holds(criterion_of(criteria), person_of(one, {}), 0)
            )
        )
        == people
    )
