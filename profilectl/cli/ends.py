"""How a command ends: the two ends that are no failure, and what wrong usage says to try.

Its reader left, or it was interrupted.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

from profilectl.codes import UsageError


class Interrupted(Exception):
    """The person at the terminal stopped a command."""


class ReaderLeft(Exception):
    """The reader of the output ended, such as `head`. Typer would report it as a failure."""


@contextlib.contextmanager
def telling_ends() -> Iterator[None]:
    """Run a command and flush its output. Raises ReaderLeft, and Interrupted."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderLeft from None
    except KeyboardInterrupt:
        raise Interrupted from None
    except Exception as error:
        if _is_interruption(error):
            raise Interrupted from None
        raise


@contextlib.contextmanager
def helped_by(words: Sequence[str]) -> Iterator[None]:
    """Run a command; wrong usage that says nothing to try names its help.

    words: those that name the command.
    """
    try:
        yield
    except UsageError as error:
        error.hint = error.hint or " ".join(("profilectl", *words, "--help"))
        raise


def _is_interruption(error: Exception) -> bool:
    """Return whether an error is how Typer or DuckDB report Ctrl-C."""
    name = type(error).__name__
    return name == "Abort" or (
        name in ("RuntimeError", "InterruptException") and "interrupted" in str(error).lower()
    )
