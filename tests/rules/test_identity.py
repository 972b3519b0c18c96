"""The rules of identity, one by one and at their edges: what mutation testing found no other
quick test for (benchmarks/mutants.py)."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilectl.codes import ChangeRefused
from profilectl.rules.identity import (
    BY_NAME,
    NO_JUDGING,
    Judging,
    Rules,
    UsableIdentity,
    flags_of,
    judging_of,
    looks_like_nothing,
    no_type,
    star_of,
    type_named,
    usable,
)
from profilectl.rules.mpid import digested, mix_of, mpid_for
from profilectl.rules.resolution import (
    Claim,
    Decision,
    IdentityChange,
    Records,
    Step,
    decide,
    identity_counts,
    look_up,
    modify,
    reached,
)

# identity (domain.md 3 and 4)


def one(kind: str, value: str) -> UsableIdentity:
    return UsableIdentity(kind, value, value)


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
    # Once made, an MPID is in files and other systems: these never change.
    assert (mpid_for("secret", 0), mpid_for("secret", 7), mpid_for("secret", 7, 1)) == (
        -2362758409003493103,
        -6258873364233023498,
        -6154063895821009954,
    )
    # The number that schema 7 and before made first: an import of then that is made again keeps it.
    assert digested("secret", 0, 0) == -4375327914203481036
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


@given(st.text(max_size=5), st.integers(0, 2**48 - 1))
def test_an_mpid_leads_back_to_its_arrival(secret: str, arrival: int) -> None:
    mix = mix_of(secret)
    mpid = mix.mpid(arrival)
    assert -(2**63) <= mpid < 2**63
    assert mpid != 0
    assert mix.arrival(mpid) == arrival


@given(st.text(max_size=5), st.integers(-(2**63), 2**63 - 1))
def test_every_number_of_64_bits_is_the_mix_of_one(secret: str, mpid: int) -> None:
    arrival = mix_of(secret).arrival(mpid)
    assert 0 <= arrival < 2**64
    assert mix_of(secret).mpid(arrival) == mpid


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
    (decision,) = modify(0, [IdentityChange("email", new=one("email", "b"))], records, CONVERSION)
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
            [
                IdentityChange("other", new=one("other", "o")),
                IdentityChange("email", old=one("email", "x")),
            ],
            records,
            CONVERSION,
        )
    assert not records.holders.get(("other", "o"))


def test_an_immutable_identity_cannot_be_taken_nor_replaced_nor_given_twice() -> None:
    records = records_of(
        {"customer_id": "1"}, {"customer_id": "2"}, {"email": "c"}, rules=CONVERSION
    )
    for change, code in [
        (IdentityChange("customer_id", old=one("customer_id", "1")), "IMMUTABLE"),
        (
            IdentityChange("customer_id", old=one("customer_id", "1"), new=one("customer_id", "3")),
            "IMMUTABLE",
        ),
        (IdentityChange("customer_id", new=one("customer_id", "3")), "IMMUTABLE"),
    ]:
        with pytest.raises(ChangeRefused) as refusal:
            modify(0, [change], records, CONVERSION)
        assert refusal.value.code == code
    with pytest.raises(ChangeRefused) as refusal:
        modify(2, [IdentityChange("customer_id", new=one("customer_id", "2"))], records, CONVERSION)
    assert refusal.value.code == "IMMUTABLE_CONFLICT"
    (decision,) = modify(
        0, [IdentityChange("customer_id", new=one("customer_id", "1"))], records, CONVERSION
    )
    assert (decision.added, decision.removed) == ([], [])
    (decision,) = modify(
        2, [IdentityChange("customer_id", new=one("customer_id", "9"))], records, CONVERSION
    )
    assert [added.key for added in decision.added] == ["9"]


def test_what_is_removed_by_hand_is_gone_and_what_is_given_back_stays() -> None:
    records = records_of({"customer_id": "1", "other": "o"}, rules=CONVERSION)
    gone, back = modify(
        0,
        [
            IdentityChange("other", old=one("other", "o")),
            IdentityChange("other", new=one("other", "o")),
        ],
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
    "conversion, flags that overlap": {
        "login": frozenset(["customer_id"]),
        "unique": frozenset(["other"]),
        "immutable": frozenset(["customer_id", "email"]),
    },
}


@pytest.mark.parametrize("tried", RULES_TRIED)
def test_holders_asked_one_by_one_and_by_an_index_are_the_same(
    tried: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value with many holders has an index of those whom nothing protects: it must say what
    asking each of them says.
    """
    rules = Rules(strategy=tried.partition(",")[0], **RULES_TRIED[tried])
    for seed in range(8):
        told = []
        for few in (0, 10_000):
            monkeypatch.setattr("profilectl.rules.resolution.FEW_HOLDERS", few)
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
                            profile, [IdentityChange(kinds[0], new=identities[0])], records, rules
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
                            profile, [IdentityChange(kind, old=one(kind, key))], records, rules
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
    assert usable(BY_NAME["email"], "  Jane@Example.com\t", judging) == UsableIdentity(
        "email", "Jane@Example.com", "jane@example.com"
    )
    assert usable(BY_NAME["customer_id"], " Ab ", judging) == UsableIdentity(
        "customer_id", "Ab", "Ab"
    )
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
            [
                IdentityChange("email", new=one("email", "b")),
                IdentityChange("email", old=one("email", "a")),
            ],
            records,
            CONVERSION,
        )
    modify(
        0,
        [
            IdentityChange("other", new=one("other", "p")),
            IdentityChange("other", old=one("other", "o")),
            IdentityChange("other", old=one("other", "p")),
        ],
        records,
        CONVERSION,
    )
    assert not records.values(0, "other")
    with pytest.raises(ChangeRefused, match="does not have the other o"):
        modify(
            0,
            [
                IdentityChange("other", new=one("other", "o")),
                IdentityChange("other", old=one("other", "o")),
                IdentityChange("other", old=one("other", "o")),
            ],
            records,
            CONVERSION,
        )


def test_what_one_identity_may_not_keeps_no_other_from_its_profile() -> None:
    immutable = records_of(
        {"customer_id": "1"}, {"customer_id": "2", "email": "a"}, rules=CONVERSION
    )
    row = (one("customer_id", "3"), one("email", "b"), one("other", "o"))
    decide(Claim(2, row, None), immutable, CONVERSION, create=True)
    immutable.by_mpid[77] = 0
    taken = decide(Claim(3, row, 77), immutable, CONVERSION, create=True)
    assert taken.codes == ["IMMUTABLE_CONFLICT", "UNIQUE_CONFLICT"]
    assert [(added.type, added.key) for added in taken.added] == [("other", "o")]
