"""How long does an import onto a large store take, when its sources compete?"""

from __future__ import annotations

import shutil

from bench import Bench
from process import Sample, alternate, import_file
from report import Answer, Line, Target, Works, short


def answer(bench: Bench) -> Answer:
    """Import rows of which half the customers are known; some values are blocked, some override."""
    store, file = bench.large_store, bench.data.app()

    def onto_a_copy() -> Sample:
        with bench.room() as room:
            copied = shutil.copyfile(store, room / store.name)
            return import_file(copied, file, feed="app", source="csv")

    steps = {"floor": bench.floor_step(file), "import": onto_a_copy}
    samples = alternate(bench.options.runs, steps)
    profiles = short(bench.sizes.profiles)
    title = f"{bench.rows_title} rows CSV, half of them known, onto {profiles} profiles"
    target = Target(3.0, "floor", samples["floor"])
    works = Works(notes=list(bench.large_store_notes))
    works.add_import(Line(title, samples["import"], floor=samples["floor"], target=target))
    return works.answer()
