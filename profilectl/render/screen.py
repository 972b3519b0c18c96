"""What goes to stdout and stderr: lines, JSON, notices and progress.

stdout is data; notices, progress and errors go to stderr. Values come from strangers' files: they
are shown as plain text, control characters made visible, never as markup.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from profilectl.rules.text.terminal import visible

if TYPE_CHECKING:
    from rich.console import Console


LONGEST_CELL = 120
"""The most characters of a text that a table of events shows."""
SECTIONS = (
    "details",
    "usage",
    "devices",
    "attributes",
    "identities",
    "consent",
    "attribution",
    "audiences",
    "timeline",
)
"""The panels of the activity view, in the platform's order (domain.md 10)."""
ANY_WIDTH = 100_000
"""How wide the lines of a pipe may be, unless COLUMNS says how wide."""


def console(*, stderr: bool = False) -> Console:
    """Return a console for a person; a pipe gets plain text of any width, or as wide as COLUMNS
    says.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or "COLUMNS" in os.environ else ANY_WIDTH
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=wide)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the right number."""
    plural = (
        noun[:-1] + "ies"
        if noun[-2:] in ("ty", "ry")
        else noun + "es"
        if noun.endswith("ch")
        else noun + "s"
    )
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural}"


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    import orjson

    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_text(text: str) -> None:
    """Print text on stdout as it is."""
    sys.stdout.write(text)


def notice(text: str) -> None:
    """Say something on stderr, after what stdout has got so far."""
    with contextlib.suppress(BrokenPipeError, ValueError):
        sys.stdout.flush()
    sys.stderr.write(folded(visible(text), sys.stderr) + "\n")


def folded(text: str, stream: TextIO) -> str:
    """Return a text folded between words, where a terminal reads it: it would cut words at its
    edge. A pipe gets one line.
    """
    if not stream.isatty():
        return text
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    indent = " " * (len(text) - len(text.lstrip(" ")) + 2)
    return textwrap.fill(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def error(message: str, hint: str) -> None:
    """Say on stderr what is wrong, and what to do."""
    notice(f"Error: {message}")
    if hint:
        notice(f"  Try: {hint}")


def print_line(text: str) -> None:
    """Print a line on stdout, nothing in it able to do anything to a terminal, which gets it folded
    between words.
    """
    sys.stdout.write(folded(visible(text), sys.stdout) + "\n")


def shortened(text: str) -> str:
    """Return the beginning of a text that is too long for a table."""
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def now_ms() -> int:
    """Return the time that ages are counted from.

    SOURCE_DATE_EPOCH (seconds) makes output repeatable.
    """
    stated = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(stated) * 1000 if stated.isdecimal() else time.time_ns() // 1_000_000


@contextlib.contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[str, int], None]]:
    """Show rows and rate on a terminal while an import runs; nothing in a pipe."""
    if quiet or not sys.stderr.isatty():
        yield lambda step, rows: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[rows]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("opening", rows="", total=None)
        began = time.monotonic()

        def show(step: str, rows: int) -> None:
            rate = rows / max(time.monotonic() - began, 0.001)
            said = f"{rows:,} rows, {rate:,.0f} a second" if rows else ""
            if said:
                bar.update(task, description=step, rows=said)
            else:
                bar.update(task, description=step)

        yield show
