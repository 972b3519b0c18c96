"""A command at a terminal: a person reads its question, and answers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import threading
from pathlib import Path
from typing import NamedTuple

from support.doors import run_on
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


class Size(NamedTuple):
    """The size of a terminal."""

    columns: int
    """How many letters a line has."""
    lines: int
    """How many lines it has."""


TOLD = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "CI", "PROFILECTL_STORE")
"""The variables that would tell a command something else than its terminal does."""


def seen(
    *arguments: str, folder: Path, size: Size, answer: str = "", asks: str = "[y/N]: ", **more: str
) -> Screen:
    """Run the real command at a terminal of this size, in colours, without the price of a Python.

    The text is everything that the terminal was sent.
    """
    environment = {name: value for name, value in os.environ.items() if name not in TOLD}
    environment |= {"TERM": "xterm-256color", **more}
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))
    sent = bytearray()

    def read() -> None:
        is_answered = False
        with contextlib.suppress(OSError):  # Linux says so that the other end is closed
            while block := os.read(ours, 65_536):
                sent.extend(block)
                if answer and not is_answered and asks.encode() in sent:
                    is_answered = True
                    os.write(ours, answer.encode())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        status = run_on(os.ttyname(its), arguments, folder=folder, environment=environment)
    finally:
        os.close(its)
        reader.join()
        os.close(ours)
    return Screen(status, sent.decode("utf-8", "surrogateescape").replace("\r\n", "\n"))
