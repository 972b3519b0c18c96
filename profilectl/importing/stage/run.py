"""Files -> staged rows: text in, the same text out, and rejects for what cannot be used.

files opens what the user named; columns says what each column means; csv, jsonl and parquet read;
cells makes staged columns of a table's columns; staged is what is left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from profilectl.codes import InputRefused
from profilectl.importing.stage.cells import Assembly, Cell, string_held, string_over
from profilectl.importing.stage.columns import (
    NAMELESS,
    Manifest,
    flat_columns,
    left_out,
    no_name,
    read_columns,
    shown_names,
)
from profilectl.importing.stage.csv.csv import (
    filled,
    header_repeated,
    read_rows,
    report_totals,
    without_nulls,
)
from profilectl.importing.stage.csv.dialect import dialect_of
from profilectl.importing.stage.csv.head import Header, read_header
from profilectl.importing.stage.json.jsonl import read_document_file, read_lines, wanted_or_null
from profilectl.importing.stage.json.profile_lines import holds_profiles, read_profiles
from profilectl.importing.stage.maps import check_met, maps_of
from profilectl.importing.stage.path_columns import PathColumns, key_values, path_columns, unread
from profilectl.importing.stage.rejected import RejectedRows, Relined, parts_of, relined
from profilectl.importing.stage.source.files import REJECTS, InputFile, format_named
from profilectl.importing.stage.staged import (
    EVENT,
    PLAIN,
    AttributeColumns,
    Rejects,
    Staged,
    StagedFile,
)
from profilectl.rules.batch import BatchField, Reading
from profilectl.rules.event.event import FILE_ENDINGS
from profilectl.rules.identity import TYPES
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch

__all__ = ["ReadingOptions", "Staged", "head_of", "stage_files"]


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How the files of an import are to be read."""

    manifest: Manifest | None = None
    mapped: Mapping[str, BatchField] = field(default_factory=dict)
    delimiter: str | None = None
    empty: str = "ignore"
    """What an empty cell does to its attribute: ignore, delete or set (design.md R6)."""
    reading: Reading = field(default_factory=Reading)
    quote: str | None = None
    """The character around CSV cells; None: the double quote."""
    escape: str | None = None
    """The character that stands before a quote in a CSV cell; None: the quote itself."""
    skip_lines: int = 0
    """How many physical lines stand above the header of a CSV file."""
    ragged: str = "reject"
    """What a CSV record with too few or too many cells is: reject or pad."""
    encoding_errors: str = "refuse"
    """What a line that is not valid in its encoding is: refuse (the file) or reject (the row)."""
    path_columns: bool = False
    """Whether key=value folders of a path are columns of its rows."""
    binary_as_text: bool = False
    """Whether BINARY columns of Parquet are text in UTF-8."""


def stage_files(
    scratch: Scratch,
    files: Sequence[InputFile],
    options: ReadingOptions,
    rejects: Rejects,
    progress: Callable[[int], None] = lambda rows: None,
    others: Sequence[InputFile] = (),
) -> Staged:
    """Read files into the relation `staged`.

    others: those of the import whose content is known, and that are not read. Raises InputRefused
    where a file cannot be read at all.
    """
    added, options = (
        options.reading.added,
        replace(options, reading=replace(options.reading, added=None)),
    )
    keys = AttributeColumns()
    staged: list[StagedFile] = []
    done = 0
    units = [
        unit
        for place, file in enumerate(files)
        for unit in _units(scratch, file, f"file{place}", options, rejects)
    ]
    maps = maps_of(
        [unit.file for unit in units],
        options.mapped,
        lambda file: _header(file, options).names,
        lambda file: path_columns(file.place) if options.path_columns else (),
        others,
    )
    for unit, mapped in zip(units, maps, strict=True):

        def so_far(rows: int, done: int = done) -> None:
            progress(done + rows)

        one = _stage_file(
            scratch,
            unit.file,
            unit.name,
            keys,
            replace(options, mapped=mapped),
            unit.rejects,
            so_far,
        )
        for part in unit.parts:
            one = relined(scratch, one, part)
        one.more = unit.more
        staged.append(one)
        done += one.rows
        progress(done)
    if not others:
        check_met([unit.file for unit in units], staged, maps, options.manifest, options.mapped)
    if not options.path_columns:
        staged[0].notices += unread([file.name for file in files])
    offsets = [sum(file.span for file in staged[:place]) for place in range(len(staged))]
    plain = [name for name in PLAIN if any(name in file.plain for file in staged)]
    identities = [
        kind.name for kind in TYPES if any(kind.name in file.identities for file in staged)
    ]
    columns = [f"a{place}" for place in range(len(keys.keys))]
    wanted = [*plain, *(f"i_{kind}" for kind in identities), *columns]
    selects = [_offset(file, offset, wanted) for file, offset in zip(staged, offsets, strict=True)]
    # One file is read where it lies; several are laid end to end, so that they are one relation.
    scratch.make("staged", " union all ".join(selects), keep=len(staged) > 1)
    loose = [
        f"select seq + {offset} as seq, key, value from {file.loose}"
        for file, offset in zip(staged, offsets, strict=True)
        if file.loose
    ]
    if loose:
        scratch.make("staged_loose", " union all ".join(loose), keep=False)
    events = [
        f"select seq + {offset} as seq, {', '.join(column for column, _ in EVENT[1:])} from ({select})"
        for file, offset in zip(staged, offsets, strict=True)
        for select in file.events
    ]
    if added:
        last = (
            f"select seq, max(place) as place from ({' union all '.join(events)}) group by seq"
            if events
            else "select null as seq, null as place where false"
        )
        values = f"{quote_text(added.type)} as type, {quote_text(added.name or '')} as name, null::bigint as at_ms, null::varchar as session"
        fast = " union all ".join(
            f"select seq + {offset} as seq from ({file.select})"
            for file, offset in zip(staged, offsets, strict=True)
        )
        events.append(
            f"select one.seq as seq, coalesce(last.place + 1, 0)::integer as place, {values}, {quote_text(added.text)} as event"
            f" from ({fast}) as one left join ({last}) as last on last.seq = one.seq"
        )
    if events:
        # Read once or twice, one after the other: to write them down again would cost more.
        scratch.make("staged_event", " union all ".join(events), keep=bool(added))
    scratch.forget_order()
    in_order = not added and all(file.events_in_order for file in staged if file.events)
    return Staged(
        staged,
        offsets,
        sum(file.span for file in staged),
        plain,
        identities,
        keys.keys,
        bool(loose),
        bool(events),
        in_order,
    )


def _offset(file: StagedFile, offset: int, wanted: Sequence[str]) -> str:
    has = {*file.plain, *file.columns, *(f"i_{kind}" for kind in file.identities)}
    types = {name: f"null::{kind} as {name}" for name, kind in PLAIN.items()}
    columns = [
        column
        if column in has
        else types.get(column) or wanted_or_null(column, has).replace("null", "null::varchar")
        for column in wanted
    ]
    return f"select seq + {offset} as seq{''.join(', ' + column for column in columns)} from ({file.select})"


def _stage_file(
    scratch: Scratch,
    file: InputFile,
    name: str,
    keys: AttributeColumns,
    options: ReadingOptions,
    rejects: Rejects,
    progress: Callable[[int], None],
) -> StagedFile:
    if file.format == "csv":
        return _stage_csv(scratch, file, name, keys, options, rejects, progress)
    if file.format == "parquet":
        from profilectl.importing.stage.parquet.parquet import read_parquet

        return read_parquet(scratch, file, name, keys, options)
    mapped = flat_columns(options.manifest, options.mapped)
    reading = (
        replace(options.reading, path=path_columns(file.place))
        if options.path_columns
        else options.reading
    )
    if file.format == "json":
        return read_document_file(scratch, file, name, keys, reading, rejects, mapped)
    if holds_profiles(file):
        return read_profiles(scratch, file, name, keys, reading, rejects, progress)
    return read_lines(scratch, file, name, keys, reading, rejects, progress, mapped)


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is staged as one: a file, or the rows of rejects that come from one."""

    file: InputFile
    name: str
    """How the relations are named that are made of it."""
    rejects: Rejects
    """Where its rows go that cannot be used."""
    parts: tuple[RejectedRows, ...] = ()
    """Of rejects, where the rows stand: in the rejects, in the rejects that these are of."""
    more: bool = False
    """Whether it is of the same file as the unit before."""


def _units(
    scratch: Scratch, file: InputFile, name: str, options: ReadingOptions, rejects: Rejects
) -> list[_Unit]:
    """Return a file as it is staged: rows that were rejected before are each read as their own file
    says.
    """
    if file.format != REJECTS:
        return [_Unit(file, name, rejects)]
    dialect = dialect_of(options.delimiter, options.quote, options.escape)
    has_header = options.manifest is None or options.manifest.has_header
    header = (lambda original: _header(original, options)) if has_header else None
    units: list[_Unit] = []
    for part in parts_of(scratch, file, name, dialect, header, rejects):
        for one in _units(scratch, part.file, part.name, options, Relined(rejects, part)):
            units.append(replace(one, parts=(*one.parts, part), more=bool(units)))
    return units


def _stage_csv(
    scratch: Scratch,
    file: InputFile,
    name: str,
    keys: AttributeColumns,
    options: ReadingOptions,
    rejects: Rejects,
    progress: Callable[[int], None],
) -> StagedFile:
    reading, manifest = options.reading, options.manifest
    header = _header(file, options)
    path = PathColumns.of(file.place, header.names, options)
    fields = read_columns(
        file.name,
        header.names,
        path.own_manifest(manifest),
        path.own_map(options.mapped),
        unknown=reading.unknown,
        line=header.line,
        filled=header.filled,
    )
    needed = max(
        (place for place, meant in enumerate(fields, start=1) if meant is not NAMELESS), default=0
    )
    if not needed:
        raise InputRefused(
            f"{file.name}:{header.line}: no column has a name",
            "--skip-lines N passes over what stands above the header",
        )
    rows = read_rows(
        scratch.connection,
        file,
        header,
        name,
        rejects.add,
        progress,
        needed=0 if options.ragged == "pad" else needed,
    )
    cells, seq = name, "rowid"
    if reading.nulls:
        cells, seq = f"{name}_cells", "seq"
        scratch.make(cells, without_nulls(name, header, reading.nulls), keep=False)
    of_path, path_meaning, path_notices = path.cells(fields, options)
    notices = [
        *header.notices,
        *_nameless(scratch, file.name, header, fields, cells),
        *path_notices,
    ]
    assembly = Assembly(
        scratch, cells, seq, keys, reading, options.empty, file_event_type(file.place)
    )
    assembly.add(
        [
            *(
                Cell(
                    meaning,
                    f"c{place}",
                    string_held(f"c{place}"),
                    string_over(f"c{place}", reading.limits["value"]),
                )
                for place, meaning in enumerate(fields)
            ),
            *of_path,
        ]
    )
    connection, width = scratch.connection, len(header.names)
    # Where the first column is no identity, a word for a total in it may well be somebody's
    # attribute.
    totals = report_totals(connection, name, width) if fields[0].kind == "identity" else None
    not_people = (header_repeated(connection, header, name), totals)
    assembly.rejects[:0] = [select for select in not_people if select]
    meaning = tuple(
        (column, "ignored" if one.kind == "ignored" else one.title)
        for column, one in zip(shown_names(header.names), fields, strict=True)
    )
    meaning = (*meaning, *path_meaning)
    return assembly.staged(
        StagedFile(
            name=file.name,
            sha256=file.sha256,
            format="csv",
            select="",
            span=rows,
            rows=rows,
            columns=[],
            plain=[],
            identities=[],
            path=file.local,
            meaning=meaning,
            first_line=header.lines + 1,
            lines=f"{name}_line",
            notices=notices,
            dialect=header.dialect,
        )
    )


def _header(file: InputFile, options: ReadingOptions) -> Header:
    """Read the head of a CSV file as the options say; the manifest names the columns of a file
    without a header.
    """
    manifest = options.manifest
    header = read_header(
        file,
        dialect_of(options.delimiter, options.quote, options.escape),
        has_header=manifest is None or manifest.has_header,
        skip_lines=options.skip_lines,
        nulls=options.reading.nulls,
    )
    return _with_names(header, manifest) if manifest and not manifest.has_header else header


def head_of(file: InputFile, options: ReadingOptions) -> tuple[object, ...]:
    """Return what must be the same in two CSV files whose rows are to stand under one header."""
    header = _header(file, options)
    return (
        (header.dialect, tuple(header.written))
        if header.has_header
        else (header.dialect, len(header.names))
    )


def _with_names(header: Header, manifest: Manifest) -> Header:
    """Give the columns of a file without a header the names of its manifest, where there are as
    many.
    """
    described = len(manifest.columns)
    filled = max((place for place, cell in enumerate(header.written, start=1) if cell), default=0)
    if not filled <= described <= len(header.names):
        return header  # said by whoever reads the columns
    return replace(header, names=[named or "" for named, _ in manifest.columns])


def _nameless(
    scratch: Scratch, file: str, header: Header, fields: Sequence[BatchField], cells: str
) -> list[str]:
    """Say which columns without a name are left out. Raises InputRefused where one has a value."""
    places = [place for place, meant in enumerate(fields) if meant is NAMELESS]
    with_values = filled(scratch.connection, cells, places)
    if with_values:
        said, hint = no_name(with_values)
        raise InputRefused(f"{file}:{header.line}: {said}", hint)
    return [left_out(f"{file}:{header.line}", places)] if places else []


def file_event_type(name: str) -> str | None:
    """Return the event type that a file's name says its rows have (domain.md 8.1):
    legacy-custom_event.csv.
    """
    stem = name.rpartition("/")[2].partition(".")[0]
    return next((kind for ending, kind in FILE_ENDINGS.items() if stem.endswith(ending)), None)


def said_by_path(path: str, *, folders: bool) -> tuple[object, ...]:
    """Return what a path says of the rows of its file: the event type of a CSV file, and its
    folders where they are read.
    """
    return (
        file_event_type(path) if format_named(path) == "csv" else None,
        key_values(path) if folders else {},
    )
