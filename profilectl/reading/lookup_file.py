"""A file of identities, read as an import reads one: unpacked, and with its delimiter found.

It becomes the relation `asked` (seq, line, fault, c0, c1 ...). A row that cannot be read is there
too, with the reason as its fault.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from profilectl.codes import InputRefused, Reject, sentence
from profilectl.importing.stage.csv.csv import read_rows
from profilectl.importing.stage.csv.dialect import dialect_of
from profilectl.importing.stage.csv.head import read_header
from profilectl.importing.stage.source.encoding import check_utf8
from profilectl.importing.stage.source.files import InputFile, Named, format_named, open_files
from profilectl.importing.stage.source.unpacking import check_memory
from profilectl.profiles.read_model import Profiles
from profilectl.rules.batch import Reading, read_document
from profilectl.rules.batch_fields import field_named
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.values import NotJson, parse_json
from profilectl.store.engine import give_arrow
from profilectl.store.scratch import Scratch

if TYPE_CHECKING:
    from profilectl.reading.lookup import Lookup

FAULTS = [("seq", "BIGINT"), ("line", "BIGINT"), ("fault", "VARCHAR")]
ROWS_AND_FAULTS = """
select cells_line.seq, cells_line.line, null::varchar as fault, {columns}
from cells_line
join (select rowid as seq, * from cells) as cells using (seq)
union all by name
select seq, line, fault
from fault
"""
JSON_ROWS = "select line as seq, * from asked_line"
LINES_OF_LIST = """
select seq, seq as line, null::varchar as fault, trim(c0, chr(13)) as c0
from asked_line
"""


def read_file(profiles: Profiles, path: Path, request: Lookup) -> list[str]:
    """Make `asked` of a file, and return the kind of each of its columns (kind_of_column).

    Raises InputRefused for a file that is not understood.
    """
    scratch = profiles.store.scratch
    name = "-" if request.piped else str(path)
    if path.is_file() and not path.stat().st_size:
        if request.kind is None:
            raise InputRefused(
                f"{name} is empty",
                "name the columns in the first line, or say --type email for a list",
            )
        load_lines(scratch, [])
        return [request.kind]
    if _is_parquet(path):
        raise InputRefused(
            f"{name} is Parquet: a look-up reads CSV, JSON lines and lists",
            "write its identities as CSV",
        )
    file = _open_file(scratch, path, name=name, request=request)
    if request.kind is not None:
        load_lines(scratch, _text_of(name, file).split("\n"))
        return [request.kind]
    if format_named(file.name) == "jsonl":
        return _read_json_lines(scratch, _text_of(name, file), profiles.store.settings().reading)
    return _read_csv(scratch, name, file, delimiter=request.delimiter)


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as content:
            return content.read(4) == b"PAR1"
    except OSError:
        return False  # _open_file reports it


def _open_file(scratch: Scratch, path: Path, *, name: str, request: Lookup) -> InputFile:
    """Return the one file that a path holds, unpacked."""
    with path.open("rb") if request.piped else contextlib.nullcontext() as stdin:
        (file, *more) = open_files(
            [Named(name)],
            format="csv",
            encoding=request.encoding,
            spill=scratch.folder,
            stdin=stdin,
            max_unpacked=request.max_unpacked,
        ).files
    if more:
        raise InputRefused(f"{name} holds several files", "look them up one by one")
    check_utf8(name, file.local)
    return file


def _text_of(name: str, file: InputFile) -> str:
    check_memory(name, file.local, "look it up in parts")
    return file.local.read_text("utf-8-sig")


def _read_csv(scratch: Scratch, name: str, file: InputFile, *, delimiter: str | None) -> list[str]:
    """Make `asked` of a CSV file with a header."""
    header = read_header(file, dialect_of(delimiter))
    kinds = [kind_of_column(column) for column in header.names]
    if not any(kinds):
        raise InputRefused(
            f"{name}:{header.line}: no column is an identity: {', '.join(map(repr, header.names))}",
            "name them as for an import, name the --delimiter, or say --type email for a list",
        )
    for kind in kinds:
        if kind and kinds.count(kind) > 1:
            raise InputRefused(
                f"{name}:{header.line}: several columns are {kind}",
                "a line is looked up by one identity of a type: take one away",
            )
    rejects: list[Reject] = []
    rows = read_rows(scratch.connection, file, header=header, table="cells", reject=rejects.append)
    # in seq after all rows that could be read; the answers go by line first
    faults = [
        (rows.count + place, reject.line, f"{reject.code}: {reject.message}")
        for place, reject in enumerate(rejects)
    ]
    scratch.load("fault", FAULTS, faults)
    columns = ", ".join(f"c{place}" for place in range(len(kinds)))
    scratch.make("asked", ROWS_AND_FAULTS.format(columns=columns))
    return kinds


def _read_json_lines(scratch: Scratch, text: str, reading: Reading) -> list[str]:
    """Make `asked` of batches or flat rows, of which only the identities and the MPID count."""
    rows: list[tuple[int, str | None, dict[str, str]]] = []
    kinds: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        cells: dict[str, str] = {}
        fault = None
        try:
            batch = read_document(parse_json(line), reading)
        except UnusableRow as error:
            fault = f"{error.code}: {sentence(error.code)}"
        except NotJson as error:
            fault = f"{error.code}: {error.detail}"
        else:
            cells = {identity.type: identity.value for identity in batch.identities}
            if batch.mpid is not None:
                cells["mpid"] = str(batch.mpid)
        kinds |= dict.fromkeys(cells)
        rows.append((number, fault, cells))
    names = list(kinds) or ["mpid"]
    columns = [("line", "BIGINT"), ("fault", "VARCHAR")]
    columns += [(f"c{place}", "VARCHAR") for place in range(len(names))]
    lines = [[number, fault, *(cells.get(name) for name in names)] for number, fault, cells in rows]
    scratch.load("asked_line", columns, lines)
    scratch.make("asked", JSON_ROWS)
    return names


def kind_of_column(name: str) -> str:
    """Return the identity type that a column is, "mpid", or "" for any other column."""
    if name == "mpid":
        return name
    try:
        column = field_named(name)
    except UnusableRow:
        return ""
    return column.name if column.kind == "identity" else ""


def load_lines(scratch: Scratch, lines: Sequence[str]) -> None:
    """Make `asked` of the lines of a list; an empty text after the last line end is no line."""
    import pyarrow

    values = lines[:-1] if lines and not lines[-1] else lines
    places = pyarrow.array(range(1, len(values) + 1))
    table = pyarrow.table({"seq": places, "c0": pyarrow.array(values, pyarrow.string())})
    give_arrow()
    scratch.connection.register("asked_line", table)
    scratch.make("asked", LINES_OF_LIST)
    scratch.connection.unregister("asked_line")
