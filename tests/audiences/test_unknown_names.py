"""A name in criteria or in a definition that nobody has is told, with the nearest: it is no mistake
in itself.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from support.doors import made_once, run_here
from support.effort import spread_now

PREVIEW = "audiences preview"
SAID = {
    # command                                                       what is said
    f"{PREVIEW} \"teir = 'gold'\"": "nobody has ever had an attribute teir; the nearest: tier\n",
    f'{PREVIEW} "zzz exists"': "nobody has ever had an attribute zzz\n",
    f"{PREVIEW} \"user_attributes.tier = 'gold'\"": "",
    f"{PREVIEW} \"tier = 'gold' and email exists and first_seen within 40 days\"": "",
    f"{PREVIEW} \"count(event 'boght') > 1\"": "there was never an event boght; the nearest: Bought\n",
    f"{PREVIEW} \"count(event 'bought') > 1\"": "",
    "audiences add slip \"count(event 'boght') > 1\"": "there was never an event boght; the nearest: Bought\n",
    "calculated preview n --type count --event boght": "there was never an event boght; the nearest: Bought\n",
    "calculated add n --type count --event bought": "",
    "calculated add m --type count --event boght": "there was never an event boght; the nearest: Bought\n",
    f"--quiet {PREVIEW} \"teir = 'gold'\"": "",
}


@made_once
def store(folder: Path) -> None:
    data = {"event_name": "Bought", "custom_event_type": "other"}
    batch = {
        "user_identities": {"customer_id": "A"}, "user_attributes": {"tier": "gold"},
        "events": [{"event_type": "custom_event", "data": data}],
    }  # fmt: skip
    (folder / "a.jsonl").write_text(json.dumps(batch) + "\n")
    assert run_here("import", "a.jsonl", "--feed", "crm", folder=folder).returncode == 0


@pytest.mark.parametrize("command", spread_now(SAID, 3))
def test_it_is_told(command: str, tmp_path: Path) -> None:
    done = run_here(*shlex.split(command), folder=store(tmp_path))
    assert (done.returncode, done.stderr) == (0, SAID[command])


def test_a_store_without_anybody_knows_no_names(tmp_path: Path) -> None:
    done = run_here("audiences", "add", "gold", "tier = 'gold'", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
