"""Conditions on an event: what they say, that Python and SQL agree, and where they are not
understood.
"""

from __future__ import annotations

import functools
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from support.effort import at_length
from support.events import conditions, documents, text_of

from profilectl.codes import UsageError
from profilectl.rules.event.condition import condition_text, event_condition
from profilectl.rules.event.field import Path, caseless, path_of
from profilectl.rules.sql.events import EventSql, condition_sql, taken, taking
from profilectl.rules.text.values import parse_json

EVENT = (
    '{"data":{"event_name":"Purchase","screen_name":"Home","custom_attributes":{"price":12.50,"paid":"012.5","currency":"eur","tags":["Red","bl\\"ue",1.10],'
    '"none":null,"blank":"","nothing":[],"big":123456789012345678901234567890.1,"thousand":"1e3","zero":-0,"yes":true,"a.b":"dotted","screen_name":"mine",'
    '"Straße":"STRASSE","i":"İ","sigma":"\u0394\u03a3","object":{"x":1}},"product_action":{"action":"purchase","total_amount":1E2,'
    '"products":[{"price":1.10,"sku":"A"},{"price":"2","sku":"b"},{"sku":"c%d"}]}},"event_type":"commerce_event"}'
)
# condition, whether it holds for EVENT, why
CASES: list[tuple[str, bool, str]] = [
    ("currency = 'EUR' and price > 10", True, "texts ignore case, numbers are compared as numbers"),
    ("price = 12.5", True, "12.50 and 12.5 are one number"),
    ("paid = 12.5", True, "a number in text is a number"),
    ("price = '12.5'", False, "compared with a text it is the text 12.50"),
    ("price = '12.50'", True, "... as it is spelled"),
    (
        "price contains '.50'",
        True,
        "the text of a number is what was received, not what DuckDB makes of it",
    ),
    ("big > 123456789012345678901234567890", True, "no number passes through a float"),
    ("big < 123456789012345678901234567890.2", True, "... however many digits it has"),
    ("thousand = 1000", True, "an exponent is worked out exactly"),
    ("zero = 0", True, "-0 is 0"),
    ("currency > 5", False, "a text that is no number is neither more"),
    ("currency <= 5", False, "... nor less than one"),
    ("currency != 5", True, "... and is not equal to it"),
    ("missing != 'x'", True, "what is not there is not equal to anything"),
    ("missing = ''", False, "what is not there is not empty either"),
    ("not missing < 5", True, "not turns a test around"),
    ("tags = 'red'", True, "a list has several values: one of them passes"),
    ("tags != 'red'", False, "... and != says that none does"),
    ("tags = 1.1", True, "a number in a list"),
    ("tags contains 'L\"'", True, "a part of an entry"),
    ("tags contains '1.10'", True, "entries are spelled as received too"),
    ("none is null", True, "null is as good as absent"),
    ("none exists", False, "... so it does not exist"),
    ("missing not exists", True, "the other way to say it"),
    ("blank exists", True, "an empty text is there"),
    ("blank is empty", True, "... and empty"),
    ("nothing is empty", True, "an empty list is empty"),
    ("missing is empty", True, "what is not there is empty, as in audiences"),
    ("object exists", True, "an object is there"),
    ("object = '{\"x\":1}'", False, "... but has no text"),
    ("yes = true", True, "a boolean"),
    ("yes = 'TRUE'", True, "... is the text true"),
    ("currency in ('usd', 'EUR')", True, "one of several"),
    ("price not in (1, 12.500)", False, "numbers in a list of literals"),
    ("currency matches 'e?r'", True, "? is one character"),
    ("currency matches 'e?'", False, "a pattern is of the whole text"),
    ("currency matches '*R*'", True, "* is any run, also an empty one"),
    ("currency not matches '*x*'", True, "does not match"),
    ("product_action.products.sku matches '*%D'", True, "% is a character like any other"),
    ("product_action.products.sku matches 'a%'", False, "... and no wildcard"),
    ("product_action.products.price > 1.99", True, "one of the products"),
    ("product_action.products[].price > 2", False, "none of the products"),
    ("product_action.total_amount = 100", True, "a path in data, an exponent in JSON"),
    ("screen_name = 'home'", True, "a member of data without a dot"),
    ("\"screen_name\" = 'mine'", True, "in quotes always a custom attribute"),
    ("custom_attributes.price > 12", True, "the long way to a custom attribute"),
    ("data.custom_attributes.price > 12", True, "... and the longest"),
    ("\"a.b\" = 'Dotted'", True, "a name with a dot"),
    ("\"Straße\" = 'strasse'", True, "letters beyond ASCII in a name"),
    ('"straße" exists', False, "names are as they are spelled"),
    ("i = 'i'", True, "İ is i, as DuckDB has it"),
    (
        "sigma = '\u03b4\u03c2'",
        False,
        "letters are folded one by one: a final sigma is another letter",
    ),
    ("sigma = '\u03b4\u03c3'", True, "... and a capital sigma always the same one"),
    ("currency starts with 'EU' and currency ends with 'r'", True, "how a text begins and ends"),
    ("currency not starts with 'u'", True, "... and does not"),
    ("price between 12.5 and 13", True, "a range of numbers, with its bounds"),
    ("tags includes 'red' and tags includes part 'ED'", True, "a list includes what = finds"),
    ("currency like 'e_r'", True, "like is another way to write matches"),
    ("thousand > 1e2 and big < 1e999999999", True, "a number with an exponent"),
    ("(price = 1 or price = 12.5) and not (currency = 'usd')", True, "brackets"),
    ("price = 1 and currency = 'usd' or yes = true", True, "and binds closer than or"),
]


@functools.cache
def connection() -> Any:
    return duckdb.connect()


def by_sql(condition: str, document: str) -> Any:
    return (
        connection()
        .execute(
            f"select {condition_sql(condition, 'event')} from (select $1 as event)", [document]
        )
        .fetchone()[0]
    )


@pytest.mark.parametrize(("condition", "expected", "why"), CASES, ids=[case[0] for case in CASES])
def test_a_condition_says(condition: str, expected: bool, why: str) -> None:
    assert event_condition(condition).holds(parse_json(EVENT)) is expected, why
    assert by_sql(condition, EVENT) is expected, f"SQL: {why}"


@pytest.mark.parametrize(("condition", "place"), [
    ("price >", 8), ("price = 3 and", 14), ("(a = 1", 7), ("a.b. = 1", 4), ("= 3", 1), ("a = b", 5), ("a = 'x", 5), ("", 1),
    ("a = 1 drop table", 7), ("and = 1", 1), ("a in ()", 7), ("a matches 5", 11),
    ("a like 'x*'", 8), ("a within 30 days", 10), ("a before '2024'", 10),
    ("a between 1 and 'x'", 17),
])  # fmt: skip
def test_a_condition_that_is_not_understood_says_where(condition: str, place: int) -> None:
    with pytest.raises(UsageError) as caught:
        condition_text(condition)
    assert f"at character {place}:" in caught.value.message
    assert caught.value.message.endswith(f"{condition[: place - 1]}>>>{condition[place - 1 :]}")


def test_a_condition_nested_too_deep_is_refused() -> None:
    with pytest.raises(UsageError, match="too deep"):
        event_condition("not " * 100_000 + "a = 1")


@pytest.mark.parametrize(("name", "steps"), [
    ("price", ("custom_attributes", "price")), ("Order Total", ("custom_attributes", "Order Total")), ("screen_name", ("screen_name",)),
    ('"screen_name"', ("custom_attributes", "screen_name")), ("product_action.total_amount", ("product_action", "total_amount")),
    ("product_action.products.price", ("product_action", "products", None, "price")), ("product_action.products[].price", ("product_action", "products", None, "price")),
    ("product_action.products", ("product_action", "products")), ("product_impressions.products.sku", ("product_impressions", None, "products", None, "sku")),
    ("custom_attributes.tags[].x", ("custom_attributes", "tags", None, "x")), ('"a.b"', ("custom_attributes", "a.b")), ('custom_attributes."a""b"', ("custom_attributes", 'a"b')),
    ("data.label", ("label",)),
])  # fmt: skip
def test_a_name_stands_for_a_path(name: str, steps: tuple[str | None, ...]) -> None:
    assert path_of(name) == Path(steps)


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", 'a"b', "a[0].b", '""'])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="names no field"):
        path_of(name)


@pytest.mark.slow
def test_every_letter_folds_alike() -> None:
    found = (
        connection()
        .execute(
            "select chr(i::int), lower(chr(i::int)) from range(1, 1114112) one(i) where i"
            " not between 55296 and 57343"
        )
        .fetchall()
    )
    assert [
        (letter, lower, caseless(letter)) for letter, lower in found if lower != caseless(letter)
    ] == []


def check(condition: str, events: list[Any]) -> None:
    read = event_condition(condition)
    texts = [text_of(one) for one in events]
    expected = [read.holds(parse_json(text)) for text in texts]
    paths = [path for path in read.paths() if not path.walks]
    parts, same = taken("event", paths, "taken")
    inline, shared = (
        EventSql("event").condition(read),
        EventSql("event", parts, same).condition(read),
    )
    found = (
        connection()
        .execute(
            f"select {inline}, {shared} from (select place, event,"
            f" {taking('event', paths)} as taken"
            " from (select unnest($1::varchar[]) as event, unnest(range($2)) as place))"
            " order by place",
            [texts, len(texts)],
        )
        .fetchall()
    )
    assert found == [(one, one) for one in expected]


@settings(max_examples=70, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(conditions, st.lists(documents, min_size=1, max_size=6))
# an event DuckDB writes anew, with one key of that name elsewhere
@example("\"data\" matches ''", [{"data": {"screen_name": "\v"}}])
@example('"price" = 1.10', [{"data": {"custom_attributes": {"price": "x", 'x"price': "1"}}}])
def test_sql_says_what_python_says(condition: str, events: list[Any]) -> None:
    check(condition, events)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_sql_says_what_python_says_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(1000, by_night=10_000),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(conditions, st.lists(documents, min_size=1, max_size=6))
    def compare(condition: str, events: list[Any]) -> None:
        check(condition, events)

    compare()
