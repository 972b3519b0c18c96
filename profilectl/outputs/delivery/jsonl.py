"""A line for each batch or message, in one file or in a file for each day.

A line is on the disk before it counts as delivered.

A process that is killed after writing, before the store knows of it, would write the lines again.
So the end of a file is read first: lines that are there already are not written twice, and a line
that was cut off is removed.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from profilectl.codes import InputRefused
from profilectl.files.leftovers import sync_folder
from profilectl.files.whole_file import is_database
from profilectl.outputs.delivery.parcel import BLOCKS, Delivered, Parcel, Result
from profilectl.rules.leaving.output import DeliveryFate
from profilectl.rules.text.values import to_json

REQUESTS = {
    b'{"schema_version":2,"environment":"': re.compile(rb'"source_request_id":"([0-9a-f-]{36})"'),
    b'{"type":"audience_membership_change_request","id":"': re.compile(rb'"id":"([0-9a-f-]{36})"'),
}
"""How each line of ours begins, and where its id stands. Only what begins so is taken for a line of
ours that was cut off.
"""
CHUNK = 1 << 20
"""The end of a file is read in steps of this many bytes."""


class Lines:
    """The files of an output that were opened. path: a file, or a folder of files."""

    def __init__(self, path: Path, folder: bool) -> None:
        self._path, self._folder = path, folder or path.is_dir()
        self._files: dict[str, int] = {}
        self._there: dict[str, set[bytes]] = {}

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Append batches, and force them to the disk."""
        lines: dict[str, list[bytes]] = {}
        delivered = Delivered()
        for parcel in parcels:
            name = self._name_for(parcel)
            self._open(name)
            if parcel.request.encode() in self._there[name]:
                fate = DeliveryFate.KNOWN
            else:
                fate = DeliveryFate.DELIVERED
                lines.setdefault(name, []).append(to_json(parcel.document).encode() + b"\n")
            delivered.results.append(Result(parcel.arrival, fate))
        try:
            for name, block in lines.items():
                write_block(self._files[name], b"".join(block))
        except OSError as error:
            # Lines of the block that were written are found the next time, as after a kill.
            return not_written(self._path, error)
        return delivered

    def _name_for(self, parcel: Parcel) -> str:
        """Return the name of the file of a parcel; "": there is one file."""
        if not self._folder:
            return ""
        return time.strftime("%Y-%m-%d.jsonl", time.gmtime(parcel.received_ms / 1000))

    def _open(self, name: str) -> None:
        if name in self._files:
            return
        path = self._path / name if name else self._path
        descriptor = open_to_add(path, "a file of lines", folder=self._path if name else None)
        self._files[name] = descriptor
        self._there[name] = _mended(descriptor, path)

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._files.values():
            os.close(descriptor)


def not_written(path: Path, error: OSError) -> Delivered:
    """Return what becomes of parcels that could not be written to a file: they go on waiting."""
    return Delivered(
        stopped=f"{path} could not be written: {error.strerror}",
        hint="make room, or mend the disk; what is left waits",
    )


def open_to_add(path: Path, kind: str, *, folder: Path | None = None) -> int:
    """Open a file that is added to, and make it where there is none; return its descriptor.

    kind: what the file must be, for the message; folder: is made first. Raises InputRefused for
    what is no plain file, or a store.
    """
    refusal = InputRefused(f"{path} is not {kind}", "name another path for the output")
    # A store makes its log (.wal) anew, and a file of that name is lost.
    if path.suffix == ".wal" and is_database(path):
        raise refusal
    try:
        if folder is not None:
            folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(
            path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600
        )
        # The name of a new file must be on the disk too, or a power cut loses what is in it.
        if not os.fstat(descriptor).st_size:
            for new in (path, *((folder,) if folder is not None else ())):
                sync_folder(new.absolute().parent)
    except OSError as error:
        raise InputRefused(
            f"{path} cannot be written: {error.strerror}", "name another path for the output"
        ) from None
    # "DUCK" after eight bytes is the mark of a DuckDB file, that is, of a store.
    is_plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
    if not is_plain or os.pread(descriptor, 12, 0)[8:] == b"DUCK":
        os.close(descriptor)
        raise refusal
    return descriptor


def _mended(descriptor: int, path: Path) -> set[bytes]:
    """Cut off a line that was not written to its end, and return the ids of the last lines.

    Raises InputRefused if the line is not ours.
    """
    tail, start = b"", os.fstat(descriptor).st_size
    while start and tail.count(b"\n") <= BLOCKS["jsonl"]:
        step = min(start, CHUNK)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
    ended, end, torn = tail.rpartition(b"\n")
    if torn:
        if not any(torn.startswith(begins) or begins.startswith(torn) for begins in REQUESTS):
            raise InputRefused(
                f"{path} ends in a line that is not ours and has no end",
                "name another path, or end its last line",
            )
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - len(torn))
    return {
        match[1]
        for line in (ended + end).splitlines()
        for begins, request in REQUESTS.items()
        if line.startswith(begins) and (match := request.search(line))
    }


def write_block(descriptor: int, block: bytes) -> None:
    """Add to a file, and force it to the disk."""
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)
