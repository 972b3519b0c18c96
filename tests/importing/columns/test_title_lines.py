"""Title lines above the header of a CSV file: the file is refused, with the lines to skip."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.doors import run_here
from support.effort import spread_now

ROWS = "customer_id,email,tier\nC-1,a@x.org,gold\nC-2,b@x.org,gold\n"
BARE = "Ref,Mail,City\nC-1,a@x.org,Leeds\nC-2,b@x.org,York\n"
TITLES = {
    "a line": (f"Export of 2024-01-01\n{ROWS}", 1),
    "several, and a blank line": (f"Contacts\nAs of 2024-02-29\n\n{ROWS}", 3),
    "a blank line above": (f"\nContacts\n{ROWS}", 2),
    "with commas": (f'"Contacts, all"\nAs of Monday, 29 February\n{ROWS}', 2),
    "filled up by a spreadsheet": (f"Report,,\nAs of 2024-02-29,,\n{ROWS}", 2),
    "of two lines in quotes": (f'"Report\nof May"\n{ROWS}', 2),
    "a name and a value": (f"Report:,Contacts\n{ROWS}", 1),
    "semicolons below": (f"Kunden, Stand heute\n{ROWS.replace(',', ';')}", 1),
    "tabs below": (f"Contacts\n{ROWS.replace(',', chr(9))}", 1),
    "no name that is known": (f"Contacts\n{BARE}", 1),
    "after sep=": (f"sep=,\nContacts\n{ROWS}", 2),
    "with a byte order mark": (f"\ufeffContacts\n{ROWS}", 1),
    "records of several lengths": (f"Contacts\n{ROWS}C-3\nC-4,d@x.org,gold\n", 1),
}
HEADERS = {
    "no title": ROWS,
    "fewer names than cells": "customer_id,tier\nC-1,gold,Leeds\nC-2,gold,York\n",
    "one known name": "email\na@x.org,x\nb@x.org,y\n",
    "nothing but the header": "customer_id,email,tier\n",
    "a title and nothing else": "Contacts\ncustomer_id,email,tier\n",
    "one column": "customer_id\nC-1\nC-2\n",
    "short rows": "customer_id,email,tier\nC-1\nC-2\nC-3,c@x.org,gold\n",
    "a nameless column": "customer_id,email,\nC-1,a@x.org,x\nC-2,b@x.org,\n",
    "rows that look like data": "Ref,Mail\nC-1,a@x.org,x\nC-2,b@x.org,y\n",
}


def take(
    folder: Path, text: str, command: str = "columns", *, options: tuple[str, ...] = ()
) -> Any:
    (folder / "a.csv").write_text(text, newline="")
    words = [command, "a.csv", *(["--feed", "f"] if command == "import" else ())]
    return run_here(*words, *options, folder=folder)


@pytest.mark.parametrize("name", TITLES)
@pytest.mark.parametrize("command", ["import", "columns"])
def test_the_refusal_says_how_many_lines_to_skip(tmp_path: Path, name: str, command: str) -> None:
    text, number = TITLES[name]
    result = take(tmp_path, text, command)
    assert result.returncode == 4, result.stderr
    assert "looks like a title" in result.stderr
    assert f"Try: --skip-lines {number};" in result.stderr
    assert not (tmp_path / "profiles.duckdb").exists()
    fields = ["--map", "Ref=customer_id"] if "Ref" in text else []
    result = take(tmp_path, text, command, options=("--skip-lines", str(number), *fields))
    assert result.returncode in (0, 3), result.stderr


@pytest.mark.parametrize("name", spread_now(HEADERS, 4))
def test_what_may_be_the_header_is_not_refused(tmp_path: Path, name: str) -> None:
    assert "looks like a title" not in take(tmp_path, HEADERS[name]).stderr


def test_too_few_lines_are_told_apart(tmp_path: Path) -> None:
    result = take(tmp_path, f"Contacts\nAs of today\n{ROWS}", options=("--skip-lines", "1"))
    assert result.returncode == 4
    assert "a.csv:2: looks like a title" in result.stderr
    assert "--skip-lines 2" in result.stderr


def test_a_map_of_its_first_line_says_that_it_is_the_header(tmp_path: Path) -> None:
    text = "Contact\nSmith, John\nLee, Ann\n"
    assert take(tmp_path, text).returncode == 4
    assert take(tmp_path, text, options=("--map", "Contact=customer_id")).returncode == 0


def test_the_names_of_the_header_are_shown(tmp_path: Path) -> None:
    text = take(tmp_path, f"Contacts\n{ROWS}").stderr
    assert re.search("seems to be line 2: customer_id, email, tier$", text, re.MULTILINE)
