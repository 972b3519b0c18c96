"""Options that several commands have, and what they may be."""

from __future__ import annotations

import re

from profilectl.codes import UsageError


def check_memory_limit(size: str | None) -> str | None:
    """Return a memory limit as DuckDB takes it. Raises UsageError where it is none."""
    if size is not None and not re.fullmatch(
        r"[0-9]+(\.[0-9]+)?\s*([KMGT]i?B)", size.strip(), re.IGNORECASE
    ):
        raise UsageError(f"--memory-limit {size}: must be a size such as 2GB or 800MB")
    return size
