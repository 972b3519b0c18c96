"""What the commands do that take long, step by step, with the seconds that each step takes.

Measured with 1M rows of benchmarks/data.py; only proportions count. A step that is not named here
takes its time within the step before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path

from profilectl.render.progress.time_left import Mark, Share

READING = {
    "csv": Mark("reading", 2.9, "reading the files", shares={"": Share(0, 0.76)}),
    "parquet": Mark("reading", 2.6, "reading the files", shares={"file#": Share(0, 0.6)}),
    "jsonl": Mark(
        "reading",
        7.3,
        "reading the files",
        shares={"file#_lines": Share(0.05, 0.25), "file#_fast": Share(0.28, 0.97)},
    ),
}
"""Reading the files of an import, by their format."""

EMPTY = [
    Mark("sift", 0.1, "checking rows and identities"),
    Mark("identity_hash", 2.1),
    Mark("claim", 1.0),
    Mark("shared_value", 0.3),
    Mark("resolve", 0.1, "resolving identities"),
    Mark("sharing_row", 0.65),
    Mark("keyed", 0.3),
    Mark("open_link", 1.05),
    Mark("row_profile", 0.4),
    Mark("settled_gain", 0.45),
    Mark("warning", 0.25),
    Mark("settled", 0.35),
    Mark("merge", 0.05, "merging attributes"),
    Mark("fresh_seq", 0.1),
    Mark("contested_row", 1.0),
    Mark("writing", 0.2, "writing"),
    Mark("write row", 5.6),
    Mark("write index", 1.4),
    Mark("history", 0.25),
]
"""An import into an empty store, once its files are read."""
ONTO = [
    Mark("sift", 0.1, "checking rows and identities"),
    Mark("identity_hash", 2.6),
    Mark("claim", 1.4),
    Mark("shared_value", 0.3),
    Mark("resolve", 0.1, "resolving identities"),
    Mark("held_value", 1.7),
    Mark("sharing_row", 1.0),
    Mark("keyed", 0.5),
    Mark("open_match", 0.7),
    Mark("open_link", 0.9),
    Mark("row_profile", 0.7),
    Mark("settled_gain", 0.95),
    Mark("warning", 0.25),
    Mark("settled", 0.25),
    Mark("crowded_value", 0.7),
    Mark("merge", 0.1, "merging attributes"),
    Mark("earlier_row", 1.0),
    Mark("fresh_seq", 0.5),
    Mark("contested_row", 3.2),
    Mark("changed_profile", 1.05),
    Mark("examined_profile", 1.1),
    Mark("writing", 0.3, "writing"),
    Mark("write row", 5.4),
    Mark("write index", 0.9),
    Mark("history", 0.5),
]
"""An import into a store that has as many rows as its files."""
EXAMPLES = Mark("examples", 14.0, "looking for examples")
"""What a dry run does at its end."""
CALCULATING = Mark("calculating", 0.0, "refreshing calculated attributes and audiences")

SORTED = Share(0.11, 1, since=0.5)
"""A statement that sorts what it writes: DuckDB calls it half done when everything is read, which
is after 11 % of its time; from then on it is right.
"""
EXPORT = [
    Mark("choosing", 0.5, "choosing the profiles"),
    Mark("exporting", 22.0, "writing the export"),
]
PARQUET_EXPORT = [
    Mark("choosing", 1.5, "choosing the profiles"),
    Mark("exporting", 19.0, "writing the export"),
]
"""An export to Parquet, which finds first what has a value."""
CHECK = [
    Mark("readable", 1.5, "reading every table"),
    Mark("_wrong_fingerprint", 0.05, "checking the promises"),
    Mark("_out_of_order", 0.25),
    Mark("_wrong_numbers_of_rows", 0.1),
    Mark("_strays_of_imports", 0.6),
    Mark("_wrong_founders", 2.4),
    Mark("_of_another_environment", 1.3),
    Mark("_wrong_indexes", 2.4),
    Mark("_shared_identities", 2.7),
]
COMPACT = [
    Mark("copying", 1.0, "copying the tables"),
    Mark("write row", 10.0, "laying segments together", shares={"write row": SORTED}),
    Mark("write event", 0.0, "", shares={"write event": SORTED}),
    Mark("write index", 2.3, "", shares={"write index": SORTED}),
    Mark("putting", 0.4, "putting the new file in place"),
]
BACKUP = [
    Mark("copying", 1.1, "copying the store"),
    Mark("reading back", 0.6, "reading the copy back"),
]
RESTORE = [
    Mark("copying", 1.1, "copying the backup"),
    Mark("reading back", 0.6),
    *CHECK,
]
FORGET = [
    Mark("finding", 0.5, "finding the people"),
    Mark("losing", 2.5, "looking for their traces"),
    Mark("copying", 5.0, "writing the store without them", shares={"": Share(0, 1)}),
    Mark("verifying", 0.1, "counting what stays"),
    Mark("calculating", 0.0, "refreshing calculated attributes and audiences"),
    Mark("putting", 0.3, "putting the new file in place"),
]
FORGET_MANY = [replace(mark, foretold=False) for mark in FORGET[:2]] + FORGET[2:]
"""An erasure of people whose number nobody knows before."""
AGE = [
    Mark("aging", 3.0, "finding what is too old", foretold=False),
    Mark("traces", 2.5, "looking for their traces", foretold=False),
    Mark("taking", 1.0, "taking old values and events", foretold=False),
    *FORGET[2:],
]
WOULD_AGE = AGE[:3]
"""A dry run of retention."""
CARRY_OUT = [
    Mark("answering", 0.0, "answering requests for access", foretold=False),
    *FORGET_MANY,
]
DIFF = [
    Mark("finding", 1.0, "finding the profiles that changed"),
    Mark("comparing", 8.0, "comparing them"),
]
REFRESH = [
    Mark("calculating", 0.5, "looking for what changed"),
    Mark("ca_rows#", 0.0, "computing calculated attributes"),
    Mark("ca_rows#_by", 0.0),
    Mark("ca_value#_by", 0.0),
    Mark("person", 0.0, "evaluating audiences"),
    Mark("wave", 0.0),
    Mark("noting", 0.0, "writing who entered and left"),
]
"""A refresh; audiences/how_far.py has the seconds, which depend on the definitions."""
REPLAY = [
    *BACKUP,
    Mark("replaying", 1.0, "importing again", timed=True),
    Mark("putting", 0.3, "putting the new file in place"),
    *REFRESH,
]
"""An undo that makes later imports again; each says itself how long it took then."""
LOOKUP = [
    Mark("reading", 1.2, "reading the identities"),
    Mark("sought", 0.1, "looking the identities up"),
    Mark("held", 0.2),
    Mark("answer", 0.3),
    Mark("answering", 0.4, "writing the answers"),
]
VOUCH = [
    Mark("reading back", 1.0, "reading the backup"),
]
STATS = [
    Mark("identities", 2.2, "counting identities"),
    Mark("attributes", 5.5, "counting attributes"),
    Mark("largest", 0.4, "looking for the largest profiles"),
]
USAGE = [
    Mark("ledger", 2.6, "counting batches"),
    Mark("tracked", 2.4, "counting tracked users"),
    Mark("summing", 1.2, "summing up"),
]
USAGE_ROWS = [
    *USAGE[:2],
    Mark("answering", 10.0, "writing the rows"),
]
PUSH = [
    Mark("pushing", 1.0, "pushing"),
]
UID2 = [
    Mark("", 0.0, "choosing whom to ask for"),
    Mark("asking", 1.0, "asking the operator"),
]

SMALL = 4_000_000
"""The bytes of a store below which it adds nothing."""
ALIKE = 0.7
"""The bytes of a store of the same rows, for each byte of a CSV file."""

FORMATS = ("csv", "parquet", "jsonl")


def one_step(title: str) -> list[Mark]:
    """Return the mark of a command whose time nobody can foretell: it says how long it has run."""
    return [Mark("", 1.0, title)]


def work_of_import(
    files: Sequence[str], format: Enum | None, store: Path, *, dry_run: bool = False
) -> list[Mark]:
    """Return the marks of an import of files into a store, or of a dry run.

    How much a store adds to the work is measured by its size, compared with that of the files.
    """
    form = str(format.value) if format else ""
    name = Path(files[0]).name if files else ""
    ends = [end for end in FORMATS if f".{end}" in name] or ["jsonl" if "json" in name else "csv"]
    input_bytes = sum(map(_size_of, map(Path, files)))
    store_bytes = _size_of(store)
    share = min(1.0, store_bytes / max(ALIKE * input_bytes, 1)) if store_bytes > SMALL else 0.0
    empty = {mark.name: mark.weight for mark in EMPTY}
    marks = [
        replace(mark, weight=share * mark.weight + (1 - share) * empty.get(mark.name, 0.02))
        for mark in ONTO
    ]
    reading = [READING.get(form or ends[0], READING["csv"]), Mark("one_by_one", 0.0)]
    if dry_run:
        decides = marks[: [mark.name for mark in marks].index("writing")]
        return [*reading, *decides, replace(EXAMPLES, weight=EXAMPLES.weight * max(share, 0.3))]
    return [*reading, *marks, CALCULATING]


def work_of_enrich(files: Sequence[str], format: Enum | None, store: Path) -> list[Mark]:
    """Return the marks of a look at how the batches of files would leave."""
    marks = work_of_import(files, format, store)[:-1]
    return [
        Mark("copying", 1.0, "copying the store"),
        *marks,
        Mark("composing", 700.0, "putting the batches together"),
    ]


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
