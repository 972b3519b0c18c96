"""The result of staging: the shape of the staged rows, and the rejects.

Every reader makes a relation of its file's rows under the same column names, so that the steps
after it need not know which format a row came from:

    seq          the place of the row in its file, from 0; the only order there is
    environment, mpid, at_ms, request, deleted, rest     the plain fields that the file has
    i_<type>     an identity as stated
    a<n>         an attribute, held as rules/text/values.py says; AttributeColumns has its key

Where a rejected row gets its reason: `Rejects.add` writes down every reject there is, with its code
and what there is to say. A reader calls it for a row that it cannot read. A row that could be read
is rejected by a SELECT of (seq, code, detail), all of them in `StagedFile.rejects`; sift.py runs
those, and original.py hands the rows to `Rejects.add`. The sentence of each code is in codes.py.
"""

from __future__ import annotations

import contextlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypedDict, cast

import orjson

from profilectl.codes import CODES, Reject, StoreUnusable, sentence
from profilectl.importing.stage.csv.dialect import Dialect
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.batch import Batch
from profilectl.rules.identity import CODE, TYPES
from profilectl.store.scratch import Scratch

WIDE = 200
"""How many attributes get a column of their own; the others are kept one row a value."""

PLAIN = {
    "environment": "VARCHAR",
    "mpid": "BIGINT",
    "at_ms": "BIGINT",
    "request": "VARCHAR",
    "deleted": "VARCHAR[]",
    "rest": "VARCHAR",
}
"""The plain fields, and their types."""
SKIPS = [
    ("seq", "BIGINT"),
    ("code", "VARCHAR"),
    ("attribute", "VARCHAR"),
    ("type", "UTINYINT"),
    ("value", "VARCHAR"),
]
"""Something left out of a row: an attribute, or an identity by its type and value."""
EVENT = [
    ("seq", "BIGINT"),
    ("place", "INTEGER"),
    ("type", "VARCHAR"),
    ("name", "VARCHAR"),
    ("at_ms", "BIGINT"),
    ("session", "VARCHAR"),
    ("event", "VARCHAR"),
]
"""A staged event. place counts the events of a row from 0; at_ms is its own time, or null; event is
all of it as JSON.
"""
LOOSE = [("seq", "BIGINT"), ("key", "VARCHAR"), ("value", "VARCHAR")]
"""The value of an attribute without a column."""

# Where each row begins, in a file in which each line is a row.
LINE_A_ROW = SqlTemplate("""
(
  select unnest(range({span})) as seq, unnest(range({span})) + {first_line} as line
)
""")
# The column of an attribute that no batch had before.
ADD_COLUMN = SqlTemplate("alter table {table} add column {column} VARCHAR")
# Rows as lists, one a column; columns that are not named are null.
INSERT_BY_NAME = SqlTemplate("""
insert into {table} by name
select {columns}
""")


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


class LineTexts(NamedTuple):
    """The physical lines of rows, in SQL."""

    relation: str
    """A relation of the rows, or of the lines."""
    text: str
    """The line as an expression of its columns: it is put together of few rows, of those that are
    rejected.
    """
    shift: int
    """What its rowid lacks to the number of the line."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One file's rows: the SELECT that reads them, and the columns it has."""

    name: str
    """The name that reports show."""
    sha256: str
    """The hash of its content as it was given."""
    format: str
    """csv, jsonl, json or parquet."""
    select: str
    """The SELECT of its rows."""
    span: int
    """All rows lie at seq 0 to span - 1."""
    rows: int
    """How many rows there are; a seq may have none."""
    columns: list[str]
    """The columns of attributes that it has."""
    plain: list[str]
    """The plain fields that it has."""
    identities: list[str]
    """The identity types that it has."""
    path: Path
    """Where the original text of a row can be read again."""
    loose: str | None = None
    """A relation (seq, key, value) of attributes without a column."""
    events: list[str] = field(default_factory=list)
    """SELECTs in the shape of EVENT."""
    events_in_order: bool = False
    """Whether events come by seq and place, because none is joined with anything."""
    unit: str = "line"
    """How a place in the file is counted: "line", or "row" where a file has no lines."""
    first_line: int = 1
    """The physical line of the row at seq 0, where the row at seq n begins n lines later."""
    lines: str | None = None
    """A relation (seq, line) of where rows begin, where that does not follow from first_line."""
    elements: str | None = None
    """Of a JSON document, a relation (line; its rowid is the seq) of the text of each row; `lines`
    then has its column, col.
    """
    meaning: tuple[tuple[str, str], ...] = ()
    """How each column, or each name of flat rows, was read."""
    unread: tuple[str, ...] = ()
    """The columns of bytes, which are left out."""
    rejects: list[str] = field(default_factory=list)
    """SELECTs of (seq, code, detail): rows that cannot be used, the weightiest first."""
    skips: list[str] = field(default_factory=list)
    """SELECTs of (seq, code, attribute): attributes left out, and what is worth knowing."""
    skipped: list[str] = field(default_factory=list)
    """SELECTs of (seq, code, type, value): identities that were judged where the row was read, and
    are nobody's.
    """
    notices: list[str] = field(default_factory=list)
    """Notices for a person of how the file was read."""
    raw: str | None = None
    """Of Parquet, the SELECT (row, raw) of the original rows."""
    texts: LineTexts | None = None
    """Of CSV without a quote, its lines put together from cells."""
    more: bool = False
    """Whether it is a further part of the file before it: a file of rejects is staged in parts, one
    for each file that its rows come from.
    """
    dialect: Dialect = field(default_factory=Dialect)
    """How the cells of a CSV file are written."""

    @property
    def places(self) -> str:
        """Return the relation (seq, line) of where each row begins."""
        return self.lines or LINE_A_ROW(span=self.span, first_line=self.first_line)


@dataclass(frozen=True, slots=True)
class Staged:
    """All rows of an import, in the relation `staged`.

    Attributes without a column are in `staged_loose`, events in `staged_event`.
    """

    files: list[StagedFile]
    """The files, in order."""
    offsets: list[int]
    """The seq at which each file begins."""
    span: int
    """All rows lie at seq 0 to span - 1."""
    plain: list[str]
    """The plain fields that there are."""
    identities: list[str]
    """The identity types that there are."""
    keys: list[str]
    """The attribute of each column a0, a1, ..."""
    loose: bool
    """Whether there is a relation staged_loose."""
    events: bool
    """Whether there is a relation staged_event."""
    events_in_order: bool = False
    """Whether staged_event lies by seq and place."""


RAW_SHOWN = 64 * 1024
"""How many characters of the text of a row a reject has."""
LINE_BITS = 40
"""How many bits the number of a line takes at most."""
_LINE = orjson.OPT_APPEND_NEWLINE


class WrittenReject(TypedDict):
    """A reject as it is written down; it has `line` or `row` as well."""

    file: str
    """The file that the row is of."""
    code: str
    """Why it cannot be used."""
    message: str
    """The same as a sentence."""
    raw: str
    """The text of the row."""


class RejectedRow(NamedTuple):
    """A staged row that cannot be used."""

    place: int
    """Its line, or its row in a file without lines."""
    code: str
    """Why it cannot be used."""
    detail: str | None
    """The particulars, if there are any."""


class RejectedLines(NamedTuple):
    """Rejects of a file that are written already, in its order."""

    file: str
    """The file that they are of."""
    path: Path
    """Where they are written; it is taken from there."""
    counts: Mapping[str, int]
    """How many there are of each code."""
    select: str
    """The SELECT (import, file, line, code, message, raw) of them, in order, for an import $number:
    to read them again takes four times as long.
    """
    lines: Sequence[int] = ()
    """The line of each; none is needed where nothing else is rejected."""


class Rejects:
    """The rows that cannot be used, written down as they come.

    They are counted by code, and in order of file and line once this is closed.
    """

    def __init__(self, path: Path, files: Sequence[str] = ()) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.early: Counter[str] = Counter()
        self.by_file: Counter[str] = Counter()
        # All of them in order, as the store has them (RejectedLines); None: the file has them.
        self.select: str | None = None
        self._has_one_file = len(files) == 1
        # Of a file that is named twice the first place counts.
        self._places = {name: place for place, name in reversed(list(enumerate(files)))}
        # What a million rejects are sorted by takes 16 MB: file and line in one number, and where
        # the reject begins.
        self._keys, self._begins = array("q"), array("q")
        self._end = 0
        self._file: BinaryIO | None = None

    def add(self, reject: Reject, *, late: bool = False, unit: str = "line") -> None:
        """Write down a reject, the reason of its row with it.

        late: whether the row had been staged. unit: how its place is counted, "line" or "row".
        Raises StoreUnusable where the disk does not take it.
        """
        self.early[reject.file] += not late
        row = RejectedRow(reject.line, reject.code, reject.detail)
        self._write(reject.file, [row], [reject.raw], unit=unit)

    def add_staged(
        self, file: str, rows: Sequence[RejectedRow], texts: Iterable[str], *, unit: str
    ) -> None:
        """Write down staged rows of a file. texts: of these rows, in their order.

        unit: how a place is counted, "line" or "row". Raises StoreUnusable where the disk does not
        take them.
        """
        if rows:
            self._write(file, rows, texts, unit=unit)

    @property
    def is_alone(self) -> bool:
        """Return whether there is one file, and nothing of it was written down yet."""
        return self._has_one_file and not self.counts

    def add_lines(self, written: RejectedLines) -> None:
        """Take over what is written already.

        Raises StoreUnusable where the disk does not take it.
        """
        with self._on_disk():
            if self.is_alone:
                self.select = written.select
                written.path.replace(self.path)
            else:
                self._append(written)
        self.counts.update(written.counts)
        self.by_file[written.file] += sum(written.counts.values())

    def _append(self, written: RejectedLines) -> None:
        place, size = self._place_of(written.file), written.path.stat().st_size
        self._keys.extend([place | line for line in written.lines])
        with written.path.open("rb") as source:
            begins = accumulate(map(len, source), initial=self._end)
            self._begins.extend(islice(begins, len(written.lines)))
            source.seek(0)
            self._end += size
            copied(source, self._opened(), size)
        written.path.unlink()

    def _opened(self) -> BinaryIO:
        """Return the file of the rejects, open, readable by its owner only."""
        if self._file is None:
            self._file = self.path.open("wb")
            self.path.chmod(0o600)
        return self._file

    def _place_of(self, file: str) -> int:
        """Return what the rejects of a file are sorted by, before their lines."""
        return self._places.setdefault(file, len(self._places)) << LINE_BITS

    def _write(
        self, file: str, rows: Sequence[RejectedRow], texts: Iterable[str], *, unit: str
    ) -> None:
        with self._on_disk():
            out = self._opened()
        self.counts.update([row.code for row in rows])
        self.by_file[file] += len(rows)
        place = self._place_of(file)
        try:
            # All in one loop: 135,000 rejects take 0.3 s, with a call for each they took 0.7.
            for (line, code, detail), text in zip(rows, texts, strict=True):
                message = f"{sentence(code)}: {detail}" if detail else sentence(code)
                document = {"file": file, unit: line, "code": code, "message": message, "raw": text}
                self._keys.append(place | line)
                self._begins.append(self._end)
                self._end += out.write(orjson.dumps(document, option=_LINE))
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
            # Rejects come in order, but for rows that were rejected after they were staged.
            if any(key > following for key, following in pairwise(self._keys)):
                self._sort(sorted(range(len(self._keys)), key=self._keys.__getitem__), end)
        self._keys, self._begins = array("q"), array("q")

    def _sort(self, order: list[int], end: int) -> None:
        """Write the rejects anew in an order, those that follow each other already in one piece."""
        begins = self._begins
        begins.append(end)
        target = self.path.with_name(f"{self.path.name}.sorted")
        with self.path.open("rb") as source, target.open("wb") as out:
            target.chmod(0o600)
            start = 0
            while start < len(order):
                stop = start + 1
                while stop < len(order) and order[stop] == order[stop - 1] + 1:
                    stop += 1
                source.seek(begins[order[start]])
                copied(source, out, begins[order[stop - 1] + 1] - begins[order[start]])
                start = stop
        target.replace(self.path)

    @contextlib.contextmanager
    def _on_disk(self) -> Iterator[None]:
        """Raise StoreUnusable where the disk does not take the rejects."""
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
    """Copy `size` bytes."""
    while size > 0:
        block = source.read(min(size, 1 << 20))
        out.write(block)
        size -= len(block)


def reject_of(line: bytes) -> WrittenReject | None:
    """Return the reject that a line of JSON is, as Rejects writes them; None for any other line."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    names = WrittenReject.__annotations__.keys()
    if not isinstance(document, dict) or len(document) != 5:
        return None
    if document.keys() - {"line", "row"} != names:
        return None
    if not all(isinstance(document[name], str) for name in names):
        return None
    return cast(WrittenReject, document) if document["code"] in CODES else None


def place_of(reject: Mapping[str, object]) -> int:
    """Return the line, or the row, of a reject that was written down."""
    place = reject["line"] if "line" in reject else reject["row"]
    assert isinstance(place, int)
    return place


class LooseRow(NamedTuple):
    """An attribute without a column, in the shape of LOOSE."""

    seq: int
    """The row that states it."""
    key: str
    """Its key."""
    value: str
    """Its held value."""


class BatchRows:
    """Batches that Python reads, gathered into a relation of the staged shape."""

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

    @classmethod
    def create(cls, scratch: Scratch, name: str, keys: AttributeColumns) -> BatchRows:
        """Make the relations, empty. Their names begin with `name`."""
        rows = cls(scratch, name, keys)
        scratch.load(name, list(rows._types.items()), [])
        scratch.load(rows.loose, LOOSE, [])
        scratch.load(rows.skips, SKIPS, [])
        scratch.load(rows.events, EVENT, [])
        return rows

    def add(self, seq: int, batch: Batch) -> None:
        """Add a batch as the row at `seq`."""
        self._rows.append((seq, batch))
        if len(self._rows) >= self.BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write the gathered batches to the relations."""
        if not self._rows:
            return
        loose = self._insert_rows()
        skips = [
            (
                seq,
                remark.code,
                remark.attribute,
                CODE[remark.type] if remark.type else None,
                remark.value,
            )
            for seq, batch in self._rows
            for remark in batch.remarks
        ]
        events = [
            (seq, place, event.type, event.name, event.at_ms, event.session, event.text)
            for seq, batch in self._rows
            for place, event in enumerate(batch.events)
        ]
        if loose:
            self.has_loose = True
            self._scratch.append(self.loose, LOOSE, loose)
        if skips:
            self._scratch.append(self.skips, SKIPS, skips)
        if events:
            self.has_events = True
            self._scratch.append(self.events, EVENT, events)
        self.count += len(self._rows)
        self._rows = []

    def _insert_rows(self) -> list[LooseRow]:
        """Write the batches; return the attributes without a column."""
        wide: dict[str, list[str | None]] = {}
        loose: list[LooseRow] = []
        size = len(self._rows)
        for place, (seq, batch) in enumerate(self._rows):
            for key, held in batch.sets.items():
                column = self._keys.column(key)
                if column is None:
                    loose.append(LooseRow(seq, key, held))
                elif column in wide:
                    wide[column][place] = held
                else:
                    wide[column] = [None] * size
                    wide[column][place] = held
        self._insert(wide)
        return loose

    def _insert(self, wide: dict[str, list[str | None]]) -> None:
        """Write the batches with these columns of attributes."""
        for column in wide:
            if column not in self.columns:
                self._scratch.run(ADD_COLUMN(table=self.name, column=column))
                self.columns.append(column)
        values: dict[str, Sequence[object]] = {**self._fields(), **wide}
        types = {**self._types, **dict.fromkeys(wide, "VARCHAR")}
        columns = ", ".join(
            f"unnest($c{place}::{types[name]}[]) as {name}" for place, name in enumerate(values)
        )
        bound = {f"c{place}": column for place, column in enumerate(values.values())}
        self._scratch.run(INSERT_BY_NAME(table=self.name, columns=columns), bound)

    def _fields(self) -> dict[str, list[object]]:
        """Return the values of the fields of the batches, without plain fields that none has."""
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
            for identity in batch.identities:
                column = values.setdefault(f"i_{identity.type}", [None] * len(batches))
                column[place] = identity.value
        self.plain |= {name for name in PLAIN if any(value is not None for value in values[name])}
        self.identities |= {name[2:] for name in values if name.startswith("i_")}
        return {
            name: column
            for name, column in values.items()
            if name not in PLAIN or name in self.plain
        }
