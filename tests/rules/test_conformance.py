"""Every conformance case through the interpreter; tests/importing has them through the command
line, step by step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.conformance import CASES, FILES, GROUPS, check_with_interpreter


def test_there_are_cases_and_each_says_why() -> None:
    found = [case.values[0] for case in CASES]
    assert len(found) > 100
    assert len({case["id"] for case in found}) == len(found)
    assert all(case["why"].strip() and case["source"].strip() for case in found)


def test_every_file_of_cases_is_about_one_step_of_an_import() -> None:
    assert sorted(file for files in FILES.values() for file in files) == sorted(
        set(GROUPS.values())
    )


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    check_with_interpreter(case, tmp_path)
