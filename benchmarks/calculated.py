"""Time twelve calculated attributes over many events against a query written by hand for just these
data.

    python benchmarks/calculated.py [EVENTS] [PROFILES] [number|text|zeros]

number: prices are JSON numbers as DuckDB spells them (12.5); text: in quotes; zeros: JSON numbers
that it spells anew (12.50). The query by hand gives the same rows, and is for these data: it knows
that prices have two decimals and may be spelled as DuckDB does, that no value is a list, and that
nobody has more than 100 colors.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from profilectl.audiences.calculated_sql import compute
from profilectl.rules.calculated import TYPES, Definition
from profilectl.store.scratch import Scratch

NOW_MS = 1_700_000_000_000

PRICE = {
    "number": "(i * 7919 % 10000 / 100)::decimal(10, 2)::double",
    "text": "'\"' || (i * 7919 % 10000 / 100)::decimal(10, 2) || '\"'",
    "zeros": "(i * 7919 % 10000 / 100)::decimal(10, 2)",
}

EVENTS = """
select (hash(i) % {profiles})::bigint as profile, i as arrival, 0::integer as place, 0::utinyint as environment, 1::usmallint as feed,
    'custom_event' as type, case when i % 10 = 0 then 'view' else 'purchase' end as name, {now} - (i * 7919 % 5184000000) as at_ms,
    null::varchar as session,
    '{{"data":{{"event_name":"purchase","custom_event_type":"transaction","custom_attributes":{{"price":' || {price} || ',"currency":"'
    || case when i % 3 = 0 then 'USD' else 'EUR' end || '","color":"' || ['red', 'green', 'blue', 'black', 'white', 'yellow', 'orange'][1 + (hash(i, 3) % 7)::integer]
    || '","sku":"abc-' || hash(i, 5) % 977 || '"}},"timestamp_unixtime_ms":1700000000000}},"event_type":"custom_event"}}' as event
from range({events}) one(i) order by profile
"""

BY_HAND = """
with taken as (
    select profile, arrival, place, at_ms, json_extract_string(event, ['$.data.custom_attributes.price', '$.data.custom_attributes.currency', '$.data.custom_attributes.color']) as v
    from event where type = 'custom_event' and lower(name) = 'purchase'
), kept as materialized (
    select profile, arrival, place, at_ms, v[1]::decimal(38, 10) as price, v[3] as color,
        lower(v[2]) = 'eur' as eur, lower(v[2]) = 'eur' and at_ms > {now} - 2592000000 and at_ms <= {now} as recent from taken
), person as (
    select profile, count(*) as n, sum(price) filter (recent) as s, bool_or(eur) as ever, min(price) as least, max(price) as most,
        (sum(price) / count(*)) as mean, arg_min(color, {{'at': at_ms, 'arrival': arrival, 'place': place}}) as first,
        arg_max(color, {{'at': at_ms, 'arrival': arrival, 'place': place}}) as last, min(at_ms) as since, max(at_ms) as until
    from kept group by profile
), colors as (select profile, color, count(*) as often from kept group by profile, color),
color as (
    select profile, arg_min(color, {{'often': -often, 'lower': lower(color), 'color': color}}) as often, count(*) as different,
        list_transform(list_sort(list({{'lower': lower(color), 'color': color}})), lambda it: it.color) as listed
    from colors group by profile
), wide as materialized (select * exclude (color.profile) from person join color on person.profile = color.profile)
select profile, 'count' as name, chr(31) || n as held from wide
union all select profile, 'sum', chr(31) || rtrim(rtrim(coalesce(s, 0)::varchar, '0'), '.') from wide where ever
union all select profile, 'minimum', chr(31) || rtrim(rtrim(least::varchar, '0'), '.') from wide
union all select profile, 'maximum', chr(31) || rtrim(rtrim(most::varchar, '0'), '.') from wide
union all select profile, 'average', chr(31) || rtrim(rtrim(round(mean, 10)::decimal(38, 10)::varchar, '0'), '.') from wide
union all select profile, 'most_frequent', often from wide
union all select profile, 'unique_values_count', chr(31) || different from wide
union all select profile, 'first_value', first from wide
union all select profile, 'last_value', last from wide
union all select profile, 'first_timestamp', strftime(epoch_ms(since), '%Y-%m-%dT%H:%M:%S.%gZ') from wide
union all select profile, 'last_timestamp', strftime(epoch_ms(until), '%Y-%m-%dT%H:%M:%S.%gZ') from wide
union all select profile, 'unique_list', chr(31) || to_json(listed) from wide
"""


def definitions() -> list[Definition]:
    """Return one definition of each type, over the same events; the sum has a condition and a
    window.
    """
    found = []
    for name, kind in TYPES.items():
        of = (
            None
            if not kind.of
            else "price"
            if name in ("sum", "minimum", "maximum", "average")
            else "color"
        )
        where, within = ("currency = 'EUR'", "30 days") if name == "sum" else (None, None)
        found.append(Definition(name, name, "purchase", of=of, where=where, within=within))
    return found


def main() -> None:
    events, profiles = (int(one) for one in (sys.argv[1:3] or ("2000000", "200000")))
    prices = sys.argv[3] if len(sys.argv) > 3 else "number"
    with tempfile.TemporaryDirectory() as folder:
        scratch = Scratch(Path(folder))
        scratch.run(f"attach '{folder}/events.duckdb' as store")
        scratch.run(
            f"create table store.event as {EVENTS.format(events=events, profiles=profiles, now=NOW_MS, price=PRICE[prices])}"
        )
        scratch.make("event", "select * from store.event", keep=False)
        print(f"{events:,} events of {profiles:,} profiles, prices as {prices}")
        for again in range(2):
            began = time.perf_counter()
            scratch.make("by_hand", BY_HAND.format(now=NOW_MS))
            by_hand = time.perf_counter() - began
            scratch.steps.clear()
            began = time.perf_counter()
            hard = compute(scratch, definitions(), NOW_MS)
            ours = time.perf_counter() - began
            print(
                f"by hand {by_hand:.1f} s, compute {ours:.1f} s: {ours / by_hand:.2f}x; by the reference {hard}; {scratch.count('by_hand'):,} and {scratch.count('calculated'):,} values"
            )
            if again:
                for step, seconds in scratch.steps:
                    print(f"    {seconds:6.2f} s  {step}")
        some = max(1, profiles // 100)
        differ = scratch.row(
            "select count(*) from (from by_hand except from calculated union all (from calculated except from by_hand))"
        )[0]
        print(f"rows that differ: {differ}")
        scratch.make("touched", f"select profile from range({some}) one(profile)")
        began = time.perf_counter()
        compute(scratch, definitions(), NOW_MS, profiles="touched")
        print(
            f"{some:,} touched profiles {time.perf_counter() - began:.2f} s; memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB"
        )
        scratch.close()


if __name__ == "__main__":
    main()
