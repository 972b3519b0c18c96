"""The store as it was a moment ago, to read from while imports go on.

A writer shuts everybody else out of a store, and a reader shuts writers out. A server that read from the store itself would
either keep imports waiting or be kept waiting by them. So it reads from a copy: whenever the store's file has changed, the file
is copied under the shared lock, the copy is opened, and questions that come from then on are asked of it. Those in flight
finish on the copy they began on. A commit is one transaction of the file, and the file is copied whole under the lock: nobody
is ever answered out of half an import.

Tried and left: reading in turn with writers (under load one of the two starves), and copying only the segments that are new
(segments of a number are rewritten by erasure, and the fixed tables grow as well; the bytes are simpler and cheaper up to some
gigabytes).

The copy has no name once it is open: it goes with the process, however that ends. It lies beside the store, so that a file
system that can (XFS, Btrfs) shares the blocks instead of copying them; there the size of a store does not matter. Elsewhere
a copy takes about 50 ms for each 100 MB, which is a million profiles, and the room of a second store; 10 GB are some 5 s after each
commit. `--refresh-every` then says how often at most; at least as long as the last copy took is always left between two, so
that copying never takes more than half of the time.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from profilectl.codes import StoreBusy, UsageError
from profilectl.copies import copy_for_reading, signature_of
from profilectl.feed import Feed
from profilectl.opening import open_store
from profilectl.profile import Profiles, profiles_of
from profilectl.retention import Clocks, clocks_of
from profilectl.scratch import Scratch, quote_path
from profilectl.standing import Known, known_to
from profilectl.store import Settings, Store
from profilectl.suppression import warn_of_key

QUIET_S = 0.03
"""So long a file must have rested before it is copied: a writer that opens it again at once (to compact) goes first, and two
writes within one tick of the file system's clock are not taken for one."""
MEMORY_LIMIT = "512MB"
READERS = 2


class Still(Store):
    """The store of a snapshot. It never changes: what is asked of it for every profile is read once."""

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
    """One thread's way into a snapshot. profiles: the read model of each workspace that the store has."""

    def __init__(self, store: Store, made_ms: int, profiles: dict[str, Profiles], known: Known, clocks: Clocks) -> None:
        self.scratch, self.profiles, self.known, self.clocks = store.scratch, profiles, known, clocks
        self._store, self._made_ms = store, made_ms

    @functools.cached_property
    def everybody(self) -> Profiles:
        """The read model of all workspaces, whom identities are resolved among."""
        return profiles_of(self._store, every=True, now_ms=self._made_ms)


class Snapshot:
    """One state of the store. number: its last import; users: questions that are being answered out of it."""

    def __init__(self, scratch: Scratch, path: Path, copied: Path, workspaces: Sequence[str], made_ms: int) -> None:
        self.scratch, self.made_ms, self.users, self.retired = scratch, made_ms, 0, False
        scratch.run(f"attach {quote_path(copied)} as store (read_only)")
        for part in (copied, copied.with_name(copied.name + ".wal")):
            part.unlink(missing_ok=True)
        store = Still(scratch, path)
        self.settings = store.settings()
        self.number = store.next_import()[0] - 1
        self.secret = store.meta("secret")
        self.feeds = {feed.name: feed for feed in store.feeds()}
        self.known = known_to(store)
        read: dict[str, Profiles] = {}
        for workspace in workspaces:
            with contextlib.suppress(UsageError):  # the store has others, not this one: nobody is in it
                read[workspace] = profiles_of(store, workspace=workspace, now_ms=made_ms)
        self.due_ms = min((one.due_ms for profiles in read.values() for one in profiles.aliases if not one.in_force), default=None)
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


class Snapshots:
    """The newest snapshot of a store, taken anew when the store has changed.

    `renew` is called by one thread at a time; all else in the thread of the event loop.
    """

    def __init__(self, path: Path, folder: Path, workspaces: Sequence[str], *, refresh_s: float = 0.0) -> None:
        self.path, self.folder, self.workspaces, self.refresh_s = path, folder, workspaces, refresh_s
        self.now: Snapshot
        self.copies = 0
        self.copy_s = 0.0
        self.checked_ms = 0
        self.told_ms = 0
        """What was in the store at this time is answered out of."""
        self._was: tuple[object, ...] = ()
        self._next = 0.0

    def open(self, wait_s: float) -> None:
        """Make the store where there is none, bring it up to this version, and take the first snapshot.
        Raises StoreBusy, StoreUnusable."""
        with contextlib.closing(Scratch(self.folder)) as scratch, open_store(scratch, self.path, create=True, wait_s=wait_s) as store:
            store.feeds()
            warn_of_key(store)
        taken = self._take(time.monotonic() + max(wait_s, 5.0))
        self.now = taken

    def renew(self) -> Snapshot | None:
        """Return a new snapshot, where the store has changed since the last one and may be read now.
        Raises StoreUnusable, and OSError where there is no store any more."""
        now_ms = time.time_ns() // 1_000_000
        due = self.now.due_ms is not None and self.now.due_ms <= now_ms  # an alias takes effect
        was = signature_of(self.path)
        if was == self._was and not due:
            self.checked_ms = now_ms
            return None
        resting = (time.time_ns() - self.path.stat().st_mtime_ns) / 1e9
        if time.monotonic() < self._next or 0 <= resting < QUIET_S:
            return None
        try:
            return self._take(time.monotonic())
        except StoreBusy:
            return None

    def _take(self, until: float) -> Snapshot:
        began = time.monotonic()
        made_ms = time.time_ns() // 1_000_000
        self.copies += 1
        copied = self.folder / f"copy-{self.copies}"
        scratch = Scratch(self.folder, MEMORY_LIMIT)
        try:
            scratch.run(f"set threads = {READERS}")
            was = copy_for_reading(scratch, self.path, copied, until=until)
            taken = Snapshot(scratch, self.path, copied, self.workspaces, made_ms)
        except BaseException:
            scratch.close()
            for part in (copied, copied.with_name(copied.name + ".wal")):
                part.unlink(missing_ok=True)
            raise
        self._was, self.copy_s, self.checked_ms = was, time.monotonic() - began, made_ms
        self._next = time.monotonic() + max(self.refresh_s - self.copy_s, self.copy_s)
        return taken

    @contextlib.contextmanager
    def reader(self) -> Iterator[Reader]:
        """Lend a reader of the newest snapshot. At most READERS at a time."""
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
                snapshot.close()

    def put(self, taken: Snapshot) -> None:
        """Answer out of another snapshot from now on."""
        old, self.now = self.now, taken
        old.retired = True
        if not old.users:
            old.close()

    def close(self) -> None:
        self.now.close()


