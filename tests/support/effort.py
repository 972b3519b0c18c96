"""How much a slow test tries: as much as CI has time for, or by night all of it
(PROFILECTL_NIGHT=1).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
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
