"""What a value is to whoever reads it: tags, empty values, numbers of any size, identities, names
that nobody has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audience_people import by_engine, person_of
from support.doors import made_once, run_here
from support.effort import at_length, first_now, spread_now

from profilectl import Store
from profilectl.audiences.sql.membership_sql import AudienceToEvaluate
from profilectl.codes import ProfilectlError, UsageError
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.where import condition_of
from profilectl.rules.criteria.text import criterion_of, expression
from profilectl.rules.criteria.toml import criterion_in
from profilectl.rules.event.condition import event_condition
from profilectl.rules.feed import Feed
from profilectl.rules.leaving.connection import refusal
from profilectl.rules.leaving.connection_config import connection_of
from profilectl.rules.leaving.enrichment import (
    IdMaker,
    LeavingEvent,
    ProfileThen,
    ReceivedBatch,
    completed,
)
from profilectl.rules.leaving.output import output_of
from profilectl.rules.membership import holds
from profilectl.rules.sql.events import condition_sql, number_compared
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.numbers import quantity
from profilectl.rules.text.presence import PRESENCE
from profilectl.rules.text.values import TAG, Value, parse_json, to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.upgrade import STEPS

PEOPLE = """
{"user_identities":{"customer_id":"A","email":"Ann@Example.com"},"user_attributes":{"t":null,"n":9,"l":["a",9,null],"e":"","el":[],"yes":true,"big":1e999999999}}
{"user_identities":{"customer_id":"B"},"user_attributes":{"t":"null","n":"9","l":["9"],"yes":"true","big":1e400}}
{"user_identities":{"customer_id":"C","email":"cy@example.com"},"user_attributes":{"t":"x","n":"9.0","l":"9","big":-1e400,"spoken":"(\\"q"}}
{"user_identities":{"customer_id":"D"},"user_attributes":{"l":["a\\"b,9","c"],"n":7,"big":12345678901234567890}}
"""


def _stored(folder: Path) -> None:
    (folder / "a.jsonl").write_text(PEOPLE.lstrip())
    assert (
        run_here(
            "import", "a.jsonl", "--feed", "crm", "--source", "custom-feed", folder=folder
        ).returncode
        == 0
    )


stored = made_once(_stored)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("reading"))


@pytest.fixture(scope="module")
def profiles(folder: Path) -> Iterator[Profiles]:
    with (
        scratch_beside(folder) as scratch,
        open_store(scratch, folder / "profiles.duckdb") as store,
    ):
        yield profiles_of(store)


def who(profiles: Profiles, text: str) -> str:
    condition = condition_of(text, profiles)
    rows = profiles.store.scratch.rows(
        f"select i_customer_id[1] from ({profiles.folded(condition.keys, '')}) where"
        f" {condition.sql}"
    )
    return "".join(sorted(name for (name,) in rows))


# fmt: off
CONDITIONS = [
    # condition                                  who        why
    ("t = 'null'",                               "B",       "a tag is no text"),
    ("t like 'nu%'",                             "B",       "... to like"),
    ("t matches '*'",                            "BC",      "... to matches"),
    ("t in ('null', 'x')",                       "BC",      "... to in"),
    ("t contains 'null'",                        "B",       "... to contains"),
    ("t < 'zzz'",                                "BC",      "... and comes before nothing"),
    ("t != 'null'",                              "ACD",     "it is not equal to it"),
    ("t exists",                                 "ABC",     "a tag is there"),
    ("t is not null",                            "ABC",     "... which is another word for it"),
    ("t not exists",                             "D",       "what is missing is not"),
    ("t is empty",                               "AD",      "a tag is empty, as is what is missing"),
    ("t is not empty",                           "BC",      "the text null is not"),
    ("e is empty and e exists",                  "A",       "an empty text is there and empty"),
    ("el is not empty",                          "",        "an empty list is empty"),
    ("email is empty",                           "BD",      "an identity that is missing is empty"),
    ("email exists",                             "AC",      "an identity exists"),
    ("t not like 'nu%'",                         "ACD",     "not like: like does not hold"),
    ("t not matches 'x*'",                       "ABD",     "not matches"),
    ("l not contains 'a'",                       "BC",      "not contains"),
    ("l not includes 'a'",                       "BCD",     "not includes"),
    ("t not in ('null', 'x')",                   "AD",      "not in"),
    ("n = '9'",                                  "AB",      "in quotes, the text of a number is compared"),
    ("n contains '9'",                           "ABC",     "... of which contains finds a part"),
    ("n = 9",                                    "ABC",     "a number compares with numbers, also in text"),
    ("n in (9.00, 7)",                           "ABCD",    "... one of several"),
    ("l includes '9'",                           "AB",      "an entry of a list is a value as any"),
    ("l includes 9.0",                           "AB",      "... as a number"),
    ("l contains '9'",                           "ABCD",    "a list contains what an entry contains"),
    ("l includes 'a\"b,9'",                      "D",       "an entry with signs of a list"),
    ("yes = true",                               "AB",      "true is the boolean, and its text"),
    ("yes = 'TRUE'",                             "AB",      "... in quotes as well"),
    ("yes != true",                              "CD",      "... and its opposite"),
    ("big > 1e309",                              "AB",      "no number is infinite"),
    ("big > 1e999999998",                        "A",       "... nor takes time"),
    ("big >= 1e999999999",                       "A",       "... and they are exact"),
    ("big > 1e999999999999999999999999",         "",        "... whatever the exponent"),
    ("big < -1e399",                             "C",       "below 0 as well"),
    ("big < 1e-999999999",                       "C",       "next to nothing is more than less than nothing"),
    ("big = 1234567890123456789e1",              "D",       "digit for digit"),
    ("big = 1234567890123456789.1e1",            "",        "... of which none is lost"),
    ("big = 1234567890123456789.0e1 or big = 12345678901234567890.0", "D", "... however it is written"),
    ("email = ' ANN@example.com '",              "A",       "an identity goes by its key: trimmed, an e-mail in any case"),
    ("email in (' ann@EXAMPLE.com')",            "A",       "... in a list"),
    ("email like 'ANN@%'",                       "A",       "... like"),
    ("email matches ' ANN@*.COM '",              "A",       "... matches"),
    ("email not like 'ANN@%'",                   "BCD",     "... and their opposites hold where no value passes"),
    ("email != 'ANN@example.com'",               "BCD",     "... also where there is none"),
    ("customer_id = 'a'",                        "A",       "any text compares in any case"),
    ("customer_id like ' A '",                   "A",       "... but no white space around it"),
]
# fmt: on


@pytest.mark.parametrize(
    ("condition", "expected", "why"), CONDITIONS, ids=[one[0] for one in CONDITIONS]
)
def test_a_condition_on_profiles_says(
    condition: str, expected: str, why: str, profiles: Profiles
) -> None:
    assert who(profiles, condition) == expected, why
    assert who(profiles, f"not ({condition})") == "".join(sorted(set("ABCD") - set(expected))), (
        f"the opposite: {why}"
    )


def test_a_condition_is_one_for_every_command(folder: Path) -> None:
    for condition, expected in (
        ("t = 'null' or big > 1e999999998", "AB"),
        ("email not like 'ANN@%'", "BCD"),
    ):
        lines = run_here(
            "export", "profiles", "--where", condition, folder=folder
        ).stdout.splitlines()
        assert (
            "".join(sorted(json.loads(line)["user_identities"]["customer_id"][0] for line in lines))
            == expected
        )
        assert json.loads(run_here("search", "--where", condition, "--json", folder=folder).stdout)[
            "count"
        ] == len(expected)


def test_true_is_neither_more_nor_less(folder: Path) -> None:
    done = run_here("search", "--where", "yes > true", folder=folder)
    assert (done.returncode, "compared by = and != only" in done.stderr) == (2, True)


# What exists, and what is empty, in the three languages.

MISSING = object()
THERE: dict[str, list[tuple[str, Any]]] = {
    # of PRESENCE       where it stands, and what
    "nothing": [("event", MISSING), ("attribute", MISSING), ("device", MISSING)],
    "null of an event or a device": [("event", None), ("device", None)],
    "null of a user attribute, which is a tag": [("attribute", None)],
    "an empty text, list or object": [
        ("event", ""),
        ("event", []),
        ("event", {}),
        ("attribute", ""),
        ("attribute", []),
        ("device", ""),
    ],
    "anything else, also 0, false and blanks": [
        ("event", 0),
        ("event", False),
        ("event", " "),
        ("event", {"x": None}),
        ("event", [None]),
        ("attribute", 0),
        ("attribute", " "),
        ("attribute", [""]),
        ("device", "x"),
    ],
}
WORDS = (
    ("exists", 0, True),
    ("not exists", 0, False),
    ("is not empty", 1, True),
    ("is empty", 1, False),
)


@pytest.mark.parametrize("what", spread_now(PRESENCE, 3))
def test_what_exists_and_what_is_empty_is_one_thing_everywhere(what: str) -> None:
    for place, value in THERE[what]:
        for words, which, positive in WORDS:
            expected = PRESENCE[what][which] is positive
            found = dict(_judged(place, value, words))
            assert found == dict.fromkeys(found, expected), (what, place, value, words)


def _judged(place: str, value: Any, words: str) -> list[tuple[str, bool]]:
    """Return what each twin says of a value in its place."""
    stated = {} if value is MISSING else {"x": value}
    if place == "event":
        event = json.dumps({"data": {"custom_attributes": stated}}, separators=(",", ":"))
        sql = (
            duckdb.connect()
            .execute(
                f"select {condition_sql(f'x {words}', 'event')} from (select $1 as event)", [event]
            )
            .fetchone()
        )
        assert sql
        null = {"exists": "is not null", "not exists": "is null"}.get(words, words)
        return [
            ("python", event_condition(f"x {words}").holds(parse_json(event))),
            ("null", event_condition(f"x {null}").holds(parse_json(event))),
            ("sql", sql[0]),
        ]
    table: Value = parse_json(
        json.dumps(
            {"attributes": stated} if place == "attribute" else {"device": {"brand": "b", **stated}}
        )
    )
    person = person_of(table, 0)
    tree = criterion_of(f"{'device.' if place == 'device' else ''}x {words}")
    return [
        ("python", holds(tree, person, 0)),
        ("sql", bool(by_engine([AudienceToEvaluate("a", tree)], [person], 0))),
    ]


def test_a_purchase_without_a_coupon_is_none_with_one(tmp_path: Path) -> None:
    def purchase(**attributes: str) -> dict[str, Any]:
        return {
            "event_type": "custom_event",
            "data": {
                "event_name": "purchase",
                "custom_event_type": "transaction",
                "custom_attributes": attributes,
            },
        }

    batch = {
        "user_identities": {"customer_id": "A"},
        "events": [purchase(), purchase(coupon=""), purchase(coupon="X")],
    }
    (tmp_path / "e.jsonl").write_text(json.dumps(batch) + "\n")
    assert (
        run_here(
            "import", "e.jsonl", "--feed", "app", "--source", "sdk", folder=tmp_path
        ).returncode
        == 0
    )
    for where, count in (
        ("coupon is not empty", 1),
        ("coupon is empty", 2),
        ("coupon exists", 2),
        ("coupon not exists", 1),
    ):
        found = json.loads(
            run_here(
                "calculated",
                "preview",
                "n",
                "--type",
                "count",
                "--event",
                "purchase",
                "--where",
                where,
                "--json",
                folder=tmp_path,
            ).stdout
        )
        assert found["sample"][0]["value"] == str(count), where
        members = json.loads(
            run_here(
                "audiences",
                "preview",
                f"count(event 'purchase' where ({where})) = {count}",
                "--json",
                folder=tmp_path,
            ).stdout
        )["members"]
        assert members == 1, where


def test_an_upgrade_computes_anew_what_rests_on_what_is_empty(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[calculated.n]\ntype = "count"\nwhere = "coupon is not empty"\n[calculated.m]\n'
        'type = "count"\n'
        '[audiences.a]\ncriteria = "event where (coupon is empty)"\n[audiences.b]\n'
        'criteria = "event where (coupon is empty)"\nkind = "standard"\n[audiences.c]\n'
        'criteria = "event"\n'
    )
    assert run_here("config", "apply", "c.toml", folder=tmp_path).returncode == 0
    assert run_here("audiences", "refresh", folder=tmp_path).returncode == 0
    with (
        scratch_beside(tmp_path) as scratch,
        open_store(scratch, tmp_path / "profiles.duckdb", write=True),
    ):
        for statement in STEPS[5]:
            if statement.startswith("update"):
                scratch.run(statement)
        waiting = scratch.rows(
            "select name from store.calculation where filled_ms is null union all select"
            " name from store.audience where filled_ms is null"
        )
    assert [name for (name,) in waiting] == ["n", "a"]


# Numbers

digits = st.from_regex(r"[+-]?[0-9]{1,25}([.][0-9]{1,25})?([eE][+-]?[0-9]{1,45})?", fullmatch=True)


@settings(max_examples=at_length(12, by_night=1000), deadline=None, derandomize=True)
@given(
    st.lists(
        digits
        | st.sampled_from(
            ["0", "-0", "1e999999999", "1e-999999999", "0e5", "10e1", "1e2", "100.0"]
        ),
        min_size=8,
        max_size=8,
    ),
    digits,
)
def test_numbers_of_any_size_compare_alike_in_python_and_in_sql(
    texts: list[str], literal: str
) -> None:
    number, connection = quantity(literal), duckdb.connect()
    for sign, orders in (("<", (-1,)), ("=", (0,)), (">=", (0, 1))):
        found = connection.execute(
            (
                f"select {number_compared('t', sign, number)} from (select unnest($1) as t,"
                " unnest(range(8)) as n) order by n"
            ),
            [texts],
        ).fetchall()
        assert [one for (one,) in found] == [
            quantity(text).order(number) in orders for text in texts
        ]


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ("1e308", "1e309"),
        ("-1e309", "-1e308"),
        ("1e999999998", "1e999999999"),
        ("1e-999999999", "1e-999999998"),
        ("9.99", "10"),
        ("-1", "0"),
        ("0", ".5"),
        ("4.", "5"),
    ],
)
def test_an_order_of_numbers(less: str, more: str) -> None:
    assert (quantity(less).order(quantity(more)), quantity(more).order(quantity(less))) == (-1, 1)


def test_events_and_audiences_compare_numbers_of_any_size() -> None:
    event = '{"data":{"custom_attributes":{"x":1e999999999}}}'
    assert event_condition("x > 1e309 and x < 1e1000000000").holds(parse_json(event))
    person = person_of(parse_json('{"attributes":{"x":1e999999999}}'), 0)
    tree = criterion_of("x > " + "9" * 400)
    assert holds(tree, person, 0)
    assert by_engine([AudienceToEvaluate("a", tree)], [person], 0)


def test_a_number_of_a_configuration_may_have_any_exponent() -> None:
    big = Decimal("1e999999999")
    far = criterion_in({"attribute": "x", "more_than": big})
    assert expression(far) == "x > 1E+999999999"
    assert criterion_of(expression(far)) == far
    assert not holds(far, person_of(parse_json('{"attributes":{"x":1e999999999}}'), 0), 0)
    with pytest.raises(UsageError, match="must be a number with digits"):
        criterion_in({"attribute": "x", "more_than": float("inf")})
    tree = criterion_in({"attribute": "x", "more_than": Decimal("1e400")})
    assert holds(tree, person_of(parse_json('{"attributes":{"x":1e401}}'), 0), 0)


@pytest.mark.parametrize(
    "criteria",
    [
        "email = ' ANN@x.com '",
        "email in ('q', ' ann@X.com')",
        "email matches ' ann@* '",
        "not email != ' Ann@x.com'",
    ],
)
def test_an_audience_compares_identities_without_white_space_around_them(criteria: str) -> None:
    person, tree = (
        person_of(parse_json('{"identities":{"email":["Ann@x.com"]}}'), 0),
        criterion_of(criteria),
    )
    assert holds(tree, person, 0)
    assert by_engine([AudienceToEvaluate("a", tree)], [person], 0)


# A tag, wherever it is read


def test_a_tag_meets_no_forwarding_rule_of_the_text_null() -> None:
    for held, reason in ((TAG, "ATTRIBUTE"), ("null", None)):
        known = ProfileThen(5, attributes={"t": held})
        event = {
            "event_type": "custom_event",
            "data": {"event_name": "V", "custom_event_type": "other"},
        }
        outgoing = completed(
            ReceivedBatch(Feed("f", "sdk"), 0, "production", 10, 11, [LeavingEvent(10, event)]),
            known,
            IdMaker("secret"),
        )
        rule = connection_of(
            "c", {"feed": "f", "output": "o", "attribute": {"name": "t", "value": "null"}}
        )
        assert (
            refusal(outgoing, rule, output_of("o", {"type": "jsonl", "path": "o.jsonl"}), ())
            == reason
        )


def test_a_tag_is_a_tag_in_every_format(folder: Path, tmp_path: Path) -> None:
    shown = run_here("search", "--where", "t exists", "--json", folder=folder)
    assert sorted(
        json.dumps(one["user_attributes"]["t"]) for one in json.loads(shown.stdout)["hits"]
    ) == ['"null"', '"x"', "null"]
    (tmp_path / "l.txt").write_text("A\nB\nD\n")
    lines = [
        json.loads(line)
        for line in run_here(
            "lookup",
            str(tmp_path / "l.txt"),
            "--type",
            "customer_id",
            "--field",
            "t",
            folder=folder,
        ).stdout.splitlines()
    ]
    assert [one["user_attributes"] for one in lines] == [{"t": None}, {"t": "null"}, {}]
    found = Store(folder / "profiles.duckdb").export(fields=["customer_id", "t"]).to_pylist()
    assert {one["user_identities.customer_id"]: one["user_attributes.t"] for one in found} == {
        "A": None,
        "B": "null",
        "C": "x",
        "D": None,
    }
    assert (
        run_here(
            "export",
            "profiles",
            "--fields",
            "customer_id,t",
            "--format",
            "csv",
            "--partition-by",
            "t",
            "-o",
            str(tmp_path / "parts"),
            folder=folder,
        ).returncode
        == 0
    )
    parts = {
        one.name: sorted(
            line.split(",")[2:]
            for line in (one / "profiles-00001.csv").read_text().splitlines()[1:]
        )
        for one in (tmp_path / "parts").iterdir()
    }
    assert parts == {
        "t=null": [["B", "null"]],
        "t=x": [["C", "x"]],
        "t=__HIVE_DEFAULT_PARTITION__": [["A", ""], ["D", ""]],
    }


def test_a_value_that_reads_as_no_value_has_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,t\nA,__HIVE_DEFAULT_PARTITION__\nB,\n")
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 0
    assert (
        run_here(
            "export", "profiles", "--partition-by", "t", "-o", "parts", folder=tmp_path
        ).returncode
        == 0
    )
    assert sorted(one.name for one in (tmp_path / "parts").iterdir()) == [
        "t=%5F_HIVE_DEFAULT_PARTITION__",
        "t=__HIVE_DEFAULT_PARTITION__",
    ]


# What is given empty

EMPTY = [
    ("push", "--where", "", "--dry-run", "x.jsonl"),
    ("push", "--where", " \t", "--dry-run", "x.jsonl"),
    ("export", "profiles", "--where", ""),
    ("export", "batches", "--where", ""),
    ("search", "--where", ""),
    ("search", "A", "--where", ""),
    ("export", "profiles", "--fields", ""),
    ("export", "profiles", "--fields", " , "),
    ("show", "--mpid", ""),
    ("show", "--email", " "),
    ("events", "--feed", ""),
    ("stream", "--feed", ""),
    ("uid2", "run", "--dry-run", "--audience", ""),
    ("lookup", "a.jsonl", "--field", ""),
    ("diff", "--attribute", ""),
    ("diff", "--identity", ""),
    ("export", "profiles", "--partition-by", "", "-o", "parts"),
    ("forget", "--yes", "--file", "a.jsonl", "--type", ""),
    ("--workspace", "", "export", "profiles"),
    ("stream", "--device", ""),
    ("calculated", "preview", "n", "--type", "count", "--where", ""),
    ("forward", "--output", ""),
    ("explain", "A", "--attribute", ""),
]


@pytest.mark.parametrize("arguments", first_now(EMPTY, 12), ids=" ".join)
def test_an_option_that_chooses_is_not_given_empty(
    arguments: tuple[str, ...], folder: Path
) -> None:
    done = run_here(*arguments, folder=folder)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "is empty" in done.stderr or "names nothing" in done.stderr
    assert not (folder / "x.jsonl").exists()


def test_no_call_takes_an_empty_condition_for_everybody(folder: Path) -> None:
    store = Store(folder / "profiles.duckdb")
    for wanted in ({"where": ""}, {"where": "  "}, {"fields": [""]}, {"fields": ["", "t"]}):
        with pytest.raises(UsageError):
            store.export(**wanted)


# What nobody has

NAMES = [
    (("search", "--where", "tt = 'x'"), "attribute tt", "t"),
    (("export", "profiles", "--where", "bigg > 1"), "attribute bigg", "big"),
    (("push", "--where", "bigg > 1", "--dry-run", "x.jsonl"), "attribute bigg", "big"),
    (("search", "--where", "emial = 'x'"), "attribute emial", "email"),
    (("export", "profiles", "--fields", "bgi"), "identity or attribute bgi", "big"),
    (("export", "profiles", "--fields", "emial"), "identity or attribute emial", "email"),
    (("export", "profiles", "--partition-by", "bigg", "-o", "parts"), "attribute bigg", "big"),
    (("lookup", "a.jsonl", "--field", "bigg"), "attribute bigg", "big"),
    (("diff", "--attribute", "bigg"), "attribute bigg", "big"),
    (("explain", "A", "--attribute", "bigg"), "attribute bigg", "big"),
    (("events", "--feed", "crn"), "feed crn", "crm"),
    (("stream", "--feed", "CRN"), "feed CRN", "crm"),
    (("feeds", "show", "crn"), "feed crn", "crm"),
    (("feeds", "set", "crn", "--protection", "update-only"), "feed crn", "crm"),
    (("audiences", "members", "golt"), "audience golt", "gold"),
    (("audiences", "refresh", "golt"), "audience golt", "gold"),
    (("audiences", "export", "golt"), "audience golt", "gold"),
    (("uid2", "run", "--dry-run", "--audience", "golt"), "audience golt", "gold"),
    (("calculated", "show", "vists"), "calculated attribute vists", "visits"),
    (("calculated", "recalculate", "vists"), "calculated attribute vists", "visits"),
    (("--workspace", "defualt", "export", "profiles"), "workspace defualt", "default"),
    (("forward", "--output", "lace"), "output lace", "lake"),
    (("outbox", "list", "--output", "lace"), "output lace", "lake"),
    (("outbox", "drop", "--output", "lace", "--yes"), "output lace", "lake"),
    (("enrich", "a.jsonl", "--feed", "crm", "--output", "lace"), "output lace", "lake"),
    (("search", "x", "--type", "emial"), "identity type emial", "email"),
    (("show", "--identity", "emial=x"), "identity type emial", "email"),
    (("lookup", "a.jsonl", "--type", "emial"), "identity type emial", "email"),
    (("imports", "show", "9"), "import 9", "1"),
    (("imports", "undo", "9", "--yes"), "import 9", "1"),
    (("diff", "9"), "import 9", "1"),
    (("export", "profiles", "--since", "9"), "import 9", "1"),
    (("show", "A", "--as-of", "9"), "import 9", "1"),
    (("push", "--import", "9", "--dry-run", "x.jsonl"), "import 9", "1"),
    (("audiences", "diff", "gold", "--import", "9"), "import 9", "1"),
]


@pytest.mark.parametrize(
    "case",
    first_now([*NAMES[::2], *NAMES[1::2]], len(NAMES) // 2),
    ids=lambda case: " ".join(case[0]),
)
def test_a_name_that_nobody_has_has_one_answer(
    case: tuple[tuple[str, ...], str, str], named: Path
) -> None:
    arguments, what, near = case
    done = run_here(*arguments, folder=named)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    said, hint = done.stderr.splitlines()[-2:]
    assert said.endswith(f"there is no {what}")
    assert hint.split(": ")[1].split(";")[0].split(" or ")[0] == near


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = stored(tmp_path_factory.mktemp("named"))
    (folder / "c.toml").write_text(
        '[outputs.lake]\ntype = "jsonl"\npath = "lake.jsonl"\n[connections.lake]\nfeed ='
        ' "crm"\noutput = "lake"\n'
        '[audiences.gold]\ncriteria = "t = \'x\'"\n[calculated.visits]\ntype = "count"\n'
    )
    assert run_here("config", "apply", "c.toml", folder=folder).returncode == 0
    return folder


def test_names_are_refused_in_one_sentence() -> None:
    def told(name: str, *there: str, **more: str) -> tuple[str, str]:
        error: ProfilectlError = no_such("feed", name, there, **more)
        return error.message, error.hint

    assert told("crn", "crm", "web", lists="profilectl feeds list") == (
        "there is no feed crn",
        "crm; profilectl feeds list lists them",
    )
    assert told("zzz", "crm", "web") == ("there is no feed zzz", "one of crm, web")
    assert told("CRM", "crm", option="--feed") == ("--feed CRM: there is no feed CRM", "crm")
    assert told("zzz", *map(str, range(50))) == ("there is no feed zzz", "")
    assert told("zzz", lists="profilectl feeds list") == (
        "there is no feed zzz, and no other",
        "profilectl feeds list lists them",
    )


# Looking up, and one column


def test_a_value_that_two_people_have_as_different_types_is_nobodys(tmp_path: Path) -> None:
    rows: list[Value] = [{"customer_id": "A"}, {"other": "A"}, {"customer_id": "C", "other": "C"}]
    (tmp_path / "a.jsonl").write_text(
        "".join(to_json({"user_identities": one}) + "\n" for one in rows)
    )
    assert run_here("import", "a.jsonl", "--feed", "f", folder=tmp_path).returncode == 0
    (tmp_path / "l.txt").write_text("A\nC\nD\n")
    found = [
        json.loads(line)
        for line in run_here(
            "lookup", "l.txt", "--type", "any", folder=tmp_path
        ).stdout.splitlines()
    ]
    assert [(one["type"], one["mpid"] is None, one.get("why")) for one in found] == [
        (None, True, "2 profiles have it"),
        ("customer_id", False, None),
        (None, True, "nobody has it"),
    ]
    table = Store(tmp_path / "profiles.duckdb").lookup(["A", "C", "D"]).to_pylist()
    assert [(one["type"], one["profiles"], one["mpid"] is None) for one in table] == [
        (None, 2, True),
        ("customer_id", 1, False),
        (None, 0, True),
    ]


def test_a_column_that_is_named_alone_is_alone(folder: Path) -> None:
    store = Store(folder / "profiles.duckdb")
    assert store.export(fields=["mpid"]).column_names == ["mpid"]
    assert store.export(fields=["environment", "t"]).column_names == [
        "environment",
        "user_attributes.t",
    ]
    assert store.export(fields=["t"]).column_names == ["mpid", "environment", "user_attributes.t"]
    csv = run_here(
        "export", "profiles", "--fields", "mpid", "--format", "csv", folder=folder
    ).stdout.splitlines()
    lines = run_here("export", "profiles", "--fields", "mpid", folder=folder).stdout.splitlines()
    assert csv == ["mpid", *(json.loads(line)["mpid"] for line in lines)]
    assert [list(json.loads(line)) for line in lines] == [["mpid"]] * 4
    for kind in ("identities", "attributes", "batches"):
        assert run_here("export", kind, "--fields", "mpid", folder=folder).returncode == 2
