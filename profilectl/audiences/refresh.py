"""Calculated attributes and memberships, brought up to date after something changed.

Three kinds of profiles may have other values now: those that a new import touched, those that an
undone import had touched, and those for which an event entered or left a window since the last time
(touched_sql). Only these are computed, unless a definition is new. A stage is decided while others
read the store (evaluation), and written in one transaction (refresh_writing).

A stage is a workspace (refresh_plan). If audiences refer to others and there are several
workspaces, the referring ones are stages of their own, after all that refer to none. People that a
stage moved are marked stale in the store for the stages after it: if the refresh is killed in
between, the next one makes up for it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from profilectl.audiences.evaluation import decide
from profilectl.audiences.refresh_marks import RefreshDefinitions, Stamp, definitions_of, stamp_of
from profilectl.audiences.refresh_plan import (
    RefreshPlan,
    RefreshRequest,
    RefreshStage,
    plan_of,
    stages_of,
)
from profilectl.audiences.refresh_writing import Refreshed, write_stage
from profilectl.files import progress
from profilectl.rules.counts import ImportReport
from profilectl.store.opening import UNREFRESHED, once_done, open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore, State

WRITE_WAIT_S = 10
"""How long a refresh waits at least until it may write, in seconds."""


def refresh_store(
    path: Path,
    *,
    now_ms: int | None = None,
    wait_s: float = 0,
    request: RefreshRequest | None = None,
    memory_limit: str | None = None,
    number: int | None = None,
) -> Refreshed:
    """Bring calculated attributes and memberships up to date.

    `number` is the import that asks for it. Raises StoreBusy, StoreUnusable; then everything is as
    before, and the next refresh makes up for it.
    """
    at_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    request = request or RefreshRequest()
    refreshed = Refreshed(0)
    progress.step("calculating")
    with scratch_beside(path, memory_limit) as scratch:
        with open_store(scratch, path, wait_s=wait_s) as store:
            defined = definitions_of(store)
            stages = stages_of(defined)
            if not stages:
                return refreshed
            # the first one at once: opening the store again costs as much as a small stage
            decided = _decided(store, stages[0], request, defined=defined, at_ms=at_ms)
        first_seen: State | None = None
        # one after the other: each workspace rests on its own attributes and events
        for stage in stages:
            if stage is not stages[0]:
                with open_store(scratch, path, wait_s=wait_s) as store:
                    defined = definitions_of(store)
                    decided = _decided(store, stage, request, defined=defined, at_ms=at_ms)
            writing = open_store(scratch, path, write=True, wait_s=max(wait_s, WRITE_WAIT_S))
            with writing as store:
                # somebody committed in between: once more, while nobody else can
                defined = definitions_of(store)
                if stamp_of(store, defined) != decided.stamp:
                    decided = _decided(store, stage, request, defined=defined, at_ms=at_ms)
                first_seen = first_seen or decided.stamp.state
                written = write_stage(
                    store, decided.plan, number, first_seen=first_seen, last=stage == stages[-1]
                )
            refreshed.add(written, plain=stage.plain)
    return refreshed


class _Decided(NamedTuple):
    """A stage that is decided, and not yet written."""

    stamp: Stamp
    """What it rests on."""
    plan: RefreshPlan
    """Its plan."""


def _decided(
    store: OpenStore,
    stage: RefreshStage,
    request: RefreshRequest,
    *,
    defined: RefreshDefinitions,
    at_ms: int,
) -> _Decided:
    """Decide a stage; others may read the store meanwhile."""
    plan = plan_of(store, stage, request, defined=defined, now_ms=at_ms)
    stamp = stamp_of(store, defined)
    decide(store, plan)
    return _Decided(stamp, plan)


def refresh_once_done(path: Path, done: str, *, wait_s: float = 0) -> None:
    """Bring up to date what rests on a change that is committed.

    `done` says what was changed. If the refresh fails, a warning says so, and the next one makes up
    for it.
    """
    with once_done(done, UNREFRESHED, "profilectl audiences refresh tries again"):
        refresh_store(path, wait_s=max(wait_s, WRITE_WAIT_S))


def refresh_after_change(path: Path, report: ImportReport, *, wait_s: float = 0) -> None:
    """Bring up to date what rests on a change by hand, and report who entered and left.

    A store that is busy is left to the next refresh.
    """
    with once_done(
        f"import {report.number} is done",
        UNREFRESHED,
        "the next import tries again, as does profilectl audiences refresh",
        busy=True,
    ):
        waits_s = max(wait_s, WRITE_WAIT_S)
        with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=waits_s) as store:
            defined = store.has_definitions()
        if defined:
            refreshed = refresh_store(path, wait_s=waits_s, number=report.number)
            report.audiences = refreshed.moved()
