"""How long does a file take that is larger than the memory the import may use?"""

from __future__ import annotations

from bench import Bench
from process import alternate
from report import Answer, Line, Target, Works, short

MEMORY_LIMIT = "2GB"
MOST_BYTES = 2_000_000_000


def answer(bench: Bench) -> Answer:
    """Import ten times the rows with a memory limit."""
    file = bench.data.large()
    steps = {
        "floor": bench.floor_step(file),
        "import": bench.import_step(file, "--memory-limit", MEMORY_LIMIT),
    }
    samples = alternate(bench.options.runs, steps)
    rows, floor = short(bench.sizes.large_rows), samples["floor"]
    works = Works([Line(f"floor of {rows} rows (no memory limit)", floor, floor)])
    title = f"{rows} rows CSV into an empty store, --memory-limit {MEMORY_LIMIT}"
    target = Target(3.0, "floor", floor, most_bytes=MOST_BYTES)
    works.add_import(Line(title, samples["import"], floor=floor, target=target))
    return works.answer()
