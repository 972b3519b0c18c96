"""The MPIDs that a store makes are mixes, which no table holds; a file names others."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.doors import call

from profilectl.rules.mpid import digested, mpid_for


def succeed(folder: Path, *arguments: str) -> str:
    command = call(*arguments, folder=folder)
    assert command.exit_code == 0, (arguments, command.stderr)
    return command.stdout


def imported(folder: Path, name: str, text: str, *options: str) -> None:
    (folder / name).write_text(text)
    succeed(folder, "import", name, "--feed", "f", *options)


def people(folder: Path) -> dict[str, int]:
    """Return the MPID of each customer."""
    lines = succeed(folder, "export", "profiles").splitlines()
    documents = [json.loads(line) for line in lines]
    return {
        document["user_identities"]["customer_id"][0]: int(document["mpid"])
        for document in documents
    }


def stored(folder: Path, select: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        return store.execute(select).fetchall()


def tables(folder: Path) -> set[str]:
    return {name for (name,) in stored(folder, "select table_name from duckdb_tables()")}


def secret(folder: Path) -> str:
    return str(stored(folder, "select value from meta where name = 'secret'")[0][0])


def test_no_table_holds_what_the_store_made(tmp_path: Path) -> None:
    imported(tmp_path, "a.csv", "customer_id,tier\nA,1\nB,2\nA,3\n")
    assert "mpid_1" not in tables(tmp_path)
    assert "mpid" not in {name for name, *_ in stored(tmp_path, "describe row_1")}
    expected = {"A": mpid_for(secret(tmp_path), 0), "B": mpid_for(secret(tmp_path), 1)}
    assert people(tmp_path) == expected
    for customer, mpid in expected.items():
        shown = json.loads(succeed(tmp_path, "show", "--mpid", str(mpid), "--json"))
        assert shown["profiles"][0]["user_identities"] == {"customer_id": [customer]}
    succeed(tmp_path, "check")


def test_an_mpid_of_nobody_finds_nobody(tmp_path: Path) -> None:
    imported(tmp_path, "a.csv", "customer_id\nA\nA\n")
    # the mixes of the second row, which founded nobody, and of a row that never arrived
    for arrival in (1, 77):
        mpid = str(mpid_for(secret(tmp_path), arrival))
        assert call("show", "--mpid", mpid, folder=tmp_path).exit_code == 1
    for mpid in (str(2**63 - 1), str(-(2**63)), "0"):
        assert call("show", "--mpid", mpid, folder=tmp_path).exit_code == 1


def test_a_segment_of_people_whom_a_file_names_holds_their_mpids(tmp_path: Path) -> None:
    imported(tmp_path, "a.csv", "customer_id,mpid\nA,7\nB,\n")
    assert stored(tmp_path, "select mpid from mpid_1 order by profile") == [
        (7,),
        (mpid_for(secret(tmp_path), 1),),
    ]


@pytest.mark.parametrize("keep", ["0", "1"])
def test_segments_of_both_kinds_are_laid_together(keep: str, tmp_path: Path) -> None:
    imported(tmp_path, "a.csv", "customer_id,tier\nA,1\nB,2\n")
    imported(tmp_path, "b.csv", "customer_id,mpid,tier\nC,7,3\nA,,5\n")
    imported(tmp_path, "c.csv", "customer_id,spend\nB,9\nD,9\n")
    before = people(tmp_path)
    assert before["C"] == 7
    succeed(tmp_path, "compact", "--yes", "--keep", keep)
    assert people(tmp_path) == before
    succeed(tmp_path, "check")
    for customer, mpid in before.items():
        assert customer in succeed(tmp_path, "show", "--mpid", str(mpid), "--json")


def test_segments_without_mpids_stay_without_them(tmp_path: Path) -> None:
    imported(tmp_path, "a.csv", "customer_id,tier\nA,1\nB,2\n")
    imported(tmp_path, "b.csv", "customer_id,tier\nC,3\nA,5\n")
    before = people(tmp_path)
    succeed(tmp_path, "compact", "--yes", "--keep", "0")
    assert not any(name.startswith("mpid_") for name in tables(tmp_path))
    assert people(tmp_path) == before


def test_a_number_that_somebody_named_before_is_not_made(tmp_path: Path) -> None:
    imported(tmp_path, "a.csv", "customer_id\nA\n")
    taken = mpid_for(secret(tmp_path), 2)  # of the arrival of C
    imported(tmp_path, "b.csv", f"customer_id,mpid\nB,{taken}\n")
    imported(tmp_path, "c.csv", "customer_id\nC\nD\n")
    key = secret(tmp_path)
    assert people(tmp_path) == {
        "A": mpid_for(key, 0),
        "B": taken,
        "C": mpid_for(key, 2, 1),
        "D": mpid_for(key, 3),
    }
    succeed(tmp_path, "check")


def test_an_import_of_schema_7_that_is_made_again_keeps_its_mpids(tmp_path: Path) -> None:
    imported(tmp_path, "a.csv", "customer_id,tier\nA,1\n")
    with duckdb.connect(str(tmp_path / "profiles.duckdb")) as store:
        store.execute("update meta set value = '3' where name = 'mpids_mixed_from'")
    imported(tmp_path, "b.csv", "customer_id,tier\nB,2\nC,2\n")  # as schema 7 would
    imported(tmp_path, "c.csv", "customer_id,tier\nC,3\nE,2\n")
    key, before = secret(tmp_path), people(tmp_path)
    assert [before["B"], before["C"]] == [digested(key, 1, 0), digested(key, 2, 0)]
    assert before["E"] == mpid_for(key, 4)
    succeed(tmp_path, "imports", "undo", "1", "--replay", "--yes")
    assert people(tmp_path) == {name: mpid for name, mpid in before.items() if name != "A"}
    succeed(tmp_path, "check")


files = st.lists(
    st.lists(
        st.tuples(st.sampled_from("ABCDEF"), st.sampled_from(["", "", "7", "8", "-9"])),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=2, deadline=None)
@given(files, st.booleans())
def test_every_mpid_leads_to_its_profile(imports: list[list[tuple[str, str]]], joins: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, rows in enumerate(imports):
            text = "".join(f"{customer},{mpid}\n" for customer, mpid in rows)
            if any(mpid for _, mpid in rows):
                imported(folder, f"{number}.csv", f"customer_id,mpid\n{text}")
            else:
                imported(folder, f"{number}.csv", f"customer_id,x\n{text}")
        if joins:
            succeed(folder, "compact", "--yes", "--keep", "0")
        succeed(folder, "check")
        lines = succeed(folder, "export", "profiles").splitlines()
        documents = [json.loads(line) for line in lines]
        assert len({document["mpid"] for document in documents}) == len(documents)
        listed = "".join(f"{document['mpid']}\n" for document in documents)
        (folder / "mpids.csv").write_text("mpid\n" + listed)
        answer = succeed(folder, "lookup", "mpids.csv", "--format", "jsonl")
        sought = [json.loads(line) for line in answer.splitlines()]
        assert [line["mpid"] for line in sought] == [document["mpid"] for document in documents]
