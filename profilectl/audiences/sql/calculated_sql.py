"""Calculated attributes of all profiles at once: calculated.value_of as SQL, over events.

The events are read once for all definitions (calculated_rows_sql); each value is one aggregate by
profile. The few values that SQL cannot compute exactly are computed by value_of itself. Relations
on the way to the result:

    ca_rows<n>     the rows of calculated_rows_sql: of the events (n = 0), or of the entries of one
                   of their lists
    ca_value<n>    profile, x, weight, tracked   how often a profile has a value of a field, and
                   whether the value counts for the profile
    ca_many        profile, x, tracked           of profiles with more than TRACKED values: which of
                   them count
    ..._by         profile, ..._<n>              aggregates of one of these by profile
    ca_person      all aggregates side by side, joined where they are read
    ca_reference   profile, name, held           what value_of computed
    <into>_person  profile, held                 the values side by side, which <into> takes apart
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from profilectl.audiences.sql.aggregates_sql import ORDER, Aggregated, CountedValues
from profilectl.audiences.sql.calculated_rows_sql import EventReading, ValueSource, reading_of
from profilectl.audiences.sql.value_text_sql import (
    PLACES,
    alphabetical,
    digits,
    divided,
    json_list,
    millionths,
    plain,
    quotient,
    timestamp,
)
from profilectl.rules.calculated import (
    DECIMALS,
    NOTHING,
    NUMERIC,
    RETURNS_TO_ZERO,
    TRACKED,
    Definition,
    value_of,
)
from profilectl.rules.event.event import Occurred
from profilectl.rules.event.field import Path
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import parse_json
from profilectl.store.scratch import Scratch
from profilectl.store.segments import both
from profilectl.store.statements import case, or_else, reading, select, texts, union_all

ADDS_UP = 10**12
"""The sum of a hundred million numbers below this fits DECIMAL(38, 18)."""
SMALL = 10**8
"""Short numbers below this fit 64 bits as whole numbers of 10^-DECIMALS."""
ALPHABETICAL = "$alphabetical"
"""The place in the SQL where the sort key of values x goes, once it is known what they are like."""
IN_ORDER = "$in_order"
"""The place where the list of the values x in this order goes."""
NO_LONG = "null::decimal(38, 18)"
"""An aggregate of long numbers where there are none."""
AT_ONCE = 1000
"""How many profiles value_of computes before the events of the next are read."""

VALUE_COLUMNS = [("profile", "BIGINT"), ("name", "VARCHAR"), ("held", "VARCHAR")]

# All values, and those that value_of computed among them.
WITH_REFERENCE = """
select profile, name, held from easy
union all
select profile, name, held from ca_reference
order by profile, name
"""

# A row for each value; null is none.
APART = """
with named as (
    select profile, unnest({columns}) as name, unnest(held) as held
    from side_by_side
)
select profile, name, held from named where held is not null
"""

LIMITED = """
select counted.profile, counted.x, counted.weight, coalesce(ca_many.tracked, true) as tracked
from counted
left join ca_many using (profile, x)
"""

# Whether all values are texts without a capital: then they are their own sort key, twice as fast.
# chr(31) begins a held value that is no text (values.MARK).
ALL_LOWER = """
select coalesce(bool_and(x = lower(x) and not starts_with(x, chr(31))), true)
from counted
"""

# The list of values in the order of ALPHABETICAL: by themselves, or by their sort key.
SORTED = "list_sort(list(x) filter (tracked))"
SORTED_BY_KEY = (
    f"list_transform(list_sort(list({{{ALPHABETICAL}}}) filter (tracked)),"
    " lambda value: value.held)"
)

EXTENT = """
select max(arrival), max(place), least(min(arrival), min(place))
from happened
"""
EVENTS_OF = """
select profile, type, name, at_ms, arrival, place, event
from happened
where profile in (select unnest($profiles::bigint[]))
order by profile
"""


def compute(
    scratch: Scratch,
    definitions: Sequence[Definition],
    now_ms: int,
    *,
    events: str = "event",
    profiles: str | None = None,
    into: str = "calculated",
) -> int:
    """Make a relation of the values of calculated attributes: profile, name, held, in this order.

    Drafts are not computed. `events` is a relation of profile, arrival, place, type, name, at_ms
    and event (its compact JSON text); `profiles` is a relation whose column `profile` names those
    to compute. A profile without a value has no row. Returns how many values value_of computed.
    """
    active = [definition for definition in definitions if not definition.draft]
    plan = _plan_of(scratch, active, now_ms, events=events, profiles=profiles)
    relations = plan.make()
    hard = _by_reference(plan, scratch, events)
    # One row a profile is kept and sorted, and taken apart where it is read: in half the time of a
    # row a value.
    scratch.make(f"{into}_person", _side_by_side(plan.planned))
    values = _values(plan.planned, f"{into}_person")
    scratch.make(into, reading(WITH_REFERENCE, easy=values) if hard else values, keep=bool(hard))
    for name in (*reversed(relations), "ca_reference"):
        scratch.drop(name)
    return hard


class _Hard(NamedTuple):
    """The column that is true where SQL cannot compute a value."""

    rows: Aggregated
    """The relation whose aggregates have it."""
    column: str
    """Its name."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """A definition as SQL over the columns of ca_person."""

    definition: Definition
    """The definition."""
    held: str
    """The SQL of its held value."""
    hard: _Hard | None
    """Whether SQL cannot compute the value; None: it always can."""


class _Value(NamedTuple):
    """The SQL of a value."""

    held: str
    """The value, as it is held."""
    hard: _Hard | None = None
    """Whether SQL cannot compute it; None: it always can."""


class _ValueField(NamedTuple):
    """A field of events, or of the entries of one of their lists."""

    source: ValueSource
    """What has it."""
    rows: Aggregated
    """The relation of the rows."""
    path: Path
    """The path of the field in it."""

    def column(self, letter: str) -> str:
        """Return one of its columns (calculated_rows_sql)."""
        return self.source.column(self.path, letter)


@dataclass(slots=True)
class _Plan:
    """The relations that definitions need, each once."""

    now_ms: int
    """The time that values are computed as of."""
    scratch: Scratch
    """Where the relations are made."""
    events: EventReading
    """How the events are read."""
    rows: list[Aggregated] = field(default_factory=lambda: [Aggregated("ca_rows0")])
    """The relations of rows, in the order of the sources."""
    counted: dict[str, CountedValues] = field(default_factory=dict)
    """The counted values, by their SELECT."""
    planned: list[_Planned] = field(default_factory=list)
    """The definitions as SQL."""

    def make(self) -> list[str]:
        """Make the relations up to ca_person; return their names."""
        names = []
        for rows, source in zip(self.rows, self.events.sources, strict=True):
            # Rows that are read again are kept: to take the texts apart a second time costs more.
            again = any(values.rows is rows for values in self.counted.values())
            self.scratch.make(rows.name, self.events.select(source), keep=again)
            empty = rows.empty(self.scratch) if again else set()
            in_order = any(ORDER in sql for sql in rows.columns)
            among_rows = rows.name if again else self.events.events
            order = _order_of(self.scratch, among_rows) if in_order else ""
            self.scratch.make(rows.by, rows.select(empty, order))
            names += [rows.name, rows.by]
        for values in self.counted.values():
            self._count(values)
            names += [values.counted.name, values.counted.by]
        joined = [*self.rows, *(values.counted for values in self.counted.values())]
        columns = [column for rows in joined for column in rows.columns.values()]
        joins = " ".join(
            f"left join {rows.by} on {rows.by}.profile = ca_rows0_by.profile" for rows in joined[1:]
        )
        together = select(["ca_rows0_by.profile", *columns], "ca_rows0_by", joins)
        self.scratch.make("ca_person", together, keep=False)
        return [*names, "ca_person"]

    def _count(self, values: CountedValues) -> None:
        """Make the relation of counted values, and its aggregates."""
        counted, number = values.counted, values.counted.column("count(*)")
        self.scratch.make(counted.name, values.select())
        all_lower = reading(ALL_LOWER, counted=select("x", counted.name))
        by_profile = counted.select()
        if self.scratch.row(all_lower)[0]:
            by_profile = by_profile.replace(ALPHABETICAL, "'held': x").replace(IN_ORDER, SORTED)
        else:
            by_profile = by_profile.replace(IN_ORDER, SORTED_BY_KEY)
            by_profile = by_profile.replace(ALPHABETICAL, alphabetical("x"))
        self.scratch.make(counted.by, by_profile)
        if (self.scratch.row(select(f"max({number})", counted.by))[0] or 0) <= TRACKED:
            return
        # some profile has more values than are tracked: only the first of them count
        self.scratch.make("ca_many", values.many(number), {"tracked": TRACKED})
        self.scratch.make("ca_with_many", reading(LIMITED, counted=select("*", counted.name)))
        self.scratch.rename("ca_with_many", counted.name)
        self.scratch.make(counted.by, by_profile)
        self.scratch.drop("ca_many")

    def add(self, definition: Definition) -> None:
        """Plan a definition."""
        match = self.events.match(definition)
        counts = self.events.window(definition)
        happened = self.rows[0]
        number = happened.column(f"count(*) filter ({counts})")
        none = "null"
        # When the window has passed, the value returns to zero, or to none (domain.md 11.1).
        if definition.within_ms is not None and definition.type in RETURNS_TO_ZERO:
            ever = happened.column(f"bool_or({match} and at_ms <= {self.now_ms})")
            none = f"case when {ever} then chr(31) || '0' end"
        value = self._value(definition, counts, number)
        # no data, or none of the right type, is shown as - (domain.md 11.1)
        held = or_else(value.held, quote_text(NOTHING))
        self.planned.append(
            _Planned(definition, f"case when {number} > 0 then {held} else {none} end", value.hard)
        )

    def _value(self, definition: Definition, counts: str, number: str) -> _Value:
        """Return the value of a definition, for profiles that have an event that counts.

        chr(31) begins a held value that is no text (values.MARK).
        """
        kind = definition.type
        if kind == "count":
            return _Value(f"chr(31) || {number}")
        if kind in ("first_timestamp", "last_timestamp"):
            end = "min" if kind == "first_timestamp" else "max"
            return _Value(timestamp(self.rows[0].column(f"{end}(at_ms) filter ({counts})")))
        assert definition.path is not None
        value_field = self._field(definition.path)
        if kind in NUMERIC:
            if definition.weighted:
                return self._weighted(value_field, counts)
            return self._number(definition, value_field, counts)
        if kind in ("first_value", "last_value"):
            return self._at_an_end(definition, value_field, counts)
        return self._of_values(definition, value_field, counts)

    def _field(self, path: Path) -> _ValueField:
        source, within = self.events.source(path)
        number = self.events.sources.index(source)
        if number == len(self.rows):
            self.rows.append(Aggregated(f"ca_rows{number}"))
        return _ValueField(source, self.rows[number], within)

    def _weighted(self, price: _ValueField, counts: str) -> _Value:
        """Return the average of a price, by the quantity it was paid for."""
        value, odd = price.column("v"), price.column("q")
        total = price.rows.column(f"sum({value}) filter ({counts})")
        weight = price.rows.column(f"sum(weight) filter ({counts} and {value} is not null)")
        hard = _hard(price, counts, odd, columns=(odd,))
        return _Value(f"chr(31) || {quotient(total, 9, weight)}", hard)

    def _number(self, definition: Definition, number: _ValueField, counts: str) -> _Value:
        """Return a sum, an average, or the least or greatest number."""
        rows = number.rows
        short, long, odd = (number.column(letter) for letter in "edu")
        adds_up = definition.type in ("sum", "average")
        if adds_up:
            of_short = f"sum({short}) filter ({counts})"
            of_long = rows.rarely(
                f"sum({long}) filter ({counts} and abs({long}) < {ADDS_UP})", long, without=NO_LONG
            )
            total = f"coalesce({of_short}, 0) + {of_long}"
        else:
            # minimum and maximum begin with the names of their aggregates
            of_short, of_long = (
                f"{definition.type[:3]}({part}) filter ({counts})" for part in (short, long)
            )
            rows.rarely(of_long, long, without=NO_LONG)
            total = (
                f"{'least' if definition.type == 'minimum' else 'greatest'}({of_short}, {of_long})"
            )
        # If all numbers are short, whole millionths are added up: nine times as fast.
        easy = f"{of_long} is null and abs({of_short}) < {SMALL}"
        exact = rows.column(
            f"case when {of_long} is not null then {total}"
            f" when abs({of_short}) >= {SMALL} then ({of_short})::decimal(38, 18) end"
        )
        if definition.type == "average":
            longs = rows.rarely(f"count({long}) filter ({counts})", long, without="0")
            size = f"(count({short}) filter ({counts}) + {longs})"
            mean = divided(f"{millionths(of_short)} * {10 ** (DECIMALS - PLACES)}", size)
            quick = digits(rows.column(case(easy, mean)), DECIMALS)
            slow = quotient(exact, 18, rows.column(size))
        else:
            whole = rows.column(case(easy, millionths(of_short)))
            quick, slow = digits(whole, PLACES), plain(exact)
        hard = f"{odd} or abs({long}) >= {ADDS_UP}" if adds_up else odd
        read = (odd, long) if adds_up else (odd,)
        return _Value(
            f"chr(31) || coalesce({quick}, {slow})", _hard(number, counts, hard, columns=read)
        )

    def _at_an_end(self, definition: Definition, end: _ValueField, counts: str) -> _Value:
        """Return the first or the last value."""
        value, odd = end.column("x"), end.column("o")
        # of a list the first or last entry counts, such as a product (domain.md 11.1)
        order = f"{{'event': {ORDER}, 'entry': entry}}" if end.source.entries else ORDER
        pick = "arg_min" if definition.type == "first_value" else "arg_max"
        there = f"{counts} and {value} is not null"
        return _Value(
            end.rows.column(f"{pick}({value}, {order}) filter ({there})"),
            _hard(end, counts, odd, columns=(odd,)),
        )

    def _of_values(self, definition: Definition, listed: _ValueField, counts: str) -> _Value:
        """Return the number of values, the most frequent, or a list of them."""
        value, odd = listed.column("x"), listed.column("o")
        entry = "entry" if listed.source.entries else "0"
        values = CountedValues(
            counted=Aggregated(f"ca_value{len(self.counted)}"),
            rows=listed.rows,
            value=value,
            counts=counts,
            weight="sum(weight)" if definition.weighted else "count(*)",
            came_at=f"{{'arrival': arrival, 'place': place, 'entry': {entry}}}",
        )
        counted = self.counted.setdefault(values.select(), values).counted
        hard = _hard(listed, counts, odd, columns=(odd,))
        if definition.weighted:
            test = f"bool_or({odd} or (weight is null and {value} is not null)) filter ({counts})"
            hard = _Hard(listed.rows, listed.rows.column(test))
        if definition.type == "unique_values_count":
            return _Value(f"chr(31) || {counted.column('count(*)')}", hard)
        if definition.type == "most_frequent":
            order = f"{{'often': -weight, {ALPHABETICAL}}}"
            return _Value(counted.column(f"arg_min(x, {order}) filter (tracked)"), hard)
        return _Value(f"chr(31) || {json_list(counted.column(IN_ORDER))}", hard)


def _hard(value_field: _ValueField, counts: str, test: str, *, columns: Sequence[str]) -> _Hard:
    """Return the column of whether an event that counts passes a test of some columns."""
    rows = value_field.rows
    sql = rows.rarely(f"bool_or({test}) filter ({counts})", *columns, without="false")
    return _Hard(rows, rows.column(sql))


def _plan_of(
    scratch: Scratch,
    definitions: Sequence[Definition],
    now_ms: int,
    *,
    events: str,
    profiles: str | None,
) -> _Plan:
    """Return the plan for some definitions."""
    plan = _Plan(
        now_ms=now_ms,
        scratch=scratch,
        events=reading_of(scratch, definitions, now_ms, events=events, profiles=profiles),
    )
    for definition in definitions:
        plan.add(definition)
    return plan


def _order_of(scratch: Scratch, rows: str) -> str:
    """Return the SQL of the order of the events of a relation.

    It is one number where they have room in it: twice as fast as a struct.
    """
    arrival, place, least = scratch.row(reading(EXTENT, happened=select("*", rows)))
    if arrival is not None and least >= 0 and arrival < 2**40 and place < 2**20:
        return f"at_ms::hugeint * {2**60} + arrival::hugeint * {2**20} + place"
    return "{'at': at_ms, 'arrival': arrival, 'place': place}"


def _side_by_side(planned: Sequence[_Planned]) -> str:
    """Return the SELECT of profile, held: its values of all definitions, by name.

    A value is null if there is none, or if SQL cannot compute it.
    """
    held = ", ".join(
        each.held
        if each.hard is None
        else f"case when {each.hard.column} is not true then {each.held} end"
        for each in _by_name(planned)
    )
    return select(f"profile, [{held}]::varchar[] as held", "ca_person", "order by profile")


def _values(planned: Sequence[_Planned], side_by_side: str) -> str:
    """Return the SELECT of all values that SQL can compute: by profile, then by name."""
    names = f"[{texts(each.definition.name for each in _by_name(planned))}]::varchar[]"
    return reading(APART.format(columns=names), side_by_side=select("profile, held", side_by_side))


def _by_name(planned: Sequence[_Planned]) -> list[_Planned]:
    return sorted(planned, key=lambda each: each.definition.name)


def _by_reference(plan: _Plan, scratch: Scratch, events: str) -> int:
    """Make ca_reference, the values that SQL cannot compute; return their number."""
    hard_ones = [
        select(
            f"profile, {number} as number",
            each.hard.rows.by,
            both("", or_else(each.hard.column, "false")),
        )
        for number, each in enumerate(plan.planned)
        if each.hard is not None
    ]
    hard = (
        scratch.rows(select("*", f"({union_all(hard_ones)})", "order by profile, number"))
        if hard_ones
        else []
    )
    definitions = {
        profile: [plan.planned[number].definition for _, number in rows]
        for profile, rows in groupby(hard, key=lambda row: int(row[0]))
    }
    profiles = list(definitions)
    values: list[tuple[int, str, str]] = []
    for start in range(0, len(profiles), AT_ONCE):
        for profile, occurred in _events_of(scratch, events, profiles[start : start + AT_ONCE]):
            for definition in definitions[profile]:
                held = value_of(definition, occurred, plan.now_ms)
                if held is not None:
                    values.append((profile, definition.name, held))
    scratch.load("ca_reference", VALUE_COLUMNS, values)
    return len(hard)


def _events_of(
    scratch: Scratch, events: str, profiles: Sequence[int]
) -> Iterator[tuple[int, list[Occurred]]]:
    """Yield each of some profiles with its events."""
    rows = scratch.rows(
        reading(EVENTS_OF, happened=select("*", events)), {"profiles": list(profiles)}
    )
    for profile, of_profile in groupby(rows, key=lambda row: int(row[0])):
        yield (
            profile,
            [
                Occurred(
                    type=kind,
                    name=name,
                    at_ms=at_ms,
                    arrival=arrival,
                    place=place,
                    session=None,
                    document=document,
                )
                for _, kind, name, at_ms, arrival, place, text in of_profile
                if isinstance(document := parse_json(text), dict)
            ],
        )
