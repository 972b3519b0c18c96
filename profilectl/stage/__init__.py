"""Files -> staged rows: text in, the same text out, and rejects for what cannot be used.

files opens what the user named; columns says what each column means; csv, jsonl and parquet read;
cells makes staged columns of a table's columns; staged is what is left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from profilectl.batch import Field, Reading
from profilectl.event import FILE_ENDINGS
from profilectl.identity import TYPES
from profilectl.scratch import Scratch, quote_text
from profilectl.stage.cells import Assembly, Cell, string_held, string_over
from profilectl.stage.columns import Manifest, flat_columns, read_columns
from profilectl.stage.csv import Header, read_header, read_rows
from profilectl.stage.files import InputFile
from profilectl.stage.jsonl import read_document_file, read_lines, wanted_or_null
from profilectl.stage.maps import check_met, maps_of
from profilectl.stage.profile_lines import holds_profiles, read_profiles
from profilectl.stage.staged import EVENT, PLAIN, AttributeColumns, Rejects, Staged, StagedFile

__all__ = ["Options", "Staged", "stage_files"]


@dataclass(frozen=True, slots=True)
class Options:
    """How the files of an import are to be read."""

    manifest: Manifest | None = None
    mapped: Mapping[str, Field] = field(default_factory=dict)
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
    options: Options,
    rejects: Rejects,
    progress: Callable[[int], None] = lambda rows: None,
) -> Staged:
    """Read files into the relation `staged`. Raises InputRefused where a file cannot be read at all."""
    added, options = options.reading.added, replace(options, reading=replace(options.reading, added=None))
    keys = AttributeColumns()
    staged: list[StagedFile] = []
    done = 0
    maps = maps_of(files, options.mapped, lambda file: _header(file, options).names)
    for place, (file, mapped) in enumerate(zip(files, maps, strict=True)):
        def so_far(rows: int, done: int = done) -> None:
            progress(done + rows)

        staged.append(_stage_file(scratch, file, f"file{place}", keys, replace(options, mapped=mapped), rejects, so_far))
        done += staged[-1].rows
        progress(done)
    check_met(staged, maps, options.manifest, options.mapped)
    offsets = [sum(file.span for file in staged[:place]) for place in range(len(staged))]
    plain = [name for name in PLAIN if any(name in file.plain for file in staged)]
    identities = [kind.name for kind in TYPES if any(kind.name in file.identities for file in staged)]
    columns = [f"a{place}" for place in range(len(keys.keys))]
    wanted = [*plain, *(f"i_{kind}" for kind in identities), *columns]
    selects = [_offset(file, offset, wanted) for file, offset in zip(staged, offsets, strict=True)]
    # One file is read where it lies; several are laid end to end, so that they are one relation.
    scratch.make("staged", " union all ".join(selects), keep=len(staged) > 1)
    loose = [
        f"select seq + {offset} as seq, key, value from {file.loose}"
        for file, offset in zip(staged, offsets, strict=True) if file.loose
    ]
    if loose:
        scratch.make("staged_loose", " union all ".join(loose), keep=False)
    events = [
        f"select seq + {offset} as seq, {', '.join(column for column, _ in EVENT[1:])} from ({select})"
        for file, offset in zip(staged, offsets, strict=True) for select in file.events
    ]
    if added:
        last = f"select seq, max(place) as place from ({' union all '.join(events)}) group by seq" if events else "select null as seq, null as place where false"
        values = f"{quote_text(added.type)} as type, {quote_text(added.name or '')} as name, null::bigint as at_ms, null::varchar as session"
        fast = " union all ".join(f"select seq + {offset} as seq from ({file.select})" for file, offset in zip(staged, offsets, strict=True))
        events.append(
            f"select one.seq as seq, coalesce(last.place + 1, 0)::integer as place, {values}, {quote_text(added.text)} as event"
            f" from ({fast}) as one left join ({last}) as last on last.seq = one.seq"
        )
    if events:
        # Read once or twice, one after the other: to write them down again would cost more.
        scratch.make("staged_event", " union all ".join(events), keep=bool(added))
    scratch.forget_order()
    in_order = not added and all(file.events_in_order for file in staged if file.events)
    return Staged(staged, offsets, sum(file.span for file in staged), plain, identities, keys.keys, bool(loose), bool(events), in_order)


def _offset(file: StagedFile, offset: int, wanted: Sequence[str]) -> str:
    has = {*file.plain, *file.columns, *(f"i_{kind}" for kind in file.identities)}
    types = {name: f"null::{kind} as {name}" for name, kind in PLAIN.items()}
    columns = [
        column if column in has else types.get(column) or wanted_or_null(column, has).replace("null", "null::varchar")
        for column in wanted
    ]
    return f"select seq + {offset} as seq{''.join(', ' + column for column in columns)} from ({file.select})"


def _stage_file(
    scratch: Scratch,
    file: InputFile,
    name: str,
    keys: AttributeColumns,
    options: Options,
    rejects: Rejects,
    progress: Callable[[int], None],
) -> StagedFile:
    if file.format == "csv":
        return _stage_csv(scratch, file, name, keys, options, rejects, progress)
    if file.format == "parquet":
        from profilectl.stage.parquet import read_parquet

        return read_parquet(scratch, file, name, keys, options)
    mapped = flat_columns(options.manifest, options.mapped)
    if file.format == "json":
        return read_document_file(scratch, file, name, keys, options.reading, rejects, mapped)
    if holds_profiles(file):
        return read_profiles(scratch, file, name, keys, options.reading, rejects, progress)
    return read_lines(scratch, file, name, keys, options.reading, rejects, progress, mapped)


def _stage_csv(
    scratch: Scratch,
    file: InputFile,
    name: str,
    keys: AttributeColumns,
    options: Options,
    rejects: Rejects,
    progress: Callable[[int], None],
) -> StagedFile:
    header = _header(file, options)
    fields = read_columns(file.name, header.names, options.manifest, options.mapped)
    rows = read_rows(scratch.connection, file, header, name, rejects.add, progress)
    cells = [
        Cell(meaning, f"c{place}", string_held(f"c{place}"), string_over(f"c{place}", options.reading.limits["value"]))
        for place, meaning in enumerate(fields)
    ]
    assembly = Assembly(scratch, name, "rowid", keys, options.reading, options.empty, file_event_type(file.name))
    assembly.add(cells)
    meaning = tuple((column, one.title or "ignored") for column, one in zip(header.names, fields, strict=True))
    return assembly.staged(
        StagedFile(
            name=file.name, sha256=file.sha256, format="csv", select="", span=rows, rows=rows, columns=[], plain=[],
            identities=[], path=file.local, meaning=meaning, first_line=header.lines + 1,
            lines=f"{name}_line",
        )
    )


def _header(file: InputFile, options: Options) -> Header:
    has_header = options.manifest is None or options.manifest.has_header
    return read_header(file, delimiter=options.delimiter, has_header=has_header)


def file_event_type(name: str) -> str | None:
    """Return the event type that a file's name says its rows have (domain.md 8.1): legacy-custom_event.csv."""
    stem = name.rpartition("/")[2].partition(".")[0]
    return next((kind for ending, kind in FILE_ENDINGS.items() if stem.endswith(ending)), None)
