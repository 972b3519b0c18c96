"""The transfer of a push: rows are read ahead, sent, and written down as done.

Several requests are under way at once. The store is opened in a thread of its own, for one purpose
at a time: to read rows, or to write the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from profilectl.codes import ProfilectlError, StoreBusy, StoreUnusable, Unfinished, sentence
from profilectl.outputs.packing import Request, RequestQueue
from profilectl.outputs.push.bookkeeping import Books, Refusal
from profilectl.outputs.push.ledger import Ledger
from profilectl.outputs.push.sending import BatchSender, PushCounts
from profilectl.outputs.push.source import Row

MOST_OPEN = 100_000
"""How many positions may be begun and not be written down as done."""
WRITE_EVERY_S = 1.0
"""The least seconds between two entries in the ledger."""
SHARE_OF_TIME = 10
"""... and the pause is at least this many times as long as the last entry took."""
LAST_WAIT_S = 60.0
"""How long the end of a push waits for a busy store."""

_Result = TypeVar("_Result")


@dataclass(slots=True)
class Transferred:
    """What came of a transfer."""

    counts: PushCounts = field(default_factory=PushCounts)
    """What was sent."""
    finished: bool = False
    """Whether all rows were sent."""
    stopped: ProfilectlError | None = None
    """What stopped it before."""


@dataclass(slots=True)
class _Transfer:
    """A transfer that goes on."""

    books: Books
    """What is under way."""
    ledger: Ledger
    """Where it is written down."""
    parallel: int
    """How many requests are under way at once."""
    store: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Is held while the store is open."""
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Is set when no more is sent."""
    under_way: dict[asyncio.Task[None], frozenset[str]] = field(default_factory=dict)
    """The requests under way, and whom each is about."""


async def transfer(
    books: Books, ledger: Ledger, sender_of: Callable[[], BatchSender], *, parallel: int
) -> Transferred:
    """Send everything that is not done, and write down what is.

    parallel: how many requests are under way at once. Raises StoreUnusable where the ledger cannot
    be written; what stops it otherwise is in the result.
    """
    going = _Transfer(books, ledger, parallel)
    outcome = Transferred()
    writing = asyncio.create_task(_write_now_and_then(going))
    try:
        async with sender_of() as sender:
            outcome.counts = sender.counts
            await _send_all(going, sender, writing)
        outcome.finished = True
    except ProfilectlError as error:
        outcome.stopped = error
    finally:
        going.ending.set()
        await asyncio.wait([writing])
        writing.exception()  # an entry that it could not write is written now, or fails again
        await _write_the_end(going, finished=outcome.finished)
    return outcome


async def _send_all(going: _Transfer, sender: BatchSender, writing: asyncio.Task[None]) -> None:
    try:
        async for request in _requests(going):
            if writing.done():
                writing.result()  # the ledger cannot be written: raises why
            about = frozenset[str]().union(*(batch.who for batch in request))
            await _make_room(going, about)
            going.books.count(request)
            task = asyncio.create_task(_deliver(going.books, sender, request))
            going.under_way[task] = about
        while going.under_way:
            await _settle(going)
    except Unfinished:
        # Requests under way may still be accepted. They are waited for, so that their batches are
        # written down and not sent again.
        if going.under_way:
            await asyncio.wait(going.under_way, timeout=sender.timeout_s)
        raise
    finally:
        for task in going.under_way:
            task.cancel()
        await asyncio.gather(*going.under_way, return_exceptions=True)


async def _make_room(going: _Transfer, about: frozenset[str]) -> None:
    """Wait until a request about these people may leave.

    Two requests about the same person do not travel at the same time: either could arrive first.
    """
    while going.under_way and (
        len(going.under_way) >= going.parallel
        or len(going.books.track) > MOST_OPEN
        or any(not about.isdisjoint(people) for people in going.under_way.values())
    ):
        await _settle(going)


async def _settle(going: _Transfer) -> None:
    """Wait until a request is answered. Raises what its delivery raised."""
    answered, _ = await asyncio.wait(going.under_way, return_when=asyncio.FIRST_COMPLETED)
    for task in answered:
        del going.under_way[task]
        task.result()


async def _deliver(books: Books, sender: BatchSender, request: Request) -> None:
    refused = await sender.deliver(request)
    refused_ids = {id(batch.parcel) for batch in refused}
    for batch in refused:
        books.refuse(
            Refusal(
                position=batch.parcel.position,
                part=batch.parcel.part,
                code=batch.code,
                message=batch.message or sentence(batch.code),
                raw=batch.parcel.body.decode(),
            )
        )
    books.accept([batch for batch in request if id(batch) not in refused_ids])


async def _requests(going: _Transfer) -> AsyncIterator[Request]:
    """Yield full requests, and at the end those that are not."""
    blocks: Iterator[list[Row]] = going.books.blocks()
    queue = RequestQueue()
    while True:
        block = await _with_store(going, lambda: next(blocks, None))
        if block is None:
            break
        for request in queue.full(going.books.begin(block)):
            yield request
    for request in queue.remaining():
        yield request


async def _with_store(going: _Transfer, work: Callable[[], _Result]) -> _Result:
    """Run work that opens the store in a thread, one after another.

    A task that is interrupted waits until its work has ended.
    """
    async with going.store:
        task = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise


async def _write_now_and_then(going: _Transfer) -> None:
    pause = WRITE_EVERY_S
    while not going.ending.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(going.ending.wait(), pause)
        began = time.monotonic()
        with contextlib.suppress(StoreBusy):
            await _write(going)
        pause = max(WRITE_EVERY_S, (time.monotonic() - began) * SHARE_OF_TIME)


async def _write_the_end(going: _Transfer, *, finished: bool) -> None:
    """Write down what is not written yet.

    Raises StoreUnusable, which says what becomes of what was sent.
    """
    try:
        await _write(going, finished=finished, wait_s=LAST_WAIT_S)
    except StoreUnusable as error:
        raise StoreUnusable(
            f"what was sent could not all be written down: {error.message}",
            "mend the disk and push again: what is not written down is sent again, under the same"
            " ids",
        ) from None


async def _write(going: _Transfer, *, finished: bool = False, wait_s: float = 0) -> None:
    """Write down what is done since the last time.

    If that fails, as with a busy store, it is written the next time.
    """
    books, ledger = going.books, going.ledger
    # Requests that end while this is being written go into the next entry.
    entry = books.next_entry()
    if entry.is_empty and not finished:
        return
    try:
        await _with_store(
            going, lambda: ledger.write(books.begun, entry, finished=finished, wait_s=wait_s)
        )
    except BaseException:
        books.put_back(entry)
        raise
