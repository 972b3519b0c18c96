"""What an import changed, and what lies between two: against the exports before and after."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from support.doors import run_here
from support.effort import at_length
from support.equivalence import by_engine
from support.histories import History, histories

from profilectl.profiles.read_model import profiles_of
from profilectl.reading.diff import differences, span_of
from profilectl.rules.text.values import to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

A = """{"user_identities":{"customer_id":"C1","email":"a@example.com"},"user_attributes":{"tier":"gold","n":1.10,"l":["x"]}}
{"user_identities":{"customer_id":"C2"},"user_attributes":{"tier":"iron"}}
"""
B = """{"user_identities":{"customer_id":"C1","email":"new@example.com"},"user_attributes":{"tier":"lead","l":["x"]},"deleted_user_attributes":["n"]}
{"user_identities":{"customer_id":"C3"},"user_attributes":{"tier":"tin"}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jsonl").write_text(A)
    (tmp_path / "b.jsonl").write_text(B)
    for name in ("a", "b"):
        assert run_here("import", f"{name}.jsonl", "--feed", "crm", folder=tmp_path).returncode == 0
    return tmp_path


def changes(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = run_here("diff", *arguments, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_kind_of_change_is_told_with_its_row(folder: Path) -> None:
    found = [
        (
            one["change"],
            one.get("attribute", one.get("value")),
            one.get("before"),
            one.get("after"),
            one["line"],
        )
        for one in changes(folder, "2")
    ]
    assert found == [
        ("identity-added", "new@example.com", None, None, 1),
        ("changed", "tier", "gold", "lead", 1),
        ("deleted", "n", 1.1, None, 1),
        ("created", None, None, None, 2),
        ("identity-added", "C3", None, None, 2),
        ("set", "tier", None, "tin", 2),
    ]


def test_numbers_keep_every_digit(folder: Path) -> None:
    assert (
        '"before":1.10'
        in run_here("diff", "2", "--json", "--change", "deleted", folder=folder).stdout
    )


def test_filters_narrow_it_down(folder: Path) -> None:
    assert {one["attribute"] for one in changes(folder, "2", "--attribute", "tier")} == {"tier"}
    assert [
        one["change"] for one in changes(folder, "2", "--change", "created", "--change", "deleted")
    ] == ["deleted", "created"]
    assert len(changes(folder, "2", "--identity", "customer_id=C3")) == 3
    assert changes(folder, "2", "--identity", "customer_id=C2") == []
    assert len(changes(folder, "2", "--limit", "2")) == 2


def test_an_attribute_is_meant_by_any_way_to_name_it(folder: Path) -> None:
    assert (
        run_here("set", "--identity", "customer_id=C1", "$FirstName=Bo", folder=folder).returncode
        == 0
    )
    for name in ("$firstname", "$FirstName", "user_attributes.$FIRSTNAME"):
        assert [one["attribute"] for one in changes(folder, "3", "--attribute", name)] == [
            "$FirstName"
        ]


def test_between_two_states_only_the_outcome_counts(folder: Path) -> None:
    found = {
        (one["attribute"], json.dumps(one.get("before")), json.dumps(one.get("after")))
        for one in changes(folder, "0", "2", "--identity", "customer_id=C1")
        if "attribute" in one
    }
    assert found == {("tier", "null", '"lead"'), ("l", "null", '["x"]')}
    assert changes(folder, "1", "2") == changes(folder, "2") != changes(folder, "2", "1")
    assert changes(folder, "1", "1") == []


def test_what_cannot_be_is_told_in_our_words(folder: Path) -> None:
    for arguments, says in (
        (["--identity", "foo=bar"], "there is no identity type foo"), (["--identity", "foo"], "must be TYPE=VALUE"), (["--change", "foo"], "--change foo: must be one of"),
    ):  # fmt: skip
        done = run_here("diff", *arguments, folder=folder)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    assert "[OPTIONS] [N] [M]" in run_here("diff", "--help", folder=folder).stdout


def test_an_import_that_is_not_in_force_is_refused(folder: Path) -> None:
    assert run_here(*["imports", "undo", "2", "--yes"], folder=folder).returncode == 0
    for arguments in (("2",), ("1", "2")):
        assert run_here("diff", *arguments, folder=folder).returncode == 4
    for arguments in (("9",), ("0",)):
        assert run_here("diff", *arguments, folder=folder).returncode == 2, "there never was one"


@pytest.mark.slow
@settings(
    max_examples=at_length(7, by_night=100),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(histories())
def test_changes_of_all_imports_lead_from_nothing_to_the_export(history: History) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        profiles, _, _ = by_engine(history, folder)
        state: dict[str, dict[str, Any]] = {}
        scratch = Scratch(folder)
        with open_store(scratch, folder / "store.duckdb") as store:
            model = profiles_of(store)
            for number in range(1, len(history.imports) + 1):
                for line, *_ in differences(model, span_of(store, number)):
                    apply(state, json.loads(line))
        scratch.close()
    assert {key: (sorted(one["identities"]), one["attributes"]) for key, one in state.items()} == {
        json.dumps([one["environment"], one["mpid"]]): (
            sorted(
                [kind, value]
                for group in ("user_identities", "device_identities")
                for kind, values in one[group].items()
                for value in values
            ),
            {key: json.loads(to_json(value)) for key, value in one["user_attributes"].items()},
        )
        for one in profiles
    }


def apply(state: dict[str, dict[str, Any]], change: dict[str, Any]) -> None:
    """Do to a state what a change says, and see that the change fits the state."""
    key = json.dumps([change["environment"], change["mpid"]])
    if change["change"] == "created":
        assert key not in state
        state[key] = {"identities": [], "attributes": {}}
    one = state[key]
    match change["change"]:
        case "identity-added":
            assert [change["type"], change["value"]] not in one["identities"]
            one["identities"].append([change["type"], change["value"]])
        case "identity-removed":
            one["identities"].remove([change["type"], change["value"]])
        case "set" | "changed" | "deleted":
            before = one["attributes"].pop(change["attribute"], None)
            assert ("before" in change, change.get("before")) == (change["change"] != "set", before)
            if "after" in change:
                one["attributes"][change["attribute"]] = change["after"]


def test_values_without_a_column_of_their_own_are_compared(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"user_identities": {"customer_id": "A"}, "deleted_user_attributes": ["x"]}\n'
    )
    run_here("import", "a.jsonl", "--feed", "f", folder=tmp_path)
    assert run_here("diff", "1", folder=tmp_path).returncode == 0
