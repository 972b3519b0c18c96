"""JSON lines and JSON documents -> staged rows, every number digit for digit.

Two ways that agree. DuckDB takes a file's lines apart all at once and then accounts for every byte
of each line: if the parts that were understood, put together again, are exactly as long as the
line, nothing was lost, doubled, respelled or overlooked. A line that does not balance (a number
with a fraction, an escape, an unusual field, a fault) is read in Python by profilectl.rules.batch, which
is what says what a line means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb

from profilectl.codes import InputRefused, Reject
from profilectl.importing.stage.columns import meanings_of
from profilectl.importing.stage.events.event_lines import stage_events
from profilectl.importing.stage.events.regular_events import MARK, cut_events, events_cut
from profilectl.importing.stage.json.elements import PLACE, Places, elements
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.source.unpacking import check_memory
from profilectl.importing.stage.staged import AttributeColumns, BatchRows, Rejects, StagedFile
from profilectl.rules.batch import (
    MAKES_A_BATCH,
    BatchField,
    Columns,
    Reading,
    attribute_key,
    is_unknown_reserved,
    read_document,
)
from profilectl.rules.fields import Unusable
from profilectl.rules.identity import type_named
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import NotJson, Value, parse_json
from profilectl.store.scratch import Scratch

LONGEST_LINE = 64 * 1024 * 1024
RAW_SHOWN = 64 * 1024
SEPARATOR = "\x1d"
"""Between the texts of elements; no text that is JSON has it."""
_LINE = [("line", "VARCHAR")]
SAMPLE = 5000
_SAFE_KEY = re.compile(r"[A-Za-z0-9_$ .\-]{1,100}")

# A value that DuckDB writes back letter for letter: whole numbers, literals, lists of plain
# strings. (Numbers with a fraction or an exponent it may spell anew; strings it keeps.)
_PLAIN_VALUE = r"-?(0|[1-9][0-9]*)|true|false|null|\[(\"[^\"\\]*\"(,\"[^\"\\]*\")*)?\]"
_PLAIN = {
    "environment": "environment",
    "mpid": "mpid",
    "timestamp_unixtime_ms": "at_ms",
    "source_request_id": "request",
}
_NUMBER = r"[:,\[]\s*(-?[0-9][0-9.eE+-]*)"


@dataclass(frozen=True, slots=True)
class LineMember:
    """One member of a line that the fast way understands. group: the object it is in, or ""."""

    group: str
    key: str
    column: str
    kind: str

    @property
    def json_path(self) -> str:
        return f'$.{self.group}."{self.key}"' if self.group else f'$."{self.key}"'


def read_lines(
    scratch: Scratch,
    file: InputFile,
    name: str,
    keys: AttributeColumns,
    reading: Reading,
    rejects: Rejects,
    progress: Callable[[int], None],
    mapped: Mapping[str, BatchField] | None = None,
) -> StagedFile:
    """Stage a file of JSON lines as relations whose names begin with name.

    mapped: what the names in flat rows mean.
    """
    rows = BatchRows(scratch, f"{name}_slow", keys)
    columns = Columns(mapped, reading.unknown)
    reader = LineReader(file.name, rows, replace(reading, columns=columns), rejects)
    lines = _read_whole_lines(scratch, file, f"{name}_lines")
    if lines is None:
        for number, raw in physical_lines(file):
            reader.read(number, raw)
            if number % rows.BLOCK == 0:
                progress(number)
        rows.flush()
        staged = staged_lines(file, name, [], rows, reader.last)
    else:
        progress(lines)
        staged = _read_relation(scratch, file, name, keys, reader, lines)
        scratch.drop(f"{name}_lines")
    # Blank lines and rejected ones are no rows of the relation.
    staged.rows = int(scratch.row(f"select count(*) from ({staged.select})")[0])
    staged.meaning = meanings_of(columns)
    return staged


def _read_relation(
    scratch: Scratch,
    file: InputFile,
    name: str,
    keys: AttributeColumns,
    reader: LineReader,
    count: int,
) -> StagedFile:
    """Stage the texts of the relation NAME_lines (line; its rowid is the seq): what can be taken
    apart all at once, and the rest one by one.
    """
    reading, rows, events, in_order = reader.reading, reader.rows, [], False
    fast = _members(scratch, f"{name}_lines", keys, reading)
    slow = f"select rowid from {name}_lines order by rowid"
    source = f"(select rowid as seq, line, false as cut from {name}_lines)"
    has_events = any(path.kind == "events" for path in fast)
    cut = has_events and cut_events(scratch, f"{name}_lines", f"{name}_short", f"{name}_cut")
    if fast and not _split(
        scratch, f"{name}_short" if cut else source, f"{name}_fast", fast, reading
    ):
        fast = []
    if fast and has_events:
        if stage_events(scratch, f"{name}_fast", f"{name}_event"):
            events.append(f"select * from {name}_event")
        if cut:
            select, every = events_cut(scratch, f"{name}_fast", f"{name}_cut")
            in_order = every and not events
            events.append(select)
    scratch.drop(f"{name}_short")
    if fast:
        slow = f"select seq from {name}_fast where not ok order by seq"
    _read_slow(scratch, name, [seq for (seq,) in scratch.rows(slow)], reader)
    rows.flush()
    staged = staged_lines(file, name, fast, rows, count, events)
    staged.events_in_order = in_order and not rows.has_events
    return staged


def _read_whole_lines(scratch: Scratch, file: InputFile, table: str) -> int | None:
    """Read all lines at once; return their number, or None where not every byte is accounted for."""
    # No character separates columns and none quotes: a line is one cell, byte for byte.
    select = (
        f"select line from read_csv({quote_text(str(file.local))}, auto_detect = false, header = false, "
        "columns = {'line': 'VARCHAR'}, delim = '\x01', quote = '', escape = '', comment = '', "
        "new_line = '\\n', strict_mode = true, null_padding = false, hive_partitioning = false, max_line_size = 4000000)"
    )
    try:
        scratch.make(table, select)
    except duckdb.PermissionException:
        raise  # as in stage.csv
    except duckdb.Error:
        return None
    count, length = scratch.row(
        f"select count(*), coalesce(sum(strlen(line) + 1), 0)::bigint from {table}"
    )
    with file.local.open("rb") as content:
        content.seek(0, 2)
        size = content.tell()
        content.seek(max(size - 1, 0))
        size += content.read(1) != b"\n"
    if size != length:
        scratch.drop(table)
        return None
    return int(count)


def _members(
    scratch: Scratch, lines: str, keys: AttributeColumns, reading: Reading
) -> list[LineMember]:
    """Choose what to look for from a sample spread over the file."""
    # A table: a sample that is only a query would be taken three times, and each line of the file
    # be looked at.
    step = max(1, scratch.count(lines) // SAMPLE)
    scratch.make(f"{lines}_sample", f"select line from {lines} where rowid % {step} = 0")
    scratch.make(
        f"{lines}_keys",
        f"select json_keys(line, ['$', '$.user_identities', '$.user_attributes']) as k from {lines}_sample where try(json_valid(line))",
    )
    found = {
        place: [
            key
            for (key,) in scratch.rows(
                f"select key from (select unnest(k[{place}]) as key from {lines}_keys) group by key order by count(*) desc, key"
            )
        ]
        for place in (1, 2, 3)
    }
    all_flat = not found[2] and not found[3] and "events" not in found[1]
    flat = _flat_members(scratch, lines, keys, reading) if all_flat and not reading.path else None
    scratch.drop(f"{lines}_keys")
    scratch.drop(f"{lines}_sample")
    if flat is not None:
        return flat
    # A line of plain fields alone is a flat row, in which a name may be mapped, and a text stand
    # for nothing.
    fixed = (
        not reading.nulls and not reading.path and not (reading.columns and reading.columns.mapped)
    )
    paths = [
        LineMember("", key, _PLAIN[key], "plain") for key in found[1] if key in _PLAIN and fixed
    ]
    if "events" in found[1]:
        paths.append(LineMember("", "events", "events", "events"))
    for key in found[2]:
        kind = type_named(key)
        if (
            kind
            and not kind.device
            and _SAFE_KEY.fullmatch(key)
            and f"i_{kind.name}" not in {p.column for p in paths}
        ):
            paths.append(LineMember("user_identities", key, f"i_{kind.name}", "identity"))
    for key in found[3][: reading.limits["attributes"]]:
        column = keys.column(attribute_key(key)) if _SAFE_KEY.fullmatch(key) else None
        if column and column not in {path.column for path in paths}:
            paths.append(LineMember("user_attributes", key, column, "attribute"))
    return paths


def _flat_members(
    scratch: Scratch, lines: str, keys: AttributeColumns, reading: Reading
) -> list[LineMember]:
    """Choose what to look for in a file of flat rows: the names under which no row of the sample
    has an object.
    """
    names = [key for (key,) in scratch.rows(
        f"select key from (select unnest(k[1]) as key, unnest(range(len(k[1]))) as nth from {lines}_keys)"
        f" group by key order by count(*) desc, min(nth), key limit {2 * reading.limits['attributes']}"
    ) if _SAFE_KEY.fullmatch(key) and key not in MAKES_A_BATCH]  # fmt: skip
    if not names:
        return []
    values = [
        f"json_extract(line, {quote_text(LineMember('', name, '', '').json_path)})::varchar"
        for name in names
    ]
    with_objects = ", ".join(
        f"count_if(starts_with({value}, '{{') or starts_with({value}, '[') and contains({value}, '{{'))"
        for value in values
    )
    count, *nested = scratch.row(
        f"select count(*), {with_objects} from {lines}_sample where try(json_valid(line))"
    )
    if max(nested) > count / 2:
        return []  # most lines are to be read by themselves
    columns = reading.columns or Columns(unknown=reading.unknown)
    paths: list[LineMember] = []
    for name, seen in zip(names, nested, strict=True):
        member = None if seen else _flat_member(name, columns, keys, reading)
        if member and (not member.column or member.column not in {path.column for path in paths}):
            paths.append(member)
    return paths


def _flat_member(
    name: str, columns: Columns, keys: AttributeColumns, reading: Reading
) -> LineMember | None:
    """Return what to look for under a name of flat rows; None where every line with it is to be
    read by itself.
    """
    try:
        meant = columns.meaning(name)
    except Unusable:
        return None
    if meant.kind == "attribute" and is_unknown_reserved(meant.name):
        return None  # it is remarked on
    column: str | None = None
    if meant.kind == "attribute" and len(meant.name) <= reading.limits["key"]:
        column = keys.column(meant.name)
    elif meant.kind == "identity":
        column = f"i_{meant.name}"
    elif meant.kind == "plain" and not (meant.name == "environment" and reading.nulls):
        column = _PLAIN.get(meant.name)
    elif meant.kind == "ignored":
        column = ""
    return None if column is None else LineMember("", name, column, meant.kind)


def _split(
    scratch: Scratch, lines: str, table: str, paths: list[LineMember], reading: Reading
) -> bool:
    """Take the lines (seq, line, cut: whether it stands for a longer one) apart; `ok` says that
    every byte of a line is accounted for. False: it cannot be done for all at once, and every
    line is to be read by itself.
    """
    parts = [f"v[{place}]" for place in range(1, len(paths) + 1)]
    # The account is settled in a SELECT of its own: named once, it would be written out for each
    # column.
    accounted = f"{_accounted(paths, parts, reading)} as ok"
    columns = ["seq", "ok"]
    for path, part in zip(paths, parts, strict=True):
        if path.column:
            columns.append(f"case when ok then {_value(path, part, reading)} end as {path.column}")
    listed = "[" + ", ".join(quote_text(path.json_path) for path in paths) + "]::varchar[]"
    for valid in ("line", "case when json_valid(line) then line end"):
        extracted = f"json_extract({valid}, {listed})"
        taken = f"select seq, line, cut, {extracted} as v from {lines}"
        select = f"select {', '.join(columns)} from (select seq, v, {accounted} from ({taken}))"
        try:
            scratch.make(table, select)
        except duckdb.InvalidInputException:
            continue  # a line that is not JSON stops the whole statement: look first, then extract
        return True
    return False


def _accounted(paths: list[LineMember], parts: list[str], reading: Reading) -> str:
    """Return the condition that the understood parts of a line, written out, are as long as the
    line.

    Whatever was not understood (a member, a blank, an escape, a second key) makes the line longer,
    and nothing makes it shorter, because numbers that could be spelled anew are not understood. A
    line with blanks between its parts is compared without them, where nothing else can hide in
    that.
    """
    length = ["1"]
    tests = ["starts_with(line, '{')", "v is not null", "not contains(line, '\\u')"]
    for group in ("", "user_identities", "user_attributes"):
        members = [
            (path, part) for path, part in zip(paths, parts, strict=True) if path.group == group
        ]
        if not members:
            continue
        # "key":value and a comma or the closing bracket
        inside = " + ".join(
            f"coalesce(strlen({part}) + {len(path.key.encode()) + 4}, 0)" for path, part in members
        )
        some = " or ".join(f"{part} is not null" for _, part in members)
        # "group":{ ... } and one comma fewer inside than members
        length.append(
            f"case when {some} then {inside} + {len(group) + 5} else 0 end" if group else inside
        )
        tests += [f"({part} is null or {_simple(path, part, reading)})" for path, part in members]
    total = " + ".join(length)
    # Numbers in events may have fractions, which DuckDB spells anew: the list must stand in the
    # line letter for letter; or, where there are blanks between its parts, its numbers must be
    # those of the line.
    exact, numbers = "true", "true"
    for path, part in zip(paths, parts, strict=True):
        if path.kind == "events":
            # The mark stands for events that were cut out, and nothing else does.
            tests.append(f"cut = ({part} is not distinct from {quote_text(MARK)})")
            # DuckDB takes these for numbers; JSON has no such.
            tests.append(
                f"({part} is null or not regexp_matches({part}, '[:,\\[]\\s*-?(?i:nan|inf)'))"
            )
            number = f"'{_NUMBER}'"
            exact = f"({part} is null or contains(line, {part}))"
            numbers = f"({part} is null or regexp_extract_all(line, {number}, 1) = regexp_extract_all(json(line)::varchar, {number}, 1))"
    spaced = (
        "case when contains(line, '\\/') or contains(line, '-0') or regexp_matches(line, ',\\s*[}\\]]') then false"
        f" else strlen(json(line)::varchar) = {total} and {numbers} end"
    )
    balanced = f"case when v is null then false when strlen(line) = {total} and {exact} then true when not contains(line, ': ') then false else {spaced} end"
    return f"coalesce({' and '.join([*tests, f'({balanced})'])}, false)"


def _simple(path: LineMember, part: str, reading: Reading) -> str:
    """Return the condition that a part needs nothing but its text to be understood."""
    if path.column == "environment":
        return f"""{part} in ('"production"', '"development"')"""
    if path.column in ("mpid", "at_ms"):
        return f"(regexp_full_match({part}, '-?[0-9]{{1,18}}') and {part} <> '0')"
    if path.kind == "events":
        return f"starts_with({part}, '[')"
    if path.kind in ("attribute", "ignored"):
        short = min(reading.limits["entry"], reading.limits["list"], reading.limits["value"])
        # shorter than any limit
        plain = f"strlen({part}) < {short} and regexp_full_match({part}, '{_PLAIN_VALUE}')"
        return (
            f"(starts_with({part}, '\"') and strlen({part}) < {reading.limits['value']} or {plain})"
        )
    text = f"starts_with({part}, '\"') and strlen({part}) between 3 and 4096"
    if path.kind != "identity":
        return f"({text})"
    nothing = f" or {part} = 'null'" if not path.group else ""
    return f"({text} or regexp_full_match({part}, '0|-?[1-9][0-9]{{0,17}}'){nothing})"


def _value(path: LineMember, part: str, reading: Reading) -> str:
    """Return the staged value of a part."""
    if path.kind == "events":
        return part
    if path.column in ("mpid", "at_ms"):
        return f"{part}::varchar::bigint"
    text = f"case when contains({part}, '\\') then json_extract_string({part}, '$') else {part}[2:-2] end"
    if not path.group:
        for null in sorted(reading.nulls):
            text = f"nullif({text}, {quote_text(null)})"
    held = f"chr(31) || {part}" if path.kind == "attribute" else f"{part}::varchar"
    # in a flat row it says nothing
    nothing = "" if path.group else f"when {part} = 'null' then null "
    return f"case when starts_with({part}, '\"') then {text} {nothing}else {held} end"


def _read_slow(scratch: Scratch, name: str, places: list[int], reader: LineReader) -> None:
    for start in range(0, len(places), BatchRows.BLOCK):
        block = places[start : start + BatchRows.BLOCK]
        found = scratch.rows(
            f"select rowid, line from {name}_lines where rowid between $first and $last and rowid in "
            f"(select unnest($places::bigint[])) order by rowid",
            {"first": block[0], "last": block[-1], "places": block},
        )
        for seq, line in found:
            reader.read(seq + 1, (line or "").encode())


class LineReader:
    """Reads one line, or one element of a document, after another as profilectl.rules.batch says."""

    def __init__(
        self,
        name: str,
        rows: BatchRows,
        reading: Reading,
        rejects: Rejects,
        places: Places | None = None,
    ) -> None:
        self.rows, self.reading = rows, reading
        self._name, self._rejects, self._places = name, rejects, places
        self.last = 0

    def read(self, number: int, raw: bytes | None) -> None:
        """Read the line of a number (from 1); None for a line that is too long to be one."""
        self.last = number
        text = ""
        try:
            if raw is None:
                raise Unusable("ROW_TOO_LONG", f"over {LONGEST_LINE // 1024**2} MiB")
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            if not text.strip(" \t\r\n"):
                return
            self._take(number, parse_json(text))
        except UnicodeDecodeError as error:
            shown = error.object.decode("utf-8", "backslashreplace")
            self._reject(number, "ENCODING_INVALID", f"byte {error.start + 1}", shown)
        except NotJson as error:
            self._reject(number, error.code, error.detail, text, error.position)
        except Unusable as error:
            self._reject(number, error.code, error.detail, text)

    def _take(self, number: int, document: Value) -> None:
        self.rows.add(number - 1, read_document(document, self.reading))

    def _reject(
        self, number: int, code: str, detail: str, raw: str, position: int | None = None
    ) -> None:
        line = number
        if self._places:
            line = self._places.lines[number - 1]
            detail = self._places.said(number - 1, detail, raw, position)
        elif position is not None:
            detail = f"column {position + 1}: {detail}"
        self._rejects.add(Reject(self._name, line, code, raw[:RAW_SHOWN], detail))


def physical_lines(file: InputFile) -> Iterator[tuple[int, bytes | None]]:
    with file.local.open("rb") as content:
        number = 0
        while line := content.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = content.readline(LONGEST_LINE)
                yield number, None
            else:
                yield number, line


def staged_lines(
    file: InputFile,
    name: str,
    fast: list[LineMember],
    rows: BatchRows,
    lines: int,
    events: Sequence[str] = (),
) -> StagedFile:
    columns = sorted({path.column for path in fast if path.kind == "attribute"} | set(rows.columns))
    identities = sorted(
        {path.column[2:] for path in fast if path.kind == "identity"} | rows.identities
    )
    plain = sorted({path.column for path in fast if path.kind == "plain"} | rows.plain)
    wanted = ["seq", *plain, *(f"i_{kind}" for kind in identities), *columns]
    slow = ", ".join(
        wanted_or_null(
            column, {"seq", *rows.columns, *rows.plain, *(f"i_{kind}" for kind in rows.identities)}
        )
        for column in wanted
    )
    select = f"select {slow} from {rows.name}"
    if fast:
        has = {"seq", *(path.column for path in fast)}
        quick = ", ".join(wanted_or_null(column, has) for column in wanted)
        select = f"select {quick} from {name}_fast where ok union all {select}"
    return StagedFile(
        name=file.name,
        sha256=file.sha256,
        format=file.format,
        select=select,
        span=lines,
        rows=lines,
        columns=columns,
        plain=plain,
        identities=identities,
        loose=rows.loose if rows.has_loose else None,
        skips=[
            f"select seq, code, attribute from {rows.skips} where type is null",
            *_reserved(f"{name}_fast", fast),
        ],
        skipped=[f"select seq, code, type, value from {rows.skips} where type is not null"],
        path=file.local,
        events=[*events, *([f"select * from {rows.events}"] if rows.has_events else [])],
    )


def _reserved(table: str, fast: Sequence[LineMember]) -> list[str]:
    """Return the SELECTs of what is said of reserved keys that nobody knows, in the lines that were
    understood at once.
    """
    return [
        f"select seq, 'UA_RESERVED_UNKNOWN' as code, {quote_text(member.key)} as attribute from {table} where ok and {member.column} is not null"
        for member in fast
        if member.kind == "attribute" and is_unknown_reserved(member.key)
    ]


def wanted_or_null(column: str, has: set[str]) -> str:
    """Return a column, or a null of its name where a relation lacks it."""
    return column if column in has else f"null as {column}"


def read_document_file(
    scratch: Scratch,
    file: InputFile,
    name: str,
    keys: AttributeColumns,
    reading: Reading,
    rejects: Rejects,
    mapped: Mapping[str, BatchField] | None = None,
) -> StagedFile:
    """Stage a JSON document: one batch, or an array of batches (design.md R17). Raises
    InputRefused.
    """
    check_memory(file.name, file.local, "write it as JSON lines, a batch each")
    try:
        with file.local.open(encoding="utf-8-sig", newline="") as content:
            text = content.read()
    except UnicodeDecodeError as error:
        raise InputRefused(
            f"{file.name}: not valid UTF-8 at byte {error.start + 1}", "name its --encoding"
        ) from None
    lines, places = f"{name}_lines", Places()
    scratch.load(lines, _LINE, [])
    scratch.load(f"{name}_place", PLACE, [])
    for texts, at_lines, at_columns in elements(file.name, text):
        _load_block(scratch, name, len(places.lines), texts, at_lines, at_columns)
        places.lines.extend(at_lines)
        places.columns.extend(at_columns)
    rows = BatchRows(scratch, f"{name}_slow", keys)
    columns = Columns(mapped, reading.unknown)
    reader = LineReader(file.name, rows, replace(reading, columns=columns), rejects, places)
    staged = _read_relation(scratch, file, name, keys, reader, len(places.lines))
    staged.rows = int(scratch.row(f"select count(*) from ({staged.select})")[0])
    staged.lines, staged.elements, staged.meaning = f"{name}_place", lines, meanings_of(columns)
    return staged


def _load_block(
    scratch: Scratch,
    name: str,
    first: int,
    texts: Sequence[str],
    lines: Sequence[int],
    columns: Sequence[int],
) -> None:
    """Add elements to the relations of their texts and places.

    One text that is split again costs a tenth of a list.
    """
    joined = SEPARATOR.join(texts)
    if joined.count(SEPARATOR) == len(texts) - 1:
        scratch.run(
            f"insert into {name}_lines select unnest(string_split($texts, $separator))",
            {"texts": joined, "separator": SEPARATOR},
        )
    else:
        scratch.append(f"{name}_lines", _LINE, [(text,) for text in texts])
    places = {"lines": ",".join(map(str, lines)), "columns": ",".join(map(str, columns))}
    scratch.run(
        f"insert into {name}_place select unnest(range($first, $end)), unnest(string_split($lines, ',')::bigint[]), unnest(string_split($columns, ',')::bigint[])",
        {"first": first, "end": first + len(texts), **places},
    )
