"""The screens that were looked at, and kept in tests/cases/screens."""

from __future__ import annotations

import os

import pytest
from support.places import SCREENS


def keep_or_compare(name: str, found: str) -> None:
    """Compare a screen with the one that was kept, or keep it (PROFILECTL_KEEP_SCREENS=1)."""
    file = SCREENS / f"{name}.txt"
    kept = file.read_text("utf-8") if file.exists() else ""
    if found != kept and os.environ.get("PROFILECTL_KEEP_SCREENS"):
        file.write_text(found, encoding="utf-8")
        pytest.fail(f"{file.name} is written anew: look at it")
    assert found == kept
