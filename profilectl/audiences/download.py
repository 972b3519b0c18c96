"""An audience as a file: the platform's download (a CSV row an identity), JSON lines, or a ZIP with
a manifest.

The form is that of domain.md 11.2 ("Download").
"""

from __future__ import annotations

import csv
import io
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from profilectl.audiences.actions import audience_named, members_of
from profilectl.files.whole_file import whole_file

HEADER = ("mpid", "scanned_timestamp_ms", "identity_value", "identity_type")


def export_audience(
    path: Path, name: str, output: Path | None, form: str, *, wait_s: float = 0
) -> int:
    """Write the members of an audience to a file (standard output where None) and return how many.

    form: csv, jsonl or zip.

    Raises UsageError where there is no such audience, InputRefused where the output cannot be.
    """
    audience = audience_named(path, name, wait_s=wait_s)
    found = list(members_of(path, name, wait_s=wait_s))
    if output is None:
        _write(sys.stdout.buffer, audience, found, form)
        sys.stdout.buffer.flush()
    else:
        with whole_file(output, "-o") as out:
            _write(out, audience, found, form)
    return len(found)


def _write(out: BinaryIO, audience: dict[str, Any], found: list[dict[str, Any]], form: str) -> None:
    if form == "zip":
        _write_zip(out, audience, found)
    else:
        out.writelines(_json_lines(found) if form == "jsonl" else _csv_lines(audience, found))


def _json_lines(found: list[dict[str, Any]]) -> Iterator[bytes]:
    for one in found:
        yield orjson.dumps(one) + b"\n"


def _csv_lines(audience: dict[str, Any], found: list[dict[str, Any]]) -> Iterator[bytes]:
    scanned = audience["refreshed_ms"] or 0
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(HEADER)
    for one in found:
        writer.writerows(
            (one["mpid"], scanned, value, kind)
            for kind, values in one["identities"].items()
            for value in values
        )
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def _write_zip(out: BinaryIO, audience: dict[str, Any], found: list[dict[str, Any]]) -> None:
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime((audience["refreshed_ms"] or 0) / 1000))
    plain = "".join(one if one.isalnum() else "_" for one in audience["name"])
    inner = f"{audience['audience_id']}_{plain}_{stamp}.csv"
    kinds = list(dict.fromkeys(kind for one in found for kind in one["identities"]))
    rows = sum(len(values) for one in found for values in one["identities"].values())
    manifest = {
        "archive_name": f"{audience['audience_id']}_{plain}_{stamp}.zip",
        "id": audience["audience_id"],
        "audience_ids": [audience["audience_id"]],
        "included_identities": kinds,
        "total_profiles": len(found),
        "total_rows": rows,
        "files": [inner],
    }
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(inner, b"".join(_csv_lines(audience, found)))
        archive.writestr("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
