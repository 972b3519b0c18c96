"""Look after a store: check, compact, stats; each opens it, does one thing, and closes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from profilectl.files import progress
from profilectl.importing.suppression import sealed_list
from profilectl.reading.check import Breach, check
from profilectl.reading.stats import stats_of
from profilectl.store.attaching import must_exist
from profilectl.store.compaction import final_after_compaction, rewrite_compact
from profilectl.store.copies import put_in_place
from profilectl.store.history import history_of
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore


@dataclass(frozen=True, slots=True)
class Compacted:
    """The outcome of a compaction."""

    segments_before: int
    """How many segments there were."""
    segments: int
    """How many there are."""
    bytes_before: int
    """How large the file was."""
    bytes: int
    """How large it is."""
    undoable: list[int]
    """The imports that can still be undone."""

    def as_json(self) -> dict[str, object]:
        """Return the document of `compact --json`."""
        return {
            "segments_before": self.segments_before,
            "segments": self.segments,
            "bytes_before": self.bytes_before,
            "bytes": self.bytes,
            "undoable": self.undoable,
        }


def check_store(path: Path, *, repair: bool = False, wait_s: float = 0) -> list[Breach]:
    """Return every broken promise of a store; with `repair`, mend those that can be mended.

    Raises StoreBusy, StoreUnusable.
    """
    must_exist(path)
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=repair, wait_s=wait_s) as store,
    ):
        progress.step("readable")
        return check(store, repair=repair)


def made_final(path: Path, *, keep: int | None = None, wait_s: float = 0) -> list[int]:
    """Return the imports that can be undone now and could not after compact_store, oldest first."""
    must_exist(path)
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        return final_after_compaction(store, keep)


def compact_store(path: Path, *, keep: int | None = None, wait_s: float = 0) -> Compacted:
    """Lay segments together and write the store anew, without the room that is free in it.

    `keep` is how many of the last imports can still be undone; None: as many as the setting
    history.keep says. Raises StoreBusy, StoreUnusable; then the store is as before.
    """
    must_exist(path)
    bytes_before = path.stat().st_size
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True, wait_s=wait_s) as store,
    ):
        segments_before = len(store.segments())
        rewritten, segments = rewrite_compact(store, keep, scratch.folder, stays=_sealed(store))
        final = final_after_compaction(store, keep)
        undoable = [
            past.number
            for past in history_of(store)
            if past.why_not_undoable is None and past.number not in final
        ]
        put_in_place(scratch, rewritten, path)
    return Compacted(
        segments_before=segments_before,
        segments=len(segments),
        bytes_before=bytes_before,
        bytes=path.stat().st_size,
        # an import whose rows lie together with those of others cannot be taken out again
        undoable=undoable,
    )


def _sealed(store: OpenStore) -> dict[str, str]:
    """Return the SELECTs of the tables that change if the list of the erased has no key yet.

    An older version made a list of plain hashes. They are hashed again with a key, and no byte of
    the plain ones is left in the file.
    """
    suppressed, meta, _ = sealed_list(store)
    if not suppressed:
        return {}
    return {"suppressed": suppressed, "meta": f"select * from store.meta union all {meta}"}


def stats(path: Path, *, wait_s: float = 0) -> dict[str, object]:
    """Return what a store holds, as `stats --json` prints it. Raises StoreBusy, StoreUnusable."""
    must_exist(path)
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        return stats_of(store)
