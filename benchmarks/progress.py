"""Is the time left that commands show true, and what does showing it cost?

    python benchmarks/progress.py                          # every long command, 1M rows, 5 runs
    python benchmarks/progress.py import refresh --runs 3  # two of them
    python benchmarks/progress.py -- import FILE --feed f  # one run of one command, line by line

A command runs under a pseudo terminal of 80 columns. Each time left that it shows in the last two
thirds of its time is compared with the time that it really took until its end: it must be true
within 30 %, or within one second, since the line has whole seconds. A line may also say how long
the command has run, and no time left: those are counted apart.

What showing it costs is the median of the CPU seconds at a terminal against those at one that
cannot draw a line anew (TERM=dumb), where there is no progress; they run in turn. CPU seconds are
those of the process and its children (`wait4`), in all threads, which other programs on the machine
disturb less than the time by the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data import Data, Sizes
from process import environment, profilectl, say
from report import Answer

SHOWN = re.compile(rb"(?:(\d+) h )?(?:(\d+) min ?)?(?:(\d+) s )?left")
TOLERATED = 0.3
ROUNDED_S = 1.0
MOST_COST = 0.01
"""The share of the CPU seconds that showing it may take."""
LEAST_TRUE = 0.9
"""The share of the times left that must be true."""
DRAWS, DUMB = "xterm-256color", "dumb"
ERASE = b"\r\x1b[J"
GOALS = (
    f"Goals: of the times left of the last two thirds {LEAST_TRUE:.0%} within 30 % or one second;"
    f" a cost below {MOST_COST:.0%} of the CPU seconds."
)
HEADINGS = (
    "command", "seconds", "lines", "with a time left", "within 30 %", "median error", "worst",
    "CPU s", "without", "cost",
)  # fmt: skip
DEFINITIONS = """
[calculated.purchases]
type = "count"
event = "purchase"

[calculated.spent]
type = "sum"
event = "purchase"
of = "price"

[calculated.skus]
type = "unique_list"
event = "purchase"
of = "sku"

[audiences.gold]
criteria = "tier = 'gold' and spent > 50"

[audiences.regulars]
criteria = "count(event 'purchase' within 30d) >= 2"
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A line that was shown."""

    at_s: float
    """When, in seconds since the command began."""
    left_s: float | None
    """The seconds left that it said; None: it said none."""
    line: str
    """The whole line."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A run of a command."""

    shown: Sequence[Shown]
    """What it showed."""
    seconds: float
    """From its start to its end."""
    cpu_seconds: float
    """Its processor time, with that of its children."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that takes long."""

    words: str
    """Its words, with {names} of files of Place."""
    store: str = "full"
    """The store that it begins with: none, full, or defined (with attributes and audiences)."""


COMMANDS = {
    "import": Command("import {plain} --feed crm --rejects none", "none"),
    "import parquet": Command("import {parquet} --feed crm --rejects none", "none"),
    "import jsonl": Command("import {jsonl} --feed crm --rejects none", "none"),
    "import onto": Command("import {later} --feed app --rejects none"),
    "import into audiences": Command("import {later} --feed app --rejects none", "defined"),
    "plan": Command("plan {later} --feed app -o {out}.plan"),
    "export": Command("export profiles -o {out}.jsonl"),
    "export parquet": Command("export profiles -o {out}.parquet"),
    "export identities": Command("export identities -o {out}.csv"),
    "export attributes": Command("export attributes -o {out}.parquet"),
    "push": Command("push --host eu1 --rate 0 --dry-run {out}.requests"),
    "lookup": Command("lookup {addresses} --type email -o {out}.jsonl"),
    "diff": Command("diff --json"),
    "compact": Command("compact --keep 0 --yes"),
    "check": Command("check"),
    "stats": Command("stats"),
    "usage": Command("usage"),
    "backup": Command("backup {out}.duckdb"),
    "refresh": Command("audiences refresh", "defined"),
    "recalculate": Command("calculated recalculate", "defined"),
    "undo": Command("imports undo 1 --replay --yes"),
    "forget": Command("forget --customer-id C100000001 --yes"),
    "retention": Command("retention apply --now 2030-01-01 --yes", "defined"),
    "search": Command("search --substring 99 --limit 0"),
    "preview": Command("audiences preview count(event'purchase')>=2"),
}
"""What is measured, by its name."""


def run_watched(command: Sequence[str], *, columns: int = 80, term: str = DRAWS) -> Watched:
    """Run a command under a pseudo terminal; return what it showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**environment(), "TERM": term},
    )
    os.close(theirs)
    shown: list[Shown] = []
    last = b""
    with contextlib.suppress(OSError):  # the last process that had the terminal is gone
        while text := os.read(ours, 65536):
            shown += _lines(text, time.monotonic() - began)
            last = text
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    os.close(ours)
    if process.returncode not in (0, 3):
        said = last.decode("utf-8", "replace").strip()
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {said}")
    return Watched(shown, seconds, usage.ru_utime + usage.ru_stime)


def _lines(text: bytes, at_s: float) -> Iterator[Shown]:
    """Yield the lines of progress, each with its time left. A notice ends a line, they do not."""
    for line in text.split(ERASE)[1:]:
        if not line.strip() or b"\n" in line:
            continue
        found, left_s = SHOWN.search(line), None
        if found:
            hours, minutes, seconds = (int(part or 0) for part in found.groups())
            left_s = float(hours * 3600 + minutes * 60 + seconds)
        yield Shown(at_s, left_s, line.decode("utf-8", "replace").strip())


def judged(watched: Watched) -> dict[str, float]:
    """Return how true the times left were in the last two thirds."""
    late = [each for each in watched.shown if each.at_s >= watched.seconds / 3]
    errors = []
    for each in late:
        if each.left_s is not None:
            real_s = watched.seconds - each.at_s
            error_s = abs(each.left_s - real_s)
            errors.append(0.0 if error_s <= ROUNDED_S else error_s / max(real_s, 0.001))
    within = sum(error <= TOLERATED for error in errors)
    return {
        "seconds": round(watched.seconds, 1),
        "lines": len(late),
        "with_a_time_left": len(errors),
        "within_30_percent": round(within / len(errors), 3) if errors else 1.0,
        "worst": round(max(errors, default=0.0), 2),
        "median": round(statistics.median(errors), 2) if errors else 0.0,
    }


class Place:
    """The folder of the files and stores that commands run on."""

    def __init__(self, folder: Path, rows: int) -> None:
        """Take the folder; files and stores are made when they are needed."""
        people = max(1, rows // 10)
        sizes = Sizes(rows, profiles=rows, large_rows=rows, people=people, events=10 * people)
        self.folder, self.data = folder, Data(folder, sizes)

    def store(self, kind: str) -> Path:
        """Return a store of a kind that a command may change."""
        path = self.folder / "store.duckdb"
        for old in self.folder.glob("store.duckdb*"):
            old.unlink()
        for old in self.folder.glob("out.*"):
            old.unlink()
        if kind != "none":
            shutil.copyfile(self._made(kind), path)
        return path

    def _made(self, kind: str) -> Path:
        path = self.folder / f"{kind}.duckdb"
        if path.exists():
            return path
        say(f"making the store {kind}")
        unfinished = self.folder / f"unfinished-{kind}.duckdb"
        unfinished.unlink(missing_ok=True)
        feeds = [("crm", self.data.plain()), ("web", self.data.audience_batches())]
        for feed, file in feeds:
            words = ("import", file, "--feed", feed, "--rejects", "none")
            profilectl(unfinished, *words, accepted=(0, 3))
        profilectl(unfinished, "retention", "set", "--retention-days", "900")
        if kind == "defined":
            definitions = self.folder / "definitions.toml"
            definitions.write_text(DEFINITIONS, "utf-8")
            profilectl(unfinished, "config", "apply", definitions)
        return unfinished.rename(path)

    def words(self, command: Command) -> list[str]:
        """Return the words of a command; the files that it reads are made."""
        readers: dict[str, Callable[[], Path]] = {
            "plain": self.data.plain,
            "parquet": self.data.parquet,
            "jsonl": self.data.jsonl,
            "later": self.data.later,
            "addresses": self.data.addresses,
            "out": lambda: self.folder / "out",
        }
        files = {name: read() for name, read in readers.items() if f"{{{name}}}" in command.words}
        return [word.format(**files) for word in command.words.split()]


def measured(place: Place, name: str, runs: int) -> tuple[Sequence[str], bool]:
    """Run a command several times; return its line of the table, and whether it met its goals."""
    command = COMMANDS[name]
    words = place.words(command)
    judgements, with_line, without = [], [], []
    for _ in range(runs):
        for term, cpu_seconds in ((DRAWS, with_line), (DUMB, without)):
            store = str(place.store(command.store))
            line = [sys.executable, "-m", "profilectl", "--store", store, *words]
            watched = run_watched(line, term=term)
            cpu_seconds.append(watched.cpu_seconds)
            if term == DRAWS:
                judgements.append(judged(watched))
            elif watched.shown:
                raise SystemExit(f"{name}: a line of progress at a terminal that cannot draw it")
        say(f"  {name}: {judgements[-1]}")
    lines = sum(each["lines"] for each in judgements)
    told = sum(each["with_a_time_left"] for each in judgements)
    within = sum(each["within_30_percent"] * each["with_a_time_left"] for each in judgements)
    true = within / told if told else 1.0
    cpu_s, plain_s = statistics.median(with_line), statistics.median(without)
    cost = cpu_s / plain_s - 1
    cells = (
        name,
        f"{statistics.median(each['seconds'] for each in judgements):.1f}",
        f"{lines:,}",
        f"{told:,}",
        f"{true:.2f}" if told else "-",
        f"{statistics.median(each['median'] for each in judgements):.2f}" if told else "-",
        f"{max(each['worst'] for each in judgements):.2f}" if told else "-",
        f"{cpu_s:.2f} ({min(with_line):.2f} to {max(with_line):.2f})",
        f"{plain_s:.2f} ({min(without):.2f} to {max(without):.2f})",
        f"{cost:+.1%}",
    )
    return cells, cost < MOST_COST and true >= LEAST_TRUE


def watch_one(words: Sequence[str]) -> None:
    """Run one command once, print some of its lines, and the judgement."""
    watched = run_watched([sys.executable, "-m", "profilectl", *words])
    shown = watched.shown
    for place in range(0, len(shown), max(1, len(shown) // 24)):
        each = shown[place]
        really_s = watched.seconds - each.at_s
        print(f"{each.at_s:6.1f} s, really {really_s:6.1f} left: {each.line}")
    print(json.dumps(judged(watched)))


def main() -> None:
    """Measure the commands of the arguments, or all, and print a table."""
    if "--" in sys.argv:
        watch_one(sys.argv[sys.argv.index("--") + 1 :])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of a file")
    parser.add_argument("--runs", type=int, default=5, help="runs of each command, each way")
    parser.add_argument("--folder", type=Path, help="where the files stay, for the next run")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in COMMANDS]
    if unknown:
        parser.error(f"no such command: {', '.join(unknown)}; there are {', '.join(COMMANDS)}")
    rows, missed = [], []
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        place = Place(folder, options.rows)
        for name in options.names or COMMANDS:
            cells, is_met = measured(place, name, options.runs)
            rows.append(cells)
            missed += [] if is_met else [name]
    print(
        Answer(
            HEADINGS,
            rows,
            [
                f"Runs of each command, with progress and without: {options.runs}.",
                GOALS,
                f"Missed by: {', '.join(missed)}." if missed else "All met them.",
            ],
        ).text()
    )


if __name__ == "__main__":
    main()
