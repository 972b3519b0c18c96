"""A store copied whole: for a backup, before an upgrade, or to put a changed copy in its place.

The bytes are copied under the store's shared lock, its log with them, and read back.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import BinaryIO

from profilectl.codes import StoreBusy, StoreUnusable
from profilectl.files import progress
from profilectl.files.leftovers import folder_beside, private_files, put, sync_folder
from profilectl.rules.sql.quoting import quote_identifier
from profilectl.store.attaching import attach, plain
from profilectl.store.engine import duckdb
from profilectl.store.same_store import note_replaced
from profilectl.store.scratch import Scratch, attaching
from profilectl.store.signature import signature_of
from profilectl.store.statements import select
from profilectl.store.store import DISK_FAILED
from profilectl.store.store_key import wrong_key

BLOCK = 4 * 1024 * 1024
"""The number of bytes that are copied at once."""
FICLONE = 0x40049409
"""The request of Linux by which one file takes over another's blocks."""
NOT_IN_KERNEL = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""The errors by which the kernel says that it does not copy between these two files."""


TABLES = """
select table_name
from duckdb_tables()
where database_name = 'store'
order by table_oid
"""


# The rows of each table of the store, about, without a look at them.
SIZES = """
select table_name, estimated_size
from duckdb_tables()
where database_name = 'store'
order by table_oid
"""
WEIGHTS = {"row": 1.6, "event": 1.6, "index": 0.25}
"""The seconds to copy a million rows of a kind of table, compared with 0.1 for any other."""
LAID = {"row": 5.0, "event": 5.0, "index": 0.6}
"""The seconds to sort them with those of other segments, and write them."""


def copy_store(path: Path, target: Path, *, until: float) -> int:
    """Copy a store to a path where nothing is, with mode 0600; return the bytes of the copy.

    It waits for a writer until `until`, as time.monotonic. The copy is read back twice: its bytes
    are compared with those that were read, then it is opened as a store, and the rows of every
    table are counted. Raises StoreBusy, StoreUnusable.
    """
    try:
        with (
            folder_beside(target, "copy") as folder,
            contextlib.closing(Scratch(folder)) as scratch,
        ):
            copy = folder / "store"
            attach(scratch, path, write=False, until=until)
            before = _counts(scratch)
            progress.step("copying")
            digests = _copy_files(path, copy)
            scratch.run("detach store")
            progress.step("reading back")
            for part, digest in digests:
                if _digest(part) != digest:
                    raise StoreUnusable(
                        f"the copy of {path} is not what was read", "is the disk sound?"
                    )
            # Opened for writing once, so that a log is folded in and the copy is one file.
            scratch.run(attaching(copy, write=True))
            after = _counts(scratch)
            scratch.run("detach store")
            if before != after:
                raise StoreUnusable(
                    f"the copy of {path} does not hold what the store holds", "please report it"
                )
            return _put_copy(copy, target)
    except OSError as error:
        raise StoreUnusable(
            f"{path} could not be copied to {target}: {error.strerror}",
            "make room, or name another folder",
        ) from None
    except duckdb.Error as error:
        if key := wrong_key(target, str(error)):
            raise key from None
        raise StoreUnusable(f"{path} could not be copied to {target}: {plain(error)}") from None


def _copy_files(path: Path, copy: Path) -> list[tuple[Path, str]]:
    """Copy a store and its log; return the copies, and the hash of what each was read from."""
    # Closing a file takes away all locks that this process has on it, also DuckDB's. So no file is
    # closed before all are copied.
    with contextlib.ExitStack() as opened:
        parts = [
            (opened.enter_context(path.with_name(path.name + suffix).open("rb")), part)
            for suffix, part in (("", copy), (".wal", copy.with_name("store.wal")))
            if path.with_name(path.name + suffix).exists()
        ]
        return [(part, _copy(content, part)) for content, part in parts]


def _put_copy(copy: Path, target: Path) -> int:
    """Give a copy its mode and its name; return its bytes."""
    os.chmod(copy, 0o600)
    size = copy.stat().st_size
    _force(copy)
    put(copy, target)
    return size


def _copy(content: BinaryIO, target: Path) -> str:
    """Copy a file's bytes to the disk and return their hash."""
    digest = hashlib.sha256()
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        size, copied = max(1, os.fstat(content.fileno()).st_size), 0
        while block := content.read(BLOCK):
            digest.update(block)
            out.write(block)
            copied += len(block)
            progress.span(copied / size, 1)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def copy_for_reading(
    scratch: Scratch, path: Path, target: Path, *, until: float
) -> tuple[object, ...]:
    """Copy a store and its log as fast as the machine can; return the signature of the store.

    The shared lock is held for as long as the copying takes: no time if the file system shares
    blocks between files (XFS, Btrfs), else a second for some 2 GB. Nothing is read back, because
    the copy is read from for a while and is no backup. Raises StoreBusy, StoreUnusable, and OSError
    if there is no room.
    """
    attach(scratch, path, write=False, until=until)
    try:
        was = signature_of(path)
        for suffix in ("", ".wal"):
            with contextlib.suppress(FileNotFoundError):
                _copy_blocks(
                    path.with_name(path.name + suffix), target.with_name(target.name + suffix)
                )
        if signature_of(path) != was:
            raise StoreBusy(
                f"{path} was written while it was copied, by something that asks nobody"
            )
    finally:
        # Closing the file gave up the lock; detaching only forgets it.
        scratch.run("detach store")
    return was


def _copy_blocks(source: Path, target: Path) -> None:
    """Copy a file within the kernel, by sharing its blocks if the file system can."""
    with (
        source.open("rb") as content,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
    ):
        try:
            fcntl.ioctl(out.fileno(), FICLONE, content.fileno())
        except OSError:
            _copy_in_kernel(content, out)


def _copy_in_kernel(content: BinaryIO, out: BinaryIO) -> None:
    """Copy a file's bytes without reading them here, if the system can; else by reading."""
    if not hasattr(os, "copy_file_range"):  # macOS
        shutil.copyfileobj(content, out, BLOCK)
        return
    remaining = os.fstat(content.fileno()).st_size
    while remaining > 0:
        try:
            copied = os.copy_file_range(content.fileno(), out.fileno(), remaining)
        except OSError as error:
            if error.errno not in NOT_IN_KERNEL:
                raise
            shutil.copyfileobj(content, out, BLOCK)
            return
        if not copied:
            return
        remaining -= copied


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _counts(scratch: Scratch) -> dict[str, int]:
    """Count the rows of every table of the attached store."""
    return {
        name: scratch.row(select("count(*)", f"store.{quote_identifier(name)}"))[0]
        for (name,) in scratch.rows(TABLES)
    }


@private_files()
def _shares(scratch: Scratch, left_out: Collection[str]) -> dict[str, tuple[float, float]]:
    """Return, of the copying of all tables, the share at which each begins and ends.

    Tables that are left out are laid together later, which is weighed here too.
    """
    sizes = {name: size / 1e6 for name, size in scratch.rows(SIZES)}
    kinds = {name: name.rpartition("_")[0] for name in sizes}
    for kind, seconds in LAID.items():
        laid = sum(sizes[name] for name in left_out if kinds.get(name) == kind)
        progress.weigh(f"write {kind}", laid * seconds + 0.01)
    copied = {
        name: 0.01 + WEIGHTS.get(kinds[name], 0.1) * size
        for name, size in sizes.items()
        if name not in left_out
    }
    whole, shares, before = sum(copied.values()), {}, 0.0
    if left_out:  # else copying is weighed with the steps of an erasure, or is all there is
        progress.weigh("copying", whole)
    for name, seconds in copied.items():
        shares[name] = (before / whole, (before + seconds) / whole)
        before += seconds
    return shares


def rewrite_store(
    scratch: Scratch,
    path: Path,
    folder: Path,
    stays: Mapping[str, str] | None = None,
    *,
    left_out: Collection[str] = (),
    more: Callable[[], None] = lambda: None,
) -> Path:
    """Write the attached store anew, without the room that dropped tables left.

    Return the new file. It is made of rows, not of bytes, so nothing deleted is in it. `stays` has
    for a table the SELECT of the rows that are written; of any other table all are. `left_out` are
    tables that are not in it; `more` writes further ones. Raises StoreUnusable.
    """
    rewritten = folder / "rewritten"
    progress.step("copying")
    try:
        scratch.run(attaching(rewritten, "rewritten", write=True))
        if stays is None:
            scratch.run("copy from database store to rewritten")
        else:
            scratch.run("set preserve_insertion_order = true")
            scratch.run("copy from database store to rewritten (schema)")
            shares = _shares(scratch, left_out) if progress.is_watched() else {}
            for (table,) in scratch.rows(TABLES):
                name = quote_identifier(table)
                progress.span(*shares.get(table, (0, 1)))
                if table in left_out:
                    scratch.run(f"drop table rewritten.{name}")
                else:
                    rows = stays.get(table) or select("*", f"store.{name}")
                    scratch.run(f"insert into rewritten.{name} {rows}")
        more()
        scratch.run("detach rewritten")
    except DISK_FAILED as error:
        raise StoreUnusable(
            f"{path} could not be written anew: {plain(error)}", "make room; the store is as before"
        ) from None
    return rewritten


def put_in_place(scratch: Scratch, new_store: Path, path: Path) -> None:
    """Put a complete store in the place of the one that is attached for writing.

    A process that waits for the lock sees that the file is another one, and opens that
    (attaching.attach). Raises StoreUnusable; then the store is as before.
    """
    try:
        _fold_log(scratch, new_store)
        progress.step("putting")
        scratch.run("checkpoint store")
        _force(new_store)
        # DuckDB would take a log of the old store for one of the new.
        path.with_name(path.name + ".wal").unlink(missing_ok=True)
        os.replace(new_store, path)
        note_replaced(path)
    except DISK_FAILED as error:
        raise _not_replaced(path, plain(error)) from None
    except OSError as error:
        raise _not_replaced(path, str(error.strerror)) from None
    with contextlib.suppress(OSError):
        sync_folder(path.absolute().parent)


def _force(path: Path) -> None:
    """Force a file's bytes to the disk."""
    with path.open("rb") as content:
        os.fsync(content.fileno())


def _fold_log(scratch: Scratch, new_store: Path) -> None:
    """Fold the log of a new store into it, if closing it left one.

    Only the file takes the store's place: anything that is in the log alone would be lost. Raises
    duckdb.Error.
    """
    if new_store.with_name(new_store.name + ".wal").exists():
        scratch.run(attaching(new_store, "folded", write=True))
        scratch.run("detach folded")  # it fails if the log stays


def _not_replaced(path: Path, why: str) -> StoreUnusable:
    return StoreUnusable(
        f"{path} could not be replaced by what was made: {why}",
        "the store is as before; make room, or mend the disk",
    )
