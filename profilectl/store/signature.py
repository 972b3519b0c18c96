"""The marks by which a store's file is known to be as it was."""

from __future__ import annotations

from pathlib import Path


def signature_of(path: Path) -> tuple[object, ...]:
    """Return the marks that change with a store: its file, times and size, and those of its log.

    Raises OSError if there is no store.
    """
    file = path.stat()
    try:
        log = path.with_name(path.name + ".wal").stat()
        logged: tuple[object, ...] = (log.st_ino, log.st_mtime_ns, log.st_size)
    except FileNotFoundError:
        logged = ()
    return (file.st_dev, file.st_ino, file.st_mtime_ns, file.st_ctime_ns, file.st_size, *logged)
