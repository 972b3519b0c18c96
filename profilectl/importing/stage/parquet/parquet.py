"""Parquet -> staged rows: every value as the text that says it exactly.

Types are read as the file declares them, never guessed; stage.parquet_types has the table of them.
A value is judged, not its type: a column without values says nothing, whatever its type. Where
DuckDB cannot read a column, or not exactly (INT96, decimals of more than 38 digits),
stage.parquet_arrow writes the columns that are used anew, and that is read.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from profilectl.codes import InputRefused
from profilectl.importing.stage.cells import (
    LISTED,
    Assembly,
    Cell,
    CellFault,
    string_held,
    string_over,
)
from profilectl.importing.stage.columns import read_columns
from profilectl.importing.stage.parquet.footer import check_footer, within_room
from profilectl.importing.stage.parquet.types import (
    BINARY,
    ParquetColumn,
    ParquetType,
    entry_of,
    kind_of,
    list_of,
    list_unfit,
    raw_json,
    unfit,
)
from profilectl.importing.stage.path_columns import PathColumns
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.staged import AttributeColumns, StagedFile
from profilectl.rules.batch import BATCH_FIELDS, IGNORED, BatchField, attribute_key
from profilectl.rules.identity import type_named
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.store.scratch import Scratch

if TYPE_CHECKING:
    from profilectl.importing.stage.run import ReadingOptions

_STRUCT = re.compile(r"STRUCT\(")
MOST_MEMBERS = 1_000
"""So many members structs may have: a struct is taken apart at the cost of its square."""
MOST_DIGITS = 38
"""So many digits of a decimal DuckDB can hold."""
NOTHING = "(null::varchar)"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A column, or a scalar of a struct."""

    name: str
    """Its name, dotted where it is in a struct."""
    path: tuple[int, ...]
    """Where it stands: the place of the column, then that in each struct."""
    sql: str
    """The SQL of its value."""
    kind: str
    """Its type, as DuckDB or stage.parquet_types names it."""
    inexact: bool = False
    """Whether DuckDB does not read it exactly."""

    @property
    def in_struct(self) -> bool:
        """Whether it is a member of a struct."""
        return len(self.path) > 1


@dataclass(slots=True)
class ParquetSource:
    """A Parquet file as DuckDB reads it."""

    select: str
    """What stands after FROM; file_row_number counts its rows from 0."""
    members: list[ParquetColumn] = field(default_factory=list)
    """Its columns."""
    leaves: list[Leaf] = field(default_factory=list)
    """Its columns, structs taken apart."""


def read_parquet(
    scratch: Scratch, file: InputFile, name: str, keys: AttributeColumns, options: ReadingOptions
) -> StagedFile:
    """Stage a Parquet file.

    Raises InputRefused for a file that cannot be read, that there is no room for, or a column that
    cannot be what it is to be.
    """
    check_footer(scratch, file)
    with within_room(scratch, file):
        return _read(scratch, file, name, keys, options)


def _read(
    scratch: Scratch, file: InputFile, name: str, keys: AttributeColumns, options: ReadingOptions
) -> StagedFile:
    from profilectl.importing.stage.parquet.arrow import leaves_by_arrow, unreadable, written_anew

    try:
        source = opened(scratch, file.local, file.name)
        leaves = source.leaves
    except duckdb.Error as error:
        _raise_known(file.name, error)
        source, leaves = None, leaves_by_arrow(file)
    path = PathColumns.of(file.place, [leaf.name for leaf in leaves], options)
    fields = _fields(file.name, leaves, path, options)
    used = [place for place, meaning in enumerate(fields) if meaning.kind != "ignored"]
    if not used:
        raise InputRefused(f"{file.name}: every column is ignored")
    columns = {place: leaves[place] for place in used}
    if source is None or any(leaf.inexact for leaf in columns.values()):
        source, columns = written_anew(scratch, file, columns)
    try:
        cells = _make(scratch, file, name, source, columns, fields, options)
    except duckdb.Error as error:
        _raise_known(file.name, error)
        _refuse_bytes(scratch, file, source, columns)
        source, columns = written_anew(
            scratch, file, {place: leaves[place] for place in used}, because=error
        )
        try:
            cells = _make(scratch, file, name, source, columns, fields, options)
        except duckdb.Error as again:
            raise unreadable(file.name, again) from None
    rows = scratch.count(name)
    assembly = Assembly(scratch, name, "seq", keys, options.reading, options.empty)
    more, of_path, notices = path.cells(fields, options)
    assembly.add(cells + more)
    meaning = tuple(
        (leaf.name, field.title or "ignored") for leaf, field in zip(leaves, fields, strict=True)
    ) + tuple(of_path)
    members = _readable(source.members)
    raw = f"select file_row_number + 1 as row, {raw_json(members, binary_as_text=options.binary_as_text)} as raw from {source.select}"
    return assembly.staged(
        StagedFile(
            name=file.name,
            sha256=file.sha256,
            format="parquet",
            select="",
            span=rows,
            rows=rows,
            columns=[],
            plain=[],
            identities=[],
            path=file.local,
            unit="row",
            meaning=meaning,
            raw=raw,
            notices=notices + _notices(leaves, fields, options),
        )
    )


def opened(scratch: Scratch, path: Path, name: str = "") -> ParquetSource:
    """Look at the columns of a file.

    Raises duckdb.Error where DuckDB cannot, InputRefused for more members of structs than can be
    read.
    """
    # what a file says of its geometry may be wrong, and is nothing to us
    scratch.run("set enable_geoparquet_conversion = false")
    literal = quote_text(str(path))
    select = (
        f"read_parquet({literal}, file_row_number = true, binary_as_string = false, hive_partitioning = false,"
        " union_by_name = false, can_have_nan = true)"
    )
    schema = scratch.rows(
        f"select name, num_children, type, precision, logical_type from parquet_schema({literal})"
    )
    columns = _columns(iter(schema))
    inside = sum(column.size for column in columns if column.members)
    if inside > MOST_MEMBERS:
        raise InputRefused(
            f"{name}: {inside:,} members of structs; at most {MOST_MEMBERS:,} can be read",
            "write them as columns, or the rows as JSON lines",
        )
    described = [
        (column, kind)
        for column, kind, *_ in scratch.rows(
            f"describe select * exclude (file_row_number) from {select}"
        )
    ]
    source = ParquetSource(select)
    for place, ((named, kind), column) in enumerate(zip(described, columns, strict=True)):
        source.members.append(_member(scratch, column, quote_identifier(named), kind))
        source.leaves += _leaves(source.members[-1], column, (place,), "", "")
    return source


@contextlib.contextmanager
def by_values(scratch: Scratch) -> Iterator[None]:
    """Have DuckDB read the values of a file, and conclude nothing from the statistics in it, which
    may be wrong: it holds a test for NaN to be false where the greatest value is a number.
    """
    scratch.run("set disabled_optimizers = 'statistics_propagation'")
    try:
        yield
    finally:
        scratch.run("reset disabled_optimizers")


def _raise_known(name: str, error: duckdb.Error) -> None:
    """Raise what another reader could not do better: no memory, a file that is encrypted."""
    if isinstance(
        error, duckdb.OutOfMemoryException | duckdb.PermissionException
    ) or "No space left" in str(error):
        raise error
    if "encrypted" in str(error):
        raise InputRefused(f"{name} is encrypted Parquet", "decrypt it first") from None


@dataclass(frozen=True, slots=True)
class _Column:
    """A column by the name that the file has for it; the reader gives one that differs from another
    in its case only a number.
    """

    name: str
    type: str = ""
    precision: int = 0
    logical: str = ""
    members: Sequence[_Column] = ()

    @property
    def size(self) -> int:
        """How many scalars it is, or has in it."""
        return sum(member.size for member in self.members) or 1

    @property
    def zoned_ns(self) -> bool:
        """Whether it is a time of day in UTC with nanoseconds, of which DuckDB drops three digits."""
        return (
            self.logical.startswith("TimeType(isAdjustedToUTC=1")
            and "NANOS=NanoSeconds" in self.logical
        )

    @property
    def inexact(self) -> bool:
        """Whether DuckDB does not read it, or something in it, exactly."""
        return (
            self.type == "INT96"
            or self.precision > MOST_DIGITS
            or self.zoned_ns
            or any(member.inexact for member in self.members)
        )

    def kind(self, kind: str) -> str:
        """Return the name that the table of types has for the column."""
        if kind == "FLOAT" and self.logical.startswith("Float16"):
            return "HALF FLOAT"
        if kind == "TIMESTAMP" and not self.logical and self.type == "INT64":
            # so says the format of files from before it knew times without a zone
            return "TIMESTAMP WITH TIME ZONE"
        return kind


def _columns(schema: Iterator[tuple[Any, ...]]) -> Sequence[_Column]:
    """Return the columns below the next element of a file's schema, which lists each before its
    members.
    """
    _, children, *_ = next(schema)
    found: list[_Column] = []
    for _ in range(children or 0):
        ahead = next(schema)
        name, _, kind, precision, logical = ahead
        found.append(
            _Column(
                str(name),
                kind or "",
                precision or 0,
                logical or "",
                _columns(chain([ahead], schema)),
            )
        )
    return found


def _member(scratch: Scratch, column: _Column, sql: str, kind: str) -> ParquetColumn:
    """Return a column with the members of the struct that it may be."""
    if not _STRUCT.match(kind) or entry_of(kind):
        return ParquetColumn(column.name, sql, column.kind(kind))
    members = scratch.rows(f"describe select unnest($value::{kind})", {"value": None})
    inside = [
        _member(scratch, one, quote_identifier(named), inner)
        for (named, inner, *_), one in zip(members, column.members, strict=True)
    ]
    return ParquetColumn(column.name, sql, kind, inside)


def _leaves(
    member: ParquetColumn, column: _Column, path: tuple[int, ...], prefix: str, sql: str
) -> list[Leaf]:
    """Return the scalars of a column."""
    name, value = prefix + member.name, sql + member.sql
    if not member.members:
        return [Leaf(name, path, value, member.kind, column.inexact)]
    return [
        leaf
        for place, (one, inner) in enumerate(zip(member.members, column.members, strict=True))
        for leaf in _leaves(one, inner, (*path, place), f"{name}.", f"{value}.")
    ]


def _fields(
    name: str, leaves: Sequence[Leaf], path: PathColumns, options: ReadingOptions
) -> list[BatchField]:
    """Say what each leaf means.

    A member of a struct that is no field of a batch is an attribute of its dotted name (design.md
    R19); to ignore a struct is to ignore its members.
    """
    mapped = path.own_map(options.mapped)
    names = {leaf.name for leaf in leaves}
    described = {column for column, _ in options.manifest.columns} if options.manifest else set()
    for leaf in leaves:
        root = leaf.name.partition(".")[0]
        if not leaf.in_struct or leaf.name in mapped or leaf.name in described:
            continue
        if root not in names and options.mapped.get(root) == IGNORED:
            mapped[leaf.name] = IGNORED
            mapped.pop(root, None)
        elif root not in BATCH_FIELDS and type_named(root) is None:
            mapped[leaf.name] = BatchField("attribute", attribute_key(leaf.name))
    names_in_order = [leaf.name for leaf in leaves]
    own_manifest = path.own_manifest(options.manifest)
    return read_columns(name, names_in_order, own_manifest, mapped, unknown=options.reading.unknown)


def _make(
    scratch: Scratch,
    file: InputFile,
    name: str,
    source: ParquetSource,
    columns: Mapping[int, Leaf],
    fields: Sequence[BatchField],
    options: ReadingOptions,
) -> list[Cell]:
    """Make the relation of a file's rows: seq, the text of each column that is used, and what there
    is to say against it.
    """
    parts = [_part(f"c{place}", leaf, fields[place], options) for place, leaf in columns.items()]
    selected = [expression for part in parts for expression in part.selected]
    with by_values(scratch):
        scratch.make(
            name, f"select file_row_number as seq, {', '.join(selected)} from {source.select}"
        )
    _refuse(scratch, file.name, name, parts)
    _reject_nul(scratch, name, parts)
    return [part.cell for part in parts]


@dataclass(slots=True)
class _Part:
    """A column of the relation of a file's rows."""

    leaf: Leaf
    cell: Cell
    selected: list[str]
    """The expressions that make it."""
    never: str = ""
    """Why no value of its type can be what it is to be; "" where some can."""
    hint: str = ""


def _part(column: str, leaf: Leaf, meaning: BatchField, options: ReadingOptions) -> _Part:
    """Say how a leaf becomes the column of a relation."""
    if meaning.kind == "identity":
        return _identity(column, leaf, meaning, options)
    if meaning.kind == "attribute":
        return _attribute(column, leaf, meaning, options)
    return _field_part(column, leaf, meaning, options)


def _identity(column: str, leaf: Leaf, meaning: BatchField, options: ReadingOptions) -> _Part:
    """An identity is a text or a whole number; another number rejects its row."""
    kind = kind_of(leaf.kind, binary_as_text=options.binary_as_text)
    if kind is None or kind.identity is None:
        return _impossible(column, leaf, meaning)
    text = _without_nulls(kind.identity.format(v=leaf.sql), kind, options)
    selected = [f"{text} as {column}"]
    cell = Cell(meaning, column, column)
    if (kind.identity != kind.text and leaf.kind != '"NULL"') or kind is BINARY:
        selected.append(
            f"{leaf.sql} is not null and {kind.identity.format(v=leaf.sql)} is null as x{column}"
        )
        why = (
            "not UTF-8"
            if kind is BINARY
            else "no whole number that a number of this type can say exactly"
        )
        cell.faults = (
            CellFault("IDENTITY_INVALID", f"x{column}", quote_text(f"{leaf.name} is {why}")),
        )
    return _Part(leaf, cell, selected)


def _attribute(column: str, leaf: Leaf, meaning: BatchField, options: ReadingOptions) -> _Part:
    """An attribute keeps its type; a value without exact text is left out."""
    limits = options.reading.limits
    entry = entry_of(leaf.kind)
    kind = kind_of(entry or leaf.kind, binary_as_text=options.binary_as_text)
    if kind is None:
        selected = [f"case when {leaf.sql} is not null then '' end as {column}"]
        return _Part(
            leaf, Cell(meaning, column, "null::varchar", "'UA_UNSUPPORTED_TYPE'"), selected
        )
    if entry is not None:
        over = [f"when len({leaf.sql}) > {limits['list']} then 'UA_LIST_TOO_LONG'"]
        if kind.quoted:
            longest = f"list_max(list_transform({leaf.sql}, lambda entry: length({kind.text.format(v='entry')})))"
            over.append(f"when {longest} > {limits['entry']} then 'UA_ENTRY_TOO_LONG'")
        unsaid = list_unfit(kind, leaf.sql)
        if unsaid:
            over.insert(0, f"when {unsaid} then 'UA_UNSUPPORTED_TYPE'")
        text = list_of(leaf.sql, kind.member.format(v="entry"))
        selected = [f"{text} as {column}", f"case {' '.join(over)} end as x{column}"]
        return _Part(leaf, Cell(meaning, column, f"chr(31) || {column}", f"x{column}"), selected)
    text = _without_nulls(kind.text.format(v=leaf.sql), kind, options)
    held = string_held(column) if kind.quoted else f"chr(31) || {column}"
    selected = [f"{text} as {column}"]
    limit = string_over(column, limits["value"]) if kind.quoted else None
    if not kind.exact:
        selected = [
            f"coalesce({text}, case when {leaf.sql} is not null then '' end) as {column}",
            f"{unfit(kind, leaf.sql)} as x{column}",
        ]
        limit = (
            f"case when x{column} then 'UA_UNSUPPORTED_TYPE' {'else ' + limit if limit else ''} end"
        )
    return _Part(leaf, Cell(meaning, column, held, limit), selected)


def _without_nulls(text: str, kind: ParquetType, options: ReadingOptions) -> str:
    """Return the SQL of a text, null where it is one that stands for nothing (`--null`)."""
    if not kind.quoted or not options.reading.nulls:
        return text
    listed = ", ".join(map(quote_text, sorted(options.reading.nulls)))
    return f"case when {text} not in ({listed}) then {text} end"


_MS_FIELDS = "timestamp_unixtime_ms"
_WRONG = {
    # the fields of which not every text is right: the code of a value of another type
    "source_request_id": "BATCH_INVALID",
    "deleted_user_attributes": "DELETED_INVALID",
}


def _field_part(column: str, leaf: Leaf, meaning: BatchField, options: ReadingOptions) -> _Part:
    """A field of a batch, or of an event, is read from its text as a cell of a CSV file is; a time
    is its milliseconds.
    """
    entry = entry_of(leaf.kind)
    kind = kind_of(entry or leaf.kind, binary_as_text=options.binary_as_text)
    if kind is None:
        return _impossible(column, leaf, meaning)
    if entry is not None:
        text, json = list_of(leaf.sql, kind.member.format(v="entry")), True
    else:
        text, json = _without_nulls(kind.text.format(v=leaf.sql), kind, options), not kind.quoted
        if meaning.name.endswith(_MS_FIELDS) and kind.ms:
            text, json = f"coalesce(({kind.ms.format(v=leaf.sql)})::varchar, {text})", False
        elif meaning.name in ("mpid", _MS_FIELDS) and kind.identity and kind.identity != kind.text:
            text = f"coalesce({kind.identity.format(v=leaf.sql)}, {text})"
    selected = [f"{text} as {column}"]
    cell = Cell(meaning, column, column, json=json)
    wrong = meaning.kind == "plain" and {
        "source_request_id": entry is not None or leaf.kind == "BOOLEAN",
        "deleted_user_attributes": entry is None and not kind.quoted,
    }.get(meaning.name, False)
    if wrong:
        cell.faults = (
            CellFault(
                _WRONG[meaning.name],
                f"{column} is not null",
                quote_text(f"the column {leaf.name} is {leaf.kind}"),
            ),
        )
        cell.text = NOTHING
    elif not kind.exact and (meaning.kind != "plain" or meaning.name == "source_request_id"):
        cell.faults = (
            CellFault("BATCH_INVALID", f"x{column}", quote_text(f"{leaf.name} has no exact text")),
        )
        selected.append(
            f"{list_unfit(kind, leaf.sql) if entry else unfit(kind, leaf.sql)} as x{column}"
        )
    return _Part(leaf, cell, selected)


def _impossible(column: str, leaf: Leaf, meaning: BatchField) -> _Part:
    """A column whose type cannot be what it is to be: it may be there as long as it has no values."""
    what = (
        "an identity must be text or a whole number"
        if meaning.kind == "identity"
        else f"which cannot be {meaning.title}"
    )
    hint = (
        "--binary-as-text reads it as text"
        if leaf.kind == BINARY.name
        else f"--map {quoted(leaf.name)}=ignore leaves it out"
    )
    selected = [f"case when {leaf.sql} is not null then '' end as {column}"]
    return _Part(
        leaf, Cell(meaning, column, column), selected, f"is {_shown(leaf.kind)}; {what}", hint
    )


def quoted(name: str) -> str:
    """Return a column's name as it is given on a command line."""
    return name if re.fullmatch(r"[\w.$-]+", name) else f"'{name}'"


def _shown(kind: str) -> str:
    return kind if len(kind) <= 60 else f"{kind[:60]}..."


def _refuse(scratch: Scratch, file: str, name: str, parts: Sequence[_Part]) -> None:
    """Refuse a file with a value in a column whose type cannot be what it is to be."""
    for part in parts:
        if part.never:
            (first,) = scratch.row(
                f"select min(seq) from {name} where {part.cell.text} is not null"
            )
            if first is not None:
                raise InputRefused(
                    f"{file}: column {part.leaf.name!r} {part.never} (row {first + 1} has one)",
                    part.hint,
                )
            part.cell.text = part.cell.held = NOTHING


def _reject_nul(scratch: Scratch, name: str, parts: Sequence[_Part]) -> None:
    """Reject the rows with a NUL character in a text, as in CSV and JSON: no other program would
    carry it safely.
    """
    conditions = {}
    for place, part in enumerate(parts):
        entry = entry_of(part.leaf.kind)
        if (entry or part.leaf.kind) in (
            "VARCHAR",
            "JSON",
            BINARY.name,
        ) and part.cell.text != NOTHING:
            text = part.cell.text
            conditions[place] = (
                f"contains({text}, chr(0))"
                if entry is None
                else f"contains(replace({text}, '\\\\', ''), '\\u0000')"
            )
    for start in range(0, len(conditions), LISTED):
        some = list(conditions.items())[start : start + LISTED]
        found = scratch.row(
            f"select {', '.join(f'bool_or({condition})' for _, condition in some)} from {name}"
        )
        for (place, condition), there in zip(some, found, strict=True):
            if there:
                parts[place].cell.faults += (
                    CellFault(
                        "NUL_CHARACTER",
                        f"coalesce({condition}, false)",
                        quote_text(parts[place].leaf.name),
                    ),
                )


def _readable(members: Sequence[ParquetColumn]) -> list[ParquetColumn]:
    """Return the columns that a rejected row is written down with: all but those that may not be
    readable at all.
    """
    return [
        member
        for member in members
        if not re.match("VARIANT|GEOMETRY|UNION|UNSUPPORTED", member.kind)
    ]


def _refuse_bytes(
    scratch: Scratch, file: InputFile, source: ParquetSource, columns: Mapping[int, Leaf]
) -> None:
    """Refuse a file with a text that is not UTF-8, and say in which column."""
    for leaf in columns.values():
        try:
            if leaf.kind == "VARCHAR":
                scratch.rows(f"select max({leaf.sql}) from {source.select}")
        except duckdb.InvalidInputException as error:
            if "encoding" in str(error):
                raise InputRefused(
                    f"{file.name}: column {leaf.name!r} has a text that is not UTF-8",
                    f"mend it where it was made; --map {quoted(leaf.name)}=ignore leaves it out",
                ) from None
        except duckdb.Error:
            return


def _notices(
    leaves: Sequence[Leaf], fields: Sequence[BatchField], options: ReadingOptions
) -> list[str]:
    """Say which option would read what is left out."""
    if options.binary_as_text:
        return []
    names = [
        leaf.name
        for leaf, meaning in zip(leaves, fields, strict=True)
        if meaning.kind == "attribute" and leaf.kind in ("BLOB", "BLOB[]")
    ]
    return (
        [f"{', '.join(names)}: bytes, which are left out; --binary-as-text reads them as text"]
        if names
        else []
    )
