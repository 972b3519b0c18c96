"""What does a value cost that very many people have, such as the address of their company?

n rows with one address are imported into an empty store, then n rows of other people with the same
address onto it, then n rows that have nothing but the address. None must take n times n.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from bench import Bench
from process import Failed, Sample, import_file, say
from report import Answer, megabytes, seconds_text

HEADINGS = (
    "n", "into an empty store", "CPU s", "n more people onto them", "CPU s",
    "n rows with the value alone", "CPU s", "peak MB",
)  # fmt: skip
MEMORY_LIMIT = "2GB"
FRACTIONS = (300, 100, 30, 10, 3, 1)
"""The sizes, as fractions of the most holders: 1,000 to 300,000 people."""
LONGEST_S = 60.0
"""No larger size is tried once an import takes this much processor time."""
LEAST_ABOVE_START = 1.3
"""Only sizes that take this many times what a start takes say how an import grows."""
MOST_EXPONENT = 1.1
"""What still counts as linear."""
WORKS = {"joining": "n more people", "nameless": "n rows with the value alone"}
"""The imports that must grow with n, by the names of their fields."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The three imports of one size."""

    rows: int
    """The rows of each of them."""
    founding: Sample
    """The rows into an empty store."""
    joining: Sample
    """As many rows of other people onto them."""
    nameless: Sample
    """As many rows with nothing but the value onto both."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells, in the order of HEADINGS."""
        samples = (self.founding, self.joining, self.nameless)
        times = [
            cell
            for sample in samples
            for cell in (f"{seconds_text(sample.seconds)} s", seconds_text(sample.cpu_seconds))
        ]
        return f"{self.rows:,}", *times, megabytes(max(sample.peak for sample in samples))


def answer(bench: Bench) -> Answer:
    """Import rows onto as many holders of their value, for growing numbers of them."""
    start = _grow(bench, 2)
    measured: list[Growth] = []
    start_s = seconds_text(start.joining.cpu_seconds)
    notes = [f"An import of two rows takes {start_s} CPU s: that is the start."]
    for rows in sorted({max(2, bench.sizes.holders // fraction) for fraction in FRACTIONS}):
        try:
            growth = _grow(bench, rows)
        except Failed as error:
            notes.append(f"n = {rows:,} failed, and no larger n was tried: {error}.")
            break
        measured.append(growth)
        if max(growth.joining.cpu_seconds, growth.nameless.cpu_seconds) > LONGEST_S:
            notes.append(f"No n beyond {rows:,} was tried: it took too long.")
            break
    for work, title in WORKS.items():
        times = {growth.rows: getattr(growth, work).cpu_seconds for growth in measured}
        notes.append(f"{title}: {_verdict(times, getattr(start, work).cpu_seconds)}")
    return Answer(HEADINGS, [growth.cells() for growth in measured], notes)


def _grow(bench: Bench, rows: int) -> Growth:
    """Run the imports of a size. Raises Failed."""
    limit = ("--memory-limit", MEMORY_LIMIT)
    files = [bench.data.shared(rows, part) for part in range(3)]
    with bench.room() as room:
        store = room / "profiles.duckdb"
        samples = [import_file(store, file, *limit, feed="crm", source="csv") for file in files]
    created = [json.loads(sample.printed)["profiles"]["created"] for sample in samples]
    # Nothing but the address finds nobody who has a customer id: these rows are one person.
    if created != [rows, rows, 1]:
        raise Failed(f"{created} profiles were created of {rows:,} rows each")
    growth = Growth(rows, *samples)
    say(f"  {rows:,}: {growth.joining.seconds:.2f} s, {growth.nameless.seconds:.2f} s")
    return growth


def _verdict(times: Mapping[int, float], start: float) -> str:
    """Return the fitted exponent in a sentence; times: processor seconds by the rows."""
    growing = {rows: time for rows, time in times.items() if time > LEAST_ABOVE_START * start}
    if len(growing) < 2:
        return "too few sizes take longer than the start, and no exponent is fitted."
    logarithms = [math.log(rows) for rows in growing]
    above = [math.log(time - start) for time in growing.values()]
    exponent = statistics.linear_regression(logarithms, above).slope
    word = "within" if exponent <= MOST_EXPONENT else "over"
    return (
        f"CPU seconds above the start grow as n to the power of {exponent:.2f} (least squares of"
        f" the logarithms, {len(growing)} sizes; at most {MOST_EXPONENT}, linear): {word}."
    )
