"""The cases of conformance, as they are read."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support import places

CASES = [
    pytest.param(case, id=case["id"])
    for path in sorted((places.CASES / "conformance").glob("*.json"))
    if not path.name.endswith("schema.json")
    for case in json.loads(path.read_text(encoding="utf-8"))["cases"]
]


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
