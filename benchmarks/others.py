"""What do other ways to load the same rows take, and what do they do less?

PostgreSQL has a module of its own.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from bench import Bench
from process import Failed, Sample, alternate, measure, say
from report import SAME, Answer, Line, short

INTERPRETER = """
import csv, itertools, sys
from profilectl.rules.batch import Reading, read_flat
from profilectl.rules.feed import Feed
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import Rules
from profilectl.rules.interpreter import Interpreter

def batches(lines, reading):
    for line in lines:
        try:
            yield read_flat({name: value or None for name, value in line.items()}, reading)
        except UnusableRow as error:
            yield error

rules = Rules()
with open(sys.argv[1], encoding="utf-8", newline="") as file:
    lines = itertools.islice(csv.DictReader(file), int(sys.argv[2]))
    feed = Feed("bench", "csv", number=1)
    Interpreter(rules).run(feed, feed.protection, batches(lines, Reading()), 1_700_000_000_000)
"""

GOLDENMATCH = """
import json, sys
import goldenmatch
found = goldenmatch.dedupe(sys.argv[1], exact=["customer_id", "email", "mobile_number"])
print(json.dumps({"profiles": found.stats["total_entities"]}))
"""
PLAIN_DICTS = Path(__file__).with_name("plain_dicts.py")


def interpreter(bench: Bench) -> Answer:
    """Run the rules in Python, row after row, on the first rows; scale the time to all rows."""
    plain, rows = bench.data.plain(), min(bench.options.interpreter_rows, bench.sizes.rows)
    command: list[str | Path] = [sys.executable, "-c", INTERPRETER, plain, str(rows)]
    title = f"the interpreter alone, scaled from {short(rows)} rows"
    samples = _runs(bench, lambda: measure(command))
    remark = "in memory: writes no store and no rejects, and nobody can ask it afterwards"
    factor = bench.sizes.rows / rows
    return _beside(bench, Line(title, samples, bench.plain_floor, factor=factor, remark=remark))


def sqlite_utils(bench: Bench) -> Answer:
    """Upsert into SQLite by customer_id, all text."""
    program, file = _sqlite_utils_program(bench), bench.data.customers()
    options = ("--csv", "--no-detect-types", "--pk", "customer_id", "--silent")

    def upsert() -> Sample:
        with bench.room() as room:
            database = room / "customers.sqlite"
            return measure([program, "upsert", database, "customers", file, *options])

    remark = (
        "only the rows with a customer_id; no match by e-mail or phone, no sources, no counts, "
        "no provenance; an empty cell empties a value"
    )
    title = "sqlite-utils upsert --no-detect-types"
    return _beside(bench, Line(title, _runs(bench, upsert), bench.plain_floor, remark=remark))


def dicts(bench: Bench) -> Answer:
    """Load the rows into dicts, by the same rules; the counts must be ours."""
    command: list[str | Path] = [sys.executable, PLAIN_DICTS, bench.data.plain()]
    samples = _runs(bench, lambda: measure(command))
    remark = (
        "in memory: no store; one source, no ranks, no rejects, no undo; nothing is judged or "
        "counted"
    )
    line = Line("plain Python dicts, the same rules", samples, bench.plain_floor, remark=remark)
    answer = _beside(bench, line)
    bench.check_counts(json.loads(samples[-1].printed))
    return answer.with_note(SAME)


def goldenmatch(bench: Bench) -> Answer:
    """Find the people behind the rows by exact keys: whoever shares one is one person."""
    python = _venv_program(bench, package="goldenmatch", program="python")
    command: list[str | Path] = [python, "-c", GOLDENMATCH, bench.data.plain()]
    samples = _runs(bench, lambda: measure(command))
    remark = (
        "in memory: no store; people who share an address or a phone are one; no sources, no "
        "ranks, no provenance of a value, no second import"
    )
    title = "goldenmatch: dedupe with three exact keys"
    answer = _beside(bench, Line(title, samples, bench.plain_floor, remark=remark))
    people = json.loads(samples[-1].printed)["profiles"]
    ours = bench.plain_counts["profiles"]
    return answer.with_note(f"It finds {people:,} people, we make {ours:,} profiles.")


def _runs(bench: Bench, step: Callable[[], Sample]) -> list[Sample]:
    return alternate(bench.options.runs, {"run": step})["run"]


def _beside(bench: Bench, line: Line) -> Answer:
    """Return a table of the floor, our own import, and a work beside them."""
    works = bench.works_beside()
    works.lines.append(line)
    return works.answer()


def _sqlite_utils_program(bench: Bench) -> Path:
    """Return the program: named, in PATH, or installed into the folder. Raises Failed."""
    program = bench.options.sqlite_utils or shutil.which("sqlite-utils")
    if program:
        return Path(program).resolve()
    return _venv_program(bench, package="sqlite-utils", program="sqlite-utils")


def _venv_program(bench: Bench, *, package: str, program: str) -> Path:
    """Return a program of a package in an environment of its own. Raises Failed."""
    venv = bench.folder / f"{package}-venv"
    ready = venv / "ready"
    if not ready.exists():
        say(f"  installing {package}")
        shutil.rmtree(venv, ignore_errors=True)
        measure([sys.executable, "-m", "venv", venv])
        try:
            measure([venv / "bin" / "python", "-m", "pip", "install", "--quiet", package])
        except Failed as error:
            raise Failed(f"{package} is not installed, and could not be: {error}") from None
        ready.touch()
    return venv / "bin" / program
