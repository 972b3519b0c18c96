"""The rows that calculated attributes are computed of: events that count, and the values of their
fields.

One SELECT reads the events for all definitions, each event's text once. Its columns, n and f
numbered from 0:

    profile, arrival, place, at_ms     as in the relation of events
    m<n>     the event is of a definition's type and name and meets its condition; w<n>: and is in its window.
             Definitions that say the same share a column
    x<f>     the held value of a field (values.hold), null where it has none
    e<f>     the number it is as DECIMAL(18, 6), which is several times as fast; d<f>: as DECIMAL(38, 18) where
             it does not fit e<f>; both are null where it is no number or fits neither
    o<f>     SQL cannot tell the value: the field is a list; u<f>: or a number that does not fit; q<f>: or v<f> is null

and of the entries of a list, such as products, one row each, without those of events whose list is
empty:

    entry    its place in the list
    weight   how often it counts: its quantity; null where SQL cannot tell
    v<f>     price times weight as DECIMAL(38, 9), null where it is no number or does not fit
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from profilectl.rules.calculated import Definition
from profilectl.rules.event.field import Path, fold
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

SHORT = "[+-]?[0-9]{1,12}([.][0-9]{1,6})?"
"""A number that DECIMAL(18, 6) holds, ..."""
FITS = "[+-]?[0-9]{1,19}([.][0-9]{1,18})?"
"""... or DECIMAL(38, 18)."""
PRICE = "[+-]?[0-9]{1,9}([.][0-9]{1,9})?"
QUANTITY = "[0-9]{1,5}"
"""A price and a quantity whose product DECIMAL(38, 9) adds up."""
FEW = 1000
"""How many events are looked at before it is decided how to read all."""


@dataclass(slots=True)
class ValueSource:
    """What has values: the events (entries: None), or the entries of one of their lists.

    fields: by their path in the event or in the entry; needs: the columns that are wanted of each.
    """

    entries: Path | None = None
    fields: list[Path] = field(default_factory=list)
    needs: list[set[str]] = field(default_factory=list)

    def column(self, path: Path, letter: str) -> str:
        """Return the column of a field, and see to it that it is there."""
        if path not in self.fields:
            self.fields.append(path)
            self.needs.append(set())
        place = self.fields.index(path)
        self.needs[place].add(letter)
        return f"{letter}{place}"


class Picking:
    """What is to be read of the events for some definitions.

    events: a relation of profile, arrival, place, type, name, at_ms, event; profiles: a relation
    whose column `profile` names the only ones to look at.
    """

    def __init__(
        self, definitions: Sequence[Definition], now_ms: int, events: str, profiles: str | None
    ) -> None:
        self._now_ms, self._events, self._profiles = now_ms, events, profiles
        self._definitions = definitions
        self._paths = list(dict.fromkeys(path for path in _paths(definitions) if not path.walks))
        self._parts = {path: f"j{place}" for place, path in enumerate(self._paths)}
        self._compares = False
        self._event = EventSql("event", self._parts)
        self._matches: dict[str, str] = {}
        self._windows: dict[str, str] = {}
        self.sources = [ValueSource()]
        self._alike = (
            len({(one.event_type, one.event and fold(one.event)) for one in definitions}) == 1
        )

    def spelled_anew(self) -> str:
        """Return the SELECT of whether, of a few events, any has a number in its fields that DuckDB
        might spell anew.

        If so, `compares` is to be called before anything else: it costs a third more for each
        event, but ten times as much is saved for each such number.
        """
        parts, _ = taken("event", self._paths, "taken")
        odd = " or ".join(
            f"(regexp_full_match({part}, '-?[0-9].*') and not {unchanged(part)})"
            for part in parts.values()
        )
        few = f"select {taking('event', self._paths)} as taken from {self._events} where {self._wanted()} limit {FEW}"
        return f"select coalesce(bool_or({odd or 'false'}), false) from ({few})"

    def compares(self) -> None:
        """Compare each event with what DuckDB makes of it in the one reading of its text."""
        self._compares = True
        self._event = EventSql("event", self._parts, "same")

    def match(self, definition: Definition) -> str:
        """Return the column that says whether an event counts, whatever its time."""
        # then `_wanted` has said so
        parts = [] if self._alike else [f"type = {quote_text(definition.event_type)}"]
        if definition.event is not None and not self._alike:
            parts.append(f"coalesce(lower(name) = {quote_text(fold(definition.event))}, false)")
        if definition.condition is not None:
            parts.append(self._event.condition(definition.condition))
        return self._matches.setdefault(" and ".join(parts) or "true", f"m{len(self._matches)}")

    def window(self, definition: Definition) -> str:
        """Return the column that says whether an event counts."""
        match, window, since = self.match(definition), definition.within_ms, definition.since_ms
        if window is None and since is None:
            return match
        times = (
            f"at_ms >= {since}"
            if window is None
            else f"at_ms > {self._now_ms - window} and at_ms <= {self._now_ms}"
        )
        return self._windows.setdefault(f"{match} and {times}", f"w{len(self._windows)}")

    def source(self, path: Path) -> tuple[ValueSource, Path]:
        """Return what has a field, and the path of the field in it."""
        if not path.walks:
            return self.sources[0], path
        entries, rest = path.entry
        for source in self.sources:
            if source.entries == entries:
                return source, rest
        self.sources.append(ValueSource(entries))
        return self.sources[-1], rest

    def select(self, source: ValueSource) -> str:
        """Return the SELECT of the rows of a source."""
        columns = [
            "profile",
            "arrival",
            "place",
            "at_ms",
            *self._matches.values(),
            *self._windows.values(),
        ]
        if source.entries is None:
            parts = [(self._event.part(path), self._event.spelled(path)) for path in source.fields]
            return _valued(columns, source, parts, f"from ({self._matched()})")
        entries = json_path(source.entries)
        exact = f"case when {self._event.same} then {_listed('event', entries)} else {_listed(quoted_numbers('event'), entries)} end"
        found = f"select {', '.join(columns)}, {_listed('event', entries)} as found, {exact} as exact from ({self._matched()})"
        each = f"select {', '.join(columns)}, unnest(found) as one, unnest(exact) as exactly, unnest(range(len(found))) as entry from ({found})"
        parts = [_of_entry(json_path(path, "$")) for path in source.fields]
        stated, spelled = _of_entry("$.quantity")
        number = scalar_text(stated, spelled)
        weight = f"case when coalesce({stated}, 'null') = 'null' then 1 when regexp_full_match({number}, '{QUANTITY}') then ({number})::integer end"
        return _valued(
            [*columns, "entry", "weight"],
            source,
            parts,
            f"from (select *, {weight} as weight from ({each}))",
        )

    def _matched(self) -> str:
        # No `where` on the matches: DuckDB would take every text apart twice, once to filter and
        # once to read.
        columns = "profile, arrival, place, type, name, at_ms, event"
        read = f"from {self._events} where {self._wanted()}"
        if self._paths:
            parts, same = taken("event", self._paths, "taken")
            named = "".join(f", {sql} as {self._parts[path]}" for path, sql in parts.items())
            compared = f", {same} as same" if self._compares else ""
            read = f"from (select {columns}{compared}{named} from (select {columns}, {taking('event', self._paths, whole=self._compares)} as taken {read}))"
        matched = f"select *{self._as(self._matches)} {read}"
        return f"select *{self._as(self._windows)} from ({matched})" if self._windows else matched

    @staticmethod
    def _as(columns: dict[str, str]) -> str:
        return "".join(f", {sql} as {name}" for sql, name in columns.items())

    def _wanted(self) -> str:
        """Return the SQL of a cheap first choice: events of a wanted type and name, of the profiles
        asked for.
        """
        named: dict[str, set[str] | None] = {}
        for one in self._definitions:
            names = named.setdefault(one.event_type, set())
            if one.event is None:
                named[one.event_type] = None
            elif names is not None:
                names.add(fold(one.event))
        parts = [
            f"type = {quote_text(kind)}"
            + (
                f" and lower(name) in ({', '.join(map(quote_text, sorted(names)))})"
                if names is not None
                else ""
            )
            for kind, names in named.items()
        ]
        among = f" and profile in (select profile from {self._profiles})" if self._profiles else ""
        return f"({' or '.join(parts) or 'false'}){among}"


def _paths(definitions: Sequence[Definition]) -> Iterable[Path]:
    for one in definitions:
        if one.condition is not None:
            yield from one.condition.paths()
        if one.path is not None:
            yield one.path


def _listed(column: str, path: str) -> str:
    return f"json_extract({column}, {quote_text(path)})::varchar[]"


def _of_entry(path: str) -> tuple[str, str]:
    """Return the SQL of the part at a path of an entry, and of how it is spelled if it is no
    string.
    """
    part = f"json_extract(one, {quote_text(path)})::varchar"
    return (
        part,
        f"case when {unchanged(part)} then {part} else json_extract_string(exactly, {quote_text(path)}) end",
    )


def _valued(
    columns: Sequence[str], source: ValueSource, parts: Sequence[tuple[str, str]], rows: str
) -> str:
    """Return the SELECT of rows with the columns of their fields.

    parts: of each its JSON text, and how that is spelled.
    """
    # A column stands in a SELECT of its own before others use it: named twice, it would be worked
    # out twice.
    steps: list[list[str]] = [[], [], []]
    for place, ((part, spelled), needs) in enumerate(zip(parts, source.needs, strict=True)):
        steps[0].append(f"starts_with({part}, '[') as l{place}")
        if "x" in needs:
            steps[0].append(f"{scalar_held(part, spelled)} as x{place}")
        if needs - {"x", "o"}:
            steps[0].append(f"{scalar_text(part, spelled)} as t{place}")
        if needs & {"e", "d", "u"}:
            steps[1].append(f"{_SHORT.replace('#', str(place))} as e{place}")
        steps[2] += [
            f"{_VALUES[letter].replace('#', str(place))} as {letter}{place}"
            for letter in sorted(needs)
        ]
    select = f"select {', '.join([*columns, *steps[0]])} {rows}"
    if steps[1]:
        select = f"select *, {', '.join(steps[1])} from ({select})"
    return f"select {', '.join([*columns, *steps[2]])} from ({select})"


_NUMBER = f"regexp_full_match(t#, '{PLAIN}')"
_FITS = f"regexp_full_match(t#, '{FITS}')"
_PRICE = f"regexp_full_match(t#, '{PRICE}')"
_SHORT = f"case when regexp_full_match(t#, '{SHORT}') then t#::decimal(18, 6) end"
_VALUES = {
    "x": "x#",
    "e": "e#",
    "d": f"case when e# is null then case when {_FITS} then t#::decimal(38, 18) end end",
    "v": f"case when {_PRICE} then t#::decimal(18, 9) * weight::decimal(5, 0) end",
    "o": "coalesce(l#, false)",
    "u": f"case when e# is not null then false when l# then true else coalesce({_NUMBER} and not {_FITS}, false) end",
    "q": f"coalesce(l# or ({_NUMBER} and (weight is null or not {_PRICE})), false)",
}
"""The columns of a field #, of its held value x, of its text t, and whether it is a list l."""
