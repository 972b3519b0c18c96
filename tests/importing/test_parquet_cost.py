"""What makes a Parquet file quick to read says the same as what took longer."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profilectl.importing.stage.parquet.footer import check_footer
from profilectl.importing.stage.parquet.types import NOT_A_NUMBER, UNFIT, kind_of, unfit
from profilectl.importing.stage.source.files import InputFile
from profilectl.store.scratch import Scratch

NUMBERS = ["0", "-0.0", "1.5", "-1e30", "nan", "-nan", "inf", "-inf"]
TIMES = ["1970-01-01", "0044-03-15 (BC)", "9999-12-31", "infinity", "-infinity", "epoch"]
VALUES = {
    "FLOAT": NUMBERS, "DOUBLE": [*NUMBERS, "1e308"], "HALF FLOAT": NUMBERS, "DATE": TIMES,
    "TIMESTAMP": TIMES, "TIMESTAMP_S": TIMES, "TIMESTAMP_MS": TIMES,
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_a_value_without_a_text_is_known_without_its_text(name: str) -> None:
    kind = kind_of(name)
    assert kind
    assert kind.finite
    value = f"v::{name.removeprefix('HALF ')}"
    by_text = UNFIT(value=value, text=kind.text_of(value), not_a_number=NOT_A_NUMBER)
    answers = duckdb.execute(
        f"select v, {unfit(kind, value)}, {by_text} from (select unnest($values) as v)",
        {"values": [*VALUES[name], None]},
    ).fetchall()
    assert all(quick is slow for _, quick, slow in answers), answers
    assert {quick for _, quick, _ in answers} == {True, False}


@pytest.mark.parametrize(("rows", "is_small"), [(1_000, True), (500_000, False)])
def test_a_packed_file_gets_the_cores_that_its_rows_need(
    rows: int, is_small: bool, tmp_path: Path
) -> None:
    """Half a million rows of few people are some kilobytes of Parquet."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({key: ["a"] * rows for key in "abcd"}), path)
    assert path.stat().st_size < 100_000
    scratch = Scratch(tmp_path)
    try:
        cores = scratch.row("select current_setting('threads')")
        scratch.reads.append(path)
        scratch.use_cores_for(1_000)
        assert scratch.row("select current_setting('threads')") == (1,)
        check_footer(scratch, InputFile("rows.parquet", path, "", "parquet"))
        assert scratch.row("select current_setting('threads')") == ((1,) if is_small else cores)
        # The store is opened again before it is written to.
        scratch.use_cores_for(1_000)
        assert scratch.row("select current_setting('threads')") == ((1,) if is_small else cores)
    finally:
        scratch.close()
