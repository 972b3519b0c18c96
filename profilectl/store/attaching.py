"""Attaching a store to a scratch: its path, its lock, its version.

A process that writes shuts everybody else out; one that reads shuts writers out.

The third of five modules that tell how a store is reached: settings, scratch, attaching, segments,
opening.
"""

from __future__ import annotations

import contextlib
import re
import stat
import time
from pathlib import Path

from profilectl.codes import StoreBusy, StoreGone, StoreUnusable
from profilectl.files.leftovers import private_files
from profilectl.store.engine import duckdb
from profilectl.store.same_store import check_not_made, check_opened
from profilectl.store.scratch import Scratch, attaching
from profilectl.store.store_key import wrong_key

SCHEMA_VERSION = 10
"""The version of the tables in schema.sql."""
VERSION = "select value from store.meta where name = 'schema_version'"


def store_name(secret: str) -> str:
    """Return a name that tells a store from others, and does not give away its secret."""
    import hashlib

    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def must_exist(path: Path) -> None:
    """Raise StoreGone if there is no store, before anything is made beside it."""
    if not path.exists() and not path.is_symlink():
        raise StoreGone(
            f"there is no store at {path}", "import a file to make one, or name it with --store"
        )


def check_path(path: Path) -> None:
    """Refuse a path that cannot be a store's: a link, anything but a file, or an unusual name.

    The log of a link would lie beside the link, not beside the store. DuckDB cannot open a name
    with a question mark or with bytes that are not UTF-8. Raises StoreGone, StoreUnusable.
    """
    _check_name(path)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise StoreGone(f"there is no folder {path.parent} for the store") from None
        return
    except OSError as error:
        raise StoreUnusable(f"{path} cannot be used as a store: {error.strerror}") from None
    if stat.S_ISLNK(mode):
        raise StoreUnusable(
            f"{path} is a symbolic link to {path.readlink()}", "name the store itself with --store"
        )
    if stat.S_ISDIR(mode):
        raise StoreUnusable(f"{path} is a folder, not a store")
    if not stat.S_ISREG(mode):
        raise StoreUnusable(f"{path} is not a plain file", "name another with --store")


def _check_name(path: Path) -> None:
    if "?" in str(path.absolute()):
        raise StoreUnusable(
            f"{path} has a question mark in its name or its folder's, which DuckDB cannot open",
            "name another with --store",
        )
    # Python writes a byte of a name that is no UTF-8 as half of a surrogate pair.
    if any("\udc80" <= letter <= "\udcff" for letter in str(path.absolute())):
        raise StoreUnusable(
            f"{path} has something that is not UTF-8 in its name or its folder's,"
            " which DuckDB cannot open",
            "name another with --store",
        )


def attach(scratch: Scratch, path: Path, *, write: bool, until: float) -> None:
    """Attach a store as `store`, as soon as no other process stands in the way.

    It waits until `until`, as time.monotonic. If another file was put in the place of the one that
    was opened (copies.put_in_place), the new one is opened instead. Raises StoreBusy,
    StoreUnusable, StoreGone.
    """
    pause = 0.01
    scratch.confine(path)
    with private_files() if write else contextlib.nullcontext():
        while True:
            try:
                check_path(path)
                file = path.stat()
                scratch.run(attaching(path, write=write))
                check_not_made(scratch, path, file)
                # The lock is on the file that was opened, which may have lost its name meanwhile.
                if path.stat().st_ino == file.st_ino:
                    check_opened(scratch, path, file)
                    scratch.use_cores_for(file.st_size)
                    return
                scratch.run("detach store")
                continue
            except duckdb.IOException as error:
                busy = _busy(path, error)
                if busy is None:
                    raise _unusable(path, error) from None
                if time.monotonic() >= until:
                    raise busy from None
                import random

                # A random pause, so that processes that wait do not all try again at once.
                time.sleep(
                    min(pause * random.uniform(0.5, 1.5), max(until - time.monotonic(), 0.001))
                )
                pause = min(pause * 1.5, 0.5)
            except duckdb.Error as error:
                raise _unusable(path, error) from None
            except FileNotFoundError:
                raise StoreGone(f"there is no store at {path}") from None
            except OSError as error:
                raise StoreUnusable(f"{path} cannot be used as a store: {error.strerror}") from None


def _unusable(path: Path, error: Exception) -> StoreUnusable:
    """Return what is wrong with a file that cannot be attached."""
    # DuckDB has one class of errors for all of these: only the words tell them apart.
    if key := wrong_key(path, str(error)):
        return key
    if "WAL" in str(error):
        return StoreUnusable(
            f"{path}: its log {path.name}.wal is damaged: {plain(error)}",
            "restore a backup; or move the log away to go on without what it holds,"
            " then run profilectl check",
        )
    if "Permission denied" in str(error):
        return StoreUnusable(
            f"{path} cannot be opened: permission denied",
            "let its owner give you access, or name another with --store",
        )
    return StoreUnusable(
        f"{path} cannot be used as a store: {plain(error)}",
        "restore a backup, or name another with --store",
    )


def plain(error: Exception) -> str:
    """Return an error of DuckDB's on one line, not too long."""
    return str(error).splitlines()[0][:300]


def _busy(path: Path, error: Exception) -> StoreBusy | None:
    if "lock" not in str(error):
        return None
    named = re.search(r"PID (\d+)", str(error))
    holder = f"process {named[1]}{_command(named[1])}" if named else "another process"
    return StoreBusy(f"{path} is in use by {holder}", "wait for it, or give --wait SECONDS")


def _command(process: str) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        return " (" + b" ".join(words).decode(errors="replace").strip()[:120] + ")"
    return ""


def no_store(path: Path) -> StoreUnusable:
    """Return the error for a DuckDB file that is no store."""
    return StoreUnusable(
        f"{path} is a DuckDB file, but not a profilectl store", "name another file with --store"
    )


def version_of(scratch: Scratch, path: Path) -> int:
    """Return the schema version of the attached store.

    Raises StoreUnusable if there is none, or it is a newer one.
    """
    try:
        version = int(scratch.rows(VERSION)[0][0])
    except (duckdb.Error, IndexError, ValueError):
        raise no_store(path) from None
    if version > SCHEMA_VERSION:
        raise StoreUnusable(
            f"{path} was made by a newer profilectl"
            f" (schema {version}, this one knows {SCHEMA_VERSION})",
            "upgrade profilectl; the store was not touched",
        )
    return version
