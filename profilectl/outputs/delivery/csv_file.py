"""An audience in a CSV file, a row for each identity: who came and went (rows are added), or the
members (written whole).

The columns are those of the platform's download (domain.md 11.2), and beside them what a change
needs. The last cell of a row of changes is the id of its message: so a row that was cut off is
known, and none stands twice.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from profilectl.codes import InputRefused
from profilectl.outputs.delivery.jsonl import CHUNK, open_to_add, write_block
from profilectl.outputs.delivery.parcel import Delivered, Parcel, Result
from profilectl.reading.extract import FORMULA, PLAIN_NUMBER
from profilectl.rules.leaving.output import DeliveryFate
from profilectl.rules.text.values import Value, to_json

MEMBER = ("mpid", "scanned_timestamp_ms", "identity_value", "identity_type")
CHANGE = ("change", "since_ms")
ENDS = "message_id"
TAIL_ROWS = 50_000
"""So many rows at the end of a file are looked at: more than one block of messages has."""
_ended = re.compile(rb",([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\n")


def header_of(content: str, attributes: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a file of an audience. content: of output.CONTENTS; attributes: those
    that are shared."""
    shared = [f"user_attributes.{key}" for key in attributes]
    return (*MEMBER, *shared) if content == "full" else (*MEMBER, *CHANGE, *shared, ENDS)


def text_of_rows(rows: Iterable[Sequence[str]], *, safe: bool) -> bytes:
    """Return rows as they stand in the file. safe: an apostrophe before what a spreadsheet would
    run."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_safe(cell) for cell in row] if safe else row for row in rows)
    return text.getvalue().encode()


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) and not re.fullmatch(PLAIN_NUMBER, cell) else cell


def cell_of(value: Value) -> str:
    """Return a value as a cell has it: its text; nothing of a tag."""
    return "" if value is None else value if isinstance(value, str) else to_json(value)


def rows_of(document: Mapping[str, Any], attributes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the rows of a message: one for each identity, and one without an identity of who has
    none."""
    (profile,) = document["user_profiles"]
    (audience,) = profile["audiences"]
    has = {one["key"]: one.get("value") for one in audience["user_attributes"]}
    ends = (
        audience["action"],
        str(audience["since_ms"]),
        *(cell_of(has.get(key)) for key in attributes),
        document["id"],
    )
    listed = [
        (one["value"], one["type"])
        for one in (*profile["user_identities"], *profile["device_identities"])
    ] or [("", "")]
    return [
        (profile["mpid"], str(document["timestamp_ms"]), value, kind, *ends)
        for value, kind in listed
    ]


class Changes:
    """The file of an output that holds who came and went, open."""

    def __init__(self, path: Path, attributes: Sequence[str], *, safe: bool) -> None:
        self._path, self._attributes, self._safe = path, attributes, safe
        self._opened = open_to_add(path, "a CSV file")
        try:
            self._there = self._mended(text_of_rows([header_of("changes", attributes)], safe=False))
        except BaseException:
            self.close()
            raise

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Add the rows of messages that are not there, and force them to the disk."""
        done, block = Delivered(), []
        for one in parcels:
            known = self._there.get(one.request.encode(), set())
            rows = [
                row
                for row in (
                    text_of_rows([row], safe=self._safe)
                    for row in rows_of(one.document, self._attributes)
                )
                if row not in known
            ]
            block += rows
            done.results.append(
                Result(one.arrival, DeliveryFate.DELIVERED if rows else DeliveryFate.KNOWN)
            )
        try:
            write_block(self._opened, b"".join(block))
        except OSError as error:
            return Delivered(
                stopped=f"{self._path} could not be written: {error.strerror}",
                hint="make room, or mend the disk; what is left waits",
            )
        return done

    def _mended(self, header: bytes) -> dict[bytes, set[bytes]]:
        """Write the header where there is none, cut off a row that was not written to its end, and
        return the last rows by message."""
        size = os.fstat(self._opened).st_size
        begins = os.pread(self._opened, len(header), 0)
        if begins != header:
            if not header.startswith(begins):
                raise InputRefused(
                    f"{self._path} is there, and is no file of changes with these columns",
                    "name another path for the output",
                )
            os.ftruncate(self._opened, 0)
            write_block(self._opened, header)
            return {}
        tail, start = b"", size
        while start > len(header) and tail.count(b"\n") <= TAIL_ROWS:
            step = min(start - len(header), CHUNK)
            start -= step
            tail = os.pread(self._opened, step, start) + tail
        there: dict[bytes, set[bytes]] = {}
        ended = 0
        for found in _ended.finditer(tail):
            if tail.count(b'"', ended, found.end()) % 2 and (ended or start == len(header)):
                continue  # within a cell
            there.setdefault(found[1], set()).add(tail[ended : found.end()])
            ended = found.end()
        if start > len(header) and not ended:
            raise InputRefused(
                f"{self._path} ends in rows that are not ours", "name another path for the output"
            )
        os.ftruncate(self._opened, start + ended)
        return there

    def close(self) -> None:
        """Close the file."""
        os.close(self._opened)


def check_list(path: Path, content: str = "full") -> None:
    """Refuse to write a list over a file that is none. Raises InputRefused."""
    try:
        with path.open("rb") as there:
            begins = there.read(len(",".join(MEMBER)))
    except OSError:
        return  # whole_file says what is wrong with it
    if begins and begins != ",".join(MEMBER).encode():
        raise InputRefused(
            f"{path} is there already, and is no list of members",
            "name another path for the output, or move the file away",
        )
