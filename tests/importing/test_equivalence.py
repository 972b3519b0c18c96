"""The engine leaves the same store as the interpreter, for every history: profiles, provenance,
counts.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from support.effort import at_length, first_now
from support.equivalence import check
from support.histories import History, Import, histories
from support.packed_histories import check_pack, pack_of

import profilectl.importing.alike

quick = settings(
    max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@quick
@given(histories())
def test_engine_equals_interpreter(history: History) -> None:
    check(history)


@pytest.mark.slow
@settings(quick, max_examples=10)
@given(histories(workspaces=True))
def test_engine_equals_interpreter_in_every_workspace(history: History) -> None:
    check(history)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_engine_equals_interpreter_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(30, by_night=250),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(histories(workspaces=part % 2 == 1))
    def compare(history: History) -> None:
        check(history)

    compare()


@pytest.mark.parametrize("seed", first_now(range(at_length(10, by_night=500)), 1))
def test_engine_equals_interpreter_over_many_histories_at_once(seed: int) -> None:
    check_pack(pack_of(seed, histories=200))


# Rows that share an identity are decided in sets where there is one answer: many rows of few
# people, with a customer number or without one, in any order.
LEVELS = ["create-and-update", "create-and-update", "update-only"]


def row(customer: str, email: str, mobile: str) -> dict[str, Any]:
    identities = {"customer_id": customer, "email": email, "mobile_number": mobile}
    return {
        "user_identities": {name: value for name, value in identities.items() if value},
        "user_attributes": {"k": customer or email},
    }


IDENTITY = st.sampled_from(
    [
        {"strategy": "default"},
        {"strategy": "default", "unique_conflict": "keep"},
        {"strategy": "conversion", "login": ["email"], "unique": ["email"]},
        {"strategy": "conversion", "login": [], "unique": []},
        {"strategy": "link"},
        {"strategy": "isolation"},
    ]
)


@st.composite
def few_people(draw: st.DrawFn) -> History:
    """Return imports of rows of a few people; most rows share an address, many have no number."""
    rows = st.builds(
        row,
        customer=st.sampled_from(["", "", "A", "B", "C"]),
        email=st.sampled_from(["", "x@x.org", "x@x.org", "y@x.org"]),
        mobile=st.sampled_from(["", "", "+1", "+2"]),
    )
    identity = draw(IDENTITY)
    imports = [
        Import("f", draw(st.sampled_from(LEVELS)), draw(st.lists(rows, min_size=1, max_size=9)))
        for _ in range(draw(st.integers(1, 3)))
    ]
    return History(identity, "rank", {"f": ("csv", None)}, imports=imports)


UNFOUND = {"strategy": "conversion", "login": ["customer_id"], "unique": ["customer_id"]}


@st.composite
def alike_people(draw: st.DrawFn) -> History:
    """Return imports in which whole rows are repeated, often of people who share nothing."""
    rows = st.builds(
        row,
        customer=st.sampled_from(["", "", "A", "B", "C", "D"]),
        email=st.sampled_from(["", "w@x.org", "x@x.org", "y@x.org", "z@x.org"]),
        mobile=st.sampled_from(["", "", "+1", "+2", "+3"]),
    )
    people = st.sampled_from(draw(st.lists(rows, min_size=2, max_size=5)))
    # Here a mobile number finds nobody.
    identity = draw(IDENTITY | st.just({**UNFOUND, "hierarchy": ["customer_id", "email"]}))
    imports = [
        Import("f", draw(st.sampled_from(LEVELS)), draw(st.lists(people, min_size=3, max_size=9)))
        for _ in range(draw(st.integers(1, 2)))
    ]
    return History(identity, "rank", {"f": ("csv", None)}, imports=imports)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(few_people())
def test_rows_of_few_people_are_those_of_the_rules(history: History) -> None:
    check(history)


def test_alike_rows_are_those_of_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profilectl.importing.alike, "MANY_ALIKE", 0)

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(alike_people())
    def compare(history: History) -> None:
        check(history)

    compare()


@pytest.mark.slow
@settings(
    max_examples=at_length(100, by_night=10_000),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(few_people())
def test_rows_of_few_people_are_those_of_the_rules_at_length(history: History) -> None:
    check(history)


@pytest.mark.slow
def test_alike_rows_are_those_of_the_rules_at_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profilectl.importing.alike, "MANY_ALIKE", 0)

    @settings(
        max_examples=at_length(80, by_night=10_000),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(alike_people())
    def compare(history: History) -> None:
        check(history)

    compare()
