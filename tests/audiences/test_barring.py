"""Whom an opt-out or the consent in force keeps out of an audience: by the reference and by the
engine, and never wrongly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as some
from support.audience_people import NOW_MS, by_engine, database, lay_out, people, person_of, trees
from support.effort import at_length

from profilectl.audiences.sql.membership_sql import AudienceToEvaluate, withdrawn
from profilectl.rules.criteria.text import criterion_of, expression
from profilectl.rules.criteria.tree import Criterion
from profilectl.rules.event.field import caseless
from profilectl.rules.membership import PersonFacts, barred, consents, doubtful, holds, settled

NAMES = ("vip", "staff", "ÉLITE")
keep_out: Any = some.dictionaries(some.sampled_from(NAMES), some.booleans(), max_size=2)
"""Audiences that a person may not be in -> whether that is sure."""

# fmt: off
CASES = [
    # criteria                                                   what was said of a      settled  doubtful
    ("consent gdpr.a is granted",                                True,                   True,    False),
    ("consent gdpr.a is granted",                                False,                  False,   True),
    ("consent gdpr.a is granted",                                None,                   False,   True),
    ("x = 1 and consent gdpr.a is granted",                      False,                  False,   True),
    ("x = 1 and consent gdpr.a is granted",                      True,                   None,    False),
    ("x = 1 or consent gdpr.a is granted",                       False,                  None,    True),
    ("x = 1 or consent gdpr.a is granted",                       True,                   True,    False),
    ("not consent gdpr.a is denied",                             False,                  False,   True),
    ("not consent gdpr.a is denied",                             None,                   True,    False),
    ("x = 1 exclude consent gdpr.a is denied",                   False,                  False,   True),
    ("not (x = 1 or consent gdpr.a is denied)",                  False,                  False,   True),
    ("consent gdpr.a is unknown",                                None,                   True,    False),
    ("consent gdpr.a is granted or consent gdpr.b is granted",   False,                  False,   True),
    ("x = 1",                                                    False,                  None,    False),
    ("audience 'vip'",                                           False,                  None,    False),
]
# fmt: on


def told_of(consented: bool | None) -> PersonFacts:
    said = (
        {}
        if consented is None
        else {
            "batches": [
                {
                    "consent_state": {
                        "gdpr": {"a": {"consented": consented, "timestamp_unixtime_ms": "1"}}
                    }
                }
            ]
        }
    )
    return person_of(said, NOW_MS)


@pytest.mark.parametrize(("text", "consented", "comes_to", "speaks_against"), CASES)
def test_what_criteria_come_to_by_consent_alone(
    text: str, consented: bool | None, comes_to: bool | None, speaks_against: bool
) -> None:
    states = consents(told_of(consented).rest)
    assert settled(criterion_of(text), states) is comes_to
    assert doubtful(criterion_of(text), states) is speaks_against


def test_who_is_kept_out_of_an_audience_is_kept_out_of_what_refers_to_it() -> None:
    for text, comes_to in (
        ("audience 'VIP'", False),
        ("x = 1 and audience 'vip'", False),
        ("audience 'vip' or x = 1", None),
        ("x = 1 exclude audience 'vip'", None),
    ):
        assert settled(criterion_of(text), {}, ("vip",)) is comes_to
    assert doubtful(criterion_of("x = 1 or audience 'VIP'"), {}, ("vip",))
    assert not doubtful(criterion_of("x = 1 exclude audience 'VIP'"), {}, ("vip",))


def test_an_opt_out_keeps_out_whatever_the_criteria() -> None:
    person = person_of(
        {
            "x": "1",
            "events": [{"type": "opt_out", "days_ago": "400", "data": {"is_opted_out": True}}],
        },
        NOW_MS,
    )
    assert barred(criterion_of("x = 1"), person)
    assert not barred(criterion_of("x = 1"), replace(person, events=()))


def kept_out(
    audience: AudienceToEvaluate, persons: list[PersonFacts], nested: dict[str, bool]
) -> set[tuple[int, bool]]:
    lay_out([audience], persons)
    database().execute(
        "create or replace table nested (profile bigint, audience varchar, sure boolean)"
    )
    for name, sure in nested.items():
        database().execute(
            "insert into nested select profile, $name, $sure from person",
            {"name": name, "sure": sure},
        )
    return set(
        database()
        .execute(f"select profile, sure from ({withdrawn([audience], 'rest', 'person', 'nested')})")
        .fetchall()
    )


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(trees, some.lists(people(), min_size=1, max_size=4), keep_out)
def test_whom_consent_keeps_out_is_the_same_in_the_engine_and_never_one_who_belongs(
    tree: Criterion, persons: list[PersonFacts], nested: dict[str, bool]
) -> None:
    check(tree, persons, nested)


@pytest.mark.slow
@settings(
    max_examples=at_length(300, by_night=20_000),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(trees, some.lists(people(), min_size=1, max_size=4), keep_out)
def test_whom_consent_keeps_out_is_the_same_of_thousands(
    tree: Criterion, persons: list[PersonFacts], nested: dict[str, bool]
) -> None:
    check(tree, persons, nested)


def check(tree: Criterion, persons: list[PersonFacts], nested: dict[str, bool]) -> None:
    note(expression(tree))
    sure = [name for name, each in nested.items() if each]
    out = {caseless(name) for name in sure}
    persons = [
        replace(one, audiences=[name for name in one.audiences if caseless(name) not in out])
        for one in persons
    ]
    audience = AudienceToEvaluate("a", tree)
    expected = set()
    belong = {place for _, place in by_engine([audience], persons)}
    for place, person in enumerate(persons):
        states = consents(person.rest)
        comes_to = settled(tree, states, sure)
        if comes_to is False or (comes_to is None and doubtful(tree, states, list(nested))):
            expected.add((place, comes_to is False))
        if comes_to is False:
            assert not holds(tree, person, NOW_MS)
            assert place not in belong
        if barred(tree, person, sure):
            assert place not in belong
        elif comes_to is True:
            assert holds(tree, person, NOW_MS)
            assert place in belong
    assert kept_out(audience, persons, nested) == expected
