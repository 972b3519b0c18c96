"""Is the time left that a command shows true? `python benchmarks/progress.py -- import FILE ...`.

The command runs under a pseudo terminal of 80 columns. Each time left that it shows is compared
with the time that it really took until its end. Of the last two thirds of the work, each must be
true within 30 %, or within one second: the line has whole seconds.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path

SHOWN = re.compile(rb"(?:(\d+) h )?(?:(\d+) min ?)?(?:(\d+) s )?left")
TOLERATED = 0.3
ROUNDED_S = 1.0
ERASE = b"\r\x1b[J"


@dataclass(frozen=True, slots=True)
class Shown:
    """A time left that was shown."""

    at_s: float
    """When, in seconds since the command began."""
    left_s: float
    """The seconds left that it said."""
    line: str
    """The whole line."""


def watch(command: list[str], columns: int = 80) -> tuple[list[Shown], float]:
    """Run a command under a pseudo terminal; return what it showed, and its seconds."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown: list[Shown] = []
    while True:
        try:
            text = os.read(ours, 65536)
        except OSError:  # the last process that had the terminal is gone
            break
        at_s = time.monotonic() - began
        for line in text.split(ERASE):
            found = SHOWN.search(line)
            if found:
                hours, minutes, seconds = (int(part or 0) for part in found.groups())
                left_s = float(hours * 3600 + minutes * 60 + seconds)
                shown.append(Shown(at_s, left_s, line.decode("utf-8", "replace").strip()))
    process.wait()
    return shown, time.monotonic() - began


def judged(shown: list[Shown], whole_s: float) -> dict[str, float]:
    """Return how true the times left were in the last two thirds."""
    late = [each for each in shown if each.at_s >= whole_s / 3]
    errors = []
    for each in late:
        real_s = whole_s - each.at_s
        error_s = abs(each.left_s - real_s)
        errors.append(0.0 if error_s <= ROUNDED_S else error_s / max(real_s, 0.001))
    within = sum(error <= TOLERATED for error in errors)
    return {
        "seconds": round(whole_s, 1),
        "shown": len(late),
        "within_30_percent": round(within / max(len(late), 1), 3),
        "worst": round(max(errors, default=0.0), 2),
        "median": round(sorted(errors)[len(errors) // 2], 2) if errors else 0.0,
    }


def main() -> None:
    """Run the command of the arguments, print each tenth line, and the judgement."""
    words = sys.argv[sys.argv.index("--") + 1 :]
    shown, whole_s = watch([sys.executable, "-m", "profilectl", *words])
    for place in range(0, len(shown), max(1, len(shown) // 24)):
        each = shown[place]
        print(f"{each.at_s:6.1f} s, really {whole_s - each.at_s:6.1f} left: {each.line}")
    print(json.dumps(judged(shown, whole_s)))
    Path(os.environ.get("SHOWN", os.devnull)).write_text(
        json.dumps([[each.at_s, each.left_s] for each in shown]), "utf-8"
    )


if __name__ == "__main__":
    main()
