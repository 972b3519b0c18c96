"""The output of commands: lines and JSON on stdout, notices and progress on stderr.

stdout is data; notices, progress and errors go to stderr. Values come from strangers' files, so
they are shown as plain text, with control characters made visible, and never read as markup.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from profilectl.rules.text.terminal import visible

if TYPE_CHECKING:
    from rich.console import Console


Document = dict[str, Any]
"""A JSON document, as a command prints it with `--json`."""
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
OPTION = re.compile(r"""--[a-z][a-z-]*[ =]("[^"]*"|'[^']*'|[^\s"'-]\S*)|'--[^']*'""")
"""An option with its value, as a message names it."""
NO_BREAK = "\0"
"""A blank within it while lines are broken: no text has it."""
ANY_WIDTH = 100_000
"""The width of lines in a pipe, if COLUMNS is not set."""


def console(*, stderr: bool = False) -> Console:
    """Return a console for a person.

    A pipe gets plain text of any width, or of the width that COLUMNS sets.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or "COLUMNS" in os.environ else ANY_WIDTH
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=wide)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the singular or the plural."""
    plural = (
        noun[:-1] + "ies"
        if noun[-2:] in ("ty", "ry")
        else noun + "es"
        if noun.endswith("ch")
        else noun + "s"
    )
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural}"


aside: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
"""Takes the line of progress off the terminal while something is printed (progress.Line)."""


def redraws(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that can draw a line anew."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def print_json(document: object) -> None:
    """Print one JSON document on stdout."""
    import orjson

    with aside():
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_text(text: str) -> None:
    """Print text on stdout as it is."""
    with aside():
        sys.stdout.write(text)


def notice(text: str) -> None:
    """Print a notice on stderr, after everything that stdout has so far."""
    with contextlib.suppress(BrokenPipeError, ValueError):
        sys.stdout.flush()
    with aside():
        sys.stderr.write(folded(visible(text), sys.stderr) + "\n")


def folded(text: str, stream: TextIO) -> str:
    """Return a text folded between words for a terminal, and unchanged for a pipe.

    A terminal would break a word at its edge.
    """
    if not stream.isatty():
        return text
    import shutil

    return "\n".join(in_lines(text, shutil.get_terminal_size().columns))


def in_lines(text: str, width: int) -> list[str]:
    """Return the lines of a text: folded between words, but not within an option to be copied."""
    import textwrap

    indent = " " * (len(text) - len(text.lstrip(" ")) + 2)
    unbroken = re.sub(
        OPTION,
        lambda option: (
            option[0].replace(" ", NO_BREAK) if len(option[0]) + len(indent) <= width else option[0]
        ),
        text,
    )
    lines = textwrap.wrap(
        unbroken, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(NO_BREAK, " ") for line in lines] or [""]


def error(message: str, hint: str) -> None:
    """Print on stderr what is wrong, and what to do."""
    notice(f"Error: {message}")
    if hint:
        notice(f"  Try: {hint}")


def print_line(text: str) -> None:
    """Print a line on stdout, folded between words for a terminal.

    Control characters are made visible, so that they cannot change the terminal.
    """
    with aside():
        sys.stdout.write(folded(visible(text), sys.stdout) + "\n")


def shortened(text: str) -> str:
    """Return the beginning of a text that is too long for a table."""
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def now_ms() -> int:
    """Return the time that ages are counted from, in milliseconds since 1970.

    SOURCE_DATE_EPOCH (seconds) makes output repeatable.
    """
    epoch_s = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(epoch_s) * 1000 if epoch_s.isdecimal() else time.time_ns() // 1_000_000
