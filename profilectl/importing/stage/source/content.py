"""A file known by its bytes: an empty one, rejects, a workbook, Parquet."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import os
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path

from profilectl.codes import InputRefused
from profilectl.importing.stage.staged import reject_of

HEAD = 4096
"""How many bytes say how a content begins."""
LARGE = 1024 * 1024
"""From how many bytes on a thread of its own makes the hash of a file: it takes 1 ms."""
LONGEST_REJECT = 1024 * 1024
"""How many bytes a line of rejects may have: its raw text is cut at 65,536 characters."""
PARQUET = b"PAR1"
ENCRYPTED_PARQUET = b"PARE"
ZIP = b"PK\x03\x04"
OLD_WORKBOOK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")


class Empty(InputRefused):
    """A file that holds nothing."""


def head_of(local: Path) -> bytes:
    """Return how the content of a file begins."""
    with local.open("rb") as stream:
        return stream.read(HEAD)


def filled_head(name: str, local: Path) -> bytes:
    """Return how the content of what was unpacked begins. Raises Empty where there is none."""
    head = head_of(local)
    if not head:
        raise Empty(f"{name} is empty inside", "there is nothing in it")
    return head


def is_blank(head: bytes) -> bool:
    """Return whether a file has no more than blanks, line ends and a byte order mark."""
    # Only a file that is no longer than its head is known whole.
    return len(head) < HEAD and not head.removeprefix(codecs.BOM_UTF8).strip(b" \t\r\n")


@dataclass(slots=True)
class ContentDigest:
    """The hash of a file's content, which may still be in the making."""

    local: Path
    """The file."""
    size: int
    """How many bytes it has."""
    _digest: str = ""
    """The hash, once it is made."""
    _error: OSError | None = None
    """Why it could not be made."""
    _thread: threading.Thread | None = None
    """The thread that makes it; None: it is made at once."""

    @classmethod
    def begun(cls, local: Path) -> ContentDigest:
        """Begin to hash a file: a large one beside what else reads it.

        The file stays as it is until `value` is asked for.
        """
        digest = cls(local, local.stat().st_size)
        if digest.size >= LARGE:
            # Nobody waits for it when the process ends.
            digest._thread = threading.Thread(target=digest._make, daemon=True)
            digest._thread.start()
        else:
            digest._make()
        return digest

    def _make(self) -> None:
        try:
            with self.local.open("rb") as stream:
                self._digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            self._error = error

    def value(self) -> str:
        """Return the hash as hexadecimal digits. Raises OSError where it cannot be read."""
        if self._thread:
            self._thread.join()
        if self._error:
            raise self._error
        return self._digest


def is_rejects(local: Path) -> bool:
    """Return whether a file is one of rejects, by its first line."""
    with local.open("rb") as stream:
        # The first byte tells most other files apart, whose first line may be long.
        begins = stream.read(1) == b"{"
        return begins and reject_of(b"{" + stream.readline(LONGEST_REJECT)) is not None


def refuse_workbook(name: str, local: Path, head: bytes, *, suffix: str) -> None:
    """Raise InputRefused for a workbook of a spreadsheet program, by its name or its content.

    An .xlsx is a zip archive with a folder xl.
    """
    is_workbook = suffix in WORKBOOKS or head.startswith(OLD_WORKBOOK)
    if not is_workbook and head.startswith(ZIP):
        # A damaged archive is refused as such when it is unpacked.
        damage = (zipfile.BadZipFile, NotImplementedError, OSError, UnicodeDecodeError)
        with contextlib.suppress(*damage), zipfile.ZipFile(local) as archive:
            is_workbook = "xl/workbook.xml" in archive.namelist()
    if is_workbook:
        raise InputRefused(
            f"{name} is a workbook of a spreadsheet program",
            'save the sheet as CSV: "CSV UTF-8" in Excel, and import that',
        )


def check_parquet(name: str, local: Path, head: bytes) -> None:
    """Raise InputRefused for a file that does not begin and end as Parquet does."""
    if head.startswith(ENCRYPTED_PARQUET):
        raise InputRefused(f"{name} is encrypted Parquet", "write it without encryption")
    if not head.startswith(PARQUET):
        raise InputRefused(
            f"{name} is not Parquet", "give --format csv or jsonl if that is what it is"
        )
    with local.open("rb") as stream:
        stream.seek(-len(PARQUET), os.SEEK_END)
        if stream.read() != PARQUET:
            raise InputRefused(
                f"{name} ends in the middle: its Parquet is cut off", "make or fetch it again"
            )
