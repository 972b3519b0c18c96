"""Results as tables, plain text and JSON: the only module that knows Rich.

stdout is data; notices, progress and errors go to stderr. Values come from strangers' files: they
are shown as plain text, control characters made visible, never as markup.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from profilectl.rules.text.terminal import visible
from profilectl.rules.text.values import Number, Value, parse_json, to_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from profilectl.reading.search import Hit

LONGEST_WORD = 20
"""A word of so many characters (an MPID, a protection level) is not broken in a table."""
SHORTEST_WORD = 12
"""So long a word (a day, a type) is not broken in a table that has too little room, but between
others.
"""
LONGEST_CELL = 120
"""So many characters of a text are shown in a table of events."""
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
    sys.stderr.write(_folded(visible(text), sys.stderr) + "\n")


def _folded(text: str, stream: TextIO) -> str:
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


def print_table(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Sequence[int] = (),
    spare: Sequence[int] = (),
) -> None:
    """Print a table: drawn on a terminal, aligned plain text in a pipe.

    spare: the columns that a terminal too narrow for all goes without, which the title says.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    out = console()
    limited = out.width < ANY_WIDTH
    cells = [[visible(str(cell)) for cell in row] for row in rows]
    columns = list(zip(headings, *cells, strict=True))
    shown: Sequence[int] = range(len(headings))

    def too_wide(least: Sequence[int]) -> bool:
        # 3, 1: the frame
        return limited and sum(least[place] + 3 for place in shown) + 1 > out.width

    if spare and too_wide([_least(column, LONGEST_WORD) for column in columns]):
        shown = [place for place in shown if place not in spare]
        title = f"{title} (a wider terminal shows {', '.join(headings[place] for place in spare)} too)".lstrip()
    tried = (
        [_least(column, longest) for column in columns] for longest in (LONGEST_WORD, SHORTEST_WORD)
    )
    least = next((widths for widths in tried if not too_wide(widths)), [1] * len(headings))
    if title:
        out.print(Text(title), style="bold" if out.is_terminal else None)
    table = Table(box=box.ROUNDED if out.is_terminal else box.SIMPLE_HEAD)
    whole = [max(cell_len(text) for text in column) for column in columns]
    room = out.width - 1 - sum(least[place] + 3 for place in shown) if limited else sum(whole)
    more = _shared(room, {place: max(whole[place] - least[place], 0) for place in shown})
    for place in shown:
        width = min(least[place] + more[place], whole[place])
        table.add_column(
            Text(headings[place]),
            justify="right" if place in right else "left",
            overflow="fold",
            width=width,
        )
    for row in cells:
        table.add_row(*(Text(row[place]) for place in shown))
    _draw(out, table)


def _shared(room: int, lacks: Mapping[int, int]) -> dict[int, int]:
    """Return how much of the room each column gets that lacks some: an equal share, those that lack
    less first.
    """
    given = {}
    for left, place in zip(
        range(len(lacks), 0, -1), sorted(lacks, key=lambda place: lacks[place]), strict=True
    ):
        given[place] = min(lacks[place], max(room, 0) // left)
        room -= given[place]
    return given


def _least(column: Sequence[str], longest: int) -> int:
    """Return how narrow a column may be: its heading and its words whole. Longer words than the
    longest are folded, but a column of single words, such as MPIDs, keeps them as far as any.
    """
    from rich.cells import cell_len

    if not any(" " in text for text in column[1:]):
        longest = LONGEST_WORD
    words = (cell_len(word) for text in column for word in text.split())
    return max(min(len(column[0]), 10), *(length for length in words if length <= longest), 0)


def _draw(out: Console, table: Table) -> None:
    """Print a table; in a pipe without blanks at the end of lines."""
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as drawn:
        out.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in drawn.get().strip("\n").splitlines()))


def print_line(text: str) -> None:
    """Print a line on stdout, nothing in it able to do anything to a terminal, which gets it folded
    between words.
    """
    sys.stdout.write(_folded(visible(text), sys.stdout) + "\n")


def print_stats(found: dict[str, Any]) -> None:
    """Print what a store holds."""
    environments = ", ".join(f"{number:,} {name}" for name, number in found["environments"].items())
    print_line(
        counted(found["profiles"], "profile") + (f" ({environments})" if environments else "")
    )
    imports = found["imports"]
    print_line(
        f"{counted(imports['in_force'], 'import')} in force, {imports['undone']:,} undone; {counted(found['segments'], 'segment')}, "
        f"{counted(found['rows'], 'row')}, {found['size_bytes']:,} bytes"
    )
    if found["identities"]:
        rows = [
            (name, f"{one['identities']:,}", f"{one['values']:,}", f"{one['profiles']:,}")
            for name, one in found["identities"].items()
        ]
        print_table("", ("identity", "held", "distinct values", "profiles"), rows, right=(1, 2, 3))
    if found["attributes"]:
        attributes = [
            (
                one["attribute"],
                f"{one['profiles']:,}",
                f"{one['fill_rate']:.1%}",
                f"{one['distinct_values']:,}",
                ", ".join(one["sources"]),
            )
            for one in found["attributes"]
        ]
        print_table(
            "",
            ("attribute", "profiles", "filled", "distinct values", "sources"),
            attributes,
            right=(1, 2, 3),
        )
    if found["largest_profiles"]:
        print_table(
            "",
            ("largest profiles", "rows"),
            [(one["mpid"], f"{one['rows']:,}") for one in found["largest_profiles"]],
            right=(1,),
        )
    if found["most_shared"]:
        shared = [
            (one["type"], one["value"], f"{one['profiles']:,}") for one in found["most_shared"]
        ]
        print_table("", ("most shared", "value", "profiles"), shared, right=(2,))


def _shown(value: Value) -> str:
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    return "(tag)" if value is None else to_json(value)


def print_hits(hits: Sequence[Hit]) -> None:
    """Print what a search found: an identity or a profile a line, with what the condition read."""
    keys = list(dict.fromkeys(key for one in hits for key in one.values))
    headings = [
        "MPID",
        "environment",
        *(["type", "value"] if any(one.type for one in hits) else []),
        *keys,
    ]
    rows = []
    for one in hits:
        row = [
            str(one.mpid),
            one.environment,
            *([one.type, one.value] if "type" in headings[2:3] else []),
        ]
        rows.append(
            row + [_shown(parse_json(one.values[key])) if key in one.values else "" for key in keys]
        )
    if rows:
        print_table("", headings, rows)


def cut(text: str) -> str:
    """Return the beginning of a text that is too long for a table."""
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def now_ms() -> int:
    """Return the time that ages are told from; SOURCE_DATE_EPOCH (seconds) makes output repeatable."""
    stated = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(stated) * 1000 if stated.isdecimal() else time.time_ns() // 1_000_000


def _date(ms: str | int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(int(ms) / 1000))
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"


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
