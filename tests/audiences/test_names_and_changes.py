"""How names of audiences compare, and in which order changes are told."""

from __future__ import annotations

import json
from pathlib import Path

from support.doors import run_here

from profilectl.audiences.actions import changes_of
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside

SEE_CHANGE = """
insert into store.membership_change
select number, $profile, $change, $at, null, null from store.audience
"""


def _members(folder: Path, audience: str) -> list[str]:
    members = run_here("audiences", "members", audience, "--json", folder=folder).stdout
    return [json.loads(line)["identities"]["customer_id"][0] for line in members.splitlines()]


def test_changes_come_as_they_were_seen_whatever_their_times(tmp_path: Path) -> None:
    assert run_here("audiences", "add", "gold", "tier = 'tin'", folder=tmp_path).returncode == 0
    path = tmp_path / "profiles.duckdb"
    seen = [(2, "entered", 50), (0, "entered", 90), (2, "left", 10), (1, "entered", 70)]
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True) as store,
        store.transaction(),
    ):
        for profile, change, at_ms in [(0, "left", 1), *seen]:
            scratch.run(SEE_CHANGE, {"profile": profile, "change": change, "at": at_ms})
        # what is taken out does not change the order of the others
        scratch.run("delete from store.membership_change where at_ms = 1")
    changes = changes_of(path, "gold")
    assert [(each["change"], each["at_ms"]) for each in changes] == [
        (change, at_ms) for _, change, at_ms in seen
    ]


def test_names_of_audiences_compare_in_one_way(tmp_path: Path) -> None:
    # lower() makes the last letter of a Greek word another one; names compare letter by letter
    (tmp_path / "a.csv").write_text("customer_id,tier\nA,gold\n")
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 0
    for words in (
        ("audiences", "add", "ΟΔΟΣ", "tier = 'tin'"),
        ("audiences", "add", "both", "tier exists and audience 'οδοσ'"),
    ):
        assert run_here(*words, folder=tmp_path).returncode == 0
    assert _members(tmp_path, "both") == []
    words = ("audiences", "add", "ΟΔΟΣ", "tier = 'gold'", "--replace")
    assert run_here(*words, folder=tmp_path).returncode == 0
    assert (_members(tmp_path, "ΟΔΟΣ"), _members(tmp_path, "both")) == (["A"], ["A"])
