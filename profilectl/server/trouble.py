"""What is in the way of a server: its store is gone, another is in its place, it cannot be read.

Each has a code for programs, which batches and questions are refused with, and the status that
/healthz tells.
"""

from __future__ import annotations

import enum
from pathlib import Path

from profilectl.codes import KeyMissing, OtherStore, StoreGone, StoreUnusable
from profilectl.server.gate import Problem


class Trouble(enum.Enum):
    """What is in the way: its code, the status of /healthz, and a sentence."""

    GONE = "STORE_GONE", "store_gone", "the store is not at its path any more"
    OTHER = "OTHER_STORE", "other_store", "another store is at the path of the one that is served"
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
        """Return the answer to a question: what could be told is too old."""
        return Problem(
            503,
            self.code,
            f"{self.sentence}, and what could be told is too old; try again",
            {"Retry-After": "1"},
        )

    def of_batch(self) -> Problem:
        """Return the answer to what would be written."""
        return Problem(503, self.code, f"{self.sentence}; send it again", {"Retry-After": "1"})


def trouble_of(error: BaseException, path: Path) -> Trouble | None:
    """Return what a failure says of the store at a path; None where it says nothing of that."""
    if isinstance(error, OtherStore):
        return Trouble.OTHER
    if isinstance(error, KeyMissing):
        return Trouble.NO_KEY
    if not isinstance(error, StoreUnusable | OSError):
        return None
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Trouble.GONE
    except OSError:
        return Trouble.UNUSABLE
    if isinstance(error, StoreGone | FileNotFoundError):  # it came back a moment later
        return Trouble.GONE
    return Trouble.UNUSABLE if isinstance(error, StoreUnusable) else None
