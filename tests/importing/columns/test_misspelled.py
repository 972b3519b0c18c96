"""A misspelled field of --map or of a manifest is refused, and never becomes an attribute."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.doors import run_here

from profilectl.importing.stage.misspelled import RIGHT_NAMES, misspelled
from profilectl.rules.batch_fields import field_named


def near(name: str) -> str | None:
    wrong = misspelled(name, field_named(name))
    return wrong and wrong.near


@pytest.mark.parametrize(
    ("name", "intended"),
    [
        ("custmer_id", "customer_id"),
        ("costumer_id", "customer_id"),
        ("customer_di", "customer_id"),
        ("custoner id", "customer_id"),
        ("emial", "email"),
        ("e-mail", "email"),
        ("mobile_numbr", "mobile_number"),
        ("ios_idvf", "ios_idfv"),
        ("$FristName", "$FirstName"),
        ("first_name", "$FirstName"),
        ("given_name", None),
        ("city", "$City"),
        ("MPID", "mpid"),
        ("tag", None),
        ("tier", None),
        ("points", None),
        ("status", None),
        ("customer_id", None),
        ("$city", None),
        ("user_attributes.emial", None),
        ("device_info.ios_idvf", "device_info.ios_idfv"),
        ("device_info.platform", None),
        ("device_info.att_authorization_status", None),
        ("consent_state.gdpr.mail", None),
    ],
)
def test_two_letters_are_a_slip_and_more_is_a_name(name: str, intended: str | None) -> None:
    assert near(name) == intended


@given(st.sampled_from([name for name in RIGHT_NAMES if len(name) > 5]), st.data())
def test_any_letter_left_out_is_found(name: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(1, len(name) - 1))
    shorter = name[:place] + name[place + 1 :]
    wrong = misspelled(shorter, field_named(shorter))
    assert wrong is not None or field_named(shorter).kind != "attribute" or shorter in RIGHT_NAMES


def test_map_refuses_it_and_says_how_to_mean_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ID,Mail\n1,a@x.com\n")
    words = ("import", "a.csv", "--feed", "f", "--map", "Mail=email")
    finished = run_here(*words, "--map", "ID=custmer_id", folder=tmp_path)
    assert finished.returncode == 2
    assert finished.stderr == (
        "Error: --map ID=custmer_id: there is no field custmer_id, but there is customer_id\n"
        '  Try: --map "ID=customer_id", or --map "ID=user_attributes.custmer_id" for an attribute'
        " of that name\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    finished = run_here(*words, "--map", "ID=user_attributes.custmer_id", folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert run_here(*["columns", "a.csv", "--map", "ID=emial"], folder=tmp_path).returncode == 2


def test_a_manifest_is_held_to_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("emial,Mail\n1,a@x.com\n")

    def manifest(field: str) -> int:
        columns = [{"column": "emial"}, {"column": "Mail", "field": field}]
        (tmp_path / "m.json").write_text(json.dumps({"columns": columns}))
        words = ("import", "a.csv", "--feed", "f", "--manifest", "m.json")
        finished = run_here(*words, folder=tmp_path)
        if finished.returncode == 4:
            assert "m.json: column 2: there is no field emai, but there is email" in finished.stderr
            assert '"field": "email", or "user_attributes.emai"' in finished.stderr
        return finished.returncode

    assert manifest("emai") == 4
    # The name of a column says what its owner calls it, and nobody typed it here.
    assert manifest("email") == 0
