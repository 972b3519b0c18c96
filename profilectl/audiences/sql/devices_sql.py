"""The devices of everybody as JSON: `devices` and `limit_ad_tracking` of activity.py as SQL.

Each batch is of one device, which its ids decide (rules/sql/devices.py). The devices are those of
the workspace. Statements about ad tracking count in all workspaces, so for them the devices of all
workspaces are told apart once more.
"""

from __future__ import annotations

from profilectl.audiences.sql.rest_sql import rest_of
from profilectl.profiles.read_model import Profiles
from profilectl.rules.device import NOBODYS
from profilectl.rules.identity import BY_NAME, GUID, TYPES
from profilectl.rules.sql.consent import members_of
from profilectl.rules.sql.devices import devices_named, id_text, kind_named
from profilectl.rules.sql.events import string
from profilectl.rules.sql.identities import folded, trimmed
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.segments import both
from profilectl.store.statements import reading, select, stepwise, texts, union_all

# Every statement of a batch about its device, one row each: an id (then kind is its type) or a
# field of info; text is JSON. `own` ranks what a batch says above what its columns say.
FIELD = """
select profile, arrival, at_ms, here, name, value::varchar as text, {columns} as kind, 1 as own
from member
"""
STAMP = """
select profile, arrival, at_ms, here, 'mp_deviceid' as name,
       json_extract(rest, '$.mp_deviceid')::varchar as text, 'mp_deviceid' as kind, 1 as own
from spoken
where json_extract(rest, '$.mp_deviceid') is not null
"""
STATEMENTS = """
select * from field
union all
select * from stamp
union all
select * from added
"""
NO_STATEMENT = """
select null::bigint as profile, null::bigint as arrival, null::bigint as at_ms, true as here,
       '' as name, '' as text, '' as kind, 0 as own
where false
"""

# The ids that a batch states, and those of the workspace.
IDS = """
select profile, arrival, here, {columns} as id
from statement
where kind is not null and text <> '""'
"""
IDS_HERE = "select profile, arrival, id from id where here"
# Where the workspace sees all rows, its devices are those of all workspaces.
ALIKE = "from named_anywhere"

# Statements with the key of the device that their batch is of; empty where no id names one.
OF_DEVICE = """
select statement.*, coalesce(named.key, '') as key
from statement
left join named on named.profile = statement.profile and named.arrival = statement.arrival
"""

# What a device has: the newest of each id and field, and the times it was seen. 2^64 keeps the time
# and the arrival of the last batch apart in one number.
SIGHTINGS = """
select profile, key, min(at_ms) as first_here_ms, max(at_ms) as last_here_ms,
       max(at_ms::hugeint * 18446744073709551616 + arrival) as last_here
from of_device
group by profile, key
"""
NEWEST = """
select profile, key, kind, coalesce(kind, name) as name,
       arg_max(text, {'arrival': arrival, 'own': own}) filter (text <> 'null') as text
from of_device
group by all
"""

# The values of ids that devices had before those that they have now. A value of nobody (NOBODYS),
# or one that is no GUID where it must be one, was no id.
STATED_IDS = """
select profile, key, kind, {columns} as text
from of_device
where kind is not null and text <> 'null'
"""
LATEST_IDS = """
select profile, key, kind, {columns} as text
from newest
where kind is not null and text is not null
"""
ID_KEYS = "select profile, key, kind, {columns} as id_key from stated_id"
LATEST_KEYS = "select profile, key, kind, {columns} as id_key from latest_id"
REPLACED = """
select before.*
from id_before as before
join latest_key as latest
  on latest.profile = before.profile
 and latest.key = before.key
 and latest.kind = before.kind
where latest.id_key <> before.id_key
"""
EARLIER = """
with of_kind as (
    select profile, key, kind, string_agg(to_json(id_key)::varchar, ',' order by id_key) as texts
    from replaced
    group by all
)
select profile, key,
       string_agg(to_json(kind)::varchar || ':[' || texts || ']', ',' order by kind) as members
from of_kind
group by profile, key
"""

# The install attribution that came with each device.
CREDITED = """
select credited.profile, coalesce(named.key, '') as key,
       arg_max(text, credited.arrival) filter (length(text) > 2) as text
from credited
left join named on named.profile = credited.profile and named.arrival = credited.arrival
where credited.here
  and (credited.profile, credited.arrival) in (select (profile, arrival) from of_device)
group by all
"""
CREDIT_COLUMNS = "profile, arrival, here, json_extract(rest, '$.attribution_info')::varchar as text"

# The newest statement about ad tracking of the device seen last that has one, in any workspace. Of
# devices seen last at the same time, the one whose batch arrived later counts.
TRACKED = """
with of_any as (
    select statement.*, coalesce(named.key, '') as key
    from statement
    left join named_anywhere as named
      on named.profile = statement.profile and named.arrival = statement.arrival
), by_device as (
    select profile, key, max(at_ms::hugeint * 18446744073709551616 + arrival) as last_seen,
           arg_max(text, arrival)
               filter (name = 'limit_ad_tracking' and text in ('true', 'false')) as tracking
    from of_any
    group by profile, key
)
select profile,
       arg_max(tracking, last_seen) filter (tracking is not null) as tracking
from by_device
group by profile
"""

# The devices of each profile as a JSON list, last seen first, with the answer to ad tracking.
DEVICES = """
with object as (
    select profile, key,
           string_agg(
               to_json(name)::varchar || ':'
               || case when starts_with(text, '"') then text else to_json(text)::varchar end,
               ',' order by name
           ) filter (kind is not null and text is not null) as ids,
           string_agg(to_json(name)::varchar || ':' || text, ',' order by name)
               filter (kind is null and text is not null) as info
    from newest
    group by profile, key
), listed as (
    select seen.profile,
           '[' || string_agg(
               '{"identities":{' || coalesce(object.ids, '')
               || '},"first_seen_ms":' || seen.first_here_ms
               || ',"last_seen_ms":' || seen.last_here_ms
               || ',"info":{' || coalesce(object.info, '') || '}'
               || coalesce(',"attribution":' || credit.text, '')
               || coalesce(',"earlier":{' || earlier.members || '}', '') || '}',
               ',' order by seen.last_here desc
           ) || ']' as members
    from seen
    left join object on object.profile = seen.profile and object.key = seen.key
    left join credit on credit.profile = seen.profile and credit.key = seen.key
    left join earlier on earlier.profile = seen.profile and earlier.key = seen.key
    group by seen.profile
)
select *
from listed
full join tracked using (profile)
"""


def devices(profiles: Profiles, clause: str) -> str:
    """Return the SELECT of profile, members, tracking.

    The members are the devices, last seen first; the tracking is that of TRACKED.
    """
    fields = members_of("spoken", "device_info", "profile, arrival, at_ms, here")
    named_here = devices_named("id_here") if profiles.feeds else ALIKE
    attributed = rest_of(profiles, clause, "contains(rest, '\"attribution_info\":{')")
    return stepwise(
        DEVICES,
        remembered=("spoken", "statement", "id", "named_anywhere", "named", "of_device"),
        spoken=rest_of(profiles, clause, "contains(rest, '\"device_info\":{')"),
        credited=select(CREDIT_COLUMNS, f"({attributed})"),
        field=reading(FIELD.format(columns=kind_named("name")), member=fields),
        stamp=STAMP,
        added=_added(profiles, clause),
        statement=STATEMENTS,
        # each batch's device, by its ids
        id=IDS.format(columns=f"kind || ':' || {id_text('text', string('text'))}"),
        id_here=IDS_HERE,
        named_anywhere=devices_named("id"),
        named=named_here,
        of_device=reading(OF_DEVICE, statement=select("*", "statement", "where here")),
        # what each device has
        seen=SIGHTINGS,
        newest=NEWEST,
        **_earlier(),
        credit=CREDITED,
        tracked=TRACKED,
    )


def _earlier() -> dict[str, str]:
    """Return the queries that find `earlier`: the values that devices had before."""
    guids = texts(kind.name for kind in TYPES if kind.device and kind.shape == "guid")
    plain = trimmed("text")
    id_key = f"case when kind in ({guids}) then {folded(plain)} else {plain} end"
    spoken = f"case when starts_with(text, '\"') then {string('text')} else text end"
    no_id = (
        f"lower(id_key) in ({texts(sorted(NOBODYS))})"
        f" or (kind in ({guids}) and not regexp_full_match(id_key, '{GUID}'))"
    )
    keys = select("*", f"({ID_KEYS.format(columns=id_key)} group by all)", f"where not ({no_id})")
    return {
        "stated_id": STATED_IDS.format(columns=spoken),
        "latest_id": LATEST_IDS.format(columns=spoken),
        "latest_key": LATEST_KEYS.format(columns=id_key),
        "id_before": keys,
        "replaced": REPLACED,
        "earlier": EARLIER,
    }


def _added(profiles: Profiles, clause: str) -> str:
    """Return the SELECT of the ids of devices that rows have in columns, in the shape of field."""
    parts = []
    for segment in profiles.segments:
        for kind in segment.identities:
            if BY_NAME[kind].device:
                name = quote_text(kind)
                columns = [
                    *("profile", "arrival", "at_ms"),
                    f"{profiles.feeds or 'true'} as here",
                    f"{name} as name",
                    f"to_json(i_{kind})::varchar as text",
                    f"{name} as kind",
                    "0 as own",
                ]
                brought = both(clause, f"i_{kind} is not null")
                parts.append(select(columns, segment.table("row"), brought))
    return union_all(parts, NO_STATEMENT)
