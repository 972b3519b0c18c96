"""The engine leaves the same store as the interpreter, for every history: profiles, provenance,
counts.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, seed, settings
from support.effort import at_length
from support.equivalence import check
from support.histories import History, histories

quick = settings(
    max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
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
