"""Parquet -> staged rows: every value as the text that says it exactly.

types.py has the table of types, leaf_parts.py says what a column becomes. Where DuckDB cannot read
a column, or not exactly (INT96, decimals of more than 38 digits), arrow.py writes the columns that
are used anew, and that is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from profilectl.codes import InputRefused
from profilectl.importing.stage.cells import LISTED, NO_TEXT, Cell, CellFault, CellRows
from profilectl.importing.stage.columns import read_columns
from profilectl.importing.stage.options import ReadingOptions
from profilectl.importing.stage.parquet.footer import check_footer, within_room
from profilectl.importing.stage.parquet.leaf_parts import LeafPart, part_of, quoted
from profilectl.importing.stage.parquet.source import (
    Leaf,
    ParquetSource,
    by_values,
    opened,
    raise_final,
)
from profilectl.importing.stage.parquet.types import BINARY, ParquetColumn, entry_of, raw_json
from profilectl.importing.stage.path_columns import PathColumns
from profilectl.importing.stage.staged import StagedFile
from profilectl.importing.stage.table_columns import stage_table
from profilectl.importing.stage.task import StageTask
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.batch_fields import BATCH_FIELDS, IGNORED, BatchField, attribute_key
from profilectl.rules.identity import type_named
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.engine import duckdb
from profilectl.store.scratch import Scratch

# The rows of a file: the text of each column that is used, and its fault.
ROWS = SqlTemplate("select file_row_number as seq, {columns} from {rows}")
# The rows as JSON, counted from 1.
RAW_ROWS = SqlTemplate("select file_row_number + 1 as row, {raw} as raw from {rows}")
# The first row with a value of a type that cannot be read.
FIRST_VALUE = SqlTemplate("select min(seq) from {table} where {text} is not null")
# Whether any row meets each of some conditions.
ANY_ROW = SqlTemplate("select {columns} from {table}")
# Whether any of some texts has a NUL character, or the mark of values that are no strings, and the
# bytes of the longest of each: in one pass it takes two thirds of the time.
LOOK = SqlTemplate("""
select coalesce(bool_or(contains(texts, chr(0))), false),
       coalesce(bool_or(contains(texts, chr(31))), false), {sizes}
from (select *, concat({texts}) as texts from {table})
""")
# Reads every text of a column, and fails where one is not UTF-8.
ALL_TEXTS = SqlTemplate("select max({text}) from {rows}")
# A NUL character in a text, or in the JSON of a list.
HAS_NUL = SqlTemplate("contains({text}, chr(0))")
# The same in the JSON of a list, where a backslash before it would be another text.
LIST_HAS_NUL = SqlTemplate(r"contains(replace({text}, '\\', ''), '\u0000')")


class ReadCells(NamedTuple):
    """The columns of a file whose rows are in a relation."""

    cells: list[Cell]
    """The columns."""
    longest: Mapping[str, int]
    """The bytes of the longest of some of their texts."""
    unmarked: set[str]
    """The texts none of which has the mark of values that are no strings."""


def read_parquet(task: StageTask, options: ReadingOptions) -> StagedFile:
    """Stage a Parquet file.

    Raises InputRefused for a file that cannot be read, that there is no room for, or a column that
    cannot be what it is to be.
    """
    check_footer(task.scratch, task.file)
    with within_room(task.scratch, task.file):
        return _read(task, options)


def _read(task: StageTask, options: ReadingOptions) -> StagedFile:
    from profilectl.importing.stage.parquet.arrow import leaves_by_arrow

    file, scratch = task.file, task.scratch
    source: ParquetSource | None = None
    try:
        source = opened(scratch, file.local, file.name)
        leaves = source.leaves
    except duckdb.Error as error:
        raise_final(file.name, error)
        leaves = leaves_by_arrow(file)
    path = PathColumns.of(file.place, [leaf.name for leaf in leaves], options)
    fields = parquet_fields(file.name, leaves, path, options=options)
    columns = {
        place: leaf
        for place, (leaf, field) in enumerate(zip(leaves, fields, strict=True))
        if field.kind != "ignored"
    }
    if not columns:
        raise InputRefused(f"{file.name}: every column is ignored")
    source, cells = _make_readable(task, source, columns, fields=fields, options=options)
    of_path = path.cells(fields, options)
    rows = CellRows(
        scratch=scratch,
        relation=task.name,
        seq="seq",
        keys=task.keys,
        reading=options.reading,
        empty=options.empty,
        longest=cells.longest,
        unmarked=cells.unmarked,
    )
    unread = () if options.binary_as_text else _columns_of_bytes(leaves, fields)
    staged = _staged_file(task, source, leaves, fields=fields, options=options)
    staged = replace(
        staged,
        meaning=(*staged.meaning, *of_path.meaning),
        unread=unread,
        notices=[*of_path.notices, *_notices(unread)],
    )
    return stage_table(rows, [*cells.cells, *of_path.cells], staged)


def _staged_file(
    task: StageTask,
    source: ParquetSource,
    leaves: Sequence[Leaf],
    *,
    fields: Sequence[BatchField],
    options: ReadingOptions,
) -> StagedFile:
    """Return a file whose columns are not staged yet."""
    count = task.scratch.count(task.name)
    raw = raw_json(readable_columns(source.members), binary_as_text=options.binary_as_text)
    return StagedFile(
        name=task.file.name,
        sha256=task.file.sha256,
        format="parquet",
        select="",
        span=count,
        rows=count,
        columns=[],
        plain=[],
        identities=[],
        path=task.file.local,
        unit="row",
        meaning=tuple(
            (leaf.name, field.title or "ignored")
            for leaf, field in zip(leaves, fields, strict=True)
        ),
        raw=RAW_ROWS(raw=raw, rows=source.select),
    )


def parquet_fields(
    name: str, leaves: Sequence[Leaf], path: PathColumns, *, options: ReadingOptions
) -> list[BatchField]:
    """Return the meaning of each leaf.

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
    return read_columns(
        name,
        [leaf.name for leaf in leaves],
        path.own_manifest(options.manifest),
        mapped=mapped,
        unknown=options.reading.unknown,
    )


def _make_readable(
    task: StageTask,
    source: ParquetSource | None,
    columns: Mapping[int, Leaf],
    *,
    fields: Sequence[BatchField],
    options: ReadingOptions,
) -> tuple[ParquetSource, ReadCells]:
    """Make the relation of a file's rows, from the file or, where it must be, from one of our own.

    source: the file as DuckDB reads it; None: it cannot. Raises InputRefused.
    """
    from profilectl.importing.stage.parquet.arrow import unreadable, written_anew

    file, used = task.file, columns
    if source is None or any(leaf.inexact for leaf in columns.values()):
        source, used = written_anew(task.scratch, file, columns)
    try:
        return source, _make(task, source, used, fields=fields, options=options)
    except duckdb.Error as error:
        raise_final(file.name, error)
        _refuse_bytes(task.scratch, file.name, source, columns=used)
        source, used = written_anew(task.scratch, file, columns, because=error)
    try:
        return source, _make(task, source, used, fields=fields, options=options)
    except duckdb.Error as error:
        raise unreadable(file.name, error) from None


def _make(
    task: StageTask,
    source: ParquetSource,
    columns: Mapping[int, Leaf],
    *,
    fields: Sequence[BatchField],
    options: ReadingOptions,
) -> ReadCells:
    """Make the relation of a file's rows: seq, the text of each column that is used, its fault."""
    parts = [
        part_of(f"c{place}", leaf, fields[place], options=options)
        for place, leaf in columns.items()
    ]
    selected = ", ".join(expression for part in parts for expression in part.selected)
    with by_values(task.scratch):
        task.scratch.make(task.name, ROWS(columns=selected, rows=source.select))
    parts = [_with_possible_values(task, part) for part in parts]
    return _looked_at(task.scratch, task.name, parts)


def _with_possible_values(task: StageTask, part: LeafPart) -> LeafPart:
    """Return a part without values, where its type cannot be what it is to be.

    Raises InputRefused where it has values.
    """
    if not part.never:
        return part
    (seq,) = task.scratch.row(FIRST_VALUE(table=task.name, text=part.cell.text))
    if seq is not None:
        raise InputRefused(
            f"{task.file.name}: column {part.leaf.name!r} {part.never} (row {seq + 1} has one)",
            part.hint,
        )
    return replace(part, cell=replace(part.cell, text=NO_TEXT, held=NO_TEXT))


def _looked_at(scratch: Scratch, table: str, parts: Sequence[LeafPart]) -> ReadCells:
    """Return the cells with the fault of a NUL character in a text, and the longest texts.

    Rows with a NUL are rejected, as in CSV and JSON: no other program would carry it safely.
    """
    conditions: dict[int, str] = {}
    strings: list[int] = []
    for place, part in enumerate(parts):
        entry = entry_of(part.leaf.kind)
        has_texts = (entry or part.leaf.kind) in ("VARCHAR", "JSON", BINARY.name)
        if not has_texts or part.cell.text == NO_TEXT:
            continue
        if entry is None:
            strings.append(place)
        else:
            conditions[place] = LIST_HAS_NUL(text=part.cell.text)
    longest: dict[str, int] = {}
    unmarked: set[str] = set()
    for start in range(0, len(strings), LISTED):
        stretch = strings[start : start + LISTED]
        texts = [parts[place].cell.text for place in stretch]
        sizes = ", ".join(f"max(strlen({text}))" for text in texts)
        has_nul, has_mark, *lengths = scratch.row(
            LOOK(texts=", ".join(texts), sizes=sizes, table=table)
        )
        longest.update(zip(texts, (length or 0 for length in lengths), strict=True))
        unmarked |= set() if has_mark else set(texts)
        if has_nul:
            conditions |= {place: HAS_NUL(text=parts[place].cell.text) for place in stretch}
    faults = _nul_faults(scratch, table, parts, conditions=conditions)
    cells = [
        replace(part.cell, faults=(*part.cell.faults, *faults.get(place, ())))
        for place, part in enumerate(parts)
    ]
    return ReadCells(cells, longest, unmarked)


def _nul_faults(
    scratch: Scratch, table: str, parts: Sequence[LeafPart], *, conditions: Mapping[int, str]
) -> dict[int, tuple[CellFault]]:
    """Return the fault of the columns with a NUL character in a text, by their places.

    conditions: the SQL of whether a text has one.
    """
    faults: dict[int, tuple[CellFault]] = {}
    places = sorted(conditions)
    for start in range(0, len(places), LISTED):
        stretch = places[start : start + LISTED]
        columns = ", ".join(f"bool_or({conditions[place]})" for place in stretch)
        answers = scratch.row(ANY_ROW(columns=columns, table=table))
        for place, has_any in zip(stretch, answers, strict=True):
            if has_any:
                condition = f"coalesce({conditions[place]}, false)"
                detail = quote_text(parts[place].leaf.name)
                faults[place] = (CellFault("NUL_CHARACTER", condition, detail),)
    return faults


def readable_columns(members: Sequence[ParquetColumn]) -> list[ParquetColumn]:
    """Return the columns that a rejected row is written down with.

    They are all but those of types that may not be readable.
    """
    return [
        member
        for member in members
        if not re.match("VARIANT|GEOMETRY|UNION|UNSUPPORTED", member.kind)
    ]


def _refuse_bytes(
    scratch: Scratch, file: str, source: ParquetSource, *, columns: Mapping[int, Leaf]
) -> None:
    """Raise InputRefused for a text that is not UTF-8, naming its column."""
    for leaf in columns.values():
        try:
            if leaf.kind == "VARCHAR":
                scratch.rows(ALL_TEXTS(text=leaf.sql, rows=source.select))
        except duckdb.InvalidInputException as error:
            if "encoding" in str(error):
                raise InputRefused(
                    f"{file}: column {leaf.name!r} has a text that is not UTF-8",
                    f"mend it where it was made; --map {quoted(leaf.name)}=ignore leaves it out",
                ) from None
        except duckdb.Error:
            return


def _columns_of_bytes(leaves: Sequence[Leaf], fields: Sequence[BatchField]) -> tuple[str, ...]:
    """Return the names of the attributes that are bytes."""
    return tuple(
        leaf.name
        for leaf, field in zip(leaves, fields, strict=True)
        if field.kind == "attribute" and leaf.kind in ("BLOB", "BLOB[]")
    )


def _notices(unread: Sequence[str]) -> list[str]:
    """Return the notice of which option would read the columns of bytes."""
    if not unread:
        return []
    return [f"{', '.join(unread)}: bytes, which are left out; --binary-as-text reads them as text"]
