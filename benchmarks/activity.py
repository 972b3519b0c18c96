"""What do events, calculated attributes and audiences cost, against DuckDB by hand?

The statements by hand are for just these data. Every time is that of a whole process. calculated.py
compares the computation alone, and audiences.py each kind of criterion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import floor
from bench import Bench
from data import EVENTS_NOW_MS
from process import Sample, profilectl, run_sql, say
from report import Answer, megabytes, seconds_text

HEADINGS = ("work", "seconds", "CPU s", "peak MB", "")
MORE_ROWS = 10_000
LOOKS = (
    ("show", "--customer-id", "C1711"),
    ("events", "--customer-id", "C1711"),
    ("events", "--since", "2026-09-20", "--limit", "5"),
    ("audiences", "list"),
)

CONFIGURATION = """
[calculated.purchases]
type = "count"
event = "purchase"

[calculated.spent]
type = "sum"
event = "purchase"
of = "price"
where = "currency = 'EUR'"

[calculated.spent_recently]
type = "sum"
event = "purchase"
of = "price"
within = "30 days"

[calculated.cheapest]
type = "minimum"
event = "purchase"
of = "price"

[calculated.dearest]
type = "maximum"
event = "purchase"
of = "price"

[calculated.average_price]
type = "average"
event = "purchase"
of = "price"

[calculated.favorite_color]
type = "most_frequent"
event = "view"
of = "color"

[calculated.colors]
type = "unique_values_count"
event = "view"
of = "color"

[calculated.first_color]
type = "first_value"
event = "view"
of = "color"

[calculated.last_color]
type = "last_value"
event = "view"
of = "color"

[calculated.last_seen_buying]
type = "last_timestamp"
event = "purchase"

[calculated.all_colors]
type = "unique_list"
event = "view"
of = "color"

[audiences.gold]
criteria = "tier = 'gold' and spent > 50"

[audiences.regulars]
criteria = "count(event 'purchase' within 30d) >= 2"

[audiences.browsers]
criteria = "event 'view' where (color = 'red' and price > 20) exclude event 'purchase' within 14d"

[audiences.reachable]
criteria = "email exists and city starts with 'City 1'"

[audiences.best]
criteria = "audience 'gold' and audience 'regulars'"
"""

# What CONFIGURATION defines, as somebody writes it who knows these data, for the people in
# `chosen_person` and their events in `chosen_event`.
BY_HAND = """
create temp table picked as
select n, name, at_ms, v[1]::decimal(18, 2) as price, v[2] as currency, v[3] as color
from (
    select n, name, at_ms, json_extract_string(event, [
        '$.data.custom_attributes.price', '$.data.custom_attributes.currency',
        '$.data.custom_attributes.color'
    ]) as v
    from chosen_event
);
create temp table computed as
select n,
       count(*) filter (name = 'purchase') as purchases,
       sum(price) filter (name = 'purchase' and currency = 'EUR') as spent,
       sum(price) filter (
           name = 'purchase' and at_ms > getvariable('now_ms') - 30 * 86400000::bigint
       ) as spent_recently,
       min(price) filter (name = 'purchase') as cheapest,
       max(price) filter (name = 'purchase') as dearest,
       avg(price) filter (name = 'purchase') as average_price,
       mode(color) filter (name = 'view') as favorite_color,
       count(distinct color) filter (name = 'view') as colors,
       arg_min(color, at_ms) filter (name = 'view') as first_color,
       arg_max(color, at_ms) filter (name = 'view') as last_color,
       max(at_ms) filter (name = 'purchase') as last_seen_buying,
       list(distinct color) filter (name = 'view') as all_colors
from picked
group by n;
create temp table counted as
select n,
       count(*) filter (
           name = 'purchase' and at_ms > getvariable('now_ms') - 30 * 86400000::bigint
       ) as bought,
       count(*) filter (
           name = 'purchase' and at_ms > getvariable('now_ms') - 14 * 86400000::bigint
       ) as just_bought,
       count(*) filter (color = 'red' and price > 20 and name = 'view') as browsed
from picked
group by n;
create temp table member as
select n, 'gold' as audience
from chosen_person
join computed using (n)
where tier = 'gold' and spent > 50
union all
select n, 'regulars' from counted where bought >= 2
union all
select n, 'browsers' from counted where browsed > 0 and just_bought = 0
union all
select n, 'reachable'
from chosen_person
where email is not null and starts_with(lower(city), 'city 1');
insert into member
select n, 'best'
from member
where audience in ('gold', 'regulars')
group by n
having count(*) = 2
"""

EVERYBODY = """
create temp view chosen_person as from person;
create temp view chosen_event as from event
"""
KEEP_ALL = """
create table calculated as from computed order by n;
create table membership as from member order by audience, n
"""

# Rows of another file into the tables, by customer_id; `arrived` says whose each row is.
ADD_BATCHES = """
create temp table batch as
select n as place, v[1] as customer_id, v[2] as email, v[3] as tier, v[4] as city,
       v[5]::bigint as at_ms
from (
    select n, json_extract_string(line, [
        '$.user_identities.customer_id', '$.user_identities.email', '$.user_attributes.tier',
        '$.user_attributes.city', '$.timestamp_unixtime_ms'
    ]) as v
    from line
);
create temp table arrived as
select batch.place,
       coalesce(person.n, (select max(n) from person) + batch.place) as n,
       person.n is null as is_new
from batch
left join person using (customer_id);
insert into person
select arrived.n, customer_id, email, tier, city, at_ms
from batch
join arrived using (place)
where is_new;
update person
set tier = batch.tier, city = batch.city, at_ms = batch.at_ms
from batch
join arrived using (place)
where arrived.n = person.n;
insert into event
select n, place, v[1], v[2], v[3]::bigint, event
from (
    select n, place, event, json_extract_string(event, [
        '$.event_type', '$.data.event_name', '$.data.timestamp_unixtime_ms'
    ]) as v
    from (
        select n, unnest(events) as event, unnest(range(len(events))) as place
        from (
            select arrived.n, json_extract(line.line, '$.events[*]') as events
            from line
            join arrived on arrived.place = line.n
        )
    )
)
"""
ARRIVED = """
create temp view chosen_person as from person where n in (select n from arrived);
create temp view chosen_event as from event where n in (select n from arrived)
"""
KEEP_ARRIVED = """
delete from calculated where n in (select n from arrived);
insert into calculated from computed;
delete from membership where n in (select n from arrived);
insert into membership from member
"""


@dataclass
class Table:
    """The rows so far, and what they are about."""

    store: Path
    """The store of profilectl."""
    database: Path
    """The tables by hand."""
    more_rows: int
    """The rows of the files that are imported later."""
    rows: list[tuple[str, ...]] = field(default_factory=list)
    """The cells, row by row."""

    def run(self, title: str, *words: str | Path, by_hand: Sample | None = None) -> None:
        """Run a command and add its row."""
        sample = profilectl(self.store, *words)
        say(f"  {title}: {sample.seconds:.2f} s")
        remark = ""
        if by_hand is not None:
            ratio = sample.seconds / by_hand.seconds
            of_cpu = sample.cpu_seconds / by_hand.cpu_seconds
            remark = (
                f"{ratio:.2f} x by hand ({seconds_text(by_hand.seconds)} s),"
                f" CPU {of_cpu:.2f} x ({seconds_text(by_hand.cpu_seconds)} s)"
            )
        spent = seconds_text(sample.seconds), seconds_text(sample.cpu_seconds)
        self.rows.append((title, *spent, megabytes(sample.peak), remark))


def answer(bench: Bench) -> Answer:
    """Import batches with events; define attributes and audiences; import again; look."""
    people, more_rows = bench.sizes.people, min(MORE_ROWS, bench.sizes.people)
    lines = bench.data.event_batches(0, people)
    more = bench.data.event_batches(people - more_rows // 2, more_rows)
    again = bench.data.event_batches(people - more_rows * 2 // 5, more_rows)
    with bench.room() as room:
        table = Table(room / "store.duckdb", room / "floor.duckdb", more_rows)
        _import_all(table, lines, more)
        _define(table, room / "shop.toml")
        _keep_up_to_date(table, again)
        for words in LOOKS:
            table.run(f"`{' '.join(words)}`", *words)
        note = (
            f"{people * bench.sizes.events_each:,} events of {people:,} people, "
            f"{megabytes(lines.stat().st_size)} MB; the store has "
            f"{megabytes(table.store.stat().st_size)} MB, the tables by hand "
            f"{megabytes(table.database.stat().st_size)} MB."
        )
    return Answer(HEADINGS, table.rows, [note])


def _import_all(table: Table, lines: Path, more: Path) -> None:
    by_hand = floor.read_batches(lines, table.database)
    table.run("import", *_import(lines), by_hand=by_hand)
    # ... so that what is refreshed later is as many rows and events as by hand
    by_hand = run_sql(
        floor.READ_LINES,
        "begin",
        ADD_BATCHES,
        "commit",
        "checkpoint",
        database=table.database,
        path=str(more),
    )
    title = f"import of {table.more_rows:,} rows more, half of them known"
    table.run(title, *_import(more), by_hand=by_hand)


def _define(table: Table, configuration: Path) -> None:
    configuration.write_text(CONFIGURATION)
    by_hand = run_sql(
        EVERYBODY, BY_HAND, KEEP_ALL, "checkpoint", database=table.database, now_ms=EVENTS_NOW_MS
    )
    title = "twelve calculated attributes, five audiences, for everybody"
    table.run(title, "config", "apply", configuration, by_hand=by_hand)
    title = "... the calculated attributes and what rests on them once more"
    table.run(title, "calculated", "recalculate", "--json")


def _keep_up_to_date(table: Table, again: Path) -> None:
    by_hand = run_sql(
        floor.READ_LINES,
        "begin",
        ADD_BATCHES,
        ARRIVED,
        BY_HAND,
        KEEP_ARRIVED,
        "commit",
        "checkpoint",
        database=table.database,
        path=str(again),
        now_ms=EVENTS_NOW_MS,
    )
    title = f"import of {table.more_rows:,} rows, all of it kept up to date"
    table.run(title, *_import(again), by_hand=by_hand)


def _import(file: Path) -> tuple[str | Path, ...]:
    return ("import", file, "--feed", "app", "--json")
