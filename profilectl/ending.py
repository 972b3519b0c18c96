"""How a signal ends a command: as Ctrl-C does, with everything put away."""

from __future__ import annotations

import signal
import time
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""What asks a command to end beside SIGINT: whoever stops it (kill, timeout, systemd), and a terminal that is closed."""
TOGETHER_S = 3.0
"""Signals within so long of the first are one: the shell and the kernel both tell that a terminal is closed, and the second must
not cut short what puts things away. A later one is heard again, so that no command is deaf."""


class Ended(KeyboardInterrupt):
    """A signal ended the command. Whatever knows Ctrl-C knows this."""


_first: tuple[float, int] | None = None
"""When the signal came that ends this command, and which."""


def end_on_signals() -> None:
    """Have the signals that ask a process to end raise what Ctrl-C raises. Called in the main thread. A signal that is ignored
    (nohup) stays ignored."""
    global _first  # noqa: PLW0603 - signals are the process's
    _first = None
    for one in ENDING:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, _end)


def leave_signals() -> None:
    """Have them end the process at once again: nothing is left to put away."""
    for one in ENDING:
        if signal.getsignal(one) is _end:
            signal.signal(one, signal.SIG_DFL)


def ended_by() -> int | None:
    """Return the signal that ended the command; None: it was Ctrl-C."""
    return _first[1] if _first else None


def end_with_parent() -> None:
    """Leave the signals to the process that began this one, and which ends it: a signal to all of them is meant for that one."""
    for one in (signal.SIGINT, *ENDING):
        signal.signal(one, signal.SIG_IGN)


def hang_up_gently() -> None:
    """Have a closed terminal end a server as SIGTERM does, which its loop hears."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def _end(number: int, frame: FrameType | None) -> None:
    global _first  # noqa: PLW0603
    now = time.monotonic()
    if _first is None or now - _first[0] > TOGETHER_S:
        _first = (now, _first[1] if _first else number)
        raise Ended
