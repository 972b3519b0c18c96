"""Reading a store from outside: open it for reading, ask, close it again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from profilectl.codes import InputRefused
from profilectl.export import export_profiles
from profilectl.profile import profiles_of
from profilectl.scratch import Scratch, scratch_beside
from profilectl.store import open_store


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
    wait_s: float = 0,
    memory_limit: str | None = None,
    progress: Callable[[str, int], None] = lambda step, rows: None,
) -> int:
    """Export every profile of a store and return how many. Raises StoreBusy, StoreUnusable."""
    if not store_path.exists():
        with open_store(Scratch(Path(tempfile.gettempdir())), store_path):
            return 0
    if isinstance(output, Path) and not output.absolute().parent.is_dir():
        raise InputRefused(f"{output} cannot be written: there is no folder {output.parent}", "name another file with -o")
    beside = output if isinstance(output, Path) else store_path
    with scratch_beside(beside.absolute(), memory_limit) as scratch, open_store(scratch, store_path, wait_s=wait_s) as store:
        return export_profiles(
            store, format, output, in_order=in_order, provenance=provenance,
            progress=lambda profiles: progress("exporting", profiles),
        )
