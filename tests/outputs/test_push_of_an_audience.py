"""A push of an audience sends nobody who may not be in it, whenever the audience was evaluated
last.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.doors import call
from support.opted_out import NO_CONSENT, OUT, killed, store


@pytest.mark.parametrize(("said", "audience"), [(OUT, "std"), (NO_CONSENT, "c std of rt")])
def test_whoever_is_out_is_not_pushed_with_the_members(
    said: dict[str, object], audience: str, tmp_path: Path
) -> None:
    store(tmp_path)
    killed(tmp_path, "app", said)
    done = call(
        "--workspace",
        "main",
        "push",
        "--audience",
        audience,
        "--host",
        "us1",
        "--dry-run",
        "p.jsonl",
        folder=tmp_path,
    )
    assert done.exit_code == 0, done.output
    sent = (tmp_path / "p.jsonl").read_text()
    assert "bob@example.org" in sent
    assert "ann@example.org" not in sent
