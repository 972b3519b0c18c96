"""The outbox from outside: batches that wait or could not leave are listed, retried or dropped."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from profilectl.audiences.outgoing.identity_traces import leave_no_trace
from profilectl.audiences.outgoing.messages import drop_messages
from profilectl.audiences.outgoing.routes import audience_routes
from profilectl.outputs.outbox import routes
from profilectl.rules.leaving.output import BY_HAND, DEAD, WAITING
from profilectl.rules.text.naming import no_such
from profilectl.store.attaching import must_exist
from profilectl.store.definitions import outputs
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.segments import FILES_WITH_ROWS
from profilectl.store.store import OpenStore

# In all of these, $output is the only output that is looked at; null: all.

# How many batches wait and are dead, by output and feed.
BATCHES_WAITING = """
select batch.output, feed.name, min(feed.number),
       count(*) filter (batch.state = 'waiting'), count(*) filter (batch.state = 'dead'),
       min(import.started_ms)
from store.outbox as batch
join store.feed on feed.number = batch.feed
join store.import on import.number = batch.import
where $output is null or batch.output = $output
group by batch.output, feed.name
order by batch.output, feed.name
"""
# How many batches have left, by output and by what became of them.
BATCHES_LEFT = """
select output, outcome, count(*)
from store.forwarded
where $output is null or output = $output
group by output, outcome
order by all
"""
# The dead batches, and where each stands in its file; oldest first. An arrival belongs to the file
# and the run of lines that begin last before it.
BATCHES_DEAD = """
select batch.output, feed.name, batch.import, file.path, file.unit,
       run.first_line + batch.arrival - run.first_arrival, batch.why, batch.failed_ms
from store.outbox as batch
join store.feed on feed.number = batch.feed
asof join import_file as file on batch.arrival >= file.first_arrival
asof join store.line_run as run on batch.arrival >= run.first_arrival
where ($output is null or batch.output = $output) and batch.state = $dead
order by batch.arrival
limit $limit
"""
# How many messages about members wait and are dead, by output and audience.
MESSAGES_WAITING = """
select message.output, audience.name, message.audience,
       count(*) filter (message.state = 'waiting'), count(*) filter (message.state = 'dead'),
       min(message.at_ms)
from store.audience_outbox as message
left join (select number, name from store.audience) as audience
  on audience.number = message.audience
where $output is null or message.output = $output
group by message.output, message.audience, audience.name
order by message.output, message.audience
"""
# How many messages have left; one that said nothing new is not counted.
MESSAGES_LEFT = """
select output, outcome, sum(messages)::bigint
from store.audience_left
where ($output is null or output = $output) and outcome <> 'UNCHANGED'
group by output, outcome
order by all
"""
# The dead messages, oldest first.
MESSAGES_DEAD = """
select message.output, audience.name, message.action, message.mpid::varchar, message.why,
       message.failed_ms
from store.audience_outbox as message
left join (select number, name from store.audience) as audience
  on audience.number = message.audience
where ($output is null or message.output = $output) and message.state = $dead
order by message.number
limit $limit
"""
# An output that is declared no more may still have something in the outbox.
OUTPUTS_WITH_LETTERS = """
select output from store.outbox
union
select output from store.forwarded
union
select output from store.audience_outbox
"""
# How many batches a command is about.
BATCHES_IN_STATE = """
select count(*)
from store.outbox
where state = $state and ($output is null or output = $output)
"""
# How many messages a command is about.
MESSAGES_IN_STATE = """
select count(*)
from store.audience_outbox
where state = $state and ($output is null or output = $output)
"""
# Batches that are tried again lose the reason of their failure.
RETRY_BATCHES = """
update store.outbox
set state = 'waiting', why = null, failed_ms = null
where state = $state and ($output is null or output = $output)
"""
# Messages too.
RETRY_MESSAGES = """
update store.audience_outbox
set state = 'waiting', why = null, failed_ms = null
where state = $state and ($output is null or output = $output)
"""
# A batch that is dropped counts as forwarded, so that it does not leave when its import is made
# again.
FORWARD_BY_HAND = """
insert into store.forwarded
select output, arrival, $by_hand, $now_ms
from store.outbox
where state = $state and ($output is null or output = $output)
order by arrival
"""
DROP_BATCHES = """
delete from store.outbox
where state = $state and ($output is null or output = $output)
"""


@dataclass(frozen=True, slots=True)
class Letters:
    """How many batches and messages a command is about."""

    batches: int
    """Batches of feeds."""
    changes: int
    """Changes of the members of audiences."""

    @property
    def total(self) -> int:
        """Batches and changes together."""
        return self.batches + self.changes


class _Waiting(NamedTuple):
    """How much waits and is dead of one feed or audience to an output."""

    output: str
    """The output."""
    name: str
    """The name of the feed or the audience."""
    number: int
    """The number of the feed or the audience."""
    waiting: int
    """How many wait."""
    dead: int
    """How many are dead."""
    oldest_ms: int
    """When the oldest of them came."""


class _Left(NamedTuple):
    """What has left for an output."""

    output: str
    """The output."""
    outcome: str
    """What became of it."""
    number: int
    """How many."""


class _DeadBatch(NamedTuple):
    """A dead batch."""

    output: str
    """The output it was for."""
    feed: str
    """The name of its feed."""
    number: int
    """Its import."""
    file: str
    """The file it stands in."""
    unit: str
    """What is counted in the file: line or row."""
    place: int
    """Which line or row it is."""
    why: str
    """What the receiver said."""
    failed_ms: int
    """When it failed."""

    def as_json(self) -> dict[str, object]:
        """Return the batch as `outbox list --json` prints it."""
        return {
            "output": self.output,
            "feed": self.feed,
            "audience": None,
            "import": self.number,
            "file": self.file,
            self.unit: self.place,
            "why": self.why,
            "failed_ms": self.failed_ms,
        }


class _DeadMessage(NamedTuple):
    """A dead message about a member of an audience."""

    output: str
    """The output it was for."""
    audience: str
    """The name of the audience."""
    action: str
    """What it says of the member."""
    mpid: str
    """The MPID of the member."""
    why: str
    """What the receiver said."""
    failed_ms: int
    """When it failed."""

    def as_json(self) -> dict[str, object]:
        """Return the message as `outbox list --json` prints it."""
        return {"output": self.output, "feed": None, **self._asdict()}


def outbox_of(
    path: Path, *, output: str | None = None, limit: int = 100, wait_s: float = 0
) -> dict[str, Any]:
    """Return what waits and what is dead: counts by output, and the dead ones, oldest first."""
    with _opened(path, output, wait_s=wait_s) as store:
        return {
            "outputs": [*_batches_waiting(store, output), *_messages_waiting(store, output)],
            "left": _left(store, output),
            "dead": _dead(store, output, limit),
        }


def _batches_waiting(store: OpenStore, output: str | None) -> list[dict[str, object]]:
    active = {
        (route.connection.feed, route.connection.output): route.connection
        for route in routes(store)
    }
    listed: list[dict[str, object]] = []
    for row in map(_Waiting._make, store.scratch.rows(BATCHES_WAITING, {"output": output})):
        connection = active.get((row.name, row.output))
        listed.append(
            {
                "output": row.output,
                "feed": row.name,
                "audience": None,
                "waiting": row.waiting,
                "dead": row.dead,
                "oldest_ms": row.oldest_ms,
                "connection": connection.name if connection else None,
                "active": connection is not None and connection.active,
            }
        )
    return listed


def _messages_waiting(store: OpenStore, output: str | None) -> list[dict[str, object]]:
    active = {
        (route.output.name, route.audience.number): route.connection
        for route in audience_routes(store)
    }
    listed: list[dict[str, object]] = []
    for row in map(_Waiting._make, store.scratch.rows(MESSAGES_WAITING, {"output": output})):
        connection = active.get((row.output, row.number))
        listed.append(
            {
                "output": row.output,
                "feed": None,
                "audience": row.name,
                "waiting": row.waiting,
                "dead": row.dead,
                "oldest_ms": row.oldest_ms,
                "connection": connection.name if connection else None,
                "active": connection is not None and connection.active,
            }
        )
    return listed


def _left(store: OpenStore, output: str | None) -> dict[str, dict[str, int]]:
    """Return how many have left, by output and by what became of them."""
    bound = {"output": output}
    rows = [*store.scratch.rows(BATCHES_LEFT, bound), *store.scratch.rows(MESSAGES_LEFT, bound)]
    outcomes: dict[str, Counter[str]] = {}
    for row in map(_Left._make, rows):
        outcomes.setdefault(row.output, Counter())[row.outcome] += row.number
    return {name: dict(counts) for name, counts in sorted(outcomes.items())}


def _dead(store: OpenStore, output: str | None, limit: int) -> Sequence[dict[str, object]]:
    """Return the dead batches, then the dead messages, of each the oldest first."""
    scratch, bound = store.scratch, {"output": output, "dead": DEAD, "limit": limit}
    scratch.make("import_file", FILES_WITH_ROWS, keep=False)
    batches = map(_DeadBatch._make, scratch.rows(BATCHES_DEAD, bound))
    messages = map(_DeadMessage._make, scratch.rows(MESSAGES_DEAD, bound))
    dead = [*(batch.as_json() for batch in batches), *(message.as_json() for message in messages)]
    return dead[:limit]


def retry(path: Path, output: str | None = None, *, wait_s: float = 0) -> Letters:
    """Let dead batches wait again; return how many."""
    with _opened(path, output, wait_s=wait_s, write=True) as store:
        letters = _letters_in(store, output, DEAD)
        bound = {"output": output, "state": DEAD}
        with store.transaction():
            store.scratch.run(RETRY_BATCHES, bound)
            store.scratch.run(RETRY_MESSAGES, bound)
        return letters


def drop(
    path: Path,
    output: str | None = None,
    *,
    waiting: bool = False,
    dry_run: bool = False,
    wait_s: float = 0,
) -> Letters:
    """Take dead batches out of the outbox for good, or those that wait; return how many."""
    with _opened(path, output, wait_s=wait_s, write=not dry_run) as store:
        state = WAITING if waiting else DEAD
        letters = _letters_in(store, output, state)
        if letters.total and not dry_run:
            with store.transaction():
                _drop(store, output, state)
            leave_no_trace(store)
        return letters


def _drop(store: OpenStore, output: str | None, state: str) -> None:
    now_ms = time.time_ns() // 1_000_000
    bound = {"output": output, "state": state}
    store.scratch.run(FORWARD_BY_HAND, {**bound, "by_hand": BY_HAND, "now_ms": now_ms})
    store.scratch.run(DROP_BATCHES, bound)
    chosen = "state = $state and ($output is null or output = $output)"
    drop_messages(store, chosen, bound, now_ms=now_ms)


@contextlib.contextmanager
def _opened(
    path: Path, output: str | None, *, wait_s: float, write: bool = False
) -> Iterator[OpenStore]:
    """Open a store, and refuse an output that is not declared and that nothing is left for.

    Raises UsageError.
    """
    must_exist(path)
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, write=write, wait_s=wait_s) as store,
    ):
        names = {declared.name for declared in outputs(store)} | {
            name for (name,) in scratch.rows(OUTPUTS_WITH_LETTERS)
        }
        if output is not None and output not in names:
            raise no_such("output", output, sorted(names), option="--output")
        yield store


def _letters_in(store: OpenStore, output: str | None, state: str) -> Letters:
    """Return how many batches and messages are in a state."""
    scratch, bound = store.scratch, {"output": output, "state": state}
    return Letters(
        batches=int(scratch.row(BATCHES_IN_STATE, bound)[0]),
        changes=int(scratch.row(MESSAGES_IN_STATE, bound)[0]),
    )
