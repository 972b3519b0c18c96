"""The line on a terminal that says what a command is at, how far it is, and how long it takes yet.

    2 of 5 resolving identities  ━━━━━━━──────────  410,000 of 1,000,000 rows  52,000/s  12 s left

It is on stderr, and on a terminal only. A thread of its own draws it five times a second, so that
the work itself does no more than say which step begins.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from profilectl.files import progress as channel
from profilectl.files.progress import Running
from profilectl.render import screen
from profilectl.render.progress.time_left import Mark, Share, TimeLeft

APPEARS_S = 1.0
"""After how many seconds the line appears: what ends before shows nothing."""
NEARLY_S = 0.7
"""What ends within this many seconds more does not get a line any more."""
EVERY_S = 0.2
"""The seconds between two drawings."""
FOLLOWS = 0.25
"""How much of a new estimate the time left follows at each drawing, so that it does not jump."""
LONG_S = 0.3
"""How many seconds a statement must run before DuckDB is asked how far it is."""
ERASE = "\r\x1b[J"
"""Back to the beginning of the line, and nothing behind it."""
LEAST_BAR, MOST_BAR = 8, 30
"""The columns of the bar."""
FULL, EMPTY = "━", "─"


@contextlib.contextmanager
def progress(marks: Sequence[Mark], *, quiet: bool) -> Iterator[Callable[[str, int], None]]:
    """Show how far a command is while it runs; on a terminal, and unless it is to be quiet.

    Yields the function that gets a step that begins, and how many rows are through.
    """
    if quiet or not screen.redraws(sys.stderr):
        yield lambda step, rows: None
        return
    line = Line(marks, sys.stderr)
    with channel.watching(line), line.drawn():
        yield line.tell


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement that runs."""

    name: str
    """The name of its result; "": it has none."""
    connection: Running
    """Where it runs."""
    began: float
    """When it began."""


class Line:
    """The line of a command that runs; a Watcher."""

    def __init__(self, marks: Sequence[Mark], stream: TextIO) -> None:
        """Begin with nothing drawn."""
        self.stream = stream
        self.began = time.monotonic()
        self.estimate = TimeLeft(marks, self.began)
        self.number, self.rows_at = 0, self.began
        self.total: int | None = None
        self.goes_through_all = False
        self.left: float | None = None
        self.left_at = self.began
        self._running: _Statement | None = None
        self._drawn_columns = 0
        self._lock = threading.RLock()
        self._over = threading.Event()

    def tell(self, step: str, rows: int) -> None:
        """Take note of a step that begins, and of rows that are through."""
        self.step(step)
        if rows:
            self.rows(rows, None)

    def step(self, name: str) -> None:
        """Take note that a step begins."""
        with self._lock:
            is_new = self.estimate.enter(name, time.monotonic())
            # What was read is what every step after it goes through.
            if is_new and name != "reading" and self.number and self.total is None:
                self.total, self.goes_through_all = self.number, True

    def span(self, begin: float, end: float) -> None:
        """Take note that a stretch of the step begins."""
        with self._lock:
            self.estimate.begin_span(Share(begin, end), time.monotonic())

    def weigh(self, name: str, weight: float) -> None:
        """Take note of how long a step takes, compared with the others."""
        with self._lock:
            self.estimate.weigh(name, weight)

    def rows(self, number: int, total: int | None) -> None:
        """Take note of how many rows are through, of how many."""
        with self._lock:
            if number != self.number:
                self.rows_at = time.monotonic()
            self.number, self.total = number, total or self.total
            if total:
                self.estimate.reach(number / total, time.monotonic())

    def statement(self, name: str, connection: Running) -> None:
        """Take note that a statement begins."""
        with self._lock:
            self._running = _Statement(name, connection, time.monotonic())
            if name:
                self.estimate.enter(name, time.monotonic())

    @contextlib.contextmanager
    def drawn(self) -> Iterator[None]:
        """Draw the line until the end, and leave the terminal without it."""
        thread = threading.Thread(target=self._draw_often, daemon=True)
        before, screen.aside = screen.aside, self.aside
        thread.start()
        try:
            yield
        finally:
            screen.aside = before
            self._over.set()
            thread.join()
            self.wipe()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Keep the line off the terminal while something else is printed."""
        with self._lock:
            self.wipe()
            yield

    def wipe(self) -> None:
        """Take the line off the terminal, for something else to be printed."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._drawn_columns:
                self.stream.write(self._erasing(self._width()))
                self.stream.flush()
                self._drawn_columns = 0

    def _draw_often(self) -> None:
        """Draw the line anew until the command is over, once it has run for some time."""
        if self._over.wait(APPEARS_S):
            return
        while not self._over.wait(EVERY_S):
            at_s = time.monotonic()
            with self._lock, contextlib.suppress(OSError, ValueError):
                self._look(at_s)
                if not self._drawn_columns and self._is_nearly_over(at_s):
                    continue
                width = self._width()
                text = self.text(at_s, width)
                self.stream.write(self._erasing(width) + text)
                self.stream.flush()
                self._drawn_columns = len(text)

    def _is_nearly_over(self, at_s: float) -> bool:
        return self.left is not None and self.left < NEARLY_S and at_s - self.began < 3 * APPEARS_S

    def _width(self) -> int:
        """Return the columns of the terminal as it is now."""
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _erasing(self, width: int) -> str:
        """Return what takes the line away: a terminal made narrower has it on several lines."""
        lines = max(0, (self._drawn_columns - 1) // max(width, 1))
        return (f"\x1b[{lines}A" if lines else "") + ERASE

    def _look(self, at_s: float) -> None:
        """Ask DuckDB how far its statement is, and how much time is left."""
        running = self._running
        if running is not None and at_s - running.began >= LONG_S:
            with contextlib.suppress(Exception):  # closed meanwhile
                percent = running.connection.query_progress()
                if percent > 0:
                    self.estimate.reach_by_statement(running.name, percent / 100, at_s)
        estimated = self.estimate.left_s(at_s)
        if estimated is None:
            self.left = None
        elif self.left is None:
            self.left = estimated
        else:
            expected = max(0.0, self.left - (at_s - self.left_at))
            self.left = expected + FOLLOWS * (estimated - expected)
        self.left_at = at_s

    def text(self, at_s: float, width: int) -> str:
        """Return the line for a terminal of a width: at most one column less."""
        spent = at_s - self.began
        room = width - 1
        title = self._title()
        share = spent / (spent + self.left) if self.left is not None else 0.0
        facts = self._facts(at_s)
        while facts and len(title) + LEAST_BAR + 2 + sum(len(fact) + 2 for fact in facts) > room:
            del facts[0]  # the time left stands at the end, and stays the longest
        columns = room - len(title) - 2 - sum(len(fact) + 2 for fact in facts)
        parts = [title]
        if columns >= LEAST_BAR:
            parts.append(self._bar(share, min(columns, MOST_BAR)))
        return "  ".join([*parts, *facts])[:room]

    def _title(self) -> str:
        """Return which step of how many it is, and its name."""
        marks, place = self.estimate.marks, max(self.estimate.place, 0)
        # A step without a weight is counted only if it comes.
        steps = enumerate(marks)
        titles = [step.title for at, step in steps if step.title and (step.weight or at <= place)]
        behind = [mark.title for mark in marks[: place + 1] if mark.title] or titles[:1]
        title = behind[-1] if behind else ""
        return f"{len(behind)} of {len(titles)} {title}" if len(titles) > 1 else title

    def _facts(self, at_s: float) -> list[str]:
        """Return the facts of the line, the least needed one before the others."""
        rate, facts, spent = None, [], at_s - self.began
        if self.total and self.left is not None:
            rate = self.total / (spent + self.left)
        elif self.number:
            # Until they came: a rate that falls while nothing comes would be false.
            rate = self.number / max(self.rows_at - self.began, 0.001)
        if rate:
            facts.append(f"{rate:,.0f} rows/s")
        if self.total:
            number = self.number
            if self.goes_through_all:
                number = round(self.total * self.estimate.through_step(at_s))
            facts.append(f"{number:,} of {self.total:,} rows")
        elif self.number:
            facts.append(f"{self.number:,} rows")
        if self.left is not None:
            facts.append(f"{duration(self.left)} left")
        else:
            facts.append(duration(spent))
        return facts

    def _bar(self, share: float, columns: int) -> str:
        """Return the bar: how much of the time is over."""
        encoding = (self.stream.encoding or "ascii").lower()
        is_plain = not encoding.startswith("utf")
        full = min(columns, round(share * columns))
        if is_plain:
            return "#" * full + "-" * (columns - full)
        return FULL * full + EMPTY * (columns - full)


def duration(seconds: float) -> str:
    """Return a duration as the line has it: 12 s, 3 min 05 s, 2 h 10 min."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, seconds_over = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {seconds_over:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
