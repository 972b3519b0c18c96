"""Starts the command on a disk that fails (failing.c), forked as forkserver.py does.

Everything that differs between two runs of the same command is held: the clock, what is drawn at
random for the store, how many threads DuckDB has. So the calls come in the same order each time,
and what two runs leave can be compared to the last value.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import time

from support import forkserver

NOW_NS = 1_790_000_000_000_000_000


def hold() -> None:
    """Hold the clock, what is random, and the number of threads."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    time.time_ns = lambda: NOW_NS
    time.time = lambda: NOW_NS / 1e9
    secrets.token_hex = lambda size=None: "5a" * (size or 32)
    secrets.token_urlsafe = lambda size=None: "5a" * ((size or 32) * 11 // 16)


def arm() -> None:
    """Have the library that is preloaded count the calls of this process, and fail one.

    The environment says which.
    """
    log = os.open(os.environ["FAILING_LOG"], os.O_WRONLY | os.O_APPEND)
    ctypes.CDLL(None).failing_arm(
        os.fsencode(os.environ["FAILING_FOLDER"]),
        int(os.environ["FAILING_MODE"]),
        ctypes.c_long(int(os.environ["FAILING_AT"])),
        log,
    )


if __name__ == "__main__":
    forkserver.prepare()
    forkserver.serve()
    from profilectl.cli.app import main

    hold()
    if os.environ.get("FAILING_LOG"):
        arm()
    forkserver.leave(main)
