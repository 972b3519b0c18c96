"""The differences between two states of a store, in profiles, identities and attributes.

Every row keeps its arrival. So a past state is the rows that had arrived by then, also where
segments were laid together since.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from profilectl.codes import InputRefused
from profilectl.files import progress
from profilectl.profiles.read_model import Profiles
from profilectl.reading.text_blocks import text_blocks
from profilectl.rules.identity import BY_NAME, CODE
from profilectl.rules.sql.held_values import held_as_json
from profilectl.rules.sql.identities import environment_name, identity_hash, key
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.history import history_of, no_import
from profilectl.store.segments import FILES_WITH_ROWS, known_loose, known_mpids, known_rows
from profilectl.store.statements import over_each, reading, rows_of, union
from profilectl.store.store import OpenStore

# The changes of a profile, in the order in which they are shown, each with the one that undoes it.
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
CHANGES = tuple(REVERSE)
PEOPLE_AT_ONCE = 50_000
"""How many profiles are compared at once, for the memory: 0.9 GB if each has eleven changes."""
BLOCK = 20_000
"""How many changes are fetched at once."""
QUOTED = re.compile("'[^']*'")
"""A text within a statement."""

ARRIVALS = "select arrivals from store.import order by number"
ROWS_TOUCHED = """
select profile
from stored
where arrival >= $start and arrival < $end
"""
OTHERS_TOUCHED = """
select profile
from (
    select profile, arrival from store.removed
    union all
    select destination, arrival from store.alias
)
where arrival >= $start and arrival < $end
"""
TOUCHED = "select distinct profile from touched"
TOUCHED_AMONG = """
select distinct profile
from touched
where profile in (select unnest($only::bigint[]))
"""
# The profiles that something in the span has touched, found once and not once for each stretch:
# the tables of MPIDs lie by MPID, so each search for profiles reads all of them.
PEOPLE = """
select named.profile, named.mpid, named.environment
from named
join touched_profile on touched_profile.profile = named.profile
order by named.profile
"""
STRETCHES = """
select min(profile), max(profile)
from (
    select profile, (row_number() over (order by profile) - 1) // $people as stretch
    from diff_person
)
group by stretch
order by stretch
"""
PROFILES_OF_STRETCH = "select profile from diff_person where profile between $low and $high"

# Changes have these columns: profile, change, what, value, before, after, arrival (of the row that
# made the change), brought (arrival of the row that had once brought an identity that was lost).
NO_CHANGES = """
select 0::bigint as profile, '' as change, '' as what, '' as value, '' as before, '' as after,
       0::bigint as arrival, null::bigint as brought
where false
"""
# A profile's number is the arrival of the row that founded it.
CREATED = """
select profile, 'created', '', '', null, null, profile, null
from diff_profile
where profile >= $start
"""
ALIASED = """
select alias.destination, 'aliased', '', named.mpid::varchar, null, null, alias.arrival, null
from store.alias as alias
join named on named.profile = alias.source
where alias.arrival >= $start
  and alias.arrival < $end
  and alias.destination in (select profile from diff_profile)
"""
GAINED = """
select profile, 'identity-added', {columns}, value, null, null, arrival, null
from later
where not exists (
    select 1
    from earlier
    where earlier.profile = later.profile and earlier.key = later.key
)
"""
LOST = """
select profile, 'identity-removed', {columns}, value, null, null,
       (
           select max(removed.arrival)
           from store.removed as removed
           where removed.profile = earlier.profile
             and removed.type = earlier.type
             and removed.hash = earlier.hash
             and removed.arrival >= $start
             and removed.arrival < $end
       ),
       arrival
from earlier
where not exists (
    select 1
    from later
    where later.profile = earlier.profile and later.key = earlier.key
)
"""
# The identities of a type that profiles had before the span, and at its end.
IDENTITIES = """
select {columns}
from arrived
where profile between $low and $high
  and profile in (select profile from diff_profile)
"""
HELD_BEFORE = """
select stated.*
from stated
where stated.value is not null
  and stated.arrival < $start
  and not exists (
    select 1
    from store.removed as removed
    where removed.profile = stated.profile
      and removed.type = stated.type
      and removed.arrival >= stated.arrival
      and removed.arrival < $start
      and removed.hash = stated.hash
  )
"""
HELD_AT_END = """
select stated.*
from stated
where stated.value is not null
  and stated.arrival < $end
  and not exists (
    select 1
    from store.removed as removed
    where removed.profile = stated.profile
      and removed.type = stated.type
      and removed.arrival >= stated.arrival
      and removed.arrival < $end
      and removed.hash = stated.hash
  )
"""
# The same where no identity was ever taken away: nothing is hashed.
STATED_BEFORE = "select * from stated where value is not null and arrival < $start"
STATED_AT_END = "select * from stated where value is not null and arrival < $end"

CELLS = """
select *
from (select {columns} from stored)
where held is not null
  and arrival < $end
  and profile between $low and $high
  and profile in (select profile from diff_profile)
"""
CELLS_AMONG = """
select *
from cell
where key in (select unnest($attributes::varchar[]))
"""
# chr(31) is how a deleted value is held (values.DELETED).
ATTRIBUTES_CHANGED = """
select profile,
       case
           when before is null then 'set'
           when after is null then 'deleted'
           else 'changed'
       end,
       key, '', before, after, arrival, null::bigint
from (
    select profile, key,
           nullif(arg_max(held, arrival) filter (arrival < $start), chr(31)) as before,
           nullif(arg_max(held, arrival) filter (arrival >= $start), chr(31)) as after,
           max(arrival) as arrival
    from cell
    group by profile, key
    having max(arrival) >= $start
)
where before is distinct from after
"""

REVERSED = """
select made.profile, reverse_change.reversed as change, made.what, made.value,
       made.after as before, made.before as after, made.arrival, made.brought
from made
join reverse_change on reverse_change.change = made.change
"""
OF_KINDS = """
select *
from made
where change in (select unnest($changes::varchar[]))
"""
# Where the rows stand that made changes, or had brought lost identities: as JSON, and as a person
# reads it. A row makes some ten changes, and is looked for once: to look for each change took 40 %
# of the comparison.
PLACES = """
select arrived.arrival, row_file.import::varchar as import,
       row_file.path || ':' || row_run.first_line + arrived.arrival - row_run.first_arrival
           as place,
       '"import":' || row_file.import || ',"file":' || to_json(row_file.path)::varchar
       || case row_file.unit when 'line' then ',"line":' else ',"row":' end
       || row_run.first_line + arrived.arrival - row_run.first_arrival
           as place_json
from (
    select arrival from diff_change
    union
    select brought from diff_change
) as arrived
asof left join file_in_force as row_file on arrived.arrival >= row_file.first_arrival
asof left join store.line_run as row_run on arrived.arrival >= row_run.first_arrival
"""
PLACED = """
select diff_change.*, person.mpid, {columns},
       row_place.import as row_import, row_place.place as row_place,
       row_place.place_json as row_json,
       brought_place.import as brought_import, brought_place.place as brought_place,
       brought_place.place_json as brought_json
from diff_change
join diff_person as person on person.profile = diff_change.profile
left join diff_place as row_place on row_place.arrival = diff_change.arrival
left join diff_place as brought_place on brought_place.arrival = diff_change.brought
"""
# The change as JSON text.
LINE = """
'{"mpid":"' || mpid || '","environment":"' || environment_name
|| '","change":"' || change || '"'
|| case
       when change in ('set', 'changed', 'deleted')
       then ',"attribute":' || to_json(what)::varchar
       when change like 'identity-%'
       then ',"type":' || to_json(what)::varchar || ',"value":' || to_json(value)::varchar
       when change like '%aliased' then ',"from":' || to_json(value)::varchar
       else ''
   end
|| case when before is not null then ',"before":' || before_json else '' end
|| case when after is not null then ',"after":' || after_json else '' end
|| coalesce(',' || row_json, '')
|| coalesce(',"brought_by":{' || brought_json || '}', '')
|| '}'
"""
# Its parts as a person reads them.
PARTS = """
mpid::varchar, change, what,
case when value <> '' then value else coalesce(before, '') end,
coalesce(after, ''),
coalesce(row_import, ''),
coalesce(row_place, ''),
coalesce('[' || brought_import || '] ' || brought_place, '')
"""
IN_ORDER = """
select {columns}
from placed
order by profile, list_position($in_order::varchar[], change), what, value, arrival
"""


@dataclass(frozen=True, slots=True)
class Span:
    """The arrivals between two states."""

    first: int
    """The arrival that begins it."""
    end: int
    """The arrival after its last."""
    back: bool = False
    """Whether the comparison goes from the later state to the earlier: each change is reversed."""


def span_of(store: OpenStore, older: int | None = None, newer: int | None = None) -> Span:
    """Return the span of one import, by default of the newest in force.

    With `newer`, it leads from the state after the import `older` to the state after `newer`, which
    may also be the earlier one; 0 is the empty store. Raises UsageError for an import that there
    never was, InputRefused for one that is not in force.
    """
    history = history_of(store)
    numbers = [past.number for past in history]
    spans = {
        past.number: (past.first_arrival, past.first_arrival + arrivals)
        for past, (arrivals,) in zip(history, store.scratch.rows(ARRIVALS), strict=True)
        if past.undone_ms is None
    }
    if older is None:
        if not spans:
            raise InputRefused("no import is in force", "profilectl imports list shows the history")
        older = max(spans)
    for number in (older, newer):
        if number is None or (number == 0 and newer is not None):
            continue
        if number not in numbers:
            raise no_import(number, numbers)
        if number not in spans:
            raise InputRefused(
                f"there is no import {number} in force",
                "profilectl imports list shows what is in force",
            )
    if newer is None:
        return Span(*spans[older])
    begun, reached = (spans[number][1] if number else 0 for number in (older, newer))
    return Span(min(begun, reached), max(begun, reached), back=begun > reached)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which changes are filters."""

    people: Sequence[int] | None = None
    """The profiles that are compared; None: all."""
    changes: Sequence[str] = ()
    """The kinds of changes; empty: all."""
    attributes: Sequence[str] = ()
    """The attributes whose changes are wanted; empty: all, and identities too."""


EVERYTHING = Wanted()


def differences(
    profiles: Profiles, span: Span, filters: Wanted = EVERYTHING
) -> Iterator[tuple[str, ...]]:
    """Yield each change, profile by profile: its JSON line, and the parts a person reads."""
    connection = profiles.store.scratch.connection
    select = _in_order(f"{LINE}, {PARTS}")
    for _ in _stretches(profiles, span, filters):
        result = connection.execute(select, {"in_order": list(CHANGES)})
        while block := result.fetchmany(BLOCK):
            yield from block


def json_lines(
    profiles: Profiles, span: Span, filters: Wanted = EVERYTHING
) -> Iterator[memoryview]:
    """Yield the JSON lines of all changes, profile by profile: many at once, each with its end.

    27 million lines take 50 CPU seconds, and 170 as tuples of `differences`.
    """
    connection = profiles.store.scratch.connection
    select = _in_order(f"{LINE} || chr(10)")
    for _ in _stretches(profiles, span, filters):
        yield from text_blocks(connection, select, {"in_order": list(CHANGES)})


def _in_order(columns: str) -> str:
    """Return the SELECT of columns of the changes of a stretch, in their order."""
    return reading(IN_ORDER.format(columns=columns), placed=_placed())


def _stretches(profiles: Profiles, span: Span, filters: Wanted) -> Iterator[None]:
    """Make `diff_change` and `diff_place` for some of the profiles after the others.

    A stretch without changes is left out.
    """
    scratch = profiles.store.scratch
    bound: dict[str, object] = {
        "start": span.first,
        "end": span.end,
        "only": list(filters.people or ()),
        "changes": list(filters.changes),
        "attributes": list(filters.attributes),
    }
    reversals = [("change", "VARCHAR"), ("reversed", "VARCHAR")]
    scratch.load("reverse_change", reversals, list(REVERSE.items()))
    progress.step("finding")
    _load_people(profiles, bound, among=filters.people is not None)
    select = _changes(profiles, filters.attributes)
    if span.back:
        select = reading(REVERSED, made=select)
    if filters.changes:
        select = reading(OF_KINDS, made=select)
    places = reading(PLACES, file_in_force=FILES_WITH_ROWS)
    stretches = scratch.rows(STRETCHES, {"people": PEOPLE_AT_ONCE})
    progress.step("comparing")
    for place, (low, high) in enumerate(stretches):
        progress.part(place, len(stretches))
        stretch = {"low": low, "high": high}
        scratch.make("diff_profile", PROFILES_OF_STRETCH, stretch)
        scratch.make("diff_change", select, _used(select, {**bound, **stretch}))
        if scratch.count("diff_change"):
            scratch.make("diff_place", places)
            yield


def _used(select: str, bound: dict[str, object]) -> dict[str, object]:
    """Return those of some values that a statement binds, since DuckDB refuses any others."""
    # a $ within a text binds nothing
    bare = QUOTED.sub("", select)
    return {name: value for name, value in bound.items() if f"${name}" in bare}


def _load_people(profiles: Profiles, bound: dict[str, object], *, among: bool) -> None:
    """Make `diff_person`: the profiles that something in the span has touched.

    among: only those of the bound value `only`.
    """
    tables = [f"row_{segment.number}" for segment in profiles.segments]
    touched = over_each(ROWS_TOUCHED, tables, nothing=OTHERS_TOUCHED)
    select = reading(
        PEOPLE,
        named=known_mpids(profiles.segments),
        touched_profile=reading(TOUCHED_AMONG if among else TOUCHED, touched=touched),
    )
    profiles.store.scratch.make("diff_person", select, _used(select, bound))


def _changes(profiles: Profiles, attributes: Sequence[str]) -> str:
    """Return the SELECT of the changes of `diff_profile`."""
    parts = [NO_CHANGES]
    cells = _cells(profiles, attributes)
    if cells:
        parts.append(reading(ATTRIBUTES_CHANGED, cell=union(cells)))
    if attributes:
        return union(parts)
    parts.append(CREATED)
    if profiles.aliases:
        parts.append(reading(ALIASED, named=known_mpids(profiles.segments)))
    for kind in profiles.identities:
        spelled = _stated(profiles, kind)
        if profiles.removals:
            earlier, later = (
                reading(HELD_BEFORE, stated=spelled),
                reading(HELD_AT_END, stated=spelled),
            )
        else:
            earlier, later = (
                reading(STATED_BEFORE, stated=spelled),
                reading(STATED_AT_END, stated=spelled),
            )
        name = quote_text(kind)
        parts.append(reading(GAINED.format(columns=name), earlier=earlier, later=later))
        if profiles.removals:
            parts.append(reading(LOST.format(columns=name), earlier=earlier, later=later))
    return union(parts)


def _stated(profiles: Profiles, kind: str) -> str:
    """Return the SELECT of the identities of a type that rows of `diff_profile` state."""
    spelled = key(BY_NAME[kind], f"i_{kind}")
    columns = ["profile", "arrival", f"i_{kind} as value", f"{spelled} as key"]
    if profiles.removals:
        secret = profiles.store.meta("secret")
        digest = identity_hash(secret, environment_name("environment"), kind, key=spelled)
        columns += [f"{CODE[kind]} as type", f"{digest} as hash"]
    arrived = known_rows(profiles.segments, [kind], ())
    return reading(IDENTITIES.format(columns=", ".join(columns)), arrived=arrived)


def _cells(profiles: Profiles, attributes: Sequence[str]) -> list[str]:
    """Return the SELECTs of the cells of `diff_profile`: profile, key, held, arrival."""
    feeds = f" where {profiles.feeds}" if profiles.feeds else ""
    parts = []
    for segment in profiles.segments:
        stored = rows_of(f"row_{segment.number}") + feeds
        for place, name in enumerate(segment.keys):
            if not attributes or name in attributes:
                columns = f"profile, {quote_text(name)} as key, a{place} as held, arrival"
                parts.append(reading(CELLS.format(columns=columns), stored=stored))
    if any("loose" in segment.tables for segment in profiles.segments):
        stored = f"select * from ({known_loose(profiles.segments)}){feeds}"
        columns = "profile, key, value as held, arrival"
        cells = reading(CELLS.format(columns=columns), stored=stored)
        parts.append(reading(CELLS_AMONG, cell=cells) if attributes else cells)
    return parts


def _placed() -> str:
    """Return the SELECT of the changes of a stretch with the places of their rows."""
    columns = [
        f"{environment_name('person.environment')} as environment_name",
        f"{held_as_json('diff_change.before')} as before_json",
        f"{held_as_json('diff_change.after')} as after_json",
    ]
    return PLACED.format(columns=", ".join(columns))
