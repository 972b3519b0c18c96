"""The rows that calculated attributes are computed from: events that count, and their fields.

One SELECT reads the events for all definitions, each event's text once. Its columns, n and f
numbered from 0:

    profile, arrival, place, at_ms     as in the relation of events
    m<n>     the event is of a definition's type and name and meets its condition
    w<n>     the same, and it is in the window. Definitions that say the same share a column
    x<f>     the held value of a field (values.hold), null where it has none
    e<f>     its number as DECIMAL(18, 6), which is several times as fast as d<f>
    d<f>     its number as DECIMAL(38, 18), where it does not fit e<f>; both are null where the
             value is no number, or fits neither
    o<f>     SQL cannot tell the value: the field is a list
    u<f>     the same, or it is a number that fits neither
    q<f>     the same as o<f>, or it is a number of which v<f> is null

and of the entries of a list, such as products, one row each, without those of events whose list is
empty:

    entry    its place in the list
    weight   how often it counts: its quantity; null where SQL cannot tell
    v<f>     price times weight as DECIMAL(38, 9), null where it is no number or does not fit
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from profilectl.audiences.sql.quick_conditions_sql import QuickEventSql
from profilectl.rules.calculated import Definition
from profilectl.rules.event.field import Path, caseless
from profilectl.rules.sql.events import (
    PLAIN,
    EventSql,
    json_path,
    quoted_numbers,
    scalar_held,
    scalar_text,
    taken,
    taking,
    unchanged,
)
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch
from profilectl.store.segments import both
from profilectl.store.statements import (
    among,
    case,
    in_any,
    is_in,
    json_part,
    reading,
    select,
    texts,
)

SHORT = "[+-]?[0-9]{1,12}([.][0-9]{1,6})?"
"""A number that DECIMAL(18, 6) holds."""
FITS = "[+-]?[0-9]{1,19}([.][0-9]{1,18})?"
"""A number that DECIMAL(38, 18) holds."""
PRICE = "[+-]?[0-9]{1,9}([.][0-9]{1,9})?"
QUANTITY = "[0-9]{1,5}"
"""DECIMAL(38, 9) adds up the products of such prices and quantities."""
FEW = 1000
"""How many events are looked at to decide how all of them are read."""


# Whether any of a few events has a number in its fields that DuckDB might write in another way.
ODD_NUMBERS = "select coalesce(bool_or({columns}), false) from few"

EVENT = "profile, arrival, place, type, name, at_ms, event"
# An entry comes as DuckDB writes it (part), and with its numbers as the event has them (exactly).
ENTRY = "unnest(found) as part, unnest(exact) as exactly, unnest(range(len(found))) as entry"


@dataclass(slots=True)
class ValueSource:
    """A source of values: the events, or the entries of one of their lists."""

    entries: Path | None = None
    """The path of the list; None: the events themselves."""
    fields: list[Path] = field(default_factory=list)
    """The fields that are read, by their path in the event or in the entry."""
    needs: list[set[str]] = field(default_factory=list)
    """The columns that are wanted of each field."""

    def column(self, path: Path, letter: str) -> str:
        """Return the column of a field, and see to it that it is there."""
        if path not in self.fields:
            self.fields.append(path)
            self.needs.append(set())
        place = self.fields.index(path)
        self.needs[place].add(letter)
        return f"{letter}{place}"


class _JsonField(NamedTuple):
    """A field of an event or of an entry, as SQL."""

    json: str
    """Its JSON text; numbers may be written in another way."""
    spelled: str
    """A number, or a boolean, as the text of the event has it."""


@dataclass(slots=True)
class EventReading:
    """The parts of events that are to be read for some definitions."""

    definitions: Sequence[Definition]
    """The definitions."""
    now_ms: int
    """The time that windows end at."""
    events: str
    """A relation of profile, arrival, place, type, name, at_ms, event."""
    profiles: str | None
    """A relation whose column `profile` names the only ones to look at; None: all."""
    paths: list[Path]
    """The fields that do not lead through lists: they are taken out of an event at once."""
    event: EventSql
    """Writes the SQL about an event."""
    compares: bool = False
    """Whether each event is compared with what DuckDB makes of it, in the same reading."""
    matches: dict[str, str] = field(default_factory=dict)
    """The SQL of whether an event counts, without its time -> its column."""
    windows: dict[str, str] = field(default_factory=dict)
    """The SQL of whether an event counts -> its column."""
    sources: list[ValueSource] = field(default_factory=lambda: [ValueSource()])
    """The sources of values, in the order in which they were needed."""

    @property
    def _alike(self) -> bool:
        """Whether all definitions are about the same events."""
        kinds = {
            (each.event_type, each.event and caseless(each.event)) for each in self.definitions
        }
        return len(kinds) == 1

    def match(self, definition: Definition) -> str:
        """Return the column of whether an event counts, without its time."""
        # if all are alike, `wanted` has chosen by type and name already
        parts = [] if self._alike else [f"type = {quote_text(definition.event_type)}"]
        if definition.event is not None and not self._alike:
            parts.append(f"coalesce(lower(name) = {quote_text(caseless(definition.event))}, false)")
        if definition.condition is not None:
            parts.append(self.event.condition(definition.condition))
        return self.matches.setdefault(" and ".join(parts) or "true", f"m{len(self.matches)}")

    def window(self, definition: Definition) -> str:
        """Return the column of whether an event counts."""
        match = self.match(definition)
        length_ms, since_ms = definition.within_ms, definition.since_ms
        if length_ms is None and since_ms is None:
            return match
        times = (
            f"at_ms >= {since_ms}"
            if length_ms is None
            else f"at_ms > {self.now_ms - length_ms} and at_ms <= {self.now_ms}"
        )
        return self.windows.setdefault(f"{match} and {times}", f"w{len(self.windows)}")

    def source(self, path: Path) -> tuple[ValueSource, Path]:
        """Return the source that has a field, and the path of the field in it."""
        if not path.walks:
            return self.sources[0], path
        entries, within = path.entry
        for source in self.sources:
            if source.entries == entries:
                return source, within
        self.sources.append(ValueSource(entries))
        return self.sources[-1], within

    def select(self, source: ValueSource) -> str:
        """Return the SELECT of the rows of a source."""
        # fmt: off
        columns = ["profile", "arrival", "place", "at_ms",
                   *self.matches.values(), *self.windows.values()]
        # fmt: on
        if source.entries is None:
            parts = [
                _JsonField(self.event.part(path), self.event.spelled(path))
                for path in source.fields
            ]
            return _valued(columns, source, parts, rows=f"({self._matched()})")
        listed = _listed("event", json_path(source.entries))
        # DuckDB may write a number of an entry in another way; in quotes it keeps its digits
        exact = _listed(quoted_numbers("event"), json_path(source.entries))
        spelled = case(self.event.same, listed, exact)
        lists = select(
            [*columns, f"{listed} as found", f"{spelled} as exact"], f"({self._matched()})"
        )
        entries = select([*columns, ENTRY], f"({lists})")
        parts = [_of_entry(json_path(path, "$")) for path in source.fields]
        weighed = select(f"*, {_weight()} as weight", f"({entries})")
        return _valued([*columns, "entry", "weight"], source, parts, rows=f"({weighed})")

    def _matched(self) -> str:
        """Return the SELECT of the events with the columns of matches and windows."""
        # No `where` on the matches: DuckDB would take every text apart twice, once to filter and
        # once to read.
        rows, clause = self.events, both("", self.wanted())
        if self.paths:
            parts, same = taken("event", self.paths, "taken")
            taking_all = taking("event", self.paths, whole=self.compares)
            read = select(f"{EVENT}, {taking_all} as taken", rows, clause)
            named = [f"{sql} as {_named(self.paths)[path]}" for path, sql in parts.items()]
            compared = [f"{same} as same"] if self.compares else []
            rows, clause = f"({select([EVENT, *compared, *named], f'({read})')})", ""
        matched = select(["*", *_as(self.matches)], rows, clause)
        return select(["*", *_as(self.windows)], f"({matched})") if self.windows else matched

    def wanted(self) -> str:
        """Return the SQL of a cheap first choice: events of a wanted type and name.

        Only those of the profiles to look at are chosen.
        """
        named: dict[str, set[str] | None] = {}
        for definition in self.definitions:
            names = named.setdefault(definition.event_type, set())
            # a definition without a name is about all events of its type
            if definition.event is None:
                named[definition.event_type] = None
            elif names is not None:
                names.add(caseless(definition.event))
        kinds = []
        for kind, names in named.items():
            is_kind = f"type = {quote_text(kind)}"
            in_names = [is_in("lower(name)", texts(sorted(names)))] if names is not None else []
            kinds.append(" and ".join([is_kind, *in_names]))
        return " and ".join(
            [f"({in_any(kinds)})", *([among(self.profiles)] if self.profiles else [])]
        )


def reading_of(
    scratch: Scratch,
    definitions: Sequence[Definition],
    now_ms: int,
    *,
    events: str,
    profiles: str | None,
) -> EventReading:
    """Return how events are read for some definitions.

    If a few of them have a number that DuckDB might write in another way, each event is compared
    with what DuckDB makes of it. That costs a third more for each event, and saves ten times as
    much for each such number.
    """
    paths = list(dict.fromkeys(path for path in _paths(definitions) if not path.walks))
    plain = EventReading(
        definitions=definitions,
        now_ms=now_ms,
        events=events,
        profiles=profiles,
        paths=paths,
        event=QuickEventSql("event", _named(paths)),
    )
    parts, _ = taken("event", paths, "taken")
    odd = in_any(
        f"(regexp_full_match({part}, '-?[0-9].*') and not {unchanged(part)})"
        for part in parts.values()
    )
    few = select(
        f"{taking('event', paths)} as taken",
        events,
        f"{both('', plain.wanted())} limit {FEW}",
    )
    if scratch.row(reading(ODD_NUMBERS.format(columns=odd), few=few))[0]:
        plain.compares = True
        plain.event = QuickEventSql("event", _named(paths), "same")
    return plain


def _named(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the columns of the fields that are taken out of an event."""
    return {path: f"j{place}" for place, path in enumerate(paths)}


def _as(columns: dict[str, str]) -> list[str]:
    return [f"{sql} as {name}" for sql, name in columns.items()]


def _paths(definitions: Sequence[Definition]) -> Iterable[Path]:
    for definition in definitions:
        if definition.condition is not None:
            yield from definition.condition.paths()
        if definition.path is not None:
            yield definition.path


def _listed(column: str, path: str) -> str:
    return f"json_extract({column}, {quote_text(path)})::varchar[]"


def _of_entry(path: str) -> _JsonField:
    """Return the part at a path of an entry."""
    part = json_part("part", path)
    exact = f"json_extract_string(exactly, {quote_text(path)})"
    return _JsonField(part, case(unchanged(part), part, exact))


def _weight() -> str:
    """Return the SQL of how often an entry counts: 1 if it states no quantity."""
    quantity = _of_entry("$.quantity")
    number = scalar_text(quantity.json, quantity.spelled)
    return (
        f"case when coalesce({quantity.json}, 'null') = 'null' then 1"
        f" when regexp_full_match({number}, '{QUANTITY}') then ({number})::integer end"
    )


def _valued(
    columns: Sequence[str], source: ValueSource, parts: Sequence[_JsonField], *, rows: str
) -> str:
    """Return the SELECT of rows with the columns of their fields."""
    # A column stands in a SELECT of its own before others use it: named twice, it would be worked
    # out twice.
    texts_of, shorts, values = [], [], []
    for place, (part, needs) in enumerate(zip(parts, source.needs, strict=True)):
        texts_of.append(f"starts_with({part.json}, '[') as l{place}")
        if "x" in needs:
            texts_of.append(f"{scalar_held(part.json, part.spelled)} as x{place}")
        if needs - {"x", "o"}:
            texts_of.append(f"{scalar_text(part.json, part.spelled)} as t{place}")
        if needs & {"e", "d", "u"}:
            shorts.append(f"{_SHORT.replace('#', str(place))} as e{place}")
        values += [
            f"{_VALUES[letter].replace('#', str(place))} as {letter}{place}"
            for letter in sorted(needs)
        ]
    valued = select([*columns, *texts_of], rows)
    if shorts:
        valued = select(["*", *shorts], f"({valued})")
    return select([*columns, *values], f"({valued})")


_NUMBER = f"regexp_full_match(t#, '{PLAIN}')"
_FITS = f"regexp_full_match(t#, '{FITS}')"
_PRICE = f"regexp_full_match(t#, '{PRICE}')"
_SHORT = f"case when regexp_full_match(t#, '{SHORT}') then t#::decimal(18, 6) end"
# fmt: off
_VALUES = {
    "x": "x#",
    "e": "e#",
    "d": f"case when e# is null then case when {_FITS} then t#::decimal(38, 18) end end",
    "v": f"case when {_PRICE} then t#::decimal(18, 9) * weight::decimal(5, 0) end",
    "o": "coalesce(l#, false)",
    "u": "case when e# is not null then false when l# then true"
         f" else coalesce({_NUMBER} and not {_FITS}, false) end",
    "q": f"coalesce(l# or ({_NUMBER} and (weight is null or not {_PRICE})), false)",
}
# fmt: on
"""The columns of a field #, of its held value x, of its text t, and whether it is a list l."""
