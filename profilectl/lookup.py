"""Many look-ups at once: a file of identities in, a line for each out, in the order of the file.

Set-based: all identities are hashed and joined with the store's index; Python sees only the lines
that leave. A line with several identities is looked up by the first of the hierarchy that somebody
has.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from profilectl.batch import Unusable, field_named
from profilectl.codes import InputRefused
from profilectl.feed import ENVIRONMENTS
from profilectl.identity import BY_NAME, WHITE_SPACE
from profilectl.profile import Profiles, held_as_json
from profilectl.scratch import Scratch, quote_identifier, quote_text
from profilectl.segments import identity_hash, known_identities, known_mpids

BLOCK = 20_000
BLANKS = quote_text(WHITE_SPACE)


@dataclass(frozen=True, slots=True)
class Lookup:
    """How a file of identities is read and what is told of each. kind: an identity type, "mpid", or
    "any" for a list of them; None for CSV with a header. fields: attributes to tell."""

    kind: str | None = None
    environment: str = ENVIRONMENTS[0]
    fields: Sequence[str] = ()
    format: str = "jsonl"


def look_up(profiles: Profiles, path: Path, wanted: Lookup) -> Iterator[bytes]:
    """Yield the answers as blocks of lines. Raises InputRefused for a file that is not understood."""
    scratch = profiles.store.scratch
    kinds = _read(profiles, path, wanted)
    _answer(profiles, kinds, wanted)
    joined = _joined(profiles, wanted)
    first = True
    if wanted.format == "csv":
        columns = ["line", "type", "value", "mpid", "found", *wanted.fields]
        cursor = scratch.connection.execute(f"select * exclude (seq) from ({joined}) order by seq")
        while (block := cursor.fetchmany(BLOCK)) or first:
            yield _csv(columns if first else None, block)
            first = False
        return
    members = "".join(
        f" || coalesce(',{_quoted(key)}:' || v{n}, '')" for n, key in enumerate(wanted.fields)
    )
    attributes = f" || case when several = 1 then ',\"user_attributes\":{{' || ltrim(''{members}, ',') || '}}' else '' end" if wanted.fields else ""
    line = (
        "'{\"line\":' || line || ',\"type\":' || coalesce(to_json(type)::varchar, 'null') || ',\"value\":' || coalesce(to_json(value)::varchar, 'null')"
        " || ',\"mpid\":' || case when several = 1 then '\"' || mpid || '\"' else 'null' end"
        " || ',\"found\":' || case when several = 1 then 'true' else 'false' end"
        " || case when several > 1 then ',\"why\":\"' || several || ' profiles have it\"' when several = 0 and value is null then ',\"why\":\"no identity\"'"
        f" when several = 0 then ',\"why\":\"nobody has it\"' else '' end{attributes} || '}}'"
    )
    cursor = scratch.connection.execute(f"select {line} from ({joined}) order by seq")
    while block := cursor.fetchmany(BLOCK):
        yield ("\n".join(text for (text,) in block) + "\n").encode()


def look_up_list(profiles: Profiles, values: Sequence[str], wanted: Lookup) -> Any:
    """Return an Arrow table of (type, value, mpid, profiles, fields as JSON text) for a list, in order."""
    assert wanted.kind is not None
    scratch = profiles.store.scratch
    _load(scratch, [*values, ""])
    _answer(profiles, [wanted.kind], wanted)
    fields = "".join(f", v{n} as {quote_identifier(key)}" for n, key in enumerate(wanted.fields))
    mpid = "case when several = 1 then mpid end as mpid"
    return scratch.connection.sql(f"select type, value, {mpid}, several as profiles{fields} from ({_joined(profiles, wanted)}) order by seq").to_arrow_table()


def _joined(profiles: Profiles, wanted: Lookup) -> str:
    """Return the SELECT of the answers with the fields asked for."""
    if not wanted.fields:
        return "select seq, line, type, value, mpid, several from answer"
    values = "".join(f", {held_as_json(f'v{n}')} as v{n}" for n in range(len(wanted.fields)))
    folded = profiles.folded(list(wanted.fields), "where profile in (select profile from answer where several = 1)")
    return (
        f"select seq, line, type, value, answer.mpid, several{values} from answer left join ({folded}) as folded"
        " on folded.profile = answer.profile and several = 1"
    )


def _quoted(key: str) -> str:
    return json.dumps(key, ensure_ascii=False).replace("'", "''")


def _csv(columns: Sequence[str] | None, block: Sequence[tuple[Any, ...]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    if columns:
        writer.writerow(columns)
    for line, kind, value, mpid, several, *values in block:
        found = "yes" if several == 1 else f"{several} profiles" if several else "no"
        writer.writerow([line, kind, value, mpid if several == 1 else None, found, *map(_bare, values)])
    return out.getvalue().encode()


def _bare(text: str | None) -> str | None:
    return json.loads(text) if text is not None and text.startswith('"') else text


def _read(profiles: Profiles, path: Path, wanted: Lookup) -> list[str]:
    """Make `asked` (seq, line, c0, c1, ...) of the file and return what each column is."""
    scratch = profiles.store.scratch
    try:
        if wanted.kind is not None:
            _load(scratch, path.read_text("utf-8-sig").split("\n"))
            return [wanted.kind]
        with path.open("rb") as content:
            head = content.readline().decode("utf-8-sig")
        names = next(csv.reader([head]), [])
        if not names:
            raise InputRefused(f"{path} is empty", "name the columns in the first line, or say --type email for a list")
        columns = "{" + ", ".join(f"{quote_text(f'c{n}')}: 'VARCHAR'" for n in range(len(names))) + "}"
        scratch.make(
            "asked",
            f"select row_number() over () as seq, 1 + row_number() over () as line, * from read_csv({quote_text(str(path))}, auto_detect = false, header = true,"
            f" columns = {columns}, delim = ',', quote = '\"', escape = '\"', comment = '', null_padding = false)",
        )
    except UnicodeDecodeError:
        raise InputRefused(f"{path} is not UTF-8") from None
    except duckdb.Error as error:
        raise InputRefused(f"{path} could not be read: {str(error).splitlines()[0][:200]}") from None
    kinds = []
    for name in names:
        try:
            meant = field_named(name)
        except Unusable:
            meant = None
        kinds.append("mpid" if name == "mpid" else meant.name if meant and meant.kind == "identity" else "")
    if not any(kinds):
        raise InputRefused(f"{path}:1: no column is an identity: {', '.join(names)}", "name them as for an import, or say --type email for a list")
    return kinds


def _load(scratch: Scratch, lines: list[str]) -> None:
    """Make `asked` of the lines of a list, the end of the last not a line of its own."""
    import pyarrow

    if lines and not lines[-1]:
        lines.pop()
    scratch.connection.register("asked_line", pyarrow.table({"seq": pyarrow.array(range(1, len(lines) + 1)), "c0": pyarrow.array(lines, pyarrow.string())}))
    scratch.make("asked", "select seq, seq as line, c0 from asked_line")
    scratch.connection.unregister("asked_line")


def _answer(profiles: Profiles, kinds: Sequence[str], wanted: Lookup) -> None:
    """Make `answer`: one row for each line, with the one profile that was found, if it was one."""
    scratch, secret = profiles.store.scratch, profiles.store.meta("secret")
    hierarchy = profiles.store.settings().rules.hierarchy
    environment = quote_text(wanted.environment)
    parts = []
    for n, kind in enumerate(kinds):
        for one in (*profiles.identities, "mpid") if kind == "any" else (kind,):
            if not one:
                continue
            trimmed = f"trim(c{n}, {BLANKS})"
            rank = -1 if one == "mpid" else hierarchy.index(one) if one in hierarchy else len(hierarchy)
            if one == "mpid":
                parts.append(f"select seq, {rank} as rank, 'mpid' as type, {trimmed} as value, null::uhugeint as hash, try_cast({trimmed} as bigint) as number from asked where {trimmed} <> ''")
            else:
                key = trimmed if BY_NAME[one].shape == "text" else f"lower({trimmed})"
                parts.append(
                    f"select seq, {rank} as rank, '{one}' as type, {trimmed} as value, {identity_hash(secret, environment, one, key)} as hash, null::bigint as number"
                    f" from asked where {trimmed} <> ''"
                )
    scratch.make("wanted", " union all ".join(parts))
    code = ENVIRONMENTS.index(wanted.environment)
    known = known_identities(profiles.segments, removals=profiles.removals)
    scratch.make(
        "match",
        f"select wanted.seq, wanted.rank, wanted.type, known.profile from wanted join ({known}) as known on known.hash = wanted.hash"
        f" union select wanted.seq, wanted.rank, wanted.type, known.profile from wanted join ({known_mpids(profiles.segments)}) as known"
        f" on known.mpid = wanted.number and known.environment = {code}",
    )
    best = "select seq, min(rank) as rank from match group by seq"
    scratch.make(
        "hit",
        "select match.seq, count(distinct match.profile) as several, min(match.profile) as profile, min(match.type) as type"
        f" from match join ({best}) as best on best.seq = match.seq and best.rank = match.rank group by match.seq",
    )
    first = "select seq, arg_min(type, rank) as type, arg_min(value, rank) as value from wanted group by seq"
    scratch.make(
        "answer",
        "select asked.seq, asked.line, coalesce(hit.type, case when " + ("false" if "any" in kinds else "true") + " then first.type end) as type,"
        " coalesce(chosen.value, first.value) as value, coalesce(hit.several, 0) as several, hit.profile, mpid.mpid from asked"
        f" left join ({first}) as first on first.seq = asked.seq left join hit on hit.seq = asked.seq"
        " left join (select seq, type, min(value) as value from wanted group by seq, type) as chosen on chosen.seq = hit.seq and chosen.type = hit.type"
        f" left join ({known_mpids(profiles.segments)}) as mpid on mpid.profile = hit.profile",
    )
