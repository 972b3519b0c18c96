"""What of a store may hold a value of somebody, and where it does: texts are looked through as
spelling.py says.

HELD says of every column of text of the schema what an erasure does about it;
tests/test_spellings.py holds it to the schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

from profilectl.importing.suppression import NOTE
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.spelling import ESCAPED, Sought
from profilectl.store.scratch import Scratch

PATTERN = 20_000
"""So many characters of values are looked for at once; of more people, what others have is not
looked through.
"""
MOST_PATTERNS = 8
BLOCK = 10_000
ENDINGS = frozenset((
    ".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".gz", ".zst", ".zip", ".gpg", ".pgp", ".toml", ".rejects",
))  # fmt: skip
"""Endings of a file's name that say how it is read, and nothing of a person."""

# fmt: off
GOES    = "goes"     # with the row, which is the person's; what others have that quotes them is named
CLEARED = "cleared"  # where it names the person: the text, or the row, goes; a path loses the name in it
NAMED   = "named"    # by forget: somebody wrote it, and must change it
NOTHING = "nothing"  # holds no value: a code, a hash, a time, a name of ours

HELD: dict[str, dict[str, str]] = {
    # what is done        columns of the fixed tables
    "meta":              {"name": NOTHING, "value": NOTHING},
    "setting":           {"name": NOTHING, "value": NAMED},
    "feed":              {"name": NAMED, "source": NOTHING, "protection": NOTHING, "partner": NAMED, "workspace": NAMED},
    "import":            {"source": NOTHING, "protection": NOTHING, "environment": NOTHING, "report": CLEARED, "made_by": NOTHING,
                          "request": CLEARED, "undone_by": NOTHING},
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
    "outbox":            {"output": NAMED, "state": NOTHING, "why": CLEARED, "devices": CLEARED, "held": CLEARED, "content": CLEARED},
    "forwarded":         {"output": NAMED, "outcome": NOTHING},
    "passed":            {"types": NOTHING},
    "output_since":      {"output": NAMED},
    "handed_over":       {"output": NAMED, "workspace": NAMED, "keys": NAMED},
    "erasure":           {"kind": NOTHING, "made_by": NOTHING},
    "subject_request":   {"id": NOTHING, "type": NOTHING, "regulation": NOTHING, "status": NOTHING, "group_id": CLEARED, "callbacks": CLEARED,
                          "identities": CLEARED, "request": CLEARED, "sealed": CLEARED, "results": CLEARED},
    "push":              {"kind": NOTHING, "sealed": NOTHING, "made_by": NOTHING},
    "push_refused":      {"code": NOTHING},
    "sent_profile":      {"host": NOTHING, "keys": NAMED},
    "sent_event":        {"host": NOTHING},
    "audience_told":     {"output": NAMED, "attributes": GOES},
    "audience_outbox":   {"message": NOTHING, "output": NAMED, "action": NOTHING, "state": NOTHING, "attributes": GOES, "identities": CLEARED,
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

DEFINED: tuple[tuple[str, str, str], ...] = (
    ("setting", "name", "value"),
    ("feed", "name", "concat_ws(chr(10), name, partner, workspace)"),
    ("calculated attribute", "name", "concat_ws(chr(10), name, definition)"),
    ("audience", "name", "concat_ws(chr(10), name, definition)"),
    ("output", "name", "concat_ws(chr(10), name, definition)"),
    ("connection", "name", "concat_ws(chr(10), name, definition)"),
)
"""What somebody wrote that may quote a value: what it is, its name, its text; in the table of that
name, or TABLES has it.
"""
TABLES = {"calculated attribute": "calculation"}


def sieve(text: str, sought: Sought) -> str:
    """Return the SQL condition that every text meets which has one of the values; what meets it is
    looked at in Python.

    text: the SQL of it. Texts of many people are all looked at: thousands of patterns cost more
    than that.
    """
    words = [*sought.words, *(value for _, value in sought.weak)]
    patterns = list(_patterns(words, "(?i)(?:{})"))
    digits = list(_patterns(sought.digits, "(?:{})"))
    if len(patterns) + len(digits) > MOST_PATTERNS:
        return f"{text} is not null"
    wide = (
        r"|[\x{80}-\x{10ffff}]"
        if any(not one.isascii() for one in words)
        else r"|[\x{ff01}-\x{ff5e}]"
    )
    bare = f"regexp_replace({text}, '[^0-9]+', '', 'g')"
    tests = [f"regexp_matches({text}, {quote_text(one)})" for one in (ESCAPED + wide, *patterns)]
    tests += [f"regexp_matches({bare}, {quote_text(one)})" for one in digits]
    return f"coalesce({' or '.join(tests)}, false)"


def _patterns(words: Iterable[str], around: str) -> Iterator[str]:
    block: list[str] = []
    size = 0
    for one in map(re.escape, words):
        if block and size + len(one) > PATTERN:
            yield around.replace("{}", "|".join(block))
            block, size = [], 0
        block.append(one)
        size += len(one)
    if block:
        yield around.replace("{}", "|".join(block))


def looked_at(scratch: Scratch, select: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query, a block at a time; no other statement runs meanwhile."""
    found = scratch.connection.execute(select)
    while rows := found.fetchmany(BLOCK):
        yield from rows


def places_of(scratch: Scratch, table: str, texts: Sequence[str], sought: Sought) -> list[int]:
    """Return the rows (rowid) of a table in one of whose texts a value stands.

    texts: SQL of each.
    """
    if not sought:
        return []
    maybe = " or ".join(sieve(one, sought) for one in texts)
    return [
        place
        for place, *found in looked_at(
            scratch, f"select rowid, {', '.join(texts)} from {table} where {maybe}"
        )
        if any(sought.are_in(text) for text in found if text is not None)
    ]


def path_without(path: str, sought: Sought) -> str:
    """Return a path in which the parts that hold a value are hidden; how the file is read is still
    in its name.
    """
    if not sought.are_in(path):
        return path
    parts = path.split("/")
    hidden = "/".join(
        _hidden(part, sought) if part and sought.are_in(part) else part for part in parts
    )
    return _hidden(path, sought) if sought.are_in(hidden) else hidden


def _hidden(part: str, sought: Sought) -> str:
    endings: list[str] = []
    for ending in reversed(PurePath(part).suffixes):
        if ending.lower() not in ENDINGS:
            break
        endings.insert(0, ending)
    return NOTE + "".join(endings)


def without(document: Any, sought: Sought, *, paths: Sequence[str] = ()) -> Any:
    """Return a JSON document in which no text has a value.

    paths: keys under which a text is a path, which stays one.
    """

    def text_of(text: str, key: str) -> str:
        return path_without(text, sought) if key in paths else NOTE if sought.are_in(text) else text

    def walk(one: Any, key: str) -> Any:
        if isinstance(one, str):
            return text_of(one, key)
        if isinstance(one, list):
            return [walk(part, key) for part in one]
        if isinstance(one, dict):
            return {text_of(name, ""): walk(part, name) for name, part in one.items()}
        return one

    return walk(document, "")


def is_named(document: Any, sought: Sought) -> bool:
    """Say whether a JSON document has a value in any of its texts, or as a number beside its type."""
    return sought.are_in(json.dumps(document, ensure_ascii=False))


def defined(scratch: Scratch, sought: Sought) -> list[tuple[str, str]]:
    """Return what somebody wrote that quotes a value: (what it is, its name)."""
    found = []
    for kind, name, text in DEFINED:
        table = f"store.{TABLES.get(kind, kind)}"
        found += [
            (kind, str(one))
            for one, content in scratch.rows(f"select {name}, {text} from {table} order by 1")
            if sought.are_in(content)
        ]
    keys = scratch.rows("select distinct unnest(keys) as key from store.segment order by key")
    return [*found, *(("attribute name", key) for (key,) in keys if sought.are_in(key))]


def of_others(scratch: Scratch, segments: Sequence[Any], sought: Sought) -> dict[str, int] | None:
    """Count what profiles that stay have in which a value stands: attribute or kind of table ->
    rows. None: it is of too many people for that. The relation erased_profile is made.
    """
    if sum(map(len, sought.words)) + sum(map(len, sought.digits)) > PATTERN:
        return None
    told: dict[str, int] = {}
    for segment in segments:
        for kind, names, texts in _texts(scratch, segment):
            for start in range(0, len(texts), 40):
                part, called = texts[start : start + 40], names[start : start + 40]
                text = f"concat_ws(chr(10), {', '.join(part)})"
                rows = looked_at(
                    scratch,
                    f"select {', '.join(part)} from {segment.table(kind)} where profile not in (select profile from erased_profile)"
                    f" and {sieve(text, sought)}",
                )
                for row in rows:
                    for name, held in zip(called, row, strict=True):
                        if held is not None and sought.are_in(held):
                            told[name] = told.get(name, 0) + 1
    return told


def _texts(scratch: Scratch, segment: Any) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield the texts of each table of a segment: its kind, what each of them is called, their
    columns.
    """
    if "row" in segment.tables and segment.keys:
        yield (
            "row",
            [f"attribute {key}" for key in segment.keys],
            [f"a{n}" for n in range(len(segment.keys))],
        )
    for kind, name, column in (
        ("loose", "rare attributes", "value"),
        ("event", "events", "event"),
        ("rest", "other fields of batches", "rest"),
    ):
        if kind in segment.tables:
            yield kind, [name], [column]
