"""How a signal ends a command: as Ctrl-C does, with everything put away.

A query of DuckDB does not end by itself when its caller gives it up: it waits for its own threads,
which go on. So whoever
hears the signal interrupts it. Python hears one when the main thread comes back to it; where it
does not, a thread of ours does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
ENDING = (signal.SIGTERM, signal.SIGHUP)
"""What asks a command to end beside SIGINT: whoever stops it (kill, timeout, systemd), and a
terminal that is closed."""
TOGETHER_S = 3.0
"""Signals within so long of the first are one: the shell and the kernel both tell that a terminal
is closed, and the second must
not cut short what puts things away. A later one is heard again, so that no command is deaf."""
PATIENCE_S = 0.3
"""So long the main thread has to hear a signal before DuckDB is interrupted, and again as often as
it takes."""

interruptible: weakref.WeakSet[Any] = weakref.WeakSet()
"""The connections to DuckDB that are open."""


class Ended(KeyboardInterrupt):
    """A signal ended the command. Whatever knows Ctrl-C knows this."""


_first: tuple[float, int] | None = None
"""When the signal came that ends this command, and which."""
_heard = False
"""Whether the main thread has heard a signal. (No Event: a handler may be interrupted by another
while it holds a lock.)"""
_waking: tuple[int, int] | None = None
"""The pipe by which a signal wakes the thread that interrupts DuckDB."""


def end_on_signals() -> None:
    """Have the signals that ask a process to end raise what Ctrl-C raises. Called in the main
    thread. A signal that is ignored
    (nohup, or Ctrl-C for what a shell began in the background) stays ignored."""
    global _first, _waking  # noqa: PLW0603 - signals are the process's
    _first = None
    for one, handler in ((signal.SIGINT, _interrupt), *((one, _end) for one in ENDING)):
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, handler)
    if _waking is None:
        _waking = os.pipe()
        for end in _waking:
            os.set_blocking(end, end == _waking[0])
        threading.Thread(target=_watch, args=(_waking[0],), daemon=True).start()
    signal.set_wakeup_fd(_waking[1], warn_on_full_buffer=False)


def leave_signals() -> None:
    """Have them end the process at once again: nothing is left to put away."""
    signal.set_wakeup_fd(-1)
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for one in ENDING:
        if signal.getsignal(one) is _end:
            signal.signal(one, signal.SIG_DFL)


def ended_by() -> int | None:
    """Return the signal that ended the command; None: it was Ctrl-C."""
    return _first[1] if _first else None


def end_with_parent() -> None:
    """Leave the signals to the process that began this one, and which ends it: a signal to all of
    them is meant for that one."""
    for one in (signal.SIGINT, *ENDING):
        signal.signal(one, signal.SIG_IGN)


def hang_up_gently() -> None:
    """Have a closed terminal end a server as SIGTERM does, which its loop hears."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


@contextlib.contextmanager
def leaving(leave: Callable[[], object]) -> Iterator[None]:
    """Have the loop that runs within this be told to leave by the signals that end a command, and
    end the command then.

    leave: called in the thread of the loop, by the loop. Of a loop that prints what is raised in
    it, and holds the terminal.
    """
    import asyncio

    came: list[int] = []

    def tell(number: int, frame: FrameType | None) -> None:
        came.append(number)
        try:
            asyncio.get_running_loop().call_soon_threadsafe(leave)
        except RuntimeError:  # it does not run yet, or any more
            _end(number, frame)

    before = {one: signal.getsignal(one) for one in ENDING if signal.getsignal(one) is _end}
    for one in before:
        signal.signal(one, tell)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    if came:
        _end(came[0], None)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as asyncio.run does, and have the signals that end a command cancel it.

    It alone is cancelled, so that it ends what it began in its own order; raised in the loop, a
    signal would cancel everything at once. The command ends then. A second Ctrl-C does not wait.
    """
    import asyncio

    came: list[int] = []

    async def cancelled_by_signals() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        cancel = task.cancel

        def tell(number: int, frame: FrameType | None) -> None:
            came.append(number)
            if len(came) == 1:
                loop.call_soon_threadsafe(cancel)
            elif number == signal.SIGINT:
                _interrupt(number, frame)

        ours = [one for one in (signal.SIGINT, *ENDING) if signal.getsignal(one) in _HANDLERS]
        before = {one: signal.signal(one, tell) for one in ours}
        try:
            return await main
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    try:
        result = asyncio.run(cancelled_by_signals())
    except asyncio.CancelledError:
        if not came:
            raise
    if came:
        (_interrupt if came[0] == signal.SIGINT else _end)(came[0], None)
    return result


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _heard  # noqa: PLW0603
    _heard = True
    _interrupt_queries()
    raise KeyboardInterrupt


def _end(number: int, frame: FrameType | None) -> None:
    global _first, _heard  # noqa: PLW0603
    _heard = True
    now = time.monotonic()
    if _first is None or now - _first[0] > TOGETHER_S:
        _first = (now, _first[1] if _first else number)
        _interrupt_queries()
        raise Ended


_HANDLERS = (_interrupt, _end)


def _watch(waking: int) -> None:
    """Interrupt DuckDB for as long as the main thread does not hear a signal that would end it."""
    global _heard  # noqa: PLW0603
    while numbers := os.read(waking, 64):
        if any(signal.getsignal(one) in _HANDLERS for one in numbers):
            time.sleep(PATIENCE_S)
            while not _heard:
                _interrupt_queries()
                time.sleep(PATIENCE_S)
            _heard = False


def _interrupt_queries() -> None:
    """Interrupt the query of each connection. One that has none takes no notice."""
    for connection in list(interruptible):
        with contextlib.suppress(Exception):  # closed meanwhile
            connection.interrupt()
