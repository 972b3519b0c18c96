"""Whom each row is about: what a newcomer runs who changes resolve.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.conformance import cases_of, check_with_command_line
from support.doors import call
from support.packed_histories import check_pack, difference, pack_of

from profilectl.rules.sql.identities import HASH_BITS


@pytest.mark.parametrize("case", cases_of("resolve"))
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    check_with_command_line(case, tmp_path)


# Rows that make an anonymous profile known are counted and named (domain.md 4.3 note 8).

ROWS = "email,customer_id\na@example.com,\na@example.com,C1\na@example.com,C2\n"


def test_a_dry_run_and_the_import_count_and_name_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    counted = []
    for options in (["--dry-run"], ["--explain-rows", "rows.jsonl"]):
        done = call("import", "a.csv", "--feed", "crm", *options, "--json", folder=tmp_path)
        counted.append(json.loads(done.stdout)["warnings"])
    assert counted == [{"ANONYMOUS_MADE_KNOWN": 1, "PROTECTED_MATCH": 1}] * 2
    told = {
        one["code"]: one["line"]
        for one in map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    }
    assert told["ANONYMOUS_MADE_KNOWN"] == 3
    said = call("explain", "row", "a.csv:3", folder=tmp_path).stdout
    assert "ANONYMOUS_MADE_KNOWN: made an anonymous profile known" in said


def test_the_dry_run_shows_such_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    found = json.loads(
        call("import", "a.csv", "--feed", "crm", "--dry-run", "--json", folder=tmp_path).stdout
    )
    assert [one["line"] for one in found["examples"]["reasons"]["ANONYMOUS_MADE_KNOWN"]] == [3]
    assert (
        "ANONYMOUS_MADE_KNOWN"
        in call("import", "a.csv", "--feed", "crm", "--dry-run", folder=tmp_path).stdout
    )


def test_a_strict_import_may_make_people_known(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS.replace("a@example.com,C2\n", ""))
    assert call("import", "a.csv", "--feed", "crm", "--strict", folder=tmp_path).exit_code == 0


# Rows of few people (alike.py): Ann's and Bob's rows are alike; Cid's and Dan's share a number.
FEW = {"ann@example.com": "", "bob@example.com": "+1", "cid@example.com": "+2", "": "+2"}


def test_alike_rows_are_apart_and_of_one_profile_each(tmp_path: Path) -> None:
    lines = [f"{email},{mobile},{n}\n" for n in range(5) for email, mobile in FEW.items()]
    (tmp_path / "a.csv").write_text("email,mobile_number,visit\n" + "".join(lines))
    call("import", "a.csv", "--feed", "f", "--keep-scratch", "kept.duckdb", folder=tmp_path)
    with duckdb.connect(str(tmp_path / "kept.duckdb")) as kept:
        founders = kept.execute("select founder, count(*) from alike_row group by all").fetchall()
        assert sorted(founders) == [(0, 5), (1, 5)]
        assert kept.execute("select count(*) from sharing_row").fetchall() == [(10,)]
    for reader in ("ann@example.com", "bob@example.com", "cid@example.com"):
        done = call("show", reader, "--json", folder=tmp_path)
        (profile,) = json.loads(done.stdout)["profiles"]
        assert profile["user_attributes"] == {"visit": "4"}


def test_claims_that_are_looked_up_in_parts_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profilectl.importing.resolve.MANY_CLAIMS", 0)
    check_pack(pack_of(17, histories=100))
    # A part that is left out is missed: most people are made twice.
    monkeypatch.setattr("profilectl.importing.resolve.HASH_BITS", HASH_BITS - 2)
    assert difference(pack_of(17, histories=100))
