"""CSV files written and imported."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from support.doors import run_here


def take(
    folder: Path, content: str | bytes, *options: str, name: str = "a.csv"
) -> subprocess.CompletedProcess[str]:
    """Import a file of that content."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = run_here("import", name, "--feed", "f", *options, folder=folder)
    assert "Traceback" not in done.stderr
    assert "a fault in profilectl" not in done.stderr, done.stderr
    return done


def people(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the attributes of each customer, and the other identities under their types."""
    found = {}
    for line in run_here("export", "profiles", folder=folder).stdout.splitlines():
        profile = json.loads(line)
        identities = {kind: values[0] for kind, values in profile["user_identities"].items()}
        name = identities.pop("customer_id", "")
        found[name] = {**profile["user_attributes"], **identities}
    return found


def rejects(folder: Path, name: str = "a.csv") -> list[tuple[int, str]]:
    path = folder / f"{name}.rejects.jsonl"
    return [(one["line"], one["code"]) for one in map(json.loads, path.read_text().splitlines())]
