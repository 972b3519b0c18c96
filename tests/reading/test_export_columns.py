"""What the columns of an export are: those of what somebody has, a tag empty, also in long form and
in a lookup.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.doors import call, run_here
from support.effort import spread_now

# A has a tag, B a text that reads like one; `gone` was deleted, `both` deleted and set again; `dev`
# is of development alone.
FIRST: list[dict[str, Any]] = [
    {
        "user_identities": {"customer_id": "A"},
        "user_attributes": {"t": None, "u": "y", "gone": "1", "both": "1"},
    },
    {"user_identities": {"customer_id": "B"}, "user_attributes": {"t": "null", "rare": "r"}},
    {
        "user_identities": {"customer_id": "D", "email": "d@example.com"},
        "user_attributes": {"dev": "1"},
        "environment": "development",
    },
    {
        "user_identities": {"customer_id": "W"},
        "user_attributes": {f"w{n}": "v" for n in range(100)},
    },
    {
        "user_identities": {"customer_id": "X"},
        "user_attributes": {f"w{n}": "v" for n in range(100, 200)},
    },
    {"user_identities": {"customer_id": "Y"}, "user_attributes": {"loose": "l", "gone_loose": "g"}},
]
SECOND = [
    {"user_identities": {"customer_id": "A"}, "deleted_user_attributes": ["gone", "both", "never"]},
    {"user_identities": {"customer_id": "A"}, "user_attributes": {"both": "2"}},
    {"user_identities": {"customer_id": "Y"}, "deleted_user_attributes": ["gone_loose"]},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported(tmp_path_factory.mktemp("tags"), FIRST)


@pytest.fixture
def narrow(tmp_path: Path) -> Path:
    """Return such a store without W and X, whose 200 columns take seven seconds in long form."""
    few = [row for row in FIRST if row["user_identities"]["customer_id"] not in ("W", "X")]
    return imported(tmp_path, few)


def imported(folder: Path, batches: list[dict[str, Any]]) -> Path:
    for name, rows in (("1.jsonl", batches), ("2.jsonl", SECOND)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert call("import", name, "--feed", "f", folder=folder).exit_code == 0
    return folder


def rows(folder: Path, *arguments: str) -> list[dict[str, str]]:
    done = call("export", *arguments, "--format", "csv", folder=folder)
    assert done.exit_code == 0, done.output
    return list(csv.DictReader(done.stdout.splitlines()))


def test_a_tag_is_an_empty_cell_and_a_text_that_reads_null_is_that_text(
    folder: Path, tmp_path: Path
) -> None:
    where = ("--where", "customer_id = 'A' or customer_id = 'B'")
    assert [one["user_attributes.t"] for one in rows(folder, "profiles", *where)] == ["", "null"]
    assert (
        call(
            "export", "profiles", *where, "-o", str(tmp_path / "a.parquet"), folder=folder
        ).exit_code
        == 0
    )
    assert pq.read_table(tmp_path / "a.parquet").column("user_attributes.t").to_pylist() == [
        None,
        "null",
    ]
    lines = [
        json.loads(line)
        for line in call("export", "profiles", *where, folder=folder).stdout.splitlines()
    ]
    assert [one["user_attributes"]["t"] for one in lines] == [None, "null"]


@pytest.mark.parametrize("store", spread_now(["narrow", "folder"], 2))
def test_a_tag_in_long_form_is_an_empty_value_of_type_tag(
    store: str, request: pytest.FixtureRequest
) -> None:
    lines = rows(request.getfixturevalue(store), "attributes")
    found = [(line["type"], line["value"]) for line in lines if line["attribute"] == "t"]
    assert found == [("tag", ""), ("text", "null")]


def test_a_tag_in_a_lookup_as_csv_is_empty(folder: Path, tmp_path: Path) -> None:
    (folder / "who.txt").write_text("A\nB\n")
    done = call(
        "lookup",
        "who.txt",
        "--type",
        "customer_id",
        "--field",
        "t",
        "--format",
        "csv",
        folder=folder,
    )
    assert [one["t"] for one in csv.DictReader(done.stdout.splitlines())] == ["", "null"]


def test_a_tag_s_folder_is_that_of_those_without_a_value(folder: Path, tmp_path: Path) -> None:
    where = ("--where", "customer_id = 'A' or customer_id = 'B'")
    assert (
        call(
            "export",
            "profiles",
            *where,
            "--format",
            "csv",
            "--partition-by",
            "t",
            "-o",
            str(tmp_path / "parts"),
            folder=folder,
        ).exit_code
        == 0
    )
    assert sorted(one.name for one in (tmp_path / "parts").iterdir()) == [
        "t=__HIVE_DEFAULT_PARTITION__",
        "t=null",
    ]


@pytest.mark.parametrize(
    ("where", "columns"),
    spread_now(
        [
            (
                (),
                [
                    "customer_id",
                    "email",
                    "both",
                    "dev",
                    "loose",
                    "rare",
                    "t",
                    "u",
                    *sorted(f"w{n}" for n in range(200)),
                ],
            ),
            (("--where", "customer_id = 'A'"), ["customer_id", "both", "t", "u"]),
            (("--where", "customer_id = 'Y'"), ["customer_id", "loose"]),
            (("--environment", "development"), ["customer_id", "email", "dev"]),
            (("--where", "customer_id = 'nobody'"), []),
            (
                ("--fields", "rare,customer_id", "--where", "customer_id = 'A'"),
                ["customer_id", "rare"],
            ),
        ],
        3,
    ),
)
def test_columns_are_of_what_somebody_has(
    where: tuple[str, ...], columns: list[str], folder: Path
) -> None:
    done = call("export", "profiles", "--format", "csv", *where, folder=folder)
    header = done.stdout.splitlines()[0].split(",")
    assert [
        name.removeprefix("user_identities.").removeprefix("user_attributes.") for name in header
    ] == ["mpid", "environment", *columns]


def test_columns_are_of_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[feeds.web]\nworkspace = "web"\n[feeds.shop]\nworkspace = "shop"\n'
    )
    assert call("config", "apply", "c.toml", folder=tmp_path).exit_code == 0
    for feed in ("web", "shop"):
        (tmp_path / f"{feed}.csv").write_text(f"customer_id,of_{feed}\nA,1\n")
        assert call("import", f"{feed}.csv", "--feed", feed, folder=tmp_path).exit_code == 0
    for feed in ("web", "shop"):
        # in its own process: a workspace is chosen for all of one
        done = run_here(
            "--workspace", feed, "export", "profiles", "--format", "csv", folder=tmp_path
        )
        assert (
            done.stdout.splitlines()[0]
            == f"mpid,environment,user_identities.customer_id,user_attributes.of_{feed}"
        )
