"""An audience as a file, in the form of the platform's download (domain.md 11.2 "Download").

It is CSV with a row for each identity, JSON lines, or a ZIP with the CSV and a manifest.
"""

from __future__ import annotations

import csv
import io
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import orjson

from profilectl.audiences.actions import Document, audience_named, members_of
from profilectl.files.whole_file import whole_file

HEADER = ("mpid", "scanned_timestamp_ms", "identity_value", "identity_type")


def export_audience(
    path: Path, name: str, output: Path | None, form: str, *, wait_s: float = 0
) -> int:
    """Write the members of an audience to a file, and return how many they are.

    Without `output`, they go to standard output; `form` is csv, jsonl or zip. Raises UsageError
    where there is no such audience, InputRefused where the output cannot be written.
    """
    audience = audience_named(path, name, wait_s=wait_s)
    members = list(members_of(path, name, wait_s=wait_s))
    if output is None:
        _write(sys.stdout.buffer, audience, members, form=form)
        sys.stdout.buffer.flush()
    else:
        with whole_file(output, "-o") as out:
            _write(out, audience, members, form=form)
    return len(members)


def _write(out: BinaryIO, audience: Document, members: list[Document], *, form: str) -> None:
    if form == "zip":
        _write_zip(out, audience, members)
    else:
        out.writelines(_json_lines(members) if form == "jsonl" else _csv_lines(audience, members))


def _json_lines(members: list[Document]) -> Iterator[bytes]:
    for member in members:
        yield orjson.dumps(member) + b"\n"


def _csv_lines(audience: Document, members: list[Document]) -> Iterator[bytes]:
    scanned = audience["refreshed_ms"] or 0
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(HEADER)
    for member in members:
        writer.writerows(
            (member["mpid"], scanned, value, kind)
            for kind, values in member["identities"].items()
            for value in values
        )
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    # the header, where nobody is a member; else nothing
    yield text.getvalue().encode()


def _write_zip(out: BinaryIO, audience: Document, members: list[Document]) -> None:
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime((audience["refreshed_ms"] or 0) / 1000))
    plain = "".join(letter if letter.isalnum() else "_" for letter in audience["name"])
    inner = f"{audience['audience_id']}_{plain}_{stamp}.csv"
    kinds = list(dict.fromkeys(kind for member in members for kind in member["identities"]))
    rows = sum(len(values) for member in members for values in member["identities"].values())
    manifest = {
        "archive_name": f"{audience['audience_id']}_{plain}_{stamp}.zip",
        "id": audience["audience_id"],
        "audience_ids": [audience["audience_id"]],
        "included_identities": kinds,
        "total_profiles": len(members),
        "total_rows": rows,
        "files": [inner],
    }
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(inner, b"".join(_csv_lines(audience, members)))
        archive.writestr("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
