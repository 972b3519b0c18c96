"""Every conformance case through every door: the interpreter, and the command line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from support.conformance import CASES, expanded
from support.doors import by_command_line, by_interpreter

DOORS = {"interpreter": by_interpreter, "command line": by_command_line}
# A case takes the command line a hundred times as long as the interpreter: three of four go through
# it with the slow tests.
RUNS = [
    pytest.param(
        case.values[0],
        door,
        id=f"{case.id}-{door}",
        marks=[pytest.mark.slow] if door == "command line" and place % 4 else [],
    )
    for place, case in enumerate(CASES)
    for door in DOORS
]


def test_there_are_cases_and_each_says_why() -> None:
    found = [case.values[0] for case in CASES]
    assert len(found) > 100
    assert len({case["id"] for case in found}) == len(found)
    assert all(case["why"].strip() and case["source"].strip() for case in found)


@pytest.mark.parametrize(("case", "door"), RUNS)
def test_case(case: dict[str, Any], door: str, tmp_path: Path) -> None:
    case = expanded(copy.deepcopy(case))
    profiles, reports = DOORS[door](case, tmp_path)
    for number, expected in enumerate(case["then"].get("reports", [])):
        for part, values in expected.items():
            got = reports[number][part]
            for name, value in values.items():
                assert got.get(name, 0) == value, (
                    f"{part} {name} of import {number + 1}: {case['why']}"
                )
    expected_profiles = [wanted(profile) for profile in case["then"]["profiles"]]
    got_profiles = [reduced(profile, like) for profile, like in paired(profiles, expected_profiles)]
    assert sorted(got_profiles, key=repr) == sorted(expected_profiles, key=repr), case["why"]


def wanted(profile: dict[str, Any]) -> dict[str, Any]:
    """Return an expected profile with what may be left out."""
    found = {
        "environment": "production",
        "workspace": "default",
        "device_identities": {},
        "user_identities": {},
        "user_attributes": {},
        **profile,
    }
    found["user_attributes"] = {
        key: as_text(value) for key, value in sorted(found["user_attributes"].items())
    }
    found["user_identities"] = dict(sorted(found["user_identities"].items()))
    found["device_identities"] = dict(sorted(found["device_identities"].items()))
    return dict(sorted(found.items()))


def as_text(value: Any) -> str:
    """Return the exact JSON text of an expected value."""
    if isinstance(value, dict) and set(value) == {"$number"}:
        return str(value["$number"])
    if isinstance(value, list):
        return "[" + ",".join(map(as_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def paired(
    profiles: list[dict[str, Any]], expected: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pair each profile with the expected one that it most looks like, to know which keys are
    compared.
    """
    keys = {key for like in expected for key in like}
    pairs = []
    for profile in profiles:
        same = [like for like in expected if reduced(profile, like) == like]
        pairs.append(
            (
                profile,
                same[0]
                if same
                else dict.fromkeys(
                    keys
                    & {
                        "environment",
                        "workspace",
                        "user_identities",
                        "device_identities",
                        "user_attributes",
                    }
                ),
            )
        )
    return pairs


def reduced(profile: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    found = {key: profile[key] for key in like if key != "feeds"}
    if "feeds" in like:
        found["feeds"] = {key: profile["feeds"].get(key) for key in like["feeds"]}
    return dict(sorted(found.items()))
