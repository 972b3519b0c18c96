"""How long does an import onto a large store take, when its sources compete?"""

from __future__ import annotations

from bench import Bench
from process import alternate
from report import Answer, Line, Target, Works, locked_figure, short


def answer(bench: Bench) -> Answer:
    """Import rows of which half the customers are known; some values are blocked, some override."""
    store, file = bench.large_store, bench.data.app()
    steps = {
        "floor": bench.floor_step(file),
        "import": bench.onto_step(store, file, feed="app", source="csv"),
    }
    samples = alternate(bench.options.runs, steps)
    profiles = short(bench.sizes.profiles)
    title = f"{bench.rows_title} rows CSV, half of them known, onto {profiles} profiles"
    target = Target(3.0, "floor", samples["floor"])
    works = Works(notes=list(bench.large_store_notes))
    works.add_import(Line(title, samples["import"], floor=samples["floor"], target=target))
    works.lines.append(locked_figure("... the store is locked", samples["import"]))
    return works.answer()
