"""Which earlier imports an import rests on: without one of them it would have come out differently.

Said when the import is decided, because only then all claims of its rows are at hand; undo reads it
(history.py). An import rests on an earlier one when that one

    founded a profile that a row found, or holds an identity that a row claims;
    gave an identity to such a profile, or took one from it, or took away an identity that is claimed;
    spoke of an attribute, on the same profile, that a row speaks of as well: it may have owned it;
    touched a profile between which and others a row had to choose: the one touched last wins;
    sent a source_request_id that kept a row out.

Rather an import too many than one too few: undo then asks for more than it had to, but is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.importing.stage.run import Staged
from profilectl.store.scratch import Scratch
from profilectl.store.segments import Segment


def rests_on(
    scratch: Scratch, staged: Staged, segments: Sequence[Segment], feed: int, *, loose: bool
) -> list[int]:
    """Return the numbers of those imports, among those that still have a segment of their own.

    The relations of sift, resolve and merge are made, and the store is attached.
    """
    open_to = {one.first_import: one for one in segments if one.first_import == one.last_import}
    found: set[int] = set()
    if open_to:
        scratch.make(
            "looked_at",
            "select distinct profile from (select profile from hit union all select profile from met"
            " union all select profile from link_hit)",
        )
        named = (
            {number for (number,) in scratch.rows("select distinct segment from before_row")}
            if scratch.has("before_row")
            else set()
        )
        scratch.make(
            "chosen_among",
            "select distinct profile from link_hit where hash in (select hash from link where seq in (select seq from entangled))",
        )
        for number, segment in open_to.items():
            if (
                _holds(scratch, segment)
                or (segment.number in named and _speaks(scratch, staged, segment))
                or (loose and _touches(scratch, segment, "met"))
                or _touches(scratch, segment, "chosen_among")
            ):
                found.add(number)
    found |= {
        number
        for (number,) in scratch.rows(
            "select distinct import from store.removed where profile in (select profile from looked_at)"
            " or hash in (select hash from claim)"
            if open_to
            else "select 0 where false"
        )
    }
    if "request" in staged.plain:
        found |= {
            number
            for (number,) in scratch.rows(
                "select distinct import from store.request where feed = $feed and request in"
                " (select request from staged where request is not null)",
                {"feed": feed},
            )
        }
    scratch.drop("before_row")
    return sorted(found)


def _any(scratch: Scratch, select: str) -> bool:
    return bool(scratch.rows(f"{select} limit 1"))


def _holds(scratch: Scratch, segment: Segment) -> bool:
    """The import founded a profile that was looked at, or gave it an identity."""
    looked = "where profile in (select profile from looked_at)"
    return any(
        kind in segment.tables and _any(scratch, f"select 1 from {segment.table(kind)} {looked}")
        for kind in ("mpid", "index")
    )


def _speaks(scratch: Scratch, staged: Staged, segment: Segment) -> bool:
    """The import spoke of an attribute of which a row speaks, on the same profile."""
    same = " or ".join(
        f"one.b{n} is not null and row.c{n} is not null" for n in range(len(staged.keys))
    )
    return bool(same) and _any(
        scratch,
        f"select 1 from before_row as one join busy_row as row on row.profile = one.profile where one.segment = {segment.number} and ({same})",
    )


def _touches(scratch: Scratch, segment: Segment, profiles: str) -> bool:
    return _any(
        scratch,
        f"select 1 from {segment.table('row')} where profile in (select profile from {profiles})",
    )
