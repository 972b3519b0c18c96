"""A CSV file -> staged rows: its head, what each column means, its cells, its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from profilectl.codes import InputRefused
from profilectl.importing.stage.cells import CellRows, string_cell
from profilectl.importing.stage.columns import (
    NAMELESS,
    Manifest,
    left_out,
    no_name,
    read_columns,
    shown_names,
)
from profilectl.importing.stage.csv.csv import (
    CsvRows,
    filled,
    header_repeated,
    read_rows,
    report_totals,
    without_nulls,
)
from profilectl.importing.stage.csv.dialect import dialect_of
from profilectl.importing.stage.csv.head import Header, read_header
from profilectl.importing.stage.options import ReadingOptions
from profilectl.importing.stage.path_columns import PathColumns
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.staged import StagedFile
from profilectl.importing.stage.table_columns import stage_table
from profilectl.importing.stage.task import StageTask
from profilectl.rules.batch_fields import BatchField
from profilectl.rules.event.event import FILE_ENDINGS


def header_of(file: InputFile, options: ReadingOptions) -> Header:
    """Read the head of a CSV file as the options say.

    A manifest names the columns of a file without a header. Raises InputRefused.
    """
    manifest = options.manifest
    header = read_header(
        file,
        dialect_of(options.delimiter, options.quote, options.escape),
        has_header=manifest is None or manifest.has_header,
        skip_lines=options.skip_lines,
        nulls=options.reading.nulls,
        named=[*options.mapped, *(name for name, _ in manifest.columns if name)]
        if manifest
        else options.mapped,
    )
    return _with_names(header, manifest) if manifest and not manifest.has_header else header


def stage_csv(task: StageTask, options: ReadingOptions) -> StagedFile:
    """Stage a CSV file. Raises InputRefused for one that cannot be read."""
    file, name, scratch = task.file, task.name, task.scratch
    header = header_of(file, options)
    path = PathColumns.of(file.place, header.names, options)
    fields = csv_fields(file, header, path, options=options)
    table = read_rows(
        scratch.connection,
        file,
        header,
        table=name,
        reject=task.rejects.add,
        progress=task.progress,
        needed=_needed_cells(file, header, fields, options=options),
    )
    rows = CellRows(
        scratch=scratch,
        relation=name,
        seq="rowid",
        keys=task.keys,
        reading=options.reading,
        empty=options.empty,
        event_type=file_event_type(file.place),
        longest=table.longest,
        unmarked=set() if table.may_have_mark else {f"c{place}" for place in range(len(fields))},
    )
    if options.reading.nulls:
        rows = replace(rows, relation=f"{name}_cells", seq="seq", longest={})
        without = without_nulls(name, header, options.reading.nulls)
        scratch.make(rows.relation, without, keep=False)
    of_path = path.cells(fields, options)
    nameless = _nameless(rows, file.name, header, fields=fields)
    most = options.reading.limits["value"]
    cells = [string_cell(meaning, f"c{place}", most) for place, meaning in enumerate(fields)]
    staged = _staged_file(task, header, fields, table=table)
    staged = replace(
        staged,
        meaning=(*staged.meaning, *of_path.meaning),
        notices=[*header.notices, *nameless, *of_path.notices],
    )
    not_people = _not_people(task, header, fields, table=table)
    return stage_table(rows, [*cells, *of_path.cells], staged, not_people=not_people)


def file_event_type(name: str) -> str | None:
    """Return the event type that a file's name says its rows have (domain.md 8.1), or None.

    The rows of legacy-custom_event.csv are custom events.
    """
    stem = name.rpartition("/")[2].partition(".")[0]
    return next((kind for ending, kind in FILE_ENDINGS.items() if stem.endswith(ending)), None)


def csv_fields(
    file: InputFile, header: Header, path: PathColumns, *, options: ReadingOptions
) -> list[BatchField]:
    """Return the meaning of each column of the file."""
    return read_columns(
        file.name,
        header.names,
        path.own_manifest(options.manifest),
        mapped=path.own_map(options.mapped),
        unknown=options.reading.unknown,
        line=header.line,
        filled=header.filled,
    )


def _needed_cells(
    file: InputFile, header: Header, fields: Sequence[BatchField], *, options: ReadingOptions
) -> int:
    """Return how many cells a row must have: up to the last column with a name.

    Raises InputRefused where no column has a name.
    """
    needed = max(
        (place for place, field in enumerate(fields, start=1) if field is not NAMELESS), default=0
    )
    if not needed:
        raise InputRefused(
            f"{file.name}:{header.line}: no column has a name",
            "--skip-lines N passes over what stands above the header",
        )
    return 0 if options.ragged == "pad" else needed


def _staged_file(
    task: StageTask, header: Header, fields: Sequence[BatchField], *, table: CsvRows
) -> StagedFile:
    """Return a file whose columns are not staged yet."""
    return StagedFile(
        name=task.file.name,
        sha256=task.file.sha256,
        format="csv",
        select="",
        span=table.count,
        rows=table.count,
        columns=[],
        plain=[],
        identities=[],
        path=task.file.local,
        meaning=tuple(
            (column, "ignored" if field.kind == "ignored" else field.title)
            for column, field in zip(shown_names(header.names), fields, strict=True)
        ),
        first_line=header.lines + 1,
        lines=None if table.by_place else f"{task.name}_line",
        texts=table.texts,
        dialect=header.dialect,
    )


def _not_people(
    task: StageTask, header: Header, fields: Sequence[BatchField], *, table: CsvRows
) -> list[str]:
    """Return the SELECTs of the rows that are no person's: headers, and totals of a report."""
    connection = task.scratch.connection
    selects = [header_repeated(connection, header, task.name)] if table.may_have_header else []
    # Where the first column is no identity, a word for a total in it may well be somebody's
    # attribute.
    if fields[0].kind == "identity" and table.may_have_total:
        selects.append(report_totals(connection, task.name, len(header.names)))
    return [select for select in selects if select]


def _with_names(header: Header, manifest: Manifest) -> Header:
    """Name the columns of a file without a header by its manifest, where there are as many."""
    described = len(manifest.columns)
    filled_cells = [place for place, cell in enumerate(header.written, start=1) if cell]
    if not max(filled_cells, default=0) <= described <= len(header.names):
        return header  # read_columns says what is wrong
    return replace(header, names=[name or "" for name, _ in manifest.columns])


def _nameless(
    rows: CellRows, file: str, header: Header, *, fields: Sequence[BatchField]
) -> list[str]:
    """Return the notice of the columns without a name that are left out.

    Raises InputRefused where one has a value.
    """
    places = [place for place, field in enumerate(fields) if field is NAMELESS]
    with_values = filled(rows.scratch.connection, rows.relation, places)
    if with_values:
        fault, hint = no_name(with_values)
        raise InputRefused(f"{file}:{header.line}: {fault}", hint)
    return [left_out(f"{file}:{header.line}", places)] if places else []
