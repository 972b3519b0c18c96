"""Taking imports back, from outside: open the store, choose what goes, take it back or make it
again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from profilectl.audiences.refresh import refresh_once_done
from profilectl.codes import InputRefused, NobodyFound, ProfilectlError, StoreBusy, UsageError
from profilectl.files.suppression_key import key_of_store
from profilectl.importing.corrections.alias import alias_again
from profilectl.importing.corrections.attributes import content_again
from profilectl.importing.corrections.identities import modify_again
from profilectl.importing.request import request_of
from profilectl.importing.run import import_files
from profilectl.importing.suppression import Guard, guard_of
from profilectl.rules.counts import ImportReport, Past
from profilectl.store.copies import copy_store, put_in_place
from profilectl.store.history import history_of, import_numbered, kept_out_of
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.segments import Segment
from profilectl.store.store import OpenStore, State, who

BY_HAND = {"modify": modify_again, "alias": alias_again}
"""How an import that came from no file is made again, by what its request has."""


@dataclass(frozen=True, slots=True)
class Undone:
    """What was taken back, newest first, and which of it was made again: old number, new number."""

    numbers: list[int]
    replayed: list[tuple[int, int]]


def imports_of(path: Path, *, wait_s: float = 0) -> list[Past]:
    """Return the history of a store, oldest first. Raises StoreBusy, StoreUnusable."""
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, wait_s=wait_s) as store,
    ):
        return history_of(store)


def import_of(path: Path, number: int, *, wait_s: float = 0) -> Past:
    """Return one import. Raises InputRefused where there is none of that number."""
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, wait_s=wait_s) as store,
    ):
        past = import_numbered(store, number)
        return (
            past
            if past.undone_ms is not None
            else replace(past, kept_out=kept_out_of(store, number))
        )


def going(path: Path, number: int, *, cascade: bool, replay: bool, wait_s: float = 0) -> list[Past]:
    """Return what an undo would take back, newest first.

    Raises InputRefused where it would refuse.
    """
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, wait_s=wait_s) as store,
    ):
        return to_replay(store, number) if replay else to_undo(store, number, cascade=cascade)


def undo_import(
    path: Path,
    number: int,
    *,
    cascade: bool = False,
    replay: bool = False,
    wait_s: float = 0,
    progress: Callable[[str, int], None] = lambda step, rows: None,
) -> Undone:
    """Take an import back; cascade: with those that rest on it; replay: and make all later ones
    again.

    Raises InputRefused where that cannot be, StoreBusy, StoreUnusable; then the store is as before.
    """
    if replay:
        return _replay(path.absolute(), number, wait_s, progress)
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, write=True, wait_s=wait_s) as store,
    ):
        pasts = to_undo(store, number, cascade=cascade)
        undo(store, pasts)
        defined = store.has_definitions()
    if defined:
        refresh_once_done(path, f"import {number} is undone", wait_s=wait_s)
    return Undone([past.number for past in pasts], [])


def _replay(path: Path, number: int, wait_s: float, progress: Callable[[str, int], None]) -> Undone:
    """Undo and import again on a copy, which takes the store's place when all of it is done."""
    with scratch_beside(path) as scratch:
        copy = scratch.folder / "replayed.duckdb"
        with open_store(scratch, path, wait_s=wait_s) as store:
            state = store.state()
            to_replay(store, number)
        copy_store(path, copy, until=time.monotonic() + wait_s)
        with open_store(scratch, copy, write=True) as store:
            if store.state() != state:
                raise StoreBusy(f"{path} was changed meanwhile", "run it again")
            pasts = to_replay(store, number)
            undo(store, pasts)
        with key_of_store(path):
            with open_store(scratch, copy) as store:
                guard = guard_of(store)
            replayed = [
                _make_again(copy, past, scratch.folder, progress, guard)
                for past in reversed(pasts[:-1])
                if not _is_erased(past)
            ]
        with open_store(scratch, path, write=True, wait_s=max(wait_s, 30)) as store:
            if store.state() != state:
                raise StoreBusy(
                    f"{path} was changed meanwhile; it is as the other left it", "run it again"
                )
            put_in_place(scratch, copy, path)
    refresh_once_done(
        path, f"import {number} is undone, and later ones are made again", wait_s=wait_s
    )
    return Undone([past.number for past in pasts], [one for one in replayed if one])


def _is_erased(past: Past) -> bool:
    """Say whether a correction was of somebody who was erased since: then nothing is left of it to
    make again.
    """
    return bool(past.request and past.request.get("erased"))


def _make_again(
    copy: Path, past: Past, folder: Path, progress: Callable[[str, int], None], guard: Guard | None
) -> tuple[int, int]:
    """Import the files of a past import again, with its arrivals and its time."""
    assert past.request is not None
    for kind, make in BY_HAND.items():
        if kind in past.request:
            try:
                report = make(
                    copy, past.request, now_ms=past.started_ms, first_arrival=past.first_arrival
                )
            except (InputRefused, NobodyFound, UsageError) as error:
                raise _cannot(past, error) from None
            return past.number, report.number or 0

    kept = past.request
    if kept.get("content") is not None:
        try:
            kept = {**kept, "content": content_again(copy, kept)}
        except (NobodyFound, UsageError) as error:
            raise _cannot(past, error) from None

    def opened(report: ImportReport, state: State) -> None:
        if kept.get("content") is not None:
            return
        then = {file["path"]: file["sha256"] for file in past.report["files"]}
        now = {file.path: file.sha256 for file in report.files}
        # Of a file of which a row was erased since, the hash was made with the key of those who
        # stay out.
        changed = [
            path
            for path in {**then, **now}
            if then.get(path) != now.get(path)
            and not (guard and path in now and then.get(path) == guard.text(now[path]))
        ]
        if changed:
            raise InputRefused(f"{', '.join(changed)} is not what it was")

    request = request_of(
        # what an import took that knew no spoiled numbers, or took any time
        {"allow_spoiled": True, "any_time": True, **kept},
        protection=past.protection,
        source=past.source,
        rejects=str(folder / "rejects.jsonl"),
        first_arrival=past.first_arrival,
        now_ms=past.started_ms,
        refreshes=False,
        progress=progress,
        opened=opened,
    )
    at = past.request.get("folder", ".")
    try:
        with contextlib.chdir(at if Path(at).is_dir() else "."):
            report = import_files(copy, request)
    except InputRefused as error:
        raise _cannot(past, error) from None
    return past.number, report.number or 0


def _cannot(past: Past, error: ProfilectlError) -> InputRefused:
    return InputRefused(
        f"import {past.number} cannot be made again: {error.message}",
        "the store is as before; undo with --cascade, or put the files back where they were",
    )


def to_undo(store: OpenStore, number: int, *, cascade: bool) -> list[Past]:
    """Return the imports that must go for one to be taken back, newest first.

    Raises InputRefused where it cannot be taken back, or others rest on it and cascade is not
    given.
    """
    past = import_numbered(store, number)
    if past.undone_ms is not None:
        raise InputRefused(
            f"import {number} was undone already", "profilectl imports list shows what is in force"
        )
    if not past.undoable:
        raise InputRefused(
            f"import {number} was laid together with others and cannot be taken back any more",
            "restore a backup; the setting history.keep says how many imports keep tables of their own",
        )
    later = [one for one in history_of(store) if one.number > number and one.undone_ms is None]
    going = {number}
    for one in later:
        if one.needs is None or going.intersection(one.needs):
            going.add(one.number)
    others = [one for one in later if one.number in going]
    if others and not cascade:
        listed = ", ".join(f"{one.number} ({one.feed})" for one in others)
        raise InputRefused(
            f"import {number} cannot be taken back alone: later imports rest on it: {listed}",
            f"profilectl imports undo {number} --cascade takes those back as well; --replay makes them again without it",
        )
    return [*reversed(others), past]


def to_replay(store: OpenStore, number: int) -> list[Past]:
    """Return all imports in force from one on, newest first.

    Raises InputRefused where one cannot go, or what it was made of was not written down.
    """
    to_undo(store, number, cascade=True)
    later = [one for one in history_of(store) if one.number >= number and one.undone_ms is None]
    for one in later[1:]:
        if one.request is None or "-" in one.request["paths"]:
            why = (
                "what it read is not kept (standard input, or serve)"
                if one.request
                else "an older version made it, which did not write down how"
            )
            raise InputRefused(
                f"import {one.number} cannot be made again: {why}",
                "undo with --cascade, and import what is missing",
            )
    return later[::-1]


def undo(store: OpenStore, pasts: list[Past], *, now_ms: int | None = None) -> None:
    """Take imports back, in one transaction.

    They stay in the history; their content may be imported again.
    """
    # whoever reads the history needs none of it
    from profilectl.audiences.outbox import remove_before_undo

    segments = {
        one.first_import: one for one in store.segments() if one.first_import == one.last_import
    }
    at_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    with store.transaction():
        remove_before_undo(store, [past.number for past in pasts])
        for past in pasts:
            _take_back(store, past, segments.get(past.number), at_ms)


def _take_back(store: OpenStore, past: Past, segment: Segment | None, at_ms: int) -> None:
    scratch, bound = store.scratch, {"number": past.number}
    if store.has_definitions():
        rows = f"select profile from {segment.table('row')} union " if segment else ""
        scratch.run(
            f"insert into store.stale {rows}select profile from store.removed where import = $number union select destination from store.alias where import = $number",
            bound,
        )
    if segment:
        store.drop_segment(segment)
    for table in ("removed", "request", "reject", "alias", "outbox"):
        scratch.run(f"delete from store.{table} where import = $number", bound)
    first, arrivals = scratch.row(
        "select first_arrival, arrivals from store.import where number = $number", bound
    )
    for table, column in (
        ("dropped", "arrival"),
        ("passed", "arrival"),
        ("remark", "arrival"),
        ("passed_claim", "arrival"),
        ("line_run", "first_arrival"),
    ):
        scratch.run(
            f"delete from store.{table} where {column} >= $first and {column} < $end",
            {"first": first, "end": first + arrivals},
        )
    scratch.run(
        "update store.import set undone_ms = $at_ms, undone_by = $who where number = $number",
        {**bound, "at_ms": at_ms, "who": who()},
    )
    # A feed that only this import registered goes with it, so that it can be registered rightly.
    others = "select min(number) from store.import where import.feed = feed.number and import.undone_ms is null"
    scratch.run(f"delete from store.feed where import = $number and ({others}) is null", bound)
    scratch.run(f"update store.feed set import = ({others}) where import = $number", bound)
