"""The audiences of a workspace and who is in them, out of a snapshot."""

from __future__ import annotations

from typing import Any

from profilectl.refresh import evaluated_ms
from profilectl.segments import ENVIRONMENT_NAME, known_mpids
from profilectl.server.snapshot import Reader
from profilectl.values import Value, whole


def audiences_told(reader: Reader, workspace: str) -> Value:
    """Return the audiences of a workspace, by number."""
    sizes = dict(reader.scratch.rows("select audience, count(*) from store.membership group by audience"))
    return [
        {
            "audience_id": whole(one.number), "audience_name": one.name, "criteria": one.audience.criteria, "kind": one.audience.kind,
            "members": whole(sizes.get(one.number, 0)), "refreshed_ms": None if (at_ms := evaluated_ms(reader.scratch, one)) is None else whole(at_ms),
        }
        for one in reader.known.audiences.values() if one.audience.workspace == workspace
    ]


def members_told(reader: Reader, workspace: str, audience: int, limit: int, after: int) -> dict[str, Value] | None:
    """Return a page of the members of an audience, first founded first; None where the workspace has none of that number.

    after: `next` of the page before, -1 for the first.
    """
    known = reader.known.audiences.get(audience)
    if known is None or known.audience.workspace != workspace:
        return None
    bound: dict[str, Any] = {"audience": audience, "after": after, "limit": limit + 1}
    rows = reader.scratch.rows(
        "select profile, since_ms from store.membership where audience = $audience and profile > $after order by profile limit $limit", bound
    )
    page, more = rows[:limit], len(rows) > limit
    profiles = reader.profiles.get(workspace)
    mpids: dict[int, tuple[int, int]] = {}
    if page and profiles is not None:
        where = profiles.where([profile for profile, _ in page])
        mpids = {profile: (mpid, code) for profile, mpid, code in reader.scratch.rows(f"select profile, mpid, environment from ({known_mpids(profiles.segments)}) {where}")}
    told: list[Value] = [
        {"mpid": str(mpids[profile][0]), "environment": ENVIRONMENT_NAME[mpids[profile][1]], "since_ms": whole(since_ms)}
        for profile, since_ms in page if profile in mpids
    ]
    return {"audience_id": whole(audience), "members": told, "next": str(page[-1][0]) if more else None}
