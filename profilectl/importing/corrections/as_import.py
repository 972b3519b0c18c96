"""An import that somebody makes by hand: no file, a few rows, the same history, the same undo."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from profilectl.codes import InputRefused, sentence
from profilectl.importing.commit import Import, Prepared, prepare_history, write
from profilectl.importing.entangled import LOSS_COLUMNS, LOST_IDENTITY, halves
from profilectl.importing.listed_relations import ListedRelations
from profilectl.importing.relations import Relations, fixed_columns, make_empty
from profilectl.importing.stage.staged import Rejects, Staged, StagedFile
from profilectl.rules.counts import FileReport, ImportReport
from profilectl.rules.feed import PROTECTIONS, Effect, Feed
from profilectl.store.store import OpenStore, choose_feed

CORRECTIONS = "corrections"
"""The feed of imports by hand, if none is named."""


@dataclass(frozen=True, slots=True)
class LostIdentity:
    """An identity that a profile lost."""

    profile: int
    """The profile."""
    type_code: int
    """The code of its type."""
    digest: int
    """Its hash."""
    arrival: int
    """The arrival of the row that took it."""


@dataclass(slots=True)
class ByHand:
    """An import in the making."""

    store: OpenStore
    """The store, open."""
    name: str
    """What the history shows in the place of its file."""
    feed: Feed
    """The feed that brings it."""
    registers: bool
    """Whether it registers the feed."""
    number: int
    """Its number."""
    first_arrival: int
    """The arrival of its first row."""
    now_ms: int
    """Its time."""
    report: ImportReport
    """Its report."""
    lost: list[LostIdentity] = field(default_factory=list)
    """The identities that profiles lost."""
    began: float = field(default_factory=time.monotonic)
    """When it began, on the monotonic clock, in seconds."""
    request: str | None = None
    """Its source_request_id, if it has any."""

    @property
    def relations(self) -> Relations:
        """Return the relations of the import."""
        return ListedRelations(self.store.scratch)

    def write(
        self,
        prepared: Prepared,
        identities: Sequence[str],
        needs: list[int],
        *,
        request: Mapping[str, object],
    ) -> None:
        """Write the import with its history, in one transaction of its own.

        The prepared tables are made. identities: the types that its rows have; needs: the earlier
        imports it rests on; request: how it can be made again.
        """
        staged = self.staged(identities, request)
        entry = Import(
            number=self.number,
            first_arrival=self.first_arrival,
            feed=self.feed,
            registers=self.registers,
            started_ms=self.now_ms,
            request={"paths": [self.name], **request},
            needs=needs,
            staged=staged,
            report=self.report,
        )
        self._make_history(entry)
        rows = self.report.counts.rows["read"]
        self.report.number = self.number
        self.report.files = [FileReport(self.name, staged.files[0].sha256, rows)]
        # By hand the store is locked from beginning to end.
        elapsed_ms = round((time.monotonic() - self.began) * 1000)
        self.report.locked_ms = self.report.elapsed_ms = elapsed_ms
        write(self.store, prepared, entry)

    def _make_history(self, entry: Import) -> None:
        """Make the relations that the history is prepared of, and prepare it."""
        relations = self.relations
        lost = [
            (identity.profile, identity.type_code, identity.arrival, *halves(identity.digest))
            for identity in self.lost
        ]
        relations.load("lost_identity_half", LOSS_COLUMNS, lost)
        relations.make("lost_identity", LOST_IDENTITY)
        # The history is prepared of these too; by hand nothing is dropped.
        make_empty(relations, "dropped")
        make_empty(relations, "resolved")
        rejects = Rejects(self.store.scratch.folder / "rejects.jsonl")
        prepare_history(relations, self.store, entry, rejects=rejects)
        if self.request:
            row = (self.feed.number, self.request, self.now_ms, self.number, self.first_arrival)
            relations.load("ready_request", fixed_columns("ready_request"), [row])

    def staged(self, identities: Sequence[str], request: Mapping[str, object]) -> Staged:
        """Return the rows of the import, as if they were staged from a file."""
        # There is no content, so the hash is that of the request.
        rows = self.report.counts.rows["read"]
        file = StagedFile(
            name=self.name,
            sha256=hashlib.sha256(orjson.dumps(request)).hexdigest(),
            format="jsonl",
            select="",
            span=rows,
            rows=rows,
            columns=[],
            plain=[],
            identities=list(identities),
            path=Path("-"),
        )
        return Staged(
            files=[file],
            offsets=[0],
            span=rows,
            plain=[],
            identities=list(identities),
            keys=[],
            loose=False,
            events=False,
        )


def joined(high: str, low: str) -> str:
    """Return the SQL of a 128-bit number from its halves."""
    return f"({high}::uhugeint * 18446744073709551616::uhugeint + {low}::uhugeint)"


@dataclass(frozen=True, slots=True)
class HandMade:
    """What an import by hand is to be."""

    name: str
    """What the history shows in the place of its file."""
    feed: str
    """The name of its feed."""
    environment: str
    """The environment of its rows."""
    rows: int
    """How many rows it has."""
    source: str | None = None
    """The source of a feed that is not registered yet."""
    now_ms: int | None = None
    """Its time; None: the clock's."""
    first_arrival: int | None = None
    """Of one that is made again, the arrival that its first row had before."""
    dry_run: bool = False
    """Whether nothing is written."""


def begin(store: OpenStore, what: HandMade) -> ByHand:
    """Return an import in the making.

    Raises InputRefused for a feed that may only read, or has another source.
    """
    feed = choose_feed(
        known=store.feed(what.feed),
        name=what.feed,
        source=what.source,
        protection=None,
        partner=None,
    )
    registers = not feed.number
    # Such a feed changes no profile, so that an import by hand would do nothing.
    if PROTECTIONS[feed.protection].known_user is Effect.PASS_BY:
        raise InputRefused(f"{feed.name}: {sentence(PROTECTIONS[feed.protection].code)}")
    if registers:
        feed = replace(feed, number=store.next_feed())
    number, first_arrival = store.next_import()
    report = ImportReport(
        number=None,
        feed=feed.name,
        source=feed.source,
        protection=feed.protection,
        environment=what.environment,
        files=[],
        feed_registered=registers,
        dry_run=what.dry_run,
    )
    report.counts.rows["read"] = report.counts.rows["applied"] = what.rows
    return ByHand(
        store=store,
        name=what.name,
        feed=feed,
        registers=registers,
        number=number,
        first_arrival=first_arrival if what.first_arrival is None else what.first_arrival,
        now_ms=what.now_ms if what.now_ms is not None else time.time_ns() // 1_000_000,
        report=report,
    )
