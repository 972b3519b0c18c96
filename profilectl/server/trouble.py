"""The troubles of a server: its store is gone, was replaced, or cannot be read.

Each has a code, with which batches and questions are refused, and a status, which /healthz shows.
"""

from __future__ import annotations

import enum
from pathlib import Path

from profilectl.codes import KeyMissing, OtherStore, StoreGone, StoreUnusable
from profilectl.server.gate import Problem


class Trouble(enum.Enum):
    """A trouble: its code, the status in /healthz, and a sentence."""

    STORE_GONE = "STORE_GONE", "store_gone", "the store is not at its path any more"
    OTHER_STORE = (
        "OTHER_STORE",
        "other_store",
        "another store is at the path of the one that is served",
    )
    UNUSABLE = (
        "STORE_UNUSABLE",
        "store_unusable",
        "what is at the path of the store cannot be used as one",
    )
    FAILING = "FAILING", "failing", "the store could not be copied to answer out of it"
    BEHIND = "BEHIND", "stale", "the store could not be looked at for too long"
    NO_KEY = (
        "NO_SUPPRESSION_KEY",
        "ok",
        "the key of those who were erased and stay out is not there, so nothing is taken in",
    )
    UNAVAILABLE = "UNAVAILABLE", "ok", "the store cannot be written now"

    def __init__(self, code: str, status: str, sentence: str) -> None:
        self.code, self.status, self.sentence = code, status, sentence

    def of_question(self) -> Problem:
        """Return the answer to a question that could only be answered with old data."""
        message = f"{self.sentence}, and the last copy is too old to answer from; try again"
        return Problem(503, self.code, message, headers={"Retry-After": "1"})

    def of_batch(self) -> Problem:
        """Return the answer to a batch that cannot be written."""
        message = f"{self.sentence}; send it again"
        return Problem(503, self.code, message, headers={"Retry-After": "1"})


def trouble_of(error: BaseException, path: Path) -> Trouble | None:
    """Return the trouble that a failure shows; None if it has nothing to do with the store."""
    if isinstance(error, OtherStore):
        return Trouble.OTHER_STORE
    if isinstance(error, KeyMissing):
        return Trouble.NO_KEY
    if not isinstance(error, StoreUnusable | OSError):
        return None
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Trouble.STORE_GONE
    except OSError:
        return Trouble.UNUSABLE
    if isinstance(error, StoreGone | FileNotFoundError):  # the store came back after the failure
        return Trouble.STORE_GONE
    return Trouble.UNUSABLE if isinstance(error, StoreUnusable) else None
