"""How outputs learn that members of their audiences are gone: removals that wait in the outbox.

A removal has the identities by which the output knows the person, until it has arrived, and
nothing else of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from profilectl.audiences.outgoing.removals import COLUMNS, removals
from profilectl.privacy.erased import Erased
from profilectl.privacy.stays import Stays
from profilectl.rules.leaving.audience_connection import mention_any
from profilectl.rules.sql.identities import ENVIRONMENT_NAME

MESSAGES = [("message", "VARCHAR")]
COLUMN_OUTPUT = 2
"""The place of the output in a row of the outbox of audiences; the audience follows."""

# The audiences in which outputs have them.
AUDIENCES_THERE = """
select distinct output, audience
from store.audience_told
where told and profile in (select profile from removed_member)
"""
# Messages that wait to remove people whom an undo took away.
REMOVALS_OF_OTHERS = """
select message, output, mpid, environment, identities
from store.audience_outbox
where profile is not null
  and identities is not null
  and profile not in (select profile from erased_profile)
"""
# Without its profile a removal still leaves, but nothing in the store ties it to a person.
REMOVALS_OF_NOBODY = """
select * replace (
    case
        when message in (select message from nobodys_removal) then null
        else profile
    end as profile
)
from stored
"""
# ... and the store no longer lists those members as known to the output.
NOT_TOLD_OF_NOBODY = """
select *
from stored
where (output, audience, profile) not in (
    select output, audience, profile
    from store.audience_outbox
    where message in (select message from nobodys_removal)
)
"""


def members_removed(erased: Erased) -> list[Stays]:
    """Let removals of the erased wait for the outputs that have them in an audience."""
    return [*remove_members(erased, "erased_profile", are_erased=True), *_nobodys(erased)]


def remove_members(erased: Erased, leaving: str, *, are_erased: bool) -> list[Stays]:
    """Let removals of profiles wait for the outputs that have them.

    leaving: the relation of the profiles; are_erased: whether the store loses them, so that the
    message itself must hold their identities. Outputs that are not connected any more are reported.
    """
    scratch, outcome = erased.scratch, erased.outcome
    scratch.make("removed_member", f"select profile from {leaving}")
    rows = removals(
        erased.store,
        "removed_member",
        erased=are_erased,
        stay=not are_erased,
        made=sum(outcome.removals.values()),
    )
    reached = {row[COLUMN_OUTPUT : COLUMN_OUTPUT + 2] for row in rows}
    unconnected = {row[0] for row in scratch.rows(AUDIENCES_THERE) if row not in reached}
    outcome.outputs = sorted({*outcome.outputs, *unconnected})
    if not rows:
        return []
    _count_removals(erased, [str(row[COLUMN_OUTPUT]) for row in rows])
    waiting = f"removal_of_{leaving}"
    scratch.load(waiting, COLUMNS, rows)
    return [Stays("audience_outbox", f"select * from stored union all select * from {waiting}")]


def _nobodys(erased: Erased) -> list[Stays]:
    """Take the profile from removals, made by an undo, that name the erased.

    Then no profile can be founded from them again, and no byte stays once they have left.
    """
    naming = [
        (message, output)
        for message, output, mpid, environment, identities in erased.scratch.rows(
            REMOVALS_OF_OTHERS
        )
        if mention_any(json.loads(identities), erased.values)
        or (mpid, ENVIRONMENT_NAME[environment]) in erased.mpids
    ]
    if not naming:
        return []
    _count_removals(erased, [output for _, output in naming])
    erased.scratch.load("nobodys_removal", MESSAGES, [(message,) for message, _ in naming])
    return [
        Stays("audience_outbox", REMOVALS_OF_NOBODY, rows_lost=0),
        Stays("audience_told", NOT_TOLD_OF_NOBODY),
    ]


def _count_removals(erased: Erased, outputs: Iterable[str]) -> None:
    erased.outcome.removals = dict(Counter(erased.outcome.removals) + Counter(outputs))
