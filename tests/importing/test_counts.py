"""The counts of an import are what its diff says: profiles, identities and attributes, for every
way in.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from support.doors import call
from support.effort import at_length, first_now
from support.equivalence import by_engine
from support.histories import CUSTOMERS, EMAILS, History, histories

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.importing.stage import staged
from profilectl.profiles.read_model import profiles_of
from profilectl.reading.diff import differences, span_of
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

random = settings(
    max_examples=at_length(7, by_night=300),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.generate],
)


def counts_of(changes: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return what an import must count, of its diff."""
    kinds = Counter(one["change"] for one in changes)
    created = {(one["environment"], one["mpid"]) for one in changes if one["change"] == "created"}
    changed = {(one["environment"], one["mpid"]) for one in changes} - created
    gained, lost = (
        [
            (one["environment"], one["type"], one["value"].lower())
            for one in changes
            if one["change"] == f"identity-{what}"
        ]
        for what in ("added", "removed")
    )
    moved = len({*gained} & {*lost})
    return {
        "profiles": {"created": len(created), "updated": len(changed)},
        "identities": {
            "added": len(gained) - moved,
            "moved": moved,
            "removed": sum(one not in gained for one in lost),
        },
        "attributes": {name: kinds[name] for name in ("set", "changed", "deleted")},
    }


def assert_counts(path: Path, reports: list[Any]) -> None:
    scratch = Scratch(path.parent)
    with open_store(scratch, path) as store:
        model = profiles_of(store)
        for number, report in enumerate(reports, start=1):
            told = [json.loads(line) for line, *_ in differences(model, span_of(store, number))]
            for part, expected in counts_of(told).items():
                assert {name: report[part][name] for name in expected} == expected, (
                    f"{part} of import {number}"
                )
    scratch.close()


@pytest.mark.slow
@pytest.mark.parametrize("wide", first_now([10_000, 2], 1))
def test_counts_of_batches_are_their_diff(wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "WIDE", wide)

    @random
    @given(histories())
    def compare(history: History) -> None:
        note(history.as_case())
        with tempfile.TemporaryDirectory() as folder:
            _, reports, _ = by_engine(history, Path(folder))
            assert_counts(Path(folder) / "store.duckdb", reports)

    compare()


CELLS = ["", "", "v", "w"]
FILES = st.lists(
    st.tuples(
        st.lists(
            st.fixed_dictionaries(
                {
                    "customer_id": st.sampled_from([*CUSTOMERS, ""]),
                    "email": st.sampled_from([*EMAILS, ""]),
                    "k": st.sampled_from(CELLS),
                    "tier": st.sampled_from(CELLS),
                    "n": st.sampled_from(CELLS),
                    "deleted_user_attributes": st.sampled_from(["", "", "", "k", "n"]),
                }
            ),
            min_size=1,
            max_size=6,
        ),
        st.sampled_from(["ignore", "delete", "set"]),
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.slow
@pytest.mark.parametrize("wide", first_now([10_000, 1], 1))
def test_counts_of_cells_are_their_diff(wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "WIDE", wide)

    @random
    @given(FILES)
    def compare(files: list[tuple[list[dict[str, str]], str]]) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder, reports = Path(name), []
            for number, (rows, empty) in enumerate(files):
                with (folder / f"{number}.csv").open("w", newline="") as out:
                    table = csv.DictWriter(out, rows[0])
                    table.writeheader()
                    table.writerows(rows)
                request = ImportRequest(
                    [str(folder / f"{number}.csv")], "f", source="sdk", empty=empty, again=True
                )
                reports.append(import_files(folder / "store.duckdb", request).as_json())
            assert_counts(folder / "store.duckdb", reports)

    compare()


def test_a_deletion_of_nothing_of_somebody_new_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,tier,city\nA,gold,\nB,,\n")
    done = call("import", "a.csv", "--feed", "f", "--empty", "delete", "--json", folder=tmp_path)
    report = json.loads(done.stdout)
    assert report["attributes"] == {
        "set": 1,
        "changed": 0,
        "unchanged": 0,
        "deleted": 0,
        "blocked": 0,
    }
    assert report["profiles"] == {"created": 2, "updated": 0, "unchanged": 0}


def test_what_a_later_row_of_somebody_new_deletes_is_not_set(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,tier,city\nA,gold,Rome\nA,,\nA,,Oslo\n")
    done = call("import", "a.csv", "--feed", "f", "--empty", "delete", "--json", folder=tmp_path)
    assert json.loads(done.stdout)["attributes"]["set"] == 1
    shown = call("show", "A", "--json", folder=tmp_path)
    assert json.loads(shown.stdout)["profiles"][0]["user_attributes"] == {"city": "Oslo"}
