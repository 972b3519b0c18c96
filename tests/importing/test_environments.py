"""An MPID belongs to its environment: the same number in the other one is somebody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.doors import call, run_here
from support.equivalence import check
from support.histories import History, Import, identity_settings


def batch(
    mpid: int, environment: str, customer: str | None = None, **attributes: Any
) -> dict[str, Any]:
    identities = {"email": "office@example.com"} | ({"customer_id": customer} if customer else {})
    return {
        "mpid": mpid,
        "environment": environment,
        "user_identities": identities,
        "user_attributes": attributes,
    }


def brought(folder: Path, *rows: dict[str, Any], feed: str = "f") -> dict[str, Any]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = call("import", "rows.jsonl", "--feed", feed, "--json", "--again", folder=folder)
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def people(folder: Path) -> list[tuple[str, str, dict[str, Any]]]:
    lines = call("export", "profiles", folder=folder).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    return sorted((one["environment"], one["mpid"], one["user_attributes"]) for one in found)


BOTH = [
    batch(12, "production", "A", x="p12"),
    batch(13, "production", "B", x="p13"),
    batch(12, "development", "A", x="d12"),
    batch(13, "development", "B", x="d13"),
]
EXPECTED = [
    ("development", "12", {"x": "d12"}),
    ("development", "13", {"x": "d13"}),
    ("production", "12", {"x": "p12"}),
    ("production", "13", {"x": "p13"}),
]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (3, 0, 2, 1)])
def test_rows_of_two_environments_that_name_one_mpid_are_of_two_people(
    order: tuple[int, ...], tmp_path: Path
) -> None:
    report = brought(tmp_path, *(BOTH[place] for place in order))
    assert report["profiles"]["created"] == 4
    assert people(tmp_path) == EXPECTED
    again = brought(tmp_path, *(BOTH[place] for place in reversed(order)))
    assert again["profiles"] == {"created": 0, "updated": 0, "unchanged": 4}
    assert people(tmp_path) == EXPECTED


def test_exported_batches_of_two_environments_make_the_same_people_again(tmp_path: Path) -> None:
    brought(tmp_path, *BOTH)
    (tmp_path / "other").mkdir()
    batches = call("export", "batches", folder=tmp_path).stdout.splitlines()
    brought(tmp_path / "other", *map(json.loads, batches))
    assert people(tmp_path / "other") == EXPECTED
    assert call("check", folder=tmp_path / "other").exit_code == 0


def test_a_correction_by_mpid_stays_in_its_environment(tmp_path: Path) -> None:
    brought(tmp_path, batch(12, "production", "P", x="p"), batch(12, "development", "D", x="d"))
    done = run_here("set", "--mpid=12", "x=q", folder=tmp_path)
    assert (done.returncode, "--pick N" in done.stderr, "--mpid" in done.stderr) == (2, True, False)
    done = call("set", "--customer-id", "D", "x=q", folder=tmp_path)
    assert done.exit_code == 0, done.output
    done = call("modify", "--customer-id", "D", "--add", "mobile_number=+1", folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert people(tmp_path) == [("development", "12", {"x": "q"}), ("production", "12", {"x": "p"})]
    shown = json.loads(call("show", "--mpid=12", "--json", folder=tmp_path).stdout)["profiles"]
    assert [one["environment"] for one in shown] == ["production", "development"]


def test_who_is_erased_in_one_environment_stays_in_the_other(tmp_path: Path) -> None:
    brought(tmp_path, *BOTH)
    place = next(
        n
        for n, one in enumerate(
            json.loads(call("show", "--mpid=12", "--json", folder=tmp_path).stdout)["profiles"], 1
        )
        if one["environment"] == "development"
    )
    done = call("forget", "--mpid=12", "--pick", str(place), "--yes", folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert people(tmp_path) == [one for one in EXPECTED if one[:2] != ("development", "12")]
    report = brought(
        tmp_path,
        {"mpid": 12, "environment": "production", "user_attributes": {"x": "new"}},
        {"mpid": 12, "environment": "development", "user_attributes": {"x": "new"}},
    )
    assert (report["rows"]["applied"], report["reasons"]) == (1, {"SUPPRESSED": 1})
    assert ("production", "12", {"x": "new"}) in people(tmp_path)


def test_a_waiting_batch_of_the_other_environment_does_not_go_with_the_erased(
    tmp_path: Path,
) -> None:
    brought(tmp_path, *BOTH)
    with duckdb.connect(str(tmp_path / "profiles.duckdb")) as store:
        for arrival, environment in enumerate(("production", "development"), start=900):
            content = json.dumps(
                {"environment": environment, "identities": {}, "attributes": {}, "mpid": 12}
            )
            store.execute(
                (
                    "insert into outbox (output, feed, arrival, import, at_ms, state, content)"
                    " values ('o', 1, $arrival, 1, 0, 'waiting', $content)"
                ),
                {"arrival": arrival, "content": content},
            )
    place = next(
        n
        for n, one in enumerate(
            json.loads(call("show", "--mpid=12", "--json", folder=tmp_path).stdout)["profiles"], 1
        )
        if one["environment"] == "development"
    )
    told = json.loads(call("access", "--mpid=12", "--pick", str(place), folder=tmp_path).stdout)
    assert [one["batch"]["environment"] for one in told["passed_by"]] == ["development"]
    done = call("forget", "--mpid=12", "--pick", str(place), "--yes", folder=tmp_path)
    assert done.exit_code == 0, done.output
    with duckdb.connect(str(tmp_path / "profiles.duckdb"), read_only=True) as store:
        assert store.execute("select arrival from outbox").fetchall() == [(900,)]


@pytest.mark.parametrize("harm", ["a row of the other environment", "two profiles with one MPID"])
def test_check_finds_rows_of_another_environment_and_shared_mpids(
    harm: str, tmp_path: Path
) -> None:
    brought(tmp_path, batch(12, "production", "P", x="p"), batch(13, "production", "Q", x="q"))
    brought(tmp_path, batch(12, "production", "P", x="pp"))
    with duckdb.connect(str(tmp_path / "profiles.duckdb")) as store:
        (table,) = store.execute(
            "select max(table_name) from duckdb_tables() where table_name like 'row_%'"
        ).fetchone() or ("",)
        if harm.startswith("a row"):
            store.execute(f"update {table} set environment = 1")
        else:
            store.execute("update row_1 set mpid = 12 where mpid = 13")
            store.execute("update mpid_1 set mpid = 12 where mpid = 13")
    done = call("check", "--json", folder=tmp_path)
    assert done.exit_code != 0
    assert ("environment" if harm.startswith("a row") else "MPIDs belong to several") in done.stdout


@st.composite
def two_environments(draw: st.DrawFn) -> History:
    """Draw a history of rows that name few MPIDs, and have few identities, in both environments."""
    row = st.fixed_dictionaries(
        {
            "environment": st.sampled_from(["production", "development"]),
            "user_attributes": st.just({"k": "v"}),
        },
        optional={
            "mpid": st.sampled_from([12, 13]),
            "user_identities": st.fixed_dictionaries(
                {},
                optional={
                    "customer_id": st.sampled_from(["A", "B"]),
                    "email": st.just("office@example.com"),
                },
            ),
        },
    )
    history = History(draw(identity_settings()), "rank", {"f": ("sdk", None)})
    for _ in range(draw(st.integers(1, 3))):
        history.imports.append(
            Import("f", "create-and-update", draw(st.lists(row, min_size=2, max_size=8)))
        )
    return history


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(two_environments())
def test_the_engine_keeps_mpids_of_two_environments_apart_as_the_interpreter_does(
    history: History,
) -> None:
    check(history)
