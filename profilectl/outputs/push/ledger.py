"""The ledger of what was pushed.

It is kept in the store, and written a little after the platform has accepted, never before. So
a push that was killed sends again only batches that were not written down yet, under the same
request ids.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from profilectl.codes import StoreUnusable
from profilectl.outputs.packing import Run, joined, namespace_of
from profilectl.outputs.push.host import (
    AcceptedProfile,
    SentEvent,
    host_named,
    note_accepted,
    note_events,
)
from profilectl.store.opening import open_store
from profilectl.store.same_store import held_to
from profilectl.store.scratch import Scratch, scratch_beside
from profilectl.store.store import OpenStore, who

GROWING = ("profiles", "events")
"""Kinds of pushes that begin anew after they came to their end: the store may have changed since.
"""

# The newest push that was asked for in the same words.
SAME_PUSH = """
select number, until, rows, accepted, refused, unchanged, whole,
       finished_ms is not null as finished, started_ms
from store.push
where sealed = $sealed
order by number desc
limit 1
"""
# The positions that are done, as runs.
RUNS_DONE = "select first, last from store.pushed where push = $push"
# Numbers of pushes are given in order.
NEXT_PUSH = "select coalesce(max(number), 0) + 1 from store.push"
# A push that has done nothing yet.
BEGIN_PUSH = """
insert into store.push
values ($number, $kind, $sealed, $until, $started_ms, null, $made_by, 0, 0, 0, 0, $whole)
"""
# Runs are written anew, because old and new ones that touch become one.
FORGET_RUNS = "delete from store.pushed where push = $push"
PUT_RUNS = """
insert into store.pushed
select $push, unnest($first::bigint[]), unnest($last::bigint[])
"""
# Refused batches by position and part; their text is in the file of refused batches.
PUT_REFUSED = """
insert into store.push_refused
select $push, unnest($position::bigint[]), unnest($part::integer[]), unnest($code::varchar[])
"""
# Counts are added up: another process may have written for the same push.
ADD_COUNTS = """
update store.push
set rows = rows + $rows,
    accepted = accepted + $accepted,
    refused = refused + $refused,
    unchanged = unchanged + $unchanged,
    finished_ms = case when $finished then $now_ms else finished_ms end
where number = $push
"""


@dataclass(frozen=True, slots=True)
class Begun:
    """A push as the ledger has it. The counts are of earlier runs."""

    number: int
    """The number of the push."""
    namespace: UUID
    """The namespace in which its request ids are made."""
    until: int | None
    """The positions before this one are in it; None: it is of a file."""
    host: str | None = None
    """The host's name in the store; None: none is known."""
    done: Sequence[Run] = ()
    """The positions that were done."""
    rows: int = 0
    """How many rows were done."""
    accepted: int = 0
    """How many batches were accepted."""
    refused: int = 0
    """How many batches were refused."""
    unchanged: int = 0
    """How many rows the host had as they were."""
    whole: bool = False
    """Whether what the host has already is sent too."""
    resumed: bool = False
    """Whether it was begun in an earlier run."""
    finished: bool = False
    """Whether all of it was done in earlier runs."""
    began_ms: int = 0
    """When it was begun."""


class RefusedPart(NamedTuple):
    """A batch that was refused."""

    position: int
    """Its position in the push."""
    part: int
    """Which of the batches of that position it is."""
    code: str
    """The code of the reason."""


@dataclass(slots=True)
class LedgerEntry:
    """What is to be written down at once. The counts are since the entry before."""

    runs: list[Run]
    """All positions that are done."""
    rows: int = 0
    """How many rows were done."""
    accepted: int = 0
    """How many batches were accepted."""
    refused: Sequence[RefusedPart] = ()
    """The batches that were refused."""
    unchanged: int = 0
    """How many rows the host had as they were."""
    profiles: list[AcceptedProfile] = field(default_factory=list)
    """The profiles that the host has now."""
    events: list[SentEvent] = field(default_factory=list)
    """The stored events that the host has now."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write down but the runs."""
        return not (self.rows or self.accepted or self.refused or self.unchanged)


class _PushRow(NamedTuple):
    """A row of store.push."""

    number: int
    """The number of the push."""
    until: int | None
    """The positions before this one are in it; None: it is of a file."""
    rows: int
    """How many rows were done."""
    accepted: int
    """How many batches were accepted."""
    refused: int
    """How many batches were refused."""
    unchanged: int
    """How many rows the host had as they were."""
    whole: bool
    """Whether what the host has already is sent too."""
    finished: bool
    """Whether it came to its end."""
    started_ms: int
    """When it was begun."""


class Ledger:
    """The ledger of one store; it opens the store only while it reads or writes, never another."""

    def __init__(self, path: Path, wait_s: float) -> None:
        self._path, self._wait_s = path, wait_s
        self._closing = contextlib.ExitStack()
        self._scratch = self._closing.enter_context(scratch_beside(path.absolute()))

    def close(self) -> None:
        """Let go of the store."""
        self._closing.close()

    @contextlib.contextmanager
    def _open(self, *, write: bool, wait_s: float, upgrade: bool = True) -> Iterator[OpenStore]:
        with open_store(
            self._scratch, self._path, write=write, wait_s=wait_s, upgrade=upgrade
        ) as store:
            yield store

    def begin(
        self,
        kind: str,
        request: Mapping[str, object],
        until: int | None,
        manner: Mapping[str, object] | None = None,
        *,
        again: bool,
        dry_run: bool,
    ) -> Begun:
        """Take up the push that was asked for in the same words and not finished, or begin one.

        request: the words. until: of one that begins. manner: what names the host of profiles.
        again: begin one in any case. dry_run: write nothing. A file or an import that was pushed to
        the end is returned as finished. Raises StoreBusy, StoreUnusable.
        """
        with self._open(write=not dry_run, wait_s=self._wait_s, upgrade=not dry_run) as store:
            # From here on no other store is opened at the path.
            self._closing.enter_context(held_to(self._path, store.meta("store_id")))
            secret = store.meta("secret")
            sealed = _sealed(secret, request)
            namespace = namespace_of(secret)
            host = host_named(secret, manner) if manner else None
            rows = store.scratch.rows(SAME_PUSH, {"sealed": sealed})
            earlier = _PushRow(*rows[0]) if rows else None
            if earlier and not again and (not earlier.finished or kind not in GROWING):
                return _resumed(store.scratch, earlier, namespace, host=host)
            begun = Begun(
                number=int(store.scratch.row(NEXT_PUSH)[0]),
                namespace=namespace,
                until=until,
                host=host,
                whole=again,
                began_ms=time.time_ns() // 1_000_000,
            )
            if not dry_run:
                with store.transaction():
                    _write_begin(store.scratch, begun, kind, sealed=sealed)
            return begun

    def write(
        self, push: Begun, entry: LedgerEntry, *, finished: bool = False, wait_s: float = 0
    ) -> None:
        """Write down what is done.

        Another process may have written for the same push: nothing of it is lost.

        Raises StoreBusy, StoreUnusable.
        """
        if not self._path.exists():
            raise StoreUnusable(f"{self._path} is gone")
        scratch = self._scratch
        with self._open(write=True, wait_s=wait_s) as store, store.transaction():
            _write_runs(scratch, push.number, entry.runs)
            if entry.refused:
                _write_refused(scratch, push.number, entry.refused)
            if entry.profiles:
                note_accepted(scratch, push.host, entry.profiles)
            if entry.events:
                note_events(scratch, push.host, entry.events)
            scratch.run(
                ADD_COUNTS,
                {
                    "push": push.number,
                    "rows": entry.rows,
                    "accepted": entry.accepted,
                    "refused": len(entry.refused),
                    "unchanged": entry.unchanged,
                    "finished": finished,
                    "now_ms": time.time_ns() // 1_000_000,
                },
            )


def _sealed(secret: str, request: Mapping[str, object]) -> str:
    """Return the hash of the words of a push: the store does not keep the words."""
    text = f"{secret}:{json.dumps(request, sort_keys=True)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _resumed(scratch: Scratch, row: _PushRow, namespace: UUID, *, host: str | None) -> Begun:
    return Begun(
        number=row.number,
        namespace=namespace,
        until=row.until,
        host=host,
        done=_runs_done(scratch, row.number),
        rows=row.rows,
        accepted=row.accepted,
        refused=row.refused,
        unchanged=row.unchanged,
        whole=row.whole,
        resumed=True,
        finished=row.finished,
        began_ms=row.started_ms,
    )


def _write_begin(scratch: Scratch, begun: Begun, kind: str, *, sealed: str) -> None:
    scratch.run(
        BEGIN_PUSH,
        {
            "number": begun.number,
            "kind": kind,
            "sealed": sealed,
            "until": begun.until,
            "started_ms": begun.began_ms,
            "made_by": who(),
            "whole": begun.whole,
        },
    )


def _runs_done(scratch: Scratch, push: int) -> list[Run]:
    rows = scratch.rows(RUNS_DONE, {"push": push})
    return [(int(begin), int(end)) for begin, end in rows]


def _write_runs(scratch: Scratch, push: int, runs: Sequence[Run]) -> None:
    before = _runs_done(scratch, push)
    after = joined([*before, *runs])
    if after != before:
        scratch.run(FORGET_RUNS, {"push": push})
        begins, ends = [begin for begin, _ in after], [end for _, end in after]
        scratch.run(PUT_RUNS, {"push": push, "first": begins, "last": ends})


def _write_refused(scratch: Scratch, push: int, refused: Sequence[RefusedPart]) -> None:
    columns = {
        "position": [batch.position for batch in refused],
        "part": [batch.part for batch in refused],
        "code": [batch.code for batch in refused],
    }
    scratch.run(PUT_REFUSED, {"push": push, **columns})
