"""The columns of a file and their first values, from its first rows: nothing else of it is read."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.importing.stage.columns import flat_columns, shown_names
from profilectl.importing.stage.csv.csv_file import csv_fields, header_of
from profilectl.importing.stage.csv.head import FIRST_BYTES, Following
from profilectl.importing.stage.options import ReadingOptions
from profilectl.importing.stage.path_columns import PathColumns, path_columns
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.batch import is_batch
from profilectl.rules.batch_fields import (
    BATCH_FIELDS,
    IGNORED,
    BatchField,
    Columns,
    attribute_key,
    field_named,
)
from profilectl.rules.fields import UnusableRow
from profilectl.rules.flat_row import flattened
from profilectl.rules.identity import type_named
from profilectl.rules.leaving.exported_line import MADE_ANEW
from profilectl.rules.text.values import NotJson, Number, Value, parse_json, to_json
from profilectl.store.engine import duckdb
from profilectl.store.scratch import Scratch

SAMPLE_ROWS = 100
"""How many rows of a file are looked at."""
SAMPLE_BYTES = 1024 * 1024
"""After how many bytes no further line of JSON is looked at."""
MOST_SHOWN = 500
"""The values of a Parquet file with more columns are not read: their names say enough."""
MOST_VALUES = 8
"""How many different values of a column are kept."""
UNKNOWN_FIELD = BatchField("unknown", "")
"""The meaning of a name that rejects its row."""

# The first rows of a Parquet file, each as JSON, which is made of no other rows.
FIRST_ROWS = SqlTemplate("select {raw} from (select * from {rows} limit {count})")


@dataclass(slots=True)
class ColumnSample:
    """A column, and its first values."""

    name: str
    """Its name, as a person sees it."""
    mapped: str
    """What --map calls it; "" where --map cannot say what it is."""
    meaning: BatchField
    """What it becomes."""
    filled: int = 0
    """In how many of the rows it has a value."""
    texts: list[str] = field(default_factory=list)
    """Its values as text; of lists and objects none."""
    kinds: dict[str, None] = field(default_factory=dict)
    """The kinds of its values: text, number, boolean, list, object."""
    values: dict[str, None] = field(default_factory=dict)
    """Its first different values, as a person sees them."""

    def add(self, value: Value) -> None:
        """Take in a value; none and an empty text are no value."""
        if value in (None, "", [], {}):
            return
        kind = _kind(value)
        text = value if isinstance(value, str) else to_json(value)
        self.filled += 1
        self.kinds[kind] = None
        if kind == "text":
            self.texts.append(text.strip())
        if len(self.values) < MOST_VALUES:
            self.values[text] = None


@dataclass(frozen=True, slots=True)
class FileSample:
    """A file, and its columns."""

    path: str
    """Its name."""
    format: str
    """Its format."""
    rows: int
    """How many rows were looked at."""
    columns: Sequence[ColumnSample]
    """Its columns, in order."""
    batches: bool = False
    """Whether its rows are batches, whose names are the platform's."""
    notices: Sequence[str] = ()
    """What is odd about its header."""


def sample_of(scratch: Scratch, file: InputFile, options: ReadingOptions) -> FileSample:
    """Look at the first rows of a file. Raises InputRefused where its columns cannot be read."""
    if file.format == "csv":
        return _of_csv(file, options)
    if file.format == "parquet":
        return _of_parquet(scratch, file, options)
    return _of_json(file, options)


def _kind(value: Value) -> str:
    if isinstance(value, Number):
        return "number"
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "list" if isinstance(value, list) else "object"


def _place_in_path(path: PathColumns, options: ReadingOptions) -> list[ColumnSample]:
    """Return the columns in the path of a file."""
    columns: list[ColumnSample] = []
    for name, meaning in path.fields(options).items():
        column = ColumnSample(name, name, meaning)
        column.add(path.values[name])
        columns.append(column)
    return columns


# CSV


def _of_csv(file: InputFile, options: ReadingOptions) -> FileSample:
    header = header_of(file, options)
    path = PathColumns.of(file.place, header.names, options)
    fields = csv_fields(file, header, path, options=options)
    has_name = header.has_header
    columns = [
        ColumnSample(shown, name if has_name and shown == name else f"#{place}", meaning)
        for place, (shown, name, meaning) in enumerate(
            zip(shown_names(header.names), header.names, fields, strict=True), start=1
        )
    ]
    with file.local.open("rb") as stream:
        stream.seek(header.end)
        sample = stream.read(FIRST_BYTES)
    records = Following(sample, cut=len(sample) == FIRST_BYTES).records(header.dialect)
    for cells in records:
        for column, cell in zip(columns, cells, strict=False):
            column.add(None if cell in options.reading.nulls else cell)
    of_path = _place_in_path(path, options)
    return FileSample(
        path=file.name,
        format="csv",
        rows=len(records),
        columns=[*columns, *of_path],
        notices=header.notices,
    )


# Parquet


def _of_parquet(scratch: Scratch, file: InputFile, options: ReadingOptions) -> FileSample:
    from profilectl.importing.stage.parquet.arrow import leaves_by_arrow
    from profilectl.importing.stage.parquet.footer import check_footer
    from profilectl.importing.stage.parquet.parquet import parquet_fields, readable_columns
    from profilectl.importing.stage.parquet.source import by_values, opened, raise_final
    from profilectl.importing.stage.parquet.types import entry_of, kind_of, raw_json

    check_footer(scratch, file)
    as_text = options.binary_as_text
    rows: list[Value] = []
    try:
        source = opened(scratch, file.local, file.name)
    except duckdb.Error as error:
        raise_final(file.name, error)
        leaves = leaves_by_arrow(file)
    else:
        leaves = source.leaves
        raw = raw_json(readable_columns(source.members), binary_as_text=as_text)
        select = FIRST_ROWS(raw=raw, rows=source.select, count=SAMPLE_ROWS)
        # Where DuckDB cannot read the rows, their reader writes the file anew, all of it: here the
        # values are left out. Two columns of one name are no JSON.
        with contextlib.suppress(duckdb.Error, NotJson), by_values(scratch):
            if len(leaves) <= MOST_SHOWN:
                rows = [parse_json(text) for (text,) in scratch.rows(select)]
    path = PathColumns.of(file.place, [leaf.name for leaf in leaves], options)
    fields = parquet_fields(file.name, leaves, path, options=options)
    columns = [
        ColumnSample(leaf.name, leaf.name, meaning)
        for leaf, meaning in zip(leaves, fields, strict=True)
    ]
    for leaf, column in zip(leaves, columns, strict=True):
        kind = leaf.kind and kind_of(entry_of(leaf.kind) or leaf.kind, binary_as_text=as_text)
        if kind is None:
            column.kinds["bytes" if leaf.kind == "BLOB" else leaf.kind.lower()] = None
    readable_leaves = [column for column in columns if not column.kinds]
    for row in rows:
        for column in readable_leaves:
            value = _member(row, column.name)
            column.add(None if isinstance(value, str) and value in options.reading.nulls else value)
    of_path = _place_in_path(path, options)
    return FileSample(
        path=file.name, format="parquet", rows=len(rows), columns=[*columns, *of_path]
    )


def _member(row: Value, name: str) -> Value:
    """Return the value of a dotted name in a row; a column may have dots in its own name."""
    if not isinstance(row, dict):
        return None
    if name in row:
        return row[name]
    root, dot, member = name.partition(".")
    while dot:
        if root in row:
            return _member(row[root], member)
        more, dot, member = member.partition(".")
        root = f"{root}.{more}"
    return None


# JSON


def _of_json(file: InputFile, options: ReadingOptions) -> FileSample:
    mapped = flat_columns(options.manifest, options.mapped)
    of_path = path_columns(file.place) if options.path_columns else {}
    columns = _JsonColumns(Columns(mapped, options.reading.unknown))
    documents = list(itertools.islice(_documents(file), SAMPLE_ROWS))
    for document in documents:
        # A row with more levels than can be read is rejected.
        with contextlib.suppress(RecursionError):
            if is_batch(document):
                columns.add_batch(document)
            else:
                columns.add_row({**of_path, **document}, options.reading.nulls)
    return FileSample(
        path=file.name,
        format=file.format,
        rows=len(documents),
        columns=list(columns.columns.values()),
        batches=columns.has_batches,
    )


def _documents(file: InputFile) -> Iterator[Mapping[str, Value]]:
    """Yield the objects of a file of JSON; a line that is none is passed over."""
    for text in _texts(file):
        try:
            document = parse_json(text)
        except NotJson:
            continue
        if isinstance(document, dict):
            yield document


def _texts(file: InputFile) -> Iterator[str]:
    from profilectl.importing.stage.json.elements import elements
    from profilectl.importing.stage.json.jsonl import text_of
    from profilectl.importing.stage.json.line_reader import physical_lines
    from profilectl.importing.stage.source.unpacking import check_memory

    if file.format == "json":
        check_memory(file.name, file.local, "write it as JSON lines, a batch each")
        block = next(elements(file.name, text_of(file)), None)
        yield from block.texts[:SAMPLE_ROWS] if block else ()
        return
    read = 0
    for _, line in physical_lines(file):
        if line is not None:
            yield line.decode("utf-8-sig", "replace")
            read += len(line)
        if line is None or read > SAMPLE_BYTES:
            return


class _JsonColumns:
    """The names in rows of JSON. meanings: of the names in flat rows."""

    def __init__(self, meanings: Columns) -> None:
        self.columns: dict[str, ColumnSample] = {}
        self.has_batches = False
        self._meanings = meanings

    def add_row(self, row: Mapping[str, Value], nulls: Iterable[str]) -> None:
        """Take in a flat row."""
        try:
            for cell in flattened(row, self._meanings.mapped):
                value = None if isinstance(cell.value, str) and cell.value in nulls else cell.value
                meaning = self._flat(cell.name, nested=cell.nested)
                self._add(cell.name, value, meaning, mapped=cell.name)
        except UnusableRow:
            return  # two members get one name: the row is rejected

    def add_batch(self, batch: Mapping[str, Value]) -> None:
        """Take in a batch, or a line of an export of profiles."""
        self.has_batches = True
        for root, value in batch.items():
            read = _MEMBERS.get(root)
            if read is None or not isinstance(value, dict):
                self._add(root, _shown_events(value) if root == "events" else value, _field(root))
                continue
            for name, member in value.items():
                self._add(f"{root}.{name}", member, read(name))

    def _flat(self, name: str, *, nested: bool) -> BatchField:
        try:
            return self._meanings.meaning(name, nested=nested)
        except UnusableRow:
            return UNKNOWN_FIELD

    def _add(self, name: str, value: Value, meaning: BatchField, *, mapped: str = "") -> None:
        column = self.columns.get(name)
        if column is None:
            column = self.columns[name] = ColumnSample(name, mapped, meaning)
        column.add(value)


def _shown_events(value: Value) -> Value:
    """Return the types of events, which is what a person sees of them."""
    if not isinstance(value, list):
        return value
    return [event.get("event_type") for event in value if isinstance(event, dict)]


def _field(root: str) -> BatchField:
    """Return the meaning of a member of a batch."""
    if root == "mp_deviceid":
        return BatchField("identity", root)
    if root in MADE_ANEW or root == "workspace":
        return IGNORED
    return field_named(root) if root in ("mpid", "environment") else _kept(root)


def _kept(root: str) -> BatchField:
    return BatchField("kept", root) if root in BATCH_FIELDS else UNKNOWN_FIELD


def _person(name: str) -> BatchField:
    kind = type_named(name)
    if kind and not kind.device:
        return BatchField("identity", kind.name)
    return BatchField("unknown identity", f"user_identities.{name}")


def _device(name: str) -> BatchField:
    kind = type_named(name)
    return BatchField("identity", kind.name) if kind else BatchField("kept", f"device_info.{name}")


_MEMBERS: Mapping[str, Callable[[str], BatchField]] = {
    "user_identities": _person,
    "device_identities": _device,
    "device_info": _device,
    "user_attributes": lambda name: BatchField("attribute", attribute_key(name)),
}
"""The members of a batch whose own members are columns, and what those become."""
