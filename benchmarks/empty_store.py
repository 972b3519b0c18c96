"""How long does an import into an empty store take, as CSV, Parquet and JSONL?"""

from __future__ import annotations

from bench import Bench
from process import alternate
from report import Answer, Line, Target


def answer(bench: Bench) -> Answer:
    """Import the same rows in three forms, each in turn with the floor of the CSV file."""
    files = {
        "CSV": bench.data.plain(),
        "Parquet": bench.data.parquet(),
        "JSONL": bench.data.jsonl(),
    }
    steps = {name: bench.import_step(path) for name, path in files.items()}
    floor_step = bench.floor_step(files["CSV"])
    samples = alternate(bench.options.runs, {"floor": floor_step, **steps})
    bench.plain_floor = samples["floor"]
    targets = {
        "CSV": Target(2.5, "floor", samples["floor"]),
        "Parquet": Target(1.0, "CSV", samples["CSV"]),
        "JSONL": Target(1.5, "CSV", samples["CSV"]),
    }
    works = bench.works()
    for name, target in targets.items():
        title = f"{bench.rows_title} rows {name} into an empty store"
        works.add_import(Line(title, samples[name], floor=bench.plain_floor, target=target))
    return works.answer()
