"""What does PostgreSQL take to make the same profiles out of the same rows?

The same work in SQL, as somebody writes it who knows these files: rows are resolved by customer id,
phone and e-mail by the rules of profilectl, the values of an attribute compete by the rank of their
source, and each value keeps the row it came from. Its counts must be ours.
"""

from __future__ import annotations

import json
import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bench import Bench
from process import Failed, Sample, alternate, measure
from report import SAME, Answer, Line

SETTINGS = "-c listen_addresses= -c shared_buffers=1GB -c work_mem=256MB -c max_wal_size=8GB"

ATTRIBUTES = (
    "first_name", "last_name", "city", "postcode", "tier", "points", "last_order", "opt_in",
)  # fmt: skip

# What a store has: feeds with their sources, rows with their profile and feed (so that a value can
# be traced), identities, and profiles with the value of each attribute and the row it came from.
TABLES = """
create table source (name text primary key, rank smallint not null);
insert into source values
    ('calculated', 1), ('account', 2), ('custom-feed', 3), ('sdk', 4), ('csv', 5), ('partner', 6),
    ('warehouse', 6);
create table feed (
    number smallint primary key, name text not null, source text not null references source
);
insert into feed values (1, 'bench', 'csv');
create unlogged table staging (
    line bigint generated always as identity,
    customer_id text, email text, mobile_number text,
    first_name text, last_name text, city text, postcode text,
    tier text, points text, last_order text, opt_in text
);
create table applied_row (
    profile bigint not null, line bigint not null, feed smallint not null,
    customer_id text, email text, mobile_number text,
    first_name text, last_name text, city text, postcode text,
    tier text, points text, last_order text, opt_in text
);
create table identity (
    type smallint not null, key text not null, profile bigint not null, line bigint not null
);
"""
COPY = """
copy staging (
    customer_id, email, mobile_number,
    first_name, last_name, city, postcode, tier, points, last_order, opt_in
) from stdin (format csv, header)
"""

# What a row is looked up by.
CLAIM = """
create unlogged table claim as
select line,
       nullif(btrim(customer_id), '') as customer_id,
       nullif(lower(btrim(email)), '') as email,
       nullif(btrim(mobile_number), '') as mobile_number
from staging;
analyze claim
"""
# The first row of each customer id: all its rows are of one profile.
FOUNDER = """
create unlogged table founder as
select customer_id, min(line) as line
from claim
where customer_id is not null
group by customer_id;
analyze founder
"""
# The rows whose profile the customer id alone does not decide: those without one, and the first of
# a customer whose phone or e-mail a row without one has stated before.
OPEN_ROW = """
create unlogged table open_row as
with nameless as (
    select line, email, mobile_number from claim where customer_id is null
),
first_row as (
    select claim.* from founder join claim on claim.line = founder.line
)
select line, null as customer_id, email, mobile_number
from nameless
union
select first_row.*
from first_row
join nameless on nameless.email = first_row.email and nameless.line < first_row.line
union
select first_row.*
from first_row
join nameless
  on nameless.mobile_number = first_row.mobile_number and nameless.line < first_row.line
"""
# Those of them that share a phone or an e-mail with each other: order matters only among them.
ENTANGLED = """
create unlogged table entangled as
with value as (
    select email as key from open_row
    union all
    select mobile_number from open_row
),
shared as (
    select key from value where key is not null group by key having count(*) > 1
)
select *
from open_row
where email in (select key from shared) or mobile_number in (select key from shared);
create unlogged table decided (line bigint not null, profile bigint not null)
"""
# Row after row: the people without a customer id who have the phone, else those who have the
# e-mail; of several those who have both, then who was seen last. A customer id that comes to such a
# person takes them away from everybody else.
DECIDE = """
do $$
declare
    candidate record;
    chosen bigint;
begin
    create temp table holding (key text, profile bigint, is_phone boolean);
    create index on holding (key);
    create index on holding (profile);
    create temp table latest (profile bigint primary key, line bigint);
    for candidate in select * from entangled order by line loop
        select holding.profile into chosen
        from holding
        join latest on latest.profile = holding.profile
        where holding.key in (candidate.mobile_number, candidate.email)
        group by holding.profile
        order by bool_or(is_phone) desc, bool_or(not is_phone) desc, max(latest.line) desc,
                 holding.profile
        limit 1;
        if chosen is null then
            chosen := candidate.line;
        end if;
        insert into decided values (candidate.line, chosen);
        if candidate.customer_id is not null then
            delete from holding where profile = chosen;
        else
            insert into latest values (chosen, candidate.line)
            on conflict (profile) do update set line = excluded.line;
            insert into holding
            select value.key, chosen, value.is_phone
            from (values (candidate.mobile_number, true), (candidate.email, false))
                as value (key, is_phone)
            where value.key is not null
              and not exists (
                  select from holding
                  where holding.key = value.key and holding.profile = chosen
              );
        end if;
    end loop;
end
$$
"""
# A profile is named by the line of the row that founded it.
ROWS = """
analyze decided;
insert into applied_row
select coalesce(decided.profile, founding.profile, founder.line, staging.line),
       staging.line,
       1,
       claim.customer_id, claim.email, claim.mobile_number,
       first_name, last_name, city, postcode, tier, points, last_order, opt_in
from staging
join claim on claim.line = staging.line
left join founder on founder.customer_id = claim.customer_id
left join decided as founding on founding.line = founder.line
left join decided on decided.line = staging.line and claim.customer_id is null;
analyze applied_row
"""
IDENTITIES = """
insert into identity
select type, key, profile, min(line)
from (
    select 1 as type, customer_id as key, profile, line
    from applied_row
    where customer_id is not null
    union all
    select 2, email, profile, line from applied_row where email is not null
    union all
    select 3, mobile_number, profile, line from applied_row where mobile_number is not null
) as stated
group by type, key, profile;
create index on identity (key, type)
"""
# The value of the best source wins; among those of one source the newest. The hole is, for each
# attribute, the value that wins and the line of its row.
PROFILES = """
create table profile as
with several as (
    select profile from applied_row group by profile having count(*) > 1
)
select profile, {own}
from applied_row
where not exists (select from several where several.profile = applied_row.profile)
union all
select profile, {winning}
from applied_row
join feed on feed.number = applied_row.feed
join source on source.name = feed.source
where exists (select from several where several.profile = applied_row.profile)
group by profile;
alter table profile add primary key (profile)
"""
OWN = "{name}, case when {name} is not null then line end as {name}_line"
WINNING = """
(array_agg({name} order by rank, line desc) filter (where {name} is not null))[1],
(array_agg(line order by rank, line desc) filter (where {name} is not null))[1]
"""
COUNTS = """
select json_build_object(
    'profiles', (select count(*) from profile),
    'identities', (select count(*) from identity),
    'attributes', (select sum(num_nonnulls({attributes})) from profile)
)
"""
STATEMENTS = (
    TABLES,
    COPY,
    CLAIM,
    FOUNDER,
    OPEN_ROW,
    ENTANGLED,
    DECIDE,
    ROWS,
    IDENTITIES,
    PROFILES.format(
        own=", ".join(OWN.format(name=name) for name in ATTRIBUTES),
        winning=", ".join(WINNING.format(name=name) for name in ATTRIBUTES),
    ),
    COUNTS.format(attributes=", ".join(ATTRIBUTES)),
)


def answer(bench: Bench) -> Answer:
    """Make the same profiles in SQL; the counts must be ours. Raises Failed if they are not."""
    programs = _programs()
    if programs is None:
        raise Failed("PostgreSQL is not installed: apt-get install postgresql")
    plain = bench.data.plain()
    with running_cluster(programs, bench.folder) as cluster:
        samples = alternate(bench.options.runs, {"run": lambda: cluster.load(plain)})["run"]
    remark = (
        "empty database only; no undo, no dry run, no protection levels, no rejects, nothing is "
        "judged; server started before"
    )
    title = "PostgreSQL: copy, resolve, rank, keep provenance"
    works = bench.works_beside()
    works.lines.append(Line(title, samples, bench.plain_floor, has_peak=False, remark=remark))
    bench.check_counts(json.loads(samples[-1].printed))
    return works.answer().with_note(SAME)


def _programs() -> Path | None:
    """Return the folder of the newest initdb, or None."""
    programs = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest_last = sorted(programs, key=lambda path: float(path.parts[-3]))
    return newest_last[-1].parent if newest_last else None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A private PostgreSQL server, reached by a socket in its folder."""

    programs: Path
    """The folder of initdb, pg_ctl and psql."""
    folder: Path
    """Where its data, its log and its socket are."""
    user: str | None
    """The user it runs as; None: ours."""

    def load(self, file: Path) -> Sample:
        """Load a file into a new database; the time is that of psql."""
        self.psql("drop database if exists bench", database="postgres")
        self.psql("create database bench", database="postgres")
        before = self.cpu_seconds()
        sample = self.psql(*STATEMENTS, database="bench", stdin=file)
        return replace(sample, cpu_seconds=sample.cpu_seconds + self.cpu_seconds() - before)

    def cpu_seconds(self) -> float:
        """Return the processor time of the server and of all it has started; 0 without /proc."""
        try:
            number = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
            stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat")]
        except OSError:
            return 0.0
        # The name of a program is in brackets, and may have blanks.
        fields = {int(stat.split()[0]): stat.rpartition(")")[2].split() for stat in stats}
        ticks = 0
        for process, numbers in fields.items():
            parent = int(numbers[1])
            if process == number:
                ticks += sum(map(int, numbers[11:15]))
            elif parent == number:
                ticks += sum(map(int, numbers[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def psql(self, *statements: str, database: str, stdin: str | Path = "") -> Sample:
        """Run statements."""
        commands = [argument for statement in statements for argument in ("-c", statement)]
        options = [
            "-q",
            "-X",
            "-t",
            "-A",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            str(self.folder),
            "-U",
            "bench",
        ]
        return self.run("psql", *options, "-d", database, *commands, stdin=stdin)

    def run(self, program: str, *arguments: str, stdin: str | Path = "") -> Sample:
        """Run one of the programs."""
        command = [self.programs / program, *arguments]
        return measure(command, stdin=stdin, user=self.user, folder=self.folder)


@contextmanager
def running_cluster(programs: Path, parent: Path) -> Iterator[Cluster]:
    """Make, start and in the end stop and delete a server. Raises Failed."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir=parent) as name:
        cluster = Cluster(programs, Path(name), _unprivileged(Path(name)))
        access = ("-U", "bench", "-A", "trust")
        cluster.run("initdb", "-D", "data", *access, "-E", "UTF8", "--locale=C")
        control = ("pg_ctl", "-D", "data", "-w")
        try:
            cluster.run(*control, "-l", "log", "-o", f"-k {name} {SETTINGS}", "start")
            yield cluster
        finally:
            with suppress(Failed):  # it never started, and the error of that is the one to show
                cluster.run(*control, "-m", "fast", "stop")


def _unprivileged(folder: Path) -> str | None:
    """Return the user to run the server as where we are root, and give it the folder; else None."""
    if os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise Failed("PostgreSQL does not run as root, and there is no user postgres") from None
    os.chown(folder, user.pw_uid, user.pw_gid)
    closed = [parent for parent in folder.parents if not parent.stat().st_mode & 0o001]
    if closed:
        raise Failed(f"the user postgres cannot enter {closed[-1]}")
    return user.pw_name
