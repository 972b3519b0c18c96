"""A store with people who may opt out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.doors import call, made_once

import profilectl.audiences.refresh

DAY_MS = 86_400_000
NOW_MS = time.time_ns() // 1_000_000
# fmt: off
AUDIENCES = {
    # name               kind         criteria                                             workspace
    "rt":              ("real-time", "tier = 'gold'",                                      "main"),
    "std":             ("standard",  "tier = 'gold'",                                      "main"),
    "rt of std":       ("real-time", "audience 'std'",                                     "main"),
    "std of rt":       ("standard",  "audience 'rt'",                                      "main"),
    "side rt":         ("real-time", "email exists",                                       "side"),
    "side std":        ("standard",  "email exists",                                       "side"),
    "c rt":            ("real-time", "consent gdpr.marketing is granted",                  "main"),
    "c std":           ("standard",  "tier = 'gold' and consent gdpr.marketing is granted", "main"),
    "c rt of std":     ("real-time", "audience 'c std'",                                   "main"),
    "c std of rt":     ("standard",  "audience 'c rt'",                                    "main"),
    "c not denied":    ("standard",  "not consent gdpr.marketing is denied",               "main"),
    "c side of std":   ("standard",  "audience 'c std'",                                   "side"),
    "c or":            ("standard",  "consent gdpr.marketing is granted or tier = 'none'", "main"),
    "c or of or":      ("standard",  "audience 'c or' and email exists",                   "main"),
}


def batch(person: str, **fields: Any) -> dict[str, Any]:
    return {"user_identities": {"customer_id": person, "email": f"{person}@example.org"}, **fields}


def consent(consented: bool, at_ms: int, regulation: str = "gdpr", purpose: str = "marketing") -> dict[str, Any]:
    return {"consent_state": {regulation: {purpose: {"consented": consented, "timestamp_unixtime_ms": at_ms}}}}


def opt_out(out: bool = True, at_ms: int = NOW_MS) -> dict[str, Any]:
    return {"events": [{"event_type": "opt_out", "data": {"is_opted_out": out, "timestamp_unixtime_ms": at_ms}}]}


OUT, NO_CONSENT = batch("ann", **opt_out()), batch("ann", **consent(False, 20))


def took(folder: Path, feed: str, *batches: dict[str, Any], options: tuple[str, ...] = ()) -> dict[str, Any]:
    """Import batches and return the report."""
    name = f"{feed}-{abs(hash(json.dumps(batches)))}.jsonl"
    (folder / name).write_text("".join(json.dumps(one) + "\n" for one in batches))
    done = call("import", name, "--feed", feed, "--json", *options, folder=folder)
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def ok(folder: Path, *arguments: str) -> str:
    done = call(*arguments, folder=folder)
    assert done.exit_code == 0, done.output
    return done.stdout


@made_once
def store(folder: Path) -> None:
    """Ann and Bob, in every audience of two workspaces."""
    config = '[feeds.app]\nsource = "sdk"\nworkspace = "main"\n[feeds.shop]\nsource = "sdk"\nworkspace = "side"\n'
    for name, (kind, criteria, workspace) in AUDIENCES.items():
        config += f"[audiences.{json.dumps(name)}]\nkind = {json.dumps(kind)}\ncriteria = {json.dumps(criteria)}\nworkspace = {json.dumps(workspace)}\n"
    (folder / "c.toml").write_text(config)
    ok(folder, "config", "apply", "c.toml")
    people = [batch(one, user_attributes={"tier": "gold"}, timestamp_unixtime_ms=NOW_MS - DAY_MS, **consent(True, 10)) for one in ("ann", "bob")]
    took(folder, "app", *people)
    took(folder, "shop", *people)
    ok(folder, "audiences", "refresh")


def killed(folder: Path, feed: str, *batches: dict[str, Any]) -> dict[str, Any]:
    """Import batches; what brings audiences up to date afterwards does not come to it."""
    def die(*_: Any, **__: Any) -> None:
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profilectl.audiences.refresh, "refresh_store", die)
        with pytest.warns(UserWarning, match="could not be brought up to date"):
            return took(folder, feed, *batches)
