"""The table of the columns of files: what each becomes, its first values, and what it may be.

It is shown before the first import of a feed, and by `profilectl columns`. A file that names nobody
is refused with its suggestions.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from profilectl.codes import InputRefused
from profilectl.importing.columns.samples import ColumnSample, FileSample, sample_of
from profilectl.importing.columns.suggestions import (
    Suggestion,
    looks_like,
    says_something,
    suggestion,
)
from profilectl.importing.request import ImportRequest
from profilectl.importing.stage.columns import Manifest, map_option
from profilectl.importing.stage.csv.csv_file import header_of
from profilectl.importing.stage.maps import JSON, maps_of
from profilectl.importing.stage.options import ReadingOptions
from profilectl.importing.stage.path_columns import path_columns
from profilectl.importing.stage.source.files import REJECTS, InputFile
from profilectl.importing.stage.staged import Rejects, StagedFile
from profilectl.rules.batch import Reading
from profilectl.rules.batch_fields import RESERVED_KEYS, BatchField
from profilectl.rules.counts import Document
from profilectl.rules.identity import BY_NAME
from profilectl.store.scratch import Scratch

MOST_FILES = 50
"""How many files of an import are looked at before it."""
MOST_OFFERED = 3
"""How many suggestions a refusal has."""
OF_USER = "user_attributes."
"""How the Batch name of an attribute begins."""
NAMING = frozenset(("mpid", *(kind.field for kind in BY_NAME.values())))
"""The fields that name a person."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a file, as the table has it."""

    name: str
    """Its name."""
    field: BatchField
    """What it becomes."""
    kinds: tuple[str, ...]
    """The kinds of its values: text, number, boolean, list, object; none where it has none."""
    look: str
    """What its texts look like, one of suggestions.LOOKS; "" where they do not look alike."""
    filled: int
    """In how many of the rows it has a value."""
    values: tuple[str, ...]
    """Its first different values."""
    suggested: Suggestion | None = None
    """What it may be."""
    option: str = ""
    """The --map option that says so."""

    @property
    def becomes(self) -> str | None:
        """Return the field that it becomes; None: it is left out."""
        return None if self.field.kind in ("ignored", "unknown") else self.field.title

    def as_json(self) -> Document:
        """Return the column under the keys of `profilectl columns --json`."""
        suggested = self.suggested and {
            "kind": self.suggested.kind,
            "field": self.suggested.field,
            "option": self.option,
        }
        return {
            "column": self.name,
            "becomes": self.becomes,
            "field": self.field.kind,
            "kinds": list(self.kinds),
            "looks_like": self.look or None,
            "filled": self.filled,
            "first_values": list(self.values),
            "suggestion": suggested,
        }


@dataclass(frozen=True, slots=True)
class ColumnTable:
    """The columns of files that have the same ones."""

    paths: tuple[str, ...]
    """The files."""
    format: str
    """Their format."""
    rows: int
    """How many rows of the first file were looked at."""
    columns: tuple[TableColumn, ...]
    """The columns, in order."""
    batches: bool
    """Whether rows are batches."""
    notices: tuple[str, ...] = ()
    """What is odd about the headers."""

    @property
    def names_somebody(self) -> bool:
        """Return whether a column is an identity or an MPID."""
        return any(
            column.field.kind == "identity" or column.field == MPID for column in self.columns
        )

    def as_json(self) -> Document:
        """Return the table under the keys of `profilectl columns --json`."""
        return {
            "paths": list(self.paths),
            "format": self.format,
            "rows_read": self.rows,
            "names_somebody": self.names_somebody,
            "notices": list(self.notices),
            "columns": [column.as_json() for column in self.columns],
        }


MPID = BatchField("plain", "mpid")


def tables_of(
    scratch: Scratch, files: Sequence[InputFile], options: ReadingOptions
) -> list[ColumnTable]:
    """Look at the first rows of files; files with the same columns are one table.

    Raises InputRefused where columns cannot be read.
    """
    maps = maps_of(
        files,
        options.mapped,
        csv_names=lambda file: header_of(file, options).names,
        path_names=lambda file: path_columns(file.place) if options.path_columns else (),
    )
    alike: dict[tuple[object, ...], list[FileSample]] = {}
    for file, mapped in zip(files, maps, strict=True):
        sample = sample_of(scratch, file, _with_map(options, mapped))
        same = (sample.format, *((column.name, column.meaning) for column in sample.columns))
        alike.setdefault(same, []).append(sample)
    return [_table(samples, _described(options)) for samples in alike.values()]


def _with_map(options: ReadingOptions, mapped: Mapping[str, BatchField]) -> ReadingOptions:
    return replace(options, mapped=mapped)


def options_of_look(
    request: ImportRequest, manifest: Manifest | None, mapped: Mapping[str, BatchField]
) -> ReadingOptions:
    """Return how a request says that files are to be read, without the rules of a store."""
    return ReadingOptions(
        manifest=manifest,
        mapped=mapped,
        delimiter=request.delimiter,
        reading=Reading(nulls=frozenset(request.nulls), unknown=request.unknown),
        quote=request.quote,
        escape=request.escape,
        skip_lines=request.skip_lines,
        encoding_errors=request.encoding_errors,
        path_columns=request.path_columns,
        binary_as_text=request.binary_as_text,
    )


def _described(options: ReadingOptions) -> frozenset[str]:
    """Return the columns whose meaning the user has said."""
    entries = options.manifest.columns if options.manifest else ()
    return frozenset((*options.mapped, *(name for name, _ in entries if name is not None)))


def _table(samples: Sequence[FileSample], described: frozenset[str]) -> ColumnTable:
    sample = samples[0]
    columns = sample.columns
    looks = [looks_like(column.texts) for column in columns]
    suggested = _suggestions(columns, looks, described)
    return ColumnTable(
        paths=tuple(of_file.path for of_file in samples),
        format=sample.format,
        rows=sample.rows,
        columns=tuple(
            TableColumn(
                name=column.name,
                field=column.meaning,
                kinds=tuple(column.kinds),
                look=look,
                filled=column.filled,
                values=tuple(column.values),
                suggested=suggested.get(place),
                option=map_option(column.mapped, suggested[place].field)
                if place in suggested
                else "",
            )
            for place, (column, look) in enumerate(zip(columns, looks, strict=True))
        ),
        batches=sample.batches,
        notices=tuple(notice for of_file in samples for notice in of_file.notices),
    )


def _suggestions(
    columns: Sequence[ColumnSample], looks: Sequence[str], described: frozenset[str]
) -> dict[int, Suggestion]:
    """Return what columns may be, by their places.

    Each identity type and each reserved key is suggested once. What a name says goes before what
    values look like.
    """
    others = {column.meaning.name for column in columns if column.meaning.kind == "identity"}
    others |= {column.meaning.name for column in columns if column.meaning.name in RESERVED_KEYS}
    open_places = [
        place
        for place, column in enumerate(columns)
        if column.meaning.kind == "attribute"
        and column.meaning.name not in RESERVED_KEYS
        and column.mapped
        and not described & {column.name, column.mapped, f"#{place + 1}"}
    ]
    open_places.sort(key=lambda place: not says_something(columns[place].name))
    suggested: dict[int, Suggestion] = {}
    for place in open_places:
        column = columns[place]
        look = looks[place] if column.texts else None
        answer = suggestion(column.name, look, others)
        if answer:
            suggested[place] = answer
            others.add(answer.field)
    return suggested


# Before an import


def check_columns(
    scratch: Scratch,
    files: Sequence[InputFile],
    request: ImportRequest,
    *,
    manifest: Manifest | None,
    mapped: Mapping[str, BatchField],
) -> None:
    """Show the columns before a first import, and refuse a file with columns that names nobody.

    Raises InputRefused. A file of JSON may name people in later rows: check_staged.
    """
    if not _is_checked(request):
        return
    of_rows = [file for file in files if file.format != REJECTS][:MOST_FILES]
    options = options_of_look(request, manifest, mapped)
    try:
        tables = tables_of(scratch, of_rows, options)
    except InputRefused:
        return  # the reader of the file refuses it, and says all that is wrong with it
    request.columns(tables)
    for table in tables:
        if table.format not in JSON and not table.names_somebody:
            _refuse(table)


def check_staged(
    scratch: Scratch,
    files: Sequence[InputFile],
    staged: Sequence[StagedFile],
    *,
    request: ImportRequest,
    options: ReadingOptions,
    rejects: Rejects,
) -> None:
    """Refuse a file none of whose rows can name anybody, once all of them are read.

    rejects: the rows that cannot be used so far. Batches without an identity are rejected row by
    row: no column of theirs can be mapped. Raises InputRefused.
    """
    if not _is_checked(request):
        return
    # Lines none of which can be read have another fault than that they name nobody.
    has_nobodys = rejects.counts["NO_IDENTITY"] > 0
    nobodys = {
        file.name
        for file in staged
        if _names_nobody(file) and (file.rows or has_nobodys or file.format not in JSON)
    }
    # A file of rejects has the rows of several files; a row of it is rejected again.
    for file in files:
        if file.name in nobodys and file.format != REJECTS:
            (table,) = tables_of(scratch, [file], options)
            _refuse(table)


def _is_checked(request: ImportRequest) -> bool:
    """Return whether a request reads files that a person has named, for the first time."""
    return request.content is None and request.first_arrival is None


def _names_nobody(file: StagedFile) -> bool:
    names = {becomes for _, becomes in file.meaning}
    # What a batch says of itself, such as its time, can be nobody's identity.
    has_columns = file.format not in JSON or any(name.startswith(OF_USER) for name in names)
    return has_columns and not (file.identities or "mpid" in file.plain or names & NAMING)


def _refuse(table: ColumnTable) -> None:
    path = table.paths[0]
    word = "key" if table.format in JSON else "column"
    options = [
        column.option
        for column in table.columns
        if column.suggested and column.suggested.kind == "identity"
    ]
    hint = " ".join(options[:MOST_OFFERED])
    if not hint:
        hint = f'say which {word} is an identity: --map "{word.upper()}=customer_id"'
    if Path(path).is_file():
        hint += f"; profilectl columns {shlex.quote(path)} shows them all"
    # Above all a title above the header is why no column is one.
    hint = "; ".join((*table.notices[:MOST_OFFERED], hint))
    raise InputRefused(
        f"{path}: no {word} is an identity or an mpid, so its rows would be nobody's;"
        " nothing was imported",
        hint,
    )
