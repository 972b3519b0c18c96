"""Run the command line in this process, and write down what each step of an import takes.

    python import_steps.py REPORT.json import FILE ...

A step is a function of another module that `importing/run.py` or `importing/decide.py` calls; a
statement is one of DuckDB's. Its processor time is that of all threads, and does not hold that of
the steps it calls itself.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import re
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

CALLERS = ("profilectl.importing.run", "profilectl.importing.decide")
STEPS_OF = ("profilectl.importing.", "profilectl.store.")
MADE = re.compile(r"create (?:or replace )?(?:temp )?(?:table|view) (\S+) as", re.IGNORECASE)
SHOWN = 60
"""How much is shown of a statement that makes no relation."""


@dataclass(slots=True)
class Spent:
    """What something took."""

    step: str
    """The step."""
    statement: str = ""
    """The statement; "": all of the step."""
    cpu_s: float = 0.0
    """Processor seconds of all threads."""
    seconds: float = 0.0
    """Seconds."""
    written: int = 0
    """Bytes handed to the system, for the store, for what is laid aside, or for a file."""
    times: int = 0
    """How often it ran."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the process has taken since its start."""

    cpu_s: float
    """Processor seconds of all threads."""
    seconds: float
    """Seconds, of a clock that only goes forward."""
    written: int
    """Bytes handed to the system."""


@dataclass(slots=True)
class Ledger:
    """What the steps and the statements have taken so far."""

    steps: dict[str, Spent] = field(default_factory=dict)
    """The steps by their names."""
    statements: dict[str, Spent] = field(default_factory=dict)
    """The statements by step and name."""
    running: list[str] = field(default_factory=lambda: ["start of Python"])
    """The steps that run, the innermost at the end."""
    since: Reading = field(default_factory=lambda: Reading(0.0, time.perf_counter(), 0))
    """The reading up to which everything is entered."""

    def enter(self) -> None:
        """Enter what was taken since the reading before for the innermost step."""
        now, name = read(), self.running[-1]
        spent = self.steps.setdefault(name, Spent(name))
        add(spent, self.since, now)
        self.since = now

    def run(self, name: str, work: Callable[..., Any], /, *values: Any, **named: Any) -> Any:
        """Run a function as a step."""
        self.enter()
        self.running.append(name)
        try:
            return work(*values, **named)
        finally:
            self.enter()
            self.steps[name].times += 1
            self.running.pop()

    def run_statement(self, work: Callable[..., Any], /, *values: Any, **named: Any) -> Any:
        """Run a statement, which is entered with its step as well."""
        before, step = read(), self.running[-1]
        try:
            return work(*values, **named)
        finally:
            text = title(str(values[1]))
            spent = self.statements.setdefault(f"{step} {text}", Spent(step, text))
            add(spent, before, read())
            spent.times += 1


def read() -> Reading:
    """Return what the process has taken until now."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Reading(usage.ru_utime + usage.ru_stime, time.perf_counter(), bytes_written())


def bytes_written() -> int:
    """Return the bytes that this process has written; 0 where the system does not say."""
    with suppress(OSError):
        for line in Path("/proc/self/io").read_text("ascii").splitlines():
            if line.startswith("wchar: "):
                return int(line.removeprefix("wchar: "))
    return 0


def add(spent: Spent, before: Reading, now: Reading) -> None:
    """Add what was taken between two readings."""
    spent.cpu_s += now.cpu_s - before.cpu_s
    spent.seconds += now.seconds - before.seconds
    spent.written += now.written - before.written


def title(statement: str) -> str:
    """Return the relation that a statement makes, or its first words."""
    text = " ".join(statement.split())
    made = MADE.match(text)
    return made[1].strip('"') if made else text[:SHOWN]


def watch(ledger: Ledger) -> None:
    """Have every step and every statement entered."""
    for name in CALLERS:
        caller = importlib.import_module(name)
        for attribute, work in list(vars(caller).items()):
            if is_step(work, name):
                step = f"{work.__module__.split('.')[2]}.{work.__name__}"
                setattr(caller, attribute, functools.partial(ledger.run, step, work))
    scratch = importlib.import_module("profilectl.store.scratch")
    fetched = scratch.fetched
    watched = functools.partial(ledger.run_statement, fetched)
    for module in [module for module in sys.modules.values() if module is not None]:
        if getattr(module, "fetched", None) is fetched:
            module.fetched = watched  # type: ignore[attr-defined]


def is_step(work: object, caller: str) -> bool:
    """Return whether something in a module is a function of another that does a step."""
    return (
        inspect.isfunction(work)
        and work.__module__ != caller
        and work.__module__.startswith(STEPS_OF)
        and not inspect.isgeneratorfunction(inspect.unwrap(work))
    )


def main() -> int:
    """Run the command; return its exit status."""
    report, *words = sys.argv[1:]
    from profilectl.cli.app import main as run_command

    ledger = Ledger()
    watch(ledger)
    ledger.enter()
    ledger.running[:] = ["the rest"]
    sys.argv = ["profilectl", *words]
    status: object = 0
    try:
        run_command()
    except SystemExit as end:
        status = end.code
    ledger.enter()
    spent = {
        "steps": [asdict(step) for step in ledger.steps.values()],
        "statements": [asdict(statement) for statement in ledger.statements.values()],
    }
    Path(report).write_text(json.dumps(spent), encoding="utf-8")
    return int(status) if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main())
