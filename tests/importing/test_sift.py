"""Which rows are rejected, dropped, or used in part: what a newcomer runs who changes sift.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.conformance import cases_of, check_with_command_line


@pytest.mark.parametrize("case", cases_of("sift"))
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    check_with_command_line(case, tmp_path)
