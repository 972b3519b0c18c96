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
from collections.abc import Callable, Iterable, Iterator
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
    "few":          Question("few_people", "many rows of few people"),
    "rejects":      Question("few_people", "rows that are rejected", "rejects"),
    "shared":       Question("shared_value", "rows that share a value with those in the store"),
    "steps":        Question("steps", "the steps of an import"),
    "interpreter":  Question("others", "the rules in Python, row after row", "interpreter"),
    "dicts":        Question("others", "plain Python dicts", "dicts"),
    "sqlite-utils": Question("others", "sqlite-utils upsert", "sqlite_utils"),
    "goldenmatch":  Question("others", "goldenmatch with exact keys", "goldenmatch"),
    "postgresql":   Question("postgresql", "PostgreSQL: the same profiles, in SQL"),
    "growth":       Question("growth", "from ten thousand rows to ten million, as a picture"),
    "delta":        Question("nightly", "the rows of a night onto a very large store"),
    "huge":         Question("huge", "a hundred million rows (needs some 70 GB of disk)"),
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
IMPORTS = ("empty", "known", "show", "few", "rejects", "shared", "delta")
BESIDE = ("interpreter", "dicts", "sqlite-utils", "goldenmatch", "postgresql")
USUAL = (*IMPORTS, *BESIDE)

# fmt: off
SIZES = {
    "rows":             (1_000_000,   "rows of a file"),
    "profiles":         (5_000_000,   "profiles of the large store"),
    "large-rows":       (10_000_000,  "rows of the large file, profiles of the very large store"),
    "huge-rows":        (100_000_000, "rows of the huge import"),
    "holders":          (300_000,     "the most people who share a value"),
    "people":           (1_000_000,   "people with events, or in the store of a server"),
    "events":           (10_000_000,  "events of all these people"),
    "interpreter-rows": (100_000,     "rows the interpreter reads"),
}
NUMBERS = {
    "connections":      (32,          "connections to a server"),
    "runs":             (3,           "how often each is run; `show` always 11 times"),
}
# fmt: on


def main() -> int:
    """Print a table for each question. A missed target is no failure; a question that failed is."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"{_machine()}; medians of {options.runs}", flush=True)
    failures = 0
    with _working_folder(options) as folder:
        bench = Bench(options, folder)
        # `calculated` is the last: it loads DuckDB here, and a child starts with our peak memory.
        for name in sorted(_chosen(options), key=list(QUESTIONS).index):
            failures += not _answered(QUESTIONS[name], bench)
    return 1 if failures else 0


def _chosen(options: argparse.Namespace) -> Iterable[str]:
    """Return the names of the questions to answer."""
    if options.all:
        return QUESTIONS.keys() - {"huge"}
    return set(options.questions or USUAL)


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
    parser.add_argument("questions", nargs="*", type=_question, metavar="QUESTION")
    parser.add_argument("--all", action="store_true", help="every question but `huge`")
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="FACTOR", help="of all sizes: 0.1 for a tenth"
    )
    for name, (default, text) in {**SIZES, **NUMBERS}.items():
        help_text = f"{text} ({default:,})"
        parser.add_argument(f"--{name}", type=_number, metavar="N", help=help_text)
    parser.add_argument("--seconds", type=float, default=10, help="how long a server is asked (10)")
    parser.add_argument(
        "--store", type=Path, help="a store to look at or to serve; else it is made"
    )
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder)")
    parser.add_argument("--keep", action="store_true", help="leave the files for the next run")
    parser.add_argument("--sqlite-utils", metavar="PROGRAM", help="else in PATH, or installed")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="where `growth` draws (growth.svg beside this file; nowhere at another scale)",
    )
    return _completed(parser.parse_args())


def _completed(options: argparse.Namespace) -> argparse.Namespace:
    """Give each size and number that was not named its default, and a size in the scale."""
    for name, (default, _) in {**SIZES, **NUMBERS}.items():
        attribute = name.replace("-", "_")
        if getattr(options, attribute) is None:
            factor = options.scale if name in SIZES else 1
            setattr(options, attribute, max(2, round(default * factor)) if factor != 1 else default)
    if options.picture is None and options.scale == 1:
        options.picture = Path(__file__).with_name("growth.svg")
    return options


def _question(text: str) -> str:
    # Not `choices`: argparse refuses an empty list of them.
    if text not in QUESTIONS:
        raise argparse.ArgumentTypeError(f"no such question: {text} (--help lists them)")
    return text


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
