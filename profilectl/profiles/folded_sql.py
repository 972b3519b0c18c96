"""One row a profile: its rows laid over one another, so that the newest cell of each key counts."""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.profiles.stored_rows import WITH_SEVERAL_ROWS, StoredRows
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.segments import both, known_rows
from profilectl.store.statements import (
    is_in,
    listed,
    reading,
    reading_once,
    select,
    texts,
    union_all,
)

# Most profiles of most stores have one row: there is nothing to fold, and lists in order are dear.
# The columns of both halves are the same. max skips nulls: only the founding row has the MPID.
OF_ONE_ROW = """
select profile, mpid, environment, at_ms as first_seen_ms, at_ms as last_seen_ms{columns}
from stored_row
where profile not in (select profile from with_several_rows)
"""
OF_SEVERAL_ROWS = """
select profile, max(mpid) as mpid, max(environment) as environment,
       min(at_ms) as first_seen_ms, max(at_ms) as last_seen_ms{columns}
from stored_row
where profile in (select profile from with_several_rows)
group by profile
"""

# An attribute without a column of its own, as a row that has nothing but it.
LOOSE_AS_ROWS = """
select profile, arrival, null::bigint as mpid, null::utinyint as environment,
       null::usmallint as feed, null::bigint as at_ms, segment{columns}
from loose
"""

# The first-seen dates that aliases carried over, which replace those of the rows before the alias.
# Rows that arrived after it count as ever (domain.md 4.5).
FIRST_SEEN_CARRIED = """
with arrived_later as not materialized (
    select stored_row.profile, min(stored_row.at_ms) as at_ms
    from stored_row
    join alias on alias.profile = stored_row.profile and stored_row.arrival > alias.arrival
    group by stored_row.profile
)
select folded.* replace (
    case when alias.profile is null then folded.first_seen_ms
         else least(alias.first_seen_ms, arrived_later.at_ms)
    end as first_seen_ms
)
from folded
left join alias on alias.profile = folded.profile
left join arrived_later on arrived_later.profile = folded.profile
"""

# Calculated attributes mask those of the same name.
CALCULATED_OVER_STATED = """
select folded.* replace ({columns})
from folded
left join calculated_value on calculated_value.profile = folded.profile
"""
CALCULATED_SIDE_BY_SIDE = "select profile{columns} from valued group by profile"


def folded(profiles: StoredRows, keys: Sequence[str], clause: str) -> str:
    """Return the SELECT of one row a profile, in which calculated attributes mask stated ones.

    The columns are profile, mpid, environment, first_seen_ms, last_seen_ms, i_<type> (a list in
    order of arrival) and v<n> (the held value of the n-th key).
    """
    masked = [(n, key) for n, key in enumerate(keys) if key in profiles.calculated]
    without = _stated(profiles, keys, clause)
    if not masked:
        return without
    pivot = "".join(f", max(held) filter (name = {quote_text(key)}) as c{n}" for n, key in masked)
    return reading(
        CALCULATED_OVER_STATED.format(
            columns=", ".join(f"calculated_value.c{n} as v{n}" for n, _ in masked)
        ),
        folded=without,
        valued=select("*", f"({profiles.calculated_values})", clause),
        calculated_value=CALCULATED_SIDE_BY_SIDE.format(columns=pivot),
    )


def _stated(profiles: StoredRows, keys: Sequence[str], clause: str) -> str:
    """Return the SELECT of one row a profile, without calculated attributes."""
    rows = profiles.rows(keys, clause)
    loose_keys = set(keys).intersection(profiles.loose_keys)
    if loose_keys:
        rows = union_all([select("*", f"({rows})"), _loose_as_rows(profiles, keys, clause)])
    rows = profiles.seen_only(rows, clause)
    halves = union_all([_of_one_row(profiles, keys), _of_several_rows(profiles, keys)])
    if profiles.several:
        several = select("profile", profiles.several)
        return _first_seen_carried(
            profiles, reading(halves, stored_row=rows, with_several_rows=several)
        )
    return _first_seen_carried(
        profiles, reading_once(halves, stored_row=rows, with_several_rows=WITH_SEVERAL_ROWS)
    )


def _of_one_row(profiles: StoredRows, keys: Sequence[str]) -> str:
    identities = [
        f", case when i_{kind} is not null then [i_{kind}] end as i_{kind}"
        for kind in profiles.identities
    ]
    # chr(31) is how a deleted value is held (values.DELETED)
    values = [f", nullif(b{n}, chr(31)) as v{n}" for n in range(len(keys))]
    return OF_ONE_ROW.format(columns="".join([*identities, *values]))


def _of_several_rows(profiles: StoredRows, keys: Sequence[str]) -> str:
    identities = [
        f", list(i_{kind} order by arrival) filter (i_{kind} is not null) as i_{kind}"
        for kind in profiles.identities
    ]
    values = [f", nullif(arg_max(b{n}, arrival), chr(31)) as v{n}" for n in range(len(keys))]
    return OF_SEVERAL_ROWS.format(columns="".join([*identities, *values]))


def _loose_as_rows(profiles: StoredRows, keys: Sequence[str], clause: str) -> str:
    """Return the SELECT of the cells of keys without a column, in the shape of the rows."""
    loose_keys = set(keys).intersection(profiles.loose_keys)
    nulls = [f", null::varchar as i_{kind}" for kind in profiles.identities]
    pivot = [
        f", case when key = {quote_text(key)} then value end as b{n}"
        if key in loose_keys
        else f", null::varchar as b{n}"
        for n, key in enumerate(keys)
    ]
    chosen = both("", is_in("key", texts(sorted(loose_keys))))
    loose = select("*", f"({profiles.loose(clause)})", chosen)
    return f"({reading(LOOSE_AS_ROWS.format(columns=''.join([*nulls, *pivot])), loose=loose)})"


def _first_seen_carried(profiles: StoredRows, folded_rows: str) -> str:
    """Return the SELECT of folded profiles with the first-seen dates that aliases carried over."""
    destinations = {alias.destination for alias in profiles.aliases}
    carried = [alias for profile in destinations if (alias := profiles.carried(profile))]
    if not carried:
        return folded_rows
    clause = profiles.where([alias.destination for alias in carried])
    return reading(
        FIRST_SEEN_CARRIED,
        folded=folded_rows,
        alias=listed(
            "profile, arrival, first_seen_ms",
            [(alias.destination, alias.arrival, alias.first_seen_ms) for alias in carried],
        ),
        stored_row=known_rows(profiles.segments, [], [], where=clause),
    )
