"""Which step of an import takes how much processor time, and how much does it write?"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import Bench
from process import Sample, measure, say
from report import Answer, cpu_median, megabytes, seconds_text

HEADINGS = ("step", "CPU s", "of all", "seconds", "MB written", "times")
PROGRAM = Path(__file__).with_name("import_steps.py")
LEAST_SHARE = 0.005
"""A step below this share of the processor time is counted with the rest."""
MOST_STATEMENTS = 15
REST = "the rest"


@dataclass(frozen=True, slots=True)
class Profiled:
    """An import that ran with its steps watched."""

    sample: Sample
    """The process."""
    spent: Mapping[str, list[Mapping[str, Any]]]
    """What import_steps.py wrote: `steps` and `statements`."""


def answer(bench: Bench) -> Answer:
    """Import the plain rows several times with the steps watched; show medians."""
    runs = [_profile(bench) for _ in range(bench.options.runs)]
    steps = _medians([run.spent["steps"] for run in runs])
    statements = _medians([run.spent["statements"] for run in runs])
    whole = cpu_median([run.sample for run in runs])
    rows = [_cells(step, whole) for step in _with_rest(steps, whole)]
    dearest = sorted(statements, key=lambda spent: -spent["cpu_s"])[:MOST_STATEMENTS]
    rows += [_cells(statement, whole) for statement in dearest]
    size = runs[-1].sample.stored
    floor_s = cpu_median(bench.plain_floor)
    work = f"{bench.rows_title} rows CSV into an empty store: {seconds_text(whole)} CPU s"
    notes = [
        f"{work} of the whole process, the floor {seconds_text(floor_s)}; {megabytes(size)} MB.",
        "A step has all it takes, Python too, but not what steps that it calls take.",
        "Below the steps stand the dearest statements, which the steps have already.",
    ]
    return Answer(HEADINGS, rows, notes)


def _profile(bench: Bench) -> Profiled:
    """Import the plain rows in a process that watches itself."""
    file = bench.data.plain()
    with bench.room() as room:
        store, report = room / "profiles.duckdb", room / "steps.json"
        rejects = room / "rejects.jsonl"
        words = ("import", file, "--feed", "bench", "--source", "csv", "--rejects", rejects)
        command = (sys.executable, PROGRAM, report, "--store", store, *words, "--json")
        sample = measure(command)
        say(f"  {sample.cpu_seconds:.2f} CPU s")
        spent = json.loads(report.read_text("utf-8"))
        stored = store.stat().st_size
    return Profiled(Sample(sample.seconds, sample.cpu_seconds, sample.peak, stored=stored), spent)


def _medians(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return each step, or statement, of the last run, with the medians of all runs."""
    medians = []
    for spent in runs[-1]:
        same = [
            match
            for run in runs
            for match in run
            if (match["step"], match["statement"]) == (spent["step"], spent["statement"])
        ]
        figures = {
            name: statistics.median(match[name] for match in same)
            for name in ("cpu_s", "seconds", "written")
        }
        medians.append({**spent, **figures})
    return medians


def _with_rest(steps: Sequence[dict[str, Any]], whole: float) -> list[dict[str, Any]]:
    """Return the dear steps in the order they ran in, and all others as one at the end."""
    dear = [step for step in steps if step["cpu_s"] >= LEAST_SHARE * whole and step["step"] != REST]
    others = [step for step in steps if step not in dear]
    rest = {
        "step": REST,
        "statement": "",
        "times": 1,
        **{name: sum(step[name] for step in others) for name in ("cpu_s", "seconds", "written")},
    }
    return [*dear, rest]


def _cells(spent: Mapping[str, Any], whole: float) -> tuple[str, ...]:
    title = f"`{spent['step']}`: {spent['statement']}" if spent["statement"] else spent["step"]
    return (
        title.replace("|", "\\|"),
        f"{spent['cpu_s']:.2f}",
        f"{spent['cpu_s'] / whole:.0%}",
        f"{spent['seconds']:.2f}",
        megabytes(spent["written"]),
        f"{spent['times']:,}",
    )
