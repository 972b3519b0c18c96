"""The database of one command, in memory, in which the results of SELECTs have names.

Every step of the engine is a SELECT whose result gets a name here, so that a statement can be
pasted into a DuckDB shell, and each step can be timed. The store is attached to it as `store`.

The second of five modules that tell how a store is reached: settings, scratch, attaching, segments,
opening.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from profilectl.codes import StoreUnusable
from profilectl.files import progress
from profilectl.files.ending import interruptible
from profilectl.files.leftovers import folder_beside, linked
from profilectl.files.whole_file import LOG
from profilectl.rules.sql.quoting import quote_identifier, quote_path, quote_text
from profilectl.store.engine import duckdb
from profilectl.store.store_key import store_key

Bound = Mapping[str, object]
"""The values of a statement, by the names that stand in it as $name."""


def attaching(path: Path, name: str = "store", *, write: bool) -> str:
    """Return the statement that attaches a store, with its key if stores are encrypted."""
    options = [] if write else ["read_only"]
    if key := store_key():
        options.append(f"encryption_key {quote_text(key)}")
    return f"attach {quote_path(path)} as {name}" + (f" ({', '.join(options)})" if options else "")


def connect(
    memory_limit: str | None = None, spill: Path | None = None
) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB that never downloads and never prints.

    `memory_limit` is the process's, as DuckDB writes it ("2GB"); `spill` is the folder for what
    does not fit.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        # DuckDB checkpoints temporary tables too, which is of no use: after each few megabytes some
        # small statement took a second more. A store is checkpointed when it is closed.
        "checkpoint_threshold": "100TB",
    }
    if store_key():
        config["temp_file_encryption"] = True
    if memory_limit:
        config["memory_limit"] = _left_for_duckdb(memory_limit)
    if spill:
        config["temp_directory"] = str(spill / "spill")
    connection = duckdb.connect(":memory:", config=config)
    interruptible.add(connection)
    if progress.is_watched():  # only then DuckDB counts how far its statements are
        connection.execute("set enable_progress_bar = true").fetchall()
        connection.execute("set enable_progress_bar_print = false").fetchall()
    else:
        connection.execute("set enable_progress_bar = false").fetchall()
    return connection


PYTHON_BYTES = 100_000_000
"""What Python and its modules take of a process."""
NOT_GIVEN_BACK = 0.18
"""The share of a process's memory that DuckDB has freed and the system has not got back yet."""
UNITS = {"K": 1, "M": 2, "G": 3, "T": 4}


def _left_for_duckdb(memory_limit: str) -> str:
    """Return what DuckDB may take where a process may take `memory_limit`.

    All of a small one is DuckDB's.
    """
    size = re.fullmatch(r"([0-9.]+)\s*([KMGT])(i?)B", memory_limit.strip(), re.IGNORECASE)
    if size is None:
        return memory_limit
    unit = 1024 if size[3] else 1000
    limit = float(size[1]) * unit ** UNITS[size[2].upper()]
    share = limit * (1 - NOT_GIVEN_BACK) - PYTHON_BYTES
    return memory_limit if share < limit / 2 else f"{int(share) // 1000}KB"


def fetched(
    connection: duckdb.DuckDBPyConnection, statement: str, bound: Bound | None = None
) -> list[tuple[Any, ...]]:
    """Run a statement and return all its rows.

    A result must be fetched before the next statement.
    """
    try:
        return connection.execute(statement, bound or {}).fetchall()
    except (duckdb.InterruptException, RuntimeError) as error:
        if (
            "interrupted" not in str(error).lower()
            or threading.current_thread() is not threading.main_thread()
        ):
            raise
        # It was a signal: code that handles failures must not take it for one.
        raise KeyboardInterrupt from None
    except UnicodeDecodeError:
        # DuckDB's message quotes the input, and cuts it in the middle of a character.
        raise duckdb.InvalidInputException(
            "Invalid Input Error: the statement met an input it could not read"
        ) from None


FEW_BYTES = 16_000_000
"""The size of a store and of the files to read, together, below which one core is enough.

A store of a hundred thousand people has more.
"""
CHANGEABLE = (
    "preserve_insertion_order",
    "arrow_large_buffer_size",
    "enable_geoparquet_conversion",
    "disabled_optimizers",
    "threads",
    "max_temp_directory_size",
    "checkpoint_threshold",
)
"""The settings that change while a store is attached; all others are locked then."""


class Scratch:
    """The database of one command.

    `folder` is for data that does not fit into memory; its maker removes it. `reads` are files that
    SQL may read; they are named before a store is attached (confine). With `is_for_one_row` one
    core is used, however large the store is.
    """

    def __init__(
        self,
        folder: Path,
        memory_limit: str | None = None,
        connection: duckdb.DuckDBPyConnection | None = None,
    ) -> None:
        """Use a connection that is there already, or open one."""
        self.folder = folder
        self.reads: list[Path] = []
        self.confined = connection is not None
        self.connection = connection or connect(memory_limit, folder)
        self.is_for_one_row = False
        self.steps: list[tuple[str, float]] = []
        self._kinds: dict[str, str] = {}
        self._one_core = False
        self._store_bytes = self._unpacked_bytes = 0

    def confine(self, path: Path) -> None:
        """Let no statement touch other files from now on, nor change settings back.

        Statements can still open the store with its log, the files of `reads`, and the folder. This
        is called before a store is attached, because a store may come from anybody.
        """
        if self.confined:
            return
        self.confined = True
        if store_key():
            # Without this module DuckDB can read encrypted stores, but not write them.
            with contextlib.suppress(duckdb.Error):
                self.run("load httpfs")
        store = path.absolute()
        files = [
            *(f"{store}{end}" for end in ("", *LOG)),
            *(os.path.realpath(file) for file in self.reads),
        ]
        # The system's folder for temporary data has files of others, so it stays closed.
        # ... which is known once that module was loaded and asked for it.
        tempdir = getattr(sys.modules.get("tempfile"), "tempdir", None)
        shared = tempdir is not None and self.folder == Path(tempdir)
        folders = [] if shared else [str(self.folder)]
        for name, values in (
            ("allowed_paths", files),
            ("allowed_directories", folders),
            ("allowed_configs", CHANGEABLE),
        ):
            if values:
                self.run(f"set {name} = [{', '.join(map(quote_text, values))}]")
        self.run("set enable_external_access = false")
        # Last, because no setting but those of CHANGEABLE can be changed after it.
        self.run("set lock_configuration = true")

    def use_cores_for(self, store_bytes: int) -> None:
        """Use one core where store and files are small, else all.

        Where there is little to do, threads cost more than they give: the import of a few rows
        takes a quarter more processor time with two of them.
        """
        self._store_bytes = store_bytes
        read_bytes = sum(file.stat().st_size for file in self.reads if file.is_file())
        known_bytes = store_bytes + read_bytes + self._unpacked_bytes
        is_small = self.is_for_one_row or known_bytes < FEW_BYTES
        if is_small != self._one_core:
            self.run("set threads = 1" if is_small else "reset threads")
            self._one_core = is_small

    def expect(self, unpacked_bytes: int) -> None:
        """Use cores for what a packed file of `reads` unpacks to, too."""
        self._unpacked_bytes += unpacked_bytes
        self.use_cores_for(self._store_bytes)

    def make(
        self,
        name: str,
        select: str,
        bound: Bound | None = None,
        *,
        keep: bool = True,
        in_order: bool = False,
    ) -> None:
        """Name the result of a query, so that the next one can read it.

        With `keep` its rows are kept (a table), else only the query (a view, which takes no bound
        values). `in_order`: relations are read in the order in which they lie.
        """
        kind = "table" if keep else "view"
        self.drop(name)
        with self.ordered() if in_order else contextlib.nullcontext():
            self.run(f"create temp {kind} {quote_identifier(name)} as {select}", bound, step=name)
        self._kinds[name] = kind

    @contextlib.contextmanager
    def ordered(self) -> Iterator[None]:
        """Have rows written in the order in which they are read."""
        self.keep_order()
        try:
            yield
        finally:
            # A database that a failed write has shut takes no further statement: this must not
            # hide the error of the write.
            with contextlib.suppress(duckdb.FatalException):
                self.forget_order()

    def drop(self, name: str) -> None:
        """Forget a relation, if it is there."""
        kind = self._kinds.pop(name, None)
        if kind:
            self.run(f"drop {kind} temp.{quote_identifier(name)}")

    def has(self, name: str) -> bool:
        """Return whether there is a relation of that name."""
        return name in self._kinds

    def rename(self, name: str, new: str) -> None:
        """Give a relation the name of another one, which is forgotten."""
        self.drop(new)
        self.run(f"alter table temp.{quote_identifier(name)} rename to {quote_identifier(new)}")
        self._kinds[new] = self._kinds.pop(name)

    def run(self, statement: str, bound: Bound | None = None, *, step: str = "") -> None:
        """Run a statement for its effect; a named step is timed."""
        progress.statement(step, self.connection)
        began = time.perf_counter()
        fetched(self.connection, statement, bound)
        if step:
            self.steps.append((step, time.perf_counter() - began))

    def rows(self, select: str, bound: Bound | None = None) -> list[tuple[Any, ...]]:
        """Return all rows of a query: for small results."""
        progress.statement("", self.connection)
        began = time.perf_counter()
        rows = fetched(self.connection, select, bound)
        self.steps.append(("? " + " ".join(select.split())[:60], time.perf_counter() - began))
        return rows

    def row(self, select: str, bound: Bound | None = None) -> tuple[Any, ...]:
        """Return the row of a query that has exactly one."""
        return self.rows(select, bound)[0]

    def forget_order(self) -> None:
        """Let DuckDB write rows in any order from now on, which is several times as fast.

        Every row has its seq by now, and tables that must lie in order are sorted explicitly.
        """
        self.run("set preserve_insertion_order = false")

    def keep_order(self) -> None:
        """Have DuckDB write rows in the order in which they are read, from now on."""
        self.run("set preserve_insertion_order = true")

    def count(self, name: str) -> int:
        """Return the number of rows of a relation."""
        return int(self.row(f"select count(*) from {quote_identifier(name)}")[0])

    def load(
        self, name: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[object]]
    ) -> None:
        """Make a relation of Python rows; columns are (name, SQL type)."""
        spelled = ", ".join(f"{quote_identifier(column)} {kind}" for column, kind in columns)
        self.drop(name)
        self.run(f"create temp table {quote_identifier(name)} ({spelled})")
        self._kinds[name] = "table"
        if rows:
            self.append(name, columns, rows)

    def append(
        self, name: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[object]]
    ) -> None:
        """Add Python rows to a relation, all at once (a hundred times faster than row by row)."""
        lists = ", ".join(f"unnest($c{place}::{kind}[])" for place, (_, kind) in enumerate(columns))
        bound = {f"c{place}": [row[place] for row in rows] for place in range(len(columns))}
        self.run(f"insert into {quote_identifier(name)} select {lists}", bound)

    def cursor(self) -> Scratch:
        """Return a second scratch on the same database, for another thread.

        Stores that are attached are attached to both.
        """
        cursor = self.connection.cursor()
        interruptible.add(cursor)
        return Scratch(self.folder, connection=cursor)

    def close(self) -> None:
        """Close the database, and with it all that is attached."""
        self.connection.close()


def may_write_beside(path: Path) -> bool:
    """Return whether files can be made in the folder of a path."""
    return os.access(path.absolute().parent, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """Return the system's folder for temporary data."""
    import tempfile  # 5 ms, and most stores lie where files can be made

    return Path(tempfile.gettempdir())


@contextlib.contextmanager
def folder_beside_or_elsewhere(path: Path) -> Iterator[Path]:
    """Make a folder for data of a store, readable by its owner only, and remove it at the end.

    It lies beside the store, or in the system's folder for temporary data if the store's folder
    cannot be written.
    """
    beside = path if may_write_beside(path) else _temporary() / path.name
    with folder_beside(beside, "scratch") as folder:
        yield folder


_ONLY_A_PATH = re.compile(r"/[\w/.,+@ -]*")
"""A path in which DuckDB sees nothing but a path: no pattern, no key=value."""


@contextlib.contextmanager
def _only_a_path(folder: Path) -> Iterator[Path]:
    """Yield a path to a folder in which DuckDB's readers see nothing but a path.

    If its own path has a character of a pattern, the path is that of a link to it, in a folder for
    temporary data. Raises StoreUnusable if there is no such folder.
    """
    if _ONLY_A_PATH.fullmatch(str(folder)):
        yield folder
        return
    places = [
        place for place in (str(_temporary()), "/tmp", "/var/tmp") if _ONLY_A_PATH.fullmatch(place)
    ]
    place = next((place for place in places if os.access(place, os.W_OK | os.X_OK)), None)
    if place is None:
        raise StoreUnusable(
            f"{folder.parent} has a character in its name that a pattern may have",
            "name a plain folder with TMPDIR=",
        )
    with linked(folder, place) as plain:
        yield plain


@contextlib.contextmanager
def scratch_beside(path: Path, memory_limit: str | None = None) -> Iterator[Scratch]:
    """Open a scratch whose spilled data lies beside the store, readable by its owner only.

    A store in a folder that cannot be written can be read all the same: then the data lies in the
    system's folder for temporary data. Raises StoreUnusable if there is no room.
    """
    with folder_beside_or_elsewhere(path) as folder, _only_a_path(folder) as plain:
        scratch = Scratch(plain, memory_limit)
        try:
            yield scratch
        finally:
            scratch.close()
