"""TODO store.attaching (split off store.store)."""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import stat
import time
from pathlib import Path

import duckdb

from profilectl.codes import StoreBusy, StoreGone, StoreUnusable
from profilectl.files.leftovers import private_files
from profilectl.store.same_store import check_not_made, check_opened
from profilectl.store.scratch import Scratch, attaching
from profilectl.store.store_key import wrong_key

SCHEMA_VERSION = 7


def store_name(secret: str) -> str:
    """Return what tells a store from others, which says nothing of its secret."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def must_exist(path: Path) -> None:
    """Raise StoreUnusable where there is no store, before anything is made beside it."""
    if not path.exists() and not path.is_symlink():
        raise StoreGone(
            f"there is no store at {path}", "import a file to make one, or name it with --store"
        )


def check_path(path: Path) -> None:
    """Refuse a link, whose log would lie beside the link, what is not a file at all, and a name
    that DuckDB reads another way.
    """
    if "?" in str(path.absolute()):
        raise StoreUnusable(
            f"{path} has a question mark in its name or its folder's, which DuckDB cannot open",
            "name another with --store",
        )
    # a byte that is no character
    if any("\udc80" <= letter <= "\udcff" for letter in str(path.absolute())):
        raise StoreUnusable(
            f"{path} has something that is not UTF-8 in its name or its folder's, which DuckDB cannot open",
            "name another with --store",
        )
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


def attach(scratch: Scratch, path: Path, *, write: bool, until: float) -> None:
    """Attach, as soon as no other process stands in the way.

    A file that was put in the place of the one that was opened (copies.put_in_place) is opened
    instead.
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
                if path.stat().st_ino == file.st_ino:
                    check_opened(scratch, path, file)
                    return
                scratch.run("detach store")
                continue
            except duckdb.IOException as error:
                busy = _busy(path, error)
                if busy is None:
                    raise _unusable(path, error) from None
                if time.monotonic() >= until:
                    raise busy from None
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
    """Say what is wrong with a file that cannot be attached."""
    if key := wrong_key(path, str(error)):
        return key
    if "WAL" in str(error):
        return StoreUnusable(
            f"{path}: its log {path.name}.wal is damaged: {plain(error)}",
            "restore a backup; or move the log away to go on without what it holds, then run profilectl check",
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
    return str(error).splitlines()[0][:300]


def _busy(path: Path, error: Exception) -> StoreBusy | None:
    if "lock" not in str(error):
        return None
    found = re.search(r"PID (\d+)", str(error))
    holder = f"process {found[1]}{_command(found[1])}" if found else "another process"
    return StoreBusy(f"{path} is in use by {holder}", "wait for it, or give --wait SECONDS")


def _command(process: str) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        return " (" + b" ".join(words).decode(errors="replace").strip()[:120] + ")"
    return ""


def no_store(path: Path) -> StoreUnusable:
    return StoreUnusable(
        f"{path} is a DuckDB file, but not a profilectl store", "name another file with --store"
    )


def version_of(scratch: Scratch, path: Path) -> int:
    """Return the schema version of the attached store.

    Raises StoreUnusable for none, and for a newer one.
    """
    try:
        found = scratch.rows("select value from store.meta where name = 'schema_version'")
        version = int(found[0][0])
    except (duckdb.Error, IndexError, ValueError):
        raise no_store(path) from None
    if version > SCHEMA_VERSION:
        raise StoreUnusable(
            f"{path} was made by a newer profilectl (schema {version}, this one knows {SCHEMA_VERSION})",
            "upgrade profilectl; the store was not touched",
        )
    return version
