"""How does the time of an import grow with its rows? A table, and a picture of two lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import Bench
from large_file import MEMORY_LIMIT
from picture import Curve, Point, draw
from process import Sample, alternate, say
from report import Answer, cpu_median, median, megabytes, seconds_text, short

HEADINGS = (
    "rows", "floor s", "import s", "x floor", "CPU s", "CPU x floor", "us a row", "peak MB",
)  # fmt: skip
FRACTIONS = (1000, 300, 100, 30, 10, 3, 1)
"""The sizes, as fractions of the large file: 10,000 to 10M rows."""
MOST_GROWTH = 1.3
"""How many times the time of a row may grow from a tenth of the large file to all of it."""
OURS, FLOORS = "#d9730d", "#2f81f7"
"""The colours of the two lines; each stands out on white and on black."""


@dataclass(frozen=True, slots=True)
class Size:
    """What was measured with a number of rows."""

    rows: int
    """The rows."""
    floor: Sequence[Sample]
    """The runs of the floor."""
    ours: Sequence[Sample]
    """The runs of the import."""

    @property
    def row_s(self) -> float:
        """Return the seconds of the import a row."""
        return median(self.ours) / self.rows

    @property
    def row_cpu_s(self) -> float:
        """Return the processor seconds of the import a row."""
        return cpu_median(self.ours) / self.rows

    def cells(self) -> tuple[str, ...]:
        """Return the cells, in the order of HEADINGS."""
        return (
            short(self.rows),
            seconds_text(median(self.floor)),
            seconds_text(median(self.ours)),
            f"{median(self.ours) / median(self.floor):.2f}",
            seconds_text(cpu_median(self.ours)),
            f"{cpu_median(self.ours) / cpu_median(self.floor):.2f}",
            f"{1e6 * self.row_s:.2f}",
            megabytes(max(sample.peak for sample in self.ours)),
        )


def answer(bench: Bench) -> Answer:
    """Import files of growing size, each in turn with its floor; draw what came out."""
    sizes = [_measure(bench, max(2, bench.sizes.large_rows // part)) for part in FRACTIONS]
    tenth, whole = sizes[FRACTIONS.index(10)], sizes[-1]
    growth = whole.row_s / tenth.row_s
    cpu_growth = whole.row_cpu_s / tenth.row_cpu_s
    word = "within" if growth <= MOST_GROWTH else "over"
    span = f"from {short(tenth.rows)} to {short(whole.rows)} rows"
    measured = f"{growth:.2f} x (CPU {cpu_growth:.2f} x; at most {MOST_GROWTH} x)"
    notes = [
        f"The time of a row {span}: {measured}: {word}.",
        f"Every import has --memory-limit {MEMORY_LIMIT}; the floor has none.",
    ]
    if bench.options.picture:
        _draw(sizes, bench.options.picture)
    return Answer(HEADINGS, [size.cells() for size in sizes], notes)


def _measure(bench: Bench, rows: int) -> Size:
    """Import a number of rows; more than a file usually has only once."""
    file = bench.data.first_rows(rows)
    runs = bench.options.runs if rows <= bench.sizes.rows else 1
    steps = {
        "floor": bench.floor_step(file),
        "import": bench.import_step(file, "--memory-limit", MEMORY_LIMIT),
    }
    samples = alternate(runs, steps)
    return Size(rows, samples["floor"], samples["import"])


def _draw(sizes: Sequence[Size], picture: Path) -> None:
    curves = [
        Curve("profilectl", OURS, [Point(size.rows, median(size.ours)) for size in sizes]),
        Curve(
            "DuckDB alone",
            FLOORS,
            [Point(size.rows, median(size.floor)) for size in sizes],
            dashed=True,
        ),
    ]
    title = "Rows of CSV into an empty store"
    picture.write_text(draw(title, curves, across="rows", upwards="seconds"), encoding="utf-8")
    say(f"  drew {picture}")
