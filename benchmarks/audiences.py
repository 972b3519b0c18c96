"""Five audiences over 10 million events of a million profiles, against hand-written queries of the
same content.

    python benchmarks/audiences.py [--profiles N] [--events N] [--runs N] [--folder DIR]

Prints a Markdown table: processor seconds (the least of the runs, ours and theirs in turn) and wall
seconds. The hand-written queries are plain: they know which values are strings and which numbers
are short, and take JSON as DuckDB spells it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from profilectl.audiences.membership_sql import AudienceToEvaluate, members, needs
from profilectl.rules.criteria.text import criterion_of
from profilectl.store.scratch import connect

NOW_MS = 1_725_000_000_000
DAY_MS = 86_400_000
COLUMN = {"tier": 0, "visits": 1, "city": 2, "interests": 3, "joined": 4}
MADE = (
    """create table everybody as select i as profile, i as mpid, 0::utinyint as environment,
        1600000000000 + (hash(i) % 120000000000)::bigint as first_seen_ms, 1720000000000 + (hash(i + 7) % 5000000000)::bigint as last_seen_ms,
        ['user' || i || '@example.com'] as i_email, case when i % 3 = 0 then ['+4912345' || i] end as i_mobile_number,
        case hash(i + 1) % 4 when 0 then 'gold' when 1 then 'Silver' when 2 then 'bronze' end as v0, chr(31) || (hash(i + 2) % 100) as v1,
        case hash(i + 3) % 3 when 0 then 'Berlin' when 1 then 'Paris' else 'London' end as v2,
        case when i % 2 = 0 then chr(31) || '["golf","ski","' || (i % 50) || '"]' end as v3,
        case when i % 5 <> 0 then '2024-0' || (1 + i % 9) || '-1' || (i % 10) end as v4
    from range({profiles}) as one(i)""",
    """create table event as select (hash(i) % {profiles})::bigint as profile, i // 3 as arrival, (i % 3)::integer as place,
        case when i % 10 < 7 then 'custom_event' when i % 10 = 7 then 'session_start' when i % 10 = 8 then 'screen_view' else 'commerce_event' end as type,
        case i % 10 when 7 then null when 8 then 'Home'
            else (['purchase', 'view item', 'add to cart', 'search', 'share', 'login', 'Purchase'])[1 + (hash(i + 5) % 7)::int] end as name,
        1725000000000 - (hash(i + 9) % (180 * 86400000::bigint))::bigint as at_ms,
        '{{"event_type":"custom_event","data":{{"event_name":"x","custom_attributes":{{"price":' || (hash(i + 11) % 500) || '.' || (10 + hash(i + 12) % 90)
            || ',"currency":"' || (['EUR', 'USD', 'GBP'])[1 + (hash(i + 13) % 3)::int] || '","sku":"A-' || (hash(i + 14) % 5000)
            || '"}},"timestamp_unixtime_ms":1724000000000,"source_message_id":"' || md5(i::varchar) || '"}}}}' as event
    from range({events}) as one(i)""",
    """insert into event select i * 97 % {profiles}, i, 0, 'opt_out', null, 1724000000000, '{{"event_type":"opt_out","data":{{"is_opted_out":true}}}}'
    from range({profiles} // 1000) as one(i)""",
    """create table rest as select i as profile, i as arrival, true as speaks_of_consent,
        '{{"device_info":{{"platform":"' || (['iOS', 'Android', 'web'])[1 + (hash(i) % 3)::int] || '","os_version":"' || (10 + hash(i + 1) % 9) || '.' || (hash(i + 2) % 9)
            || '","ios_idfv":"' || md5(i::varchar) || '","device_model":"iPhone12,1","locale_language":"en"}},"consent_state":{{"gdpr":{{"marketing":{{"consented":'
            || (i % 2 = 0) || ',"timestamp_unixtime_ms":1720000000000}}}}}},"application_info":{{"application_name":"shop","application_version":"4.2.1"}}}}' as rest
    from range({profiles}) as one(i)""",
    "create table member as select i * 5 as profile, 'staff' as audience from range({profiles} // 500) as one(i)",
)
CRITERIA = {
    "often, lately, not staff": "tier = 'gold' and count(event 'purchase' within 30 days) >= 2 exclude audience 'staff'",
    "a condition on events": "count(event 'purchase' where (price > 300 and currency = 'EUR') within 90 days) >= 1",
    "attributes and lists": "interests includes 'golf' and city in ('Berlin', 'Paris') and visits >= 50",
    "devices and consent": "device.platform = 'iOS' and device.os_version matches '17*' and consent gdpr.marketing is granted and mobile_number exists",
    "lapsed": "last_seen over 30 days ago and event 'purchase' exclude event 'login' within 30 days and joined after '2024-05-01'",
}
OPTED = (
    "profile not in (select profile from (select profile, arg_max(event ->> '$.data.is_opted_out', at_ms) as said from event"
    " where type = 'opt_out' group by profile) where said = 'true')"
)
BY_HAND = {
    "often, lately, not staff": f"""lower(v0) = 'gold' and profile in (select profile from event where lower(name) = 'purchase'
        and at_ms > {NOW_MS - 30 * DAY_MS} and at_ms <= {NOW_MS} group by profile having count(*) >= 2)
        and profile not in (select profile from member where lower(audience) = 'staff')""",
    "a condition on events": f"""profile in (select profile from event where lower(name) = 'purchase' and at_ms > {NOW_MS - 90 * DAY_MS} and at_ms <= {NOW_MS}
        and try_cast(event ->> '$.data.custom_attributes.price' as decimal(38, 18)) > 300 and lower(event ->> '$.data.custom_attributes.currency') = 'eur')""",
    "attributes and lists": """list_contains(list_transform(case when v3 like chr(31) || '[%' then from_json(v3[2:], '["VARCHAR"]') end, lambda one: lower(one)), 'golf')
        and lower(v2) in ('berlin', 'paris') and try_cast(ltrim(v1, chr(31)) as decimal(38, 18)) >= 50""",
    "devices and consent": """i_mobile_number is not null and profile in (select profile from (
            select profile, rest ->> '$.device_info.ios_idfv' as device, arg_max(rest ->> '$.device_info.platform', arrival) as platform,
                arg_max(rest ->> '$.device_info.os_version', arrival) as version from rest group by profile, device)
            group by profile having bool_or(lower(platform) = 'ios') and bool_or(lower(version) like '17%'))
        and profile in (select profile from rest where speaks_of_consent and (rest -> '$.consent_state.gdpr.marketing') is not null group by profile
            having arg_max(rest ->> '$.consent_state.gdpr.marketing.consented', (rest ->> '$.consent_state.gdpr.marketing.timestamp_unixtime_ms')::bigint) = 'true')""",
    "lapsed": f"""last_seen_ms <= {NOW_MS - 30 * DAY_MS} and profile in (select profile from event where lower(name) = 'purchase')
        and not (profile in (select profile from event where lower(name) = 'login' and at_ms > {NOW_MS - 30 * DAY_MS} and at_ms <= {NOW_MS})
            and coalesce(try_cast(v4 as date) >= date '2024-05-01', false))""",
}


def ours(connection: Any, names: list[str]) -> str:
    """Lay out `person` with the columns that these audiences read, and return their SELECT."""
    audiences = [AudienceToEvaluate(name, criterion_of(CRITERIA[name])) for name in names]
    held = "".join(
        f", v{COLUMN[key]} as v{place}" for place, key in enumerate(needs(audiences).attributes)
    )
    connection.execute(
        f"create or replace view person as select profile, environment, first_seen_ms, last_seen_ms, i_email, i_mobile_number{held} from everybody"
    )
    return members(audiences, NOW_MS)


def timed(connection: Any, select: str) -> tuple[float, float, int]:
    """Return processor seconds, wall seconds and the number of rows."""
    processor, wall = time.process_time(), time.perf_counter()
    (rows,) = connection.execute(f"select count(*) from ({select})").fetchone()
    return time.process_time() - processor, time.perf_counter() - wall, rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--profiles", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="profilectl-audiences-") as folder:
        connection = connect("4GB")
        connection.execute(f"attach '{folder}/made.duckdb' as made")
        connection.execute("use made")
        for statement in MADE:
            connection.execute(statement.format(profiles=options.profiles, events=options.events))
        print(
            "| audience | rows | ours, cpu s | by hand | ratio | ours, wall s | by hand |\n|---|---|---|---|---|---|---|"
        )
        total = [0.0, 0.0]
        for name, where in BY_HAND.items():
            select = ours(connection, [name])
            by_hand = f"select profile from everybody where {where} and {OPTED}"
            pairs = [
                (timed(connection, select), timed(connection, by_hand)) for _ in range(options.runs)
            ]
            mine, theirs = min(one for one, _ in pairs), min(one for _, one in pairs)
            assert mine[2] == theirs[2], f"{name}: {mine[2]} rows, {theirs[2]} by hand"
            total = [total[0] + theirs[0], total[1] + theirs[1]]
            print(
                f"| {name} | {mine[2]:,} | {mine[0]:.2f} | {theirs[0]:.2f} | {mine[0] / theirs[0]:.2f} | {mine[1]:.2f} | {theirs[1]:.2f} |",
                flush=True,
            )
        every = ours(connection, list(CRITERIA))
        mine = min(timed(connection, every) for _ in range(options.runs))
        print(
            f"| all five in one | {mine[2]:,} | {mine[0]:.2f} | {total[0]:.2f} | {mine[0] / total[0]:.2f} | {mine[1]:.2f} | {total[1]:.2f} |"
        )


if __name__ == "__main__":
    main()
