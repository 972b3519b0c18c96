"""Statements over relations that get their names when they run: tables of segments have numbers.

A statement is a constant that reads `stored`, or another name that says what a row is. `over` puts
the meaning of that name before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from profilectl.rules.sql.quoting import quote_identifier
from profilectl.store.scratch import Scratch

COUNT = "select count(*) from stored"


def rows_of(table: str) -> str:
    """Return the SELECT of all rows of a table of the store."""
    return f"select * from store.{quote_identifier(table)}"


def over(select: str, **relations: str) -> str:
    """Return a statement with the SELECTs of the relations that it reads, by name."""
    named = ",\n".join(f"{name} as not materialized ({rows})" for name, rows in relations.items())
    # A statement that names relations itself stands in parentheses: it may use the same names.
    own = f"select * from ({select})" if select.lstrip().startswith("with ") else select
    return f"with {named}\n{own}"


def over_each(select: str, tables: Iterable[str], *, nothing: str | None = None) -> str:
    """Return the union of a SELECT over `stored`, for each of some tables of the store.

    `nothing` is a SELECT of the same shape that is added, so that the union is never empty.
    """
    parts = [over(select, stored=rows_of(table)) for table in tables]
    return union([nothing, *parts] if nothing else parts)


def union(selects: Iterable[str]) -> str:
    """Return the union of SELECTs of the same shape."""
    return "\nunion all\n".join(f"({select})" for select in selects)


def count_rows(scratch: Scratch, select: str, bound: dict[str, Any] | None = None) -> int:
    """Return how many rows a SELECT has."""
    return int(scratch.row(over(COUNT, stored=select), bound)[0])


def kind_of(table: str) -> str:
    """Return the kind of a table: its name, without the number of its segment."""
    kind, _, number = table.rpartition("_")
    return kind if number.isdigit() else table
