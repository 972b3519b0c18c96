"""Files -> staged rows: text in, the same text out, and rejects for what cannot be used.

source/ opens the files that the user named; columns.py says what each column means; csv/, json/ and
parquet/ read; table_columns.py makes staged columns of a table's columns; staged.py has the result,
and says where a rejected row gets its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from profilectl.files import progress as at_work
from profilectl.importing.stage.columns import flat_columns
from profilectl.importing.stage.csv.csv_file import file_event_type, header_of, stage_csv
from profilectl.importing.stage.csv.dialect import dialect_of
from profilectl.importing.stage.maps import Maps, check_names, maps_of
from profilectl.importing.stage.options import ReadingOptions
from profilectl.importing.stage.path_columns import key_values, path_columns, unread
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
from profilectl.importing.stage.task import StageTask
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.event.event import Event
from profilectl.rules.identity import TYPES
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch

# The rows, the values without a column, and the events of one file among those of all files.
ROWS_OF_FILE = SqlTemplate("""
select seq + {offset} as seq, {columns}
from ({rows})
""")
# The places of the rows of one file.
SEQS_OF_FILE = SqlTemplate("""
select seq + {offset} as seq
from ({rows})
""")
# The attributes without a column of one file.
LOOSE_OF_FILE = SqlTemplate("""
select seq + {offset} as seq, key, value
from {loose}
""")
# The events of one file.
EVENTS_OF_FILE = SqlTemplate("""
select seq + {offset} as seq, {columns}
from ({events})
""")

# The place of the last event of each row that has events.
LAST_PLACES = SqlTemplate("""
select seq, max(place) as place
from ({events})
group by seq
""")
NO_PLACES = "select null as seq, null as place where false"

# The event that every batch gets, behind those that it has.
ADDED_EVENTS = SqlTemplate("""
select batch.seq as seq, coalesce(last_event.place + 1, 0)::integer as place,
       {type} as type, {name} as name, null::bigint as at_ms, null::varchar as session,
       {event} as event
from ({rows}) as batch
left join ({last_places}) as last_event on last_event.seq = batch.seq
""")
UNION_ALL = "\nunion all\n"


@dataclass(frozen=True, slots=True)
class _Unit:
    """A file that is staged as one: an input, or the rows of rejects that come from one."""

    file: InputFile
    """The file."""
    name: str
    """The names of the relations made of it begin with this."""
    rejects: Rejects
    """Takes its rows that cannot be used."""
    parts: tuple[RejectedRows, ...] = ()
    """Of rejects, the part that it is, then the part that this is taken from, and so on."""
    more: bool = False
    """Whether it is of the same file as the unit before."""


def stage_files(
    scratch: Scratch,
    files: Sequence[InputFile],
    options: ReadingOptions,
    rejects: Rejects,
    progress: Callable[[int], None] = lambda rows: None,
    others: Sequence[InputFile] = (),
) -> Staged:
    """Read files into the relation `staged`.

    others: files of the import whose content is known, and that are not read. Raises InputRefused
    where a file cannot be read at all.
    """
    # The event that is added to every batch goes behind all others, in SQL (ADDED_EVENTS).
    added = options.reading.added
    options = replace(options, reading=replace(options.reading, added=None))
    units = [
        unit
        for place, file in enumerate(files)
        for unit in units_of(scratch, file, f"file{place}", options=options, rejects=rejects)
    ]
    maps = maps_of(
        [unit.file for unit in units],
        options.mapped,
        csv_names=lambda file: header_of(file, options).names,
        path_names=lambda file: path_columns(file.place) if options.path_columns else (),
        unread_files=others,
    )
    keys = AttributeColumns()
    staged = _stage_units(scratch, units, maps, keys=keys, options=options, progress=progress)
    if not others:
        check_names(
            [unit.file for unit in units],
            staged,
            maps,
            manifest=options.manifest,
            mapped=options.mapped,
        )
    if not options.path_columns:
        notices = unread([file.name for file in files])
        staged[0] = replace(staged[0], notices=[*staged[0].notices, *notices])
    return _laid_together(scratch, staged, keys, added=added)


def head_of(file: InputFile, options: ReadingOptions) -> tuple[object, ...]:
    """Return the parts of a head that must be the same in CSV files that get one header."""
    header = header_of(file, options)
    if not header.has_header:
        return header.dialect, len(header.names)
    return header.dialect, tuple(header.written)


def said_by_path(path: str, *, folders: bool) -> tuple[object, ...]:
    """Return what a path says of the rows of its file.

    That is the event type of a CSV file and, if `folders`, the key=value folders.
    """
    return (
        file_event_type(path) if format_named(path) == "csv" else None,
        key_values(path) if folders else {},
    )


# Each file by itself


def units_of(
    scratch: Scratch, file: InputFile, name: str, *, options: ReadingOptions, rejects: Rejects
) -> list[_Unit]:
    """Return a file as it is staged.

    Rows that were rejected before are each read as the file says from which they come.
    """
    if file.format != REJECTS:
        return [_Unit(file, name, rejects)]
    has_header = options.manifest is None or options.manifest.has_header
    parts = parts_of(
        scratch,
        file,
        name,
        dialect=dialect_of(options.delimiter, options.quote, options.escape),
        header=(lambda original: header_of(original, options)) if has_header else None,
        rejects=rejects,
    )
    units: list[_Unit] = []
    for part in parts:
        part_rejects = Relined(rejects, part)
        for unit in units_of(scratch, part.file, part.name, options=options, rejects=part_rejects):
            units.append(replace(unit, parts=(*unit.parts, part), more=bool(units)))
    return units


def _stage_units(
    scratch: Scratch,
    units: Sequence[_Unit],
    maps: Sequence[Maps],
    *,
    keys: AttributeColumns,
    options: ReadingOptions,
    progress: Callable[[int], None],
) -> list[StagedFile]:
    """Stage one unit after another. maps: what is mapped in each."""
    staged: list[StagedFile] = []
    at_work.step("reading")
    rows_before = bytes_before = 0
    sizes = [_bytes_of(unit.file) for unit in units]
    for unit, mapped, size in zip(units, maps, sizes, strict=True):
        at_work.span(bytes_before / sum(sizes), (bytes_before + size) / sum(sizes))
        bytes_before += size

        def unit_progress(rows: int, before: int = rows_before) -> None:
            progress(before + rows)

        task = StageTask(
            scratch=scratch,
            file=unit.file,
            name=unit.name,
            keys=keys,
            rejects=unit.rejects,
            progress=unit_progress,
        )
        file = _stage_file(task, replace(options, mapped=mapped))
        for part in unit.parts:
            file = relined(scratch, file, part)
        staged.append(replace(file, more=unit.more))
        rows_before += file.rows
        progress(rows_before)
    return staged


def _bytes_of(file: InputFile) -> int:
    """Return the bytes of a file, 1 at least."""
    return max(1, file.local.stat().st_size if file.local.is_file() else 0)


def _stage_file(task: StageTask, options: ReadingOptions) -> StagedFile:
    """Stage a file by the reader of its format."""
    if task.file.format == "csv":
        return stage_csv(task, options)
    if task.file.format == "parquet":
        from profilectl.importing.stage.parquet.parquet import read_parquet

        return read_parquet(task, options)
    # Here, because a table needs none of it, and it takes 10 ms to load.
    from profilectl.importing.stage.json.jsonl import read_document_file, read_lines
    from profilectl.importing.stage.json.profile_lines import holds_profiles, read_profiles

    mapped = flat_columns(options.manifest, options.mapped)
    reading = options.reading
    if options.path_columns:
        reading = replace(reading, path=path_columns(task.file.place))
    if task.file.format == "json":
        return read_document_file(task, reading, mapped)
    if holds_profiles(task.file):
        return read_profiles(task, reading)
    return read_lines(task, reading, mapped)


# All files end to end


def _laid_together(
    scratch: Scratch, files: list[StagedFile], keys: AttributeColumns, *, added: Event | None
) -> Staged:
    """Make the relations of all files. added: the event that every batch gets."""
    offsets = [sum(file.span for file in files[:place]) for place in range(len(files))]
    plain = [name for name in PLAIN if any(name in file.plain for file in files)]
    identities = [
        kind.name for kind in TYPES if any(kind.name in file.identities for file in files)
    ]
    columns = [
        *plain,
        *(f"i_{name}" for name in identities),
        *(f"a{place}" for place in range(len(keys.keys))),
    ]
    rows = [_rows_of(file, offset, columns) for file, offset in zip(files, offsets, strict=True)]
    # One file is read where it lies; several are laid end to end, so that they are one relation.
    scratch.make("staged", UNION_ALL.join(rows), keep=len(files) > 1)
    loose = [
        LOOSE_OF_FILE(offset=offset, loose=file.loose)
        for file, offset in zip(files, offsets, strict=True)
        if file.loose
    ]
    if loose:
        scratch.make("staged_loose", UNION_ALL.join(loose), keep=False)
    events = _events(files, offsets, added)
    if events:
        # Read once or twice, one after the other: to write them down again would cost more.
        scratch.make("staged_event", UNION_ALL.join(events), keep=bool(added))
    scratch.forget_order()
    return Staged(
        files=files,
        offsets=offsets,
        span=sum(file.span for file in files),
        plain=plain,
        identities=identities,
        keys=keys.keys,
        loose=bool(loose),
        events=bool(events),
        events_in_order=not added and all(file.events_in_order for file in files if file.events),
    )


def _rows_of(file: StagedFile, offset: int, columns: Sequence[str]) -> str:
    """Return the SELECT of the rows of a file with columns; those that it lacks are null."""
    own = {*file.plain, *file.columns, *(f"i_{name}" for name in file.identities)}
    selected = [
        column if column in own else f"null::{PLAIN.get(column, 'VARCHAR')} as {column}"
        for column in columns
    ]
    if not selected:
        return SEQS_OF_FILE(offset=offset, rows=file.select)
    return ROWS_OF_FILE(offset=offset, columns=", ".join(selected), rows=file.select)


def _events(files: Sequence[StagedFile], offsets: Sequence[int], added: Event | None) -> list[str]:
    """Return the SELECTs of the events of all files, and of the event that is added to each row."""
    columns = ", ".join(column for column, _ in EVENT[1:])
    events = [
        EVENTS_OF_FILE(offset=offset, columns=columns, events=select)
        for file, offset in zip(files, offsets, strict=True)
        for select in file.events
    ]
    if added is None:
        return events
    rows = [
        SEQS_OF_FILE(offset=offset, rows=file.select)
        for file, offset in zip(files, offsets, strict=True)
    ]
    return [
        *events,
        ADDED_EVENTS(
            type=quote_text(added.type),
            name=quote_text(added.name or ""),
            event=quote_text(added.text),
            rows=UNION_ALL.join(rows),
            last_places=LAST_PLACES(events=UNION_ALL.join(events)) if events else NO_PLACES,
        ),
    ]
