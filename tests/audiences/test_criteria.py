"""Criteria of audiences: hand-written cases and random people, by the reference and by the engine;
both forms and their errors.
"""

from __future__ import annotations

import itertools
import sys
import tomllib
import unicodedata
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as some
from support.audience_people import (
    NOW_MS,
    by_engine,
    database,
    lay_out,
    leaves,
    ms_of,
    people,
    person_of,
    spans,
    trees,
)
from support.effort import at_length
from support.places import CASES

from profilectl.audiences.sql.membership_sql import (
    AudienceToEvaluate,
    PeopleRelations,
    changes,
    needs,
)
from profilectl.codes import UsageError
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.references import order_of_evaluation
from profilectl.rules.criteria.text import criterion_of, expression
from profilectl.rules.criteria.toml import criterion_in, toml_text
from profilectl.rules.criteria.tree import COUNTS, FIELDS, TIMES, Comparison, Criterion, EventCount
from profilectl.rules.event.field import caseless
from profilectl.rules.membership import PersonFacts, expires_ms, holds
from profilectl.rules.sql.values import time_of as time_sql
from profilectl.rules.text.moments import DAY_MS, Days, days_of, moment_of, time_of, written
from profilectl.rules.text.values import Number, parse_json

CASE_NOW_MS = ms_of("2024-09-30T12:00:00Z")
CASES = [
    pytest.param(case, id=f"{path.stem}-{number}")
    for path in sorted((CASES / "audience_cases").glob("*.json"))
    for number, case in enumerate(parse_json(path.read_text("utf-8"))["cases"], start=1)  # type: ignore[index, call-overload, arg-type]
]


def tree_of(told: Any) -> Criterion:
    return criterion_of(str(told)) if isinstance(told, str) else criterion_in(numbers_of(told))


def numbers_of(value: Any) -> Any:
    """Return a table of a case with its numbers as a TOML file gives them."""
    if isinstance(value, Number):
        return int(value) if value.lstrip("-").isdigit() else Decimal(str(value))
    if isinstance(value, list):
        return [numbers_of(one) for one in value]
    return (
        {key: numbers_of(member) for key, member in value.items()}
        if isinstance(value, dict)
        else value
    )


@pytest.mark.parametrize("case", CASES)
def test_case(case: Any) -> None:
    tree = tree_of(case["criteria"])
    lookback = days_of(case["lookback"]) if "lookback" in case else None
    told = [*case["in"], *case["out"]]
    persons = [person_of(one, CASE_NOW_MS) for one in told]
    expected = set(range(len(case["in"])))

    by_reference = {
        place for place, person in enumerate(persons) if holds(tree, person, CASE_NOW_MS, lookback)
    }
    by_sql = {
        place
        for _, place in by_engine([AudienceToEvaluate("a", tree, lookback)], persons, CASE_NOW_MS)
    }

    def shown(places: set[int]) -> list[str]:
        return [str(told[place]) for place in sorted(places ^ expected)]

    assert shown(by_reference) == [], f"reference: {case['why']}"
    assert shown(by_sql) == [], f"engine: {case['why']}"


def test_every_operator_of_every_field_has_a_case_that_finds_somebody_and_leaves_somebody_out() -> (
    None
):
    wanted = {(kind, operator) for kind, operators in FIELDS.items() for operator in operators}
    wanted |= {("count", one) for one in COUNTS} | {("event", one) for one in TIMES}
    for case in (one.values[0] for one in CASES):
        assert case["why"].strip()
        if not (case["in"] and case["out"]):
            continue
        for leaf in criteria.leaves(tree_of(case["criteria"])):
            if isinstance(leaf, Comparison):
                wanted.discard((leaf.field.kind, leaf.operator))
            elif isinstance(leaf, EventCount):
                wanted -= {
                    ("count", leaf.operator),
                    ("event", leaf.when.operator if leaf.when else ""),
                }
    assert wanted == set()


# fmt: off
WRONG = [
    #  expression, its fault marked by >>>                    and a word of the advice
    ("tier = >>>gold",                                        "single quotes"),
    ("tier = 'a' and >>>",                                    "for example"),
    (">>>",                                                   "for example"),
    ("tier = >>>'gold",                                       "for example"),
    ("tier = 'a' >>>'b'",                                     ""),
    ("a = 'x' and (b = 'y'>>>",                               "for example"),
    ("count >>>= 3",                                          ""),
    ("a = 'x' or >>>within = 3",                              'written "within"'),
    ("visits > >>>true",                                      "by = and != only"),
    ("a like >>>'x*'",                                        "write contains"),
    ("visits contains >>>3",                                  ""),
    ("a in ('x', >>>3)",                                      "not both"),
    ("a between >>>3 and 2",                                  "nothing lies between"),
    ("a between >>>'2024-02-01' and '2024-01-01'",            "nothing lies between"),
    ("x before >>>'2024-13-01'",                              "a day is written"),
    ("x on >>>'2024-01-01T10:00Z'",                           "takes a day"),
    ("x within >>>3 months",                                  "a span is written"),
    ("x within >>>0 days",                                    "a span is written"),
    ("first_seen = >>>'x'",                                   "says nothing of first seen"),
    ("a = 1 and >>>first_seen exists",                         "says nothing of first seen"),
    ("first_seen between >>>1 and 2",                         "is a time"),
    ("email before >>>'2024-01-01'",                          "says nothing of identity email"),
    ("email between >>>'2024-01-01' and '2024-01-02'",        "is no time"),
    ("environment = >>>'test'",                               "production or development"),
    ("attribution.>>>colour = 'a'",                           "service_provider"),
    ("consent >>>eprivacy.x is granted",                      "gdpr.PURPOSE"),
    ("consent >>>ccpa.x is granted",                          "data_sale_opt_out"),
    ("consent >>>gdpr.x is given",                            "granted, denied, unknown"),
    ("event >>>foo",                                          "single quotes"),
    ("event 'x' where >>>a = 3",                              "in brackets"),
    ("event 'x' where >>>(a = 3",                             "not closed"),
    ("event 'x' where (a = >>>) and b = 1",                   "condition on the event"),
    ("b = 1 and count(event 'x' where (é = 'a' >>>b)) = 1",   "condition on the event"),
    ("count(event 'x') >= >>>1.5",                            "whole numbers"),
    ("count(event 'x') >= >>>-1",                             "whole numbers"),
    ("location within >>>3 yd of 1, 2",                       "m, km, mi"),
    ("location within 3 km of >>>91, 2",                      "between -90 and 90"),
    ("location within 3 km of 9, >>>-181",                    "between -180 and 180"),
    ("n > >>>1e3x",                                           ""),
    (">>>mpid = '3'",                                         "cannot test"),
    ("ü = 'ü' and >>>= 3",                                    ""),
]
# fmt: on


@pytest.mark.parametrize(("marked", "advice"), WRONG)
def test_an_error_points_at_the_character(marked: str, advice: str) -> None:
    text = marked.replace(">>>", "")

    with pytest.raises(UsageError) as fault:
        criterion_of(text)

    assert (
        fault.value.message
        == f"the criteria are not understood at character {marked.index('>>>') + 1}: {marked}"
    )
    assert advice in fault.value.hint


# fmt: off
WRONG_TABLES: list[tuple[dict[str, Any], str]] = [
    ({},                                                                          "the criteria: a criterion names"),
    ({"attribute": "a"},                                                          "the criteria: takes one of equals"),
    ({"attribute": "a", "equals": 1, "contains": "b"},                            "the criteria: takes one of"),
    ({"attribute": "a", "equal": 1},                                              "equal: not known here"),
    ({"attribute": "a", "contains": 1},                                           "contains: 'contains' takes a text"),
    ({"attribute": "a", "before": "tomorrow"},                                    "before: a day is written"),
    ({"attribute": "a", "exists": "yes"},                                         "exists: must be true or false"),
    ({"attribute": "a", "equals": ["x"]},                                         "equals: must be a text or a number"),
    ({"attribute": "a", "equals": float("nan")},                                  "equals: must be a number with digits"),
    ({"attribute": "a", "audience": "b"},                                         "attribute and audience are two criteria"),
    ({"identity": "shoe", "exists": True},                                        "shoe is no identity type"),
    ({"all": [{"attribute": "a", "exists": True}, {"any": [{"device": 3}]}]},     "all[2].any[1].device: must be a text"),
    ({"all": []},                                                                 "all: must be a list of criteria, at least one"),
    ({"all": [{"audience": "a"}], "equals": 1},                                   "equals: not known here"),
    ({"event": "a", "within": "30 days", "before": "2024-01-01"},                 "before and within do not go together"),
    ({"event": "a", "at_least": 1.5},                                             "at_least: events are counted"),
    ({"event": "a", "where": "price >"},                                          "where: the condition is not understood at character 8"),
    ({"event": "a", "equals": 2},                                                 "equals: not known here"),
    ({"event_type": "b"},                                                         "event_type: b is none of"),
    ({"consent": "gdpr.a"},                                                       "consent `is` or `is_not`"),
    ({"first_seen": {"equals": 1}},                                               "first_seen.equals: not known here"),
    ({"location": {"within": "10", "of": [1, 2]}},                                "location.within: a distance is written"),
    ({"location": {"within": "10 km", "of": [1]}},                                "location.of: must be"),
]
# fmt: on


@pytest.mark.parametrize(("table", "message"), WRONG_TABLES)
def test_an_error_in_toml_names_the_place(table: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as fault:
        criterion_in(table)

    assert message in fault.value.message


def test_an_error_in_toml_says_of_which_audience() -> None:
    with pytest.raises(UsageError, match=r"^audiences\.vip\.any\[1\]: ") as fault:
        criterion_in({"any": [{}]}, "audiences.vip")
    assert "attribute" in fault.value.message


def test_criteria_that_nobody_can_read_are_refused() -> None:
    for text in ("(" * 5000 + "a = 1" + ")" * 5000, "not (a = 1 or " * 300 + "b = 1" + ")" * 300):
        with pytest.raises(UsageError, match="deep"):
            criterion_of(text)


BOTH_FORMS = [
    ("tier = 'gold'", 'attribute = "tier"\nequals = "gold"\n'),
    (
        "event 'purchase' where (price > 10) within 30 days",
        'event = "purchase"\nwhere = "price > 10"\nwithin = "30 days"\n',
    ),
    ("count(event 'purchase') >= 2", 'event = "purchase"\nat_least = 2\n'),
    ("email exists", 'identity = "email"\nexists = true\n'),
    ("audience 'vip'", 'audience = "vip"\n'),
    ("consent gdpr.marketing is granted", 'consent = "gdpr.marketing"\nis = "granted"\n'),
    ("device.platform = 'iOS'", 'device = "platform"\nequals = "iOS"\n'),
    ("first_seen before '2024-01-01'", 'first_seen = { before = "2024-01-01" }\n'),
    (
        "a = 1 and (b = 2 or c != 'x') exclude audience 's'",
        """all = [
    { attribute = "a", equals = 1 },
    { any = [{ attribute = "b", equals = 2 }, { attribute = "c", not_equals = "x" }] },
]
exclude = [
    { audience = "s" },
]
""",
    ),
]


@pytest.mark.parametrize(("text", "toml"), BOTH_FORMS)
def test_both_forms_say_the_same_and_are_written_as_they_are_read(text: str, toml: str) -> None:
    assert expression(criterion_of(text)) == text
    assert toml_text(criterion_of(text)) == toml
    assert criterion_in(tomllib.loads(toml)) == criterion_of(text)


@pytest.mark.parametrize(
    ("written_so", "usual"),
    [
        ("TIER='gold' AND visits>=3.50", "TIER = 'gold' and visits >= 3.5"),
        ("\"tier\" <> 'a'", "tier != 'a'"),
        ('"customer id" exists', "customer_id exists"),
        ("$FIRSTNAME is empty", "$FirstName is empty"),
        ('"count" = 1', '"count" = 1'),
        ("device_info.platform = 'x'", "device.platform = 'x'"),
        ("not (not a = 1)", "a = 1"),
        ("not a = 'b' and not b in (1)", "a != 'b' and b not in (1)"),
        ("a = 1 and (b = 2 and (c = 3))", "a = 1 and b = 2 and c = 3"),
        ("a before '2024-01-31T12:00+02:00'", "a before '2024-01-31T10:00:00Z'"),
        (
            "count(event) > 0 and count(event custom_event 'x' within 2w) >= 1",
            "count(event) > 0 and event custom_event 'x' within 14 days",
        ),
    ],
)
def test_the_usual_form(written_so: str, usual: str) -> None:
    assert expression(criterion_of(written_so)) == usual


def test_toml_dates_and_floats_are_taken() -> None:
    table = tomllib.loads(
        'all = [{attribute = "a", before = 2024-01-31}, {attribute = "b", equals = 0.1},'
        ' {attribute = "c", after = 2024-01-31T10:00:00.5Z}]'
    )

    assert (
        expression(criterion_in(table))
        == "a before '2024-01-31' and b = 0.1 and c after '2024-01-31T10:00:00.500Z'"
    )


quick = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
persons = some.lists(people(), min_size=1, max_size=6)


@quick
@given(trees)
def test_what_is_written_out_is_read_again(tree: Criterion) -> None:
    note(expression(tree))
    assert criterion_of(expression(tree)) == tree
    assert criterion_in(tomllib.loads(toml_text(tree), parse_float=Decimal)) == tree


def engine_equals_reference(
    chosen: list[Criterion], given_people: list[PersonFacts], lookback: Days | None
) -> None:
    audiences = [
        AudienceToEvaluate(f"a{place}", tree, lookback) for place, tree in enumerate(chosen)
    ]
    note("\n".join(map(expression, chosen)))
    expected = {
        (audience.name, place)
        for audience in audiences
        for place, one in enumerate(given_people)
        if holds(audience.tree, one, NOW_MS, lookback)
    }
    assert by_engine(audiences, given_people) == expected


@settings(quick, max_examples=25)
@given(some.lists(trees, min_size=1, max_size=3), persons, some.none() | spans)
def test_engine_equals_reference(
    chosen: list[Criterion], given_people: list[PersonFacts], lookback: Days | None
) -> None:
    engine_equals_reference(chosen, given_people, lookback)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_engine_equals_reference_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(150, by_night=3000),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(some.lists(leaves | trees, min_size=1, max_size=6), persons, some.none() | spans)
    def compare(
        chosen: list[Criterion], given_people: list[PersonFacts], lookback: Days | None
    ) -> None:
        engine_equals_reference(chosen, given_people, lookback)

    compare()


@quick
@given(trees, persons, some.sets(some.integers(0, 6)))
def test_what_changed_is_the_difference_to_what_was(
    tree: Criterion, given_people: list[PersonFacts], touched: set[int]
) -> None:
    """For all of them and for those that were touched, a touched one that is gone too."""
    audience = AudienceToEvaluate("vip", tree)
    before = {place for place, one in enumerate(given_people) if "vip" in one.audiences}
    now = {place for place, one in enumerate(given_people) if holds(tree, one, NOW_MS)}
    expected = {(place, "entered") for place in now - before} | {
        (place, "left") for place in before - now
    }
    lay_out([audience], given_people, sorted(touched))

    for relations in (PeopleRelations(), PeopleRelations(touched="touched")):
        rows = database().execute(changes([audience], NOW_MS, relations)).fetchall()
        assert {(place, change) for _, place, change in rows} == {
            one for one in expected if relations.touched is None or one[0] in touched
        }
        assert {name for name, _, _ in rows} <= {"vip"}


def test_a_profile_that_is_gone_has_left() -> None:
    audience = AudienceToEvaluate("vip", criterion_of("x not exists"))
    lay_out([audience], [PersonFacts()])
    database().execute("insert into member values (7, 'vip'), (7, 'other'), (0, 'vip')")

    assert database().execute(changes([audience], NOW_MS)).fetchall() == [("vip", 7, "left")]


def test_names_of_audiences_and_relations_are_only_names() -> None:
    audience = AudienceToEvaluate("it's; drop table person --", criterion_of("x not exists"))

    assert by_engine([audience], [PersonFacts()]) == {(audience.name, 0)}


BUYERS = "count(event 'buy' within 30 days) >= 2"


@pytest.mark.parametrize(
    ("text", "told", "days"),
    [
        (BUYERS, {"ago": [1, 10, 20]}, 20),
        (BUYERS, {"ago": [1]}, None),
        ("x = 'a'", {"x": "a"}, None),
        ("event 'buy'", {"ago": [1]}, None),
        ("event 'buy' within 30 days and event 'buy' within 7 days", {"ago": [1]}, 6),
        ("event 'buy' within 30 days or event 'buy' within 7 days", {"ago": [1]}, 29),
        ("event 'buy' within 30 days or x = 'a'", {"ago": [1], "x": "a"}, None),
        ("count(event 'buy' within 30 days) <= 1", {"ago": [1]}, None),
        ("not event 'buy' within 7 days", {"ago": [8]}, None),
        ("not event 'buy' within 7 days", {"ago": [-2]}, 2),
        ("not event 'buy' over 7 days ago", {"ago": [1]}, 6),
        ("event 'buy' within 7 days exclude event 'buy' over 2 days ago", {"ago": [1]}, 1),
        ("first_seen within 30 days", {"first_seen": "2024-09-29T12:00:00Z"}, 29),
        ("x within 30 days", {"x": "2024-09-20T12:00:00Z"}, 20),
        ("count(event 'buy' within 30 days) between 1 and 2", {"ago": [1, 10]}, 29),
        ("count(event 'buy' within 30 days) = 2", {"ago": [1, 10]}, 20),
    ],
)
def test_when_a_membership_ends_if_nothing_arrives(
    text: str, told: dict[str, Any], days: int | None
) -> None:
    expected = None if days is None else CASE_NOW_MS + days * DAY_MS

    assert expires_ms(criterion_of(text), person_of(told, CASE_NOW_MS), CASE_NOW_MS) == expected


def test_a_look_back_window_ends_a_membership_too() -> None:
    assert (
        expires_ms(
            criterion_of("event 'buy'"),
            person_of({"ago": [1, 3]}, CASE_NOW_MS),
            CASE_NOW_MS,
            Days(90),
        )
        == CASE_NOW_MS + 89 * DAY_MS
    )


@quick
@given(trees, people(), some.none() | spans)
def test_a_membership_holds_until_it_ends(
    tree: Criterion, person: PersonFacts, lookback: Days | None
) -> None:
    ends = expires_ms(tree, person, NOW_MS, lookback)
    if not holds(tree, person, NOW_MS, lookback):
        assert ends is None
        return
    horizon = NOW_MS + 100 * DAY_MS
    tried = [NOW_MS + hours * DAY_MS // 24 for hours in range(1, 24 * 40, 11)] + [horizon]
    assert all(holds(tree, person, one, lookback) for one in tried if ends is None or one < ends)
    if ends is not None:
        assert holds(tree, person, ends - 1, lookback)
        assert not holds(tree, person, ends, lookback)


def test_what_criteria_read() -> None:
    found = criteria.reads(
        criterion_of(
            "tier = 'a' and email exists and count(event 'buy' within 1 day) > 2 and event"
            " 'buy' within 1 day and device.os = 'x'"
            " and consent gdpr.a is denied and attribution.campaign exists and audience"
            " 'vip' and location within 1 km of 0, 0"
        ),
        criterion_of("tier = 'b' or city = 'c'"),
    )

    assert found.attributes == ("tier", "city")
    assert found.identities == ("email",)
    assert (found.device, found.attribution, found.consents, found.audiences) == (
        ("os",),
        ("campaign",),
        (("gdpr", "a"),),
        ("vip",),
    )
    assert (found.events, found.rest, found.place, found.clock) == (True, True, True, True)
    nothing = needs(
        [AudienceToEvaluate("a", criterion_of("tier = 'a' and first_seen before '2024-01-01'"))]
    )
    assert (nothing.events, nothing.rest, nothing.clock) == (False, False, False)


def test_audiences_that_refer_to_others_come_last_and_are_not_referred_to() -> None:
    told = {"b": "audience 'A'", "a": "x = 1", "c": "y = 2"}
    assert order_of_evaluation({name: criterion_of(text) for name, text in told.items()}) == [
        "a",
        "c",
        "b",
    ]
    for others, message in (
        ({"c": "audience 'b'"}, "audience c refers to b, which itself refers to A"),
        ({"a": "audience 'z'"}, "there is no such audience"),
        ({"a": "audience 'a'"}, "which itself refers to a"),
    ):
        with pytest.raises(UsageError, match=message):
            order_of_evaluation(
                {name: criterion_of(text) for name, text in (told | others).items()}
            )


def test_letters_are_folded_alike_in_python_and_in_the_engine() -> None:
    # Letters that this Python does not know yet are no letters to it.
    letters = [
        chr(code)
        for code in range(1, sys.maxunicode + 1)
        if not 0xD800 <= code <= 0xDFFF and unicodedata.category(chr(code)) != "Cn"
    ]
    found = (
        database()
        .execute(
            "select one, lower(one) from (select unnest($letters::varchar[]) as one)",
            {"letters": letters},
        )
        .fetchall()
    )
    assert [(one, lower) for one, lower in found if caseless(one) != lower] == []


def test_times_are_read_alike_in_python_and_in_the_engine() -> None:
    dates = (
        "2024-02-29",
        "2023-02-29",
        "0000-01-01",
        "0001-01-01",
        "9999-12-31",
        "1969-12-31",
        "2024-00-10",
        "2024-1-1",
        "1900-02-29",
        "20240101",
    )
    clocks = (
        "",
        "T00:00",
        " 23:59:59",
        "T23:59:60",
        "T24:00",
        "T10:00:00.1",
        "T10:00:00.123456789",
        "T10:00:00.",
        "t10:00",
        "T1:00",
        "T10",
    )
    offsets = ("", "Z", "z", "+00:00", "-23:59", "+0530", "+24:00", "+05", " +05:00")
    texts = [
        date + clock + offset for date, clock, offset in itertools.product(dates, clocks, offsets)
    ]
    texts += [
        "",
        "1700000000",
        "17000000000",
        "99999999999999",
        "100000000000000",
        "-1700000000000",
        "1700000000000.0",
        "\n2024-01-01",
        "2024-01-01\n",
        "٢024-01-01",
    ]
    found = (
        database()
        .execute(
            f"select one, {time_sql('one')} from (select unnest($texts::varchar[]) as one)",
            {"texts": texts},
        )
        .fetchall()
    )
    assert [(one, at_ms, time_of(one)) for one, at_ms in found if at_ms != time_of(one)] == []
    assert {time_of("2024-02-29"), time_of("1969-12-31T23:59:59.9Z")} == {1_709_164_800_000, -100}


@pytest.mark.parametrize(
    "at_ms",
    [0, -1, 1, 1_709_164_800_000, 1_709_210_096_789, -62_135_596_800_000, 253_402_300_799_999],
)
def test_a_time_that_is_written_is_read_again(at_ms: int) -> None:
    moment = moment_of(written(at_ms, day=False))
    assert moment is not None
    assert (moment.first_ms, moment.day) == (at_ms, False)


def test_numbers_keep_their_digits_in_both_forms() -> None:
    tree = criterion_of("a = 123456789012345678901234567890.10")
    assert expression(tree) == "a = 123456789012345678901234567890.1"
    assert criterion_in(tomllib.loads(toml_text(tree), parse_float=Decimal)) == tree
