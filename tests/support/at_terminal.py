"""A command at a terminal: a person reads its question, and answers."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import sys
from pathlib import Path
from typing import NamedTuple

from support.places import ROOT


class Screen(NamedTuple):
    """What a person saw, and how the command ended."""

    status: int
    """The exit status."""
    text: str
    """Everything that came to the screen."""


def at_terminal(
    *arguments: str, folder: Path, answer: str = "", asks: str = "[y/N]: ", **more: str
) -> Screen:
    """Run the real command with a terminal for all its streams, and answer its question.

    asks: what stands there when it waits for the answer. more: variables of its environment.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200", **more}
    if "CI" not in more:
        environment.pop("CI", None)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        program = [sys.executable, "-m", "profilectl", *arguments]
        os.execve(sys.executable, program, environment)
    shown, is_answered = b"", False
    with contextlib.suppress(OSError):  # Linux says so that the other end is closed
        while select.select(*([terminal], [], []), 60)[0]:
            block = os.read(terminal, 65_536)
            if not block:
                break
            shown += block
            if answer and not is_answered and asks.encode() in shown:
                os.write(terminal, answer.encode())
                is_answered = True
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)  # if it still waits
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    text = shown.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    return Screen(os.waitstatus_to_exitcode(status), text)
