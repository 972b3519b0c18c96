"""How long do twelve calculated attributes take over many events, against a query by hand?

It compares the computation alone, in this process, and shows that both give the same values. The
query by hand knows these data: prices have two decimals and are spelled as DuckDB spells them, no
value is a list, and nobody has more than 100 colors. activity.py measures the commands.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

from bench import Bench
from data import CALCULATED_EVENTS
from process import say
from report import Answer, seconds_text

from profilectl.audiences.sql.calculated_sql import compute
from profilectl.rules.calculated import TYPES, Definition
from profilectl.store.scratch import Scratch

HEADINGS = (
    "prices",
    "seconds",
    "by hand",
    "ratio",
    "values",
    "values that differ",
    "1 % of people",
)
NOW_MS = 1_700_000_000_000
# How prices are spelled: numbers as DuckDB writes them (12.5), texts, numbers it rewrites (12.50).
SPELLINGS = ("number", "text", "zeros")
OF_PRICE = ("sum", "minimum", "maximum", "average")

BY_HAND = """
create or replace temp table by_hand as
with purchase as (
    select profile, arrival, place, at_ms, json_extract_string(event, [
        '$.data.custom_attributes.price', '$.data.custom_attributes.currency',
        '$.data.custom_attributes.color'
    ]) as v
    from event
    where type = 'custom_event' and lower(name) = 'purchase'
), priced as materialized (
    select profile, arrival, place, at_ms, v[1]::decimal(38, 10) as price, v[3] as color,
           lower(v[2]) = 'eur' as is_eur,
           lower(v[2]) = 'eur'
               and at_ms > getvariable('now_ms') - 2592000000
               and at_ms <= getvariable('now_ms') as is_recent
    from purchase
), person as (
    select profile,
           count(*) as number,
           sum(price) filter (is_recent) as recent_sum,
           bool_or(is_eur) as has_eur,
           min(price) as least,
           max(price) as most,
           sum(price) / count(*) as mean,
           arg_min(color, {'at': at_ms, 'arrival': arrival, 'place': place}) as first_color,
           arg_max(color, {'at': at_ms, 'arrival': arrival, 'place': place}) as last_color,
           min(at_ms) as since_ms,
           max(at_ms) as until_ms
    from priced
    group by profile
), colored as (
    select profile, color, count(*) as number
    from priced
    group by profile, color
), palette as (
    select profile,
           arg_min(color, {'number': -number, 'lower': lower(color), 'color': color})
               as favorite_color,
           count(*) as colors,
           list_transform(
               list_sort(list({'lower': lower(color), 'color': color})),
               lambda entry: entry.color
           ) as all_colors
    from colored
    group by profile
), wide as materialized (
    select * exclude (palette.profile)
    from person
    join palette on person.profile = palette.profile
)
select profile, 'count' as name, chr(31) || number as held from wide
union all
select profile, 'sum', chr(31) || rtrim(rtrim(coalesce(recent_sum, 0)::varchar, '0'), '.')
from wide
where has_eur
union all
select profile, 'minimum', chr(31) || rtrim(rtrim(least::varchar, '0'), '.') from wide
union all
select profile, 'maximum', chr(31) || rtrim(rtrim(most::varchar, '0'), '.') from wide
union all
select profile, 'average',
       chr(31) || rtrim(rtrim(round(mean, 10)::decimal(38, 10)::varchar, '0'), '.')
from wide
union all
select profile, 'most_frequent', favorite_color from wide
union all
select profile, 'unique_values_count', chr(31) || colors from wide
union all
select profile, 'first_value', first_color from wide
union all
select profile, 'last_value', last_color from wide
union all
select profile, 'first_timestamp', strftime(epoch_ms(since_ms), '%Y-%m-%dT%H:%M:%S.%gZ') from wide
union all
select profile, 'last_timestamp', strftime(epoch_ms(until_ms), '%Y-%m-%dT%H:%M:%S.%gZ') from wide
union all
select profile, 'unique_list', chr(31) || to_json(all_colors) from wide
"""
DIFFERENT = """
select count(*)
from (
    from by_hand except from calculated
    union all
    (from calculated except from by_hand)
)
"""
TOUCHED = """
create temp table touched as
select profile from range(getvariable('touched')) as person(profile)
"""


def answer(bench: Bench) -> Answer:
    """Compute the attributes for each spelling of prices."""
    rows = [_row(bench, spelling) for spelling in SPELLINGS]
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    events, people = bench.sizes.events, bench.sizes.people
    note = f"{events:,} events of {people:,} people; memory {memory_mb:,.0f} MB."
    return Answer(HEADINGS, rows, [note])


def _row(bench: Bench, spelling: str) -> tuple[str, ...]:
    with bench.room() as room:
        scratch = Scratch(room)
        try:
            _load(scratch, bench, spelling)
            for _ in range(2):  # the second time, both find the data in memory
                by_hand = _seconds(lambda: scratch.run(BY_HAND))
                ours = _seconds(lambda: compute(scratch, _definitions(), NOW_MS))
            say(f"  {spelling}: {ours:.2f} s, by hand {by_hand:.2f} s")
            values, different = scratch.count("calculated"), scratch.row(DIFFERENT)[0]
            scratch.run(TOUCHED)
            touched = _seconds(lambda: compute(scratch, _definitions(), NOW_MS, profiles="touched"))
        finally:
            scratch.close()
    return (
        spelling,
        seconds_text(ours),
        seconds_text(by_hand),
        f"{ours / by_hand:.2f}",
        f"{values:,}",
        f"{different:,}",
        f"{seconds_text(touched)} s",
    )


def _load(scratch: Scratch, bench: Bench, spelling: str) -> None:
    variables = {
        "people": bench.sizes.people,
        "events": bench.sizes.events,
        "touched": max(1, bench.sizes.people // 100),
        "now_ms": NOW_MS,
        "spelling": spelling,
    }
    for name, value in variables.items():
        scratch.run(f"set variable {name} = $value", {"value": value})
    scratch.run(CALCULATED_EVENTS)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _definitions() -> list[Definition]:
    """Return one definition of each type; the sum has a condition and a window."""
    definitions = []
    for name, kind in TYPES.items():
        of = None if not kind.of else "price" if name in OF_PRICE else "color"
        condition, within = ("currency = 'EUR'", "30 days") if name == "sum" else (None, None)
        definitions.append(
            Definition(name, name, "purchase", of=of, where=condition, within=within)
        )
    return definitions
