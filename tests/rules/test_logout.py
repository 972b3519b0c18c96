"""The rule of a logout: what the table says, that the engine does what the interpreter does."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from support import equivalence
from support.effort import at_length
from support.equivalence import by_engine, canonical, engine_canonical, played
from support.histories import History, histories

from profilectl.importing.request import ImportRequest
from profilectl.rules import interpreter as rules_of_one_row
from profilectl.rules.feed import DEFAULT_WORKSPACE, workspaces_of
from profilectl.rules.identity import CALLS, LOGOUTS, STRATEGIES, Rules, UsableIdentity, flags_of
from profilectl.rules.resolution import Claim, Records, decide

V = UsableIdentity("ios_idfv", "v", "v")
CUSTOMER, EMAIL = (
    UsableIdentity("customer_id", "A", "A"),
    UsableIdentity("email", "a@example.com", "a@example.com"),
)


def rules(strategy: str) -> Rules:
    return Rules(strategy, **flags_of(strategy, {}))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_where_a_logout_leads(strategy: str) -> None:
    records, found = Records(), []
    for arrival, (call, *identities) in enumerate(
        [
            ("identify", V),
            ("login", CUSTOMER, EMAIL, V),
            ("logout", EMAIL, V),
            ("logout", V),
            ("identify", V),
        ]
    ):
        found.append(
            decide(
                Claim(arrival, tuple(identities)), records, rules(strategy), create=True, call=call
            ).profile
        )
    assert (
        found
        == {
            "default": [0, 0, 2, 3, 3],
            "conversion": [0, 0, 2, 3, 3],
            "link": [0, 1, 2, 3, 3],
            "isolation": [0, 1, 0, 0, 0],
            "best-match": [0, 0, 0, 0, 0],
        }[strategy]
    )
    assert "email" not in records.record[2] if strategy == "link" else True, (
        "a login identity stays where it is"
    )
    assert STRATEGIES[strategy].logout in LOGOUTS


def test_a_feed_that_may_only_update_is_logged_out_to_nobody() -> None:
    records = Records()
    assert (
        decide(Claim(0, (V,)), records, rules("default"), create=False, call="logout").profile
        is None
    )
    assert records.record == {}


def check(history: History, calls: list[str]) -> None:
    for one, call in zip(history.imports, calls, strict=False):
        one.call = call
    note(f"{calls} {history.as_case()}")
    told: list[Any] = []
    decided: dict[int, int | None] = {}

    def noted(claim: Claim, *arguments: Any, **more: Any) -> Any:
        decision = decide(claim, *arguments, **more)
        decided[claim.arrival] = decision.profile
        return decision

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            equivalence,
            "ImportRequest",
            functools.partial(ImportRequest, outcomes=told.append),
        )
        patched.setattr(rules_of_one_row, "decide", noted)
        profiles, reports, secret = by_engine(history, Path(folder))
        found, counts, starts = played(history, secret)
    assert reports == counts
    people = [
        canonical(person, starts, workspace)
        for workspace in workspaces_of(history.feed(name) for name in history.feeds)
        or [DEFAULT_WORKSPACE]
        for _, person in sorted(found.people.items())
    ]
    assert [engine_canonical(one) for one in profiles] == people
    for start, outcomes in zip(starts, told, strict=True):
        for one in outcomes:
            profile = decided.get(start + one.row)
            if profile is not None:
                assert (one.code, one.mpid) == (None, found.people[profile].mpid)
            elif one.code != "DUPLICATE_REQUEST":
                assert one.mpid is None
                assert one.code


quick = settings(
    max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
calls = st.lists(st.sampled_from([*CALLS, "logout"]), min_size=4, max_size=4)


@quick
@given(histories(), calls)
def test_engine_equals_interpreter_in_what_applications_say(
    history: History, said: list[str]
) -> None:
    check(history, said)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_engine_equals_interpreter_in_what_applications_say_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(30, by_night=250),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(histories(workspaces=part % 2 == 1), calls)
    def compare(history: History, said: list[str]) -> None:
        check(history, said)

    compare()
