"""A path is a path: whatever a file, its folder or the store is called, that file is read and no
other.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from support.doors import call, run_here
from support.effort import first_now, spread_now

NAMES = ["contacts[1]", "contacts?", "run=5", "~home", "s3:x", "it's \u4f60"]
"""Each names, as a pattern, contacts1 or something that is no file."""


def content(format: str, value: str) -> bytes:
    """Return a file of one row; as long for each value, so that no size gives a mistake away."""
    if format == "parquet":
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(pa.table({"customer_id": ["C-1"], "tier": [value]}), sink)
        return bytes(sink.getvalue().to_pybytes())
    if format == "csv":
        return f"customer_id,tier\nC-1,{value}\n".encode()
    text = f'{{"customer_id":"C-1","tier":"{value}"}}'
    return (text + ("\n" if format == "jsonl" else "")).encode()


def tier(folder: Path, *options: str) -> Any:
    """Return the value that the one profile has, and what its history says it came from."""
    done = call(*options, "export", "profiles", "--provenance", folder=folder)
    assert done.exit_code == 0, done.output
    (profile,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert set(profile["user_attributes"]) == {"tier"}
    return profile["user_attributes"]["tier"], profile["provenance"]["tier"]["file"]


@pytest.mark.parametrize("format", ["csv", "jsonl", "json", "parquet"])
@pytest.mark.parametrize("name", first_now(NAMES, 2))
def test_a_file_is_read_itself_whatever_it_is_called(
    tmp_path: Path, name: str, format: str
) -> None:
    (tmp_path / f"contacts1.{format}").write_bytes(content(format, "wrong"))
    (tmp_path / f"{name}.{format}").write_bytes(content(format, "right"))
    done = call("import", f"{name}.{format}", "--feed", "f", folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert tier(tmp_path) == ("right", f"{name}.{format}")


@pytest.mark.parametrize("format", spread_now(["csv", "jsonl", "parquet"], 3))
def test_a_folder_named_key_value_says_nothing_of_the_rows(tmp_path: Path, format: str) -> None:
    folder = tmp_path / "tier=archived" / "customer_id=C-9"
    folder.mkdir(parents=True)
    (folder / f"part.{format}").write_bytes(content(format, "right"))
    done = call(
        "import", f"tier=archived/customer_id=C-9/part.{format}", "--feed", "f", folder=tmp_path
    )
    assert done.exit_code == 0, done.output
    assert tier(tmp_path)[0] == "right"


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("place", first_now(["d[1]", "tier=archived", "d*"], 1))
def test_a_store_in_a_folder_that_looks_like_a_pattern_reads_the_file(
    tmp_path: Path, place: str, format: str
) -> None:
    (tmp_path / place).mkdir()
    (tmp_path / f"in.{format}.gz").write_bytes(gzip.compress(content(format, "right")))
    store = ("--store", f"{place}/p[1].duckdb")
    done = call(*store, "import", f"in.{format}.gz", "--feed", "f", folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert tier(tmp_path, *store)[0] == "right"
    assert [one.name for one in (tmp_path / place).iterdir()] == ["p[1].duckdb"]


@pytest.mark.parametrize(
    "store",
    spread_now(["md:x.duckdb", "sqlite:x.duckdb", "~x.duckdb", "x[1].duckdb", "k=v.duckdb"], 3),
)
def test_a_store_may_be_called_what_duckdb_takes_for_something_else(
    tmp_path: Path, store: str
) -> None:
    (tmp_path / "in.csv").write_bytes(content("csv", "right"))
    done = call("--store", store, "import", "in.csv", "--feed", "f", folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert tier(tmp_path, "--store", store)[0] == "right"
    assert (tmp_path / store).is_file()


def test_a_store_whose_name_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(content("csv", "right"))
    done = run_here("--store", "a?b.duckdb", "import", "in.csv", "--feed", "f", folder=tmp_path)
    assert done.returncode == 6, done.stderr
    assert "a question mark" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["in.csv"]


def test_links_to_a_file_are_read_through(tmp_path: Path) -> None:
    """Also a path with .. behind a link to a folder, which is not what its text says."""
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "far" / "in.csv").write_bytes(content("csv", "right"))
    (tmp_path / "in.csv").write_bytes(content("csv", "wrong"))
    (tmp_path / "near").symlink_to(tmp_path / "far" / "deep")
    (tmp_path / "l.csv").symlink_to("near/../in.csv")
    for path in ("near/../in.csv", "l.csv"):
        done = call(
            "--store",
            f"{path.replace('/', '_')}.duckdb",
            "import",
            path,
            "--feed",
            "f",
            folder=tmp_path,
        )
        assert done.exit_code == 0, done.output
        assert tier(tmp_path, "--store", f"{path.replace('/', '_')}.duckdb")[0] == "right"


def test_a_file_named_by_a_pattern_is_looked_up_and_pushed_itself(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(content("csv", "right"))
    assert call("import", "in.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    (tmp_path / "a1.csv").write_bytes(b"customer_id\nC-2\n")
    (tmp_path / "a[1].csv").write_bytes(b"customer_id\nC-1\n")
    done = call("lookup", "a[1].csv", folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["value"] == "C-1"


def test_a_message_names_the_file_as_it_was_given(tmp_path: Path) -> None:
    whole = content("parquet", "right")
    (tmp_path / "torn[1].parquet").write_bytes(
        whole[:8] + b"\0" * 60 + whole[68:-40] + b"\xff" * 20 + whole[-20:]
    )
    done = run_here("import", "torn[1].parquet", "--feed", "f", folder=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "torn[1].parquet" in done.stderr
    assert ".scratch" not in done.stderr
    assert "input0" not in done.stderr
