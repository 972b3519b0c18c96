"""What do files cost that have many rows of few people, and rows that are rejected?"""

from __future__ import annotations

from pathlib import Path

import floor
from bench import Bench
from process import Sample, alternate
from report import Answer, Line, Target, Works, short


def answer(bench: Bench) -> Answer:
    """Import clicks that name their reader by one identity, and orders of few customers."""
    works = Works()
    for identity in ("email", "other"):
        _add_clicks(bench, works, identity)
    _add_orders(bench, works)
    return works.answer()


def rejects(bench: Bench) -> Answer:
    """Import a file of which a quarter is rejected, in turn with the file without these rows."""
    files = {"all": bench.data.order_lines(), "named": bench.data.named_order_lines()}
    steps = {
        "floor": bench.floor_step(files["all"]),
        **{name: bench.import_step(file, may_reject=True) for name, file in files.items()},
    }
    samples = alternate(bench.options.runs, steps)
    works = Works([Line("floor of all rows", samples["floor"], samples["floor"])])
    works.add_import(Line("the import without the rejects", samples["named"], samples["floor"]))
    title = f"{short(bench.sizes.order_lines)} rows, a quarter of them rejected"
    target = Target(1.1, "without", samples["named"])
    works.add_import(Line(title, samples["all"], floor=samples["floor"], target=target))
    return works.answer()


def _add_clicks(bench: Bench, works: Works, identity: str) -> None:
    file = bench.data.clicks(identity)
    steps = {"floor": bench.floor_step(file), "import": bench.import_step(file)}
    samples = alternate(bench.options.runs, steps)
    floor_title = f"floor of the rows with `{identity}`"
    works.lines.append(Line(floor_title, samples["floor"], samples["floor"]))
    people = f"{bench.sizes.readers:,} people"
    title = f"{bench.rows_title} rows CSV of {people} named by `{identity}` alone"
    target = Target(3.0, "floor", samples["floor"])
    works.add_import(Line(title, samples["import"], floor=samples["floor"], target=target))


def _add_orders(bench: Bench, works: Works) -> None:
    file = bench.data.typed_order_lines()
    steps = {"floor": lambda: _read_parquet(bench, file), "import": bench.import_step(file)}
    samples = alternate(bench.options.runs, steps)
    works.lines.append(Line("floor of the Parquet file", samples["floor"], samples["floor"]))
    lines, people = short(bench.sizes.order_lines), f"{bench.sizes.shop_customers:,}"
    title = f"{lines} rows Parquet of {people} customers"
    target = Target(4.0, "floor", samples["floor"])
    works.add_import(Line(title, samples["import"], floor=samples["floor"], target=target))


def _read_parquet(bench: Bench, file: Path) -> Sample:
    with bench.room() as room:
        return floor.read_parquet(file, room / "floor.duckdb")
