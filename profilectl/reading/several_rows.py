"""The profiles with several rows, told by arrivals.

A profile is named by the arrival of the row that founded it, and no two rows have one arrival. So a
row with another arrival than its profile's number is a further one. To group the five million rows
of a store by profile instead takes 0.4 s of processor time, and this a thirtieth.
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.profiles.read_model import Profiles
from profilectl.store.segments import Segment, both, of_each
from profilectl.store.statements import reading, union

NOBODY = "select null::bigint as profile where false"
IS_FURTHER = "arrival <> profile"
WITH_SEVERAL = "select distinct profile from further"
# How many rows each of them has. One whose founding row is gone may have a single row left.
ROWS_OF_SEVERAL = """
select profile, count(*) as rows
from arrived
where profile in (select profile from further)
group by profile
having count(*) > 1
"""


def tell_several(profiles: Profiles) -> None:
    """Make `with_several`, the profiles with several rows, once for a long reading.

    Those with attributes that have no column are among them: these lie in rows of their own.
    """
    further = [_further(profiles.segments), *of_each(profiles.segments, "loose", "profile")]
    profiles.store.scratch.make("with_several", reading(WITH_SEVERAL, further=union(further)))
    profiles.several = "with_several"


def rows_of_several(segments: Sequence[Segment]) -> str:
    """Return the SELECT of how many rows each profile with several rows has: profile, rows."""
    arrived = union([NOBODY, *of_each(segments, "row", "profile")])
    return reading(ROWS_OF_SEVERAL, arrived=arrived, further=_further(segments))


def _further(segments: Sequence[Segment]) -> str:
    """Return the SELECT of the profiles of further rows, once for each such row."""
    return union([NOBODY, *of_each(segments, "row", "profile", clause=both("", IS_FURTHER))])
