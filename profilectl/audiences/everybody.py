"""The standing of everybody at once, as JSON: opt-out, ad tracking, memberships, consent, devices.

It does for everybody what these of profiles/activity.py do for one person: `opted_out`,
`limit_ad_tracking`, `consent`, `partner_identities`, `attribution` and `devices` (domain.md 2).
DuckDB writes some numbers in another way when it takes JSON apart. The few profiles that have such
numbers are written by activity.py itself (whole_odd). The SQL about devices is in devices_sql.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from profilectl.audiences.barred import in_force
from profilectl.audiences.sql.batch_fields_sql import consent_order
from profilectl.audiences.sql.devices_sql import devices
from profilectl.audiences.sql.event_counts_sql import opt_outs
from profilectl.audiences.sql.rest_sql import rest_of
from profilectl.profiles.activity import Activity
from profilectl.profiles.activity_json import devices_json
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles
from profilectl.rules.consent import state_of
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.sql.consent import STATE, members_of, statements
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import Value, to_json, whole
from profilectl.store.segments import both, of_each
from profilectl.store.statements import (
    is_in,
    listed,
    numbers,
    reading,
    select,
    stepwise,
    union_all,
)

AT_ONCE = 1_000
"""How many profiles are written one by one before the next are read."""

NOTHING = (
    '"is_opted_out":false,"opt_out_ms":null,"limit_ad_tracking":null,"audience_memberships":[],'
    '"consent_state":{},"partner_identities":{},"attribution":{},"devices":[]'
)
"""The members of a profile for which whole_members has no row."""

_EVENTS = ("profile", "arrival", "place", "type", "at_ms", "event")
_OPT_OUT = "type = 'opt_out'"

ODD = "select distinct profile from odd_row"
IN_ORDER = "select * from membership order by profile"

# Profiles that were written one by one, with their memberships.
ADD_ODD = """
insert into whole_odd
select part.profile,
       part.before || ',"audience_memberships":' || coalesce(whole_membership.members, '[]') || ','
       || part.after
from whole_part as part
left join whole_membership on whole_membership.profile = part.profile
"""

MEMBERSHIPS = """
select membership.profile,
       '[' || string_agg(
           '{"audience_id":' || audience.number
           || ',"audience_name":' || to_json(audience.name)::varchar
           || ',"since_ms":' || membership.since_ms || '}',
           ',' order by audience.number
       ) || ']' as members
from membership
join store.audience on audience.number = membership.audience
group by membership.profile
"""

# Everything about each profile. A profile without a row in a part has said nothing of it.
EVERYTHING = """
with everybody as (
    select profile from opted
    union select profile from membership
    union select profile from consent
    union select profile from partner
    union select profile from install
    union select profile from device
), together as (
    select everybody.profile,
           '"is_opted_out":' || coalesce(opted.out, false)::varchar
           || ',"opt_out_ms":' || coalesce(opted.at_ms::varchar, 'null')
           || ',"limit_ad_tracking":' || coalesce(device.tracking, 'null')
           || ',"audience_memberships":' || coalesce(membership.members, '[]')
           || ',"consent_state":' || coalesce(consent.members, '{}')
           || ',"partner_identities":' || coalesce(partner.members, '{}')
           || ',"attribution":' || coalesce(install.text, '{}')
           || ',"devices":' || coalesce(device.members, '[]') as members
    from everybody
    left join opted on opted.profile = everybody.profile
    left join membership on membership.profile = everybody.profile
    left join consent on consent.profile = everybody.profile
    left join partner on partner.profile = everybody.profile
    left join install on install.profile = everybody.profile
    left join device on device.profile = everybody.profile
    where everybody.profile not in (select profile from whole_odd)
)
select profile, members from together
union all
select profile, members from odd
"""

# The statement in force about each purpose: the newest by its own time; of equals the later arrival
# (domain.md 5.3).
CONSENT = """
with newest as (
    select profile, regulation, purpose, arg_max(said::varchar, {columns}) as statement
    from spoken
    group by profile, regulation, purpose
), of_regulation as (
    select profile, regulation,
           string_agg(to_json(purpose)::varchar || ':' || statement, ',' order by purpose)
               as purposes
    from newest
    group by profile, regulation
)
select profile,
       '{{' || string_agg(
           to_json(regulation)::varchar || ':{{' || purposes || '}}', ',' order by regulation
       ) || '}}' as members
from of_regulation
group by profile
"""

# The last statement about each partner identity. Null or an empty text took it away
# (batch_fields.PARTNER_IDENTITY_REMOVED). A value that is no string becomes its JSON text.
PARTNER_IDENTITIES = """
with newest as (
    select profile, name, arg_max(value::varchar, arrival) as text
    from member
    group by profile, name
)
select profile,
       '{' || string_agg(
           to_json(name)::varchar || ':'
           || case when starts_with(text, '"') then text else to_json(text)::varchar end,
           ',' order by name
       ) || '}' as members
from newest
where text not in ('null', '""')
group by profile
"""

# The install attribution that was stated last, also by an alias (domain.md 4.5).
ATTRIBUTION = """
select profile, arg_max(text, arrival) as text
from stated
group by profile
"""
STATED_ATTRIBUTION = "profile, arrival, json_extract(rest, '$.attribution_info')::varchar as text"


class Whole(NamedTuple):
    """The standing of a person, as members of a JSON object."""

    before: dict[str, Value]
    """The members before the memberships."""
    after: dict[str, Value]
    """The members after them."""


def tell_odd(profiles: Profiles, clause: str = "") -> None:
    """Make `whole_odd` (profile, members) of the profiles that are written one by one.

    Makes `whole_member` too, the memberships that hold. `clause` limits it to some profiles.
    """
    scratch = profiles.store.scratch
    held = in_force(profiles, time.time_ns() // 1_000_000)
    # Kept: who is barred is found once, and not for each stretch of an export anew.
    scratch.make("whole_member", reading(IN_ORDER, membership=held))
    # A text is odd if DuckDB, once it has read it, writes it in another way.
    odd_rows = of_each(
        profiles.segments,
        "rest",
        columns="profile",
        clause=both(clause, "json(rest)::varchar <> rest"),
    )
    odd = [
        profile
        for (profile,) in (
            scratch.rows(reading(ODD, odd_row=" union ".join(odd_rows))) if odd_rows else ()
        )
    ]
    scratch.load("whole_odd", [("profile", "BIGINT"), ("members", "VARCHAR")], [])
    if odd:
        scratch.make("whole_membership", _memberships(""))
    for start in range(0, len(odd), AT_ONCE):
        people = activities(profiles, odd[start : start + AT_ONCE])
        rows = [
            (person.profile, *(to_json(part)[1:-1] for part in whole_of(person)))
            for person in people
        ]
        scratch.load(
            "whole_part",
            [("profile", "BIGINT"), ("before", "VARCHAR"), ("after", "VARCHAR")],
            rows,
        )
        scratch.run(ADD_ODD)


def whole_of(person: Activity) -> Whole:
    """Return the standing of a person, without the memberships."""
    out_ms = person.opt_out_ms()
    before: dict[str, Value] = {
        "is_opted_out": person.opted_out(),
        "opt_out_ms": None if out_ms is None else whole(out_ms),
        "limit_ad_tracking": person.limit_ad_tracking(),
    }
    after: dict[str, Value] = {
        "consent_state": state_of(
            {purpose: statement for purpose, (statement, _) in person.consent().items()}
        ),
        "partner_identities": {
            name: value for name, (value, _) in person.partner_identities().items()
        },
        "attribution": person.attribution(),
        "devices": devices_json(person.devices()),
    }
    return Whole(before, after)


def whole_members(profiles: Profiles, clause: str) -> str:
    """Return the SELECT of (profile, members): the standing of each profile of `clause`.

    The members are those of a JSON object. A profile without a row has said nothing and is in no
    audience (NOTHING). tell_odd must have been called before.
    """
    opt_out_events = profiles.events(both(clause, _OPT_OUT), _EVENTS)
    return stepwise(
        EVERYTHING,
        remembered=(),
        opted=opt_outs(f"({opt_out_events})"),
        membership=_memberships(clause),
        consent=_consent(profiles, clause),
        partner=_partner_identities(profiles, clause),
        install=_attribution(profiles, clause),
        device=devices(profiles, clause),
        odd=select("profile, members", "whole_odd", clause),
    )


def _memberships(clause: str) -> str:
    return reading(MEMBERSHIPS, membership=select("*", "whole_member", clause))


def _consent(profiles: Profiles, clause: str) -> str:
    """Return the SELECT of the consent in force: profile, members."""
    # Only some sources may speak of consent (domain.md 5.3).
    speaking = numbers(
        feed.number for feed in profiles.store.feeds() if feed.source in CONSENT_SOURCES
    )
    own = both("where here", is_in("feed", speaking))
    rows = select("*", f"({rest_of(profiles, clause, STATE)})", own)
    stated_ms = "json_extract_string(said, '$.timestamp_unixtime_ms')"
    return reading(
        CONSENT.format(columns=consent_order(stated_ms, "arrival")),
        spoken=statements(f"({rows})", "profile, arrival"),
    )


def _partner_identities(profiles: Profiles, clause: str) -> str:
    """Return the SELECT of the partner identities in force: profile, members."""
    fields = rest_of(profiles, clause, "contains(rest, '\"partner_identities\":{')")
    rows = select("*", f"({fields})", "where here")
    member = members_of(f"({rows})", "partner_identities", "profile, arrival")
    return reading(PARTNER_IDENTITIES, member=member)


def _attribution(profiles: Profiles, clause: str) -> str:
    """Return the SELECT of the install attribution in force: profile, text."""
    # An attribution without any field states nothing: the quote asks for one, as does the length.
    fields = rest_of(profiles, clause, 'contains(rest, \'"attribution_info":{"\')')
    statements_of = [select(STATED_ATTRIBUTION, f"({fields})", "where here")]
    carried = [
        (alias.destination, alias.arrival, quote_text(to_json(attribution)))
        for alias in profiles.aliases
        if alias.in_force and (attribution := profiles.attribution_carried(alias))
    ]
    if carried:
        by_alias = select(
            "*", f"({listed('profile, arrival, text', carried)})", "where length(text) > 2"
        )
        statements_of.append(select("*", f"({by_alias})", clause))
    return reading(ATTRIBUTION, stated=union_all(statements_of))
