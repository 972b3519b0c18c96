"""What a command says of a failure, and the exit status that it ends with.

Loaded only where something failed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from dataclasses import dataclass

from profilectl.codes import Exit
from profilectl.store.store_key import MODULE

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The errors of a full or broken disk or stream.

An error without a file name is of the output: the command's work is complete, its output is not.
"""
LOOK_AT_THE_HISTORY = "profilectl imports list tells whether an import is made"


@dataclass(frozen=True)
class StoreTrouble:
    """A failure of DuckDB that the machine or the file causes, and its remedy."""

    words: tuple[str, ...]
    """Parts of DuckDB's message: one of them is enough."""
    message: str
    """The text before DuckDB's own message."""
    hint: str
    """The remedy."""


UNUSABLE = (
    StoreTrouble(
        words=(
            "No space left",
            "Out of Memory",
            "failed to allocate",
            "File too large",
            "Could not write",
        ),
        message="",
        hint="make room on the disk or give --memory-limit more; the store is as before",
    ),
    StoreTrouble(
        words=(MODULE,),
        message="the store is encrypted, and DuckDB can read such files here, not write them: ",
        hint=(
            "give --memory-limit more, so that nothing has to be spilled;"
            " or install DuckDB's httpfs"
        ),
    ),
    StoreTrouble(
        words=("fsync failed", "has been invalidated", "CHECKPOINT during DETACH failed"),
        message="the disk did not take what was written: ",
        hint=f"mend the disk, then profilectl check; {LOOK_AT_THE_HISTORY}",
    ),
    StoreTrouble(
        words=("Corrupt", "checksum", "IO Error", "Serialization Error"),
        message="the store cannot be read: ",
        hint="restore a backup; profilectl check says what of it is readable",
    ),
)
"""The failures of DuckDB, in the order in which they are tried."""


def end_of_system_error(error: OSError) -> Exit:
    """Print what the system refused, and return the exit status."""
    if error.errno in FULL and not error.filename:
        say(
            f"{error.strerror}: where the output goes",
            f"make room and give the command again; {LOOK_AT_THE_HISTORY}",
        )
        return Exit.UNFINISHED
    if error.errno in FULL:
        say(
            f"{error.strerror}: {error.filename}",
            f"make room, or mend the disk, and give the command again; {LOOK_AT_THE_HISTORY}",
        )
        return Exit.UNUSABLE
    if error.strerror:
        say(f"{error.strerror}: {error.filename or 'where the output goes'}", "")
    else:
        say(str(error), "")
    return Exit.FAULT


def end_of_fault(error: Exception) -> Exit:
    """Print what failed, and return the exit status.

    Under PROFILECTL_TRACEBACK the error is raised again, unless the machine or the file caused it.
    """
    first_line = str(error).splitlines()[0] if str(error) else ""
    if type(error).__module__.lstrip("_").startswith("duckdb"):
        for trouble in UNUSABLE:
            if any(word in str(error) for word in trouble.words):
                say(trouble.message + first_line[:300], trouble.hint)
                return Exit.UNUSABLE
    if os.environ.get("PROFILECTL_TRACEBACK"):
        raise error
    say(
        f"a fault in profilectl: {type(error).__name__}: {first_line}",
        "please report it, with the output under PROFILECTL_TRACEBACK=1; the store is as before",
    )
    return Exit.FAULT


def say_interrupted() -> None:
    """Print that the command was interrupted; print nothing if the terminal is gone."""
    try:
        say(
            "interrupted",
            (
                "what was being written is complete or not there at all; profilectl imports list"
                " shows whether an import is"
            ),
        )
        sys.stdout.flush()
    except OSError:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(message: str, hint: str) -> None:
    """Print on stderr what is wrong, and what to do."""
    from profilectl.render.screen import error

    error(message, hint)
