"""The names of a file's columns, as completion offers them: quick, and without reading the file.

An import reads the header as importing/stage does, with its options. Here only the beginning of the
file is looked at, which is right for most files.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path

BEGINNING = 1 << 16
"""The bytes of a file that are looked at."""
DELIMITERS = ",;\t|"
LINES = 20
"""The lines of a JSONL file whose members are named."""


def column_names(path: Path) -> list[str]:
    """Return the names of the columns of a CSV or Parquet file, or the members of JSON lines.

    Raises OSError, ValueError and what pyarrow raises for a file that is none.
    """
    name = path.name.lower()
    if name.endswith((".parquet", ".pq")):
        from pyarrow.parquet import read_schema

        return [str(column) for column in read_schema(path).names]
    text = _beginning(path)
    if name.removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json")):
        return _members(text.splitlines()[:LINES])
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    return next(csv.reader(io.StringIO(text), delimiter=delimiter), [])


def _beginning(path: Path) -> str:
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as stream:
        raw = stream.read(BEGINNING)
    for encoding in ("utf-8-sig", "windows-1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError as error:
            # A character may be cut at the end of the beginning.
            if encoding == "utf-8-sig" and error.start >= len(raw) - 3:
                return raw[: error.start].decode(encoding)
    return raw.decode("latin-1")


def _members(lines: Iterable[str]) -> list[str]:
    """Return the members of JSON objects, each once; a line that is cut has none."""
    names: dict[str, None] = {}
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            names.update(dict.fromkeys(document))
    return list(names)
