"""The original text of rows that turned out unusable after they were staged."""

from __future__ import annotations

from collections.abc import Iterator

from profilectl.codes import Reject
from profilectl.scratch import Scratch, quote_text
from profilectl.stage.staged import Rejects, Staged, StagedFile

RAW_SHOWN = 64 * 1024


def reject_rows(scratch: Scratch, staged: Staged, rejects: Rejects) -> None:
    """Write down the rows of the relation `rejected`, each with the text it was read from."""
    for file, offset in zip(staged.files, staged.offsets, strict=True):
        lines = file.lines or f"(select unnest(range({file.span})) as seq, unnest(range({file.span})) + {file.first_line} as line)"
        found = scratch.rows(
            f"select rejected.seq, lines.line, rejected.code, rejected.detail from rejected join {lines} as lines"
            f" on lines.seq + {offset} = rejected.seq order by rejected.seq"
        )
        texts = _texts(scratch, file, [line for _, line, _, _ in found])
        for (_, line, code, detail), raw in zip(found, texts, strict=True):
            rejects.add(Reject(file.name, line, code, raw[:RAW_SHOWN], detail or ""), late=True, unit=file.unit)


def _texts(scratch: Scratch, file: StagedFile, lines: list[int]) -> Iterator[str]:
    if file.format == "parquet":
        return _parquet_rows(scratch, file, lines)
    if file.unit == "row":
        return iter([""] * len(lines))
    return _physical(scratch, file, lines)


def _parquet_rows(scratch: Scratch, file: StagedFile, rows: list[int]) -> Iterator[str]:
    for start in range(0, len(rows), 1000):
        block = rows[start : start + 1000]
        yield from (
            text for (text,) in scratch.rows(
                f"select json_merge_patch(to_json(one), '{{\"file_row_number\":null}}')::varchar from read_parquet({quote_text(str(file.path))}, file_row_number = true, hive_partitioning = false) as one"
                " where file_row_number in (select unnest($rows::bigint[]) - 1) order by file_row_number",
                {"rows": block},
            )
        )


def _physical(scratch: Scratch, file: StagedFile, lines: list[int]) -> Iterator[str]:
    """Read again the physical lines from which rows begin, up to where the record ends, or the next row begins at the latest:
    what lies between may be another row, rejected before."""
    if not lines:
        return
    ends: dict[int, int] = {}
    if file.lines:
        ends = dict(
            scratch.rows(
                "select line, next from (select line, lead(line) over (order by seq) as next from "
                f"{file.lines} as lines) where line in (select unnest($lines::bigint[])) and next is not null",
                {"lines": lines},
            )
        )
    wanted = iter(lines)
    line = next(wanted)
    text: list[str] = []
    quotes, whole = 0, False
    with file.path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as content:
        for number, physical in enumerate(content, start=1):
            while number >= ends.get(line, line + 1 if not file.lines else 1 << 62):
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
