"""Calculated attributes: the twelve types, a definition, and the value from a person's events.

`value_of` is the definition of right; audiences/sql/calculated_sql.py computes the same for all
profiles at once. Sources: domain.md 11.1 with its PROP lines, 10 (alphabetical order), 16 scenario
36; design.md R4.
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
    caseless,
    number_of,
    path_of,
    scalars,
    text_of,
    values_at,
    walked,
)
from profilectl.rules.feed import DEFAULT_WORKSPACE
from profilectl.rules.identity import type_named
from profilectl.rules.text.naming import instead
from profilectl.rules.text.values import Number, Value, hold


@dataclass(frozen=True, slots=True)
class CalculatedType:
    """A type of calculated attribute."""

    group: str
    """The group of types that it belongs to."""
    of: bool
    """Whether it needs a field."""
    format: str
    """The format of its values."""
    sync: str
    """The batch with which the platform sends a value; with `within` every type is sync."""
    seed: str
    """Its name in a seed request."""


COUNT, AGGREGATE, OCCURRENCE, LIST = "count", "aggregation", "occurrence", "list"
SYNC, LATE, ONCE = "sync", "async", "async until observed"
# fmt: off
TYPES: dict[str, CalculatedType] = {
    #                           group       of     format       sync  name in a seed request
    "count":               CalculatedType(COUNT,      False, "number",    SYNC, "count"),
    "sum":                 CalculatedType(AGGREGATE,  True,  "number",    SYNC, "sum"),
    "minimum":             CalculatedType(AGGREGATE,  True,  "number",    SYNC, "minimum"),
    "maximum":             CalculatedType(AGGREGATE,  True,  "number",    SYNC, "maximum"),
    "average":             CalculatedType(AGGREGATE,  True,  "number",    LATE, "average"),
    "most_frequent":       CalculatedType(AGGREGATE,  True,  "dynamic",   LATE, "most_frequent"),
    "unique_values_count": CalculatedType(AGGREGATE,  True,  "number",    LATE,
                                          "unique_values_count"),
    "first_value":         CalculatedType(OCCURRENCE, True,  "dynamic",   ONCE, "first_occurrence"),
    "last_value":          CalculatedType(OCCURRENCE, True,  "dynamic",   LATE, "last_occurrence"),
    "first_timestamp":     CalculatedType(OCCURRENCE, False, "timestamp", ONCE,
                                          "first_occurrence_timestamp"),
    "last_timestamp":      CalculatedType(OCCURRENCE, False, "timestamp", SYNC,
                                          "last_occurrence_timestamp"),
    "unique_list":         CalculatedType(LIST,       True,  "list",      SYNC, "unique_list"),
}
# fmt: on

TRACKED = 100
"""The most different values that most_frequent and unique_list look at: the first that arrived."""
DECIMALS = 10
"""Places after the point to which an average is rounded, half to even."""
NOTHING = "-"
"""The value if events match, but none has a value that the type can use (domain.md 11.1)."""
RETURNS_TO_ZERO = ("count", "sum")
"""Types that are 0 once all events are older than `within`; the others are absent again."""
NUMERIC = ("sum", "minimum", "maximum", "average")
"""Types that take numbers only."""
PRODUCT_NUMBERS = ("price", "quantity", "position", "total_product_amount", "added_to_cart_time_ms")
"""Fields of a product that are numbers: most_frequent counts such a value once for each product,
and a value of any other field `quantity` times (domain.md 11.1).
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
    """The definition of a calculated attribute."""

    name: str
    """The attribute's name."""
    type: str
    """Its type, one of TYPES."""
    event: str | None = None
    """The name of the events that count, in any case; None: all names."""
    event_type: str = "custom_event"
    """The type of the events that count."""
    of: str | None = None
    """The field whose values count, if the type needs one."""
    where: str | None = None
    """A condition on the event (event/condition.py)."""
    within: str | None = None
    """The rolling window as it was written, for example "30 days"."""
    since: str | None = None
    """The first day that counts, in UTC, as it was written, for example "2024-01-01"."""
    draft: bool = False
    """Whether it is a draft, which is not computed."""
    workspace: str = DEFAULT_WORKSPACE
    """The workspace that it belongs to."""

    @property
    def path(self) -> Path | None:
        """The field whose values count, as a path."""
        return path_of(self.of) if self.of is not None else None

    @property
    def condition(self) -> EventCondition | None:
        """The condition on an event, read."""
        return condition_read(self.where) if self.where is not None else None

    @property
    def within_ms(self) -> int | None:
        """The length of the rolling window in milliseconds."""
        window = _WINDOW.fullmatch(self.within or "")
        return int(window[1]) * WINDOW_UNITS[window[2]] if window else None

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
        """Whether each value counts as often as the quantity of its product says (domain.md 11.1).

        That is an average of prices, and most_frequent of anything that is no number.
        """
        path = self.path
        if path is None or not path.walks or self.type not in ("average", "most_frequent"):
            return False
        entries, below = path.entry
        # Only products have a quantity; promotions have none.
        if entries.steps[-2] != "products":
            return False
        return (
            below.steps == ("price",)
            if self.type == "average"
            else below.steps[0] not in PRODUCT_NUMBERS
        )

    def as_table(self) -> dict[str, object]:
        """Return the definition as a table of the configuration: the opposite of definition_of."""
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
    title = f"calculated.{name}"
    name = attribute_key(name)
    if not name or len(name) > 256:
        raise UsageError(f"{title}: a name has 1 to 256 characters")
    if type_named(name):
        raise UsageError(
            f"{title}: {name} is a type of identity",
            "give it another name: conditions would mean the identity",
        )
    if not isinstance(table, Mapping):
        raise UsageError(
            f"{title} must be a table", 'for example type = "count", event = "purchase"'
        )
    for key in table:
        if key not in KEYS:
            raise UsageError(
                f"{title}.{key}: there is no such key",
                instead(key, KEYS, f"keys are {', '.join(KEYS)}"),
            )
    kind = _choice(table, "type", title, choices=TYPES)
    if kind is None:
        raise UsageError(f"{title}.type is missing", f"types are {', '.join(TYPES)}")
    draft = table.get("draft", False)
    if not isinstance(draft, bool):
        raise UsageError(f"{title}.draft must be true or false")
    return Definition(
        name=name,
        type=kind,
        event=_text(table, "event", title),
        event_type=_choice(table, "event_type", title, choices=EVENT_TYPES) or "custom_event",
        of=_field(table, kind, title),
        where=_condition(table, title),
        within=_window(table, title),
        since=_since(table, title),
        draft=draft,
        workspace=_text(table, "workspace", title) or DEFAULT_WORKSPACE,
    )


def _text(table: Mapping[str, object], key: str, title: str) -> str | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise UsageError(f"{title}.{key} must be a text that is not empty")
    return value


def _choice(
    table: Mapping[str, object], key: str, title: str, *, choices: Mapping[str, object]
) -> str | None:
    value = _text(table, key, title)
    if value is not None and value not in choices:
        raise UsageError(
            f"{title}.{key}: {value} is not one",
            instead(value, choices, f"one of {', '.join(choices)}"),
        )
    return value


def _field(table: Mapping[str, object], kind: str, title: str) -> str | None:
    of = _text(table, "of", title)
    if of is None and TYPES[kind].of:
        raise UsageError(
            f"{title}.of is missing: {kind} is computed of a field", 'for example of = "price"'
        )
    if of is not None and not TYPES[kind].of:
        raise UsageError(f"{title}.of: {kind} is computed of events, not of a field")
    if of is not None:
        try:
            path_of(of)
        except ValueError as error:
            raise UsageError(
                f"{title}.of: {error}",
                "a name with dots or brackets stands in quotes: of = '\"a.b\"'",
            ) from None
    return of


def _condition(table: Mapping[str, object], title: str) -> str | None:
    text = _text(table, "where", title)
    if text is not None:
        try:
            condition_read(text)
        except UsageError as error:
            raise UsageError(f"{title}.where: {error.message}", error.hint) from None
    return text


def _window(table: Mapping[str, object], title: str) -> str | None:
    within = _text(table, "within", title)
    if within is not None and not _WINDOW.fullmatch(within):
        raise UsageError(
            f"{title}.within: {within} is no window", 'for example "30 days" or "2 weeks"'
        )
    if within is not None and table.get("since") is not None:
        raise UsageError(f"{title}: within and since do not go together")
    return within


def _since(table: Mapping[str, object], title: str) -> str | None:
    value = table.get("since")
    # A datetime is a date too, so it is asked for first.
    if isinstance(value, datetime.datetime):
        since: str | None = "a time of day"
    elif isinstance(value, datetime.date):
        return value.isoformat()  # TOML has dates of its own
    else:
        since = _text(table, "since", title)
    if since is not None:
        try:
            # fromisoformat also takes 20240101 and weeks; only one form is kept.
            if datetime.date.fromisoformat(since).isoformat() != since:
                raise ValueError
        except ValueError:
            raise UsageError(
                f"{title}.since: {since} is no date", 'for example "2024-01-01"'
            ) from None
    return since


@dataclass(frozen=True, slots=True)
class CountedValue:
    """A value of the field."""

    value: Value
    """The value."""
    weight: Decimal
    """How often it counts."""
    event: Occurred
    """The event that has it."""


def value_of(definition: Definition, events: Sequence[Occurred], now_ms: int) -> str | None:
    """Return the held value (values.hold) that a person's events give an attribute, or None.

    Windows are exact: with `within` events of now - window < at_ms <= now count (domain.md 11.1).

    events: in any order.
    """
    # Filtered before sorting: most events of a person do not match.
    matching = [event for event in events if matches(definition, event)]
    window, since = definition.within_ms, definition.since_ms
    # Events of the future do not count within a window, not even for the 0 after it.
    if window is not None:
        matching = [event for event in matching if event.at_ms <= now_ms]
        inside = [event for event in matching if event.at_ms > now_ms - window]
    else:
        inside = [event for event in matching if since is None or event.at_ms >= since]
    if not inside:
        returns = matching and window is not None and definition.type in RETURNS_TO_ZERO
        return _number(Decimal(0)) if returns else None
    if definition.type == "count":
        return _number(Decimal(len(inside)))
    if definition.type in ("first_timestamp", "last_timestamp"):
        times = [event.at_ms for event in inside]
        return timestamp(min(times) if definition.type == "first_timestamp" else max(times))
    # By arrival, because most_frequent and unique_list track the first values that arrived.
    counted = [
        value
        for event in sorted(inside, key=lambda event: (event.arrival, event.place))
        for value in _values(definition, event)
    ]
    if definition.type in NUMERIC:
        counted = [value for value in counted if number_of(value.value) is not None]
    return _COMPUTE[definition.type](counted) if counted else NOTHING


def matches(definition: Definition, event: Occurred) -> bool:
    """Return whether an event counts, apart from its time."""
    if event.type != definition.event_type:
        return False
    if definition.event is not None and (
        event.name is None or caseless(event.name) != caseless(definition.event)
    ):
        return False
    return definition.condition is None or definition.condition.holds(event.document)


def timestamp(at_ms: int) -> str:
    """Return a time as ISO 8601 in UTC, or NOTHING if it has no year of four digits."""
    if not FIRST_MS <= at_ms <= LAST_MS:
        return NOTHING
    at = (_EPOCH + datetime.timedelta(milliseconds=at_ms)).replace(tzinfo=None)
    return at.isoformat(timespec="milliseconds") + "Z"


def alphabetical(value: Value) -> tuple[str, str]:
    """Return the key that values are sorted by: the text without case, then the held value."""
    return caseless(text_of(value)), hold(value)


def quantity(product: Value) -> Decimal:
    """Return how often a product counts: its quantity, or 1 if that is no number from 0 on."""
    number = number_of(product.get("quantity")) if isinstance(product, dict) else None
    return number if number is not None and number >= 0 else Decimal(1)


def _values(definition: Definition, event: Occurred) -> list[CountedValue]:
    path = definition.path
    assert path is not None
    if not definition.weighted:
        return [
            CountedValue(value, Decimal(1), event)
            for value in scalars(values_at(event.document, path))
        ]
    entries, below = path.entry
    return [
        CountedValue(value, quantity(product), event)
        for product in values_at(event.document, entries)
        for value in scalars(walked(product, below.steps))
    ]


def _number(number: Decimal) -> str:
    """Return a number as it is held: plain digits, no zeros at the end, no -0."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return hold(Number("0" if text == "-0" else text))


def _numbers(counted: Sequence[CountedValue]) -> list[Decimal]:
    return [number for value in counted if (number := number_of(value.value)) is not None]


def _sum(numbers: Sequence[Decimal]) -> Decimal:
    total = Decimal(0)
    for number in numbers:
        total = _EXACT.add(total, number)
    return total


def _average(counted: Sequence[CountedValue]) -> str:
    weight = _sum([value.weight for value in counted])
    if not weight:
        return NOTHING
    products = [
        _EXACT.multiply(number, value.weight)
        for number, value in zip(_numbers(counted), counted, strict=True)
    ]
    total = _sum(products)
    # Rounded half to even, of whole numbers: no digit is lost on the way.
    whole, remainder = _EXACT.divmod(_EXACT.scaleb(total.copy_abs(), DECIMALS), weight)
    twice = _EXACT.add(remainder, remainder)
    if twice > weight or (twice == weight and _EXACT.remainder(whole, Decimal(2))):
        whole = _EXACT.add(whole, Decimal(1))
    return _number(_EXACT.scaleb(whole, -DECIMALS).copy_sign(total))


@dataclass(slots=True)
class _Tally:
    """A distinct value, and how often it counts."""

    value: Value
    """The value."""
    weight: Decimal
    """How often it counts."""


def _tracked(counted: Sequence[CountedValue]) -> list[_Tally]:
    """Return the first TRACKED different values, and how often each counts."""
    tallies: dict[str, _Tally] = {}
    for value in counted:
        held = hold(value.value)
        if held in tallies:
            tallies[held].weight = _EXACT.add(tallies[held].weight, value.weight)
        elif len(tallies) < TRACKED:
            tallies[held] = _Tally(value.value, _EXACT.add(Decimal(0), value.weight))
    return list(tallies.values())


def _most_frequent(counted: Sequence[CountedValue]) -> str:
    """Return the value that counts most often, of equals the first in alphabetical order."""
    most = min(
        _tracked(counted), key=lambda tally: (tally.weight.copy_negate(), alphabetical(tally.value))
    )
    return hold(most.value)


def _unique_list(counted: Sequence[CountedValue]) -> str:
    return hold(sorted((tally.value for tally in _tracked(counted)), key=alphabetical))


def _last_value(counted: Sequence[CountedValue]) -> str:
    # max takes the first of equals: of one event the last value
    return hold(max(reversed(counted), key=lambda value: value.event.order).value)


# fmt: off
_COMPUTE: dict[str, Callable[[Sequence[CountedValue]], str]] = {
    "sum":                 lambda counted: _number(_sum(_numbers(counted))),
    "minimum":             lambda counted: _number(min(_numbers(counted))),
    "maximum":             lambda counted: _number(max(_numbers(counted))),
    "average":             _average,
    "most_frequent":       _most_frequent,
    "unique_values_count": lambda counted: _number(Decimal(len({hold(v.value) for v in counted}))),
    "first_value":         lambda counted: hold(min(counted, key=lambda v: v.event.order).value),
    "last_value":          _last_value,
    "unique_list":         _unique_list,
}
# fmt: on
