"""DuckDB as everything here that opens a store has it: the module in C, without the Python around.

`import duckdb` takes 100 ms of processor time, `import _duckdb` 20: the rest are expressions,
relations and importlib.metadata, which nothing here uses. The classes are the same in both, so
that a module which imports duckdb can handle connections and errors of this one.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
else:
    try:
        import _duckdb as duckdb
    except ImportError:  # a build of DuckDB that names its module otherwise
        import duckdb

__all__ = ["duckdb"]
