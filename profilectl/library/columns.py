"""The columns of files and what they would become, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from profilectl.library.short_repr import Short

if TYPE_CHECKING:
    from profilectl.importing.columns.tables import ColumnTable


@dataclass(frozen=True, slots=True, repr=False)
class FileColumn(Short):
    """A column of a file."""

    name: str
    """Its name."""
    becomes: str | None
    """The field that it would become, such as user_identities.email; None: it is left out."""
    kinds: tuple[str, ...]
    """The kinds of its first values: text, number, boolean, list, object."""
    filled: int
    """In how many of the rows that were looked at it has a value."""
    first_values: tuple[str, ...]
    """Its first different values."""
    suggested: str | None
    """What it may be instead: the field, for `mapping`."""


@dataclass(frozen=True, slots=True, repr=False)
class FileColumns(Short):
    """The columns of files that have the same ones."""

    paths: tuple[str, ...]
    """The files."""
    format: str
    """Their format."""
    rows_read: int
    """How many rows of the first file were looked at."""
    names_somebody: bool
    """Whether a column is an identity or an MPID: without one an import is refused."""
    columns: tuple[FileColumn, ...]
    """The columns, in order."""
    notices: tuple[str, ...]
    """What is odd about the headers."""


def columns_in(table: ColumnTable) -> FileColumns:
    """Return the columns of files as plain values."""
    return FileColumns(
        paths=table.paths,
        format=table.format,
        rows_read=table.rows,
        names_somebody=table.names_somebody,
        columns=tuple(
            FileColumn(
                name=column.name,
                becomes=column.becomes,
                kinds=column.kinds,
                filled=column.filled,
                first_values=column.values,
                suggested=column.suggested.field if column.suggested else None,
            )
            for column in table.columns
        ),
        notices=table.notices,
    )
