"""Which texts of a store may hold a value of somebody, and which do.

TEXT_COLUMNS has every column of text of the schema, with what an erasure does about it;
tests/privacy/test_spellings.py compares it with the schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from profilectl.importing.suppression import NOTE
from profilectl.privacy.patterns import PATTERN, sieve
from profilectl.rules.text.spelling import SoughtValues
from profilectl.store.scratch import Scratch
from profilectl.store.segments import Segment
from profilectl.store.statements import reading, rows_of

BLOCK = 10_000
"""How many rows are fetched at once."""
COLUMNS = 40
"""How many columns of a table are looked through at once."""

# fmt: off
# Endings of a file's name that say how it is read, and nothing of a person.
ENDINGS = frozenset((
    ".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet",
    ".gz", ".zst", ".zip", ".gpg", ".pgp", ".toml", ".rejects",
))

GOES    = "goes"     # with its row, which is the person's; what others have is named in the report
CLEARED = "cleared"  # if it names the person: text or row goes; a path loses the name in it
NAMED   = "named"    # in the report of forget: somebody wrote it, and must change it
NOTHING = "nothing"  # holds no value: a code, a hash, a time, a name of ours

TEXT_COLUMNS: dict[str, dict[str, str]] = {
    # what is done        columns of the fixed tables
    "meta":              {"name": NOTHING, "value": NOTHING},
    "setting":           {"name": NOTHING, "value": NAMED},
    "feed":              {"name": NAMED, "source": NOTHING, "protection": NOTHING,
                          "partner": NAMED, "workspace": NAMED, "reading": NAMED},
    "import":            {"source": NOTHING, "protection": NOTHING, "environment": NOTHING,
                          "report": CLEARED, "made_by": NOTHING, "request": CLEARED,
                          "undone_by": NOTHING},
    "import_file":       {"path": CLEARED, "sha256": NOTHING, "unit": NOTHING},
    "segment":           {"tables": NOTHING, "identities": NOTHING, "keys": NAMED},
    "alias":             {"attribution": GOES},
    "request":           {"request": CLEARED},
    "dropped":           {"code": NOTHING},
    "remark":            {"code": NOTHING, "value": CLEARED, "attribute": CLEARED},
    "reject":            {"file": CLEARED, "code": NOTHING, "message": CLEARED, "raw": CLEARED},
    "calculation":       {"name": NAMED, "definition": NAMED},
    "calculated":        {"name": NAMED, "held": GOES},
    "audience":          {"name": NAMED, "definition": NAMED},
    "membership_change": {"change": NOTHING},
    "output":            {"name": NAMED, "definition": NAMED},
    "connection":        {"name": NAMED, "definition": NAMED},
    "outbox":            {"output": NAMED, "state": NOTHING, "why": CLEARED, "devices": CLEARED,
                          "held": CLEARED, "content": CLEARED},
    "forwarded":         {"output": NAMED, "outcome": NOTHING},
    "passed":            {"types": NOTHING},
    "output_since":      {"output": NAMED},
    "handed_over":       {"output": NAMED, "workspace": NAMED, "keys": NAMED},
    "erasure":           {"kind": NOTHING, "made_by": NOTHING},
    "subject_request":   {"id": NOTHING, "type": NOTHING, "regulation": NOTHING,
                          "status": NOTHING, "group_id": CLEARED, "callbacks": CLEARED,
                          "identities": CLEARED, "request": CLEARED, "sealed": CLEARED,
                          "results": CLEARED},
    "push":              {"kind": NOTHING, "sealed": NOTHING, "made_by": NOTHING},
    "push_refused":      {"code": NOTHING},
    "sent_profile":      {"host": NOTHING, "keys": NAMED},
    "sent_event":        {"host": NOTHING},
    "audience_told":     {"output": NAMED, "attributes": GOES},
    "audience_outbox":   {"message": NOTHING, "output": NAMED, "action": NOTHING,
                          "state": NOTHING, "attributes": GOES, "identities": CLEARED,
                          "why": CLEARED},
    "audience_left":     {"output": NAMED, "action": NOTHING, "outcome": NOTHING},
    # columns of the tables of a segment
    "row_N":             {"i_<type>": GOES, "a<n>": GOES},
    "loose_N":           {"key": NAMED, "value": GOES},
    "blocked_N":         {"code": NOTHING, "a<n>": GOES},
    "blocked_loose_N":   {"code": NOTHING, "key": NAMED, "value": GOES},
    "event_N":           {"type": GOES, "name": GOES, "session": GOES, "event": GOES},
    "rest_N":            {"rest": GOES},
}
# fmt: on

# What somebody wrote that may quote a value: its name, its text.
DEFINED: dict[str, str] = {
    "setting": "select name, value from store.setting order by name",
    "feed": """
        select name, concat_ws(chr(10), name, partner, workspace, reading)
        from store.feed
        order by name
    """,
    "calculated attribute": """
        select name, concat_ws(chr(10), name, definition)
        from store.calculation
        order by name
    """,
    "audience": """
        select name, concat_ws(chr(10), name, definition)
        from store.audience
        order by name
    """,
    "output": """
        select name, concat_ws(chr(10), name, definition)
        from store.output
        order by name
    """,
    "connection": """
        select name, concat_ws(chr(10), name, definition)
        from store.connection
        order by name
    """,
}
ATTRIBUTE_NAMES = """
select distinct unnest(keys) as key
from store.segment
order by key
"""
# The tables of a segment that hold one text in a row: what the report calls it, and its column.
TEXT_TABLES = {
    "loose": ("rare attributes", "value"),
    "event": ("events", "event"),
    "rest": ("other fields of batches", "rest"),
}
TEXTS_OF_OTHERS = """
select {columns}
from stored
where profile not in (select profile from erased_profile)
"""


class Texts(NamedTuple):
    """Columns of text of one table of a segment."""

    table: str
    """The table of the store."""
    columns: dict[str, str]
    """What the report calls each column."""


def rows_fetched(scratch: Scratch, select: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query, a block at a time; no other statement runs meanwhile."""
    result = scratch.connection.execute(select)
    while rows := result.fetchmany(BLOCK):
        yield from rows


def places_of(
    scratch: Scratch, table: str, *, texts: Sequence[str], sought: SoughtValues
) -> list[int]:
    """Return the rowid of each row of a table that holds a value in one of its columns of text."""
    if not sought:
        return []
    condition = " or ".join(sieve(column, sought) for column in texts)
    select = f"select rowid, {', '.join(texts)} from {table} where {condition}"
    return [
        place
        for place, *values in rows_fetched(scratch, select)
        if any(sought.are_in(text) for text in values if text is not None)
    ]


def path_without(path: str, sought: SoughtValues) -> str:
    """Return a path in which the parts that hold a value are hidden.

    The endings stay: they say how the file is read.
    """
    if not sought.are_in(path):
        return path
    hidden = "/".join(
        _hidden(part) if part and sought.are_in(part) else part for part in path.split("/")
    )
    # A value may span several parts.
    return _hidden(path) if sought.are_in(hidden) else hidden


def _hidden(part: str) -> str:
    endings: list[str] = []
    for ending in reversed(PurePath(part).suffixes):
        if ending.lower() not in ENDINGS:
            break
        endings.insert(0, ending)
    return NOTE + "".join(endings)


def without(document: Any, sought: SoughtValues, *, paths: Sequence[str] = ()) -> Any:
    """Return a JSON document in which texts with a value are replaced by a note.

    paths: keys under which a text is a path, which stays one.
    """

    def text_of(text: str, key: str) -> str:
        if key in paths:
            return path_without(text, sought)
        return NOTE if sought.are_in(text) else text

    def walk(part: Any, key: str) -> Any:
        if isinstance(part, str):
            return text_of(part, key)
        if isinstance(part, list):
            return [walk(item, key) for item in part]
        if isinstance(part, dict):
            return {text_of(name, ""): walk(value, name) for name, value in part.items()}
        return part

    return walk(document, "")


def is_named(document: object, sought: SoughtValues) -> bool:
    """Return whether a JSON document has a value in a text, or as a number beside its type."""
    return sought.are_in(json.dumps(document, ensure_ascii=False))


def defined(scratch: Scratch, sought: SoughtValues) -> list[tuple[str, str]]:
    """Return kind and name of each text that somebody wrote and that quotes a value."""
    quoting = [
        (kind, str(name))
        for kind, select in DEFINED.items()
        for name, text in scratch.rows(select)
        if sought.are_in(text)
    ]
    names = scratch.rows(ATTRIBUTE_NAMES)
    return [*quoting, *(("attribute name", key) for (key,) in names if sought.are_in(key))]


def of_others(
    scratch: Scratch, segments: Sequence[Segment], sought: SoughtValues
) -> dict[str, int] | None:
    """Return how many rows of profiles that stay hold a value, by attribute or kind of table.

    It reads `erased_profile`. None: the values are too many to look for.
    """
    if sum(map(len, sought.words)) + sum(map(len, sought.digits)) > PATTERN:
        return None
    quoting: dict[str, int] = {}
    for segment in segments:
        for texts in _texts(segment):
            for start in range(0, len(texts.columns), COLUMNS):
                columns = dict([*texts.columns.items()][start : start + COLUMNS])
                _count_quoting(scratch, Texts(texts.table, columns), sought=sought, quoting=quoting)
    return quoting


def _count_quoting(
    scratch: Scratch, texts: Texts, *, sought: SoughtValues, quoting: dict[str, int]
) -> None:
    """Count the rows in which each of some columns holds a value."""
    columns = ", ".join(texts.columns)
    condition = sieve(f"concat_ws(chr(10), {columns})", sought)
    select = TEXTS_OF_OTHERS.format(columns=columns) + f"  and {condition}"
    for row in rows_fetched(scratch, reading(select, stored=rows_of(texts.table))):
        for name, text in zip(texts.columns.values(), row, strict=True):
            if text is not None and sought.are_in(text):
                quoting[name] = quoting.get(name, 0) + 1


def _texts(segment: Segment) -> Iterator[Texts]:
    """Yield the columns of text of each table of a segment."""
    if "row" in segment.tables and segment.keys:
        names = {f"a{place}": f"attribute {key}" for place, key in enumerate(segment.keys)}
        yield Texts(f"row_{segment.number}", names)
    for kind, (name, column) in TEXT_TABLES.items():
        if kind in segment.tables:
            yield Texts(f"{kind}_{segment.number}", {column: name})
