"""Retention, from outside: the clocks set and shown, and applied."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from profilectl.codes import UsageError
from profilectl.privacy.carried_opt_outs import keep_opt_outs
from profilectl.privacy.expiry import Ageing, make_stages
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.retention import SETTINGS, check_clocks, clocks_of
from profilectl.store.attaching import must_exist
from profilectl.store.history import time_ms
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.tellers import WAIT_S, Teller, still_told_by


@dataclass(frozen=True, slots=True)
class Aged:
    """What applying retention did, or with dry_run would do.

    stubs: profiles that lost what they had but who they are; gone: profiles that are not there any
    more; rows: that went or were emptied, by the kind of table; told_by: servers that may still
    tell of what went.
    """

    dry_run: bool
    now_ms: int
    stubs: int
    gone: int
    events: int
    rows: dict[str, int]
    told_by: tuple[Teller, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the document of `retention apply --json`."""
        return {
            "dry_run": self.dry_run,
            "now_ms": self.now_ms,
            "stubs": self.stubs,
            "gone": self.gone,
            "events": self.events,
            "rows": self.rows,
            "still_told_by": [one.as_json() for one in self.told_by],
        }


def retention_of(path: Path, *, wait_s: float = 0) -> dict[str, Any]:
    """Return the clocks as stated (null: none), and when they were applied: how many profiles went,
    and how many stubs were made that are still there.
    """
    must_exist(path)
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, wait_s=wait_s) as store,
    ):
        stated = store.settings().stated
        applied = scratch.rows(
            "select at_ms, profiles, (select count(*) from store.aged where aged.erasure = erasure.number) from store.erasure where kind = 'retention' order by number"
        )
        return {
            **{name.partition(".")[2]: stated.get(name) for name in SETTINGS},
            "applied": [
                {"at_ms": at_ms, "gone": gone, "stubs": stubs} for at_ms, gone, stubs in applied
            ],
        }


def set_retention(
    path: Path, changes: dict[str, int | bool | None], *, wait_s: float = 0
) -> dict[str, Any]:
    """Change clocks: the name of a setting -> days (None: no clock), or whether lifetime profiles
    are on; return all.

    Raises UsageError where a profile would live longer than it is kept.
    """
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, write=True, create=True, wait_s=wait_s) as store,
    ):
        stated = {**store.settings().stated, **changes}
        stated = {name: value for name, value in stated.items() if value is not None}
        check_clocks(stated)
        with store.transaction():
            store.put_settings(stated)
    return retention_of(path, wait_s=wait_s)


def apply_retention(
    path: Path,
    *,
    now: int | str | None = None,
    dry_run: bool = False,
    wait_s: float = 0,
    servers_s: float = WAIT_S,
) -> Aged:
    """Take away what is beyond its clock.

    now: the time, in milliseconds or as a text; servers_s: how long to wait until no server tells
    of it any more. Raises UsageError where no clock is set, StoreBusy, StoreUnusable; then the
    store is as before.
    """
    must_exist(path)
    now_ms = (
        time_ms("--now", now)
        if isinstance(now, str)
        else now
        if now is not None
        else time.time_ns() // 1_000_000
    )
    keep_opt_outs(
        path,
        lambda profiles: _gone(profiles, now_ms),
        wait_s=wait_s,
        now_ms=now_ms,
        dry_run=dry_run,
    )
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, write=not dry_run, wait_s=wait_s, upgrade=not dry_run) as store,
    ):
        clocks = clocks_of(store.settings().stated)
        if clocks.lifetime_ms is None and clocks.retention_ms is None:
            raise UsageError(
                "no clock is set: everything is kept",
                "profilectl retention set --lifetime-days 90 --retention-days 730",
            )
        ageing = Ageing(profiles_of(store, every=True), clocks, now_ms=now_ms)
        store_id = store.meta("store_id")
        writes = ageing.anything() and not dry_run
        if writes:
            ageing.write()
        done = Aged(
            dry_run,
            now_ms,
            ageing.stubs,
            len(ageing.outcome.profiles),
            ageing.events,
            ageing.outcome.tables,
        )
    return (
        replace(done, told_by=tuple(still_told_by(path, store_id, servers_s))) if writes else done
    )


def _gone(profiles: Profiles, now_ms: int) -> list[int]:
    """Return the profiles beyond the clock of retention."""
    clocks = clocks_of(profiles.store.settings().stated)
    return [] if clocks.retention_ms is None else make_stages(profiles, clocks, now_ms)
