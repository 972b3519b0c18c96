"""Looking after a store, from outside: check, backup, compact, stats."""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profilectl.check import Breach, check
from profilectl.compaction import rewrite_compact
from profilectl.copies import copy_store, put_in_place
from profilectl.opening import open_store
from profilectl.scratch import Scratch, scratch_beside
from profilectl.stats import stats_of
from profilectl.store import must_exist
from profilectl.whole_file import check_target


@dataclass(frozen=True, slots=True)
class Compacted:
    """What compaction did: segments and bytes of the file, before and after; which imports can still be undone."""

    segments_before: int
    segments: int
    bytes_before: int
    bytes: int
    undoable: list[int]

    def as_json(self) -> dict[str, Any]:
        return {
            "segments_before": self.segments_before, "segments": self.segments, "bytes_before": self.bytes_before,
            "bytes": self.bytes, "undoable": self.undoable,
        }


def check_store(path: Path, *, repair: bool = False, wait_s: float = 0) -> list[Breach]:
    """Return every broken promise of a store; with repair, mend what can be. Raises StoreBusy, StoreUnusable."""
    must_exist(path)
    with scratch_beside(path) as scratch, open_store(scratch, path, write=repair, wait_s=wait_s) as store:
        return check(store, repair=repair)


def backup_store(path: Path, target: Path, *, force: bool = False, wait_s: float = 0) -> int:
    """Copy a store to a file, read it back, and return its bytes. force: replace a file of that name.

    Raises InputRefused where the file cannot be written, StoreBusy, StoreUnusable.
    """
    must_exist(path)
    check_target(target, "FILE", replace=force, store=True)
    # Opened once as a store: what is no store, or a newer one, is not backed up as one.
    with contextlib.closing(Scratch(Path(tempfile.gettempdir()))) as scratch, open_store(scratch, path, wait_s=wait_s):
        pass
    return copy_store(path, target, until=time.monotonic() + wait_s)


def compact_store(path: Path, *, keep: int | None = None, wait_s: float = 0) -> Compacted:
    """Lay segments together and write the store anew, without the room that is free in it.

    keep: so many of the last imports can still be undone; else the setting history.keep. Raises
    StoreBusy, StoreUnusable; then the store is as before.
    """
    must_exist(path)
    before = path.stat().st_size
    with scratch_beside(path) as scratch, open_store(scratch, path, write=True, wait_s=wait_s) as store:
        segments = len(store.segments())
        made, left = rewrite_compact(store, store.settings().keep_imports if keep is None else keep, scratch.folder)
        put_in_place(scratch, made, path)
    undoable = [one.first_import for one in left if one.first_import == one.last_import]
    return Compacted(segments, len(left), before, path.stat().st_size, undoable)


def stats(path: Path, *, wait_s: float = 0) -> dict[str, Any]:
    """Return what a store holds, as `stats --json` prints it. Raises StoreBusy, StoreUnusable."""
    must_exist(path)
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        return stats_of(store)
