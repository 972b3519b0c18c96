"""The data of all benchmarks: each file is made when it is first needed, by DuckDB.

Everything is drawn from `hash()` of a row's number: the same bytes each time, for one version of
DuckDB. A statement takes its values from variables, for example getvariable('rows').
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from process import run_sql, say

EVENTS_NOW_MS = 1_790_000_000_000
AUDIENCES_NOW_MS = 1_725_000_000_000
HUGE_FILES = 10

# Customers with three identities and eight attributes, for every file of rows. `repeats`: whether
# one in ten rows, at a place drawn for these ten, is about a customer of an earlier row; `founded`
# is the number of customers that the rows before have brought. `person` turns the number of a
# customer in the file into the number of a person, for files that share people: it counts from
# `first_person`; or, where `stride` is not 0, takes every other one out of `profiles` people.
ROWS = """
create macro roll(i, purpose, sides) as
    (hash(i, purpose || getvariable('seed')) % sides)::bigint;
create macro person(customer) as
    case
        when getvariable('stride') = 0 then customer + getvariable('first_person')
        when customer % 2 = 0
        then (customer // 2 * getvariable('stride')) % getvariable('profiles')
        else getvariable('profiles') + customer
    end;
create macro filled(i, purpose, value) as
    case when roll(i, 'empty ' || purpose, 10) > 0 then value end;
create view placed as
select i, roll(i // 10, 'place', 10) as place
from range(getvariable('rows')) as line(i);
create view counted as
select i,
       getvariable('repeats') and i % 10 = place as repeated,
       case
           when getvariable('repeats') then i - i // 10 - (place < i % 10)::bigint
           else i
       end as founded
from placed;
create view cast_of as
select i,
       person(
           case when repeated then roll(i, 'whom', greatest(founded, 1)) else founded end
       ) as customer,
       person(roll(i, 'stranger', greatest(founded, 1))) as stranger,
       roll(i, 'stated', 100) < 95 as has_id,
       roll(i, 'shared', 100) < 5 as shares_email
from counted;
create view row as
select case when has_id then 'C' || (100000000 + customer) end as customer_id,
       case
           when roll(i, 'empty email', 10) > 0 or shares_email or not has_id
           then 'person' || (case when shares_email then stranger else customer end)
               || '@example.com'
       end as email,
       filled(i, 'mobile', '+999' || (100000000 + customer)) as mobile_number,
       filled(i, 'first', ['Ada', 'Bo', 'Chloé', 'Dana', 'Eve', 'Zoë'][1 + roll(customer, 'f', 6)])
           as first_name,
       filled(
           i, 'last', ['Smith', 'García', 'O''Neil', 'Ito', 'Okafor'][1 + roll(customer, 'l', 5)]
       ) as last_name,
       filled(i, 'city', ['London', 'Paris', 'Łódź', 'Rome', 'Oslo'][1 + roll(i, 'city', 5)])
           as city,
       filled(i, 'postcode', lpad(roll(i, 'postcode', 100000)::varchar, 5, '0')) as postcode,
       filled(i, 'tier', ['gold', 'silver', 'bronze', 'none'][1 + roll(i, 'tier', 4)]) as tier,
       filled(i, 'points', roll(i, 'points', 10000)::varchar) as points,
       filled(i, 'order', (date '2020-01-01' + roll(i, 'order', 2000)::integer)::varchar)
           as last_order,
       filled(i, 'opt', (roll(i, 'opt', 2) = 1)::varchar) as opt_in
from cast_of;
copy row to (getvariable('path')) (format csv, header);
"""

ROWS_AS_PARQUET = """
copy (from read_csv(getvariable('source'), all_varchar = true))
to (getvariable('path')) (format parquet)
"""

# The cells of a row as members of JSON.
IDENTITY_MEMBERS = """'"customer_id":"' || customer_id || '"',
               '"email":"' || email || '"',
               '"mobile_number":"' || mobile_number || '"'"""
ATTRIBUTE_MEMBERS = """'"first_name":"' || first_name || '"',
               '"last_name":"' || last_name || '"',
               '"city":"' || city || '"',
               '"postcode":"' || postcode || '"',
               '"tier":"' || tier || '"',
               '"points":"' || points || '"',
               '"last_order":"' || last_order || '"',
               '"opt_in":"' || opt_in || '"'"""

# An empty cell is a key that is not there. No value needs an escape in JSON.
ROWS_AS_BATCHES = f"""
copy (
    select '{{"environment":"production","user_identities":{{' || concat_ws(',',
               {IDENTITY_MEMBERS}
           ) || '}},"user_attributes":{{' || concat_ws(',',
               {ATTRIBUTE_MEMBERS}
           ) || '}}}}'
    from read_csv(getvariable('source'), all_varchar = true)
) to (getvariable('path')) (format csv, header false, quote '', escape '', delimiter '\t')
"""

# The same rows with the names of their columns as keys, side by side.
ROWS_AS_OBJECTS = f"""
copy (
    select '{{' || concat_ws(',',
               {IDENTITY_MEMBERS},
               {ATTRIBUTE_MEMBERS}
           ) || '}}'
    from read_csv(getvariable('source'), all_varchar = true)
) to (getvariable('path')) (format csv, header false, quote '', escape '', delimiter '\t')
"""

ROWS_WITH_AN_ID = """
copy (
    from read_csv(getvariable('source'), all_varchar = true)
    where customer_id is not null
) to (getvariable('path')) (format csv, header)
"""

# Customers who all have the address of their company. `nameless`: rows without a customer id.
SHARED_ROWS = """
copy (
    select case
               when not getvariable('nameless') then 'C' || (getvariable('first_person') + n)
           end as customer_id,
           'info@company.example' as email,
           ['London', 'Paris', 'Rome'][1 + (hash(n, 'city') % 3)::integer] as city,
           (hash(n, 'points') % 10000)::varchar as points
    from range(getvariable('rows')) as person(n)
) to (getvariable('path')) (format csv, header)
"""

# What a newsletter tells of its readers: many rows of few people, each with an address and nothing
# else that names anybody. `identity` is the name of its column.
CLICKS = """
create macro roll(n, purpose, sides) as (hash(n, purpose) % sides)::bigint;
create view click as
select 'reader' || roll(n, 'whom', getvariable('people')) || '@example.com' as address,
       'campaign ' || roll(n, 'campaign', 200) as last_campaign,
       ['open', 'click', 'view'][1 + roll(n, 'what', 3)] as last_action,
       ['phone', 'desktop', 'tablet'][1 + roll(n, 'device', 3)] as device,
       (date '2024-01-01' + (n * 700 // getvariable('rows'))::integer)::varchar as seen_on,
       roll(n, 'seconds', 600)::varchar as seconds
from range(getvariable('rows')) as click(n);
"""
CLICKS_BY_EMAIL = """
copy (select address as email, * exclude (address) from click)
to (getvariable('path')) (format csv, header)
"""
CLICKS_BY_OTHER = """
copy (select address as other, * exclude (address) from click)
to (getvariable('path')) (format csv, header)
"""

# The lines of a shop's orders: many rows of few customers, with numbers and times. `nameless`: how
# many percent of the rows have no customer.
ORDER_LINES = """
create macro roll(n, purpose, sides) as (hash(n, purpose) % sides)::bigint;
create view order_line as
select case
           when roll(n, 'nameless', 100) >= getvariable('nameless')
           then (10000 + roll(n // 20, 'whom', getvariable('people')))::varchar
       end as customer_id,
       (500000 + n // 20)::varchar as invoice,
       (20000 + roll(n, 'article', 4000))::varchar as stock_code,
       'ARTICLE OF SORT ' || roll(n, 'article', 4000) as description,
       (1 + roll(n, 'quantity', 48))::integer as quantity,
       timestamp '2025-01-01 08:00:00' + to_seconds(n // 20 * 1200) as ordered_at,
       (roll(n, 'article', 4000) % 900 + 85) / 100 as unit_price,
       ['United Kingdom', 'France', 'Germany', 'EIRE'][1 + roll(n // 20, 'country', 4)] as country
from range(getvariable('rows')) as line(n);
"""
ORDER_LINES_AS_CSV = """
copy order_line to (getvariable('path')) (format csv, header)
"""
ORDER_LINES_AS_PARQUET = """
copy order_line to (getvariable('path')) (format parquet)
"""
# The same file without the rows that have no customer.
NAMED_ORDER_LINES_AS_CSV = """
copy (from order_line where customer_id is not null) to (getvariable('path')) (format csv, header)
"""

# One batch a person, each with `events_each` events: for calculated attributes and audiences.
EVENT_BATCHES = """
create macro event_of(n, e) as
    '{"data":{"event_name":"' || ['purchase', 'view', 'view', 'search'][1 + ((n * 7 + e) % 4)]
    || '","custom_event_type":"other","timestamp_unixtime_ms":'
    || (1790000000000 - (n * 7919 + e * 104729) % 5184000000)
    || ',"custom_attributes":{"price":"' || ((n * 31 + e * 17) % 10000) // 100 || '.'
    || lpad(((n + e) % 100)::varchar, 2, '0')
    || '","currency":"' || case when (n + e) % 3 = 0 then 'USD' else 'EUR' end
    || '","color":"' || ['red', 'green', 'blue', 'black', 'white'][1 + ((n + e * 3) % 5)]
    || '","sku":"sku-' || (n * 13 + e) % 977 || '"}},"event_type":"custom_event"}';
copy (
    select '{"user_identities":{"customer_id":"C' || n || '","email":"person' || n
           || '@example.com"},"user_attributes":{"tier":"'
           || ['gold', 'silver', 'bronze'][1 + (n % 3)]
           || '","city":"City ' || n % 1000 || '"},"timestamp_unixtime_ms":1790000000000,"events":['
           || array_to_string(
                  list_transform(range(getvariable('events_each')), lambda e: event_of(n, e)), ','
              ) || ']}' as line
    from range(
        getvariable('first_person'), getvariable('first_person') + getvariable('people')
    ) as person(n)
) to (getvariable('path')) (format csv, header false, quote '', escape '', delimiter '\x01')
"""

# One batch a person, with events, a device, consent and attributes of each kind: for audiences.
# Every thousandth person has opted out; one of a hundred or so is staff.
AUDIENCE_BATCHES = """
create macro event_of(n, e) as
    case
        when e % 5 = 4
        then '{"event_type":"screen_view","data":{"screen_name":"Home","timestamp_unixtime_ms":'
            || event_ms(n, e) || '}}'
        else '{"event_type":"custom_event","data":{"custom_event_type":"other","event_name":"'
            || ['purchase', 'view item', 'add to cart', 'search', 'share', 'login', 'Purchase'][
                   1 + (hash(n, e + 5) % 7)::integer
               ]
            || '","custom_attributes":{"price":' || (hash(n, e + 11) % 500) || '.'
            || (1 + hash(n, e + 12) % 9)
            || ',"currency":"' || ['EUR', 'USD', 'GBP'][1 + (hash(n, e + 13) % 3)::integer]
            || '","sku":"A-' || (hash(n, e + 14) % 5000)
            || '"},"timestamp_unixtime_ms":' || event_ms(n, e) || '}}'
    end;
create macro opt_out_of(n) as
    case
        when n % 1000 = 0
        then ',{"event_type":"opt_out","data":{"is_opted_out":true'
            || ',"timestamp_unixtime_ms":1724000000000}}'
        else ''
    end;
copy (
    select '{"user_identities":{"email":"user' || n || '@example.com"'
           || case when n % 3 = 0 then ',"mobile_number":"+4912345' || n || '"' else '' end
           || '},"user_attributes":{"visits":' || hash(n + 2) % 100
           || ',"city":"' || ['Berlin', 'Paris', 'London'][1 + (hash(n + 3) % 3)::integer] || '"'
           || ['', ',"tier":"gold"', ',"tier":"Silver"', ',"tier":"bronze"'][
                  1 + (hash(n + 1) % 4)::integer
              ]
           || case when n % 2 = 0 then ',"interests":["golf","ski","' || n % 50 || '"]' else '' end
           || case
                  when n % 5 <> 0 then ',"joined":"2024-0' || 1 + n % 9 || '-1' || n % 10 || '"'
                  else ''
              end
           || case when n % 107 = 0 then ',"staff":"yes"' else '' end
           || '},"device_info":{"platform":"'
           || ['iOS', 'Android', 'web'][1 + (hash(n) % 3)::integer]
           || '","os_version":"' || 10 + hash(n + 1) % 9 || '.' || hash(n + 2) % 9
           || '","ios_idfv":"' || md5(n::varchar)::uuid
           || '"},"consent_state":{"gdpr":{"marketing":{"consented":' || (n % 2 = 0)
           || ',"timestamp_unixtime_ms":1720000000000}}}'
           || ',"timestamp_unixtime_ms":' || 1720000000000 + (hash(n + 7) % 5000000000)::bigint
           || ',"events":['
           || array_to_string(
                  list_transform(range(getvariable('events_each')), lambda e: event_of(n, e)), ','
              ) || opt_out_of(n) || ']}' as line
    from range(getvariable('people')) as person(n)
) to (getvariable('path')) (format csv, header false, quote '', escape '', delimiter '\x01')
"""
AUDIENCE_EVENT_MS = """
create macro event_ms(n, e) as
    1725000000000 - (hash(n, e + 9) % (180 * 86400000::bigint))::bigint
"""

# Events in the order of their profiles, as an import leaves them. `spelling`: how prices look.
CALCULATED_EVENTS = """
create temp table event as
select (hash(i) % getvariable('people'))::bigint as profile,
       i as arrival,
       0::integer as place,
       0::utinyint as environment,
       1::usmallint as feed,
       'custom_event' as type,
       case when i % 10 = 0 then 'view' else 'purchase' end as name,
       1700000000000 - (i * 7919 % 5184000000) as at_ms,
       null::varchar as session,
       '{"data":{"event_name":"purchase","custom_event_type":"transaction"'
           || ',"custom_attributes":{"price":' || case getvariable('spelling')
               when 'number' then (i * 7919 % 10000 / 100)::decimal(10, 2)::double::varchar
               when 'text' then '"' || (i * 7919 % 10000 / 100)::decimal(10, 2) || '"'
               when 'zeros' then (i * 7919 % 10000 / 100)::decimal(10, 2)::varchar
           end || ',"currency":"' || case when i % 3 = 0 then 'USD' else 'EUR' end
           || '","color":"' || ['red', 'green', 'blue', 'black', 'white', 'yellow', 'orange'][
               1 + (hash(i, 3) % 7)::integer
           ] || '","sku":"abc-' || hash(i, 5) % 977
           || '"},"timestamp_unixtime_ms":1700000000000},"event_type":"custom_event"}' as event
from range(getvariable('events')) as event(i)
order by profile
"""

# People with the customer ids C0, C1, ...: for a server.
PEOPLE = """
copy (
    select 'C' || n as customer_id,
           'person' || n || '@example.com' as email,
           '+3361' || lpad(n::varchar, 7, '0') as mobile_number,
           ['gold', 'silver', 'bronze'][1 + n % 3] as tier,
           n * 7919 % 10000 as points,
           ['Lyon', 'Paris'][1 + n % 2] as city,
           'First' || n % 5000 as "$FirstName",
           n % 90 as age
    from range(getvariable('people')) as person(n)
) to (getvariable('path')) (format csv, header)
"""

# Addresses to look up, one a line; the large store knows many of them.
ADDRESSES = """
copy (
    select 'person' || n * 7 || '@example.com' as email
    from range(getvariable('rows')) as address(n)
) to (getvariable('path')) (format csv, header false)
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much data is made."""

    rows: int
    """Rows of a file."""
    profiles: int
    """Profiles of the large store."""
    large_rows: int
    """Rows of the large file."""
    people: int
    """People in the files with events, and in the store of a server."""
    events: int
    """Events of all these people."""

    holders: int = 300_000
    """The most people who share a value."""
    huge_rows: int = 100_000_000
    """Rows of all files of the huge import."""

    @property
    def delta_rows(self) -> int:
        """Return the rows of a nightly delta: 100,000 where a file has a million."""
        return max(1, self.rows // 10)

    @property
    def order_lines(self) -> int:
        """Return the lines of a shop's orders: 540,000 where a file has a million rows."""
        return max(1, self.rows * 54 // 100)

    @property
    def shop_customers(self) -> int:
        """Return the customers of that shop: 4,400."""
        return max(1, self.rows * 44 // 10_000)

    @property
    def readers(self) -> int:
        """Return the readers of a newsletter: 3,000 where a file has a million rows."""
        return max(1, self.rows * 3 // 1_000)

    @property
    def events_each(self) -> int:
        """Return the events of one person."""
        return max(1, self.events // self.people)


@dataclass(frozen=True, slots=True)
class Data:
    """The files; one that a run before left in the folder is used again."""

    folder: Path
    """Where they are."""
    sizes: Sizes
    """How much is in them."""

    def plain(self) -> Path:
        """Return the rows for an empty store."""
        return self.first_rows(self.sizes.rows)

    def first_rows(self, rows: int) -> Path:
        """Return a number of rows for an empty store."""
        return self._rows(f"rows-{rows}.csv", rows)

    def later(self) -> Path:
        """Return as many rows, about half of whose customers are in the plain rows."""
        name = f"later-{self.sizes.rows}.csv"
        halfway = self.sizes.rows * 9 // 20
        return self._rows(name, self.sizes.rows, first_person=halfway, seed=" later")

    def large(self) -> Path:
        """Return the rows of the large file."""
        return self.first_rows(self.sizes.large_rows)

    def many(self) -> Path:
        """Return as many customers as the large file has rows, no repeats."""
        rows = self.sizes.large_rows
        return self._rows(f"many-{rows}.csv", rows, seed=" many", repeats=False)

    def delta(self) -> Path:
        """Return the rows of a night; every other customer is one of the many."""
        rows, many = self.sizes.delta_rows, self.sizes.large_rows
        name = f"delta-{rows}-{many}.csv"
        return self._rows(name, rows, stride=_stride(many), seed=" delta", profiles=many)

    def huge(self) -> list[Path]:
        """Return the files of the huge import; no customer is in two of them."""
        rows, piece = self.sizes.huge_rows, max(1, self.sizes.huge_rows // HUGE_FILES)
        return [
            self._rows(
                f"huge-{rows}-{number}.csv", piece, first_person=number * piece, seed=f" {number}"
            )
            for number in range(HUGE_FILES)
        ]

    def shared(self, rows: int, part: int) -> Path:
        """Return rows with one address; part 0 or 1: other customers, part 2: nobody's id."""
        name = f"shared-{rows}-{part}.csv"
        first_person, nameless = part * 10_000_000, part == 2
        return self._make(
            name, SHARED_ROWS, rows=rows, first_person=first_person, nameless=nameless
        )

    def clicks(self, identity: str) -> Path:
        """Return rows of few people whose only identity is of a type, email or other."""
        rows, people = self.sizes.rows, self.sizes.readers
        statement = CLICKS_BY_EMAIL if identity == "email" else CLICKS_BY_OTHER
        name = f"clicks-{identity}-{rows}.csv"
        return self._make(name, CLICKS, statement, rows=rows, people=people)

    def order_lines(self) -> Path:
        """Return the lines of a shop's orders as CSV; a quarter of them has no customer."""
        return self._order_lines("all.csv", ORDER_LINES_AS_CSV, nameless=25)

    def named_order_lines(self) -> Path:
        """Return only the lines with a customer."""
        return self._order_lines("named.csv", NAMED_ORDER_LINES_AS_CSV, nameless=25)

    def typed_order_lines(self) -> Path:
        """Return as many lines, each with a customer, as Parquet with numbers and times."""
        return self._order_lines("typed.parquet", ORDER_LINES_AS_PARQUET, nameless=0)

    def _order_lines(self, name: str, statement: str, *, nameless: int) -> Path:
        lines, people = self.sizes.order_lines, self.sizes.shop_customers
        return self._make(
            f"orders-{lines}-{name}",
            ORDER_LINES,
            statement,
            rows=lines,
            people=people,
            nameless=nameless,
        )

    def base(self, part: int) -> Path:
        """Return one half of the large store, 0 or 1: as many customers as rows, no repeats."""
        half = self.sizes.profiles // 2
        name = f"base-{self.sizes.profiles}-{part}.csv"
        first_person = part * half
        return self._rows(
            name, half, first_person=first_person, seed=f" base {part}", repeats=False
        )

    def app(self) -> Path:
        """Return rows of which every other customer is in the large store, from all over it."""
        name = f"app-{self.sizes.rows}-{self.sizes.profiles}.csv"
        return self._rows(name, self.sizes.rows, stride=_stride(self.sizes.profiles), seed=" app")

    def parquet(self) -> Path:
        """Return the plain rows as Parquet, an empty cell as a null."""
        return self._from_plain(f"rows-{self.sizes.rows}.parquet", ROWS_AS_PARQUET)

    def jsonl(self) -> Path:
        """Return the plain rows as batches, an empty cell as a key that is not there."""
        return self._from_plain(f"rows-{self.sizes.rows}.jsonl", ROWS_AS_BATCHES)

    def flat_jsonl(self) -> Path:
        """Return the plain rows as objects with a key a column."""
        return self._from_plain(f"flat-{self.sizes.rows}.jsonl", ROWS_AS_OBJECTS)

    def customers(self) -> Path:
        """Return the plain rows that have a customer_id."""
        return self._from_plain(f"customers-{self.sizes.rows}.csv", ROWS_WITH_AN_ID)

    def event_batches(self, first_person: int, people: int) -> Path:
        """Return a batch with events for each of some people."""
        each = self.sizes.events_each
        name = f"events-{first_person}-{people}-{each}.jsonl"
        return self._make(
            name, EVENT_BATCHES, first_person=first_person, people=people, events_each=each
        )

    def audience_batches(self) -> Path:
        """Return a batch for each person, with what the criteria of audiences look at."""
        people, each = self.sizes.people, self.sizes.events_each
        name = f"audience-{people}-{each}.jsonl"
        return self._make(
            name, AUDIENCE_EVENT_MS, AUDIENCE_BATCHES, people=people, events_each=each
        )

    def people(self) -> Path:
        """Return people with the customer ids C0, C1, ..."""
        people = self.sizes.people
        return self._make(f"people-{people}.csv", PEOPLE, people=people)

    def addresses(self) -> Path:
        """Return e-mail addresses to look up."""
        return self._make(f"addresses-{self.sizes.rows}.txt", ADDRESSES, rows=self.sizes.rows)

    def _rows(
        self,
        name: str,
        rows: int,
        *,
        first_person: int = 0,
        stride: int = 0,
        seed: str = "",
        repeats: bool = True,
        profiles: int | None = None,
    ) -> Path:
        return self._make(
            name,
            ROWS,
            rows=rows,
            first_person=first_person,
            stride=stride,
            profiles=profiles or self.sizes.profiles,
            seed=seed,
            repeats=repeats,
        )

    def _from_plain(self, name: str, statement: str) -> Path:
        return self._make(name, statement, source=str(self.plain()))

    def _make(self, name: str, *statements: str, **variables: str | int | bool) -> Path:
        """Run the statements that write a file, unless it is there already."""
        path = self.folder / name
        if not path.exists():
            say(f"making {name}")
            unfinished = path.with_name("unfinished-" + name)
            run_sql(*statements, path=str(unfinished), **variables)
            unfinished.rename(path)
        return path


def _stride(size: int) -> int:
    """Return a step that visits each of `size` places once, and spreads the first visits evenly."""
    stride = int(size * 0.618) | 1
    while math.gcd(stride, size) != 1:
        stride += 2
    return stride
