"""Taking imports back, from outside: open the store, choose what goes, take it back or make it again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from profilectl.aliasing import alias_again
from profilectl.codes import InputRefused, NobodyFound, ProfilectlError, StoreBusy, UsageError
from profilectl.copies import copy_store, put_in_place
from profilectl.correction import content_again
from profilectl.engine import import_files, request_of
from profilectl.history import history_of, import_numbered, kept_out_of, to_replay, to_undo, undo
from profilectl.modification import modify_again
from profilectl.opening import open_store
from profilectl.refresh import refresh_once_done
from profilectl.report import ImportReport, Past
from profilectl.scratch import scratch_beside
from profilectl.store import State
from profilectl.suppression import Guard, guard_of
from profilectl.suppression_key import key_of_store

BY_HAND = {"modify": modify_again, "alias": alias_again}
"""How an import that came from no file is made again, by what its request has."""


@dataclass(frozen=True, slots=True)
class Undone:
    """What was taken back, newest first, and which of it was made again: old number, new number."""

    numbers: list[int]
    replayed: list[tuple[int, int]]


def imports_of(path: Path, *, wait_s: float = 0) -> list[Past]:
    """Return the history of a store, oldest first. Raises StoreBusy, StoreUnusable."""
    with scratch_beside(path.absolute()) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        return history_of(store)


def import_of(path: Path, number: int, *, wait_s: float = 0) -> Past:
    """Return one import. Raises InputRefused where there is none of that number."""
    with scratch_beside(path.absolute()) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        past = import_numbered(store, number)
        return past if past.undone_ms is not None else replace(past, kept_out=kept_out_of(store, number))


def going(path: Path, number: int, *, cascade: bool, replay: bool, wait_s: float = 0) -> list[Past]:
    """Return what an undo would take back, newest first. Raises InputRefused where it would refuse."""
    with scratch_beside(path.absolute()) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        return to_replay(store, number) if replay else to_undo(store, number, cascade=cascade)


def undo_import(
    path: Path, number: int, *, cascade: bool = False, replay: bool = False, wait_s: float = 0,
    progress: Callable[[str, int], None] = lambda step, rows: None,
) -> Undone:
    """Take an import back; cascade: with those that rest on it; replay: and make all later ones again.

    Raises InputRefused where that cannot be, StoreBusy, StoreUnusable; then the store is as before.
    """
    if replay:
        return _replay(path.absolute(), number, wait_s, progress)
    with scratch_beside(path.absolute()) as scratch, open_store(scratch, path, write=True, wait_s=wait_s) as store:
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
            replayed = [_make_again(copy, past, scratch.folder, progress, guard) for past in reversed(pasts[:-1]) if not _is_erased(past)]
        with open_store(scratch, path, write=True, wait_s=max(wait_s, 30)) as store:
            if store.state() != state:
                raise StoreBusy(f"{path} was changed meanwhile; it is as the other left it", "run it again")
            put_in_place(scratch, copy, path)
    refresh_once_done(path, f"import {number} is undone, and later ones are made again", wait_s=wait_s)
    return Undone([past.number for past in pasts], [one for one in replayed if one])


def _is_erased(past: Past) -> bool:
    """Say whether a correction was of somebody who was erased since: then nothing is left of it to make again."""
    return bool(past.request and past.request.get("erased"))


def _make_again(copy: Path, past: Past, folder: Path, progress: Callable[[str, int], None], guard: Guard | None) -> tuple[int, int]:
    """Import the files of a past import again, with its arrivals and its time."""
    assert past.request is not None
    for kind, make in BY_HAND.items():
        if kind in past.request:
            try:
                report = make(copy, past.request, now_ms=past.started_ms, first_arrival=past.first_arrival)
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
        # Of a file of which a row was erased since, the hash was made with the key of those who stay out.
        changed = [
            path for path in {**then, **now}
            if then.get(path) != now.get(path) and not (guard and path in now and then.get(path) == guard.text(now[path]))
        ]
        if changed:
            raise InputRefused(f"{', '.join(changed)} is not what it was")

    request = request_of(
        {"allow_spoiled": True, "any_time": True, **kept},  # what an import took that knew no spoiled numbers, or took any time
        protection=past.protection, source=past.source, rejects=str(folder / "rejects.jsonl"),
        first_arrival=past.first_arrival, now_ms=past.started_ms, refreshes=False, progress=progress, opened=opened,
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
