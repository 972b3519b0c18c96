"""The key and the secret of an input: from the environment, or from a file that nobody else can read.

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

KEY, SECRET = "PROFILECTL_PUSH_KEY", "PROFILECTL_PUSH_SECRET"
LARGEST = 65_536
FORM = 'key = "..." and secret = "..." in TOML, or {"key": "...", "secret": "..."} in JSON'


@dataclass(frozen=True, slots=True)
class Credentials:
    """What HTTP Basic sends. Its text shows nothing."""

    key: str = field(repr=False)
    secret: str = field(repr=False)


def credentials_of(path: Path | None, environment: Mapping[str, str]) -> Credentials:
    """Return the credentials of a file, or of the environment where path is None.

    Raises InputRefused for a file that others could read or that has none, UsageError where there are none.
    """
    if path is not None:
        return _checked(_read(path), str(path))
    missing = [name for name in (KEY, SECRET) if not environment.get(name)]
    if missing:
        raise UsageError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set", f"set {KEY} and {SECRET}, or name a file with --credentials")
    return _checked({"key": environment[KEY], "secret": environment[SECRET]}, "the environment")


def _read(path: Path) -> object:
    """Return what a file holds; what is checked is what is read."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise InputRefused(f"{path} cannot be read: {why}", "name a file with a key and a secret") from None
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise InputRefused(f"{path} is not a plain file", "name a file with a key and a secret")
        if found.st_uid != os.geteuid():
            raise InputRefused(f"{path} belongs to another user", "credentials are read from a file of your own")
        if found.st_mode & 0o077:
            raise InputRefused(f"{path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o})", f"chmod 600 {path}")
        content = os.read(opened, LARGEST)
    finally:
        os.close(opened)
    # Messages of the parsers quote what they read.
    try:
        text = content.decode()
        return json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (ValueError, RecursionError):
        raise InputRefused(f"{path} is neither TOML nor JSON", FORM) from None


def _checked(found: object, where: str) -> Credentials:
    key, secret = (found.get("key"), found.get("secret")) if isinstance(found, dict) else (None, None)
    if not isinstance(key, str) or not isinstance(secret, str) or not key or not secret:
        raise InputRefused(f"{where} has no key and secret", FORM)
    if ":" in key or not (key + secret).isascii() or not (key + secret).isprintable():
        raise InputRefused(f"the key or the secret of {where} holds a character that cannot be sent", FORM)
    return Credentials(key, secret)
