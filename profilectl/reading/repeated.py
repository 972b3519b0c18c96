"""What is in a store several times: profiles of several rows, and identities held again.

Almost all profiles have one row, and almost all identities one holder. So a question about all of
them is one about these few.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from profilectl.reading.several_rows import rows_of_several
from profilectl.store.scratch import Scratch
from profilectl.store.segments import Segment, known_identities
from profilectl.store.statements import over_each, reading, rows_of, select, union

ROWS = "select profile from stored"
NO_ROWS = "select null::bigint as profile where false"
ROWS_OF_PROFILES = """
select profile, count(*) as rows
from arrived
group by profile
"""
# The identities that may be in an index several times, found by its order: equal hashes lie beside
# each other, or in two segments. A group for each of 14 million hashes took eleven CPU seconds and
# 2.2 GB, and this takes one.
BESIDE_ITSELF = """
select hash
from (select hash, lag(hash) over () as hash_before from stored)
where hash = hash_before
"""
IN_AN_EARLIER_SEGMENT = """
select hash
from stored
where hash in (select hash from earlier)
"""
HELD_AGAIN = """
select hash, profile, type
from holding
where hash in (select hash from again)
"""
HASHES = "select hash from stored"
NO_HASHES = "select hash from holding where false"

VALUES_OF_SEVERAL = """
select type, count(*)
from (
    select type, hash
    from held_again
    where type in (select unnest($types::utinyint[]))
    group by type, hash
    having count(distinct profile) > 1
)
group by type
order by type
"""
PROFILES_WITH_SEVERAL = """
select type, count(*)
from (
    select type, profile
    from holding
    where type in (select unnest($types::utinyint[]))
      and profile in (select profile from several_rows)
    group by type, profile
    having count(distinct hash) > 1
)
group by type
order by type
"""


def load_repeated(scratch: Scratch, segments: Sequence[Segment], *, removals: bool) -> None:
    """Make `holding`, every identity in force, and what is there several times.

    `several_rows` (profile, rows) are the profiles of several rows: only these may have several
    identities of a type. `held_again` (hash, profile, type) are the identities in force whose hash
    is in the indexes several times. Both rest on indexes that are right, and lie in order.
    """
    scratch.make("several_rows", rows_of_several(segments))
    scratch.make("holding", known_identities(segments, removals=removals), keep=False)
    again = [NO_HASHES]
    indexes = _tables_of(segments, "index")
    for place, table in enumerate(indexes):
        again.append(reading(BESIDE_ITSELF, stored=rows_of(table)))
        if place:
            earlier = over_each(HASHES, indexes[:place])
            again.append(reading(IN_AN_EARLIER_SEGMENT, stored=rows_of(table), earlier=earlier))
    # what a removal took away is among these hashes, and not in `holding`
    scratch.make("held_again", reading(HELD_AGAIN, again=union(again)))


def load_everything(scratch: Scratch, segments: Sequence[Segment], *, removals: bool) -> None:
    """Make the same relations of all that there is, for indexes that may be wrong."""
    scratch.make("holding", known_identities(segments, removals=removals), keep=False)
    scratch.make("several_rows", select("profile", "holding"), keep=False)
    scratch.make("held_again", select("hash, profile, type", "holding"), keep=False)


def rows_of_profiles(segments: Sequence[Segment]) -> str:
    """Return the SELECT of how many rows each profile has: profile, rows."""
    arrived = over_each(ROWS, _tables_of(segments, "row"), nothing=NO_ROWS)
    return reading(ROWS_OF_PROFILES, arrived=arrived)


def values_of_several(scratch: Scratch, types: Iterable[int]) -> list[tuple[int, int]]:
    """Return each of some identity types of which profiles share values, and how many values."""
    return scratch.rows(VALUES_OF_SEVERAL, {"types": list(types)})


def profiles_with_several(scratch: Scratch, types: Iterable[int]) -> list[tuple[int, int]]:
    """Return each of some identity types of which profiles have several, and how many profiles."""
    return scratch.rows(PROFILES_WITH_SEVERAL, {"types": list(types)})


def _tables_of(segments: Sequence[Segment], kind: str) -> list[str]:
    return [f"{kind}_{segment.number}" for segment in segments if kind in segment.tables]
