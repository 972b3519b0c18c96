"""Which earlier imports an import rests on: without one of them it would have come out differently.

It is found out when the import is decided, because only then all claims of its rows are at hand;
undo reads it from the history. An import rests on an earlier one when that one

    founded a profile that a row found, or holds an identity that a row claims;
    gave an identity to such a profile, took one from it, or took away an identity that is claimed;
    spoke of an attribute, on the same profile, that a row speaks of as well: it may have owned it;
    touched a profile between which and others a row had to choose: the one touched last wins;
    sent a source_request_id that kept a row out.

It names rather an import too many than one too few: undo then takes back more than it had to, but
what is left is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.importing.known import Trace, left_trace
from profilectl.importing.relations import Relations
from profilectl.importing.stage.staged import Staged
from profilectl.importing.tally import any_column
from profilectl.store.segments import Segment

# The profiles that a row found, or could have found.
EXAMINED_PROFILE = """
select distinct profile
from (
  select profile from identity_match
  union all
  select profile from known_profile
  union all
  select profile from link_match
)
"""
# The profiles between which an entangled row may have had to choose.
RIVAL_PROFILE = """
select distinct profile
from link_match
where hash in (
  select hash from link where seq in (select seq from entangled_row)
)
"""
SEGMENTS_THAT_SPEAK = "select distinct segment from earlier_row"
SPEAKS_OF_THE_SAME = """
select 1
from (
  select earlier_row.segment{columns}
  from earlier_row
  join contested_row on contested_row.profile = earlier_row.profile
)
where segment = $segment and same
limit 1
"""
SAME_ATTRIBUTE = "earlier_row.b{n} is not null and contested_row.o{n} <> 0"
TOOK_AWAY = """
select import from lost_before where profile in (select profile from examined_profile)
union
select import from lost_before where hash in (select hash from claim)
"""
# All staged rows, because a row that repeats a request was dropped.
SENT_REQUEST = """
select distinct import
from seen_request
where feed = $feed and request in (select request from staged where request is not null)
"""


def rests_on(
    relations: Relations, staged: Staged, segments: Sequence[Segment], *, feed: int
) -> list[int]:
    """Return the numbers of the earlier imports that an import rests on.

    Segments of several imports are passed over: nobody can undo those any more. The relations of
    known.py, sift, resolve and merge are made.
    """
    undoable = [segment for segment in segments if segment.first_import == segment.last_import]
    needs: set[int] = set()
    if undoable:
        relations.make("examined_profile", EXAMINED_PROFILE)
        relations.make("rival_profile", RIVAL_PROFILE)
        speaking = set()
        if relations.has("earlier_row"):
            speaking = {number for (number,) in relations.rows(SEGMENTS_THAT_SPEAK)}
        needs = {
            segment.first_import
            for segment in undoable
            if _changed_identities(relations, segment)
            or (segment.number in speaking and _speaks(relations, staged, segment))
            or _touched(relations, segment)
        }
        needs |= {number for (number,) in relations.rows(TOOK_AWAY)}
    if "request" in staged.plain:
        needs |= {number for (number,) in relations.rows(SENT_REQUEST, {"feed": feed})}
    return sorted(needs)


def _changed_identities(relations: Relations, segment: Segment) -> bool:
    """Return whether an import founded an examined profile, or gave it an identity."""
    return any(
        left_trace(relations, segment, trace, profiles="examined_profile")
        for trace in (Trace.FOUNDED, Trace.GAVE_IDENTITY)
    )


def _touched(relations: Relations, segment: Segment) -> bool:
    """Return whether an import touched a profile that a row had to choose among.

    A row that speaks of an attribute without a column rests on all that touched its profile.
    """
    if relations.has("loose_cell") and left_trace(
        relations, segment, Trace.TOUCHED, profiles="known_profile"
    ):
        return True
    return left_trace(relations, segment, Trace.TOUCHED, profiles="rival_profile")


def _speaks(relations: Relations, staged: Staged, segment: Segment) -> bool:
    """Return whether an import spoke of an attribute of the same profile that a row speaks of."""
    same = any_column(SAME_ATTRIBUTE, len(staged.keys))
    select = SPEAKS_OF_THE_SAME.format(columns=f", {same} as same")
    return bool(relations.rows(select, {"segment": segment.number}))
