"""Results as tables, plain text and JSON: the only module that knows Rich.

stdout is data; notices, progress and errors go to stderr. Values come from strangers' files: they
are shown as plain text, control characters made visible, never as markup.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from profilectl.codes import sentence
from profilectl.values import Number, Value, parse_json, to_json

if TYPE_CHECKING:
    from rich.console import Console

    from profilectl.report import ImportReport

_UNSEEN = {*range(0x20), 0x7F, *range(0x80, 0xA0), *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF}


def visible(text: str) -> str:
    """Return text with every control character written out, so that it can do nothing to a terminal."""
    return "".join(f"\\u{ord(one):04x}" if ord(one) in _UNSEEN else one for one in text)


def console(*, stderr: bool = False) -> Console:
    """Return a console for a person; a pipe gets plain text of any width."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or "COLUMNS" in os.environ else 200
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=wide)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the right number."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    import orjson

    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_text(text: str) -> None:
    """Print text on stdout as it is."""
    sys.stdout.write(text)


def notice(text: str) -> None:
    """Say something on stderr."""
    sys.stderr.write(visible(text) + "\n")


def error(message: str, hint: str) -> None:
    """Say on stderr what is wrong, and what to do."""
    notice(f"Error: {message}")
    if hint:
        notice(f"  Try: {hint}")


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """Print a table: drawn on a terminal, aligned plain text in a pipe."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    if title:
        out.print(Text(title), style="bold" if out.is_terminal else None)
    table = Table(box=box.ROUNDED if out.is_terminal else box.SIMPLE_HEAD)
    for place, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if place in right else "left", overflow="fold", min_width=min(len(heading), 10))
    for row in rows:
        table.add_row(*(Text(visible(str(cell))) for cell in row))
    out.print(table)


def print_report(report: ImportReport) -> None:
    """Print what an import did, for a person."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    counts = report.counts.as_json()
    title = f"Import {report.number}: feed {report.feed} ({report.source}, {report.protection}), {report.environment}"
    out.print(Text(visible(title)), style="bold" if out.is_terminal else None)
    table = Table(box=box.ROUNDED if out.is_terminal else box.SIMPLE, show_header=False)
    table.add_column(style="bold" if out.is_terminal else None)
    table.add_column()
    for name in ("rows", "profiles", "identities", "attributes"):
        said = ",  ".join(f"{number:,} {what.replace('_', ' ')}" for what, number in counts[name].items())
        table.add_row(name, Text(said))
    for title in ("reasons", "warnings"):
        for place, (code, number) in enumerate(counts[title].items()):
            table.add_row(title if not place else "", Text(f"{number:,} {code}: {sentence(code)}"))
    out.print(table)


def print_rate(report: ImportReport) -> None:
    """Say on stderr how long an import took."""
    read = report.counts.rows["read"]
    rate = read / max(report.elapsed_ms, 1) * 1000
    slow = f", {report.slow_path_rows:,} decided one by one" if report.slow_path_rows else ""
    notice(f"{counted(read, 'row')} in {report.elapsed_ms / 1000:.1f} s ({rate:,.0f} rows a second{slow})")


def print_columns(report: ImportReport) -> None:
    """Say how each column of each file was read."""
    for file in report.files:
        if file.columns:
            said = ", ".join(name if name == meaning else f"{name} -> {meaning}" for name, meaning in file.columns)
            notice(f"{file.path}: {said}")


def print_profiles(lines: Sequence[str]) -> None:
    """Print profiles, given as JSON documents with provenance, for a person."""
    for line in lines:
        profile = parse_json(line)
        assert isinstance(profile, dict)
        _print_profile(profile)


def _print_profile(profile: dict[str, Any]) -> None:
    heading = f"{profile['mpid']}  {profile['environment']}"
    seen = f"first seen {_date(profile['first_seen_ms'])}, last seen {_date(profile['last_seen_ms'])}"
    identities = [
        (kind, value)
        for group in ("user_identities", "device_identities")
        for kind, values in profile[group].items()
        for value in values
    ]
    print_table(f"Profile {heading}\n{seen}", ("identity", "value"), identities or [("none", "this profile is orphaned")])
    rows = []
    for key, value in sorted(profile["user_attributes"].items(), key=lambda one: (not one[0].startswith("$"), one[0])):
        origin = profile["provenance"].get(key, {})
        place = origin.get("line", origin.get("row", ""))
        rows.append((
            key, _shown(value), origin.get("source", ""), origin.get("feed", ""), origin.get("import", ""),
            f"{origin.get('file', '')}:{place}",
        ))
    if rows:
        print_table("", ("attribute", "value", "source", "feed", "import", "from"), rows)


def _shown(value: Value) -> str:
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    return "(tag)" if value is None else to_json(value)


def _date(ms: str) -> str:
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

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.fields[rows]}"), TimeElapsedColumn())
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
