"""A store with two workspaces and an account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.doors import run_here

CONFIGURATION = """
[feeds.app]
source = "sdk"
workspace = "web"
[feeds.cards]
source = "custom-feed"
workspace = "shop"
[feeds.office]
source = "account"
[calculated.views]
type = "count"
event = "view"
workspace = "web"
[calculated.buys]
type = "count"
event = "buy"
workspace = "shop"
[audiences.viewers]
criteria = "views >= 1"
workspace = "web"
[audiences.buyers]
criteria = "buys >= 1 or tier = 'gold'"
workspace = "shop"
"""


def event(name: str) -> dict[str, Any]:
    return {
        "event_type": "custom_event",
        "data": {"event_name": name, "custom_event_type": "other"},
    }


def batch(customer: str, *events: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"user_identities": {"customer_id": customer}, "events": list(events), **more}


def bring(folder: Path, feed: str, *batches: dict[str, Any]) -> dict[str, Any]:
    file = folder / f"{feed}.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in batches))
    done = run_here("import", file.name, "--feed", feed, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def shown(folder: Path, workspace: str, *more: str) -> dict[str, Any]:
    done = run_here("--workspace", workspace, "show", "A", "--json", *more, folder=folder)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["profiles"][0]
    return found
