"""The original text of rows that turned out unusable after they were staged."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, repeat
from operator import itemgetter
from typing import TextIO

from profilectl.codes import Reject
from profilectl.importing.stage.json.elements import of_element
from profilectl.importing.stage.rejected_texts import write_rejected_lines
from profilectl.importing.stage.staged import (
    RAW_SHOWN,
    RejectedRow,
    Rejects,
    Staged,
    StagedFile,
)
from profilectl.importing.stage.template import SqlTemplate
from profilectl.store.scratch import Scratch

BLOCK = 20_000
"""How many rows of Parquet are read again at once: the file is read anew for each block."""
_ENDLESS = 1 << 62

# The rejected rows of a file, and the lines at which they begin.
REJECTED_LINES = SqlTemplate("""
select place.line, rejected.code, rejected.detail, rejected.seq
from rejected
join {places} as place on place.seq + {offset} = rejected.seq
""")

# The same of a file in which the line of a row follows from its place.
REJECTED_PLACES = SqlTemplate("""
select seq - {offset} + {first_line} as line, code, detail, seq
from rejected
where seq between {offset} and {offset} + {span} - 1
""")

# The rejected elements of a JSON document, with their texts.
REJECTED_ELEMENTS = SqlTemplate("""
select place.seq, place.line, place.col, rejected.code, rejected.detail, element.line[:{shown}]
from rejected
join {places} as place on place.seq + {offset} = rejected.seq
join {elements} as element on element.rowid = place.seq
order by place.seq
""")

# Rows of Parquet as JSON, by their numbers.
ROWS_OF_PARQUET = SqlTemplate("""
select row, raw
from ({rows})
where row in (select unnest($rows::bigint[]))
""")

# The line at which the next row begins, for the rows that begin at some lines.
NEXT_LINES = SqlTemplate("""
select line, next
from (
  select line, lead(line) over (order by line) as next
  from (select distinct line from {lines} as lines)
)
where line in (select unnest($lines::bigint[])) and next is not null
""")


def reject_rows(scratch: Scratch, staged: Staged, rejects: Rejects) -> None:
    """Write down the rows of the relation `rejected`, each with the text it was read from."""
    for file, offset in zip(staged.files, staged.offsets, strict=True):
        if file.elements:
            _reject_elements(scratch, file, offset, rejects=rejects)
            continue
        rejected = _rejected_lines(file, offset)
        if write_rejected_lines(scratch, file, rejects, rejected=rejected):
            continue
        in_order = sorted(scratch.rows(rejected), key=itemgetter(3))
        rows = [RejectedRow(line, code, detail) for line, code, detail, _ in in_order]
        texts = _texts(scratch, file, [row.place for row in rows])
        shown = (text[:RAW_SHOWN] for text in texts)
        rejects.add_staged(file.name, rows, shown, unit=file.unit)


def _rejected_lines(file: StagedFile, offset: int) -> str:
    """Return the SELECT of the rejected rows of a file: line, code, detail and seq."""
    if file.lines is None:
        return REJECTED_PLACES(offset=offset, first_line=file.first_line, span=file.span)
    return REJECTED_LINES(places=file.lines, offset=offset)


def _reject_elements(scratch: Scratch, file: StagedFile, offset: int, *, rejects: Rejects) -> None:
    """Write down the rejected elements of a JSON document."""
    rows = scratch.rows(
        REJECTED_ELEMENTS(shown=RAW_SHOWN, places=file.lines, offset=offset, elements=file.elements)
    )
    for seq, line, column, code, detail, raw in rows:
        message = detail or ""
        if file.span > 1:
            message = of_element(seq, line, column, detail=message)
        rejects.add(Reject(file.name, line, code, raw=raw, detail=message), late=True)


def _texts(scratch: Scratch, file: StagedFile, lines: list[int]) -> Iterator[str]:
    """Yield the text of each line; several rows of one line, side by side, have the same."""
    if file.lines is None:
        yield from _texts_of(scratch, file, lines)
        return
    groups = [(line, len(list(same))) for line, same in groupby(lines)]
    texts = _texts_of(scratch, file, [line for line, _ in groups])
    for text, (_, size) in zip(texts, groups, strict=True):
        yield from repeat(text, size)


def _texts_of(scratch: Scratch, file: StagedFile, lines: list[int]) -> Iterator[str]:
    if file.raw:
        return _rows_of_parquet(scratch, file.raw, lines)
    if file.lines is not None and file.format == "csv":
        return _records(scratch, file, file.lines, lines=lines)
    return _single_lines(file, lines)


def _rows_of_parquet(scratch: Scratch, raw: str, rows: list[int]) -> Iterator[str]:
    """Read rows of Parquet again, each as the JSON of what was read."""
    from profilectl.importing.stage.parquet.source import by_values

    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        with by_values(scratch):
            texts = dict(scratch.rows(ROWS_OF_PARQUET(rows=raw), {"rows": block}))
        yield from (texts[row] for row in block)


def _single_lines(file: StagedFile, lines: list[int]) -> Iterator[str]:
    """Read again physical lines, each of which is a row."""
    begins = iter(lines)
    line = next(begins, 0)
    if not line:
        return
    with _physical_lines(file) as content:
        for number, physical in enumerate(content, start=1):
            if number == line:
                yield physical.rstrip("\r\n")
                line = next(begins, 0)
                if not line:
                    return


def _records(
    scratch: Scratch, file: StagedFile, relation: str, *, lines: list[int]
) -> Iterator[str]:
    """Read again the physical lines from which rows begin. relation: of all rows (seq, line).

    A row goes up to where its record ends, or the next row begins at the latest: what lies between
    may be another row, rejected before.
    """
    if not lines:
        return
    ends = dict(scratch.rows(NEXT_LINES(lines=relation), {"lines": lines}))
    begins = iter(lines)
    line = next(begins)
    text: list[str] = []
    quotes, whole = 0, False
    with _physical_lines(file) as content:
        for number, physical in enumerate(content, start=1):
            while number >= ends.get(line, _ENDLESS):
                yield "".join(text).rstrip("\r\n")
                text, quotes, whole = [], 0, False
                following = next(begins, None)
                if following is None:
                    return
                line = following
            if number >= line and not whole and sum(map(len, text)) < RAW_SHOWN:
                text.append(physical)
                quotes += file.dialect.quotes_in(physical)
                whole = quotes % 2 == 0
    yield "".join(text).rstrip("\r\n")


def _physical_lines(file: StagedFile) -> TextIO:
    return file.path.open(encoding="utf-8-sig", errors="backslashreplace", newline="")
