"""Calculated attributes: the twelve types, a definition, and the value that a person's events give
it.

Sources: domain.md 11.1 with its PROP lines, 10 (what alphabetical means), 16 scenario 36; design.md
R4. `value_of` is the definition of right; computing does the same for all profiles at once.
"""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from profilectl.codes import UsageError
from profilectl.rules.batch_fields import attribute_key
from profilectl.rules.event.condition import EventCondition, condition_read
from profilectl.rules.event.event import EVENT_TYPES, Occurred
from profilectl.rules.event.field import (
    Path,
    fold,
    found_at,
    number_of,
    path_of,
    scalars,
    text_of,
    walked,
)
from profilectl.rules.feed import DEFAULT_WORKSPACE
from profilectl.rules.identity import type_named
from profilectl.rules.text.values import Number, Value, hold


@dataclass(frozen=True, slots=True)
class Type:
    """One type. of: whether it needs a field; seed: what a seed request calls it; sync: when the
    platform sends it.
    """

    group: str
    of: bool
    format: str
    sync: str
    seed: str


# fmt: off
TYPES: dict[str, Type] = {
    #                           group          of     format       sync                    seed
    "count":               Type("count",       False, "number",    "sync",                 "count"),
    "sum":                 Type("aggregation", True,  "number",    "sync",                 "sum"),
    "minimum":             Type("aggregation", True,  "number",    "sync",                 "minimum"),
    "maximum":             Type("aggregation", True,  "number",    "sync",                 "maximum"),
    "average":             Type("aggregation", True,  "number",    "async",                "average"),
    "most_frequent":       Type("aggregation", True,  "dynamic",   "async",                "most_frequent"),
    "unique_values_count": Type("aggregation", True,  "number",    "async",                "unique_values_count"),
    "first_value":         Type("occurrence",  True,  "dynamic",   "async until observed", "first_occurrence"),
    "last_value":          Type("occurrence",  True,  "dynamic",   "async",                "last_occurrence"),
    "first_timestamp":     Type("occurrence",  False, "timestamp", "async until observed", "first_occurrence_timestamp"),
    "last_timestamp":      Type("occurrence",  False, "timestamp", "sync",                 "last_occurrence_timestamp"),
    "unique_list":         Type("list",        True,  "list",      "sync",                 "unique_list"),
}
"""Sync says when a value leaves; a definition with `within` is sync whatever its type."""
# fmt: on

TRACKED = 100
"""How many different values most_frequent and unique_list look at: the first that arrived."""
DECIMALS = 10
"""Places after the point to which an average is rounded, half to even."""
NOTHING = "-"
"""The value where events match and none has what the type needs: computed, but nothing to compute.
"""
RETURNS_TO_ZERO = ("count", "sum")
"""Types that are 0 once all events are older than `within`; the others are absent again."""
NUMERIC = ("sum", "minimum", "maximum", "average")
PRODUCT_NUMBERS = ("price", "quantity", "position", "total_product_amount", "added_to_cart_time_ms")
"""Fields of a product that are numbers: most_frequent counts them once a product, all others
`quantity` times.
"""
DAY_MS = 24 * 60 * 60 * 1000
WINDOW_UNITS = {"day": DAY_MS, "week": 7 * DAY_MS}
KEYS = ("type", "event", "event_type", "of", "where", "within", "since", "draft", "workspace")
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The times that ISO 8601 can write with a year of four digits, 0001 to 9999."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_WINDOW = re.compile(r"([1-9][0-9]{0,4}) (day|week)s?")
# Sums have all the digits they need: the context refuses to lose one.
_EXACT = decimal.Context(
    prec=decimal.MAX_PREC,
    Emax=decimal.MAX_EMAX,
    Emin=decimal.MIN_EMIN,
    traps=[decimal.Inexact, decimal.InvalidOperation],
)


@dataclass(frozen=True, slots=True)
class Definition:
    """A calculated attribute.

    event: the events of that name only, whatever its case; of: the field; where: a condition on the
    event.

    within ("30 days") and since ("2024-01-01", UTC) are as they were written. A draft is not
    computed.
    """

    name: str
    type: str
    event: str | None = None
    event_type: str = "custom_event"
    of: str | None = None
    where: str | None = None
    within: str | None = None
    since: str | None = None
    draft: bool = False
    workspace: str = DEFAULT_WORKSPACE

    @property
    def path(self) -> Path | None:
        """The field whose values count."""
        return path_of(self.of) if self.of is not None else None

    @property
    def condition(self) -> EventCondition | None:
        """The condition on an event."""
        return condition_read(self.where) if self.where is not None else None

    @property
    def within_ms(self) -> int | None:
        """The length of the rolling window in milliseconds."""
        found = _WINDOW.fullmatch(self.within or "")
        return int(found[1]) * WINDOW_UNITS[found[2]] if found else None

    @property
    def since_ms(self) -> int | None:
        """The first millisecond that counts."""
        if self.since is None:
            return None
        day = datetime.datetime.combine(
            datetime.date.fromisoformat(self.since), datetime.time(), datetime.UTC
        )
        return (day - _EPOCH) // datetime.timedelta(milliseconds=1)

    @property
    def weighted(self) -> bool:
        """Whether each value counts as often as the quantity of its product says: an average of
        prices, most frequent of what is no number (domain.md 11.1).
        """
        path = self.path
        if path is None or not path.walks or self.type not in ("average", "most_frequent"):
            return False
        entries, rest = path.entry
        if entries.steps[-2] != "products":
            return False
        return (
            rest.steps == ("price",)
            if self.type == "average"
            else rest.steps[0] not in PRODUCT_NUMBERS
        )

    def as_table(self) -> dict[str, object]:
        """Return the definition as the configuration has it: what definition_of reads as the same."""
        table: dict[str, object] = {"type": self.type}
        if self.event_type != "custom_event":
            table["event_type"] = self.event_type
        table |= {
            key: value
            for key in ("event", "of", "where", "within", "since")
            if (value := getattr(self, key)) is not None
        }
        table |= {"workspace": self.workspace} if self.workspace != DEFAULT_WORKSPACE else {}
        return table | ({"draft": True} if self.draft else {})


def definition_of(name: str, table: object) -> Definition:
    """Read the definition of a calculated attribute from its table of the configuration.

    A reserved name has the platform's own spelling (domain.md 2.2).

    Raises UsageError, naming the key.
    """
    where = f"calculated.{name}"
    name = attribute_key(name)
    if not name or len(name) > 256:
        raise UsageError(f"{where}: a name has 1 to 256 characters")
    if type_named(name):
        raise UsageError(
            f"{where}: {name} is a type of identity",
            "give it another name: conditions would mean the identity",
        )
    if not isinstance(table, Mapping):
        raise UsageError(
            f"{where} must be a table", 'for example type = "count", event = "purchase"'
        )
    for key in table:
        if key not in KEYS:
            raise UsageError(f"{where}.{key}: there is no such key", f"keys are {', '.join(KEYS)}")
    kind = _one_of(table, "type", TYPES, where)
    if kind is None:
        raise UsageError(f"{where}.type is missing", f"types are {', '.join(TYPES)}")
    draft = table.get("draft", False)
    if not isinstance(draft, bool):
        raise UsageError(f"{where}.draft must be true or false")
    return Definition(
        name,
        kind,
        _text(table, "event", where),
        _one_of(table, "event_type", EVENT_TYPES, where) or "custom_event",
        _field(table, kind, where),
        _condition(table, where),
        _window(table, where),
        _since(table, where),
        draft,
        _text(table, "workspace", where) or DEFAULT_WORKSPACE,
    )


def _text(table: Mapping[str, object], key: str, where: str) -> str | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise UsageError(f"{where}.{key} must be a text that is not empty")
    return value


def _one_of(
    table: Mapping[str, object], key: str, known: Mapping[str, object], where: str
) -> str | None:
    value = _text(table, key, where)
    if value is not None and value not in known:
        raise UsageError(f"{where}.{key}: {value} is not one", f"one of {', '.join(known)}")
    return value


def _field(table: Mapping[str, object], kind: str, where: str) -> str | None:
    of = _text(table, "of", where)
    if of is None and TYPES[kind].of:
        raise UsageError(
            f"{where}.of is missing: {kind} is computed of a field", 'for example of = "price"'
        )
    if of is not None and not TYPES[kind].of:
        raise UsageError(f"{where}.of: {kind} is computed of events, not of a field")
    if of is not None:
        try:
            path_of(of)
        except ValueError as error:
            raise UsageError(
                f"{where}.of: {error}",
                "a name with dots or brackets stands in quotes: of = '\"a.b\"'",
            ) from None
    return of


def _condition(table: Mapping[str, object], where: str) -> str | None:
    text = _text(table, "where", where)
    if text is not None:
        try:
            condition_read(text)
        except UsageError as error:
            raise UsageError(f"{where}.where: {error.message}", error.hint) from None
    return text


def _window(table: Mapping[str, object], where: str) -> str | None:
    within = _text(table, "within", where)
    if within is not None and not _WINDOW.fullmatch(within):
        raise UsageError(
            f"{where}.within: {within} is no window", 'for example "30 days" or "2 weeks"'
        )
    if within is not None and table.get("since") is not None:
        raise UsageError(f"{where}: within and since do not go together")
    return within


def _since(table: Mapping[str, object], where: str) -> str | None:
    value = table.get("since")
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()  # TOML has dates of its own
    since = (
        _text(table, "since", where)
        if not isinstance(value, datetime.datetime)
        else "a time of day"
    )
    if since is not None:
        try:
            if datetime.date.fromisoformat(since).isoformat() != since:
                raise ValueError
        except ValueError:
            raise UsageError(
                f"{where}.since: {since} is no date", 'for example "2024-01-01"'
            ) from None
    return since


@dataclass(frozen=True, slots=True)
class CountedValue:
    """One value of the field, and how often it counts."""

    value: Value
    weight: Decimal
    event: Occurred


def value_of(definition: Definition, events: Sequence[Occurred], now_ms: int) -> str | None:
    """Return the held value (values.hold) that a person's events give an attribute, None where it
    has none.

    events: in any order. Windows are exact: with `within` those of now - window < at_ms <= now
    count.
    """
    matching = [event for event in events if matches(definition, event)]
    window, since = definition.within_ms, definition.since_ms
    if window is not None:
        matching = [event for event in matching if event.at_ms <= now_ms]
        inside = [event for event in matching if event.at_ms > now_ms - window]
    else:
        inside = [event for event in matching if since is None or event.at_ms >= since]
    if not inside:
        return (
            _number(Decimal(0))
            if matching and window is not None and definition.type in RETURNS_TO_ZERO
            else None
        )
    if definition.type == "count":
        return _number(Decimal(len(inside)))
    if definition.type in ("first_timestamp", "last_timestamp"):
        times = [event.at_ms for event in inside]
        return timestamp(min(times) if definition.type == "first_timestamp" else max(times))
    seen = [one for event in sorted(inside, key=_as_received) for one in _values(definition, event)]
    if definition.type in NUMERIC:
        seen = [one for one in seen if number_of(one.value) is not None]
    return _COMPUTE[definition.type](seen) if seen else NOTHING


def matches(definition: Definition, event: Occurred) -> bool:
    """Say whether an event counts, whatever its time."""
    if event.type != definition.event_type:
        return False
    if definition.event is not None and (
        event.name is None or fold(event.name) != fold(definition.event)
    ):
        return False
    return definition.condition is None or definition.condition.holds(event.document)


def timestamp(at_ms: int) -> str:
    """Return a time as ISO 8601 in UTC; NOTHING for one that has no year of four digits."""
    if not FIRST_MS <= at_ms <= LAST_MS:
        return NOTHING
    return (_EPOCH + datetime.timedelta(milliseconds=at_ms)).replace(tzinfo=None).isoformat(
        timespec="milliseconds"
    ) + "Z"


def alphabetical(value: Value) -> tuple[str, str]:
    """Return what values are sorted by: their text without case, then how they are held."""
    return fold(text_of(value)), hold(value)


def quantity(product: Value) -> Decimal:
    """Return how often a product counts: its quantity; 1 where it says none, or no number from 0
    on.
    """
    stated = number_of(product.get("quantity")) if isinstance(product, dict) else None
    return stated if stated is not None and stated >= 0 else Decimal(1)


def _as_received(event: Occurred) -> tuple[int, int]:
    return event.arrival, event.place


def _values(definition: Definition, event: Occurred) -> list[CountedValue]:
    path = definition.path
    assert path is not None
    if not definition.weighted:
        return [
            CountedValue(value, Decimal(1), event)
            for value in scalars(found_at(event.document, path))
        ]
    entries, rest = path.entry
    return [
        CountedValue(value, quantity(product), event)
        for product in found_at(event.document, entries)
        for value in scalars(walked(product, rest.steps))
    ]


def _number(number: Decimal) -> str:
    """Return a number as it is held: plain digits, no zeros at the end, no -0."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return hold(Number("0" if text == "-0" else text))


def _numbers(seen: Sequence[CountedValue]) -> list[Decimal]:
    return [number for one in seen if (number := number_of(one.value)) is not None]


def _sum(numbers: Sequence[Decimal]) -> Decimal:
    total = Decimal(0)
    for number in numbers:
        total = _EXACT.add(total, number)
    return total


def _average(seen: Sequence[CountedValue]) -> str:
    weight = _sum([one.weight for one in seen])
    if not weight:
        return NOTHING
    total = _sum(
        [
            _EXACT.multiply(number, one.weight)
            for number, one in zip(_numbers(seen), seen, strict=True)
        ]
    )
    whole, rest = _EXACT.divmod(_EXACT.scaleb(total.copy_abs(), DECIMALS), weight)
    twice = _EXACT.add(rest, rest)
    if twice > weight or (twice == weight and _EXACT.remainder(whole, Decimal(2))):
        whole = _EXACT.add(whole, Decimal(1))
    return _number(_EXACT.scaleb(whole, -DECIMALS).copy_sign(total))


def _tracked(seen: Sequence[CountedValue]) -> dict[str, tuple[Value, Decimal]]:
    """Return the first TRACKED different values, by how they are held, and how often each counts."""
    found: dict[str, tuple[Value, Decimal]] = {}
    for one in seen:
        held = hold(one.value)
        if held in found or len(found) < TRACKED:
            found[held] = (
                one.value,
                _EXACT.add(found[held][1] if held in found else Decimal(0), one.weight),
            )
    return found


def _most_frequent(seen: Sequence[CountedValue]) -> str:
    most = min(_tracked(seen).values(), key=lambda it: (it[1].copy_negate(), alphabetical(it[0])))
    return hold(most[0])


def _unique_list(seen: Sequence[CountedValue]) -> str:
    return hold(sorted((value for value, _ in _tracked(seen).values()), key=alphabetical))


def _by_time(one: CountedValue) -> tuple[int, int, int]:
    return one.event.at_ms, one.event.arrival, one.event.place


def _last(seen: Sequence[CountedValue]) -> str:
    # max takes the first of equals: of one event the last value
    return hold(max(reversed(seen), key=_by_time).value)


_COMPUTE: dict[str, Callable[[Sequence[CountedValue]], str]] = {
    "sum": lambda seen: _number(_sum(_numbers(seen))),
    "minimum": lambda seen: _number(min(_numbers(seen))),
    "maximum": lambda seen: _number(max(_numbers(seen))),
    "average": _average,
    "most_frequent": _most_frequent,
    "unique_values_count": lambda seen: _number(Decimal(len({hold(one.value) for one in seen}))),
    "first_value": lambda seen: hold(min(seen, key=_by_time).value),
    "last_value": _last,
    "unique_list": _unique_list,
}
