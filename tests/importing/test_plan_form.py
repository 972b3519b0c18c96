"""The form of a plan knows whatever a request is remembered by: where it did not, no plan could be
applied.
"""

from __future__ import annotations

from dataclasses import fields

import pytest

from profilectl.importing.plans.plan_form import REQUEST, fits
from profilectl.importing.request import REMEMBERED, ImportRequest


def test_the_form_of_a_plan_knows_every_option_that_a_request_is_remembered_by() -> None:
    known = {name for name in REQUEST if not name.endswith("?")}
    assert known == {*REMEMBERED, "folder"}


@pytest.mark.parametrize(
    "name",
    [
        field.name
        for field in fields(ImportRequest)
        if field.type == "bool" and field.name in REMEMBERED
    ],
)
def test_an_option_that_is_not_given_fits_the_form(name: str) -> None:
    assert fits(False, REQUEST[name])
    assert not fits("yes", REQUEST[name])


def test_no_plan_lets_in_times_that_cannot_be() -> None:
    assert not fits(True, REQUEST["any_time"])
