"""The walk in docs/python.md is run, cell by cell, and shows what it says."""

from __future__ import annotations

import doctest
import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.places import ROOT

PAGE = ROOT / "docs" / "python.md"
FENCE = "```pycon\n"

RUN = """
import doctest, sys
flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
parsed = doctest.DocTestParser().get_doctest(sys.stdin.read(), {}, "walk", "python.md", 0)
sys.exit(doctest.DocTestRunner(optionflags=flags).run(parsed).failed)
"""


def cells() -> list[str]:
    return [part.partition("```")[0] for part in PAGE.read_text("utf-8").split(FENCE)[1:]]


def test_the_walk_shows_what_is_printed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    examples = [doctest.DocTestParser().get_examples(cell) for cell in cells()]
    assert len(examples) == 5
    walked = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input="\n".join(cells()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert walked.returncode == 0, walked.stdout + walked.stderr
