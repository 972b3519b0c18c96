"""The rules, one by one and at their edges: what mutation testing found no other quick test for (benchmarks/mutants.py)."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections import Counter
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
    Batch,
    Reading,
    Remark,
    attribute_key,
    deleted_keys,
    environment_named,
    is_unknown_reserved,
    over_limit,
    read_batch,
)
from profilectl.codes import ChangeRefused
from profilectl.consent import replaces, state_of, stated_ms, statements_of
from profilectl.feed import Feed, completed_in, computed, meaning_of, source_named_by, workspaces_of
from profilectl.fields import Unusable
from profilectl.identity import (
    BY_NAME,
    NO_JUDGING,
    Change,
    Claim,
    Decision,
    Judging,
    Records,
    Rules,
    Step,
    Usable,
    decide,
    flags_of,
    identity_counts,
    judging_of,
    look_up,
    looks_like_nothing,
    modify,
    mpid_for,
    no_type,
    reached,
    star_of,
    type_named,
    usable,
)
from profilectl.interpreter import Interpreter
from profilectl.retention import Clocks
from profilectl.values import Number, hold

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


# identity (domain.md 3 and 4)


def one(kind: str, value: str) -> Usable:
    return Usable(kind, value, value)


def records_of(*people: dict[str, str], rules: Rules) -> Records:
    """Return the records of some people, each founded by a row of its own."""
    records = Records()
    for arrival, identities in enumerate(people):
        decide(
            Claim(arrival, tuple(one(kind, value) for kind, value in identities.items())),
            records,
            rules,
            create=True,
        )
    return records


def test_an_unknown_type_is_named_with_what_there_is() -> None:
    assert "the types are customer_id, email, " in no_type("zzzzzzzz").hint
    assert "--by" in no_type("zzzzzzzz", "--by").message


@pytest.mark.parametrize(
    "name", ["Customer ID", "customer-id", "customerid", " CUSTOMER_ID ", "controller_customer_id"]
)
def test_a_type_is_known_by_any_spelling(name: str) -> None:
    kind = type_named(name)
    assert kind is not None
    assert kind.name == "customer_id"


def test_a_device_alone_does_not_reach_whoever_is_known() -> None:
    assert [
        reached(device=device, known=known) for device in (False, True) for known in (False, True)
    ] == [True, True, True, False]


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ("a*", "end"),
        ("*a", "beginning"),
        ("a*b", "middle"),
        ("*a*", "middle"),
        ("***", None),
        ("a", None),
        ("", None),
        ("**a", "middle"),
    ],
)
def test_where_the_star_of_a_placeholder_stands(entry: str, place: str | None) -> None:
    assert star_of(entry) == place


def test_a_placeholder_is_whole_or_a_beginning_or_an_ending() -> None:
    judging = judging_of(["none", "no@*", "*@test.com"])
    assert judging == Judging(frozenset(["none"]), ("no@",), ("@test.com",))
    assert judging.listed == ["*@test.com", "no@*", "none"]
    assert [
        judging.is_placeholder(value)
        for value in ("NONE", "none1", "no@x", "xno@", "a@TEST.com", "@test.com.au")
    ] == [True, False, True, False, True, False]


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("customer_id", "null", "IDENTITY_PLACEHOLDER"),
        ("customer_id", "4.47E+11", "IDENTITY_SPOILED"),
        ("email", "4.47E+11", None),
        ("ios_idfv", "x", "DEVICE_ID_INVALID"),
        ("ios_idfv", "12345678-1234-1234-1234-12345678ABCD", None),
        ("amp_id", "x", None),
    ],
)
def test_what_is_nobodys_identity(kind: str, value: str, code: str | None) -> None:
    rules = Rules()
    assert rules.judging.code(BY_NAME[kind], value) == code


def test_numbers_may_look_spoiled_where_that_is_allowed() -> None:
    assert Judging(allow_spoiled=True).code(BY_NAME["customer_id"], "4.47E+11") is None


def test_what_became_of_identities_is_counted_between_two_states() -> None:
    before = {
        (1, "production", "email", "a"),
        (1, "production", "email", "b"),
        (2, "production", "email", "c"),
    }
    after = {
        (2, "production", "email", "a"),
        (2, "production", "email", "c"),
        (3, "production", "email", "d"),
        (3, "development", "email", "b"),
    }
    assert identity_counts(before, after) == {"added": 2, "moved": 1, "removed": 1}
    assert identity_counts(before, before) == {"added": 0, "moved": 0, "removed": 0}


def test_an_mpid_follows_from_the_secret_the_arrival_and_the_attempt() -> None:
    # Once made, an MPID is in files and other systems: these two never change.
    assert (mpid_for("secret", 0), mpid_for("secret", 7, 1)) == (
        -4375327914203481036,
        -6154063895821009954,
    )
    made = {
        mpid_for(secret, arrival, attempt)
        for secret in ("a", "b")
        for arrival in range(5)
        for attempt in range(3)
    }
    assert len(made) == 30
    assert 0 not in made
    assert all(-(2**63) <= mpid < 2**63 for mpid in made)
    assert any(mpid < 0 for mpid in made)
    assert any(mpid > 0 for mpid in made)


def test_flags_are_those_of_the_strategy_unless_they_are_stated() -> None:
    assert flags_of("default", {}) == {
        "login": {"customer_id"},
        "unique": {"customer_id"},
        "immutable": {"customer_id"},
    }
    assert flags_of("link", {"immutable": ["email"]})["immutable"] == {"email"}
    assert flags_of("best-match", {}) == {
        "login": frozenset(),
        "unique": frozenset(),
        "immutable": frozenset(),
    }


CONVERSION = Rules(
    strategy="conversion",
    login=frozenset(["customer_id"]),
    unique=frozenset(["email", "customer_id"]),
    immutable=frozenset(["customer_id"]),
)


def test_a_unique_identity_that_is_given_by_hand_goes_over() -> None:
    records = records_of(
        {"customer_id": "1", "email": "a"}, {"customer_id": "2", "email": "b"}, rules=CONVERSION
    )
    (decision,) = modify(0, [Change("email", new=one("email", "b"))], records, CONVERSION)
    assert sorted(decision.removed) == [(0, "email", "a"), (1, "email", "b")]
    assert (decision.moved, decision.replaced, [added.key for added in decision.added]) == (
        1,
        1,
        ["b"],
    )
    assert records.holders["email", "b"] == {0}
    assert not records.holders.get(("email", "a"))


def test_a_value_that_is_not_there_cannot_be_changed_by_hand_and_then_nothing_is() -> None:
    records = records_of({"customer_id": "1", "email": "a"}, rules=CONVERSION)
    with pytest.raises(ChangeRefused, match="does not have the email x"):
        modify(
            0,
            [Change("other", new=one("other", "o")), Change("email", old=one("email", "x"))],
            records,
            CONVERSION,
        )
    assert not records.holders.get(("other", "o"))


def test_an_immutable_identity_cannot_be_taken_nor_replaced_nor_given_twice() -> None:
    records = records_of(
        {"customer_id": "1"}, {"customer_id": "2"}, {"email": "c"}, rules=CONVERSION
    )
    for change, code in [
        (Change("customer_id", old=one("customer_id", "1")), "IMMUTABLE"),
        (
            Change("customer_id", old=one("customer_id", "1"), new=one("customer_id", "3")),
            "IMMUTABLE",
        ),
        (Change("customer_id", new=one("customer_id", "3")), "IMMUTABLE"),
    ]:
        with pytest.raises(ChangeRefused) as refusal:
            modify(0, [change], records, CONVERSION)
        assert refusal.value.code == code
    with pytest.raises(ChangeRefused) as refusal:
        modify(2, [Change("customer_id", new=one("customer_id", "2"))], records, CONVERSION)
    assert refusal.value.code == "IMMUTABLE_CONFLICT"
    (decision,) = modify(
        0, [Change("customer_id", new=one("customer_id", "1"))], records, CONVERSION
    )
    assert (decision.added, decision.removed) == ([], [])
    (decision,) = modify(
        2, [Change("customer_id", new=one("customer_id", "9"))], records, CONVERSION
    )
    assert [added.key for added in decision.added] == ["9"]


def test_what_is_removed_by_hand_is_gone_and_what_is_given_back_stays() -> None:
    records = records_of({"customer_id": "1", "other": "o"}, rules=CONVERSION)
    gone, back = modify(
        0,
        [Change("other", old=one("other", "o")), Change("other", new=one("other", "o"))],
        records,
        CONVERSION,
    )
    assert (gone.removed, gone.replaced, gone.added) == ([(0, "other", "o")], 1, [])
    assert ([added.key for added in back.added], back.removed) == (["o"], [])
    assert records.holders["other", "o"] == {0}


RULES_TRIED = {
    **{
        strategy: flags_of(strategy, {})
        for strategy in ("default", "conversion", "link", "isolation", "best-match")
    },
    "conversion, other flags": {
        "login": frozenset(["email"]),
        "unique": frozenset(["other"]),
        "immutable": frozenset(["customer_id", "mp_deviceid"]),
    },
}


@pytest.mark.parametrize("tried", RULES_TRIED)
def test_holders_asked_one_by_one_and_by_an_index_are_the_same(
    tried: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value with many holders has an index of those whom nothing protects: it must say what asking each of them says."""
    rules = Rules(strategy=tried.partition(",")[0], **RULES_TRIED[tried])
    for seed in range(8):
        told = []
        for few in (0, 10_000):
            monkeypatch.setattr("profilectl.identity.FEW_HOLDERS", few)
            told.append(life(random.Random(seed), rules))
        assert told[0] == told[1], f"seed {seed}"


def life(chance: random.Random, rules: Rules) -> list[object]:
    """Return what became of random rows, corrections and erasures, one after another."""
    records, outcomes = Records(), []
    for arrival in range(60):
        kinds = chance.sample(
            ["customer_id", "email", "other", "mp_deviceid", "push_token"], chance.randrange(1, 4)
        )
        identities = tuple(
            one(kind, chance.choice("ab" if kind == "other" else "abcdef")) for kind in kinds
        )
        act = chance.random()
        if act < 0.85:
            decision = decide(
                Claim(arrival, identities),
                records,
                rules,
                create=chance.random() < 0.9,
                call=chance.choice(["identify"] * 4 + ["login", "logout"]),
            )
            outcomes.append(
                (
                    decision.profile,
                    decision.created,
                    decision.added,
                    decision.removed,
                    decision.moved,
                    decision.replaced,
                    decision.codes,
                )
            )
        elif records.record and act < 0.93:
            profile = chance.choice(sorted(records.record))
            with contextlib.suppress(ChangeRefused):
                outcomes.append(
                    [
                        done.removed
                        for done in modify(
                            profile, [Change(kinds[0], new=identities[0])], records, rules
                        )
                    ]
                )
            held = [(kind, key) for kind, keys in records.record[profile].items() for key in keys]
            with contextlib.suppress(ChangeRefused):
                kind, key = chance.choice(held or [("email", "none")])
                outcomes.append(
                    [
                        done.removed
                        for done in modify(
                            profile, [Change(kind, old=one(kind, key))], records, rules
                        )
                    ]
                )
        elif records.record:
            gone = {chance.choice(sorted(records.record))}
            records.drop(gone)
            outcomes.append(gone)
        for (kind, key), holders in records.holders.items():
            assert holders == {
                profile for profile, held in records.record.items() if key in held.get(kind, {})
            }
    return outcomes


@pytest.mark.parametrize(
    ("kind", "value", "nothing"),
    [
        ("customer_id", "0000", True),
        ("customer_id", "000", False),
        ("customer_id", "1212", True),
        ("customer_id", "1213", False),
        ("customer_id", "---", True),
        ("customer_id", "Guest", True),
        ("customer_id", "guest-17", True),
        ("customer_id", "guestbook", False),
        ("customer_id", "no reply", True),
        ("email", "noreply@shop.example", True),
        ("email", "jane@test.com", False),
        ("email", "test@test.com", True),
        ("email", "xxx@y.io", True),
        ("other", "null@b", True),
        ("mobile_number", "+44 7700 900123", False),
        ("customer_id", "#N/A", True),
    ],
)
def test_what_looks_like_nothing(kind: str, value: str, nothing: bool) -> None:
    assert looks_like_nothing(kind, value) is nothing


def test_one_type_alone_names_whoever_is_known_where_it_is_all_three_flags_and_first() -> None:
    assert Rules().sole_key == "customer_id"
    assert Rules(hierarchy=()).sole_key is None
    assert Rules(hierarchy=("email", "customer_id")).sole_key is None
    assert Rules(unique=frozenset(["customer_id", "email"])).sole_key is None
    assert Rules(immutable=frozenset()).sole_key is None
    assert Rules(strategy="link", **flags_of("link", {})).sole_key is None


def test_an_identity_is_kept_as_it_is_written_and_found_by_its_key() -> None:
    judging = judging_of([])
    assert usable(BY_NAME["email"], "  Jane@Example.com\t", judging) == Usable(
        "email", "Jane@Example.com", "jane@example.com"
    )
    assert usable(BY_NAME["customer_id"], " Ab ", judging) == Usable("customer_id", "Ab", "Ab")
    assert usable(BY_NAME["customer_id"], " \t\n", judging) is None
    assert usable(BY_NAME["customer_id"], "none", judging_of(["None"])) == "IDENTITY_PLACEHOLDER"


def test_a_step_says_who_holds_who_may_be_found_and_who_is_left() -> None:
    rules = Rules()
    records = Records()
    for profile, kind, key in [
        (0, "customer_id", "1"),
        (0, "email", "a"),
        (1, "email", "a"),
        (1, "other", "o"),
        (2, "other", "o"),
    ]:
        records.add(profile, kind, key)
    steps: list[Step] = []
    assert look_up({"other": "o", "email": "a"}, records, rules, steps) == (1, False)
    assert steps == [Step("email", "a", frozenset([0, 1]), frozenset([1]), frozenset([1]))]
    steps.clear()
    assert look_up({"email": "z", "other": "o"}, records, rules, steps) == (2, False)
    assert steps == [Step("other", "o", frozenset([1, 2]), frozenset([1, 2]), frozenset([1, 2]))]
    records.last[1] = 9
    assert look_up({"other": "o"}, records, rules) == (1, False)
    assert look_up({"email": "z"}, records, rules) == (None, False)
    records.drop({1})
    assert look_up({"email": "a"}, records, rules) == (None, True)


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


USER_IDENTITIES = (
    "customer_id",
    "email",
    "mobile_number",
    "phone_number_2",
    "phone_number_3",
    "other",
    *(f"other_id_{number}" for number in range(2, 11)),
    "facebook",
    "facebook_custom_audience_id",
    "google",
    "twitter",
    "microsoft",
    "yahoo",
    "alias",
)
DEVICE_TEXTS = ("android_uuid", "amp_id", "push_token")
DEVICE_GUIDS = (
    "ios_advertising_id",
    "ios_idfv",
    "android_advertising_id",
    "fire_advertising_id",
    "roku_advertising_id",
    "roku_publisher_id",
    "microsoft_publisher_id",
    "microsoft_advertising_id",
    "mp_deviceid",
)


def test_the_types_are_those_of_the_platform_each_in_its_place() -> None:
    assert set(BY_NAME) == {*USER_IDENTITIES, *DEVICE_TEXTS, *DEVICE_GUIDS}
    for name in USER_IDENTITIES:
        assert (BY_NAME[name].device, BY_NAME[name].field, BY_NAME[name].shape) == (
            False,
            f"user_identities.{name}",
            "email" if name == "email" else "text",
        )
    for name in DEVICE_TEXTS:
        assert (BY_NAME[name].device, BY_NAME[name].field, BY_NAME[name].shape) == (
            True,
            f"device_info.{name}",
            "text",
        )
    for name in DEVICE_GUIDS:
        assert (BY_NAME[name].device, BY_NAME[name].field, BY_NAME[name].shape) == (
            True,
            name if name == "mp_deviceid" else f"device_info.{name}",
            "guid",
        )
    assert [name for name in BY_NAME if not BY_NAME[name].may_be_spoiled] == [
        name for name in BY_NAME if name == "email" or name in DEVICE_GUIDS
    ]


def test_without_judging_any_value_may_be_somebodys_but_a_device_has_a_guid() -> None:
    assert NO_JUDGING.code(BY_NAME["customer_id"], "4.47E+11") is None
    assert NO_JUDGING.code(BY_NAME["customer_id"], "null") is None
    assert NO_JUDGING.code(BY_NAME["ios_idfv"], "null") == "DEVICE_ID_INVALID"


def test_a_lower_type_that_names_others_altogether_changes_nothing() -> None:
    rules, records = Rules(), Records()
    for profile, kind, key in [
        (1, "email", "a"),
        (2, "email", "a"),
        (3, "other", "o"),
        (2, "alias", "n"),
        (3, "alias", "n"),
    ]:
        records.add(profile, kind, key)
    assert look_up({"email": "a", "other": "o"}, records, rules) == (2, False), (
        "of the two with the e-mail the one touched last"
    )
    records.last[1] = 9
    assert look_up({"email": "a", "other": "o"}, records, rules) == (1, False)
    assert look_up({"email": "a", "other": "o", "alias": "n"}, records, rules) == (2, False), (
        "the alias tells the two apart"
    )


ISOLATION = Rules(strategy="isolation", **flags_of("isolation", {}))


def test_a_logout_leads_back_to_the_anonymous_profile_of_the_device_or_to_a_new_one() -> None:
    records = Records()
    device, email = one("mp_deviceid", "d"), one("email", "a")
    assert decide(Claim(0, (device,)), records, ISOLATION, create=True).profile == 0
    assert decide(Claim(1, (device, email)), records, ISOLATION, create=True).profile == 1
    back = decide(Claim(2, (device, email)), records, ISOLATION, create=True, call="logout")
    assert (back.profile, back.created, back.added, back.removed) == (0, False, [], [])
    other = decide(
        Claim(3, (one("mp_deviceid", "x"), email)), records, ISOLATION, create=True, call="logout"
    )
    assert (other.profile, other.created, [added.type for added in other.added]) == (
        3,
        True,
        ["mp_deviceid"],
    )
    nobody = decide(
        Claim(4, (one("mp_deviceid", "y"),)), records, ISOLATION, create=False, call="logout"
    )
    assert (nobody.profile, nobody.created) == (None, False)
    new = decide(Claim(5, (device,)), records, Rules(), create=True, call="logout")
    assert (new.profile, new.created) == (5, True)
    assert records.holders["email", "a"] == {1}


def test_a_logout_takes_nothing_from_anybody() -> None:
    rules = Rules(
        strategy="conversion",
        login=frozenset(["customer_id"]),
        unique=frozenset(["other"]),
        immutable=frozenset(),
    )
    records = Records()
    decide(Claim(0, (one("customer_id", "1"), one("other", "o"))), records, rules, create=True)
    out = decide(
        Claim(1, (one("customer_id", "1"), one("other", "o"), one("email", "e"))),
        records,
        rules,
        create=True,
        call="logout",
    )
    assert (out.profile, [added.type for added in out.added], out.codes) == (
        1,
        ["email"],
        ["UNIQUE_CONFLICT"],
    )
    assert records.holders["other", "o"] == {0}


def test_what_is_said_of_a_row_that_names_an_mpid() -> None:
    rules, records = Rules(), Records()
    made = decide(Claim(0, (one("email", "a"),), 77), records, rules, create=True)
    assert (made.profile, made.created, made.codes) == (0, True, [])
    again = decide(Claim(1, (), 77), records, rules, create=True)
    assert (again.profile, again.created, again.codes) == (0, False, [])
    unknown = decide(Claim(2, (one("email", "a"),), 78), records, rules, create=True)
    assert (unknown.profile, unknown.created, unknown.codes) == (0, False, ["MPID_UNKNOWN"])
    plain = decide(Claim(3, (one("email", "a"),)), records, rules, create=True)
    assert (plain.profile, plain.codes) == (0, [])
    new = decide(Claim(4, (one("push_token", "p"),), 79), records, rules, create=True)
    assert (new.profile, new.codes) == (4, [])
    assert decide(Claim(5, (one("push_token", "p"),)), records, rules, create=True).codes == [
        "IDENTITY_NOT_IN_HIERARCHY"
    ]
    assert decide(Claim(6, (one("push_token", "p"),)), records, rules, create=False) == Decision(
        None
    )
    assert decide(Claim(7, (one("email", "z"),), 80), records, rules, create=False) == Decision(
        None
    )


def test_a_profile_that_is_protected_is_passed_over_and_that_is_said() -> None:
    rules, records = Rules(), Records()
    decide(Claim(0, (one("customer_id", "1"), one("email", "a"))), records, rules, create=True)
    assert decide(Claim(1, (one("email", "a"),)), records, rules, create=False).codes == [
        "PROTECTED_MATCH"
    ]
    passed = decide(Claim(2, (one("email", "a"),)), records, rules, create=True)
    assert (passed.profile, passed.created, passed.codes) == (2, True, ["PROTECTED_MATCH"])
    known = decide(
        Claim(3, (one("email", "a"), one("customer_id", "3"))), records, rules, create=True
    )
    assert (known.profile, known.created, known.codes) == (2, False, ["ANONYMOUS_MADE_KNOWN"])
    assert (
        decide(
            Claim(4, (one("email", "a"), one("customer_id", "3"))), records, rules, create=True
        ).codes
        == []
    )


def test_corrections_by_hand_are_checked_one_after_another() -> None:
    records = records_of({"customer_id": "1", "email": "a", "other": "o"}, rules=CONVERSION)
    with pytest.raises(ChangeRefused, match="does not have the email a"):
        modify(
            0,
            [Change("email", new=one("email", "b")), Change("email", old=one("email", "a"))],
            records,
            CONVERSION,
        )
    modify(
        0,
        [
            Change("other", new=one("other", "p")),
            Change("other", old=one("other", "o")),
            Change("other", old=one("other", "p")),
        ],
        records,
        CONVERSION,
    )
    assert not records.values(0, "other")
    with pytest.raises(ChangeRefused, match="does not have the other o"):
        modify(
            0,
            [
                Change("other", new=one("other", "o")),
                Change("other", old=one("other", "o")),
                Change("other", old=one("other", "o")),
            ],
            records,
            CONVERSION,
        )


# the interpreter (domain.md 2, 5 to 7, 13, 14)

NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000


def row(customer: str | None = None, **more: Any) -> Batch:
    """Return a row of a customer. more: fields of a Batch; email and other are identities, set its attributes."""
    identities = {
        name: value
        for name, value in {
            "customer_id": customer,
            "email": more.pop("email", None),
            "other": more.pop("other", None),
        }.items()
        if value
    }
    return read_batch(
        {"user_identities": identities, "user_attributes": more.pop("set", {}), **more}, Reading()
    )  # type: ignore[arg-type]


def rules_in_memory(**more: Any) -> Interpreter:
    return Interpreter(Rules(), secret="secret", **more)


CRM, SHOP = Feed("crm", number=1), Feed("shop", number=2)


def some(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def test_each_row_is_counted_once_and_each_profile_by_what_became_of_it() -> None:
    store = rules_in_memory()
    first = store.run(
        CRM,
        "create-and-update",
        [row("1", set={"a": "x", "b": "y"}), row("2"), Unusable("BATCH_INVALID", "")],
        NOW_MS,
    )
    assert some(first.rows) == {"read": 3, "applied": 2, "rejected": 1}
    assert (some(first.profiles), some(first.attributes), some(first.codes)) == (
        {"created": 2},
        {"set": 2},
        {"BATCH_INVALID": 1},
    )
    assert some(first.identities) == {"added": 2}
    second = store.run(
        CRM,
        "create-and-update",
        [
            row("1", set={"a": "x", "b": "z"}, deleted_user_attributes=["c"]),
            row("2"),
            row("3", email="e"),
        ],
        NOW_MS,
    )
    assert (some(second.rows), some(second.profiles)) == (
        {"read": 3, "applied": 3},
        {"created": 1, "updated": 1, "unchanged": 1},
    )
    assert (some(second.attributes), some(second.identities)) == (
        {"changed": 1, "unchanged": 1},
        {"added": 2},
    )
    third = store.run(CRM, "create-and-update", [row("1", deleted_user_attributes=["a"])], NOW_MS)
    assert (some(third.attributes), some(third.profiles)) == ({"deleted": 1}, {"updated": 1})
    assert {key: cell.held for key, cell in store.people[0].cells.items()} == {"b": hold("z")}
    assert store.arrivals == 7


def test_protection_says_what_becomes_of_whom() -> None:
    store = rules_in_memory()
    store.run(CRM, "create-and-update", [row("1", set={"a": "x"})], NOW_MS)
    only = store.run(
        CRM, "update-only", [row("1", set={"a": "y"}), row("2"), row(None, email="e")], NOW_MS
    )
    assert (some(only.rows), some(only.codes)) == (
        {"read": 3, "applied": 1, "dropped": 2},
        {"UPDATE_ONLY_NO_MATCH": 2},
    )
    reads = store.run(CRM, "read-only", [row("1", set={"a": "z"}), row("2")], NOW_MS)
    assert (some(reads.rows), some(reads.codes), some(reads.profiles)) == (
        {"read": 2, "dropped": 2},
        {"READ_ONLY": 2},
        {},
    )
    assert list(store.people) == [0]
    assert store.people[0].cells["a"].held == hold("y")


def test_a_request_is_remembered_for_thirty_days_by_feed() -> None:
    store = rules_in_memory()

    def again(feed: Feed, now_ms: int) -> dict[str, int]:
        return some(
            store.run(feed, "create-and-update", [row("1", source_request_id="r")], now_ms).codes
        )

    assert again(CRM, NOW_MS) == {}
    assert again(CRM, NOW_MS + 30 * DAY_MS) == {"DUPLICATE_REQUEST": 1}
    assert again(SHOP, NOW_MS + 30 * DAY_MS) == {}
    assert again(CRM, NOW_MS + 30 * DAY_MS + 1) == {}
    assert again(CRM, NOW_MS + 60 * DAY_MS) == {"DUPLICATE_REQUEST": 1}
    store.age(Clocks(), NOW_MS + 60 * DAY_MS + 1)
    assert set(store.requests) == {("crm", "r")}, "of the shop's the thirty days are over"
    assert again(CRM, NOW_MS + 60 * DAY_MS + 1) == {"DUPLICATE_REQUEST": 1}
    twice = rules_in_memory().run(
        CRM,
        "create-and-update",
        [row("1", source_request_id="r"), row("1", source_request_id="r")],
        NOW_MS,
    )
    assert some(twice.rows) == {"read": 2, "applied": 1, "dropped": 1}


def test_a_row_is_of_the_environment_that_it_states_or_that_is_given() -> None:
    store = rules_in_memory()
    counts = store.run(
        CRM,
        "create-and-update",
        [row("1"), row("1", environment="production"), row("1", environment="development")],
        NOW_MS,
        "development",
    )
    assert (some(counts.rows), some(counts.codes)) == (
        {"read": 3, "applied": 2, "rejected": 1},
        {"ENVIRONMENT_MISMATCH": 1},
    )
    store.run(CRM, "create-and-update", [row("1")], NOW_MS)
    assert [person.environment for person in store.people.values()] == ["development", "production"]


def test_a_profile_was_seen_from_its_earliest_to_its_latest_row() -> None:
    store = rules_in_memory()
    rows = [row("1", timestamp_unixtime_ms=Number(str(at))) for at in (2000, 1000, 3000, 2500)]
    store.run(CRM, "create-and-update", rows, NOW_MS)
    assert (store.people[0].first_seen_ms, store.people[0].last_seen_ms) == (1000, 3000)
    store.run(CRM, "create-and-update", [row("1"), row("2")], NOW_MS)
    assert (store.people[0].first_seen_ms, store.people[0].last_seen_ms) == (1000, NOW_MS)
    assert (store.people[5].first_seen_ms, store.people[5].last_seen_ms) == (NOW_MS, NOW_MS)


def test_mpids_are_made_and_none_is_made_twice() -> None:
    store = rules_in_memory()
    store.run(
        CRM,
        "create-and-update",
        [row(None, mpid=Number(str(mpid_for("secret", 2)))), row("b"), row("c")],
        NOW_MS,
    )
    assert [person.mpid for person in store.people.values()] == [
        mpid_for("secret", 2),
        mpid_for("secret", 1),
        mpid_for("secret", 2, 1),
    ]
    again = store.run(
        CRM, "create-and-update", [row(None, mpid=Number(str(mpid_for("secret", 1))))], NOW_MS
    )
    assert some(again.profiles) == {"unchanged": 1}


def test_who_may_not_set_an_attribute_is_counted_once_for_a_profile() -> None:
    store = rules_in_memory(calculated=frozenset(["score"]))
    partner = Feed("p", source="partner", number=3)
    store.run(CRM, "create-and-update", [row("1", set={"a": "x"})], NOW_MS)
    counts = store.run(
        partner,
        "create-and-update",
        [row("1", set={"a": "y", "b": "v"}), row("1", set={"a": "z", "score": "1"})],
        NOW_MS,
    )
    assert (some(counts.attributes), some(counts.codes)) == (
        {"blocked": 2, "set": 1},
        {"UA_LOWER_PRIORITY": 1, "UA_CALCULATED_READ_ONLY": 1},
    )
    assert {key: cell.held for key, cell in store.people[0].cells.items()} == {
        "a": hold("x"),
        "b": hold("v"),
    }
    first_writer = Interpreter(Rules(), "first-writer", "secret")
    first_writer.run(partner, "create-and-update", [row("1", set={"a": "x"})], NOW_MS)
    assert some(
        first_writer.run(CRM, "create-and-update", [row("1", set={"a": "y"})], NOW_MS).codes
    ) == {"UA_FIRST_WRITER": 1}


def test_a_value_that_becomes_a_list_or_was_one_is_told() -> None:
    store = rules_in_memory()
    store.run(CRM, "create-and-update", [row("1", set={"a": "x", "b": ["x"], "c": "x"})], NOW_MS)
    counts = store.run(
        CRM,
        "create-and-update",
        [row("1", set={"a": ["x"], "b": "x", "c": "y", "d": ["x"]}, deleted_user_attributes=["e"])],
        NOW_MS,
    )
    assert dict(counts.left_out) == {("UA_KIND_CHANGED", "a"): 1, ("UA_KIND_CHANGED", "b"): 1}


def test_who_is_erased_stays_out_but_for_what_others_have_too() -> None:
    store = rules_in_memory()
    store.run(
        CRM, "create-and-update", [row("1", email="e", other="o"), row("2", email="e")], NOW_MS
    )
    mpid = store.people[0].mpid
    store.forget([0])
    assert list(store.people) == [1]
    counts = store.run(
        CRM,
        "create-and-update",
        [
            row("1"),
            row(None, other="o"),
            row(None, mpid=Number(str(mpid))),
            row(None, email="e"),
            row("1", environment="development"),
        ],
        NOW_MS,
    )
    assert (some(counts.rows), some(counts.codes)) == (
        {"read": 5, "applied": 2, "dropped": 3},
        {"SUPPRESSED": 3, "PROTECTED_MATCH": 1},
    )
    store.lift("other", "o")
    back = store.run(
        CRM, "create-and-update", [row("1"), row(None, mpid=Number(str(mpid)))], NOW_MS
    )
    assert (some(back.rows), some(back.codes)) == (
        {"read": 2, "applied": 1, "dropped": 1},
        {"SUPPRESSED": 1},
    )


def test_who_was_erased_and_may_return_does_with_what_arrives_from_then_on() -> None:
    store = rules_in_memory()
    store.run(CRM, "create-and-update", [row("1", source_request_id="r")], NOW_MS)
    store.forget([0], allow_return=True)
    assert [erased.until for erased in store.suppressed.values()] == [1]
    assert not store.requests
    counts = store.run(CRM, "create-and-update", [row("1", source_request_id="r")], NOW_MS)
    assert some(counts.profiles) == {"created": 1}
    store.arrivals = 0
    assert some(store.run(CRM, "create-and-update", [row("1")], NOW_MS).codes) == {
        "SUPPRESSED": 1
    }, "made again, it has its arrival of before"
    store.lift("other", "o")
    assert [erased.until for erased in store.suppressed.values()] == [1]


def test_lifting_one_does_not_lift_another() -> None:
    store = rules_in_memory()
    store.run(CRM, "create-and-update", [row("1", email="e"), row("2", email="f")], NOW_MS)
    store.forget([0, 1])
    store.lift("email", "f")
    assert [erased.until for erased in store.suppressed.values()] == [None, 2]
    store.arrivals = 9
    store.lift("email", "f")
    assert [erased.until for erased in store.suppressed.values()] == [None, 2], "once is enough"
    store.lift("customer_id", "e")
    assert [erased.until for erased in store.suppressed.values()] == [None, 2], (
        "an e-mail is no customer number"
    )


def test_what_is_beyond_its_clock_goes() -> None:
    for lifetime_profiles in (False, True):
        store = rules_in_memory()
        store.run(
            CRM,
            "create-and-update",
            [
                row(name, set={"a": name}, timestamp_unixtime_ms=Number(str(at)))
                for name, at in (("1", 1000), ("2", 2000), ("3", 3000))
            ],
            NOW_MS,
        )
        store.age(
            Clocks(lifetime_ms=1000, retention_ms=2000, lifetime_profiles=lifetime_profiles), 4000
        )
        assert sorted(store.people) == [1, 2]
        assert bool(store.people[1].cells) is lifetime_profiles
        assert store.people[1].forgotten == (0 if lifetime_profiles else 3)
        assert store.people[2].cells
        assert store.people[2].forgotten == 0
        assert some(store.run(CRM, "create-and-update", [row("1")], NOW_MS).profiles) == {
            "created": 1
        }


def test_consent_is_for_some_sources_only_and_of_a_later_time_is_told() -> None:
    said = {
        "gdpr": {
            "news": {"consented": True, "timestamp_unixtime_ms": Number(str(NOW_MS + 1))},
            "ads": {"consented": True, "timestamp_unixtime_ms": Number(str(NOW_MS))},
        }
    }
    store = rules_in_memory()
    counts = store.run(CRM, "create-and-update", [row("1", consent_state=said)], NOW_MS)
    assert dict(counts.left_out) == {("CONSENT_FUTURE", "gdpr.news"): 1}
    refused = store.run(
        Feed("w", source="warehouse"),
        "create-and-update",
        [row("1", consent_state=said), row("1")],
        NOW_MS,
    )
    assert some(refused.codes) == {"CONSENT_SOURCE_NOT_ALLOWED": 1}


def test_events_stay_with_their_profile_in_order_and_have_their_batchs_time() -> None:
    events = [
        {
            "event_type": "custom_event",
            "data": {"event_name": name, "custom_event_type": "other", **when},
        }
        for name, when in (("a", {}), ("b", {"timestamp_unixtime_ms": Number("1500")}))
    ]
    store = rules_in_memory()
    counts = store.run(
        CRM,
        "create-and-update",
        [
            row("1", events=events, timestamp_unixtime_ms=Number("1000")),
            row("1", events=events[:1]),
        ],
        NOW_MS,
    )
    assert counts.events["added"] == 3
    assert [(event.arrival, event.place, event.at_ms) for event in store.people[0].events] == [
        (0, 0, 1000),
        (0, 1, 1500),
        (1, 0, NOW_MS),
    ]


def test_a_correction_by_hand_is_an_import_of_its_own() -> None:
    store = Interpreter(CONVERSION, secret="secret")
    store.run(CRM, "create-and-update", [row("1", email="a"), row("2", email="b")], NOW_MS)
    counts = store.modify(
        0,
        [Change("email", new=one("email", "b")), Change("other", new=one("other", "o"))],
        NOW_MS + 5,
    )
    assert (some(counts.rows), some(counts.profiles), some(counts.identities)) == (
        {"read": 2, "applied": 2},
        {"updated": 2},
        {"added": 1, "moved": 1, "removed": 1},
    )
    assert (store.people[0].first_seen_ms, store.people[0].last_seen_ms, store.arrivals) == (
        NOW_MS,
        NOW_MS + 5,
        4,
    )
    assert store.records["production"].last[0] == 3
    assert [(held.key, arrival) for held, arrival in store.people[0].identities] == [
        ("1", 0),
        ("b", 2),
        ("o", 3),
    ]
    store.forget([0])
    assert some(store.run(CRM, "create-and-update", [row(None, email="a")], NOW_MS).codes) == {
        "SUPPRESSED": 1
    }, "an e-mail that was once theirs"


def test_attributes_of_the_account_are_everybodys_and_of_a_workspace_its_own() -> None:
    account, web, app = (
        Feed("acc", source="account"),
        Feed("w", workspace="web"),
        Feed("a", workspace="app"),
    )
    assert [feed.seen_in("web") for feed in (account, web, app)] == [True, True, False]
    assert [
        [feed.shares_attributes(other) for other in (account, web, app)]
        for feed in (account, web, app)
    ] == [[True, True, True], [True, True, False], [True, False, True]]
    store = rules_in_memory()
    store.run(web, "create-and-update", [row("1", set={"t": "web", "u": "web"})], NOW_MS)
    store.run(account, "create-and-update", [row("1", set={"t": "all"})], NOW_MS)
    store.run(app, "create-and-update", [row("1", set={"u": "app"})], NOW_MS)
    person = store.people[0]
    assert {key: cell.held for key, cell in person.attributes(web).items()} == {
        "t": hold("all"),
        "u": hold("web"),
    }
    assert {key: cell.held for key, cell in person.attributes(app).items()} == {
        "t": hold("all"),
        "u": hold("app"),
    }
    assert {key: cell.held for key, cell in person.attributes(account).items()} == {
        "t": hold("all"),
        "u": hold("app"),
    }
    assert [person.seen_in(name) for name in ("web", "app", "x")] == [True, True, True]
    store.run(web, "create-and-update", [row("2")], NOW_MS)
    assert [store.people[3].seen_in(name) for name in ("web", "app")] == [True, False]


def test_who_completes_a_batch_that_leaves_and_who_may_set_what_is_calculated() -> None:
    account, web = Feed("acc", source="account"), Feed("w", workspace="web")
    assert [
        completed_in(web, []),
        completed_in(account, ["web"]),
        completed_in(account, ["app", "web"]),
        completed_in(account, []),
    ] == ["web", "web", "", ""]
    assert workspaces_of(
        [account, web, Feed("a", workspace="app"), Feed("b", workspace="web")]
    ) == ["app", "web"]
    calculated = {"web": ["a", "b"], "app": ["b"]}
    assert computed(web, calculated, ["web", "app"]) == {"a", "b"}
    assert computed(account, calculated, ["web", "app"]) == {"b"}
    assert computed(account, calculated, ["web", "app", "x"]) == frozenset()
    assert computed(account, {}, []) == frozenset()
    assert computed(Feed("x", workspace="x"), calculated, ["web"]) == frozenset()
    assert [source_named_by(name) for name in ("warehouse", "crm", "calculated")] == [
        "warehouse",
        "custom-feed",
        "custom-feed",
    ]
    assert Feed("f", source="partner", partner="Punchh").owner == Owner("partner", "Punchh")
    assert Feed("f", source="partner").owner == Owner("partner", "f")
    assert Feed("f", source="warehouse", partner="Punchh").owner == Owner("warehouse", "f")
    assert "its values beat a partner's and a warehouse's" in meaning_of("csv")
    assert "its values beat no other source's" in meaning_of("partner")
    assert meaning_of("custom-feed").endswith(
        "; a CSV upload to the platform is --source csv, rank 5"
    )
    assert meaning_of("account") == "account, rank 2: its values beat a custom feed's"
