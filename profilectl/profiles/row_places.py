"""The places of rows: the import that brought each, its file, and its line in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from profilectl.profiles.read_model import Profiles
from profilectl.store.segments import FILES_WITH_ROWS
from profilectl.store.statements import numbers, reading

# An asof join takes the last file, and the last run of lines, that begins at or before the row.
PLACES = """
select wanted.arrival, import.number, import_file.path, import_file.unit,
       line_run.first_line + wanted.arrival - line_run.first_arrival, import.protection
from wanted
asof join import_file on wanted.arrival >= import_file.first_arrival
asof join store.line_run as line_run on wanted.arrival >= line_run.first_arrival
join store.import as import on import.number = import_file.import
"""

# The arrivals whose places are wanted.
PLACED_ARRIVAL = "select unnest({numbers}::bigint[]) as arrival"
FEW = 50
"""The most arrivals that stand in the statement itself: to bind a list, DuckDB loads decimal, uuid
and platform of Python, which takes 5 ms.
"""


class RowPlace(NamedTuple):
    """The place of a row."""

    import_number: int
    """The import that brought it."""
    file: str
    """The file it was in."""
    unit: str
    """line, or row where a file has rows rather than lines."""
    place: int
    """Its line or row."""
    protection: str
    """The protection that was in force for the import."""


NOWHERE = RowPlace(0, "", "line", place=0, protection="")
"""The place of a row that nobody asked for."""


def origins_of(profiles: Profiles, arrivals: Sequence[int]) -> dict[int, RowPlace]:
    """Return the places of rows, by arrival."""
    if not arrivals:
        return {}
    wanted, bound = PLACED_ARRIVAL.format(numbers=f"[{numbers(arrivals)}]"), None
    if len(arrivals) > FEW:
        wanted, bound = PLACED_ARRIVAL.format(numbers="$arrivals"), {"arrivals": list(arrivals)}
    rows = profiles.store.scratch.rows(
        reading(PLACES, wanted=wanted, import_file=FILES_WITH_ROWS), bound
    )
    return {arrival: RowPlace(*place) for arrival, *place in rows}
