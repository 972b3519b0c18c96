"""Calculated attributes of all profiles at once: calculated.value_of as SQL, over a relation of
events.

The events are read once for all definitions (picking); each value is one aggregate by profile.
Values that SQL cannot tell exactly are computed by value_of itself: few. Relations on the way to
the result:

    ca_rows<n>     picking's rows: of the events (n = 0), or of the entries of a list of theirs
    ca_value<n>    profile, x, weight, tracked   how often a profile has a value of a field, and whether it counts there
    ca_many        profile, x, tracked           which of their values count, of profiles that have more than TRACKED
    ..._by         profile, ..._<n>              aggregates of one of these by profile
    ca_person      all aggregates side by side
    ca_reference   profile, name, held           what value_of computed
    <into>_person  profile, held                 the values side by side, which <into> takes apart
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from profilectl.audiences.calculated_rows_sql import Picking, ValueSource
from profilectl.rules.calculated import (
    DECIMALS,
    FIRST_MS,
    LAST_MS,
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
from profilectl.rules.text.values import parse_json, to_json
from profilectl.store.scratch import Scratch

ADDS_UP = 10**12
"""A hundred million numbers below this have a sum that DECIMAL(38, 18) holds."""
PLACES, SMALL = 6, 10**8
"""picking's short numbers have PLACES places; below SMALL they fit 64 bits as whole numbers of
10^-DECIMALS.
"""
ALPHABETICAL = "$alphabetical"
"""Stands in the SQL for what values x are sorted by, until it is known what values there are."""
AT_ONCE = 1000
"""How many profiles the reference computes before it reads the events of the next."""


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
    Drafts are not computed.

    events: a relation of profile, arrival, place, type, name, at_ms and event (its compact JSON
    text); profiles: a relation whose column `profile` names those to compute. A profile without a
    value has no row. Returns how many values the reference had to compute.
    """
    plan = _Plan(scratch, [one for one in definitions if not one.draft], now_ms, events, profiles)
    made = plan.make()
    hard = _by_reference(plan, scratch, events)
    # One row a profile is kept and sorted, and taken apart where it is read: in half the time of a
    # row a value.
    scratch.make(f"{into}_person", _side_by_side(plan.planned))
    values = _values(plan.planned, f"{into}_person")
    scratch.make(
        into,
        f"{values} union all select profile, name, held from ca_reference order by profile, name"
        if hard
        else values,
        keep=bool(hard),
    )
    for name in (*reversed(made), "ca_reference"):
        scratch.drop(name)
    return hard


@dataclass(slots=True)
class _Rows:
    """A relation, and the aggregates that are wanted of it by profile: SQL -> column."""

    name: str
    columns: dict[str, str] = field(default_factory=dict)

    @property
    def by(self) -> str:
        return f"{self.name}_by"

    def column(self, sql: str) -> str:
        return self.columns.setdefault(sql, f"{self.name}_{len(self.columns)}")

    def select(self) -> str:
        aggregates = "".join(f", {sql} as {column}" for sql, column in self.columns.items())
        return f"select profile{aggregates} from {self.name} group by profile"


@dataclass(slots=True)
class _CountedValues:
    """The values of one field, counted by profile.

    rows: where they are; where: which count; seen: their order.
    """

    counted: _Rows
    rows: _Rows
    value: str
    where: str
    weight: str
    seen: str

    def select(self) -> str:
        return (
            f"select profile, {self.value} as x, {self.weight} as weight, true as tracked from {self.rows.name}"
            f" where {self.where} and {self.value} is not null group by profile, {self.value}"
        )

    def many(self, number: str) -> str:
        """Return the SELECT of ca_many; number: the column with how many values a profile has."""
        return (
            f"select profile, x, row_number() over (partition by profile order by seen) <= {TRACKED} as tracked from ("
            f"select profile, {self.value} as x, min({self.seen}) as seen from {self.rows.name} where {self.where} and {self.value} is not null"
            f" and profile in (select profile from {self.counted.by} where {number} > {TRACKED}) group by profile, {self.value})"
        )


@dataclass(slots=True)
class _Planned:
    """A definition and the SQL, over the columns of ca_person, of its value and of whether SQL
    cannot tell it.
    """

    definition: Definition
    held: str
    hard: str | None


class _Plan:
    """The relations that the definitions need, each once."""

    def __init__(
        self,
        scratch: Scratch,
        definitions: Sequence[Definition],
        now_ms: int,
        events: str,
        profiles: str | None,
    ) -> None:
        self.now_ms = now_ms
        self._scratch, self._events = scratch, events
        self._picking = Picking(definitions, now_ms, events, profiles)
        if scratch.row(self._picking.spelled_anew())[0]:
            self._picking.compares()
        self._rows = [_Rows("ca_rows0")]
        self._counted: dict[str, _CountedValues] = {}
        self._order = (
            self._packed()
            if any(one.type in ("first_value", "last_value") for one in definitions)
            else ""
        )
        self.planned = [self._planned(one) for one in definitions]

    def make(self) -> list[str]:
        """Make the relations up to ca_person; return their names."""
        made = []
        for rows, source in zip(self._rows, self._picking.sources, strict=True):
            # Rows that are read again are kept: to take the texts apart a second time costs more.
            again = any(counted.rows is rows for counted in self._counted.values())
            self._scratch.make(rows.name, self._picking.select(source), keep=again)
            self._scratch.make(rows.by, rows.select())
            made += [rows.name, rows.by]
        for counted in self._counted.values():
            self._count(counted)
            made += [counted.counted.name, counted.counted.by]
        joined = [*self._rows, *(counted.counted for counted in self._counted.values())]
        columns = [column for rows in joined for column in rows.columns.values()]
        joins = "".join(
            f" left join {rows.by} on {rows.by}.profile = ca_rows0_by.profile"
            for rows in joined[1:]
        )
        self._scratch.make(
            "ca_person",
            f"select {', '.join(['ca_rows0_by.profile', *columns])} from ca_rows0_by{joins}",
            keep=len(joined) > 1,
        )
        return [*made, "ca_person"]

    def _count(self, counted: _CountedValues) -> None:
        values, number = counted.counted, counted.counted.column("count(*)")
        self._scratch.make(values.name, counted.select())
        # Where they are texts without a capital, they are sorted by themselves: twice as fast.
        lower = self._scratch.row(
            f"select coalesce(bool_and(x = lower(x) and not starts_with(x, chr(31))), true) from {values.name}"
        )[0]
        by_profile = values.select().replace(
            ALPHABETICAL, "'held': x" if lower else _alphabetical("x")
        )
        self._scratch.make(values.by, by_profile)
        if (self._scratch.row(f"select max({number}) from {values.by}")[0] or 0) <= TRACKED:
            return
        self._scratch.make("ca_many", counted.many(number))
        self._scratch.make(
            "ca_with_many",
            f"select profile, x, weight, coalesce(ca_many.tracked, true) as tracked from {values.name} left join ca_many using (profile, x)",
        )
        self._scratch.rename("ca_with_many", values.name)
        self._scratch.make(values.by, by_profile)
        self._scratch.drop("ca_many")

    def _packed(self) -> str:
        """Return the SQL of the order of events: one number where they have room in it, twice as
        fast as a struct.
        """
        arrival, place, least = self._scratch.row(
            f"select max(arrival), max(place), least(min(arrival), min(place)) from {self._events}"
        )
        if arrival is not None and least >= 0 and arrival < 2**40 and place < 2**20:
            return f"at_ms::hugeint * {2**60} + arrival::hugeint * {2**20} + place"
        return "{'at': at_ms, 'arrival': arrival, 'place': place}"

    def _source(self, path: Path) -> tuple[ValueSource, _Rows, Path]:
        source, within = self._picking.source(path)
        number = self._picking.sources.index(source)
        if number == len(self._rows):
            self._rows.append(_Rows(f"ca_rows{number}"))
        return source, self._rows[number], within

    def _planned(self, one: Definition) -> _Planned:
        events, match, counts = self._rows[0], self._picking.match(one), self._picking.window(one)
        number = events.column(f"count(*) filter ({counts})")
        none = "null"
        if one.within_ms is not None and one.type in RETURNS_TO_ZERO:
            none = f"case when {events.column(f'bool_or({match} and at_ms <= {self.now_ms})')} then chr(31) || '0' end"
        hard: str | None = None
        if one.type == "count":
            value = f"chr(31) || {number}"
        elif one.type in ("first_timestamp", "last_timestamp"):
            value = _timestamp(
                events.column(
                    f"{'min' if one.type == 'first_timestamp' else 'max'}(at_ms) filter ({counts})"
                )
            )
        elif one.type in NUMERIC:
            value, hard = self._number(one, counts)
        elif one.type in ("first_value", "last_value"):
            value, hard = self._at_an_end(one, counts)
        else:
            value, hard = self._of_values(one, counts)
        return _Planned(
            one,
            f"case when {number} > 0 then coalesce({value}, {quote_text(NOTHING)}) else {none} end",
            hard,
        )

    def _number(self, one: Definition, counts: str) -> tuple[str, str]:
        assert one.path is not None
        source, rows, path = self._source(one.path)
        if one.weighted:
            price, odd = source.column(path, "v"), source.column(path, "q")
            total = rows.column(f"sum({price}) filter ({counts})")
            weight = rows.column(f"sum(weight) filter ({counts} and {price} is not null)")
            return f"chr(31) || {_quotient(total, 9, weight)}", rows.column(
                f"bool_or({odd}) filter ({counts})"
            )
        short, long, odd = (source.column(path, letter) for letter in "edu")
        hard = f"{odd} or abs({long}) >= {ADDS_UP}" if one.type in ("sum", "average") else odd
        if one.type in ("minimum", "maximum"):
            of_short, of_long = (
                f"{one.type[:3]}({number}) filter ({counts})" for number in (short, long)
            )
            all_of_it = f"{'least' if one.type == 'minimum' else 'greatest'}({of_short}, {of_long})"
        else:
            of_short, of_long = (
                f"sum({short}) filter ({counts})",
                f"sum({long}) filter ({counts} and abs({long}) < {ADDS_UP})",
            )
            all_of_it = f"coalesce({of_short}, 0) + {of_long}"
        # Where all numbers are short ones, in whole millionths: nine times as fast as with the
        # rest.
        easy = f"{of_long} is null and abs({of_short}) < {SMALL}"
        rest = rows.column(
            f"case when {of_long} is not null then {all_of_it} when abs({of_short}) >= {SMALL} then ({of_short})::decimal(38, 18) end"
        )
        if one.type == "average":
            number = f"(count({short}) filter ({counts}) + count({long}) filter ({counts}))"
            divided = _divided(f"{_millionths(of_short)} * {10 ** (DECIMALS - PLACES)}", number)
            short_value = _digits(rows.column(f"case when {easy} then {divided} end"), DECIMALS)
            value = f"coalesce({short_value}, {_quotient(rest, 18, rows.column(number))})"
        else:
            value = f"coalesce({_digits(rows.column(f'case when {easy} then {_millionths(of_short)} end'), PLACES)}, {_plain(rest)})"
        return f"chr(31) || {value}", rows.column(f"bool_or({hard}) filter ({counts})")

    def _at_an_end(self, one: Definition, counts: str) -> tuple[str, str]:
        assert one.path is not None
        source, rows, path = self._source(one.path)
        value, odd = source.column(path, "x"), source.column(path, "o")
        order = f"{{'event': {self._order}, 'entry': entry}}" if source.entries else self._order
        end = "arg_min" if one.type == "first_value" else "arg_max"
        return rows.column(
            f"{end}({value}, {order}) filter ({counts} and {value} is not null)"
        ), rows.column(f"bool_or({odd}) filter ({counts})")

    def _of_values(self, one: Definition, counts: str) -> tuple[str, str]:
        assert one.path is not None
        source, rows, path = self._source(one.path)
        value, odd = source.column(path, "x"), source.column(path, "o")
        weight = "sum(weight)" if one.weighted else "count(*)"
        seen = (
            f"{{'arrival': arrival, 'place': place, 'entry': {'entry' if source.entries else '0'}}}"
        )
        counted = _CountedValues(
            _Rows(f"ca_value{len(self._counted)}"), rows, value, counts, weight, seen
        )
        counted = self._counted.setdefault(counted.select(), counted)
        best = counted.counted
        hard = rows.column(
            f"bool_or({odd}{f' or (weight is null and {value} is not null)' if one.weighted else ''}) filter ({counts})"
        )
        if one.type == "unique_values_count":
            return f"chr(31) || {best.column('count(*)')}", hard
        if one.type == "most_frequent":
            return best.column(
                f"arg_min(x, {{'often': -weight, {ALPHABETICAL}}}) filter (tracked)"
            ), hard
        listed = best.column(f"list_sort(list({{{ALPHABETICAL}}}) filter (tracked))")
        return f"chr(31) || {_json_list(f'list_transform({listed}, lambda one: one.held)')}", hard


def _side_by_side(planned: Sequence[_Planned]) -> str:
    """Return the SELECT of profile, held: its values of all definitions by name; null for none, and
    for those that SQL cannot tell.
    """
    held = ", ".join(
        one.held if one.hard is None else f"case when {one.hard} is not true then {one.held} end"
        for one in _by_name(planned)
    )
    return f"select profile, [{held}]::varchar[] as held from ca_person order by profile"


def _values(planned: Sequence[_Planned], side_by_side: str) -> str:
    """Return the SELECT of all values, but for those that SQL cannot tell: by profile, then by
    name.
    """
    names = ", ".join(quote_text(one.definition.name) for one in _by_name(planned))
    return f"select profile, name, held from (select profile, unnest([{names}]::varchar[]) as name, unnest(held) as held from {side_by_side}) where held is not null"


def _by_name(planned: Sequence[_Planned]) -> list[_Planned]:
    return sorted(planned, key=lambda one: one.definition.name)


def _by_reference(plan: _Plan, scratch: Scratch, events: str) -> int:
    """Make ca_reference: the values that SQL cannot tell, as value_of has them. Return their
    number.
    """
    select = " union all ".join(
        f"select profile, {number} as number from ca_person where coalesce({one.hard}, false)"
        for number, one in enumerate(plan.planned)
        if one.hard is not None
    )
    hard = scratch.rows(f"{select} order by profile, number") if select else []
    wanted = {
        profile: [plan.planned[number].definition for _, number in found]
        for profile, found in groupby(hard, key=lambda row: int(row[0]))
    }
    profiles = list(wanted)
    rows: list[tuple[int, str, str]] = []
    for start in range(0, len(profiles), AT_ONCE):
        for profile, occurred in _events_of(scratch, events, profiles[start : start + AT_ONCE]):
            computed = ((one.name, value_of(one, occurred, plan.now_ms)) for one in wanted[profile])
            rows += [(profile, name, held) for name, held in computed if held is not None]
    scratch.load(
        "ca_reference", [("profile", "BIGINT"), ("name", "VARCHAR"), ("held", "VARCHAR")], rows
    )
    return len(hard)


def _events_of(
    scratch: Scratch, events: str, profiles: Sequence[int]
) -> Iterator[tuple[int, list[Occurred]]]:
    """Yield each of some profiles with its events."""
    found = scratch.rows(
        f"select profile, type, name, at_ms, arrival, place, event from {events} where profile in (select unnest($profiles::bigint[])) order by profile",
        {"profiles": list(profiles)},
    )
    for profile, rows in groupby(found, key=lambda row: int(row[0])):
        yield (
            profile,
            [
                Occurred(kind, name, at_ms, arrival, place, None, document)
                for _, kind, name, at_ms, arrival, place, text in rows
                if isinstance(document := parse_json(text), dict)
            ],
        )


def _millionths(number: str) -> str:
    """Return the SQL of a decimal of PLACES places below SMALL as a whole number of 10^-PLACES."""
    return f"(({number})::decimal(18, {PLACES}) * {10**PLACES}::decimal({PLACES + 1}, 0))::bigint"


def _digits(whole: str, places: int) -> str:
    """Return the SQL of a whole number of 10^-places as plain digits: no zeros at the end."""
    one, rest = 10**places, f"abs({whole} % {10**places})"
    before = f"case when {whole} < 0 then '-' else '' end || abs({whole} // {one})"
    return (
        f"case when {whole} is null then null when {whole} % {one} = 0 then ({whole} // {one})::varchar"
        f" when {whole} % {one // 100} = 0 and {whole} % {one // 10} <> 0 then {before} || '.' || lpad(({rest} // {one // 100})::varchar, 2, '0')"
        f" else {before} || '.' || rtrim(lpad({rest}::varchar, {places}, '0'), '0') end"
    )


def _divided(whole: str, by: str) -> str:
    """Return the SQL of a quotient of whole numbers, rounded half to even."""
    twice = f"2 * abs(({whole}) % {by})"
    odd = f"({whole}) // {by} % 2 <> 0"
    return f"(({whole}) // {by} + case when {twice} > {by} or ({twice} = {by} and {odd}) then sign({whole}) else 0 end)::bigint"


def _plain(number: str) -> str:
    """Return the SQL of a decimal as plain digits: no zeros at the end."""
    return f"rtrim(rtrim({number}::varchar, '0'), '.')"


def _quotient(total: str, scale: int, weight: str) -> str:
    """Return the SQL of total / weight as plain digits, rounded half to even; scale: the places of
    total.

    In whole numbers of 10^-DECIMALS, so that nothing is rounded twice; null where weight is 0.
    """
    digits = f"abs(replace({total}::varchar, '.', '')::hugeint) * {10 ** max(0, DECIMALS - scale)}"
    parts = f"{{'n': {digits}, 'w': nullif({weight}, 0)::hugeint * {10 ** max(0, scale - DECIMALS)}, 's': case when {total} < 0 then '-' else '' end}}"
    rounded = "it.n // it.w + (case when 2 * (it.n % it.w) > it.w or (2 * (it.n % it.w) = it.w and (it.n // it.w) % 2 = 1) then 1 else 0 end)"
    whole = f"list_transform([{parts}], lambda it: {{'q': {rounded}, 's': it.s}})"
    text = f"rtrim(rtrim((it.q // {10**DECIMALS})::varchar || '.' || lpad((it.q % {10**DECIMALS})::varchar, {DECIMALS}, '0'), '0'), '.')"
    return f"list_transform({whole}, lambda it: case when it.q is not null then case when it.q = 0 then '0' else it.s || {text} end end)[1]"


def _timestamp(at_ms: str) -> str:
    """Return the SQL of a time as ISO 8601 in UTC, null where it cannot be written."""
    return f"case when {at_ms} between {FIRST_MS} and {LAST_MS} then strftime(epoch_ms({at_ms}), '%Y-%m-%dT%H:%M:%S.%gZ') end"


def _text(held: str) -> str:
    """Return the SQL of the text of a held scalar (values.held_text)."""
    return f"case when not starts_with({held}, chr(31)) then {held} when starts_with({held}, chr(31) || '''') then ({held})[3:] else ({held})[2:] end"


def _alphabetical(held: str) -> str:
    """Return the SQL of what held values are sorted by (calculated.alphabetical)."""
    return f"'text': lower({_text(held)}), 'held': {held}"


def _json_list(held: str) -> str:
    """Return the SQL of the JSON text of a list of held scalars as values.to_json writes it.

    DuckDB writes the same, but for control characters (\\u001F, not \\u001f), and so also for what
    is held with a MARK.
    """
    return (
        f"case when contains(to_json({held})::varchar, '\\u') then '[' || array_to_string(list_transform({held}, lambda one: {_json('one')}), ',') || ']'"
        f" else to_json({held})::varchar end"
    )


def _json(held: str) -> str:
    """Return the SQL of the JSON text of a held scalar as values.to_json writes it: DuckDB writes
    other escapes.
    """
    text = _text(held)
    escaped = text
    for letter in ("\\", '"', *map(chr, range(1, 32))):
        escaped = f"replace({escaped}, chr({ord(letter)}), {quote_text(to_json(letter)[1:-1])})"
    string = f"""'"' || case when regexp_matches({text}, '["\\\\\\x00-\\x1f]') then {escaped} else {text} end || '"'"""
    return f"case when starts_with({held}, chr(31)) and not starts_with({held}, chr(31) || '''') then ({held})[2:] else {string} end"
