"""The folder of a server beside its store: copies lie there, and whoever erases asks there.

Where the folder of the store is moved away or exchanged, that folder goes too: it is made anew as
soon as there is a store again. Whoever erases finds it by its lock (tellers.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from profilectl.store.scratch import private_folder
from profilectl.store.tellers import Teller, answer, questions_in, say_who


class Place:
    """The folder of a server. Raises StoreUnusable where none can be made."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._teller: Teller | None = None
        self._made: tuple[int, int] | None = None
        self._exit = contextlib.ExitStack()
        self.folder = self._make()

    def _make(self) -> Path:
        folder = self._exit.enter_context(private_folder(self._store, "snapshot"))
        self._made = _file(folder)
        if self._teller is not None:
            say_who(folder, self._teller)
        return folder

    def say_who(self, address: str, store_id: str) -> None:
        """Say there who this server is."""
        self._teller = Teller(os.getpid(), address, store_id)
        say_who(self.folder, self._teller)

    def again(self) -> None:
        """Make the folder anew, where it is gone, or another is in its place.
        Raises StoreUnusable."""
        if _file(self.folder) != self._made:
            self._exit.close()
            self.folder = self._make()

    def questions(self) -> list[Path]:
        """Return what is asked there. Raises OSError."""
        return questions_in(self.folder)

    def answer(self, questions: Sequence[Path]) -> None:
        """Say that nothing older than the questions is told any more."""
        answer(questions)

    def close(self) -> None:
        """Take the folder away."""
        self._exit.close()


def _file(folder: Path) -> tuple[int, int] | None:
    """Return which file a folder is: its device and number; None where there is none."""
    try:
        file = folder.lstat()
    except OSError:
        return None
    return file.st_dev, file.st_ino
