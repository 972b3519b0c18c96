"""One file to be staged, and where its rows go: what every reader is handed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.staged import AttributeColumns, Rejects
from profilectl.store.scratch import Scratch


@dataclass(frozen=True, slots=True)
class StageTask:
    """One file to be staged."""

    scratch: Scratch
    """Where its relations are made."""
    file: InputFile
    """The file."""
    name: str
    """The names of its relations begin with this."""
    keys: AttributeColumns
    """Which column an attribute has."""
    rejects: Rejects
    """Takes the rows that cannot be used."""
    progress: Callable[[int], None]
    """Called with the number of rows read so far."""
