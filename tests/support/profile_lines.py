"""Every profile of a store, as a line of JSON."""

from __future__ import annotations

from pathlib import Path

from profilectl.profiles.read_model import profiles_of
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch


def exported(path: Path) -> list[str]:
    scratch = Scratch(path.parent)
    with open_store(scratch, path) as store:
        select = profiles_of(store).json_lines("", provenance=True)
        lines = [line for (line,) in scratch.rows(f"select line from ({select}) order by profile")]
    scratch.close()
    return lines
