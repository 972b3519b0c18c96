"""A signal ends a command also where the main thread waits for something else than DuckDB."""

from __future__ import annotations

import subprocess
import sys

import pytest

WAITING = """
import os, signal, threading, time
from profilectl.files.ending import end_on_signals

end_on_signals()

def interrupt():
    time.sleep(0.2)
    # The system may hand a signal to any thread. Here it is one that does not wait, so that the
    # system call of the main thread goes on: as when the signal comes just before that call.
    signal.pthread_kill(threading.get_ident(), signal.{signal})

threading.Thread(target=interrupt, daemon=True).start()
try:
    {waits}
except KeyboardInterrupt:
    print("ended")
    time.sleep(1)  # nothing comes a second time
    print("put away")
"""


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("waits", ["input()", "os.read(0, 1)", "time.sleep(20)"])
def test_a_signal_is_heard_that_came_before_the_main_thread_began_to_wait(
    signal: str, waits: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING.format(signal=signal, waits=waits)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        try:
            # Its stdin stays open: the main thread waits for an answer that does not come.
            assert process.wait(10) == 0
            assert process.stdout.read() == "ended\nput away\n"
        finally:
            process.kill()
