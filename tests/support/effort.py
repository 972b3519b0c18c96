"""How much a slow test tries: as much as CI has time for, or by night all of it
(PROFILECTL_NIGHT=1).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import pytest


def at_length(by_ci: int, *, by_night: int) -> int:
    """Return how many examples a slow test tries."""
    return by_night if os.environ.get("PROFILECTL_NIGHT") else by_ci


def first_now(values: Sequence[Any], number: int) -> list[Any]:
    """Return the values of a parameter: the first so many for every run, the others with the slow
    tests.
    """
    return [
        *values[:number],
        *(pytest.param(value, marks=pytest.mark.slow) for value in values[number:]),
    ]


def spread_now(values: Iterable[Any], every: int) -> list[Any]:
    """Return the values of a parameter: each n-th for every run, the others of the same kind with
    the slow tests.
    """
    return [value if place % every == 0 else _slow(value) for place, value in enumerate(values)]


def _slow(value: Any) -> Any:
    if isinstance(value, type(pytest.param())):
        return pytest.param(*value.values, id=value.id, marks=[*value.marks, pytest.mark.slow])
    return pytest.param(
        *(value if isinstance(value, (tuple, list)) else (value,)), marks=pytest.mark.slow
    )
