"""Rejected rows: in the order of the files and their lines, and read again from the file they were written to."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from doors import call

from profilectl.codes import Reject
from profilectl.stage.staged import Rejects


def rejects_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def rejected(folder: Path, *arguments: str) -> dict[str, Any]:
    done = call("import", *arguments, "--feed", "f", "--json", folder=folder)
    assert done.exit_code == 3, done.output
    return json.loads(done.stdout)


def test_rejects_are_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    # Too few cells is seen while reading, nobody and a wrong environment when rows are looked at together.
    (tmp_path / "b.csv").write_text("email,environment\n,\nx\na@example.com,\n,\ny\nc@example.com,nowhere\n")
    (tmp_path / "a.csv").write_text("email,environment\nz\n,\nd@example.com,elsewhere\nw\n")
    rejected(tmp_path, "b.csv", "a.csv", "--rejects", "r.jsonl", "--explain-rows", "e.jsonl", "--rejects-as-input", "mend.csv")
    order = [("b.csv", 2), ("b.csv", 3), ("b.csv", 5), ("b.csv", 6), ("b.csv", 7), ("a.csv", 2), ("a.csv", 3), ("a.csv", 4), ("a.csv", 5)]
    assert [(one["file"], one["line"]) for one in rejects_of(tmp_path, "r.jsonl")] == order
    assert [(one["file"], one["line"]) for one in rejects_of(tmp_path, "e.jsonl")] == order
    assert (tmp_path / "mend.csv").read_text() == "email,environment\n,\nx\n,\ny\nc@example.com,nowhere\nz\n,\nd@example.com,elsewhere\nw\n"
    import duckdb

    with duckdb.connect(str(tmp_path / "profiles.duckdb"), read_only=True) as store:
        assert store.execute("select file, line from reject order by rowid").fetchall() == order


def test_what_is_said_of_rows_is_in_the_order_of_lines_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("email,x\nnull,1\na@example.com,2\n,3\nb@example.com,4,5\nnull@null.com,7\n")
    (tmp_path / "b.jsonl").write_text('{"email":"c@example.com","t":{}}\n{"x":1}\n{"email":"d@example.com","user_attributes":{"a":[[1]]}}\n')
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
