"""Who is in an audience: the definition of right, for one person at a time.

membership_sql.py says the same for all of them at once. Sources: domain.md 11.2 (criteria), 14 (an
opted-out person is in no audience), 5.3 (whose statement of consent counts, and which of several).

Time: "within N days" is the last N times 24 hours up to now, without the moment that long ago and
with now; "over N days ago" is that moment and what lies before it. An event of the future is not
within the last days.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from profilectl.rules.consent import Purpose, Said, replaces, statements_of
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.tree import (
    All,
    AnyOf,
    Comparison,
    Consent,
    Criterion,
    EventCount,
    InAudience,
    Near,
    Not,
    Operand,
)
from profilectl.rules.device import device_ids, devices_of
from profilectl.rules.event.condition import holds as condition_holds
from profilectl.rules.event.condition import pattern_of
from profilectl.rules.event.event import Occurred, opted_out
from profilectl.rules.event.field import fold
from profilectl.rules.text.moments import Days, Moment, time_of
from profilectl.rules.text.numbers import quantity, quantity_of
from profilectl.rules.text.presence import is_filled
from profilectl.rules.text.values import MARK, Value, held_text, is_list, parse_json, to_json

EARTH_METRES = 6_371_008.8
"""The mean radius, of a sphere: a distance is right to half a percent."""
RADIAN = math.pi / 180
DEGREES = r"-?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]{1,3})?"
_degrees = re.compile(DEGREES)


@dataclass(frozen=True, slots=True)
class Rest:
    """The other fields of one batch of a person.

    speaks_of_consent: its source may (domain.md 5.3).
    """

    arrival: int
    at_ms: int
    document: Mapping[str, Value]
    speaks_of_consent: bool = True


@dataclass(slots=True)
class PersonFacts:
    """What is known of a person.

    attributes: held values (values.py), calculated ones ranked first where they have one;
    audiences: names of those the person is in already.
    """

    environment: str = "production"
    first_seen_ms: int = 0
    last_seen_ms: int = 0
    identities: Mapping[str, Sequence[str]] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    events: Sequence[Occurred] = ()
    rest: Sequence[Rest] = ()
    audiences: Sequence[str] = ()


def holds(tree: Criterion, person: PersonFacts, now_ms: int, lookback: Days | None = None) -> bool:
    """Say whether a person is in the audience of these criteria now.

    lookback: events older than that do not count, as `within` would have it (a real-time audience);
    None: all that are kept count. An opted-out person is in no audience, however long ago it was
    said.
    """
    return not opted_out(person.events) and _Judged(person, now_ms, lookback).holds(tree)


def barred(tree: Criterion, person: PersonFacts, barred_from: Collection[str] = ()) -> bool:
    """Say whether a person may not be in an audience, whenever it was evaluated last: whoever has
    opted out, and whoever its criteria leave out by the consent in force alone (settled).

    barred_from: the audiences that the person may not be in, of those the criteria refer to.
    """
    return opted_out(person.events) or settled(tree, consents(person.rest), barred_from) is False


def settled(
    tree: Criterion, states: Mapping[Purpose, str], barred_from: Collection[str] = ()
) -> bool | None:
    """Say what criteria come to by the consent in force alone: True or False whatever else is so of
    the person, None where that does not follow.

    states: as consents has them. barred_from: as barred.
    """
    match tree:
        case All() | AnyOf():
            strong = isinstance(tree, AnyOf)
            values = [settled(one, states, barred_from) for one in tree.parts]
            return strong if strong in values else None if None in values else not strong
        case Not():
            value = settled(tree.part, states, barred_from)
            return None if value is None else not value
        case Consent():
            return _state(states, tree) == tree.state
        case InAudience():
            return False if fold(tree.name) in map(fold, barred_from) else None
    return None


def doubtful(
    tree: Criterion,
    states: Mapping[Purpose, str],
    doubted: Collection[str] = (),
    wanted: bool = True,
) -> bool:
    """Say whether anything that criteria ask of consent speaks against the person: where it does
    not settle the matter, a new statement is a reason to look at all criteria again.

    doubted: the audiences of which this is so, of those the criteria refer to. wanted: whether the
    criteria are to hold.
    """
    match tree:
        case All() | AnyOf():
            return any(doubtful(one, states, doubted, wanted) for one in tree.parts)
        case Not():
            return doubtful(tree.part, states, doubted, not wanted)
        case Consent():
            return (_state(states, tree) == tree.state) is not wanted
        case InAudience():
            return wanted and fold(tree.name) in map(fold, doubted)
    return False


def _state(states: Mapping[Purpose, str], tree: Consent) -> str:
    return states.get((tree.regulation, tree.purpose), "unknown")


def expires_ms(
    tree: Criterion,
    person: PersonFacts,
    now_ms: int,
    lookback: Days | None = None,
    *,
    turns: Iterable[int] = (),
    at: Callable[[int], PersonFacts] | None = None,
) -> int | None:
    """Return when a membership ends if nothing arrives: the first millisecond at which it does not
    hold; None where it never ends, or there is none now (domain.md 11.2).

    Exact for every tree: the outcome changes only where an event or a date enters or leaves one of
    the windows, and each such moment is tried. turns: the moments at which the person's own values
    change, as calculated ones with a window do; at: from such a moment to the person as of then.
    """
    if not holds(tree, person, now_ms, lookback):
        return None
    moments = sorted({one for one in (*_turns(tree, person, lookback), *turns) if one > now_ms})
    return next(
        (one for one in moments if not holds(tree, at(one) if at else person, one, lookback)), None
    )


def _turns(tree: Criterion, person: PersonFacts, lookback: Days | None) -> Iterator[int]:
    """Return the moments at which something enters or leaves a window of a tree."""
    for one in criteria.leaves(tree):
        spans: list[Days] = []
        times: list[int | None] = []
        if isinstance(one, EventCount):
            spans = [
                span
                for span in (*(one.when.operands if one.when else ()), lookback)
                if isinstance(span, Days)
            ]
            times = [event.at_ms for event in person.events]
        elif isinstance(one, Comparison):
            spans = [span for span in one.operands if isinstance(span, Days)]
            times = [_time(value) for value in _values(one, person)]
        for span in spans:
            for at_ms in times:
                if at_ms is not None:
                    yield from (at_ms, at_ms + span.ms)


@dataclass(frozen=True, slots=True)
class _Judged:
    person: PersonFacts
    now_ms: int
    lookback: Days | None

    def holds(self, tree: Criterion) -> bool:
        match tree:
            case All():
                return all(self.holds(one) for one in tree.parts)
            case AnyOf():
                return any(self.holds(one) for one in tree.parts)
            case Not():
                return not self.holds(tree.part)
            case Comparison():
                return any(
                    passes(value, tree.operator, criteria.sought(tree), self.now_ms)
                    for value in _values(tree, self.person)
                )
            case EventCount():
                return _number_passes(
                    sum(self._counts(one, tree) for one in self.person.events),
                    tree.operator,
                    tree.counts,
                )
            case Consent():
                return _state(consents(self.person.rest), tree) == tree.state
            case InAudience():
                return any(fold(one) == fold(tree.name) for one in self.person.audiences)
        return _is_near(tree, self.person.rest)

    def _counts(self, event: Occurred, tree: EventCount) -> bool:
        """Say whether an event is one of those that are counted."""
        if tree.type is not None and event.type != tree.type:
            return False
        if tree.name is not None and (event.name is None or fold(event.name) != fold(tree.name)):
            return False
        if tree.when and not time_passes(
            event.at_ms, tree.when.operator, tree.when.operands, self.now_ms
        ):
            return False
        if self.lookback and event.at_ms <= self.now_ms - self.lookback.ms:
            return False
        return not tree.where or condition_holds(tree.where, dict(event.document))


Tested = str | int | Sequence[Value]
"""A value as the operators see it: a text, a time in ms, or a list; that it is there says None for
a tag.
"""


def _values(tree: Comparison, person: PersonFacts) -> list[Tested | None]:
    """Return the values a test looks at: it holds where any of them passes."""
    name = tree.field.name
    match tree.field.kind:
        case "attribute":
            return [_attribute(person.attributes[name])] if name in person.attributes else []
        case "identity":
            return list(person.identities.get(name, ()))
        case "device":
            return [
                text
                for device in devices(person.rest)
                for text in [text_of(device.get(name))]
                if text is not None
            ]
        case "attribution":
            text = text_of(attribution(person.rest).get(name))
            return [text] if text is not None else []
        case "first_seen":
            return [person.first_seen_ms]
        case "last_seen":
            return [person.last_seen_ms]
    return [person.environment]


def _attribute(held: str) -> Tested | None:
    if is_list(held):
        found = parse_json(held[1:])
        assert isinstance(found, list)
        return found
    return None if held == f"{MARK}null" else held_text(held)


def text_of(value: Value) -> str | None:
    """Return the text of a value of a document: a string bare, a number as it was written, true or
    false; None for null, lists and objects.
    """
    if isinstance(value, str):
        return str(value)
    return to_json(value) if isinstance(value, bool) else None


def _time(value: Tested | None) -> int | None:
    return value if isinstance(value, int) else time_of(value) if isinstance(value, str) else None


def passes(value: Tested | None, operator: str, operands: Sequence[Operand], now_ms: int) -> bool:
    """Say whether one value passes a test.

    value: None is a tag, which is there without a text (domain.md 2.2).

    An operator that does not suit the value finds nothing: a list has no text and no number, a text
    no entries.
    """
    if operator == "exists":
        return True
    if operator == "filled":
        return is_filled(value)
    if operator in ("includes", "part"):
        entries = [text_of(one) for one in value] if isinstance(value, list) else []
        inner = "equals" if operator == "includes" else "contains"
        return any(one is not None and _text_passes(one, inner, operands) for one in entries)
    if operands and isinstance(operands[0], Moment | Days):
        at_ms = _time(value)
        return at_ms is not None and time_passes(at_ms, operator, operands, now_ms)
    return isinstance(value, str) and _text_passes(value, operator, operands)


def _text_passes(text: str, operator: str, operands: Sequence[Operand]) -> bool:
    if operator == "among":
        return any(_text_passes(text, "equals", [one]) for one in operands)
    if isinstance(operands[0], Decimal):
        number = quantity_of(text)
        others = [quantity(str(one)) for one in operands if isinstance(one, Decimal)]
        return number is not None and _order_passes([number.order(one) for one in others], operator)
    mine, other = fold(text), fold(str(operands[0]))
    match operator:
        case "equals":
            return mine == other
        case "contains":
            return other in mine
        case "starts":
            return mine.startswith(other)
        case "ends":
            return mine.endswith(other)
    return pattern_of(other).fullmatch(mine) is not None


def _number_passes(number: int, operator: str, others: Sequence[int]) -> bool:
    return _order_passes([(number > one) - (number < one) for one in others], operator)


def _order_passes(orders: Sequence[int], operator: str) -> bool:
    """Say whether how a number compares with each operand (-1, 0, 1) passes."""
    match operator:
        case "equals":
            return orders[0] == 0
        case "less":
            return orders[0] < 0
        case "at_most":
            return orders[0] <= 0
        case "more":
            return orders[0] > 0
        case "at_least":
            return orders[0] >= 0
    return orders[0] >= 0 >= orders[1]


def time_passes(at_ms: int, operator: str, operands: Sequence[Operand], now_ms: int) -> bool:
    """Say whether a time passes a test of TIMES (domain.md 11.2)."""
    first = operands[0]
    if isinstance(first, Days):
        since_ms = now_ms - first.ms
        return since_ms < at_ms <= now_ms if operator == "within" else at_ms <= since_ms
    last = operands[-1]
    assert isinstance(first, Moment)
    assert isinstance(last, Moment)
    match operator:
        case "before":
            return at_ms < first.first_ms
        case "after":
            return at_ms >= first.first_ms
    return first.first_ms <= at_ms <= last.last_ms  # on, between


def consents(rest: Iterable[Rest]) -> dict[Purpose, str]:
    """Return the consent in force: (regulation, purpose) -> granted, denied or unknown.

    The newest statement by its own time counts, of equals the later arrival (domain.md 5.3).
    """
    states = {said: state for state, said in criteria.CONSENT_STATES.items() if said}
    found: dict[Purpose, Said] = {}
    for one in sorted(rest, key=lambda one: one.arrival):
        for purpose, said in (
            statements_of(one.document.get("consent_state")).items()
            if one.speaks_of_consent
            else ()
        ):
            if replaces(said, found.get(purpose)):
                found[purpose] = said
    return {
        purpose: states.get(text_of(said.get("consented")) or "", "unknown")
        for purpose, said in found.items()
    }


def devices(rest: Iterable[Rest]) -> list[dict[str, Value]]:
    """Return what was said last of each field of each device (device.devices_of); what names no
    device is of one.
    """
    found: dict[object, dict[str, Value]] = {}
    stating = [
        one
        for one in sorted(rest, key=lambda one: one.arrival)
        if isinstance(one.document.get("device_info"), dict)
    ]
    for one, name in zip(
        stating, devices_of([device_ids(one.document) for one in stating]), strict=True
    ):
        info = one.document["device_info"]
        assert isinstance(info, dict)
        found.setdefault(name, {}).update(
            {name: value for name, value in info.items() if value is not None}
        )
    return list(found.values())


def attribution(rest: Iterable[Rest]) -> Mapping[str, Value]:
    """Return the install attribution that arrived last."""
    found: Mapping[str, Value] = {}
    for one in sorted(rest, key=lambda one: one.arrival):
        stated = one.document.get("attribution_info")
        if isinstance(stated, dict) and stated:
            found = stated
    return found


def place(rest: Iterable[Rest]) -> tuple[float, float] | None:
    """Return the place that arrived last: latitude and longitude in degrees, of context.location
    (or batch_context).
    """
    for one in sorted(rest, key=lambda one: -one.arrival):
        for root in ("context", "batch_context"):
            context = one.document.get(root)
            location = context.get("location") if isinstance(context, dict) else None
            if isinstance(location, dict):
                point = [_angle(location.get(name)) for name in ("latitude", "longitude")]
                if (
                    point[0] is not None
                    and point[1] is not None
                    and abs(point[0]) <= 90
                    and abs(point[1]) <= 180
                ):
                    return point[0], point[1]
    return None


def _angle(value: Value) -> float | None:
    text = text_of(value) or ""
    return float(text) if _degrees.fullmatch(text) else None


def _is_near(tree: Near, rest: Iterable[Rest]) -> bool:
    found = place(rest)
    if found is None:
        return False
    latitude, longitude = float(tree.latitude) * RADIAN, float(tree.longitude) * RADIAN
    up, across = (
        math.sin((found[0] * RADIAN - latitude) / 2),
        math.sin((found[1] * RADIAN - longitude) / 2),
    )
    return up * up + math.cos(latitude) * math.cos(
        found[0] * RADIAN
    ) * across * across <= widest_chord(tree)


def widest_chord(tree: Near) -> float:
    """Return the haversine of the distance: a place is near where its own is not above."""
    half = tree.metres / EARTH_METRES / 2
    return 1.0 if half >= math.pi / 2 else math.sin(half) ** 2
