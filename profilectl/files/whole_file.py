"""Writing a file so that it appears whole under its name, or not at all.

The files of a command hold personal data and may go to a folder that others write to as well. So a
file is made under another name with mode 0600, and renamed when it is complete. A link, a device or
a folder of that name is refused, never followed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from profilectl.codes import InputRefused, UsageError
from profilectl.files import leftovers
from profilectl.files.suppression_key import ENDING, is_key

LOG = (".wal", ".wal.checkpoint", ".wal.recovery")
"""The endings of the files that DuckDB writes beside a database."""


def check_target(
    path: Path, option: str = "-o", *, replace: bool = True, store: bool = False
) -> None:
    """Refuse a path that could not be written in the end.

    Files that killed commands have left in its folder are removed. replace: a file of that name may
    be replaced; store: even a store, which nothing else brings back. Raises InputRefused, and
    UsageError for "-".
    """
    check_named(path, option)
    hint = _another(option)
    if not path.absolute().parent.is_dir():
        raise InputRefused(f"{path} cannot be written: there is no folder {path.parent}", hint)
    leftovers.sweep(path.absolute().parent)
    if of := _belongs_to(path):
        raise InputRefused(
            f"{path} is the log or the key of the store {of}; it is not written over", hint
        )
    # lstat: a link is refused, not followed.
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputRefused(f"{path} cannot be written: {error.strerror}", hint) from None
    if stat.S_ISLNK(mode):
        raise InputRefused(
            f"{path} is a symbolic link; what it points to is not written to",
            f"name the file itself with {option}",
        )
    if not stat.S_ISREG(mode):
        raise InputRefused(f"{path} is not a plain file", hint)
    if is_key(path):
        raise InputRefused(
            f"{path} is the key of those who stay out of a store; it is not written over", hint
        )
    if not store and is_database(path):
        raise InputRefused(
            f"{path} is a store, or another DuckDB database; it is not written over", hint
        )
    if not replace:
        raise InputRefused(f"{path} is there already", hint)


def check_named(path: Path, option: str = "-o") -> None:
    """Refuse "-", which means standard input or output and never a file. Raises UsageError."""
    if str(path) == "-":
        raise UsageError(
            f"{option} -: what is written there does not go to standard output",
            _another(option).replace("another", "a"),
        )


def _another(option: str) -> str:
    return (
        f"name another file with {option}" if option.startswith("-") else f"name another {option}"
    )


def check_apart(
    outputs: Sequence[tuple[str, str | Path | None]], inputs: Sequence[str | Path]
) -> None:
    """Refuse outputs (option, path) that would be written over an input, or over one another.

    Raises UsageError.
    """
    # Several names of one file are one place.
    uses = {os.path.realpath(path): f"{path} is read" for path in inputs if str(path) != "-"}
    for option, path in outputs:
        if path is None:
            continue
        place = os.path.realpath(path)
        if place in uses:
            raise UsageError(f"{option} {path}: {uses[place]}", "name another file")
        uses[place] = f"{option} is written there"


def _belongs_to(path: Path) -> Path | None:
    """Return the store whose log or key a path is, or would be taken for."""
    for end in (*LOG, ENDING):
        of = path.with_name(path.name.removesuffix(end) or path.name)
        if of != path and is_database(of):
            return of
    return None


def is_database(path: Path) -> bool:
    """Return whether a file is a DuckDB database, or is or would be the log of one."""
    if path.suffix == ".wal" and path.with_suffix("").is_file():
        return is_database(path.with_suffix(""))
    try:
        with path.open("rb") as content:
            # behind a checksum of eight bytes
            return content.read(12)[8:] == b"DUCK"
    except OSError:
        return False


@contextlib.contextmanager
def whole_file(
    path: Path, option: str = "-o", *, replace: bool = True, store: bool = False
) -> Iterator[BinaryIO]:
    """Open a file that appears under its name, with mode 0600, only when all of it is written.

    replace, store: as check_target has them. Raises InputRefused where it cannot be written.
    """
    check_target(path, option, replace=replace, store=store)
    try:
        new, handle = leftovers.locked_file(path)
    except OSError as error:
        raise InputRefused(
            f"{path} cannot be written: {error.strerror}", _another(option)
        ) from None
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            _to_the_disk(stream, path, option)
            # Named before it is closed: an unlocked file would be taken for left over.
            try:
                if replace:
                    leftovers.put(new, path)
                elif not leftovers.put_new(new, path):
                    raise InputRefused(f"{path} is there already", _another(option))
            except OSError as error:
                raise _unwritten(path, option, error) from None
    finally:
        leftovers.drop_file(new)


def _to_the_disk(stream: BinaryIO, path: Path, option: str) -> None:
    """Force a stream to the disk. Raises InputRefused where the disk does not take it."""
    try:
        stream.flush()
        os.fsync(stream.fileno())
    except OSError as error:
        raise _unwritten(path, option, error) from None


def _unwritten(path: Path, option: str, error: OSError) -> InputRefused:
    return InputRefused(
        f"{path} could not be written: {error.strerror}", f"make room, or {_another(option)}"
    )
