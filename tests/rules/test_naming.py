"""What is suggested for a name that nothing has: the nearest, in bounded time, safe on a terminal."""

from __future__ import annotations

import time

import pytest

from profilectl.rules.text.naming import advice, instead, nearest, no_such

MANY = [f"attribute_{number}" for number in range(1_000_000)]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("teir", "tier"), ("TIER", "tier"), ("tiers", "tier"), ("goldn", "golden"), ("x", None)],
)
def test_the_nearest_name_is_suggested(typed: str, meant: str | None) -> None:
    near = nearest(typed, ["visits", "golden", "tier"])
    assert (near[0] if near else None) == meant


@pytest.mark.parametrize(("typed", "meant"), [("teir", "tier"), ("attribut_77", "attribute_77")])
def test_a_million_names_take_less_than_a_second(typed: str, meant: str) -> None:
    names = [*MANY, "tier"]
    began = time.process_time()
    assert nearest(typed, names)[0] == meant
    assert time.process_time() - began < 2


def test_a_name_as_long_as_a_book_is_not_compared() -> None:
    assert nearest("a" * 1_000_000, ["a"]) == []


def test_names_of_a_store_act_on_no_terminal() -> None:
    names = ["ti\x1b[2Jer"]
    for text in (*nearest("ti[2Jer", names), advice("other", names), instead("ti[2Jer", names, "")):
        assert "\x1b" not in text
        assert "u001b" in text
    assert "\x1b" not in no_such("attribute", "x\x1b[2J", names).message
