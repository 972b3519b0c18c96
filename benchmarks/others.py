"""What do other ways to load the same rows take, and what do they do less?"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import Bench
from process import Failed, Sample, alternate, measure, say
from report import Answer, Line, short

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

POSTGRES_SETTINGS = (
    "-c listen_addresses= -c shared_buffers=1GB -c work_mem=256MB -c max_wal_size=8GB"
)
POSTGRES_TABLES = """
create unlogged table staging (
    line bigint generated always as identity,
    customer_id text, email text, mobile_number text,
    first_name text, last_name text, city text, postcode text,
    tier text, points text, last_order text, opt_in text
);
create table profile (
    id bigint generated always as identity primary key,
    customer_id text unique, email text, mobile_number text,
    first_name text, last_name text, city text, postcode text,
    tier text, points text, last_order text, opt_in text
)
"""
POSTGRES_COPY = """
copy staging (
    customer_id, email, mobile_number,
    first_name, last_name, city, postcode, tier, points, last_order, opt_in
) from stdin (format csv, header)
"""
# The newest value of a column wins, within the file and against what is there.
POSTGRES_UPSERT = """
insert into profile as known (
    customer_id, email, mobile_number,
    first_name, last_name, city, postcode, tier, points, last_order, opt_in
)
select customer_id,
       (array_agg(email order by line desc) filter (where email is not null))[1],
       (array_agg(mobile_number order by line desc) filter (where mobile_number is not null))[1],
       (array_agg(first_name order by line desc) filter (where first_name is not null))[1],
       (array_agg(last_name order by line desc) filter (where last_name is not null))[1],
       (array_agg(city order by line desc) filter (where city is not null))[1],
       (array_agg(postcode order by line desc) filter (where postcode is not null))[1],
       (array_agg(tier order by line desc) filter (where tier is not null))[1],
       (array_agg(points order by line desc) filter (where points is not null))[1],
       (array_agg(last_order order by line desc) filter (where last_order is not null))[1],
       (array_agg(opt_in order by line desc) filter (where opt_in is not null))[1]
from staging
where customer_id is not null
group by customer_id
on conflict (customer_id) do update set
    email = coalesce(excluded.email, known.email),
    mobile_number = coalesce(excluded.mobile_number, known.mobile_number),
    first_name = coalesce(excluded.first_name, known.first_name),
    last_name = coalesce(excluded.last_name, known.last_name),
    city = coalesce(excluded.city, known.city),
    postcode = coalesce(excluded.postcode, known.postcode),
    tier = coalesce(excluded.tier, known.tier),
    points = coalesce(excluded.points, known.points),
    last_order = coalesce(excluded.last_order, known.last_order),
    opt_in = coalesce(excluded.opt_in, known.opt_in)
"""
POSTGRES_ANONYMOUS = """
insert into profile (
    email, mobile_number, first_name, last_name, city, postcode, tier, points, last_order, opt_in
)
select email, mobile_number,
       first_name, last_name, city, postcode, tier, points, last_order, opt_in
from staging
where customer_id is null
order by line
"""


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


def postgresql(bench: Bench) -> Answer:
    """Copy the rows into a staging table, then upsert."""
    programs = _postgres_programs()
    if programs is None:
        raise Failed("PostgreSQL is not installed: there is no initdb under /usr/lib/postgresql")
    plain = bench.data.plain()
    with running_cluster(programs, bench.folder) as cluster:
        samples = _runs(bench, lambda: cluster.load(plain))
    remark = (
        "no match by e-mail or phone, no sources, no counts, no provenance, no undo; "
        "server started before"
    )
    title = "PostgreSQL: copy, then upsert by customer_id"
    line = Line(title, samples, bench.plain_floor, has_peak=False, remark=remark)
    return _beside(bench, line)


def _runs(bench: Bench, step: Callable[[], Sample]) -> list[Sample]:
    return alternate(bench.options.runs, {"run": step})["run"]


def _beside(bench: Bench, line: Line) -> Answer:
    """Return a table of the floor and a work beside it."""
    works = bench.works()
    works.lines.append(line)
    return works.answer()


def _sqlite_utils_program(bench: Bench) -> Path:
    """Return the program: named, in PATH, or installed into the folder. Raises Failed."""
    program = bench.options.sqlite_utils or shutil.which("sqlite-utils")
    if program:
        return Path(program).resolve()
    venv = bench.folder / "sqlite-utils-venv"
    installed = venv / "bin" / "sqlite-utils"
    if not installed.exists():
        say("  installing sqlite-utils")
        measure([sys.executable, "-m", "venv", venv])
        measure([venv / "bin" / "python", "-m", "pip", "install", "--quiet", "sqlite-utils"])
    return installed


def _postgres_programs() -> Path | None:
    """Return the folder of the newest initdb, or None."""
    programs = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest_last = sorted(programs, key=lambda path: float(path.parts[-3]))
    return newest_last[-1].parent if newest_last else None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A private PostgreSQL server, reached by a socket in its folder."""

    programs: Path
    """The folder of initdb, pg_ctl and psql."""
    folder: Path
    """Where its data, its log and its socket are."""
    user: str | None
    """The user it runs as; None: ours."""

    def load(self, file: Path) -> Sample:
        """Load a file into a new database; the time is that of psql."""
        self.psql("drop database if exists bench", database="postgres")
        self.psql("create database bench", database="postgres")
        statements = (POSTGRES_TABLES, POSTGRES_COPY, POSTGRES_UPSERT, POSTGRES_ANONYMOUS)
        return self.psql(*statements, database="bench", stdin=file)

    def psql(self, *statements: str, database: str, stdin: str | Path = "") -> Sample:
        """Run statements."""
        commands = [argument for statement in statements for argument in ("-c", statement)]
        options = ["-q", "-X", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-U", "bench"]
        return self.run("psql", *options, "-d", database, *commands, stdin=stdin)

    def run(self, program: str, *arguments: str, stdin: str | Path = "") -> Sample:
        """Run one of the programs."""
        command = [self.programs / program, *arguments]
        return measure(command, stdin=stdin, user=self.user, folder=self.folder)


@contextmanager
def running_cluster(programs: Path, parent: Path) -> Iterator[Cluster]:
    """Make, start and in the end stop and delete a server. Raises Failed."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir=parent) as name:
        cluster = Cluster(programs, Path(name), _unprivileged(Path(name)))
        access = ("-U", "bench", "-A", "trust")
        cluster.run("initdb", "-D", "data", *access, "-E", "UTF8", "--locale=C")
        control = ("pg_ctl", "-D", "data", "-w")
        try:
            cluster.run(*control, "-l", "log", "-o", f"-k {name} {POSTGRES_SETTINGS}", "start")
            yield cluster
        finally:
            with suppress(Failed):  # it never started, and the error of that is the one to show
                cluster.run(*control, "-m", "fast", "stop")


def _unprivileged(folder: Path) -> str | None:
    """Return the user to run the server as where we are root, and give it the folder; else None."""
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
