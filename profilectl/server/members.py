"""The audiences of a workspace and their members, read from a snapshot."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from profilectl.audiences.actions import sizes_of
from profilectl.audiences.barred import in_force
from profilectl.audiences.refresh_marks import evaluated_ms
from profilectl.profiles.read_model import Profiles
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.text.values import Value, whole
from profilectl.server.snapshot import Reader
from profilectl.store.definitions import Defined
from profilectl.store.segments import known_mpids

# The last profile of a page of an audience's memberships.
LAST_OF_PAGE = """
select max(profile)
from (
  select profile
  from store.membership
  where audience = $audience and profile > $after
  order by profile
  limit $count
)
"""
# The condition on the memberships of that page.
WITHIN_PAGE = "where audience = $audience and profile > $after and profile <= $until"
# The memberships that hold, oldest profile first.
MEMBERS = """
select profile, since_ms
from ({memberships})
order by profile
"""
# The MPID and environment of each of some profiles.
MPIDS = """
select profile, mpid, environment
from ({mpids})
where profile in (select unnest($profiles::bigint[]))
"""


class Member(NamedTuple):
    """A member of an audience."""

    profile: int
    """The profile's number in the store."""
    since_ms: int
    """When it became a member, in milliseconds since 1970."""


def audiences_document(reader: Reader, workspace: str) -> Value:
    """Return the audiences of a workspace, by number."""
    profiles = reader.profiles.get(workspace)
    audiences = [
        defined
        for defined in reader.definitions.audiences.values()
        if defined.audience.workspace == workspace
    ]
    sizes = sizes_of(profiles, audiences) if profiles is not None else {}
    return [
        {
            "audience_id": whole(defined.number),
            "audience_name": defined.name,
            "criteria": defined.audience.criteria,
            "kind": defined.audience.kind,
            "members": whole(sizes.get(defined.number, 0)),
            "refreshed_ms": None
            if (at_ms := evaluated_ms(reader.scratch, defined)) is None
            else whole(at_ms),
        }
        for defined in audiences
    ]


def members_page(
    reader: Reader, workspace: str, *, audience: int, limit: int, after: int
) -> dict[str, Value] | None:
    """Return a page of the members of an audience, oldest profile first.

    None if the workspace has no audience with this number.

    after: `next` of the page before; -1 for the first page.
    """
    defined = reader.definitions.audiences.get(audience)
    if defined is None or defined.audience.workspace != workspace:
        return None
    profiles = reader.profiles.get(workspace)
    # One more than the page has, which tells whether there is another page.
    members = _members(profiles, defined, count=limit + 1, after=after) if profiles else []
    page, has_more = members[:limit], len(members) > limit
    return {
        "audience_id": whole(audience),
        "members": list(_documents(profiles, page)) if profiles else [],
        "next": str(page[-1].profile) if has_more else None,
    }


def _documents(profiles: Profiles, members: Sequence[Member]) -> Iterator[Value]:
    """Yield the document of each member that has an MPID."""
    if not members:
        return
    scratch = profiles.store.scratch
    bound = {"profiles": [member.profile for member in members]}
    rows = scratch.rows(MPIDS.format(mpids=known_mpids(profiles.segments)), bound)
    mpids = {profile: (mpid, ENVIRONMENT_NAME[code]) for profile, mpid, code in rows}
    for member in members:
        if member.profile in mpids:
            mpid, environment = mpids[member.profile]
            since_ms = whole(member.since_ms)
            yield {"mpid": str(mpid), "environment": environment, "since_ms": since_ms}


def _members(profiles: Profiles, defined: Defined, *, count: int, after: int) -> list[Member]:
    """Return the next members of an audience, at most `count`."""
    scratch = profiles.store.scratch
    members: list[Member] = []
    # Again, because people who may not be in an audience any more leave gaps in a page.
    while len(members) < count:
        bound = {"audience": defined.number, "after": after, "count": count}
        (last_profile,) = scratch.row(LAST_OF_PAGE, bound)
        if last_profile is None:
            break
        at_ms = time.time_ns() // 1_000_000
        memberships = in_force(profiles, at_ms, WITHIN_PAGE, wanted=[defined])
        bound = {"audience": defined.number, "after": after, "until": last_profile}
        rows = scratch.rows(MEMBERS.format(memberships=memberships), bound)
        members += [Member(profile, since_ms) for profile, since_ms in rows]
        after = last_profile
    return members[:count]
