"""Rejected rows: in the order of the files and their lines, and read again from the file they were
written to.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
import pyarrow.parquet
import pytest
from support.doors import call, run_here

from profilectl.codes import Reject
from profilectl.importing.stage import rejected_texts
from profilectl.importing.stage.staged import Rejects


def rejects_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def rejected(folder: Path, *arguments: str) -> dict[str, Any]:
    done = call("import", *arguments, "--feed", "f", "--json", folder=folder)
    assert done.exit_code == 3, done.output
    return json.loads(done.stdout)


def test_rejects_are_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    # Too few cells is seen while reading, nobody and a wrong environment when rows are looked at
    # together.
    (tmp_path / "b.csv").write_text(
        "email,environment\n,\nx\na@example.com,\n,\ny\nc@example.com,nowhere\n"
    )
    (tmp_path / "a.csv").write_text("email,environment\nz\n,\nd@example.com,elsewhere\nw\n")
    rejected(
        tmp_path,
        "b.csv",
        "a.csv",
        "--rejects",
        "r.jsonl",
        "--explain-rows",
        "e.jsonl",
        "--rejects-as-input",
        "mend.csv",
    )
    order = [
        ("b.csv", 2),
        ("b.csv", 3),
        ("b.csv", 5),
        ("b.csv", 6),
        ("b.csv", 7),
        ("a.csv", 2),
        ("a.csv", 3),
        ("a.csv", 4),
        ("a.csv", 5),
    ]
    assert [(one["file"], one["line"]) for one in rejects_of(tmp_path, "r.jsonl")] == order
    assert [(one["file"], one["line"]) for one in rejects_of(tmp_path, "e.jsonl")] == order
    assert (tmp_path / "mend.csv").read_text() == (
        "email,environment\n,\nx\n,\ny\nc@example.com,nowhere\nz\n,\nd@example.com,elsewhere\nw\n"
    )
    import duckdb

    with duckdb.connect(str(tmp_path / "profiles.duckdb"), read_only=True) as store:
        assert store.execute("select file, line from reject order by rowid").fetchall() == order


def test_what_is_said_of_rows_is_in_the_order_of_lines_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "email,x\nnull,1\na@example.com,2\n,3\nb@example.com,4,5\nnull@null.com,7\n"
    )
    (tmp_path / "b.jsonl").write_text(
        '{"email":"c@example.com","t":{}}\n{"x":1}\n'
        '{"email":"d@example.com","user_attributes":{"a":[[1]]}}\n'
    )
    rejected(tmp_path, "a.csv", "b.jsonl", "--explain-rows", "e.jsonl")
    order = [(one["file"], one["line"]) for one in rejects_of(tmp_path, "e.jsonl")]
    assert order == sorted(order)
    assert {file for file, _ in order} == {"a.csv", "b.jsonl"}


def test_a_file_that_is_named_twice_has_each_line_to_mend_twice(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("email,x\n,1\na@example.com,2\n,3\n")
    rejected(tmp_path, "a.csv", "a.csv", "--rejects-as-input", "mend.csv")
    assert (tmp_path / "mend.csv").read_text() == "email,x\n,1\n,3\n,1\n,3\n"


@pytest.mark.parametrize("seed", range(3))
def test_rejects_are_sorted_in_whole_lines(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    places = [(chance.choice("abc"), line) for line in chance.sample(range(5000), 2000)]
    rejects = Rejects(tmp_path / "r.jsonl", ["c", "a", "b"])
    for name, line in places:
        rejects.add(Reject(name, line, "NO_IDENTITY", "x" * chance.randrange(200)))
    rejects.close()
    found = [(one["file"], one["line"]) for one in rejects_of(tmp_path, "r.jsonl")]
    assert found == sorted(places, key=lambda one: ("cab".index(one[0]), one[1]))


def imported(folder: Path, *arguments: str) -> dict[str, Any]:
    done = call("import", *arguments, "--feed", "f", "--json", folder=folder)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def mend(folder: Path, name: str, *changes: tuple[str, str]) -> None:
    text = (folder / name).read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / name).write_text(text)


def people(folder: Path) -> dict[str, dict[str, Any]]:
    lines = call("export", "profiles", "--provenance", folder=folder).stdout.splitlines()
    return {one["user_identities"]["email"][0]: one for one in map(json.loads, lines)}


CSV = (
    'email,"the note",n\r\n,"two\r\nlines, quoted",007\r\nb@example.com,x\r\n'
    "c@example.com,fine,1\r\n,y,2\r\n"
)


def test_rejects_of_a_csv_file_are_read_as_rows_of_that_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV, newline="")
    rejected(tmp_path, "a.csv")
    mend(
        tmp_path,
        "a.csv.rejects.jsonl",
        ('"raw":",\\"two', '"raw":"a@example.com,\\"two'),
        ("b@example.com,x", "b@example.com,x,9"),
    )
    report = rejected(tmp_path, "a.csv.rejects.jsonl", "--rejects-as-input", "mend.jsonl")
    assert report["rows"] == {"read": 3, "applied": 2, "dropped": 0, "rejected": 1}
    assert report["files"][0]["rows"] == 3
    assert report["notices"] == ["a.csv.rejects.jsonl: 3 rejected rows of a.csv, read again"]
    found = people(tmp_path)
    assert found["a@example.com"]["user_attributes"] == {
        "the note": "two\r\nlines, quoted",
        "n": "007",
    }
    assert found["b@example.com"]["user_attributes"] == {"the note": "x", "n": "9"}
    origin = found["b@example.com"]["provenance"]["n"]
    assert (origin["file"], origin["line"]) == ("a.csv.rejects.jsonl", 2)
    lines = (tmp_path / "a.csv.rejects.jsonl").read_text().splitlines()
    (reject,) = rejects_of(tmp_path, "a.csv.rejects.jsonl.rejects.jsonl")
    assert (reject["file"], reject["line"], reject["code"], reject["raw"]) == (
        "a.csv.rejects.jsonl",
        3,
        "NO_IDENTITY",
        lines[2],
    )
    assert (tmp_path / "mend.jsonl").read_text().splitlines() == [lines[2]]
    assert call("check", folder=tmp_path).exit_code == 0


def test_rejects_of_rejects_are_read_as_well(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV, newline="")
    rejected(tmp_path, "a.csv")
    twice = "a.csv.rejects.jsonl.rejects.jsonl"
    rejected(tmp_path, "a.csv.rejects.jsonl")
    mend(tmp_path, twice, ("b@example.com,x", "b@example.com,x,9"))
    report = rejected(tmp_path, twice)
    assert report["rows"] == {"read": 3, "applied": 1, "dropped": 0, "rejected": 2}
    assert people(tmp_path)["b@example.com"]["provenance"]["n"]["line"] == 2
    assert [one["line"] for one in rejects_of(tmp_path, f"{twice}.rejects.jsonl")] == [1, 3]


def test_each_row_of_the_rejects_is_one_row(tmp_path: Path) -> None:
    # The first opens a quote and the last closes it: together they would be one record.
    (tmp_path / "a.csv").write_text("email,note\n")
    raws = [
        '"a@example.com,x',
        "",
        '"c@example.com"x,z',
        "d@example.com,1\ne@example.com,2",
        "f@example.com,3",
    ]
    lines = [
        json.dumps({"file": "a.csv", "line": n, "code": "CSV_QUOTE", "message": "m", "raw": raw})
        + "\n"
        for n, raw in enumerate(raws, 2)
    ]
    (tmp_path / "r.jsonl").write_text("".join(lines))
    report = rejected(tmp_path, "r.jsonl")
    assert report["rows"] == {"read": 5, "applied": 1, "dropped": 0, "rejected": 4}
    assert list(people(tmp_path)) == ["f@example.com"]
    again = rejects_of(tmp_path, "r.jsonl.rejects.jsonl")
    assert [(one["line"], one["code"], one["raw"] + "\n") for one in again] == [
        (n, "CSV_QUOTE", lines[n - 1]) for n in (1, 2, 3, 4)
    ]


def test_without_the_file_they_come_from_the_rejects_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV, newline="")
    rejected(tmp_path, "a.csv")
    (tmp_path / "a.csv").unlink()
    done = call("import", "a.csv.rejects.jsonl", "--feed", "g", folder=tmp_path)
    assert done.exit_code == 1  # told by main as 4
    assert "its rows come from a.csv, which is not there" in str(done.exception)
    assert "--rejects-as-input" in done.exception.hint  # type: ignore[union-attr]


def test_the_rejects_of_several_files_and_formats_are_read_together(tmp_path: Path) -> None:
    import gzip
    import zipfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/a.csv", "email;x\n;1\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"x,email\n2,\n"))
    (tmp_path / "c.jsonl").write_text('{"x": 1.50}\n{"email":"ok@example.com"}\nnot json\n')
    pq.write_table(
        pa.table({"x": [4, 5], "email": [None, "p@example.com"]}), tmp_path / "d.parquet"
    )
    report = rejected(tmp_path, "a.zip", "b.csv.gz", "c.jsonl", "d.parquet", "--rejects", "r.jsonl")
    assert report["rows"]["rejected"] == 5
    mend(
        tmp_path,
        "r.jsonl",
        ('"raw":";1"', '"raw":"a@example.com;1"'),
        ('"raw":"2,"', '"raw":"2,b@example.com"'),
        ('{\\"x\\": 1.50}', '{\\"x\\": 1.50, \\"email\\": \\"c@example.com\\"}'),
        ('"raw":"not json"', '"raw":"{\\"email\\":\\"n@example.com\\"}"'),
        ('\\"email\\":null', '\\"email\\":\\"d@example.com\\"'),
    )
    imported(tmp_path, "r.jsonl")
    found = people(tmp_path)
    assert {name: one["user_attributes"].get("x") for name, one in found.items()} == {
        "a@example.com": "1",
        "b@example.com": "2",
        "c@example.com": 1.5,
        "d@example.com": 4,
        "n@example.com": None,
        "ok@example.com": None,
        "p@example.com": 5,
    }
    said = json.loads(call("explain", "row", "r.jsonl:5", "--json", folder=tmp_path).stdout)
    assert [(one["line"], one["applied"]) for one in said["rows"]] == [(5, True)]
    assert [
        found[name]["provenance"]["x"]["line"]
        for name in ("a@example.com", "b@example.com", "c@example.com", "d@example.com")
    ] == [1, 2, 3, 5]


def test_what_is_not_whole_in_the_rejects_is_rejected_again(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        b"email,note\n," + b"x" * 70_000 + b"\nu@example.com,M\xfcller\nv@example.com,\xfc,1\n"
    )
    rejected(tmp_path, "a.csv", "--encoding-errors", "reject", "--rejects", "r.jsonl")
    report = rejected(tmp_path, "r.jsonl", "--encoding-errors", "reject")
    assert report["rows"]["applied"] == 0
    again = rejects_of(tmp_path, "r.jsonl.rejects.jsonl")
    assert [one["code"] for one in again][:2] == ["ROW_TOO_LONG", "ENCODING_INVALID"]


def test_json_lines_that_only_look_like_rejects_are_rows(tmp_path: Path) -> None:
    row = {
        "file": "x",
        "line": 1,
        "code": "a code of theirs",
        "message": "m",
        "raw": "r",
        "email": "a@example.com",
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    imported(tmp_path, "a.jsonl")
    reject = {
        "file": "x.jsonl",
        "line": 1,
        "code": "NO_IDENTITY",
        "message": "m",
        "raw": '{"email":"b@example.com"}',
    }
    (tmp_path / "b.jsonl").write_text(json.dumps(reject) + "\n" + json.dumps(row) + "\n")
    done = call("import", "b.jsonl", "--feed", "f", folder=tmp_path)
    assert "b.jsonl:2: no reject" in str(done.exception)


def test_the_encoding_is_that_of_the_file_the_rejects_come_from(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("email,größe\n,klein\n".encode("latin-1"))
    rejected(tmp_path, "a.csv", "--encoding", "latin-1")
    mend(tmp_path, "a.csv.rejects.jsonl", ('"raw":",klein"', '"raw":"a@example.com,größer"'))
    imported(tmp_path, "a.csv.rejects.jsonl", "--encoding", "latin-1")
    assert people(tmp_path)["a@example.com"]["user_attributes"] == {"größe": "größer"}


def test_rejects_that_lie_beside_the_data_are_not_read_by_a_pattern_that_does_not_mean_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_text("email,x\n,1\n")
    (tmp_path / "b.jsonl").write_text('{"email":"b@example.com"}\n')
    rejected(tmp_path, "a.csv")
    mend(tmp_path, "a.csv.rejects.jsonl", ('"raw":"', '"raw":"a@example.com'))
    assert (
        "skipped, rejected rows of an import: a.csv.rejects.jsonl"
        in imported(tmp_path, "*.jsonl")["notices"]
    )
    assert list(people(tmp_path)) == ["b@example.com"]
    imported(tmp_path, "*.rejects.jsonl")
    assert sorted(people(tmp_path)) == ["a@example.com", "b@example.com"]


def test_a_map_fits_the_rejects_and_the_other_files_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Mail,x\n,1\n")
    (tmp_path / "b.csv").write_text("Post,x\n,2\n")
    (tmp_path / "c.csv").write_text("Tel,x\n+447700900123,3\n")
    maps = ("--map", "Mail=email", "--map", "Post=other", "--map", "Tel=mobile_number")
    rejected(tmp_path, "a.csv", "b.csv", "c.csv", *maps, "--rejects", "r.jsonl")
    mend(
        tmp_path,
        "r.jsonl",
        ('"raw":",1', '"raw":"a@example.com,1'),
        ('"raw":",2', '"raw":"somebody,2'),
    )
    report = imported(tmp_path, "r.jsonl", "c.csv", *maps, "--again")
    assert report["rows"]["applied"] == 3
    done = call(
        "import",
        "r.jsonl",
        "c.csv",
        *maps,
        "--map",
        "Nobody=user_attributes.email2",
        "--feed",
        "f",
        "--again",
        folder=tmp_path,
    )
    assert "'Nobody'" in str(done.exception)


def test_a_reject_of_parquet_names_its_row(tmp_path: Path) -> None:
    duckdb.execute(
        "copy (select * from (values (null, 'x'), ('A', 'y')) as t(customer_id, n)) to"
        f" '{tmp_path}/a.parquet' (format parquet)"
    )
    assert run_here("import", "a.parquet", "--feed", "f", folder=tmp_path).returncode == 3
    reject = json.loads((tmp_path / "a.parquet.rejects.jsonl").read_text())
    assert (reject["row"], "line" in reject, json.loads(reject["raw"])) == (
        1,
        False,
        {"customer_id": None, "n": "x"},
    )


# Written by SQL, all at once, they are byte for byte those written one by one.

TEXTS = [
    "",
    "plain",
    "M\u00fcller, \u732b \U0001f408 e\u0301",
    'a "quoted" word',
    "back\\slash \\u0041 \\",
    "tab\there",
    "\x7f \u2028",
    "x" * 70_000 + "\u00e9",
]
"""Texts that every way of writing writes in the same manner."""
ODD = ["\x01", "\x1f\x08", "\x0b", "a\rb", "two\nlines", "\x00"]
"""Texts that are written one by one."""


def rejects_and_report(folder: Path, files: list[str], *, many: int) -> tuple[bytes, list[object]]:
    """Import files; return the rejects as they were written, and as they are in the store."""
    folder.joinpath("profiles.duckdb").unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rejected_texts, "MANY", many)
        done = call("import", *files, "--feed", "f", "--rejects", "r.jsonl", folder=folder)
    assert done.exit_code == 3, done.output
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        rows = store.execute("from reject").fetchall()
    assert folder.joinpath("r.jsonl").stat().st_mode & 0o777 == 0o600
    return folder.joinpath("r.jsonl").read_bytes(), [done.stdout, *rows]


def check_equal(folder: Path, files: list[str]) -> None:
    assert rejects_and_report(folder, files, many=1) == rejects_and_report(
        folder, files, many=1 << 40
    )


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that gets whether each file was written all at once."""
    answers: list[bool] = []
    write = rejected_texts.write_rejected_lines

    def noted(*arguments: object, **named: object) -> bool:
        answers.append(write(*arguments, **named))  # type: ignore[arg-type]
        return answers[-1]

    monkeypatch.setattr("profilectl.importing.stage.original.write_rejected_lines", noted)
    return answers


def cell(text: str, chance: random.Random) -> str:
    """Return a text as a cell, in quotes where it must be and at times where it need not be."""
    if any(letter in text for letter in ',"\r\n') or chance.random() < 0.2:
        return '"' + text.replace('"', '""') + '"'
    return text


def csv_file(path: Path, texts: list[str], chance: random.Random, *, quoted: bool = True) -> None:
    """Write rows, some with an e-mail, some without any identity, some null."""
    end = chance.choice(["\n", "\r\n"])
    lines = ["email,note,n"]
    for number in range(chance.randrange(3, 60)):
        email = chance.choice(["", "", "null", f"p{number}@example.com"])
        note = chance.choice(texts)
        shown = cell(note, chance) if quoted else note.replace(",", "").replace('"', "")
        lines.append(f"{email},{shown},{number}")
    text = end.join([*lines, ",last,1"]) + chance.choice(["", end])
    path.write_bytes(text.encode())


@pytest.mark.parametrize("seed", range(6))
def test_csv(seed: int, tmp_path: Path, at_once: list[bool]) -> None:
    chance = random.Random(seed)
    csv_file(tmp_path / "a.csv", TEXTS, chance, quoted=seed % 2 == 0)
    check_equal(tmp_path, ["a.csv"])
    assert at_once == [True, False]


@pytest.mark.parametrize("seed", range(6))
def test_csv_with_odd_texts_and_lines(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    csv_file(tmp_path / "a.csv", [*TEXTS, *ODD[: 1 + seed % len(ODD)]], chance)
    check_equal(tmp_path, ["a.csv"])


def test_a_line_end_in_a_cell_keeps_no_other_row_from_it(
    tmp_path: Path, at_once: list[bool]
) -> None:
    text = 'email,note\na@example.com,"two\nlines"\n,"one, line"\nb@example.com,"\n\n"\n,2\n'
    (tmp_path / "a.csv").write_text(text)
    check_equal(tmp_path, ["a.csv"])
    assert at_once == [True, False]


def test_a_reject_over_several_lines_is_written_one_by_one(
    tmp_path: Path, at_once: list[bool]
) -> None:
    (tmp_path / "a.csv").write_text('email,note\n,"two\nlines"\n,"one, line"\nb@example.com,2\n')
    check_equal(tmp_path, ["a.csv"])
    assert at_once == [False, False]


@pytest.mark.parametrize("seed", range(4))
def test_json_lines_among_which_some_are_broken(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    lines = []
    for number in range(chance.randrange(5, 60)):
        row = {"note": chance.choice(TEXTS), "n": number}
        if chance.random() < 0.4:
            row["email"] = f"p{number}@example.com"
        lines.append(json.dumps(row, ensure_ascii=chance.random() < 0.5))
        if chance.random() < 0.1:
            lines.append(chance.choice(["{broken", "[]", "", '{"n": 1.}']))
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, '{"n":1}', ""]))
    check_equal(tmp_path, ["a.jsonl"])


def test_batches_of_nobody(tmp_path: Path, at_once: list[bool]) -> None:
    line = '{"user_identities":{"email":"%s"},"user_attributes":{"a":"M\u00fc"}}\n'
    lines = [line % (f"a{n}@example.com" if n % 3 else "null") for n in range(100)]
    lines.insert(7, "{broken\n")
    (tmp_path / "a.jsonl").write_text("".join(lines))
    check_equal(tmp_path, ["a.jsonl"])
    assert at_once == [True, False]


def test_rows_of_parquet(tmp_path: Path, at_once: list[bool]) -> None:
    texts = [*TEXTS, *ODD[:5]] * 3
    table = pyarrow.table(
        {
            "customer_id": [f"C{n}" if n % 3 == 1 else None for n, _ in enumerate(texts)],
            "line": texts,
            "code": list(range(len(texts))),
            "raw": [[text, None] for text in texts],
            "seq": [n / 7 for n, _ in enumerate(texts)],
        }
    )
    for name, rows in (("a.parquet", table), ("b.parquet", table.slice(2, 5))):
        pyarrow.parquet.write_table(rows, tmp_path / name, row_group_size=7)
    check_equal(tmp_path, ["a.parquet"])
    check_equal(tmp_path, ["b.parquet", "a.parquet"])
    assert at_once == [True, False, True, True, False, False]


@pytest.mark.parametrize("seed", range(6))
def test_several_files_are_in_their_order(seed: int, tmp_path: Path, at_once: list[bool]) -> None:
    chance = random.Random(seed)
    for name in ("b", "a", "c"):
        csv_file(tmp_path / f"{name}.csv", TEXTS, chance, quoted=name != "a")
    (tmp_path / "d.csv").write_text("email,note\n,1\nx\n,2\n,3,4\na@example.com,5\n")
    check_equal(tmp_path, ["b.csv", "d.csv", "a.csv", "c.csv", "b.csv"])
    assert at_once == [True] * 5 + [False] * 5


def test_a_mark_of_the_encoding_and_lines_above_the_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfemail,note\n,1\na@example.com,2\n,3\n")
    check_equal(tmp_path, ["a.csv"])
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"n":1}\n{"n":2}\n{"email":"a@example.com"}\n')
    check_equal(tmp_path, ["a.jsonl"])


def test_many_rejects_are_in_order(tmp_path: Path, at_once: list[bool]) -> None:
    # More than one vector, and more than one block of a reader.
    lines = (f"{'' if n % 3 else f'p{n}@example.com'},{'x' * 40},{n}" for n in range(60_000))
    text = "email,note,n\n" + "\n".join(lines) + "\n"
    for name, last in (("plain.csv", ""), ("quoted.csv", ',"x",1\n')):
        (tmp_path / name).write_text(text + last)
        rejects, (_, *rows) = rejects_and_report(tmp_path, [name], many=1)
        places = [json.loads(line)["line"] for line in rejects.splitlines()]
        assert places == sorted(places)
        assert len(places) == 40_000 + bool(last)
        assert [row[2] for row in rows] == places  # type: ignore[index]
    assert at_once == [True, True]


def test_a_row_is_rejected_with_the_first_of_its_faults(tmp_path: Path) -> None:
    """Whether each row has one fault, or some have several."""
    codes = {
        "A,x,production,1": "MPID_INVALID",
        "A,,production,z": "TIMESTAMP_INVALID",
        ",,,": "NO_IDENTITY",
        "A,,odd,1": "ENVIRONMENT_INVALID",
    }
    several = {",0,odd,z": "MPID_INVALID", ",,odd,z": "TIMESTAMP_INVALID"}
    options = ["--rejects", "r.jsonl", "--again"]
    for faults in (codes, several, {**several, **codes}):
        header = "customer_id,mpid,environment,timestamp_unixtime_ms"
        (tmp_path / "a.csv").write_text("\n".join([header, *faults, "B,,,", ""]))
        rejected(tmp_path, "a.csv", *options)
        rows = rejects_of(tmp_path, "r.jsonl")
        assert [(row["raw"], row["code"]) for row in rows] == list(faults.items())
