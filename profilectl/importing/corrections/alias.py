"""Aliases: the past of an anonymous profile is carried over to a known one (domain.md 4.5).

Profiles are never merged. An alias copies the first-seen date, which replaces the destination's,
the install attribution, and the events of its window. These are read as the destination's too
(segments.CarriedEvents); nothing is written twice. Identities, attributes and consent stay where
they are. An alias is an import made by hand, so it stands in the history and can be undone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profilectl.audiences.refresh import refresh_after_change
from profilectl.codes import InputRefused, UsageError
from profilectl.importing.commit import Prepared
from profilectl.importing.corrections.as_import import ByHand, HandMade, begin
from profilectl.importing.corrections.correction import CORRECTIONS
from profilectl.importing.relations import fixed_columns
from profilectl.profiles.activity import Activity
from profilectl.profiles.aliases import EVERYWHERE
from profilectl.profiles.played import activities, one_meant
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.counts import ImportReport
from profilectl.rules.feed import workspaces_of
from profilectl.rules.text.moments import latest_ms, may_be
from profilectl.rules.text.values import Value, to_json
from profilectl.store.history import DAY_MS, time_ms
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore

NAME = "(alias)"
"""What the history shows in the place of an alias's file."""
STRATEGIES = ("default", "conversion", "link")
"""The identity strategies under which there are aliases."""
DELAY_MS = DAY_MS
"""How long after its request an alias takes effect."""
WINDOW_MS = 90 * DAY_MS
"""The longest window of events, and the one if none is stated."""

EARLIER_ALIASES = "select source, destination, start_ms, end_ms from store.alias"


@dataclass(frozen=True, slots=True)
class _Window:
    """The time whose events are carried over."""

    start_ms: int
    """When it begins."""
    end_ms: int
    """When it ends."""


# 55 lines: the rule reads from the window to the write, with every refusal in its order.
def alias_profiles(
    store_path: Path,
    source: str,
    destination: str,
    *,
    start: int | str | None = None,
    end: int | str | None = None,
    at_once: bool = False,
    feed: str = CORRECTIONS,
    environment: str | None = None,
    dry_run: bool = False,
    wait_s: float = 0,
    now_ms: int | None = None,
    first_arrival: int | None = None,
) -> ImportReport:
    """Carry the past of one profile over to another.

    source, destination: MPIDs; environment: where they are, if they are in several; start, end:
    the window of events, in milliseconds or as a text (the last 90 days); at_once: without the
    delay.

    Raises NobodyFound for an unknown MPID, UsageError for a bad window or the same MPID twice,
    InputRefused if the alias is not allowed (the platform drops it silently).
    """
    now_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    window = _window(start, end, now_ms)
    if source == destination:
        raise UsageError(
            f"{source} cannot be an alias of itself",
            "--from the anonymous profile, --to the known one",
        )
    # An alias of the history is made again as it is: its window was checked the first time.
    _check_window(window, None if first_arrival is not None else latest_ms(now_ms))
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, write=not dry_run, wait_s=wait_s) as store,
    ):
        giver, taker = _two_profiles(store, source, destination, environment=environment)
        _check_allowed(store, giver, taker, window=window)
        what = HandMade(
            name=NAME,
            feed=feed,
            environment=taker.environment,
            rows=1,
            now_ms=now_ms,
            first_arrival=first_arrival,
            dry_run=dry_run,
        )
        hand = begin(store, what)
        hand.report.counts.profiles["updated"] = 1
        if not dry_run:
            alias = {
                "source": source,
                "destination": destination,
                "environment": taker.environment,
                "start_ms": window.start_ms,
                "end_ms": window.end_ms,
                "at_once": at_once,
            }
            _write(hand, giver, taker, alias=alias)
    # A replay refreshes once, when all of it is done.
    if not dry_run and first_arrival is None:
        refresh_after_change(store_path, hand.report, wait_s=wait_s)
    return hand.report


def _window(start: int | str | None, end: int | str | None, now_ms: int) -> _Window:
    """Return the window of an alias. Raises UsageError for a text that is no time."""
    end_ms = now_ms
    if end is not None:
        end_ms = time_ms("--end", end) if isinstance(end, str) else end
    start_ms = end_ms - WINDOW_MS
    if start is not None:
        start_ms = time_ms("--start", start) if isinstance(start, str) else start
    return _Window(start_ms, end_ms)


def _check_window(window: _Window, last_ms: int | None) -> None:
    """Refuse a window that is too long, or has a time that may not be stated (TIMESTAMP_INVALID).

    last_ms: the latest time that may be stated; None: any.
    """
    if not 0 <= window.end_ms - window.start_ms <= WINDOW_MS:
        raise UsageError(
            "the window of an alias must begin before it ends, and be of 90 days at most"
        )
    for option, at_ms in (("--start", window.start_ms), ("--end", window.end_ms)):
        if last_ms is not None and not may_be(at_ms, last_ms):
            raise UsageError(
                f"{option}: a window lies from 1970 to a year ahead (TIMESTAMP_INVALID)",
                "for example 2026-11-23",
            )


def _two_profiles(
    store: OpenStore, source: str, destination: str, *, environment: str | None
) -> tuple[Activity, Activity]:
    """Return the profiles of two MPIDs.

    Raises InputRefused if the strategy has no aliases, or they are in different environments.
    """
    strategy = store.settings().rules.strategy
    if strategy not in STRATEGIES:
        raise InputRefused(
            f"the identity strategy {strategy} knows no aliases",
            f"they belong to {', '.join(STRATEGIES)}",
        )
    profiles = profiles_of(store, every=True)
    giver = one_meant(profiles, ("mpid", source), environment=environment)
    taker = one_meant(profiles, ("mpid", destination), environment=environment)
    if giver.environment != taker.environment:
        raise InputRefused(
            f"{source} is a profile of {giver.environment},"
            f" {destination} one of {taker.environment}"
        )
    return giver, taker


def _write(hand: ByHand, giver: Activity, taker: Activity, *, alias: dict[str, Any]) -> None:
    """Write an alias, with its history. alias: how it can be made again."""
    attribution = _attribution_of(hand.store, giver)
    row = (
        hand.number,
        hand.first_arrival,
        giver.profile,
        taker.profile,
        alias["start_ms"],
        alias["end_ms"],
        hand.now_ms + (0 if alias["at_once"] else DELAY_MS),
        giver.first_seen_ms,
        to_json(attribution) if attribution else None,
    )
    hand.relations.load("ready_alias", fixed_columns("ready_alias"), [row])
    touches = [*giver.touches, *taker.touches]
    needs = sorted({touch.origin.import_number for touch in touches})
    request = {"alias": alias, "feed": hand.feed.name, "source": None}
    hand.write(Prepared((), 0), [], needs, request=request)


def alias_again(
    store_path: Path, request: Mapping[str, Any], *, now_ms: int, first_arrival: int
) -> ImportReport:
    """Make an alias of the history again (undo --replay). request: what the history has of it."""
    alias = request["alias"]
    return alias_profiles(
        store_path,
        alias["source"],
        alias["destination"],
        start=alias["start_ms"],
        end=alias["end_ms"],
        at_once=alias["at_once"],
        feed=request["feed"],
        environment=alias["environment"],
        now_ms=now_ms,
        first_arrival=first_arrival,
    )


def _attribution_of(store: OpenStore, giver: Activity) -> dict[str, Value]:
    """Return the install attribution of a profile by workspace.

    Under EVERYWHERE is the one that was stated last in any.
    """
    by_workspace: dict[str, Value] = {EVERYWHERE: giver.attribution()}
    for workspace in workspaces_of(store.feeds()):
        profiles = profiles_of(store, workspace=workspace)
        (activity,) = activities(profiles, [giver.profile], placed=False)
        by_workspace[workspace] = activity.attribution()
    return {
        workspace: attribution for workspace, attribution in by_workspace.items() if attribution
    }


def _check_allowed(store: OpenStore, giver: Activity, taker: Activity, *, window: _Window) -> None:
    """Refuse an alias that earlier ones rule out."""
    for source, destination, start_ms, end_ms in store.scratch.rows(EARLIER_ALIASES):
        if giver.profile == destination:
            raise InputRefused(
                f"{giver.mpid} was the destination of an alias,"
                " so it cannot be the source of another"
            )
        if taker.profile == source:
            raise InputRefused(
                f"{taker.mpid} was the source of an alias,"
                " so it cannot be the destination of another"
            )
        overlaps = start_ms <= window.end_ms and window.start_ms <= end_ms
        if giver.profile == source and overlaps:
            raise InputRefused(
                f"{giver.mpid} is the source of an alias with an overlapping window already",
                "profilectl show lists its aliases",
            )
