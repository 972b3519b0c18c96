"""What waits to leave and what could not, from outside: listed, tried again, dropped."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profilectl.audiences.outbox import audience_routes, drop_messages, leave_no_trace
from profilectl.outputs.outbox import routes
from profilectl.rules.leaving.output import BY_HAND, DEAD, WAITING
from profilectl.rules.text.naming import no_such
from profilectl.store.attaching import must_exist
from profilectl.store.definitions import outputs
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.segments import IMPORT_FILES
from profilectl.store.store import OpenStore

TABLES = ("outbox", "audience_outbox")
"""Where what leaves waits: batches of feeds, and who enters or leaves an audience."""


@dataclass(frozen=True, slots=True)
class Letters:
    """How many are meant. batches: of feeds; changes: of the members of audiences."""

    batches: int
    changes: int

    @property
    def total(self) -> int:
        """Both."""
        return self.batches + self.changes


def outbox_of(
    path: Path, *, output: str | None = None, limit: int = 100, wait_s: float = 0
) -> dict[str, Any]:
    """Return what waits and what is dead: counts by output, and the dead ones, oldest first."""
    must_exist(path)
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, wait_s=wait_s) as store,
    ):
        _check(store, output)
        there = {(one.feed, one.output): one for one, _ in routes(store)}
        only = " where outbox.output = $output" if output is not None else ""
        bound = {"output": output} if output is not None else {}
        counts = scratch.rows(
            "select outbox.output, feed.name, count(*) filter (state = 'waiting'), count(*) filter (state = 'dead'), min(import.started_ms) from store.outbox"
            f" join store.feed on feed.number = outbox.feed join store.import on import.number = outbox.import{only} group by all order by 1, 2",
            bound,
        )
        left = scratch.rows(
            f"select output, outcome, count(*) from store.forwarded{only.replace('outbox', 'forwarded')} group by all order by all",
            bound,
        )
        dead = scratch.rows(
            "select outbox.output, feed.name, outbox.import, file.path, file.unit, run.first_line + outbox.arrival - run.first_arrival, outbox.why,"
            " outbox.failed_ms from store.outbox join store.feed on feed.number = outbox.feed"
            f" asof join ({IMPORT_FILES}) as file on outbox.arrival >= file.first_arrival"
            " asof join store.line_run as run on outbox.arrival >= run.first_arrival"
            f"{only or ' where true'} and state = '{DEAD}' order by arrival limit {limit}",
            bound,
        )
        waiting, others, letters = _of_audiences(store, output, limit)
        outcomes: dict[str, dict[str, int]] = {}
        for name, outcome, count in [*left, *others]:
            counted = outcomes.setdefault(name, {})
            counted[outcome] = counted.get(outcome, 0) + count
        return {
            "outputs": [
                *(
                    {
                        "output": name,
                        "feed": feed,
                        "audience": None,
                        "waiting": waits,
                        "dead": gone,
                        "oldest_ms": oldest,
                        "connection": there[feed, name].name if (feed, name) in there else None,
                        "active": (feed, name) in there and there[feed, name].active,
                    }
                    for name, feed, waits, gone, oldest in counts
                ),
                *waiting,
            ],
            "left": dict(sorted(outcomes.items())),
            "dead": [
                *(
                    {
                        "output": name,
                        "feed": feed,
                        "audience": None,
                        "import": number,
                        "file": file,
                        unit: place,
                        "why": why,
                        "failed_ms": failed_ms,
                    }
                    for name, feed, number, file, unit, place, why, failed_ms in dead
                ),
                *letters,
            ][:limit],
        }


def _of_audiences(
    store: OpenStore, output: str | None, limit: int
) -> tuple[list[dict[str, Any]], list[tuple[str, str, int]], list[dict[str, Any]]]:
    """Return of the messages about members of audiences: what waits by output and audience, what
    has left, the dead ones.
    """
    there = {
        (one.output.name, one.audience.number): one.connection for one in audience_routes(store)
    }
    named = "select number, name from store.audience"
    only, bound = (
        (" where one.output = $output", {"output": output})
        if output is not None
        else (" where true", {})
    )
    counts = store.scratch.rows(
        "select one.output, one.audience, named.name, count(*) filter (state = 'waiting'), count(*) filter (state = 'dead'), min(at_ms) from store.audience_outbox as one"
        f" left join ({named}) as named on named.number = one.audience{only} group by all order by 1, 2",
        bound,
    )
    waiting = [
        {
            "output": name,
            "feed": None,
            "audience": audience,
            "waiting": waits,
            "dead": gone,
            "oldest_ms": oldest,
            "connection": there[name, number].name if (name, number) in there else None,
            "active": (name, number) in there and there[name, number].active,
        }
        for name, number, audience, waits, gone, oldest in counts
    ]
    left = store.scratch.rows(
        f"select output, outcome, sum(messages)::bigint from store.audience_left as one{only} and outcome <> 'UNCHANGED' group by all order by all",
        bound,
    )
    dead = [
        {
            "output": name,
            "feed": None,
            "audience": audience,
            "action": action,
            "mpid": mpid,
            "why": why,
            "failed_ms": failed_ms,
        }
        for name, audience, action, mpid, why, failed_ms in store.scratch.rows(
            "select one.output, named.name, one.action, one.mpid::varchar, one.why, one.failed_ms from store.audience_outbox as one"
            f" left join ({named}) as named on named.number = one.audience{only} and state = '{DEAD}' order by one.number limit {limit}",
            bound,
        )
    ]
    return waiting, left, dead


def retry(path: Path, output: str | None = None, *, wait_s: float = 0) -> Letters:
    """Let dead batches wait again; return how many."""
    must_exist(path)
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, write=True, wait_s=wait_s) as store,
    ):
        _check(store, output)
        where, bound = _chosen(output, DEAD)
        count = _count(store, where, bound)
        with store.transaction():
            for table in TABLES:
                scratch.run(
                    f"update store.{table} set state = '{WAITING}', why = null, failed_ms = null where {where}",
                    bound,
                )
        return count


def drop(
    path: Path,
    output: str | None = None,
    *,
    waiting: bool = False,
    dry_run: bool = False,
    wait_s: float = 0,
) -> Letters:
    """Take dead batches out of the outbox for good, or those that wait; return how many."""
    must_exist(path)
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, write=not dry_run, wait_s=wait_s) as store,
    ):
        _check(store, output)
        where, bound = _chosen(output, WAITING if waiting else DEAD)
        count = _count(store, where, bound)
        if count.total and not dry_run:
            with store.transaction():
                now_ms = time.time_ns() // 1_000_000
                scratch.run(
                    f"insert into store.forwarded select output, arrival, '{BY_HAND}', {now_ms} from store.outbox where {where} order by arrival",
                    bound,
                )
                scratch.run(f"delete from store.outbox where {where}", bound)
                drop_messages(store, where, bound, now_ms)
            leave_no_trace(store)
        return count


def _count(store: OpenStore, where: str, bound: dict[str, Any]) -> Letters:
    return Letters(
        *(
            int(store.scratch.row(f"select count(*) from store.{table} where {where}", bound)[0])
            for table in TABLES
        )
    )


def _check(store: OpenStore, output: str | None) -> None:
    """Refuse an output that is not declared and that nothing is left for. Raises UsageError."""
    there = {one.name for one in outputs(store)} | {
        name
        for (name,) in store.scratch.rows(
            "select output from store.outbox union select output from store.forwarded union select output from store.audience_outbox"
        )
    }
    if output is not None and output not in there:
        raise no_such("output", output, sorted(there), option="--output")


def _chosen(output: str | None, state: str) -> tuple[str, dict[str, Any]]:
    bound = {"state": state, **({"output": output} if output is not None else {})}
    return "state = $state" + (" and output = $output" if output is not None else ""), bound
