"""How imports are taken back: choose what goes, take it back, make again what comes after it.

What only a replay needs is imported where it is used: it takes half a second, and the history and
a plain undo need none of it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from profilectl.codes import InputRefused, NobodyFound, ProfilectlError, StoreBusy, UsageError
from profilectl.files import progress
from profilectl.files.suppression_key import key_of_store
from profilectl.rules.counts import NO_REJECTS, ImportReport, PastImport
from profilectl.store.history import history_of, import_numbered, kept_out_of
from profilectl.store.opening import open_beside, open_store
from profilectl.store.scratch import Scratch, scratch_beside
from profilectl.store.segments import Segment
from profilectl.store.store import OpenStore, State, who

if TYPE_CHECKING:
    from profilectl.importing.request import ImportRequest
    from profilectl.importing.suppression import Guard

REPLAY_WAIT_S = 30.0
"""How long a replay waits at least for the store at its end, so that its work is not lost."""

ROWS_OF_IMPORT = "select first_arrival, arrivals from store.import where number = $number"
# Calculated attributes and audiences of these profiles are to be computed anew.
MAKE_STALE = """
insert into store.stale
select profile from store.removed where import = $number
union
select destination from store.alias where import = $number
"""
STALE_OF_CORRECTION = """
insert into store.stale
select distinct stored_row.profile
from {table} as stored_row
join store.import
  on stored_row.arrival >= import.first_arrival
  and stored_row.arrival < import.first_arrival + import.arrivals
where import.number = $number
"""
BY_NUMBER = ("removed", "request", "reject", "alias", "outbox")
"""Tables whose rows name their import."""
BY_ARRIVAL = {
    "dropped": "arrival",
    "passed": "arrival",
    "remark": "arrival",
    "passed_claim": "arrival",
    "line_run": "first_arrival",
}
"""Tables whose rows have an arrival, and the column of it."""
PUT_UNDONE = """
update store.import
set undone_ms = $at_ms, undone_by = $who
where number = $number
"""
# Whether any output knows members of an audience.
IS_AUDIENCE_TOLD = "select exists (from store.audience_told)"
# A feed that only this import registered goes with it, so that it can be registered rightly.
REMOVE_FEED = """
delete from store.feed
where import = $number
  and not exists (
    select 1 from store.import where import.feed = feed.number and import.undone_ms is null
  )
"""
# Else it counts as registered by the oldest import that is still in force.
HAND_ON_FEED = """
update store.feed
set import = (
  select min(number) from store.import where import.feed = feed.number and undone_ms is null
)
where import = $number
"""


@dataclass(frozen=True, slots=True)
class Undone:
    """The imports that were taken back."""

    numbers: list[int]
    """The numbers of the imports, newest first."""
    replayed: list[tuple[int, int]]
    """Which of them were made again: old number, new number."""


def imports_of(path: Path, *, wait_s: float = 0) -> list[PastImport]:
    """Return the history of a store, oldest first. Raises StoreBusy, StoreUnusable."""
    with open_beside(path, wait_s=wait_s) as store:
        return history_of(store)


def import_of(path: Path, number: int, *, wait_s: float = 0) -> PastImport:
    """Return one import. Raises InputRefused if there is none of that number."""
    with open_beside(path, wait_s=wait_s) as store:
        past = import_numbered(store, number)
        if past.undone_ms is not None:
            return past
        return replace(past, kept_out=kept_out_of(store, number))


def going(
    path: Path, number: int, *, cascade: bool, replay: bool, wait_s: float = 0
) -> list[PastImport]:
    """Return what an undo would take back, newest first.

    Raises InputRefused if it would refuse.
    """
    with open_beside(path, wait_s=wait_s) as store:
        return to_replay(store, number) if replay else to_undo(store, number, cascade=cascade)


def undo_import(
    path: Path,
    number: int,
    *,
    cascade: bool = False,
    replay: bool = False,
    wait_s: float = 0,
) -> Undone:
    """Take an import back.

    cascade: also take back those that rest on it; replay: make all later ones again. Raises
    InputRefused if that cannot be, StoreBusy, StoreUnusable; then the store is as before.
    """
    if replay:
        return _replay(path.absolute(), number, wait_s=wait_s)
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, write=True, wait_s=wait_s) as store,
    ):
        pasts = to_undo(store, number, cascade=cascade)
        undo(store, pasts)
        has_definitions = store.has_definitions()
    if has_definitions:
        from profilectl.audiences.refresh import refresh_once_done

        refresh_once_done(path, f"import {number} is undone", wait_s=wait_s)
    return Undone([past.number for past in pasts], [])


def _replay(path: Path, number: int, *, wait_s: float) -> Undone:
    """Undo and import again on a copy, which takes the store's place when all of it is done."""
    from profilectl.audiences.refresh import refresh_once_done
    from profilectl.importing.suppression import guard_of
    from profilectl.store.copies import copy_store, put_in_place

    with scratch_beside(path) as scratch:
        copy = scratch.folder / "replayed.duckdb"
        with open_store(scratch, path, wait_s=wait_s) as store:
            state, readings = store.state(), store.readings()
            to_replay(store, number)
        copy_store(path, copy, until=time.monotonic() + wait_s)
        with open_store(scratch, copy, write=True) as store:
            if store.state() != state:
                raise StoreBusy(f"{path} was changed meanwhile", "run it again")
            pasts = to_replay(store, number)
            undo(store, pasts)
        with key_of_store(path):
            with open_store(scratch, copy) as store:
                again = _Again(copy, scratch.folder, guard=guard_of(store))
            # The last of them is the import itself, which does not come back.
            later = [past for past in reversed(pasts[:-1]) if not _is_erased(past)]
            replayed = [again.make(past) for past in _each_in_its_time(later)]
        _put_back(scratch, copy, readings)
        with open_store(scratch, path, write=True, wait_s=max(wait_s, REPLAY_WAIT_S)) as store:
            if store.state() != state:
                raise StoreBusy(
                    f"{path} was changed meanwhile; it is as the other left it", "run it again"
                )
            put_in_place(scratch, copy, path)
    refresh_once_done(
        path, f"import {number} is undone, and later ones are made again", wait_s=wait_s
    )
    return Undone([past.number for past in pasts], replayed)


def _each_in_its_time(pasts: Sequence[PastImport]) -> Iterator[PastImport]:
    """Yield imports that are made again, each of which takes about as long as it took then."""
    times_ms = [max(1, past.finished_ms - past.started_ms) for past in pasts]
    whole_ms, before_ms = sum(times_ms), 0
    progress.weigh("replaying", whole_ms / 1000)
    progress.step("replaying")
    for past, time_ms in zip(pasts, times_ms, strict=True):
        progress.span(before_ms / whole_ms, (before_ms + time_ms) / whole_ms)
        before_ms += time_ms
        with progress.watching(None):
            yield past


def _put_back(scratch: Scratch, copy: Path, readings: Mapping[str, Mapping[str, object]]) -> None:
    """Give feeds their readings again: a feed that went with its import came back without one."""
    if readings:
        with open_store(scratch, copy, write=True) as store, store.transaction():
            for name, reading in readings.items():
                store.put_reading(name, reading)


def _is_erased(past: PastImport) -> bool:
    """Return whether a correction was of somebody who was erased since.

    Then nothing is left of it to make again.
    """
    return bool(past.request and past.request.get("erased"))


@dataclass(frozen=True, slots=True)
class _Again:
    """Makes past imports again, with their arrivals and their times."""

    copy: Path
    """The store that they are made in."""
    folder: Path
    """Where their rejects go."""
    guard: Guard | None
    """The guard that keeps erased people out; None if nobody was erased."""

    def make(self, past: PastImport) -> tuple[int, int]:
        """Make an import again; return its old and its new number."""
        from profilectl.importing.corrections.alias import alias_again
        from profilectl.importing.corrections.identities import modify_again
        from profilectl.importing.run import import_files

        assert past.request is not None
        # the key that the request of an import by hand has
        for kind, make in (("modify", modify_again), ("alias", alias_again)):
            if kind in past.request:
                try:
                    report = make(
                        self.copy,
                        past.request,
                        now_ms=past.started_ms,
                        first_arrival=past.first_arrival,
                    )
                except (InputRefused, NobodyFound, UsageError) as error:
                    raise _cannot(past, error) from None
                return past.number, report.number or 0
        folder = past.request.get("folder", ".")
        try:
            # The paths of the request are relative to the folder that it was made in.
            with contextlib.chdir(folder if Path(folder).is_dir() else "."):
                report = import_files(self.copy, self._request(past, past.request))
        except InputRefused as error:
            raise _cannot(past, error) from None
        return past.number, report.number or 0

    def _request(self, past: PastImport, document: Mapping[str, object]) -> ImportRequest:
        """Return the request of an import that came from files, or from a correction."""
        from profilectl.importing.corrections.attributes import content_again
        from profilectl.importing.request import request_of

        has_files = document.get("content") is None
        if not has_files:
            try:
                document = {**document, "content": content_again(self.copy, document)}
            except (NobodyFound, UsageError) as error:
                raise _cannot(past, error) from None

        def opened(report: ImportReport, state: State) -> None:
            if has_files:
                self._check_files(past, report)

        return request_of(
            # The import of an older version: that knew no spoiled numbers, and took any time.
            {"allow_spoiled": True, "any_time": True, **document},
            protection=past.protection,
            source=past.source,
            rejects=(
                NO_REJECTS
                if document.get("rejects") == NO_REJECTS
                else str(self.folder / "rejects.jsonl")
            ),
            first_arrival=past.first_arrival,
            now_ms=past.started_ms,
            refreshes=False,
            opened=opened,
        )

    def _check_files(self, past: PastImport, report: ImportReport) -> None:
        """Refuse files that are not what they were.

        The hash of a file was made anew, with the key of those who stay out, when one of its rows
        was erased.
        """
        hashes_then = {file["path"]: file["sha256"] for file in past.report["files"]}
        hashes = {file.path: file.sha256 for file in report.files}
        changed = [
            path
            for path in {**hashes_then, **hashes}
            if hashes_then.get(path) != hashes.get(path)
            and not (
                self.guard
                and path in hashes
                and hashes_then.get(path) == self.guard.text(hashes[path])
            )
        ]
        if changed:
            raise InputRefused(f"{', '.join(changed)} is not what it was")


def _cannot(past: PastImport, error: ProfilectlError) -> InputRefused:
    return InputRefused(
        f"import {past.number} cannot be made again: {error.message}",
        "the store is as before; undo with --cascade, or put the files back where they were",
    )


def to_undo(store: OpenStore, number: int, *, cascade: bool) -> list[PastImport]:
    """Return the imports that must go for one to be taken back, newest first.

    Raises InputRefused if it cannot be taken back, or others rest on it and cascade is not given.
    """
    past = import_numbered(store, number)
    if past.undone_ms is not None:
        raise InputRefused(
            f"import {number} was undone already", "profilectl imports list shows what is in force"
        )
    if not past.undoable:
        raise InputRefused(
            f"import {number} was laid together with others and cannot be taken back any more",
            "restore a backup; the setting history.keep says how many imports keep tables of their"
            " own",
        )
    resting = _resting_on(store, number)
    if resting and not cascade:
        listed = ", ".join(f"{later.number} ({later.feed})" for later in resting)
        raise InputRefused(
            f"import {number} cannot be taken back alone: later imports rest on it: {listed}",
            f"profilectl imports undo {number} --cascade takes those back as well;"
            " --replay makes them again without it",
        )
    return [*reversed(resting), past]


def _resting_on(store: OpenStore, number: int) -> list[PastImport]:
    """Return the imports in force that rest on one, or on others that do; oldest first.

    An import that did not write down what it rests on may rest on any.
    """
    resting: list[PastImport] = []
    going_numbers = {number}
    for past in history_of(store):
        if past.number <= number or past.undone_ms is not None:
            continue
        if past.needs is None or going_numbers.intersection(past.needs):
            going_numbers.add(past.number)
            resting.append(past)
    return resting


def to_replay(store: OpenStore, number: int) -> list[PastImport]:
    """Return all imports in force from one on, newest first.

    Raises InputRefused if one cannot go, or what it was made of was not written down.
    """
    to_undo(store, number, cascade=True)
    later = [past for past in history_of(store) if past.number >= number and past.undone_ms is None]
    for past in later[1:]:
        if past.request is None or "-" in past.request["paths"]:
            why = (
                "what it read is not kept (standard input, or serve)"
                if past.request
                else "an older version made it, which did not write down how"
            )
            raise InputRefused(
                f"import {past.number} cannot be made again: {why}",
                "undo with --cascade, and import what is missing",
            )
    return later[::-1]


def undo(store: OpenStore, pasts: list[PastImport], *, now_ms: int | None = None) -> None:
    """Take imports back, in one transaction.

    They stay in the history; their content may be imported again.
    """
    segments = {
        segment.first_import: segment
        for segment in store.segments()
        if segment.first_import == segment.last_import
    }
    at_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    with store.transaction():
        if store.scratch.row(IS_AUDIENCE_TOLD)[0]:
            # Here, because most stores tell nobody of an audience, and it takes 20 ms to load.
            from profilectl.audiences.outgoing.removals import remove_before_undo

            remove_before_undo(store, [past.number for past in pasts])
        for past in pasts:
            _take_back(store, past, segments.get(past.number), at_ms=at_ms)
        _take_out(store, [past.number for past in pasts])


def _take_out(store: OpenStore, numbers: Sequence[int]) -> None:
    """Take corrections out of the segments in which they were laid together."""
    for segment in store.segments():
        within = [n for n in numbers if segment.first_import <= n <= segment.last_import]
        if segment.by_hand and within:
            from profilectl.store.compaction import take_out

            if store.has_definitions():
                for number in within:
                    stale = STALE_OF_CORRECTION.format(table=segment.table("row"))
                    store.scratch.run(stale, {"number": number})
            take_out(store, segment, within)


def _take_back(store: OpenStore, past: PastImport, segment: Segment | None, *, at_ms: int) -> None:
    """Remove what one import left in the store; its entry in the history says so."""
    scratch, number = store.scratch, {"number": past.number}
    if store.has_definitions():
        if segment:
            rows = segment.table("row")
            scratch.run(f"insert into store.stale select distinct profile from {rows}")
        scratch.run(MAKE_STALE, number)
    if segment:
        store.drop_segment(segment)
    for table in BY_NUMBER:
        scratch.run(f"delete from store.{table} where import = $number", number)
    first_arrival, arrivals = scratch.row(ROWS_OF_IMPORT, number)
    within = {"first": first_arrival, "end": first_arrival + arrivals}
    for table, column in BY_ARRIVAL.items():
        scratch.run(
            f"delete from store.{table} where {column} >= $first and {column} < $end", within
        )
    scratch.run(PUT_UNDONE, {**number, "at_ms": at_ms, "who": who()})
    scratch.run(REMOVE_FEED, number)
    scratch.run(HAND_ON_FEED, number)
