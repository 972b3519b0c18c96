"""Forwarding: waiting batches and messages are put together, handed over, and written down.

The store is open only while batches are read and while their outcome is written; in between other
commands may import. If a process is killed in between, the store still lists as waiting what was
delivered already: it is sent again, under the same id.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profilectl.audiences.outgoing.identity_traces import has_traces, leave_no_trace
from profilectl.audiences.outgoing.outbox import align
from profilectl.audiences.outgoing.routes import audience_routes
from profilectl.codes import InputRefused, UsageError
from profilectl.outputs.delivery.audiences import MessagesWaiting, write_list
from profilectl.outputs.delivery.batches import BatchesWaiting
from profilectl.outputs.delivery.credentials import OutputSecrets, credentials_of, read_credentials
from profilectl.outputs.delivery.forward_lock import only_forwarding
from profilectl.outputs.delivery.kinds import delivery_of
from profilectl.outputs.delivery.parcel import (
    BLOCKS,
    REST_S,
    Delivered,
    Delivery,
    DeliveryManner,
    Parcel,
)
from profilectl.outputs.delivery.waiting import StoreAccess, WaitingSource
from profilectl.outputs.outbox import routes
from profilectl.rules.leaving.output import WAITING, BatchOutcome, DeliveryFate, Output
from profilectl.rules.text.naming import no_such
from profilectl.store.attaching import must_exist
from profilectl.store.definitions import outputs
from profilectl.store.same_store import held_to
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore

# How many batches wait for an output, whether its connections are active or not.
BATCHES_WAITING = """
select count(*)
from store.outbox
where output = $output and state = $waiting
"""
# How many messages about members wait for it.
MESSAGES_WAITING = """
select count(*)
from store.audience_outbox
where output = $output and state = $waiting
"""


@dataclass(slots=True)
class Forwarded:
    """What became of what waited for one output."""

    output: str
    """The name of the output."""
    delivered: int = 0
    """How much was delivered: batches, and changes of members."""
    changes: int = 0
    """How much of that is about members of audiences."""
    known: int = 0
    """How much the output had already."""
    dead: int = 0
    """How much went to the dead-letter list."""
    members: int | None = None
    """How many members the list has that was written; None: none was."""
    not_sent: Counter[str] = field(default_factory=Counter)
    """How many batches were not to leave, by the reason."""
    waiting: int = 0
    """How much waits still."""
    stopped: str = ""
    """Why it waits; "": nothing does, or the limit was reached."""
    hint: str = ""
    """What a person can do about it."""
    rest_s: float = 0
    """How long the output is to be left alone."""
    come_back_ms: int | None = None
    """When it asks to be tried again."""
    feeds: bool = True
    """Whether a feed is connected to it."""
    audiences: bool = False
    """Whether an audience is connected to it."""

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

    def count(self, delivered: Delivered, *, changes: bool) -> None:
        """Count what became of parcels. changes: whether they are about members of audiences."""
        fates = Counter(result.fate for result in delivered.results)
        self.delivered += fates[DeliveryFate.DELIVERED]
        self.changes += fates[DeliveryFate.DELIVERED] if changes else 0
        self.known += fates[DeliveryFate.KNOWN]
        self.dead += fates[DeliveryFate.DEAD]
        self.rest_s, self.come_back_ms = delivered.rest_s, delivered.come_back_ms
        later = " then" if delivered.come_back_ms else ""
        self.stopped = delivered.stopped
        self.hint = delivered.hint or f"what is left waits: run profilectl forward again{later}"


@dataclass(frozen=True, slots=True)
class ForwardRequest:
    """What to forward."""

    output: str | None = None
    """To that output only; None: to all."""
    limit: int | None = None
    """At most as many to each output; None: all."""
    manner: DeliveryManner = field(default_factory=DeliveryManner)
    """How to deliver."""
    credentials: Path | None = None
    """A file of credentials."""
    follow_s: float | None = None
    """How long to wait before looking again; None: look once."""
    wait_s: float = 0
    """How long to wait for a busy store."""
    full: bool = False
    """Whether the whole membership of audiences is sent, also what was sent before."""


@dataclass(frozen=True, slots=True)
class _Connected:
    """The outputs that something is connected to."""

    of_feeds: Sequence[Output]
    """Those that a feed is connected to."""
    of_audiences: Sequence[Output]
    """Those that an audience is connected to."""

    def empty_result(self, output: Output) -> Forwarded:
        """Return the result of an output that nothing was delivered to yet."""
        return Forwarded(
            output.name,
            feeds=output in self.of_feeds,
            audiences=output in self.of_audiences,
        )


@dataclass(frozen=True, slots=True)
class _Round:
    """One look at everything that waits."""

    stores: StoreAccess
    """Opens the store."""
    request: ForwardRequest
    """What to forward."""
    connected: _Connected
    """The outputs."""
    secrets: OutputSecrets
    """The secrets that a file has for outputs."""
    progress: Callable[[str, int], None]
    """Takes the name of an output and how much was delivered to it."""
    is_first: bool
    """Whether it is the first look."""


def forward(
    path: Path,
    request: ForwardRequest,
    *,
    progress: Callable[[str, int], None] = lambda step, rows: None,
    told: Callable[[list[Forwarded]], None] = lambda results: None,
) -> list[Forwarded]:
    """Deliver what waits; return what became of it, by output.

    told: takes the results of each round, if there is more than one (follow_s).

    An output that lacks credentials, or whose file cannot be written, stops alone. Raises
    UsageError for an output that is not there, InputRefused for a file of credentials that is not
    as it should be, StoreBusy where another process forwards.
    """
    must_exist(path)
    awake_at: dict[str, float] = {}
    is_first = True
    with (
        contextlib.ExitStack() as held_store,
        only_forwarding(path),
        scratch_beside(path.absolute()) as scratch,
    ):
        stores = StoreAccess(scratch, path, wait_s=request.wait_s)
        while True:
            with stores.open(patient=request.follow_s is not None) as store:
                if is_first:
                    # From here on no other store is opened at the path: outcomes must be written
                    # where the batches came from.
                    held_store.enter_context(held_to(path, store.meta("store_id")))
                connected = _connected(store)
                chosen = _chosen(connected, outputs(store), request.output)
                secrets = _secrets(store, request.credentials)
            if request.full and is_first:
                _begin_anew(stores, request)
            look = _Round(
                stores=stores,
                request=request,
                connected=connected,
                secrets=secrets,
                progress=progress,
                is_first=is_first,
            )
            results = [_to_output(look, output) for output in _awake(chosen, awake_at)]
            is_first = False
            if request.follow_s is None:
                return results
            told(results)
            awake_at |= _awake_again(results)
            time.sleep(request.follow_s)


def _awake(chosen: Sequence[Output], awake_at: Mapping[str, float]) -> list[Output]:
    """Return the outputs that are not to be left alone now. awake_at: until when each is."""
    at = time.monotonic()
    return [output for output in chosen if awake_at.get(output.name, 0) <= at]


def _awake_again(results: Sequence[Forwarded]) -> dict[str, float]:
    """Return until when outputs that take nothing are to be left alone."""
    at = time.monotonic()
    return {result.output: at + result.rest_s for result in results if result.stopped}


def _connected(store: OpenStore) -> _Connected:
    return _Connected(
        of_feeds=[route.output for route in routes(store)],
        of_audiences=[route.output for route in audience_routes(store)],
    )


def _secrets(store: OpenStore, file: Path | None) -> OutputSecrets:
    return read_credentials(file, outputs(store)) if file else {}


def _chosen(connected: _Connected, declared: Sequence[Output], name: str | None) -> list[Output]:
    """Return the outputs that are looked at, by name. Raises UsageError."""
    listed = {output.name: output for output in (*connected.of_feeds, *connected.of_audiences)}
    names = {*listed, *(output.name for output in declared)}
    if name is not None and name not in names:
        raise no_such("output", name, sorted(names), option="--output")
    if name is not None and name not in listed:
        raise UsageError(
            f"nothing is connected to the output {name}",
            f'declare [connections.NAME] with output = "{name}"',
        )
    return [output for _, output in sorted(listed.items()) if name in (None, output.name)]


def _begin_anew(stores: StoreAccess, request: ForwardRequest) -> None:
    """Let the whole membership of the connected audiences wait to be sent.

    Raises UsageError where none is.
    """
    with stores.open(write=True) as store:
        names = sorted(
            {route.output.name for route in audience_routes(store) if route.connection.active}
        )
        if not names or request.output not in (None, *names):
            target = "an output" if request.output is None else f"the output {request.output}"
            raise UsageError(
                f"--full: no audience is connected to {target}",
                "declare [connections.NAME] with audience and output; outputs of audiences are "
                + (", ".join(names) or "none"),
            )
        with store.transaction():
            align(store, output=request.output, anew=True)


def _to_output(look: _Round, output: Output) -> Forwarded:
    """Deliver what waits for an output, and return what became of it."""
    result = look.connected.empty_result(output)
    if output.content == "full":
        _to_list(look, output, result)
    else:
        with contextlib.ExitStack() as closing:
            opened = _OpenedOutput(look, output, closing)
            for source in _sources(look, output, result):
                _from_source(look, source, opened, result=result)
    with look.stores.open() as store:
        result.waiting = _count_waiting(store, output.name)
        traces = has_traces(store)
    if traces:  # they are of somebody erased, whose removal has left by now
        with look.stores.open(write=True) as store:
            leave_no_trace(store)
    return result


@dataclass(slots=True)
class _OpenedOutput:
    """An output that is opened when the first parcel leaves for it."""

    look: _Round
    """The look at what waits."""
    output: Output
    """The output."""
    closing: contextlib.ExitStack
    """Closes it."""
    delivery: Delivery | None = None
    """The output, once it is open."""

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Hand parcels over; where the output cannot be opened, nothing more is sent."""
        try:
            if self.delivery is None:
                self.delivery = self._open()
            return self.delivery.deliver(parcels)
        except (UsageError, InputRefused) as error:
            return Delivered(stopped=error.message, hint=error.hint)

    def _open(self) -> Delivery:
        output, look = self.output, self.look
        attributes = _attributes(look.stores, output) if output.type == "csv" else ()
        return self.closing.enter_context(
            delivery_of(
                output,
                credentials_of(output, look.secrets),
                look.request.manner,
                folder=look.stores.path.absolute().parent,
                attributes=attributes,
            )
        )


def _sources(look: _Round, output: Output, result: Forwarded) -> list[WaitingSource]:
    sources: list[WaitingSource] = []
    if result.feeds:
        sources.append(BatchesWaiting(look.stores, output))
    if result.audiences:
        sources.append(MessagesWaiting(look.stores, output))
    return sources


def _attributes(stores: StoreAccess, output: Output) -> Sequence[str]:
    """Return the attributes that a file of changes has a column for."""
    with stores.open() as store:
        shared = (
            route.connection.attributes
            for route in audience_routes(store)
            if route.output.name == output.name
        )
        return next(shared, ())


def _to_list(look: _Round, output: Output, result: Forwarded) -> None:
    """Write the list of an output that holds an audience whole."""
    try:
        listed = write_list(look.stores, output, only_changed=not look.is_first)
    except InputRefused as error:
        result.stopped, result.hint, result.rest_s = error.message, error.hint, REST_S
        return
    if listed is not None:
        result.members = listed.members
        result.delivered = result.changes = listed.changes


def _from_source(
    look: _Round, source: WaitingSource, opened: _OpenedOutput, *, result: Forwarded
) -> None:
    """Deliver what waits in a source, a block at a time.

    It ends when nothing waits, when the limit is reached, or when the output takes no more.
    """
    after, output = -1, opened.output
    changes = isinstance(source, MessagesWaiting)
    while not result.stopped:
        limit = BLOCKS[output.type]
        if look.request.limit is not None:
            delivered = result.delivered + result.known + result.dead
            limit = min(limit, look.request.limit - delivered)
        if limit == 0:
            return
        block = source.take(after, limit)
        if block is None:
            return
        after, outcomes = block.after, list(block.outcomes)
        if not changes:
            result.not_sent.update(outcome.said for outcome in outcomes)
        if block.parcels:
            handed = opened.deliver(block.parcels)
            outcomes += _outcomes_of(handed)
            result.count(handed, changes=changes)
        with look.stores.open(write=True) as store:
            source.record(store, outcomes)
        look.progress(output.name, result.delivered)


def _outcomes_of(delivered: Delivered) -> list[BatchOutcome]:
    """Return the results of a delivery as the store has them."""
    return [
        BatchOutcome(
            result.arrival,
            result.why if result.fate is DeliveryFate.DEAD else result.fate.value,
            dead=result.fate is DeliveryFate.DEAD,
        )
        for result in delivered.results
    ]


def _count_waiting(store: OpenStore, output: str) -> int:
    bound = {"output": output, "waiting": WAITING}
    return sum(
        int(store.scratch.row(select, bound)[0]) for select in (BATCHES_WAITING, MESSAGES_WAITING)
    )
