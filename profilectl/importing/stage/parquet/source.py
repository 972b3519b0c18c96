"""A Parquet file as DuckDB reads it: its columns, and the scalars in them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from profilectl.codes import InputRefused
from profilectl.importing.stage.parquet.types import ParquetColumn, entry_of
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.store.engine import duckdb
from profilectl.store.scratch import Scratch

MOST_MEMBERS = 1_000
"""How many members structs may have: a struct is taken apart at the cost of its square."""
MOST_DIGITS = 38
"""How many digits of a decimal DuckDB can hold."""
_STRUCT = re.compile(r"STRUCT\(")

# The rows of a file; file_row_number counts them from 0.
READ_PARQUET = SqlTemplate(
    "read_parquet({path}, file_row_number = true, binary_as_string = false,"
    " hive_partitioning = false, union_by_name = false, can_have_nan = true)"
)
# The elements of the schema, each before its members.
SCHEMA = SqlTemplate("""
select name, num_children, type, precision, logical_type
from parquet_schema({path})
""")
# The columns and their types, as DuckDB names them.
DESCRIBE_COLUMNS = SqlTemplate("describe select * exclude (file_row_number) from {rows}")
# The members of a struct; a null of the type has them too.
DESCRIBE_MEMBERS = SqlTemplate("describe select unnest($value::{kind})")


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
    """Its type, as DuckDB or parquet/types.py names it."""
    inexact: bool = False
    """Whether DuckDB does not read it exactly."""

    @property
    def in_struct(self) -> bool:
        """Return whether it is a member of a struct."""
        return len(self.path) > 1


@dataclass(slots=True)
class ParquetSource:
    """A Parquet file as DuckDB reads it."""

    select: str
    """The SQL that stands after FROM; file_row_number counts its rows from 0."""
    members: list[ParquetColumn] = field(default_factory=list)
    """Its columns."""
    leaves: list[Leaf] = field(default_factory=list)
    """Its columns, structs taken apart."""


@dataclass(frozen=True, slots=True)
class _SchemaElement:
    """A column by the name that the file has for it.

    DuckDB puts a number behind a name that differs from another one only in case.
    """

    name: str
    """Its name."""
    type: str = ""
    """Its physical type."""
    precision: int = 0
    """How many digits a decimal has."""
    logical: str = ""
    """Its logical type."""
    members: Sequence[_SchemaElement] = ()
    """The members of the struct that it is, if any."""

    @property
    def size(self) -> int:
        """Return how many scalars it is, or has in it."""
        return sum(member.size for member in self.members) or 1

    @property
    def zoned_ns(self) -> bool:
        """Return whether it is a time of day in UTC with nanoseconds."""
        # DuckDB drops three digits of such a time.
        return (
            self.logical.startswith("TimeType(isAdjustedToUTC=1")
            and "NANOS=NanoSeconds" in self.logical
        )

    @property
    def inexact(self) -> bool:
        """Return whether DuckDB does not read it, or something in it, exactly."""
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
            # Files from before the format knew times without a zone say it so.
            return "TIMESTAMP WITH TIME ZONE"
        return kind


# A row of parquet_schema: name, num_children, type, precision, logical_type.
_SchemaRow = tuple[str, int | None, str | None, int | None, str | None]


def opened(scratch: Scratch, path: Path, name: str = "") -> ParquetSource:
    """Look at the columns of a file.

    Raises duckdb.Error where DuckDB cannot, InputRefused for more members of structs than can be
    read.
    """
    # What a file says of its geometry may be wrong, and is nothing to us.
    scratch.run("set enable_geoparquet_conversion = false")
    literal = quote_text(str(path))
    source = ParquetSource(READ_PARQUET(path=literal))
    elements = _elements(iter(scratch.rows(SCHEMA(path=literal))))
    inside = sum(element.size for element in elements if element.members)
    if inside > MOST_MEMBERS:
        raise InputRefused(
            f"{name}: {inside:,} members of structs; at most {MOST_MEMBERS:,} can be read",
            "write them as columns, or the rows as JSON lines",
        )
    described = scratch.rows(DESCRIBE_COLUMNS(rows=source.select))
    for place, ((column, kind, *_), element) in enumerate(zip(described, elements, strict=True)):
        member = _member(scratch, element, quote_identifier(column), kind=kind)
        source.members.append(member)
        source.leaves += _leaves(member, element, (place,))
    return source


@contextlib.contextmanager
def by_values(scratch: Scratch) -> Iterator[None]:
    """Have DuckDB read the values of a file, and conclude nothing from the statistics in it.

    They may be wrong: DuckDB holds a test for NaN to be false where the greatest value is a number.
    """
    scratch.run("set disabled_optimizers = 'statistics_propagation'")
    try:
        yield
    finally:
        scratch.run("reset disabled_optimizers")


def raise_final(name: str, error: duckdb.Error) -> None:
    """Raise the errors that another reader could not avoid: no memory, a file that is encrypted."""
    is_final = isinstance(error, duckdb.OutOfMemoryException | duckdb.PermissionException)
    if is_final or "No space left" in str(error):
        raise error
    if "encrypted" in str(error):
        raise InputRefused(f"{name} is encrypted Parquet", "decrypt it first") from None


def _elements(schema: Iterator[_SchemaRow]) -> Sequence[_SchemaElement]:
    """Return the elements below the next one of a schema, which lists each before its members."""
    _, children, *_ = next(schema)
    elements: list[_SchemaElement] = []
    for _ in range(children or 0):
        ahead = next(schema)
        name, _, kind, precision, logical = ahead
        elements.append(
            _SchemaElement(
                name=str(name),
                type=kind or "",
                precision=precision or 0,
                logical=logical or "",
                members=_elements(chain([ahead], schema)),
            )
        )
    return elements


def _member(scratch: Scratch, element: _SchemaElement, sql: str, *, kind: str) -> ParquetColumn:
    """Return a column with the members of the struct that it may be."""
    if not _STRUCT.match(kind) or entry_of(kind):
        return ParquetColumn(element.name, sql, element.kind(kind))
    described = scratch.rows(DESCRIBE_MEMBERS(kind=kind), {"value": None})
    members = [
        _member(scratch, inner, quote_identifier(name), kind=inner_kind)
        for (name, inner_kind, *_), inner in zip(described, element.members, strict=True)
    ]
    return ParquetColumn(element.name, sql, kind, members=members)


def _leaves(
    member: ParquetColumn,
    element: _SchemaElement,
    path: tuple[int, ...],
    *,
    prefix: str = "",
    sql: str = "",
) -> list[Leaf]:
    """Return the scalars of a column. prefix, sql: the name and the SQL of the struct around it."""
    name, value = prefix + member.name, sql + member.sql
    if not member.members:
        return [Leaf(name, path, value, kind=member.kind, inexact=element.inexact)]
    return [
        leaf
        for place, (inner, inner_element) in enumerate(
            zip(member.members, element.members, strict=True)
        )
        for leaf in _leaves(
            inner, inner_element, (*path, place), prefix=f"{name}.", sql=f"{value}."
        )
    ]
