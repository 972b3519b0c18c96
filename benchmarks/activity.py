"""Events, calculated attributes and audiences at size, against DuckDB queries written by hand for
just these data.

    python benchmarks/activity.py [--profiles N] [--events-each N] [--folder DIR]

One batch a profile, so many events each. Prints a Markdown table: the import of the file, against
reading the same file into tables of the same content; twelve calculated attributes and five
audiences for everybody, and after an import of 10,000 rows, against statements that do just that;
looking at one user. Every time is that of a whole process. calculated.py and audiences.py compare
the two computations alone, in one process.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LINES = """
import duckdb, sys
connection = duckdb.connect()
connection.execute("set enable_progress_bar = false")
first, profiles, each, path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
event = '''
    '{"data":{"event_name":"' || ['purchase', 'view', 'view', 'search'][1 + ((n * 7 + e) % 4)] || '","custom_event_type":"other","timestamp_unixtime_ms":'
    || (1790000000000 - (n * 7919 + e * 104729) % 5184000000) || ',"custom_attributes":{"price":"' || ((n * 31 + e * 17) % 10000) // 100 || '.' || lpad(((n + e) % 100)::varchar, 2, '0')
    || '","currency":"' || case when (n + e) % 3 = 0 then 'USD' else 'EUR' end || '","color":"' || ['red', 'green', 'blue', 'black', 'white'][1 + ((n + e * 3) % 5)]
    || '","sku":"sku-' || (n * 13 + e) % 977 || '"}},"event_type":"custom_event"}'
'''
connection.execute(f'''
    copy (select '{{"user_identities":{{"customer_id":"C' || n || '","email":"person' || n || '@example.com"}},"user_attributes":{{"tier":"' || ['gold', 'silver', 'bronze'][1 + (n % 3)]
        || '","city":"City ' || n % 1000 || '"}},"timestamp_unixtime_ms":1790000000000,"events":[' || array_to_string([{", ".join(event.replace("e *", f"{e} *").replace("+ e)", f"+ {e})") for e in range(each))}], ',') || ']}}' as line
        from range({first}, {first + profiles}) as one(n)) to '{path}' (format csv, header false, quote '', escape '', delimiter '\\x01')
''')
"""

FLOOR = """
import duckdb, sys
connection = duckdb.connect(sys.argv[2])
connection.execute("set enable_progress_bar = false")
connection.execute("set preserve_insertion_order = false")
connection.execute(f'''
    create temp table line as select row_number() over () as n, line from read_csv('{sys.argv[1]}', auto_detect = false, header = false, columns = {{'line': 'VARCHAR'}}, delim = '\\x01', quote = '', escape = '')
''')
connection.execute('''
    create table person as select n, v[1] as customer_id, v[2] as email, v[3] as tier, v[4] as city, v[5]::bigint as at_ms from (select n, json_extract_string(line,
        ['$.user_identities.customer_id', '$.user_identities.email', '$.user_attributes.tier', '$.user_attributes.city', '$.timestamp_unixtime_ms']) as v from line) order by n
''')
connection.execute('''
    create table event as select n, place, v[1] as type, v[2] as name, v[3]::bigint as at_ms, event from (select n, place, event, json_extract_string(event,
        ['$.event_type', '$.data.event_name', '$.data.timestamp_unixtime_ms']) as v from (select n, unnest(one) as event, unnest(range(len(one))) as place
        from (select n, json_extract(line, '$.events[*]') as one from line))) order by n, place
''')
connection.execute("checkpoint")
"""

# What CONFIGURATION says, as one who knows these data would write it; {people} says of whom.
BY_HAND = """
create or replace temp table picked as select n, name, at_ms, v[1]::decimal(18, 2) as price, v[2] as currency, v[3] as color from (
    select n, name, at_ms, json_extract_string(event, ['$.data.custom_attributes.price', '$.data.custom_attributes.currency', '$.data.custom_attributes.color']) as v
    from event where {people});
create or replace temp table computed as select n,
    count(*) filter (name = 'purchase') as purchases, sum(price) filter (name = 'purchase' and currency = 'EUR') as spent,
    sum(price) filter (name = 'purchase' and at_ms > {now} - 30 * 86400000::bigint) as spent_recently,
    min(price) filter (name = 'purchase') as cheapest, max(price) filter (name = 'purchase') as dearest, avg(price) filter (name = 'purchase') as average_price,
    mode(color) filter (name = 'view') as favorite_color, count(distinct color) filter (name = 'view') as colors,
    arg_min(color, at_ms) filter (name = 'view') as first_color, arg_max(color, at_ms) filter (name = 'view') as last_color,
    max(at_ms) filter (name = 'purchase') as last_seen_buying, list(distinct color) filter (name = 'view') as all_colors
    from picked group by n;
create or replace temp table counted as select n,
    count(*) filter (name = 'purchase' and at_ms > {now} - 30 * 86400000::bigint) as bought, count(*) filter (name = 'purchase' and at_ms > {now} - 14 * 86400000::bigint) as just_bought,
    count(*) filter (color = 'red' and price > 20 and name = 'view') as browsed from picked group by n;
create or replace temp table held as
    select n, 'gold' as audience from person join computed using (n) where tier = 'gold' and spent > 50 and {people}
    union all select n, 'regulars' from counted where bought >= 2
    union all select n, 'browsers' from counted where browsed > 0 and just_bought = 0
    union all select n, 'reachable' from person where email is not null and starts_with(lower(city), 'city 1') and {people};
insert into held select n, 'best' from held where audience in ('gold', 'regulars') group by n having count(*) = 2;
"""

FULL = """
import duckdb, sys, time
connection = duckdb.connect(sys.argv[1])
connection.execute("set enable_progress_bar = false")
for statement in sys.argv[2].format(people="true", now=1790000000000).split(";"):
    connection.execute(statement)
connection.execute("create or replace table calculated as from computed order by n")
connection.execute("create or replace table membership as from held order by audience, n")
connection.execute("checkpoint")
"""

MORE = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("set enable_progress_bar = false")
connection.execute(f'''
    create temp table line as select row_number() over () as place, line from read_csv('{sys.argv[3]}', auto_detect = false, header = false, columns = {{'line': 'VARCHAR'}}, delim = '\\x01', quote = '', escape = '')
''')
connection.execute('''
    create temp table said as select place, v[1] as customer_id, v[2] as email, v[3] as tier, v[4] as city, v[5]::bigint as at_ms from (select place, json_extract_string(line,
        ['$.user_identities.customer_id', '$.user_identities.email', '$.user_attributes.tier', '$.user_attributes.city', '$.timestamp_unixtime_ms']) as v from line)
''')
connection.execute("begin")
connection.execute("create temp table whose as select said.place, coalesce(person.n, (select max(n) from person) + said.place) as n, person.n is null as fresh from said left join person using (customer_id)")
connection.execute("insert into person select whose.n, customer_id, email, tier, city, at_ms from said join whose using (place) where fresh")
connection.execute("update person set tier = said.tier, city = said.city, at_ms = said.at_ms from said join whose using (place) where whose.n = person.n")
connection.execute('''
    insert into event select n, place, v[1], v[2], v[3]::bigint, event from (select n, place, event, json_extract_string(event, ['$.event_type', '$.data.event_name', '$.data.timestamp_unixtime_ms']) as v
        from (select n, unnest(one) as event, unnest(range(len(one))) as place from (select whose.n, json_extract(line, '$.events[*]') as one from line join whose using (place))))
''')
for statement in sys.argv[2].format(people="n in (select n from whose)", now=1790000000000).split(";"):
    connection.execute(statement)
connection.execute("delete from calculated where n in (select n from whose)")
connection.execute("insert into calculated from computed")
connection.execute("delete from membership where n in (select n from whose)")
connection.execute("insert into membership from held")
connection.execute("commit")
connection.execute("checkpoint")
"""

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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--profiles", type=int, default=1_000_000)
    parser.add_argument("--events-each", type=int, default=10)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="profilectl-activity-"))
    try:
        measure(folder, options.profiles, options.events_each)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, profiles: int, each: int) -> None:
    store, lines = folder / "store.duckdb", folder / "lines.jsonl"
    python(LINES, "0", str(profiles), str(each), str(lines))
    python(LINES, str(profiles - 5_000), "10000", str(each), str(folder / "more.jsonl"))
    python(LINES, str(profiles - 4_000), "10000", str(each), str(folder / "again.jsonl"))
    (folder / "shop.toml").write_text(CONFIGURATION)
    print(
        f"{profiles * each:,} events of {profiles:,} profiles, {lines.stat().st_size / 1e9:.1f} GB\n\n| work | seconds | peak MB | |\n|---|---|---|---|"
    )
    floor, _ = python(FLOOR, str(lines), str(folder / "floor.duckdb"))
    row("DuckDB by hand: the file into tables", floor, 0, "")
    seconds, peak, _ = command(store, "import", str(lines), "--feed", "app", "--json")
    row("import", seconds, peak, f"{seconds / floor:.2f} x by hand")
    seconds, peak, _ = command(
        store, "import", str(folder / "more.jsonl"), "--feed", "app", "--json"
    )
    row("import of 10,000 rows more, half of them known", seconds, peak, "")
    seconds, peak, _ = command(store, "config", "apply", str(folder / "shop.toml"))
    by_hand, _ = python(FULL, str(folder / "floor.duckdb"), BY_HAND)
    row(
        "twelve calculated attributes, five audiences, for everybody",
        seconds,
        peak,
        f"{seconds / by_hand:.2f} x by hand ({by_hand:.2f})",
    )
    seconds, peak, _ = command(store, "calculated", "recalculate", "--json")
    row("... the calculated attributes and what rests on them once more", seconds, peak, "")
    seconds, peak, _ = command(
        store, "import", str(folder / "again.jsonl"), "--feed", "app", "--json"
    )
    by_hand, _ = python(MORE, str(folder / "floor.duckdb"), BY_HAND, str(folder / "again.jsonl"))
    row(
        "import of 10,000 rows, all of it kept up to date",
        seconds,
        peak,
        f"{seconds / by_hand:.2f} x by hand ({by_hand:.2f})",
    )
    for words in (
        "show --customer-id C4711",
        "events --customer-id C4711",
        "events --since 2026-09-20 --limit 5",
        "audiences list",
    ):
        seconds, peak, _ = command(store, *words.split())
        row(words, seconds, peak, "")
    print(
        f"\nthe store: {store.stat().st_size / 1e9:.2f} GB; by hand: {(folder / 'floor.duckdb').stat().st_size / 1e9:.2f} GB"
    )


def row(work: str, seconds: float, peak: int, more: str) -> None:
    print(f"| {work} | {seconds:.2f} | {peak or ''} | {more} |", flush=True)


def python(program: str, *arguments: str) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    )
    return time.perf_counter() - began, done.stdout


def command(store: Path, *arguments: str) -> tuple[float, int, str]:
    """Run a command; return the seconds, the peak of its memory in MB, and what it printed."""
    program = "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], capture_output=True, check=True); sys.stdout.buffer.write(done.stdout); print('\\n' + str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    began = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            sys.executable,
            "-m",
            "profilectl",
            "--quiet",
            "--store",
            str(store),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    said, _, peak = done.stdout.rstrip("\n").rpartition("\n")
    return time.perf_counter() - began, int(peak) // 1024, said


if __name__ == "__main__":
    main()
