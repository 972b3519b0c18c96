"""Forwarding, from outside: what waits is put together, handed over, and written down as delivered.

The store is open only while batches are read and while their outcome is written; in between others
may import. A process that is killed in between has delivered what the store still has as waiting:
it goes again, under the same id.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from profilectl.audiences.outbox import align, audience_routes, has_traces, leave_no_trace
from profilectl.codes import InputRefused, StoreBusy, StoreUnusable, UsageError
from profilectl.files.leftovers import stem
from profilectl.outputs.compose import composer_of
from profilectl.outputs.delivery.audiences import Messages, write_list
from profilectl.outputs.delivery.credentials import Stated, credentials_of, read_credentials
from profilectl.outputs.delivery.kinds import delivery_of
from profilectl.outputs.delivery.parcel import (
    BLOCKS,
    REST_S,
    SURE,
    Delivered,
    Delivery,
    DeliveryManner,
    Parcel,
)
from profilectl.outputs.handed_over import View, riding_of
from profilectl.outputs.outbox import dead_of, record, routes, waiting_for
from profilectl.rules.leaving.enrichment import HandedOver
from profilectl.rules.leaving.output import WAITING, BatchOutcome, DeliveryFate, Output
from profilectl.rules.text.naming import no_such
from profilectl.store.attaching import must_exist
from profilectl.store.definitions import outputs
from profilectl.store.opening import open_store
from profilectl.store.same_store import held_to
from profilectl.store.scratch import Scratch, scratch_beside
from profilectl.store.store import OpenStore

LATE_WAIT_S = 60.0
"""So long what was delivered waits for a busy store to be written down: else it would be delivered
again.
"""


@dataclass(slots=True)
class Forwarded:
    """What became of what waited for one output.

    changes: how much of what was delivered is about members of audiences; members: how many a list
    has that was written, None: none was. not_sent: reason -> batches that were not to leave.
    waiting: what is left; stopped: why ("": nothing is, or the limit was reached); rest_s: so long
    the output is to be left alone then; come_back_ms: when it asks to be tried again. feeds,
    audiences: what is connected to it.
    """

    output: str
    delivered: int = 0
    changes: int = 0
    known: int = 0
    dead: int = 0
    members: int | None = None
    not_sent: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    stopped: str = ""
    hint: str = ""
    rest_s: float = 0
    come_back_ms: int | None = None
    feeds: bool = True
    audiences: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the document of `forward --json`."""
        return {
            "output": self.output,
            "delivered": self.delivered,
            "audience_changes": self.changes,
            "members": self.members,
            "known": self.known,
            "dead": self.dead,
            "not_sent": dict(sorted(self.not_sent.items())),
            "waiting": self.waiting,
            "stopped": self.stopped or None,
            "come_back_ms": self.come_back_ms,
        }


@dataclass(frozen=True, slots=True)
class ForwardRequest:
    """What to forward. output: to that one only; limit: so many batches to each at most;
    credentials: a file of them; follow_s: go on looking after so many seconds, None: once; full:
    the whole membership of audiences, whatever was sent.
    """

    output: str | None = None
    limit: int | None = None
    manner: DeliveryManner = field(default_factory=DeliveryManner)
    credentials: Path | None = None
    follow_s: float | None = None
    wait_s: float = 0
    full: bool = False


class WaitingSource(Protocol):
    """What of an output waits."""

    def take(self, after: int, limit: int) -> tuple[int, list[Parcel], list[BatchOutcome]] | None:
        """Put the next together: the last number, those that leave, the outcome of those that do
        not; None: nothing waits.
        """

    def record(self, store: OpenStore, outcomes: Sequence[BatchOutcome]) -> None:
        """Write down what became of what was taken last."""


def forward(
    path: Path,
    asked: ForwardRequest,
    *,
    progress: Callable[[str, int], None] = lambda step, rows: None,
    told: Callable[[list[Forwarded]], None] = lambda found: None,
) -> list[Forwarded]:
    """Deliver what waits; return what became of it, by output.

    told: of each round, where it is followed.

    An output that lacks credentials, or whose file cannot be written, stops alone. Raises
    UsageError for an output that is not there, InputRefused for a file of credentials that is not
    as it should be, StoreBusy where another process forwards.
    """
    must_exist(path)
    resting: dict[str, float] = {}
    first = True
    with contextlib.ExitStack() as held, _alone(path), scratch_beside(path.absolute()) as scratch:
        while True:
            with open_store(
                scratch,
                path,
                wait_s=asked.wait_s if asked.follow_s is None else max(asked.wait_s, LATE_WAIT_S),
            ) as store:
                if first:  # what is delivered is written down where it came from, and nowhere else
                    held.enter_context(held_to(path, store.meta("store_id")))
                there = (
                    [output for _, output in routes(store)],
                    [one.output for one in audience_routes(store)],
                )
                wanted = _outputs([*there[0], *there[1]], outputs(store), asked.output)
                stated = (
                    read_credentials(asked.credentials, outputs(store)) if asked.credentials else {}
                )
            if asked.full and first:
                _begin_anew(scratch, path, asked)
            awake = [output for output in wanted if resting.get(output.name, 0) <= time.monotonic()]
            found = [
                _to_output(
                    scratch,
                    path,
                    Forwarded(output.name, feeds=output in there[0], audiences=output in there[1]),
                    output,
                    asked,
                    stated,
                    progress,
                    first=first,
                )
                for output in awake
            ]
            first = False
            if asked.follow_s is None:
                return found
            told(found)
            resting |= {one.output: time.monotonic() + one.rest_s for one in found if one.stopped}
            time.sleep(asked.follow_s)


def _outputs(there: Sequence[Output], declared: Sequence[Output], name: str | None) -> list[Output]:
    listed = {output.name: output for output in there}
    if name is not None and name not in {*listed, *(output.name for output in declared)}:
        raise no_such(
            "output",
            name,
            sorted({*listed, *(output.name for output in declared)}),
            option="--output",
        )
    if name is not None and name not in listed:
        raise UsageError(
            f"nothing is connected to the output {name}",
            f'declare [connections.NAME] with output = "{name}"',
        )
    return [output for _, output in sorted(listed.items()) if name in (None, output.name)]


def _begin_anew(scratch: Scratch, path: Path, asked: ForwardRequest) -> None:
    """Have the whole membership of the audiences that are connected wait.

    Raises UsageError where none is.
    """
    with open_store(scratch, path, write=True, wait_s=max(asked.wait_s, LATE_WAIT_S)) as store:
        there = sorted({one.output.name for one in audience_routes(store) if one.connection.active})
        if not there or asked.output not in (None, *there):
            raise UsageError(
                f"--full: no audience is connected to {'an output' if asked.output is None else f'the output {asked.output}'}",
                "declare [connections.NAME] with audience and output; outputs of audiences are "
                + (", ".join(there) or "none"),
            )
        with store.transaction():
            align(store, output=asked.output, anew=True)


def _to_output(
    scratch: Scratch,
    path: Path,
    found: Forwarded,
    output: Output,
    asked: ForwardRequest,
    stated: Stated,
    progress: Callable[[str, int], None],
    *,
    first: bool,
) -> Forwarded:
    if output.content == "full":
        _to_list(scratch, path, found, output, asked, first=first)
    else:
        with contextlib.ExitStack() as open_output:
            opened: list[Delivery] = []

            def delivery() -> Delivery:
                if not opened:
                    columns = (
                        _columns(scratch, path, output, asked.wait_s)
                        if output.type == "csv"
                        else ()
                    )
                    opened.append(
                        open_output.enter_context(
                            delivery_of(
                                output,
                                credentials_of(output, stated),
                                asked.manner,
                                path.absolute().parent,
                                columns,
                            )
                        )
                    )
                return opened[0]

            for source in _sources(scratch, path, found, output, asked):
                _from_source(scratch, path, found, output, asked, source, delivery, progress)
    with open_store(scratch, path, wait_s=max(asked.wait_s, LATE_WAIT_S)) as store:
        found.waiting = sum(
            int(
                store.scratch.row(
                    f"select count(*) from store.{table} where output = $output and state = $state",
                    {"output": output.name, "state": WAITING},
                )[0]
            )
            for table in ("outbox", "audience_outbox")
        )
        traces = has_traces(store)
    if traces:  # of somebody erased whose removal has left
        with open_store(scratch, path, write=True, wait_s=max(asked.wait_s, LATE_WAIT_S)) as store:
            leave_no_trace(store)
    return found


def _sources(
    scratch: Scratch, path: Path, found: Forwarded, output: Output, asked: ForwardRequest
) -> list[WaitingSource]:
    sources: list[WaitingSource] = (
        [_Batches(scratch, path, output, asked.wait_s)] if found.feeds else []
    )
    return [*sources, Messages(scratch, path, output, asked.wait_s)] if found.audiences else sources


def _columns(scratch: Scratch, path: Path, output: Output, wait_s: float) -> Sequence[str]:
    with open_store(scratch, path, wait_s=max(wait_s, LATE_WAIT_S)) as store:
        return next(
            (
                one.connection.attributes
                for one in audience_routes(store)
                if one.output.name == output.name
            ),
            (),
        )


def _to_list(
    scratch: Scratch,
    path: Path,
    found: Forwarded,
    output: Output,
    asked: ForwardRequest,
    *,
    first: bool,
) -> None:
    try:
        listed = write_list(scratch, path, output, asked.wait_s, only_changed=not first)
    except InputRefused as error:
        found.stopped, found.hint, found.rest_s = error.message, error.hint, REST_S
        return
    if listed is not None:
        found.members, found.delivered, found.changes = (
            listed.members,
            listed.changes,
            listed.changes,
        )


def _from_source(
    scratch: Scratch,
    path: Path,
    found: Forwarded,
    output: Output,
    asked: ForwardRequest,
    source: WaitingSource,
    delivery: Callable[[], Delivery],
    progress: Callable[[str, int], None],
) -> None:
    """Deliver what waits in a source, a block at a time, until nothing does or the output takes no
    more.
    """
    after, changes = -1, isinstance(source, Messages)
    while not found.stopped:
        left = (
            None
            if asked.limit is None
            else asked.limit - found.delivered - found.known - found.dead
        )
        if left == 0:
            return
        taken = source.take(after, min(BLOCKS[output.type], left or BLOCKS[output.type]))
        if taken is None:
            return
        after, parcels, outcomes = taken
        found.not_sent.update(one.said for one in outcomes if not changes)
        if parcels:
            try:
                done = delivery().deliver(parcels)
            except (UsageError, InputRefused) as error:
                done = Delivered(stopped=error.message, hint=error.hint)
            outcomes = [
                *outcomes,
                *(
                    BatchOutcome(
                        one.arrival,
                        one.why if one.fate is DeliveryFate.DEAD else one.fate.value,
                        one.fate is DeliveryFate.DEAD,
                    )
                    for one in done.results
                ),
            ]
            counted = Counter(one.fate for one in done.results)
            found.delivered += counted[DeliveryFate.DELIVERED]
            found.changes += counted[DeliveryFate.DELIVERED] if changes else 0
            found.known += counted[DeliveryFate.KNOWN]
            found.dead += counted[DeliveryFate.DEAD]
            found.rest_s, found.come_back_ms = done.rest_s, done.come_back_ms
            found.stopped, found.hint = (
                done.stopped,
                done.hint
                or f"what is left waits: run profilectl forward again{' then' if done.come_back_ms else ''}",
            )
        with open_store(scratch, path, write=True, wait_s=max(asked.wait_s, LATE_WAIT_S)) as store:
            source.record(store, outcomes)
        progress(output.name, found.delivered)


class _Batches:
    """The batches of feeds that wait for an output."""

    def __init__(self, scratch: Scratch, path: Path, output: Output, wait_s: float) -> None:
        self._scratch, self._path, self._output, self._wait_s = scratch, path, output, wait_s
        self._written: dict[int, tuple[View, HandedOver]] = {}

    def take(self, after: int, limit: int) -> tuple[int, list[Parcel], list[BatchOutcome]] | None:
        taken = _take(self._scratch, self._path, self._output, after, limit, self._wait_s)
        if taken is None:
            return None
        self._written = taken.written
        return taken.after, taken.parcels, taken.outcomes

    def record(self, store: OpenStore, outcomes: Sequence[BatchOutcome]) -> None:
        record(store, self._output.name, outcomes, time.time_ns() // 1_000_000, self._written)


@dataclass(frozen=True, slots=True)
class _Taken:
    """Batches of an output that were put together."""

    after: int
    """The next ones come after this arrival."""
    parcels: list[Parcel]
    """Those that leave."""
    outcomes: list[BatchOutcome]
    """What became of those that do not."""
    written: dict[int, tuple[View, HandedOver]]
    """What the output has once a batch has arrived, by its arrival."""


def _take(
    scratch: Scratch, path: Path, output: Output, after: int, limit: int, wait_s: float
) -> _Taken | None:
    """Put the next batches of an output together.

    What a batch tells as deleted, the next of the person tells where that one does not arrive. So
    it waits for the next round, where the output may take one batch and not another.
    """
    with open_store(scratch, path, wait_s=max(wait_s, LATE_WAIT_S)) as store:
        composer = composer_of(store)
        connections = {
            one.feed: (one, to)
            for one, to in routes(store)
            if one.output == output.name and one.active
        }
        feeds = {
            number: feed for number, feed in composer.feeds.items() if feed.name in connections
        }
        waiting = waiting_for(store, output.name, list(feeds), after=after, limit=limit)
        if not waiting:
            return None
        composed = composer.compose(waiting)
        riding = riding_of(
            store,
            output.name,
            {one.profile for one in waiting if one.profile is not None},
            dead_of(store, output.name),
        )
    parcels, outcomes, telling, later = [], [], set[int](), list[int]()
    for one in waiting:
        if one.profile in telling and output.type not in SURE:
            later.append(one.arrival)
            continue
        connection, to = connections[feeds[one.feed].name]
        outgoing = composed.get(one.arrival)
        if outgoing is None:
            outcomes.append(BatchOutcome(one.arrival, "GONE"))
            continue
        left = composer.leaving(one, outgoing, connection, to, riding)
        if isinstance(left, str):
            outcomes.append(BatchOutcome(one.arrival, left))
        else:
            if one.profile is not None and "deleted_user_attributes" in left:
                telling.add(one.profile)
            lane = outgoing.mpid if outgoing.mpid is not None else one.arrival
            parcels.append(
                Parcel(one.arrival, lane, str(left["source_request_id"]), one.received_ms, left)
            )
    return _Taken(later[0] - 1 if later else waiting[-1].arrival, parcels, outcomes, riding.written)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep a second process from forwarding: it would send everything again, and out of order."""
    name = path.absolute().parent / f".{stem(path.name)}.forward"
    while True:
        try:
            lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreUnusable(f"{name} cannot be made: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise StoreBusy(f"another process forwards from {path}", "wait for it") from None
        with contextlib.suppress(OSError):
            if name.stat().st_ino == os.fstat(lock).st_ino:
                break
        os.close(lock)  # the one before has removed it
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # without its lock it keeps nobody out
            name.unlink()
        os.close(lock)
