"""Where two features of files and stores meet: each test is named by a fault that was there once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow
import pyarrow.parquet

from profilectl.engine import REMEMBERED, ImportRequest
from profilectl.plan_form import REQUEST
from tests.doors import call


def test_parquet_is_imported_into_a_store_that_is_there(tmp_path: Path) -> None:
    """The settings of DuckDB are locked by then, and the room on the disk is one of them."""
    file = tmp_path / "people.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"email": ["ann@example.com"]}), file)
    for arguments in ((), ("--again",)):
        done = call("import", str(file), "--feed", "crm", *arguments, folder=tmp_path)
        assert done.exit_code == 0, done.output


def test_a_plan_knows_every_option_that_an_import_remembers() -> None:
    """A key that the form of plans does not know is that of a forged plan: no plan could be applied."""
    assert {name for name in REMEMBERED if name not in REQUEST} == set()
    assert set(REMEMBERED) <= {one.name for one in dataclasses.fields(ImportRequest)}
