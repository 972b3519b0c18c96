"""Parquet -> staged rows: every value as the text that says it exactly.

Types are read as the file declares them, never guessed: numbers become their decimal text, dates and
times ISO 8601, lists of scalars lists (domain.md 8.2, design.md R4). What has no exact text (NaN,
infinity, bytes, nested values) is left out with a code; a decimal too wide for the reader, which
would pass through a float, refuses the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import duckdb

from profilectl.batch import Field, Reading
from profilectl.codes import InputRefused
from profilectl.scratch import Scratch, quote_identifier, quote_text
from profilectl.stage.cells import Assembly, Cell, string_held, string_over
from profilectl.stage.columns import Manifest, read_columns
from profilectl.stage.files import InputFile
from profilectl.stage.staged import AttributeColumns, StagedFile

_WHOLE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|HUGEINT|UHUGEINT")
_STRUCT = re.compile(r"STRUCT\(")


def read_parquet(
    scratch: Scratch,
    file: InputFile,
    name: str,
    keys: AttributeColumns,
    reading: Reading,
    manifest: Manifest | None,
    mapped: Mapping[str, Field],
    empty: str,
) -> StagedFile:
    """Stage a Parquet file. Raises InputRefused for a damaged file or a column that cannot be exact."""
    source = f"read_parquet({quote_text(str(file.local))}, file_row_number = true, binary_as_string = false, hive_partitioning = false)"
    try:
        described = [(column, kind) for column, kind, *_ in scratch.rows(f"describe select * exclude (file_row_number) from {source}")]
        schema = scratch.rows(f"select name, type, num_children, precision from parquet_schema({quote_text(str(file.local))})")
    except duckdb.Error as error:
        raise InputRefused(f"{file.name}: not a Parquet file that can be read: {_first_line(file, error)}") from None
    _refuse_inexact(file.name, schema)
    leaves = _leaves(scratch, described, _members(iter(schema)))
    fields = read_columns(file.name, [leaf for leaf, _, _ in leaves], manifest, mapped, unknown=reading.unknown)
    used = {field.kind != "ignored" for field in fields}
    if True not in used:
        raise InputRefused(f"{file.name}: every column is ignored")
    selected = ["file_row_number as seq"]
    cells: list[Cell] = []
    for place, ((leaf, sql, kind), field) in enumerate(zip(leaves, fields, strict=True)):
        if field.kind == "ignored":
            continue
        selected.append(f"{sql} as c{place}")
        cells.append(_cell(file.name, leaf, field, f"c{place}", kind, reading))
    try:
        scratch.make(name, f"select {', '.join(selected)} from {source}")
    except duckdb.Error as error:
        raise InputRefused(f"{file.name}: damaged: {_first_line(file, error)}", "make the file again") from None
    rows = scratch.count(name)
    assembly = Assembly(scratch, name, "seq", keys, reading, empty)
    assembly.add(cells)
    meaning = tuple((leaf, field.title or "ignored") for (leaf, _, _), field in zip(leaves, fields, strict=True))
    return assembly.staged(
        StagedFile(
            name=file.name, sha256=file.sha256, format="parquet", select="", span=rows, rows=rows, columns=[],
            plain=[], identities=[], path=file.local, unit="row", meaning=meaning,
        )
    )


def _first_line(file: InputFile, error: Exception) -> str:
    return str(error).replace(str(file.local), file.name).splitlines()[0][:200]


def _refuse_inexact(name: str, schema: Sequence[tuple[Any, ...]]) -> None:
    for column, kind, _, precision in schema:
        if isinstance(precision, int) and precision > 38:
            raise InputRefused(
                f"{name}: column {column!r} is a decimal of {precision} digits; 38 is the most that can be read exactly",
                "write it as text",
            )
        if kind == "INT96":
            raise InputRefused(f"{name}: column {column!r} is an INT96 timestamp", "write it as TIMESTAMP or as text")


@dataclass(frozen=True, slots=True)
class _Column:
    """A column by the name that the file has for it; the reader gives one that differs from another in its case only a number."""

    name: str
    members: Sequence[_Column] = ()


def _members(schema: Iterator[tuple[Any, ...]]) -> Sequence[_Column]:
    """Return the columns below the next element of a file's schema, which lists each before its members."""
    _, _, children, _ = next(schema)
    found: list[_Column] = []
    for _ in range(children or 0):
        ahead = next(schema)
        found.append(_Column(str(ahead[0]), _members(chain([ahead], schema))))
    return found


def _leaves(scratch: Scratch, described: Sequence[tuple[str, str]], columns: Sequence[_Column]) -> list[tuple[str, str, str]]:
    """Return (dotted name, SQL, type) of each column, structs taken apart."""
    leaves: list[tuple[str, str, str]] = []
    for (named, kind), column in zip(described, columns, strict=True):
        if _STRUCT.match(kind) and not kind.endswith("[]"):
            members = scratch.rows(f"describe select unnest($value::{kind})", {"value": None})
            inner = _leaves(scratch, [(member, inner_kind) for member, inner_kind, *_ in members], column.members)
            leaves += [(f"{column.name}.{leaf}", f"{quote_identifier(named)}.{sql}", inner_kind) for leaf, sql, inner_kind in inner]
        else:
            leaves.append((column.name, quote_identifier(named), kind))
    return leaves


def _cell(file: str, leaf: str, field: Field, column: str, kind: str, reading: Reading) -> Cell:
    text = _text(kind, column)
    if field.kind == "identity" and not (kind == "VARCHAR" or kind == "UUID" or _WHOLE.fullmatch(kind) or kind.startswith("ENUM")):
        raise InputRefused(
            f"{file}: column {leaf!r} is {kind}; an identity must be text or a whole number",
            "a float has lost the exact identity already: write the column again as text",
        )
    if field.kind == "plain" and field.name == "deleted_user_attributes" and kind == "VARCHAR[]":
        return Cell(field, f"to_json({column})::varchar", "null")
    if field.kind == "plain" and field.name == "timestamp_unixtime_ms" and kind.startswith("TIMESTAMP"):
        return Cell(field, f"epoch_ms({column})::varchar", "null")
    if text is None:
        if field.kind == "attribute":
            return Cell(field, column, "null::varchar", f"case when {column} is not null then 'UA_UNSUPPORTED_TYPE' end")
        raise InputRefused(f"{file}: column {leaf!r} is {kind}, which cannot be {field.title}")
    if _is_string(kind):
        return Cell(field, text, string_held(text), string_over(text, reading.limits["value"]))
    if kind in ("FLOAT", "DOUBLE"):
        return Cell(field, text, f"chr(31) || {text}", f"case when {column} is not null and not isfinite({column}) then 'UA_UNSUPPORTED_TYPE' end")
    if kind.endswith("[]"):
        return Cell(field, column if field.kind == "attribute" else text, f"chr(31) || {text}", _list_over(column, kind, reading))
    return Cell(field, text, f"chr(31) || {text}")


def _is_string(kind: str) -> bool:
    return kind in ("VARCHAR", "UUID", "DATE", "INTERVAL") or kind.startswith(("TIME", "ENUM"))


def _text(kind: str, value: str) -> str | None:
    """Return the SQL of the exact text of a value, or None where it has none."""
    if kind == "VARCHAR":
        return value
    if kind == "BOOLEAN":
        return f"case {value} when true then 'true' when false then 'false' end"
    if kind in ("UUID", "DATE", "INTERVAL", "FLOAT", "DOUBLE") or _WHOLE.fullmatch(kind) or kind.startswith(("DECIMAL", "ENUM", "TIME ")) or kind == "TIME":
        return f"{value}::varchar"
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"replace(make_timestamp(epoch_us({value}))::varchar, ' ', 'T') || 'Z'"
    if kind in ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"):
        return f"replace({value}::varchar, ' ', 'T')"
    if kind.endswith("[]"):
        inner = _text(kind[:-2], "entry")
        if inner is None or kind[:-2].endswith("[]"):
            return None
        entry = f"to_json({inner})::varchar" if _is_string(kind[:-2]) else inner
        return f"case when {value} is not null then '[' || array_to_string(list_transform({value}, lambda entry: coalesce({entry}, 'null')), ',') || ']' end"
    return None


def _list_over(column: str, kind: str, reading: Reading) -> str:
    longest = ""
    if _is_string(kind[:-2]):
        longest = f"when list_max(list_transform({column}, lambda entry: length(entry::varchar))) > {reading.limits['entry']} then 'UA_ENTRY_TOO_LONG' "
    elif kind[:-2] in ("FLOAT", "DOUBLE"):
        longest = f"when list_bool_or(list_transform({column}, lambda entry: not isfinite(entry))) then 'UA_UNSUPPORTED_TYPE' "
    return f"case when len({column}) > {reading.limits['list']} then 'UA_LIST_TOO_LONG' {longest}end"
