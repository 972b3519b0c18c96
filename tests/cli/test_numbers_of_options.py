"""A number that no machine word holds, or that is none, is wrong usage and no fault of ours."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from support.doors import made_once, run_here
from support.effort import spread_now

HUGE = "9" * 20
COMMANDS = {
    f"events --limit {HUGE}": "--limit", f"search A --limit {HUGE}": "--limit",
    f"stream --limit {HUGE}": "--limit", f"diff 1 --limit {HUGE}": "--limit",
    f"show A --batches {HUGE}": "--batches", f"show A --pick {HUGE}": "--pick",
    f"audiences members gold --limit {HUGE}": "--limit", f"outbox list --limit {HUGE}": "--limit",
    f"forward --limit {HUGE}": "--limit", f"forward --lanes {HUGE}": "--lanes",
    f"export profiles --since {HUGE}": "--since",
    f"push --host us1 --import {HUGE} --estimate": "--import",
    f"export profiles --max-rows-per-file {HUGE} -o out": "--max-rows-per-file",
    f"import a.jsonl --feed crm --again --max-shared {HUGE}": "--max-shared",
    f"import a.jsonl --feed crm --again --skip-lines {HUGE}": "--skip-lines",
    f"uid2 run --dry-run --older-than {HUGE}": "--older-than",
    f"push --host us1 --parallel {HUGE} --estimate": "--parallel",
    "push --host us1 --rate inf --estimate": "--rate", "forward --timeout inf": "--timeout",
    "forward --pause inf": "--pause", "push --host us1 --timeout inf --estimate": "--timeout",
}  # fmt: skip


@made_once
def store(folder: Path) -> None:
    (folder / "a.jsonl").write_text(json.dumps({"user_identities": {"customer_id": "A"}}) + "\n")
    (folder / "c.toml").write_text('[audiences.gold]\ncriteria = "customer_id exists"\n')
    for command in ("config apply c.toml", "import a.jsonl --feed crm"):
        assert run_here(*command.split(), folder=folder).returncode == 0


@pytest.mark.parametrize("command", spread_now(COMMANDS, 3))
def test_it_is_wrong_usage(command: str, tmp_path: Path) -> None:
    done = run_here(*shlex.split(command), folder=store(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert COMMANDS[command] in done.stderr


def test_who_waits_may_wait_for_ever(tmp_path: Path) -> None:
    assert run_here("feeds", "list", "--wait", "inf", folder=store(tmp_path)).returncode == 0
