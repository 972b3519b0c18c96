"""How long does an audience take over many events, against a query by hand of the same people?

The command previews each criterion, as of a fixed time; by hand it is counted in tables of the same
file. Both must find as many people. The command's time includes its start, about half a second.
The queries by hand know which values are texts and which numbers are short.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import floor
from bench import Bench
from data import AUDIENCES_NOW_MS
from process import Failed, Sample, alternate, answer_of, import_file, profilectl, run_sql
from report import Answer, seconds_text

HEADINGS = ("audience", "people", "cpu s", "by hand", "ratio", "seconds", "by hand")
AS_OF = "2024-08-30T06:40:00Z"

STAFF = "staff = 'yes'"

# The file's lines into tables, one of people and one of events, with the values as columns.
PEOPLE_BY_HAND = """
create table person as
select n, v[1] as email, v[2] as mobile_number, v[3] as tier, v[4]::integer as visits,
       v[5] as city, try_cast(v[6] as date) as joined, v[7] as staff, v[8]::bigint as at_ms,
       v[9] as platform, v[10] as os_version, v[11] = 'true' as has_consented, interests
from (
    select n, json_extract_string(line, '$.user_attributes.interests[*]') as interests,
           json_extract_string(line, [
               '$.user_identities.email', '$.user_identities.mobile_number',
               '$.user_attributes.tier', '$.user_attributes.visits', '$.user_attributes.city',
               '$.user_attributes.joined', '$.user_attributes.staff', '$.timestamp_unixtime_ms',
               '$.device_info.platform', '$.device_info.os_version',
               '$.consent_state.gdpr.marketing.consented'
           ]) as v
    from line
)
order by n
"""
EVENTS_BY_HAND = """
create table event as
select n, v[1] as type, lower(v[2]) as name, v[3]::bigint as at_ms, event
from (
    select n, event, json_extract_string(event, [
        '$.event_type', '$.data.event_name', '$.data.timestamp_unixtime_ms'
    ]) as v
    from (select n, unnest(json_extract(line, '$.events[*]')) as event from line)
)
order by n
"""

# Nobody who has opted out is in an audience.
OFTEN_BY_HAND = """
select count(*)
from person
where lower(tier) = 'gold'
  and staff is null
  and n not in (select n from event where type = 'opt_out')
  and n in (
    select n
    from event
    where name = 'purchase'
      and at_ms > getvariable('now_ms') - 30 * 86400000::bigint
      and at_ms <= getvariable('now_ms')
    group by n
    having count(*) >= 2
  )
"""
EVENT_CONDITION_BY_HAND = """
select count(*)
from person
where n not in (select n from event where type = 'opt_out')
  and n in (
    select n
    from event
    where name = 'purchase'
      and at_ms > getvariable('now_ms') - 90 * 86400000::bigint
      and at_ms <= getvariable('now_ms')
      and (event ->> '$.data.custom_attributes.price')::decimal(18, 2) > 300
      and event ->> '$.data.custom_attributes.currency' = 'EUR'
  )
"""
ATTRIBUTES_BY_HAND = """
select count(*)
from person
where n not in (select n from event where type = 'opt_out')
  and list_contains(interests, 'golf')
  and city in ('Berlin', 'Paris')
  and visits >= 50
"""
DEVICE_BY_HAND = """
select count(*)
from person
where n not in (select n from event where type = 'opt_out')
  and platform = 'iOS'
  and starts_with(os_version, '17')
  and has_consented
  and mobile_number is not null
"""
LAPSED_BY_HAND = """
select count(*)
from person
where n not in (select n from event where type = 'opt_out')
  and at_ms <= getvariable('now_ms') - 30 * 86400000::bigint
  and n in (select n from event where name = 'purchase')
  and not (
    coalesce(joined >= date '2024-05-01', false)
    and n in (
      select n
      from event
      where name = 'login'
        and at_ms > getvariable('now_ms') - 30 * 86400000::bigint
        and at_ms <= getvariable('now_ms')
    )
  )
"""


class Audience(NamedTuple):
    """An audience, and the same people by hand."""

    title: str
    """What is special about it."""
    criteria: str
    """Its criteria, as a user writes them."""
    by_hand: str
    """A SELECT that counts its people."""


AUDIENCES = (
    Audience(
        title="often, lately, not staff",
        criteria=(
            "tier = 'gold' and count(event 'purchase' within 30 days) >= 2 exclude audience 'staff'"
        ),
        by_hand=OFTEN_BY_HAND,
    ),
    Audience(
        title="a condition on events",
        criteria=(
            "count(event 'purchase' where (price > 300 and currency = 'EUR') within 90 days) >= 1"
        ),
        by_hand=EVENT_CONDITION_BY_HAND,
    ),
    Audience(
        title="attributes and lists",
        criteria="interests includes 'golf' and city in ('Berlin', 'Paris') and visits >= 50",
        by_hand=ATTRIBUTES_BY_HAND,
    ),
    Audience(
        title="devices and consent",
        criteria=(
            "device.platform = 'iOS' and device.os_version matches '17*'"
            " and consent gdpr.marketing is granted and mobile_number exists"
        ),
        by_hand=DEVICE_BY_HAND,
    ),
    Audience(
        title="lapsed",
        criteria=(
            "last_seen over 30 days ago and event 'purchase'"
            " exclude event 'login' within 30 days and joined after '2024-05-01'"
        ),
        by_hand=LAPSED_BY_HAND,
    ),
)


def answer(bench: Bench) -> Answer:
    """Import the people, and read the same file into tables; then count each audience both ways."""
    file = bench.data.audience_batches()
    with bench.room() as room:
        store, database = room / "store.duckdb", room / "floor.duckdb"
        import_file(store, file, feed="app", source="custom-feed")
        profilectl(store, "audiences", "add", "staff", STAFF)
        run_sql(floor.READ_LINES, PEOPLE_BY_HAND, EVENTS_BY_HAND, database=database, path=str(file))
        rows = [
            _row(
                audience,
                _measured(audience, store=store, database=database, runs=bench.options.runs),
            )
            for audience in AUDIENCES
        ]
    people, events = bench.sizes.people, bench.sizes.people * bench.sizes.events_each
    return Answer(HEADINGS, rows, [f"{events:,} events of {people:,} people."])


def _measured(
    audience: Audience, *, store: Path, database: Path, runs: int
) -> dict[str, list[Sample]]:
    preview = ("audiences", "preview", audience.criteria, "--kind", "standard", "--now", AS_OF)
    steps = {
        "preview": lambda: profilectl(store, *preview, "--json"),
        "by hand": lambda: run_sql(audience.by_hand, database=database, now_ms=AUDIENCES_NOW_MS),
    }
    return alternate(runs, steps)


def _row(audience: Audience, samples: dict[str, list[Sample]]) -> tuple[str, ...]:
    people = int(json.loads(samples["preview"][0].printed)["members"])
    by_hand = int(answer_of(samples["by hand"][0]))
    if people != by_hand:
        raise Failed(f"{audience.title}: {people} people, {by_hand} by hand")
    cpu, cpu_by_hand = _least(samples["preview"]), _least(samples["by hand"])
    return (
        audience.title,
        f"{people:,}",
        seconds_text(cpu),
        seconds_text(cpu_by_hand),
        f"{cpu / cpu_by_hand:.2f}",
        seconds_text(min(sample.seconds for sample in samples["preview"])),
        seconds_text(min(sample.seconds for sample in samples["by hand"])),
    )


def _least(samples: Sequence[Sample]) -> float:
    return min(sample.cpu_seconds for sample in samples)
