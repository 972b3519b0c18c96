"""How long does it take to show one profile of a large store?"""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import floor
from bench import Bench
from process import Failed, alternate, profilectl
from report import Answer, Line, Target, Works, short

PEOPLE = 11


def answer(bench: Bench) -> Answer:
    """Show several people, one after another, each in turn with opening the store."""
    store = bench.large_store
    people = itertools.cycle(_customers(bench.data.base(0)))
    steps = {
        "bare": lambda: floor.open_store(store),
        "show": lambda: profilectl(store, "show", "--customer-id", next(people), "--json"),
    }
    samples = alternate(PEOPLE, steps)
    if not all(json.loads(sample.printed)["profiles"] for sample in samples["show"]):
        raise Failed("show found nobody")
    size = f"{short(bench.sizes.profiles)} profiles"
    target = Target(2.0, "bare Python", samples["bare"])
    works = Works(
        [
            Line(f"bare Python: import duckdb, open {size}", samples["bare"]),
            Line(f"show --json on {size}", samples["show"], target=target),
        ]
    )
    return works.answer()


def _customers(file: Path) -> list[str]:
    """Return the customer ids of the first people of a file."""
    with file.open(encoding="utf-8", newline="") as lines:
        ids = (row["customer_id"] for row in csv.DictReader(lines) if row["customer_id"])
        return list(itertools.islice(ids, PEOPLE))
