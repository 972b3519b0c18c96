"""What the interpreter makes of rows one after another, rule by rule: what mutation testing found
no other quick test for (benchmarks/mutants.py)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from profilectl.rules.batch import Batch, Reading, read_batch
from profilectl.rules.feed import (
    Feed,
    completed_in,
    computed,
    meaning_of,
    source_named_by,
    workspaces_of,
)
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import Rules, UsableIdentity
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.mpid import mpid_for
from profilectl.rules.priority import Owner
from profilectl.rules.resolution import IdentityChange
from profilectl.rules.retention import Clocks
from profilectl.rules.text.values import Number, hold

# the interpreter (domain.md 2, 5 to 7, 13, 14)


def one(kind: str, value: str) -> UsableIdentity:
    return UsableIdentity(kind, value, value)


CONVERSION = Rules(
    strategy="conversion",
    login=frozenset(["customer_id"]),
    unique=frozenset(["email", "customer_id"]),
    immutable=frozenset(["customer_id"]),
)
NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000


def row(customer: str | None = None, **more: Any) -> Batch:
    """Return a row of a customer.

    more: fields of a Batch; email and other are identities, set its attributes.
    """
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
        [row("1", set={"a": "x", "b": "y"}), row("2"), UnusableRow("BATCH_INVALID", "")],
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


def test_a_correction_by_hand_that_changes_nothing_leaves_no_trace() -> None:
    store = Interpreter(CONVERSION, secret="secret")
    store.run(*(CRM, "create-and-update", [row("1", email="a")], NOW_MS))
    counts = store.modify(0, [IdentityChange("email", new=one("email", "a"))], NOW_MS + 5)
    assert (some(counts.rows), some(counts.profiles), some(counts.identities)) == (
        {"read": 1, "applied": 1},
        {"unchanged": 1},
        {},
    )
    assert (store.people[0].last_seen_ms, store.arrivals) == (NOW_MS, 1)


def test_a_correction_by_hand_is_an_import_of_its_own() -> None:
    store = Interpreter(CONVERSION, secret="secret")
    store.run(CRM, "create-and-update", [row("1", email="a"), row("2", email="b")], NOW_MS)
    counts = store.modify(
        0,
        [
            IdentityChange("email", new=one("email", "b")),
            IdentityChange("other", new=one("other", "o")),
        ],
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


def test_what_is_left_out_of_a_row_is_counted_unless_the_row_is_rejected() -> None:
    store, odd = rules_in_memory(), {"k" * 257: "v"}
    dropped = store.run(CRM, "update-only", [row("1", set=odd)], NOW_MS)
    assert some(dropped.codes) == {"UPDATE_ONLY_NO_MATCH": 1, "UA_KEY_TOO_LONG": 1}
    rejected = store.run(
        CRM,
        "create-and-update",
        [row("1", set=odd, environment="development")],
        NOW_MS,
        "production",
    )
    assert some(rejected.codes) == {"ENVIRONMENT_MISMATCH": 1}
    applied = store.run(CRM, "create-and-update", [row("1", set=odd)], NOW_MS)
    assert dict(applied.left_out) == {("UA_KEY_TOO_LONG", "k" * 257): 1}


def test_what_is_left_out_of_a_row_that_is_passed_by_is_counted_too() -> None:
    store = rules_in_memory()
    passed = store.run(CRM, "read-only", [row("1", set={"k" * 257: "v"})], NOW_MS)
    assert some(passed.codes) == {"READ_ONLY": 1, "UA_KEY_TOO_LONG": 1}
