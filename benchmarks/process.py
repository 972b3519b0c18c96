"""Run a process to its end, and tell how long it took and how much memory it had.

The process that measures stays small: it loads neither DuckDB nor profilectl. On Linux a child
starts with the peak memory of its parent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
SHOWN_CHARACTERS = 2000
HASTY = "PROFILECTL_BENCH_HASTY"
"""The variable that leaves unwritten what other programs have yet to write: for rehearsals."""
SOME_REJECTED = 3
"""The exit status of an import that rejected some rows and applied the others."""

# Runs statements of DuckDB and prints their seconds. Values are variables: getvariable('rows').
SQL_PROGRAM = """
import json, sys, time, duckdb
job = json.load(sys.stdin)
connection = duckdb.connect(job["database"])
connection.execute("set enable_progress_bar = false")
for name, value in job["variables"].items():
    connection.execute(f"set variable {name} = $value", {"value": value})
seconds = []
for statement in job["statements"]:
    began = time.perf_counter()
    answer = connection.execute(statement).fetchall()
    seconds.append(time.perf_counter() - began)
connection.close()
print(json.dumps({"seconds": seconds, "answer": [[str(cell) for cell in row] for row in answer]}))
"""


class Failed(Exception):
    """A process did not end well."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A process that ended."""

    seconds: float
    """From its start to its end."""
    cpu_seconds: float
    """The processor time that it and its children used."""
    peak: int
    """The most memory it held, in bytes."""
    printed: str = ""
    """Its standard output, or the beginning of it where that went to a file."""
    stored: int = 0
    """The bytes of the store, or of the database, that it left."""


def say(text: str) -> None:
    """Tell a person how far we are, on standard error."""
    print(text, file=sys.stderr, flush=True)


def measure(
    command: Sequence[str | Path],
    *,
    stdin: str | Path = "",
    output: Path | None = None,
    user: str | None = None,
    folder: Path | None = None,
    accepted: Collection[int] = (0,),
) -> Sample:
    """Run a process to its end.

    `stdin` is the text, or the file, of its standard input, `output` a file for its standard
    output. Raises Failed if its exit status is none of those that are accepted.
    """
    if not os.environ.get(HASTY):
        os.sync()
    with ExitStack() as files:
        printed = files.enter_context(_output(output))
        complaint = files.enter_context(tempfile.TemporaryFile("w+"))
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=files.enter_context(_input(stdin)),
            stdout=printed,
            stderr=complaint,
            env=environment(),
            user=user,
            cwd=folder,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in accepted:
            raise Failed(_failure(Path(command[0]).name, process.returncode, complaint))
        printed.seek(0)
        return Sample(
            seconds=seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            printed=printed.read(SHOWN_CHARACTERS) if output else printed.read(),
        )


def _failure(program: str, status: int, complaint: IO[str]) -> str:
    complaint.seek(0)
    lines = complaint.read().strip().splitlines()
    errors = [line for line in lines if "error" in line.lower()]
    message = (errors or lines or ["without a message"])[-1]
    return f"{program} ended with {status}: {message}"


@contextmanager
def _input(stdin: str | Path) -> Iterator[IO[str]]:
    if isinstance(stdin, Path):
        with stdin.open(encoding="utf-8") as file:
            yield file
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        file.write(stdin)
        file.seek(0)
        yield file


def _output(path: Path | None) -> IO[str]:
    return path.open("w+") if path else tempfile.TemporaryFile("w+")


def environment() -> dict[str, str]:
    """Return the environment of every process: with this working copy, without a default store."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        # Installed programs are compiled once; without this, ours is compiled in every process.
        if name not in ("PROFILECTL_STORE", "PYTHONDONTWRITEBYTECODE")
    }
    path = os.pathsep.join(filter(None, (str(ROOT), inherited.get("PYTHONPATH"))))
    return {**inherited, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}


def profilectl(
    store: Path,
    *arguments: str | Path,
    output: Path | None = None,
    accepted: Collection[int] = (0,),
) -> Sample:
    """Run this working copy's command line."""
    command = [sys.executable, "-m", "profilectl", "--store", store, *arguments]
    return measure(command, output=output, accepted=accepted)


def import_file(
    store: Path, file: Path, *options: str, feed: str, source: str, may_reject: bool = False
) -> Sample:
    """Import one file; `options` may name more. Raises Failed, also for rejects if none may be."""
    rejects = store.parent / "rejects.jsonl"
    named = ("--feed", feed, "--source", source, "--rejects", rejects)
    accepted = (0, SOME_REJECTED) if may_reject else (0,)
    sample = profilectl(store, "import", file, *named, "--json", *options, accepted=accepted)
    return replace(sample, stored=store.stat().st_size)


def run_sql(
    *statements: str, database: str | Path = ":memory:", **variables: str | int | bool
) -> Sample:
    """Run statements in DuckDB, in a process of their own."""
    job = {"database": str(database), "statements": statements, "variables": variables}
    return measure([sys.executable, "-c", SQL_PROGRAM], stdin=json.dumps(job))


def statement_seconds(sample: Sample) -> list[float]:
    """Return the seconds of each statement of `run_sql`, without the start of the process."""
    return [float(seconds) for seconds in json.loads(sample.printed)["seconds"]]


def answer_of(sample: Sample) -> str:
    """Return the first cell that the last statement of `run_sql` gave."""
    return str(json.loads(sample.printed)["answer"][0][0])


def alternate(runs: int, steps: Mapping[str, Callable[[], Sample]]) -> dict[str, list[Sample]]:
    """Run all steps in turn, several times: a slow minute of the machine falls on all of them."""
    samples: dict[str, list[Sample]] = {name: [] for name in steps}
    for run in range(1, runs + 1):
        for name, step in steps.items():
            samples[name].append(step())
            say(f"  run {run}: {name} {samples[name][-1].seconds:.2f} s")
    return samples
