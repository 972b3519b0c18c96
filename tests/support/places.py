"""Where the tests find the files of the repository, whatever folder they stand in."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
CASES = TESTS / "cases"
STORES = CASES / "stores"
SCREENS = CASES / "screens"
SAMPLES = ROOT / "sample_data"
SCRIPTS = os.pathsep.join((str(ROOT), str(TESTS)))
"""The PYTHONPATH of a program of ours in support/: it imports profilectl, and its siblings."""
