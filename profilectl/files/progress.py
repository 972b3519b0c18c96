"""What a command is at, for a watcher: the line on a terminal.

Code that works for long says here which step begins, and how far it is. Without a watcher each of
these calls is one comparison.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Step = TypeVar("Step", bound=Callable[..., object])


class Running(Protocol):
    """A connection to DuckDB, whose statement has a progress of its own."""

    def query_progress(self) -> float:
        """Return how far the running statement is, in percent; below 0: nobody knows."""


class Watcher(Protocol):
    """What takes note of how far a command is."""

    def step(self, name: str) -> None:
        """Take note that a step begins."""

    def span(self, begin: float, end: float) -> None:
        """Take note that the work that follows is a part of the step, from a share to a share."""

    def weigh(self, name: str, weight: float) -> None:
        """Take note of how many seconds a step takes, compared with the other steps."""

    def rows(self, number: int, total: int | None) -> None:
        """Take note of how many rows are through, of how many (None: nobody knows)."""

    def statement(self, name: str, connection: Running) -> None:
        """Take note that a statement begins, whose result gets a name."""


_watcher: Watcher | None = None
"""The watcher of this process: a command line has one command."""


@contextlib.contextmanager
def watching(watcher: Watcher | None) -> Iterator[None]:
    """Have a watcher told how far the command is.

    None: nobody hears the steps of what is a command of its own, as an import within an undo is.
    """
    global _watcher  # noqa: PLW0603 - a process has one command
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before


def is_watched() -> bool:
    """Return whether there is a watcher; what only it needs can be left out otherwise."""
    return _watcher is not None


def step(name: str) -> None:
    """Say that a step begins."""
    if _watcher is not None:
        _watcher.step(name)


def each(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield functions, each of which is a step of its own name, and say that it begins."""
    for function in steps:
        step(function.__name__)
        yield function


def span(begin: float, end: float) -> None:
    """Say that the work that follows is a part of the step, from a share of it to a share."""
    if _watcher is not None:
        _watcher.span(begin, end)


def part(place: int, parts: int) -> None:
    """Say that one of several equal parts of the step begins; the earliest has place 0."""
    if _watcher is not None:
        _watcher.span(place / max(parts, 1), (place + 1) / max(parts, 1))


def weigh(name: str, weight: float) -> None:
    """Say how many seconds a step takes, compared with the others: where it depends on a store."""
    if _watcher is not None:
        _watcher.weigh(name, weight)


def rows(number: int, total: int | None = None) -> None:
    """Say how many rows are through, of how many."""
    if _watcher is not None:
        _watcher.rows(number, total)


def statement(name: str, connection: Running) -> None:
    """Say that a statement begins."""
    if _watcher is not None:
        _watcher.statement(name, connection)
