"""The criteria of an audience: one tree, for both forms that they are written in.

Criteria say who is in an audience. They are written as an expression (text.py)

    tier = 'gold' and count(event 'purchase' where (price > 10) within 30 days) >= 2
    exclude audience 'staff'

or as TOML (toml.py); both are read into the tree of this module. Who is in an audience by its tree
is defined in membership.py for one person at a time, and in audiences/sql/membership_sql.py for all
people at once.

A test holds or does not hold: nothing that is missing passes a test, and `not` turns every outcome
around, so that `tier != 'gold'` also finds people without a tier. There is no third outcome. If a
person has several values (identities, devices) a test holds if any of them passes it.

The operand decides the type of a comparison. Quoted text compares as text, without case. A number
compares with every value that is a number, also in text. The words before, after, on, within, over
and between two quoted dates compare times. Sources: domain.md 11.2, 14, 5.3; design.md R4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from profilectl.rules.batch_fields import attribute_key, field_named
from profilectl.rules.criteria.operators import BY_NAME, OPERATORS, CriterionOperator
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import BY_NAME as TYPE
from profilectl.rules.identity import display, key_of, type_named
from profilectl.rules.text.moments import Days, Moment
from profilectl.rules.text.naming import instead

DEEPEST = 50
"""How deep criteria may be nested: more than anybody can read, and far from what the engine can
take.
"""

LONGEST_NUMBER = 1_000
"""The digits before or after the point up to which a number is written out without an exponent."""
ENTRY = "; for an entry of a list write includes"

Operand = str | Decimal | Moment | Days
"""A value that a test compares with."""


BY_KEY = ("equals", "among")
"""The operators that compare an identity by its key (identity.key_of)."""
ORDERS = ("less", "at_most", "more", "at_least")
"""The operators of an order: of numbers, or of texts letter by letter."""
TIMES = ("between", "before", "after", "on", "within", "ago")
"""The operators of recency, which test the time of an event."""
COUNTS = ("equals", "less", "at_most", "more", "at_least", "between")
"""The operators of frequency, which test how often events happened."""
# fmt: off
_VALUE = (
    "equals", "among", "contains", "starts", "ends", "matches", "less", "at_most", "more",
    "at_least", "between", "exists", "filled",
)
FIELDS: dict[str, tuple[str, ...]] = {
    # the kind of field   the operators that apply; times and lists only if a value can be one
    "attribute":          tuple(operator.name for operator in OPERATORS),
    "identity":           _VALUE,
    "device":             (*_VALUE, "before", "after", "on", "within", "ago"),
    "attribution":        _VALUE,
    "first_seen":         TIMES,
    "last_seen":          TIMES,
    "environment":        ("equals",),
}
OWN_FIELDS: dict[str, tuple[str, ...]] = {
    # the profile's own columns that --where tests beside those: a search looks at them, and no
    # audience is about them
    "mpid":               _VALUE,
    "first_seen_ms":      _VALUE,
    "last_seen_ms":       _VALUE,
}
LIMIT_AD_TRACKING = "limit_ad_tracking"
"""The name of device.limit_ad_tracking that a person's answers have too."""
ATTRIBUTION = ("service_provider", "publisher", "campaign")
CONSENT_STATES = {
    # the state of a consent, and the value of `consented` in the statement in force (domain.md
    # 5.3). Of ccpa.data_sale_opt_out, granted means that the person has opted OUT of sale.
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


@dataclass(frozen=True, slots=True)
class CriterionField:
    """A field of a person that is tested."""

    kind: str
    """Its kind, one of FIELDS or OWN_FIELDS."""
    name: str = ""
    """The attribute's key, the identity type, or the member of device_info or attribution_info;
    empty for the other kinds.
    """


@dataclass(frozen=True, slots=True)
class Comparison:
    """A test of a field's values."""

    field: CriterionField
    """The field."""
    operator: str
    """The name of the operator, which is never negated (see Not)."""
    operands: tuple[Operand, ...] = ()
    """The operands."""


def sought(tree: Comparison) -> tuple[Operand, ...]:
    """Return the operands that a test compares with.

    An identity has no outer white space, so neither has a text that is compared with all of it.
    """
    if tree.field.kind != "identity" or tree.operator not in (*BY_KEY, "matches", *ORDERS):
        return tree.operands
    return tuple(
        _sought_text(tree, operand) if isinstance(operand, str) else operand
        for operand in tree.operands
    )


def _sought_text(tree: Comparison, operand: str) -> str:
    text = display(operand)
    return key_of(TYPE[tree.field.name], text) if by_key(tree) else text


def by_key(tree: Comparison) -> bool:
    """Return whether a test compares the keys of identities, by which an import looks them up."""
    return tree.field.kind == "identity" and tree.operator in BY_KEY


@dataclass(frozen=True, slots=True)
class When:
    """A test of an event's time."""

    operator: str
    """The operator, one of TIMES."""
    operands: tuple[Moment | Days, ...]
    """Its operands."""


@dataclass(frozen=True, slots=True)
class EventCount:
    """A test of how often events happened."""

    type: str | None
    """The type of the events (event.EVENT_TYPES); None: any."""
    name: str | None
    """Their name, in any case; None: any."""
    where: str = ""
    """A condition on the event (event/condition.py); empty: none."""
    when: When | None = None
    """When they happened; None: at any time."""
    operator: str = "at_least"
    """The operator, one of COUNTS."""
    counts: tuple[int, ...] = (1,)
    """Its operands."""


@dataclass(frozen=True, slots=True)
class Consent:
    """A test of the consent in force."""

    regulation: str
    """The regulation, one of REGULATIONS."""
    purpose: str
    """The purpose."""
    state: str
    """The state, one of CONSENT_STATES."""


@dataclass(frozen=True, slots=True)
class InAudience:
    """Membership in another audience."""

    name: str
    """The audience's name, in any case."""


@dataclass(frozen=True, slots=True)
class Near:
    """A test that the last known place of the person is near a point (great circle)."""

    distance: Decimal
    """The greatest distance."""
    unit: str
    """Its unit, one of METRES."""
    latitude: Decimal
    """The latitude of the point in degrees."""
    longitude: Decimal
    """The longitude of the point in degrees."""

    @property
    def metres(self) -> float:
        """The greatest distance in metres."""
        return float(self.distance * METRES[self.unit])


@dataclass(frozen=True, slots=True)
class All:
    """A combination of which all parts hold. Made by all_of."""

    parts: tuple[Criterion, ...]
    """The parts."""


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A combination of which at least one part holds. Made by any_of."""

    parts: tuple[Criterion, ...]
    """The parts."""


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a criterion: it holds if its part does not. Made by not_."""

    part: Criterion
    """The part."""


Criterion = Comparison | EventCount | Consent | InAudience | Near | All | AnyOf | Not


def all_of(parts: Iterable[Criterion]) -> Criterion:
    """Return "all of these" in one level: parts of a part that is All become parts of it."""
    # Brackets that change nothing must not change the tree: criteria are compared by it.
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, All) else (part,))]
    return flat[0] if len(flat) == 1 else All(tuple(flat))


def any_of(parts: Iterable[Criterion]) -> Criterion:
    """Return "any of these" in one level: parts of a part that is AnyOf become parts of it."""
    flat = [
        inner for part in parts for inner in (part.parts if isinstance(part, AnyOf) else (part,))
    ]
    return flat[0] if len(flat) == 1 else AnyOf(tuple(flat))


def not_(part: Criterion) -> Criterion:
    """Return the opposite; the opposite of an opposite is itself."""
    return part.part if isinstance(part, Not) else Not(part)


class CriterionFault(ValueError):
    """A criterion that cannot be: what is wrong, and with which operand.

    The form that it was written in adds the place. operand: its place among the operands, from 0.
    """

    def __init__(self, what: str, operand: int = 0) -> None:
        super().__init__(what)
        self.operand = operand


class FaultAt(CriterionFault):
    """A fault at a character of an expression, from 0."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__(what)
        self.at = at


def comparison(
    field: CriterionField, operator: str, operands: Iterable[Operand] = ()
) -> Comparison:
    """Return a test of a field.

    Raises CriterionFault if the operator does not suit the field or its operands.
    """
    rule = BY_NAME[operator]
    listed = tuple(operands)
    if operator not in {**FIELDS, **OWN_FIELDS}[field.kind]:
        raise CriterionFault(f"{rule.word!r} says nothing of {title(field)}")
    fits = bool(listed) if rule.count is None else len(listed) == rule.count
    if not fits:
        raise CriterionFault(
            f"{rule.word!r} takes {rule.count or 'one or more'}, not {len(listed)}"
        )
    check_operands(rule, listed)
    are_times = [isinstance(operand, Moment | Days) for operand in listed]
    if field.kind in ("first_seen", "last_seen") and not all(are_times):
        raise CriterionFault(f"{title(field)} is a time")
    if field.kind in ("identity", "attribution") and any(are_times):
        raise CriterionFault(f"{title(field)} is no time")
    if field.kind == "environment":
        for operand in listed:
            if operand not in ENVIRONMENTS:
                raise CriterionFault(
                    f"the environment is {' or '.join(ENVIRONMENTS)}, not {operand}"
                )
    return Comparison(field, operator, listed)


def check_operands(rule: CriterionOperator, operands: tuple[Operand, ...]) -> None:
    """Refuse operands of a kind that an operator does not take. Raises CriterionFault."""
    for place, operand in enumerate(operands):
        if not kinds_of(operand).intersection(rule.takes):
            raise CriterionFault(
                f"{rule.word!r} takes a {' or a '.join(rule.takes)}, not {shown(operand)}"
                + (ENTRY if rule.name == "contains" else ""),
                place,
            )
        # `in (5, 'a')` would compare once as a number and once as text.
        if type(operand) is not type(operands[0]):
            raise CriterionFault(
                f"{rule.word!r} takes texts or numbers, not both: write two tests with or", place
            )
    if rule.name == "between" and _start(operands[0]) > _start(operands[1]):
        raise CriterionFault(
            f"{shown(operands[0])} is after {shown(operands[1])}: nothing lies between them"
        )
    if any(isinstance(operand, str) and "\0" in operand for operand in operands):
        raise CriterionFault("a text cannot hold the NUL character")


def _start(operand: Operand) -> Decimal:
    """Return the number or the first millisecond of an operand of `between`."""
    # Operands of other kinds are refused before: `between` takes numbers and times only.
    if isinstance(operand, Moment):
        return Decimal(operand.first_ms)
    return operand if isinstance(operand, Decimal) else Decimal(0)


def kinds_of(operand: Operand) -> set[str]:
    """Return the kinds of operand (CriterionOperator.takes) that a value is."""
    if isinstance(operand, str):
        return {"text"}
    if isinstance(operand, Decimal):
        return {"number"}
    if isinstance(operand, Days):
        return {"span"}
    return {"time", "day"} if operand.day else {"time"}


def shown(operand: Operand) -> str:
    """Return an operand for a message."""
    if isinstance(operand, str):
        return repr(operand)
    return digits_of(operand) if isinstance(operand, Decimal) else str(operand)


def digits_of(number: Decimal) -> str:
    """Return a number as digits, without zeros that say nothing.

    >>> digits_of(Decimal("+007.50")), digits_of(Decimal("-0.0")), digits_of(Decimal("1e3"))
    ('7.5', '0', '1000')
    """
    if abs(number.adjusted()) > LONGEST_NUMBER:
        return str(number)
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def title(field: CriterionField) -> str:
    """Return the name of a field for a person."""
    return f"{field.kind} {field.name}" if field.name else field.kind.replace("_", " ")


def attribute(key: str) -> CriterionField:
    """Return the field of an attribute; a reserved key has the platform's own spelling.

    Raises CriterionFault.
    """
    if not key or "\0" in key:
        raise CriterionFault("an attribute has a name")
    return CriterionField("attribute", attribute_key(key))


def identity(name: str) -> CriterionField:
    """Return the field of an identity type, in any spelling. Raises CriterionFault."""
    kind = type_named(name)
    if kind is None:
        raise CriterionFault(f"{name} is no identity type: {instead(name, TYPE, ', '.join(TYPE))}")
    return CriterionField("identity", kind.name)


def device_field(name: str) -> CriterionField:
    """Return a field of device_info. Raises CriterionFault."""
    if not name or "\0" in name:
        raise CriterionFault("a field of a device has a name")
    return CriterionField("device", name)


def attribution_field(name: str) -> CriterionField:
    """Return a field of the install attribution. Raises CriterionFault."""
    if name not in ATTRIBUTION:
        raise CriterionFault(f"attribution has {', '.join(ATTRIBUTION)}, not {name}")
    return CriterionField("attribution", name)


def field_of(name: str) -> CriterionField:
    """Return the field that a name means, read like a column of an import (field_named).

    A name is that of an identity type in any spelling of domain.md 3, else of an attribute;
    `user_attributes.email` is the attribute email. Names of fields of a device begin with
    `device_info.`, those of the attribution with `attribution_info.`; `limit_ad_tracking` is that
    of a device. Raises CriterionFault.
    """
    if name == LIMIT_AD_TRACKING:
        return device_field(name)
    try:
        column = field_named(name)
    except UnusableRow:
        return attribute(name)
    if column.kind == "identity":
        return CriterionField("identity", column.name)
    if column.kind == "attribute":
        return attribute(column.name)
    # The other fields of a batch are kept with rows, and criteria test two of them.
    root, _, member = name.partition(".")
    if root == "device_info":
        return device_field(member)
    if root == "attribution_info":
        return attribution_field(member)
    raise CriterionFault(f"{name} is a field of batches that criteria cannot test")


def when(operator: str, operands: Iterable[Operand]) -> When:
    """Return a test of an event's time. Raises CriterionFault."""
    listed = tuple(operands)
    check_operands(BY_NAME[operator], listed)
    return When(
        operator, tuple(operand for operand in listed if isinstance(operand, Moment | Days))
    )


def happened(
    kind: str | None,
    name: str | None,
    where: str = "",
    when: When | None = None,
    operator: str = "at_least",
    counts: tuple[int, ...] = (1,),
) -> EventCount:
    """Return a test of how often events happened; kind: their type. Raises CriterionFault."""
    if operator not in COUNTS or any(count < 0 for count in counts):
        raise CriterionFault("events are counted in whole numbers, by = != < <= > >= and between")
    check_operands(BY_NAME[operator], tuple(map(Decimal, counts)))
    if name is not None and (not name or "\0" in name):
        raise CriterionFault("an event has a name")
    return EventCount(
        type=kind, name=name, where=where, when=when, operator=operator, counts=counts
    )


def consent(name: str, state: str) -> Consent:
    """Return a test of consent. Raises CriterionFault.

    name: the regulation, a dot, and the purpose.
    """
    regulation, _, purpose = name.partition(".")
    if regulation not in REGULATIONS or not purpose or "\0" in purpose:
        raise CriterionFault(f"consent is to gdpr.PURPOSE or ccpa.{CCPA_PURPOSE}, not {name}")
    if regulation == "ccpa" and purpose != CCPA_PURPOSE:
        raise CriterionFault(f"the only purpose of ccpa is {CCPA_PURPOSE}")
    if state not in CONSENT_STATES:
        raise CriterionFault(f"consent is {', '.join(CONSENT_STATES)}, not {state}")
    return Consent(regulation, purpose, state)


def near(distance: Decimal, unit: str, latitude: Decimal, longitude: Decimal) -> Near:
    """Return a test of the last known place.

    Raises CriterionFault if there is no such point; its operands are the distance, the latitude and
    the longitude.
    """
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise CriterionFault(
            "a latitude lies between -90 and 90, a longitude between -180 and 180",
            2 if -90 <= latitude <= 90 else 1,
        )
    if unit not in METRES or distance < 0:
        raise CriterionFault(f"a distance is a number of {', '.join(METRES)}")
    return Near(distance=distance, unit=unit, latitude=latitude, longitude=longitude)


def leaves(tree: Criterion) -> Iterator[Criterion]:
    """Yield the criteria of a tree that are no combination, left to right, also repeated ones."""
    if isinstance(tree, All | AnyOf):
        for part in tree.parts:
            yield from leaves(part)
    elif isinstance(tree, Not):
        yield from leaves(tree.part)
    else:
        yield tree


def check_depth(tree: Criterion, levels: int = DEEPEST) -> None:
    """Refuse criteria that are nested deeper than some levels. Raises CriterionFault."""
    if not levels:
        raise CriterionFault(f"criteria may be nested {DEEPEST} levels deep, not more")
    if isinstance(tree, All | AnyOf):
        for part in tree.parts:
            check_depth(part, levels - 1)
    elif isinstance(tree, Not):
        check_depth(tree.part, levels - 1)


@dataclass(frozen=True, slots=True)
class Reads:
    """The facts that criteria need, so that no others are looked up.

    The opt-out is not among them, because it is always needed.
    """

    attributes: tuple[str, ...] = ()
    """Keys of attributes."""
    identities: tuple[str, ...] = ()
    """Identity types."""
    happened: tuple[EventCount, ...] = ()
    """Distinct tests of events."""
    device: tuple[str, ...] = ()
    """Members of device_info."""
    attribution: tuple[str, ...] = ()
    """Members of attribution_info."""
    consents: tuple[tuple[str, str], ...] = ()
    """Consents, as (regulation, purpose)."""
    audiences: tuple[str, ...] = ()
    """Names of other audiences."""
    place: bool = False
    """Whether the last known place is needed."""
    clock: bool = False
    """Whether the outcome can change by time alone."""

    @property
    def events(self) -> bool:
        """Whether events are needed, beside those that opt out."""
        return bool(self.happened)

    @property
    def rest(self) -> bool:
        """Whether the other fields of batches are needed."""
        return bool(self.device or self.attribution or self.consents or self.place)


def reads(*trees: Criterion) -> Reads:
    """Return the facts that some criteria need together."""
    tests = [leaf for tree in trees for leaf in leaves(tree)]

    def names(kind: str) -> tuple[str, ...]:
        return _distinct(
            test.field.name
            for test in tests
            if isinstance(test, Comparison) and test.field.kind == kind
        )

    return Reads(
        attributes=names("attribute"),
        identities=names("identity"),
        happened=_distinct(test for test in tests if isinstance(test, EventCount)),
        device=names("device"),
        attribution=names("attribution"),
        consents=_distinct(
            (test.regulation, test.purpose) for test in tests if isinstance(test, Consent)
        ),
        audiences=_distinct(test.name for test in tests if isinstance(test, InAudience)),
        place=any(isinstance(test, Near) for test in tests),
        clock=any(_by_clock(test) for test in tests),
    )


T = TypeVar("T")


def _distinct(items: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(items))


def _by_clock(test: Criterion) -> bool:
    """Return whether the outcome of a test can change by time alone."""
    if isinstance(test, Comparison):
        operator = test.operator
    else:
        operator = test.when.operator if isinstance(test, EventCount) and test.when else ""
    return operator in ("within", "ago")
