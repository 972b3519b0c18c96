"""The billing ledger: the batches that were processed, month by month, and of how many users.

A batch is billable if it has events, or if an update-only feed brought it and nobody matched
(domain.md 7 PROP ii). Monthly tracked users (MTU) are those of domain.md 1. The ledger is derived
from what the store keeps: rows, events and dropped rows, and how many events those dropped rows had
that were processed (store.passed). People who were erased since are not counted.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from profilectl.codes import UsageError
from profilectl.files import progress
from profilectl.rules.calculated import FIRST_MS, LAST_MS
from profilectl.rules.feed import ACCOUNT, PROCESSED, PROTECTIONS
from profilectl.store.attaching import must_exist
from profilectl.store.definitions import check_workspace
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.segments import FILES_WITH_ROWS, known_events
from profilectl.store.statements import over_each, reading
from profilectl.store.store import OpenStore

MISS = PROTECTIONS["update-only"].code
READ = PROTECTIONS["read-only"].code
BLOCK = 10_000
"""How many rows of the ledger are fetched at once."""

OF_COUNTED_FEEDS = "where feed in (select number from counted_feed)"
ROWS = """
select arrival, profile, at_ms
from stored
where feed in (select number from counted_feed)
"""
NO_ROWS = "select 0 as arrival, 0 as profile, 0 as at_ms where false"
# A time outside all dates has no month and is shown as it is: older versions took any time.
# An import without arrivals begins where the next one does: the asof join must not find it.
# Older versions kept no time of a dropped row: that of the import counts.
LEDGER = """
select arrival,
       case
           when at_ms between $first_ms and $last_ms then strftime(epoch_ms(at_ms), '%Y-%m')
           else at_ms || ' ms'
       end as month,
       feed, import, events, code, events > 0 or code is not distinct from $miss as billable
from (
    select processed.arrival, coalesce(processed.at_ms, import.started_ms) as at_ms,
           feed.name as feed, import.number as import,
           coalesce(events_of.events, 0)::integer as events, processed.code
    from (
        select arrival, at_ms, null as code
        from arrived
        union all
        select dropped.arrival, passed.at_ms, dropped.code
        from store.dropped
        left join store.passed on passed.arrival = dropped.arrival
        where dropped.code in (select unnest($processed::varchar[]))
    ) as processed
    asof join (
        select * from store.import where undone_ms is null and arrivals > 0
    ) as import on processed.arrival >= import.first_arrival
    join (
        select * from store.feed where number in (select number from counted_feed)
    ) as feed on feed.number = import.feed
    left join (
        select arrival, count(*) as events from occurred group by arrival
        union all
        select arrival, events from store.passed
    ) as events_of on events_of.arrival = processed.arrival
)
"""
TRACKED = """
select distinct profile,
       case
           when at_ms between $first_ms and $last_ms then strftime(epoch_ms(at_ms), '%Y-%m')
           else at_ms || ' ms'
       end as month
from (
    select profile, at_ms from arrived
    union all
    select profile, at_ms from occurred
)
"""
BY_IMPORT = """
select month, feed, import, count(*) as batches,
       count(*) filter (events > 0) as with_events,
       count(*) filter (code = $miss) as update_only_misses,
       count(*) filter (code = $read) as read_only,
       count(*) filter (billable) as billable,
       count(*) filter (not billable) as not_billable,
       sum(events)::bigint as events
from ledger
where $month::varchar is null or month = $month::varchar
group by month, feed, import
order by month, feed, import
"""
USERS = """
select month, count(distinct profile)
from tracked
where $month::varchar is null or month = $month::varchar
group by month
order by month
"""
LEDGER_ROWS = """
select ledger.month, ledger.feed, ledger.import, file.path, file.unit,
       run.first_line + ledger.arrival - run.first_arrival,
       ledger.events, ledger.code, ledger.billable
from (select * from ledger where $month::varchar is null or month = $month::varchar) as ledger
asof join file on ledger.arrival >= file.first_arrival
asof join store.line_run as run on ledger.arrival >= run.first_arrival
order by ledger.arrival
"""
# The keys of the entry of an import, in their order.
BY_IMPORT_KEYS = (
    "month",
    "feed",
    "import",
    "batches",
    "with_events",
    "update_only_misses",
    "read_only",
    "billable",
    "not_billable",
    "events",
)


def usage(path: Path, *, month: str | None = None, wait_s: float = 0) -> dict[str, object]:
    """Return the ledger by month, feed and import, and the monthly tracked users.

    It is of all feeds, or of those of the workspace that is named. With `month` (2026-11), it is of
    that month only. A batch belongs to the month of its time. A user is tracked in a month by a
    batch or an event of that month.
    """
    _check_month(month)
    with _open(path, wait_s) as store:
        _make_ledger(store)
        progress.step("summing")
        rows = store.scratch.rows(BY_IMPORT, {"month": month, "miss": MISS, "read": READ})
        users = dict(store.scratch.rows(USERS, {"month": month}))
    imports = [dict(zip(BY_IMPORT_KEYS, row, strict=True)) for row in rows]
    months = sorted({*users, *(entry["month"] for entry in imports)})
    return {
        "months": [
            {"month": name, "mtu": users.get(name, 0), **_sums(imports, name)} for name in months
        ],
        "imports": imports,
    }


def _sums(imports: Sequence[dict[str, Any]], month: str) -> dict[str, int]:
    """Return the sums over the imports of a month."""
    of_month = [entry for entry in imports if entry["month"] == month]
    keys = ("batches", "billable", "not_billable", "events")
    return {key: sum(entry[key] for entry in of_month) for key in keys}


def usage_rows(
    path: Path, *, month: str | None = None, wait_s: float = 0
) -> Iterator[dict[str, object]]:
    """Yield the rows of the ledger: one for each batch that was processed, in order of arrival."""
    _check_month(month)
    with _open(path, wait_s) as store:
        _make_ledger(store)
        select = reading(LEDGER_ROWS, file=FILES_WITH_ROWS)
        total = store.scratch.count("ledger") if progress.is_watched() else None
        progress.step("answering")
        result = store.scratch.connection.execute(select, {"month": month})
        rows_written = 0
        while block := result.fetchmany(BLOCK):
            rows_written += len(block)
            progress.rows(rows_written, total)
            for name, feed, number, file, unit, place, events, code, billable in block:
                yield {
                    "month": name,
                    "feed": feed,
                    "import": number,
                    "file": file,
                    unit: place,
                    "events": events,
                    "code": code,
                    "billable": billable,
                }


def _check_month(month: str | None) -> None:
    if month is not None and not re.fullmatch("[0-9]{4}-(0[1-9]|1[0-2])", month):
        raise UsageError(f"--month {month}: must be a month", "for example 2026-11")


def _make_ledger(store: OpenStore) -> None:
    """Make `ledger` and `tracked`.

    The columns of `ledger` are arrival, month, feed, import, events, code and billable, those of
    `tracked` are profile and month. Where a workspace is named, the feeds of the account do not
    count.
    """
    scratch, segments = store.scratch, store.segments()
    check_workspace(store)
    numbers = [
        (feed.number,)
        for feed in store.feeds()
        if not store.workspace or (store.means(feed.workspace) and feed.source != ACCOUNT)
    ]
    scratch.load("counted_feed", [("number", "INTEGER")], numbers)
    tables = [f"row_{segment.number}" for segment in segments]
    scratch.make("arrived", over_each(ROWS, tables, nothing=NO_ROWS), keep=False)
    months = {"first_ms": FIRST_MS, "last_ms": LAST_MS}
    occurred = known_events(segments, columns=("arrival",))
    bound = {**months, "miss": MISS, "processed": list(PROCESSED)}
    scratch.make("ledger", reading(LEDGER, occurred=occurred), bound)
    occurred = known_events(segments, where=OF_COUNTED_FEEDS, columns=("profile", "at_ms"))
    scratch.make("tracked", reading(TRACKED, occurred=occurred), months)


@contextlib.contextmanager
def _open(path: Path, wait_s: float) -> Iterator[OpenStore]:
    must_exist(path)
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, wait_s=wait_s) as store,
    ):
        yield store
