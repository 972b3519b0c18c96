"""What waits to leave and what could not, from outside: listed, tried again, dropped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from profilectl.definitions import outputs
from profilectl.naming import no_such
from profilectl.opening import open_store
from profilectl.outbox import BY_HAND, DEAD, WAITING, routes
from profilectl.scratch import scratch_beside
from profilectl.segments import IMPORT_FILES
from profilectl.store import Store, must_exist


def outbox_of(path: Path, *, output: str | None = None, limit: int = 100, wait_s: float = 0) -> dict[str, Any]:
    """Return what waits and what is dead: counts by output, and the dead ones, oldest first."""
    must_exist(path)
    with scratch_beside(path.absolute()) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        _check(store, output)
        there = {(one.feed, one.output): one for one, _ in routes(store)}
        only = " where outbox.output = $output" if output is not None else ""
        bound = {"output": output} if output is not None else {}
        counts = scratch.rows(
            "select outbox.output, feed.name, count(*) filter (state = 'waiting'), count(*) filter (state = 'dead'), min(import.started_ms) from store.outbox"
            f" join store.feed on feed.number = outbox.feed join store.import on import.number = outbox.import{only} group by all order by 1, 2", bound,
        )
        left = scratch.rows(f"select output, outcome, count(*) from store.forwarded{only.replace('outbox', 'forwarded')} group by all order by all", bound)
        dead = scratch.rows(
            "select outbox.output, feed.name, outbox.import, file.path, file.unit, run.first_line + outbox.arrival - run.first_arrival, outbox.why,"
            " outbox.failed_ms from store.outbox join store.feed on feed.number = outbox.feed"
            f" asof join ({IMPORT_FILES}) as file on outbox.arrival >= file.first_arrival"
            " asof join store.line_run as run on outbox.arrival >= run.first_arrival"
            f"{only or ' where true'} and state = '{DEAD}' order by arrival limit {limit}", bound,
        )
        outcomes: dict[str, dict[str, int]] = {}
        for name, outcome, count in left:
            outcomes.setdefault(name, {})[outcome] = count
        return {
            "outputs": [
                {
                    "output": name, "feed": feed, "waiting": waiting, "dead": gone, "oldest_ms": oldest,
                    "connection": there[feed, name].name if (feed, name) in there else None,
                    "active": (feed, name) in there and there[feed, name].active,
                }
                for name, feed, waiting, gone, oldest in counts
            ],
            "left": outcomes,
            "dead": [
                {"output": name, "feed": feed, "import": number, "file": file, unit: place, "why": why, "failed_ms": failed_ms}
                for name, feed, number, file, unit, place, why, failed_ms in dead
            ],
        }


def retry(path: Path, output: str | None = None, *, wait_s: float = 0) -> int:
    """Let dead batches wait again; return how many."""
    must_exist(path)
    with scratch_beside(path.absolute()) as scratch, open_store(scratch, path, write=True, wait_s=wait_s) as store:
        _check(store, output)
        where, bound = _chosen(output, DEAD)
        count = int(scratch.row(f"select count(*) from store.outbox where {where}", bound)[0])
        with store.transaction():
            scratch.run(f"update store.outbox set state = '{WAITING}', why = null, failed_ms = null where {where}", bound)
        return count


def drop(path: Path, output: str | None = None, *, waiting: bool = False, dry_run: bool = False, wait_s: float = 0) -> int:
    """Take dead batches out of the outbox for good, or those that wait; return how many."""
    must_exist(path)
    with scratch_beside(path.absolute()) as scratch, open_store(scratch, path, write=not dry_run, wait_s=wait_s) as store:
        _check(store, output)
        where, bound = _chosen(output, WAITING if waiting else DEAD)
        count = int(scratch.row(f"select count(*) from store.outbox where {where}", bound)[0])
        if count and not dry_run:
            with store.transaction():
                now_ms = time.time_ns() // 1_000_000
                scratch.run(f"insert into store.forwarded select output, arrival, '{BY_HAND}', {now_ms} from store.outbox where {where} order by arrival", bound)
                scratch.run(f"delete from store.outbox where {where}", bound)
        return count


def _check(store: Store, output: str | None) -> None:
    """Refuse an output that is not declared and that nothing is left for. Raises UsageError."""
    there = {one.name for one in outputs(store)} | {name for (name,) in store.scratch.rows("select output from store.outbox union select output from store.forwarded")}
    if output is not None and output not in there:
        raise no_such("output", output, sorted(there), option="--output")


def _chosen(output: str | None, state: str) -> tuple[str, dict[str, Any]]:
    bound = {"state": state, **({"output": output} if output is not None else {})}
    return "state = $state" + (" and output = $output" if output is not None else ""), bound

