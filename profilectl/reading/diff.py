"""What lies between two states of the store: profiles made, identities gained and lost, attributes
set.

Every row keeps its arrival, so any state that was is the rows that had arrived by then, also where
segments were laid together since.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from profilectl.codes import InputRefused
from profilectl.profiles.read_model import Profiles
from profilectl.rules.identity import BY_NAME, CODE
from profilectl.rules.sql.identities import environment_name, identity_hash, key
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import DELETED, held_as_json
from profilectl.store.history import history_of, no_import
from profilectl.store.segments import IMPORT_FILES, known_loose, known_mpids, known_rows
from profilectl.store.store import OpenStore

REVERSE = {
    "created": "gone",
    "gone": "created",
    "aliased": "unaliased",
    "unaliased": "aliased",
    "identity-added": "identity-removed",
    "identity-removed": "identity-added",
    "set": "deleted",
    "changed": "changed",
    "deleted": "set",
}
"""What can become of a profile, in the order in which it is told, and what takes it back."""
CHANGES = tuple(REVERSE)
STRETCH = 200_000
"""So many arrivals' worth of profiles are compared at once."""
BLOCK = 20_000


@dataclass(frozen=True, slots=True)
class Span:
    """The arrivals between two states: from the first, up to but not the end. back: the later state
    is the one that is left, so each change is told the other way round.
    """

    first: int
    end: int
    back: bool = False


def span_of(store: OpenStore, older: int | None = None, newer: int | None = None) -> Span:
    """Return the span of one import (else the newest in force), or of what leads from the state
    after one import to that after another (0: nothing yet), which may be an earlier one.

    Raises UsageError for an import that there never was, InputRefused for one that is not in force.
    """
    there = [past.number for past in history_of(store)]
    spans = {
        past.number: (past.first_arrival, past.first_arrival + arrivals)
        for past, (arrivals,) in zip(
            history_of(store),
            store.scratch.rows("select arrivals from store.import order by number"),
            strict=True,
        )
        if past.undone_ms is None
    }
    if older is None:
        if not spans:
            raise InputRefused("no import is in force", "profilectl imports list shows the history")
        older = max(spans)
    for number in (older, newer):
        if number is not None and number not in there and not (number == 0 and newer is not None):
            raise no_import(number, there)
        if number is not None and number not in spans and not (number == 0 and newer is not None):
            raise InputRefused(
                f"there is no import {number} in force",
                "profilectl imports list shows what is in force",
            )
    if newer is None:
        return Span(*spans[older])
    left, reached = (spans[number][1] if number else 0 for number in (older, newer))
    return Span(min(left, reached), max(left, reached), back=left > reached)


def differences(
    profiles: Profiles,
    span: Span,
    *,
    only: Sequence[int] | None = None,
    changes: Sequence[str] = (),
    attributes: Sequence[str] = (),
) -> Iterator[tuple[str, ...]]:
    """Return each change as (profile's JSON members, change, JSON members of the change), profile
    by profile.

    only: these profiles. changes, attributes: only such changes, only those of these attributes.
    """
    scratch = profiles.store.scratch
    where = f"and profile in ({', '.join(map(str, only)) or 'null'})" if only is not None else ""
    for start in range(0, span.end, STRETCH):
        stretch = f"profile between {start} and {start + STRETCH - 1} {where}"
        scratch.make("diff_profile", _touched(profiles, span, stretch))
        if not scratch.count("diff_profile"):
            continue
        select = _changes(profiles, span, attributes)
        if span.back:
            select = _backwards(select)
        if changes:
            select = (
                f"select * from ({select}) where change in ({', '.join(map(quote_text, changes))})"
            )
        named = (
            f"select named.mpid, named.environment, one.* exclude (profile), one.profile from ({select}) as one"
            f" join ({known_mpids(profiles.segments)}) as named on named.profile = one.profile"
        )
        place = " ".join(
            ["case change", *(f"when '{name}' then {n}" for n, name in enumerate(CHANGES)), "end"]
        )
        cursor = scratch.connection.execute(
            f"select {_line()} from ({named}) as one {_place('arrival')} {_place('brought')} order by one.profile, {place}, what, value, one.arrival"
        )
        while block := cursor.fetchmany(BLOCK):
            yield from block


def _touched(profiles: Profiles, span: Span, where: str) -> str:
    within = f"where {where} and arrival >= {span.first} and arrival < {span.end}"
    parts = [f"select profile from {one.table('row')} {within}" for one in profiles.segments]
    parts.append(f"select profile from store.removed {within}")
    parts.append(
        f"select profile from (select destination as profile, arrival from store.alias) {within}"
    )
    return f"select distinct profile from ({' union all '.join(parts)})"


def _changes(profiles: Profiles, span: Span, attributes: Sequence[str]) -> str:
    """Return the SELECT of (profile, change, what, value, before, after, arrival, brought).

    arrival: of the row that made the change; brought: of the one that had once brought an identity
    that was lost.
    """
    parts = [_cells(profiles, span, attributes)]
    if not attributes:
        parts.append(
            "select profile, 'created' as change, '' as what, '' as value, null as before, null as after, profile as arrival, null as brought"
            f" from diff_profile where profile >= {span.first}"
        )
        parts.append(
            "select alias.destination, 'aliased', '', named.mpid::varchar, null, null, alias.arrival, null from store.alias as alias"
            f" join ({known_mpids(profiles.segments)}) as named on named.profile = alias.source"
            f" where alias.arrival >= {span.first} and alias.arrival < {span.end} and alias.destination in (select profile from diff_profile)"
        )
        for kind in profiles.identities:
            old, new = (_held(profiles, kind, until) for until in (span.first, span.end))
            parts.append(
                f"select profile, 'identity-added', '{kind}', value, null, null, arrival, null from ({_only_there(new, old)})"
            )
            if profiles.removals:
                parts.append(
                    f"select profile, 'identity-removed', '{kind}', value, null, null, {_taker(profiles, kind, span)}, arrival"
                    f" from ({_only_there(old, new)}) as one"
                )
    return " union all ".join(parts)


def _only_there(there: str, gone: str) -> str:
    """Return the SELECT of the identities that profiles have in one state and not in the other."""
    return f"select * from ({there}) as mine where not exists (select 1 from ({gone}) as its where its.profile = mine.profile and its.key = mine.key)"


def _taker(profiles: Profiles, kind: str, span: Span) -> str:
    """Return the SQL of the arrival of the row that took an identity (one) away."""
    hashed = identity_hash(
        profiles.store.meta("secret"), environment_name("one.environment"), kind, "one.key"
    )
    return (
        f"(select max(gone.arrival) from store.removed as gone where gone.profile = one.profile and gone.type = {CODE[kind]}"
        f" and gone.hash = {hashed} and gone.arrival >= {span.first} and gone.arrival < {span.end})"
    )


def _backwards(select: str) -> str:
    """Return the SELECT of changes told the other way round."""
    turned = " ".join(f"when '{change}' then '{other}'" for change, other in REVERSE.items())
    return f"select profile, case change {turned} end as change, what, value, after as before, before as after, arrival, brought from ({select})"


def _held(profiles: Profiles, kind: str, until: int) -> str:
    """Return the SELECT of the identities of a type in force before an arrival: profile, value,
    key, arrival.
    """
    rows = (
        f"select profile, environment, arrival, i_{kind} as value, {key(BY_NAME[kind], f'i_{kind}')} as key from"
        f" ({known_rows(profiles.segments, [kind], ())}) where i_{kind} is not null and arrival < {until}"
        " and profile in (select profile from diff_profile)"
    )
    if not profiles.removals:
        return rows
    environment = environment_name("one.environment")
    hashed = identity_hash(profiles.store.meta("secret"), environment, kind, "one.key")
    return (
        f"select one.* from ({rows}) as one where not exists (select 1 from store.removed as gone where gone.profile = one.profile"
        f" and gone.type = {CODE[kind]} and gone.arrival >= one.arrival and gone.arrival < {until} and gone.hash = {hashed})"
    )


def _cells(profiles: Profiles, span: Span, attributes: Sequence[str]) -> str:
    wanted = set(attributes)
    parts = []
    here = f" and {profiles.feeds}" if profiles.feeds else ""
    for segment in profiles.segments:
        parts += [
            f"select profile, {quote_text(key)} as key, a{n} as held, arrival from {segment.table('row')}"
            f" where a{n} is not null and arrival < {span.end} and profile in (select profile from diff_profile){here}"
            for n, key in enumerate(segment.keys)
            if not wanted or key in wanted
        ]
    if any("loose" in one.tables for one in profiles.segments):
        listed = f" and key in ({', '.join(map(quote_text, attributes))})" if attributes else ""
        parts.append(
            f"select profile, key, value as held, arrival from ({known_loose(profiles.segments)})"
            f" where arrival < {span.end} and profile in (select profile from diff_profile){here}{listed}"
        )
    if not parts:
        return (
            "select 0::bigint as profile, '' as change, '' as what, '' as value, '' as before, '' as after, 0::bigint as arrival,"
            " null::bigint as brought where false"
        )
    folded = (
        f"select profile, key, nullif(arg_max(held, arrival) filter (arrival < {span.first}), {DELETED}) as before,"
        f" nullif(arg_max(held, arrival) filter (arrival >= {span.first}), {DELETED}) as after, max(arrival) as arrival"
        f" from ({' union all '.join(parts)}) group by profile, key having max(arrival) >= {span.first}"
    )
    return (
        "select profile, case when before is null then 'set' when after is null then 'deleted' else 'changed' end as change,"
        f" key as what, '' as value, before, after, arrival, null::bigint as brought from ({folded}) where before is distinct from after"
    )


def _place(column: str) -> str:
    """Return the joins that say where a row (its arrival is in the column) stands, under names that
    begin with the column's.
    """
    return (
        f"asof left join ({IMPORT_FILES}) as {column}_file on one.{column} >= {column}_file.first_arrival"
        f" asof left join store.line_run as {column}_run on one.{column} >= {column}_run.first_arrival"
    )


def _number(column: str) -> str:
    """Return the SQL of the line, or the row, of a row in its file."""
    return f"({column}_run.first_line + one.{column} - {column}_run.first_arrival)"


def _place_json(column: str) -> str:
    """Return the SQL of where a row stands, as members of a JSON object."""
    return (
        f"'\"import\":' || {column}_file.import || ',\"file\":' || to_json({column}_file.path)::varchar"
        f" || case {column}_file.unit when 'line' then ',\"line\":' else ',\"row\":' end || {_number(column)}"
    )


def _line() -> str:
    """Return the SELECT list: the change as JSON text, and its parts as a person reads them."""
    environment = environment_name("one.environment")
    document = (
        f'\'{{"mpid":"\' || one.mpid || \'","environment":"\' || {environment} || \'","change":"\' || change || \'"\''
        " || case when change in ('set', 'changed', 'deleted') then ',\"attribute\":' || to_json(what)::varchar"
        " when change like 'identity-%' then ',\"type\":' || to_json(what)::varchar || ',\"value\":' || to_json(value)::varchar"
        " when change like '%aliased' then ',\"from\":' || to_json(value)::varchar else '' end"
        f" || case when before is not null then ',\"before\":' || {held_as_json('before')} else '' end"
        f" || case when after is not null then ',\"after\":' || {held_as_json('after')} else '' end"
        f" || coalesce(',' || {_place_json('arrival')}, '')"
        f" || coalesce(',\"brought_by\":{{' || {_place_json('brought')} || '}}', '') || '}}'"
    )
    return (
        f"{document} as line, one.mpid::varchar, change, what, case when value <> '' then value else"
        " coalesce(before, '') end, coalesce(after, ''),"
        f" coalesce(arrival_file.import::varchar, ''), coalesce(arrival_file.path || ':' || {_number('arrival')}, ''),"
        f" coalesce('[' || brought_file.import || '] ' || brought_file.path || ':' || {_number('brought')}, '')"
    )
