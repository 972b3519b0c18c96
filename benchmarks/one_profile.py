"""How long does one person of a large store take, in a fresh process?"""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from pathlib import Path

import floor
from bench import Bench
from process import Failed, alternate, profilectl
from report import Answer, Line, Target, Works, short

PEOPLE = 15
MOST = 1.4


def answer(bench: Bench) -> Answer:
    """Ask for several people, one after another, each command in turn with opening the store."""
    store = bench.large_store
    changed = store.with_name("changed.duckdb")  # what is set stays out of the other works
    shutil.copyfile(store, changed)
    people = itertools.cycle(_customers(bench.data.base(0)))
    asked = {
        "show --json": lambda who: profilectl(store, "show", "--customer-id", who, "--json"),
        "explain --json": lambda who: profilectl(store, "explain", "--customer-id", who, "--json"),
        "search --exact --json": lambda who: profilectl(store, "search", "--exact", who, "--json"),
        "events --json": lambda who: profilectl(store, "events", "--customer-id", who, "--json"),
        "feeds list": lambda who: profilectl(store, "feeds", "list"),
        "--help": lambda who: profilectl(store, "--help"),
        "set": lambda who: profilectl(changed, "set", "--customer-id", who, f"tier={who}"),
    }
    steps = {
        "bare": lambda: floor.open_store(store),
        **{name: (lambda ask=ask: ask(next(people))) for name, ask in asked.items()},
    }
    samples = alternate(PEOPLE, steps)
    changed.unlink()
    if not all(json.loads(sample.printed)["profiles"] for sample in samples["show --json"]):
        raise Failed("show found nobody")
    size = f"{short(bench.sizes.profiles)} profiles"
    target = Target(MOST, "bare Python", samples["bare"])
    works = Works(
        [
            Line(f"bare Python: import duckdb, open {size}", samples["bare"]),
            *(Line(f"{name} on {size}", samples[name], target=target) for name in asked),
        ]
    )
    return works.answer()


def _customers(file: Path) -> list[str]:
    """Return the customer ids of the first people of a file."""
    with file.open(encoding="utf-8", newline="") as lines:
        ids = (row["customer_id"] for row in csv.DictReader(lines) if row["customer_id"])
        return list(itertools.islice(ids, PEOPLE))
