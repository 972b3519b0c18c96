"""Retention: its clocks are set, shown and applied. Each function opens and closes the store."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from profilectl.codes import UsageError
from profilectl.files import progress
from profilectl.privacy.carried_opt_outs import keep_opt_outs
from profilectl.privacy.expiry import make_stages, prepare_retention
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.retention import SETTINGS, Clocks, check_clocks, clocks_of
from profilectl.store.attaching import must_exist
from profilectl.store.history import time_ms
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore
from profilectl.store.tellers import WAIT_S, Teller, still_told_by

# Each time that retention was applied: the profiles that went, and the stubs that are still there.
APPLIED = """
select at_ms, profiles, (select count(*) from store.aged where aged.erasure = erasure.number)
from store.erasure
where kind = 'retention'
order by number
"""


@dataclass(frozen=True, slots=True)
class RetentionApplied:
    """What applying retention took away, or with dry_run would take."""

    dry_run: bool
    """Whether nothing was written."""
    now_ms: int
    """The time that the clocks were compared with."""
    stubs: int
    """How many profiles lost all but who they are."""
    gone: int
    """How many profiles are not there any more."""
    events: int
    """How many events went."""
    rows: dict[str, int]
    """How many rows went or were emptied, by the kind of table."""
    told_by: tuple[Teller, ...] = ()
    """Servers that may still answer with what went."""

    def anything(self) -> bool:
        """Return whether anything went."""
        return bool(self.stubs or self.gone or self.events)

    def as_json(self) -> dict[str, object]:
        """Return the document of `retention apply --json`."""
        return {
            "dry_run": self.dry_run,
            "now_ms": self.now_ms,
            "stubs": self.stubs,
            "gone": self.gone,
            "events": self.events,
            "rows": self.rows,
            "still_told_by": [teller.as_json() for teller in self.told_by],
        }


def retention_of(path: Path, *, wait_s: float = 0) -> dict[str, object]:
    """Return the clocks as they were set (null: none), and each time that they were applied."""
    must_exist(path)
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, wait_s=wait_s) as store,
    ):
        settings = store.settings().stated
        return {
            **{name.partition(".")[2]: settings.get(name) for name in SETTINGS},
            "applied": [
                {"at_ms": at_ms, "gone": profiles, "stubs": stubs}
                for at_ms, profiles, stubs in scratch.rows(APPLIED)
            ],
        }


def set_retention(
    path: Path, changes: dict[str, int | bool | None], *, wait_s: float = 0
) -> dict[str, object]:
    """Change clocks and return all.

    changes: the name of a setting -> days (None: no clock), or whether lifetime profiles are on.
    Raises UsageError where a profile would live longer than it is kept.
    """
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, write=True, create=True, wait_s=wait_s) as store,
    ):
        changed = {**store.settings().stated, **changes}
        settings = {name: value for name, value in changed.items() if value is not None}
        check_clocks(settings)
        with store.transaction():
            store.put_settings(settings)
    return retention_of(path, wait_s=wait_s)


def apply_retention(
    path: Path,
    *,
    now: int | str | None = None,
    dry_run: bool = False,
    wait_s: float = 0,
    servers_s: float = WAIT_S,
) -> RetentionApplied:
    """Take away what is beyond its clock.

    now: the time, in milliseconds or as a text; servers_s: how long to wait until no server
    answers with it any more. Raises UsageError where no clock is set, StoreBusy, StoreUnusable;
    then the store is as before.
    """
    must_exist(path)
    progress.step("aging")
    now_ms = _now_ms(now)
    # The opt-outs come first: they are an import, and the aliases that carried them go below.
    keep_opt_outs(
        path,
        lambda profiles: _beyond_retention(profiles, now_ms),
        wait_s=wait_s,
        now_ms=now_ms,
        dry_run=dry_run,
    )
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, write=not dry_run, wait_s=wait_s, upgrade=not dry_run) as store,
    ):
        clocks = _clocks_set(store)
        prepared = prepare_retention(profiles_of(store, every=True), clocks, now_ms=now_ms)
        store_id = store.meta("store_id")
        writes = prepared.anything() and not dry_run
        if writes:
            prepared.write()
        outcome = prepared.erased.outcome
        aged = RetentionApplied(
            dry_run=dry_run,
            now_ms=now_ms,
            stubs=prepared.stubs,
            gone=len(outcome.profiles),
            events=prepared.events,
            rows=outcome.tables,
        )
    if not writes:
        return aged
    return replace(aged, told_by=tuple(still_told_by(path, store_id, servers_s)))


def _now_ms(now: int | str | None) -> int:
    if isinstance(now, str):
        return time_ms("--now", now)
    return now if now is not None else time.time_ns() // 1_000_000


def _clocks_set(store: OpenStore) -> Clocks:
    """Return the clocks of a store. Raises UsageError where none is set."""
    clocks = clocks_of(store.settings().stated)
    if clocks.lifetime_ms is None and clocks.retention_ms is None:
        raise UsageError(
            "no clock is set: everything is kept",
            "profilectl retention set --lifetime-days 90 --retention-days 730",
        )
    return clocks


def _beyond_retention(profiles: Profiles, now_ms: int) -> list[int]:
    """Return the profiles beyond the clock of retention."""
    clocks = clocks_of(profiles.store.settings().stated)
    return [] if clocks.retention_ms is None else make_stages(profiles, clocks, now_ms)
