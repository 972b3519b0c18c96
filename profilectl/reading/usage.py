"""The billing ledger: what was processed, month by month, and how many users that was of.

Sources: domain.md 7 PROP ii (a batch is billable that has events, or that an Update Only feed
brought of nobody known; else it is not), 1 (MTU). It is derived from what the store keeps: rows,
events, dropped rows, and of those that were processed and are nobody's how many events they had
(store.passed). Who was erased since is not counted any more.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from profilectl.codes import UsageError
from profilectl.rules.calculated import FIRST_MS, LAST_MS
from profilectl.rules.feed import ACCOUNT, PROCESSED, PROTECTIONS
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.attaching import must_exist
from profilectl.store.definitions import check_workspace
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch, scratch_beside
from profilectl.store.segments import IMPORT_FILES, known_events
from profilectl.store.store import OpenStore

MISS = PROTECTIONS["update-only"].code
READ = PROTECTIONS["read-only"].code
MONTH = f"case when {{0}} between {FIRST_MS} and {LAST_MS} then strftime(epoch_ms({{0}}), '%Y-%m') else {{0}} || ' ms' end"
"""The month of a time; one that no date has is told as it is: a store may hold it from when any
time was taken.
"""


def usage(path: Path, *, month: str | None = None, wait_s: float = 0) -> dict[str, Any]:
    """Return the ledger by month, feed and import, and the monthly tracked users: of all, or of the
    feeds of the workspace that is named. month: of that one only (2026-11).

    A batch belongs to the month in which it was received; a user is tracked in it with a batch, or
    an event of that month.
    """
    _check_month(month)
    with _open(path, wait_s) as (store, scratch):
        _ledger(store)
        only = " where month = $month" if month else ""
        bound = {"month": month} if month else {}
        rows = scratch.rows(
            "select month, feed, import, count(*), count(*) filter (events > 0), count(*) filter (code = $miss), count(*) filter (billable), sum(events)::bigint,"
            f" count(*) filter (code = $read) from ledger{only} group by month, feed, import order by month, feed, import",
            {**bound, "miss": MISS, "read": READ},
        )
        users = dict(
            scratch.rows(
                f"select month, count(distinct profile) from tracked{only} group by month order by month",
                bound,
            )
        )
        found = [
            {
                "month": when,
                "feed": feed,
                "import": number,
                "batches": batches,
                "with_events": eventful,
                "update_only_misses": misses,
                "read_only": passed,
                "billable": billable,
                "not_billable": batches - billable,
                "events": events,
            }
            for when, feed, number, batches, eventful, misses, billable, events, passed in rows
        ]
        months = sorted({*users, *(str(one["month"]) for one in found)})
        return {
            "months": [
                {
                    "month": when,
                    "mtu": users.get(when, 0),
                    **{
                        name: sum(int(str(one[name])) for one in found if one["month"] == when)
                        for name in ("batches", "billable", "not_billable", "events")
                    },
                }
                for when in months
            ],
            "imports": found,
        }


def usage_rows(
    path: Path, *, month: str | None = None, wait_s: float = 0
) -> Iterator[dict[str, Any]]:
    """Return the ledger row by row: one for each batch that was processed, in order of arrival."""
    _check_month(month)
    with _open(path, wait_s) as (store, scratch):
        _ledger(store)
        only = " where month = $month" if month else ""
        cursor = scratch.connection.execute(
            "select ledger.month, ledger.feed, ledger.import, file.path, file.unit, run.first_line + ledger.arrival - run.first_arrival, ledger.events, ledger.code, ledger.billable"
            f" from (select * from ledger{only}) as ledger asof join ({IMPORT_FILES}) as file on ledger.arrival >= file.first_arrival"
            " asof join store.line_run as run on ledger.arrival >= run.first_arrival order by ledger.arrival",
            {"month": month} if month else {},
        )
        while block := cursor.fetchmany(10_000):
            for when, feed, number, file, unit, place, events, code, billable in block:
                yield {
                    "month": when,
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


def _ledger(store: OpenStore) -> None:
    """Make `ledger` (arrival, month, feed, import, events, code, billable) and `tracked` (profile,
    month).
    """
    scratch, segments = store.scratch, store.segments()
    check_workspace(store)
    numbers = (
        ", ".join(
            str(feed.number)
            for feed in store.feeds()
            if store.means(feed.workspace) and feed.source != ACCOUNT
        )
        or "null"
    )
    here = f" where feed in ({numbers})" if store.workspace else ""
    rows = (
        " union all ".join(
            f"select arrival, profile, at_ms from {one.table('row')}{here}" for one in segments
        )
        or "select 0 as arrival, 0 as profile, 0 as at_ms where false"
    )
    events = f"select arrival, count(*) as events from ({known_events(segments, columns=('arrival',))}) group by arrival union all select arrival, events from store.passed"
    codes = ", ".join(map(quote_text, PROCESSED))
    processed = (
        f"select arrival, at_ms, null as code from ({rows}) union all"
        f" select dropped.arrival, passed.at_ms, code from store.dropped left join store.passed on passed.arrival = dropped.arrival where code in ({codes})"
    )
    scratch.make(
        "ledger",
        f"select one.arrival, {MONTH.format('coalesce(one.at_ms, import.started_ms)')} as month, feed.name as feed, import.number as import,"
        " coalesce(event.events, 0)::integer as events, one.code, coalesce(event.events, 0) > 0 or one.code is not distinct from $miss as billable"
        f" from ({processed}) as one asof join (select * from store.import where undone_ms is null and arrivals > 0) as import on one.arrival >= import.first_arrival"
        f" join (select * from store.feed{here.replace('feed in', 'number in')}) as feed on feed.number = import.feed left join ({events}) as event on event.arrival = one.arrival",
        {"miss": MISS},
    )
    happened = known_events(segments, where=here, columns=("profile", "at_ms"))
    scratch.make(
        "tracked",
        f"select distinct profile, {MONTH.format('at_ms')} as month from (select profile, at_ms from ({rows}) union all select profile, at_ms from ({happened}))",
    )


@contextlib.contextmanager
def _open(path: Path, wait_s: float) -> Iterator[tuple[OpenStore, Scratch]]:
    must_exist(path)
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, wait_s=wait_s) as store,
    ):
        yield store, scratch
