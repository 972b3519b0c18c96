"""The profiles with a single row: nothing is folded for them, the row is what they are.

Nearly every profile is one of these, and to read its row as it is takes half as long as to fold it.
All others are folded. An export finds out once which profiles these are.
"""

from __future__ import annotations

from collections.abc import Callable

from profilectl.profiles.read_model import Profiles
from profilectl.store.segments import both, of_each
from profilectl.store.statements import reading, union

NOBODY = "select null::bigint as profile where false"
# A profile is named by the arrival of the row that founded it, so another arrival is that of a
# further row. To group five million rows by profile instead takes 0.6 s of processor time.
WITH_SEVERAL = "select distinct profile from further"
IS_FURTHER = "arrival <> profile"
# They do not have all that their row has.
SEVERAL_ROWS = """
select profile from with_several
union all
select profile from store.removed
"""
IS_OTHER = "profile in (select profile from export_other)"


def tell_several(profiles: Profiles) -> None:
    """Make `with_several`, the profiles with several rows, and `export_other`: these, and those
    that lost an identity.
    """
    scratch, segments = profiles.store.scratch, profiles.segments
    further = [
        *of_each(segments, "row", "profile", clause=both("", IS_FURTHER)),
        *of_each(segments, "loose", "profile"),
    ]
    scratch.make("with_several", reading(WITH_SEVERAL, further=union([NOBODY, *further])))
    profiles.several = "with_several"
    scratch.make("export_other", SEVERAL_ROWS, keep=False)


def are_as_stored(profiles: Profiles) -> bool:
    """Return whether the cells of a single row are those of its profile.

    They are not where some rows are of another workspace, or calculated attributes mask others.
    """
    return not (profiles.feeds or profiles.calculated)


def apart(condition: str, single: Callable[[str], str], others: Callable[[str], str]) -> str:
    """Return the union of two SELECTs for a condition on profiles.

    `single` makes that of the profiles with a single row, `others` that of all others.
    """
    return union([single(both(condition, f"not ({IS_OTHER})")), others(both(condition, IS_OTHER))])
