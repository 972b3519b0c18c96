"""What a benchmark answers: a table in Markdown, and notes below it."""

from __future__ import annotations

import json
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from process import Sample

HEADINGS = (
    "work", "median s", "from to", "CPU s", "peak MB", "x floor", "CPU x floor", "at most",
    "measured", "verdict",
)  # fmt: skip


SAME = "It finds as many profiles, identities and attributes as we do."
MOST_LOCKED_PERCENT = 25
"""For how much of an import others may be kept out of the store."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The table of one question."""

    headings: Sequence[str]
    """The titles of the columns."""
    rows: Sequence[Sequence[str]]
    """The cells, row by row."""
    notes: Sequence[str] = ()
    """Sentences below the table."""

    def with_note(self, note: str) -> Answer:
        """Return the answer with a sentence more below its table."""
        return replace(self, notes=[*self.notes, note])

    def text(self) -> str:
        """Return it as Markdown, the columns aligned."""
        rows = [self.headings, *self.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "| "
            + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            + " |"
            for row in rows
        ]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        notes = [
            textwrap.fill(note, 100, break_on_hyphens=False, break_long_words=False)
            for note in self.notes
        ]
        return "\n\n".join(["\n".join(lines), *notes])


@dataclass(frozen=True, slots=True)
class Target:
    """What a work may take."""

    most: float
    """At most this many times what it is compared with."""
    unit: str
    """The name of what it is compared with."""
    base: Sequence[Sample]
    """The runs of what it is compared with."""
    most_bytes: int | None = None
    """The memory it must stay below."""
    more_s: float = 0.0
    """The seconds that it may take beside that."""


@dataclass(frozen=True, slots=True)
class Line:
    """A work and its runs: a line of a table with HEADINGS."""

    title: str
    """The work."""
    samples: Sequence[Sample]
    """Its runs."""
    floor: Sequence[Sample] = ()
    """The runs of DuckDB reading the same file."""
    target: Target | None = None
    """What it may take."""
    factor: float = 1.0
    """What a time is multiplied by that was measured on fewer rows."""
    has_peak: bool = True
    """Whether its memory could be measured."""
    remark: str = ""
    """What it does less than profilectl, instead of a verdict."""

    @property
    def seconds(self) -> float:
        """Return the median, scaled."""
        return median(self.samples) * self.factor

    @property
    def peak(self) -> int:
        """Return the most memory of any run, in bytes."""
        return max(sample.peak for sample in self.samples)

    def cells(self) -> tuple[str, ...]:
        """Return the cells, in the order of HEADINGS."""
        times = [sample.seconds * self.factor for sample in self.samples]
        return (
            self.title,
            seconds_text(self.seconds),
            f"{seconds_text(min(times))} to {seconds_text(max(times))}",
            seconds_text(cpu_median(self.samples) * self.factor),
            megabytes(self.peak) if self.has_peak else "-",
            *self._against_floor(),
            *self._verdict(),
        )

    def _against_floor(self) -> tuple[str, ...]:
        """Return the time and the processor time in multiples of those of the floor."""
        if not self.floor:
            return "-", "-"
        ratio = self.seconds / median(self.floor)
        cpu_ratio = cpu_median(self.samples) * self.factor / cpu_median(self.floor)
        return f"{ratio:.2f}", f"{cpu_ratio:.2f}"

    def _verdict(self) -> tuple[str, ...]:
        """Return the goal, what was measured, and whether that is within."""
        if self.target is None:
            return "-", "-", self.remark
        base = median(self.target.base)
        goal = f"{self.target.most:.2g} x {self.target.unit}"
        measured = f"{self.seconds / base:.2f} x {self.target.unit}"
        is_over = self.seconds > self.target.most * base + self.target.more_s
        if self.target.more_s:
            goal += f" + {self.target.more_s:.0f} s"
            measured = f"{self.seconds:.2f} s"
        if self.target.most_bytes:
            goal += f", {megabytes(self.target.most_bytes)} MB"
            measured += f", {megabytes(self.peak)} MB"
            is_over = is_over or self.peak >= self.target.most_bytes
        return goal, measured, "over" if is_over else "within"


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number that is no time: a line of a table with HEADINGS."""

    title: str
    """What is measured."""
    value: float
    """The number."""
    most: float
    """What it may be at most."""
    unit: str
    """What it counts in."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells, in the order of HEADINGS."""
        goal, measured = f"{self.most:g} {self.unit}", f"{self.value:.2f} {self.unit}"
        verdict = "over" if self.value > self.most else "within"
        return self.title, *["-"] * (len(HEADINGS) - 4), goal, measured, verdict


@dataclass
class Works:
    """The lines of a table with HEADINGS, while they are measured."""

    lines: list[Line | Figure] = field(default_factory=list)
    """The lines so far."""
    notes: list[str] = field(default_factory=list)
    """The notes so far."""

    def add_import(self, line: Line) -> None:
        """Add an import, and below the table the counts of its report."""
        self.lines.append(line)
        self.notes.append(summary(line.title, line.samples[-1]))

    def answer(self) -> Answer:
        """Return the table."""
        return Answer(HEADINGS, [line.cells() for line in self.lines], self.notes)


def median(samples: Sequence[Sample]) -> float:
    """Return the median of the seconds."""
    return statistics.median(sample.seconds for sample in samples)


def cpu_median(samples: Sequence[Sample]) -> float:
    """Return the median of the processor seconds."""
    return statistics.median(sample.cpu_seconds for sample in samples)


def locked_figure(title: str, samples: Sequence[Sample]) -> Figure:
    """Return for how much of an import the store was locked: the median, in percent."""
    reports = [json.loads(sample.printed) for sample in samples]
    percent = statistics.median(
        100 * report["locked_ms"] / max(report["elapsed_ms"], 1) for report in reports
    )
    return Figure(title, percent, MOST_LOCKED_PERCENT, unit="% of the import")


def seconds_text(seconds: float) -> str:
    """Return seconds with about three digits."""
    digits = 3 if seconds < 1 else 2 if seconds < 100 else 0
    return f"{seconds:,.{digits}f}"


def megabytes(size: int) -> str:
    """Return bytes in millions of bytes."""
    return f"{size / 1e6:,.0f}"


def short(rows: int) -> str:
    """Return a number of rows, in millions where that is exact."""
    return f"{rows // 1_000_000}M" if rows % 1_000_000 == 0 else f"{rows:,}"


def summary(title: str, sample: Sample) -> str:
    """Return the counts of an import's report, which show that it did the work."""
    report = json.loads(sample.printed)
    counts = [
        f"{kind}: "
        + ", ".join(f"{number:,} {name}" for name, number in report[kind].items() if number)
        for kind in ("rows", "profiles", "identities", "attributes")
    ]
    return f"{title}: {'; '.join(counts)}; slow path: {report['slow_path_rows']:,} rows"
