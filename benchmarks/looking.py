"""How long do commands take that look at a large store: show, search, lookup, export?"""

from __future__ import annotations

import filecmp
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import floor
import whole_store
from bench import Bench
from process import Failed, Sample, profilectl, run_sql, say, statement_seconds
from report import Answer, median, megabytes, seconds_text
from whole_store import against

HEADINGS = ("work", "seconds", "peak MB", "")
EMAIL = "person4711@example.com"
QUICK = (
    ("show", "--email", EMAIL),
    ("show", "--email", EMAIL, "--json"),
    ("explain", "--email", EMAIL),
    ("search", EMAIL, "--exact"),
    ("search", "person47110"),
    ("search", "47110", "--substring"),
    ("search", "100[05]00047", "--regex", "--type", "mobile_number"),
    ("set", "--email", EMAIL, "x=1"),
)
CONDITION = ("search", "--where", "tier = 'gold' and points > 9990", "--json")
EXPORTS = {
    "profiles": "profiles.jsonl",
    "batches": "batches.jsonl",
    "attributes": "attributes.parquet",
    "identities": "identities.csv",
}
# A text file into a table, and the table into such a file: the floor of an export.
COPIES = {
    ".jsonl": (
        "create table content as from read_json(getvariable('path'), format = 'newline_delimited')",
        "copy content to (getvariable('copy')) (format json)",
    ),
    ".csv": (
        "create table content as from read_csv(getvariable('path'), header = true)",
        "copy content to (getvariable('copy')) (format csv, header true)",
    ),
}


def answer(bench: Bench) -> Answer:
    """Run each command on a copy of the store, for one of them writes."""
    with bench.room() as room:
        store = shutil.copyfile(bench.options.store or bench.large_store, room / "store.duckdb")
        rows = [
            *_quick_rows(store, bench.options.runs),
            *_lookup_rows(store, room, bench.data.addresses()),
            *_whole_store_rows(store, room, bench.data.addresses()),
            *_export_rows(store, room),
        ]
    return Answer(HEADINGS, rows)


def _quick_rows(store: Path, runs: int) -> list[tuple[str, ...]]:
    rows = []
    for words in QUICK:
        samples = [profilectl(store, *words) for _ in range(runs)]
        rows.append(_row(f"`{' '.join(words)}`", samples))
    sample = profilectl(store, *CONDITION)
    people = json.loads(sample.printed)["count"]
    rows.append(_row("`search --where` on two attributes", [sample], f"{people:,} people"))
    return rows


def _lookup_rows(store: Path, room: Path, addresses: Path) -> list[tuple[str, ...]]:
    command = ("lookup", addresses, "--type", "email")
    plain = profilectl(store, *command, output=room / "people.jsonl")
    fields = ("--field", "tier", "--field", "city")
    with_fields = profilectl(store, *command, *fields, output=room / "people.jsonl")
    return [
        _row("lookup of a list of addresses", [plain]),
        _row("... with two fields", [with_fields]),
    ]


def _whole_store_rows(store: Path, room: Path, addresses: Path) -> list[tuple[str, ...]]:
    """Return what commands over all of a store take, and by hand: in CPU seconds.

    It is run before anything else is written to the store, which has two segments.
    """
    target = room / "people.jsonl"
    listed = ("lookup", addresses, "--type", "email", "-o", target)
    return [
        _diff_row(store, room),
        against("stats", profilectl(store, "stats", "--json"), whole_store.stats(store)),
        against("check", profilectl(store, "check"), whole_store.check(store)),
        against(
            "lookup of a list",
            profilectl(store, *listed),
            whole_store.lookup(store, addresses, target),
        ),
    ]


def _diff_row(store: Path, room: Path) -> tuple[str, ...]:
    """Return what `diff --json` of the second import takes, and by hand. Raises Failed."""
    ours, by_hand = room / "diff.jsonl", room / "diff-by-hand.jsonl"
    sample = profilectl(store, "diff", "2", "--json", output=ours)
    row = against("`diff --json` of one import", sample, whole_store.diff(store, by_hand))
    if not filecmp.cmp(ours, by_hand, shallow=False):
        raise Failed("diff: by hand it is another answer")
    ours.unlink()
    by_hand.unlink()
    return row


def _export_rows(store: Path, room: Path) -> list[tuple[str, ...]]:
    target = room / "all.parquet"
    sample = profilectl(store, "export", "profiles", "-o", target)
    copied = floor.copy_seconds(target, room / "floor.duckdb")
    ratio = f"{sample.seconds / copied:.2f} x `copy` ({seconds_text(copied)} s)"
    rows = [_row("export of profiles to Parquet", [sample], ratio)]
    for kind, name in EXPORTS.items():
        sample = profilectl(store, "export", kind, "-o", room / name)
        remark = f"{megabytes((room / name).stat().st_size)} MB"
        if copy := COPIES.get((room / name).suffix):
            copied = _copy_seconds(room / name, room / f"{kind}.duckdb", copy)
            remark += f"; {sample.seconds / copied:.2f} x `copy` ({seconds_text(copied)} s)"
        rows.append(_row(f"export of {kind} to {name}", [sample], remark))
    return rows


def _copy_seconds(file: Path, database: Path, copy: Sequence[str]) -> float:
    """Return the seconds that DuckDB needs to write the content of a text file as such a file."""
    load, write = copy
    copied = database.with_suffix(".copy")
    sample = run_sql(load, "checkpoint", write, database=database, path=str(file), copy=str(copied))
    return statement_seconds(sample)[-1]


def _row(title: str, samples: Sequence[Sample], remark: str = "") -> tuple[str, ...]:
    say(f"  {title}")
    peak = max(sample.peak for sample in samples)
    return title, seconds_text(median(samples)), megabytes(peak), remark
