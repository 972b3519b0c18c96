"""Many look-ups at once: a file of identities in, a line for each out, in the order of the file.

The file is read as an import reads one: packed or not, its delimiter found out; a row that cannot
be read is answered with why. Set-based: all identities are hashed and joined with the store's
index; Python sees only the lines that leave. A line with several identities is looked up by the
first of the hierarchy that somebody has.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from profilectl.codes import InputRefused, Reject, UsageError, sentence
from profilectl.importing.stage.csv.csv import read_rows
from profilectl.importing.stage.csv.dialect import dialect_of
from profilectl.importing.stage.csv.head import read_header
from profilectl.importing.stage.source.encoding import check_utf8
from profilectl.importing.stage.source.files import Named, format_named, open_files
from profilectl.importing.stage.source.unpacking import check_memory
from profilectl.profiles.read_model import Profiles
from profilectl.rules.batch import Reading, field_named, read_document
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.fields import Unusable
from profilectl.rules.identity import BY_NAME
from profilectl.rules.sql.identities import identity_hash, key, trimmed
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.rules.sql.values import held_as_json, whole_number
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.values import NotJson, parse_json
from profilectl.store.scratch import Scratch
from profilectl.store.segments import known_identities, known_mpids

BLOCK = 20_000
WHY = (
    "case when fault is not null then fault when several > 1 then several || ' profiles have it' when several = 1 then null"
    f" when value is null then 'no identity' when type = 'mpid' and {whole_number('value')} is null then 'no MPID' else 'nobody has it' end"
)
"""Why a line has no MPID, as SQL; null where it has one."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """How a file of identities is read and what is told of each.

    kind: an identity type, "mpid", or "any" for a list of them; None for CSV with a header. fields:
    attributes to tell; delimiter, encoding: of the file, as an import takes them; piped: the file
    is a copy of standard input, and is named so; max_unpacked: the size that it may unpack to.
    """

    kind: str | None = None
    environment: str = ENVIRONMENTS[0]
    fields: Sequence[str] = ()
    format: str = "jsonl"
    delimiter: str | None = None
    encoding: str | None = None
    piped: bool = False
    max_unpacked: str | None = None


def look_up(profiles: Profiles, path: Path, wanted: Lookup) -> Iterator[bytes]:
    """Yield the answers as blocks of lines.

    Raises InputRefused for a file that is not understood.
    """
    scratch = profiles.store.scratch
    wanted = replace(wanted, fields=_attributes(profiles, wanted.fields))
    kinds = _read(profiles, path, wanted)
    _answer(profiles, kinds, wanted)
    joined = _joined(profiles, wanted)
    first = True
    if wanted.format == "csv":
        columns = ["line", "type", "value", "mpid", "found", "why", *wanted.fields]
        values = "".join(f", v{n}" for n in range(len(wanted.fields)))
        answer = f"line, type, value, case when several = 1 then mpid end, case when several = 1 then 'yes' else 'no' end, {WHY}{values}"
        cursor = scratch.connection.execute(f"select {answer} from ({joined}) order by line, seq")
        while (block := cursor.fetchmany(BLOCK)) or first:
            yield _csv(columns if first else None, block)
            first = False
        return
    members = "".join(
        f" || coalesce(',{_quoted(key)}:' || v{n}, '')" for n, key in enumerate(wanted.fields)
    )
    attributes = (
        f" || case when several = 1 then ',\"user_attributes\":{{' || ltrim(''{members}, ',') || '}}' else '' end"
        if wanted.fields
        else ""
    )
    line = (
        "'{\"line\":' || line || ',\"type\":' || coalesce(to_json(type)::varchar, 'null') || ',\"value\":' || coalesce(to_json(value)::varchar, 'null')"
        " || ',\"mpid\":' || case when several = 1 then '\"' || mpid || '\"' else 'null' end"
        " || ',\"found\":' || case when several = 1 then 'true' else 'false' end"
        f" || coalesce(',\"why\":' || to_json({WHY})::varchar, ''){attributes} || '}}'"
    )
    cursor = scratch.connection.execute(f"select {line} from ({joined}) order by line, seq")
    while block := cursor.fetchmany(BLOCK):
        yield ("\n".join(text for (text,) in block) + "\n").encode()


@dataclass(frozen=True, slots=True)
class LookupMatch:
    """What a line of a file names: the identity that somebody has (else its first), and all
    profiles that have it. fault: why the line could not be read.
    """

    line: int
    kind: str | None
    value: str | None
    profiles: tuple[int, ...]
    fault: str | None = None


def found_in(profiles: Profiles, path: Path, wanted: Lookup) -> list[LookupMatch]:
    """Return what each line of a file names, in every environment, whichever is wanted.

    Raises InputRefused for a file that is not understood.
    """
    kinds, found = _read(profiles, path, wanted), []
    for environment in ENVIRONMENTS:
        _answer(profiles, kinds, replace(wanted, environment=environment))
        found += _found(profiles.store.scratch)
    return found


def _found(scratch: Scratch) -> list[LookupMatch]:
    return [
        LookupMatch(line, kind, value, tuple(sorted(found or ())), fault)
        for line, kind, value, found, fault in scratch.rows(
            "select answer.line, answer.type, answer.value, best.profiles, answer.fault from answer left join"
            " (select best.seq, list(distinct held.profile) as profiles from best join hit on hit.seq = best.seq and hit.type = best.type"
            " join held on held.hash = best.hash group by best.seq)"
            " as best on best.seq = answer.seq order by answer.line, answer.seq"
        )
    ]


def look_up_list(profiles: Profiles, values: Sequence[str], wanted: Lookup) -> Any:
    """Return an Arrow table of (type, value, mpid, profiles, fields as JSON text) for a list, in
    order.
    """
    assert wanted.kind is not None
    scratch = profiles.store.scratch
    wanted = replace(wanted, fields=_attributes(profiles, wanted.fields))
    _load(scratch, [*values, ""])
    _answer(profiles, [str(wanted.kind)], wanted)
    fields = "".join(f", v{n} as {quote_identifier(key)}" for n, key in enumerate(wanted.fields))
    mpid = "case when several = 1 then mpid end as mpid"
    return scratch.connection.sql(
        f"select type, value, {mpid}, several as profiles{fields} from ({_joined(profiles, wanted)}) order by seq"
    ).to_arrow_table()


def _joined(profiles: Profiles, wanted: Lookup) -> str:
    """Return the SELECT of the answers with the fields asked for."""
    if not wanted.fields:
        return "select seq, line, type, value, mpid, several, fault from answer"
    values = "".join(f", {held_as_json(f'v{n}')} as v{n}" for n in range(len(wanted.fields)))
    folded = profiles.folded(
        list(wanted.fields), "where profile in (select profile from answer where several = 1)"
    )
    return (
        f"select seq, line, type, value, answer.mpid, several, fault{values} from answer left join ({folded}) as folded"
        " on folded.profile = answer.profile and several = 1"
    )


def _quoted(key: str) -> str:
    return json.dumps(key, ensure_ascii=False).replace("'", "''")


def _csv(columns: Sequence[str] | None, block: Sequence[tuple[Any, ...]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    if columns:
        writer.writerow(columns)
    for line, kind, value, mpid, found, why, *values in block:
        writer.writerow([line, kind, value, mpid, found, why, *map(_bare, values)])
    return out.getvalue().encode()


def _bare(text: str | None) -> str | None:
    if text == "null":  # a tag: no cell can say one
        return None
    return json.loads(text) if text is not None and text.startswith('"') else text


def _attributes(profiles: Profiles, fields: Sequence[str]) -> list[str]:
    """Return the attributes that names mean. Raises UsageError for one that nobody has."""
    keys = []
    for name in fields:
        key = profiles.meant(name)
        if key is None:
            if _kind(name):
                raise UsageError(
                    f"--field {name}: is an identity type, no attribute",
                    "profilectl stats lists the attributes",
                )
            raise no_such(
                "attribute", name, profiles.names(), option="--field", lists="profilectl stats"
            )
        keys.append(key)
    return list(dict.fromkeys(keys))


def _read(profiles: Profiles, path: Path, wanted: Lookup) -> list[str]:
    """Make `asked` (seq, line, fault, c0, c1, ...) of the file and return what each column is."""
    scratch = profiles.store.scratch
    name = "-" if wanted.piped else str(path)
    if path.is_file() and not path.stat().st_size:
        if wanted.kind is None:
            raise InputRefused(
                f"{name} is empty",
                "name the columns in the first line, or say --type email for a list",
            )
        _load(scratch, [])
        return [wanted.kind]
    if _is_parquet(path):
        raise InputRefused(
            f"{name} is Parquet: a look-up reads CSV, JSON lines and lists",
            "write its identities as CSV",
        )
    with path.open("rb") if wanted.piped else contextlib.nullcontext() as stdin:
        (file, *more) = open_files(
            [Named(name)],
            format="csv",
            encoding=wanted.encoding,
            spill=scratch.folder,
            stdin=stdin,
            max_unpacked=wanted.max_unpacked,
        ).files
    if more:
        raise InputRefused(f"{name} holds several files", "look them up one by one")
    if wanted.kind is not None:
        check_memory(name, file.local, "look it up in parts")
        check_utf8(name, file.local)
        _load(scratch, file.local.read_text("utf-8-sig").split("\n"))
        return [wanted.kind]
    if format_named(file.name) == "jsonl":
        check_memory(name, file.local, "look it up in parts")
        check_utf8(name, file.local)
        return _read_lines(
            scratch, file.local.read_text("utf-8-sig"), profiles.store.settings().reading
        )
    header = read_header(file, dialect_of(wanted.delimiter))
    kinds = [_kind(name) for name in header.names]
    if not any(kinds):
        raise InputRefused(
            f"{name}:{header.line}: no column is an identity: {', '.join(map(repr, header.names))}",
            "name them as for an import, name the --delimiter, or say --type email for a list",
        )
    for kind in kinds:
        if kind and kinds.count(kind) > 1:
            raise InputRefused(
                f"{name}:{header.line}: several columns are {kind}",
                "a line is looked up by one identity of a type: take one away",
            )
    faults: list[Reject] = []
    count = read_rows(scratch.connection, file, header, "cells", faults.append)
    listed = ", ".join(f"c{n}" for n in range(len(kinds)))
    scratch.load(
        "fault",
        [("seq", "BIGINT"), ("line", "BIGINT"), ("fault", "VARCHAR")],
        [(count + n, one.line, f"{one.code}: {one.message}") for n, one in enumerate(faults)],
    )
    scratch.make(
        "asked",
        f"select one.seq, one.line, null::varchar as fault, {listed} from cells_line as one join (select rowid as seq, * from cells) as cells using (seq)"
        f" union all by name select seq, line, fault from fault",
    )
    return kinds


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as content:
            return content.read(4) == b"PAR1"
    except OSError:
        return False  # said by whoever opens it


def _read_lines(scratch: Scratch, text: str, reading: Reading) -> list[str]:
    """Make `asked` of JSON lines: batches or flat rows, of which only the identities and the MPID
    count.
    """
    rows: list[dict[str, Any]] = []
    kinds: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row: dict[str, Any] = {"line": number, "fault": None}
        try:
            batch = read_document(parse_json(line), reading)
        except Unusable as error:
            row["fault"] = f"{error.code}: {sentence(error.code)}"
        except NotJson as error:
            row["fault"] = f"{error.code}: {error.detail}"
        else:
            row |= {one.type: one.value for one in batch.identities}
            if batch.mpid is not None:
                row["mpid"] = str(batch.mpid)
        kinds |= dict.fromkeys(name for name in row if name not in ("line", "fault"))
        rows.append(row)
    named = list(kinds) or ["mpid"]
    columns = [
        ("line", "BIGINT"),
        ("fault", "VARCHAR"),
        *((f"c{n}", "VARCHAR") for n in range(len(named))),
    ]
    scratch.load(
        "asked_line",
        columns,
        [[row["line"], row["fault"], *(row.get(kind) for kind in named)] for row in rows],
    )
    scratch.make("asked", "select line as seq, * from asked_line")
    return named


def _kind(name: str) -> str:
    """Return the identity type that a column is, "mpid", or ""."""
    if name == "mpid":
        return name
    try:
        meant = field_named(name)
    except Unusable:
        return ""
    return meant.name if meant.kind == "identity" else ""


def _load(scratch: Scratch, lines: list[str]) -> None:
    """Make `asked` of the lines of a list, the end of the last not a line of its own."""
    import pyarrow

    if lines and not lines[-1]:
        lines.pop()
    scratch.connection.register(
        "asked_line",
        pyarrow.table(
            {
                "seq": pyarrow.array(range(1, len(lines) + 1)),
                "c0": pyarrow.array(lines, pyarrow.string()),
            }
        ),
    )
    scratch.make(
        "asked",
        "select seq, seq as line, null::varchar as fault, trim(c0, chr(13)) as c0 from asked_line",
    )
    scratch.connection.unregister("asked_line")


def _mpid_hash(number: str) -> str:
    """Return the SQL of what an MPID is joined by beside the hashes of identities, which are far
    larger.
    """
    return f"({number}::hugeint + 9223372036854775808)::uhugeint"


def _answer(profiles: Profiles, kinds: Sequence[str], wanted: Lookup) -> None:
    """Make `answer`: one row for each line, with the one profile that was found, if it was one."""
    scratch, secret = profiles.store.scratch, profiles.store.meta("secret")
    hierarchy = profiles.store.settings().rules.hierarchy
    environment = quote_text(wanted.environment)
    parts = []
    values = ", ".join(["seq", *(f"{trimmed(f'c{n}')} as t{n}" for n in range(len(kinds)))])
    scratch.make("asked_value", f"select {values} from asked", keep=False)
    for n, kind in enumerate(kinds):
        for one in (*profiles.identities, "mpid") if kind == "any" else (kind,):
            if not one:
                continue
            value = f"t{n}"
            rank = (
                -1
                if one == "mpid"
                else hierarchy.index(one)
                if one in hierarchy
                else len(hierarchy)
            )
            if one == "mpid":
                parts.append(
                    f"select seq, {rank} as rank, 'mpid' as type, {value} as value, {_mpid_hash(whole_number(value))} as hash,"
                    f" {whole_number(value)} as number from asked_value where {value} <> ''"
                )
            else:
                parts.append(
                    f"select seq, {rank} as rank, '{one}' as type, {value} as value, {identity_hash(secret, environment, one, key(BY_NAME[one], value))} as hash, null::bigint as number"
                    f" from asked_value where {value} <> ''"
                )
    scratch.make("wanted", " union all ".join(parts))
    code = ENVIRONMENTS.index(wanted.environment)
    known = known_identities(profiles.segments, removals=profiles.removals)
    # Who has a value is asked once a value, not once a line: many lines and many profiles may have
    # the same one.
    scratch.make(
        "held",
        f"select distinct hash, profile from ({known}) where hash in (select hash from wanted)"
        f" union all select {_mpid_hash('mpid')} as hash, profile from ({known_mpids(profiles.segments)})"
        f" where environment = {code} and mpid in (select number from wanted)",
    )
    scratch.make(
        "holder",
        "select hash, count(*) as several, min(profile) as first, max(profile) as last from held group by hash",
    )
    scratch.make(
        "match",
        "select distinct seq, rank, type, hash from wanted where hash in (select hash from holder)",
    )
    scratch.make(
        "best",
        # A list of identities of any type asks who has the value, as whatever it may be; of a row
        # the strongest that somebody has decides.
        "select seq, rank, type, hash, count(*) over (partition by seq) as values"
        f" from (select *, min(rank) over (partition by seq) as lowest from match) where {'true' if 'any' in kinds else 'rank = lowest'}",
    )
    # Whom several have, each as something else, is of no one type.
    strongest = "arg_min(best.type, (best.rank, best.type))"
    kind = (
        f"case when any_value(tied.several) > 1 and count(distinct best.type) > 1 then null else {strongest} end"
        if "any" in kinds
        else strongest
    )
    scratch.make(
        "hit",
        "select best.seq, coalesce(any_value(tied.several), max(holder.several)) as several, min(holder.first) as profile,"
        f" {kind} as type"
        " from best join holder on holder.hash = best.hash"
        " left join (select best.seq, count(distinct held.profile) as several from best join held on held.hash = best.hash"
        " where best.values > 1 group by best.seq) as tied on tied.seq = best.seq group by best.seq",
    )
    first = "select seq, arg_min(type, rank) as type, arg_min(value, rank) as value from wanted group by seq"
    scratch.make(
        "answer",
        "select asked.seq, asked.line, asked.fault, coalesce(hit.type, case when "
        + ("false" if "any" in kinds else "true")
        + " then first.type end) as type,"
        " coalesce(chosen.value, first.value) as value, coalesce(hit.several, 0) as several, hit.profile, mpid.mpid from asked"
        f" left join ({first}) as first on first.seq = asked.seq left join hit on hit.seq = asked.seq"
        " left join (select seq, type, min(value) as value from wanted group by seq, type) as chosen on chosen.seq = hit.seq and chosen.type = hit.type"
        f" left join ({known_mpids(profiles.segments)}) as mpid on mpid.profile = hit.profile",
    )
