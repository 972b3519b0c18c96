"""Membership in audiences: the definition of right, for one person at a time.

audiences/sql/membership_sql.py does the same for all people at once. Sources: domain.md 11.2
(criteria), 14 (an opted-out person is in no audience), 5.3 (the statement of consent that counts).

Time: "within N days" is after the moment N times 24 hours ago, up to and with now; "over N days
ago" is that moment and everything before it. An event of the future is not within the last days.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.rules.consent import Purpose, Statement, replaces, statements_of
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.passing import (
    Tested,
    count_passes,
    moment_in,
    passes,
    text_of,
    time_passes,
)
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
    by_key,
)
from profilectl.rules.device import device_ids, devices_of
from profilectl.rules.event.condition import holds as condition_holds
from profilectl.rules.event.event import Occurred, opted_out
from profilectl.rules.event.field import caseless
from profilectl.rules.identity import BY_NAME, key_of
from profilectl.rules.text.moments import Days
from profilectl.rules.text.values import MARK, Value, held_text, is_list, parse_json

EARTH_METRES = 6_371_008.8
"""The mean radius of the earth as a sphere: a distance is right to half a percent."""
RADIAN = math.pi / 180
DEGREES = r"-?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]{1,3})?"
_degrees = re.compile(DEGREES)


@dataclass(frozen=True, slots=True)
class OtherFields:
    """The other fields of one batch of a person."""

    arrival: int
    """The arrival of the batch."""
    at_ms: int
    """Its time."""
    document: Mapping[str, Value]
    """The fields, by name."""
    speaks_of_consent: bool = True
    """Whether its source may change consent (domain.md 5.3)."""


@dataclass(slots=True)
class PersonFacts:
    """The facts about a person that criteria may test."""

    environment: str = "production"
    """The environment."""
    first_seen_ms: int = 0
    """The time when the person was first seen."""
    last_seen_ms: int = 0
    """The time when the person was last seen."""
    identities: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Identity type -> values."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Attribute -> held value (values.py); a calculated value stands before a stored one."""
    events: Sequence[Occurred] = ()
    """The events."""
    rest: Sequence[OtherFields] = ()
    """The other fields of the person's batches."""
    audiences: Sequence[str] = ()
    """The names of the audiences that the person is in."""


def holds(tree: Criterion, person: PersonFacts, now_ms: int, lookback: Days | None = None) -> bool:
    """Return whether a person is in the audience of some criteria now (domain.md 11.2).

    An opted-out person is in no audience, however long ago the opt-out was (14).

    lookback: the age from which events do not count, as `within` has it (a real-time audience);
    None: all events that are kept count.
    """
    return not opted_out(person.events) and _Test(person, now_ms, lookback).holds(tree)


def barred(tree: Criterion, person: PersonFacts, barred_from: Collection[str] = ()) -> bool:
    """Return whether a person may not be in an audience, whenever it was evaluated last.

    Opted-out people are barred, and people whom the criteria leave out by the consent in force
    alone (settled).

    barred_from: the audiences that the criteria refer to and that the person may not be in.
    """
    return opted_out(person.events) or settled(tree, consents(person.rest), barred_from) is False


def settled(
    tree: Criterion, states: Mapping[Purpose, str], barred_from: Collection[str] = ()
) -> bool | None:
    """Return the outcome of criteria if the consent in force alone decides it, else None.

    states: the consent in force (consents). barred_from: as in barred.
    """
    match tree:
        case All() | AnyOf():
            # One True decides an AnyOf, one False an All; else an open part leaves it open.
            strong = isinstance(tree, AnyOf)
            outcomes = [settled(part, states, barred_from) for part in tree.parts]
            return strong if strong in outcomes else None if None in outcomes else not strong
        case Not():
            outcome = settled(tree.part, states, barred_from)
            return None if outcome is None else not outcome
        case Consent():
            return _state(states, tree) == tree.state
        case InAudience():
            # Who may be in the other audience is not settled by consent alone.
            return False if caseless(tree.name) in map(caseless, barred_from) else None
    return None


def doubtful(
    tree: Criterion,
    states: Mapping[Purpose, str],
    doubted: Collection[str] = (),
    outcome: bool = True,
) -> bool:
    """Return whether a test of consent in some criteria speaks against the person.

    If so, and if consent does not settle the outcome, a new statement is a reason to evaluate all
    criteria again.

    states: the consent in force. doubted: the audiences that the criteria refer to and for which
    this function is true. outcome: the outcome that membership asks of the criteria.
    """
    match tree:
        case All() | AnyOf():
            return any(doubtful(part, states, doubted, outcome=outcome) for part in tree.parts)
        case Not():
            return doubtful(tree.part, states, doubted, outcome=not outcome)
        case Consent():
            return (_state(states, tree) == tree.state) is not outcome
        case InAudience():
            return outcome and caseless(tree.name) in map(caseless, doubted)
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
    """Return when a membership ends if nothing arrives: the first millisecond after it.

    Returns None if it never ends, or if there is none now (domain.md 11.2).

    The answer is exact for every tree: the outcome changes only where an event or a date enters or
    leaves one of the windows, and each such moment is tried.

    turns: the moments at which the person's own values change, as calculated ones with a window do.
    at: returns the person as of such a moment.
    """
    if not holds(tree, person, now_ms, lookback=lookback):
        return None
    # Between two of these moments nothing enters or leaves a window.
    moments = {moment for moment in (*_turns(tree, person, lookback), *turns) if moment > now_ms}
    for moment in sorted(moments):
        if not holds(tree, at(moment) if at else person, moment, lookback=lookback):
            return moment
    return None


def _turns(tree: Criterion, person: PersonFacts, lookback: Days | None) -> Iterator[int]:
    """Yield the moments at which something enters or leaves a window of a tree."""
    for leaf in criteria.leaves(tree):
        spans: list[Days] = []
        times: list[int | None] = []
        if isinstance(leaf, EventCount):
            operands = leaf.when.operands if leaf.when else ()
            spans = [span for span in (*operands, lookback) if isinstance(span, Days)]
            times = [event.at_ms for event in person.events]
        elif isinstance(leaf, Comparison):
            spans = [span for span in leaf.operands if isinstance(span, Days)]
            times = [moment_in(value) for value in _values(leaf, person)]
        for span in spans:
            for at_ms in times:
                if at_ms is not None:
                    # It may enter the window at its own time, if that lies ahead, and leaves after
                    # the span.
                    yield from (at_ms, at_ms + span.ms)


@dataclass(frozen=True, slots=True)
class _Test:
    """A test of a person at a moment."""

    person: PersonFacts
    """The person."""
    now_ms: int
    """The moment."""
    lookback: Days | None
    """The age from which events do not count; None: all count."""

    def holds(self, tree: Criterion) -> bool:
        match tree:
            case All():
                return all(self.holds(part) for part in tree.parts)
            case AnyOf():
                return any(self.holds(part) for part in tree.parts)
            case Not():
                return not self.holds(tree.part)
            case Comparison():
                operands = criteria.sought(tree)
                return any(
                    passes(value, tree.operator, operands, now_ms=self.now_ms)
                    for value in _values(tree, self.person)
                )
            case EventCount():
                count = sum(self._counts(event, tree) for event in self.person.events)
                return count_passes(count, tree.operator, tree.counts)
            case Consent():
                return _state(consents(self.person.rest), tree) == tree.state
            case InAudience():
                return caseless(tree.name) in map(caseless, self.person.audiences)
        return _is_near(tree, self.person.rest)

    def _counts(self, event: Occurred, tree: EventCount) -> bool:
        """Return whether an event is one of those that are counted."""
        if tree.type is not None and event.type != tree.type:
            return False
        if tree.name is not None and (
            event.name is None or caseless(event.name) != caseless(tree.name)
        ):
            return False
        if tree.when and not time_passes(
            event.at_ms, tree.when.operator, tree.when.operands, now_ms=self.now_ms
        ):
            return False
        # The moment that long ago is outside, as it is with `within`.
        if self.lookback and event.at_ms <= self.now_ms - self.lookback.ms:
            return False
        return not tree.where or condition_holds(tree.where, dict(event.document))


def _values(tree: Comparison, person: PersonFacts) -> list[Tested | None]:
    """Return the values that a comparison tests: it holds if any of them passes."""
    name = tree.field.name
    match tree.field.kind:
        case "attribute":
            return [_attribute(person.attributes[name])] if name in person.attributes else []
        case "identity":
            values = person.identities.get(name, ())
            return [key_of(BY_NAME[name], value) if by_key(tree) else value for value in values]
        case "device":
            texts = [text_of(device.get(name)) for device in devices(person.rest)]
            return [text for text in texts if text is not None]
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
        entries = parse_json(held[1:])
        assert isinstance(entries, list)
        return entries
    return None if held == f"{MARK}null" else held_text(held)


def consents(batches: Iterable[OtherFields]) -> dict[Purpose, str]:
    """Return the consent in force: (regulation, purpose) -> granted, denied or unknown.

    The newest statement by its own time counts, of equals the later arrival (domain.md 5.3).
    """
    in_force: dict[Purpose, Statement] = {}
    for batch in _in_order(batches):
        if not batch.speaks_of_consent:
            continue
        for purpose, statement in statements_of(batch.document.get("consent_state")).items():
            if replaces(statement, in_force.get(purpose)):
                in_force[purpose] = statement
    states = {consented: state for state, consented in criteria.CONSENT_STATES.items() if consented}
    return {
        purpose: states.get(text_of(statement.get("consented")) or "", "unknown")
        for purpose, statement in in_force.items()
    }


def _in_order(batches: Iterable[OtherFields]) -> list[OtherFields]:
    return sorted(batches, key=lambda batch: batch.arrival)


def devices(batches: Iterable[OtherFields]) -> list[dict[str, Value]]:
    """Return the latest value of each field of each device (device.devices_of).

    Batches that name no device are of one device.
    """
    stating = [
        batch for batch in _in_order(batches) if isinstance(batch.document.get("device_info"), dict)
    ]
    names = devices_of([device_ids(batch.document) for batch in stating])
    fields: dict[object, dict[str, Value]] = {}
    for batch, device in zip(stating, names, strict=True):
        info = batch.document["device_info"]
        assert isinstance(info, dict)
        fields.setdefault(device, {}).update(
            {name: value for name, value in info.items() if value is not None}
        )
    return list(fields.values())


def attribution(batches: Iterable[OtherFields]) -> Mapping[str, Value]:
    """Return the install attribution that arrived last."""
    latest: Mapping[str, Value] = {}
    for batch in _in_order(batches):
        info = batch.document.get("attribution_info")
        if isinstance(info, dict) and info:
            latest = info
    return latest


def last_place(batches: Iterable[OtherFields]) -> tuple[float, float] | None:
    """Return the place that arrived last: latitude and longitude in degrees.

    A place is in context.location or batch_context.location.
    """
    # The newest batch with a place decides; a batch without one says nothing.
    for batch in sorted(batches, key=lambda batch: -batch.arrival):
        for root in ("context", "batch_context"):
            context = batch.document.get(root)
            location = context.get("location") if isinstance(context, dict) else None
            if isinstance(location, dict) and (point := _point(location)):
                return point
    return None


def _point(location: Mapping[str, Value]) -> tuple[float, float] | None:
    latitude, longitude = _angle(location.get("latitude")), _angle(location.get("longitude"))
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None
    return latitude, longitude


def _angle(value: Value) -> float | None:
    text = text_of(value) or ""
    return float(text) if _degrees.fullmatch(text) else None


def _is_near(tree: Near, batches: Iterable[OtherFields]) -> bool:
    point = last_place(batches)
    if point is None:
        return False
    # The haversine of the distance on a great circle, as SQL computes it too.
    latitude, longitude = float(tree.latitude) * RADIAN, float(tree.longitude) * RADIAN
    up = math.sin((point[0] * RADIAN - latitude) / 2)
    across = math.sin((point[1] * RADIAN - longitude) / 2)
    chord = up * up + math.cos(latitude) * math.cos(point[0] * RADIAN) * across * across
    return chord <= widest_chord(tree)


def widest_chord(tree: Near) -> float:
    """Return the haversine of the greatest distance: a place is near if its own is not above it.

    A distance of half the way around the earth or more is no limit.
    """
    half = tree.metres / EARTH_METRES / 2
    return 1.0 if half >= math.pi / 2 else math.sin(half) ** 2
