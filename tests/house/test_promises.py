"""Promises of docs/privacy.md, serving.md and outputs.md that no other test holds (docs/security.md
names a test for each).
"""

from __future__ import annotations

import json
from pathlib import Path

from support.doors import call
from support.output_receiver import receiver


def test_no_address_of_a_request_is_called(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id\nA\n")
    with receiver() as outside:
        document = {
            "regulation": "gdpr",
            "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
            "subject_request_type": "access",
            "submitted_time": "2026-09-01T15:00:00Z",
            "api_version": "3.0",
            "status_callback_urls": [outside.url],
            "subject_identities": {"controller_customer_id": {"value": "A", "encoding": "raw"}},
        }
        (tmp_path / "request.json").write_text(json.dumps(document))
        for arguments in (
            ["import", "a.csv", "--feed", "f"],
            ["privacy", "request", "request.json"],
            [*["privacy", "run", "-o", "answers", "--yes"]],
        ):
            done = call(*arguments, folder=tmp_path)
            assert done.exit_code == 0, (done.output, done.exception)
        assert list((tmp_path / "answers").iterdir())
        assert outside.got == []
