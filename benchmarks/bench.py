"""One run of the benchmarks: its options, its folder, and what several questions need."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import floor
from data import Data, Sizes
from process import Failed, Sample, alternate, import_file, say
from report import Line, Works, short, summary


@dataclass
class Bench:
    """One run of the benchmarks."""

    options: argparse.Namespace
    """The options of the command line."""
    folder: Path
    """Where files may be made."""
    large_store_notes: list[str] = field(default_factory=list)
    """The counts of the two imports that made the large store."""

    @cached_property
    def sizes(self) -> Sizes:
        """Return how much data is made."""
        options = self.options
        return Sizes(
            rows=options.rows,
            profiles=options.profiles,
            large_rows=options.large_rows,
            people=options.people,
            events=options.events,
            holders=options.holders,
            huge_rows=options.huge_rows,
        )

    @cached_property
    def data(self) -> Data:
        """Return the files."""
        return Data(self.folder, self.sizes)

    @cached_property
    def rows_title(self) -> str:
        """Return how the number of rows is written."""
        return short(self.sizes.rows)

    @cached_property
    def plain_floor(self) -> list[Sample]:
        """Return the floor of the plain rows, which several questions compare with."""
        return alternate(self.options.runs, {"floor": self.floor_step(self.data.plain())})["floor"]

    @cached_property
    def plain_import(self) -> list[Sample]:
        """Return our import of the plain rows into an empty store."""
        step = self.import_step(self.data.plain())
        return alternate(self.options.runs, {"import": step})["import"]

    @property
    def plain_counts(self) -> dict[str, int]:
        """Return how many profiles, identities and attributes that import made."""
        report = json.loads(self.plain_import[-1].printed)
        return {
            "profiles": report["profiles"]["created"],
            "identities": report["identities"]["added"],
            "attributes": report["attributes"]["set"],
        }

    def check_counts(self, theirs: dict[str, int]) -> None:
        """Check that another way made what our import makes. Raises Failed."""
        if theirs != self.plain_counts:
            raise Failed(f"it is another answer: {theirs}, not {self.plain_counts}")

    @cached_property
    def large_store(self) -> Path:
        """Return a store of two feeds, made once. What changes it takes a copy."""
        folder = self.folder / "base"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        store = folder / "profiles.duckdb"
        for part, (feed, source) in enumerate((("crm", "custom-feed"), ("partner", "partner"))):
            sample = import_file(store, self.data.base(part), feed=feed, source=source)
            say(f"  the store, feed {feed}: {sample.seconds:.2f} s")
            title = f"the store itself, feed {feed}, {sample.seconds:.1f} s"
            self.large_store_notes.append(summary(title, sample))
        return store

    @cached_property
    def many_store(self) -> Path:
        """Return a store of as many profiles as the large file has rows, made once."""
        folder = self.folder / "many"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        store = folder / "profiles.duckdb"
        sample = import_file(
            store, self.data.many(), "--memory-limit", "2GB", feed="crm", source="custom-feed"
        )
        say(f"  the store of many: {sample.seconds:.2f} s")
        return store

    def works(self) -> Works:
        """Return a table that begins with the floor of the plain rows."""
        title = f"floor: DuckDB reads {self.rows_title} rows CSV into a table"
        return Works([Line(title, self.plain_floor, self.plain_floor)])

    def works_beside(self) -> Works:
        """Return a table that begins with the floor of the plain rows, and our import of them."""
        works = self.works()
        works.lines.append(Line("profilectl import", self.plain_import, self.plain_floor))
        return works

    def floor_step(self, file: Path) -> Callable[[], Sample]:
        """Return a step that reads a file of CSV into a table."""

        def step() -> Sample:
            with self.room() as room:
                return floor.read_csv(file, room / "floor.duckdb")

        return step

    def import_step(
        self, file: Path, *options: str, may_reject: bool = False
    ) -> Callable[[], Sample]:
        """Return a step that imports a file into an empty store."""

        def step() -> Sample:
            with self.room() as room:
                store = room / "profiles.duckdb"
                return import_file(
                    store, file, *options, feed="bench", source="csv", may_reject=may_reject
                )

        return step

    def onto_step(
        self, store: Path, file: Path, *options: str, feed: str, source: str
    ) -> Callable[[], Sample]:
        """Return a step that imports a file onto a copy of a store; the copy is not timed."""

        def step() -> Sample:
            with self.room() as room:
                copied = shutil.copyfile(store, room / store.name)
                return import_file(copied, file, *options, feed=feed, source=source)

        return step

    @contextmanager
    def room(self) -> Iterator[Path]:
        """Give a folder to one process; it is emptied outside of what is timed."""
        with tempfile.TemporaryDirectory(prefix="run-", dir=self.folder) as room:
            yield Path(room)
