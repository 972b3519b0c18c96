"""A delivery that is killed until it is done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from support.places import ROOT

KILLED = """
import os, random, signal, sys, threading, time
def end(after):
    time.sleep(after)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=end, args=(float(sys.argv.pop(1)),), daemon=True).start()
from profilectl.cli.app import main
sys.argv[0] = "profilectl"
main()
"""


def killed_until_done(folder: Path, chance: random.Random, longest: float) -> int:
    """Forward, killed at any moment, until nothing waits; return how often it was killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    times = 0
    while times < 60:
        after = str(chance.uniform(0.3, longest))
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                KILLED,
                after,
                "--quiet",
                "forward",
                "--pause",
                "0.01",
                "--wait",
                "60",
            ],
            cwd=folder,
            env=environment,
            check=False,
            capture_output=True,
        )
        if done.returncode == 0:
            return times
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        times += 1
        longest *= 1.1
    raise AssertionError("it never came to its end")
