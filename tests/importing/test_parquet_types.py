"""Parquet: every type as an attribute, as an identity, in every reserved column; what it says is
told by the values, in Python.

`meant` is the rule, written apart from the table of the reader; `read_flat` says what a row of such
values means.
"""

from __future__ import annotations

import datetime
import math
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.effort import first_now

from profilectl.codes import InputRefused
from profilectl.importing.sift import FAULTS
from profilectl.importing.stage.columns import read_map
from profilectl.importing.stage.options import ReadingOptions
from profilectl.importing.stage.parquet.footer import check_footer
from profilectl.importing.stage.parquet.types import NOT_A_NUMBER, UNFIT, kind_of, unfit
from profilectl.importing.stage.run import stage_files
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.staged import Rejects
from profilectl.rules.batch import Reading, read_flat
from profilectl.rules.batch_fields import field_named
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.values import Number, Value, hold, parse_json
from profilectl.store.scratch import Scratch

UTC = datetime.UTC
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
REFUSED = "refused"
UNSAID = "unsaid"


@dataclass(frozen=True)
class Type:
    """A type of Parquet.

    arrow: as it is written; group: how the rule below reads it; values: some, all of them apart.
    """

    name: str
    arrow: pa.DataType
    group: str
    values: tuple[Any, ...]


# fmt: off
TYPES = (
    Type("string",     pa.string(),               "text",    ("x", "", " 7 ", "1e3", "é😀", "\x1fz", "production", "1750000000000")),
    Type("dictionary", pa.dictionary(pa.int32(), pa.string()), "text", ("x", "y")),
    Type("null",       pa.null(),                 "null",    ()),
    Type("boolean",    pa.bool_(),                "boolean", (True, False)),
    Type("int8",       pa.int8(),                 "whole",   (-128, 0, 1)),
    Type("int64",      pa.int64(),                "whole",   (-2**63, 0, 1, 2**63 - 1, 1750000000000)),
    Type("uint64",     pa.uint64(),               "whole",   (0, 1, 2**64 - 1)),
    Type("decimal 0",  pa.decimal128(38, 0),      "decimal", (Decimal(0), Decimal(-17), Decimal(10**37 + 1))),
    Type("decimal 2",  pa.decimal128(38, 2),      "decimal", (Decimal("1.10"), Decimal("-7.00"), Decimal("12345678901234567890123.45"), Decimal("0.50"), Decimal("-0.50"))),
    Type("decimal 60", pa.decimal256(60, 2),      "decimal", (Decimal(10**50), Decimal("1.50"), Decimal(f"{10**45}.01"), Decimal("-3.00"))),
    Type("decimal 60/20", pa.decimal256(60, 20),  "decimal", (Decimal("0.00000000000000000001"), Decimal(5))),
    Type("half",       pa.float16(),              "half",    (1.0, 1.5, 2047.0, 2048.0, math.nan, math.inf)),
    Type("float",      pa.float32(),              "float",   (1.0, 0.5, 2.0**24 - 1, 2.0**24, math.nan, -math.inf, 0.1)),
    Type("double",     pa.float64(),              "double",  (1001.0, 1.5, 2.0**53 - 1, 2.0**53, math.nan, math.inf, 1e300, 0.1, -5.0, 1e-7, 1750000000000.0)),
    Type("date",       pa.date32(),               "date",    (datetime.date(2024, 2, 29), datetime.date(1, 1, 1), datetime.date(9999, 12, 31))),
    Type("time ms",    pa.time32("ms"),           "time",    (0, 86399999)),
    Type("time us",    pa.time64("us"),           "time",    (0, 86399999999)),
    Type("time ns",    pa.time64("ns"),           "time",    (1, 86399999999999)),
    Type("stamp s",    pa.timestamp("s"),         "stamp",   (0, 1750000000, -1)),
    Type("stamp ms",   pa.timestamp("ms"),        "stamp",   (0, 1750000000123, -1)),
    Type("stamp us",   pa.timestamp("us"),        "stamp",   (0, 1750000000123456, -1)),
    Type("stamp ns",   pa.timestamp("ns"),        "stamp",   (0, 1750000000123456789, -1)),
    Type("zoned ms",   pa.timestamp("ms", "UTC"), "stamp",   (0, 1750000000123, -1)),
    Type("zoned us",   pa.timestamp("us", "Europe/London"), "stamp", (0, 1750000000123456, -1)),
    Type("zoned ns",   pa.timestamp("ns", "UTC"), "stamp",   (0, 1750000000123456789, -1)),
    Type("list of strings", pa.list_(pa.string()), "list",   ([], ["a", None], ["é"])),
    Type("list of ints", pa.list_(pa.int64()),    "list",    ([1, 2**53 + 1], [None])),
    Type("list of doubles", pa.list_(pa.float64()), "list",  ([1.5], [math.nan], [0.1, None])),
    Type("list of decimals", pa.list_(pa.decimal256(50, 1)), "list", ([Decimal(10**40), None], [])),
    Type("binary",     pa.binary(),               "bytes",   (b"x", b"\xff")),
    Type("fixed binary", pa.binary(2),            "bytes",   (b"xy",)),
    Type("map",        pa.map_(pa.string(), pa.int64()), "nested", ([("a", 1)],)),
    Type("list of lists", pa.list_(pa.list_(pa.int64())), "nested", ([[1]],)),
    Type("list of structs", pa.list_(pa.struct([("a", pa.int64())])), "nested", ([{"a": 1}],)),
)
# fmt: on
WHOLE_BELOW = {"half": 2**11, "float": 2**24, "double": 2**53}
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def meant(kind: Type, value: Any) -> Value | str:
    """Return what a value is as an attribute; UNSAID where it has no exact text."""
    if value is None or kind.group == "null":
        return None
    if kind.group in ("bytes", "nested"):
        return UNSAID
    if kind.group == "list":
        entries = [
            meant(Type("", kind.arrow.value_type, _group(kind.arrow.value_type), ()), entry)
            for entry in value
        ]
        return UNSAID if UNSAID in entries else entries  # type: ignore[return-value]
    if kind.group in WHOLE_BELOW:
        return Number(_shortest(kind.group, value)) if math.isfinite(value) else UNSAID
    if kind.group == "whole":
        return Number(str(value))
    if kind.group == "decimal":
        return Number(format(value, f".{kind.arrow.scale}f"))
    if kind.group == "date":
        return value.isoformat()  # type: ignore[no-any-return]
    if kind.group in ("time", "stamp"):
        return _time_text(kind, value)
    return value  # type: ignore[no-any-return]


def _group(kind: pa.DataType) -> str:
    return (
        "text"
        if pa.types.is_string(kind)
        else "double"
        if pa.types.is_floating(kind)
        else "decimal"
        if pa.types.is_decimal(kind)
        else "whole"
    )


def _shortest(group: str, value: float) -> str:
    """Return the shortest text of a float that is read as the same float again."""
    if group == "double":
        return repr(value)
    letter = {"half": "f", "float": "f"}[group]
    return next(
        repr(float(f"{value:.{digits}g}"))
        for digits in range(1, 18)
        if struct.pack(letter, float(f"{value:.{digits}g}")) == struct.pack(letter, value)
    )


def _time_text(kind: Type, value: int) -> str:
    unit = PER_SECOND[kind.arrow.unit]
    seconds, fraction = divmod(value, unit)
    digits = str(fraction).rjust(len(str(unit)) - 1, "0").rstrip("0") if unit > 1 else ""
    moment = EPOCH + datetime.timedelta(seconds=seconds)
    text = (
        moment.strftime("%H:%M:%S")
        if kind.group == "time"
        else moment.strftime("%Y-%m-%dT%H:%M:%S")
    )
    return (
        text
        + (f".{digits}" if digits else "")
        + ("Z" if kind.group == "stamp" and kind.arrow.tz else "")
    )


def in_field(name: str, kind: Type, value: Any) -> Value | str:
    """Return what a value is in a column of some name."""
    field = field_named(name)
    said = meant(kind, value)
    if value is None or kind.group == "null":
        return None
    whole = _whole(kind, value)
    if field.kind == "attribute":
        return said
    if field.kind == "identity":
        return (
            said
            if kind.group in ("text", "whole")
            else REFUSED
            if kind.group not in ("decimal", *WHOLE_BELOW)
            else whole
            if whole is not None
            else "IDENTITY_INVALID"
        )
    if kind.group in ("bytes", "nested"):
        return REFUSED
    if name.endswith("timestamp_unixtime_ms") and kind.group == "stamp":
        return Number(value * 1000 // PER_SECOND[kind.arrow.unit])
    if name in ("mpid", "timestamp_unixtime_ms") and whole is not None:
        return whole
    if name.endswith(("limit_ad_tracking", "consented")) and isinstance(said, Number):
        # a boolean is read as in a cell of a CSV file: 1 and 0 stand for one
        return str.__str__(said)
    if said == UNSAID and name == "deleted_user_attributes":
        return False
    if said == UNSAID and name not in ("environment", "mpid", "timestamp_unixtime_ms"):
        return "BATCH_INVALID"
    return "nan" if said == UNSAID else said


def _whole(kind: Type, value: Any) -> str | None:
    if kind.group == "decimal" and value == int(value):
        return str(int(value))
    if (
        kind.group in WHOLE_BELOW
        and math.isfinite(value)
        and value == int(value)
        and abs(value) < WHOLE_BELOW[kind.group]
    ):
        return str(int(value))
    return None


def expected(row: Mapping[str, tuple[Type, Any]]) -> dict[str, Any] | str:
    """Return what a row means, or the code it is rejected with."""
    said = {name: in_field(name, kind, value) for name, (kind, value) in row.items()}
    if REFUSED in said.values():
        return REFUSED
    codes = [
        str(value) for value in said.values() if value in ("IDENTITY_INVALID", "BATCH_INVALID")
    ]
    left_out = [name for name, value in said.items() if value == UNSAID]
    try:
        batch = read_flat(
            {
                name: value
                for name, value in said.items()
                if name not in left_out and value not in codes
            },
            Reading(),
        )  # type: ignore[misc]
    except UnusableRow as error:
        codes.append(error.code)
    if codes:
        return min(codes, key=FAULTS.index)
    return {
        "environment": batch.environment,
        "mpid": batch.mpid,
        "at_ms": batch.at_ms,
        "request": batch.request,
        "deletes": list(batch.deletes),
        "identities": sorted((one.type, one.value) for one in batch.identities),
        "sets": dict(batch.sets),
        "rest": parse_json(batch.rest or "null"),
        "left out": len(left_out),
    }


def found(
    folder: Path,
    columns: Mapping[str, tuple[Type, Sequence[Any]]],
    options: ReadingOptions = ReadingOptions(),  # noqa: B008
    **how: Any,
) -> list[dict[str, Any] | str]:
    """Return what each row of a Parquet file is staged as, or the code it is rejected with."""
    table = pa.table({name: _array(kind, values) for name, (kind, values) in columns.items()})
    pq.write_table(table, folder / "a.parquet", **how)
    return staged_rows(folder, options)


def _array(kind: Type, values: Sequence[Any]) -> pa.Array:
    if pa.types.is_timestamp(kind.arrow) or pa.types.is_time(kind.arrow):
        return pa.array(
            list(values),
            pa.int64()
            if pa.types.is_timestamp(kind.arrow) or kind.arrow.bit_width == 64
            else pa.int32(),
        ).cast(kind.arrow)
    return pa.array(list(values), kind.arrow)


def staged_rows(folder: Path, options: ReadingOptions) -> list[dict[str, Any] | str]:
    """Stage a.parquet and say what its rows are."""
    scratch = Scratch(folder)
    try:
        file = InputFile("a.parquet", folder / "a.parquet", "0" * 64, "parquet")
        staged = stage_files(scratch, [file], options, Rejects(folder / "r.jsonl"))
        (one,) = staged.files
        wrong: dict[int, list[str]] = {}
        for select in one.rejects:
            for seq, code, *_ in scratch.rows(f"select seq, code from ({select})"):
                wrong.setdefault(seq, []).append(code)
        left = Counter(
            seq
            for select in one.skips
            for seq, _ in scratch.rows(f"select seq, code from ({select})")
        )
        names = [
            "seq",
            *staged.plain,
            *(f"i_{kind}" for kind in staged.identities),
            *(f"a{place}" for place in range(len(staged.keys))),
        ]
        rows = [
            dict(zip(names, row, strict=True))
            for row in scratch.rows(f"select {', '.join(names)} from staged order by seq")
        ]
        return [_row(row, staged.keys, wrong.get(row["seq"], []), left[row["seq"]]) for row in rows]
    finally:
        scratch.close()


def _row(
    row: Mapping[str, Any], keys: Sequence[str], codes: list[str], left: int
) -> dict[str, Any] | str:
    identities = sorted(
        (name[2:], value.strip(" \t\n\r\f\v"))
        for name, value in row.items()
        if name.startswith("i_") and value is not None and value.strip(" \t\n\r\f\v")
    )
    if not identities and row.get("mpid") is None:
        codes = [*codes, "NO_IDENTITY"]
    if codes:
        return min(codes, key=FAULTS.index)
    sets = {key: row[f"a{place}"] for place, key in enumerate(keys) if row[f"a{place}"] is not None}
    return {
        "environment": row.get("environment"),
        "mpid": row.get("mpid"),
        "at_ms": row.get("at_ms"),
        "request": row.get("request"),
        "deletes": list(row.get("deleted") or []),
        "identities": identities,
        "sets": sets,
        "rest": parse_json(row.get("rest") or "null"),
        "left out": left,
    }


TEXT, WHOLE = TYPES[0], next(kind for kind in TYPES if kind.name == "int64")
COLUMNS = (
    "environment",
    "mpid",
    "timestamp_unixtime_ms",
    "source_request_id",
    "deleted_user_attributes",
    "mobile_number",
    "tier",
    "ip",
    "device_info.limit_ad_tracking",
)


@pytest.mark.parametrize("name", first_now([*COLUMNS], 3))
def test_every_type_in_every_reserved_column_is_right_or_rejected_or_refused(
    name: str, tmp_path: Path
) -> None:
    for kind in TYPES:
        values = [*kind.values, None]
        wanted = [expected({"customer_id": (TEXT, "C-1"), name: (kind, value)}) for value in values]
        columns = {"customer_id": (TEXT, ["C-1"] * len(values)), name: (kind, values)}
        if REFUSED in wanted:
            with pytest.raises(InputRefused, match=name.replace(".", "[.]")):
                found(tmp_path, columns)
        else:
            assert found(tmp_path, columns) == wanted, kind.name


CONSENT = "consent_state.gdpr.mkt."


@pytest.mark.parametrize(
    "kind",
    [kind for kind in TYPES if kind.group in ("whole", "stamp", "double")],
    ids=lambda kind: kind.name,
)
def test_the_time_of_a_consent_is_its_milliseconds(kind: Type, tmp_path: Path) -> None:
    values = [value for value in kind.values if kind.group != "double" or math.isfinite(value)]
    boolean = next(kind for kind in TYPES if kind.group == "boolean")
    columns = {
        "customer_id": (TEXT, ["C-1"] * len(values)),
        f"{CONSENT}consented": (boolean, [True] * len(values)),
        f"{CONSENT}timestamp_unixtime_ms": (kind, values),
    }
    for row, value in zip(found(tmp_path, columns), values, strict=True):
        time = in_field(f"{CONSENT}timestamp_unixtime_ms", kind, value)
        assert isinstance(row, str) or row["rest"] == {
            "consent_state": {"gdpr": {"mkt": {"consented": True, "timestamp_unixtime_ms": time}}}
        }


def test_timestamps_of_spark_are_exact(tmp_path: Path) -> None:
    """INT96 has nanoseconds, and years that nanoseconds since 1970 do not reach."""
    moments = [
        datetime.datetime(2024, 2, 29, 23, 59, 59, 123456),  # noqa: DTZ001
        datetime.datetime(9999, 12, 31, 1, 2, 3),  # noqa: DTZ001
        None,
    ]
    table = pa.table(
        {
            "customer_id": ["A", "B", "C"],
            "at": pa.array(moments, pa.timestamp("us")),
            "timestamp_unixtime_ms": pa.array([*moments[:1], None, None], pa.timestamp("us")),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    rows: list[Any] = staged_rows(tmp_path, ReadingOptions())
    assert [row["sets"] for row in rows] == [
        {"at": "2024-02-29T23:59:59.123456"},
        {"at": "9999-12-31T01:02:03"},
        {},
    ]
    assert rows[0]["at_ms"] == 1709251199123
    nested = pa.table(
        {
            "customer_id": ["A"],
            "at": pa.array([[1709251199123456789, None]], pa.list_(pa.timestamp("ns"))),
            "s": pa.array([{"at": 1}], pa.struct([("at", pa.timestamp("ns"))])),
        }
    )
    pq.write_table(nested, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    rows = staged_rows(tmp_path, ReadingOptions())
    assert rows[0]["sets"] == {
        "at": '\x1f["2024-02-29T23:59:59.123456789",null]',
        "s.at": "1970-01-01T00:00:00.000000001",
    }


def _values(kind: Type) -> st.SearchStrategy[Any]:
    more: dict[str, st.SearchStrategy[Any]] = {
        "text": st.text(
            st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=5
        ),
        "double": st.floats(),
        "whole": st.integers(-100, 100),
        "boolean": st.booleans(),
    }
    if kind.group == "decimal":
        more["decimal"] = st.integers(-(10**36), 10**36).map(
            lambda digits: Decimal(digits).scaleb(-kind.arrow.scale)
        )
    if kind.name in ("int8", "uint64", "dictionary"):
        more = {}
    exact = st.sampled_from(kind.values) if kind.values else st.none()
    return st.none() | exact | more.get(kind.group, exact)


@st.composite
def _files(draw: st.DrawFn) -> dict[str, tuple[Type, list[Any]]]:
    rows = draw(st.integers(1, 4))
    names = draw(
        st.lists(
            st.sampled_from(
                [
                    "email",
                    "mobile_number",
                    "mpid",
                    "timestamp_unixtime_ms",
                    "environment",
                    "a",
                    "b",
                    "user_attributes.c",
                    "$zip",
                    "d",
                    "e",
                ]
            ),
            min_size=1,
            max_size=7,
            unique=True,
        )
    )
    kinds = {name: draw(st.sampled_from(TYPES)) for name in names}
    columns = {
        name: (kind, [draw(_values(kind)) for _ in range(rows)]) for name, kind in kinds.items()
    }
    return {
        "customer_id": (
            TEXT,
            draw(
                st.lists(st.sampled_from(["C-1", "C-2", None, " x "]), min_size=rows, max_size=rows)
            ),
        ),
        **columns,
    }


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(columns=_files())
def test_random_files_are_read_as_the_rule_says(
    columns: dict[str, tuple[Type, list[Any]]], tmp_path: Path
) -> None:
    rows = range(len(columns["customer_id"][1]))
    wanted = [
        expected({name: (kind, values[row]) for name, (kind, values) in columns.items()})
        for row in rows
    ]
    try:
        told = found(tmp_path, columns)
    except InputRefused:
        assert REFUSED in wanted
    else:
        assert told == wanted


def test_statistics_of_a_file_decide_nothing(tmp_path: Path) -> None:
    """DuckDB holds a test for NaN to be false where the greatest value of a column is a number."""
    double = next(kind for kind in TYPES if kind.name == "double")
    rows = found(tmp_path, {"customer_id": (TEXT, ["A", "B"]), "score": (double, [1.0, math.nan])})
    assert [row if isinstance(row, str) else (row["sets"], row["left out"]) for row in rows] == [
        ({"score": hold(Number("1.0"))}, 0),
        ({}, 1),
    ]


def test_a_list_in_a_kept_field_of_a_flat_row_is_kept_whole() -> None:
    batch = read_flat(
        {
            "customer_id": "A",
            "device_info.tags": [Number("1"), Number("2")],
            "device_info.none": [],
        },
        Reading(),
    )
    assert batch.rest == '{"device_info":{"tags":[1,2],"none":[]}}'


def test_a_text_with_nul_rejects_its_row(tmp_path: Path) -> None:
    strings = Type("", pa.list_(pa.string()), "list", ())
    columns = {
        "customer_id": (TEXT, ["A", "B\0", "C", "D", "E"]),
        "x": (TEXT, ["a", "b", "c\0", None, "\\u0000"]),
        "l": (strings, [["\\u0000"], [], [], ["a\0"], None]),
    }
    rows = found(tmp_path, columns)
    assert [row if isinstance(row, str) else "right" for row in rows] == [
        "right",
        "NUL_CHARACTER",
        "NUL_CHARACTER",
        "NUL_CHARACTER",
        "right",
    ]


def test_a_null_spelling_makes_a_text_nothing(tmp_path: Path) -> None:
    columns = {
        "customer_id": (TEXT, ["A", "\\N"]),
        "email": (TEXT, ["\\N", "b@example.com"]),
        "town": (TEXT, ["\\N", "\\N "]),
        "n": (WHOLE, [0, 1]),
    }
    rows: list[Any] = found(
        tmp_path, columns, ReadingOptions(reading=Reading(nulls=frozenset(["\\N", "0"])))
    )
    assert [row["identities"] for row in rows] == [
        [("customer_id", "A")],
        [("email", "b@example.com")],
    ]
    assert [row["sets"] for row in rows] == [{"n": "\x1f0"}, {"n": "\x1f1", "town": "\\N "}]


def test_bytes_are_text_where_they_are_to_be(tmp_path: Path) -> None:
    binary = next(kind for kind in TYPES if kind.name == "binary")
    lists = Type("", pa.list_(pa.binary()), "list", ())
    columns = {
        "customer_id": (binary, [b"A", b"\xff", None, "é".encode()]),
        "email": (TEXT, ["a@x.org", "b@x.org", "c@x.org", "d@x.org"]),
        "x": (binary, [b"x", b"y", b"\xff", None]),
        "l": (lists, [[b"a", None], [], [b"\xff"], None]),
    }
    with pytest.raises(InputRefused) as refused:
        found(tmp_path, columns)
    assert "customer_id" in refused.value.message
    assert "--binary-as-text" in refused.value.hint
    rows: list[Any] = found(tmp_path, columns, ReadingOptions(binary_as_text=True))
    assert rows[1] == "IDENTITY_INVALID"
    assert [rows[place]["sets"] for place in (0, 2, 3)] == [
        {"x": "x", "l": '\x1f["a",null]'},
        {},
        {},
    ]
    assert [rows[place]["left out"] for place in (0, 2, 3)] == [0, 2, 0]
    assert rows[3]["identities"] == [("customer_id", "é"), ("email", "d@x.org")]


def test_a_struct_is_dotted_names_and_may_be_ignored_whole(tmp_path: Path) -> None:
    table = pa.table(
        {
            "customer_id": ["C-1"],
            "address": [{"city": "Leeds", "zip": "01234", "geo": {"lat": 1.5}}],
            "lines": [[{"sku": "a"}]],
            "user_attributes": [{"tier": "gold"}],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (row,) = staged_rows(tmp_path, ReadingOptions())
    assert isinstance(row, dict)
    assert (row["sets"], row["left out"]) == (
        {
            "address.city": "Leeds",
            "address.zip": "01234",
            "address.geo.lat": "\x1f1.5",
            "tier": "gold",
        },
        1,
    )
    ignored = field_named("x")
    mapped = {
        "address": read_map(["address=ignore"])["address"],
        "lines": read_map(["lines=ignore"])["lines"],
        "user_attributes.tier": ignored,
    }
    (row,) = staged_rows(tmp_path, ReadingOptions(mapped=mapped))
    assert isinstance(row, dict)
    assert (row["sets"], row["left out"]) == ({"x": "gold"}, 0)


@pytest.mark.parametrize("name", ["email", "mpid"])
def test_a_column_of_any_type_without_values_says_nothing(name: str, tmp_path: Path) -> None:
    for kind in TYPES:
        (row,) = found(tmp_path, {"customer_id": (TEXT, ["A"]), name: (kind, [None])})
        assert isinstance(row, dict), kind.name


def test_an_ignored_column_of_any_type_never_refuses_a_file(tmp_path: Path) -> None:
    for kind in TYPES:
        if kind.values:
            (row,) = found(
                tmp_path,
                {"customer_id": (TEXT, ["A"]), "email": (kind, [kind.values[0]])},
                ReadingOptions(mapped=read_map(["email=ignore"])),
            )
            assert isinstance(row, dict)
            assert row["identities"] == [("customer_id", "A")]


def test_times_of_files_from_before_zones_were_known_are_in_utc(tmp_path: Path) -> None:
    stamps = pa.array([1750000000123456, 0], pa.timestamp("us", "UTC"))
    pq.write_table(
        pa.table({"customer_id": ["A", "B"], "at": stamps}),
        tmp_path / "a.parquet",
        version="1.0",
        store_schema=False,
    )
    rows: list[Any] = staged_rows(tmp_path, ReadingOptions())
    assert rows[0]["sets"] == {"at": "2025-06-15T15:06:40.123456Z"}


FLOATS = ["0", "-0.0", "1.5", "-1e30", "nan", "-nan", "inf", "-inf"]
MOMENTS = ["1970-01-01", "0044-03-15 (BC)", "9999-12-31", "infinity", "-infinity", "epoch"]
SOME_VALUES = {
    "FLOAT": FLOATS, "DOUBLE": [*FLOATS, "1e308"], "HALF FLOAT": FLOATS, "DATE": MOMENTS,
    "TIMESTAMP": MOMENTS, "TIMESTAMP_S": MOMENTS, "TIMESTAMP_MS": MOMENTS,
}  # fmt: skip


@pytest.mark.parametrize("name", SOME_VALUES)
def test_a_value_without_a_text_is_known_without_its_text(name: str) -> None:
    kind = kind_of(name)
    assert kind
    assert kind.finite
    value = f"v::{name.removeprefix('HALF ')}"
    by_text = UNFIT(value=value, text=kind.text_of(value), not_a_number=NOT_A_NUMBER)
    answers = duckdb.execute(
        f"select v, {unfit(kind, value)}, {by_text} from (select unnest($values) as v)",
        {"values": [*SOME_VALUES[name], None]},
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
        check_footer(
            scratch, InputFile(name="rows.parquet", local=path, sha256="", format="parquet")
        )
        assert scratch.row("select current_setting('threads')") == ((1,) if is_small else cores)
        # The store is opened again before it is written to.
        scratch.use_cores_for(1_000)
        assert scratch.row("select current_setting('threads')") == ((1,) if is_small else cores)
    finally:
        scratch.close()
