"""A store whose people are asked about at an operator of UID2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.uid2_operator import KEY, SECRET, StubOperator

from profilectl.files.secrets import KeyAndSecret
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.outputs.uid2.operator import Patience, Uid2Operator
from profilectl.outputs.uid2.run import Enrichment, Uid2Outcome, enrich

NOW_MS = 1_790_000_000_000
QUICK = Patience(attempts=3, timeout_s=5, pause_s=0.01, longest_pause_s=0.02)


def bring(folder: Path, *batches: dict[str, Any], feed: str = "crm", now_ms: int = NOW_MS) -> None:
    content = "".join(json.dumps(one) + "\n" for one in batches)
    import_files(
        folder / "profiles.duckdb",
        ImportRequest(
            ["given"],
            feed,
            format="jsonl",
            content=content,
            again=True,
            now_ms=now_ms,
            rejects=str(folder / "rejects"),
        ),
    )


def person(
    number: str, *, email: str | None = None, phone: str | None = None, **more: Any
) -> dict[str, Any]:
    stated = {"customer_id": number, "email": email, "mobile_number": phone}
    return {
        "user_identities": {kind: value for kind, value in stated.items() if value is not None},
        **more,
    }


def ask(
    folder: Path,
    to: StubOperator,
    *,
    patience: Patience = QUICK,
    now_ms: int = NOW_MS,
    said: Callable[[str], None] = lambda text: None,
    **wanted: Any,
) -> Uid2Outcome:
    return enrich(
        folder / "profiles.duckdb",
        Enrichment(now_ms=now_ms, **wanted),
        lambda: Uid2Operator(to.address, KeyAndSecret(KEY, SECRET), patience, said),
    )
