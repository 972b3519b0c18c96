"""Secrets: from the environment, or from a file that nobody else can read.

They are never on a command line, which other users of the machine see, and never in a message.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from profilectl.codes import InputRefused, UsageError

PUSH_KEY, PUSH_SECRET = "PROFILECTL_PUSH_KEY", "PROFILECTL_PUSH_SECRET"
LARGEST = 1 << 20
PAIR = 'key = "..." and secret = "..." in TOML, or {"key": "...", "secret": "..."} in JSON'


@dataclass(frozen=True, slots=True)
class KeyAndSecret:
    """A key and its secret. Its text shows nothing."""

    key: str = field(repr=False)
    secret: str = field(repr=False)


def credentials_of(
    path: Path | None,
    environment: Mapping[str, str],
    key: str = PUSH_KEY,
    secret: str = PUSH_SECRET,
) -> KeyAndSecret:
    """Return the key and the secret of a file, or where path is None of the variables of these
    names.

    Raises InputRefused for a file that others could read or that has none, UsageError where there
    are none.
    """
    if path is not None:
        return _checked(read_secrets(path, PAIR), str(path))
    missing = [name for name in (key, secret) if not environment.get(name)]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
            f"set {key} and {secret}, or name a file with --credentials",
        )
    return _checked({"key": environment[key], "secret": environment[secret]}, "the environment")


def read_secrets(path: Path, form: str) -> dict[str, object]:
    """Return what a TOML or JSON file of secrets holds. form: what should stand in it.

    Raises InputRefused for a file that others could read, or change by being its owner, and for
    what is neither.
    """
    content = read_private(path, form)
    # Messages of the parsers quote what they read.
    try:
        text = content.decode()
        told = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise InputRefused(f"{path} is neither TOML nor JSON", form)
    return told


def read_private(path: Path, form: str) -> bytes:
    """Return what a file holds that nobody else can read or change; what is checked is what is
    read. form: what should stand in it.

    Raises InputRefused for any other file.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise InputRefused(f"there is no file {path}", f"make one with {form}") from None
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise InputRefused(f"{path} cannot be read: {why}", f"name a file with {form}") from None
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise InputRefused(f"{path} is not a plain file", f"name a file with {form}")
        if found.st_uid != os.geteuid():
            raise InputRefused(
                f"{path} belongs to another user", "credentials are read from a file of your own"
            )
        if found.st_mode & 0o077:
            raise InputRefused(
                f"{path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o})",
                f"chmod 600 {path}",
            )
        return os.read(opened, LARGEST)
    finally:
        os.close(opened)


def sendable(text: str) -> bool:
    """Say whether a text can stand in a header."""
    return text.isascii() and text.isprintable()


def _checked(found: Mapping[str, object], where: str) -> KeyAndSecret:
    key, secret = found.get("key"), found.get("secret")
    if not isinstance(key, str) or not isinstance(secret, str) or not key or not secret:
        raise InputRefused(f"{where} has no key and secret", PAIR)
    if ":" in key or not sendable(key + secret):
        raise InputRefused(
            f"the key or the secret of {where} holds a character that cannot be sent", PAIR
        )
    return KeyAndSecret(key, secret)
