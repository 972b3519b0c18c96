"""The folder of a server beside its store: its copies are in it, and erasing commands ask there.

If the folder that has the store is moved away or replaced, this one goes with it. It is made again
as soon as there is a store. A command that erases finds it by its lock (tellers.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from profilectl.files.leftovers import folder_beside
from profilectl.store.tellers import Teller, answer, questions_in, say_who


class Place:
    """The folder of a server. `beside` makes it."""

    def __init__(self, store: Path, folder: Path, removal: contextlib.ExitStack) -> None:
        self.folder = folder
        self._store = store
        self._removal = removal
        self._file = _file(folder)
        self._teller: Teller | None = None

    @classmethod
    def beside(cls, store: Path) -> Place:
        """Make the folder of a server beside its store. Raises StoreUnusable if that fails."""
        removal = contextlib.ExitStack()
        return cls(store, removal.enter_context(folder_beside(store, "snapshot")), removal)

    def introduce(self, address: str, store_id: str) -> None:
        """Write the server's process and address into the folder."""
        self._teller = Teller(os.getpid(), address, store_id)
        say_who(self.folder, self._teller)

    def restore(self) -> None:
        """Make the folder again if it was removed or replaced. Raises StoreUnusable."""
        if _file(self.folder) == self._file:
            return
        self._removal.close()
        self.folder = self._removal.enter_context(folder_beside(self._store, "snapshot"))
        self._file = _file(self.folder)
        if self._teller is not None:
            say_who(self.folder, self._teller)

    def questions(self) -> list[Path]:
        """Return the questions of commands that erased somebody. Raises OSError."""
        return questions_in(self.folder)

    def answer(self, questions: Sequence[Path]) -> None:
        """Confirm that every answer now comes from a store newer than the questions."""
        answer(questions)

    def close(self) -> None:
        """Remove the folder."""
        self._removal.close()


def _file(folder: Path) -> tuple[int, int] | None:
    """Return the device and the inode of a folder; None if it does not exist."""
    try:
        file = folder.lstat()
    except OSError:
        return None
    return file.st_dev, file.st_ino
