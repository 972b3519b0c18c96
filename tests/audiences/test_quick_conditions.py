"""Conditions on many events: the shortcuts say what Python says, and no event is passed over."""

from __future__ import annotations

import functools
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.effort import at_length
from support.events import conditions, documents, text_of

from profilectl.audiences.sql.quick_conditions_sql import QuickEventSql, may_hold
from profilectl.rules.event.condition import event_condition
from profilectl.rules.sql.events import taken, taking
from profilectl.rules.text.values import Number, parse_json

WORDS = ("red", "REd", "green 5", "a\\b", "x-y", "12", "1e5", "true", "stra\u00dfe", "\u212aelvin")
NUMBERS = ("5", "-0", "1.10", "1e300", "1E999", "12.5", "5.0000000000000000001")
VALUES = (
    *WORDS, "", "Red", "infraRED", "kelvin", *map(Number, NUMBERS), True, None,
    ["red", Number("3")], {"red": "red"}, "12.50", " 12", "1_2", "0x1f", "nan", "inf", "+3",
    "9" * 40, "3e", '"red"', "re\u0001d", "r\u00e9d",
)  # fmt: skip


@functools.cache
def connection() -> Any:
    return duckdb.connect()


def check(condition: str, events: list[Any]) -> None:
    read = event_condition(condition)
    texts = [text_of(each) for each in events]
    expected = [read.holds(parse_json(text)) for text in texts]
    paths = [path for path in read.paths() if not path.walks]
    parts, same = taken("event", paths, "taken")
    quick = QuickEventSql("event").condition(read)
    shared = QuickEventSql("event", parts, same).condition(read)
    answers = (
        connection()
        .execute(
            f"select {quick}, {shared}, {may_hold(read, 'event') or 'true'}"
            f" from (select place, event, {taking('event', paths)} as taken"
            " from (select unnest($1::varchar[]) as event, unnest(range($2)) as place))"
            " order by place",
            [texts, len(texts)],
        )
        .fetchall()
    )
    assert [(quick, shared) for quick, shared, _ in answers] == [(each, each) for each in expected]
    passed_over = [
        text
        for text, holds, (_, _, may) in zip(texts, expected, answers, strict=True)
        if holds and not may
    ]
    assert passed_over == []


quick = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
at_length_ = settings(quick, max_examples=at_length(120, by_night=3000), derandomize=False)


@quick
@given(conditions, st.lists(documents, min_size=1, max_size=6))
def test_the_shortcuts_say_what_python_says(condition: str, events: list[Any]) -> None:
    check(condition, events)


@pytest.mark.slow
@at_length_
@given(conditions, st.lists(documents, min_size=1, max_size=6))
def test_the_shortcuts_say_what_python_says_at_length(condition: str, events: list[Any]) -> None:
    check(condition, events)


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


values = st.sampled_from(VALUES)
tests = st.one_of(
    st.builds("{} = {}".format, st.sampled_from("ab"), st.sampled_from(WORDS).map(literal)),
    st.builds("{} != {}".format, st.sampled_from("ab"), st.sampled_from(WORDS).map(literal)),
    st.builds(
        "{} {}".format,
        st.sampled_from(["a =", "b <", "a <=", "b >", "a >", "a >="]),
        st.sampled_from(["5", "12.5", "-0", "1.1", "1e300", "1e999", "9" * 40, "3"]),
    ),
)
nested = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not {}".format, inner),
    ),
    max_leaves=4,
)


def check_odd(condition: str, events: list[Any]) -> None:
    check(condition, [{"data": {"custom_attributes": {"a": a, "b": b}}} for a, b in events])


@quick
@given(nested, st.lists(st.tuples(values, values), min_size=1, max_size=8))
@example("a = 'kelvin'", [("\u212aelvin", None), ("Kelvin", None)])
@example("a > 5", [(Number("5.0000000000000000001"), None), ("5.0000000000000000001", None)])
@example("a > 5", [("12.50", None), (" 12", None), ("nan", None), ("9" * 40, None)])
def test_the_shortcuts_say_what_python_says_of_odd_values(
    condition: str, events: list[Any]
) -> None:
    check_odd(condition, events)


@pytest.mark.slow
@at_length_
@given(nested, st.lists(st.tuples(values, values), min_size=1, max_size=8))
def test_the_shortcuts_say_what_python_says_of_odd_values_at_length(
    condition: str, events: list[Any]
) -> None:
    check_odd(condition, events)


@pytest.mark.parametrize(("condition", "word"), [
    ("a = 'red'", "red"), ("a = 'RED' and b > 5", "red"), ("a = 'red' or b = 'green'", "green"),
    ("a = 'red' or b > 5", ""), ("not a = 'red'", ""), ("a = 're'", ""), ("a = '100'", ""),
    ("a = '50%'", ""),
])  # fmt: skip
def test_a_text_is_looked_for_where_the_condition_cannot_hold_without_it(
    condition: str, word: str
) -> None:
    test = may_hold(event_condition(condition), "event")
    assert f"%{word}%" in test if word else test == ""
