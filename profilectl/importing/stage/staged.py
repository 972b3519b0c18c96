"""What staging leaves behind: the shape of the staged rows, and the rejects.

Every reader makes a relation of its file's rows under the same column names, so that what follows
needs not know which format a row came from:

    seq          the place of the row in its file, from 0; the only order there is
    environment, mpid, at_ms, request, deleted, rest     the plain fields, as far as the file has them
    i_<type>     an identity as stated
    a<n>         an attribute, held as profilectl.rules.text.values says; AttributeColumns knows its key
"""

from __future__ import annotations

import contextlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from profilectl.codes import CODES, Reject, StoreUnusable
from profilectl.importing.stage.csv.dialect import Dialect
from profilectl.rules.batch import Batch
from profilectl.rules.identity import CODE, TYPES
from profilectl.store.scratch import Scratch

WIDE = 200
"""So many attributes get a column of their own; the rest are kept one row a value."""

PLAIN = {
    "environment": "VARCHAR",
    "mpid": "BIGINT",
    "at_ms": "BIGINT",
    "request": "VARCHAR",
    "deleted": "VARCHAR[]",
    "rest": "VARCHAR",
}
SKIPS = [
    ("seq", "BIGINT"),
    ("code", "VARCHAR"),
    ("attribute", "VARCHAR"),
    ("type", "UTINYINT"),
    ("value", "VARCHAR"),
]
EVENT = [
    ("seq", "BIGINT"),
    ("place", "INTEGER"),
    ("type", "VARCHAR"),
    ("name", "VARCHAR"),
    ("at_ms", "BIGINT"),
    ("session", "VARCHAR"),
    ("event", "VARCHAR"),
]
"""A staged event: place counts those of a row from 0; at_ms: its own time, or null; event: the
whole as JSON.
"""
LOOSE = [("seq", "BIGINT"), ("key", "VARCHAR"), ("value", "VARCHAR")]


class AttributeColumns:
    """Which column an attribute has, the same in every file of an import."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._places: dict[str, int] = {}

    def column(self, key: str) -> str | None:
        """Return the column of a key, made on first use; None where there are too many."""
        if key not in self._places:
            if len(self.keys) >= WIDE:
                return None
            self._places[key] = len(self.keys)
            self.keys.append(key)
        return f"a{self._places[key]}"


@dataclass(slots=True)
class StagedFile:
    """One file's rows: the SELECT that reads them, and what it has.

    span: rows lie at seq 0 to span-1. The row at seq n begins at physical line first_line + n, or
    where the relation lines (seq, line) says. unit: "line", or "row" where a file has no lines.
    elements: of a JSON document, a relation (line; its rowid is the seq) of the text of each row;
    lines then has its column, col. loose: a relation (seq, key, value) of attributes without a
    column, or None. events: SELECTs in the shape of EVENT; events_in_order: their rows come by seq
    and place, because none is joined with anything. rejects: SELECTs of (seq, code, detail), rows
    that cannot be used, the weightiest first. skips: SELECTs of (seq, code, attribute), attributes
    left out, and what is worth knowing. skipped: SELECTs of (seq, code, type, value), identities
    that were judged where the row was read, and are nobody's. notices: what a person should know of
    how the file was read. dialect: how the cells of a CSV file are written. path: where the
    original text of a row can be read again. raw: for Parquet, the SELECT (row, raw) of that.
    """

    name: str
    sha256: str
    format: str
    select: str
    span: int
    rows: int
    columns: list[str]
    plain: list[str]
    identities: list[str]
    path: Path
    loose: str | None = None
    events: list[str] = field(default_factory=list)
    events_in_order: bool = False
    unit: str = "line"
    first_line: int = 1
    lines: str | None = None
    elements: str | None = None
    meaning: tuple[tuple[str, str], ...] = ()
    rejects: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    raw: str | None = None
    more: bool = False
    """Whether the file before is of the same file: rejects of several files are staged by the files
    they come from.
    """
    dialect: Dialect = field(default_factory=Dialect)


@dataclass(slots=True)
class Staged:
    """All rows of an import, in the relation `staged`; attributes without a column in
    `staged_loose`, events in `staged_event`, where there are any.

    plain, identities: which of the columns there are. keys: the attribute of each column a0, a1,
    ... offsets: the seq at which each file begins. span: all rows lie at seq 0 to span-1.
    events_in_order: staged_event lies by seq and place.
    """

    files: list[StagedFile]
    offsets: list[int]
    span: int
    plain: list[str]
    identities: list[str]
    keys: list[str]
    loose: bool
    events: bool
    events_in_order: bool = False


LINE_BITS = 40
"""So many bits are enough for the number of a line."""


class Rejects:
    """The rows that cannot be used: written down as they come, counted by code, in order of file
    and line once closed.
    """

    def __init__(self, path: Path, files: Sequence[str] = ()) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.early: Counter[str] = Counter()
        self.by_file: Counter[str] = Counter()
        self._places = {name: place for place, name in reversed(list(enumerate(files)))}
        # What a million rejects are sorted by takes 16 MB: file and line in one number, and where
        # the reject begins.
        self._keys, self._begins = array("q"), array("q")
        self._file: BinaryIO | None = None

    def add(self, reject: Reject, *, late: bool = False, unit: str = "line") -> None:
        """Write down a reject; late: of a row that had been staged; unit: what its line is, line or
        row.
        """
        if self._file is None:
            with self._on_disk():
                self._file = self.path.open("wb")
                self.path.chmod(0o600)
        self.counts[reject.code] += 1
        self.early[reject.file] += not late
        self.by_file[reject.file] += 1
        document = {
            "file": reject.file,
            unit: reject.line,
            "code": reject.code,
            "message": reject.message,
            "raw": reject.raw,
        }
        place = self._places.setdefault(reject.file, len(self._places))
        self._keys.append(place << LINE_BITS | reject.line)
        self._begins.append(self._file.tell())
        try:
            self._file.write(orjson.dumps(document) + b"\n")
        except OSError as error:
            raise self._unwritten(error) from None

    def close(self) -> None:
        """End writing, and put the rejects in order."""
        if self._file is None:
            return
        written, self._file = self._file, None  # what failed once is not tried again
        with self._on_disk():
            end = written.tell()
            written.close()
            if any(one > following for one, following in pairwise(self._keys)):
                self._sort(sorted(range(len(self._keys)), key=self._keys.__getitem__), end)
        self._keys, self._begins = array("q"), array("q")

    def _sort(self, order: list[int], end: int) -> None:
        """Write the rejects anew in an order, those that follow each other already in one piece."""
        begins = self._begins
        begins.append(end)
        target = self.path.with_name(f"{self.path.name}.sorted")
        with self.path.open("rb") as source, target.open("wb") as out:
            target.chmod(0o600)
            first = 0
            while first < len(order):
                last = first
                while last + 1 < len(order) and order[last + 1] == order[last] + 1:
                    last += 1
                source.seek(begins[order[first]])
                copied(source, out, begins[order[last] + 1] - begins[order[first]])
                first = last + 1
        target.replace(self.path)

    @contextlib.contextmanager
    def _on_disk(self) -> Iterator[None]:
        """Raise StoreUnusable where the disk does not take the rejects: nothing was imported then."""
        try:
            yield
        except OSError as error:
            raise self._unwritten(error) from None

    def _unwritten(self, error: OSError) -> StoreUnusable:
        return StoreUnusable(
            f"the rejected rows could not be written to {self.path.parent}: {error.strerror}",
            "the store is as before; make room, or mend the disk",
        )

    def __len__(self) -> int:
        return sum(self.counts.values())


def copied(source: BinaryIO, out: BinaryIO, size: int) -> None:
    """Copy so many bytes."""
    while size > 0:
        block = source.read(min(size, 1 << 20))
        out.write(block)
        size -= len(block)


def reject_of(line: bytes) -> dict[str, Any] | None:
    """Return the reject that a line of JSON is, as Rejects writes them; None for any other line."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if (
        not isinstance(found, dict)
        or found.keys() - {"line", "row"} != {"file", "code", "message", "raw"}
        or len(found) != 5
    ):
        return None
    texts = all(isinstance(found[name], str) for name in ("file", "code", "message", "raw"))
    return found if texts and found["code"] in CODES else None


def place_of(reject: Mapping[str, Any]) -> int:
    """Return the line, or the row, of a reject that was written down."""
    return int(reject["line"] if "line" in reject else reject["row"])


class BatchRows:
    """Batches read one by one in Python, gathered into a relation of the staged shape."""

    BLOCK = 20_000

    def __init__(self, scratch: Scratch, name: str, keys: AttributeColumns) -> None:
        self._scratch, self.name, self._keys = scratch, name, keys
        self.loose = f"{name}_loose"
        self.skips = f"{name}_skips"
        self.events = f"{name}_events"
        self.columns: list[str] = []
        self.plain: set[str] = set()
        self.identities: set[str] = set()
        self.count = 0
        self.has_loose = self.has_events = False
        self._types = {"seq": "BIGINT", **PLAIN, **{f"i_{kind.name}": "VARCHAR" for kind in TYPES}}
        self._rows: list[tuple[int, Batch]] = []
        spelled = ", ".join(f"{column} {kind}" for column, kind in self._types.items())
        scratch.run(f"create temp table {name} ({spelled})")
        scratch.load(self.loose, LOOSE, [])
        scratch.load(self.skips, SKIPS, [])
        scratch.load(self.events, EVENT, [])

    def add(self, seq: int, batch: Batch) -> None:
        self._rows.append((seq, batch))
        if len(self._rows) >= self.BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write the gathered batches to the relation."""
        if not self._rows:
            return
        wide: dict[str, list[str | None]] = {}
        loose: list[tuple[int, str, str]] = []
        skips: list[tuple[int, str, str | None, int | None, str | None]] = []
        events: list[tuple[object, ...]] = []
        size = len(self._rows)
        for place, (seq, batch) in enumerate(self._rows):
            skips += [
                (seq, one.code, one.attribute, CODE[one.type] if one.type else None, one.value)
                for one in batch.remarks
            ]
            events += [
                (seq, nth, one.type, one.name, one.at_ms, one.session, one.text)
                for nth, one in enumerate(batch.events)
            ]
            for key, held in batch.sets.items():
                column = self._keys.column(key)
                if column is None:
                    loose.append((seq, key, held))
                elif column in wide:
                    wide[column][place] = held
                else:
                    wide[column] = [None] * size
                    wide[column][place] = held
        self._insert(wide)
        if loose:
            self.has_loose = True
            self._scratch.append(self.loose, LOOSE, loose)
        if skips:
            self._scratch.append(self.skips, SKIPS, skips)
        if events:
            self.has_events = True
            self._scratch.append(self.events, EVENT, events)
        self.count += size
        self._rows = []

    def _insert(self, wide: dict[str, list[str | None]]) -> None:
        for column in wide:
            if column not in self.columns:
                self._scratch.run(f"alter table {self.name} add column {column} VARCHAR")
                self.columns.append(column)
        batches = [batch for _, batch in self._rows]
        values: dict[str, list[object]] = {
            "seq": [seq for seq, _ in self._rows],
            "environment": [batch.environment for batch in batches],
            "mpid": [batch.mpid for batch in batches],
            "at_ms": [batch.at_ms for batch in batches],
            "request": [batch.request for batch in batches],
            "deleted": [list(batch.deletes) or None for batch in batches],
            "rest": [batch.rest for batch in batches],
        }
        for place, batch in enumerate(batches):
            for one in batch.identities:
                values.setdefault(f"i_{one.type}", [None] * len(batches))[place] = one.value
        self.plain |= {name for name in PLAIN if any(value is not None for value in values[name])}
        self.identities |= {name[2:] for name in values if name.startswith("i_")}
        values = {
            name: column
            for name, column in values.items()
            if name not in PLAIN or name in self.plain
        }
        types = {**self._types, **dict.fromkeys(wide, "VARCHAR")}
        values.update(wide)  # type: ignore[arg-type]
        names = list(values)
        selected = ", ".join(
            f"unnest($c{n}::{types[name]}[]) as {name}" for n, name in enumerate(names)
        )
        bound = {f"c{n}": values[name] for n, name in enumerate(names)}
        self._scratch.run(f"insert into {self.name} by name select {selected}", bound)
