"""Aliases: what an earlier, anonymous profile knows of its past, carried over to a known one
(domain.md 4.5).

Profiles are never merged. An alias copies the first-seen date, which replaces the destination's,
the install attribution, and the events of its window (segments.CarriedEvents: they are read as
another's as well, nothing is written twice); identities, attributes and consent stay where they
are. It is an import made by hand, so it stands in the history and can be undone.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from profilectl.audiences.refresh import refresh_after_change
from profilectl.codes import InputRefused, UsageError
from profilectl.importing.commit import Prepared
from profilectl.importing.corrections.as_import import CORRECTIONS, begin
from profilectl.profiles.activity import Activity
from profilectl.profiles.played import activities, one_meant
from profilectl.profiles.read_model import EVERYWHERE, profiles_of
from profilectl.rules.counts import ImportReport
from profilectl.rules.feed import workspaces_of
from profilectl.rules.text.moments import latest_ms, may_be
from profilectl.rules.text.values import Value, to_json
from profilectl.store.history import DAY_MS, time_ms
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore

NAME = "(alias)"
"""What stands for the file of an alias in the history."""
STRATEGIES = ("default", "conversion", "link")
"""Where the identity strategy makes aliases possible."""
DELAY_MS = DAY_MS
"""So long after it was asked for an alias takes effect."""
WINDOW_MS = 90 * DAY_MS
"""The longest window of events, and the one where none is stated."""


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

    source, destination: MPIDs; environment: where they stand, if they stand in several; start, end:
    the window of events, in milliseconds or as a text (the last 90 days); at_once: without the
    delay.

    Raises NobodyFound for an unknown MPID, UsageError for a bad window or the same MPID twice,
    InputRefused where the alias is not allowed (the platform drops it silently).
    """
    now_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    end_ms = now_ms if end is None else time_ms("--end", end) if isinstance(end, str) else end
    start_ms = (
        end_ms - WINDOW_MS
        if start is None
        else time_ms("--start", start)
        if isinstance(start, str)
        else start
    )
    if source == destination:
        raise UsageError(
            f"{source} cannot be an alias of itself",
            "--from the anonymous profile, --to the known one",
        )
    if not 0 <= end_ms - start_ms <= WINDOW_MS:
        raise UsageError(
            "the window of an alias must begin before it ends, and be of 90 days at most"
        )
    if first_arrival is None:  # one of the history was taken as it is
        _check_window(start_ms, end_ms, latest_ms(now_ms))
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, write=not dry_run, wait_s=wait_s) as store,
    ):
        strategy = store.settings().rules.strategy
        if strategy not in STRATEGIES:
            raise InputRefused(
                f"the identity strategy {strategy} knows no aliases",
                f"they belong to {', '.join(STRATEGIES)}",
            )
        profiles = profiles_of(store, every=True)
        giver = one_meant(profiles, ("mpid", source), None, environment)
        taker = one_meant(profiles, ("mpid", destination), None, environment)
        if giver.environment != taker.environment:
            raise InputRefused(
                f"{source} is a profile of {giver.environment}, {destination} one of {taker.environment}"
            )
        _allowed(store, giver, taker, start_ms, end_ms)
        hand = begin(
            store,
            NAME,
            feed,
            None,
            taker.environment,
            1,
            now_ms=now_ms,
            first_arrival=first_arrival,
            dry_run=dry_run,
        )
        hand.report.counts.profiles["updated"] = 1
        if not dry_run:
            attribution = _attribution_of(store, giver)
            scratch.load(
                "ready_alias",
                [
                    ("import", "INTEGER"),
                    ("arrival", "BIGINT"),
                    ("source", "BIGINT"),
                    ("destination", "BIGINT"),
                    ("start_ms", "BIGINT"),
                    ("end_ms", "BIGINT"),
                    ("due_ms", "BIGINT"),
                    ("first_seen_ms", "BIGINT"),
                    ("attribution", "VARCHAR"),
                ],
                [
                    (
                        hand.number,
                        hand.first,
                        giver.profile,
                        taker.profile,
                        start_ms,
                        end_ms,
                        now_ms + (0 if at_once else DELAY_MS),
                        giver.first_seen_ms,
                        to_json(attribution) if attribution else None,
                    )
                ],
            )
            needs = sorted(
                {touch.origin.import_number for one in (giver, taker) for touch in one.touches}
            )
            hand.write(
                Prepared((), 0),
                [],
                needs,
                {
                    "alias": {
                        "source": source,
                        "destination": destination,
                        "environment": taker.environment,
                        "start_ms": start_ms,
                        "end_ms": end_ms,
                        "at_once": at_once,
                    },
                    "feed": feed,
                    "source": None,
                },
            )
    if not dry_run and first_arrival is None:  # who makes the history again refreshes at its end
        refresh_after_change(store_path, hand.report, wait_s=wait_s)
    return hand.report


def _check_window(start_ms: int, end_ms: int, last_ms: int) -> None:
    """Refuse a window that begins or ends at a time that may not be stated (TIMESTAMP_INVALID)."""
    for option, at_ms in (("--start", start_ms), ("--end", end_ms)):
        if not may_be(at_ms, last_ms):
            raise UsageError(
                f"{option}: a window lies from 1970 to a year ahead (TIMESTAMP_INVALID)",
                "for example 2026-11-23",
            )


def alias_again(
    store_path: Path, kept: dict[str, Any], *, now_ms: int, first_arrival: int
) -> ImportReport:
    """Make an alias of the history again (undo --replay). kept: its request."""
    was = kept["alias"]
    return alias_profiles(
        store_path,
        was["source"],
        was["destination"],
        start=was["start_ms"],
        end=was["end_ms"],
        at_once=was["at_once"],
        feed=kept["feed"],
        environment=was["environment"],
        now_ms=now_ms,
        first_arrival=first_arrival,
    )


def _attribution_of(store: OpenStore, giver: Activity) -> dict[str, Value]:
    """Return the install attribution of a profile by workspace, and under EVERYWHERE the one stated
    last in any.
    """
    by_workspace: dict[str, Value] = {EVERYWHERE: giver.attribution()}
    for workspace in workspaces_of(store.feeds()):
        profiles = profiles_of(store, workspace=workspace)
        (there,) = activities(profiles, [giver.profile], placed=False)
        by_workspace[workspace] = there.attribution()
    return {
        workspace: attribution for workspace, attribution in by_workspace.items() if attribution
    }


def _allowed(
    store: OpenStore, giver: Activity, taker: Activity, start_ms: int, end_ms: int
) -> None:
    """Refuse an alias that earlier ones rule out."""
    for source, destination, start, end in store.scratch.rows(
        "select source, destination, start_ms, end_ms from store.alias"
    ):
        if giver.profile == destination:
            raise InputRefused(
                f"{giver.mpid} was the destination of an alias, so it cannot be the source of another"
            )
        if taker.profile == source:
            raise InputRefused(
                f"{taker.mpid} was the source of an alias, so it cannot be the destination of another"
            )
        if giver.profile == source and start <= end_ms and start_ms <= end:
            raise InputRefused(
                f"{giver.mpid} is the source of an alias with an overlapping window already",
                "profilectl show lists its aliases",
            )
