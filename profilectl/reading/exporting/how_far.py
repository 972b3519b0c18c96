"""How far an export is: its stretches of profiles, each weighed by its profiles and their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from profilectl.files import progress
from profilectl.store.segments import known_mpids
from profilectl.store.statements import union

if TYPE_CHECKING:
    from profilectl.profiles.read_model import Profiles

AMONG_CHOSEN = " and profile in (select profile from chosen)"
"""What narrows a stretch to the profiles that are wanted."""
# How many profiles, or rows of profiles, each of some stretches has.
COUNTS_OF_STRETCHES = "select {counts} from ({profiles})"


def told(
    profiles: Profiles, conditions: Iterable[str], *, until: float = 1, line_each: bool = False
) -> Iterator[str]:
    """Yield the conditions of stretches, and say how far the export is before each.

    until: the share of the export that all of them are; line_each: whether each profile is one
    row of it. The profiles are counted only where
    somebody watches: 30 ms for a million.
    """
    if not progress.is_watched():
        yield from conditions
        return
    conditions = list(conditions)
    people, rows = _counts(profiles, conditions)
    if line_each:
        progress.rows(0, sum(people))
    weights = [sum(pair) for pair in zip(people, rows, strict=True)]
    whole, before = sum(weights) or 1, 0
    for condition, weight in zip(conditions, weights, strict=False):
        progress.span(before / whole * until, (before + weight) / whole * until)
        before += weight
        yield condition


def _counts(profiles: Profiles, conditions: list[str]) -> tuple[list[int], list[int]]:
    """Return how many profiles, and how many of their rows, each stretch has."""
    scratch = profiles.store.scratch
    spans = [condition.removesuffix(AMONG_CHOSEN) for condition in conditions]
    counts = ", ".join(f"count(*) filter ({span})" for span in spans) or "0"
    if scratch.has("chosen"):
        selects = ["select profile from chosen"] * 2
    else:
        of_rows = [
            f"select profile from store.row_{segment.number}"
            for segment in profiles.segments
            if "row" in segment.tables
        ]
        people = known_mpids(profiles.segments)
        selects = [people, union(of_rows) if of_rows else people]
    people_of, rows_of = (
        list(scratch.row(COUNTS_OF_STRETCHES.format(counts=counts, profiles=select)))
        for select in selects
    )
    return people_of, rows_of
