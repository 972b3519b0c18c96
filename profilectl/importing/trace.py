"""What became of single rows: where each stands in its file, and every code said of it.

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
from profilectl.importing.commit import remarks
from profilectl.importing.merge import Merged
from profilectl.importing.stage.run import Staged
from profilectl.importing.stage.staged import Rejects, place_of
from profilectl.rules.identity import NAME
from profilectl.rules.priority import SET
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch

BLOCK = 50_000


def located(staged: Staged, rows: str) -> str:
    """Return the SELECT of some rows (a SELECT with seq) with file and line beside them."""
    parts = []
    for file, offset in zip(staged.files, staged.offsets, strict=True):
        within = (
            f"from ({rows}) as one where one.seq >= {offset} and one.seq < {offset + file.span}"
        )
        if file.lines is None:
            parts.append(
                f"select one.*, {quote_text(file.name)} as file, one.seq - {offset} + {file.first_line} as line {within}"
            )
        else:
            parts.append(
                f"select one.*, {quote_text(file.name)} as file, lines.line from ({rows}) as one"
                f" join {file.lines} as lines on lines.seq + {offset} = one.seq"
            )
    return " union all ".join(parts)


def row_codes(scratch: Scratch, staged: Staged, merged: Merged) -> str:
    """Return the SELECT of (seq, code, attribute, type, value): what was said of each row that was
    staged and not rejected.
    """
    parts = [
        remarks(scratch),
        "select seq, code, null, null, null from dropped",
        "select seq, code, null, null, null from resolved where code is not null",
    ]
    parts += [
        f"select seq, w{n}, {quote_text(key)}, null, null from busy_row where w{n} <> '{SET}' and c{n} is not null"
        for n, key in enumerate(staged.keys)
    ]
    if merged.loose:
        parts.append(f"select seq, w, key, null, null from loose_cell where w <> '{SET}'")
    return " union all ".join(parts)


Traced = tuple[tuple[int, int, bool], bytes]
"""A line of the trace, and what it is sorted by: the place of its file, its line, rejected or not.
"""


def trace_rows(
    scratch: Scratch, staged: Staged, rejects: Rejects, merged: Merged, out: BinaryIO
) -> int:
    """Write one JSON line for each row and code, in order of file and line, and return how many."""
    places = {file.name: place for place, file in reversed(list(enumerate(staged.files)))}
    count = 0
    for _, line in merge(
        _rejected(staged, rejects, places),
        _coded(scratch, staged, merged, places),
        key=itemgetter(0),
    ):
        out.write(line)
        count += 1
    return count


def _rejected(staged: Staged, rejects: Rejects, places: Mapping[str, int]) -> Iterator[Traced]:
    """The rows that could not be used; they lie in order."""
    if not len(rejects):
        return
    units = {file.name: file.unit for file in staged.files}
    with rejects.path.open("rb") as lines:
        for line in lines:
            reject = json.loads(line)
            file, place = reject["file"], place_of(reject)
            yield (
                (places[file], place, False),
                _line(file, units, place, reject["code"], {}, reject["message"]),
            )


def _coded(
    scratch: Scratch, staged: Staged, merged: Merged, places: Mapping[str, int]
) -> Iterator[Traced]:
    """The other rows of which something was said."""
    units = {file.name: file.unit for file in staged.files}
    cursor = scratch.connection.execute(
        f"select file, line, code, attribute, type, value from ({located(staged, row_codes(scratch, staged, merged))})"
        " order by seq, code, attribute, type"
    )
    while block := cursor.fetchmany(BLOCK):
        for file, place, code, attribute, kind, value in block:
            subject = (
                {"attribute": attribute}
                if attribute is not None
                else {"type": NAME[kind], "value": value}
                if kind
                else {}
            )
            yield (places[file], place, True), _line(file, units, place, code, subject)


def _line(
    file: str,
    units: Mapping[str, str],
    place: int,
    code: str,
    subject: Mapping[str, str],
    message: str = "",
) -> bytes:
    """Return a line of the trace.

    subject: the attribute, or type and value of the identity, that the code is said of.
    """
    found = {
        "file": file,
        units.get(file, "line"): place,
        "code": code,
        "fate": CODES[code].fate.value,
        **subject,
        "message": message or sentence(code),
    }
    return orjson.dumps(found) + b"\n"


def first_rows(scratch: Scratch, staged: Staged, merged: Merged) -> dict[str, str]:
    """Return for each code where it was said first, as FILE:LINE."""
    first = (
        f"select code, min(seq) as seq from ({row_codes(scratch, staged, merged)}) group by code"
    )
    return {
        code: f"{file}:{line}"
        for code, file, line in scratch.rows(
            f"select code, file, line from ({located(staged, first)})"
        )
    }


def example_rows(
    scratch: Scratch, staged: Staged, rows: str, columns: Sequence[str]
) -> list[dict[str, object]]:
    """Return some rows (a SELECT with seq and columns) as dictionaries with file, and line or row,
    in order.
    """
    units = {file.name: file.unit for file in staged.files}
    select = f"select file, line, {', '.join(columns)} from ({located(staged, rows)}) order by seq"
    return [
        dict(zip(("file", units[row[0]], *columns), row, strict=True))
        for row in scratch.rows(select)
    ]
