"""What stays of each table of a store that is about to be written anew.

Nothing is deleted in place. An erasure is a list of `Stays`, and a `Rewriting` puts those of one
table together, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from profilectl.store.scratch import Scratch
from profilectl.store.statements import count_rows, reading, rows_of


@dataclass(frozen=True, slots=True)
class Stays:
    """What stays of one table."""

    table: str
    """The name of the table in the store."""
    select: str
    """The SELECT of what stays. It reads `stored`: the rows of the table that are still there."""
    rows_lost: int | None = None
    """How many rows go; negative where rows are added. None: they are counted."""


@dataclass(slots=True)
class Rewriting:
    """The tables of a store that change, each with the SELECT of what stays of it."""

    scratch: Scratch
    """The session that has the store attached."""
    selects: dict[str, str] = field(default_factory=dict)
    """The SELECT of what stays, by table; a table that is missing here stays whole."""
    rows_lost: dict[str, int] = field(default_factory=dict)
    """How many rows go, by table; negative where rows are added."""

    def add(self, parts: Iterable[Stays]) -> None:
        """Change tables further, each on top of what stays of it so far."""
        for part in parts:
            before = self.select_of(part.table)
            select = reading(part.select, stored=before)
            lost = part.rows_lost
            if lost is None:
                lost = count_rows(self.scratch, before) - count_rows(self.scratch, select)
            self.selects[part.table] = select
            self.rows_lost[part.table] = self.rows_lost.get(part.table, 0) + lost

    def select_of(self, table: str) -> str:
        """Return the SELECT of what stays of a table so far."""
        return self.selects.get(table) or rows_of(table)
