"""An audience in a CSV file, a row for each identity.

The file holds the changes of members (rows are added), or all members (it is written whole).

The columns are those of the platform's download (domain.md 11.2); a change has some more. The last
cell of a row of changes is the id of its message. So a row that was cut off is recognised, and no
row is written twice.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profilectl.codes import InputRefused
from profilectl.outputs.delivery.jsonl import CHUNK, not_written, open_to_add, write_block
from profilectl.outputs.delivery.parcel import Delivered, Parcel, Result
from profilectl.reading.exporting.csv_text import FORMULA, PLAIN_NUMBER
from profilectl.rules.leaving.output import DeliveryFate
from profilectl.rules.text.values import Value, to_json

MEMBER = ("mpid", "scanned_timestamp_ms", "identity_value", "identity_type")
CHANGE = ("change", "since_ms")
ENDS = "message_id"
TAIL_ROWS = 50_000
"""How many rows at the end of a file are looked at: more than one block of messages has."""
_ENDED = re.compile(rb",([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\n")


def header_of(content: str, attributes: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a file of an audience.

    content: of rules/leaving/output.CONTENTS; attributes: those that are shared.
    """
    shared = [f"user_attributes.{key}" for key in attributes]
    return (*MEMBER, *shared) if content == "full" else (*MEMBER, *CHANGE, *shared, ENDS)


def text_of_rows(rows: Iterable[Sequence[str]], *, safe: bool) -> bytes:
    """Return rows as they stand in the file.

    safe: put an apostrophe before what a spreadsheet would run.
    """
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
    """Return the rows of a message: one for each identity.

    A member who has none gets a row without an identity.
    """
    (profile,) = document["user_profiles"]
    (audience,) = profile["audiences"]
    values = {attribute["key"]: attribute.get("value") for attribute in audience["user_attributes"]}
    end = (
        audience["action"],
        str(audience["since_ms"]),
        *(cell_of(values.get(key)) for key in attributes),
        document["id"],
    )
    identities = [
        (identity["value"], identity["type"])
        for identity in (*profile["user_identities"], *profile["device_identities"])
    ]
    return [
        (profile["mpid"], str(document["timestamp_ms"]), value, kind, *end)
        for value, kind in identities or [("", "")]
    ]


@dataclass(frozen=True, slots=True)
class Changes:
    """The file of an output that holds the changes of members, open."""

    path: Path
    """The file."""
    descriptor: int
    """The file, open."""
    attributes: Sequence[str]
    """The attributes that it has a column for."""
    safe: bool
    """Whether a spreadsheet that opens it runs nothing of it."""
    rows_there: Mapping[bytes, set[bytes]]
    """The last rows of the file, by the id of their message."""

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Add the rows of messages that are not there, and force them to the disk."""
        delivered, block = Delivered(), list[bytes]()
        for parcel in parcels:
            there = self.rows_there.get(parcel.request.encode(), set())
            rows = [
                text_of_rows([row], safe=self.safe)
                for row in rows_of(parcel.document, self.attributes)
            ]
            missing = [row for row in rows if row not in there]
            block += missing
            fate = DeliveryFate.DELIVERED if missing else DeliveryFate.KNOWN
            delivered.results.append(Result(parcel.arrival, fate))
        try:
            write_block(self.descriptor, b"".join(block))
        except OSError as error:
            return not_written(self.path, error)
        return delivered

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


def changes_of(path: Path, attributes: Sequence[str], *, safe: bool) -> Changes:
    """Open a file of changes, and mend its end. Raises InputRefused for any other file."""
    descriptor = open_to_add(path, "a CSV file")
    try:
        header = text_of_rows([header_of("changes", attributes)], safe=False)
        there = _mended(path, descriptor, header)
    except BaseException:
        os.close(descriptor)
        raise
    return Changes(path, descriptor, attributes, safe=safe, rows_there=there)


def _mended(path: Path, descriptor: int, header: bytes) -> dict[bytes, set[bytes]]:
    """Mend the end of a file, and return its last rows by message.

    A missing header is written, and a row that was not written to its end is cut off. Raises
    InputRefused for a file that is not ours.
    """
    size = os.fstat(descriptor).st_size
    begins = os.pread(descriptor, len(header), 0)
    if begins != header:
        if not header.startswith(begins):
            raise InputRefused(
                f"{path} is there, and is no file of changes with these columns",
                "name another path for the output",
            )
        os.ftruncate(descriptor, 0)
        write_block(descriptor, header)
        return {}
    tail, start = b"", size
    while start > len(header) and tail.count(b"\n") <= TAIL_ROWS:
        step = min(start - len(header), CHUNK)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
    there: dict[bytes, set[bytes]] = {}
    ended = 0
    for end in _ENDED.finditer(tail):
        if tail.count(b'"', ended, end.end()) % 2 and (ended or start == len(header)):
            # The quotes are odd, so this end is within a cell. A tail that begins in the middle of
            # a row has no row to count from, so its first end is taken.
            continue
        there.setdefault(end[1], set()).add(tail[ended : end.end()])
        ended = end.end()
    if start > len(header) and not ended:
        raise InputRefused(
            f"{path} ends in rows that are not ours", "name another path for the output"
        )
    os.ftruncate(descriptor, start + ended)
    return there


def check_list(path: Path) -> None:
    """Refuse to write a list over a file that is not one. Raises InputRefused."""
    try:
        with path.open("rb") as file:
            begins = file.read(len(",".join(MEMBER)))
    except OSError:
        return  # whole_file says what is wrong with it
    if begins and begins != ",".join(MEMBER).encode():
        raise InputRefused(
            f"{path} is there already, and is no list of members",
            "name another path for the output, or move the file away",
        )
