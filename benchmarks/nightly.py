"""How long does the delta of a night take onto a very large store?"""

from __future__ import annotations

from bench import Bench
from process import alternate
from report import Answer, Line, Target, Works, locked_figure, short


def answer(bench: Bench) -> Answer:
    """Import a tenth of a file's rows, half of them known, onto as many profiles as there are."""
    store, file = bench.many_store, bench.data.delta()
    steps = {
        "floor": bench.floor_step(file),
        "import": bench.onto_step(store, file, feed="night", source="csv"),
    }
    samples = alternate(bench.options.runs, steps)
    rows, profiles = short(bench.sizes.delta_rows), short(bench.sizes.large_rows)
    floor = samples["floor"]
    works = Works([Line(f"floor of {rows} rows", floor, floor)])
    title = f"{rows} rows CSV, half of them known, onto {profiles} profiles"
    target = Target(3.0, "floor", floor, more_s=1.0)
    works.add_import(Line(title, samples["import"], floor=floor, target=target))
    works.lines.append(locked_figure("... the store is locked", samples["import"]))
    return works.answer()
