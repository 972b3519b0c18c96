"""What an import says, so that the next command is the right one."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from support.doors import run_here
from support.effort import spread_now


def test_utf_16_without_a_byte_order_mark_is_refused_with_the_two_ways_to_read_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_bytes("customer_id\nA\n".encode("utf-16-le"))
    done = run_here("import", "a.csv", "--feed", "f", "--encoding", "utf-16", folder=tmp_path)
    assert done.returncode == 4
    assert "--encoding utf-16-le or utf-16-be" in done.stderr
    assert (
        run_here(
            "import", "a.csv", "--feed", "f", "--encoding", "utf-16-le", folder=tmp_path
        ).returncode
        == 0
    )


def test_a_byte_that_is_not_in_the_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("customer_id,name\nA,Ann\nB,Zo\u00eb\n".encode("latin-1"))
    done = run_here("import", "a.csv", "--feed", "f", "--encoding", "ascii", folder=tmp_path)
    assert done.returncode == 4
    assert "a.csv:3: byte 5 of the line is not ascii" in done.stderr


def test_title_lines_above_a_header_are_told_with_the_option_that_skips_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_text(
        "Contacts & Accounts\nContact ID,Email\nC-1,ada@example.com\nC-2,bob@example.net\n"
    )
    done = run_here("import", "a.csv", "--feed", "f", folder=tmp_path)
    assert done.returncode == 4
    assert "a.csv:1: looks like a title, because most records have 2 cells" in done.stderr
    assert "Try: --skip-lines 1" in done.stderr


def test_rejects_of_an_earlier_import_are_told_from_those_of_this_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Kundennr,email\nC-1,\n")
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 3
    done = run_here(
        "import", "a.csv", "--feed", "f", "--map", "Kundennr=customer_id", folder=tmp_path
    )
    assert done.returncode == 0
    assert "a.csv.rejects.jsonl is of an earlier import: this one rejected nothing" in done.stderr


def test_files_with_the_same_columns_are_told_once(tmp_path: Path) -> None:
    for part in range(3):
        (tmp_path / f"part-{part}.csv").write_text(f"customer_id,tier\nC-{part},gold\n")
    done = run_here("import", "part-*.csv", "--feed", "f", folder=tmp_path)
    assert done.stderr.count("customer_id  identity (text)") == 1
    assert "part-0.csv and 2 more (CSV): 2 columns" in done.stderr
    done = run_here("import", "part-*.csv", "--feed", "f", "--again", folder=tmp_path)
    assert done.stderr.count("customer_id -> user_identities.customer_id") == 1
    assert "part-0.csv and 2 more: customer_id" in done.stderr


@pytest.mark.parametrize(
    ("name", "content"),
    spread_now(
        [
            ("a.csv", "email,mobile_number\nnoemail@x.org,4.5E+11\n"),
            ("a.jsonl", '{"email":"noemail@x.org","mobile_number":"4.5E+11"}\n'),
            (
                "a.jsonl",
                '{"user_identities":{"email":"noemail@x.org","mobile_number":"4.5E+11"}}\n',
            ),
        ],
        3,
    ),
)
def test_a_row_that_has_only_marks_of_nothing_is_rejected_with_what_they_are(
    name: str, content: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    assert run_here("import", name, "--feed", "f", folder=tmp_path).returncode == 3
    (reject,) = map(json.loads, (tmp_path / f"{name}.rejects.jsonl").read_text().splitlines())
    assert reject["message"].endswith(
        ": email is IDENTITY_PLACEHOLDER, mobile_number is IDENTITY_SPOILED"
    )


def test_a_folder_is_told_with_a_pattern_that_matches_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "spark" / "run=1").mkdir(parents=True)
    (tmp_path / "spark" / "run=1" / "part-0.csv").write_text("customer_id\nC-1\n")
    done = run_here("import", "spark", "--feed", "f", folder=tmp_path)
    assert done.returncode == 4
    assert "'spark/**/*.csv'" in done.stderr
    assert run_here("import", "spark/**/*.csv", "--feed", "f", folder=tmp_path).returncode == 0


def test_an_import_read_another_way_is_told_with_the_way_back(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,city\nC-1,\\N\n")
    run_here("import", "a.csv", "--feed", "f", folder=tmp_path)
    done = run_here("import", "a.csv", "--feed", "f", "--null", "\\N", folder=tmp_path)
    assert "what that import set stays, and profilectl imports undo 1 takes it back" in done.stderr


def test_a_terminal_gets_notices_folded_between_words(tmp_path: Path) -> None:
    names = [f"a_column_with_a_name_{place}" for place in range(8)]
    (tmp_path / "a.csv").write_text(
        ",".join(["customer_id", *names]) + "\n" + ",".join(["A", *"12345678"]) + "\n"
    )
    # Before a first import there is a table: test_columns.py.
    run_here("import", "a.csv", "--feed", "f", folder=tmp_path)
    terminal, end = pty.openpty()
    arguments = [sys.executable, "-m", "profilectl", "import", "a.csv", "--feed", "f", "--again"]
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    subprocess.run(
        arguments,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=end,
        check=True,
        timeout=60,
    )
    os.close(end)
    said = b""
    while b"rows a second" not in said:
        said += os.read(terminal, 65536)
    os.close(terminal)
    lines = [
        line for line in said.decode().replace("\r", "").split("\n") if "a_column_with" in line
    ]
    assert len(lines) > 3
    assert all(len(line) <= 80 for line in lines)
    assert sum(line.count(f"user_attributes.{name}") for line in lines for name in names) == len(
        names
    )
