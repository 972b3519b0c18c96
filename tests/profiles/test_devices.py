"""What is said of a device stays with what names it, whatever form the rows have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.doors import run_here
from support.effort import spread_now

STAMP, VENDOR = "0b0b0b0b-1111-2222-3333-444444444444", "0a0a0a0a-1111-2222-3333-444444444444"
COLUMNS = (
    "customer_id",
    "mp_deviceid",
    "device_info.ios_idfv",
    "device_info.platform",
    "device_info.os_version",
)


def rows(form: str, system: str) -> str:
    """Return one row of the same meaning in a form."""
    cells = ("A", STAMP, VENDOR, "iOS", system)
    if form == "csv":
        return ",".join(COLUMNS) + "\n" + ",".join(cells) + "\n"
    if form == "flat":
        return json.dumps(dict(zip(COLUMNS, cells, strict=True))) + "\n"
    return (
        json.dumps(
            {
                "user_identities": {"customer_id": "A"},
                "mp_deviceid": STAMP,
                "device_info": {"ios_idfv": VENDOR, "platform": "iOS", "os_version": system},
            }
        )
        + "\n"
    )


def devices(folder: Path) -> list[dict[str, Any]]:
    process = run_here("show", "A", "--json", "--section", "devices", folder=folder)
    shown: list[dict[str, Any]] = json.loads(process.stdout)["profiles"][0]["devices"]
    return shown


@pytest.mark.parametrize("form", spread_now(["csv", "flat", "batch"], 3))
def test_a_device_that_comes_again_is_the_same_device(form: str, tmp_path: Path) -> None:
    for number, system in enumerate(("17", "18")):
        name = f"{number}.{'csv' if form == 'csv' else 'jsonl'}"
        (tmp_path / name).write_text(rows(form, system))
        process = run_here("import", name, "--feed", "f", folder=tmp_path)
        assert process.returncode == 0, process.stderr
    shown = devices(tmp_path)
    assert len(shown) == 1
    assert shown[0]["identities"] == {"mp_deviceid": STAMP, "ios_idfv": VENDOR}
    assert shown[0]["info"] == {"platform": "iOS", "os_version": "18"}
    assert shown[0]["first_seen_ms"] < shown[0]["last_seen_ms"]


def test_two_stamps_are_two_devices(tmp_path: Path) -> None:
    tablet = STAMP.replace("b", "c")
    (tmp_path / "a.jsonl").write_text(
        rows("batch", "17")
        + json.dumps(
            {
                "user_identities": {"customer_id": "A"},
                "mp_deviceid": tablet,
                "device_info": {"platform": "iOS", "os_version": "18"},
            }
        )
        + "\n"
    )
    run_here("import", "a.jsonl", "--feed", "f", folder=tmp_path)
    # Both were seen last at the time of the import: the batch that arrived later comes first.
    assert [device["identities"]["mp_deviceid"] for device in devices(tmp_path)] == [tablet, STAMP]
    both = run_here(
        "audiences",
        "preview",
        "device.os_version = '17' and device.os_version = '18'",
        "--json",
        folder=tmp_path,
    )
    assert json.loads(both.stdout)["members"] == 1, both.stderr


def test_a_row_that_says_nothing_of_its_device_keeps_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        f"customer_id,device_info.ios_idfv,device_info.platform\nA,{VENDOR},\n"
    )
    run_here("import", "a.csv", "--feed", "f", folder=tmp_path)
    process = run_here("show", "A", "--json", "--section", "timeline", folder=tmp_path)
    assert json.loads(process.stdout)["profiles"][0]["timeline"][0]["rest"] == {}


def test_of_devices_seen_last_at_the_same_time_the_later_batch_counts(tmp_path: Path) -> None:
    """The phone came first and was seen again after the tablet, in the same millisecond."""
    phone, tablet = STAMP, STAMP.replace("b", "c")
    (tmp_path / "a.jsonl").write_text(
        "".join(
            json.dumps(
                {
                    "user_identities": {"customer_id": "A"},
                    "mp_deviceid": stamp,
                    "timestamp_unixtime_ms": at_ms,
                    "device_info": {"limit_ad_tracking": is_limited},
                }
            )
            + "\n"
            for stamp, at_ms, is_limited in (
                (phone, 1_700_000_000_005, False),
                (tablet, 1_700_000_000_009, False),
                (phone, 1_700_000_000_009, True),
                (tablet, 1_700_000_000_001, False),  # arrives last, but tells of an earlier time
            )
        )
    )
    run_here("import", "a.jsonl", "--feed", "f", folder=tmp_path)
    assert [device["identities"]["mp_deviceid"] for device in devices(tmp_path)] == [phone, tablet]
    exported = run_here("export", "profiles", "--whole", folder=tmp_path)
    person = json.loads(exported.stdout)
    stamps = [device["identities"]["mp_deviceid"] for device in person["devices"]]
    assert (stamps, person["limit_ad_tracking"]) == ([phone, tablet], True)
