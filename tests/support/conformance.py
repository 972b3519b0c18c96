"""The cases of conformance, as they are read, and what holds of each."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.doors import by_command_line, by_interpreter

CASES = [
    pytest.param(case, id=case["id"])
    for path in sorted((places.CASES / "conformance").glob("*.json"))
    if not path.name.endswith("schema.json")
    for case in json.loads(path.read_text(encoding="utf-8"))["cases"]
]

FILES = {
    "stage": ("06-limits", "07-batch-fields", "08-files", "11-exports", "12-json", "13-checks"),
    "sift": ("04-protection", "09-events", "11-nobody"),
    "resolve": ("01-identity", "02-strategies", "10-workspaces", "14-made-known"),
    "merge": ("03-priority", "05-values"),
}
"""The files of cases that are about each step of an import."""
GROUPS = {
    case["id"]: path.stem
    for path in sorted((places.CASES / "conformance").glob("*.json"))
    if not path.name.endswith("schema.json")
    for case in json.loads(path.read_text(encoding="utf-8"))["cases"]
}
"""The file that each case stands in."""


def expanded(value: Any) -> Any:
    """Write out $REPEAT, $LIST and $attributes."""
    if isinstance(value, str):
        listed = re.fullmatch(r"\$LIST\((.*),(\d+)\)", value, re.DOTALL)
        if listed:
            return [expanded(listed[1])] * int(listed[2])
        return re.sub(r"\$REPEAT\(([^,()]+),(\d+)\)", lambda found: found[1] * int(found[2]), value)
    if isinstance(value, list):
        return [expanded(entry) for entry in value]
    if isinstance(value, dict):
        if set(value) == {"$attributes"}:
            return {f"k{number}": "v" for number in range(1, value["$attributes"] + 1)}
        return {expanded(key): expanded(member) for key, member in value.items()}
    return value


def cases_of(step: str) -> list[Any]:
    """Return the cases of a step for the command line, each tenth in the default run.

    The command line takes a hundred times as long as the interpreter, which goes through all of
    them each time.
    """
    cases = [case for case in CASES if GROUPS[case.id] in FILES[step]]
    return [
        pytest.param(case.values[0], id=case.id, marks=[pytest.mark.slow] if place % 10 else [])
        for place, case in enumerate(cases)
    ]


def check_with_interpreter(case: dict[str, Any], folder: Path) -> None:
    check(case, *by_interpreter(expanded(copy.deepcopy(case)), folder))


def check_with_command_line(case: dict[str, Any], folder: Path) -> None:
    check(case, *by_command_line(expanded(copy.deepcopy(case)), folder))


def check(
    case: dict[str, Any], profiles: list[dict[str, Any]], reports: list[dict[str, Any]]
) -> None:
    """Hold what came of a case against what it says."""
    case = expanded(copy.deepcopy(case))
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
