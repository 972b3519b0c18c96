"""What does a value cost that very many people have, such as the address of their company?

n rows with one address are imported into an empty store, then n rows of other people with the same
address onto it. The second must not take n times n.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench import Bench
from process import Failed, Sample, import_file, say
from report import Answer, megabytes, seconds_text

HEADINGS = (
    "n", "into an empty store", "n more rows onto them", "CPU s", "peak MB", "us a row",
)  # fmt: skip
MEMORY_LIMIT = "2GB"
FRACTIONS = (300, 100, 30, 10, 3, 1)
"""The sizes, as fractions of the most holders: 1,000 to 300,000 people."""
LONGEST_S = 60.0
"""No larger size is tried once an import takes this long: it would take far longer."""
LEAST_ABOVE_START = 1.5
"""Only sizes that take this many times what a start takes say how an import grows."""
MOST_EXPONENT = 1.1
"""What still counts as linear."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The two imports of one size."""

    rows: int
    """The rows of each of the two."""
    founding: Sample
    """The rows into an empty store."""
    joining: Sample
    """As many rows of other people onto them."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells, in the order of HEADINGS."""
        return (
            f"{self.rows:,}",
            f"{seconds_text(self.founding.seconds)} s",
            f"{seconds_text(self.joining.seconds)} s",
            seconds_text(self.joining.cpu_seconds),
            megabytes(max(self.founding.peak, self.joining.peak)),
            f"{1e6 * self.joining.seconds / self.rows:,.0f}",
        )


def answer(bench: Bench) -> Answer:
    """Import rows onto as many holders of their value, for growing numbers of them."""
    start = _grow(bench, 2).joining.cpu_seconds
    measured: list[Growth] = []
    notes = [f"An import of two rows takes {seconds_text(start)} CPU s: that is the start."]
    for rows in sorted({max(2, bench.sizes.holders // fraction) for fraction in FRACTIONS}):
        try:
            growth = _grow(bench, rows)
        except Failed as error:
            notes.append(f"n = {rows:,} failed, and no larger n was tried: {error}.")
            break
        measured.append(growth)
        if growth.joining.seconds > LONGEST_S:
            notes.append(f"No n beyond {rows:,} was tried: it took too long.")
            break
    notes.append(_verdict(measured, start))
    return Answer(HEADINGS, [growth.cells() for growth in measured], notes)


def _grow(bench: Bench, rows: int) -> Growth:
    """Run both imports of a size. Raises Failed."""
    limit = ("--memory-limit", MEMORY_LIMIT)
    founding_file, joining_file = (bench.data.shared(rows, part) for part in (0, 1))
    with bench.room() as room:
        store = room / "profiles.duckdb"
        founding = import_file(store, founding_file, *limit, feed="crm", source="csv")
        joining = import_file(store, joining_file, *limit, feed="crm", source="csv")
    created = json.loads(joining.printed)["profiles"]["created"]
    if created != rows:
        raise Failed(f"{created:,} of {rows:,} profiles were created")
    say(f"  {rows:,} onto {rows:,}: {joining.seconds:.2f} s")
    return Growth(rows, founding, joining)


def _verdict(measured: Sequence[Growth], start: float) -> str:
    """Return the fitted exponent in a sentence."""
    growing = [
        growth for growth in measured if growth.joining.cpu_seconds > LEAST_ABOVE_START * start
    ]
    if len(growing) < 2:
        return "Too few sizes take longer than the start: no exponent is fitted."
    exponent = _exponent(growing, start)
    word = "within" if exponent <= MOST_EXPONENT else "over"
    return (
        f"CPU seconds above the start grow as n to the power of {exponent:.2f} (least squares of"
        f" the logarithms, {len(growing)} sizes; at most {MOST_EXPONENT}, linear): {word}."
    )


def _exponent(growing: Sequence[Growth], start: float) -> float:
    """Return the slope of the logarithm of the seconds above the start."""
    sizes = [math.log(growth.rows) for growth in growing]
    times = [math.log(growth.joining.cpu_seconds - start) for growth in growing]
    return statistics.linear_regression(sizes, times).slope
