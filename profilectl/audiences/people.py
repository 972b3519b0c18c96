"""The people of audiences and calculated attributes: who they are, and what is read of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from profilectl.audiences.barred import NO_REST, rest_rows
from profilectl.profiles.ended_lifetimes import RETIRED
from profilectl.profiles.read_model import ACCOUNT_FEEDS, Profiles, profiles_of
from profilectl.rules.audience import Audience
from profilectl.rules.criteria.tree import Reads
from profilectl.rules.feed import workspaces_of
from profilectl.rules.identity import BY_NAME
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import to_json
from profilectl.store.segments import Segment, both, of_each
from profilectl.store.statements import among, is_in, reading, select, texts, union_all
from profilectl.store.store import OpenStore

STAMP = "mp_deviceid"
"""The identity that a batch states beside its device_info (domain.md 3.2)."""

AGED = "select count(*) from store.aged"

# The profiles beyond their lifetime for which nothing arrived since they lost what they had. Where
# an older version did not write down that arrival (`before`), the times decide.
DORMANT = """
with newest_row as (
    select profile, max(at_ms) as last_ms, max(arrival) as last_arrival
    from stored_row
    group by profile
)
select retired.profile
from retired
join newest_row on newest_row.profile = retired.profile
where case when retired.before is null then newest_row.last_ms <= retired.aged_ms
           else newest_row.last_arrival < retired.before
      end
"""
AWAKE = "where profile not in (select profile from dormant)"

# The install attributions that aliases carry over, as rows of `rest`.
ATTRIBUTION_CARRIED = "profile, arrival, false as speaks_of_consent, rest"

DEVICE_STATED = "contains(rest, '\"device_info\":{')"
"""The condition on the other fields of a batch that they describe its device."""


def event_relation(audience: Audience) -> str:
    """Return the relation of the events that an audience is decided on.

    A standard audience reads events as long as they are kept, a real-time one those of the
    profile's present lifetime (domain.md 13).
    """
    return "event" if audience.kind == "real-time" else "event_kept"


def awake_only(profiles: Profiles) -> str:
    """Make `dormant`, and return the WHERE clause that leaves these out; "": there are none.

    Dormant are the profiles beyond their lifetime for which nothing arrived since they lost what
    they had (domain.md 13): nothing is computed for them, and they are in no audience.
    """
    scratch = profiles.store.scratch
    scratch.drop("dormant")
    rows = union_all(
        of_each(
            profiles.segments,
            "row",
            columns="profile, at_ms, arrival",
            clause=both("", among("store.aged")),
        )
    )
    if not rows or not scratch.row(AGED)[0]:
        return ""
    scratch.make("dormant", reading(DORMANT, retired=RETIRED, stored_row=rows))
    return AWAKE


def people_of(store: OpenStore, workspace: str, *, now_ms: int | None = None) -> Profiles:
    """Return the read model of the profiles that a workspace has seen.

    The attributes and audiences of the workspace are about these.
    """
    if workspace in workspaces_of(store.feeds()):
        profiles = profiles_of(store, now_ms=now_ms, workspace=workspace)
    else:  # no feed of it yet, which profiles_of would refuse: it sees only what the account says
        profiles = profiles_of(store, now_ms=now_ms, every=True)
        profiles.workspace, profiles.feeds = workspace, ACCOUNT_FEEDS
    profiles.only_seen = True
    return profiles


def person_relations(
    profiles: Profiles, read: Reads, clause: str, *, with_mpids: bool = False
) -> None:
    """Make the relations `person` and `rest` of some profiles (membership_sql.PeopleRelations).

    They have what `read` says, and no more: a column of nulls for each type of identity and a row
    for each calculated value cost as much as everything else. No criterion reads MPIDs, which are
    worked out from each row.
    """
    scratch = profiles.store.scratch
    # criteria may ask for a type that nobody has had
    absent = [
        f"null::varchar[] as i_{kind}"
        for kind in read.identities
        if kind not in profiles.identities
    ]
    wanted = both("", is_in("name", texts(read.attributes)))
    values = select("profile, name, held", f"({profiles.calculated_values})", wanted)
    narrowed = replace(
        profiles,
        identities=[kind for kind in profiles.identities if kind in read.identities],
        calculated_values=values,
    )
    columns = "*" if with_mpids else "* exclude (mpid)"
    scratch.make(
        "person", select([columns, *absent], f"({narrowed.folded(list(read.attributes), clause)})")
    )
    if not read.rest:
        scratch.make("rest", NO_REST, keep=False)
        return
    parts = [rest_rows(profiles, profiles.feeds, clause), *_attributions_carried(profiles, clause)]
    if read.device:
        parts += [
            _device_rows(profiles, segment, kinds, clause=clause)
            for segment in profiles.segments
            if (kinds := [kind for kind in segment.identities if BY_NAME[kind].device])
        ]
    scratch.make("rest", union_all(parts), keep=False)


def _device_rows(profiles: Profiles, segment: Segment, kinds: Sequence[str], *, clause: str) -> str:
    """Return the SELECT of those rows of a segment whose device is named by columns alone.

    Each is written as a batch would say it (one_person.device_rest).
    """
    texts = {
        kind: f"{quote_text(json.dumps(kind) + ':')} || to_json(i_{kind})::varchar"
        for kind in kinds
    }
    info = ", ".join(text for kind, text in texts.items() if kind != STAMP) or "null"
    stamp = texts.get(STAMP, "null")
    device = f"'\"device_info\":{{' || concat_ws(',', {info}) || '}}'"
    clause = both(both(clause, profiles.feeds), f"coalesce({_columns_of(kinds)}) is not null")
    # a batch that describes its device is read as it came
    if "rest" in segment.tables:
        with_device = select("(profile, arrival)", segment.table("rest"), both("", DEVICE_STATED))
        clause = both(clause, is_in("(profile, arrival) not", with_device))
    named = f"'{{' || concat_ws(',', {stamp}, {device}) || '}}'"
    return select(["profile", "arrival", "false", named], segment.table("row"), clause)


def _columns_of(kinds: Sequence[str]) -> str:
    return ", ".join(f"i_{kind}" for kind in kinds)


def _attributions_carried(profiles: Profiles, clause: str) -> list[str]:
    """Return the SELECT of the install attributions that aliases carry over, or no SELECT."""
    rows = [
        (alias.destination, alias.arrival, to_json({"attribution_info": attribution}))
        for alias in profiles.aliases
        if alias.in_force
        if (attribution := profiles.attribution_carried(alias))
    ]
    if not rows:
        return []
    columns = [("profile", "BIGINT"), ("arrival", "BIGINT"), ("rest", "VARCHAR")]
    profiles.store.scratch.load("attribution_carried", columns, rows)
    return [select(ATTRIBUTION_CARRIED, "attribution_carried", clause)]
