"""JSON lines and JSON documents -> staged rows, every number digit for digit.

There are two ways, and they agree. DuckDB takes a file's lines apart all at once and then accounts
for every byte of each line (line_parts.py). A line that does not balance (a number with a fraction,
an escape, an unusual field, a fault) is read in Python by profilectl.rules.batch, which says what a
line means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from profilectl.files import progress
from profilectl.importing.stage.columns import meanings_of
from profilectl.importing.stage.events.event_lines import stage_events
from profilectl.importing.stage.events.regular_events import cut_events, events_cut
from profilectl.importing.stage.json.elements import PLACE, Block, Places, elements
from profilectl.importing.stage.json.line_blanks import without_blanks
from profilectl.importing.stage.json.line_layout import Layout, layout_of, take_laid_out
from profilectl.importing.stage.json.line_members import LineMember, choose_members
from profilectl.importing.stage.json.line_parts import take_apart
from profilectl.importing.stage.json.line_reader import LineReader, physical_lines
from profilectl.importing.stage.source.encoding import check_utf8
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.source.lines import LINE_ENDS, LINES_OF_FILE
from profilectl.importing.stage.source.unpacking import check_memory
from profilectl.importing.stage.staged import BatchRows, StagedFile
from profilectl.importing.stage.task import StageTask
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.batch import Reading
from profilectl.rules.batch_fields import BatchField, Columns, is_unknown_reserved
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.engine import duckdb
from profilectl.store.scratch import Scratch

SEPARATOR = "\x1d"
"""Between the texts of elements; no text that is JSON has it."""
_LINE = [("line", "VARCHAR")]

# How many lines there are, and how many bytes with their line ends.
SIZE_OF_LINES = SqlTemplate("""
select count(*), coalesce(sum(strlen(line) + 1), 0)::bigint
from {lines}
""")
# The lines where none is cut.
WHOLE_LINES = SqlTemplate("(select rowid as seq, line, false as cut from {lines})")
# How many rows a query has.
COUNT = SqlTemplate("select count(*) from ({rows})")
# A relation as it is.
ALL_OF = SqlTemplate("select * from {relation}")

# The lines that are read one by one: all of them, or those that could not be taken apart.
EVERY_LINE = SqlTemplate("select rowid from {lines} order by rowid")
# The lines of which not every byte was accounted for.
LINES_NOT_APART = SqlTemplate("select seq from {fast} where not ok order by seq")
# The lines that are not laid out as most are. If they could be taken apart all the same, that
# replaces what was read of them.
OTHER_LINES = SqlTemplate("""
(
  select *
  from {lines}
  where seq in (select seq from {fast} where not ok)
)
""")
DROP_OTHERS = SqlTemplate("delete from {fast} where not ok")
ADD_OTHERS = SqlTemplate("insert into {fast} by name select * from {rest}")
# The texts of some lines. The bounds let DuckDB skip blocks of rows.
TEXTS_OF_LINES = SqlTemplate("""
select rowid, line
from {lines}
where rowid between $first and $last
  and rowid in (select unnest($places::bigint[]))
order by rowid
""")

# The staged rows: those read one by one, and those taken apart.
SLOW_ROWS = SqlTemplate("select {columns} from {slow}")
# Those that were taken apart.
FAST_ROWS = SqlTemplate("select {columns} from {fast} where ok")
# What reading a line left out: attributes, and what is worth knowing.
SKIPPED_ATTRIBUTES = SqlTemplate("select seq, code, attribute from {skips} where type is null")
# ... and identities that are nobody's.
SKIPPED_IDENTITIES = SqlTemplate("""
select seq, code, type, value
from {skips}
where type is not null
""")
# A reserved key that nobody knows, in the lines taken apart.
RESERVED_KEY = SqlTemplate("""
select seq, 'UA_RESERVED_UNKNOWN' as code, {attribute} as attribute
from {fast}
where ok and {column} is not null
""")

# The texts of elements, and their places.
INSERT_TEXTS = SqlTemplate("""
insert into {lines}
select unnest(string_split($texts, $separator))
""")
# Numbers as one text that is split again, for the same reason as texts.
INSERT_PLACES = SqlTemplate("""
insert into {places}
select unnest(range($first, $end)), unnest(string_split($lines, ',')::bigint[]),
       unnest(string_split($columns, ',')::bigint[])
""")
ONE_BY_ONE_S = 0.3
"""The seconds of a million lines read in Python, for each byte of a line."""


def read_lines(
    task: StageTask, reading: Reading, mapped: Mapping[str, BatchField] | None = None
) -> StagedFile:
    """Stage a file of JSON lines. mapped: what the names in flat rows mean."""
    file, name, scratch = task.file, task.name, task.scratch
    rows = BatchRows.create(scratch, f"{name}_slow", task.keys)
    columns = Columns(mapped, reading.unknown)
    with_columns = replace(reading, columns=columns)
    reader = LineReader(file.name, rows, with_columns, rejects=task.rejects)
    lines = _read_whole_lines(scratch, file, f"{name}_lines")
    if lines is None:
        for number, raw in physical_lines(file):
            reader.read(number, raw)
            if number % rows.BLOCK == 0:
                task.progress(number)
        rows.flush()
        staged = staged_lines(file, name, [], rows=rows, lines=reader.lines_read)
    else:
        task.progress(lines)
        staged = _read_relation(task, reader, lines)
        scratch.drop(f"{name}_lines")
    # Blank lines and rejected ones are no rows of the relation.
    count = int(scratch.row(COUNT(rows=staged.select))[0])
    return replace(staged, rows=count, meaning=meanings_of(columns))


def read_document_file(
    task: StageTask, reading: Reading, mapped: Mapping[str, BatchField] | None = None
) -> StagedFile:
    """Stage a JSON document: one batch, or an array of batches (design.md R17).

    Raises InputRefused.
    """
    file, name, scratch = task.file, task.name, task.scratch
    check_memory(file.name, file.local, "write it as JSON lines, a batch each")
    text = text_of(file)
    places = Places()
    scratch.load(f"{name}_lines", _LINE, [])
    scratch.load(f"{name}_place", PLACE, [])
    for block in elements(file.name, text):
        _load_block(scratch, name, len(places.lines), block=block)
        places.lines.extend(block.lines)
        places.columns.extend(block.columns)
    rows = BatchRows.create(scratch, f"{name}_slow", task.keys)
    columns = Columns(mapped, reading.unknown)
    with_columns = replace(reading, columns=columns)
    reader = LineReader(file.name, rows, with_columns, rejects=task.rejects, places=places)
    staged = _read_relation(task, reader, len(places.lines))
    return replace(
        staged,
        rows=int(scratch.row(COUNT(rows=staged.select))[0]),
        lines=f"{name}_place",
        elements=f"{name}_lines",
        meaning=meanings_of(columns),
    )


def staged_lines(
    file: InputFile,
    name: str,
    members: list[LineMember],
    *,
    rows: BatchRows,
    lines: int,
    events: Sequence[str] = (),
) -> StagedFile:
    """Return what a file of lines becomes.

    members: what was found in the lines that were taken apart. rows: those read one by one. events:
    SELECTs of the events of the first.
    """
    of_kind = {
        kind: {member.column for member in members if member.kind == kind}
        for kind in ("attribute", "identity", "plain")
    }
    columns = sorted(of_kind["attribute"] | set(rows.columns))
    identities = sorted({column[2:] for column in of_kind["identity"]} | rows.identities)
    plain = sorted(of_kind["plain"] | rows.plain)
    selected = ["seq", *plain, *(f"i_{kind}" for kind in identities), *columns]
    own = {"seq", *rows.columns, *rows.plain, *(f"i_{kind}" for kind in rows.identities)}
    select = SLOW_ROWS(columns=_columns_or_null(selected, own), slow=rows.name)
    if members:
        own = {"seq", *(member.column for member in members)}
        fast = FAST_ROWS(columns=_columns_or_null(selected, own), fast=f"{name}_fast")
        select = f"{fast}\nunion all\n{select}"
    return StagedFile(
        name=file.name,
        sha256=file.sha256,
        format=file.format,
        select=select,
        span=lines,
        rows=lines,
        columns=columns,
        plain=plain,
        identities=identities,
        loose=rows.loose if rows.has_loose else None,
        skips=[SKIPPED_ATTRIBUTES(skips=rows.skips), *_reserved(f"{name}_fast", members)],
        skipped=[SKIPPED_IDENTITIES(skips=rows.skips)],
        path=file.local,
        events=[*events, *([ALL_OF(relation=rows.events)] if rows.has_events else [])],
    )


def _columns_or_null(columns: Sequence[str], own: set[str]) -> str:
    """Return the columns of a SELECT; those that a relation lacks are null."""
    return ", ".join(column if column in own else f"null as {column}" for column in columns)


def _reserved(fast: str, members: Sequence[LineMember]) -> list[str]:
    """Return the SELECTs of the reserved keys that nobody knows, in the lines taken apart."""
    return [
        RESERVED_KEY(attribute=quote_text(member.key), fast=fast, column=member.column)
        for member in members
        if member.kind == "attribute" and is_unknown_reserved(member.key)
    ]


def _read_relation(task: StageTask, reader: LineReader, count: int) -> StagedFile:
    """Stage the texts of the relation NAME_lines (line; its rowid is the seq).

    The lines that can be taken apart are so all at once; the others are read one by one.
    """
    scratch, name, rows = task.scratch, task.name, reader.rows
    lines, fast = f"{name}_lines", f"{name}_fast"
    events: list[str] = []
    in_order = is_cut = False
    members = choose_members(scratch, lines, task.keys, reading=reader.reading)
    has_events = any(member.kind == "events" for member in members)
    if members:
        bare = without_blanks(scratch, lines, f"{name}_bare")
        is_cut = has_events and cut_events(
            scratch, bare, sampled=lines, short=f"{name}_short", table=f"{name}_cut"
        )
        source = f"{name}_short" if is_cut else WHOLE_LINES(lines=bare)
        blank = " " if bare != lines and not is_cut else ""
        layout = layout_of(scratch, lines, members, blank=blank)
        if not _take_lines(task, source, members, layout=layout, reading=reader.reading):
            members = []
    if members and has_events:
        if stage_events(scratch, fast, f"{name}_event"):
            events.append(ALL_OF(relation=f"{name}_event"))
        if is_cut:
            select, every = events_cut(scratch, fast, f"{name}_cut")
            in_order = every and not events
            events.append(select)
    scratch.drop(f"{name}_short")
    scratch.drop(f"{name}_bare")
    one_by_one = LINES_NOT_APART(fast=fast) if members else EVERY_LINE(lines=lines)
    _read_one_by_one(scratch, lines, [seq for (seq,) in scratch.rows(one_by_one)], reader=reader)
    rows.flush()
    staged = staged_lines(task.file, name, members, rows=rows, lines=count, events=events)
    return replace(staged, events_in_order=in_order and not rows.has_events)


def _take_lines(
    task: StageTask,
    source: str,
    members: list[LineMember],
    *,
    layout: Layout | None,
    reading: Reading,
) -> bool:
    """Make NAME_fast of the lines (seq, line, cut); False: none can be taken apart at once.

    layout: how most lines are laid out.
    """
    scratch, fast, apart = task.scratch, f"{task.name}_fast", f"{task.name}_rest"
    lines = source
    if layout is not None and layout.blank:
        # With their blanks, which the layout has too: to take them away takes as long again.
        lines = WHOLE_LINES(lines=f"{task.name}_lines")
    if layout is None or not take_laid_out(
        scratch, lines, table=fast, layout=layout, members=members, reading=reading
    ):
        return take_apart(scratch, source, table=fast, members=members, reading=reading)
    if scratch.row(COUNT(rows=LINES_NOT_APART(fast=fast)))[0]:
        other_lines = OTHER_LINES(lines=source, fast=fast)
        if take_apart(scratch, other_lines, table=apart, members=members, reading=reading):
            scratch.run(DROP_OTHERS(fast=fast))
            scratch.run(ADD_OTHERS(fast=fast, rest=apart))
            scratch.drop(apart)
    return True


def _read_one_by_one(
    scratch: Scratch, lines: str, places: list[int], *, reader: LineReader
) -> None:
    """Read the lines at some places in Python."""
    if progress.is_watched() and places:
        count, length = scratch.row(SIZE_OF_LINES(lines=lines))
        progress.weigh("one_by_one", len(places) / count * length / count * ONE_BY_ONE_S)
        progress.step("one_by_one")
    for start in range(0, len(places), BatchRows.BLOCK):
        progress.span(start / len(places), min(1, (start + BatchRows.BLOCK) / len(places)))
        block = places[start : start + BatchRows.BLOCK]
        texts = scratch.rows(
            TEXTS_OF_LINES(lines=lines), {"first": block[0], "last": block[-1], "places": block}
        )
        for seq, line in texts:
            reader.read(seq + 1, (line or "").encode())


def _read_whole_lines(scratch: Scratch, file: InputFile, table: str) -> int | None:
    """Read all lines at once; return their number, None where not every byte is accounted for."""
    try:
        scratch.make(
            table, LINES_OF_FILE(path=quote_text(str(file.local)), line_end=LINE_ENDS[b"\n"])
        )
    except duckdb.PermissionException:
        raise  # no file can cause this: see csv.csv
    except duckdb.Error:
        return None
    count, length = scratch.row(SIZE_OF_LINES(lines=table))
    with file.local.open("rb") as content:
        content.seek(0, 2)
        size = content.tell()
        # The last line may lack its line end, which SIZE_OF_LINES counts all the same.
        content.seek(max(size - 1, 0))
        size += content.read(1) != b"\n"
    if size != length:
        scratch.drop(table)
        return None
    return int(count)


def text_of(file: InputFile) -> str:
    """Return the text of a JSON document. Raises InputRefused where it is not UTF-8."""
    try:
        with file.local.open(encoding="utf-8-sig", newline="") as content:
            return content.read()
    except UnicodeDecodeError:
        check_utf8(file.name, file.local, importing=True, whole=True)
        raise


def _load_block(scratch: Scratch, name: str, begin: int, *, block: Block) -> None:
    """Add elements to the relations of their texts and places. begin: the seq of the first."""
    joined = SEPARATOR.join(block.texts)
    # One text that is split again costs a tenth of a list.
    if joined.count(SEPARATOR) == len(block.texts) - 1:
        scratch.run(INSERT_TEXTS(lines=f"{name}_lines"), {"texts": joined, "separator": SEPARATOR})
    else:
        scratch.append(f"{name}_lines", _LINE, [(text,) for text in block.texts])
    scratch.run(
        INSERT_PLACES(places=f"{name}_place"),
        {
            "first": begin,
            "end": begin + len(block.texts),
            "lines": ",".join(map(str, block.lines)),
            "columns": ",".join(map(str, block.columns)),
        },
    )
