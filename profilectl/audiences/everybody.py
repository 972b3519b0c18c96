"""Where everybody stands, as JSON and all at once: opt-out, ad tracking, memberships, consent,
devices (domain.md 2).

The set-based twin of activity.py's `opted_out`, `limit_ad_tracking`, `consent`,
`partner_identities`, `attribution` and `devices`. DuckDB spells some numbers anew when it takes
JSON apart; profiles of whom that is so are told by activity.py itself: few.
"""

from __future__ import annotations

import time

from profilectl.audiences.barred import in_force
from profilectl.audiences.batch_fields_sql import consent_order
from profilectl.audiences.event_counts_sql import opt_outs
from profilectl.profiles.activity import Activity
from profilectl.profiles.activity_json import devices_json
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles
from profilectl.rules.consent import state_of
from profilectl.rules.device import NOBODYS
from profilectl.rules.identity import BY_NAME, GUID, TYPES
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.sql.consent import STATE, members_of, statements
from profilectl.rules.sql.devices import devices_named, id_text, kind_named
from profilectl.rules.sql.events import string
from profilectl.rules.sql.identities import folded, trimmed
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import Value, to_json, whole
from profilectl.store.segments import both

AT_ONCE = 1_000
_EVENTS = ("profile", "arrival", "place", "type", "at_ms", "event")


def tell_odd(profiles: Profiles, where: str = "") -> None:
    """Make the relation whole_odd (profile, members) of the profiles that are told one by one, and
    whole_member, the memberships that hold. where: of these only.
    """
    scratch = profiles.store.scratch
    scratch.make(
        "whole_member", f"{in_force(profiles, time.time_ns() // 1_000_000)} order by profile"
    )
    spelled = " union ".join(
        f"select profile from {one.table('rest')} {both(where, 'json(rest)::varchar <> rest')}"
        for one in profiles.segments
        if "rest" in one.tables
    )
    found = (
        [profile for (profile,) in scratch.rows(f"select distinct profile from ({spelled})")]
        if spelled
        else []
    )
    scratch.load("whole_odd", [("profile", "BIGINT"), ("members", "VARCHAR")], [])
    for start in range(0, len(found), AT_ONCE):
        people = activities(profiles, found[start : start + AT_ONCE])
        rows = [(one.profile, *(to_json(part)[1:-1] for part in whole_of(one))) for one in people]
        scratch.load(
            "whole_part",
            [("profile", "BIGINT"), ("standing", "VARCHAR"), ("said", "VARCHAR")],
            rows,
        )
        scratch.run(
            "insert into whole_odd select one.profile, one.standing || ',\"audience_memberships\":' || coalesce(held.members, '[]') || ',' || one.said"
            f" from whole_part as one left join ({_memberships('')}) as held on held.profile = one.profile"
        )


def whole_of(one: Activity) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return where a person stands: the members before the memberships, and those after them."""
    out_ms = one.opt_out_ms()
    return {
        "is_opted_out": one.opted_out(),
        "opt_out_ms": None if out_ms is None else whole(out_ms),
        "limit_ad_tracking": one.limit_ad_tracking(),
    }, {
        "consent_state": state_of({purpose: said for purpose, (said, _) in one.consent().items()}),
        "partner_identities": {
            name: value for name, (value, _) in one.partner_identities().items()
        },
        "attribution": one.attribution(),
        "devices": devices_json(one.devices()),
    }


def whole_members(profiles: Profiles, where: str) -> str:
    """Return the SELECT of (profile, members): where each profile of `where` stands, as members of
    a JSON object. The profiles without a row in it have said nothing and are in no audience
    (nothing_said). tell_odd was called.
    """
    odd = "profile not in (select profile from whole_odd)"
    parts = [
        ("opted", f"from ({opt_outs(f'({profiles.events(both(where, _OPT_OUT), _EVENTS)})')})"),
        ("held", _memberships(where)),
        ("said", _consent(profiles, where)),
        ("partner", _partner_identities(profiles, where)),
        ("install", _attribution(profiles, where)),
        ("device", _devices(profiles, where)),
    ]
    named = ", ".join(f"{name} as ({sql})" for name, sql in parts)
    everybody = " union ".join(f"select profile from {name}" for name, _ in parts)
    joins = "".join(f" left join {name} on {name}.profile = one.profile" for name, _ in parts)
    members = (
        "'\"is_opted_out\":' || coalesce(opted.out, false)::varchar || ',\"opt_out_ms\":' || coalesce(opted.at_ms::varchar, 'null') || ',\"limit_ad_tracking\":' || coalesce(device.tracking, 'null')"
        " || ',\"audience_memberships\":' || coalesce(held.members, '[]') || ',\"consent_state\":' || coalesce(said.members, '{}')"
        " || ',\"partner_identities\":' || coalesce(partner.members, '{}') || ',\"attribution\":' || coalesce(install.text, '{}')"
        " || ',\"devices\":' || coalesce(device.members, '[]')"
    )
    told = f"with {named} select one.profile, {members} as members from ({everybody}) as one{joins} where one.{odd}"
    return f"select * from ({told}) union all select profile, members from whole_odd {where}"


NOTHING = '"is_opted_out":false,"opt_out_ms":null,"limit_ad_tracking":null,"audience_memberships":[],"consent_state":{},"partner_identities":{},"attribution":{},"devices":[]'
"""The members of a profile of which whole_members has no row."""
_OPT_OUT = "type = 'opt_out'"


def _memberships(where: str) -> str:
    member = "'{\"audience_id\":' || audience.number || ',\"audience_name\":' || to_json(audience.name)::varchar || ',\"since_ms\":' || membership.since_ms || '}'"
    return (
        f"select membership.profile, '[' || string_agg({member}, ',' order by audience.number) || ']' as members"
        f" from (select * from whole_member {where}) as membership join store.audience on audience.number = membership.audience group by membership.profile"
    )


def _rest(profiles: Profiles, where: str, having: str) -> str:
    """Return the SELECT of the other fields of batches: profile, arrival, at_ms, feed, here, rest."""
    here = profiles.feeds or "true"
    parts = [
        f"select one.profile, one.arrival, row.at_ms, row.feed, row.here, one.rest from (select * from {segment.table('rest')} {both(where, having)}) as one"
        f" join (select profile, arrival, at_ms, feed, {here} as here from {segment.table('row')} {where}) as row"
        " on row.profile = one.profile and row.arrival = one.arrival"
        for segment in profiles.segments
        if "rest" in segment.tables
    ]
    return " union all ".join(parts) or (
        "select null::bigint as profile, null::bigint as arrival, null::bigint as at_ms, null::usmallint as feed, true as here, null::varchar as rest where false"
    )


def _consent(profiles: Profiles, where: str) -> str:
    """What was said last of each purpose, by its own time, of equals the later arrival (domain.md
    5.3).
    """
    feeds = (
        ", ".join(
            str(feed.number) for feed in profiles.store.feeds() if feed.source in CONSENT_SOURCES
        )
        or "null"
    )
    stated = "json_extract_string(said, '$.timestamp_unixtime_ms')"
    spoken = f"(select * from ({_rest(profiles, where, STATE)}) where here and feed in ({feeds}))"
    newest = (
        f"select profile, regulation, purpose, arg_max(said::varchar, {consent_order(stated, 'arrival')}) as statement"
        f" from ({statements(spoken, 'profile, arrival')}) group by all"
    )
    of_regulation = f"select profile, regulation, string_agg(to_json(purpose)::varchar || ':' || statement, ',' order by purpose) as purposes from ({newest}) group by profile, regulation"
    member = "to_json(regulation)::varchar || ':{' || purposes || '}'"
    return f"select profile, '{{' || string_agg({member}, ',' order by regulation) || '}}' as members from ({of_regulation}) group by profile"


def _partner_identities(profiles: Profiles, where: str) -> str:
    """What was said of each partner identity last; null or an empty text took it away
    (batch.PARTNER_IDENTITY_REMOVED).
    """
    rest = _rest(profiles, where, "contains(rest, '\"partner_identities\":{')")
    newest = (
        "select profile, name, arg_max(value::varchar, arrival) as text"
        f" from ({members_of(f'(select * from ({rest}) where here)', 'partner_identities', 'profile, arrival')}) group by all"
    )
    member = "to_json(name)::varchar || ':' || case when starts_with(text, '\"') then text else to_json(text)::varchar end"
    return f"select profile, '{{' || string_agg({member}, ',' order by name) || '}}' as members from ({newest}) where text not in ('null', '\"\"') group by profile"


def _attribution(profiles: Profiles, where: str) -> str:
    """The install attribution that was stated last, be it by an alias (domain.md 4.5)."""
    text = "json_extract(rest, '$.attribution_info')::varchar"
    rest = _rest(profiles, where, 'contains(rest, \'"attribution_info":{"\')')
    stated = f"select profile, arrival, {text} as text from ({rest}) where here"
    carried = ", ".join(
        f"({alias.destination}, {alias.arrival}, {quote_text(to_json(attribution))})"
        for alias in profiles.aliases
        if alias.in_force and (attribution := profiles.attribution_carried(alias))
    )
    if carried:
        stated += f" union all select * from (select * from (values {carried}) as alias(profile, arrival, text) where length(text) > 2) {where}"
    return f"select profile, arg_max(text, arrival) as text from ({stated}) group by profile"


def _devices(profiles: Profiles, where: str) -> str:
    """The devices of each profile, last seen first, and what the one seen last that said anything
    of ad tracking said.
    """
    spoken = _rest(profiles, where, "contains(rest, '\"device_info\":{')")
    credited = _rest(profiles, where, "contains(rest, '\"attribution_info\":{')")
    # Every statement of a batch about its device: kind id, info or attribution; text as JSON.
    said = (
        f"with spoken as materialized ({spoken}), credited as ({credited}),"
        f" field as (select profile, arrival, at_ms, here, name, value::varchar as text, {kind_named('name')} as kind, 1 as own"
        f" from ({members_of('spoken', 'device_info', 'profile, arrival, at_ms, here')})),"
        " stamp as (select profile, arrival, at_ms, here, 'mp_deviceid' as name, json_extract(rest, '$.mp_deviceid')::varchar as text, 'mp_deviceid' as kind, 1 as own"
        " from spoken where json_extract(rest, '$.mp_deviceid') is not null),"
        f" added as ({_added(profiles, where)}),"
        " every as materialized (select * from field union all select * from stamp union all select * from added)"
    )
    # The devices are those of the workspace; what was said of tracking counts whatever the
    # workspace, so that it tells devices apart by itself.
    here = "from named_every" if not profiles.feeds else devices_named("id_here")
    named = (
        f" id as materialized (select profile, arrival, here, kind || ':' || {id_text('text', string('text'))} as id from every"
        " where kind is not null and text <> '\"\"'),"
        " id_here as (select profile, arrival, id from id where here),"
        f" named_every as materialized ({devices_named('id')}),"
        f" named as materialized ({here}),"
    )
    told = _keyed("every", "named", "here")
    attribution = "json_extract(rest, '$.attribution_info')::varchar"
    folded = (
        f" told as materialized ({told}),"
        " seen as (select profile, key, min(at_ms) as first_here, max(at_ms) as last_here, min(arrival) as began_here from told group by profile, key),"
        " newest as (select profile, key, kind, coalesce(kind, name) as name, arg_max(text, {'arrival': arrival, 'own': own}) filter (text <> 'null') as text from told group by all),"
        f"{_earlier()}"
        f" credit as (select one.profile, coalesce(named.key, '') as key, arg_max({attribution}, one.arrival) filter (length({attribution}) > 2) as text from credited as one"
        " left join named on named.profile = one.profile and named.arrival = one.arrival"
        " where one.here and (one.profile, one.arrival) in (select (profile, arrival) from told) group by all),"
        " object as (select profile, key,"
        " string_agg(to_json(name)::varchar || ':' || case when starts_with(text, '\"') then text else to_json(text)::varchar end, ',' order by name) filter (kind is not null and text is not null) as ids,"
        " string_agg(to_json(name)::varchar || ':' || text, ',' order by name) filter (kind is null and text is not null) as info from newest group by profile, key),"
    )
    document = (
        "'{\"identities\":{' || coalesce(object.ids, '') || '},\"first_seen_ms\":' || seen.first_here || ',\"last_seen_ms\":' || seen.last_here"
        " || ',\"info\":{' || coalesce(object.info, '') || '}' || coalesce(',\"attribution\":' || credit.text, '')"
        " || coalesce(',\"earlier\":{' || earlier.members || '}', '') || '}'"
    )
    listed = (
        f" listed as (select seen.profile, '[' || string_agg({document}, ',' order by seen.last_here desc, seen.began_here) || ']' as members from seen"
        " left join object on object.profile = seen.profile and object.key = seen.key left join credit on credit.profile = seen.profile and credit.key = seen.key"
        " left join earlier on earlier.profile = seen.profile and earlier.key = seen.key"
        " group by seen.profile),"
    )
    return f"{said},{named}{folded}{listed} tracked as ({_tracking()}) select * from listed full join tracked using (profile)"


def _earlier() -> str:
    """The values of identities that devices had before those they have: earlier (profile, key,
    members), from told and newest.
    """
    text = trimmed("text")
    guids = ", ".join(
        quote_text(kind.name) for kind in TYPES if kind.device and kind.shape == "guid"
    )
    nobodys = ", ".join(map(quote_text, sorted(NOBODYS)))
    spoken = "case when starts_with(text, '\"') then " + string("text") + " else text end"
    known = f"case when kind in ({guids}) then {folded(text)} else {text} end"
    return (
        f" stating as (select profile, key, kind, {spoken} as text from told where kind is not null and text <> 'null'),"
        f" latest as (select profile, key, kind, {known} as known from (select profile, key, kind, {spoken} as text from newest where kind is not null and text is not null)),"
        f" before as (select profile, key, kind, {known} as known from stating group by all),"
        " replaced as (select before.* from before join latest on latest.profile = before.profile and latest.key = before.key and latest.kind = before.kind"
        f" where latest.known <> before.known and lower(before.known) not in ({nobodys}) and (before.kind not in ({guids}) or regexp_full_match(before.known, '{GUID}'))),"
        " of_kind as (select profile, key, kind, string_agg(to_json(known)::varchar, ',' order by known) as texts from replaced group by all),"
        " earlier as (select profile, key, string_agg(to_json(kind)::varchar || ':[' || texts || ']', ',' order by kind) as members from of_kind group by all),"
    )


def _keyed(every: str, named: str, where: str) -> str:
    """Return the SELECT of statements with the key of the device that their batch is of; that of
    what names none is empty.
    """
    return (
        f"select one.*, coalesce(named.key, '') as key from (select * from {every} where {where}) as one"
        f" left join {named} as named on named.profile = one.profile and named.arrival = one.arrival"
    )


def _tracking() -> str:
    """Return the SELECT of profile, tracking: what the device seen last that said anything of ad
    tracking said, in any workspace.
    """
    return (
        "select profile, arg_max(tracking, last_ms::hugeint * 18446744073709551616 - first_arrival) filter (tracking is not null) as tracking"
        " from (select profile, key, max(at_ms) as last_ms, min(arrival) as first_arrival,"
        " arg_max(text, arrival) filter (name = 'limit_ad_tracking' and text in ('true', 'false')) as tracking"
        f" from ({_keyed('every', 'named_every', 'true')}) group by profile, key) group by profile"
    )


def _added(profiles: Profiles, where: str) -> str:
    """Return the SELECT of the identities of devices that rows brought: as `field`, kind and name
    alike.
    """
    here = profiles.feeds or "true"
    parts = [
        f"select profile, arrival, at_ms, {here} as here, {quote_text(kind)} as name, to_json(i_{kind})::varchar as text, {quote_text(kind)} as kind, 0 as own"
        f" from {one.table('row')} {both(where, f'i_{kind} is not null')}"
        for one in profiles.segments
        for kind in one.identities
        if BY_NAME[kind].device
    ]
    nothing = "select null::bigint as profile, null::bigint as arrival, null::bigint as at_ms, true as here, '' as name, '' as text, '' as kind, 0 as own where false"
    return " union all ".join(parts) or nothing
