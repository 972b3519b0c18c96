"""The lock of forwarding: one process at a time forwards from a store."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from profilectl.codes import StoreBusy, StoreUnusable
from profilectl.files.leftovers import stem


@contextlib.contextmanager
def only_forwarding(path: Path) -> Iterator[None]:
    """Keep a second process from forwarding: it would send everything again, and out of order.

    Raises StoreBusy where another process forwards, StoreUnusable where no lock can be made.
    """
    name = path.absolute().parent / f".{stem(path.name)}.forward"
    while True:
        try:
            lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreUnusable(f"{name} cannot be made: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise StoreBusy(f"another process forwards from {path}", "wait for it") from None
        with contextlib.suppress(OSError):
            if name.stat().st_ino == os.fstat(lock).st_ino:
                break
        os.close(lock)  # the process before has removed it
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # without its lock it keeps nobody out
            name.unlink()
        os.close(lock)
