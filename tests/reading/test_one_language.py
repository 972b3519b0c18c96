"""One language of conditions: a test means the same in a search, in an audience and on an event."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as some
from support.audience_people import NOW_MS, database, lay_out, people
from support.audience_people import tests as random_tests
from support.doors import made_once, run_here

from profilectl.audiences.sql.membership_sql import AudienceToEvaluate
from profilectl.profiles.read_model import Profiles
from profilectl.reading.where import _ConditionWriter, _is_beside
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.text import expression
from profilectl.rules.criteria.tree import Criterion
from profilectl.rules.event.condition import event_condition
from profilectl.rules.membership import PersonFacts, holds
from profilectl.rules.text.values import parse_json

GOLD = {"tier": "Gold", "n": 1000, "yes": True, "sizes": ["40", "41"]}
SILVER = {"tier": "silver", "n": "1e2", "yes": "false", "sizes": ["400"]}
PEOPLE: list[dict[str, Any]] = [
    {
        "user_identities": {"customer_id": "A", "email": "Ann@Example.com"},
        "user_attributes": GOLD,
        "device_info": {"platform": "iOS", "limit_ad_tracking": True},
        "consent_state": {"gdpr": {"ads": {"consented": True, "timestamp_unixtime_ms": 1}}},
        "events": [
            {"event_type": "custom_event", "data": {
                "event_name": "buy", "custom_event_type": "transaction",
                "custom_attributes": GOLD,
            }}
        ],
    },
    {
        "user_identities": {"customer_id": "B"},
        "user_attributes": SILVER,
        "device_info": {"platform": "Android", "limit_ad_tracking": False},
        "events": [
            {"event_type": "opt_out", "data": {"is_opted_out": True}},
            {"event_type": "custom_event", "data": {
                "event_name": "buy", "custom_event_type": "transaction",
                "custom_attributes": SILVER,
            }},
        ],
    },
    {"user_identities": {"customer_id": "C"}, "user_attributes": {"hue": "x"}},
]  # fmt: skip


def _stored(folder: Path) -> None:
    (folder / "a.jsonl").write_text("".join(json.dumps(batch) + "\n" for batch in PEOPLE))
    for words in (
        ("import", "a.jsonl", "--feed", "app", "--source", "sdk"),
        ("audiences", "add", "Rich", "n >= 1e3"),
    ):
        process = run_here(*words, folder=folder)
        assert process.returncode == 0, process.stderr


stored = made_once(_stored)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("one"))


def searched(folder: Path, condition: str) -> str:
    process = run_here("export", "profiles", "--where", condition, folder=folder)
    assert process.returncode == 0, process.stderr
    lines = map(json.loads, process.stdout.splitlines())
    return "".join(sorted(line["user_identities"]["customer_id"][0] for line in lines))


def previewed(folder: Path, condition: str) -> str:
    process = run_here("audiences", "preview", condition, "--json", folder=folder)
    assert process.returncode == 0, process.stderr
    sample = json.loads(process.stdout)["sample"]
    return "".join(sorted(person["user_identities"]["customer_id"][0] for person in sample))


# fmt: off
TESTS = [
    # a test of one field                who passes it
    ("tier = 'gold'",                    "A"),
    ("tier contains 'OL'",               "A"),
    ("tier starts with 's'",             "B"),
    ("tier ends with 'D'",               "A"),
    ("tier matches 'g*d'",               "A"),
    ("tier like 's%'",                   "B"),
    ("tier < 'h'",                       "A"),
    ("tier is null",                     "C"),
    ("tier exists",                      "AB"),
    ("n >= 1e3",                         "A"),
    ("n between 1e2 and 1e4",            "AB"),
    ("n in (100, 5)",                    "B"),
    ("yes = true",                       "A"),
    ("yes != true",                      "BC"),
    ("sizes includes '40'",              "A"),
    ("sizes includes part '40'",         "AB"),
    ("sizes contains '40'",              "AB"),
    ("sizes not contains '1'",           "BC"),
    ("sizes is empty",                   "C"),
]
ABOUT_PEOPLE = [
    # what only people have                           in a search  in an audience: nobody opted out
    ("limit_ad_tracking = true",                       "A",         "A"),
    ("limit_ad_tracking = false",                      "B",         ""),
    ("limit_ad_tracking exists",                       "AB",        "A"),
    ("limit_ad_tracking not exists",                   "C",         "C"),
    ("device.platform in ('ios', 'android')",          "AB",        "A"),
    ("event 'buy'",                                    "AB",        "A"),
    ("not event 'buy'",                                "C",         "C"),
    ("count(event 'BUY' where (n >= 1e3)) = 1",        "A",         "A"),
    ("event opt_out and n exists",                     "B",         ""),
    ("consent gdpr.ads is granted",                    "A",         "A"),
    ("consent gdpr.ads is unknown",                    "BC",        "C"),
    ("audience 'rich' or hue = 'x'",                 "AC",        "AC"),
    ("environment in ('production', 'development')",   "ABC",       "AC"),
    ("first_seen after '2020-01-01' exclude n = 1000", "BC",        "C"),
]
# fmt: on


@pytest.mark.parametrize(("condition", "passing"), TESTS)
def test_a_test_means_the_same_everywhere(condition: str, passing: str, folder: Path) -> None:
    assert searched(folder, condition) == passing
    # who has opted out is in no audience
    assert previewed(folder, condition) == passing.replace("B", "")
    documents = [batch["events"][-1] if "events" in batch else {"data": {}} for batch in PEOPLE]
    read = event_condition(condition)
    of_events = "".join(
        name
        for name, document in zip("ABC", documents, strict=True)
        if read.holds(parse_json(json.dumps(document)))
    )
    assert of_events == passing


@pytest.mark.parametrize(("condition", "matching", "members"), ABOUT_PEOPLE)
def test_a_search_knows_what_an_audience_knows(
    condition: str, matching: str, members: str, folder: Path
) -> None:
    assert searched(folder, condition) == matching
    assert previewed(folder, condition) == members


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("event 'bui'", "there is no event bui"),
        ("audience 'rihc'", "there is no audience rihc"),
        ("teir = 'x' and event 'buy'", "there is no attribute teir"),
    ],
)
def test_a_name_of_nothing_is_refused_with_the_nearest(
    condition: str, message: str, folder: Path
) -> None:
    process = run_here("search", "--where", condition, folder=folder)
    assert (process.returncode, message in process.stderr) == (2, True), process.stderr
    assert any(name in process.stderr.partition("Try:")[2] for name in ("buy", "Rich", "tier"))


@pytest.mark.parametrize("command", ["search --where", "export profiles --where"])
def test_text_and_what_stands_beside_go_together(command: str, folder: Path) -> None:
    words = command.replace("search", "search ann").split()
    process = run_here(*words, "event 'buy' and tier = 'gold'", folder=folder)
    assert (process.returncode, "Ann@Example.com" in process.stdout) == (0, True), process.stdout


def on_rows(tree: Criterion) -> bool:
    return not any(map(_is_beside, criteria.leaves(tree)))


rows: Any = some.recursive(
    random_tests().filter(on_rows),
    lambda inner: some.one_of(
        some.lists(inner, min_size=1, max_size=3).map(criteria.all_of),
        some.lists(inner, min_size=1, max_size=3).map(criteria.any_of),
        inner.map(criteria.not_),
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(rows, some.lists(people(), min_size=1, max_size=6))
def test_a_search_finds_whom_the_rule_says(
    tree: Criterion, given_people: list[PersonFacts]
) -> None:
    note(expression(tree))
    lay_out([AudienceToEvaluate("a", tree)], given_people)
    reads = criteria.reads(tree)
    profiles = cast(Profiles, SimpleNamespace(identities=reads.identities))
    sql = _ConditionWriter(profiles, reads.attributes, beside=[], now_ms=NOW_MS).sql(tree)
    matching = {
        place
        for (place,) in database().execute(f"select profile from person where {sql}").fetchall()
    }
    expected = set()
    for place, person in enumerate(given_people):
        person.events = [event for event in person.events if event.type != "opt_out"]
        if holds(tree, person, NOW_MS):
            expected.add(place)
    assert matching == expected
