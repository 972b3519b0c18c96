"""People as plain objects, as relations of the engine, and at random, with criteria that are likely
to hold for some.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hypothesis import strategies as some

from profilectl.audiences.sql.membership_sql import (
    AudienceToEvaluate,
    PeopleRelations,
    members,
    needs,
)
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.tree import (
    Criterion,
    CriterionFault,
    CriterionField,
    EventCount,
    InAudience,
    Near,
)
from profilectl.rules.event.condition import condition_text
from profilectl.rules.event.event import Occurred
from profilectl.rules.membership import OtherFields, PersonFacts
from profilectl.rules.text.moments import DAY_MS, Days, Moment
from profilectl.rules.text.values import Number, Value, hold, to_json
from profilectl.store.scratch import connect

NOW_MS = 1_725_000_000_000


@functools.cache
def database() -> Any:
    return connect()


def by_engine(
    audiences: Sequence[AudienceToEvaluate],
    people: Sequence[PersonFacts],
    now_ms: int = NOW_MS,
    touched: Sequence[int] | None = None,
) -> set[tuple[str, int]]:
    """Return who is in which audience by the engine: (name, place of the person)."""
    lay_out(audiences, people, touched)
    select = members(
        audiences, now_ms, PeopleRelations(touched="touched" if touched is not None else None)
    )
    return set(database().execute(select).fetchall())


def lay_out(
    audiences: Sequence[AudienceToEvaluate],
    people: Sequence[PersonFacts],
    touched: Sequence[int] | None = None,
) -> None:
    """Make the relations that the audiences read."""
    reads = needs(audiences)
    wanted = "".join(f", i_{kind} varchar[]" for kind in reads.identities) + "".join(
        f", v{n} varchar" for n in range(len(reads.attributes))
    )
    _table(
        "person",
        (
            "profile bigint, mpid bigint, environment utinyint, first_seen_ms bigint,"
            f" last_seen_ms bigint{wanted}"
        ),
        [
            [
                profile,
                profile,
                0 if one.environment == "production" else 1,
                one.first_seen_ms,
                one.last_seen_ms,
                *(list(one.identities.get(kind, ())) or None for kind in reads.identities),
                *(one.attributes.get(key) for key in reads.attributes),
            ]
            for profile, one in enumerate(people)
        ],
    )
    _table(
        "event",
        (
            "profile bigint, arrival bigint, place integer, environment utinyint, feed"
            " usmallint, type varchar, name varchar, at_ms bigint, session varchar, event"
            " varchar"
        ),
        [
            [
                profile,
                one.arrival,
                one.place,
                0,
                1,
                one.type,
                one.name,
                one.at_ms,
                one.session,
                to_json(dict(one.document)),
            ]
            for profile, person in enumerate(people)
            for one in person.events
        ],
    )
    _table(
        "rest",
        "profile bigint, arrival bigint, at_ms bigint, speaks_of_consent boolean, rest varchar",
        [
            [profile, one.arrival, one.at_ms, one.speaks_of_consent, to_json(dict(one.document))]
            for profile, person in enumerate(people)
            for one in person.rest
        ],
    )
    _table(
        "member",
        "profile bigint, audience varchar",
        [[profile, name] for profile, person in enumerate(people) for name in person.audiences],
    )
    _table("touched", "profile bigint", [[profile] for profile in touched or ()])


def _table(name: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
    database().execute(f"create or replace table {name} ({columns})")
    if rows:
        database().execute(
            (
                f"insert into {name} values"
                f" {', '.join('(' + ', '.join('?' * len(row)) + ')' for row in rows)}"
            ),
            [cell for row in rows for cell in row],
        )


# What follows makes people and criteria at random: few names, few values, so that criteria hold now
# and then.

TEXTS = (
    "",
    "gold",
    "GOLD",
    "Gold plated",
    "a*b",
    "a%b",
    "a_b",
    "straße",
    "STRASSE",
    "ΣΑΣ",
    "σας",
    "İ",
    "é",
    "é",
    "it's",
    'q"q',
    "\\",
    "01234",
    "12",
    "12.50",
    "-3",
    "1e3",
    "123456789012345678901234567890",
    "0.1",
    "-0",
    "true",
    "null",
    "2024-08-01",
    "2024-08-30T12:00:00Z",
    "2024-02-30",
    "2024-08-30 06:40:00.1239+02:00",
    "1724900000000",
    "\x1fmark",
    "line\nbreak",
    "100%",
)
NUMBERS = (
    "0",
    "-0",
    "1",
    "12",
    "12.5",
    "12.50",
    "-3",
    "1e3",
    "1.0E-2",
    "123456789012345678901234567890",
    "0.1",
    "999999999999999.9999",
    "1724900000000",
)
KEYS = ("tier", "visits", "Favourite colour", "$City", "email", "count", 'od"d', "a.b")
PURPOSES = ("marketing", "Marketing", "third party/ads", "~")
EVENT_NAMES = ("purchase", "Purchase", "ΣΑΣ", "view")
CONDITIONS = (
    "",
    "price > 10",
    "colour = 'RED'",
    "price exists",
    "price = 10",
    "colour contains 'e' or price < 0",
    "not colour matches 'r*'",
)
AUDIENCES = ("vip", "staff", "ÉLITE")
FIELDS = ("platform", "os_version", 'o"dd', "a/b")

texts = some.sampled_from(TEXTS)
numbers = some.sampled_from(NUMBERS).map(Number)
scalars: Any = texts | numbers | some.booleans() | some.none()
values: Any = scalars | some.lists(scalars, max_size=3)
times = some.sampled_from((-30, -7, -1, 0, 1)).flatmap(
    lambda days: some.sampled_from((-1, 0, 1)).map(lambda ms: NOW_MS + days * DAY_MS + ms)
) | some.integers(NOW_MS - 40 * DAY_MS, NOW_MS + 2 * DAY_MS)


@some.composite
def events(draw: Any) -> Occurred:
    kind = draw(
        some.sampled_from(
            ("custom_event", "custom_event", "custom_event", "session_start", "opt_out")
        )
    )
    name = draw(some.sampled_from(EVENT_NAMES)) if kind == "custom_event" else None
    attributes: dict[str, Value] = {}
    for key in ("price", "colour"):
        if draw(some.booleans()):
            attributes[key] = draw(
                scalars | some.sampled_from(("red", "Red", Number("10.00"), Number("11")))
            )
    data: dict[str, Value] = {"custom_attributes": attributes} if attributes else {}
    if kind == "opt_out":
        data = draw(
            some.sampled_from(
                ({"is_opted_out": True}, {"is_opted_out": True}, {"is_opted_out": False}, {})
            )
        )
    return Occurred(
        kind,
        name,
        draw(times),
        draw(some.integers(0, 5)),
        draw(some.integers(0, 2)),
        None,
        {"event_type": kind, "data": data},
    )


@some.composite
def rests(draw: Any, arrival: int) -> OtherFields:
    document: dict[str, Value] = {}
    if draw(some.booleans()):
        document["device_info"] = draw(
            some.dictionaries(
                some.sampled_from((*FIELDS, "ios_idfv", "android_id")),
                values | some.just({"x": Number("1")}),
                min_size=1,
                max_size=4,
            )
        )
    if draw(some.booleans()):
        said = some.fixed_dictionaries(
            {
                "timestamp_unixtime_ms": some.sampled_from(
                    (Number("1"), Number("2"), Number("1.5"), "2", None)
                )
            },
            optional={"consented": some.sampled_from((True, False, True, False, None, "true"))},
        )
        purposes = some.dictionaries(some.sampled_from(PURPOSES), said | texts, max_size=2)
        document["consent_state"] = draw(
            some.fixed_dictionaries(
                {},
                optional={
                    "gdpr": purposes,
                    "ccpa": some.fixed_dictionaries({"data_sale_opt_out": said}),
                },
            )
        )
    if draw(some.booleans()):
        document["attribution_info"] = draw(
            some.dictionaries(some.sampled_from(criteria.ATTRIBUTION), values, max_size=3)
        )
    if draw(some.booleans()):
        angle = some.sampled_from(
            (
                Number("52.52"),
                Number("52.5"),
                Number("13.405"),
                Number("1e1"),
                "0",
                Number("-91"),
                None,
            )
        )
        document[draw(some.sampled_from(("context", "batch_context")))] = {
            "location": {"latitude": draw(angle), "longitude": draw(angle)}
        }
    return OtherFields(arrival, draw(times), document, draw(some.sampled_from((True, True, False))))


@some.composite
def people(draw: Any) -> PersonFacts:
    found = draw(some.lists(events(), max_size=4))
    keyed = {(one.arrival, one.place): one for one in found}
    return PersonFacts(
        environment=draw(some.sampled_from(("production", "development"))),
        first_seen_ms=draw(times),
        last_seen_ms=draw(times),
        identities=draw(
            some.dictionaries(
                some.sampled_from(("email", "customer_id")),
                some.lists(texts.filter(bool), min_size=1, max_size=2),
                max_size=2,
            )
        ),
        attributes={
            key: hold(value)
            for key, value in draw(
                some.dictionaries(some.sampled_from(KEYS), values, max_size=4)
            ).items()
        },
        events=list(keyed.values()),
        rest=[draw(rests(arrival)) for arrival in range(draw(some.integers(0, 3)))],
        audiences=draw(some.lists(some.sampled_from(("vip", "VIP", "élite")), max_size=1)),
    )


spans = some.sampled_from((1, 7, 30)).map(Days)
moments = some.sampled_from((NOW_MS, NOW_MS - 7 * DAY_MS, NOW_MS - 30 * DAY_MS)).map(
    lambda ms: Moment(ms, day=False)
) | some.sampled_from((0, -1, -7, -30)).map(
    lambda days: Moment((NOW_MS // DAY_MS + days) * DAY_MS, day=True)
)
decimals = some.sampled_from([*NUMBERS, "10", "0.01", "1e400", "-1E-2000"]).map(Decimal)
fields = some.one_of(
    some.sampled_from(KEYS).map(criteria.attribute),
    some.sampled_from(("email", "customer_id")).map(criteria.identity),
    some.sampled_from(FIELDS).map(criteria.device_field),
    some.sampled_from(criteria.ATTRIBUTION).map(criteria.attribution_field),
    some.sampled_from(("first_seen", "last_seen", "environment")).map(CriterionField),
)
OPERAND = {"text": texts, "number": decimals, "time": moments, "day": moments, "span": spans}


@some.composite
def operands(draw: Any, operator: str) -> tuple[Any, ...]:
    rule = criteria.BY_NAME[operator]
    if rule.count == 0:
        return ()
    kind = draw(some.sampled_from(rule.takes))
    count = rule.count or draw(some.integers(1, 3))
    found = [draw(OPERAND[kind]) for _ in range(count)]
    if operator == "between":
        found.sort(key=lambda one: one if kind == "number" else one.first_ms)
    return tuple(found)


@some.composite
def tests(draw: Any) -> Criterion:
    field = draw(fields)
    operator = draw(some.sampled_from(criteria.FIELDS[field.kind]))
    given = (
        draw(some.sampled_from(criteria.ENVIRONMENTS).map(lambda one: (one,)))
        if field.kind == "environment"
        else draw(operands(operator))
    )
    try:
        return criteria.comparison(field, operator, given)
    except CriterionFault:
        return criteria.comparison(criteria.attribute("tier"), "exists")


@some.composite
def happenings(draw: Any) -> EventCount:
    when = None
    if draw(some.booleans()):
        operator = draw(some.sampled_from(criteria.TIMES))
        given = draw(operands(operator))
        if isinstance(given[0], Decimal):
            operator, given = "within", (Days(7),)
        when = criteria.When(operator, given) if operator != "on" or given[0].day else None
    operator = draw(some.sampled_from(criteria.COUNTS))
    counts = sorted(draw(some.lists(some.integers(0, 3), min_size=2, max_size=2)))[
        : criteria.BY_NAME[operator].count
    ]
    return criteria.happened(
        draw(some.sampled_from((None, None, "custom_event", "session_start"))),
        draw(some.sampled_from((None, *EVENT_NAMES))),
        condition_text(one) if (one := draw(some.sampled_from(CONDITIONS))) else "",
        when,
        operator,
        tuple(counts),
    )


leaves: Any = some.one_of(
    tests(),
    tests(),
    happenings(),
    some.builds(
        criteria.consent,
        some.sampled_from([f"gdpr.{one}" for one in PURPOSES] + ["ccpa.data_sale_opt_out"]),
        some.sampled_from(list(criteria.CONSENT_STATES)),
    ),
    some.sampled_from(AUDIENCES).map(InAudience),
    some.builds(
        Near,
        some.sampled_from((Decimal(0), Decimal("1.5"), Decimal(30000))),
        some.sampled_from(list(criteria.METRES)),
        some.sampled_from((Decimal("52.52"), Decimal(0))),
        some.sampled_from((Decimal("13.405"), Decimal(0))),
    ),
)
trees: Any = some.recursive(
    leaves,
    lambda inner: some.one_of(
        some.lists(inner, min_size=1, max_size=3).map(criteria.all_of),
        some.lists(inner, min_size=1, max_size=3).map(criteria.any_of),
        inner.map(criteria.not_),
    ),
    max_leaves=6,
)


def person_of(told: Any, now_ms: int) -> PersonFacts:
    """Return the person that a case tells of, as README.md of the cases says it; told: with numbers
    as written.
    """
    given: dict[str, Any] = dict(told)
    if "x" in given:
        given["attributes"] = {"x": given["x"]}
    if "email" in given:
        given["identities"] = {"email": given["email"]}
    for short, root in (("device", "device_info"), ("attribution", "attribution_info")):
        if short in given:
            given["batches"] = [{root: given[short]}]
    if "ago" in given:
        given["events"] = [
            {"type": "custom_event", "name": "buy", "days_ago": one} for one in given["ago"]
        ]
    return PersonFacts(
        environment=given.get("environment", "production"),
        first_seen_ms=ms_of(given.get("first_seen", "2020-01-01T00:00:00Z")),
        last_seen_ms=ms_of(given.get("last_seen", "2024-09-30T00:00:00Z")),
        identities=given.get("identities", {}),
        attributes={key: hold(value) for key, value in given.get("attributes", {}).items()},
        events=[
            Occurred(
                one["type"],
                one.get("name"),
                _at_ms(one, now_ms),
                place,
                0,
                None,
                {"event_type": one["type"], "data": one.get("data", {})},
            )
            for place, one in enumerate(given.get("events", []))
        ],
        rest=[
            OtherFields(
                int(one.get("arrival", place)),
                0,
                {
                    key: value
                    for key, value in one.items()
                    if key not in ("arrival", "speaks_of_consent")
                },
                one.get("speaks_of_consent", True),
            )
            for place, one in enumerate(given.get("batches", []))
        ],
        audiences=given.get("audiences", []),
    )


def _at_ms(event: dict[str, Any], now_ms: int) -> int:
    return (
        ms_of(event["at"])
        if "at" in event
        else now_ms - int(Decimal(event.get("days_ago", "0")) * DAY_MS)
    )


def ms_of(text: str) -> int:
    """Return a time as milliseconds, not by the code under test."""
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)
