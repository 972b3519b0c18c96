"""Parquet that cannot be read: no memory, a compression that is not there, a damaged file and an
encrypted one are told apart; so are workbooks. What was rejected is written down digit for
digit.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.doors import call, run_here
from support.effort import spread_now

from profilectl.codes import InputRefused
from profilectl.rules.text.values import parse_json


def refused(folder: Path, name: str, *options: str) -> InputRefused:
    done = call("import", name, "--feed", "f", *options, folder=folder)
    assert isinstance(done.exception, InputRefused), done.output
    return done.exception


def test_a_compression_that_is_not_there_is_told(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"customer_id": ["A"]}),
        tmp_path / "a.parquet",
        compression="snappy",
        store_schema=False,
    )
    content = (tmp_path / "a.parquet").read_bytes()
    assert content.count(b"customer_id\x15\x02") == 1
    # LZO
    (tmp_path / "a.parquet").write_bytes(
        content.replace(b"customer_id\x15\x02", b"customer_id\x15\x06")
    )
    error = refused(tmp_path, "a.parquet")
    assert "compressed with LZO" in error.message
    assert "zstd" in error.hint


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"customer_id": [f"secret-{n}" for n in range(1000)]}),
        tmp_path / "a.parquet",
        compression="snappy",
    )
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[40:400] = bytes(360)
    (tmp_path / "a.parquet").write_bytes(content)
    error = refused(tmp_path, "a.parquet")
    assert "damaged" in error.message
    assert "secret" not in error.message
    assert str(tmp_path) not in error.message


def test_text_that_is_not_utf8_is_told_without_the_text(tmp_path: Path) -> None:
    sink = io.BytesIO()
    pq.write_table(
        pa.table({"customer_id": ["A"], "x": ["secret-zz"]}),
        sink,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
    )
    (tmp_path / "a.parquet").write_bytes(sink.getvalue().replace(b"secret-zz", b"secret-\xff\xff"))
    error = refused(tmp_path, "a.parquet")
    assert "column 'x' has a text that is not UTF-8" in error.message
    assert "secret" not in error.message


def test_no_memory_is_not_a_damaged_file(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"customer_id": ["A", "B"], "x": ["x" * 40_000_000, "y" * 40_000_000]}),
        tmp_path / "a.parquet",
    )
    done = run_here("import", "a.parquet", "--feed", "f", "--memory-limit", "60MB", folder=tmp_path)
    assert done.returncode == 4, done.stderr  # so much in so little is told of the file (issue 15)
    assert "a.parquet has" in done.stderr
    assert "--memory-limit" in done.stderr


@pytest.mark.parametrize("name", ["a.xlsx", "a.zip", "a.csv", "a.xls"])
def test_a_workbook_is_to_be_saved_as_csv(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    assert "workbook" in refused(tmp_path, name).message


def test_encrypted_parquet_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PARE" + bytes(100) + b"PARE")
    assert "encrypted" in refused(tmp_path, "a.parquet").message


@pytest.mark.parametrize(("kind", "value", "word"), spread_now([
    (pa.map_(pa.string(), pa.int64()), [("a", 1)], "MAP"), (pa.list_(pa.string()), ["A"], "VARCHAR[]"), (pa.bool_(), True, "BOOLEAN"),
    (pa.timestamp("us"), 0, "TIMESTAMP"), (pa.binary(), b"A", "BLOB"),
], 3))  # fmt: skip
def test_no_hint_leads_to_another_identity(
    kind: pa.DataType, value: object, word: str, tmp_path: Path
) -> None:
    pq.write_table(
        pa.table({"email": ["a@example.com"], "customer_id": pa.array([value], kind)}),
        tmp_path / "a.parquet",
    )
    error = refused(tmp_path, "a.parquet")
    assert "customer_id" in error.message
    assert word in error.message
    assert "text" not in error.hint or "--binary-as-text" in error.hint
    option = error.hint.split()[:2] if error.hint.startswith("--map") else ["--binary-as-text"]
    assert call("import", "a.parquet", "--feed", "f", *option, folder=tmp_path).exit_code == 0


def test_a_float_identity_rejects_its_row_by_name(tmp_path: Path) -> None:
    values = pa.array([1001.0, 1.5, math.nan, 2.0**53], pa.float64())
    pq.write_table(
        pa.table({"mobile_number": values, "email": [f"{n}@example.com" for n in range(4)]}),
        tmp_path / "a.parquet",
    )
    done = call("import", "a.parquet", "--feed", "f", "--rejects", "r.jsonl", folder=tmp_path)
    assert done.exit_code == 3
    rejects = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [(one["row"], one["code"], "mobile_number" in one["message"]) for one in rejects] == [
        (2, "IDENTITY_INVALID", True),
        (3, "IDENTITY_INVALID", True),
        (4, "IDENTITY_INVALID", True),
    ]
    assert json.loads(call("export", "profiles", folder=tmp_path).stdout)["user_identities"][
        "mobile_number"
    ] == ["1001"]


def test_a_rejected_row_is_written_down_digit_for_digit(tmp_path: Path) -> None:
    table = pa.table(
        {
            "customer_id": ["C-1", None],
            "ltv": pa.array(
                [Decimal("1.10"), Decimal("12345678901234567890123.45")], pa.decimal128(38, 2)
            ),
            "score": [1.0, math.nan],
            "down": [1.0, -math.inf],
            "wide": pa.array([None, Decimal("1e-7")], pa.decimal256(60, 7)),
            "at": pa.array([0, 1750000000123456789], pa.timestamp("ns", "UTC")),
            'a "b"': [{"c": 1, "d": ["x"]}, {"c": 2**60, "d": ["\n", None]}],
            "m": pa.array([None, [("k", 1)]], pa.map_(pa.string(), pa.int64())),
        }
    )
    for columns in (table.column_names, [name for name in table.column_names if name != "wide"]):
        pq.write_table(table.select(columns), tmp_path / "a.parquet")
        assert (
            call(
                "import",
                "a.parquet",
                "--feed",
                "f",
                "--again",
                "--rejects",
                "r.jsonl",
                folder=tmp_path,
            ).exit_code
            == 3
        )
        raw = json.loads((tmp_path / "r.jsonl").read_text())["raw"]
        said = parse_json(raw)
        assert isinstance(said, dict)
        assert '"ltv":12345678901234567890123.45,"score":"NaN","down":"-Infinity"' in raw
        assert said["at"] == "2025-06-15T15:06:40.123456789Z"
        if "wide" in columns:
            assert '"wide":0.0000001' in raw
            assert "1152921504606846976" in raw
        else:
            assert said['a "b"'] == parse_json('{"c":1152921504606846976,"d":["\\n",null]}')


@pytest.mark.parametrize("int96", [False, True])
def test_rejected_rows_are_written_as_input_also_where_only_pyarrow_reads_them(
    int96: bool, tmp_path: Path
) -> None:
    stamps = pa.array([0, 253402214400], pa.timestamp("s"))  # in the year 9999
    pq.write_table(
        pa.table({"customer_id": ["C-1", None], "at": stamps}),
        tmp_path / "a.parquet",
        use_deprecated_int96_timestamps=int96,
    )
    assert (
        call(
            "import", "a.parquet", "--feed", "f", "--rejects-as-input", "m.parquet", folder=tmp_path
        ).exit_code
        == 3
    )
    assert (
        pq.read_table(tmp_path / "m.parquet").column("at").cast(pa.timestamp("s")).to_pylist()
        == stamps.to_pylist()[1:]
    )
    (tmp_path / "m.parquet").unlink()
    pq.write_table(
        pa.table({"customer_id": ["C-1", None], "at": pa.array([0, 1], pa.timestamp("ns"))}),
        tmp_path / "b.parquet",
        use_deprecated_int96_timestamps=int96,
    )
    assert (
        call(
            "import", "b.parquet", "--feed", "f", "--rejects-as-input", "m.parquet", folder=tmp_path
        ).exit_code
        == 3
    )
    assert pq.read_table(tmp_path / "m.parquet").column("at").cast(pa.int64()).to_pylist() == [1]
