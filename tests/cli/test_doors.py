"""What the tests run in their own process says and does what the program says and does in one of
its own.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.doors import run, run_here

COMMANDS = [
    "--version",
    "--help",
    "import --help",
    "nonsense",
    "import a.csv",
    "import a.csv --feed f",
    "import none.csv --feed f",
    "import a.csv --feed f --dry-run --json",
    "import - --feed f --format csv",
    "--workspace other import a.csv --feed g",
    "export profiles",
    "--store none.duckdb export profiles",
    "feeds list --json",
    "show nobody",
]


@pytest.mark.parametrize("arguments", COMMANDS)
def test_it_is_as_in_a_process_of_its_own(arguments: str, tmp_path: Path) -> None:
    told = []
    for door in (run, run_here):
        folder = tmp_path / door.__name__
        folder.mkdir()
        (folder / "a.csv").write_text("customer_id,tier\nA,gold\n,nobody\n")
        done = door(*arguments.split(), folder=folder, stdin=b"customer_id\nB\n")
        left = sorted(path.name for path in folder.iterdir())
        modes = [path.stat().st_mode for path in sorted(folder.iterdir())]
        said = [without_times(text) for text in (done.stdout, done.stderr)]
        told.append((done.returncode, said, left, modes))
    assert told[0] == told[1]


def without_times(text: str) -> str:
    """Return what was said without what differs between any two runs: times, rates, MPIDs, hashes."""
    text = re.sub(r"\d+(\.\d+)? s\b|\([\d,]+ rows? a second\)|\b[0-9a-f]{32,}\b", "*", text)
    return re.sub(r'("(?:\w+_ms|mpid)": ?)"?-?[\d.]+"?', r"\1*", text)
