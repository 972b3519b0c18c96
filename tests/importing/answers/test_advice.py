"""What next: the report of an import ends with advice, and every command in it works."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.doors import call, run_here

from profilectl.importing.answers.advice import (
    MOST_ADVICE,
    RULES,
    Facts,
    KeptApart,
    advice_of,
    joining_strategies,
    options_of,
)
from profilectl.importing.request import ImportRequest
from profilectl.rules.counts import Counts, ImportReport, SharedIdentity
from profilectl.rules.identity import STRATEGIES

REQUEST = ImportRequest(["crm.csv"], "crm")


def words(text: str) -> list[str]:
    """Return the words of a command as a shell reads them."""
    return shlex.split(text)


def made_report(**more: Any) -> ImportReport:
    report = ImportReport(
        number=3,
        feed="crm",
        source="csv",
        protection="create-and-update",
        environment="production",
        files=[],
    )
    report.counts.rows["read"] = 100
    for name, value in more.items():
        setattr(report, name, value)
    return report


def codes_of(report: ImportReport, facts: Facts) -> list[str]:
    return [piece.code for piece in advice_of(report, facts)]


def imported(folder: Path, *arguments: str) -> dict[str, Any]:
    process = call("import", *arguments, "--json", folder=folder)
    assert process.exit_code in (0, 3), process.output
    document: dict[str, Any] = json.loads(process.stdout)
    return document


def commands(document: dict[str, Any]) -> dict[str, list[str]]:
    return {piece["code"]: shlex.split(piece["command"]) for piece in document["advice"]}


def test_an_import_without_anything_odd_gives_no_advice(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,tier\n1,gold\n")
    assert imported(tmp_path, *words("a.csv --feed f"))["advice"] == []
    assert "What next" not in run_here(*words("import a.csv --feed g"), folder=tmp_path).stderr


# Rows that were kept apart


def two_numbers_each(folder: Path, column: str = "email", people: int = 5) -> None:
    """Write a file in which each person has two customer numbers and one other identity."""
    rows = [
        f"{number}{person},p{person}@example.com,x\n" for number in "ab" for person in range(people)
    ]
    (folder / "crm.csv").write_text(f"customer_id,{column},tier\n" + "".join(rows))


def test_rows_kept_apart_get_the_strategies_that_join_them_and_one_of_them(tmp_path: Path) -> None:
    two_numbers_each(tmp_path)
    document = imported(tmp_path, *words("crm.csv --feed crm"))
    (piece,) = document["advice"]
    assert piece["code"] == "STRATEGY"
    assert piece["text"].startswith("5 rows of 10 match somebody by email and were kept apart")
    assert "link, isolation or best-match" in piece["text"]
    assert "docs/strategies.md" in piece["text"]
    assert piece["command"] == "profilectl explain row crm.csv:7"
    process = run_here(*shlex.split(piece["command"])[1:], folder=tmp_path)
    assert process.returncode == 0
    assert "PROTECTED_MATCH" in process.stdout


@pytest.mark.parametrize("strategy", ["link", "isolation", "best-match"])
def test_each_strategy_that_is_named_joins_them(tmp_path: Path, strategy: str) -> None:
    two_numbers_each(tmp_path)
    (tmp_path / "rules.toml").write_text(f'[identity]\nstrategy = "{strategy}"\n')
    assert call("config", "apply", "rules.toml", folder=tmp_path).exit_code == 0
    document = imported(tmp_path, *words("crm.csv --feed crm"))
    assert document["profiles"]["created"] == 5
    assert document["advice"] == []


def test_by_a_telephone_number_only_best_match_joins(tmp_path: Path) -> None:
    two_numbers_each(tmp_path, "mobile_number")
    (piece,) = imported(tmp_path, *words("crm.csv --feed crm"))["advice"]
    assert "the strategy best-match joins" in piece["text"]
    assert joining_strategies("mobile_number", "link") == ["best-match"]
    assert joining_strategies("mobile_number", "best-match") == []
    assert set(joining_strategies("email", "default")) < set(STRATEGIES)


def test_few_rows_that_were_kept_apart_are_no_advice(tmp_path: Path) -> None:
    rows = [f"n{number},p{number}@example.com\n" for number in range(19)]
    (tmp_path / "crm.csv").write_text(
        "customer_id,email\n" + "".join([*rows, "m,p1@example.com\n"])
    )
    document = imported(tmp_path, *words("crm.csv --feed crm"))
    assert document["warnings"] == {"PROTECTED_MATCH": 1}  # 5 % of 20 rows, and no more
    assert document["advice"] == []


def test_a_dry_run_proposes_the_strategy(tmp_path: Path) -> None:
    two_numbers_each(tmp_path)
    document = imported(tmp_path, *words("crm.csv --feed crm --dry-run"))
    assert "would be kept apart" in document["advice"][0]["text"]
    assert commands(document)["STRATEGY"] == [
        "profilectl",
        "config",
        "set",
        'identity.strategy="link"',
    ]


# Identities that many rows share


def test_a_shared_identity_gets_the_line_that_makes_it_a_placeholder(tmp_path: Path) -> None:
    rows = "".join(f"{number},shop@example.com\n" for number in range(10))
    (tmp_path / "a.csv").write_text(f"other,email\n{rows}")
    document = imported(tmp_path, *words("a.csv --feed f"))
    setting = commands(document)["SHARED_IDENTITY"][-1]
    assert setting == 'identity.placeholders_add=["shop@example.com"]'
    section, _, value = setting.partition("=")
    # As TOML it does what it says: nobody is joined by it any more.
    (tmp_path / "rules.toml").write_text(f"{section} = {value}\n")
    assert call("config", "apply", "rules.toml", folder=tmp_path).exit_code == 0
    again = imported(tmp_path, *words("a.csv --feed g"))
    assert again["warnings"]["IDENTITY_PLACEHOLDER"] == 10
    assert again["advice"] == []


def test_nine_rows_are_no_advice_and_placeholders_that_are_there_stay() -> None:
    nine = made_report(shared=[SharedIdentity("email", "a@b.example", rows=9, profiles=5)])
    assert codes_of(nine, Facts(REQUEST)) == []
    ten = made_report(shared=[SharedIdentity("email", "a@b.example", rows=10, profiles=0)])
    (piece,) = advice_of(ten, Facts(REQUEST, placeholders_add=("x", "y")))
    assert shlex.split(piece.command)[-1] == ('identity.placeholders_add=["x", "y", "a@b.example"]')


def test_what_looks_like_nothing_comes_before_a_customer_with_many_rows() -> None:
    shared = [
        SharedIdentity("customer_id", "C17", rows=500, profiles=0),
        SharedIdentity("email", "noreply@b.example", rows=12, profiles=0),
        SharedIdentity("email", "ann@b.example", rows=40, profiles=0),
    ]
    (piece,) = advice_of(made_report(shared=shared), Facts(REQUEST))
    assert "noreply@b.example" in piece.text
    (piece,) = advice_of(made_report(shared=[shared[0], shared[2]]), Facts(REQUEST))
    assert "ann@b.example" in piece.text


def test_a_value_with_a_star_is_not_proposed_since_it_would_be_a_pattern() -> None:
    shared = [SharedIdentity("other", "*", rows=50, profiles=0)]
    (piece,) = advice_of(made_report(shared=shared), Facts(REQUEST))
    assert '["*"]' in piece.command  # stars alone are that text
    for value in ("*@example.com", "shop*", "a*b"):
        shared = [SharedIdentity("other", value, rows=50, profiles=0)]
        assert advice_of(made_report(shared=shared), Facts(REQUEST)) == []


# Rejects


def test_rejects_are_mended_and_imported_with_the_options_of_the_import(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_text("Mail;tier\nann@example.com;gold\n;silver\n")
    document = imported(tmp_path, *words("'a b.csv' --feed f --map Mail=email --delimiter ';'"))
    command = commands(document)["REJECTS"]
    rejects = tmp_path / "a b.csv.rejects.jsonl"
    rejects.write_text(rejects.read_text().replace('"raw":"', '"raw":"bob@example.com'))
    process = run_here(*command[1:], "--json", folder=tmp_path)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["rows"]["applied"] == 1


def test_rejects_in_the_form_of_the_input_are_imported_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("email,tier\n,silver\n")
    document = imported(tmp_path, *words("a.csv --feed f --rejects-as-input mend.csv"))
    assert commands(document)["REJECTS"] == ["profilectl", "import", "mend.csv", "--feed", "f"]


def test_a_dry_run_says_how_to_see_its_rejects(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("email,tier\n,silver\n")
    document = imported(tmp_path, *words("a.csv --feed f --dry-run"))
    process = run_here(*commands(document)["REJECTS"][1:], folder=tmp_path)
    assert process.returncode == 3
    assert "NO_IDENTITY" in (tmp_path / "rejects.jsonl").read_text()


def test_the_rejects_of_a_pipe_cannot_be_read_again(tmp_path: Path) -> None:
    process = run_here(
        *words('import - --feed f --format csv --json'), folder=tmp_path,
        stdin=b"email,tier\n,x\n",
    )  # fmt: skip
    assert json.loads(process.stdout)["advice"] == []


# What was left out


def test_attributes_left_out_are_named_with_the_command_that_says_why(tmp_path: Path) -> None:
    line = {"user_identities": {"email": "a@example.com"}, "user_attributes": {"a": {"b": 1}}}
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    document = imported(tmp_path, *words("a.jsonl --feed f"))
    (piece,) = document["advice"]
    assert piece["text"].startswith("left out of rows: a 1;")
    assert run_here(*commands(document)["LEFT_OUT"][1:], folder=tmp_path).returncode == 0
    assert "UA_UNSUPPORTED_TYPE" in (tmp_path / "explained.jsonl").read_text()


def test_columns_of_bytes_are_named_with_the_option_that_reads_them(tmp_path: Path) -> None:
    rows = {"email": ["a@example.com"], "photo": [b"gold"], "scan": [[b"tin"]]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    document = imported(tmp_path, *words("a.parquet --feed f"))
    (piece,) = document["advice"]
    assert piece["code"] == "LEFT_OUT"
    assert piece["text"] == "left out: columns photo, scan; read as text, they become attributes"
    process = run_here(*commands(document)["LEFT_OUT"][1:], folder=tmp_path)
    assert "photo: (none) -> gold" in process.stdout


WISHED = {
    # a file                                    how it is imported
    "customer_id,tier,,\n1,gold,,\n": "",
    "customer_id,tier\n1,gold\n": "--map tier=ignore",
    "customer_id,nonsense.tier\n1,gold\n": "--unknown ignore",
}


@pytest.mark.parametrize("content", WISHED)
def test_a_column_without_a_name_or_that_somebody_leaves_out_is_no_advice(
    content: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(content)
    assert imported(tmp_path, *words(f"a.csv --feed f {WISHED[content]}"))["advice"] == []


# The history


def test_the_import_before_the_one_that_lays_together_says_what_becomes_final(
    tmp_path: Path,
) -> None:
    (tmp_path / "rules.toml").write_text("[history]\nkeep = 2\n")
    assert call("config", "apply", "rules.toml", folder=tmp_path).exit_code == 0
    announced = None
    for number in range(1, 20):
        (tmp_path / "a.csv").write_text(f"customer_id,tier\n{number},gold\n")
        # In a process: that something becomes final is a warning, which is an error of a test.
        process = run_here("import", *words("a.csv --feed f --json"), folder=tmp_path)
        document = json.loads(process.stdout)
        pasts = json.loads(run_here("imports", "list", "--json", folder=tmp_path).stdout)
        final = [past["import"] for past in pasts if not past["undoable"]]
        if announced is not None:
            assert max(final) == announced
            break
        assert not final, "nothing becomes final without a word before"
        for piece in document["advice"]:
            assert piece["code"] == "NEXT_FINAL"
            assert piece["command"] == "profilectl config set history.keep=4"
            announced = next(n for n in range(1, 20) if f" import {n} final" in piece["text"])
    assert announced is not None


# All of it


def everything() -> tuple[ImportReport, Facts]:
    counts = Counts()
    counts.rows.update({"read": 100, "rejected": 3})
    counts.codes["PROTECTED_MATCH"] = 50
    counts.left_out["UA_UNSUPPORTED_TYPE", "tags"] = 4
    shared = [SharedIdentity("email", "a@b.example", rows=10, profiles=0)]
    report = made_report(counts=counts, shared=shared, rejects="crm.csv.rejects.jsonl")
    return report, Facts(REQUEST, kept_apart=KeptApart("email", "crm.csv:7"), next_final=2, keep=8)


def test_the_rules_are_in_the_order_of_importance_and_few() -> None:
    codes = codes_of(*everything())
    assert codes == ["SHARED_IDENTITY", "STRATEGY", "REJECTS", "LEFT_OUT", "NEXT_FINAL"]
    assert len(RULES) == MOST_ADVICE


def test_the_store_and_the_workspace_are_in_the_command_where_they_were_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_text("email,tier\n,silver\n")
    process = run_here(*words("--store o.duckdb import a.csv --feed f --json"), folder=tmp_path)
    (piece,) = json.loads(process.stdout)["advice"]
    assert piece["command"].startswith("profilectl --store o.duckdb import ")
    assert run_here(*shlex.split(piece["command"])[1:], folder=tmp_path).returncode == 3


def test_a_person_gets_it_last_and_quiet_and_json_do_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("email,tier\n,silver\n")
    process = run_here(*words("import a.csv --feed f"), folder=tmp_path)
    assert process.stderr.splitlines()[-3:] == [
        "What next:",
        "- 1 row was rejected: mend what is raw in a.csv.rejects.jsonl, then import that",
        "    profilectl import a.csv.rejects.jsonl --feed f",
    ]
    for again in ("import a.csv --feed f --again --json", "--quiet import a.csv --feed f --again"):
        assert "What next" not in run_here(*words(again), folder=tmp_path).stderr


def test_advice_is_not_remembered(tmp_path: Path) -> None:
    rows = "".join(f"{number},shop@example.com\n" for number in range(10))
    (tmp_path / "a.csv").write_text(f"other,email\n{rows}")
    assert imported(tmp_path, *words("a.csv --feed f"))["advice"]
    history = run_here(*words("imports show 1 --json"), folder=tmp_path).stdout
    assert "advice" not in history
    assert "shop@example.com" not in history


def test_a_plan_has_the_advice_of_its_dry_run_and_is_applied(tmp_path: Path) -> None:
    two_numbers_each(tmp_path)
    made = call(*words("plan crm.csv --feed crm -o p.plan --json"), folder=tmp_path)
    assert [piece["code"] for piece in json.loads(made.stdout)["report"]["advice"]] == ["STRATEGY"]
    process = call("apply", "p.plan", "--json", folder=tmp_path)
    assert process.exit_code == 0, process.output
    assert commands(json.loads(process.stdout))["STRATEGY"][1:3] == ["explain", "row"]


READ_AS = words("--delimiter ; --skip-lines 1 --map Mail=email --null - --source csv")


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ("--remember", []),
        ("", ["--delimiter=;", "--skip-lines=1", "--map=Mail=email", "--null=-"]),
    ],
)
def test_what_the_feed_remembers_is_left_out_of_the_command(
    tmp_path: Path, options: str, left: list[str]
) -> None:
    (tmp_path / "a.csv").write_text("Contacts\nMail;tier\nann@example.com;gold\n;silver\n")
    asked_for = [*words("a.csv --feed f --rejects-as-input mend.csv"), *READ_AS, *words(options)]
    command = commands(imported(tmp_path, *asked_for))["REJECTS"]
    assert command == [*words("profilectl import mend.csv --feed f"), *left]
    mend = tmp_path / "mend.csv"
    mend.write_text(mend.read_text().replace("\n;silver", "\nbob@example.com;silver"))
    process = run_here(*command[1:], "--json", folder=tmp_path)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["rows"]["applied"] == 1


def test_what_differs_from_what_the_feed_remembers_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Contacts\nMail;tier\nann@example.com;gold\n")
    imported(tmp_path, *words("a.csv --feed f --remember"), *READ_AS)
    (tmp_path / "b.csv").write_text("Mail,tier,Rank\nbob@example.com,gold,1\n,silver,2\n")
    options = words("--delimiter , --skip-lines 0 --map Rank=points --rejects-as-input mend.csv")
    command = commands(imported(tmp_path, *words("b.csv --feed f"), *options))["REJECTS"]
    assert command == words(
        "profilectl import mend.csv --feed f --delimiter=, --skip-lines=0 --map=Rank=points"
    )
    process = run_here(*command[1:], "--json", folder=tmp_path)
    assert json.loads(process.stdout)["reasons"] == {"NO_IDENTITY": 1}


def test_the_options_of_a_request_are_those_that_were_typed() -> None:
    request = ImportRequest(
        ["a.csv"], "-f", mapped=("A=email",), nulls=("\\N",), skip_lines=2, path_columns=True
    )
    assert options_of(request) == [
        "--feed=-f", "--skip-lines=2", "--map=A=email", "--null=\\N", "--path-columns",
    ]  # fmt: skip
