"""What do looking first, taking back and looking after cost?

The lock of an import, a dry run, a plan, an undo, a check, a backup.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import whole_store
from bench import Bench
from process import Sample, import_file, profilectl, say
from report import Answer, megabytes, seconds_text

HEADINGS = ("work", "seconds", "")


def answer(bench: Bench) -> Answer:
    """Import two files, half of whose customers are the same; then run what guards the store."""
    files = {
        "import, empty store": bench.data.plain(),
        "import, half known": bench.data.later(),
    }
    with bench.room() as room:
        store = room / "profiles.duckdb"
        rows = [_import_row(store, title, file) for title, file in files.items()]
        size = store.stat().st_size
        second = files["import, half known"]
        rows += [_row(store, *command) for command in _commands(second, room).items()]
        after = store.stat().st_size
        rows += _rows_of_whole_store(bench, room)
    sizes = f"{megabytes(size)} MB before, {megabytes(after)} MB after `compact`"
    return Answer(HEADINGS, [*rows, ("size of the store", "", sizes)])


def _rows_of_whole_store(bench: Bench, room: Path) -> list[tuple[str, ...]]:
    """Return what commands that write all of the large store take, and by hand: in CPU seconds.

    Each gets a copy of its own; `forget` erases a thousand people.
    """
    store, target = room / "whole.duckdb", room / "written.duckdb"
    people = room / "forget.txt"
    addresses = [f"person{number * 4321 + 17}@example.com\n" for number in range(1000)]
    people.write_text("".join(addresses))
    forget = ("forget", "--file", people, "--type", "email", "--yes", "--wait-servers", "0")
    works: list[tuple[tuple[str | Path, ...], Callable[[], Sample]]] = [
        (("imports", "undo", "2", "--yes"), lambda: whole_store.undo(store)),
        (("compact", "--keep", "0", "--yes"), lambda: whole_store.compact(store, target)),
        (forget, lambda: whole_store.forget(store, people, target)),
    ]
    rows = []
    for words, by_hand in works:
        shutil.copyfile(bench.options.store or bench.large_store, store)
        sample = profilectl(store, *words)
        shutil.copyfile(bench.options.store or bench.large_store, store)
        title, seconds, peak, remark = whole_store.against(
            f"`{words[0]} {words[1]}`, large store", sample, by_hand()
        )
        rows.append((title, seconds, f"{peak} MB; {remark}"))
        target.unlink(missing_ok=True)
    return rows


def _import_row(store: Path, title: str, file: Path) -> tuple[str, ...]:
    sample = import_file(store, file, feed=title.replace(", ", "-"), source="csv")
    say(f"  {title}")
    report = json.loads(sample.printed)
    locked_s, share = report["locked_ms"] / 1000, report["locked_ms"] / report["elapsed_ms"]
    return title, seconds_text(sample.seconds), f"locked {locked_s:.2f} s, {share:.0%} of it"


def _commands(second: Path, room: Path) -> dict[str, list[str | Path]]:
    """Return the commands by their titles, in the order they are run in."""
    feed: list[str | Path] = ["--feed", "x", "--source", "csv"]
    return {
        "imports undo": ["imports", "undo", "2", "--yes"],
        "import --dry-run": ["import", second, *feed, "--dry-run", "--json"],
        "plan": ["plan", second, *feed, "-o", room / "import.plan"],
        "apply": ["apply", room / "import.plan"],
        "diff --json": ["diff", "3", "--json"],
        "check": ["check"],
        "backup": ["backup", room / "backup.duckdb"],
        "stats": ["stats", "--json"],
        "compact --keep 0": ["compact", "--keep", "0", "--yes"],
    }


def _row(store: Path, title: str, words: list[str | Path]) -> tuple[str, ...]:
    say(f"  {title}")
    printed = store.with_name("printed")
    sample = profilectl(store, *words, output=printed)
    with printed.open(encoding="utf-8") as lines:
        number = sum(1 for _ in lines)
    return f"`{title}`", seconds_text(sample.seconds), f"{number:,} lines"
