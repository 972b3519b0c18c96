"""The equivalence test has teeth: break one rule of the engine, and a random history shows it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from support.broken_rules import BROKEN, break_rule
from support.equivalence import check
from support.histories import histories
from support.packed_histories import difference, pack_of


@pytest.mark.slow
@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_caught(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_rule(rule, monkeypatch)

    @settings(
        max_examples=400,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
    )
    @given(histories())
    def search(history: Any) -> None:
        check(history)

    with pytest.raises(AssertionError):
        search()


@pytest.mark.slow
@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_shows_among_many_histories(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_rule(rule, monkeypatch)
    assert any(difference(pack_of(seed, histories=200)) for seed in range(20))
