"""The head of a CSV file: where it begins, what separates its cells, and what its columns are
called.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.csv_files import people, rejects, take
from support.doors import run_here
from support.effort import first_now, spread_now

TWO = [{"nick": 'Bob "the" Builder'}, {"nick": "C:\\tmp\\"}]


def lines(folder: Path) -> set[int]:
    """Return the lines that the values of the profiles came from."""
    found = run_here("export", "profiles", "--provenance", folder=folder).stdout.splitlines()
    return {one["line"] for line in found for one in json.loads(line)["provenance"].values()}


@pytest.mark.parametrize(
    "blank", spread_now(["\n\n", "\r\n\r\n", "  \n\t\n", "\r\r", "\ufeff\n\n"], 3)
)
def test_blank_lines_above_the_header_are_passed_over(tmp_path: Path, blank: str) -> None:
    end = "\r" if blank == "\r\r" else "\n"
    done = take(tmp_path, f"{blank}customer_id,tier{end}C-1,gold{end}")
    assert done.returncode == 0, done.stderr
    assert people(tmp_path) == {"C-1": {"tier": "gold"}}
    assert lines(tmp_path) == {4}


@pytest.mark.parametrize("sep", first_now([";", "\t", "|", ":", "^", ",", '";"'], 2))
def test_a_line_that_names_the_delimiter_is_obeyed(tmp_path: Path, sep: str) -> None:
    delimiter = sep.strip('"')
    said = f'"sep={delimiter}"' if '"' in sep else f"sep={delimiter}"
    done = take(
        tmp_path,
        (
            f"{said}\r\ncustomer_id{delimiter}email{delimiter}tier\r\n"
            f"0017{delimiter}ada@example.com{delimiter}gold, x; y\r\n"
        )
        if delimiter not in ",;"
        else (
            f"{said}\r\ncustomer_id{delimiter}email{delimiter}tier\r\n"
            f"0017{delimiter}ada@example.com{delimiter}gold\r\n"
        ),
    )
    assert done.returncode == 0, done.stderr
    assert people(tmp_path)["0017"]["email"] == "ada@example.com"
    assert people(tmp_path)["0017"]["tier"].startswith("gold")
    assert lines(tmp_path) == {3}


def test_lines_above_the_header_are_skipped_when_asked(tmp_path: Path) -> None:
    content = (
        'Contacts by Account\nAs of 2024-02-29 "open\n\n"Contact ID","Email"\n'
        '"003A1","ada@example.com"\n"Total Records","1",""\n,1\n'
    )
    done = take(
        tmp_path,
        content,
        "--skip-lines",
        "3",
        "--map",
        "Contact ID=customer_id",
        "--map",
        "Email=nick",
    )
    assert done.returncode == 3, done.stderr
    assert people(tmp_path)["003A1"] == {"nick": "ada@example.com"}
    assert rejects(tmp_path) == [(6, "REPORT_TOTAL"), (7, "NO_IDENTITY")]


def test_more_lines_skipped_than_there_are_is_refused(tmp_path: Path) -> None:
    done = take(tmp_path, "customer_id\nA\n", "--skip-lines", "5")
    assert done.returncode == 4
    assert "--skip-lines" in done.stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    spread_now(
        [
            (
                "customer_id,Colours: red; green; blue; other; none\nA,red\n",
                {"A": {"Colours: red; green; blue; other; none": "red"}},
            ),
            (
                "customer_id;Price, net;Tax, of it\nA;1,5;0,3\nB;2,5;0,4\n",
                {
                    "A": {"Price, net": "1,5", "Tax, of it": "0,3"},
                    "B": {"Price, net": "2,5", "Tax, of it": "0,4"},
                },
            ),
            ('customer_id|"a,b,c,d"|e\nA|1|2\n', {"A": {"a,b,c,d": "1", "e": "2"}}),
            ("customer_id\tnote, long; wide, high\nA\tx\n", {"A": {"note, long; wide, high": "x"}}),
            ("customer_id\nA\nB\n", {"A": {}, "B": {}}),
            ("customer_id,a\nA,1\nB\nC,3,4\nD,4\n", {"A": {"a": "1"}, "D": {"a": "4"}}),
            ("customer_id;a\n", {}),
            ("customer_id;a, b, c\n", {}),
        ],
        3,
    ),
)
def test_the_delimiter_is_the_one_by_which_header_and_records_agree(
    tmp_path: Path, content: str, expected: dict[str, Any]
) -> None:
    done = take(tmp_path, content)
    assert done.returncode in (0, 3), done.stderr
    assert people(tmp_path) == expected


def test_a_list_of_one_column_is_never_split_at_what_stands_in_a_value(tmp_path: Path) -> None:
    """Nor is it read as one column where records have two cells: they are rejected, for all to see."""
    done = take(tmp_path, "customer_id\nA,1\nB,2\n")
    assert done.returncode == 3, done.stderr
    assert rejects(tmp_path) == [(2, "CSV_TOO_MANY_CELLS"), (3, "CSV_TOO_MANY_CELLS")]


def test_an_export_whose_attributes_hold_delimiters_imports_again(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"customer_id":"A","a; b; c|d|e;f;g;h;i;j":"x;y","n,o":"p"}\n'
    )
    assert run_here("import", "a.jsonl", "--feed", "f", folder=tmp_path).returncode == 0
    assert (
        run_here(
            "export", "profiles", "--format", "csv", "--sorted", "-o", "b.csv", folder=tmp_path
        ).returncode
        == 0
    )
    done = run_here("--store", "two.duckdb", "import", "b.csv", "--feed", "f", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        run_here(
            "--store",
            "two.duckdb",
            "export",
            "profiles",
            "--format",
            "csv",
            "--sorted",
            folder=tmp_path,
        ).stdout
        == (tmp_path / "b.csv").read_text()
    )


def test_blanks_around_names_are_taken_away_and_it_is_said(tmp_path: Path) -> None:
    done = take(tmp_path, "customer_id, tier ,\u00a0email\nC-1, gold,ada@example.com\n")
    assert done.returncode == 0, done.stderr
    assert people(tmp_path) == {"C-1": {"tier": " gold", "email": "ada@example.com"}}
    assert "' tier '" in done.stderr
    assert "blanks" in done.stderr


def test_columns_that_are_listed_stand_in_quotes(tmp_path: Path) -> None:
    done = take(tmp_path, "customer_id,full name\nC-1,x\n", "--map", "name=tier")
    assert done.returncode == 4
    assert "'customer_id', 'full name'" in done.stderr


@pytest.mark.parametrize(
    "row",
    spread_now(["0017,ada@example.com,gold", "A,bob@example.net", "C-1,12.50,x", "C-1,12,x"], 2),
)
def test_a_first_record_that_looks_like_data_is_said(tmp_path: Path, row: str) -> None:
    done = take(tmp_path, f"{row}\nC-9,eve@example.com,silver\n")
    assert "looks like data" in done.stderr, done.stderr
    assert "hasHeaderRow" in done.stderr


def test_names_that_are_names_are_not_said_to_be_data(tmp_path: Path) -> None:
    assert (
        "looks like data" not in take(tmp_path, "customer_id,email,q1 2024,e-mail 2\nA,,,\n").stderr
    )


def test_a_manifest_by_place_names_the_columns_in_the_notice(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(
        json.dumps(
            {
                "hasHeaderRow": False,
                "columns": [
                    {"column": "Number", "field": "customer_id"},
                    {"field": "user_attributes.tier"},
                    {"column": "Internal", "action": "ignore"},
                ],
            }
        )
    )
    done = take(tmp_path, "\n\nC-1,gold,x\n", "--manifest", "m.json")
    assert done.returncode == 0, done.stderr
    shown = [line.split() for line in done.stderr.splitlines()]
    assert ["Number", "customer_id", "identity", "(text)", "C-1"] in shown
    assert ["#2", "tier", "attribute", "(text)", "gold"] in shown
    assert ["Internal", "nothing", "left", "out", "x"] in shown
    done = take(tmp_path, "\n\nC-1,gold,x\n\n", "--manifest", "m.json")
    assert (
        "Number -> user_identities.customer_id, #2 -> user_attributes.tier, Internal -> ignored"
        in " ".join(done.stderr.split())
    )
    assert people(tmp_path) == {"C-1": {"tier": "gold"}}
    assert lines(tmp_path) == {3}


def test_a_row_that_repeats_the_header_is_rejected_as_that(tmp_path: Path) -> None:
    for name, broken in (("fast.csv", ""), ("careful.csv", 'x,"y"z,\n')):
        store = tmp_path / name.replace(".", "_")
        store.mkdir()
        content = (
            f"customer_id, email,tier\nA,a@example.com,x\n{broken}customer_id, email,tier\n"
            "customer_id,email,tier\ncustomer_id,email,other\n"
        )
        done = take(store, content, "--json", name=name)
        assert done.returncode == 3, done.stderr
        extra = 1 if broken else 0
        assert [one for one in rejects(store, name) if one[1] != "CSV_QUOTE"] == [
            (3 + extra, "HEADER_REPEATED"),
            (4 + extra, "HEADER_REPEATED"),
        ]
        assert set(people(store)) == {"A", "customer_id"}  # the last differs in a cell


def test_a_repeated_header_is_told_from_a_person_in_one_column(tmp_path: Path) -> None:
    assert take(tmp_path, "email\nada@example.com\nemail\n").returncode == 3
    assert rejects(tmp_path) == [(3, "HEADER_REPEATED")]


def test_a_row_that_repeats_the_header_has_that_reason_whatever_else_is_wrong_with_it(
    tmp_path: Path,
) -> None:
    assert (
        take(
            tmp_path, "customer_id,environment,mpid\nA,production,7\ncustomer_id,environment,mpid\n"
        ).returncode
        == 3
    )
    assert rejects(tmp_path) == [(3, "HEADER_REPEATED")]


def test_the_totals_of_a_report_are_nobody(tmp_path: Path) -> None:
    report = (
        'Contacts by Account\nAs of 2024-02-29\n\n"Contact ID","Email"\n'
        '"003A1","ada@example.com"\n"Total Records","1"\n'
    )
    assert (
        take(tmp_path, report, "--skip-lines", "3", "--map", "Contact ID=customer_id").returncode
        == 3
    )
    assert rejects(tmp_path) == [(6, "REPORT_TOTAL")]
    assert set(people(tmp_path)) == {"003A1"}


def test_a_total_has_figures_only_beside_its_word(tmp_path: Path) -> None:
    rows = 'Grand Total:,,"12,345.00"\nTotal,total@example.com,gold\nTOTAL,,\nTotal Records,,n/a\n'
    assert take(tmp_path, f"customer_id,email,x\n{rows}").returncode == 3
    assert rejects(tmp_path) == [(2, "REPORT_TOTAL"), (4, "REPORT_TOTAL")]
    assert set(people(tmp_path)) == {"Total", "Total Records"}


def test_a_word_for_a_total_that_is_no_identity_costs_nobody_their_row(tmp_path: Path) -> None:
    assert take(tmp_path, "username,customer_id\ntotal,78\n").returncode == 0
    assert people(tmp_path) == {"78": {"username": "total"}}
