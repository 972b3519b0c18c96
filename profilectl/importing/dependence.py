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

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from profilectl.importing.known import Trace, left_trace, took_from
from profilectl.importing.relations import Relations, fill
from profilectl.importing.stage.staged import Staged
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
# The corrections that a condition holds of a row of, in a segment of corrections.
CORRECTIONS_OF_ROWS = """
select distinct import.number
from {rows} as stored_row
join store.import
  on stored_row.arrival >= import.first_arrival
  and stored_row.arrival < import.first_arrival + import.arrivals
where import.undone_ms is null and {condition}
"""
SPEAKING_OF_THE_SAME = """
select arrival
from (
  select earlier_row.segment, earlier_row.arrival{columns}
  from earlier_row
  join contested_row on contested_row.profile = earlier_row.profile
)
where segment = {segment} and same
"""
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

    Segments of several imports are passed over, because nobody can undo those any more, but for
    those of corrections. The relations of known.py, sift, resolve and merge are made.
    """
    undoable = [segment for segment in segments if segment.first_import == segment.last_import]
    by_hand = [segment for segment in segments if segment.by_hand]
    needs: set[int] = set()
    if undoable or by_hand:
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
        for segment in by_hand:
            needs |= _corrections(relations, staged, segment, speaks=segment.number in speaking)
        needs |= {number for (number,) in relations.rows(TOOK_AWAY)}
    if "request" in staged.plain:
        needs |= {number for (number,) in relations.rows(SENT_REQUEST, {"feed": feed})}
    return sorted(needs)


def _corrections(
    relations: Relations, staged: Staged, segment: Segment, *, speaks: bool
) -> set[int]:
    """Return the corrections of a segment that an import rests on.

    Each is asked what a segment of its own would be asked: a correction founds nobody. speaks:
    whether a row of the segment speaks of any attribute that the import has.
    """
    touching = ["rival_profile", *(["known_profile"] if relations.has("loose_cell") else [])]
    conditions = [
        f"stored_row.profile in (select profile from {profiles})" for profiles in touching
    ]
    if segment.identities:
        given = " or ".join(f"stored_row.i_{kind} is not null" for kind in segment.identities)
        examined = "stored_row.profile in (select profile from examined_profile)"
        conditions.append(f"({given}) and {examined}")
    if speaks:
        from profilectl.importing.tally import any_column

        same = any_column(SAME_ATTRIBUTE, len(staged.keys))
        arrivals = fill(SPEAKING_OF_THE_SAME, columns=f", {same} as same", segment=segment.number)
        conditions.append(f"stored_row.arrival in ({arrivals})")
    needs: set[int] = set()
    for condition in conditions:
        select = fill(CORRECTIONS_OF_ROWS, rows=segment.table("row"), condition=f"({condition})")
        needs |= {number for (number,) in relations.rows(select)}
    return needs


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
    from profilectl.importing.tally import any_column

    same = any_column(SAME_ATTRIBUTE, len(staged.keys))
    select = SPEAKS_OF_THE_SAME.format(columns=f", {same} as same")
    return bool(relations.rows(select, {"segment": segment.number}))


class ProfileRow(NamedTuple):
    """A row of a profile in the store."""

    arrival: int
    """Its arrival."""
    mpid: int | None
    """The MPID that it founded the profile with; None: it was there."""
    environment: int
    """The code of its environment."""
    feed: int
    """The number of its feed."""
    at_ms: int
    """Its time."""
    segment: int
    """The number of the segment that it is in."""
    has_identity: bool
    """Whether the profile gained an identity by it."""
    cells: Mapping[str, str]
    """The held values of some attributes, by their names."""


@dataclass(frozen=True, slots=True)
class Speaking:
    """What a row speaks of that has no identities."""

    columns: Collection[str]
    """The attributes with a column."""
    feeds: Collection[int]
    """The feeds whose attributes are the same as those of its feed, if they have one name."""
    is_loose: bool
    """Whether it speaks of attributes without a column."""


def rests_on_rows(
    relations: Relations,
    profile: int,
    rows: Sequence[ProfileRow],
    *,
    segments: Sequence[Segment],
    speaking: Speaking,
    removals: bool,
) -> list[int]:
    """Return what `rests_on` returns for an import of one row that names its profile by MPID.

    rows: of the profile; removals: whether an identity was ever taken from anybody.
    """
    undoable = [segment for segment in segments if segment.first_import == segment.last_import]
    by_segment: dict[int, list[ProfileRow]] = {}
    for row in rows:
        by_segment.setdefault(row.segment, []).append(row)
    needs = {
        segment.first_import
        for segment in undoable
        if any(
            row.arrival == profile or _says_the_same(row, speaking)
            for row in by_segment.get(segment.number, ())
        )
        or _gave_identity(relations, profile, by_segment.get(segment.number, ()), segment=segment)
    }
    by_hand = {segment.number for segment in segments if segment.by_hand}
    corrected = [
        row.arrival
        for row in rows
        if row.segment in by_hand and (row.has_identity or _says_the_same(row, speaking))
    ]
    if corrected:
        arrived = f"(select unnest({corrected}::bigint[]) as arrival)"
        select = fill(CORRECTIONS_OF_ROWS, rows=arrived, condition="true")
        needs |= {number for (number,) in relations.rows(select)}
    if (undoable or by_hand) and removals:
        needs |= {*took_from(relations, profile)}
    return sorted(needs)


def _says_the_same(row: ProfileRow, speaking: Speaking) -> bool:
    """Return whether a row speaks of what another speaks of, or may."""
    return speaking.is_loose or (
        row.feed in speaking.feeds and any(key in row.cells for key in speaking.columns)
    )


def _gave_identity(
    relations: Relations, profile: int, rows: Sequence[ProfileRow], *, segment: Segment
) -> bool:
    """Return whether an import gave an identity to a profile. rows: of both.

    What a row gave may have gone again within the import: only the index says what was left.
    """
    return any(row.has_identity for row in rows) and left_trace(
        relations, segment, Trace.GAVE_IDENTITY, profiles=f"(select {profile} as profile)"
    )
