"""The key=value folders of a path: not read unasked, and a notice says so; --path-columns reads
them as text columns.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.doors import call
from support.effort import first_now, spread_now

ROWS = {
    "csv": "customer_id\nC-1\n",
    "jsonl": '{"customer_id":"C-1"}\n',
    "json": '[{"customer_id":"C-1"}]',
    "parquet": "",
}


def put(path: Path, columns: dict[str, Any] | None = None) -> None:
    """Write a file of one row, in the format of its name, in its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = columns or {"customer_id": ["C-1"]}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".csv":
        path.write_text(
            ",".join(columns)
            + "\n"
            + "".join(",".join(row) + "\n" for row in zip(*columns.values(), strict=True))
        )
    else:
        rows = [
            json.dumps(dict(zip(columns, row, strict=True)))
            for row in zip(*columns.values(), strict=True)
        ]
        path.write_text("\n".join(rows) if path.suffix == ".jsonl" else f"[{','.join(rows)}]")


def profiles(folder: Path, store: str = "profiles.duckdb") -> list[Any]:
    return [
        json.loads(line)
        for line in call(
            "--store", store, "export", "profiles", "--sorted", folder=folder
        ).stdout.splitlines()
    ]


def imported(folder: Path, *arguments: str) -> str:
    done = call("import", "--feed", "f", *arguments, folder=folder)
    assert done.exit_code == 0, done.output
    return done.stderr


@pytest.mark.parametrize("format", ROWS)
def test_a_column_of_the_path_is_said_and_not_read(format: str, tmp_path: Path) -> None:
    put(tmp_path / f"run=5/a.{format}")
    said = imported(tmp_path, f"run=5/a.{format}")
    assert "run=5 in the path is not read; --path-columns reads it as a column" in said
    assert profiles(tmp_path)[0]["user_attributes"] == {}


@pytest.mark.parametrize("format", ROWS)
def test_path_columns_are_text_of_every_row(format: str, tmp_path: Path) -> None:
    put(tmp_path / f"run=05/town=S%C3%A3o%20Paulo%2FX/none=__HIVE_DEFAULT_PARTITION__/a.{format}")
    imported(
        tmp_path,
        "--path-columns",
        f"run=05/town=S%C3%A3o%20Paulo%2FX/none=__HIVE_DEFAULT_PARTITION__/a.{format}",
    )
    assert profiles(tmp_path)[0]["user_attributes"] == {"run": "05", "town": "São Paulo/X"}


@pytest.mark.parametrize("format", spread_now(ROWS, 2))
def test_the_files_own_value_wins_over_its_path(format: str, tmp_path: Path) -> None:
    put(
        tmp_path / f"tier=archived/email=redacted/a.{format}",
        {"customer_id": ["C-1"], "tier": ["gold"], "email": ["a@example.com"]},
    )
    for options in ((), ("--path-columns", "--again")):
        imported(tmp_path, *options, f"tier=archived/email=redacted/a.{format}")
        (one,) = profiles(tmp_path)
        assert (one["user_attributes"], one["user_identities"]["email"]) == (
            {"tier": "gold"},
            ["a@example.com"],
        )


@pytest.mark.parametrize("format", ROWS)
def test_path_columns_are_identities_the_environment_and_mapped(
    format: str, tmp_path: Path
) -> None:
    path = f"environment=development/email=a%40example.com/x=1/y=2/a.{format}"
    put(tmp_path / path)
    imported(
        tmp_path, "--path-columns", "--map", "x=user_attributes.run", "--map", "y=ignore", path
    )
    (one,) = profiles(tmp_path)
    assert (one["environment"], one["user_identities"]["email"], one["user_attributes"]) == (
        "development",
        ["a@example.com"],
        {"run": "1"},
    )


@pytest.mark.parametrize("format", ROWS)
def test_the_files_own_value_wins_under_another_spelling_of_its_name(
    format: str, tmp_path: Path
) -> None:
    put(
        tmp_path / f"tier=archived/email=redacted/a.{format}",
        {"customer_id": ["C-1"], "user_attributes.tier": ["gold"], "E-Mail": ["a@example.com"]},
    )
    said = imported(
        tmp_path,
        "--path-columns",
        f"tier=archived/email=redacted/a.{format}",
        *(() if "j" in format else ("--map", "E-Mail=email")),
    )
    (one,) = profiles(tmp_path)
    assert one["user_attributes"]["tier"] == "gold"
    assert "the file's own values are read" in said or "j" in format


def test_many_folders_make_one_notice(tmp_path: Path) -> None:
    for day in range(6):
        put(tmp_path / f"day={day}/a.csv", {"customer_id": [f"C-{day}"]})
    said = imported(tmp_path, *(f"day={day}/a.csv" for day in range(6)))
    assert "day=0, day=1, day=2 and 3 more in the paths are not read" in said


@pytest.mark.parametrize("key", first_now(["tier", "environment"], 1))
@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_what_is_exported_in_folders_is_imported_again(
    format: str, key: str, tmp_path: Path
) -> None:
    rows = [
        {"customer_id": "A", "tier": "gold"},
        {"customer_id": "B", "tier": "a/b=c"},
        {"customer_id": "C"},
        {"customer_id": "D", "environment": "development", "tier": "x"},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    imported(tmp_path, "a.jsonl")
    assert (
        call(
            "export",
            "profiles",
            "--partition-by",
            key,
            "--format",
            format,
            "-o",
            "out",
            folder=tmp_path,
        ).exit_code
        == 0
    )
    done = call(
        "--store",
        "b.duckdb",
        "import",
        "--feed",
        "f",
        "--path-columns",
        f"out/*/*.{format}",
        folder=tmp_path,
    )
    assert done.exit_code == 0, done.output

    def people(store: str) -> list[Any]:
        return sorted(
            (
                one["environment"],
                one["user_identities"]["customer_id"],
                sorted(one["user_attributes"].items()),
            )
            for one in profiles(tmp_path, store)
        )

    assert people("b.duckdb") == people("profiles.duckdb")
