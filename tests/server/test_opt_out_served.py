"""An opt-out that is sent to `serve`, and the server's own lists of members."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.doors import run
from support.opted_out import killed
from support.serving import Server, served

OWN = "/profilectl/v1/1/1/1"
NOW_MS = time.time_ns() // 1_000_000
OUT = {
    "events": [
        {"event_type": "opt_out", "data": {"is_opted_out": True, "timestamp_unixtime_ms": NOW_MS}}
    ]
}


def ok(folder: Path, *arguments: str) -> str:
    done = run(*arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def member_counts(server: Server) -> dict[str, tuple[int, int]]:
    """Return for each audience how many are in it by the list, and by its pages of one member each."""
    headers, found = server.bearer(), {}
    for one in server.http.get(f"{OWN}/audiences", headers=headers).json()["audiences"]:
        members, after = 0, ""
        while after is not None:
            page: dict[str, Any] = server.http.get(
                f"{OWN}/audiences/{one['audience_id']}/members",
                params={"limit": 1, "after": after},
                headers=headers,
            ).json()
            members, after = members + len(page["members"]), page["next"]
        found[one["audience_name"]] = (one["members"], members)
    return found


@pytest.mark.slow
def test_an_opt_out_that_is_sent_has_the_person_leave_and_the_server_tells_of_nobody_who_is_out(
    tmp_path: Path,
) -> None:
    batches = [
        {"user_identities": {"customer_id": one}, "user_attributes": {"tier": "gold"}}
        for one in "ABC"
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in batches))
    ok(tmp_path, "import", "a.jsonl", "--feed", "crm")
    for name, criteria in (("std", "tier = 'gold'"), ("of std", "audience 'std'")):
        ok(tmp_path, "audiences", "add", name, criteria, "--kind", "standard")
    ok(tmp_path, "audiences", "refresh")
    ok(tmp_path, "credentials", "new", "api.toml", "--client", "web", "--feed", "crm")
    # no refresh came to it
    killed(tmp_path, "crm", {"user_identities": {"customer_id": "A"}, **OUT})
    with served(tmp_path) as server:
        assert member_counts(server) == {"std": (2, 2), "of std": (2, 2)}
        assert (
            server.send(
                "crm", {"environment": "production", "user_identities": {"customer_id": "B"}, **OUT}
            ).status_code
            == 202
        )
        until = time.monotonic() + 30
        while member_counts(server) != {"std": (1, 1), "of std": (1, 1)}:
            assert time.monotonic() < until
            time.sleep(0.1)
    moved = [
        json.loads(line)["change"]
        for line in ok(tmp_path, "audiences", "diff", "of std", "--json").splitlines()
    ]
    assert moved == ["entered"] * 3 + ["left"] * 2
