"""Whom a store holds, under the first identity of each."""

from __future__ import annotations

import json
from pathlib import Path

from support.doors import run_here


def people(folder: Path) -> dict[str, dict[str, object]]:
    lines = run_here("export", "profiles", folder=folder).stdout.splitlines()
    return {
        str(next(iter(one["user_identities"].values()), ["nobody"])[0]): one["user_attributes"]
        for one in map(json.loads, lines)
    }
