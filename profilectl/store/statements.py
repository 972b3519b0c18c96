"""Statements put together from whole ones, for every module that writes SQL.

A statement is a constant that names the queries it reads. `reading` writes these before it, so that
DuckDB gets one statement, which can be pasted into a shell. Texts that become part of a statement
are quoted here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from profilectl.rules.sql.quoting import quote_identifier, quote_text

if TYPE_CHECKING:
    from profilectl.store.scratch import Scratch

COUNT = "select count(*) from stored"


def reading(statement: str, /, **queries: str) -> str:
    """Return a SELECT with the queries that it names: `with name as (query)` before it.

    Each query is worked out where it is read, as if it stood there in parentheses.
    """
    return _with(statement, [(name, "as not materialized", queries[name]) for name in queries])


def reading_once(statement: str, /, **queries: str) -> str:
    """Return a SELECT with the queries that it names, each worked out once and kept."""
    return _with(statement, [(name, "as materialized", queries[name]) for name in queries])


def stepwise(statement: str, /, *, remembered: Collection[str], **queries: str) -> str:
    """Return a SELECT with the queries that it names; those in `remembered` are worked out once.

    DuckDB decides about the others: a query that is read once is worked out where it is read.
    """
    return _with(
        statement,
        [
            (name, "as materialized" if name in remembered else "as", query)
            for name, query in queries.items()
        ],
    )


def _with(statement: str, queries: Iterable[tuple[str, str, str]]) -> str:
    named = {name: f"{name} {manner} ({query})" for name, manner, query in queries}
    before, own = ",\n".join(named.values()), statement.lstrip()
    if own.startswith("with "):
        # A statement may have queries of its own, which read these; but not two of one name.
        if not any(re.search(rf"\b{name} as\b", own) for name in named):
            return f"with {before}, {own[5:]}"
        own = f"({own})"
    # After `with`, DuckDB loses the queries of a statement that begins with a parenthesis.
    return f"with {before}\n{select('*', own) if own.startswith('(') else own}"


def select(columns: str | Iterable[str], rows: str, clause: str = "") -> str:
    """Return the SELECT of some columns of a relation.

    `clause` is what follows: joins, a WHERE clause, an order, or nothing.
    """
    listed = columns if isinstance(columns, str) else ", ".join(columns)
    return f"select {listed} from {rows} {clause}"


def union_all(queries: Iterable[str], none: str = "") -> str:
    """Return the SELECT of the rows of several queries, or `none` if there is no query."""
    return " union all ".join(queries) or none


def in_any(conditions: Iterable[str]) -> str:
    """Return the condition that one of several holds; it is false if there are none."""
    return " or ".join(conditions) or "false"


def numbers(values: Iterable[int]) -> str:
    """Return numbers as an IN list has them; null if there are none."""
    return ", ".join(map(str, values)) or "null"


def texts(values: Iterable[str]) -> str:
    """Return texts as an IN list has them; null if there are none."""
    return ", ".join(map(quote_text, values)) or "null"


def is_in(column: str, values: str) -> str:
    """Return the condition that a column is in a list of values, or in a query."""
    return f"{column} in ({values})"


def among(relation: str) -> str:
    """Return the condition that a row's profile is in a relation, or in a query in parentheses."""
    return is_in("profile", f"select profile from {relation}")


def listed(columns: str, rows: Iterable[Iterable[object]]) -> str:
    """Return the SELECT of one or more rows that are given as numbers and pieces of SQL."""
    values = ", ".join(f"({', '.join(map(str, row))})" for row in rows)
    return f"select * from (values {values}) as listed({columns})"


def case(condition: str, value: str, otherwise: str = "null") -> str:
    """Return the SQL of a value if a condition holds, and of another one otherwise."""
    return f"case when {condition} then {value} else {otherwise} end"


def or_else(value: str, otherwise: str) -> str:
    """Return the SQL of a value, or of another one if it is null."""
    return f"coalesce({value}, {otherwise})"


def matches(text: str, pattern: str) -> str:
    """Return the SQL of whether a whole text matches a regular expression that has no quotes."""
    return f"regexp_full_match({text}, '{pattern}')"


def json_part(document: str, pointer: str) -> str:
    """Return the SQL of the JSON text of a part of a document, by its path."""
    return f"json_extract({document}, {quote_text(pointer)})::varchar"


def rows_of(table: str) -> str:
    """Return the SELECT of all rows of a table of the store."""
    return f"select * from store.{quote_identifier(table)}"


def over_each(statement: str, tables: Iterable[str], *, nothing: str | None = None) -> str:
    """Return the union of a SELECT over `stored`, for each of some tables of the store.

    `nothing` is a SELECT of the same shape that is added, so that the union is never empty.
    """
    parts = [reading(statement, stored=rows_of(table)) for table in tables]
    return union([nothing, *parts] if nothing else parts)


def union(queries: Iterable[str]) -> str:
    """Return the union of queries of the same shape, each in parentheses: it may have a WITH."""
    return "\nunion all\n".join(f"({query})" for query in queries)


def count_rows(scratch: Scratch, query: str, bound: dict[str, Any] | None = None) -> int:
    """Return how many rows a SELECT has."""
    return int(scratch.row(reading(COUNT, stored=query), bound)[0])


def kind_of(table: str) -> str:
    """Return the kind of a table: its name, without the number of its segment."""
    kind, _, number = table.rpartition("_")
    return kind if number.isdigit() else table
