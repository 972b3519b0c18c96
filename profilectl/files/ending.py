"""How a signal ends a command: as Ctrl-C does, with everything put away.

A query of DuckDB does not end by itself when its caller gives it up: it waits for its own threads,
which go on. So the handler of the signal interrupts it. Python calls a handler when the main thread
comes back to it; where it does not, a thread of ours interrupts the query. It also wakes the main
thread from a system call: one that began just after the signal came would go on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")
ENDING = (signal.SIGTERM, signal.SIGHUP)
"""The signals that ask a command to end beside SIGINT: from kill, timeout or systemd, and from a
terminal that is closed.
"""
TOGETHER_S = 3.0
"""Signals within this many seconds of the first are one.

The shell and the kernel both send one when a terminal is closed, and the second must not cut short
what puts things away. A later one is heard again, so that no command is deaf.
"""
PATIENCE_S = 0.3
"""How many seconds the main thread has to hear a signal before DuckDB is interrupted and the main
thread is woken, and again as often as it takes.
"""
WAKE = signal.SIGURG
"""A signal that means nothing by itself. It ends the system call in which the main thread waits:
Python then calls the handler of the signal that came before.
"""


class Interruptible(Protocol):
    """A connection to DuckDB."""

    def interrupt(self) -> None:
        """Interrupt its query, if it has one."""


interruptible: weakref.WeakSet[Interruptible] = weakref.WeakSet()
"""The connections to DuckDB that are open."""


class Ended(KeyboardInterrupt):
    """A signal ended the command. Code that knows Ctrl-C knows this."""


class _Ending(NamedTuple):
    """The signal that ends this command."""

    came_s: float
    """When it came, by the monotonic clock."""
    number: int
    """Its number."""


_ending: _Ending | None = None
"""The signal that ends this command, once it has come."""
_heard = False
"""Whether the main thread has heard a signal. (No Event: a handler may be interrupted by another
while it holds a lock.)
"""
_waking: tuple[int, int] | None = None
"""The pipe by which a signal wakes the thread that interrupts DuckDB."""


def end_on_signals() -> None:
    """Have the signals that ask a process to end raise what Ctrl-C raises.

    Called in the main thread. A signal that is ignored (nohup, or Ctrl-C for a command that a shell
    began in the background) stays ignored.
    """
    global _ending, _waking  # noqa: PLW0603 - signals are the process's
    _ending = None
    handlers = {signal.SIGINT: _interrupt, **dict.fromkeys(ENDING, _end)}
    for number, handler in handlers.items():
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
    # A signal puts a byte into the pipe even while the main thread waits for DuckDB. Python asks
    # that the end it writes to does not block.
    if _waking is None:
        _waking = os.pipe()
        for end in _waking:
            os.set_blocking(end, end == _waking[0])
        threading.Thread(target=_watch, args=(_waking[0],), daemon=True).start()
    signal.signal(WAKE, _wake)
    signal.set_wakeup_fd(_waking[1], warn_on_full_buffer=False)


def leave_signals() -> None:
    """Have signals end the process at once again: nothing is left to put away."""
    signal.set_wakeup_fd(-1)
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in ENDING:
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(WAKE, signal.SIG_DFL)


def ended_by() -> int | None:
    """Return the signal that ended the command; None: it was Ctrl-C."""
    return _ending.number if _ending else None


def end_with_parent() -> None:
    """Leave the signals to the process that began this one, and which ends it.

    A signal to all of them is meant for that one.
    """
    for number in (signal.SIGINT, *ENDING):
        signal.signal(number, signal.SIG_IGN)


def hang_up_gently() -> None:
    """Have a closed terminal end a server as SIGTERM does, which its loop hears."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


@contextlib.contextmanager
def leaving(leave: Callable[[], object]) -> Iterator[None]:
    """Have the signals that end a command ask a loop to leave first, and end the command then.

    It is for a loop that prints what is raised in it, and holds the terminal. The loop runs within
    this, and calls `leave` in its thread.
    """
    import asyncio

    came: list[int] = []

    def ask_to_leave(number: int, frame: FrameType | None) -> None:
        came.append(number)
        try:
            asyncio.get_running_loop().call_soon_threadsafe(leave)
        except RuntimeError:  # it does not run yet, or any more
            _end(number, frame)

    # Raised in the loop, Ended would be printed, and the terminal stay as the loop has it.
    before = {
        number: signal.getsignal(number) for number in ENDING if signal.getsignal(number) is _end
    }
    for number in before:
        signal.signal(number, ask_to_leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        _end(came[0], None)


def run(main: Awaitable[T]) -> T:
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

        def cancel_once(number: int, frame: FrameType | None) -> None:
            came.append(number)
            # Not twice: to cancel again would cut short what the coroutine puts away.
            if len(came) == 1:
                loop.call_soon_threadsafe(cancel)
            elif number == signal.SIGINT:
                _interrupt(number, frame)

        ours = [
            number for number in (signal.SIGINT, *ENDING) if signal.getsignal(number) in _HANDLERS
        ]
        before = {number: signal.signal(number, cancel_once) for number in ours}
        try:
            return await main
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    try:
        result = asyncio.run(cancelled_by_signals())
    except asyncio.CancelledError:
        if not came:
            raise
    # A coroutine that came to its end all the same is ended too: the command was asked to end.
    if came:
        (_interrupt if came[0] == signal.SIGINT else _end)(came[0], None)
    return result


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Handle Ctrl-C."""
    global _heard  # noqa: PLW0603
    _heard = True
    _interrupt_queries()
    raise KeyboardInterrupt


def _end(number: int, frame: FrameType | None) -> None:
    """Handle a signal that asks the command to end."""
    global _ending, _heard  # noqa: PLW0603
    _heard = True
    came_s = time.monotonic()
    # The command ends by the first signal; a later one only wakes it again.
    if _ending is None or came_s - _ending.came_s > TOGETHER_S:
        _ending = _Ending(came_s, _ending.number if _ending else number)
        _interrupt_queries()
        raise Ended


def _wake(number: int, frame: FrameType | None) -> None:
    """Do nothing: the system call has ended."""


_HANDLERS = (_interrupt, _end)


def _watch(waking: int) -> None:
    """Interrupt what the main thread waits for, until it hears a signal that would end it."""
    global _heard  # noqa: PLW0603
    main = threading.main_thread().ident
    assert main is not None
    while numbers := os.read(waking, 64):
        if any(signal.getsignal(number) in _HANDLERS for number in numbers):
            time.sleep(PATIENCE_S)
            # A query may begin after the interrupt: it is tried until the main thread is back.
            while not _heard:
                _interrupt_queries()
                signal.pthread_kill(main, WAKE)
                time.sleep(PATIENCE_S)
            _heard = False


def _interrupt_queries() -> None:
    """Interrupt the query of each connection. One that has none takes no notice."""
    for connection in list(interruptible):
        with contextlib.suppress(Exception):  # closed meanwhile
            connection.interrupt()
