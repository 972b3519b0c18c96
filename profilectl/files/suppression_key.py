"""The key of the list of those who stay out: in a file of its own, so that the store alone does not
tell who is in it.

Beside the store, with `.suppression-key` after its name, unless --suppression-key or the
environment names another.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
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
    """Say which file has the key from now on; None: that of the environment, else the one beside
    the store.
    """
    _CHOSEN.set(path.absolute() if path is not None else None)


def chosen_key() -> Path | None:
    """Return the file that was named, or None."""
    return _CHOSEN.get()


@contextlib.contextmanager
def key_of_store(path: Path) -> Iterator[None]:
    """Take the key beside a store for that of whatever is opened: a copy of it, which then takes
    its place.
    """
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
    named = os.environ.get(VARIABLE)
    if found := _CHOSEN.get() or (Path(named) if named else None):
        return found.absolute()
    beside = meant_store(store).absolute()
    return beside.with_name(beside.name + ENDING)


def read_key(path: Path, store: Path) -> str:
    """Return the key in a file.

    Raises StoreUnusable for a file that is not there, that others can read, or that has none.
    """
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
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise _unusable(
                store,
                f"their key {path} is not a plain file",
                "name another with --suppression-key FILE",
            )
        if found.st_uid != os.geteuid() and os.geteuid() != 0:
            raise _unusable(
                store,
                f"their key {path} belongs to another user",
                "name a file of your own with --suppression-key FILE",
            )
        if found.st_mode & 0o077:
            raise _unusable(
                store,
                f"their key {path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o})",
                f"chmod 600 {path}",
            )
        content = os.read(opened, 1024)
    finally:
        os.close(opened)
    if not _FORM.fullmatch(content):
        raise _unusable(
            store,
            f"{path} is no key: it has not 64 hexadecimal digits",
            "put back the one that was made for this store",
        )
    return content.decode().strip()


def is_key(path: Path) -> bool:
    """Say whether a plain file holds a key, whatever it is called."""
    try:
        with path.open("rb") as content:
            return bool(_FORM.fullmatch(content.read(1024)))
    except OSError:
        return False


def make_key(path: Path, store: Path) -> str:
    """Return the key in a file, made where there is none: whole or not at all, for its owner only.
    Raises StoreUnusable.
    """
    if os.path.lexists(path):
        return read_key(path, store)
    key = secrets.token_hex(32)
    # In a folder that the next command takes away, where this one is killed.
    with folder_beside(
        path.with_name(path.name.removesuffix(ENDING) or path.name), "new"
    ) as folder:
        _write(folder / path.name, path, key)
    return read_key(path, store)


def _write(made: Path, path: Path, key: str) -> None:
    try:
        opened = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(opened, "wb") as out:
            out.write(f"{key}\n".encode())
            out.flush()
            os.fsync(out.fileno())
        _put(made, path)
        sync_folder(path.absolute().parent)
    except OSError as error:
        raise StoreUnusable(
            f"the key of those who stay out could not be made: {path}: {error.strerror}",
            "make room, or name another with --suppression-key FILE",
        ) from None


def _put(made: Path, path: Path) -> None:
    """Give the file its name, unless another process was faster."""
    with contextlib.suppress(FileExistsError):
        try:
            os.link(made, path, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if not os.path.lexists(path):
                made.rename(path)


def fingerprint_of(key: str) -> str:
    """Return what tells a key from another, and nothing of it."""
    return hashlib.sha256(f"fingerprint:{key}".encode()).hexdigest()[:32]


def wrong_key(path: Path, store: Path) -> StoreUnusable:
    """Return what is said of the key of another store."""
    return _unusable(
        store,
        f"{path} is the key of another store",
        "put back the one that was made for this one, or name it with --suppression-key FILE",
    )


def _unusable(store: Path, why: str, hint: str) -> StoreUnusable:
    return KeyMissing(
        f"{store} keeps people out who were erased, and {why}",
        f"{hint}; without it they would come back. Where it is lost for good: profilectl privacy lift-all",
    )
