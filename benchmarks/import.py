"""How long an import takes, in multiples of what DuckDB needs to read the same file.

    python benchmarks/import.py [--only WORK]... [--large] [--rows N] [--folder DIR --keep]

Every time is that of a whole process, from its start to its end; every ratio is to a floor measured
in the same run, in turn with the work, so that a slow minute of the machine falls on both. What
each line means, and what the others do less, is in README.md beside this file.

This process stays small (it loads neither DuckDB nor profilectl): on Linux a child starts with the
peak memory of its parent.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import os
import platform
import pwd
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
SHOWN_PEOPLE = 11
LARGE_MEMORY = "2GB"

# fmt: off
WORKS = {
    # name           what it is, for --help
    "csv":          "rows of CSV into an empty store",
    "parquet":      "the same rows as Parquet",
    "jsonl":        "the same rows as JSONL batches",
    "known":        "rows of CSV, half of them known, onto a large store, sources competing",
    "show":         "show one profile of the large store",
    "large":        f"ten times the rows into an empty store with --memory-limit {LARGE_MEMORY} (only with --large)",
    "interpreter":  "beside them: the rules in Python, one row after another",
    "sqlite-utils": "beside them: sqlite-utils upsert",
    "postgresql":   "beside them: PostgreSQL, COPY and SQL",
}

TARGETS = {
    # work        at most, times what
    "csv":       (2.5, "floor"),
    "parquet":   (1.0, "CSV"),
    "jsonl":     (1.5, "CSV"),
    "known":     (3.0, "floor"),
    "large":     (4.0, "floor"),
    "show":      (2.0, "bare Python"),
}
LARGE_PEAK = 2_600_000_000
# fmt: on


class Failed(Exception):
    """A process that was measured, or prepared something, did not end well."""


# ---- the data -------------------------------------------------------------------------------

IDENTITIES = ("customer_id", "email", "mobile_number")
ATTRIBUTES = (
    "first_name",
    "last_name",
    "city",
    "postcode",
    "tier",
    "points",
    "last_order",
    "opt_in",
)
COLUMNS = (*IDENTITIES, *ATTRIBUTES)

# {rows}, {seed}: of the file. {person}: which customer a local number stands for. {repeats}: 1 or
# 0. In every ten rows one, at a place drawn for them, is about a customer of an earlier row;
# founded is the number of customers that the rows before have brought.
ROWS_SQL = """
    CREATE MACRO roll(i, what, sides) AS (hash(i, what || '{seed}') % sides)::BIGINT;
    CREATE MACRO person(c) AS {person};
    CREATE MACRO filled(i, what, value) AS CASE WHEN roll(i, 'empty ' || what, 10) > 0 THEN value END;
    CREATE VIEW placed AS
        SELECT i, roll(i // 10, 'place', 10) AS place FROM range({rows}) AS all_rows(i);
    CREATE VIEW counted AS
        SELECT i, {repeats} = 1 AND i % 10 = place AS repeated,
               CASE WHEN {repeats} = 1 THEN i - i // 10 - (place < i % 10)::BIGINT ELSE i END AS founded
        FROM placed;
    CREATE VIEW cast_of AS
        SELECT i, person(CASE WHEN repeated THEN roll(i, 'whom', greatest(founded, 1)) ELSE founded END) AS who,
               person(roll(i, 'stranger', greatest(founded, 1))) AS stranger,
               roll(i, 'stated', 100) < 95 AS stated, roll(i, 'shared', 100) < 5 AS shared
        FROM counted;
    CREATE VIEW made AS
        SELECT CASE WHEN stated THEN 'C' || (100000000 + who) END AS customer_id,
               CASE WHEN roll(i, 'empty email', 10) > 0 OR shared OR NOT stated
                    THEN 'person' || (CASE WHEN shared THEN stranger ELSE who END) || '@example.com' END AS email,
               filled(i, 'mobile', '+999' || (100000000 + who)) AS mobile_number,
               filled(i, 'first', ['Ada', 'Bo', 'Chloé', 'Dana', 'Eve', 'Zoë'][1 + roll(who, 'f', 6)]) AS first_name,
               filled(i, 'last', ['Smith', 'García', 'O''Neil', 'Ito', 'Okafor'][1 + roll(who, 'l', 5)]) AS last_name,
               filled(i, 'city', ['London', 'Paris', 'Łódź', 'Rome', 'Oslo'][1 + roll(i, 'city', 5)]) AS city,
               filled(i, 'postcode', lpad(roll(i, 'postcode', 100000)::VARCHAR, 5, '0')) AS postcode,
               filled(i, 'tier', ['gold', 'silver', 'bronze', 'none'][1 + roll(i, 'tier', 4)]) AS tier,
               filled(i, 'points', roll(i, 'points', 10000)::VARCHAR) AS points,
               filled(i, 'order', (DATE '2020-01-01' + roll(i, 'order', 2000)::INTEGER)::VARCHAR) AS last_order,
               filled(i, 'opt', (roll(i, 'opt', 2) = 1)::VARCHAR) AS opt_in
        FROM cast_of;
    COPY made TO '{path}' (FORMAT csv, HEADER);
"""

PARQUET_SQL = "COPY (FROM read_csv('{source}', all_varchar = true)) TO '{path}' (FORMAT parquet);"

# Nothing in the data needs an escape in JSON, so that a line is put together as text.
JSONL_SQL = """
    COPY (
        SELECT '{{"environment":"production","user_identities":{{' || concat_ws(',', {identities})
            || '}},"user_attributes":{{' || concat_ws(',', {attributes}) || '}}}}'
        FROM read_csv('{source}', all_varchar = true)
    ) TO '{path}' (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\t');
"""

CUSTOMERS_SQL = """
    COPY (FROM read_csv('{source}', all_varchar = true) WHERE customer_id IS NOT NULL) TO '{path}' (FORMAT csv, HEADER);
"""


def _member(column: str) -> str:
    return f"""'"{column}":"' || {column} || '"'"""


def _stride(size: int) -> int:
    """Return a step that visits every one of size places once, and spreads any number of first
    visits evenly.
    """
    stride = int(size * 0.618) | 1
    while math.gcd(stride, size) != 1:
        stride += 2
    return stride


@dataclass(frozen=True, slots=True)
class Data:
    """The files, each made when it is first asked for. known: profiles of the large store."""

    folder: Path
    rows: int
    known: int
    large_rows: int

    def plain(self) -> Path:
        """Return the rows for an empty store."""
        return self._rows(f"rows-{self.rows}.csv", self.rows, "c")

    def large(self) -> Path:
        """Return the rows of the large file."""
        return self._rows(f"rows-{self.large_rows}.csv", self.large_rows, "c")

    def base(self, part: int) -> Path:
        """Return one half of the large store: as many customers as rows, no repeats."""
        half = self.known // 2
        name = f"base-{self.known}-{part}.csv"
        return self._rows(name, half, f"c + {part * half}", seed=f" base {part}", repeats=0)

    def app(self) -> Path:
        """Return rows of which every other customer is one of the large store, from all over it."""
        person = f"CASE WHEN c % 2 = 0 THEN (c // 2 * {_stride(self.known)}) % {self.known} ELSE {self.known} + c END"
        return self._rows(f"app-{self.rows}-{self.known}.csv", self.rows, person, seed=" app")

    def parquet(self) -> Path:
        """Return the plain rows as Parquet, an empty cell as a null."""
        return self._from_plain(f"rows-{self.rows}.parquet", PARQUET_SQL)

    def jsonl(self) -> Path:
        """Return the plain rows as batches, an empty cell as a key that is not there."""
        identities, attributes = (
            ", ".join(map(_member, columns)) for columns in (IDENTITIES, ATTRIBUTES)
        )
        return self._from_plain(
            f"rows-{self.rows}.jsonl", JSONL_SQL, identities=identities, attributes=attributes
        )

    def customers(self) -> Path:
        """Return the rows that state a customer_id."""
        return self._from_plain(f"customers-{self.rows}.csv", CUSTOMERS_SQL)

    def _rows(self, name: str, rows: int, person: str, *, seed: str = "", repeats: int = 1) -> Path:
        return self._make(name, ROWS_SQL, rows=rows, person=person, seed=seed, repeats=repeats)

    def _from_plain(self, name: str, sql: str, **parts: str) -> Path:
        return self._make(name, sql, source=self.plain(), **parts)

    def _make(self, name: str, sql: str, **parts: object) -> Path:
        """Run a statement that writes a file, unless a run before has kept it."""
        path = self.folder / name
        if not path.exists():
            say(f"making {name}")
            unfinished = path.with_name("unfinished-" + name)
            measure([sys.executable, "-c", RUN_SQL], given=sql.format(path=unfinished, **parts))
            unfinished.rename(path)
        return path


# ---- what is run ----------------------------------------------------------------------------

RUN_SQL = """
import sys, duckdb
connection = duckdb.connect()
connection.execute("SET enable_progress_bar = false")
connection.execute(sys.stdin.read())
"""

FLOOR = """
import sys, duckdb
connection = duckdb.connect(sys.argv[2])
connection.execute("SET enable_progress_bar = false")
connection.execute("CREATE TABLE floor AS FROM read_csv(?, all_varchar = true)", [sys.argv[1]])
connection.close()
"""

BARE_SHOW = """
import sys, duckdb
duckdb.connect(sys.argv[1], read_only=True)
"""

INTERPRETER = """
import csv, itertools, sys
from profilectl.rules.batch import Reading, Unusable, read_flat
from profilectl.rules.feed import Feed
from profilectl.rules.identity import Rules
from profilectl.rules.interpreter import Interpreter

def batches(lines, reading):
    for line in lines:
        try:
            yield read_flat({name: value or None for name, value in line.items()}, reading)
        except Unusable as error:
            yield error

rules = Rules()
with open(sys.argv[1], encoding="utf-8", newline="") as file:
    lines = itertools.islice(csv.DictReader(file), int(sys.argv[2]))
    feed = Feed("bench", "csv", number=1)
    Interpreter(rules).run(feed, feed.protection, batches(lines, Reading()), 1_700_000_000_000)
"""

POSTGRES_TABLES = """
CREATE UNLOGGED TABLE staging (line bigint GENERATED ALWAYS AS IDENTITY, {texts});
CREATE TABLE profile (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id text UNIQUE, {others});
"""
POSTGRES_COPY = "COPY staging ({columns}) FROM STDIN (FORMAT csv, HEADER)"
# The newest value that is stated wins, within the file and against what is there.
POSTGRES_UPSERT = """
INSERT INTO profile AS known (customer_id, {names})
SELECT customer_id, {newest} FROM staging WHERE customer_id IS NOT NULL GROUP BY customer_id
ON CONFLICT (customer_id) DO UPDATE SET {kept};
"""
POSTGRES_ANONYMOUS = "INSERT INTO profile ({names}) SELECT {names} FROM staging WHERE customer_id IS NULL ORDER BY line"


@dataclass(frozen=True, slots=True)
class Sample:
    """One process: how long it took, the most memory it held, what it printed."""

    seconds: float
    peak: int
    printed: str = ""


def say(what: str) -> None:
    """Tell a person how far we are, on standard error."""
    print(what, file=sys.stderr, flush=True)


def measure(
    command: Sequence[str | Path],
    *,
    given: str | Path = "",
    user: str | None = None,
    folder: Path | None = None,
) -> Sample:
    """Run a process to its end.

    given: the text, or the file, of its standard input. Raises Failed.
    """
    os.sync()
    with (
        tempfile.TemporaryFile("w+") as printed,
        tempfile.TemporaryFile("w+") as complaint,
        _input(given) as source,
    ):
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], stdin=source, stdout=printed, stderr=complaint,
            env=_environment(), user=user, cwd=folder,
        )  # fmt: skip
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        complaint.seek(0)
        if process.returncode != 0:
            words = (complaint.read().strip() or "nothing said").splitlines()[-1]
            raise Failed(f"{Path(command[0]).name} ended with {process.returncode}: {words}")
        return Sample(
            seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), printed.read()
        )


@contextmanager
def _input(given: str | Path) -> Iterator[IO[str]]:
    if isinstance(given, Path):
        with given.open(encoding="utf-8") as file:
            yield file
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        file.write(given)
        file.seek(0)
        yield file


def _environment() -> dict[str, str]:
    """Return the environment of every process: this working copy's profilectl, and no store but the
    one named.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PROFILECTL_STORE"}
    path = os.pathsep.join(filter(None, (str(ROOT), inherited.get("PYTHONPATH"))))
    return {**inherited, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}


def profilectl(store: Path, *arguments: str | Path) -> Sample:
    """Run this working copy's command line."""
    return measure([sys.executable, "-m", "profilectl", "--store", store, *arguments])


def import_file(store: Path, file: Path, feed: str, source: str, *options: str) -> Sample:
    """Import one file."""
    named = ("--feed", feed, "--source", source, "--rejects", store.parent / "rejects.jsonl")
    return profilectl(store, "import", file, *named, "--json", *options)


def alternate(runs: int, steps: Mapping[str, Callable[[], Sample]]) -> dict[str, list[Sample]]:
    """Run all steps in turn, several times."""
    samples: dict[str, list[Sample]] = {name: [] for name in steps}
    for run in range(1, runs + 1):
        for name, step in steps.items():
            samples[name].append(step())
            say(f"  run {run}: {name} {samples[name][-1].seconds:.2f} s")
    return samples


# ---- what is found --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. factor: of a time that was measured on fewer rows."""

    title: str
    samples: Sequence[Sample]
    floor: Sequence[Sample] = ()
    target: tuple[float, str] | None = None
    base: Sequence[Sample] = ()
    most_memory: int | None = None
    factor: float = 1.0
    has_peak: bool = True
    less: str = ""
    failure: str = ""

    @property
    def seconds(self) -> float:
        """The median, scaled."""
        return median(self.samples) * self.factor

    @property
    def peak(self) -> int:
        """The most memory that any of the runs held, in bytes."""
        return max(sample.peak for sample in self.samples)

    def cells(self) -> tuple[str, ...]:
        """Return the cells, in the order of HEADINGS."""
        if self.failure:
            return (self.title, "-", "-", "-", "-", "-", "-", self.failure)
        times = [sample.seconds * self.factor for sample in self.samples]
        target, measured, over = self._verdict()
        return (
            self.title,
            _seconds(self.seconds),
            f"{_seconds(min(times))} to {_seconds(max(times))}",
            f"{self.peak / 1e6:,.0f}" if self.has_peak else "-",
            f"{self.seconds / median(self.floor):.2f}" if self.floor else "-",
            target,
            measured,
            self.less or ("over" if over else "within" if target != "-" else ""),
        )

    def _verdict(self) -> tuple[str, str, bool]:
        """Return what was wanted, what was measured, and whether it is over."""
        if not self.target:
            return "-", "-", False
        most, unit = self.target
        ratio = self.seconds / median(self.base)
        target, measured, over = f"{most:.1f} x {unit}", f"{ratio:.2f} x {unit}", ratio > most
        if self.most_memory:
            target += f", {self.most_memory / 1e6:,.0f} MB"
            measured += f", {self.peak / 1e6:,.0f} MB"
            over = over or self.peak >= self.most_memory
        return target, measured, over


HEADINGS = (
    "work",
    "median s",
    "from to",
    "peak MB",
    "x floor",
    "at most",
    "measured",
    "verdict, or what it does less",
)


def median(samples: Sequence[Sample]) -> float:
    """Return the median of the seconds."""
    return statistics.median(sample.seconds for sample in samples)


def _seconds(seconds: float) -> str:
    return (
        f"{seconds:,.3f}"
        if seconds < 1
        else f"{seconds:,.2f}"
        if seconds < 100
        else f"{seconds:,.0f}"
    )


def table(lines: Sequence[Line]) -> str:
    """Return a Markdown table, aligned."""
    rows = [HEADINGS, *(line.cells() for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    texts = ["| " + " | ".join(row) + " |" for row in padded]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(texts)


def summary(title: str, sample: Sample) -> str:
    """Return the counts of an import's report, as a check that it did the work."""
    report = json.loads(sample.printed)
    counts = [
        f"{kind}: "
        + ", ".join(f"{number:,} {what}" for what, number in report[kind].items() if number)
        for kind in ("rows", "profiles", "identities", "attributes")
    ]
    return f"{title}: {'; '.join(counts)}; slow path: {report['slow_path_rows']:,} rows"


# ---- the works ------------------------------------------------------------------------------


class Bench:
    """One run of this script: where it works, how often, and what it found."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        """Start with nothing found. folder: where files may be made."""
        self.options = options
        self.folder = folder
        self.data = Data(folder, options.rows, options.known, options.large_rows)
        self.lines: list[Line] = []
        self.floor: list[Sample] = []
        self.notes: list[str] = []

    def run(self, works: Sequence[str]) -> None:
        """Do the works that are asked for; one that fails says so in its line, and the others go
        on.
        """
        for title, part, mine in self._parts():
            wanted = [work for work in works if work in mine]
            if not wanted:
                continue
            say(title)
            try:
                part(wanted)
            except (Failed, OSError, ValueError, KeyError) as error:
                if not isinstance(error, Failed):
                    traceback.print_exc()
                self.lines += [Line(WORKS[work], (), failure=f"failed: {error}") for work in wanted]

    def _parts(self) -> list[tuple[str, Callable[[Sequence[str]], None], Sequence[str]]]:
        return [
            ("into an empty store", self.empty, ("csv", "parquet", "jsonl")),
            ("onto a large store", self.known, ("known",)),
            ("show", self.show, ("show",)),
            ("a large file", self.large, ("large",)),
            ("the interpreter", self.interpreter, ("interpreter",)),
            ("sqlite-utils", self.sqlite_utils, ("sqlite-utils",)),
            ("PostgreSQL", self.postgresql, ("postgresql",)),
        ]

    def empty(self, works: Sequence[str]) -> None:
        """CSV, Parquet and JSONL into an empty store; the CSV always, as the others are held
        against it.
        """
        files = {"csv": self.data.plain, "parquet": self.data.parquet, "jsonl": self.data.jsonl}
        chosen = {name: make() for name, make in files.items() if name in ("csv", *works)}
        steps = {name: self._empty_step(path) for name, path in chosen.items()}
        samples = alternate(self.options.runs, {"floor": self._floor_step(chosen["csv"]), **steps})
        self._add_floor(samples["floor"])
        for name, title in (("csv", "CSV"), ("parquet", "Parquet"), ("jsonl", "JSONL batches")):
            if name in chosen:
                where = f"{_short(self.options.rows)} rows {title} into an empty store"
                self._add_import(name, where, samples[name], samples["floor"], samples["csv"])

    def known(self, _works: Sequence[str]) -> None:
        """A store of two sources; a third that one of them blocks and that overrides the other."""
        base, app = self._base, self.data.app()
        samples = alternate(
            self.options.runs,
            {"floor": self._floor_step(app), "known": lambda: self._copied(base, app)},
        )
        title = f"{_short(self.options.rows)} rows CSV, half of them known, onto {self._base_size}"
        self._add_import("known", title, samples["known"], samples["floor"])

    @property
    def _base_size(self) -> str:
        return f"{_short(self.options.known)} profiles"

    @cached_property
    def _base(self) -> Path:
        """The large store, made once and copied for each run."""
        folder = self.folder / "base"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        store = folder / "profiles.duckdb"
        for part, (feed, source) in enumerate((("crm", "custom-feed"), ("partner", "partner"))):
            made = import_file(store, self.data.base(part), feed, source)
            say(f"  the store, feed {feed}: {made.seconds:.2f} s")
            self.notes.append(summary(f"the store itself, feed {feed}, {made.seconds:.1f} s", made))
        return store

    def _copied(self, base: Path, file: Path) -> Sample:
        with self._room() as room:
            store = shutil.copyfile(base, room / base.name)
            return import_file(store, file, "app", "csv")

    def show(self, _works: Sequence[str]) -> None:
        """One profile of the large store, each time another."""
        base, size = self._base, self._base_size
        with self.data.base(0).open(encoding="utf-8", newline="") as file:
            rows = itertools.islice(
                (row for row in csv.DictReader(file) if row["customer_id"]), SHOWN_PEOPLE
            )
            people = itertools.cycle([row["customer_id"] for row in rows])
        steps = {
            "bare": lambda: measure([sys.executable, "-c", BARE_SHOW, base]),
            "show": lambda: profilectl(base, "show", "--customer-id", next(people), "--json"),
        }
        samples = alternate(SHOWN_PEOPLE, steps)
        if not all(json.loads(sample.printed)["profiles"] for sample in samples["show"]):
            raise Failed("show found nobody")
        self.lines.append(Line(f"bare Python: import duckdb, open {size}", samples["bare"]))
        self.lines.append(
            Line(
                f"show --json on {size}",
                samples["show"],
                target=TARGETS["show"],
                base=samples["bare"],
            )
        )

    def large(self, _works: Sequence[str]) -> None:
        """A file that is larger than the memory it is given."""
        path = self.data.large()
        options = ("--memory-limit", LARGE_MEMORY)
        steps = {"floor": self._floor_step(path), "large": self._empty_step(path, *options)}
        samples = alternate(self.options.runs, steps)
        rows = _short(self.options.large_rows)
        self.lines.append(
            Line(f"floor of {rows} rows (no memory limit)", samples["floor"], samples["floor"])
        )
        title = f"{rows} rows CSV into an empty store, {' '.join(options)}"
        self._add_import("large", title, samples["large"], samples["floor"], most_memory=LARGE_PEAK)

    def interpreter(self, _works: Sequence[str]) -> None:
        """The rules alone, on the first rows of the file, scaled to all of them."""
        plain, some = self.data.plain(), min(self.options.interpreter_rows, self.options.rows)
        command: list[str | Path] = [sys.executable, "-c", INTERPRETER, plain, str(some)]
        factor = self.options.rows / some
        title = "the interpreter alone" + (
            f", scaled from {_short(some)} rows" if factor != 1 else ""
        )
        less = "in memory: writes no store and no rejects, and nobody can ask it afterwards"
        self._add_beside(title, lambda: measure(command), less, factor=factor)

    def sqlite_utils(self, _works: Sequence[str]) -> None:
        """Upsert into SQLite by customer_id, all text."""
        program = self._sqlite_utils()
        file = self.data.customers()
        options = ("--csv", "--no-detect-types", "--pk", "customer_id", "--silent")

        def step() -> Sample:
            with self._room() as room:
                return measure(
                    [program, "upsert", room / "customers.sqlite", "customers", file, *options]
                )

        less = (
            "only the rows with a customer_id; no match by e-mail or phone, no sources, no counts, no provenance; "
            "an empty cell empties a value"
        )
        self._add_beside("sqlite-utils upsert --no-detect-types", step, less)

    def _sqlite_utils(self) -> Path:
        """Return the program: named, found, or installed into the folder. Raises Failed."""
        named = self.options.sqlite_utils or shutil.which("sqlite-utils")
        if named:
            return Path(named).resolve()
        venv = self.folder / "sqlite-utils-venv"
        program = venv / "bin" / "sqlite-utils"
        if not program.exists():
            say("  installing sqlite-utils")
            measure([sys.executable, "-m", "venv", venv])
            measure([venv / "bin" / "python", "-m", "pip", "install", "--quiet", "sqlite-utils"])
        return program

    def postgresql(self, _works: Sequence[str]) -> None:
        """COPY into a staging table, then upsert."""
        programs = postgres_programs()
        if programs is None:
            self.notes.append(
                "PostgreSQL was left out: there is no initdb under /usr/lib/postgresql."
            )
            return
        plain = self.data.plain()
        with Cluster.running(programs, self.folder) as cluster:
            less = "no match by e-mail or phone, no sources, no counts, no provenance, no undo; server started before"
            title = "PostgreSQL: COPY, then upsert by customer_id"
            self._add_beside(title, lambda: cluster.load(plain), less, has_peak=False)

    # -- steps and lines

    def _floor_step(self, file: Path) -> Callable[[], Sample]:
        def step() -> Sample:
            with self._room() as room:
                return measure([sys.executable, "-c", FLOOR, file, room / "floor.duckdb"])

        return step

    def _empty_step(self, file: Path, *options: str) -> Callable[[], Sample]:
        def step() -> Sample:
            with self._room() as room:
                return import_file(room / "profiles.duckdb", file, "bench", "csv", *options)

        return step

    @contextmanager
    def _room(self) -> Iterator[Path]:
        """Give a folder of its own to one process; emptied outside of what is timed."""
        with tempfile.TemporaryDirectory(prefix="run-", dir=self.folder) as room:
            yield Path(room)

    def _add_floor(self, samples: list[Sample]) -> None:
        """Keep the floor of the plain rows, for those that run beside."""
        self.floor = samples
        title = f"floor: DuckDB reads {_short(self.options.rows)} rows CSV into a table"
        self.lines.append(Line(title, samples, samples))

    def _add_import(
        self,
        work: str,
        title: str,
        samples: Sequence[Sample],
        floor: Sequence[Sample],
        csv_samples: Sequence[Sample] = (),
        most_memory: int | None = None,
    ) -> None:
        target = TARGETS[work]
        base = csv_samples if target[1] == "CSV" else floor
        self.lines.append(Line(title, samples, floor, target, base, most_memory))
        self.notes.append(summary(title, samples[-1]))

    def _add_beside(
        self,
        title: str,
        step: Callable[[], Sample],
        less: str,
        *,
        factor: float = 1.0,
        has_peak: bool = True,
    ) -> None:
        if not self.floor:
            self._add_floor(
                alternate(self.options.runs, {"floor": self._floor_step(self.data.plain())})[
                    "floor"
                ]
            )
        samples = alternate(self.options.runs, {title: step})[title]
        self.lines.append(
            Line(title, samples, self.floor, factor=factor, has_peak=has_peak, less=less)
        )


def _short(rows: int) -> str:
    return f"{rows // 1_000_000}M" if rows % 1_000_000 == 0 else f"{rows:,}"


# ---- PostgreSQL -----------------------------------------------------------------------------


def postgres_programs() -> Path | None:
    """Return the folder of the newest initdb, or None."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3])
    )
    return found[-1].parent if found else None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A private PostgreSQL server, in a folder of its own, reached by a socket in that folder."""

    programs: Path
    folder: Path
    user: str | None

    @classmethod
    @contextmanager
    def running(cls, programs: Path, parent: Path) -> Iterator[Cluster]:
        """Make, start and in the end stop and delete a server. Raises Failed."""
        with tempfile.TemporaryDirectory(prefix="pg-", dir=parent) as name:
            cluster = cls(programs, Path(name), _unprivileged(Path(name)))
            cluster._run(
                "initdb", "-D", "data", "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C"
            )
            settings = f"-k {name} -c listen_addresses= -c shared_buffers=1GB -c work_mem=256MB -c max_wal_size=8GB"
            try:
                cluster._run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", settings, "start")
                yield cluster
            finally:
                with suppress(Failed):  # it never started: what that said is what counts
                    cluster._run("pg_ctl", "-D", "data", "-w", "-m", "fast", "stop")

    def load(self, file: Path) -> Sample:
        """Load a file into a new database."""
        self._psql("postgres", "DROP DATABASE IF EXISTS bench")
        self._psql("postgres", "CREATE DATABASE bench")
        return self._psql("bench", *postgres_statements(), given=file)

    def _psql(self, database: str, *statements: str, given: str | Path = "") -> Sample:
        spoken = [part for one in statements for part in ("-c", one)]
        options = (
            "-h",
            str(self.folder),
            "-U",
            "bench",
            "-d",
            database,
            "-q",
            "-X",
            "-v",
            "ON_ERROR_STOP=1",
        )
        return self._run("psql", *options, *spoken, given=given)

    def _run(self, program: str, *arguments: str, given: str | Path = "") -> Sample:
        return measure(
            [self.programs / program, *arguments], given=given, user=self.user, folder=self.folder
        )


def postgres_statements() -> tuple[str, ...]:
    """Return what makes profiles of a file, a statement each, in order."""
    others = [column for column in COLUMNS if column != "customer_id"]
    newest = "(array_agg({0} ORDER BY line DESC) FILTER (WHERE {0} IS NOT NULL))[1]"
    names = ", ".join(others)
    return (
        POSTGRES_TABLES.format(
            texts=" text, ".join(COLUMNS) + " text", others=" text, ".join(others) + " text"
        ),
        POSTGRES_COPY.format(columns=", ".join(COLUMNS)),
        POSTGRES_UPSERT.format(
            names=names,
            newest=", ".join(newest.format(column) for column in others),
            kept=", ".join(
                f"{column} = coalesce(excluded.{column}, known.{column})" for column in others
            ),
        ),
        POSTGRES_ANONYMOUS.format(names=names),
    )


def _unprivileged(folder: Path) -> str | None:
    """Return the user to run the server as where we are root, and give that user the folder; else
    None.
    """
    if os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise Failed("PostgreSQL does not run as root, and there is no user postgres") from None
    os.chown(folder, user.pw_uid, user.pw_gid)
    closed = [parent for parent in folder.parents if not parent.stat().st_mode & 0o001]
    if closed:
        raise Failed(f"the user postgres cannot enter {closed[-1]}")
    return user.pw_name


# ---- the command ----------------------------------------------------------------------------


def _options() -> argparse.Namespace:
    works = "\n".join(f"  {name:13} {what}" for name, what in WORKS.items())
    parser = argparse.ArgumentParser(
        description="Measure imports against the floor: DuckDB reading the same file.",
        epilog=f"works:\n{works}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, default, what in (
        ("--rows", 1_000_000, "rows of a file"),
        ("--known", 5_000_000, "profiles of the large store"),
        ("--large-rows", 10_000_000, "rows of the large file"),
        ("--interpreter-rows", 100_000, "rows the interpreter reads"),
        ("--runs", 3, f"how often each is run; show always {SHOWN_PEOPLE} times"),
    ):
        parser.add_argument(
            name, type=_number, default=default, metavar="N", help=f"{what} (default {default:,})"
        )
    parser.add_argument(
        "--only", action="append", choices=WORKS, metavar="WORK", help="this work; repeatable"
    )
    parser.add_argument(
        "--large", action="store_true", help="also the large file: 1 GB of CSV, some minutes"
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where to work (default: a temporary folder)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the files; the next run in that folder uses them"
    )
    parser.add_argument(
        "--sqlite-utils", metavar="PROGRAM", help="else the one in PATH, else it is installed"
    )
    return parser.parse_args()


def _number(text: str) -> int:
    value = int(text.replace(",", "").replace("_", ""))
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


@contextmanager
def _working_folder(options: argparse.Namespace) -> Iterator[Path]:
    """Give the folder to work in; what this script put there is deleted, unless it is to be kept."""
    parent = options.folder.resolve() if options.folder else Path(tempfile.gettempdir()).resolve()
    parent.mkdir(parents=True, exist_ok=True)
    folder = (
        parent / "profilectl-bench"
        if options.folder
        else Path(tempfile.mkdtemp(prefix="profilectl-bench-"))
    )
    folder.mkdir(exist_ok=True)
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


def main() -> None:
    """Measure, and print the table on standard output; a target that is missed is no failure."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    works = options.only or [work for work in WORKS if work != "large" or options.large]
    machine = _machine()
    with _working_folder(options) as folder:
        bench = Bench(options, folder)
        bench.run(works)
    print(f"{machine}; medians of {options.runs}, show of {SHOWN_PEOPLE}\n")
    print(table(bench.lines))
    for note in bench.notes:
        print("\n" + textwrap.fill(note, 120, break_on_hyphens=False, break_long_words=False))


if __name__ == "__main__":
    main()
