"""The books of a push while it runs: what is under way, how it ended, and what is to be written."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from profilectl.codes import sentence
from profilectl.outputs.packing import PackedBatch, Request, Track, request_id
from profilectl.outputs.push.host import AcceptedProfile, SentEvent
from profilectl.outputs.push.ledger import Begun, LedgerEntry, RefusedPart
from profilectl.outputs.push.source import PushSource, Row
from profilectl.rules.fields import UnusableRow

Progress = Callable[[int, int], None]
"""Takes how many rows are done, of how many."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A batch that is refused, here or by the platform."""

    position: int
    """Its position in the push."""
    part: int
    """Which of the batches of that position it is."""
    code: str
    """The code of the reason."""
    message: str
    """The reason as a sentence."""
    raw: str
    """The text of the batch."""


@dataclass(slots=True)
class Tally:
    """What was counted. The rows are of all runs of a push, the batches of this one."""

    done: int = 0
    """How many rows are done."""
    unchanged: int = 0
    """How many rows the host has as they are."""
    packed: int = 0
    """How many batches were put into requests."""
    historical: int = 0
    """How many of these are for the historical endpoint."""
    reasons: Counter[str] = field(default_factory=Counter)
    """How many batches were refused, by the code of the reason."""
    refused_file: str | None = None
    """The file that the refused batches were written to; None: there are none."""


@dataclass(slots=True)
class Books:
    """What is under way in a push, and what is to be written down."""

    source: PushSource
    """Where the rows come from."""
    begun: Begun
    """The push."""
    track: Track
    """Which positions are done."""
    refused: Path | None
    """The file for refused batches; None: they are counted only."""
    progress: Progress
    """Is called whenever a row is done."""
    tally: Tally
    """What was counted so far."""
    pending: LedgerEntry = field(default_factory=lambda: LedgerEntry([]))
    """What is to be written down next."""
    places: dict[int, dict[str, str | int]] = field(default_factory=dict)
    """Where each row under way is, for a person, by its position."""
    profiles: dict[int, AcceptedProfile] = field(default_factory=dict)
    """What is written down of a row once all of it is accepted, by its position."""
    owners: dict[int, int] = field(default_factory=dict)
    """Whose events a row has, by its position."""

    def blocks(self) -> Iterator[list[Row]]:
        """Yield the rows that are not done, a block at a time."""
        return self.source.blocks(self.track, self._name)

    def _name(self, position: int, part: int, content: str) -> str:
        return request_id(
            self.begun.namespace,
            self.begun.number,
            position=position,
            part=part,
            content=content,
        )

    def begin(self, rows: Iterable[Row]) -> list[PackedBatch]:
        """Begin rows and return their batches; those that cannot be sent are refused at once."""
        return [batch for row in rows for batch in self._begin(row)]

    def _begin(self, row: Row) -> list[PackedBatch]:
        self.track.begin(row.position, len(row.parcels) + len(row.bad))
        if row.unchanged:
            self.pending.unchanged += 1
            self.tally.unchanged += 1
            self._show()
            return []
        self.places[row.position] = row.place
        if row.accepted and not row.bad:
            self.profiles[row.position] = row.accepted
        if row.profile is not None:
            self.owners[row.position] = row.profile
        for bad in row.bad:
            message = _message(bad.error)
            self.refuse(
                Refusal(row.position, bad.part, bad.error.code, message=message, raw=bad.raw)
            )
        # A profile without an identity has no batch: nobody would be found by it.
        if not row.parcels and not row.bad:
            self._end(row.position)
        return row.parcels

    def refuse(self, refusal: Refusal) -> None:
        """Count a batch as refused, and write it to the file of refused batches."""
        self.tally.reasons[refusal.code] += 1
        # Without a digest the profile is sent again by the next push: the host lacks a part of it.
        self.profiles.pop(refusal.position, None)
        part = RefusedPart(refusal.position, refusal.part, refusal.code)
        self.pending.refused = [*self.pending.refused, part]
        if self.refused is not None:
            line = {
                **self.places[refusal.position],
                "part": refusal.part,
                "code": refusal.code,
                "message": refusal.message,
                "raw": refusal.raw,
            }
            _append(self.refused, json.dumps(line, ensure_ascii=False) + "\n")
            self.tally.refused_file = str(self.refused)
        if self.track.end(refusal.position):
            self._end(refusal.position)

    def accept(self, batches: Sequence[PackedBatch]) -> None:
        """Count batches as accepted."""
        for batch in batches:
            if (owner := self.owners.get(batch.position)) is not None:
                self.pending.events += [
                    SentEvent(owner, batch.position, place) for place in batch.places
                ]
            if self.track.end(batch.position):
                self._end(batch.position)
        self.pending.accepted += len(batches)

    def count(self, request: Request) -> None:
        """Count the batches of a request as packed."""
        self.tally.packed += len(request)
        self.tally.historical += len(request) if request[0].historical else 0

    def _end(self, position: int) -> None:
        """Count a row as done."""
        del self.places[position]
        self.pending.rows += 1
        self.tally.done += 1
        self.owners.pop(position, None)
        if profile := self.profiles.pop(position, None):
            self.pending.profiles.append(profile)
        self._show()

    def _show(self) -> None:
        self.progress(self.tally.done + self.tally.unchanged, self.source.total)

    def next_entry(self) -> LedgerEntry:
        """Return what is to be written down since the last time, which is no longer pending."""
        entry, self.pending = self.pending, LedgerEntry([])
        entry.runs = self.track.runs()
        return entry

    def put_back(self, entry: LedgerEntry) -> None:
        """Make pending again what could not be written down."""
        self.pending.rows += entry.rows
        self.pending.accepted += entry.accepted
        self.pending.unchanged += entry.unchanged
        self.pending.profiles = [*entry.profiles, *self.pending.profiles]
        self.pending.events = [*entry.events, *self.pending.events]
        self.pending.refused = [*entry.refused, *self.pending.refused]


def books_of(
    source: PushSource, begun: Begun, *, refused: Path | None, progress: Progress
) -> Books:
    """Return the books of a push that begins or goes on. refused: the file for refused batches."""
    books = Books(
        source=source,
        begun=begun,
        track=Track(source.begin, begun.done),
        refused=refused,
        progress=progress,
        tally=Tally(done=begun.rows, unchanged=begun.unchanged),
    )
    # A push that goes on has counted these in its first run.
    if not begun.rows and not begun.unchanged:
        books.pending.unchanged = books.tally.unchanged = source.unchanged
    return books


def _message(error: UnusableRow) -> str:
    return f"{sentence(error.code)}{': ' + error.detail if error.detail else ''}"


def _append(path: Path, line: str) -> None:
    """Add a line to a file of our own; what it holds is for its owner only."""
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600),
        "a",
        encoding="utf-8",
    ) as out:
        out.write(line)
