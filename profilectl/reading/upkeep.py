"""Looking after a store, from outside: check, compact, stats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profilectl.importing.suppression import sealed_list
from profilectl.reading.check import Breach, check
from profilectl.reading.stats import stats_of
from profilectl.store.attaching import must_exist
from profilectl.store.compaction import rewrite_compact
from profilectl.store.copies import put_in_place
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside


@dataclass(frozen=True, slots=True)
class Compacted:
    """What compaction did: segments and bytes of the file, before and after; which imports can
    still be undone.
    """

    segments_before: int
    segments: int
    bytes_before: int
    bytes: int
    undoable: list[int]

    def as_json(self) -> dict[str, Any]:
        return {
            "segments_before": self.segments_before,
            "segments": self.segments,
            "bytes_before": self.bytes_before,
            "bytes": self.bytes,
            "undoable": self.undoable,
        }


def check_store(path: Path, *, repair: bool = False, wait_s: float = 0) -> list[Breach]:
    """Return every broken promise of a store; with repair, mend what can be.

    Raises StoreBusy, StoreUnusable.
    """
    must_exist(path)
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=repair, wait_s=wait_s) as store,
    ):
        return check(store, repair=repair)


def compact_store(path: Path, *, keep: int | None = None, wait_s: float = 0) -> Compacted:
    """Lay segments together and write the store anew, without the room that is free in it.

    keep: so many of the last imports can still be undone; else the setting history.keep. Raises
    StoreBusy, StoreUnusable; then the store is as before.
    """
    must_exist(path)
    before = path.stat().st_size
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True, wait_s=wait_s) as store,
    ):
        segments = len(store.segments())
        # A list of plain hashes, which an older version made, is hashed again with a key: no byte
        # of it is left in the file.
        suppressed, meta, _ = sealed_list(store)
        stays = (
            {"suppressed": suppressed, "meta": f"select * from store.meta union all {meta}"}
            if suppressed
            else {}
        )
        made, left = rewrite_compact(
            store, store.settings().keep_imports if keep is None else keep, scratch.folder, stays
        )
        put_in_place(scratch, made, path)
    undoable = [one.first_import for one in left if one.first_import == one.last_import]
    return Compacted(segments, len(left), before, path.stat().st_size, undoable)


def stats(path: Path, *, wait_s: float = 0) -> dict[str, Any]:
    """Return what a store holds, as `stats --json` prints it. Raises StoreBusy, StoreUnusable."""
    must_exist(path)
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        return stats_of(store)
