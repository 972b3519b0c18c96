"""A source of what waits for an output, and how it opens the store."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from profilectl.outputs.delivery.parcel import Parcel
from profilectl.rules.leaving.output import BatchOutcome
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.store import OpenStore

LATE_WAIT_S = 60.0
"""How long to wait for a busy store once something was delivered: if it were not written down, it
would be delivered again.
"""


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """A store that is opened again and again."""

    scratch: Scratch
    """The session that it is attached to."""
    path: Path
    """The store."""
    wait_s: float
    """How long to wait for another process at the beginning."""

    def open(
        self, *, write: bool = False, patient: bool = True
    ) -> AbstractContextManager[OpenStore]:
        """Open the store. patient: wait longer for another process: forwarding has begun."""
        wait_s = max(self.wait_s, LATE_WAIT_S) if patient else self.wait_s
        return open_store(self.scratch, self.path, write=write, wait_s=wait_s)


@dataclass(frozen=True, slots=True)
class Taken:
    """The next of what waits, put together."""

    after: int
    """The next come after this number."""
    parcels: Sequence[Parcel]
    """Those that leave."""
    outcomes: Sequence[BatchOutcome]
    """What became of those that do not."""


class WaitingSource(Protocol):
    """Gives what waits for an output."""

    def take(self, after: int, limit: int) -> Taken | None:
        """Put the next together; None: nothing waits."""

    def record(self, store: OpenStore, outcomes: Sequence[BatchOutcome]) -> None:
        """Write down what became of what was taken in the call before."""
