"""Snapshots: copies of the store, to read from while imports go on.

A writer locks everybody else out of a store, and a reader locks writers out. A server that read
from the store itself would delay imports, or be delayed by them. So it reads from a copy. Whenever
the store's file has changed, the file is copied under the shared lock, and new questions go to the
new copy. Questions under way finish on the old one. A commit is one transaction of the file, and
the file is copied whole under the lock, so no answer ever has half an import.

Two other ways were tried and given up. Taking turns with writers starves one side under load.
Copying only the new segments fails because erasure rewrites old segments, and because the other
tables grow too; up to some gigabytes, copying the bytes is simpler and cheaper.

The copy's name is removed once it is open, so it goes with the process, however that ends. It lies
beside the store: a file system that can (XFS, Btrfs) then shares the blocks instead of copying
them, and the size does not matter. Elsewhere a copy takes about 50 ms for each 100 MB (a million
profiles) and the room of a second store; 10 GB take some 5 s after each commit. `--refresh-every`
limits how often that happens. The pause between two copies is at least as long as the last copy
took, so that copying never takes more than half of the time.

The id of a copy is compared with the id of the served store, so a store that was put in its place
is never answered from. Neither is a copy that could not be renewed for too long: it may have people
who were erased meanwhile.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from profilectl.audiences.one_person import Definitions, known_to
from profilectl.codes import StoreBusy, StoreUnusable, UsageError
from profilectl.importing.suppression import warn_of_key
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.feed import Feed
from profilectl.rules.retention import Clocks, clocks_of
from profilectl.server.trouble import Trouble, trouble_of
from profilectl.store.attaching import SCHEMA_VERSION, attach, version_of
from profilectl.store.copies import copy_for_reading
from profilectl.store.opening import open_store
from profilectl.store.same_store import check_same
from profilectl.store.scratch import Scratch, attaching
from profilectl.store.settings import Settings
from profilectl.store.signature import signature_of
from profilectl.store.store import OpenStore
from profilectl.store.upgrade import known_version

QUIET_S = 0.03
"""The seconds that a file must be unchanged before it is copied.

A writer that opens the file again at once, to compact it, then goes first. And two writes within
one tick of the file system's clock are not mistaken for one.
"""
MEMORY_LIMIT = "512MB"
"""The most memory that DuckDB takes for one snapshot."""
READERS = 2
"""The threads that read from a snapshot at a time."""
PROMISED_S = 1.0
"""The promised age of answers, if the store can be read and copying takes no time."""
MOST_BEHIND_S = 30.0
"""How much older than promised answers may be by default; beyond that there are none."""


class Still(OpenStore):
    """The store of a snapshot. It never changes, so its settings are read only once."""

    def __init__(self, scratch: Scratch, path: Path) -> None:
        super().__init__(scratch, path)
        self._meta: dict[str, str] = {}
        self._settings: Settings | None = None
        self._feeds: list[Feed] | None = None
        self._calculated: dict[str, list[str]] | None = None

    def meta(self, name: str) -> str:
        """Return a value of the table meta."""
        if name not in self._meta:
            self._meta[name] = super().meta(name)
        return self._meta[name]

    def settings(self) -> Settings:
        """Return the settings."""
        if self._settings is None:
            self._settings = super().settings()
        return self._settings

    def feeds(self) -> list[Feed]:
        """Return the feeds."""
        if self._feeds is None:
            self._feeds = super().feeds()
        return self._feeds

    def calculated_by_workspace(self) -> dict[str, list[str]]:
        """Return the names of the calculated attributes that are no drafts, by their workspace."""
        if self._calculated is None:
            self._calculated = super().calculated_by_workspace()
        return self._calculated


@dataclass(eq=False)
class Reader:
    """The access of one thread to a snapshot."""

    store: OpenStore
    """The store of the snapshot, by a connection that no other thread uses."""
    made_ms: int
    """When the snapshot was made, in milliseconds since 1970."""
    profiles: dict[str, Profiles]
    """The read model of each workspace that the store has."""
    definitions: Definitions
    """The audiences and calculated attributes of the store."""
    clocks: Clocks
    """The lifetimes of profiles."""

    @property
    def scratch(self) -> Scratch:
        """The connection to DuckDB."""
        return self.store.scratch

    @functools.cached_property
    def everybody(self) -> Profiles:
        """The read model of all workspaces together, which identities are resolved among."""
        return profiles_of(self.store, every=True, now_ms=self.made_ms)


@dataclass(eq=False, slots=True)
class Snapshot:
    """One state of the store."""

    scratch: Scratch
    """The DuckDB that has the copy open."""
    made_ms: int
    """When it was made, in milliseconds since 1970."""
    made_s: float
    """When it was made, as time.monotonic."""
    signature: tuple[object, ...]
    """The signature of the file that was copied."""
    number: int
    """The number of its last import."""
    settings: Settings
    """Its settings."""
    secret: str
    """The secret that its digests are made with."""
    feeds: dict[str, Feed]
    """Its feeds, by name."""
    due_ms: int | None
    """When the next alias takes effect, which makes another snapshot necessary; None: never."""
    free: list[Reader]
    """The readers that nobody uses."""
    users: int = 0
    """How many of its readers are in use."""
    retired: bool = False
    """Whether a newer snapshot answers new questions."""

    def close(self) -> None:
        """Close the copy, which also frees its disk space."""
        self.scratch.close()


@dataclass(frozen=True, slots=True)
class CopiedStore:
    """A copy of a store's file, not opened yet."""

    file: Path
    """The file of the copy."""
    path: Path
    """The path of the store."""
    signature: tuple[object, ...]
    """The signature of the store's file."""
    made_ms: int
    """When it was made, in milliseconds since 1970."""
    made_s: float
    """When it was made, as time.monotonic."""

    def unlink(self) -> None:
        """Remove the names of the copy. An open copy stays readable."""
        for part in (self.file, self.file.with_name(self.file.name + ".wal")):
            part.unlink(missing_ok=True)


def open_copy(
    scratch: Scratch, copied: CopiedStore, *, workspaces: Sequence[str], store_id: str
) -> Snapshot:
    """Open a copy as a snapshot. Raises OtherStore if its id is not `store_id`."""
    scratch.run(attaching(copied.file, write=False))
    known_version(scratch, copied.file)
    copied.unlink()
    _check(scratch, copied.path, store_id)
    store = Still(scratch, copied.path)
    settings, definitions = store.settings(), known_to(store)
    read_models: dict[str, Profiles] = {}
    for workspace in workspaces:
        # UsageError: the store does not have this workspace, so nobody is in it.
        with contextlib.suppress(UsageError):
            read_models[workspace] = profiles_of(store, workspace=workspace, now_ms=copied.made_ms)
    clocks = clocks_of(settings.stated)
    free = []
    for _ in range(READERS):
        still = Still(scratch.cursor(), copied.path)
        reader = Reader(
            store=still,
            made_ms=copied.made_ms,
            profiles={name: replace(model, store=still) for name, model in read_models.items()},
            definitions=definitions,
            clocks=clocks,
        )
        free.append(reader)
    return Snapshot(
        scratch=scratch,
        made_ms=copied.made_ms,
        made_s=copied.made_s,
        signature=copied.signature,
        number=store.next_import()[0] - 1,
        settings=settings,
        secret=store.meta("secret"),
        feeds={feed.name: feed for feed in store.feeds()},
        due_ms=_next_alias_ms(read_models.values()),
        free=free,
    )


def _next_alias_ms(read_models: Iterable[Profiles]) -> int | None:
    """Return when the next alias takes effect; None if none is waiting."""
    waiting = (
        alias.due_ms for profiles in read_models for alias in profiles.aliases if not alias.in_force
    )
    return min(waiting, default=None)


def _check(scratch: Scratch, path: Path, store_id: str) -> None:
    """Check the id and the version of the attached store. Raises OtherStore, StoreUnusable."""
    if version_of(scratch, path) == SCHEMA_VERSION:
        check_same(scratch, path, store_id)
    else:
        raise StoreUnusable(
            f"{path} was made by an older profilectl",
            "end serve and start it again: it upgrades the store",
        )


class Snapshots:
    """The newest snapshot of a store, made again when the store has changed.

    `renew` is called by one thread at a time, all other methods in the thread of the event loop.
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
        """The id of the served store."""
        self.trouble: Trouble | None = None
        """The trouble at the last look at the store."""
        self.copies = 0
        """How many copies were begun."""
        self.copy_s = 0.0
        """The seconds that the last copy took."""
        self.checked_ms = 0
        """When the store was last the same as the snapshot, in milliseconds since 1970."""
        self.answered_ms = 0
        """The time up to which answers are complete, in milliseconds since 1970."""
        self.checked_s = 0.0
        """When the store was last the same as the snapshot, as time.monotonic."""
        self._looked_at: tuple[object, ...] = ()
        self._next = 0.0
        self._leaving: list[Snapshot] = []

    def open(self, wait_s: float) -> None:
        """Take the first snapshot, of a store that is made or upgraded if necessary.

        Raises StoreBusy, StoreUnusable.
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
        """Return a new snapshot if the store has changed and may be read now, else None.

        at_once: whether to copy also if the last copy was made a moment ago. Raises StoreUnusable,
        OSError, and any other error of the copy.
        """
        began_s, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        due = self.now.due_ms is not None and self.now.due_ms <= now_ms  # an alias takes effect
        signature = signature_of(self.path)
        if signature == self.now.signature and not due:
            self.checked_ms, self.checked_s, self.trouble = now_ms, began_s, None
            return None
        resting = (time.time_ns() - self.path.stat().st_mtime_ns) / 1e9
        if 0 <= resting < QUIET_S:
            return None
        try:
            if time.monotonic() < self._next and not at_once:
                self._look(signature)
                return None
            return self._take(time.monotonic())
        except StoreBusy:
            return None

    def note(self, error: Exception) -> None:
        """Remember the trouble that an error of a look at the store shows."""
        self.trouble = trouble_of(error, self.path) or Trouble.FAILING

    def _look(self, signature: tuple[object, ...]) -> None:
        """Check that the store at the path is the served one, without copying it.

        signature: of its file. Raises StoreBusy, OtherStore, StoreUnusable.
        """
        if signature == self._looked_at:
            return
        with contextlib.closing(Scratch(self.folder)) as scratch:
            attach(scratch, self.path, write=False, until=time.monotonic())
            _check(scratch, self.path, self.store_id)
        self._looked_at, self.trouble = signature, None

    def _take(self, until: float) -> Snapshot:
        """Copy the store and open the copy. until: how long a busy store is waited for."""
        self.copies += 1
        copied = CopiedStore(
            file=self.folder / f"copy-{self.copies}",
            path=self.path,
            signature=(),
            made_ms=time.time_ns() // 1_000_000,
            made_s=time.monotonic(),
        )
        scratch = Scratch(self.folder, MEMORY_LIMIT)
        try:
            # Each reader has a thread of its own. Threads of DuckDB beside it wake each other for
            # every statement, which costs a third of the processor time of a short one.
            scratch.run("set threads = 1")
            signature = copy_for_reading(scratch, self.path, copied.file, until=until)
            snapshot = open_copy(
                scratch,
                replace(copied, signature=signature),
                workspaces=self.workspaces,
                store_id=self.store_id,
            )
        except BaseException:
            scratch.close()
            copied.unlink()
            raise
        self.copy_s = time.monotonic() - copied.made_s
        self._next = time.monotonic() + max(self.refresh_s - self.copy_s, self.copy_s)
        return snapshot

    def _begin(self, snapshot: Snapshot) -> None:
        """Make a snapshot the newest one."""
        self.now, self.trouble = snapshot, None
        self.checked_ms, self.checked_s = snapshot.made_ms, snapshot.made_s

    def behind_s(self) -> float:
        """Return how many seconds older than promised the answers are.

        The later of two clocks counts, because each of them may stand still or jump.
        """
        age_s = max(
            time.monotonic() - self.checked_s,
            (time.time_ns() // 1_000_000 - self.checked_ms) / 1000,
        )
        # The pause between two copies and the copy itself are no delay: nothing else was promised.
        return age_s - PROMISED_S - max(self.refresh_s, self.copy_s) - self.copy_s

    def silence(self) -> Trouble | None:
        """Return why no question is answered; None while the snapshot is new enough."""
        return (self.trouble or Trouble.BEHIND) if self.behind_s() > self.most_behind_s else None

    @contextlib.contextmanager
    def reader(self) -> Iterator[Reader]:
        """Lend a reader of the newest snapshot; at most READERS are lent at a time.

        Raises Problem if the snapshot is too old.
        """
        if (silence := self.silence()) is not None:
            raise silence.of_question()
        snapshot = self.now
        snapshot.users += 1
        reader = snapshot.free.pop()
        try:
            yield reader
        finally:
            reader.scratch.steps.clear()  # else the list of its statements would grow for ever
            snapshot.free.append(reader)
            snapshot.users -= 1
            if snapshot.retired and not snapshot.users:
                self._leaving.remove(snapshot)
                snapshot.close()

    def put(self, snapshot: Snapshot) -> None:
        """Answer new questions from a newer snapshot."""
        old = self.now
        self._begin(snapshot)
        old.retired = True
        if old.users:
            self._leaving.append(old)
        else:
            old.close()

    def tells_since(self, when_s: float) -> bool:
        """Return whether every answer is at least as new as a time, or there are no answers.

        when_s: that time, as time.monotonic.
        """
        return not self._leaving and (
            self.checked_s >= when_s or (self.silence() is not None and not self.now.users)
        )

    def close(self) -> None:
        """Close the newest snapshot."""
        self.now.close()
