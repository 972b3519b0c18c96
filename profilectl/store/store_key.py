"""The key of a store that DuckDB encrypts: one choice for a whole process, as the store's path is.

It lies in a file that nobody else can read, and is on no command line. DuckDB reads encrypted files
by itself, and writes them where its module httpfs is installed, which has OpenSSL in it; its own
random numbers are too weak for a key, so it is not asked to write with them (force_mbedtls_unsafe).
"""

from __future__ import annotations

import os
from pathlib import Path

from profilectl.codes import InputRefused, StoreUnusable
from profilectl.files.secrets import read_private

VARIABLE = "PROFILECTL_STORE_KEY"
"""The variable that names the file of the key, where --store-key does not."""
SHORTEST = 32
"""How many characters a key has at least."""
FORM = "the key in its first line: openssl rand -base64 32 makes one"
MODULE = "read-only crypto module"
"""What DuckDB says where it can read encrypted files only."""
REMEDY = (
    "keep the store unencrypted on an encrypted disk,"
    " and copies of it with profilectl backup --encrypt"
)


class _Choice:
    """The file that was chosen, and what was read."""

    path: Path | None = None
    read: tuple[Path, str] | None = None


def choose_store_key(path: Path | None) -> None:
    """Say which file holds the key from now on; None: the variable says it, or stores are not
    encrypted.
    """
    _Choice.path, _Choice.read = path, None


def known_store_key() -> tuple[Path, str] | None:
    """Return the file of the key and the key, for a process that this one begins.

    None: stores are not encrypted.
    """
    return _Choice.read if store_key() else None


def take_store_key(handed_over: tuple[Path, str] | None) -> None:
    """Take the key from the process that began this one: the file may be gone by now."""
    if handed_over is not None:
        _Choice.path, _Choice.read = handed_over[0], handed_over


def store_key() -> str | None:
    """Return the key; None: stores are not encrypted.

    Raises InputRefused for a file that others could read or that holds none.
    """
    named = os.environ.get(VARIABLE)
    path = _Choice.path or (Path(named) if named else None)
    if path is None:
        return None
    if _Choice.read is None or _Choice.read[0] != path:
        _Choice.read = (path, _read(path))
    return _Choice.read[1]


def _read(path: Path) -> str:
    try:
        lines = read_private(path, FORM).decode().splitlines()
    except ValueError:
        lines = []
    key = lines[0].strip() if lines else ""
    if len(key) < SHORTEST or not (key.isascii() and key.isprintable()):
        raise InputRefused(f"{path} holds no key of {SHORTEST} characters or more", FORM)
    return key


def cannot_write(path: Path) -> StoreUnusable:
    """Return why an encrypted store is neither made nor written here."""
    return StoreUnusable(
        f"{path} cannot be written encrypted: DuckDB writes encrypted files with its module httpfs"
        " only, which is not installed; it can read them",
        REMEDY,
    )


def wrong_key(path: Path, message: str) -> StoreUnusable | None:
    """Return what is wrong with the key of a store that DuckDB did not open; None: nothing is.

    `message` is DuckDB's.
    """
    if MODULE in message:
        return cannot_write(path)
    if "without a key" in message:
        return StoreUnusable(
            f"{path} is encrypted", f"name the file of its key with --store-key or {VARIABLE}"
        )
    if "Wrong encryption key" in message:
        return StoreUnusable(
            f"{path} is encrypted with another key",
            f"name the file of that with --store-key or {VARIABLE}",
        )
    if "is not encrypted" in message:
        return StoreUnusable(
            f"{path} is not encrypted, and a key was given", f"leave out --store-key and {VARIABLE}"
        )
    return None
