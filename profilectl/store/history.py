"""The imports a store has seen, and taking them back.

The last import is taken back by dropping its tables. An earlier one too, where no later import
rests on it (dependence.py); else the later ones go with it, newest first, or are made again without
it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from profilectl.codes import InputRefused, UsageError
from profilectl.files.whole_file import whole_file
from profilectl.rules.counts import Past
from profilectl.rules.feed import PROCESSED
from profilectl.store.store import OpenStore

DAY_MS = 24 * 60 * 60 * 1000


def history_of(store: OpenStore) -> list[Past]:
    """Return all imports, oldest first."""
    rows = store.scratch.rows(
        "select number, source, protection, environment, started_ms, finished_ms, made_by, undone_ms, undone_by,"
        " first_arrival, needs, report, request from store.import order by number"
    )
    laid_together = [one for one in store.segments() if one.first_import != one.last_import]
    found = []
    for row in rows:
        number, needs, report, request = row[0], *row[10:]
        document = json.loads(report)
        own = not any(one.first_import <= number <= one.last_import for one in laid_together)
        found.append(
            Past(
                number=number,
                feed=document["feed"],
                source=row[1],
                protection=row[2],
                environment=row[3],
                started_ms=row[4],
                finished_ms=row[5],
                made_by=row[6],
                undone_ms=row[7],
                undone_by=row[8],
                first_arrival=row[9],
                needs=tuple(needs) if needs is not None else None,
                undoable=own,
                report=document,
                request=json.loads(request) if request else None,
            )
        )
    return found


def import_numbered(store: OpenStore, number: int) -> Past:
    """Return one import. Raises UsageError where there is none of that number."""
    pasts = history_of(store)
    for past in pasts:
        if past.number == number:
            return past
    raise no_import(number, [past.number for past in pasts])


def no_import(number: int | str, there: Sequence[int]) -> UsageError:
    """Return what is said of an import that there never was."""
    listed = f"{' to '.join(map(str, dict.fromkeys((min(there), max(there)))))}; " if there else ""
    alone = "" if there else ", and no other"
    return UsageError(
        f"there is no import {number}{alone}", f"{listed}profilectl imports list lists them"
    )


def rejects_again(store: OpenStore, number: int, path: Path) -> list[str]:
    """Write the rejects of an import to a file, where there is none, as the import would have: it
    may have been killed after its commit and before that. Return what is to be said of it.
    Raises InputRefused where it cannot be written.
    """
    if (
        path.exists()
        or not store.scratch.row(
            "select count(*) from store.reject where import = $number", {"number": number}
        )[0]
    ):
        return []
    rows = store.scratch.rows(
        "select reject.file, file.unit, reject.line, reject.code, reject.message, reject.raw from store.reject as reject"
        " left join (select path, any_value(unit) as unit, min(place) as place from store.import_file where import = $number group by path) as file"
        " on file.path = reject.file where reject.import = $number order by file.place, reject.line, reject.rowid",
        {"number": number},
    )
    with whole_file(path, "--rejects") as out:
        for name, unit, line, code, message, raw in rows:
            out.write(
                orjson.dumps(
                    {
                        "file": name,
                        unit or "line": line,
                        "code": code,
                        "message": message,
                        "raw": raw,
                    }
                )
                + b"\n"
            )
    return [f"the rejects of import {number} are in {path}"]


def kept_out_of(store: OpenStore, number: int) -> dict[str, dict[str, Any]]:
    """Return the batches of an import that were processed and are nobody's, by code: batches,
    with_events, events, event_types. What their events were is not known of an import that an
    older version made.
    """
    first, arrivals = store.scratch.row(
        "select first_arrival, arrivals from store.import where number = $number",
        {"number": number},
    )
    rows = store.scratch.rows(
        "select one.code, coalesce(passed.events, 0), passed.types, count(*) from"
        " (select * from store.dropped where arrival >= $first and arrival < $end and list_contains($codes::varchar[], code)) as one"
        " left join store.passed on passed.arrival = one.arrival group by all order by all",
        {"first": first, "end": first + arrivals, "codes": list(PROCESSED)},
    )
    found: dict[str, dict[str, Any]] = {}
    for code, events, types, count in rows:
        one = found.setdefault(
            code, {"batches": 0, "with_events": 0, "events": 0, "event_types": {}}
        )
        one["batches"] += count
        one["with_events"] += count if events else 0
        one["events"] += events * count
        for kind, each in json.loads(types or "{}").items():
            one["event_types"][kind] = one["event_types"].get(kind, 0) + each * count
    return found


def as_of(store: OpenStore, stated: str) -> int:
    """Return the arrival that ends the state after an import (its number), or at a time
    (2026-11-23, with or without a time of day, UTC unless it says otherwise; an import counts
    from its start).

    Raises UsageError for what is neither, InputRefused for an import that is not in force.
    """
    every = history_of(store)
    pasts = [past for past in every if past.undone_ms is None]
    ends = dict(store.scratch.rows("select number, first_arrival + arrivals from store.import"))
    if stated.isascii() and stated.isdigit() and len(stated) < 10:
        if int(stated) not in {0, *(past.number for past in every)}:
            raise no_import(stated, [past.number for past in every])
        if int(stated) not in {0, *(past.number for past in pasts)}:
            raise InputRefused(
                f"there is no import {stated} in force",
                "profilectl imports list shows what is in force",
            )
        return max((ends[past.number] for past in pasts if past.number <= int(stated)), default=0)
    at_ms = time_ms("--as-of", stated, "the number of an import, or a time", "3, or 2026-11-23")
    if len(stated) == 10:  # a day means all of it
        at_ms += DAY_MS
    return max((ends[past.number] for past in pasts if past.started_ms <= at_ms), default=0)


def time_ms(option: str, stated: str, must_be: str = "a time", example: str = "2026-11-23") -> int:
    """Return a time that an option states, in milliseconds; UTC unless it says otherwise.

    Raises UsageError.
    """
    try:
        at = datetime.fromisoformat(stated)
    except ValueError:
        raise UsageError(
            f"{option} {stated}: must be {must_be}",
            f"for example {example}, or 2026-11-23T18:30:00Z",
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
