"""How the files of an import are to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from profilectl.importing.stage.columns import Manifest
from profilectl.rules.batch import Reading
from profilectl.rules.batch_fields import BatchField


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How the files of an import are to be read."""

    manifest: Manifest | None = None
    """The platform's manifest, which describes the columns; None: there is none."""
    mapped: Mapping[str, BatchField] = field(default_factory=dict)
    """The fields of --map, by the name of a column or its place."""
    delimiter: str | None = None
    """The character between CSV cells; None: it is found."""
    empty: str = "ignore"
    """The effect of an empty cell on its attribute: ignore, delete or set (design.md R6)."""
    reading: Reading = field(default_factory=Reading)
    """The rules that the rows are read by."""
    quote: str | None = None
    """The character around CSV cells; None: the double quote."""
    escape: str | None = None
    """The character that stands before a quote in a CSV cell; None: the quote itself."""
    skip_lines: int = 0
    """How many physical lines stand above the header of a CSV file."""
    ragged: str = "reject"
    """The treatment of a CSV record with too few or too many cells: reject or pad."""
    encoding_errors: str = "refuse"
    """The treatment of a line that is not valid in its encoding: refuse (the file) or reject (the
    row).
    """
    path_columns: bool = False
    """Whether key=value folders of a path are columns of its rows."""
    binary_as_text: bool = False
    """Whether BINARY columns of Parquet are text in UTF-8."""
