"""Reading a store from outside: open it for reading, ask, close it again."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from profilectl.diff import differences, span_of
from profilectl.export import export_profiles
from profilectl.opening import open_store
from profilectl.profile import profiles_of
from profilectl.scratch import Scratch, scratch_beside
from profilectl.whole_file import check_target


def read_profiles(store_path: Path, kind: str, value: str, *, wait_s: float = 0) -> list[str]:
    """Return the profiles that hold an identity, oldest first, as JSON documents with provenance.

    kind: an identity type, or "mpid". Raises StoreBusy, StoreUnusable.
    """
    scratch = Scratch(Path(tempfile.gettempdir()))
    try:
        with open_store(scratch, store_path, wait_s=wait_s) as store:
            profiles = profiles_of(store)
            return profiles.lines(profiles.find(kind, value))
    finally:
        scratch.close()


def export_store(
    store_path: Path,
    format: str,
    output: BinaryIO | Path,
    *,
    in_order: bool,
    provenance: bool,
    safe: bool = False,
    wait_s: float = 0,
    memory_limit: str | None = None,
    progress: Callable[[str, int], None] = lambda step, rows: None,
) -> int:
    """Export every profile of a store and return how many. safe: for spreadsheets. Raises StoreBusy, StoreUnusable."""
    if not store_path.exists():
        with open_store(Scratch(Path(tempfile.gettempdir())), store_path):
            return 0
    if isinstance(output, Path):
        check_target(output)
    beside = output if isinstance(output, Path) else store_path
    with scratch_beside(beside.absolute(), memory_limit) as scratch, open_store(scratch, store_path, wait_s=wait_s) as store:
        return export_profiles(
            store, format, output, in_order=in_order, provenance=provenance, safe=safe,
            progress=lambda profiles: progress("exporting", profiles),
        )


def changes_of(
    store_path: Path, older: int | None = None, newer: int | None = None, *, who: tuple[str, str] | None = None, changes: Sequence[str] = (),
    attributes: Sequence[str] = (), wait_s: float = 0,
) -> Iterator[tuple[str, ...]]:
    """Return what an import changed, or what lies between the states after two: (JSON line, mpid, change,
    what, before, after, import, place), profile by profile.

    who: only the profiles with this identity (type, value). Raises InputRefused, StoreBusy, StoreUnusable.
    """
    scratch = Scratch(Path(tempfile.gettempdir()))
    with contextlib.closing(scratch), open_store(scratch, store_path, wait_s=wait_s) as store:
        profiles = profiles_of(store)
        span = span_of(store, older, newer)
        only = profiles.find(*who) if who else None
        yield from differences(profiles, span, only=only, changes=changes, attributes=attributes)
