"""Many look-ups at once: a file of identities in, a line for each out, in the order of the file.

All identities are hashed and joined with the store's index at once; Python sees only the lines that
leave. A line with several identities is looked up by the first of the hierarchy that somebody has.
lookup_file.py reads the file.

Relations made here, each from those before it:

    asked      seq, line, fault, c0, c1 ...            the lines of the file (lookup_file.py)
    asked_value    seq, t0, t1 ...                     their cells, trimmed
    sought     seq, rank, type, value, hash, number    each cell as each identity that it may be; a
                                                       line has a type once at most
    held       hash, profile                           who has one of them
    holder     hash, several, oldest                   how many have it, and the oldest of them
    match      seq, rank, type, hash                   those of `sought` that somebody has
    best       seq, rank, type, hash, values           of each line the one that decides
    hit        seq, several, profile, type             the result of each line that found somebody
    answer     seq, line, fault, type, value, several, profile, mpid
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilectl.codes import UsageError
from profilectl.files import progress
from profilectl.profiles.read_model import Profiles
from profilectl.reading.lookup_file import kind_of_column, load_lines, read_file
from profilectl.reading.text_blocks import text_blocks
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME
from profilectl.rules.sql.held_values import held_as_json
from profilectl.rules.sql.identities import ABOVE_HASHES, identity_hash, key, trimmed
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.rules.sql.values import whole_number
from profilectl.rules.text.naming import no_such
from profilectl.store.engine import relation_of
from profilectl.store.scratch import Scratch
from profilectl.store.segments import known_identities, known_mpids
from profilectl.store.statements import reading, union

if TYPE_CHECKING:
    import pyarrow

BLOCK = 20_000
"""How many answers leave at once."""

ASKED_VALUE = "select seq, {columns} from asked"
SOUGHT = "select seq, {columns} from asked_value"
NOT_EMPTY = "select * from cell where value <> ''"
# The holders of a value are sought once for the value, not once for each line: many lines and many
# profiles may have the same one. An MPID has a number above all hashes for one (_sought).
HOLDERS = """
select distinct holding.hash, holding.profile
from holding
where holding.hash in (select hash from sought)
"""
WITH_MPIDS = """
from holders
union all
select (named.mpid::hugeint + 79228162523487709630398726144)::uhugeint as hash, named.profile
from named
where named.environment = $environment
  and named.mpid in (select number from sought)
"""
HOLDER = """
select hash, count(*) as several, min(profile) as oldest
from held
group by hash
"""
MATCH = """
select seq, rank, type, hash
from sought
where hash in (select hash from holder)
"""
MATCH_THAT_DECIDES = "select seq, type from match"
# Of the identities of a row that somebody has, the strongest decides.
BEST_OF_ROW = """
select seq, rank, type, hash, count(*) over (partition by seq) as values
from (select *, min(rank) over (partition by seq) as lowest from match)
where rank = lowest
"""
# In a list of identities of any type, all types count in which somebody has the value.
BEST_OF_ANY = """
select seq, rank, type, hash, count(*) over (partition by seq) as values
from match
"""
# For lines with several identities that decide: how many people have one of them.
TIED = """
select best.seq, count(distinct held.profile) as several
from best
join held on held.hash = best.hash
where best.values > 1
group by best.seq
"""
HIT_OF_ROW = """
select best.seq,
       coalesce(any_value(tied.several), max(holder.several)) as several,
       min(holder.oldest) as profile,
       arg_min(best.type, (best.rank, best.type)) as type
from best
join holder on holder.hash = best.hash
left join tied on tied.seq = best.seq
group by best.seq
"""
# A value that several people have in different types has no type in the answer.
HIT_OF_ANY = """
select best.seq,
       coalesce(any_value(tied.several), max(holder.several)) as several,
       min(holder.oldest) as profile,
       case
           when any_value(tied.several) > 1 and count(distinct best.type) > 1 then null
           else arg_min(best.type, (best.rank, best.type))
       end as type
from best
join holder on holder.hash = best.hash
left join tied on tied.seq = best.seq
group by best.seq
"""
# The answers where each line has one identity at most, so that nothing is left to decide: it takes
# half of the time.
ANSWER_OF_ONE = """
select asked.seq, asked.line, asked.fault, sought.type, sought.value,
       coalesce(holder.several, 0) as several, holder.oldest as profile, named.mpid
from asked
left join sought on sought.seq = asked.seq
left join holder on holder.hash = sought.hash
left join named on named.profile = holder.oldest
"""
# The identity by which a line found somebody; else its strongest, which has no type in a list
# of any type.
ANSWER = """
select asked.seq, asked.line, asked.fault,
       coalesce(hit.type, case when not $any then strongest.type end) as type,
       coalesce(chosen.value, strongest.value) as value,
       coalesce(hit.several, 0) as several, hit.profile, named.mpid
from asked
left join (
    select seq, arg_min(type, rank) as type, arg_min(value, rank) as value
    from sought
    group by seq
) as strongest on strongest.seq = asked.seq
left join hit on hit.seq = asked.seq
left join sought as chosen on chosen.seq = hit.seq and chosen.type = hit.type
left join named on named.profile = hit.profile
"""

ANSWERS = "select seq, line, type, value, mpid, several, fault from answer"
ANSWERS_WITH_FIELDS = """
select answer.seq, answer.line, answer.type, answer.value, answer.mpid, answer.several,
       answer.fault, {columns}
from answer
left join folded on folded.profile = answer.profile and answer.several = 1
"""
PEOPLE_FOUND = "where profile in (select profile from answer where several = 1)"
# Why a line has no MPID; null where it has one.
EXPLAINED = """
select *,
       case
           when fault is not null then fault
           when several > 1 then several || ' profiles have it'
           when several = 1 then null
           when value is null then 'no identity'
           when type = 'mpid' and {columns} is null then 'no MPID'
           else 'nobody has it'
       end as why
from answered
"""
CSV_ANSWERS = """
select line, type, value,
       case when several = 1 then mpid end,
       case when several = 1 then 'yes' else 'no' end,
       {columns}
from explained
order by line, seq
"""
JSON_ANSWERS = """
select '{{"line":' || line
       || ',"type":' || coalesce(to_json(type)::varchar, 'null')
       || ',"value":' || coalesce(to_json(value)::varchar, 'null')
       || ',"mpid":' || case when several = 1 then '"' || mpid || '"' else 'null' end
       || ',"found":' || case when several = 1 then 'true' else 'false' end
       || coalesce(',"why":' || to_json(why)::varchar, '')
       || case when several = 1 then {columns} else '' end
       || '}}' || chr(10)
from explained
order by line, seq
"""
TABLE_OF_ANSWERS = """
select type, value, case when several = 1 then mpid end as mpid, {columns}
from answered
order by seq
"""
# Each line with all profiles that have the identity by which it found somebody.
MATCHES = """
select answer.line, answer.type, answer.value, people.profiles, answer.fault
from answer
left join (
    select best.seq, list(distinct held.profile) as profiles
    from best
    join hit on hit.seq = best.seq and hit.type = best.type
    join held on held.hash = best.hash
    group by best.seq
) as people on people.seq = answer.seq
order by answer.line, answer.seq
"""


@dataclass(frozen=True, slots=True)
class Lookup:
    """How a file of identities is read, and how each is answered."""

    kind: str | None = None
    """An identity type, "mpid", or "any" for a list of them; None for CSV with a header."""
    environment: str = ENVIRONMENTS[0]
    """The environment in which they are looked up."""
    fields: Sequence[str] = ()
    """The attributes that are answered."""
    format: str = "jsonl"
    """The format of the answers: jsonl or csv."""
    delimiter: str | None = None
    """The delimiter of the file, as an import takes it."""
    encoding: str | None = None
    """The encoding of the file, as an import takes it."""
    piped: bool = False
    """Whether the file is a copy of standard input, and is named so."""
    max_unpacked: str | None = None
    """The size that the file may unpack to."""


@dataclass(frozen=True, slots=True)
class LookupMatch:
    """The profiles that a line of a file names."""

    line: int
    """The line."""
    kind: str | None
    """The type of the identity that somebody has, else of the strongest; None: it has none."""
    value: str | None
    """The identity."""
    profiles: tuple[int, ...]
    """All profiles that have it."""
    fault: str | None = None
    """Why the line could not be read."""


def look_up(profiles: Profiles, path: Path, request: Lookup) -> Iterator[bytes]:
    """Yield the answers as blocks of lines.

    Raises InputRefused for a file that is not understood.
    """
    progress.step("reading")
    request = replace(request, fields=_attributes(profiles, request.fields))
    _answer(profiles, read_file(profiles, path, request), request)
    explained = reading(
        EXPLAINED.format(columns=whole_number("value")), answered=_answered(profiles, request)
    )
    progress.step("answering")
    lines = _csv_answers if request.format == "csv" else _json_answers
    yield from lines(profiles.store.scratch, explained, request.fields)


def _csv_answers(scratch: Scratch, explained: str, fields: Sequence[str]) -> Iterator[bytes]:
    header: Sequence[str] | None = ["line", "type", "value", "mpid", "found", "why", *fields]
    columns = ", ".join(["why", *(f"v{place}" for place in range(len(fields)))])
    result = scratch.connection.execute(
        reading(CSV_ANSWERS.format(columns=columns), explained=explained)
    )
    while (block := result.fetchmany(BLOCK)) or header:
        yield _csv(header, block)
        header = None


def _json_answers(scratch: Scratch, explained: str, fields: Sequence[str]) -> Iterator[bytes]:
    attributes = "''"
    if fields:
        members = " || ".join(
            f"ifnull(',{_quoted(name)}:' || v{place}, '')" for place, name in enumerate(fields)
        )
        attributes = f"',\"user_attributes\":{{' || ltrim({members}, ',') || '}}'"
    select = reading(JSON_ANSWERS.format(columns=attributes), explained=explained)
    yield from map(bytes, text_blocks(scratch.connection, select))


def matches_of(profiles: Profiles, path: Path, request: Lookup) -> list[LookupMatch]:
    """Return the profiles that each line of a file names, in all environments.

    Raises InputRefused for a file that is not understood.
    """
    kinds = read_file(profiles, path, request)
    matches = []
    for environment in ENVIRONMENTS:
        _answer(profiles, kinds, replace(request, environment=environment))
        matches += [
            LookupMatch(line, kind, value, profiles=tuple(sorted(people or ())), fault=fault)
            for line, kind, value, people, fault in profiles.store.scratch.rows(MATCHES)
        ]
    return matches


def look_up_list(profiles: Profiles, values: Sequence[str], request: Lookup) -> pyarrow.Table:
    """Return a table of (type, value, mpid, profiles, fields as JSON text) for a list, in order."""
    assert request.kind is not None
    scratch = profiles.store.scratch
    request = replace(request, fields=_attributes(profiles, request.fields))
    load_lines(scratch, [*values, ""])
    _answer(profiles, [str(request.kind)], request)
    fields = [f"v{place} as {quote_identifier(name)}" for place, name in enumerate(request.fields)]
    columns = ", ".join(["several as profiles", *fields])
    select = reading(
        TABLE_OF_ANSWERS.format(columns=columns), answered=_answered(profiles, request)
    )
    return relation_of(scratch.connection, select).to_arrow_table()


def _answered(profiles: Profiles, request: Lookup) -> str:
    """Return the SELECT of the answers, with the fields asked for as v0, v1 ..."""
    if not request.fields:
        return ANSWERS
    values = ", ".join(
        f"{held_as_json(f'folded.v{place}')} as v{place}" for place in range(len(request.fields))
    )
    folded = profiles.folded(list(request.fields), PEOPLE_FOUND)
    return reading(ANSWERS_WITH_FIELDS.format(columns=values), folded=folded)


def _quoted(name: str) -> str:
    """Return a name as JSON within a text of SQL."""
    return json.dumps(name, ensure_ascii=False).replace("'", "''")


def _csv(columns: Sequence[str] | None, block: Sequence[tuple[Any, ...]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    if columns:
        writer.writerow(columns)
    for line, kind, value, mpid, is_found, why, *values in block:
        writer.writerow([line, kind, value, mpid, is_found, why, *map(_bare, values)])
    return out.getvalue().encode()


def _bare(text: str | None) -> str | None:
    """Return a JSON value as a cell: a text without quotes. A tag (null) is an empty cell."""
    if text == "null":
        return None
    return json.loads(text) if text is not None and text.startswith('"') else text


def _attributes(profiles: Profiles, fields: Sequence[str]) -> list[str]:
    """Return the attributes that names mean.

    Raises UsageError for one that nobody has.
    """
    keys = []
    for name in fields:
        attribute = profiles.meant(name)
        if attribute is None:
            if kind_of_column(name):
                raise UsageError(
                    f"--field {name}: is an identity type, no attribute",
                    "profilectl stats lists the attributes",
                )
            raise no_such(
                "attribute", name, profiles.names(), option="--field", lists="profilectl stats"
            )
        keys.append(attribute)
    return list(dict.fromkeys(keys))


def _answer(profiles: Profiles, kinds: Sequence[str], request: Lookup) -> None:
    """Make `answer`: a row for each line, with the oldest profile found, and how many there are."""
    scratch, is_any = profiles.store.scratch, "any" in kinds
    cells = ", ".join(f"{trimmed(f'c{place}')} as t{place}" for place in range(len(kinds)))
    scratch.make("asked_value", ASKED_VALUE.format(columns=cells), keep=False)
    scratch.make("sought", _sought(profiles, kinds, request.environment))
    named = known_mpids(profiles.segments)
    holding = known_identities(profiles.segments, removals=profiles.removals)
    holders = reading(HOLDERS, holding=holding)
    if is_any or "mpid" in kinds:
        environment = {"environment": ENVIRONMENTS.index(request.environment)}
        scratch.make("held", reading(WITH_MPIDS, holders=holders, named=named), environment)
    else:
        scratch.make("held", holders)
    scratch.make("holder", HOLDER)
    if not is_any and sum(map(bool, kinds)) == 1:
        scratch.make("match", MATCH, keep=False)
        scratch.make("best", "from match", keep=False)
        scratch.make("hit", MATCH_THAT_DECIDES, keep=False)
        scratch.make("answer", reading(ANSWER_OF_ONE, named=named))
        return
    scratch.make("match", MATCH)
    scratch.make("best", BEST_OF_ANY if is_any else BEST_OF_ROW)
    scratch.make("hit", reading(HIT_OF_ANY if is_any else HIT_OF_ROW, tied=TIED))
    scratch.make("answer", reading(ANSWER, named=named), {"any": is_any})


def _sought(profiles: Profiles, kinds: Sequence[str], environment: str) -> str:
    """Return the SELECT of each cell as each identity that it may be.

    `kinds` says of each column what it is: an identity type, "mpid", "any", or "" for none.
    """
    secret = profiles.store.meta("secret")
    hierarchy = profiles.store.settings().rules.hierarchy
    parts = []
    for place, column in enumerate(kinds):
        for kind in (*profiles.identities, "mpid") if column == "any" else (column,):
            if not kind:
                continue
            value = f"t{place}"
            if kind == "mpid":
                rank = -1  # the strongest: it names one profile alone
                number = whole_number(value)
                # Above the hashes of identities (ABOVE_HASHES): the same as WITH_MPIDS has.
                above = ABOVE_HASHES + (1 << 63)
                digest = f"({number}::hugeint + {above})::uhugeint"
            else:
                rank = hierarchy.index(kind) if kind in hierarchy else len(hierarchy)
                number = "null::bigint"
                digest = identity_hash(
                    secret, quote_text(environment), kind, key=key(BY_NAME[kind], value)
                )
            columns = [
                f"{rank} as rank",
                f"'{kind}' as type",
                f"{value} as value",
                f"{digest} as hash",
                f"{number} as number",
            ]
            cell = SOUGHT.format(columns=", ".join(columns))
            parts.append(reading(NOT_EMPTY, cell=cell))
    return union(parts)
