"""The other fields of batches, with the time, the feed and the workspace of their rows."""

from __future__ import annotations

from profilectl.profiles.read_model import Profiles
from profilectl.store.segments import both
from profilectl.store.statements import reading, select, union_all

NO_FIELDS = """
select null::bigint as profile, null::bigint as arrival, null::bigint as at_ms,
       null::usmallint as feed, true as here, null::varchar as rest
where false
"""
FIELDS = """
select rest.profile, rest.arrival, stored_row.at_ms, stored_row.feed, stored_row.here, rest.rest
from rest
join stored_row on stored_row.profile = rest.profile and stored_row.arrival = rest.arrival
"""


def rest_of(profiles: Profiles, clause: str, having: str) -> str:
    """Return the SELECT of the other fields of batches: profile, arrival, at_ms, feed, here, rest.

    `here` is whether the workspace sees the row; `having` is the condition on the fields.
    """
    columns = f"profile, arrival, at_ms, feed, {profiles.feeds or 'true'} as here"
    parts = [
        reading(
            FIELDS,
            rest=select("*", segment.table("rest"), both(clause, having)),
            stored_row=select(columns, segment.table("row"), clause),
        )
        for segment in profiles.segments
        if "rest" in segment.tables
    ]
    return union_all((f"({part})" for part in parts), NO_FIELDS)
