"""The rules of consent, of sources and of limits, one by one and at their edges: what mutation
testing found no other quick test for (benchmarks/mutants.py)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from profilectl.rules.batch import (
    Batch,
    Reading,
    Remark,
    deleted_keys,
    environment_named,
    read_batch,
    read_document,
    read_flat,
)
from profilectl.rules.batch_fields import (
    IGNORED,
    BatchField,
    Columns,
    attribute_key,
    field_meant,
    field_named,
    is_unknown_reserved,
)
from profilectl.rules.batch_limits import over_limit
from profilectl.rules.consent import replaces, state_of, stated_ms, statements_of
from profilectl.rules.fields import UnusableRow
from profilectl.rules.priority import (
    CALCULATED,
    CONSENT_SOURCES,
    FEED_SOURCES,
    SET,
    SOURCES,
    Owner,
    standing,
    verdict,
)
from profilectl.rules.text.values import Number, hold, parse_json

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
    with pytest.raises(UnusableRow, match="DELETED_INVALID"):
        deleted_keys(stated)


def test_environments_are_two_and_may_be_left_out() -> None:
    assert [environment_named(value) for value in (None, "", "production", "development")] == [
        None,
        None,
        "production",
        "development",
    ]
    for value in ("Production", "test", Number("1"), True, []):
        with pytest.raises(UnusableRow, match="ENVIRONMENT_INVALID"):
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


# flat rows (design.md section 4)


def flat(row: dict[str, Any], **more: Any) -> Batch:
    """Read a flat row that is a customer's. more: fields of Reading, and `empty`."""
    empty = more.pop("empty", "ignore")
    return read_flat({"customer_id": "1", **row}, Reading(**more), empty=empty)


@pytest.mark.parametrize(
    ("field", "title"),
    [
        (BatchField("identity", "email"), "user_identities.email"),
        (BatchField("identity", "ios_idfv"), "device_info.ios_idfv"),
        (BatchField("attribute", "tier"), "user_attributes.tier"),
        (BatchField("plain", "mpid"), "mpid"),
    ],
)
def test_what_a_column_means_has_a_title(field: BatchField, title: str) -> None:
    assert field.title == title


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("email", BatchField("identity", "email")),
        ("user_identities.email", BatchField("identity", "email")),
        ("user_identities.ios_idfv", BatchField("unknown identity", "user_identities.ios_idfv")),
        ("user_identities.nobody", BatchField("unknown identity", "user_identities.nobody")),
        ("device_info.ios_idfv", BatchField("identity", "ios_idfv")),
        ("device_info.mp_deviceid", BatchField("kept", "device_info.mp_deviceid")),
        ("device_info.platform", BatchField("kept", "device_info.platform")),
        ("user_attributes.$firstname", BatchField("attribute", "$FirstName")),
        ("consent_state.gdpr.x.consented", BatchField("kept", "consent_state.gdpr.x.consented")),
        ("mpid", BatchField("plain", "mpid")),
        ("tier", BatchField("attribute", "tier")),
    ],
)
def test_what_a_column_means(name: str, field: BatchField) -> None:
    assert field_named(name) == field == field_meant(name)
    assert Columns().meaning(name) == field


def test_a_dotted_name_that_is_no_field_means_what_is_asked_for() -> None:
    for refused in ("shop.size", "user_attributes."):
        with pytest.raises(UnusableRow, match="BATCH_UNKNOWN_FIELD"):
            field_named(refused)
    with pytest.raises(UnusableRow):
        field_meant("shop.size")
    with pytest.raises(UnusableRow):
        Columns().meaning("shop.size")
    assert field_meant("shop.size", "attribute") == BatchField("attribute", "shop.size")
    assert field_meant("shop.size", "ignore") == IGNORED
    assert field_meant("shop.size", nested=True) == BatchField("attribute", "shop.size")
    with pytest.raises(UnusableRow):
        field_meant("user_attributes.", "attribute")


def test_columns_remember_what_was_met_in_its_order() -> None:
    columns = Columns({"Mail": BatchField("identity", "email")}, "ignore")
    for name in ("tier", "Mail", "shop.size", "tier"):
        columns.meaning(name)
    assert columns.met == {
        "tier": BatchField("attribute", "tier"),
        "Mail": BatchField("identity", "email"),
        "shop.size": IGNORED,
    }
    assert list(columns.met) == ["tier", "Mail", "shop.size"]


def test_an_empty_cell_says_nothing_or_what_is_asked_for() -> None:
    assert (flat({"a": None}).sets, flat({"a": None}).deletes) == ({}, ())
    assert flat({"a": None}, empty="delete").deletes == ("a",)
    assert flat({"a": None}, empty="set").sets == {"a": hold("")}
    assert flat({"a": "\\N", "b": "x"}, nulls=frozenset(["\\N"])).sets == {"b": hold("x")}
    assert flat({"a": "\\N"}, nulls=frozenset(["\\N"]), empty="delete").deletes == ("a",)
    assert flat({"a": Number("0")}, nulls=frozenset(["0"])).sets == {"a": hold(Number("0"))}, (
        "a number is no text"
    )
    assert flat({"environment": None, "timestamp_unixtime_ms": None}).environment is None
    assert flat({"deleted_user_attributes": "b", "a": None}, empty="delete").deletes == ("b", "a")


@pytest.mark.parametrize(
    "row",
    [
        {"tier": "a", "user_attributes.tier": "b"},
        {"$FirstName": "a", "$firstname": "b"},
        {"events.data.event_name": "a", "events": {"data": {"event_name": "b"}}},
    ],
)
def test_what_a_row_says_twice_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(UnusableRow, match="DUPLICATE_KEY"):
        flat(row)


def test_of_what_is_said_twice_an_empty_cell_says_nothing() -> None:
    assert flat({"tier": "a", "user_attributes.tier": None}).sets == {"tier": hold("a")}
    names = Columns({"Name": BatchField("event", "events.data.event_name")})
    for first, second in (("a", None), (None, "a")):
        batch = flat(
            {
                "Name": first,
                "events.data.event_name": second,
                "events.data.custom_event_type": "other",
            },
            columns=names,
        )
        assert [happened.name for happened in batch.events] == ["a"]
    with pytest.raises(UnusableRow, match="DUPLICATE_KEY"):
        flat(
            {"Name": "a", "events.data.event_name": "b", "events.data.custom_event_type": "other"},
            columns=names,
        )


def test_an_identity_that_is_none_of_its_place_is_remarked() -> None:
    assert flat({"user_identities.nobody": "x"}).codes == ("IDENTITY_UNKNOWN_TYPE",)
    assert flat({"user_identities.nobody": None}).codes == ()
    batch = read_batch(
        {"user_identities": {"customer_id": "1", "nobody": "x", "ios_idfv": None}}, Reading()
    )
    assert batch.codes == ("IDENTITY_UNKNOWN_TYPE",)


DEVICE = "12345678-1234-1234-1234-12345678abcd"


def test_what_names_a_device_stays_with_what_is_said_of_it() -> None:
    batch = flat(
        {"device_info.platform": "iOS", "device_info.ios_idfv": DEVICE, "mp_deviceid": DEVICE}
    )
    assert batch.rest is not None
    assert parse_json(batch.rest) == {
        "device_info": {"platform": "iOS", "ios_idfv": DEVICE},
        "mp_deviceid": DEVICE,
    }
    assert flat({"mp_deviceid": DEVICE}).rest is None, (
        "of a device of which nothing is said its name is enough"
    )
    stated = read_batch(
        {"user_identities": {}, "device_info": {"platform": "iOS"}, "mp_deviceid": DEVICE},
        Reading(),
    )
    assert stated.rest is not None
    assert parse_json(stated.rest) == {
        "device_info": {"platform": "iOS"},
        "mp_deviceid": DEVICE,
    }
    alone = read_batch({"user_identities": {"customer_id": "1"}, "mp_deviceid": DEVICE}, Reading())
    assert alone.rest is None


def test_cells_are_texts_but_where_a_field_is_a_number_or_a_boolean() -> None:
    batch = flat(
        {
            "consent_state.gdpr.x.consented": "true",
            "consent_state.gdpr.x.timestamp_unixtime_ms": "12",
            "consent_state.gdpr.x.document": "3",
        }
    )
    assert batch.rest is not None
    assert parse_json(batch.rest) == {
        "consent_state": {
            "gdpr": {
                "x": {"consented": True, "timestamp_unixtime_ms": Number("12"), "document": "3"}
            }
        }
    }


def test_consent_to_what_is_not_defined_is_left_out_and_told() -> None:
    said = {"consented": True, "timestamp_unixtime_ms": Number("12")}
    state = {"gdpr": {"a": said, "b": said}, "ccpa": {"other": said}}
    batch = read_batch(
        {"user_identities": {"customer_id": "1"}, "consent_state": state},
        Reading(purposes=frozenset(["a"])),
    )
    assert batch.rest is not None
    assert parse_json(batch.rest) == {"consent_state": {"gdpr": {"a": said}}}
    assert [remark.attribute for remark in batch.remarks] == ["gdpr.b", "ccpa.other"]
    none = read_batch(
        {"user_identities": {"customer_id": "1"}, "consent_state": {"gdpr": {"b": said}}},
        Reading(purposes=frozenset()),
    )
    assert none.rest is None


@pytest.mark.parametrize(
    "field",
    [
        {"consent_state": []},
        {"ip": Number("1")},
        {"batch_id": "x"},
        {"api_keys": {}},
        {"device_info": "x"},
        {"events": {}},
        {"user_attributes": []},
    ],
)
def test_a_field_has_its_type(field: dict[str, Any]) -> None:
    filled = {
        name: value or ({"a": "b"} if value == {} else ["a"] if value == [] else value)
        for name, value in field.items()
    }
    with pytest.raises(UnusableRow, match="BATCH_INVALID"):
        read_batch({"user_identities": {"customer_id": "1"}, **filled}, Reading())


def test_what_is_no_identity_is_told_with_its_kind() -> None:
    for value, what in (
        (Number("1.5"), "not a whole number below 2^53"),
        (True, "boolean"),
        ([], "list"),
    ):
        with pytest.raises(UnusableRow, match="IDENTITY_INVALID") as refusal:
            flat({"email": value})
        assert what in refusal.value.detail or value == []


def test_what_the_path_of_a_file_says_is_said_by_each_row_that_does_not_say_it_itself() -> None:
    reading = Reading(
        path={"tier": "archived", "region": "eu"},
        columns=Columns({"level": BatchField("attribute", "tier"), "note": IGNORED}),
    )
    assert read_document({"customer_id": "1", "tier": "gold"}, reading).sets == {
        "tier": hold("gold"),
        "region": hold("eu"),
    }
    assert read_document({"customer_id": "1", "level": "gold"}, reading).sets == {
        "tier": hold("gold"),
        "region": hold("eu"),
    }
    assert read_document({"customer_id": "1", "note": "x"}, reading).sets == {
        "tier": hold("archived"),
        "region": hold("eu"),
    }
    assert read_document({"customer_id": "1"}, Reading(path={"tier": "archived"})).sets == {
        "tier": hold("archived")
    }
    assert read_document({"customer_id": "1"}, Reading()).sets == {}
