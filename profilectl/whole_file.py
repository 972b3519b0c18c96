"""Writing a file so that it appears whole under its name, or not at all.

What a command writes holds personal data and may go to a folder others write to as well: the file is
made under another name with mode 0600 and renamed when it is complete; a link, a device or a folder
of that name is refused, never followed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from profilectl.codes import InputRefused


def check_target(path: Path, option: str = "-o", *, replace: bool = True) -> None:
    """Refuse a path that could not be written in the end. replace: a file of that name may go.

    Raises InputRefused.
    """
    hint = f"name another file with {option}"
    if not path.absolute().parent.is_dir():
        raise InputRefused(f"{path} cannot be written: there is no folder {path.parent}", hint)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputRefused(f"{path} cannot be written: {error.strerror}", hint) from None
    if stat.S_ISLNK(mode):
        raise InputRefused(f"{path} is a symbolic link; what it points to is not written to", f"name the file itself with {option}")
    if not stat.S_ISREG(mode):
        raise InputRefused(f"{path} is not a plain file", hint)
    if not replace:
        raise InputRefused(f"{path} is there already", hint)


@contextlib.contextmanager
def whole_file(path: Path, option: str = "-o", *, replace: bool = True) -> Iterator[BinaryIO]:
    """Open a file that appears under its name, with mode 0600, only when all of it is written.

    Raises InputRefused where it cannot be written.
    """
    check_target(path, option, replace=replace)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.absolute().parent)
    except OSError as error:
        raise InputRefused(f"{path} cannot be written: {error.strerror}", f"name another file with {option}") from None
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
