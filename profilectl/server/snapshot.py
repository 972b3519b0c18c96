"""The store as it was a moment ago, to read from while imports go on.

A writer shuts everybody else out of a store, and a reader shuts writers out. A server that read
from the store itself would either keep imports waiting or be kept waiting by them. So it reads from
a copy: whenever the store's file has changed, the file is copied under the shared lock, the copy is
opened, and questions that come from then on are asked of it. Those in flight finish on the copy
they began on. A commit is one transaction of the file, and the file is copied whole under the lock:
nobody is ever answered out of half an import.

Tried and left: reading in turn with writers (under load one of the two starves), and copying only
the segments that are new (segments of a number are rewritten by erasure, and the fixed tables grow
as well; the bytes are simpler and cheaper up to some gigabytes).

The copy has no name once it is open: it goes with the process, however that ends. It lies beside
the store, so that a file system that can (XFS, Btrfs) shares the blocks instead of copying them;
there the size of a store does not matter. Elsewhere a copy takes about 50 ms for each 100 MB, which
is a million profiles, and the room of a second store; 10 GB are some 5 s after each commit.
`--refresh-every` then says how often at most; at least as long as the last copy took is always left
between two, so that copying never takes more than half of the time.

What a copy is of is compared with what is served: by its id, a store that was put in the place of
the right one is not told of. A copy that could not be made anew for too long is not told of either:
old people may be people who were erased since.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from profilectl.audiences.one_person import Definitions, known_to
from profilectl.codes import StoreBusy, StoreUnusable, UsageError
from profilectl.importing.suppression import warn_of_key
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.feed import Feed
from profilectl.rules.retention import Clocks, clocks_of
from profilectl.server.trouble import Trouble, trouble_of
from profilectl.store.attaching import SCHEMA_VERSION, attach, version_of
from profilectl.store.copies import copy_for_reading, signature_of
from profilectl.store.opening import open_store
from profilectl.store.same_store import check_same
from profilectl.store.scratch import Scratch, attaching
from profilectl.store.settings import Settings
from profilectl.store.store import OpenStore
from profilectl.store.upgrade import known_version

QUIET_S = 0.03
"""So long a file must have rested before it is copied: a writer that opens it again at once (to
compact) goes first, and two writes within one tick of the file system's clock are not taken for
one.
"""
MEMORY_LIMIT = "512MB"
READERS = 2
PROMISED_S = 1.0
"""What is told is at most so old, where the store may be looked at and copying takes no time."""
MOST_BEHIND_S = 30.0
"""So much older than promised may it be, where nobody says otherwise; then nothing is told."""


class Still(OpenStore):
    """The store of a snapshot.

    It never changes: what is asked of it for every profile is read once.
    """

    def __init__(self, scratch: Scratch, path: Path) -> None:
        super().__init__(scratch, path)
        self._kept: dict[str, Any] = {}

    def _once(self, name: str, read: Callable[[], Any]) -> Any:
        if name not in self._kept:
            self._kept[name] = read()
        return self._kept[name]

    def meta(self, name: str) -> str:
        return str(self._once(f"meta {name}", lambda: super(Still, self).meta(name)))

    def settings(self) -> Settings:
        return self._once("settings", super().settings)  # type: ignore[no-any-return]

    def feeds(self) -> list[Feed]:
        return self._once("feeds", super().feeds)  # type: ignore[no-any-return]


class Reader:
    """One thread's way into a snapshot.

    profiles: the read model of each workspace that the store has.
    """

    def __init__(
        self,
        store: OpenStore,
        made_ms: int,
        profiles: dict[str, Profiles],
        known: Definitions,
        clocks: Clocks,
    ) -> None:
        self.scratch, self.profiles, self.known, self.clocks = (
            store.scratch,
            profiles,
            known,
            clocks,
        )
        self._store, self._made_ms = store, made_ms

    @functools.cached_property
    def everybody(self) -> Profiles:
        """The read model of all workspaces, whom identities are resolved among."""
        return profiles_of(self._store, every=True, now_ms=self._made_ms)


class Snapshot:
    """One state of the store.

    number: its last import; users: questions that are being answered out of it; was: the signature
    of the file that was copied. Raises OtherStore for a copy of another than the one with the id.
    """

    was: tuple[object, ...] = ()
    made_s = 0.0

    def __init__(
        self,
        scratch: Scratch,
        path: Path,
        copied: Path,
        workspaces: Sequence[str],
        made_ms: int,
        store_id: str,
    ) -> None:
        self.scratch, self.made_ms, self.users, self.retired = scratch, made_ms, 0, False
        scratch.run(attaching(copied, write=False))
        known_version(scratch, copied)
        for part in (copied, copied.with_name(copied.name + ".wal")):
            part.unlink(missing_ok=True)
        _check(scratch, path, store_id)
        store = Still(scratch, path)
        self.settings = store.settings()
        self.number = store.next_import()[0] - 1
        self.secret = store.meta("secret")
        self.feeds = {feed.name: feed for feed in store.feeds()}
        self.known = known_to(store)
        read: dict[str, Profiles] = {}
        for workspace in workspaces:
            # the store has others, not this one: nobody is in it
            with contextlib.suppress(UsageError):
                read[workspace] = profiles_of(store, workspace=workspace, now_ms=made_ms)
        self.due_ms = min(
            (
                one.due_ms
                for profiles in read.values()
                for one in profiles.aliases
                if not one.in_force
            ),
            default=None,
        )
        clocks = clocks_of(self.settings.stated)
        self.free = []
        for _ in range(READERS):
            other = scratch.cursor()
            still = Still(other, path)
            of_each = {name: replace(one, store=still) for name, one in read.items()}
            self.free.append(Reader(still, made_ms, of_each, self.known, clocks))

    def close(self) -> None:
        """Give back what the snapshot takes, the room of the copy too."""
        self.scratch.close()


def _check(scratch: Scratch, path: Path, store_id: str) -> None:
    """See that the attached store is the one with an id, and of this version. Raises OtherStore,
    StoreUnusable."""
    if version_of(scratch, path) == SCHEMA_VERSION:
        check_same(scratch, path, store_id)
    else:
        raise StoreUnusable(
            f"{path} was made by an older profilectl",
            "end serve and start it again: it upgrades the store",
        )


class Snapshots:
    """The newest snapshot of a store, taken anew when the store has changed.

    `renew` is called by one thread at a time; all else in the thread of the event loop.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        workspaces: Sequence[str],
        *,
        refresh_s: float = 0.0,
        most_behind_s: float = MOST_BEHIND_S,
    ) -> None:
        self.path, self.folder, self.workspaces = path, folder, workspaces
        self.refresh_s, self.most_behind_s = refresh_s, most_behind_s
        self.now: Snapshot
        self.store_id = ""
        """The id of the store that is served."""
        self.trouble: Trouble | None = None
        """What was in the way when the store was looked at last."""
        self.copies = 0
        self.copy_s = 0.0
        self.checked_ms = 0
        self.told_ms = 0
        """What was in the store at this time is answered out of."""
        self.checked_s = 0.0
        """When the store was seen to be what is answered out of, as time.monotonic."""
        self._looked_at: tuple[object, ...] = ()
        self._next = 0.0
        self._leaving: list[Snapshot] = []

    def open(self, wait_s: float) -> None:
        """Make the store where there is none, bring it up to this version, and take the first
        snapshot. Raises StoreBusy, StoreUnusable.
        """
        with (
            contextlib.closing(Scratch(self.folder)) as scratch,
            open_store(scratch, self.path, create=True, wait_s=wait_s) as store,
        ):
            store.feeds()
            self.store_id = store.meta("store_id")
            warn_of_key(store)
        try:
            self._begin(self._take(time.monotonic() + max(wait_s, 5.0)))
        except OSError as error:
            raise StoreUnusable(
                f"{self.path} could not be copied to {self.folder}: {error.strerror}", "make room"
            ) from None

    def renew(self, *, at_once: bool = False) -> Snapshot | None:
        """Return a new snapshot, where the store has changed since the last one and may be read
        now. at_once: also where it was copied a moment ago. Raises whatever is in the way:
        StoreUnusable, OSError, and all else.
        """
        began_s, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        due = self.now.due_ms is not None and self.now.due_ms <= now_ms  # an alias takes effect
        was = signature_of(self.path)
        if was == self.now.was and not due:
            self.checked_ms, self.checked_s, self.trouble = now_ms, began_s, None
            return None
        resting = (time.time_ns() - self.path.stat().st_mtime_ns) / 1e9
        if 0 <= resting < QUIET_S:
            return None
        try:
            if time.monotonic() < self._next and not at_once:
                self._look(was)
                return None
            return self._take(time.monotonic())
        except StoreBusy:
            return None

    def note(self, error: Exception) -> None:
        """Note what was in the way of a look at the store."""
        self.trouble = trouble_of(error, self.path) or Trouble.FAILING

    def _look(self, was: tuple[object, ...]) -> None:
        """See that the store is still the one that is served, also where it is not copied yet. was:
        its signature. Raises StoreBusy, OtherStore, StoreUnusable."""
        if was == self._looked_at:
            return
        with contextlib.closing(Scratch(self.folder)) as scratch:
            attach(scratch, self.path, write=False, until=time.monotonic())
            _check(scratch, self.path, self.store_id)
        self._looked_at, self.trouble = was, None

    def _take(self, until: float) -> Snapshot:
        began = time.monotonic()
        made_ms = time.time_ns() // 1_000_000
        self.copies += 1
        copied = self.folder / f"copy-{self.copies}"
        scratch = Scratch(self.folder, MEMORY_LIMIT)
        try:
            scratch.run(f"set threads = {READERS}")
            was = copy_for_reading(scratch, self.path, copied, until=until)
            taken = Snapshot(scratch, self.path, copied, self.workspaces, made_ms, self.store_id)
        except BaseException:
            scratch.close()
            for part in (copied, copied.with_name(copied.name + ".wal")):
                part.unlink(missing_ok=True)
            raise
        taken.was, taken.made_s = was, began
        self.copy_s = time.monotonic() - began
        self._next = time.monotonic() + max(self.refresh_s - self.copy_s, self.copy_s)
        return taken

    def _begin(self, taken: Snapshot) -> None:
        self.now, self.checked_ms, self.checked_s, self.trouble = (
            taken,
            taken.made_ms,
            taken.made_s,
            None,
        )

    def behind_s(self) -> float:
        """Return how much older than promised that is which is told.

        Both clocks are asked: each may stand still or jump.
        """
        age_s = max(
            time.monotonic() - self.checked_s,
            (time.time_ns() // 1_000_000 - self.checked_ms) / 1000,
        )
        return age_s - PROMISED_S - max(self.refresh_s, self.copy_s) - self.copy_s

    def silence(self) -> Trouble | None:
        """Return why nothing is told; None where it is new enough to be told."""
        return (self.trouble or Trouble.BEHIND) if self.behind_s() > self.most_behind_s else None

    @contextlib.contextmanager
    def reader(self) -> Iterator[Reader]:
        """Lend a reader of the newest snapshot.

        At most READERS at a time. Raises Problem where it is too old to be told.
        """
        if (silence := self.silence()) is not None:
            raise silence.of_question()
        snapshot = self.now
        snapshot.users += 1
        reader = snapshot.free.pop()
        try:
            yield reader
        finally:
            reader.scratch.steps.clear()
            snapshot.free.append(reader)
            snapshot.users -= 1
            if snapshot.retired and not snapshot.users:
                self._leaving.remove(snapshot)
                snapshot.close()

    def put(self, taken: Snapshot) -> None:
        """Answer out of another snapshot from now on."""
        old = self.now
        self._begin(taken)
        old.retired = True
        if old.users:
            self._leaving.append(old)
        else:
            old.close()

    def tells_since(self, when_s: float) -> bool:
        """Say whether all that is told comes from a store as it was at a time (time.monotonic), or
        later; or nothing is told."""
        return not self._leaving and (
            self.checked_s >= when_s or (self.silence() is not None and not self.now.users)
        )

    def close(self) -> None:
        self.now.close()
