"""Rejected rows in the input's own format, limits on rejects, and every row with its codes."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.doors import run_here
from support.effort import spread_now
from support.people_by_identity import people

HEADER = "customer_id,email,note\r\n"
BROKEN = [
    ",,\"nobody,\r\nin two lines\"\r\n",  # no identity; quoted delimiter and line end
    "C3,c@example.com\r\n",               # too few cells
    "C4,d@example.com,x,y\r\n",           # too many
    "C5,e@example.com,\"open\" quote\r\n",
]  # fmt: skip
SOUND = ['C1,a@example.com,"fine, ""really"""\r\n', 'C2,b@example.com,"two\r\nlines"\r\n']


def as_input(folder: Path, name: str, target: str, *options: str) -> bytes:
    done = run_here(
        "import", name, "--feed", "f", "--rejects-as-input", target, *options, folder=folder
    )
    assert done.returncode == 3, done.stderr
    return (folder / target).read_bytes()


def test_broken_csv_records_come_out_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        "".join(
            [
                HEADER,
                SOUND[0],
                BROKEN[0],
                BROKEN[1],
                SOUND[1],
                BROKEN[2],
                BROKEN[3],
                SOUND[0].replace("C1", "C6"),
            ]
        ).encode()
    )
    assert as_input(tmp_path, "a.csv", "mend.csv") == (HEADER + "".join(BROKEN)).encode()


def test_what_was_mended_imports_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes((HEADER + SOUND[0] + BROKEN[0] + BROKEN[1]).encode())
    text = as_input(tmp_path, "a.csv", "mend.csv").decode()
    (tmp_path / "mend.csv").write_bytes(
        text.replace(',,"nobody', 'C9,,"nobody')
        .replace("C3,c@example.com", "C3,c@example.com,")
        .encode()
    )
    done = run_here("import", "mend.csv", "--feed", "f", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]["applied"] == 2
    shown = json.loads(run_here("show", "--customer-id", "C9", "--json", folder=tmp_path).stdout)
    assert shown["profiles"][0]["user_attributes"]["note"] == "nobody,\r\nin two lines"


def test_the_fast_reader_gives_the_same_rows(tmp_path: Path) -> None:
    rows = "".join(
        f"C{n},{n}@example.com,é{n}\n" if n % 7 else f",,nobody {n}\n" for n in range(50)
    )
    (tmp_path / "a.csv").write_text("\ufeffcustomer_id,email,note\n" + rows)
    expected = "customer_id,email,note\n" + "".join(f",,nobody {n}\n" for n in range(0, 50, 7))
    assert as_input(tmp_path, "a.csv", "mend.csv").decode() == expected


def test_it_is_in_the_encoding_of_the_input(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("email,name\na@example.com,Zoë\n,Jürgen\n".encode("latin-1"))
    assert as_input(
        tmp_path, "a.csv", "mend.csv", "--encoding", "latin-1"
    ) == "email,name\n,Jürgen\n".encode("latin-1")


def test_json_lines_of_several_files_come_out_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"email":"a@example.com"}\n{"x": 1.10}\n\nnot json\n')
    (tmp_path / "b.jsonl").write_text(
        '{"email":"b@example.com","a":1,"a":2}\n{"email":"c@example.com"}'
    )
    found = as_input(tmp_path, "a.jsonl", "mend.jsonl").decode()
    assert found == '{"x": 1.10}\nnot json\n'
    done = run_here(
        "import",
        "a.jsonl",
        "b.jsonl",
        "--feed",
        "g",
        "--rejects-as-input",
        "both.jsonl",
        folder=tmp_path,
    )
    assert done.returncode == 3
    assert (
        tmp_path / "both.jsonl"
    ).read_text() == '{"x": 1.10}\nnot json\n{"email":"b@example.com","a":1,"a":2}\n'


def test_parquet_rows_keep_their_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "email": ["a@example.com", None, "c@example.com", None],
            "n": pa.array([1, 2, 3, 4], pa.int16()),
            "l": [["a"], ["b"], [], None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    as_input(tmp_path, "a.parquet", "mend.parquet")
    found = pq.read_table(tmp_path / "mend.parquet")
    assert found.schema.equals(table.schema)
    assert found.to_pylist() == table.take([1, 3]).to_pylist()


def test_a_gzip_file_is_mended_unpacked(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"email,x\na@example.com,1\n,2\n"))
    assert as_input(tmp_path, "a.csv.gz", "mend.csv") == b"email,x\n,2\n"


@pytest.mark.parametrize(
    ("files", "target", "status", "says"),
    spread_now(
        [
            ({"a.csv": "email\n,\n"}, "mend.txt.zip", 2, "the name must end"),
            (
                {"a.csv": "email\nx\n", "b.csv": "email,tier\nx,y\n"},
                "mend.csv",
                4,
                "different headers",
            ),
            ({"a.csv": "email\nx\n", "b.jsonl": "{}\n"}, "mend.csv", 4, "several formats"),
            ({"a.json": "[]"}, "mend.json", 4, "mended where it is"),
        ],
        2,
    ),
)
def test_what_could_not_be_imported_as_one_file_is_refused(
    files: dict[str, str], target: str, status: int, says: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = run_here("import", *files, "--feed", "f", "--rejects-as-input", target, folder=tmp_path)
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert not (tmp_path / target).exists()


@pytest.mark.parametrize(
    ("limit", "status"),
    spread_now(
        [
            ("2", 3),
            ("1", 4),
            ("0", 4),
            ("20%", 3),
            ("19.9%", 4),
            ("100%", 3),
            ("x", 2),
            ("-1", 2),
            ("101%", 2),
        ],
        3,
    ),
)
def test_more_rejects_than_allowed_refuse_the_import(
    limit: str, status: int, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("email,x\n" + "a@example.com,1\n" * 8 + ",2\n,3\n")
    done = run_here("import", "a.csv", "--feed", "f", f"--max-rejects={limit}", folder=tmp_path)
    assert done.returncode == status, done.stderr
    if status == 4:
        assert "2 of 10 rows would be rejected" in done.stderr
        assert (tmp_path / "a.csv.rejects.jsonl").read_text().count("\n") == 2, (
            "one wants to see which"
        )
        assert run_here("export", "profiles", folder=tmp_path).stdout == ""


def test_every_row_with_a_code_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,tier\nC1,gold\nC2,gold\n")
    (tmp_path / "b.csv").write_text(
        'customer_id,tier,zip\nC1,"le\nad",1\nC9,iron,2\n,tin,3\nC2,gold,4\n'
    )
    assert run_here("import", "a.csv", "--feed", "crm", folder=tmp_path).returncode == 0
    done = run_here(
        "import",
        "b.csv",
        "--feed",
        "w",
        "--source",
        "warehouse",
        "--protection",
        "update-only",
        "--explain-rows",
        "rows.jsonl",
        folder=tmp_path,
    )
    assert done.returncode == 3
    told = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(one["line"], one["code"], one["fate"], one.get("attribute")) for one in told] == [
        (2, "UA_LOWER_PRIORITY", "blocked", "tier"),
        (4, "UPDATE_ONLY_NO_MATCH", "dropped", None),
        (5, "NO_IDENTITY", "rejected", None),
        (6, "UA_LOWER_PRIORITY", "blocked", "tier"),
    ]
    assert {one["file"] for one in told} == {"b.csv"}


def test_a_row_of_parquet_is_told_as_a_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"customer_id": ["A", None], "x": ["1", "2"]}), tmp_path / "a.parquet")
    assert (
        run_here(
            "import",
            "a.parquet",
            "--feed",
            "f",
            "--protection",
            "update-only",
            "--explain-rows",
            "rows.jsonl",
            folder=tmp_path,
        ).returncode
        == 3
    )
    told = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(one["code"], one["row"], "line" in one) for one in told] == [
        ("UPDATE_ONLY_NO_MATCH", 1, False),
        ("NO_IDENTITY", 2, False),
    ]


def test_rejects_of_a_utf_16_file_are_a_utf_16_file(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_bytes("customer_id,name\n,Müller\nD,x\n,Third\n".encode("utf-16"))
    assert (
        run_here(
            "import",
            "u.csv",
            "--encoding",
            "utf-16",
            "--feed",
            "f",
            "--rejects-as-input",
            "m.csv",
            folder=tmp_path,
        ).returncode
        == 3
    )
    mended = (tmp_path / "m.csv").read_bytes()
    assert mended.decode("utf-16") == "customer_id,name\n,Müller\n,Third\n"
    (tmp_path / "m.csv").write_bytes(
        mended.decode("utf-16")
        .replace(",Müller", "E,Müller")
        .replace(",Third", "F,Third")
        .encode("utf-16")
    )
    assert (
        run_here(
            "import", "m.csv", "--encoding", "utf-16", "--feed", "f", folder=tmp_path
        ).returncode
        == 0
    )
    assert people(tmp_path) == {"D": {"name": "x"}, "E": {"name": "Müller"}, "F": {"name": "Third"}}
