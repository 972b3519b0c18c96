"""The history of imports as an export: one line or row for each import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from profilectl.reading.extract import Extract, csv_line
from profilectl.rules.counts import Past
from profilectl.store.history import history_of, import_numbered
from profilectl.store.store import OpenStore

# The columns of the export, with their types in SQL.
COLUMNS = {
    "import": "BIGINT",
    "feed": "VARCHAR",
    "source": "VARCHAR",
    "protection": "VARCHAR",
    "environment": "VARCHAR",
    "started_ms": "BIGINT",
    "finished_ms": "BIGINT",
    "made_by": "VARCHAR",
    "undone_ms": "BIGINT",
    "rows": "BIGINT",
    "applied": "BIGINT",
    "dropped": "BIGINT",
    "rejected": "BIGINT",
    "files": "VARCHAR",
}
NUMBERS = tuple(name for name, kind in COLUMNS.items() if kind == "BIGINT")
CSV_LINES = "select {columns} from past order by place"


def import_extract() -> Extract:
    """Return the columns of the export; it has no SELECT."""
    return Extract(tuple(COLUMNS), None, lambda condition: condition, numbers=NUMBERS)


def import_rows(
    store: OpenStore, *, since: int | None, format: str, safe: bool
) -> list[Sequence[Any]]:
    """Return the rows of the export, as the writer of a format takes them.

    since: only imports after this one; safe: a spreadsheet that opens the CSV runs nothing of it.
    Raises InputRefused where the import of `since` is not there.
    """
    if since:
        import_numbered(store, since)
    imports = [past for past in history_of(store) if since is None or past.number > since]
    if format == "jsonl":
        return [[orjson.dumps(past.as_json()).decode()] for past in imports]
    rows: list[Sequence[Any]] = [_cells(past) for past in imports]
    if format != "csv":
        return rows
    scratch = store.scratch
    placed = [[place, *row] for place, row in enumerate(rows)]
    scratch.load("past", [("place", "BIGINT"), *COLUMNS.items()], placed)
    line = csv_line(tuple(COLUMNS), NUMBERS, safe=safe)
    return [list(row) for row in scratch.rows(CSV_LINES.format(columns=line))]


def _cells(past: Past) -> list[Any]:
    """Return the cells of an import, in the order of COLUMNS."""
    counts = past.report["rows"]
    return [
        past.number,
        past.feed,
        past.source,
        past.protection,
        past.environment,
        past.started_ms,
        past.finished_ms,
        past.made_by,
        past.undone_ms,
        counts["read"],
        counts["applied"],
        counts["dropped"],
        counts["rejected"],
        "\n".join(file["path"] for file in past.report["files"]),
    ]
