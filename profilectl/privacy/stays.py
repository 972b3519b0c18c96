"""What stays of each table of a store that is about to be written anew.

Nothing is deleted in place. An erasure is a list of `Stays`, and a `Rewriting` puts those of one
table together, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from profilectl.rules.sql.quoting import quote_identifier
from profilectl.store.scratch import Scratch

COUNT = "select count(*) from stored"


@dataclass(frozen=True, slots=True)
class Stays:
    """What stays of one table."""

    table: str
    """The name of the table in the store."""
    select: str
    """The SELECT of what stays. It reads `stored`: the rows of the table that are still there."""
    gone: int | None = None
    """How many rows go; fewer than 0 where rows come. None: they are counted."""


@dataclass(slots=True)
class Rewriting:
    """The tables of a store that change, each with the SELECT of what stays of it."""

    scratch: Scratch
    """The session that has the store attached."""
    selects: dict[str, str] = field(default_factory=dict)
    """The SELECT of what stays, by table; a table that is missing here stays whole."""
    gone: dict[str, int] = field(default_factory=dict)
    """How many rows go, by table; fewer than 0 where rows come."""

    def add(self, parts: Iterable[Stays]) -> None:
        """Change tables further, each on top of what stays of it so far."""
        for part in parts:
            before = self.select_of(part.table)
            select = over(part.select, stored=before)
            gone = part.gone
            if gone is None:
                gone = self._count(before) - self._count(select)
            self.selects[part.table] = select
            self.gone[part.table] = self.gone.get(part.table, 0) + gone

    def select_of(self, table: str) -> str:
        """Return the SELECT of what stays of a table so far."""
        return self.selects.get(table) or rows_of(table)

    def _count(self, select: str) -> int:
        return int(self.scratch.row(over(COUNT, stored=select))[0])


def rows_of(table: str) -> str:
    """Return the SELECT of all rows of a table of the store."""
    return f"select * from store.{quote_identifier(table)}"


def over(select: str, **relations: str) -> str:
    """Return a statement with the SELECTs of the relations that it reads, by name."""
    named = ",\n".join(f"{name} as not materialized ({rows})" for name, rows in relations.items())
    return f"with {named}\n{select}"


def over_each(select: str, tables: Iterable[str], *, nothing: str) -> str:
    """Return the union of a SELECT over `stored`, for each of some tables of the store.

    nothing: the SELECT of no rows, in the same shape.
    """
    parts = [nothing, *(over(select, stored=rows_of(table)) for table in tables)]
    return "\nunion all\n".join(f"({part})" for part in parts)


def kind_of(table: str) -> str:
    """Return the kind of a table: its name, without the number of its segment."""
    kind, _, number = table.rpartition("_")
    return kind if number.isdigit() else table
