"""The hand-written statements that the commands over a whole store are compared with.

Each gives the same answer as the command, by the most direct SQL on the same tables: without
removals, workspaces, and the other cases that the command looks for first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from process import Sample, measure, run_sql, say
from report import megabytes, seconds_text

ATTACH = "attach '{store}' as store; use store"
# Every entry of the indexes, every row and every MPID of the large store, which has two segments.
# The hole is the SQL of the MPID of a profile, which no table holds.
VIEWS = """
create temp view entry as from store.index_1 union all from store.index_2;
create temp view arrived as from store.row_1 union all by name from store.row_2;
create temp view named as
select {mpid} as mpid, environment, profile from arrived where arrival = profile;
create temp macro hash_in(text) as md5_number(text) >> 40
"""
# Prints that SQL, in a process of its own: what measures stays small.
MPID_PROGRAM = """
import sys
import duckdb
from profilectl.rules.mpid import mix_of
from profilectl.rules.sql.mpids import mpid_of
store = duckdb.connect(sys.argv[1], read_only=True)
(secret,) = store.execute("select value from meta where name = 'secret'").fetchone()
print(mpid_of(mix_of(secret), "profile"))
"""

STATS = """
select environment, count(*) from named group by environment;
select type, count(*), count(distinct hash), count(distinct profile) from entry group by type;
select type, hash, count(distinct profile) as profiles
from entry
group by type, hash
having count(distinct profile) > 1
order by profiles desc, min(profile)
limit 5;
select profile, count(*) as rows from arrived group by profile order by rows desc, profile limit 5
"""
STATS_OF_ATTRIBUTE = """
select count(*), count(distinct held), list(distinct feed)
from (
    select profile, arg_max({column}, arrival) as held, arg_max(feed, arrival) as feed
    from arrived
    where {column} is not null
    group by profile
    having arg_max({column}, arrival) <> chr(31)
)
"""

LOOKUP = """
create temp table asked as
select row_number() over () as line, address,
       hash_in(
           (select value from store.meta where name = 'secret') || ':2:production:'
           || lower(address)
       ) as hash
from read_csv(
    getvariable('path'), auto_detect = false, header = false, columns = {'address': 'varchar'}
);
copy (
    select '{"line":' || line || ',"type":"email","value":' || to_json(address)::varchar
           || ',"mpid":' || case when several = 1 then '"' || mpid || '"' else 'null' end
           || ',"found":' || (coalesce(several, 0) = 1)
           || case
                  when several = 1 then ''
                  when several > 1 then ',"why":"' || several || ' profiles have it"'
                  else ',"why":"nobody has it"'
              end || '}'
    from asked
    left join (
        select hash, count(*) as several, min(profile) as profile
        from (select distinct hash, profile from entry where hash in (select hash from asked))
        group by hash
    ) as holder using (hash)
    left join named using (profile)
    order by line
) to (getvariable('target')) (format csv, header false, quote '', escape '', delimiter '\x01')
"""

# The promises of a segment: readable, sorted, of an import, and with the index of its rows.
CHECK_OF_SEGMENT = """
select sum(hash(columns(*))) from store.row_{number};
select sum(hash(columns(*))) from store.index_{number};
select count(*)
from (
    select row(profile, arrival) as place, lag(row(profile, arrival)) over () as before
    from store.row_{number}
)
where before > place;
select count(*)
from (select hash, lag(hash) over () as before from store.index_{number})
where before > hash;
select count(*)
from store.row_{number} as stored
asof left join store.import on stored.arrival >= import.first_arrival
where import.number is null or stored.feed <> import.feed;
create or replace temp view made as
select hash_in(secret || ':1:production:' || i_customer_id) as hash, profile, 1 as type
from store.row_{number}, secret
where i_customer_id is not null
union all
select hash_in(secret || ':2:production:' || lower(i_email)), profile, 2
from store.row_{number}, secret
where i_email is not null
union all
select hash_in(secret || ':3:production:' || lower(i_mobile_number)), profile, 3
from store.row_{number}, secret
where i_mobile_number is not null;
select count(*)
from (from made except all select hash, profile, type::integer from store.index_{number});
select count(*)
from (select hash, profile, type::integer from store.index_{number} except all from made)
"""
CHECK = """
select count(*)
from (
    select 1
    from arrived
    group by profile
    having count(*) filter (arrival = profile) <> 1
);
select count(*) from (select 1 from named group by mpid, environment having count(*) > 1);
select count(*)
from arrived
join named using (profile)
where arrived.environment <> named.environment
"""
SECRET = """
create temp table secret as select value as secret from store.meta where name = 'secret'
"""

# The changes of the second import, as JSON, profile by profile: who was created, which identities
# and values came, and what those values replaced. These data hold texts, and lose nothing.
STATED_IDENTITIES = """
create temp macro stated_identities(arrived) as table
unpivot (
    select profile, arrival, i_customer_id as customer_id, i_email as email,
           i_mobile_number as mobile_number
    from query_table(arrived)
)
on customer_id, email, mobile_number into name what value text
"""
CELLS = """
create temp macro cells(arrived) as table
select profile, what, max(arrival) as arrival, arg_max(text, arrival) as text
from (
    unpivot (
        select profile, arrival, a0 as first_name, a1 as last_name, a2 as city, a3 as postcode,
               a4 as tier, a5 as points, a6 as last_order, a7 as opt_in
        from query_table(arrived)
    )
    on first_name, last_name, city, postcode, tier, points, last_order, opt_in
    into name what value text
)
group by profile, what
"""
DIFF = """
create temp view later as from store.row_2;
create temp table earlier as from store.row_1 where profile in (select profile from later);
create temp table place as
select later.profile, later.arrival,
       '{"mpid":"' || named.mpid || '","environment":"production","change":"' as head,
       ',"import":' || file.import || ',"file":' || to_json(file.path)::varchar || ',"line":'
           || line_run.first_line + later.arrival - line_run.first_arrival || '}' as tail
from later
join named using (profile)
asof join store.import_file as file on later.arrival >= file.first_arrival
asof join store.line_run as line_run on later.arrival >= line_run.first_arrival;
create temp table change as
select profile, arrival, 1 as turn, '' as what, '' as text, 'created"' as words
from later
where profile = arrival
union all
select profile, arrival, 2, what, text,
       'identity-added","type":"' || what || '","value":' || to_json(text)::varchar
from stated_identities('later') as arrived
anti join stated_identities('earlier') as known using (profile, what, text)
union all
select arrived.profile, arrived.arrival, case when known.text is null then 3 else 4 end, what, '',
       case when known.text is null then 'set' else 'changed' end || '","attribute":"' || what
           || '"' || coalesce(',"before":' || to_json(known.text)::varchar, '')
           || ',"after":' || to_json(arrived.text)::varchar
from cells('later') as arrived
left join cells('earlier') as known using (profile, what)
where arrived.text is distinct from known.text;
copy (
    select head || words || tail
    from change
    join place using (profile, arrival)
    order by profile, turn, what, text, arrival
) to (getvariable('target')) (format csv, header false, quote '', escape '', delimiter '\x01')
"""

UNDO = """
begin;
drop table store.row_2;
drop table store.index_2;
delete from store.passed_claim where arrival >= 2500000;
delete from store.remark where arrival >= 2500000;
delete from store.segment where number = 2;
update store.import set undone_ms = 1 where number = 2;
commit
"""

# Into a new file: all segments as one; and each without the people of a list.
COMPACT = """
create table written.row_1 as from arrived order by profile, arrival;
create table written.index_1 as from entry order by hash
"""
GONE = """
create temp table gone as
select distinct profile
from entry
where hash in (
    select hash_in(
        (select value from store.meta where name = 'secret') || ':2:production:' || lower(address)
    )
    from read_csv(
        getvariable('path'), auto_detect = false, header = false, columns = {'address': 'varchar'}
    )
)
"""
FORGET_OF_SEGMENT = """
create table written.row_{number} as
from store.row_{number} where profile not in (from gone) order by profile, arrival;
create table written.index_{number} as
from store.index_{number} where profile not in (from gone) order by hash
"""
ATTACH_WRITTEN = "attach '{path}' as written"
SEGMENTS = (1, 2)
ATTRIBUTES = 8


def against(title: str, command: Sample, by_hand: Sample) -> tuple[str, ...]:
    """Return a row of a table: a command, and how many times the CPU seconds by hand it takes."""
    say(f"  {title}, and by hand")
    ratio = command.cpu_seconds / by_hand.cpu_seconds
    remark = (
        f"{command.cpu_seconds:.1f} CPU s, {ratio:.2f} x by hand"
        f" ({by_hand.cpu_seconds:.1f} CPU s, {megabytes(by_hand.peak)} MB)"
    )
    return title, seconds_text(command.seconds), megabytes(command.peak), remark


def stats(store: Path) -> Sample:
    """Count what `stats` counts."""
    attributes = (STATS_OF_ATTRIBUTE.format(column=f"a{place}") for place in range(ATTRIBUTES))
    return _run(store, [STATS, *attributes])


def lookup(store: Path, addresses: Path, target: Path) -> Sample:
    """Answer a list of addresses as `lookup --type email` does."""
    return _run(store, [LOOKUP], path=str(addresses), target=str(target))


def diff(store: Path, target: Path) -> Sample:
    """Write the changes of the second import as `diff --json` does."""
    return _run(store, [STATED_IDENTITIES, CELLS, DIFF], target=str(target))


def check(store: Path) -> Sample:
    """Look for what breaks the promises that cost time."""
    segments = (CHECK_OF_SEGMENT.format(number=number) for number in SEGMENTS)
    return _run(store, [SECRET, *segments, CHECK])


def undo(store: Path) -> Sample:
    """Take the second import back, in place."""
    return _run(store, [UNDO])


def compact(store: Path, target: Path) -> Sample:
    """Write a store anew with its two segments as one."""
    return _run(store, [ATTACH_WRITTEN.format(path=target), COMPACT])


def forget(store: Path, addresses: Path, target: Path) -> Sample:
    """Write a store anew without the people who have one of some addresses."""
    segments = (FORGET_OF_SEGMENT.format(number=number) for number in SEGMENTS)
    statements = [ATTACH_WRITTEN.format(path=target), GONE, *segments]
    return _run(store, statements, path=str(addresses))


def _run(store: Path, statements: Sequence[str], **variables: str) -> Sample:
    mpid = measure([sys.executable, "-c", MPID_PROGRAM, store]).printed.strip()
    return run_sql(ATTACH.format(store=store), VIEWS.format(mpid=mpid), *statements, **variables)
