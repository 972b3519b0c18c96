"""The store that a process is held to: no other is opened at its path, and none is made there.

A server runs for weeks, and one day the file at the path of its store may be moved away, restored,
or replaced by another store. A batch that was written there would be lost, and yet reported as
safe. So the process that imports for a server compares the store's id (`meta.store_id`, which a
backup keeps) each time it opens the store, under the lock under which it then writes. Once it has
written, it checks that the file is still the one at the path.

The same holds for a command that opens its store again and again and writes down what it did
outside (`forward`, `push`). Other commands are held to nothing: they work on what they find.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from profilectl.codes import OtherStore, StoreGone, StoreUnusable
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.store.engine import duckdb
from profilectl.store.scratch import Scratch
from profilectl.store.statements import reading, select, union_all

HEADERS = 3 * 4096
"""Bytes of a DuckDB file before its first block."""
TABLES = "select table_name from duckdb_tables() where database_name = 'store'"
# A file that DuckDB has just made has no table.
ANY_TABLE = "select table_name from duckdb_tables() where database_name = 'store' limit 1"
SIZES = """
select block_size, total_blocks, used_blocks
from pragma_database_size()
where database_name = 'store'
"""
STORE_ID = "select value from store.meta where name = 'store_id'"
# A piece of a column may lie in further blocks beside its own.
BLOCKS = "greatest(block_id, coalesce(list_max(additional_block_ids), -1)) as block"
LAST_BLOCK = "select max(block) from storage"
TOGETHER = 50
"""The number of tables that are looked at with one statement."""
_STORE_IDS: dict[Path, str] = {}
"""The path of a store -> the id that it must have."""
_OPENED: dict[Path, tuple[int, int]] = {}
"""The path of a store -> the file that was opened there last: its device and number."""

_WHOLE: dict[Path, tuple[int, int, int]] = {}
"""The path of a store -> the file that was last seen to be whole: number, size, time of writing."""


def hold_to(path: Path, store_id: str) -> None:
    """Hold this process to the store with an id at a path, from now on."""
    _STORE_IDS[path.absolute()] = store_id


@contextlib.contextmanager
def held_to(path: Path, store_id: str) -> Iterator[None]:
    """Hold this process to the store with an id at a path, for a while."""
    hold_to(path, store_id)
    try:
        yield
    finally:
        _STORE_IDS.pop(path.absolute(), None)
        _OPENED.pop(path.absolute(), None)


def is_held(path: Path) -> bool:
    """Return whether this process is held to the store at a path; then it makes none there."""
    return path.absolute() in _STORE_IDS


def check_opened(scratch: Scratch, path: Path, file: os.stat_result) -> None:
    """Check that the attached store is whole, and the one that this process is held to.

    `file` is the file that was opened. Raises OtherStore, StoreUnusable; then it is detached.
    """
    store_id = _STORE_IDS.get(path.absolute())
    if store_id is None:
        return
    try:
        check_same(scratch, path, store_id)
        _check_whole(scratch, path)
    except BaseException:
        _detach(scratch)
        raise
    _OPENED[path.absolute()] = file.st_dev, file.st_ino


def check_not_made(scratch: Scratch, path: Path, file: os.stat_result) -> None:
    """Remove a file that DuckDB has made at a path that this process is held to.

    That happens if the store was taken away just before it was opened for writing. `file` is the
    one that was there before. Raises StoreGone.
    """
    if not is_held(path) or scratch.rows(ANY_TABLE):
        return
    opened = path.stat()
    signature = (opened.st_ino, opened.st_ctime_ns, opened.st_size)
    if signature != (file.st_ino, file.st_ctime_ns, file.st_size):
        path.unlink()  # while nobody else can open it
        _detach(scratch)
        raise StoreGone(f"there is no store at {path}", RIGHT)


def _detach(scratch: Scratch) -> None:
    with contextlib.suppress(duckdb.Error):
        scratch.run("detach store")


def check_same(scratch: Scratch, path: Path, store_id: str) -> None:
    """Check that the attached store has an id. Raises OtherStore, StoreUnusable."""
    try:
        rows = scratch.rows(STORE_ID)
    except duckdb.CatalogException:
        raise OtherStore(f"{path} is no profilectl store any more", RIGHT) from None
    except duckdb.Error as error:
        raise StoreUnusable(f"{path} cannot be read: {type(error).__name__}", RIGHT) from None
    if rows != [(store_id,)]:
        raise OtherStore(f"{path} is another store than the one that was opened first", RIGHT)


RIGHT = "put the right one back"


def _check_whole(scratch: Scratch, path: Path) -> None:
    """Check that a file has all the blocks that its tables are in.

    A file that is still being copied can be opened, and fails only when its end is read. Free
    blocks at its end may be missing. Raises StoreUnusable.
    """
    file = path.stat()  # once more: opening it may have folded its log in
    written = file.st_ino, file.st_size, file.st_mtime_ns
    if _WHOLE.get(path.absolute()) == written:
        return
    ((size, total, used),) = scratch.rows(SIZES)
    there = (file.st_size - HEADERS) // size
    try:
        whole = there >= total or (there >= used and there > _last_block(scratch))
    except duckdb.Error:
        whole = False
    if not whole:
        raise StoreUnusable(f"{path} lacks its end", "wait until it is copied, or restore a backup")
    _WHOLE[path.absolute()] = written


def _last_block(scratch: Scratch) -> int:
    """Return the number of the last block of the attached store that a table is in; -1 for none."""
    last_block = -1
    tables = [name for (name,) in scratch.rows(TABLES)]
    for start in range(0, len(tables), TOGETHER):
        storage = union_all(
            select(BLOCKS, f"pragma_storage_info({quote_text('store.' + quote_identifier(name))})")
            for name in tables[start : start + TOGETHER]
        )
        (highest,) = scratch.row(reading(LAST_BLOCK, storage=storage))
        last_block = max(last_block, -1 if highest is None else int(highest))
    return last_block


def note_replaced(path: Path) -> None:
    """Note that this process itself has put a file in the place of the one that it opened."""
    if path.absolute() in _OPENED:
        file = path.lstat()
        _OPENED[path.absolute()] = file.st_dev, file.st_ino


def check_in_place(path: Path) -> None:
    """Check that the file opened last is still the one at a path that this process is held to.

    Raises StoreGone, OtherStore: then the change was written to a file that is there no more.
    """
    opened = _OPENED.get(path.absolute())
    if opened is None or not is_held(path):
        return
    try:
        file = path.lstat()
    except OSError:
        raise StoreGone(f"{path} was moved away while it was written", RIGHT) from None
    if (file.st_dev, file.st_ino) != opened:
        raise OtherStore(f"{path} was replaced while it was written", RIGHT)
