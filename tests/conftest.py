"""What holds for every test."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

# An assert in support/ says as much as one in a test.
pytest.register_assert_rewrite("support")

# A shell that starts the suite in the background has it ignore interrupts, and a process hands that
# on to those it starts: the tests that interrupt a command would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A store is forced to the disk at every commit, and the tests make some thousands: in memory that
# costs nothing. What is tested is the same, but for the disk. PYTEST_DEBUG_TEMPROOT names another
# place.
MEMORY = Path("/dev/shm")
ROOM = 8 << 30
if (
    "PYTEST_DEBUG_TEMPROOT" not in os.environ
    and os.access(MEMORY, os.W_OK)
    and shutil.disk_usage(MEMORY).free > ROOM
):
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)

# Where a process may not keep the asserts it has rewritten, each of them rewrites all: collecting
# takes 9 s of processor time, and 3 with them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# DuckDB makes and frees some thousand small objects for each statement. Where the C library keeps
# more of them at hand, in the processes that are started from here, commands take 3 % less.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.tcache_count=2000")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Return the number of processes for `-n auto`: one more than there are cores.

    Some tests wait: those of a served store for 8 of 15 s. None: the user says how many.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) + 1


def pytest_collection_finish() -> None:
    """Collect garbage less often: what was imported and collected until here stays to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
