"""UID2: what is asked of an operator, what becomes of its answers, and what goes wrong with one."""

from __future__ import annotations

import datetime
import functools
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.asking_uid2 import NOW_MS, ask, bring, person
from support.doors import call, run
from support.effort import at_length, spread_now
from support.uid2_operator import KEY, OPTED_OUT, SECRET, StubOperator, hash_of, operator, uid_of

from profilectl.codes import InputRefused, ProfilectlError, Unfinished, UsageError
from profilectl.files.secrets import KeyAndSecret
from profilectl.outputs.uid2 import rule, rule_sql
from profilectl.outputs.uid2 import run as running
from profilectl.outputs.uid2.operator import (
    Patience,
    Uid2Operator,
    address_of,
    operator_credentials,
)
from profilectl.privacy.forget import ForgetRequest, forget
from profilectl.profiles.activity import Activity
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import profiles_of
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside

DAY_MS = 86_400_000
SECRETS = {"UID2_API_KEY": KEY, "UID2_CLIENT_SECRET": SECRET}


def seen(folder: Path, number: str) -> Activity:
    path = folder / "profiles.duckdb"
    with scratch_beside(path) as scratch, open_store(scratch, path) as store:
        profiles = profiles_of(store)
        (found,) = activities(profiles, profiles.find("customer_id", number))
    return found


def partner_ids(folder: Path, number: str) -> dict[str, str]:
    return {name: value for name, (value, _) in seen(folder, number).partner_identities().items()}


def status(folder: Path, number: str) -> str | None:
    entry = seen(folder, number).attributes.get(rule.STATUS)
    return entry.held if entry else None


# The rule, and the same in SQL

EMAILS = [
    # as it is held                     normalised                  domain.md 15
    ("user@example.com",                "user@example.com"),
    ("User@Example.com ",               "user@example.com"),
    ("janesaoirse@gmail.com",           "janesaoirse@gmail.com"),
    ("Jane.Saoirse@GMAIL.com",          "janesaoirse@gmail.com"),
    ("janesaoirse+uid2@gmail.com",      "janesaoirse@gmail.com"),
    ("j.a.n.e.saoirse+a+b.c@gmail.com", "janesaoirse@gmail.com"),
    ("Jane.Saoirse+work@example.com",   "jane.saoirse+work@example.com"),
    ("jane@googlemail.com",             "jane@googlemail.com"),
    ("jane@sub.gmail.com",              "jane@sub.gmail.com"),
    ("ÉVA@example.com",                 "Éva@example.com"),  # only ASCII letters, as operators do
    ("+news@gmail.com",                 None),
    ("...@gmail.com",                   None),
    ("jane",                            None),
    ("@example.com",                    None),
    ("jane@",                           None),
    ("jane@doe@example.com",            None),
    ("jane doe@example.com",            None),
    ("",                                None),
]  # fmt: skip
PHONES = [
    ("+12345678901",       "+12345678901"),
    (" +12345678901 ",     "+12345678901"),
    ("+123456789012345",   "+123456789012345"),
    ("+1234567890123456",  None),
    ("+123456789",         None),
    ("12345678901",        None),
    ("0012345678901",      None),
    ("+1 (234) 567-8901",  None),
    ("+١٢٣٤٥٦٧٨٩٠١",       None),
]  # fmt: skip
VECTORS = [
    ("user@example.com",      "tMmiiTI7IaAcPpQPFQ65uMVCWH8av9jw4cwf/F5HVRQ="),
    ("janesaoirse@gmail.com", "ku4mBX7Z3qJTXWyLFB1INzkyR2WZGW4ANSJUiW21iI8="),
    ("+12345678901",          "EObwtHBUqDNZR33LNSMdtt5cafsYFuGmuY4ZLenlue4="),
]  # fmt: skip
VALUES = st.one_of(
    st.text(st.sampled_from("aB.+@ \t\n\v\f\r1+É\u00a0gmail.com")),
    st.builds(
        "{}{}@{}".format,
        st.sampled_from(["", " ", "\v"]),
        st.text(st.sampled_from("aZ.+ é")),
        st.sampled_from(
            [
                "gmail.com",
                "GMAIL.com",
                "Gmail.com ",
                "gmail.com\n",
                "example.com",
                "gmail.com@x",
                "",
            ]
        ),
    ),
    st.from_regex(r"[+ ]{0,2}[0-9٣ ]{8,17}"),
)


@functools.cache
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


def in_sql(expression: str, columns: dict[str, str], rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Return an expression on rows. columns: name -> SQL type."""
    lists = ", ".join(f"unnest(${name}::{kind}[]) as {name}" for name, kind in columns.items())
    bound = {name: [row[place] for row in rows] for place, name in enumerate(columns)}
    return [
        one
        for (one,) in connection()
        .execute(f"select {expression} from (select {lists})", bound)
        .fetchall()
    ]


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [*(("email", *one) for one in EMAILS), *(("phone", *one) for one in PHONES)],
)
def test_a_value_is_normalised(kind: str, value: str, wanted: str | None) -> None:
    assert rule.normalised(kind, value) == wanted
    assert in_sql(rule_sql.normalised(kind, "value"), {"value": "varchar"}, [(value,)]) == [wanted]


@pytest.mark.parametrize(("text", "wanted"), VECTORS)
def test_the_vectors_of_the_specification(text: str, wanted: str) -> None:
    assert rule.hashed(text) == hash_of(text) == wanted
    assert in_sql(rule_sql.hashed("text"), {"text": "varchar"}, [(text,)]) == [wanted]


@settings(max_examples=15, deadline=None, derandomize=True)
@example(["gmail.com", "@gmail.com", "a@gmail.com@gmail.com"])
@given(st.lists(VALUES, min_size=1, max_size=60))
def test_sql_normalises_as_the_rule_does(values: list[str]) -> None:
    for kind in rule.KINDS:
        assert in_sql(
            rule_sql.normalised(kind, "value"), {"value": "varchar"}, [(one,) for one in values]
        ) == [rule.normalised(kind, one) for one in values]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES)
def test_the_operators_own_library_normalises_alike(value: str) -> None:
    from uid2_client.input_util import is_phone_number_normalized, normalize_email_string

    email, phone = rule.normalised("email", value), rule.normalised("phone", value)
    if email is not None:
        assert normalize_email_string(value.strip(rule.WHITE)) == email
    if phone is not None:
        assert is_phone_number_normalized(phone)


ANSWERED = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from(["production", "development"]),
    st.sampled_from(list(rule.ANSWERS)),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    st.integers(0, 10**11),
)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    st.lists(ANSWERED, min_size=1, max_size=30),
    st.sampled_from(["TheTradeDesk_UID2", "o\"d\\d'", "é"]),
)
def test_sql_makes_the_batch_of_the_rule(
    answers: list[tuple[int, str, str, str, int]], name: str
) -> None:
    columns = {
        "mpid": "bigint",
        "environment": "varchar",
        "status": "varchar",
        "uid": "varchar",
        "refresh_from_s": "bigint",
    }
    made = in_sql(rule_sql.batch_of(name, NOW_MS), columns, answers)
    assert [json.loads(one) for one in made] == [
        rule.batch_of(*one, partner_identity=name, now_ms=NOW_MS) for one in answers
    ]


EMAIL_LIST = st.sampled_from(
    [
        "a@x.com",
        "A@x.com ",
        "b.c+1@gmail.com",
        "bc@gmail.com",
        "not one",
        "optout@example.com",
        "d@x.com",
    ]
)
PHONE_LIST = st.sampled_from(["+12345678901", "0123456", "+00000000002", "+4915155512345"])
BATCHES = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.fixed_dictionaries(
            {},
            optional={
                "email": EMAIL_LIST,
                "mobile_number": PHONE_LIST,
                "phone_number_2": PHONE_LIST,
                "phone_number_3": PHONE_LIST,
            },
        ),
        st.booleans(),
    ),
    min_size=1,
    max_size=14,
)


def expected(one: Activity, now_ms: int, older_than_ms: int) -> tuple[str, str] | None:
    """Return what the rule asks for a profile: kind and hash."""
    if one.opted_out():
        return None
    lately = one.attributes.get(rule.ENRICHED_AT)
    if lately is not None and now_ms - older_than_ms <= int(lately.held[1:]) <= now_ms:
        return None
    best = rule.asked(
        [rule.Uid2Identity(held.type, held.value, held.origin.arrival) for held in one.identities]
    )
    if best is None:
        return None
    until = one.attributes.get(rule.REFRESH_FROM)
    if until is not None and rule.waits(int(until.held[1:]), until.origin.arrival, best[2], now_ms):
        return None
    return best[0], rule.hashed(best[1])


def check_rounds(folder: Path, rounds: Sequence[list[Any]], refresh_days: int) -> None:
    """Bring batches and enrich, in turn: what is asked is what the rule asks for each profile."""
    with operator() as to:
        for turn, batches in enumerate(rounds):
            now_ms = NOW_MS + turn * 20 * DAY_MS
            to.refresh_s, to.asked = (now_ms + refresh_days * DAY_MS) // 1000, []
            bring(
                folder,
                *(
                    {
                        "user_identities": {"customer_id": f"C{number}", **stated},
                        **(
                            {
                                "events": [
                                    {"event_type": "opt_out", "data": {"is_opted_out": number > 3}}
                                ]
                            }
                            if out
                            else {}
                        ),
                    }
                    for number, stated, out in batches
                ),
                now_ms=now_ms - 1000,
            )
            path = folder / "profiles.duckdb"
            with scratch_beside(path) as scratch, open_store(scratch, path) as store:
                profiles = profiles_of(store)
                everybody = [
                    profile
                    for (profile,) in scratch.rows(
                        f"select distinct profile from ({profiles.seen()})"
                    )
                ]
                wanted = {
                    one
                    for activity in activities(profiles, everybody)
                    if (one := expected(activity, now_ms, 30 * DAY_MS))
                }
            done = ask(folder, to, now_ms=now_ms)
            assert {("email", one) for request in to.asked for one in request["email_hash"]} | {
                ("phone", one) for request in to.asked for one in request["phone_hash"]
            } == wanted
            assert (
                len(to.hashes())
                == len(set(to.hashes()))
                == done.emails + done.phones
                == len(wanted)
            )


@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(BATCHES, min_size=2, max_size=3), st.integers(1, 60))
def test_who_is_asked_is_what_the_rule_says(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[Any]], refresh_days: int
) -> None:
    check_rounds(tmp_path_factory.mktemp("rounds"), rounds, refresh_days)


@pytest.mark.slow
@settings(
    max_examples=at_length(25, by_night=300),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(BATCHES, min_size=2, max_size=4), st.integers(1, 60))
def test_who_is_asked_is_what_the_rule_says_at_length(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[Any]], refresh_days: int
) -> None:
    check_rounds(tmp_path_factory.mktemp("rounds"), rounds, refresh_days)


# Scenario 40, by the command itself


def test_scenario_40(tmp_path: Path) -> None:
    bring(
        tmp_path,
        person("P1", email="User@Example.com "),
        person("P2", email="optout@example.com"),
        person("P3", phone="+1 234"),
        person(
            "P4",
            email="gone@example.com",
            events=[{"event_type": "opt_out", "data": {"is_opted_out": True}}],
        ),
        now_ms=NOW_MS,
    )
    with operator() as to:
        done = run("uid2", "run", "--operator", to.address, "--json", folder=tmp_path, **SECRETS)
        assert done.returncode == 0, done.stderr
        assert to.hashes() == sorted(
            [hash_of("optout@example.com"), "tMmiiTI7IaAcPpQPFQ65uMVCWH8av9jw4cwf/F5HVRQ="]
        )
        report = json.loads(done.stdout)
        assert report["profiles"] == {"due": 3, "waiting": 0, "nameless": 1, "asked": 2}
        assert report["answers"] == {"mapped": 1, "optout": 1, "invalid": 0, "unknown": 0}
        assert report["identities"] == {
            "emails": 2,
            "phones": 0,
            "unusable_emails": 0,
            "unusable_phones": 1,
        }
        again = run("uid2", "run", "--operator", to.address, folder=tmp_path, **SECRETS)
        assert again.returncode == 0, again.stderr
        assert len(to.asked) == 1
    uid = uid_of(hash_of("user@example.com"))
    shown = {
        number: json.loads(call("show", "--customer-id", number, "--json", folder=tmp_path).stdout)[
            "profiles"
        ][0]
        for number in ("P1", "P2", "P4")
    }
    assert shown["P1"]["partner_identities"] == {"TheTradeDesk_UID2": uid}
    assert shown["P1"]["user_attributes"]["uid2_refresh_from_ms"] == to.refresh_s * 1000
    assert (shown["P2"]["partner_identities"], shown["P2"]["user_attributes"]["uid2_status"]) == (
        {},
        "optout",
    )
    assert (shown["P4"]["partner_identities"], shown["P4"]["user_attributes"]) == ({}, {})
    assert (
        f"partner id: TheTradeDesk_UID2 {uid}"
        in call("show", "--customer-id", "P1", folder=tmp_path).stdout
    )
    events = [
        json.loads(line)
        for line in call(
            "events", "--name", "UID2 Enriched", "--json", folder=tmp_path
        ).stdout.splitlines()
    ]
    assert [
        (one["mpid"], one["feed"], one["event"]["data"]["custom_event_type"]) for one in events
    ] == [(shown["P1"]["mpid"], "uid2", "other")]
    feeds = {
        one["name"]: one
        for one in json.loads(call("feeds", "list", "--json", folder=tmp_path).stdout)
    }
    assert (feeds["uid2"]["source"], feeds["uid2"]["protection"]) == ("custom-feed", "update-only")


def test_a_dry_run_asks_nobody_and_leaves_the_store_as_it_is(tmp_path: Path) -> None:
    bring(
        tmp_path,
        person("A", email="a@x.com", phone="+12345678901"),
        person("B", email="A@x.com "),
        person("C", phone="+12345678902"),
    )
    before = (tmp_path / "profiles.duckdb").read_bytes()
    with operator() as to:
        done = call("uid2", "run", "--dry-run", "--operator", to.address, folder=tmp_path)
        assert (done.exit_code, to.attempts) == (0, 0)
    assert "1 e-mail,  1 phone" in done.stdout
    assert (tmp_path / "profiles.duckdb").read_bytes() == before


# What becomes of answers


def test_profiles_with_the_same_value_are_asked_for_once_and_each_get_the_answer(
    tmp_path: Path,
) -> None:
    bring(
        tmp_path,
        person("A", email="J.Doe+x@gmail.com"),
        person("B", email="jdoe@gmail.com"),
        person("C", email="jdoe@gmail.com", environment="development"),
    )
    with operator() as to:
        done = ask(tmp_path, to)
        assert to.hashes() == [hash_of("jdoe@gmail.com")]
    assert done.answers["mapped"] == 3
    assert {partner_ids(tmp_path, number)["TheTradeDesk_UID2"] for number in "ABC"} == {
        uid_of(hash_of("jdoe@gmail.com"))
    }


def test_the_newest_email_is_asked_and_a_phone_where_there_is_none(tmp_path: Path) -> None:
    bring(
        tmp_path,
        person("A", email="old@x.com", phone="+12345678901"),
        person("A", email="new@x.com"),
        person("A", email="nonsense"),
        person("B", email="nonsense", phone="+12345678902"),
    )
    with operator() as to:
        ask(tmp_path, to)
        assert to.asked == [
            {"email_hash": [hash_of("new@x.com")], "phone_hash": [hash_of("+12345678902")]}
        ]


def test_a_uid_is_asked_for_again_when_it_may_be_another(tmp_path: Path) -> None:
    bring(tmp_path, person("A", email="a@x.com"), person("B", email="b@x.com"))
    with operator(refresh_s=(NOW_MS + 90 * DAY_MS) // 1000) as to:
        ask(tmp_path, to)
        bring(tmp_path, person("B", email="b2@x.com"), now_ms=NOW_MS + DAY_MS)
        assert ask(tmp_path, to, now_ms=NOW_MS + 29 * DAY_MS).due == 0
        done = ask(tmp_path, to, now_ms=NOW_MS + 31 * DAY_MS)
        # another e-mail, another UID
        assert (done.due, done.waiting, to.asked[-1]["email_hash"]) == (2, 1, [hash_of("b2@x.com")])
        done = ask(tmp_path, to, now_ms=NOW_MS + 91 * DAY_MS)
        assert (done.due, done.waiting) == (2, 0)
        assert len(to.asked) == 3


def test_an_opt_out_takes_the_uid_away_and_is_respected_for_as_long(tmp_path: Path) -> None:
    bring(tmp_path, person("A", email="a@x.com"))
    with operator(refresh_s=NOW_MS // 1000 + 10) as to:
        ask(tmp_path, to)
        assert partner_ids(tmp_path, "A")
        to.opted_out = OPTED_OUT | {hash_of("a@x.com")}
        ask(tmp_path, to, now_ms=NOW_MS + 31 * DAY_MS)
        found = seen(tmp_path, "A")
        assert (
            partner_ids(tmp_path, "A"),
            status(tmp_path, "A"),
            rule.REFRESH_FROM in found.attributes,
        ) == ({}, "optout", False)
        assert [len(touch.events) for touch in found.touches] == [0, 1, 0]
        ask(tmp_path, to, now_ms=NOW_MS + 60 * DAY_MS)
        assert len(to.asked) == 2
        to.opted_out = OPTED_OUT
        ask(tmp_path, to, now_ms=NOW_MS + 62 * DAY_MS)
        assert status(tmp_path, "A") == "mapped"


def test_the_same_opt_out_is_written_down_each_time(tmp_path: Path) -> None:
    bring(tmp_path, person("A", email="optout@example.com"))
    with operator() as to:
        for turn in range(3):
            assert (
                ask(tmp_path, to, now_ms=NOW_MS + turn * 3 * DAY_MS, older_than_days=2).dropped == 0
            )
    assert seen(tmp_path, "A").attributes[rule.ENRICHED_AT].held.endswith(str(NOW_MS + 6 * DAY_MS))


def test_an_invalid_identifier_is_counted_and_leaves_the_uid(tmp_path: Path) -> None:
    bring(tmp_path, person("A", email="a@x.com"))
    with operator(invalid=frozenset([hash_of("a2@x.com")])) as to:
        ask(tmp_path, to)
        bring(tmp_path, person("A", email="a2@x.com"))
        done = ask(tmp_path, to, now_ms=NOW_MS + 31 * DAY_MS)
    assert (done.answers["invalid"], status(tmp_path, "A"), partner_ids(tmp_path, "A")) == (
        1,
        "invalid",
        {"TheTradeDesk_UID2": uid_of(hash_of("a@x.com"))},
    )


def test_members_of_an_audience_alone_are_asked_for(tmp_path: Path) -> None:
    bring(
        tmp_path,
        person("A", email="a@x.com", user_attributes={"tier": "gold"}),
        person("B", email="b@x.com", user_attributes={"tier": "tin"}),
    )
    assert call("audiences", "add", "it's gold", "tier = 'gold'", folder=tmp_path).exit_code == 0
    with operator() as to:
        done = ask(tmp_path, to, audience="it's gold", feed="desk", partner_identity="Desk_ID")
        assert (to.hashes(), done.due) == ([hash_of("a@x.com")], 1)
        assert partner_ids(tmp_path, "A") == {"Desk_ID": uid_of(hash_of("a@x.com"))}
        with pytest.raises(UsageError, match="there is no audience silver"):
            ask(tmp_path, to, audience="silver")


@pytest.mark.parametrize(
    ("said", "wanted"),
    spread_now([
        ([{"A_ID": "1"}],                                  {"A_ID": "1"}),
        ([{"A_ID": "1"}, {"B_ID": "2"}],                   {"A_ID": "1", "B_ID": "2"}),
        ([{"A_ID": "1"}, {"A_ID": "3"}],                   {"A_ID": "3"}),
        ([{"A_ID": "1", "B_ID": "2"}, {"A_ID": None}],     {"B_ID": "2"}),
        ([{"A_ID": "1"}, {"A_ID": ""}],                    {}),
        ([{"A_ID": "1"}, {}],                              {"A_ID": "1"}),
        ([{"A_ID": None}, {"A_ID": "4"}],                  {"A_ID": "4"}),
        ([{"A_ID": None}],                                 {}),
    ], 3),
)  # fmt: skip
def test_a_partner_identity_is_what_was_said_of_it_last(
    said: list[dict[str, str | None]], wanted: dict[str, str], tmp_path: Path
) -> None:
    bring(
        tmp_path,
        *(
            person("A", user_attributes={"n": place}, partner_identities=one)
            for place, one in enumerate(said)
        ),
    )
    assert partner_ids(tmp_path, "A") == wanted


# What goes wrong

TRIED_AGAIN = [
    # what the operator does first          what is said
    ([429],                                 "is busy (429)"),
    ([503, 502],                            "is out of order (503)"),
    (["cut"],                               "broke off"),
    (["slow"],                              "does not answer in time"),
]  # fmt: skip
REFUSED = [
    # what the operator does                what is said
    (400,                                   "does not take the request"),
    (401,                                   "does not know the API key"),
    (403,                                   "does not let this API key"),
    (418,                                   "does not take the request"),
    ("elsewhere",                           "does not take the request"),
    ("nonsense",                            "no answer to the question"),
    ("nonce",                               "no answer to the question"),
    ("short",                               "does not answer all"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "told"), spread_now(TRIED_AGAIN, 2), ids=str)
def test_a_busy_operator_is_asked_again(first: list[Any], told: str, tmp_path: Path) -> None:
    bring(tmp_path, person("A", email="a@x.com"))
    said: list[str] = []
    with operator(before=list(first)) as to:
        done = ask(
            tmp_path,
            to,
            said=said.append,
            patience=Patience(attempts=3, timeout_s=0.4, pause_s=0.01, longest_pause_s=0.02),
        )
        assert (done.answers["mapped"], to.attempts, done.requests) == (
            1,
            len(first) + 1,
            len(first) + 1,
        )
    assert told in said[0]


@pytest.mark.parametrize("trouble", [429, 503, "cut", "slow"])
def test_an_operator_that_is_away_for_long_is_given_up(trouble: Any, tmp_path: Path) -> None:
    bring(tmp_path, person("A", email="a@x.com"))
    with (
        operator(before=[trouble] * 3, retry_after=None) as to,
        pytest.raises(Unfinished, match="3 times"),
    ):
        ask(
            tmp_path,
            to,
            patience=Patience(attempts=3, timeout_s=0.3, pause_s=0.01, longest_pause_s=0.02),
        )
    assert partner_ids(tmp_path, "A") == {}


def test_an_operator_that_is_not_there(tmp_path: Path) -> None:
    bring(tmp_path, person("A", email="a@x.com"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        to = StubOperator(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(Unfinished, match="cannot be reached"):
            ask(tmp_path, to)


@pytest.mark.parametrize(("trouble", "told"), spread_now(REFUSED, 3), ids=str)
def test_a_refusal_is_final(trouble: Any, told: str, tmp_path: Path) -> None:
    bring(tmp_path, person("A", email="a@x.com"))
    with operator(before=[trouble]) as to:
        with pytest.raises(InputRefused, match=told) as raised:
            ask(tmp_path, to)
        assert to.attempts == 1
    text = f"{raised.value.message} {raised.value.hint}"
    assert not any(secret in text for secret in ("a@x.com", hash_of("a@x.com"), KEY, SECRET))
    assert partner_ids(tmp_path, "A") == {}


def test_a_reason_of_another_year_is_counted_and_asked_for_again(tmp_path: Path) -> None:
    bring(tmp_path, person("A", email="a@x.com"))
    with operator(before=["unknown"]) as to:
        assert ask(tmp_path, to).answers == {"unknown": 1}
        assert ask(tmp_path, to).answers == {"mapped": 1}


def test_what_was_answered_before_the_operator_went_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "MOST_ITEMS", 2)
    monkeypatch.setattr(running, "REQUESTS_AN_IMPORT", 2)
    bring(tmp_path, *(person(str(n), email=f"{n}@x.com") for n in range(11)))
    with operator(before=[None, None, None, 503, 503, 503]) as to:
        with pytest.raises(Unfinished, match="6 profiles were answered before"):
            ask(tmp_path, to)
        first = set(to.hashes())
        assert (len(first), sum(bool(partner_ids(tmp_path, str(n))) for n in range(11))) == (6, 6)
        done = ask(tmp_path, to)
        assert (done.answers, len(done.imports)) == ({"mapped": 5}, 2)
        assert not first & set(to.hashes()[6:])
        assert max(len(request["email_hash"]) for request in to.asked) == 2
    assert all(partner_ids(tmp_path, str(n)) for n in range(11))


def test_the_command_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(tmp_path, person("A", email="a@x.com"))
    with operator(before=[401]) as to:
        cases = [
            ((), {}, 2, "UID2_API_KEY and UID2_CLIENT_SECRET are not set"),
            ((), {"UID2_API_KEY": KEY}, 2, "UID2_CLIENT_SECRET is not set"),
            ((), SECRETS, 4, "does not know the API key (HTTP 401)"),
            (
                (),
                {**SECRETS, "UID2_CLIENT_SECRET": "c2hvcnQ="},
                4,
                "the client secret of the environment is none",
            ),
            (("--feed", "crm2"), SECRETS, 4, "is registered with source csv"),
            (("--feed", "quiet"), SECRETS, 4, "may only read"),
            (("--partner-identity", " "), SECRETS, 2, "a name has 1 to 256 characters"),
            (("--operator", "http://uid.example.com"), SECRETS, 2, "plain http"),
            (("--older-than", "-1"), SECRETS, 2, "older-than"),
        ]
        call("feeds", "add", "crm2", "--source", "csv", folder=tmp_path)
        call(
            "feeds",
            "add",
            "quiet",
            "--source",
            "custom-feed",
            "--protection",
            "read-only",
            folder=tmp_path,
        )
        for options, environment, code, told in cases:
            for name in SECRETS:
                monkeypatch.setenv(name, environment.get(name, ""))
            done = call(
                "uid2",
                "run",
                *(() if "--operator" in options else ("--operator", to.address)),
                *options,
                folder=tmp_path,
            )
            found = (
                done.exception.exit
                if isinstance(done.exception, ProfilectlError)
                else done.exit_code
            )
            text = done.output + (
                f"{done.exception.message} {done.exception.hint}"
                if isinstance(done.exception, ProfilectlError)
                else ""
            )
            assert (found, told in text) == (code, True), (options, text)
            assert not any(secret in text for secret in (KEY, SECRET, "a@x.com"))
        assert to.attempts == 1


# Secrets, and what leaves


def test_what_leaves_is_encrypted_and_holds_no_identity(tmp_path: Path) -> None:
    bring(tmp_path, person("A", email="a@x.com", phone="+12345678901"))
    with operator() as to:
        ask(tmp_path, to)
    sent = b"".join(to.bodies)
    assert not any(
        text.encode() in sent
        for text in ("a@x.com", hash_of("a@x.com"), "email_hash", KEY, "customer")
    )
    assert not any(
        secret.encode() in (tmp_path / "profiles.duckdb").read_bytes() for secret in (KEY, SECRET)
    )


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    spread_now(
        [
            (f'key = "{KEY}"\nsecret = "{SECRET}"\n', 0o600, None),
            (f'key = "{KEY}"\nsecret = "{SECRET}"\n', 0o400, None),
            (f'key = "{KEY}"\nsecret = "{SECRET}"\n', 0o640, "chmod 600"),
            (f'key = "{KEY}"\nsecret = "{SECRET}"\n', 0o604, "chmod 600"),
            (f'key = "{KEY}"\n', 0o600, "has no key and secret"),
            (f'key = "{KEY}"\nsecret = "not base64"\n', 0o600, "the client secret"),
            (f"key = {KEY}\n", 0o600, "is neither TOML nor JSON"),
            (f'key = "a\\nb"\nsecret = "{SECRET}"\n', 0o600, "cannot be sent"),
        ],
        3,
    ),
)
def test_credentials_of_a_file(content: str, mode: int, told: str | None, tmp_path: Path) -> None:
    path = tmp_path / "uid2.toml"
    path.write_text(content)
    path.chmod(mode)
    if told is None:
        assert operator_credentials(path, {}) == KeyAndSecret(KEY, SECRET)
        return
    with pytest.raises(InputRefused) as raised:
        operator_credentials(path, {})
    assert told in f"{raised.value.message} {raised.value.hint}"
    assert KEY not in f"{raised.value.message} {raised.value.hint}"


def test_credentials_show_nothing_and_are_of_a_plain_file(tmp_path: Path) -> None:
    assert KEY not in repr(KeyAndSecret(KEY, SECRET))
    (tmp_path / "link").symlink_to(tmp_path / "there")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "pipe", "nowhere", "."):
        with pytest.raises(InputRefused):
            operator_credentials(tmp_path / name, SECRETS)


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [
        ("https://prod.uidapi.com", "https://prod.uidapi.com"),
        ("https://operator-integ.uidapi.com/", "https://operator-integ.uidapi.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://prod.uidapi.com", None),
        ("http://127.0.0.1.example.com", None),
        ("http://localhost.example.com", None),
        ("ftp://prod.uidapi.com", None),
        ("prod.uidapi.com", None),
        ("https://", None),
        ("https://key:secret@prod.uidapi.com", None),
        ("https://prod.uidapi.com/?a=b", None),
        ("https://prod.uidapi.com:port", None),
        ("", None),
    ],
)
def test_the_address_of_an_operator(stated: str, wanted: str | None) -> None:
    if wanted is not None:
        assert address_of(stated) == wanted
        return
    with pytest.raises(UsageError) as raised:
        address_of(stated)
    assert "key:secret" not in raised.value.message


# Afterwards


def test_an_enrichment_can_be_taken_back_and_those_before_it_made_again(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("customer_id,email,tier\nA,a@x.com,gold\n")
    (tmp_path / "two.csv").write_text("customer_id,tier\nA,tin\n")
    for name in ("one.csv", "two.csv"):
        assert (
            call("import", name, "--feed", name, "--source", "csv", folder=tmp_path).exit_code == 0
        )
    with operator() as to:
        ask(tmp_path, to)
    undone = call("imports", "undo", "2", "--replay", "--yes", folder=tmp_path)
    assert undone.exit_code == 0, undone.output
    assert list(partner_ids(tmp_path, "A")) == ["TheTradeDesk_UID2"]
    assert call("imports", "undo", "4", "--yes", folder=tmp_path).exit_code == 0
    assert partner_ids(tmp_path, "A") == {}
    assert call("check", folder=tmp_path).exit_code == 0


def test_who_is_forgotten_leaves_the_answers_too(tmp_path: Path) -> None:
    bring(tmp_path, person("A", email="a@x.com"), person("B", email="b@x.com"))
    with operator() as to:
        ask(tmp_path, to)
    path = tmp_path / "profiles.duckdb"
    mpids = {number: str(seen(tmp_path, number).mpid) for number in "AB"}
    forget(path, ForgetRequest(("customer_id", "A")))
    with scratch_beside(path) as scratch, open_store(scratch, path) as store:
        kept = [
            json.loads(text)
            for (text,) in store.scratch.rows("select request from store.import order by number")
        ]
    content = kept[1]["content"]
    assert (mpids["A"] in content, mpids["B"] in content) == (False, True)
    assert "a@x.com" not in json.dumps(kept)
    assert uid_of(hash_of("a@x.com")).encode() not in path.read_bytes()
    assert partner_ids(tmp_path, "B")


def test_who_was_erased_meanwhile_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(tmp_path, person("A", email="a@x.com"))
    path = tmp_path / "profiles.duckdb"
    asking = Uid2Operator.ask

    def erased_first(self: Uid2Operator, emails: Sequence[str], phones: Sequence[str]) -> Any:
        forget(path, ForgetRequest(("customer_id", "A")))
        return asking(self, emails, phones)

    monkeypatch.setattr(Uid2Operator, "ask", erased_first)
    with operator() as to:
        done = ask(tmp_path, to)
    assert done.dropped == 1
    with scratch_beside(path) as scratch, open_store(scratch, path) as store:
        assert store.scratch.row(f"select count(*) from ({profiles_of(store).seen()})")[0] == 0


def test_the_refresh_time_is_exact() -> None:
    """A second more or less is another UID."""
    moment = datetime.datetime(2027, 3, 1, 12, 30, 59, tzinfo=datetime.UTC)
    assert (
        rule.batch_of(
            1, "production", "mapped", "u", int(moment.timestamp()), partner_identity="x", now_ms=0
        )["user_attributes"][rule.REFRESH_FROM]
        == 1803904259000
    )  # type: ignore[index]
