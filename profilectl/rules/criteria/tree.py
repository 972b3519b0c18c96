"""The criteria of an audience: one tree, whatever form they were written in.

Criteria say who is in an audience. They are written as an expression (text.py)

    tier = 'gold' and count(event 'purchase' where (price > 10) within 30 days) >= 2 exclude audience 'staff'

or as TOML (toml.py); both are read into the tree of this module. Who is in by a tree is defined in
membership.py, for one person at a time, and again in membership_sql.py, for all of them at once.

A test holds or does not hold: what is missing passes no test, and `not` turns every outcome around,
so that `tier != 'gold'` also finds those without a tier. There is no third outcome. Where a person
has several values (identities, devices) a test holds where any of them passes it.

The type of a comparison is that of what is written: quoted text compares as text, without case; a
number compares as a number wherever the value is one, also in text; the words before, after, on,
within, over and between two quoted dates compare times. Sources: domain.md 11.2, 14, 5.3; design.md
R4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from profilectl.codes import UsageError
from profilectl.rules.batch_fields import attribute_key, field_named
from profilectl.rules.event.field import fold
from profilectl.rules.fields import Unusable
from profilectl.rules.identity import display, type_named
from profilectl.rules.text.moments import Days, Moment

DEEPEST = 50
"""Criteria may be nested so deep: more than anybody can read, and far from what the engine can
take.
"""

Operand = str | Decimal | Moment | Days


@dataclass(frozen=True, slots=True)
class CriterionOperator:
    """How a value is tested.

    takes: the kinds of operand it can have ("text", "number", "time", "day", "span"); count: how
    many (None: one or more). word, negated: how the expression writes it and its opposite ("": with
    `not` before the test). key, negated_key: the same in TOML ("": under `exclude`); of exists and
    filled, `true` or `false` stand there.
    """

    name: str
    takes: tuple[str, ...]
    count: int | None
    word: str
    negated: str
    key: str
    negated_key: str


# fmt: off
OPERATORS: tuple[CriterionOperator, ...] = (
    #        name             text    number    date      operands  expression       ... negated           TOML             ... negated
    CriterionOperator("equals",       ("text", "number"),          1,        "=",             "!=",                 "equals",        "not_equals"),
    CriterionOperator("among",        ("text", "number"),          None,     "in",            "not in",             "in",            "not_in"),
    CriterionOperator("contains",     ("text",),                   1,        "contains",      "not contains",       "contains",      "not_contains"),
    CriterionOperator("starts",       ("text",),                   1,        "starts with",   "not starts with",    "starts_with",   "not_starts_with"),
    CriterionOperator("ends",         ("text",),                   1,        "ends with",     "not ends with",      "ends_with",     "not_ends_with"),
    CriterionOperator("matches",      ("text",),                   1,        "matches",       "not matches",        "matches",       "not_matches"),
    CriterionOperator("less",         (        "number",),         1,        "<",             "",                   "less_than",     ""),
    CriterionOperator("at_most",      (        "number",),         1,        "<=",            "",                   "at_most",       ""),
    CriterionOperator("more",         (        "number",),         1,        ">",             "",                   "more_than",     ""),
    CriterionOperator("at_least",     (        "number",),         1,        ">=",            "",                   "at_least",      ""),
    CriterionOperator("between",      (        "number", "time"),  2,        "between",       "not between",        "between",       ""),
    CriterionOperator("before",       (                  "time",), 1,        "before",        "not before",         "before",        ""),
    CriterionOperator("after",        (                  "time",), 1,        "after",         "not after",          "after",         ""),
    CriterionOperator("on",           (                  "day",),  1,        "on",            "not on",             "on",            ""),
    CriterionOperator("within",       (                  "span",), 1,        "within",        "not within",         "within",        ""),
    CriterionOperator("ago",          (                  "span",), 1,        "over",          "not over",           "ago",           ""),
    CriterionOperator("includes",     ("text", "number"),          1,        "includes",      "not includes",       "includes",      "not_includes"),
    CriterionOperator("part",         ("text",),                   1,        "includes part", "not includes part",  "includes_part", "not_includes_part"),
    CriterionOperator("exists",       (),                          0,        "exists",        "not exists",         "exists",        ""),
    CriterionOperator("filled",       (),                          0,        "is not empty",  "is empty",           "filled",        ""),
)

TIMES = ("between", "before", "after", "on", "within", "ago")
"""The operators of recency: what may be said of the time of an event."""
COUNTS = ("equals", "less", "at_most", "more", "at_least", "between")
"""The operators of frequency."""

_VALUE = ("equals", "among", "contains", "starts", "ends", "matches", "less", "at_most", "more", "at_least", "between", "exists", "filled")

FIELDS: dict[str, tuple[str, ...]] = {
    # what is tested      operators that apply; times and lists only where a value can be one
    "attribute":          tuple(one.name for one in OPERATORS),
    "identity":           _VALUE,
    "device":             (*_VALUE, "before", "after", "on", "within", "ago"),
    "attribution":        _VALUE,
    "first_seen":         TIMES,
    "last_seen":          TIMES,
    "environment":        ("equals",),
}
ENVIRONMENTS = ("production", "development")
ATTRIBUTION = ("service_provider", "publisher", "campaign")
CONSENT_STATES = {
    # domain.md 5.3: what `consented` said last. Of ccpa.data_sale_opt_out, granted means that the
    # person has opted OUT of sale.
    "granted": "true",
    "denied":  "false",
    "unknown": None,
}
REGULATIONS = ("gdpr", "ccpa")
CCPA_PURPOSE = "data_sale_opt_out"
METRES = {
    # unit of a distance
    "m":  Decimal(1),
    "km": Decimal(1000),
    "mi": Decimal("1609.344"),
}
# fmt: on

BY_NAME: Mapping[str, CriterionOperator] = {one.name: one for one in OPERATORS}


@dataclass(frozen=True, slots=True)
class CriterionField:
    """What is tested. kind: one of FIELDS; name: the attribute's key, the identity type, the field
    of device_info or attribution_info, "" for the others.
    """

    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A value of the person, tested. operator: a name of OPERATORS, never negated (see Not)."""

    field: CriterionField
    operator: str
    operands: tuple[Operand, ...] = ()


def sought(tree: Comparison) -> tuple[Operand, ...]:
    """Return what a test compares with: an identity has no white space around it, so neither has
    what is compared with it whole.
    """
    if tree.field.kind != "identity" or tree.operator not in ("equals", "among", "matches"):
        return tree.operands
    return tuple(display(one) if isinstance(one, str) else one for one in tree.operands)


@dataclass(frozen=True, slots=True)
class When:
    """When an event happened. operator: one of TIMES."""

    operator: str
    operands: tuple[Moment | Days, ...]


@dataclass(frozen=True, slots=True)
class EventCount:
    """How often events of a kind happened.

    type: a type of batch.EVENT_TYPES, None for any; name: compared without case, None for any;
    where: a condition on the event, in the words of event/condition.py, "" for none; when: None for
    ever. operator: one of COUNTS.
    """

    type: str | None
    name: str | None
    where: str = ""
    when: When | None = None
    operator: str = "at_least"
    counts: tuple[int, ...] = (1,)


@dataclass(frozen=True, slots=True)
class Consent:
    """What the person said last of a purpose. state: one of CONSENT_STATES."""

    regulation: str
    purpose: str
    state: str


@dataclass(frozen=True, slots=True)
class InAudience:
    """Membership in another audience, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Near:
    """The last known place of the person lies within a distance (great circle) of a point in
    degrees. unit: of METRES.
    """

    distance: Decimal
    unit: str
    latitude: Decimal
    longitude: Decimal

    @property
    def metres(self) -> float:
        return float(self.distance * METRES[self.unit])


@dataclass(frozen=True, slots=True)
class All:
    """All of them hold. Made by all_of."""

    parts: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of them holds. Made by any_of."""

    parts: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It does not hold. Made by not_."""

    part: Criterion


Criterion = Comparison | EventCount | Consent | InAudience | Near | All | AnyOf | Not


def all_of(parts: Iterable[Criterion]) -> Criterion:
    """Return "all of these", in one level: what is all of all of them is told once."""
    flat = [inner for one in parts for inner in (one.parts if isinstance(one, All) else (one,))]
    return flat[0] if len(flat) == 1 else All(tuple(flat))


def any_of(parts: Iterable[Criterion]) -> Criterion:
    """Return "any of these", in one level."""
    flat = [inner for one in parts for inner in (one.parts if isinstance(one, AnyOf) else (one,))]
    return flat[0] if len(flat) == 1 else AnyOf(tuple(flat))


def not_(part: Criterion) -> Criterion:
    """Return the opposite; the opposite of an opposite is itself."""
    return part.part if isinstance(part, Not) else Not(part)


class CriterionFault(ValueError):
    """A criterion that cannot be: what is wrong, and with which operand. The form it was written in
    adds where.
    """

    def __init__(self, what: str, operand: int = 0) -> None:
        super().__init__(what)
        self.operand = operand


def comparison(
    field: CriterionField, operator: str, operands: Iterable[Operand] = ()
) -> Comparison:
    """Return a test of a field.

    Raises Fault where the operator does not suit the field or its operands.
    """
    rule = BY_NAME[operator]
    given = tuple(operands)
    if operator not in FIELDS[field.kind]:
        raise CriterionFault(f"{rule.word!r} says nothing of {title(field)}")
    if (rule.count is None and not given) or (rule.count is not None and len(given) != rule.count):
        raise CriterionFault(f"{rule.word!r} takes {rule.count or 'one or more'}, not {len(given)}")
    check_operands(rule, given)
    if field.kind in ("first_seen", "last_seen") and not all(
        isinstance(one, Moment | Days) for one in given
    ):
        raise CriterionFault(f"{title(field)} is a time")
    if field.kind in ("identity", "attribution") and any(
        isinstance(one, Moment | Days) for one in given
    ):
        raise CriterionFault(f"{title(field)} is no time")
    if field.kind == "environment":
        for one in given:
            if one not in ENVIRONMENTS:
                raise CriterionFault(f"the environment is {' or '.join(ENVIRONMENTS)}, not {one}")
    return Comparison(field, operator, given)


def check_operands(rule: CriterionOperator, given: tuple[Operand, ...]) -> None:
    """Refuse operands of a kind that an operator does not take. Raises Fault."""
    for place, one in enumerate(given):
        if not kinds_of(one).intersection(rule.takes):
            raise CriterionFault(
                f"{rule.word!r} takes a {' or a '.join(rule.takes)}, not {shown(one)}", place
            )
        if type(one) is not type(given[0]):
            raise CriterionFault(f"{rule.word!r} takes texts or numbers, not both", place)
    if rule.name == "between" and _begin(given[0]) > _begin(given[1]):
        raise CriterionFault(
            f"{shown(given[0])} is after {shown(given[1])}: nothing lies between them"
        )
    if any(isinstance(one, str) and "\0" in one for one in given):
        raise CriterionFault("a text cannot hold the NUL character")


def _begin(one: Operand) -> Decimal:
    return (
        Decimal(one.first_ms)
        if isinstance(one, Moment)
        else one
        if isinstance(one, Decimal)
        else Decimal(0)
    )


def kinds_of(operand: Operand) -> set[str]:
    """Return the kinds of operand (Operator.takes) that something is."""
    if isinstance(operand, str):
        return {"text"}
    if isinstance(operand, Decimal):
        return {"number"}
    if isinstance(operand, Days):
        return {"span"}
    return {"time", "day"} if operand.day else {"time"}


def shown(operand: Operand) -> str:
    """Return an operand as an error shows it."""
    return (
        repr(operand)
        if isinstance(operand, str)
        else digits_of(operand)
        if isinstance(operand, Decimal)
        else str(operand)
    )


def digits_of(number: Decimal) -> str:
    """Return a number as digits, without zeros that say nothing.

    >>> digits_of(Decimal("+007.50")), digits_of(Decimal("-0.0")), digits_of(Decimal("1e3"))
    ('7.5', '0', '1000')
    """
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def title(field: CriterionField) -> str:
    """Return the name of a field for a person."""
    return f"{field.kind} {field.name}" if field.name else field.kind.replace("_", " ")


def attribute(key: str) -> CriterionField:
    """Return the field of an attribute, reserved keys in the platform's own spelling.

    Raises Fault.
    """
    if not key or "\0" in key:
        raise CriterionFault("an attribute has a name")
    return CriterionField("attribute", attribute_key(key))


def identity(name: str) -> CriterionField:
    """Return the field of an identity type, in any spelling of domain.md 3. Raises Fault."""
    kind = type_named(name)
    if kind is None:
        raise CriterionFault(f"{name} is no identity type")
    return CriterionField("identity", kind.name)


def device_field(name: str) -> CriterionField:
    """Return a field of device_info. Raises Fault."""
    if not name or "\0" in name:
        raise CriterionFault("a field of a device has a name")
    return CriterionField("device", name)


def attribution_field(name: str) -> CriterionField:
    """Return a field of the install attribution. Raises Fault."""
    if name not in ATTRIBUTION:
        raise CriterionFault(f"attribution has {', '.join(ATTRIBUTION)}, not {name}")
    return CriterionField("attribution", name)


def field_of(name: str) -> CriterionField:
    """Return what a name means: what a column of that name means in an import (batch.field_named).
    Raises Fault.

    An identity type in any spelling of domain.md 3, or else an attribute; `user_attributes.email`
    is the attribute even so. `device_info.` and `attribution_info.` name those fields.
    """
    try:
        found = field_named(name)
    except Unusable:
        return attribute(name)
    if found.kind in ("identity", "attribute"):
        return (
            CriterionField("identity", found.name)
            if found.kind == "identity"
            else attribute(found.name)
        )
    root, _, member = name.partition(".")
    if root == "device_info":
        return device_field(member)
    if root == "attribution_info":
        return attribution_field(member)
    raise CriterionFault(f"{name} is a field of batches that criteria cannot test")


def when(operator: str, operands: Iterable[Operand]) -> When:
    """Return a time of events. Raises Fault."""
    given = tuple(operands)
    check_operands(BY_NAME[operator], given)
    return When(operator, tuple(one for one in given if isinstance(one, Moment | Days)))


def happened(
    kind: str | None,
    name: str | None,
    where: str = "",
    when: When | None = None,
    operator: str = "at_least",
    counts: tuple[int, ...] = (1,),
) -> EventCount:
    """Return a criterion of events. Raises Fault."""
    if operator not in COUNTS or any(one < 0 for one in counts):
        raise CriterionFault("events are counted in whole numbers, by = != < <= > >= and between")
    check_operands(BY_NAME[operator], tuple(map(Decimal, counts)))
    if name is not None and (not name or "\0" in name):
        raise CriterionFault("an event has a name")
    return EventCount(kind, name, where, when, operator, counts)


def consent(name: str, state: str) -> Consent:
    """Return a criterion of consent; name: regulation, a dot, purpose. Raises Fault."""
    regulation, _, purpose = name.partition(".")
    if regulation not in REGULATIONS or not purpose or "\0" in purpose:
        raise CriterionFault(f"consent is to gdpr.PURPOSE or ccpa.{CCPA_PURPOSE}, not {name}")
    if regulation == "ccpa" and purpose != CCPA_PURPOSE:
        raise CriterionFault(f"the only purpose of ccpa is {CCPA_PURPOSE}")
    if state not in CONSENT_STATES:
        raise CriterionFault(f"consent is {', '.join(CONSENT_STATES)}, not {state}")
    return Consent(regulation, purpose, state)


def near(distance: Decimal, unit: str, latitude: Decimal, longitude: Decimal) -> Near:
    """Return a criterion of place.

    Raises Fault where there is no such point; operands are the distance, the latitude, the
    longitude.
    """
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise CriterionFault(
            "a latitude lies between -90 and 90, a longitude between -180 and 180",
            2 if abs(latitude) <= 90 else 1,
        )
    if unit not in METRES or distance < 0:
        raise CriterionFault(f"a distance is so many {', '.join(METRES)}")
    return Near(distance, unit, latitude, longitude)


def leaves(tree: Criterion) -> Iterator[Criterion]:
    """Return the criteria of a tree that are no combination, left to right, each as often as it
    stands there.
    """
    if isinstance(tree, All | AnyOf):
        for one in tree.parts:
            yield from leaves(one)
    elif isinstance(tree, Not):
        yield from leaves(tree.part)
    else:
        yield tree


def check_depth(tree: Criterion, left: int = DEEPEST) -> None:
    """Refuse criteria that are nested too deep. Raises Fault."""
    if not left:
        raise CriterionFault(f"criteria may be nested {DEEPEST} levels deep, not more")
    if isinstance(tree, All | AnyOf):
        for one in tree.parts:
            check_depth(one, left - 1)
    elif isinstance(tree, Not):
        check_depth(tree.part, left - 1)


@dataclass(frozen=True, slots=True)
class Reads:
    """What criteria need to be decided, so that no more is made.

    attributes: keys; identities: types; happened: distinct criteria of events; device, attribution:
    fields; consents: (regulation, purpose); audiences: names of others; place: the last known
    place; seen: first and last seen; clock: the outcome can change by time alone. Whether the
    person has opted out is always needed.
    """

    attributes: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    happened: tuple[EventCount, ...] = ()
    device: tuple[str, ...] = ()
    attribution: tuple[str, ...] = ()
    consents: tuple[tuple[str, str], ...] = ()
    audiences: tuple[str, ...] = ()
    place: bool = False
    clock: bool = False

    @property
    def events(self) -> bool:
        """Whether events are needed, beside those that opt out."""
        return bool(self.happened)

    @property
    def rest(self) -> bool:
        """Whether the other fields of batches are needed."""
        return bool(self.device or self.attribution or self.consents or self.place)


def reads(*trees: Criterion) -> Reads:
    """Say what some criteria need together."""
    found = [one for tree in trees for one in leaves(tree)]

    def names(kind: str) -> tuple[str, ...]:
        return _once(
            one.field.name
            for one in found
            if isinstance(one, Comparison) and one.field.kind == kind
        )

    return Reads(
        attributes=names("attribute"),
        identities=names("identity"),
        happened=_once(one for one in found if isinstance(one, EventCount)),
        device=names("device"),
        attribution=names("attribution"),
        consents=_once((one.regulation, one.purpose) for one in found if isinstance(one, Consent)),
        audiences=_once(one.name for one in found if isinstance(one, InAudience)),
        place=any(isinstance(one, Near) for one in found),
        clock=any(_by_clock(one) for one in found),
    )


T = TypeVar("T")


def _once(given: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(given))


def _by_clock(one: Criterion) -> bool:
    operator = (
        one.operator
        if isinstance(one, Comparison)
        else one.when.operator
        if isinstance(one, EventCount) and one.when
        else ""
    )
    return operator in ("within", "ago")


def order_of_evaluation(audiences: Mapping[str, Criterion]) -> list[str]:
    """Return the names of audiences in an order to evaluate them in: those that refer to another
    come last.

    Names are compared without case. Raises UsageError where one refers to an audience that is not
    there, or that itself refers to one (domain.md 11.2: membership is not nested).
    """
    known = {fold(name): name for name in audiences}
    refers = {name: reads(tree).audiences for name, tree in audiences.items()}
    named = [(name, other) for name, others in refers.items() for other in others]
    for name, other in named:
        if fold(other) not in known:
            raise UsageError(f"audience {name} refers to {other}: there is no such audience")
    for name, other in named:
        meant = known[fold(other)]
        if refers[meant]:
            raise UsageError(
                f"audience {name} refers to {meant}, which itself refers to {refers[meant][0]}",
                "an audience that refers to another cannot be referred to: write its criteria out",
            )
    return [
        *(name for name in audiences if not refers[name]),
        *(name for name in audiences if refers[name]),
    ]
