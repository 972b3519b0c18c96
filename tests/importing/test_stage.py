"""What is read of each file: what a newcomer runs who changes a reader or the columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.conformance import cases_of, check_with_command_line


@pytest.mark.parametrize("case", cases_of("stage"))
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    check_with_command_line(case, tmp_path)
