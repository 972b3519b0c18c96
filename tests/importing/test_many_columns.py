"""Files with thousands of columns: what they cost, what they keep, and what leaves again."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import doors
from support.doors import call

from profilectl.importing.stage.options import ReadingOptions
from profilectl.importing.stage.run import stage_files
from profilectl.importing.stage.source.files import Named, open_files
from profilectl.importing.stage.staged import Rejects
from profilectl.rules.batch import Reading, read_flat
from profilectl.rules.batch_limits import LIMITS
from profilectl.store.scratch import Scratch


def _write(path: Path, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows([names, *rows])


def run(*arguments: object) -> str:
    result = call(*map(str, arguments), folder=Path.cwd())
    assert result.exit_code == 0, result.output
    return result.stdout


def _people(store: Path) -> list[dict]:
    return [json.loads(line) for line in run("--store", store, "export", "profiles").splitlines()]


@pytest.mark.slow
def test_a_file_of_10_000_columns_is_read_exactly_and_leaves_again(tmp_path: Path) -> None:
    """9,000 columns ended the process: a sum over all of them was an expression as deep as the file
    is wide.
    """
    names = ["customer_id", *(f"k{place}" for place in range(9_990))]
    rows = [
        [f"u{row}", *(f'v"{row},\n{place}' if place % 100 == row else "" for place in range(9_990))]
        for row in range(3)
    ]
    _write(tmp_path / "wide.csv", names, rows)
    store = tmp_path / "a.db"
    report = json.loads(
        run("--store", store, "import", tmp_path / "wide.csv", "--feed", "f", "--json")
    )
    assert report["attributes"]["set"] == 300
    assert report["left_out"] == {}
    people = _people(store)
    wanted = [
        {name: cell for name, cell in zip(names[1:], row[1:], strict=True) if cell} for row in rows
    ]
    assert [one["user_attributes"] for one in people] == wanted
    assert (
        json.loads(run("--store", store, "show", "--customer-id", "u1", "--json"))["profiles"][0][
            "user_attributes"
        ]
        == wanted[1]
    )
    assert len(json.loads(run("--store", store, "stats", "--json"))["attributes"]) == 300


def test_more_than_10_000_columns_are_refused_in_words(tmp_path: Path) -> None:
    names = ["customer_id", *(f"k{place}" for place in range(10_000))]
    _write(tmp_path / "wide.csv", names, [["u", *"x" * 10_000]])
    columns = ", ".join(f"'x' as k{place}" for place in range(10_000))
    duckdb.connect().execute(
        f"copy (select 'u' as customer_id, {columns}) to '{tmp_path / 'wide.parquet'}'"
    )
    for name in ("wide.csv", "wide.parquet"):
        result = doors.run("--store", "a.db", "import", name, "--feed", "f", folder=tmp_path)
        assert result.returncode == 4, result.stderr
        assert "10,001 columns; at most 10,000" in result.stderr


def test_thousands_of_columns_of_unknown_identities_are_counted(tmp_path: Path) -> None:
    names = ["customer_id", *(f"user_identities.x{place}" for place in range(2_500))]
    _write(tmp_path / "wide.csv", names, [["u", *(["x"] * 2_500)]])
    report = json.loads(
        run("--store", tmp_path / "a.db", "import", tmp_path / "wide.csv", "--feed", "f", "--json")
    )
    assert {**report["reasons"], **report["warnings"]} == {"IDENTITY_UNKNOWN_TYPE": 2_500}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "consent_state.gdpr.p{}.document",
        "integration_attributes.{}.a",
        "events.data.custom_attributes.a{}",
    ],
)
def test_thousands_of_columns_of_one_object_are_refused_in_words(tmp_path: Path, kind: str) -> None:
    names = ["customer_id", *(kind.format(place) for place in range(2_500))]
    _write(tmp_path / "wide.csv", names, [["u", *(["x"] * 2_500)]])
    result = doors.run("--store", "a.db", "import", "wide.csv", "--feed", "f", folder=tmp_path)
    assert result.returncode == 4, result.stderr
    assert "2,500 columns are of" in result.stderr


def test_a_json_row_of_thousands_of_keys_keeps_the_first(tmp_path: Path) -> None:
    row = {"customer_id": "u", **{f"k{place}": str(place) for place in range(12_000)}}
    (tmp_path / "wide.jsonl").write_text(json.dumps(row) + "\n")
    report = json.loads(
        run(
            "--store", tmp_path / "a.db", "import", tmp_path / "wide.jsonl", "--feed", "f", "--json"
        )
    )
    assert report["attributes"]["set"] == 100
    assert report["reasons"] == {"UA_TOO_MANY": 11_900}


def test_a_person_is_not_told_of_thousands_of_columns(tmp_path: Path) -> None:
    names = ["customer_id", *(f"k{place}" for place in range(300))]
    _write(tmp_path / "wide.csv", names, [["u", *(["x"] * 300)]])
    words = ("--store", "a.db", "import", "wide.csv", "--feed", "f")
    result = doors.run(*words, folder=tmp_path)
    assert "... and 201 more columns: profilectl columns shows them" in result.stderr
    result = doors.run(*words, "--again", folder=tmp_path)
    told = " ".join(result.stderr.split())
    assert "k98 -> user_attributes.k98, ... and 201 more: --json lists them" in told


def test_a_column_left_out_for_the_limit_is_named(tmp_path: Path) -> None:
    names = ["customer_id", *(f"k{place}" for place in range(102))]
    full, sparse = ["x"] * 102, ["x"] * 102
    sparse[3] = ""
    _write(tmp_path / "wide.csv", names, [["full", *full], ["sparse", *sparse]])
    report = json.loads(
        run("--store", tmp_path / "a.db", "import", tmp_path / "wide.csv", "--feed", "f", "--json")
    )
    assert report["left_out"] == {"UA_TOO_MANY": {"k101": 2, "k100": 1}}
    assert any("the columns after 'k99' may be left out" in notice for notice in report["notices"])
    kept = {
        one["user_identities"]["customer_id"][0]: list(one["user_attributes"])
        for one in _people(tmp_path / "a.db")
    }
    assert sorted(kept["full"]) == sorted(names[1:101])
    assert sorted(kept["sparse"]) == sorted(set(names[1:102]) - {"k3"})


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export_of_a_thousand_attributes_is_what_the_store_holds(
    tmp_path: Path, form: str
) -> None:
    """Folding a column each cost the square of the columns: minutes for 10,000."""
    names = ["customer_id", *(f"k{place}" for place in range(1_000))]
    rows = [
        [f"u{row}", *(f"v{row} {place}" if place % 11 == row else "" for place in range(1_000))]
        for row in range(11)
    ]
    rows[0][1] = '=a,"b"'
    _write(tmp_path / "wide.csv", names, rows)
    run("--store", tmp_path / "a.db", "import", tmp_path / "wide.csv", "--feed", "f")
    run(
        "--store",
        tmp_path / "a.db",
        "export",
        "profiles",
        "--format",
        form,
        "-o",
        tmp_path / f"out.{form}",
    )
    run("--store", tmp_path / "b.db", "import", tmp_path / f"out.{form}", "--feed", "f")
    assert [one["user_attributes"] for one in _people(tmp_path / "b.db")] == [
        one["user_attributes"] for one in _people(tmp_path / "a.db")
    ]


@pytest.mark.slow
def test_a_wide_file_costs_what_its_values_cost(tmp_path: Path) -> None:
    """3,000 columns took 15 s; 150 columns three times what 90 took."""
    took = {}
    for width in (90, 150):
        names = ["customer_id", *(f"k{place}" for place in range(width))]
        _write(
            tmp_path / f"{width}.csv",
            names,
            [[f"u{row}", *(f"v{place}" for place in range(width))] for row in range(20_000)],
        )
        began = time.process_time()
        run("--store", tmp_path / f"{width}.db", "import", tmp_path / f"{width}.csv", "--feed", "f")
        took[width] = time.process_time() - began
    assert took[150] < 2 * took[90], took


_texts = st.sampled_from(["", "", "a", "b,c", 'q"', "longer", "\x1f", "\n"])


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.lists(_texts, min_size=9, max_size=9), min_size=1, max_size=4),
    most=st.integers(1, 9),
    columns=st.integers(0, 9),
    empty=st.sampled_from(["ignore", "delete", "set"]),
)
def test_a_row_keeps_the_same_attributes_as_a_batch(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    most: int,
    columns: int,
    empty: str,
) -> None:
    """With few attributes allowed, few of them in columns, and short names and values, staging is
    the interpreter's reading.
    """
    folder = tmp_path_factory.mktemp("wide")
    reading = Reading(limits={**LIMITS, "attributes": most, "value": 5, "key": 3})
    names = ["k0", "k1", "long1", "k3", "k4", "k5", "long2", "k7", "k8"]
    _write(
        folder / "a.csv",
        ["customer_id", *names],
        [[f"u{place}", *row] for place, row in enumerate(rows)],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("profilectl.importing.stage.staged.WIDE", columns)
        found, codes = _staged(folder, reading, empty)
    for place, row in enumerate(rows):
        batch = read_flat(
            {
                "customer_id": f"u{place}",
                **{name: cell or None for name, cell in zip(names, row, strict=True)},
            },
            reading,
            empty=empty,
        )
        deletes = {key: "\x1f" for key in batch.deletes if len(key) <= 3}
        assert found.get(place, {}) == {**deletes, **batch.sets}
        assert sorted(codes.get(place, [])) == sorted(
            (one.code, one.attribute) for one in batch.remarks
        )


def _staged(
    folder: Path, reading: Reading, empty: str
) -> tuple[dict[int, dict[str, str]], dict[int, list[tuple[str, str]]]]:
    scratch = Scratch(folder)
    files = open_files(
        [Named(str(folder / "a.csv"))], format=None, encoding=None, spill=folder
    ).files
    staged = stage_files(
        scratch, files, ReadingOptions(reading=reading, empty=empty), Rejects(folder / "rejects")
    )
    found: dict[int, dict[str, str]] = {}
    for seq, *cells in scratch.rows(
        f"select seq{''.join(f', a{n}' for n in range(len(staged.keys)))} from staged"
    ):
        found[seq] = {
            key: cell for key, cell in zip(staged.keys, cells, strict=True) if cell is not None
        }
    if staged.loose:
        for seq, key, value in scratch.rows("select seq, key, value from staged_loose"):
            found[seq][key] = value
    codes: dict[int, list[tuple[str, str]]] = {}
    for seq, code, key in scratch.rows(
        " union all ".join(staged.files[0].skips) or "select 0, '', '' where false"
    ):
        codes.setdefault(seq, []).append((code, key))
    scratch.close()
    return found, codes
