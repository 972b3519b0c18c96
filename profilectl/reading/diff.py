"""The differences between two states of a store, in profiles, identities and attributes.

Every row keeps its arrival. So a past state is the rows that had arrived by then, also where
segments were laid together since.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from profilectl.codes import InputRefused
from profilectl.profiles.read_model import Profiles
from profilectl.rules.identity import BY_NAME, CODE
from profilectl.rules.sql.held_values import held_as_json
from profilectl.rules.sql.identities import environment_name, identity_hash, key
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.history import history_of, no_import
from profilectl.store.segments import IMPORT_FILES, known_loose, known_mpids, known_rows
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
STRETCH = 200_000
"""How wide the range of profile numbers is that is compared at once, for the memory."""
BLOCK = 20_000
"""How many changes are fetched at once."""
QUOTED = re.compile("'[^']*'")
"""A text within a statement."""

ARRIVALS = "select arrivals from store.import order by number"
ROWS_TOUCHED = """
select profile
from stored
where profile between $low and $high and arrival >= $start and arrival < $end
"""
OTHERS_TOUCHED = """
select profile
from (
    select profile, arrival from store.removed
    union all
    select destination, arrival from store.alias
)
where profile between $low and $high and arrival >= $start and arrival < $end
"""
TOUCHED = "select distinct profile from touched"
TOUCHED_AMONG = """
select distinct profile
from touched
where profile in (select unnest($only::bigint[]))
"""

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
where profile in (select profile from diff_profile)
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
# The places of the row that made a change, and of the row that had brought a lost identity.
PLACED = """
select made.*, named.mpid, {columns},
       row_file.import as row_import, row_file.path as row_path, row_file.unit as row_unit,
       row_run.first_line + made.arrival - row_run.first_arrival as row_place,
       brought_file.import as brought_import, brought_file.path as brought_path,
       brought_file.unit as brought_unit,
       brought_run.first_line + made.brought - brought_run.first_arrival as brought_place
from made
join named on named.profile = made.profile
asof left join file_in_force as row_file on made.arrival >= row_file.first_arrival
asof left join store.line_run as row_run on made.arrival >= row_run.first_arrival
asof left join file_in_force as brought_file on made.brought >= brought_file.first_arrival
asof left join store.line_run as brought_run on made.brought >= brought_run.first_arrival
"""
# The change as JSON text, and its parts as a person reads them.
LINES = """
select '{"mpid":"' || mpid || '","environment":"' || environment_name
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
       || coalesce(
              ',"import":' || row_import || ',"file":' || to_json(row_path)::varchar
              || case row_unit when 'line' then ',"line":' else ',"row":' end || row_place,
              ''
          )
       || coalesce(
              ',"brought_by":{"import":' || brought_import || ',"file":'
              || to_json(brought_path)::varchar
              || case brought_unit when 'line' then ',"line":' else ',"row":' end || brought_place
              || '}',
              ''
          )
       || '}',
       mpid::varchar, change, what,
       case when value <> '' then value else coalesce(before, '') end,
       coalesce(after, ''),
       coalesce(row_import::varchar, ''),
       coalesce(row_path || ':' || row_place, ''),
       coalesce('[' || brought_import || '] ' || brought_path || ':' || brought_place, '')
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


def differences(
    profiles: Profiles,
    span: Span,
    *,
    only: Sequence[int] | None = None,
    changes: Sequence[str] = (),
    attributes: Sequence[str] = (),
) -> Iterator[tuple[str, ...]]:
    """Yield each change, profile by profile: as a JSON line, and its parts as a person reads them.

    `only` limits it to these profiles; None: all. `changes` limits it to changes of these kinds,
    `attributes` to changes of these attributes; empty: all.
    """
    scratch = profiles.store.scratch
    bound: dict[str, object] = {
        "start": span.first,
        "end": span.end,
        "changes": list(changes),
        "attributes": list(attributes),
        "in_order": list(CHANGES),
    }
    reversals = [("change", "VARCHAR"), ("reversed", "VARCHAR")]
    scratch.load("reverse_change", reversals, list(REVERSE.items()))
    for low in range(0, span.end, STRETCH):
        _load_touched(profiles, {**bound, "low": low, "high": low + STRETCH - 1}, only)
        if not scratch.count("diff_profile"):
            continue
        select = _changes(profiles, attributes)
        if span.back:
            select = reading(REVERSED, made=select)
        if changes:
            select = reading(OF_KINDS, made=select)
        select = reading(LINES, placed=_placed(profiles, select))
        result = scratch.connection.execute(select, _used(select, bound))
        while block := result.fetchmany(BLOCK):
            yield from block


def _used(select: str, bound: dict[str, object]) -> dict[str, object]:
    """Return those of some values that a statement binds, since DuckDB refuses any others."""
    # a $ within a text binds nothing
    bare = QUOTED.sub("", select)
    return {name: value for name, value in bound.items() if f"${name}" in bare}


def _load_touched(profiles: Profiles, bound: dict[str, object], only: Sequence[int] | None) -> None:
    """Make `diff_profile`: the profiles of a stretch that something in the span has touched."""
    tables = [f"row_{segment.number}" for segment in profiles.segments]
    touched = over_each(ROWS_TOUCHED, tables, nothing=OTHERS_TOUCHED)
    select = reading(TOUCHED if only is None else TOUCHED_AMONG, touched=touched)
    bound = {**bound, "only": list(only or ())}
    profiles.store.scratch.make("diff_profile", select, _used(select, bound))


def _changes(profiles: Profiles, attributes: Sequence[str]) -> str:
    """Return the SELECT of the changes of `diff_profile`."""
    parts = [NO_CHANGES]
    cells = _cells(profiles, attributes)
    if cells:
        parts.append(reading(ATTRIBUTES_CHANGED, cell=union(cells)))
    if attributes:
        return union(parts)
    parts.append(CREATED)
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


def _placed(profiles: Profiles, changes: str) -> str:
    """Return the SELECT of changes with the places of their rows."""
    columns = [
        f"{environment_name('named.environment')} as environment_name",
        f"{held_as_json('made.before')} as before_json",
        f"{held_as_json('made.after')} as after_json",
    ]
    return reading(
        PLACED.format(columns=", ".join(columns)),
        made=changes,
        named=known_mpids(profiles.segments),
        file_in_force=IMPORT_FILES,
    )
