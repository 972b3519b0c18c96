"""Bad input: a clear message with file and line, the right exit status, never a traceback, and no
good row lost.
"""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet
import pytest
from support.doors import run, run_here
from support.effort import spread_now

GOOD = "customer_id,email,x\nA,a@example.com,1\n"


def refused(folder: Path, *arguments: str, exit: int = 4, says: str = "") -> str:
    """Run a command that must fail with words; return them."""
    done = run_here(*arguments, folder=folder)
    assert done.returncode == exit, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert "a fault in profilectl" not in done.stderr
    assert says in done.stderr, done.stderr
    return done.stderr


def imported(
    folder: Path, name: str, *options: str
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Import a file that has bad rows; return the report, the profiles and the rejects."""
    done = run_here("import", name, "--feed", "f", "--json", *options, folder=folder)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 3), done.stderr
    report = json.loads(done.stdout)
    rejects: list[dict[str, Any]] = []
    if report["rejects"]:
        path = folder / report["rejects"]
        assert path.stat().st_mode & 0o777 == 0o600
        rejects = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert (done.returncode == 3) == bool(rejects) == bool(report["rows"]["rejected"])
    lines = run_here("export", "profiles", folder=folder).stdout.splitlines()
    return report, [json.loads(line) for line in lines], rejects


def bytes_named(name: str) -> bytes:
    """Return content that is not what its name says, or is broken."""
    table = pa.table({"customer_id": ["A"], "x": ["1"]})
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    parquet = sink.getvalue().to_pybytes()
    return {
        "empty.csv": b"",
        "gzip.csv": gzip.compress(GOOD.encode()),
        "cut.csv.gz": gzip.compress(GOOD.encode() * 1000)[:-20],
        "plain.csv.gz": GOOD.encode(),
        "text.parquet": GOOD.encode(),
        "parquet.csv": parquet,
        "cut.parquet": parquet[:-10],
        "torn.parquet": parquet[:20] + b"\0" * 40 + parquet[60:],
        "cut.zip": b"PK\x03\x04" + b"x" * 40,
        "wide.csv": GOOD.encode("utf-16"),
        "what.dat": GOOD.encode(),
        "twice.csv": b"customer_id,x,x\nA,1,2\n",
        "blank.csv": b"customer_id,,x\nA,1,2\n",
        "open.csv": b'customer_id,"x\nA,1\n',
        "root.csv": b"customer_id,foo.bar\nA,1\n",
        "nokey.csv": b"customer_id,user_attributes.\nA,1\n",
        "comma.json": b'{\n "user_identities": {"customer_id": "A"},\n}\n',
        "nothing.json": b"  ",
        "lines.json": b'{"customer_id":"A"}\n{"customer_id":"B"}\n',
    }[name]


@pytest.mark.parametrize(
    ("name", "says"),
    spread_now([
        ("empty.csv", "empty.csv is empty"), ("gzip.csv", "gzip"), ("cut.csv.gz", "cut off"), ("plain.csv.gz", "not compressed"),
        ("text.parquet", "not Parquet"), ("parquet.csv", "Parquet"), ("cut.parquet", "cut off"), ("torn.parquet", "torn.parquet"),
        ("cut.zip", "damaged zip"), ("wide.csv", "--encoding utf-16"), ("what.dat", "--format"), ("twice.csv", "both named 'x'"),
        ("blank.csv", "column 2 has no name"), ("open.csv", "never closed"), ("root.csv", "--map"), ("nokey.csv", "no name"),
        ("comma.json", "comma.json:2:41"), ("nothing.json", "nothing.json"), ("lines.json", "lines.json:2:1"),
    ], 3),
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_whole(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(bytes_named(name))
    message = refused(tmp_path, "import", name, "--feed", "f", says=says)
    assert name in message
    assert "Try:" in message


def test_missing_files_folders_and_globs_without_a_match_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused(tmp_path, "import", "nowhere.csv", "--feed", "f", says="nowhere.csv")
    refused(tmp_path, "import", "folder", "--feed", "f", says="folder is a folder")
    refused(tmp_path, "import", "*.csv", "--feed", "f", says="matches no file")
    assert not (tmp_path / "profiles.duckdb").exists()


def test_one_bad_csv_row_costs_no_good_one(tmp_path: Path) -> None:
    """Lines are those of an editor: header, quoted newlines and blank lines counted."""
    content = (
        b"customer_id,email,x\n"        # 1
        b'A,a@example.com,"two\n'       # 2
        b'lines"\n'                     # 3
        b"B,b@example.com\n"            # 4 too few
        b"C,c@example.com,1,2\n"        # 5 too many
        b"\n"                           # 6 blank
        b"D,d@example.com,\0\n"         # 7 NUL
        b"E,e@example.com,\xff\n"       # 8 not UTF-8
        b'F,f@example.com,"open\n'      # 9 a quote never closed
        b"G,g@example.com,7\n"          # 10
        b",,1\n"                        # 11 nobody
        b'H,h@example.com,"x"y\n'       # 12 text after the quote
        b"I,i@example.com,9\n"          # 13
    )  # fmt: skip
    (tmp_path / "a.csv").write_bytes(content)
    report, profiles, rejects = imported(tmp_path, "a.csv", "--encoding-errors", "reject")
    found = {
        one["user_identities"]["customer_id"][0]: one["user_attributes"].get("x")
        for one in profiles
    }
    assert found == {"A": "two\nlines", "G": "7", "I": "9"}
    assert sorted((one["line"], one["code"]) for one in rejects) == [
        (4, "CSV_TOO_FEW_CELLS"),
        (5, "CSV_TOO_MANY_CELLS"),
        (7, "NUL_CHARACTER"),
        (8, "ENCODING_INVALID"),
        (9, "CSV_QUOTE"),
        (11, "NO_IDENTITY"),
        (12, "CSV_QUOTE"),
    ]
    assert report["rows"] == {"read": 10, "applied": 3, "dropped": 0, "rejected": 7}
    assert next(one["raw"] for one in rejects if one["line"] == 4) == "B,b@example.com"


def test_one_bad_json_line_costs_no_good_one(tmp_path: Path) -> None:
    deep = '{"customer_id":"D","x":' + "[" * 100_000 + "]" * 100_000 + "}"
    lines = [
        '{"customer_id":"A","x":1e400}',
        "[1]",
        "7",
        "oops",
        '{"customer_id":"B","x":NaN}',
        deep,
        '{"customer_id":"C","x":"\\ud800"}',
        '{"customer_id":"E","x":1,"x":2}',
        "",
        '{"customer_id":"F","mpid":"x"}',
        '{"customer_id":"G","environment":"test"}',
        '{"customer_id":"H","timestamp_unixtime_ms":1.5}',
        '{"customer_id":"I","x":"ok"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    report, profiles, rejects = imported(tmp_path, "a.jsonl")
    assert [one["user_identities"]["customer_id"] for one in profiles] == [["A"], ["I"]]
    assert "1e400" in run_here("export", "profiles", folder=tmp_path).stdout
    assert [(one["line"], one["code"]) for one in sorted(rejects, key=lambda one: one["line"])] == [
        (2, "JSON_NOT_OBJECT"),
        (3, "JSON_NOT_OBJECT"),
        (4, "JSON_INVALID"),
        (5, "JSON_INVALID"),
        (6, "JSON_TOO_DEEP"),
        (7, "LONE_SURROGATE"),
        (8, "DUPLICATE_KEY"),
        (10, "MPID_INVALID"),
        (11, "ENVIRONMENT_INVALID"),
        (12, "TIMESTAMP_INVALID"),
    ]
    assert report["rows"]["read"] == 12


@pytest.mark.slow
def test_a_huge_cell_and_thousands_of_columns(tmp_path: Path) -> None:
    (tmp_path / "huge.csv").write_text("customer_id,x,y\nA," + "x" * 20_000_000 + ",1\nB,2,3\n")
    report, profiles, _ = imported(tmp_path, "huge.csv")
    assert report["reasons"] == {"UA_VALUE_TOO_LONG": 1}
    assert [one["user_attributes"] for one in profiles] == [{"y": "1"}, {"x": "2", "y": "3"}]
    with (tmp_path / "many.csv").open("w") as stream:
        writer = csv.writer(stream)
        writer.writerow(["customer_id", *(f"k{place}" for place in range(3000))])
        writer.writerow(["C", *["v"] * 3000])
        writer.writerow(["D", *[""] * 2999, "last"])
    report, profiles, _ = imported(tmp_path, "many.csv")
    assert report["reasons"] == {"UA_TOO_MANY": 2900}
    assert [len(one["user_attributes"]) for one in profiles[2:]] == [100, 1]
    assert profiles[3]["user_attributes"] == {"k2999": "last"}


def test_wrong_usage_is_told_with_exit_2(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    for options in (
        ["--protection", "sometimes"], ["--source", "radio"], ["--map", "x"], ["--delimiter", "::"], ["--encoding", "latin-99"],
        ["--memory-limit", "much"], ["--empty", "maybe"], ["--partner", "P"], ["--rejects", "no/such/folder/r.jsonl"],
    ):  # fmt: skip
        refused(tmp_path, "import", "a.csv", "--feed", "f", *options, exit=2)
    refused(tmp_path, "show", exit=2, says="name one identity")
    refused(tmp_path, "show", "--mpid", "x", exit=2, says="not an MPID")


def test_a_dash_is_no_name_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 0
    before = sorted(tmp_path.iterdir())
    for arguments in (
        ["backup", "-"], ["credentials", "new", "-", "--client", "c"], ["plan", "a.csv", "--feed", "f", "-o", "-"], ["privacy", "run", "--yes", "-o", "-"],
        ["export", "profiles", "--max-rows-per-file", "1", "-o", "-"], ["push", "--dry-run", "-"], ["show", "--customer-id", "A", "--save-svg", "-"],
        *(["import", "a.csv", "--feed", "g", option, "-"] for option in ("--rejects", "--rejects-as-input", "--explain-rows")),
    ):  # fmt: skip
        refused(tmp_path, *arguments, exit=2, says="Try: name ")
    assert sorted(tmp_path.iterdir()) == before


def test_manifests_and_maps_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "broken.json").write_text('{"columns": [')
    (tmp_path / "other.json").write_text(
        '{"columns": [{"column": "nope", "action": "keep", "field": "user_attributes.x"}]}'
    )
    refused(tmp_path, "import", "a.csv", "--feed", "f", "--manifest", "gone.json", says="gone.json")
    refused(
        tmp_path,
        "import",
        "a.csv",
        "--feed",
        "f",
        "--manifest",
        "broken.json",
        says="broken.json:1",
    )
    refused(tmp_path, "import", "a.csv", "--feed", "f", "--manifest", "other.json", says="'nope'")
    refused(
        tmp_path, "import", "a.csv", "--feed", "f", "--map", "nope=user_attributes.x", says="'nope'"
    )
    refused(
        tmp_path,
        "import",
        "a.csv",
        "--feed",
        "f",
        "--map",
        "x=user_identities.email",
        "--map",
        "email=user_identities.nothing",
        exit=2,
    )


def test_stores_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    refused(tmp_path, "show", "--email", "a@example.com", exit=6, says="no store")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.duckdb").write_text("not a database, but long enough to be read as one" * 100)
    duckdb.connect(tmp_path / "foreign.duckdb").close()
    for store in ("folder", "text.duckdb", "foreign.duckdb", "no/such/folder/p.duckdb"):
        refused(tmp_path, "--store", store, "import", "a.csv", "--feed", "f", exit=6)
    newer = tmp_path / "newer.duckdb"
    assert (
        run_here(
            "--store", "newer.duckdb", "import", "a.csv", "--feed", "f", folder=tmp_path
        ).returncode
        == 0
    )
    assert newer.stat().st_mode & 0o777 == 0o600
    with duckdb.connect(newer) as connection:
        connection.execute("update meta set value = '99' where name = 'schema_version'").fetchall()
    refused(
        tmp_path,
        "--store",
        "newer.duckdb",
        "show",
        "--email",
        "a@example.com",
        exit=6,
        says="newer",
    )


def test_a_busy_store_names_its_holder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 0
    with duckdb.connect(tmp_path / "profiles.duckdb"):
        done = run("show", "--email", "a@example.com", folder=tmp_path)
    assert done.returncode == 5, done.stderr
    assert "in use by process" in done.stderr
    assert "a fault in profilectl" not in done.stderr
    assert "Traceback" not in done.stderr


def test_the_same_content_is_imported_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 0
    done = run_here("import", "a.csv", "--feed", "f", "--json", folder=tmp_path)
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert (document["import"], document["already_imported"], document["rows"]["read"]) == (
        None,
        1,
        0,
    )
    assert "already imported as 1" in done.stderr
    assert (
        json.loads(
            run_here("import", "a.csv", "--feed", "f", "--again", "--json", folder=tmp_path).stdout
        )["import"]
        == 2
    )
    refused(
        tmp_path, "import", "a.csv", "--feed", "f", "--source", "sdk", says="registered with source"
    )


def test_a_refused_import_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 0
    before = (tmp_path / "profiles.duckdb").read_bytes()
    (tmp_path / "b.csv").write_text("customer_id,x\nZ,1\n")
    (tmp_path / "bad.json").write_text("{")
    refused(tmp_path, "import", "b.csv", "bad.json", "--feed", "f", says="bad.json:1")
    assert (tmp_path / "profiles.duckdb").read_bytes() == before


def test_many_ways_to_hand_over_the_same_rows(tmp_path: Path) -> None:
    """Compressed, in another encoding, with another delimiter, on standard input, in an archive:
    the same profile.
    """
    text = "customer_id;x\nA;J\u00f6rg\n"
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "b.csv").write_bytes(text.encode("utf-16"))
    (tmp_path / "c.csv").write_bytes(text.encode("latin-1"))
    (tmp_path / "d.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("in/e.csv", text)
    with pa.CompressedOutputStream(str(tmp_path / "f.csv.zst"), "zstd") as stream:
        stream.write(text.encode())
    for name, *options in (
        ["a.csv.gz"],
        ["b.csv", "--encoding", "utf-16"],
        ["c.csv", "--encoding", "windows-1252"],
        ["d.csv"],
        ["e.zip"],
        ["f.csv.zst"],
    ):
        store = f"{name}.duckdb"
        done = run_here("--store", store, "import", name, "--feed", "f", *options, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(run_here("--store", store, "export", "profiles", folder=tmp_path).stdout)[
            "user_attributes"
        ] == {"x": "Jörg"}
    done = run_here(
        "--store",
        "stdin.duckdb",
        "import",
        "-",
        "--format",
        "csv",
        "--feed",
        "f",
        folder=tmp_path,
        stdin=text.encode(),
    )
    assert done.returncode == 0, done.stderr
    several = run_here(
        "--store",
        "all.duckdb",
        "import",
        "a.csv.g?",
        "d.c?v",
        "--feed",
        "f",
        "--json",
        folder=tmp_path,
    )
    assert [one["path"] for one in json.loads(several.stdout)["files"]] == ["a.csv.gz", "d.csv"]


def test_hostile_text_is_shown_as_text(tmp_path: Path) -> None:
    hostile = [
        "[red]x[/red]",
        "\x1b[31mx",
        "\u202ex",
        "=cmd|' /C calc'!A0",
        "'); drop table row_1; --",
        "a\tb",
        ":smile:",
    ]
    keys = ['"; drop table x; --', 'a"b', "[bold]", "\x1b]0;t\x07", "é\u202e", "a'b", "$odd"]
    name = "odd [x] 'file'.csv"
    with (tmp_path / name).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["customer_id", *(f"user_attributes.{key}" for key in keys)])
        writer.writerow(["A", *hostile])
    assert run_here("import", name, "--feed", "[red]f", folder=tmp_path).returncode == 0
    profile = json.loads(run_here("export", "profiles", folder=tmp_path).stdout)
    assert profile["user_attributes"] == dict(sorted(zip(keys, hostile, strict=True)))
    shown = run_here("show", "--customer-id", "A", folder=tmp_path).stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[red]x[/red]" in shown


def test_the_raw_text_of_a_rejected_row_is_its_own(tmp_path: Path) -> None:
    """Rows after it that are rejected too, and blank lines, are no part of it."""
    (tmp_path / "a.csv").write_text(
        'email,a\n,1\nshort\nlong,1,secret@x\n,"two\nlines ""q"""\n\n\n,3\nx@example.com,2\n'
    )
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 3
    found = {
        one["line"]: one["raw"]
        for one in map(json.loads, (tmp_path / "a.csv.rejects.jsonl").read_text().splitlines())
    }
    assert found == {2: ",1", 3: "short", 4: "long,1,secret@x", 5: ',"two\nlines ""q"""', 9: ",3"}
