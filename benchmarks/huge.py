"""Can a hundred million rows be imported, and in which time? Only where the disk has the room."""

from __future__ import annotations

import shutil

import floor
from bench import Bench
from data import HUGE_FILES
from process import Failed, Sample, import_file, say
from report import Answer, Figure, Line, Target, Works, short

MEMORY_LIMIT = "4GB"
MOST_BYTES = 4_000_000_000
MOST_FLOORS = 3.0
MOST_MINUTES = 30
BYTES_A_ROW = 700
"""What a row takes on the disk at most: 94 of CSV, 68 in the store, and 530 for what the import
lays aside while it runs.
"""


def answer(bench: Bench) -> Answer:
    """Import all files at once, after the floor of all files. Raises Failed where room lacks."""
    rows = bench.sizes.huge_rows
    _check_room(bench, rows)
    files = bench.data.huge()
    base = _floor(bench)
    say(f"  floor {base.seconds:.0f} s")
    with bench.room() as room:
        more = [str(file) for file in files[1:]]
        sample = import_file(
            room / "profiles.duckdb",
            files[0],
            *more,
            "--memory-limit",
            MEMORY_LIMIT,
            feed="bench",
            source="csv",
        )
    size = sum(file.stat().st_size for file in files)
    works = Works([Line(f"floor of {short(rows)} rows (no memory limit)", [base], [base])])
    title = f"{short(rows)} rows CSV in {HUGE_FILES} files, --memory-limit {MEMORY_LIMIT}"
    target = Target(MOST_FLOORS, "floor", [base], most_bytes=MOST_BYTES)
    works.add_import(Line(title, [sample], floor=[base], target=target))
    works.lines += [
        Figure("... its time", sample.seconds / 60, MOST_MINUTES, unit="minutes"),
        Figure("... the size of the store", sample.stored / size, 0.75, unit="x the CSV files"),
    ]
    return works.answer()


def _floor(bench: Bench) -> Sample:
    """Read all files into one table."""
    pattern = bench.folder / f"huge-{bench.sizes.huge_rows}-*.csv"
    with bench.room() as room:
        return floor.read_csv(str(pattern), room / "floor.duckdb")


def _check_room(bench: Bench, rows: int) -> None:
    """Check that the disk has room. Raises Failed."""
    free, needed = shutil.disk_usage(bench.folder).free, rows * BYTES_A_ROW
    if free < needed:
        raise Failed(
            f"{short(rows)} rows need {needed / 1e9:,.1f} GB of disk, and {bench.folder} has"
            f" {free / 1e9:,.1f}: name a larger disk with --folder, or fewer rows with --huge-rows"
        )
