"""The original text of rows that turned out unusable after they were staged."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, repeat

from profilectl.codes import Reject
from profilectl.importing.stage.json.elements import said_of_element
from profilectl.importing.stage.staged import Rejects, Staged, StagedFile
from profilectl.store.scratch import Scratch

RAW_SHOWN = 64 * 1024


def reject_rows(scratch: Scratch, staged: Staged, rejects: Rejects) -> None:
    """Write down the rows of the relation `rejected`, each with the text it was read from."""
    for file, offset in zip(staged.files, staged.offsets, strict=True):
        lines = (
            file.lines
            or f"(select unnest(range({file.span})) as seq, unnest(range({file.span})) + {file.first_line} as line)"
        )
        found = scratch.rows(
            f"select rejected.seq, lines.line, rejected.code, rejected.detail from rejected join {lines} as lines"
            f" on lines.seq + {offset} = rejected.seq order by rejected.seq"
        )
        if file.elements:
            _reject_elements(scratch, file, offset, rejects)
            continue
        texts = _texts(scratch, file, [line for _, line, _, _ in found])
        for (_, line, code, detail), raw in zip(found, texts, strict=True):
            rejects.add(
                Reject(file.name, line, code, raw[:RAW_SHOWN], detail or ""),
                late=True,
                unit=file.unit,
            )


def _reject_elements(scratch: Scratch, file: StagedFile, offset: int, rejects: Rejects) -> None:
    """Write down the rejected elements of a JSON document."""
    found = scratch.rows(
        f"select place.seq, place.line, place.col, rejected.code, rejected.detail, text.line[:{RAW_SHOWN}] from rejected"
        f" join {file.lines} as place on place.seq + {offset} = rejected.seq join {file.elements} as text on text.rowid = place.seq order by place.seq"
    )
    for seq, line, column, code, detail, raw in found:
        said = said_of_element(seq, line, column, detail or "") if file.span > 1 else detail or ""
        rejects.add(Reject(file.name, line, code, raw, said), late=True)


def _texts(scratch: Scratch, file: StagedFile, lines: list[int]) -> Iterator[str]:
    """Return the text of each line; of several rows in a row that are of one line, it is the same."""
    groups = [(line, len(list(same))) for line, same in groupby(lines)]
    for text, (_, size) in zip(
        _texts_of(scratch, file, [line for line, _ in groups]), groups, strict=True
    ):
        yield from repeat(text, size)


def _texts_of(scratch: Scratch, file: StagedFile, lines: list[int]) -> Iterator[str]:
    if file.raw:
        return _columnar(scratch, file.raw, lines)
    return _physical(scratch, file, lines)


def _columnar(scratch: Scratch, raw: str, rows: list[int]) -> Iterator[str]:
    """Read rows of a file of columns again, each as the JSON of what was read."""
    from profilectl.importing.stage.parquet.parquet import by_values

    for start in range(0, len(rows), 1000):
        with by_values(scratch):
            found = dict(
                scratch.rows(
                    f"select row, raw from ({raw}) where row in (select unnest($rows::bigint[]))",
                    {"rows": rows[start : start + 1000]},
                )
            )
        yield from (found[row] for row in rows[start : start + 1000])


def _physical(scratch: Scratch, file: StagedFile, lines: list[int]) -> Iterator[str]:
    """Read again the physical lines from which rows begin, up to where the record ends, or the next
    row begins at the latest: what lies between may be another row, rejected before.
    """
    if not lines:
        return
    ends: dict[int, int] = {}
    several = file.lines is not None and file.format == "csv"  # a record may go over several lines
    if several:
        ends = dict(
            scratch.rows(
                "select line, next from (select line, lead(line) over (order by line) as next from (select distinct line from "
                f"{file.lines} as lines)) where line in (select unnest($lines::bigint[])) and next is not null",
                {"lines": lines},
            )
        )
    wanted = iter(lines)
    line = next(wanted)
    text: list[str] = []
    quotes, whole = 0, False
    with file.path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as content:
        for number, physical in enumerate(content, start=1):
            while number >= ends.get(line, 1 << 62 if several else line + 1):
                yield "".join(text).rstrip("\r\n")
                text, quotes, whole = [], 0, False
                following = next(wanted, None)
                if following is None:
                    return
                line = following
            if number >= line and not whole and sum(map(len, text)) < RAW_SHOWN:
                text.append(physical)
                quotes += file.dialect.quotes_in(physical)
                whole = file.format != "csv" or quotes % 2 == 0
    yield "".join(text).rstrip("\r\n")
