"""DuckDB as everything here that opens a store has it: the module in C, without the Python around.

`import duckdb` takes 100 ms of processor time, `import _duckdb` 20: the rest are expressions,
relations and Arrow, which only exports, look-ups and comparisons need. The classes are the same in
both, so that a module which imports duckdb can handle connections and errors of this one.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
else:
    try:
        import _duckdb as duckdb
    except ImportError:  # a build of DuckDB that names its module otherwise
        import duckdb

__all__ = ["duckdb", "give_arrow", "relation_of"]


def give_arrow() -> None:
    """Let connections read and make Arrow tables, which DuckDB's Python does."""
    importlib.import_module("duckdb")


def relation_of(
    connection: duckdb.DuckDBPyConnection, select: str, bound: Mapping[str, object] | None = None
) -> duckdb.DuckDBPyRelation:
    """Return the relation of a SELECT, which can be had as Arrow."""
    give_arrow()
    return connection.sql(select, params=bound or {})
