"""Nobody who has opted out is sent to an operator of UID2: not by a stale store, and not late in a
long run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.asking_uid2 import NOW_MS, ask, bring, person
from support.uid2_operator import hash_of, operator

from profilectl.audiences.actions import add_audience, refresh_audiences
from profilectl.outputs.uid2 import run as running
from profilectl.outputs.uid2.operator import Uid2Operator
from profilectl.privacy.forget import ForgetRequest, forget
from profilectl.rules.audience import audience_of

OUT = {
    "events": [
        {"event_type": "opt_out", "data": {"is_opted_out": True, "timestamp_unixtime_ms": NOW_MS}}
    ]
}


@pytest.mark.parametrize("audience", [None, "std"])
def test_who_is_out_is_not_asked_for(tmp_path: Path, audience: str | None) -> None:
    bring(tmp_path, *(person(one, email=f"{one}@x.com") for one in "ab"))
    add_audience(
        tmp_path / "profiles.duckdb",
        audience_of("std", {"criteria": "email exists", "kind": "standard"}),
    )
    refresh_audiences(tmp_path / "profiles.duckdb", ["std"])
    bring(tmp_path, person("a", **OUT))
    with operator() as to:
        ask(tmp_path, to, audience=audience)
        assert to.hashes() == [hash_of("b@x.com")]


def test_who_opts_out_or_is_erased_during_a_run_is_not_asked_for_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "MOST_ITEMS", 1)
    monkeypatch.setattr(running, "REQUESTS_AN_IMPORT", 1)
    bring(tmp_path, *(person(one, email=f"{one}@x.com") for one in "abcd"))
    asking, began = Uid2Operator.ask, []

    def meanwhile(self: Uid2Operator, emails: Sequence[str], phones: Sequence[str]) -> Any:
        if not began:
            began.extend(emails)
            others = [one for one in "abcd" if hash_of(f"{one}@x.com") not in emails]
            bring(tmp_path, person(others[0], **OUT))
            forget(tmp_path / "profiles.duckdb", ForgetRequest(("customer_id", others[1])))
            began.append(hash_of(f"{others[2]}@x.com"))
        return asking(self, emails, phones)

    monkeypatch.setattr(Uid2Operator, "ask", meanwhile)
    with operator() as to:
        done = ask(tmp_path, to)
        assert to.hashes() == began
    assert done.answers == {"mapped": 2}
