"""What leaves the store: every kind, every form, whole or not at all; and batches that make the
same profiles again.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from support import people
from support.doors import call, run_here
from support.effort import at_length, spread_now
from support.histories import History, histories
from support.places import CASES, SAMPLES
from support.played_histories import declare, request_for

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.reading.actions import export_store
from profilectl.reading.exporting.export import ExportRequest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("people")
    people.make(found)
    return found


def exported(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = run_here("export", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as content:
        return list(csv.DictReader(content))


# Kinds


def test_identities_say_where_they_come_from(folder: Path) -> None:
    found = [
        (one["type"], one["value"], one["feed"], one["import"], one["file"], one["line"])
        for one in exported(folder, "identities", "--where", "customer_id = 'C1'")
    ]
    assert sorted(found) == [
        ("customer_id", "C1", "crm", 1, "crm.jsonl", 1),
        ("email", "amelie@example.org", "crm", 1, "crm.jsonl", 1),
        ("ios_idfv", "0a0a0a0a-1111-2222-3333-444444444444", "app", 3, "app.jsonl", 1),
        ("mobile_number", "+32470000000", "app", 3, "app.jsonl", 1),
    ]


@pytest.mark.slow
def test_attributes_are_the_profiles_in_long_form(folder: Path) -> None:
    profiles = {one["mpid"]: one for one in exported(folder, "profiles", "--provenance")}
    found: dict[str, dict[str, Any]] = {mpid: {} for mpid in profiles}
    for one in exported(folder, "attributes"):
        found[one["mpid"]][one["attribute"]] = one["value"]
        origin = profiles[one["mpid"]]["provenance"][one["attribute"]]
        assert {key: one[key] for key in origin} == origin
    assert found == {mpid: one["user_attributes"] for mpid, one in profiles.items()}
    kinds = {
        one["attribute"]: one["type"]
        for one in exported(folder, "attributes", "--where", "customer_id = 'C1'")
    }
    assert (kinds["tier"], kinds["visits"], kinds["newsletter"], kinds["sizes"], kinds["beta"]) == (
        "text",
        "number",
        "boolean",
        "list",
        "tag",
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["profiles", "identities", "attributes", "imports"])
def test_csv_and_parquet_hold_the_same(kind: str, folder: Path, tmp_path: Path) -> None:
    for form in ("csv", "parquet"):
        assert (
            run_here("export", kind, "-o", str(tmp_path / f"a.{form}"), folder=folder).returncode
            == 0
        )
    rows = cells(tmp_path / "a.csv")
    table = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert rows
    assert rows == [
        {key: "" if value is None else str(value) for key, value in row.items()} for row in table
    ]
    assert len(rows) == len(exported(folder, kind))


def test_batches_are_the_platforms(folder: Path) -> None:
    schema = json.loads((CASES / "batch.schema.json").read_text("utf-8"))
    found = exported(folder, "batches")
    for one in found:
        jsonschema.validate(one, schema)
        assert len(one["user_attributes"]) <= 100
    assert len(found) > 4  # 190 attributes are two batches


# Narrowed


def test_conditions_fields_environment_and_since_narrow_it_down(folder: Path) -> None:
    (one,) = exported(
        folder, "profiles", "--where", "tier = 'gold'", "--fields", "email,tier,sizes"
    )
    assert (one["user_identities"], one["user_attributes"]) == (
        {"email": ["amelie@example.org"]},
        {"sizes": ["40", "41"], "tier": "gold"},
    )
    assert exported(folder, "profiles", "--environment", "development") == []
    assert sorted(
        one["user_identities"]["customer_id"][0]
        for one in exported(folder, "profiles", "--since", "2")
    ) == ["C1", "C4"]
    assert exported(folder, "profiles", "--since", "3") == []
    assert {
        one["attribute"] for one in exported(folder, "attributes", "--fields", "tier,more001")
    } == {"tier", "more001"}
    assert {one["type"] for one in exported(folder, "identities", "--fields", "email")} == {"email"}
    assert [one["import"] for one in exported(folder, "imports", "--since", "1")] == [2, 3]
    for wrong in (
        ["--fields", "nobody"],
        ["--where", "tier ="],
        ["--partition-by", "tier"],
        ["--sorted", "--max-rows-per-file", "2", "-o", "x"],
    ):
        assert run_here("export", "profiles", *wrong, folder=folder).returncode == 2, wrong
    assert run_here("export", "profiles", "--since", "9", folder=folder).returncode == 2


# Files


@pytest.mark.parametrize("compression", spread_now(["none", "gzip", "zstd"], 3))
@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_folder_of_parts_holds_everything_once(
    form: str, compression: str, folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "parts"
    done = run_here(
        "export",
        "profiles",
        "--partition-by",
        "tier",
        "--max-rows-per-file",
        "1",
        "--format",
        form,
        "--compression",
        compression,
        "-o",
        str(target),
        folder=folder,
    )
    assert done.returncode == 0, done.stderr
    ending = {"none": "", "gzip": ".gz", "zstd": ".zst"}[compression] if form != "parquet" else ""
    names = sorted(str(one.relative_to(target)) for one in target.rglob("*") if one.is_file())
    assert names == [
        f"tier={tier}/profiles-00001.{form}{ending}"
        for tier in ("__HIVE_DEFAULT_PARTITION__", "gold", "iron", "tin")
    ]
    if form == "parquet":
        found = [row for name in names for row in pq.ParquetFile(target / name).read().to_pylist()]
    else:
        texts = [unpacked(target / name) for name in names]
        found = [
            row
            for text in texts
            for row in (
                [json.loads(line) for line in text.splitlines()]
                if form == "jsonl"
                else csv.DictReader(io.StringIO(text, newline=""))
            )
        ]
    assert len(found) == 4
    assert len({row["mpid"] for row in found}) == 4


def unpacked(path: Path) -> str:
    if path.suffix == ".zst":
        return str(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd").read().decode())
    return (
        gzip.decompress(path.read_bytes()).decode()
        if path.suffix == ".gz"
        else path.read_text("utf-8")
    )


def test_the_attribute_of_the_folders_is_meant_by_any_way_to_name_it(
    folder: Path, tmp_path: Path
) -> None:
    for place, (name, found) in enumerate(
        (("$firstname", "%24FirstName="), ("user_attributes.tier", "tier="))
    ):
        target = tmp_path / str(place)
        assert (
            run_here(
                "export", "profiles", "--partition-by", name, "-o", str(target), folder=folder
            ).returncode
            == 0
        )
        assert {one.name.split("=")[0] + "=" for one in target.iterdir()} == {found}


def test_query_engines_read_the_parts_back(folder: Path, tmp_path: Path) -> None:
    assert (
        run_here(
            "export",
            "attributes",
            "--partition-by",
            "$LastName",
            "--format",
            "parquet",
            "-o",
            str(tmp_path / "parts"),
            folder=folder,
        ).returncode
        == 0
    )
    rows = (
        duckdb.connect()
        .execute(
            "select count(*), count(distinct mpid) from"
            f" read_parquet('{tmp_path}/parts/*/*.parquet', hive_partitioning = true)"
        )
        .fetchall()
    )
    assert rows == [(len(exported(folder, "attributes")), 4)]


def test_a_hostile_value_names_no_other_folder(tmp_path: Path) -> None:
    people.make(tmp_path)
    people.bring(
        tmp_path,
        "h.jsonl",
        people.lines(
            [
                {"user_identities": {"customer_id": f"H{n}"}, "user_attributes": {"tier": value}}
                for n, value in enumerate(
                    ["../../x", "/etc", "..", ".", "a\x1bb", "", "x" * 5000, "=", "é"]
                )
            ]
        ),
        0,
        "crm",
    )
    assert (
        run_here(
            "export", "profiles", "--partition-by", "tier", "-o", "parts", folder=tmp_path
        ).returncode
        == 0
    )
    folders = [one for one in (tmp_path / "parts").iterdir() if one.is_dir()]
    assert all(
        one.name.startswith("tier=") and one.name.isascii() and one.name.isprintable()
        for one in folders
    )
    assert not (tmp_path / "x").exists()
    assert sum(
        len(one.read_text().splitlines()) for one in (tmp_path / "parts").rglob("*.jsonl")
    ) == len(exported(tmp_path, "profiles"))


def test_a_failed_export_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from profilectl.reading.exporting import export

    def broken(*arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(export, "_drain", broken)
    monkeypatch.setattr(export.Parts, "finish", broken)
    for wanted in (
        ExportRequest(),
        ExportRequest(format="parquet"),
        ExportRequest(format="csv", compression="gzip"),
        ExportRequest(max_rows=1),
    ):
        with pytest.raises(OSError, match="No space"):
            export_store(folder / "profiles.duckdb", wanted, tmp_path / "out")
        assert sorted(tmp_path.iterdir()) == before


def test_a_name_says_what_the_file_is(folder: Path, tmp_path: Path) -> None:
    for name, options, says in (
        ("z.csv.gz", ["--compression", "none"], "contradict each other"), ("z.csv.gz", ["--compression", "zstd"], "contradict each other"),
        ("z.parquet.gz", [], "packed within"), ("z.zst", ["--format", "parquet"], "packed within"),
    ):  # fmt: skip
        done = run_here("export", "profiles", "-o", str(tmp_path / name), *options, folder=folder)
        assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
        assert says in done.stderr
    assert (
        run_here(
            "export",
            "profiles",
            "-o",
            str(tmp_path / "z.csv.gz"),
            "--compression",
            "gzip",
            folder=folder,
        ).returncode
        == 0
    )
    assert gzip.decompress((tmp_path / "z.csv.gz").read_bytes()).startswith(b"mpid,")
    for options, packed in ([], "ZSTD"), (["--compression", "none"], "UNCOMPRESSED"):
        assert (
            run_here(
                "export", "profiles", "-o", str(tmp_path / "z.parquet"), *options, folder=folder
            ).returncode
            == 0
        )
        assert (
            pq.ParquetFile(tmp_path / "z.parquet").metadata.row_group(0).column(0).compression
            == packed
        )


def test_a_dash_is_standard_output(folder: Path, tmp_path: Path) -> None:
    people.make(tmp_path)
    before = sorted(tmp_path.iterdir())
    for arguments in (
        ("export", "profiles", "--sorted"), ("export", "imports", "--format", "csv"), ("lookup", "wh.csv"), ("access", "--identity", "customer_id=C1"),
    ):  # fmt: skip
        there, plain = (
            re.sub('"made_ms":[0-9]+', "", run_here(*arguments, *more, folder=tmp_path).stdout)
            for more in (["-o", "-"], [])
        )
        assert there == plain != ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_is_not_empty_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for target in ("full", "full/x", "link", "no/where"):
        assert (
            run_here(
                "export",
                "profiles",
                "--max-rows-per-file",
                "1",
                "-o",
                str(tmp_path / target),
                folder=folder,
            ).returncode
            == 4
        )
    (tmp_path / "empty").mkdir()
    assert (
        run_here(
            "export",
            "profiles",
            "--max-rows-per-file",
            "3",
            "-o",
            str(tmp_path / "empty"),
            folder=folder,
        ).returncode
        == 0
    )
    assert len(list((tmp_path / "empty").iterdir())) == 2


# Round trip


def check_round_trip(history: History) -> None:
    note(history.as_case())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, second = folder / "first.duckdb", folder / "second.duckdb"
        declare(first, history)
        for place, one in enumerate(history.imports):
            import_files(first, request_for(folder, place, one))
        declare(second, History(history.identity, history.priority, {}))
        batches = folder / "batches.jsonl"
        export_store(first, ExportRequest("batches"), batches)
        if batches.stat().st_size:
            report = import_files(second, ImportRequest([str(batches)], "again"))
            assert report.counts.rows["rejected"] == 0
        assert people_in(first) == people_in(second)
        shutil.rmtree(folder / "none", ignore_errors=True)


def people_in(path: Path) -> bytes:
    out = io.BytesIO()
    export_store(path, ExportRequest(in_order=True), out)
    return out.getvalue()


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(histories())
def test_batches_imported_into_an_empty_store_make_the_same_profiles(history: History) -> None:
    check_round_trip(history)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_batches_make_the_same_profiles_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(30, by_night=150),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(histories())
    def compare(history: History) -> None:
        check_round_trip(history)

    compare()


def test_the_sample_data_makes_the_round_trip(tmp_path: Path) -> None:
    sample = SAMPLES
    for name, options in (
        ("crm.parquet", []),
        ("legacy.csv", ["--source", "warehouse"]),
        ("batches.jsonl", ["--source", "sdk"]),
    ):
        assert call(
            "import",
            str(sample / name),
            "--feed",
            name,
            *options,
            "--rejects",
            "r.jsonl",
            folder=tmp_path,
        ).exit_code in (0, 3)
    assert call("export", "batches", "-o", "b.jsonl.gz", folder=tmp_path).exit_code == 0
    assert (
        call(
            "--store", "again.duckdb", "import", "b.jsonl.gz", "--feed", "f", folder=tmp_path
        ).exit_code
        == 0
    )
    assert people_in(tmp_path / "profiles.duckdb") == people_in(tmp_path / "again.duckdb")


def test_values_are_listed_calculated_ones_too_without_what_they_mask(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,spent,tier\nA,5,gold\n")
    (tmp_path / "e.csv").write_text(
        "customer_id,events.data.event_name,events.data.custom_attributes.price\nA,buy,100\n"
    )
    run_here("import", "a.csv", "--feed", "w", "--source", "warehouse", folder=tmp_path)
    run_here("import", "e.csv", "--feed", "e", "--source", "csv", folder=tmp_path)
    run_here(
        "calculated",
        "add",
        "spent",
        "--type",
        "sum",
        "--event",
        "buy",
        "--of",
        "price",
        folder=tmp_path,
    )
    found = {
        one["attribute"]: one
        for one in map(
            json.loads,
            run_here("export", "attributes", "--sorted", folder=tmp_path).stdout.splitlines(),
        )
    }
    assert (found["spent"]["value"], found["spent"]["source"], found["spent"]["type"]) == (
        100,
        "calculated",
        "number",
    )
    assert "feed" not in found["spent"]
    assert found["tier"]["source"] == "warehouse"
    assert (
        "calculated" in run_here("export", "attributes", "--format", "csv", folder=tmp_path).stdout
    )
    counted = {
        one["attribute"]: one
        for one in json.loads(run_here("stats", "--json", folder=tmp_path).stdout)["attributes"]
    }
    assert (counted["spent"]["profiles"], counted["spent"]["sources"]) == (1, ["calculated"])
    refused = run_here("calculated", "add", "email", "--type", "count", folder=tmp_path)
    assert refused.returncode == 2
    assert "type of identity" in refused.stderr
