"""The ledger of what was pushed: kept in the store, written a little after the platform has
accepted, never before.

So a push that was killed sends again at most what it had not written down yet, under the same
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
from typing import Any
from uuid import UUID

from profilectl.codes import StoreUnusable
from profilectl.outputs.packing import Run, joined, namespace_of
from profilectl.outputs.push.known import Noted, SentEvent, host_named, note_events, note_known
from profilectl.store.opening import open_store
from profilectl.store.same_store import held_to
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore, who

GROWING = ("profiles", "events")
"""Kinds of pushes that are another push once they came to their end: what they are about may have
changed.
"""


@dataclass(frozen=True, slots=True)
class Begun:
    """A push as the ledger has it.

    until: profiles before this one are in it. done: positions. rows, accepted, refused, unchanged:
    in earlier runs. finished: all of it was done before. whole: what the host has already is sent
    too. host: its name in the store; None: none is known. began_ms: when it was begun.
    """

    number: int
    namespace: UUID
    until: int | None
    host: str | None = None
    done: Sequence[Run] = ()
    rows: int = 0
    accepted: int = 0
    refused: int = 0
    unchanged: int = 0
    whole: bool = False
    resumed: bool = False
    finished: bool = False
    began_ms: int = 0


@dataclass(slots=True)
class LedgerEntry:
    """What is to be written down: all runs that are done; rows, accepted, unchanged since the entry
    before; the refused batches themselves, as (position, part, code); what the host has now:
    profiles, and stored events.
    """

    runs: list[Run]
    rows: int = 0
    accepted: int = 0
    refused: Sequence[tuple[int, int, str]] = ()
    unchanged: int = 0
    known: list[Noted] = field(default_factory=list)
    events: list[SentEvent] = field(default_factory=list)


class Ledger:
    """The ledger of one store; opens it only while it reads or writes, and no other in its place."""

    def __init__(self, path: Path, wait_s: float) -> None:
        self._path, self._wait_s = path, wait_s
        self._closing = contextlib.ExitStack()
        self._scratch = self._closing.enter_context(scratch_beside(path.absolute()))

    def close(self) -> None:
        self._closing.close()

    @contextlib.contextmanager
    def _open(
        self, *, write: bool, wait_s: float | None = None, upgrade: bool = True
    ) -> Iterator[OpenStore]:
        with open_store(
            self._scratch,
            self._path,
            write=write,
            wait_s=self._wait_s if wait_s is None else wait_s,
            upgrade=upgrade,
        ) as store:
            yield store

    def begin(
        self,
        kind: str,
        asked: Mapping[str, Any],
        until: int | None,
        manner: dict[str, Any] | None = None,
        *,
        again: bool,
        dry_run: bool,
    ) -> Begun:
        """Take up the push that was asked for in the same words and not finished, or begin one.

        until: of one that begins. manner: what names the host of profiles. again: begin one in any
        case. dry_run: write nothing. A file or an import that was pushed to the end is returned as
        finished. Raises StoreBusy, StoreUnusable.
        """
        with self._open(write=not dry_run, upgrade=not dry_run) as store:
            self._closing.enter_context(held_to(self._path, store.meta("store_id")))
            secret = store.meta("secret")
            sealed = hashlib.sha256(
                f"{secret}:{json.dumps(asked, sort_keys=True)}".encode()
            ).hexdigest()
            namespace = namespace_of(secret)
            host = host_named(secret, manner) if manner else None
            found = store.scratch.rows(
                "select number, until, rows, accepted, refused, unchanged, whole, finished_ms is not null, started_ms from store.push where sealed = $sealed order by number desc limit 1",
                {"sealed": sealed},
            )
            if found and not again and (not found[0][-2] or kind not in GROWING):
                number, before, rows, accepted, refused, unchanged, whole, finished, started_ms = (
                    found[0]
                )
                done = store.scratch.rows(
                    "select first, last from store.pushed where push = $push", {"push": number}
                )
                return Begun(
                    number,
                    namespace,
                    before,
                    host,
                    [(int(first), int(last)) for first, last in done],
                    rows,
                    accepted,
                    refused,
                    unchanged,
                    whole,
                    True,
                    finished,
                    started_ms,
                )
            begun = Begun(
                int(store.scratch.row("select coalesce(max(number), 0) + 1 from store.push")[0]),
                namespace,
                until,
                host,
                whole=again,
                began_ms=time.time_ns() // 1_000_000,
            )
            if not dry_run:
                with store.transaction():
                    store.scratch.run(
                        "insert into store.push values ($number, $kind, $sealed, $until, $started_ms, null, $made_by, 0, 0, 0, 0, $whole)",
                        {
                            "number": begun.number,
                            "kind": kind,
                            "sealed": sealed,
                            "until": begun.until,
                            "started_ms": begun.began_ms,
                            "made_by": who(),
                            "whole": again,
                        },
                    )
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
        scratch, bound = self._scratch, {"push": push.number}
        with self._open(write=True, wait_s=wait_s) as store, store.transaction():
            there = [
                (int(first), int(last))
                for first, last in scratch.rows(
                    "select first, last from store.pushed where push = $push", bound
                )
            ]
            runs = joined([*there, *entry.runs])
            if runs != there:
                scratch.run("delete from store.pushed where push = $push", bound)
                scratch.run(
                    "insert into store.pushed select $push, unnest($first::bigint[]), unnest($last::bigint[])",
                    {
                        **bound,
                        "first": [first for first, _ in runs],
                        "last": [last for _, last in runs],
                    },
                )
            if entry.refused:
                scratch.run(
                    "insert into store.push_refused select $push, unnest($position::bigint[]), unnest($part::integer[]), unnest($code::varchar[])",
                    {
                        **bound,
                        **{
                            name: [one[place] for one in entry.refused]
                            for place, name in enumerate(("position", "part", "code"))
                        },
                    },
                )
            if entry.known:
                note_known(scratch, push.host, entry.known)
            if entry.events:
                note_events(scratch, push.host, entry.events)
            scratch.run(
                "update store.push set rows = rows + $rows, accepted = accepted + $accepted, refused = refused + $refused,"
                " unchanged = unchanged + $unchanged,"
                " finished_ms = case when $finished then $now else finished_ms end where number = $push",
                {
                    **bound,
                    "rows": entry.rows,
                    "accepted": entry.accepted,
                    "refused": len(entry.refused),
                    "unchanged": entry.unchanged,
                    "finished": finished,
                    "now": time.time_ns() // 1_000_000,
                },
            )
