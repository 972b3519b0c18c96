"""The audiences of a workspace and who is in them, out of a snapshot."""

from __future__ import annotations

import time

from profilectl.audiences.actions import sizes_of
from profilectl.audiences.barred import in_force
from profilectl.audiences.refresh import evaluated_ms
from profilectl.profiles.read_model import Profiles
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.text.values import Value, whole
from profilectl.server.snapshot import Reader
from profilectl.store.definitions import Defined
from profilectl.store.segments import known_mpids


def audiences_told(reader: Reader, workspace: str) -> Value:
    """Return the audiences of a workspace, by number."""
    profiles = reader.profiles.get(workspace)
    wanted = [one for one in reader.known.audiences.values() if one.audience.workspace == workspace]
    sizes = sizes_of(profiles, wanted) if profiles is not None else {}
    return [
        {
            "audience_id": whole(one.number),
            "audience_name": one.name,
            "criteria": one.audience.criteria,
            "kind": one.audience.kind,
            "members": whole(sizes.get(one.number, 0)),
            "refreshed_ms": None
            if (at_ms := evaluated_ms(reader.scratch, one)) is None
            else whole(at_ms),
        }
        for one in wanted
    ]


def members_told(
    reader: Reader, workspace: str, audience: int, limit: int, after: int
) -> dict[str, Value] | None:
    """Return a page of the members of an audience, first founded first; None where the workspace
    has none of that number.

    after: `next` of the page before, -1 for the first.
    """
    known = reader.known.audiences.get(audience)
    if known is None or known.audience.workspace != workspace:
        return None
    profiles = reader.profiles.get(workspace)
    rows = _from(profiles, known, limit + 1, after) if profiles is not None else []
    page, more = rows[:limit], len(rows) > limit
    mpids: dict[int, tuple[int, int]] = {}
    if page and profiles is not None:
        where = profiles.where([profile for profile, _ in page])
        mpids = {
            profile: (mpid, code)
            for profile, mpid, code in reader.scratch.rows(
                f"select profile, mpid, environment from ({known_mpids(profiles.segments)}) {where}"
            )
        }
    told: list[Value] = [
        {
            "mpid": str(mpids[profile][0]),
            "environment": ENVIRONMENT_NAME[mpids[profile][1]],
            "since_ms": whole(since_ms),
        }
        for profile, since_ms in page
        if profile in mpids
    ]
    return {
        "audience_id": whole(audience),
        "members": told,
        "next": str(page[-1][0]) if more else None,
    }


def _from(profiles: Profiles, known: Defined, count: int, after: int) -> list[tuple[int, int]]:
    """Return the next so many members of an audience: profile, since_ms."""
    found: list[tuple[int, int]] = []
    while len(found) < count:  # whoever may not be in it any more leaves a gap
        within = f"where audience = {known.number} and profile > {after}"
        (last,) = profiles.store.scratch.row(
            f"select max(profile) from (select profile from store.membership {within} order by profile limit {count})"
        )
        if last is None:
            break
        held = in_force(
            profiles, time.time_ns() // 1_000_000, f"{within} and profile <= {last}", wanted=[known]
        )
        found += profiles.store.scratch.rows(
            f"select profile, since_ms from ({held}) order by profile"
        )
        after = last
    return found[:count]
