"""Text in, the same text out: for random text, and for every Parquet type the reader accepts."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.doors import run_here
from support.effort import at_length, spread_now

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.text.values import parse_json, to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

HARD = [
    "01234",
    " leading",
    "trailing ",
    "1e5",
    "TRUE",
    "true",
    "2024-01-02",
    "NULL",
    "null",
    "\\N",
    "é",
    "e\u0301",
    "😀",
    "\u202e",
    "a,b",
    'say "hi"',
    '"',
    '""',
    "line\nbreak",
    "cr\r\nlf",
    "lone\rreturn",
    "tab\t",
    "9" * 400,
    "0x10",
    "1_000",
    "-0",
    "+44",
    "\x1f",
    "\x1fnull",
    "\x1f'x",
    "=1+1",
    "[red]x[/red]",
    "\x1b[31m",
    "'",
    "''",
    "x" * 4096,
    "#c",
    "NaN",
    "1.10",
]
text = st.one_of(
    st.sampled_from(HARD),
    st.text(
        st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"),
        min_size=1,
        max_size=40,
    ),
)


def exported(path: Path, folder: Path) -> list[dict[str, Any]]:
    scratch = Scratch(folder)
    with open_store(scratch, path) as store:
        select = profiles_of(store).json_lines("")
        lines = [line for (line,) in scratch.rows(f"select line from ({select}) order by profile")]
    scratch.close()
    return [parse_json(line) for line in lines]  # type: ignore[misc]


@settings(
    max_examples=at_length(20, by_night=2000),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(
    cells=st.lists(st.lists(text, min_size=2, max_size=2), min_size=1, max_size=8),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_csv_cell_comes_back_byte_for_byte(
    cells: list[list[str]], line_end: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lossless")
    file = folder / "a.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator=line_end, quoting=csv.QUOTE_ALL)
        writer.writerow(["customer_id", "first", "second"])
        writer.writerows([f"C{place}", *row] for place, row in enumerate(cells))
    report = import_files(folder / "store.duckdb", ImportRequest([str(file)], "f"))
    assert report.counts.rows["applied"] == len(cells), report.counts
    found = exported(folder / "store.duckdb", folder)
    assert [
        [one["user_attributes"].get("first"), one["user_attributes"].get("second")] for one in found
    ] == cells


@pytest.mark.parametrize("value", ["\x1f", "\x1fnull", "\x1f'x", "plain", "pla\x1fin"])
def test_the_mark_of_held_values_in_a_cell_or_only_in_the_path(value: str, tmp_path: Path) -> None:
    """Cells are read as they are where no byte of the file is the mark."""
    file = tmp_path / f"run={value}" / "a.csv"
    file.parent.mkdir()
    for cell in (value, "plain"):
        file.write_text(f"customer_id,first\nC1,{cell}\n", encoding="utf-8")
        request = ImportRequest([str(file)], f"of {cell}", path_columns=True)
        import_files(tmp_path / "store.duckdb", request)
        (profile,) = exported(tmp_path / "store.duckdb", tmp_path)
        assert profile["user_attributes"] == {"first": cell, "run": value}


json_values = st.recursive(
    st.one_of(
        text,
        st.integers(),
        st.booleans(),
        st.none(),
        st.sampled_from(["N1.10", "N1e400", "N-0", "N1E5", "N0.1000", "N-0.0"]),
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=3,
).filter(
    lambda value: not isinstance(value, list) or not any(isinstance(entry, list) for entry in value)
)


def exact(value: Any) -> str:
    if isinstance(value, str) and value.startswith("N") and value[1:2] in "-01":
        return value[1:]
    if isinstance(value, list):
        return "[" + ",".join(map(exact, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.slow
@settings(
    max_examples=at_length(20, by_night=2000),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(values=st.lists(json_values, min_size=1, max_size=8), spaced=st.booleans())
def test_a_json_value_comes_back_digit_for_digit(
    values: list[Any], spaced: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lossless")
    file, gap = folder / "a.jsonl", " " if spaced else ""
    texts = [exact(value) for value in values]
    file.write_text(
        "".join(
            (
                f'{{"user_identities":{gap}{{"customer_id":{gap}"C{place}"}},{gap}"user_attributes":{gap}{{"k":{gap}{one}}}}}\n'
                ""
            )
            for place, one in enumerate(texts)
        ),
        encoding="utf-8",
    )
    report = import_files(folder / "store.duckdb", ImportRequest([str(file)], "f"))
    kept = [one for one in texts if len(one) < 500]
    if len(kept) == len(texts):
        assert report.counts.rows["applied"] == len(values)
        assert [
            to_json(one["user_attributes"]["k"])
            for one in exported(folder / "store.duckdb", folder)
        ] == texts


def test_thirty_thousand_whole_numbers_do_not_make_a_postcode_one(tmp_path: Path) -> None:
    rows = [f"C{place},{10000 + place}" for place in range(30_000)] + ["CZ,01234", "CY,12345.670"]
    (tmp_path / "a.csv").write_text("customer_id,postcode\n" + "\n".join(rows) + "\n")
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 0
    done = run_here("export", "profiles", "--format", "csv", folder=tmp_path)
    found = {
        row["user_identities.customer_id"]: row["user_attributes.postcode"]
        for row in csv.DictReader(io.StringIO(done.stdout))
    }
    assert (found["CZ"], found["CY"], found["C0"]) == ("01234", "12345.670", "10000")


UTC = datetime.UTC
# fmt: off
PARQUET: list[tuple[str, pa.DataType, Any, str]] = [
    # what, type, value, the JSON text it comes back as
    ("string", pa.string(), "01234", '"01234"'),
    ("large string", pa.large_string(), "é😀", '"é😀"'),
    ("dictionary", pa.dictionary(pa.int32(), pa.string()), "x", '"x"'),
    ("bool", pa.bool_(), True, "true"),
    *[(str(kind), kind, low, str(low)) for kind, low in [
        (pa.int8(), -128), (pa.int16(), -32768), (pa.int32(), -2**31), (pa.int64(), -2**63),
        (pa.uint8(), 255), (pa.uint16(), 65535), (pa.uint32(), 2**32 - 1), (pa.uint64(), 2**64 - 1)]],
    ("float", pa.float32(), 0.1, "0.1"),
    ("double", pa.float64(), 0.1, "0.1"),
    ("double big", pa.float64(), 1e300, "1e+300"),
    ("decimal", pa.decimal128(12, 2), decimal.Decimal("1250.50"), "1250.50"),
    ("decimal 38", pa.decimal128(38, 10), decimal.Decimal("1234567890123456789012345678.0123456789"), "1234567890123456789012345678.0123456789"),
    ("date", pa.date32(), datetime.date(2024, 1, 2), '"2024-01-02"'),
    ("time", pa.time64("us"), datetime.time(1, 2, 3, 4), '"01:02:03.000004"'),
    ("timestamp utc", pa.timestamp("us", "UTC"), datetime.datetime(2024, 1, 2, 3, 4, 5, 123456, UTC), '"2024-01-02T03:04:05.123456Z"'),
    ("timestamp ms utc", pa.timestamp("ms", "UTC"), datetime.datetime(2024, 1, 2, 3, 4, 5, 123000, UTC), '"2024-01-02T03:04:05.123Z"'),
    ("timestamp", pa.timestamp("us"), datetime.datetime(2024, 1, 2, 3, 4, 5),  # noqa: DTZ001
     '"2024-01-02T03:04:05"'),
    ("timestamp ns", pa.timestamp("ns"), 1704164645123456789, '"2024-01-02T03:04:05.123456789"'),
    ("list of strings", pa.list_(pa.string()), ["40", "é", None], '["40","é",null]'),
    ("list of ints", pa.list_(pa.int64()), [1, 2**53 + 1], "[1,9007199254740993]"),
]
# fmt: on


def test_every_parquet_type_comes_back_exactly(tmp_path: Path) -> None:
    columns = {"customer_id": pa.array(["A"])}
    columns |= {name: pa.array([value], kind) for name, kind, value, _ in PARQUET}
    pa.parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    done = run_here("import", "a.parquet", "--feed", "f", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    profile: Any = parse_json(run_here("export", "profiles", folder=tmp_path).stdout.strip())
    found = {key: to_json(value) for key, value in profile["user_attributes"].items()}
    assert found == {name: expected for name, _, _, expected in PARQUET}


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    spread_now(
        [
            ("binary", pa.binary(), b"x"),
            ("nan", pa.float64(), float("nan")),
            ("nested", pa.list_(pa.list_(pa.int64())), [[1]]),
        ],
        3,
    ),
)
def test_a_parquet_value_without_exact_text_is_left_out_and_counted(
    name: str, kind: pa.DataType, value: Any, tmp_path: Path
) -> None:
    table = pa.table(
        {"customer_id": pa.array(["A"]), name: pa.array([value], kind), "kept": pa.array(["x"])}
    )
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    done = run_here("import", "a.parquet", "--feed", "f", "--json", folder=tmp_path)
    assert json.loads(done.stdout)["reasons"] == {"UA_UNSUPPORTED_TYPE": 1}
    assert json.loads(run_here("export", "profiles", folder=tmp_path).stdout)[
        "user_attributes"
    ] == {"kept": "x"}


def test_a_decimal_of_more_digits_than_the_reader_holds_is_exact(tmp_path: Path) -> None:
    value = pa.array(
        [decimal.Decimal("12345678901234567890123456789012345678901.50")], pa.decimal256(60, 2)
    )
    pa.parquet.write_table(
        pa.table({"customer_id": pa.array(["A"]), "wide": value}), tmp_path / "a.parquet"
    )
    assert run_here("import", "a.parquet", "--feed", "f", folder=tmp_path).returncode == 0
    assert (
        '"wide":12345678901234567890123456789012345678901.50}'
        in run_here("export", "profiles", folder=tmp_path).stdout
    )


def test_a_struct_is_taken_apart_and_a_uuid_is_text(tmp_path: Path) -> None:
    identities = pa.array([{"customer_id": "A", "email": "a@example.com"}])
    table = pa.table(
        {"user_identities": identities, "user_attributes.u": pa.array([str(uuid.UUID(int=5))])}
    )
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    assert run_here("import", "a.parquet", "--feed", "f", folder=tmp_path).returncode == 0
    profile = json.loads(run_here("export", "profiles", folder=tmp_path).stdout)
    assert profile["user_identities"] == {"customer_id": ["A"], "email": ["a@example.com"]}
    assert profile["user_attributes"] == {"u": str(uuid.UUID(int=5))}


def test_a_csv_export_imports_again_to_the_same_cells(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerow(["customer_id", "user_attributes.v"])
        writer.writerows([f"C{place}", value] for place, value in enumerate(HARD))
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 0
    assert (
        run_here("export", "profiles", "--sorted", "-o", "one.csv", folder=tmp_path).returncode == 0
    )
    assert (
        run_here(
            "--store", "two.duckdb", "import", "one.csv", "--feed", "f", folder=tmp_path
        ).returncode
        == 0
    )
    assert (
        run_here(
            "--store",
            "two.duckdb",
            "export",
            "profiles",
            "--sorted",
            "-o",
            "two.csv",
            folder=tmp_path,
        ).returncode
        == 0
    )
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_attributes_that_differ_in_their_case_only_keep_apart(tmp_path: Path) -> None:
    """Through CSV, Parquet and back; of Parquet columns, by the names that the file has for them
    (domain.md 2.2).
    """
    people = [
        {
            "user_identities": {"customer_id": "A"},
            "user_attributes": {"tier": "a", "Tier": "b", "TIER": "c"},
        },
        {"user_identities": {"customer_id": "B"}, "user_attributes": {"tier": "z"}},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in people))
    assert run_here("import", "a.jsonl", "--feed", "f", folder=tmp_path).returncode == 0
    for name in ("b.csv", "b.parquet"):
        assert run_here("export", "profiles", "-o", name, folder=tmp_path).returncode == 0
        assert (
            run_here(
                "--store", f"{name}.duckdb", "import", name, "--feed", "f", folder=tmp_path
            ).returncode
            == 0
        )
        lines = run_here(
            "--store", f"{name}.duckdb", "export", "profiles", "--sorted", folder=tmp_path
        ).stdout.splitlines()
        found = {
            tuple(one["user_identities"]["customer_id"]): one["user_attributes"]
            for one in map(json.loads, lines)
        }
        assert found == {("A",): {"tier": "a", "Tier": "b", "TIER": "c"}, ("B",): {"tier": "z"}}
    assert (
        run_here(
            "export",
            "profiles",
            "--format",
            "csv",
            "--sorted",
            "--fields",
            "tier,Tier",
            folder=tmp_path,
        ).stdout.count("b,a\n")
        == 1
    )


def test_members_of_a_struct_keep_the_names_that_the_file_has_for_them(tmp_path: Path) -> None:
    attributes = pa.array(
        [{"tier": "x", "Tier": "y", "l": ["1", "2"]}],
        pa.struct([("tier", pa.string()), ("Tier", pa.string()), ("l", pa.list_(pa.string()))]),
    )
    pyarrow.parquet.write_table(
        pa.table({"customer_id": ["A"], "user_attributes": attributes, "TIER": ["z"]}),
        tmp_path / "a.parquet",
    )
    assert run_here("import", "a.parquet", "--feed", "f", folder=tmp_path).returncode == 0
    assert json.loads(run_here("export", "profiles", folder=tmp_path).stdout)[
        "user_attributes"
    ] == {"tier": "x", "Tier": "y", "TIER": "z", "l": ["1", "2"]}
