"""Where the tests find the files of the repository, whatever folder they stand in."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
SUPPORT = TESTS / "support"
CASES = TESTS / "cases"
STORES = CASES / "stores"
SCREENS = CASES / "screens"
SAMPLES = ROOT / "sample_data"
SCRIPTS = os.pathsep.join((str(ROOT), str(TESTS)))
"""The PYTHONPATH of a script of support/, which imports profilectl and its siblings.

It is run by its path, not with -m: the commands forked from it would call themselves "python -m".
"""
