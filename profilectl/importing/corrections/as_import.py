"""An import that somebody makes by hand: no file, a few rows, the same history and the same undo."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from profilectl.codes import InputRefused, sentence
from profilectl.importing.commit import Import, Prepared, prepare_history, write
from profilectl.importing.stage.run import Staged
from profilectl.importing.stage.staged import Rejects, StagedFile
from profilectl.rules.counts import FileReport, ImportReport
from profilectl.rules.feed import PROTECTIONS, Effect, Feed
from profilectl.store.store import OpenStore, choose_feed

CORRECTIONS = "corrections"
"""The feed of what is done by hand, where none is named."""


@dataclass(slots=True)
class ByHand:
    """An import in the making.

    first: the arrival of its first row; taken: identities that profiles lost, as (profile, type
    code, hash, arrival); request: its source_request_id, if it has any.
    """

    store: OpenStore
    name: str
    feed: Feed
    registers: bool
    number: int
    first: int
    now_ms: int
    report: ImportReport
    taken: list[tuple[int, int, int, int]]
    began: float
    request: str | None = None

    def write(
        self,
        prepared: Prepared,
        identities: Sequence[str],
        needs: list[int],
        request: dict[str, Any],
    ) -> None:
        """Write it with its history, in one transaction of its own.

        The prepared tables are made.
        """
        scratch, rows = self.store.scratch, self.report.counts.rows["read"]
        staged = self.staged(identities, request)
        made = Import(
            self.number,
            self.first,
            self.feed,
            self.registers,
            self.now_ms,
            {"paths": [self.name], **request},
            needs,
        )
        # A hash goes in halves: DuckDB is slow at 128-bit text, and takes no Python number of that
        # size.
        columns = [
            ("profile", "BIGINT"),
            ("type", "UTINYINT"),
            ("high", "UBIGINT"),
            ("low", "UBIGINT"),
            ("arrival", "BIGINT"),
        ]
        scratch.load(
            "lost",
            columns,
            [
                (profile, kind, digest >> 64, digest & (2**64 - 1), arrival)
                for profile, kind, digest, arrival in self.taken
            ],
        )
        scratch.make(
            "taken", f"select profile, type, {joined('high', 'low')} as hash, arrival from lost"
        )
        scratch.load("dropped", [("seq", "BIGINT"), ("code", "VARCHAR")], [])
        scratch.load("resolved", [("seq", "BIGINT"), ("code", "VARCHAR")], [])
        prepare_history(
            scratch, staged, Rejects(scratch.folder / "rejects.jsonl"), made, self.report.protection
        )
        if self.request:
            columns = [
                ("feed", "USMALLINT"),
                ("request", "VARCHAR"),
                ("at_ms", "BIGINT"),
                ("import", "INTEGER"),
                ("arrival", "BIGINT"),
            ]
            scratch.load(
                "ready_request",
                columns,
                [(self.feed.number, self.request, self.now_ms, self.number, self.first)],
            )
        self.report.number, self.report.files = (
            self.number,
            [FileReport(self.name, staged.files[0].sha256, rows)],
        )
        self.report.locked_ms = self.report.elapsed_ms = round(
            (time.monotonic() - self.began) * 1000
        )
        write(self.store, prepared, made, staged, self.report)

    def staged(self, identities: Sequence[str], request: dict[str, Any]) -> Staged:
        """Return what stands for the file of the import."""
        rows = self.report.counts.rows["read"]
        digest = hashlib.sha256(orjson.dumps(request)).hexdigest()
        file = StagedFile(
            self.name, digest, "jsonl", "", rows, rows, [], [], list(identities), Path("-")
        )
        return Staged([file], [0], rows, [], list(identities), [], False, False)


def joined(high: str, low: str) -> str:
    """Return the SQL of a 128-bit number from its halves."""
    return f"({high}::uhugeint * 18446744073709551616::uhugeint + {low}::uhugeint)"


def begin(
    store: OpenStore,
    name: str,
    feed_name: str,
    source: str | None,
    environment: str,
    rows: int,
    *,
    now_ms: int | None,
    first_arrival: int | None,
    dry_run: bool,
) -> ByHand:
    """Return an import of so many rows in the making.

    name: what stands for its file in the history.

    Raises InputRefused for a feed that may only read, or has another source.
    """
    feed = choose_feed(store.feed(feed_name), feed_name, source, None, None)
    registers = not feed.number
    if PROTECTIONS[feed.protection].known_user is Effect.PASS_BY:
        raise InputRefused(f"{feed.name}: {sentence(PROTECTIONS[feed.protection].code)}")
    if registers:
        feed = replace(feed, number=store.next_feed())
    number, first = store.next_import()
    report = ImportReport(
        None,
        feed.name,
        feed.source,
        feed.protection,
        environment,
        [],
        feed_registered=registers,
        dry_run=dry_run,
    )
    report.counts.rows["read"] = report.counts.rows["applied"] = rows
    return ByHand(
        store,
        name,
        feed,
        registers,
        number,
        first if first_arrival is None else first_arrival,
        now_ms if now_ms is not None else time.time_ns() // 1_000_000,
        report,
        [],
        time.monotonic(),
    )
