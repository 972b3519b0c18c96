"""The key of a store that DuckDB encrypts: one choice for a whole process.

The key lies in a file that nobody else can read, and is on no command line. DuckDB reads encrypted
files by itself. It writes them if its module httpfs is installed, which brings OpenSSL. DuckDB's
own random numbers are too weak for a key, so it is never told to do without
(force_mbedtls_unsafe).
"""

from __future__ import annotations

import os
from pathlib import Path

from profilectl.codes import InputRefused, StoreUnusable

VARIABLE = "PROFILECTL_STORE_KEY"
"""The environment variable that names the file of the key, if --store-key does not."""
SHORTEST = 32
"""The least characters of a key."""
FORM = "the key in its first line: openssl rand -base64 32 makes one"
MODULE = "read-only crypto module"
"""The words in DuckDB's error if it can only read encrypted files."""
REMEDY = (
    "keep the store unencrypted on an encrypted disk,"
    " and copies of it with profilectl backup --encrypt"
)


class _Choice:
    """The file that was chosen, and the file that was read with its key."""

    path: Path | None = None
    read: tuple[Path, str] | None = None


def choose_store_key(path: Path | None) -> None:
    """Choose the file of the key from now on.

    path: None means that the variable names the file, or that stores are not encrypted.
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
    # Read once: every statement that attaches a store asks for it.
    if _Choice.read is None or _Choice.read[0] != path:
        _Choice.read = (path, _read(path))
    return _Choice.read[1]


def _read(path: Path) -> str:
    from profilectl.files.secrets import read_private

    try:
        lines = read_private(path, FORM).decode().splitlines()
    except ValueError:  # bytes that are no text
        lines = []
    key = lines[0].strip() if lines else ""
    if len(key) < SHORTEST or not (key.isascii() and key.isprintable()):
        raise InputRefused(f"{path} holds no key of {SHORTEST} characters or more", FORM)
    return key


def cannot_write(path: Path) -> StoreUnusable:
    """Return the error that an encrypted store is neither made nor written here."""
    return StoreUnusable(
        f"{path} cannot be written encrypted: DuckDB writes encrypted files with its module httpfs"
        " only, which is not installed; it can read them",
        REMEDY,
    )


def wrong_key(path: Path, message: str) -> StoreUnusable | None:
    """Return the error about the key of a store that DuckDB did not open, or None.

    `message` is DuckDB's; None is returned if it is not about the key.
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
