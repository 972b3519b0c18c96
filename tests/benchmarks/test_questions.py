"""Each question of benchmarks/run.py is answered, with files of a few hundred rows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.places import ROOT

SMALL = ("--scale", "0.0003", "--runs", "1")
POSTGRESQL = next(Path("/usr/lib/postgresql").glob("*/bin/initdb"), None)

# What stands in the answer of each question.
# fmt: off
ANSWERED = {
    "empty":    ["300 rows flat JSONL", "x the CSV file", "% of the import"],
    "known":    ["300 rows CSV, half of them known, onto 1,500 profiles", "% of the import"],
    "few":      ["of 1 people named by `other` alone", "162 rows Parquet of 1 customers"],
    "shared":   ["n rows with the value alone", "An import of two rows takes"],
    "steps":    ["start of Python", "CPU s of the whole process, the floor"],
    "growth":   ["The time of a row from 300 to 3,000 rows"],
    "delta":    ["30 rows CSV, half of them known, onto 3,000 profiles", "3 x floor + 1 s"],
    "huge":     ["30,000 rows CSV in 10 files", "30 minutes"],
    "dicts":    ["plain Python dicts", "It finds as many profiles, identities and attributes"],
    "interpreter": ["the interpreter alone, scaled from 30 rows"],
}
# fmt: on


def asked(words: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks."""
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "run.py", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PROFILECTL_BENCH_HASTY": "1"},
    )


def answer(folder: Path, words: Sequence[str | Path]) -> str:
    """Return what a small run in a folder prints. It must have answered everything."""
    finished = asked([*words, *SMALL, "--folder", folder])
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "failed: " not in finished.stdout
    return " ".join(finished.stdout.split())


def test_rejects_are_compared_with_the_import_without_them(tmp_path: Path) -> None:
    printed = answer(tmp_path, ["rejects"])
    assert "162 rows, a quarter of them rejected" in printed
    assert "1.1 x without" in printed
    assert "162 read, 113 applied, 49 rejected" in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("question", ANSWERED)
def test_each_question_is_answered(question: str, tmp_path: Path) -> None:
    printed = answer(tmp_path, [question])
    for words in ANSWERED[question]:
        assert words in printed


@pytest.mark.slow
def test_the_picture_of_growth_has_both_lines(tmp_path: Path) -> None:
    picture = tmp_path / "growth.svg"
    answer(tmp_path, ["growth", "--picture", picture])
    drawn = picture.read_text("utf-8")
    assert "profilectl" in drawn
    assert "DuckDB alone" in drawn


@pytest.mark.slow
@pytest.mark.skipif(POSTGRESQL is None, reason="PostgreSQL is not installed")
def test_postgresql_makes_the_same_profiles() -> None:
    # Not in the folder of the test: the path of a server's socket must be short.
    finished = asked(["postgresql", "--rows", "3000", "--runs", "1"])
    assert finished.returncode == 0, finished.stdout
    assert "It finds as many profiles, identities and attributes" in finished.stdout


def test_a_disk_that_is_too_small_is_no_place_for_the_huge_import(tmp_path: Path) -> None:
    finished = asked(["huge", "--huge-rows", "1,000,000,000,000", "--folder", tmp_path])
    assert finished.returncode == 1
    assert "failed: 1000000M rows need 700,000.0 GB of disk" in finished.stdout
    assert "name a larger disk with --folder, or fewer rows with --huge-rows" in finished.stdout


def test_an_unknown_question_is_refused() -> None:
    finished = asked(["weather"])
    assert finished.returncode == 2
    assert "no such question: weather" in finished.stderr
