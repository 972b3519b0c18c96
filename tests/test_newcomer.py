"""What somebody sees who uses the product for the first time, with nothing but the README."""

from __future__ import annotations

import re
from pathlib import Path

from doors import call, run

from profilectl.scratch import CHANGEABLE

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "sample_data"
BEFORE_A_STORE = {"enable_progress_bar", "enable_external_access", "lock_configuration"}
"""The settings of scratch.py that are set before a store is attached."""


def test_every_setting_that_changes_beside_a_store_may_be_changed() -> None:
    named = {
        setting
        for file in (HERE.parent / "profilectl").rglob("*.py")
        for setting in re.findall(r"run\(f?\"(?:re)?set (\w+)", file.read_text())
    }
    assert "max_temp_directory_size" in named
    assert named - BEFORE_A_STORE <= set(CHANGEABLE)


def test_a_parquet_file_of_the_readme_is_imported(tmp_path: Path) -> None:
    result = run("import", str(SAMPLE / "crm.parquet"), "--feed", "crm", folder=tmp_path)
    assert result.returncode == 0, result.stderr
