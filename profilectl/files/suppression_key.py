"""The key of the list of those who stay out, in a file of its own.

So the store alone does not tell who is in the list. The file is beside the store, with
`.suppression-key` after its name, unless --suppression-key or the environment names another.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from profilectl.codes import KeyMissing, StoreUnusable
from profilectl.files.leftovers import folder_beside, sync_folder

ENDING = ".suppression-key"
_FORM = re.compile(rb"[0-9a-f]{64}\n?")
VARIABLE = "PROFILECTL_SUPPRESSION_KEY"
_CHOSEN: ContextVar[Path | None] = ContextVar("suppression_key", default=None)
_STORE: ContextVar[Path | None] = ContextVar("store_of_the_key", default=None)


def choose_key(path: Path | None) -> None:
    """Name the file that has the key from now on.

    None: that of the environment, else the one beside the store.
    """
    _CHOSEN.set(path.absolute() if path is not None else None)


def chosen_key() -> Path | None:
    """Return the file that was named, or None."""
    return _CHOSEN.get()


@contextlib.contextmanager
def key_of_store(path: Path) -> Iterator[None]:
    """Have the key beside a store be that of a copy, which is opened and then takes its place."""
    before = _STORE.set(path.absolute())
    try:
        yield
    finally:
        _STORE.reset(before)


def meant_store(store: Path) -> Path:
    """Return the store that a message names: of a copy the one whose place it takes."""
    return _STORE.get() or store


def key_path(store: Path) -> Path:
    """Return where the key of a store is, or would be made."""
    # An option goes before the environment, and this before the file beside the store.
    named = os.environ.get(VARIABLE)
    if path := _CHOSEN.get() or (Path(named) if named else None):
        return path.absolute()
    beside = meant_store(store).absolute()
    return beside.with_name(beside.name + ENDING)


def read_key(path: Path, store: Path) -> str:
    """Return the key in a file.

    Raises StoreUnusable for a file that is not there, that others can read, or that has none.
    """
    content = _private_bytes(path, store)
    if not _FORM.fullmatch(content):
        raise _unusable(
            store,
            f"{path} is no key: it has not 64 hexadecimal digits",
            "put back the one that was made for this store",
        )
    return content.decode().strip()


def _private_bytes(path: Path, store: Path) -> bytes:
    """Return the bytes of the file of a key. Raises StoreUnusable where it is not private."""
    # The checks are made on the open file: its name may lead to another one meanwhile.
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise _unusable(
            store,
            f"their key is not there: {path}",
            "put it back, or name it with --suppression-key FILE",
        ) from None
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise _unusable(
            store,
            f"their key {path} cannot be read: {why}",
            "name the file itself with --suppression-key FILE",
        ) from None
    try:
        _check_private(path, store, os.fstat(opened))
        return os.read(opened, 1024)
    finally:
        os.close(opened)


def _check_private(path: Path, store: Path, status: os.stat_result) -> None:
    """Raise StoreUnusable for a file that is not plain, or that others can read or change."""
    if not stat.S_ISREG(status.st_mode):
        raise _unusable(
            store,
            f"their key {path} is not a plain file",
            "name another with --suppression-key FILE",
        )
    # Root may read the key of the user that it works for.
    if status.st_uid != os.geteuid() and os.geteuid() != 0:
        raise _unusable(
            store,
            f"their key {path} belongs to another user",
            "name a file of your own with --suppression-key FILE",
        )
    if status.st_mode & 0o077:
        raise _unusable(
            store,
            f"their key {path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o})",
            f"chmod 600 {path}",
        )


def is_key(path: Path) -> bool:
    """Return whether a plain file holds a key, under any name."""
    try:
        with path.open("rb") as content:
            return bool(_FORM.fullmatch(content.read(1024)))
    except OSError:
        return False


def make_key(path: Path, store: Path) -> str:
    """Return the key in a file, which is made where there is none.

    It is made whole or not at all, for its owner only. Raises StoreUnusable.
    """
    if os.path.lexists(path):
        return read_key(path, store)
    import secrets

    key = secrets.token_hex(32)
    # If this command is killed, the next one takes the folder away.
    with folder_beside(
        path.with_name(path.name.removesuffix(ENDING) or path.name), "new"
    ) as folder:
        _write(folder / path.name, path, key)
    return read_key(path, store)


def _write(new: Path, path: Path, key: str) -> None:
    """Write a key under a name of our own, then give it its name. Raises StoreUnusable."""
    try:
        opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(opened, "wb") as out:
            out.write(f"{key}\n".encode())
            out.flush()
            os.fsync(out.fileno())
        _put(new, path)
        # A new name outlives a power cut only once its folder is on the disk.
        sync_folder(path.absolute().parent)
    except OSError as error:
        raise StoreUnusable(
            f"the key of those who stay out could not be made: {path}: {error.strerror}",
            "make room, or name another with --suppression-key FILE",
        ) from None


def _put(new: Path, path: Path) -> None:
    """Give the file its name, unless another process was faster."""
    with contextlib.suppress(FileExistsError):
        try:
            os.link(new, path, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if not os.path.lexists(path):
                new.rename(path)


def fingerprint_of(key: str) -> str:
    """Return a text that tells a key from another, and shows nothing of it."""
    import hashlib

    return hashlib.sha256(f"fingerprint:{key}".encode()).hexdigest()[:32]


def wrong_key(path: Path, store: Path) -> StoreUnusable:
    """Return the error of a key that belongs to another store."""
    return _unusable(
        store,
        f"{path} is the key of another store",
        "put back the one that was made for this one, or name it with --suppression-key FILE",
    )


def _unusable(store: Path, why: str, hint: str) -> StoreUnusable:
    return KeyMissing(
        f"{store} keeps people out who were erased, and {why}",
        f"{hint}; without it they would come back. Where it is lost for good: profilectl privacy"
        " lift-all",
    )
