"""The table of columns: what it says of each format, and what it never does."""

from __future__ import annotations

import datetime
import gzip
import json
import shlex
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.doors import call, run, run_here

from profilectl.importing.columns.suggestions import looks_like, suggestion

HEADER = "Contact ID;First Name;E-mail;City;Mobile phone;Signed up;Points\n"
ROWS = (
    "C-1;Jürgen;jurgen@example.com;York;+44 7700 900123;2024-01-02;12\n"
    "0017;Ann;;Leeds;+44 7700 900124;2024-02-02;13.5\n"
)


def columns_of(folder: Path, *words: str) -> dict[str, dict[str, Any]]:
    """Return the columns that `profilectl columns --json` shows of one table, by their names."""
    finished = run_here("columns", *words, "--json", folder=folder)
    assert finished.returncode == 0, finished.stderr
    (table,) = json.loads(finished.stdout)["files"]
    return {column["column"]: column for column in table["columns"]}


def meanings(columns: dict[str, dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {
        name: (column["becomes"], column["kinds"], column["first_values"])
        for name, column in columns.items()
    }


def test_a_csv_file_is_shown_with_suggestions(tmp_path: Path) -> None:
    (tmp_path / "crm.csv").write_text(HEADER + ROWS)
    finished = run("columns", "crm.csv", folder=tmp_path, COLUMNS="80")
    assert finished.returncode == 0
    assert finished.stdout == (
        "crm.csv (CSV): 7 columns, values of the first 2 rows\n"
        "column        becomes       kind                first values\n"
        "Contact ID    Contact ID    attribute (text)    C-1, 0017\n"
        '  an identity? --map "Contact ID=customer_id"\n'
        "First Name    First Name    attribute (text)    Jürgen, Ann\n"
        "  the platform's $FirstName? --map 'First Name=$FirstName'\n"
        "E-mail        E-mail        attribute (e-mail)  jurgen@example.com\n"
        '  an identity? --map "E-mail=email"\n'
        "City          City          attribute (text)    York, Leeds\n"
        "  the platform's $City? --map 'City=$City'\n"
        "Mobile phone  Mobile phone  attribute (phone)   +44 7700 900123\n"
        '  an identity? --map "Mobile phone=mobile_number"\n'
        "Signed up     Signed up     attribute (date)    2024-01-02, 2024-02-02\n"
        "Points        Points        attribute (number)  12, 13.5\n"
    ).replace("+44 7700 900123\n", "+44 7700 900123, +44 7700 900124\n")
    assert "crm.csv: no column is an identity or an mpid" in finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["crm.csv"]


def test_what_is_suggested_can_be_given_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "crm.csv").write_text(HEADER + ROWS)
    options = [
        column["suggestion"]["option"]
        for column in columns_of(tmp_path, "crm.csv").values()
        if column["suggestion"]
    ]
    words = shlex.split(" ".join(options))
    mapped = columns_of(tmp_path, "crm.csv", *words)
    assert [column["becomes"] for column in mapped.values()][:5] == [
        "user_identities.customer_id",
        "user_attributes.$FirstName",
        "user_identities.email",
        "user_attributes.$City",
        "user_identities.mobile_number",
    ]
    assert not any(column["suggestion"] for column in mapped.values())
    assert run_here("import", "crm.csv", "--feed", "f", *words, folder=tmp_path).returncode == 0


def test_json_lines_are_shown_flat_rows_and_batches(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"userId":"C-1","address":{"city":"York"},"ids":[1,2],"ok":true,"n":1.50}\n'
        '{"userId":"C-2","ids":[],"ok":null,"n":12345678901234567890123}\n'
        "not JSON\n"
        '{"user_identities":{"email":"a@x.com","foo":"1"},"device_info":{"ios_idfv":"x"},'
        '"user_attributes":{"tier":"gold"},"events":[{"event_type":"custom_event"}],"wrong":1}\n'
    )
    columns = columns_of(tmp_path, "a.jsonl")
    assert meanings(columns) == {
        "userId": ("user_attributes.userId", ["text"], ["C-1", "C-2"]),
        "address.city": ("user_attributes.address.city", ["text"], ["York"]),
        "ids": ("user_attributes.ids", ["list"], ["[1,2]"]),
        "ok": ("user_attributes.ok", ["boolean"], ["true"]),
        "n": ("user_attributes.n", ["number"], ["1.50", "12345678901234567890123"]),
        "user_identities.email": ("user_identities.email", ["text"], ["a@x.com"]),
        "user_identities.foo": ("user_identities.foo", ["text"], ["1"]),
        "device_info.ios_idfv": ("device_info.ios_idfv", ["text"], ["x"]),
        "user_attributes.tier": ("user_attributes.tier", ["text"], ["gold"]),
        "events": ("events", ["list"], ['["custom_event"]']),
        "wrong": (None, ["number"], ["1"]),
    }
    assert columns["userId"]["suggestion"]["option"] == '--map "userId=customer_id"'
    assert columns["address.city"]["suggestion"]["option"] == "--map 'address.city=$City'"
    # What a batch says is in the platform's names: no --map reaches it.
    assert columns["user_attributes.tier"]["suggestion"] is None


def test_rows_with_thousands_of_levels_are_passed_over(tmp_path: Path) -> None:
    lists, objects = "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900
    (tmp_path / "deep.jsonl").write_text(
        f'{{"email":"a@x.com","d":{lists}}}\n{{"email":"b@x.com","o":{objects}}}\n'
        f'{{"user_identities":{{"email":"c@x.com"}},"user_attributes":{{"q":{lists}}}}}\n'
    )
    finished = run("columns", "deep.jsonl", folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("deep.jsonl (JSON lines):")
    assert "a@x.com" in finished.stdout


def test_a_parquet_file_is_shown_with_its_structs(tmp_path: Path) -> None:
    table = pa.table(
        {
            "Member No": [1, 2],
            "profile": [{"city": "York", "born": datetime.date(2000, 1, 2)}, None],
            "tags": [["a", "b"], []],
            "blob": [b"x", b"y"],
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    columns = columns_of(tmp_path, "p.parquet")
    assert meanings(columns) == {
        "Member No": ("user_attributes.Member No", ["number"], ["1", "2"]),
        "profile.city": ("user_attributes.profile.city", ["text"], ["York"]),
        "profile.born": ("user_attributes.profile.born", ["text"], ["2000-01-02"]),
        "tags": ("user_attributes.tags", ["list"], ['["a","b"]']),
        "blob": ("user_attributes.blob", ["bytes"], []),
    }
    assert columns["Member No"]["suggestion"]["field"] == "customer_id"


def test_a_parquet_file_that_duckdb_cannot_read_exactly_is_shown_by_its_names(
    tmp_path: Path,
) -> None:
    moment = pa.array([0], pa.timestamp("ns"))
    pq.write_table(
        pa.table({"customer_id": ["1"], "at": moment}),
        tmp_path / "old.parquet",
        use_deprecated_int96_timestamps=True,
    )
    assert list(columns_of(tmp_path, "old.parquet")) == ["customer_id", "at"]


def test_a_json_document_an_archive_and_standard_input_are_shown(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('[{"email":"a@x.com","age":3}]')
    assert list(columns_of(tmp_path, "c.json")) == ["email", "age"]
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(HEADER.encode()))
    assert columns_of(tmp_path, "a.csv.gz")["City"]["first_values"] == []
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/a.csv", "email,n\na@x.com,1\n")
    assert list(columns_of(tmp_path, "a.zip")) == ["email", "n"]
    finished = run("columns", "-", folder=tmp_path, stdin=b"email,n\na@x.com,1\n")
    assert finished.stdout.startswith("- (CSV): 2 columns")


def test_the_reading_options_of_an_import_hold(tmp_path: Path) -> None:
    folder = tmp_path / "tier=gold"
    folder.mkdir()
    (folder / "a.csv").write_bytes("Report\nid~'n~1'~x\n'M\xfcller'~NULL~2\n".encode("cp1252"))
    options = (
        "--skip-lines 1 --delimiter ~ --quote ' --encoding windows-1252 --null NULL"
        " --map id=customer_id --path-columns"
    )
    columns = columns_of(tmp_path, "tier=*/a.csv", *options.split())
    assert meanings(columns) == {
        "id": ("user_identities.customer_id", ["text"], ["Müller"]),
        "n~1": ("user_attributes.n~1", [], []),
        "x": ("user_attributes.x", ["text"], ["2"]),
        "tier": ("user_attributes.tier", ["text"], ["gold"]),
    }


def test_files_with_the_same_columns_are_one_table(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text("email,n\na@x.com,1\n")
    (tmp_path / "d.csv").write_text("email\na@x.com\n")
    finished = run_here("columns", "*.csv", folder=tmp_path)
    assert "a.csv and 2 more (CSV): 2 columns" in finished.stdout
    assert "d.csv (CSV): 1 column" in finished.stdout


def test_rejects_are_shown_as_the_files_they_come_from(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("email,n\n,1\nb@x.com,2\n")
    assert run_here(*["import", "a.csv", "--feed", "f"], folder=tmp_path).returncode == 3
    assert list(columns_of(tmp_path, "a.csv.rejects.jsonl")) == ["email", "n"]


def test_the_table_stands_before_a_first_import_only_and_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("email,City\na@x.com,York\n")
    (tmp_path / "b.csv").write_text("email,City\nb@x.com,York\n")
    dry = run_here(*["import", "a.csv", "--feed", "f", "--dry-run"], folder=tmp_path)
    earlier = run_here(*["import", "a.csv", "--feed", "f"], folder=tmp_path)
    for finished in (dry, earlier):
        assert "a.csv (CSV): 2 columns, values of the first row" in finished.stderr
        assert "--map 'City=$City'" in finished.stderr
        assert "York" not in finished.stdout or finished is dry
        assert "City -> " not in finished.stderr
    second = run_here(*["import", "b.csv", "--feed", "f"], folder=tmp_path)
    assert "values of the first" not in second.stderr
    assert "City -> user_attributes.City" in second.stderr
    for silent in (("--quiet", "import"), ("import", "--json")):
        finished = run_here(*silent, "a.csv", "--feed", "g", folder=tmp_path)
        assert "York" not in finished.stdout + finished.stderr, silent


@pytest.mark.parametrize(
    ("name", "look", "field"),
    [
        ("Contact ID", None, "customer_id"),
        ("Mitgliedsnummer", "number", "customer_id"),
        ("E-Mail", "e-mail", "email"),
        ("mail", None, "email"),
        ("mail", "", None),  # whether somebody wants any
        ("Prénom", None, "$FirstName"),
        ("Straße", "", "$Address"),
        ("address", "e-mail", "email"),
        ("Notes", "phone", "mobile_number"),
        ("Facebook ID", None, "facebook"),
        ("points", "number", None),
        ("order.id", None, None),
        ("tier", "", None),
    ],
)
def test_a_suggestion_goes_by_the_name_and_by_the_values(
    name: str, look: str | None, field: str | None
) -> None:
    answer = suggestion(name, look, ())
    assert (answer and answer.field) == field


def test_no_two_columns_are_suggested_as_one_field(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "customer_id,Contact ID,E-mail,Work Email,Phone,Home phone,City,Town\n"
    )
    columns = columns_of(tmp_path, "a.csv")
    fields = [column["suggestion"] and column["suggestion"]["field"] for column in columns.values()]
    assert fields == [
        None, "other", "email", None, "mobile_number", "phone_number_2", "$City", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "look"),
    [
        (["a@x.com", "b@y.org"], "e-mail"),
        (["2024-01-02", "2024-01-03T10:00:00Z"], "date"),
        (["31.12.2023", "01/02/2024"], "date"),
        (["+44 7700 900123", "(020) 7946 0001"], "phone"),
        (["0017", "0018"], "number"),
        (["447700900123"], "number"),
        (["5f4dcc3b-5aa7-65d6-1d83-27deb882cf99"], "GUID"),
        (["a@x.com", "b", "c"], ""),
        ([], ""),
    ],
)
def test_texts_look_like_what_most_of_them_are(values: list[str], look: str) -> None:
    assert looks_like(values) == look


def test_a_wide_and_a_hostile_file_are_shown_whole(tmp_path: Path) -> None:
    names = ",".join(f"column {place}" for place in range(400))
    (tmp_path / "wide.csv").write_text(f"email,{names}\na@x.com,{',' * 399}\n")
    assert "column 399" in call("columns", "wide.csv", folder=tmp_path).stdout
    finished = run_here(*["import", "wide.csv", "--feed", "f", "--dry-run"], folder=tmp_path)
    assert "... and 301 more columns: profilectl columns shows them" in finished.stderr
    (tmp_path / "h.csv").write_text('email,"\x1b[31mred\n"\na@x.com,"\x1b[2J\u202e"\n')
    shown = call("columns", "h.csv", folder=tmp_path).stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\u001b[2J" in shown
