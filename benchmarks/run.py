"""Answer questions about speed and memory: `python benchmarks/run.py [QUESTION ...]`.

README.md beside this file says what each question measures, and what it is compared with.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, cast

from bench import Bench
from process import Failed, say
from report import Answer


class Question(NamedTuple):
    """A question, and what answers it."""

    module: str
    """The module that answers it."""
    sentence: str
    """What it asks, for --help and the title of its table."""
    function: str = "answer"
    """The function of that module."""


# fmt: off
QUESTIONS = {
    "empty":        Question("empty_store", "rows of CSV, Parquet and JSONL into an empty store"),
    "known":        Question("large_store", "rows of CSV, half of them known, onto a large store"),
    "show":         Question("one_profile", "one profile of the large store"),
    "interpreter":  Question("others", "the rules in Python, row after row", "interpreter"),
    "sqlite-utils": Question("others", "sqlite-utils upsert", "sqlite_utils"),
    "postgresql":   Question("others", "PostgreSQL, copy and upsert", "postgresql"),
    "large":        Question("large_file", "ten times the rows, with a memory limit: 1 GB of CSV"),
    "shapes":       Question("shapes", "files of other shapes, against the plain shape"),
    "looking":      Question("looking", "commands that look at a large store"),
    "safety":       Question("safety", "lock, dry run, plan, undo, check, backup"),
    "activity":     Question("activity", "events, calculated attributes and audiences"),
    "audiences":    Question("audiences", "five audiences, each against a query by hand"),
    "serving":      Question("serving", "requests to a server"),
    "calculated":   Question("calculated", "calculated attributes against a query by hand"),
}
# fmt: on
USUAL = ("empty", "known", "show", "interpreter", "sqlite-utils", "postgresql")


def main() -> int:
    """Print a table for each question. A missed target is no failure; a question that failed is."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"{_machine()}; medians of {options.runs}", flush=True)
    failures = 0
    with _working_folder(options) as folder:
        bench = Bench(options, folder)
        # `calculated` is the last: it loads DuckDB here, and a child starts with our peak memory.
        for name in sorted(options.questions or USUAL, key=list(QUESTIONS).index):
            failures += not _answered(QUESTIONS[name], bench)
    return 1 if failures else 0


def _answered(question: Question, bench: Bench) -> bool:
    """Answer a question; return whether that worked."""
    say(question.sentence)
    try:
        function = getattr(import_module(question.module), question.function)
        text = cast("Callable[[Bench], Answer]", function)(bench).text()
    except (Failed, OSError, ValueError, KeyError) as error:
        if not isinstance(error, Failed):
            traceback.print_exc()
        text = f"failed: {error}"
    print(f"\n## {question.sentence}\n\n{text}", flush=True)
    return not text.startswith("failed: ")


def _options() -> argparse.Namespace:
    questions = "\n".join(
        f"  {name:13} {question.sentence}" for name, question in QUESTIONS.items()
    )
    parser = argparse.ArgumentParser(
        description="Measure profilectl, and what it is compared with.",
        epilog=f"questions (without one: {', '.join(USUAL)}):\n{questions}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", choices=QUESTIONS, metavar="QUESTION")
    _add_sizes(parser)
    parser.add_argument("--seconds", type=float, default=10, help="how long a server is asked (10)")
    parser.add_argument(
        "--store", type=Path, help="a store to look at or to serve; else it is made"
    )
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder)")
    parser.add_argument("--keep", action="store_true", help="leave the files for the next run")
    parser.add_argument("--sqlite-utils", metavar="PROGRAM", help="else in PATH, or installed")
    return parser.parse_args()


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    # fmt: off
    sizes = (
        ("--rows",             1_000_000,  "rows of a file"),
        ("--profiles",         5_000_000,  "profiles of the large store"),
        ("--large-rows",       10_000_000, "rows of the large file"),
        ("--people",           1_000_000,  "people with events, or in the store of a server"),
        ("--events",           10_000_000, "events of all these people"),
        ("--interpreter-rows", 100_000,    "rows the interpreter reads"),
        ("--connections",      32,         "connections to a server"),
        ("--runs",             3,          "how often each is run; `show` always 11 times"),
    )
    # fmt: on
    for name, default, text in sizes:
        help_text = f"{text} ({default:,})"
        parser.add_argument(name, type=_number, default=default, metavar="N", help=help_text)


def _number(text: str) -> int:
    value = int(text.replace(",", "").replace("_", ""))
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


@contextmanager
def _working_folder(options: argparse.Namespace) -> Iterator[Path]:
    """Give the folder to work in; it is deleted in the end, unless it is to be kept."""
    if options.folder:
        folder = options.folder.resolve() / "profilectl-bench"
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix="profilectl-bench-")).resolve()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        if options.keep:
            say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GB, load {os.getloadavg()[0]:.1f} at the start, "
        f"Python {platform.python_version()}, DuckDB {version('duckdb')}"
    )


if __name__ == "__main__":
    sys.exit(main())
