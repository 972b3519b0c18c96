"""Features that each work alone, together: paths, maps, rejects and retries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.doors import call, run_here
from support.effort import spread_now


def brought(folder: Path, *arguments: str, status: int = 0) -> dict[str, Any]:
    done = call("import", "--feed", "f", "--json", *arguments, folder=folder)
    assert done.exit_code == status, done.output or done.exception
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def people(folder: Path) -> dict[str, dict[str, Any]]:
    rows = map(json.loads, call("export", "profiles", folder=folder).stdout.splitlines())
    return {row["user_identities"]["customer_id"][0]: row["user_attributes"] for row in rows}


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def mend(folder: Path, name: str, *changes: tuple[str, str]) -> None:
    text = (folder / name).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)


@pytest.mark.parametrize("name", spread_now(["a.b=5/p.csv", "a.b=5/p.parquet", "a.b=5/p.jsonl"], 3))
def test_unknown_holds_for_the_columns_of_a_path_in_every_format(name: str, tmp_path: Path) -> None:
    put(tmp_path, name, '{"customer_id":"A"}\n' if name.endswith("jsonl") else "customer_id\nA\n")
    if name.endswith("parquet"):
        pq.write_table(pa.table({"customer_id": ["A"]}), tmp_path / name)
    brought(tmp_path, name, "--path-columns", "--unknown", "ignore")
    assert people(tmp_path) == {"A": {}}
    brought(tmp_path, name, "--path-columns", "--unknown", "attribute")
    assert people(tmp_path) == {"A": {"a.b": "5"}}


def test_the_same_content_under_another_folder_is_other_content_where_folders_are_read(
    tmp_path: Path,
) -> None:
    put(tmp_path, "country=DE/p.csv", "customer_id\nA\n")
    put(tmp_path, "country=FR/p.csv", "customer_id\nA\n")
    brought(tmp_path, "country=DE/p.csv", "--path-columns")
    report = brought(tmp_path, "country=FR/p.csv", "--path-columns")
    assert (report["import"], report["notices"]) == (2, [])
    assert people(tmp_path) == {"A": {"country": "FR"}}
    assert brought(tmp_path, "country=DE/p.csv", "--path-columns")["already_imported"] == 1
    brought(tmp_path, "country=DE/p.csv")
    assert brought(tmp_path, "country=FR/p.csv")["already_imported"] == 3


def test_a_file_that_is_named_by_its_event_type_is_imported_again(tmp_path: Path) -> None:
    put(tmp_path, "l.csv", "customer_id,events.data.product_action.action\nA,purchase\n")
    put(tmp_path, "l-commerce_event.csv", (tmp_path / "l.csv").read_text())
    brought(tmp_path, "l.csv")
    assert brought(tmp_path, "l-commerce_event.csv")["import"] == 2


def test_rejects_have_the_folders_of_the_files_they_come_from(tmp_path: Path) -> None:
    put(tmp_path, "country=DE/p.csv", "customer_id,tier\n,x\n")
    put(tmp_path, "country=FR/p.csv", "customer_id,tier\n,y\n")
    brought(tmp_path, "country=DE/p.csv", "country=FR/p.csv", "--path-columns", status=3)
    (tmp_path / "country=DE/p.csv.rejects.jsonl").rename(tmp_path / "m.rejects.jsonl")
    mend(tmp_path, "m.rejects.jsonl", ('"raw":",x', '"raw":"X,x'), ('"raw":",y', '"raw":"Y,y'))
    brought(tmp_path, "m.rejects.jsonl", "--path-columns", "--map", "country=land")
    assert people(tmp_path) == {"X": {"tier": "x", "land": "DE"}, "Y": {"tier": "y", "land": "FR"}}


def test_rejects_of_csv_are_read_with_maps_and_manifests_by_place(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "customer_id,tier,\nA,g,1\n,s,2\n")
    brought(tmp_path, "a.csv", "--map", "#3=three", status=3)
    mend(tmp_path, "a.csv.rejects.jsonl", ('"raw":"', '"raw":"B'))
    brought(tmp_path, "a.csv.rejects.jsonl", "--map", "#3=three")
    put(tmp_path, "n.csv", "C,g\n,s\n")
    put(
        tmp_path,
        "m.json",
        '{"hasHeaderRow":false,"columns":[{"field":"customer_id"},{"field":"tier"}]}',
    )
    brought(tmp_path, "n.csv", "--manifest", "m.json", status=3)
    mend(tmp_path, "n.csv.rejects.jsonl", ('"raw":"', '"raw":"D'))
    brought(tmp_path, "n.csv.rejects.jsonl", "--manifest", "m.json")
    assert people(tmp_path) == {
        "A": {"tier": "g", "three": "1"},
        "B": {"tier": "s", "three": "2"},
        "C": {"tier": "g"},
        "D": {"tier": "s"},
    }


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_map_fits_the_files_of_the_import_also_where_one_is_known_already(
    ending: str, tmp_path: Path
) -> None:
    text = {
        "csv": ("id,plan\nA,pro\n", "id\nB\n"),
        "jsonl": ('{"id":"A","plan":"pro"}\n', '{"id":"B"}\n'),
    }[ending]
    put(tmp_path, f"a.{ending}", text[0])
    maps = ("--map", "id=customer_id", "--map", "plan=tier")
    brought(tmp_path, f"a.{ending}", *maps)
    put(tmp_path, f"b.{ending}", text[1])
    assert brought(tmp_path, f"a.{ending}", f"b.{ending}", *maps)["rows"]["applied"] == 1
    assert people(tmp_path) == {"A": {"tier": "pro"}, "B": {}}


def test_a_place_is_one_of_the_files_own_columns_also_where_the_path_has_some(
    tmp_path: Path,
) -> None:
    put(tmp_path, "land=DE/a.csv", "customer_id,tier,city\nA,g,L\n")
    put(tmp_path, "b.csv", "customer_id,tier,city,\nB,g,L,x\n")
    brought(tmp_path, "land=DE/a.csv", "b.csv", "--path-columns", "--map", "#4=ignore")
    assert people(tmp_path) == {
        "A": {"tier": "g", "city": "L", "land": "DE"},
        "B": {"tier": "g", "city": "L"},
    }


def test_a_manifest_that_says_twice_what_a_column_is_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "customer_id,tier\nA,g\n")
    put(
        tmp_path,
        "m.json",
        json.dumps(
            {
                "columns": [
                    {"column": name, "field": field}
                    for name, field in (
                        ("tier", "plan"),
                        ("customer_id", "customer_id"),
                        ("tier", "level"),
                    )
                ]
            }
        ),
    )
    done = run_here("import", "a.csv", "--feed", "f", "--manifest", "m.json", folder=tmp_path)
    assert done.returncode == 4
    assert "m.json: columns 1 and 3 both say what 'tier' is" in done.stderr


def test_columns_without_a_name_that_are_one_field_are_named_by_place(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "A,g,h\n")
    put(
        tmp_path,
        "m.json",
        '{"hasHeaderRow":false,"columns":[{"field":"customer_id"},{"field":"tier"},{"field":"tier"}]}',
    )
    done = run_here("import", "a.csv", "--feed", "f", "--manifest", "m.json", folder=tmp_path)
    assert "columns #2 and #3 are both user_attributes.tier" in done.stderr


def test_what_parquet_leaves_out_is_left_out_of_its_rejects_too(tmp_path: Path) -> None:
    kind = pa.map_(pa.string(), pa.string())
    rows = pa.table(
        {
            "customer_id": pa.array(["A", None]),
            "m": pa.array([[("k", "v")]] * 2, kind),
            "b": [b"\xff", b"x"],
            "n": pa.array([[[1]], None]),
        }
    )
    pq.write_table(rows, tmp_path / "p.parquet")
    brought(tmp_path, "p.parquet", status=3)
    mend(
        tmp_path, "p.parquet.rejects.jsonl", ('\\"customer_id\\":null', '\\"customer_id\\":\\"B\\"')
    )
    report = brought(tmp_path, "p.parquet.rejects.jsonl")
    assert report["left_out"] == {"UA_UNSUPPORTED_TYPE": {"b": 1, "m": 1}}
    assert people(tmp_path) == {"A": {}, "B": {}}


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_two_columns_that_are_one_member_of_an_event_are_refused(name: str, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "customer_id,a,b\nA,x,y\n")
    pq.write_table(pa.table({"customer_id": ["A"], "a": ["x"], "b": ["y"]}), tmp_path / "a.parquet")
    done = run_here(
        "import",
        name,
        "--feed",
        "f",
        "--map",
        "a=events.data.event_name",
        "--map",
        "b=events.data.event_name",
        folder=tmp_path,
    )
    assert done.returncode == 4
    assert "columns 'a' and 'b' are both events.data.event_name" in done.stderr


def test_two_keys_of_a_flat_row_that_are_one_member_of_an_event_reject_it(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.jsonl",
        '{"customer_id":"A","a":"x","b":"y"}\n{"customer_id":"B","a":"x","b":null}\n',
    )
    maps = ("--map", "a=events.data.event_name", "--map", "b=events.data.event_name")
    report = brought(tmp_path, "a.jsonl", *maps, status=3)
    assert (report["reasons"], report["events"]) == ({"DUPLICATE_KEY": 1}, {"added": 1})


def test_a_header_that_is_repeated_with_blanks_is_nobody(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", 'customer_id,tier\nA,g\ncustomer_id , tier\n"customer_id", tier \n')
    report = brought(tmp_path, "a.csv", status=3)
    assert report["reasons"] == {"HEADER_REPEATED": 2}
    assert people(tmp_path) == {"A": {"tier": "g"}}


@pytest.mark.parametrize("how", ["file", "standard input"])
def test_the_format_of_rejects_is_not_that_of_the_file_they_come_from(
    how: str, tmp_path: Path
) -> None:
    put(tmp_path, "a.csv", "customer_id,tier\n,g\n")
    brought(tmp_path, "a.csv", status=3)
    mend(tmp_path, "a.csv.rejects.jsonl", ('"raw":"', '"raw":"A'))
    name, content = (
        ("-", (tmp_path / "a.csv.rejects.jsonl").read_bytes())
        if how != "file"
        else ("a.csv.rejects.jsonl", None)
    )
    done = run_here(
        "import", name, "--feed", "f", "--format", "jsonl", folder=tmp_path, stdin=content
    )
    assert done.returncode == 0, done.stderr
    assert people(tmp_path) == {"A": {"tier": "g"}}


def test_rows_that_are_not_valid_in_any_encoding_are_rejected_by_themselves(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_bytes(b"customer_id,tier\nA,\xe9\nB,\x81\nC,g\n")
    done = run_here("import", "w.csv", "--feed", "f", "--encoding", "windows-1252", folder=tmp_path)
    assert done.returncode == 4
    assert "--encoding-errors reject" in done.stderr
    report = brought(
        tmp_path, "w.csv", "--encoding", "windows-1252", "--encoding-errors", "reject", status=3
    )
    assert report["reasons"] == {"ENCODING_INVALID": 1}
    assert people(tmp_path) == {"A": {"tier": "é"}, "C": {"tier": "g"}}


def test_what_is_said_of_a_document_in_another_encoding_helps(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_bytes(b'[{"customer_id":"A","tier":"\xe9"}]')
    done = run_here("import", "w.json", "--feed", "f", folder=tmp_path)
    assert "--encoding windows-1252" in done.stderr
    assert "--encoding-errors" not in done.stderr


def test_a_mark_of_the_byte_order_within_a_text_stays(tmp_path: Path) -> None:
    filler = "x" * 99
    text = "customer_id,tier\n" + "".join(f"F{place:05},{filler}\n" for place in range(4899))
    text += "A," + "y" * (512 * 1024 - len(text) - 2)
    (tmp_path / "u.csv").write_bytes(f"{text}\ufeffz\n".encode("utf-16-le"))
    brought(tmp_path, "u.csv", "--encoding", "utf-16-le")
    assert people(tmp_path)["A"]["tier"].endswith("y\ufeffz")


def test_the_header_of_a_file_that_was_laid_behind_another_is_nobody_with_its_mark_too(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_text("\ufeffcustomer_id,tier\nA,g\n" * 2)
    assert brought(tmp_path, "a.csv", status=3)["reasons"] == {"HEADER_REPEATED": 1}
    assert people(tmp_path) == {"A": {"tier": "g"}}


@pytest.mark.parametrize("name", ["b.csv", "b.parquet"])
def test_a_map_names_the_column_with_blanks_where_only_they_tell_columns_apart(
    name: str, tmp_path: Path
) -> None:
    put(tmp_path, "b.csv", "customer_id,tier, tier\nA,1,2\n")
    pq.write_table(
        pa.table({"customer_id": ["A"], "tier": ["1"], " tier": ["2"]}), tmp_path / "b.parquet"
    )
    brought(tmp_path, name, "--map", " tier=a")
    assert people(tmp_path) == {"A": {"tier": "1", "a": "2"}}
