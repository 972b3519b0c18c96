"""The rules of consent, of sources and of limits, one by one and at their edges: what mutation
testing found no other quick test for (benchmarks/mutants.py)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from profilectl.attributes import (
    CALCULATED,
    CONSENT_SOURCES,
    FEED_SOURCES,
    SET,
    SOURCES,
    Owner,
    standing,
    verdict,
)
from profilectl.batch import (
    Reading,
    Remark,
    attribute_key,
    deleted_keys,
    environment_named,
    is_unknown_reserved,
    over_limit,
    read_batch,
)
from profilectl.consent import replaces, state_of, stated_ms, statements_of
from profilectl.fields import Unusable
from profilectl.values import Number

# consent (domain.md 5.3)


def test_of_two_statements_the_newer_is_in_force_and_of_equals_the_later_arrival() -> None:
    early, late = (
        {"timestamp_unixtime_ms": Number("1000")},
        {"timestamp_unixtime_ms": Number("1001")},
    )
    assert replaces(late, early)
    assert not replaces(early, late)
    assert replaces(early, early)
    assert replaces(early, None)


def test_a_statement_without_a_time_is_older_than_any_and_one_with_a_text_is_none() -> None:
    assert stated_ms({"consented": True}) == -1
    assert stated_ms({"timestamp_unixtime_ms": "0"}) == 0
    assert stated_ms({"timestamp_unixtime_ms": Number("12")}) == 12
    assert stated_ms({"timestamp_unixtime_ms": "soon"}) == -1
    assert stated_ms({"timestamp_unixtime_ms": True}) == -1
    assert replaces({"timestamp_unixtime_ms": Number("0")}, {})
    assert not replaces({}, {"timestamp_unixtime_ms": Number("0")})
    assert replaces({}, {})


def test_statements_are_taken_apart_by_regulation_and_purpose_and_put_together_again() -> None:
    state = {
        "gdpr": {"news": {"consented": True}, "ads": {"consented": False}},
        "ccpa": {"data_sale_opt_out": {"consented": True}},
    }
    statements = statements_of(state)  # type: ignore[arg-type]
    assert list(statements) == [("gdpr", "news"), ("gdpr", "ads"), ("ccpa", "data_sale_opt_out")]
    assert statements["gdpr", "ads"] == {"consented": False}
    assert state_of(statements) == {
        "ccpa": {"data_sale_opt_out": {"consented": True}},
        "gdpr": {"ads": {"consented": False}, "news": {"consented": True}},
    }


@pytest.mark.parametrize(
    "state",
    [
        None,
        "x",
        [],
        {"gdpr": None},
        {"gdpr": "x"},
        {"gdpr": {"news": None}},
        {"gdpr": {"news": "yes"}},
    ],
)
def test_what_is_no_statement_is_left_out(state: object) -> None:
    assert statements_of(state) == {}  # type: ignore[arg-type]


# sources (the seed page, "User attributes and input source priority")

RANKS = {
    "calculated": 1,
    "account": 2,
    "custom-feed": 3,
    "sdk": 4,
    "csv": 5,
    "partner": 6,
    "warehouse": 6,
}


def test_sources_rank_as_the_page_says() -> None:
    assert {name: source.rank for name, source in SOURCES.items()} == RANKS
    assert {name for name, source in SOURCES.items() if source.own_unit} == {"partner", "warehouse"}
    assert set(FEED_SOURCES) == set(RANKS) - {"calculated"}
    assert set(CONSENT_SOURCES) == {"account", "custom-feed", "sdk", "calculated"}


@pytest.mark.parametrize(("incoming", "owner"), [*itertools.product(RANKS, RANKS)])
def test_who_may_overwrite_whom(incoming: str, owner: str) -> None:
    ours, theirs = RANKS[incoming], RANKS[owner]
    for name in ("a", "b"):
        new, old = Owner(incoming, name), Owner(owner, "a")
        alone = incoming == owner and (name == "a" or incoming not in ("partner", "warehouse"))
        expected = (
            "same unit"
            if alone
            else "other unit"
            if ours == theirs
            else "better"
            if ours < theirs
            else "worse"
        )
        assert standing(new, old) == expected
        by_rank = {
            "same unit": SET,
            "better": SET,
            "other unit": "UA_PDF_EXCLUSIVE",
            "worse": "UA_LOWER_PRIORITY",
        }
        assert verdict(new, old, "rank") == by_rank[expected]
        assert (
            verdict(new, old, "first-writer") == {**by_rank, "better": "UA_FIRST_WRITER"}[expected]
        )
        assert verdict(new, None, "rank") == SET
        assert (
            verdict(new, None, "rank", calculated=True)
            == verdict(new, old, "rank", calculated=True)
            == CALCULATED
        )


def test_a_unit_is_named_by_its_source_and_where_each_is_its_own_by_its_name() -> None:
    assert Owner("partner", "Punchh").unit == "partner/Punchh"
    assert Owner("warehouse", "eu").unit == "warehouse/eu"
    assert Owner("sdk", "eu").unit == "sdk"


# limits (domain.md 2.1)


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("", "v", "UA_KEY_EMPTY"),
        ("k" * 256, "v", None),
        ("k" * 257, "v", "UA_KEY_TOO_LONG"),
        ("k", "v" * 4096, None),
        ("k", "v" * 4097, "UA_VALUE_TOO_LONG"),
        ("k", ["e"] * 1000, None),
        ("k", ["e"] * 1001, "UA_LIST_TOO_LONG"),
        ("k", ["e" * 512], None),
        ("k", ["e", "e" * 513], "UA_ENTRY_TOO_LONG"),
        ("k", [], None),
        ("k", {}, "UA_UNSUPPORTED_TYPE"),
        ("k", [[]], "UA_UNSUPPORTED_TYPE"),
        ("k", ["e", {}], "UA_UNSUPPORTED_TYPE"),
        ("k", True, None),
        ("k", [Number("1"), True, None], None),
        ("k", "\U0001f600" * 4096, None),
    ],
)
def test_limits_are_those_of_the_page_to_the_character(
    key: str, value: Any, code: str | None
) -> None:
    assert over_limit(key, value) == code


def test_of_101_attributes_the_last_stays_out() -> None:
    row = {
        "user_identities": {"customer_id": "1"},
        "user_attributes": {f"k{place}": "v" for place in range(101)},
    }
    batch = read_batch(row, Reading())
    assert (len(batch.sets), "k99" in batch.sets, "k100" in batch.sets) == (100, True, False)
    assert batch.remarks == (Remark("UA_TOO_MANY", "k100"),)


@pytest.mark.parametrize(
    ("stated", "keys"),
    [
        (None, ()),
        ("", ()),
        ("a", ("a",)),
        ('["a","b","a"]', ("a", "b")),
        (["a", "", "b"], ("a", "b")),
        ("$firstname", ("$FirstName",)),
    ],
)
def test_what_is_deleted_is_named_by_a_text_or_a_list(stated: Any, keys: tuple[str, ...]) -> None:
    assert deleted_keys(stated) == keys


@pytest.mark.parametrize(
    "stated", [Number("1"), ["a", Number("1")], "[1]", "[", {"a": "b"}, True, ["a", None]]
)
def test_what_names_no_attribute_to_delete_is_refused(stated: Any) -> None:
    with pytest.raises(Unusable, match="DELETED_INVALID"):
        deleted_keys(stated)


def test_environments_are_two_and_may_be_left_out() -> None:
    assert [environment_named(value) for value in (None, "", "production", "development")] == [
        None,
        None,
        "production",
        "development",
    ]
    for value in ("Production", "test", Number("1"), True, []):
        with pytest.raises(Unusable, match="ENVIRONMENT_INVALID"):
            environment_named(value)  # type: ignore[arg-type]


def test_reserved_keys_have_one_spelling_and_unknown_ones_are_told() -> None:
    assert [attribute_key(key) for key in ("$firstname", "$FIRSTNAME", "firstname", "$other")] == [
        "$FirstName",
        "$FirstName",
        "firstname",
        "$other",
    ]
    assert [is_unknown_reserved(key) for key in ("$firstname", "firstname", "$other")] == [
        False,
        False,
        True,
    ]


def test_of_consent_only_defined_purposes_may_be_stated() -> None:
    assert [
        Reading().defines(*purpose)
        for purpose in (("gdpr", "x"), ("ccpa", "data_sale_opt_out"), ("ccpa", "x"), ("lgpd", "x"))
    ] == [True, True, False, True]
    assert [
        Reading(purposes=frozenset(["a"])).defines("gdpr", purpose) for purpose in ("a", "b")
    ] == [True, False]
