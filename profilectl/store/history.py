"""The imports that a store has seen, and the states that they left behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from profilectl.codes import InputRefused, UsageError
from profilectl.files.whole_file import whole_file
from profilectl.rules.counts import PastImport
from profilectl.rules.feed import PROCESSED
from profilectl.store.segments import is_final
from profilectl.store.store import OpenStore

DAY_MS = 24 * 60 * 60 * 1000


IMPORTS = """
select number, source, protection, environment, started_ms, finished_ms, made_by, undone_ms,
       undone_by, first_arrival, needs, report, request
from store.import
order by number
"""
REJECTED = "select count(*) from store.reject where import = $number"

# The rejects of an import, in the order of its files.
REJECTS = """
with file as (
    select path, any_value(unit) as unit, min(place) as place
    from store.import_file
    where import = $number
    group by path
)
select reject.file, file.unit, reject.line, reject.code, reject.message, reject.raw
from store.reject as reject
left join file on file.path = reject.file
where reject.import = $number
order by file.place, reject.line, reject.rowid
"""
EXTENT = "select first_arrival, arrivals from store.import where number = $number"

# The batches of an import that were processed and belong to nobody, by code.
KEPT_OUT = """
with kept_out as (
    select *
    from store.dropped
    where arrival >= $start and arrival < $end and list_contains($codes::varchar[], code)
)
select kept_out.code, coalesce(passed.events, 0), passed.types, count(*)
from kept_out
left join store.passed on passed.arrival = kept_out.arrival
group by all
order by all
"""
# The state after an import ends at the arrival after its last row.
ENDS = "select number, first_arrival + arrivals from store.import"


class _ImportRow(NamedTuple):
    """A row of store.import."""

    number: int
    """The number of the import."""
    source: str
    """The source of its feed."""
    protection: str
    """The protection that was in force."""
    environment: str
    """The environment of rows that state none."""
    started_ms: int
    """When it began."""
    finished_ms: int
    """When it was committed."""
    made_by: str | None
    """The person who ran it; None: an older version did not write it down."""
    undone_ms: int | None
    """When it was undone."""
    undone_by: str | None
    """The person who undid it."""
    first_arrival: int
    """The arrival of its first row."""
    needs: list[int] | None
    """The imports that it rests on; None: an older version did not write them down."""
    report: str
    """Its report, as JSON."""
    request: str | None
    """Its request, as JSON; None: an older version did not write it down."""


def history_of(store: OpenStore) -> list[PastImport]:
    """Return all imports, oldest first."""
    segments = store.segments()
    pasts = []
    for row in store.scratch.rows(IMPORTS):
        imported = _ImportRow(*row)
        report = json.loads(imported.report)
        number = imported.number
        pasts.append(
            PastImport(
                number=number,
                feed=report["feed"],
                source=imported.source,
                protection=imported.protection,
                environment=imported.environment,
                started_ms=imported.started_ms,
                finished_ms=imported.finished_ms,
                made_by=imported.made_by,
                undone_ms=imported.undone_ms,
                undone_by=imported.undone_by,
                first_arrival=imported.first_arrival,
                needs=tuple(imported.needs) if imported.needs is not None else None,
                undoable=not is_final(segments, number),
                report=report,
                request=json.loads(imported.request) if imported.request else None,
            )
        )
    return pasts


def import_numbered(store: OpenStore, number: int) -> PastImport:
    """Return one import. Raises UsageError if there is none of that number."""
    pasts = history_of(store)
    for past in pasts:
        if past.number == number:
            return past
    raise no_import(number, [past.number for past in pasts])


def no_import(number: int | str, numbers: Sequence[int]) -> UsageError:
    """Return the error for an import that never existed; `numbers` are those of all imports."""
    ends = dict.fromkeys((min(numbers), max(numbers))) if numbers else ()
    listed = f"{' to '.join(map(str, ends))}; " if numbers else ""
    alone = "" if numbers else ", and no other"
    return UsageError(
        f"there is no import {number}{alone}", f"{listed}profilectl imports list lists them"
    )


def rejects_again(store: OpenStore, number: int, path: Path) -> list[str]:
    """Write the rejects of an import to a file, if there is no such file; return a sentence on it.

    The import may have been killed after its commit and before it wrote them. Raises InputRefused
    if the file cannot be written.
    """
    if path.exists() or not store.scratch.row(REJECTED, {"number": number})[0]:
        return []
    rows = store.scratch.rows(REJECTS, {"number": number})
    with whole_file(path, "--rejects") as out:
        for name, unit, line, code, message, raw in rows:
            place = {"file": name, unit or "line": line}
            reject = {**place, "code": code, "message": message, "raw": raw}
            out.write(orjson.dumps(reject) + b"\n")
    return [f"the rejects of import {number} are in {path}"]


def kept_out_of(store: OpenStore, number: int) -> dict[str, dict[str, Any]]:
    """Return counts of the batches of an import that were processed and belong to nobody, by code.

    Each code has batches, with_events, events and event_types. The types are not known for an
    import that an older version made.
    """
    start, arrivals = store.scratch.row(EXTENT, {"number": number})
    rows = store.scratch.rows(
        KEPT_OUT, {"start": start, "end": start + arrivals, "codes": list(PROCESSED)}
    )
    by_code: dict[str, dict[str, Any]] = {}
    for code, events, types, count in rows:
        counts = by_code.setdefault(
            code, {"batches": 0, "with_events": 0, "events": 0, "event_types": {}}
        )
        counts["batches"] += count
        counts["with_events"] += count if events else 0
        counts["events"] += events * count
        for kind, each in json.loads(types or "{}").items():
            counts["event_types"][kind] = counts["event_types"].get(kind, 0) + each * count
    return by_code


def as_of(store: OpenStore, moment: str) -> int:
    """Return the arrival that ends the state after an import (its number), or at a time.

    A time is 2026-11-23, with or without a time of day, in UTC unless it has an offset; an import
    counts from its start. Raises UsageError for a text that is neither, InputRefused for an import
    that is not in force.
    """
    every = history_of(store)
    pasts = [past for past in every if past.undone_ms is None]
    ends = dict(store.scratch.rows(ENDS))
    # 0 is the state before the first import.
    if moment.isascii() and moment.isdigit() and len(moment) < 10:
        if int(moment) not in {0, *(past.number for past in every)}:
            raise no_import(moment, [past.number for past in every])
        if int(moment) not in {0, *(past.number for past in pasts)}:
            raise InputRefused(
                f"there is no import {moment} in force",
                "profilectl imports list shows what is in force",
            )
        return max((ends[past.number] for past in pasts if past.number <= int(moment)), default=0)
    at_ms = time_ms(
        "--as-of",
        moment,
        must_be="the number of an import, or a time",
        example="3, or 2026-11-23",
    )
    if len(moment) == 10:  # a day means all of it
        at_ms += DAY_MS
    return max((ends[past.number] for past in pasts if past.started_ms <= at_ms), default=0)


def time_ms(option: str, text: str, must_be: str = "a time", example: str = "2026-11-23") -> int:
    """Return the time that an option has, in milliseconds; it is in UTC unless it has an offset.

    Raises UsageError with `must_be` and `example`.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text}: must be {must_be}",
            f"for example {example}, or 2026-11-23T18:30:00Z",
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
