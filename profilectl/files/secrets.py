"""Secrets: from the environment, or from a file that nobody else can read.

They are never on a command line, which other users of the machine see, and never in a message.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from profilectl.codes import InputRefused, UsageError

PUSH_KEY, PUSH_SECRET = "PROFILECTL_PUSH_KEY", "PROFILECTL_PUSH_SECRET"
LARGEST = 1 << 20
"""How many bytes of a file of secrets are read."""
PAIR = 'key = "..." and secret = "..." in TOML, or {"key": "...", "secret": "..."} in JSON'


@dataclass(frozen=True, slots=True)
class KeyAndSecret:
    """A key and its secret; the repr shows neither."""

    key: str = field(repr=False)
    """The key, which may be shown."""
    secret: str = field(repr=False)
    """The secret, which nobody else may see."""


def credentials_of(
    path: Path | None,
    environment: Mapping[str, str],
    key: str = PUSH_KEY,
    secret: str = PUSH_SECRET,
) -> KeyAndSecret:
    """Return the key and the secret of a file, or of the environment where there is no path.

    key, secret: the names of the variables. Raises InputRefused for a file that others could read
    or that has none, UsageError where the variables are not set.
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
    """Return the values of a TOML or JSON file of secrets. form: what should stand in it.

    Raises InputRefused for a file that others own or could read, and for a file that is neither
    TOML nor JSON.
    """
    import tomllib

    content = read_private(path, form)
    # Messages of the parsers quote what they read.
    try:
        text = content.decode()
        document = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InputRefused(f"{path} is neither TOML nor JSON", form)
    return document


def read_private(path: Path, form: str) -> bytes:
    """Return the bytes of a file that nobody else can read or change.

    The file that is checked is the one that is read, even if its name changes hands meanwhile.
    form: what should stand in it. Raises InputRefused for any other file.
    """
    # Opened first, then checked: the name may lead to another file meanwhile. O_NONBLOCK is for a
    # pipe of that name, which would have the command wait.
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise InputRefused(f"there is no file {path}", f"make one with {form}") from None
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise InputRefused(f"{path} cannot be read: {why}", f"name a file with {form}") from None
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise InputRefused(f"{path} is not a plain file", f"name a file with {form}")
        if status.st_uid != os.geteuid():
            raise InputRefused(
                f"{path} belongs to another user", "credentials are read from a file of your own"
            )
        if status.st_mode & 0o077:
            raise InputRefused(
                f"{path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o})",
                f"chmod 600 {path}",
            )
        return os.read(opened, LARGEST)
    finally:
        os.close(opened)


def sendable(text: str) -> bool:
    """Return whether a text can stand in a header of HTTP."""
    return text.isascii() and text.isprintable()


def _checked(values: Mapping[str, object], source: str) -> KeyAndSecret:
    """Return the key and the secret of a source. Raises InputRefused where they cannot be sent."""
    key, secret = values.get("key"), values.get("secret")
    if not isinstance(key, str) or not isinstance(secret, str) or not key or not secret:
        raise InputRefused(f"{source} has no key and secret", PAIR)
    # A colon would end the key in basic authentication (RFC 7617).
    if ":" in key or not sendable(key + secret):
        raise InputRefused(
            f"the key or the secret of {source} holds a character that cannot be sent", PAIR
        )
    return KeyAndSecret(key, secret)
