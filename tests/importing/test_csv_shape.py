"""The shape of a CSV file: nameless and doubled columns, columns by place, quotes, ragged rows,
spellings of nothing.
"""

from __future__ import annotations

import json
import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.csv_files import people, rejects, take
from support.doors import run_here
from support.effort import spread_now

from profilectl.importing.stage.csv.csv import read_rows
from profilectl.importing.stage.csv.dialect import Dialect
from profilectl.importing.stage.csv.head import read_header
from profilectl.importing.stage.source.files import InputFile
from profilectl.store.scratch import connect

TRAILING = "customer_id,email,tier,\n0017,ada@example.com,gold,\n0018,bob@example.net,silver,\n"
DOUBLE = "customer_id,Phone,Phone,email\n0017,+44 20 7946 0001,+44 20 7946 0002,ada@example.com\n"


def test_a_nameless_column_without_a_value_is_left_out_and_it_is_said(tmp_path: Path) -> None:
    done = take(tmp_path, TRAILING)
    assert done.returncode == 0, done.stderr
    assert people(tmp_path) == {
        "0017": {"email": "ada@example.com", "tier": "gold"},
        "0018": {"email": "bob@example.net", "tier": "silver"},
    }
    assert "column 4 has no name and no value" in done.stderr


@pytest.mark.parametrize("far", [False, True])
def test_nameless_columns_with_values_are_refused_by_place(tmp_path: Path, far: bool) -> None:
    """Also where the only value stands far down."""
    content = "customer_id,,tier, ,\n" + "A,,gold,,\n" * (5000 if far else 1) + "B,x,gold,y,\n"
    done = take(tmp_path, content)
    assert done.returncode == 4, done.stdout
    assert "columns 2 and 4 have no name, but values" in done.stderr
    assert '--map "#2=' in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["a.csv"]
    done = take(tmp_path, content, "--map", "#2=nick", "--map", "#4=ignore")
    assert done.returncode == 0, done.stderr
    assert people(tmp_path)["B"] == {"nick": "x", "tier": "gold"}


def test_any_column_can_be_named_by_place(tmp_path: Path) -> None:
    done = take(
        tmp_path, "customer_id,a,b\nA,1,2\n", "--map", "#2=ignore", "--map", "#3=user_attributes.c"
    )
    assert done.returncode == 0, done.stderr
    assert people(tmp_path) == {"A": {"c": "2"}}


def test_a_column_called_like_a_place_is_meant_by_its_name(tmp_path: Path) -> None:
    done = take(tmp_path, "customer_id,#3,b\nA,1,2\n", "--map", "#3=c")
    assert done.returncode == 0, done.stderr
    assert people(tmp_path) == {"A": {"c": "1", "b": "2"}}


@pytest.mark.parametrize("mapped", [["#9=ignore"], ["#0=ignore"], ["b=x", "#3=y"]])
def test_a_place_that_cannot_be_is_refused(tmp_path: Path, mapped: list[str]) -> None:
    done = take(tmp_path, "customer_id,a,b\nA,1,2\n", *(f"--map={one}" for one in mapped))
    assert done.returncode == 4
    assert "#" in done.stderr


def test_columns_of_one_name_are_told_apart_by_place(tmp_path: Path) -> None:
    done = take(tmp_path, DOUBLE)
    assert done.returncode == 4
    assert "columns 2 and 3 are both named 'Phone'" in done.stderr
    assert '--map "#2=' in done.stderr
    done = take(tmp_path, DOUBLE, "--map", "#2=mobile_number", "--map", "#3=ignore", "--json")
    assert done.returncode == 0, done.stderr
    assert people(tmp_path) == {
        "0017": {"mobile_number": "+44 20 7946 0001", "email": "ada@example.com"}
    }
    assert json.loads(done.stdout)["files"][0]["columns"] == {
        "customer_id": "user_identities.customer_id",
        "Phone": "user_identities.mobile_number",
        "Phone (#3)": "ignored",
        "email": "user_identities.email",
    }


def test_all_faults_of_a_header_stand_in_one_message(tmp_path: Path) -> None:
    done = take(
        tmp_path,
        (
            "customer_id,x,x,y,y,y,,foo.bar,baz.q,Email,a,user_attributes.a\n"
            "A,1,2,3,4,5,6,7,8,9,10,11\n"
        ),
        "--map",
        "nope=tier",
    )
    assert done.returncode == 4
    said = " ".join(done.stderr.split())
    for fault in (
        "both named 'x'",
        "columns 4, 5 and 6 are all named 'y'",
        "column 7 has no name, but values",
        "'foo.bar'",
        "'baz.q'",
        "'a' and 'user_attributes.a' are both user_attributes.a",
        "'nope'",
    ):
        assert fault in said, (fault, said)
    assert "--unknown attribute" in said


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_dotted_names_that_are_no_field_are_kept_or_left_out_as_asked(
    tmp_path: Path, format: str
) -> None:
    content = (
        "customer_id,foo.bar,tier\nA,1,gold\n"
        if format == "csv"
        else '{"customer_id":"A","foo.bar":"1","tier":"gold"}\n'
    )
    name = f"a.{format}"
    done = take(tmp_path, content, name=name)
    assert done.returncode == (4 if format == "csv" else 3)
    if format == "csv":
        assert "--unknown attribute" in done.stderr
    assert take(tmp_path, content, "--unknown", "ignore", "--again", name=name).returncode == 0
    assert people(tmp_path) == {"A": {"tier": "gold"}}
    assert take(tmp_path, content, "--unknown", "attribute", "--again", name=name).returncode == 0
    assert people(tmp_path) == {"A": {"tier": "gold", "foo.bar": "1"}}


@pytest.mark.parametrize("name", ["events.foo", "user_attributes."])
def test_a_name_that_begins_with_a_field_and_is_none_stays_refused(
    tmp_path: Path, name: str
) -> None:
    """It would look like what it is not. It can be named, all the same."""
    done = take(tmp_path, f"customer_id,{name}\nA,1\n", "--unknown", "attribute")
    assert done.returncode == 4
    assert f'--map "{name}=user_attributes.{name}"' in done.stderr


ESCAPED = '"customer_id","nick"\n"1","Bob \\"the\\" Builder"\n"2","C:\\\\tmp\\\\"\n"3","plain"\n'


def test_a_quote_behind_an_escape_ends_no_cell(tmp_path: Path) -> None:
    done = take(tmp_path, ESCAPED, "--escape", "\\")
    assert done.returncode == 0, done.stderr
    assert people(tmp_path) == {
        "1": {"nick": 'Bob "the" Builder'},
        "2": {"nick": "C:\\tmp\\"},
        "3": {"nick": "plain"},
    }


@pytest.mark.parametrize(
    ("row", "value"),
    spread_now([
        ('A,"a\\nb"', "a\\nb"), ("A,\\N", "\\N"), ("A,C:\\x", "C:\\x"), ('A,"x ""y"""', 'x "y"'), ('A,"two\nlines \\" and\n"', 'two\nlines " and\n'),
        ('A,"\\\\"', "\\"), ('A,"\\\\\\""', '\\"'), ('A,"\\,"', "\\,"), ("A,a\\b\\", "a\\b\\"),
    ], 3),
)  # fmt: skip
def test_an_escape_means_something_only_before_a_quote_or_itself_within_quotes(
    tmp_path: Path, row: str, value: str
) -> None:
    done = take(tmp_path, f"customer_id,nick\n{row}\nB,x\n", "--escape", "\\")
    assert done.returncode == 0, done.stderr
    assert people(tmp_path) == {"A": {"nick": value}, "B": {"nick": "x"}}


def test_a_broken_quote_costs_one_row_with_an_escape_too(tmp_path: Path) -> None:
    done = take(
        tmp_path, 'customer_id,nick\nA,"x\\" open\nB,"b"\nC,"c"d\nD,"d"\n', "--escape", "\\"
    )
    assert done.returncode == 3, done.stderr
    assert rejects(tmp_path) == [(2, "CSV_QUOTE"), (4, "CSV_QUOTE")]
    assert set(people(tmp_path)) == {"B", "D"}


@pytest.mark.parametrize("broken", [False, True])
def test_the_character_around_cells_can_be_named(tmp_path: Path, broken: bool) -> None:
    content = "'customer_id','nick'\n'A','it''s \"so\", or not'\n" + (
        "'B','x'y\n" if broken else ""
    )
    done = take(tmp_path, content, "--quote", "'")
    assert done.returncode == (3 if broken else 0), done.stderr
    assert people(tmp_path) == {"A": {"nick": 'it\'s "so", or not'}}


@pytest.mark.parametrize("broken", [False, True])
def test_quotes_can_be_letters_like_others(tmp_path: Path, broken: bool) -> None:
    content = 'customer_id\t5" disk\nA\t"x\n' + ("B\n" if broken else "")
    done = take(tmp_path, content, "--quote", "none")
    assert done.returncode == (3 if broken else 0), done.stderr
    assert people(tmp_path) == {"A": {'5" disk': '"x'}}


@pytest.mark.parametrize(
    "options",
    [
        ["--quote", "ab"],
        ["--quote", "é"],
        ["--escape", ""],
        ["--quote", ",", "--delimiter", ","],
        ["--escape", "ab"],
        ["--quote", "none", "--escape", "\\"],
    ],
)
def test_characters_that_cannot_be_are_wrong_usage(tmp_path: Path, options: list[str]) -> None:
    assert take(tmp_path, "customer_id,a\nA,1\n", *options).returncode == 2


@pytest.mark.parametrize("mixed", [False, True])
def test_superfluous_empty_cells_cost_no_row(tmp_path: Path, mixed: bool) -> None:
    """Every row with trailing delimiters where the header has none; also where only some have them."""
    content = "customer_id,tier\nA,gold,,\nB,lead,,\n" + (
        "C,x\nD,y,z,\nE\nF,,,,,\n" if mixed else ""
    )
    done = take(tmp_path, content)
    assert done.returncode == (3 if mixed else 0), done.stderr
    found = people(tmp_path)
    assert found.pop("F", {}) == {}
    assert found == {
        "A": {"tier": "gold"},
        "B": {"tier": "lead"},
        **({"C": {"tier": "x"}} if mixed else {}),
    }
    if mixed:
        assert rejects(tmp_path) == [(5, "CSV_TOO_MANY_CELLS"), (6, "CSV_TOO_FEW_CELLS")]


def test_a_row_without_the_nameless_last_cell_is_whole(tmp_path: Path) -> None:
    done = take(tmp_path, "customer_id,tier,,\nA,gold,,\nB,lead\nC\n")
    assert done.returncode == 3, done.stderr
    assert people(tmp_path) == {"A": {"tier": "gold"}, "B": {"tier": "lead"}}
    assert rejects(tmp_path) == [(4, "CSV_TOO_FEW_CELLS")]


def test_missing_cells_are_empty_when_asked(tmp_path: Path) -> None:
    done = take(tmp_path, "customer_id,a,b\nA,1\nB\nC,1,2,3\nD,1,2\n", "--ragged", "pad")
    assert done.returncode == 3, done.stderr
    assert people(tmp_path) == {"A": {"a": "1"}, "B": {}, "D": {"a": "1", "b": "2"}}
    assert rejects(tmp_path) == [(4, "CSV_TOO_MANY_CELLS")]


@pytest.mark.parametrize("broken", [False, True])
def test_a_spelling_of_nothing_is_an_empty_cell_in_every_column(
    tmp_path: Path, broken: bool
) -> None:
    content = (
        "CUSTOMER_ID,EMAIL,CITY,\n1001,ada@example.com,Leeds,\n1002,\\N,\\N,NULL\n"
        '\\N,\\N,Nantes,\n"\\N","\\N","a \\N",\n'
    ) + ("x\n" if broken else "")
    done = take(tmp_path, content, "--null", "\\N", "--null", "NULL")
    assert done.returncode == 3
    assert people(tmp_path) == {"1001": {"email": "ada@example.com", "CITY": "Leeds"}, "1002": {}}
    found = [one for one in rejects(tmp_path) if one[1] != "CSV_TOO_FEW_CELLS"]
    assert found == [(4, "NO_IDENTITY"), (5, "NO_IDENTITY")]


def test_a_spelling_of_nothing_is_deleted_like_an_empty_cell(tmp_path: Path) -> None:
    assert take(tmp_path, "customer_id,a\nA,1\n").returncode == 0
    assert (
        take(tmp_path, "customer_id,a\nA,-\n", "--null", "-", "--empty", "delete").returncode == 0
    )
    assert people(tmp_path) == {"A": {}}


def attributes(folder: Path) -> list[Any]:
    return [
        json.loads(line)["user_attributes"]
        for line in run_here("export", "profiles", folder=folder).stdout.splitlines()
    ]


def test_the_rows_to_mend_have_the_whole_head(tmp_path: Path) -> None:
    done = take(
        tmp_path,
        "Report\n\nsep=;\ncustomer_id;a\n;1\nB;2\n",
        "--skip-lines",
        "1",
        "--rejects-as-input",
        "mend.csv",
    )
    assert done.returncode == 3, done.stderr
    assert (tmp_path / "mend.csv").read_text() == "Report\n\nsep=;\ncustomer_id;a\n;1\n"
    (tmp_path / "mend.csv").write_text((tmp_path / "mend.csv").read_text().replace("\n;1", "\nX;1"))
    assert (
        run_here(
            "import", "mend.csv", "--feed", "f", "--skip-lines", "1", folder=tmp_path
        ).returncode
        == 0
    )
    assert attributes(tmp_path) == [{"a": "2"}, {"a": "1"}]


def test_rows_to_mend_of_files_with_other_headers_are_refused_whatever_stands_above(
    tmp_path: Path,
) -> None:
    (tmp_path / "b.csv").write_text("sep=;\nemail;b\n;2\n")
    (tmp_path / "c.csv").write_text("sep=;\ncustomer_id;a\n;3\n")
    done = take(tmp_path, "sep=;\ncustomer_id;a\n;1\n", "b.csv", "--rejects-as-input", "mend.csv")
    assert done.returncode == 4, done.stderr
    assert "different headers" in done.stderr
    done = take(tmp_path, "\nsep=;\ncustomer_id;a\n;1\n", "c.csv", "--rejects-as-input", "mend.csv")
    assert done.returncode == 3, done.stderr
    assert (tmp_path / "mend.csv").read_text() == "\nsep=;\ncustomer_id;a\n;1\n;3\n"


def test_a_rejected_row_of_several_lines_is_shown_whole_with_any_quote(tmp_path: Path) -> None:
    for number, (options, row) in enumerate(
        (
            ((), '"","two\nlines ""x"'),
            (("--quote", "'"), "'','two \"\nlines'"),
            (("--escape", "\\"), '"","two \\"\nlines"'),
        )
    ):
        head = (
            "customer_id,a\n" if not options or options[0] != "--quote" else "'customer_id','a'\n"
        )
        name = f"{number}.csv"
        assert take(tmp_path, f"{head}{row}\nB,2\n", *options, name=name).returncode == 3
        (reject,) = [
            json.loads(line)
            for line in (tmp_path / f"{name}.rejects.jsonl").read_text().splitlines()
        ]
        assert reject["raw"] == row


LETTERS = [
    "a",
    "B",
    " ",
    ",",
    ";",
    '"',
    "'",
    "\\",
    "\n",
    "\r\n",
    "\r",
    "é",
    "😀",
    "\t",
    "N",
    "|",
    "",
    "",
]


@pytest.mark.parametrize("seed", range(2))
def test_cells_of_every_dialect_come_back_byte_for_byte(tmp_path: Path, seed: int) -> None:
    """Written by hand, read by both ways: the one for sound files and, where a broken row stands in
    it, the other.
    """
    chance = random.Random(seed)
    file = tmp_path / "a.csv"
    for number in range(30):
        dialect = Dialect(
            chance.choice(",;\t|"),
            *chance.choice([('"', ""), ("'", ""), ('"', "\\"), ("'", "\\"), ('"', "|"), ("", "")]),
        )
        if dialect.delimiter == dialect.escape:
            continue
        forbidden = {dialect.delimiter, "\n", "\r", "\r\n"} if not dialect.quote else set()
        width, end = chance.randrange(1, 4), chance.choice(["\n", "\r\n"])
        rows = [
            [
                "".join(
                    one
                    for one in chance.choices(LETTERS, k=chance.randrange(6))
                    if one not in forbidden
                )
                for _ in range(width)
            ]
            for _ in range(chance.randrange(1, 8))
        ]
        broken = [] if number % 2 else [dialect.delimiter.join(["x"] * (width + 1))]
        written = [
            dialect.delimiter.join(cell_written(cell, dialect, chance) for cell in row)
            for row in rows
        ]
        head = dialect.delimiter.join(f"c{place}" for place in range(width))
        file.write_text(end.join([head, *written, *broken, ""]), encoding="utf-8", newline="")
        header = read_header(InputFile("a.csv", file, "", "csv"), dialect)
        with closing(connect()) as connection:
            table = read_rows(
                connection, InputFile("a.csv", file, "", "csv"), header, "t", lambda reject: None
            )
            found = connection.execute(
                f"select {', '.join(f't.c{place}' for place in range(width))} from t join"
                " t_line on t.rowid = seq order by seq"
            ).fetchall()
        # An unquoted row of one empty cell is a blank line, which is none.
        kept = [row for row, text in zip(rows, written, strict=True) if text]
        assert [[cell or "" for cell in row] for row in found] == kept, (dialect, file.read_bytes())
        assert table.count == len(kept)


def cell_written(cell: str, dialect: Dialect, chance: random.Random) -> str:
    """Write a cell as a dialect has it, in quotes where it must be, and sometimes where it need
    not.
    """
    if not dialect.quote:
        return cell
    special = (dialect.delimiter, dialect.quote, "\n", "\r")
    if chance.random() < 0.6 and not any(one in cell for one in special):
        return cell
    if dialect.escape:
        cell = cell.replace(dialect.escape, dialect.escape * 2).replace(
            dialect.quote, dialect.escape + dialect.quote
        )
        return f"{dialect.quote}{cell}{dialect.quote}"
    return f"{dialect.quote}{cell.replace(dialect.quote, dialect.quote * 2)}{dialect.quote}"
