"""How long does an import into an empty store take, in each format, and how large is the store?"""

from __future__ import annotations

from bench import Bench
from process import alternate
from report import Answer, Figure, Line, Target, locked_figure

MOST_BYTES = 800_000_000
MOST_OF_THE_CSV = 0.75


def answer(bench: Bench) -> Answer:
    """Import the same rows in four forms, each in turn with the floor of the CSV file."""
    files = {
        "CSV": bench.data.plain(),
        "Parquet": bench.data.parquet(),
        "JSONL batches": bench.data.jsonl(),
        "flat JSONL": bench.data.flat_jsonl(),
    }
    steps = {name: bench.import_step(path) for name, path in files.items()}
    floor_step = bench.floor_step(files["CSV"])
    samples = alternate(bench.options.runs, {"floor": floor_step, **steps})
    bench.plain_floor, bench.plain_import = samples["floor"], samples["CSV"]
    targets = {
        "CSV": Target(2.2, "floor", samples["floor"], most_bytes=MOST_BYTES),
        "Parquet": Target(0.9, "CSV", samples["CSV"]),
        "JSONL batches": Target(1.3, "CSV", samples["CSV"]),
        "flat JSONL": Target(1.2, "CSV", samples["CSV"]),
    }
    works = bench.works()
    for name, target in targets.items():
        title = f"{bench.rows_title} rows {name} into an empty store"
        works.add_import(Line(title, samples[name], floor=bench.plain_floor, target=target))
    share = samples["CSV"][-1].stored / files["CSV"].stat().st_size
    works.lines += [
        Figure("... the size of the store", share, MOST_OF_THE_CSV, unit="x the CSV file"),
        locked_figure("... the store is locked", samples["CSV"]),
    ]
    return works.answer()
