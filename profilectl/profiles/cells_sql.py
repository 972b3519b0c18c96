"""The cells of attributes: those in force, those that were deleted, and where each comes from."""

from __future__ import annotations

from profilectl.profiles.stored_rows import StoredRows
from profilectl.rules.sql.held_values import held_as_json
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.segments import FILES_WITH_ROWS, both
from profilectl.store.statements import among, is_in, listed, reading, select, texts, union_all

NO_CELL = """
select 0 as profile, '' as key, '' as held, 0 as arrival, 0 as feed, 0 as at_ms
where false
"""

# The cells in force. chr(31) is how a deleted value is held (values.DELETED): the newest cell
# deletes the attribute then, and none is in force.
NEWEST_OF_SEVERAL = """
select profile, key,
       unnest(arg_max({held: held, arrival: arrival, feed: feed, at_ms: at_ms}, arrival))
from cell
group by profile, key
having arg_max(held, arrival) <> chr(31)
"""
NEWEST_OF_ONE = """
select profile, key, held, arrival, feed, at_ms
from cell
where held <> chr(31)
"""

# The attributes that are gone because a row since an arrival deleted them.
DELETED_SINCE = """
with newest as (
    select profile, key, arg_max(held, arrival) as held, max(arrival) as arrival
    from cell
    group by profile, key
)
select profile, list(key order by key) as keys
from newest
where held = chr(31) and arrival >= (select arrival from since)
group by profile
"""

# The cells of attributes without a column: the time is the one of the row they came in.
LOOSE_CELLS = """
select loose.profile, loose.key, loose.value as held, loose.arrival, loose.feed, stored_row.at_ms
from loose
join stored_row on stored_row.profile = loose.profile and stored_row.arrival = loose.arrival
"""

# The newest cell of each attribute without a column, unless it deletes the attribute.
NEWEST_LOOSE = """
with newest as not materialized (
    select profile, key, arg_max(value, arrival) as held
    from loose
    group by profile, key
)
select * from newest where held <> chr(31)
"""

# Where each current value comes from, as a member of a JSON object: the file, and in it the line,
# or the row where a file has no lines.
PROVENANCE = """
select cell.profile, cell.key,
       to_json(cell.key)::varchar
       || ':{"source":' || to_json(import.source)::varchar
       || ',"feed":' || to_json(feed.name)::varchar
       || ',"import":' || import.number
       || ',"file":' || to_json(import_file.path)::varchar
       || case import_file.unit when 'line' then ',"line":' else ',"row":' end
       || (line_run.first_line + cell.arrival - line_run.first_arrival)
       || ',"set_ms":' || cell.at_ms || '}' as member
from cell
asof join import_file on cell.arrival >= import_file.first_arrival
asof join store.line_run as line_run on cell.arrival >= line_run.first_arrival
join store.import as import on import.number = import_file.import
join store.feed as feed on feed.number = cell.feed
"""
PROVENANCE_OF_CALCULATED = """
select profile, name, to_json(name)::varchar || ':{"source":"calculated"}'
from calculated_value
"""
MEMBERS = """
select profile, string_agg(member, ',' order by key) as members
from member
group by profile
"""


def newest(profiles: StoredRows, clause: str) -> str:
    """Return the SELECT of the cell in force of each (profile, key): held, arrival, feed, at_ms."""
    if not profiles.several:
        return reading(NEWEST_OF_SEVERAL, cell=_cells(profiles, clause))
    chosen = clause or "where true"
    # Most profiles have one row: then its cells are the newest, and nothing is grouped.
    several = among(profiles.several)
    of_one = reading(NEWEST_OF_ONE, cell=_cells(profiles, both(chosen, f"not ({several})")))
    of_several = reading(NEWEST_OF_SEVERAL, cell=_cells(profiles, both(chosen, several)))
    return union_all([f"({of_one})", f"({of_several})"])


def deleted(profiles: StoredRows, clause: str, since: int) -> str:
    """Return the SELECT of (profile, keys): the attributes that a row deleted since an arrival."""
    return reading(
        DELETED_SINCE, cell=_cells(profiles, clause), since=listed("arrival", [(since,)])
    )


def newest_loose(profiles: StoredRows, clause: str) -> str:
    """Return the SELECT of the attributes in force that have no column: profile, key, held."""
    with_column = texts([*profiles.keys, *profiles.calculated] or [""])
    chosen = both("", is_in("key not", with_column))
    if profiles.loose_keys:
        chosen = both(chosen, is_in("key", texts(profiles.loose_keys)))
    return reading(NEWEST_LOOSE, loose=select("*", f"({profiles.loose(clause)})", chosen))


def loose_members(profiles: StoredRows, clause: str) -> str:
    """Return the SELECT of (profile, members): the attributes without a column, as JSON."""
    member = f"to_json(key)::varchar || ':' || {held_as_json('held')} as member"
    columns = ["profile", "key", member]
    return reading(MEMBERS, member=select(columns, f"({newest_loose(profiles, clause)})"))


def provenance(profiles: StoredRows, clause: str) -> str:
    """Return the SELECT of (profile, members): where each current value comes from, as JSON."""
    stored = reading(PROVENANCE, cell=newest(profiles, clause), import_file=FILES_WITH_ROWS)
    if not profiles.calculated:
        return reading(MEMBERS, member=stored)
    names = texts(profiles.calculated)
    valued = select("*", f"({profiles.calculated_values})", clause)
    calculated = reading(
        PROVENANCE_OF_CALCULATED,
        calculated_value=select("*", f"({valued})", both("", is_in("name", names))),
    )
    not_calculated = select("*", f"({stored})", both("", is_in("key not", names)))
    return reading(MEMBERS, member=union_all([not_calculated, f"({calculated})"]))


def _cells(profiles: StoredRows, clause: str) -> str:
    """Return the SELECT of all cells of the rows, those in force and those that are not.

    The columns are profile, key, held, arrival, feed and at_ms.
    """
    parts = []
    for segment in profiles.segments:
        for n, key in enumerate(segment.keys):
            columns = f"profile, {quote_text(key)} as key, a{n} as held, arrival, feed, at_ms"
            chosen = both(both(clause, profiles.feeds), f"a{n} is not null")
            parts.append(select(columns, segment.table("row"), chosen))
        if "loose" in segment.tables:
            loose = reading(
                LOOSE_CELLS,
                loose=select("*", segment.table("loose"), both(clause, profiles.feeds)),
                stored_row=select("profile, arrival, at_ms", segment.table("row"), clause),
            )
            parts.append(f"({loose})")
    return union_all(parts, NO_CELL)
