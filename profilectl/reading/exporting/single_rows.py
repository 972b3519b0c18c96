"""The profiles with a single row: nothing is folded for them, the row is what they are.

Nearly every profile is one of these, and to read its row as it is takes half as long as to fold it.
All others are folded. An export finds out once which profiles these are.
"""

from __future__ import annotations

from collections.abc import Callable

from profilectl.profiles.read_model import Profiles
from profilectl.reading.several_rows import tell_several
from profilectl.store.segments import both
from profilectl.store.statements import union

# They do not have all that their row has.
SEVERAL_ROWS = """
select profile from with_several
union all
select profile from store.removed
"""
IS_OTHER = "profile in (select profile from export_other)"


def tell_others(profiles: Profiles) -> None:
    """Make `with_several` (several_rows), and `export_other`: these, and those that lost an
    identity.
    """
    tell_several(profiles)
    profiles.store.scratch.make("export_other", SEVERAL_ROWS, keep=False)


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
