"""What became of single rows: where each is in its file, and every code that it got.

The counts of a report say how many; this says which, by file and line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from operator import itemgetter
from typing import BinaryIO

import orjson

from profilectl.codes import CODES, sentence
from profilectl.importing.commit import make_remarks
from profilectl.importing.relations import Relations, fill, union_of
from profilectl.importing.stage.staged import Rejects, Staged, place_of
from profilectl.rules.identity import NAME
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch

ROWS_AT_ONCE = 50_000
"""How many lines of the trace are in memory at once."""

# Rows of one file, with their lines: they follow each other, or a relation says which each has.
LOCATED = """
select place.*, {file} as file, place.seq - {offset} + {first_line} as line
from ({rows}) as place
where place.seq >= {offset} and place.seq < {end}
"""
LOCATED_BY_LINES = """
select place.*, {file} as file, lines.line
from ({rows}) as place
join {lines} as lines on lines.seq + {offset} = place.seq
"""
REMARKS = "select seq, code, attribute, type, value from remark"
DROPPED = "select seq, code, null, null, null from dropped"
UNRESOLVED = "select seq, code, null, null, null from resolved where code is not null"
REFUSED_CELL = "select seq{columns} from contested_row cross join blocking_code as blocking"
REFUSAL = """
, case when o{n} = blocking.number then blocking.code end as code, {key} as attribute
"""
REFUSED_CELLS = "select seq, code, attribute, null, null from refused_cell where code is not null"
REFUSED_LOOSE = "select seq, w, key, null, null from loose_cell where w <> 'SET'"
ROW_CODES = "select * from row_code"
CODES_IN_ORDER = """
select file, line, code, attribute, type, value
from located_code
order by seq, code, attribute, type
"""
FIRST_CODE = "select code, min(seq) as seq from row_code group by code"
FIRST_PLACES = "select code, file, line from located_row"
EXAMPLES = "select file, line, {columns} from located_row order by seq"

TraceLine = tuple[tuple[int, int, bool], bytes]
"""A line of the trace, and what it is sorted by: the place of its file, its line, rejected or not.
"""


def located(staged: Staged, rows: str) -> str:
    """Return the SELECT of some rows (a SELECT with seq) with file and line beside them."""
    selects = []
    for file, offset in zip(staged.files, staged.offsets, strict=True):
        values = {"rows": rows, "file": quote_text(file.name), "offset": offset}
        if file.lines is None:
            end = offset + file.span
            select = fill(LOCATED, **values, first_line=file.first_line, end=end)
        else:
            select = fill(LOCATED_BY_LINES, **values, lines=file.lines)
        selects.append(select)
    return union_of(selects)


def make_row_codes(relations: Relations, staged: Staged) -> None:
    """Make `row_code`: each code of each row that was staged and not rejected."""
    make_remarks(relations)
    selects = [REMARKS, DROPPED, UNRESOLVED]
    refused = [
        REFUSED_CELL.format(columns=fill(REFUSAL, n=n, key=quote_text(key)))
        for n, key in enumerate(staged.keys)
    ]
    if refused:
        relations.make("refused_cell", union_of(refused), keep=False)
        selects.append(REFUSED_CELLS)
    if relations.has("loose_cell"):
        selects.append(REFUSED_LOOSE)
    relations.make("row_code", union_of(selects), keep=False)


def trace_rows(
    scratch: Scratch, relations: Relations, staged: Staged, *, rejects: Rejects, out: BinaryIO
) -> int:
    """Write one JSON line for each row and code, in order of file and line, and return how many.

    scratch: the database of the relations, from which a long result can be read in blocks.
    """
    make_row_codes(relations, staged)
    relations.make("located_code", located(staged, ROW_CODES), keep=False)
    # Of a file that was named twice the first place counts.
    places = {file.name: place for place, file in reversed(list(enumerate(staged.files)))}
    units = {file.name: file.unit for file in staged.files}
    count = 0
    for _, line in merge(
        _rejected(rejects, units, places),
        _coded(scratch, units, places),
        key=itemgetter(0),
    ):
        out.write(line)
        count += 1
    return count


def _rejected(
    rejects: Rejects, units: Mapping[str, str], places: Mapping[str, int]
) -> Iterator[TraceLine]:
    """Yield the rows that could not be used; the rejects are in order."""
    if not len(rejects):
        return
    with rejects.path.open("rb") as lines:
        for line in lines:
            reject = json.loads(line)
            file, place = reject["file"], place_of(reject)
            entry = {
                "file": file,
                units.get(file, "line"): place,
                "code": reject["code"],
                "fate": CODES[reject["code"]].fate.value,
                "message": reject["message"] or sentence(reject["code"]),
            }
            yield (places[file], place, False), orjson.dumps(entry) + b"\n"


def _coded(
    scratch: Scratch, units: Mapping[str, str], places: Mapping[str, int]
) -> Iterator[TraceLine]:
    """Yield the codes of the other rows; they are not all in memory at once."""
    cursor = scratch.connection.execute(CODES_IN_ORDER)
    while block := cursor.fetchmany(ROWS_AT_ONCE):
        for file, place, code, attribute, kind, value in block:
            # The attribute, or the identity, that the code is about.
            subject = {"type": NAME[kind], "value": value} if kind else {}
            if attribute is not None:
                subject = {"attribute": attribute}
            entry = {
                "file": file,
                units.get(file, "line"): place,
                "code": code,
                "fate": CODES[code].fate.value,
                **subject,
                "message": sentence(code),
            }
            yield (places[file], place, True), orjson.dumps(entry) + b"\n"


def first_rows(relations: Relations, staged: Staged) -> dict[str, str]:
    """Return for each code the first row that got it, as FILE:LINE."""
    make_row_codes(relations, staged)
    relations.make("located_row", located(staged, FIRST_CODE), keep=False)
    return {code: f"{file}:{line}" for code, file, line in relations.rows(FIRST_PLACES)}


def example_rows(
    relations: Relations, staged: Staged, rows: str, columns: Sequence[str]
) -> list[dict[str, object]]:
    """Return some rows as dictionaries with file, and line or row, in order.

    rows: a SELECT with seq and columns.
    """
    units = {file.name: file.unit for file in staged.files}
    relations.make("located_row", located(staged, rows), keep=False)
    select = EXAMPLES.format(columns=", ".join(columns))
    return [
        dict(zip(("file", units[row[0]], *columns), row, strict=True))
        for row in relations.rows(select)
    ]
