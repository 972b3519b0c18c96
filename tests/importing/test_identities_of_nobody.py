"""What is nobody's identity (design.md R13): marks of nothing, and numbers that a spreadsheet
spoiled, in every format.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from support.doors import call
from support.effort import first_now

from profilectl.rules.identity import BY_NAME, JUDGING, NO_JUDGING, PLACEHOLDERS, judging_of, usable

MARKS = (
    "\\N",
    "<NA>",
    "NaT",
    "#N/A",
    "#REF!",
    "#VALUE!",
    "#NAME?",
    "#DIV/0!",
    "#NULL!",
    "#NUM!",
    "[NULL]",
    "NA",
    "-",
    "nan",
    "undefined",
    "[object Object]",
    "NoEmail@example.com",
    "none@x.org",
    "null",
    "(null)",
    "N/A",
    "Unknown",
    "test@test.com",
    " NULL\t",
    "\\n",
)
SPOILED = (
    "4.47701E+11",
    "4,47701E+11",
    "4.4770090012e+11",
    "4E+11",
    "-1.5E7",
    "447700900123.0",
    "17850.0",
    "447700900123.00",
    "+12.0",
)
SOMEBODYS = (
    "1234E56",
    "12e5",
    "12e-5",
    "0447700900123",
    "+447700900123",
    "447700900123",
    "1.2.0",
    "10.5",
    "447,0",
    "A4.47701E+11",
    "1.000",
    "E+11",
    "00",
    "n",
    "N.A",
    "--",
)


@pytest.mark.parametrize("mark", [*MARKS, *PLACEHOLDERS])
def test_a_mark_of_nothing_is_nobodys_identity_of_any_type(mark: str) -> None:
    mark = mark.replace("*", "example.org")
    assert usable(BY_NAME["email"], mark, JUDGING) == "IDENTITY_PLACEHOLDER"
    assert usable(BY_NAME["customer_id"], mark.upper(), JUDGING) == "IDENTITY_PLACEHOLDER"


def test_a_spoiled_number_is_nobodys_and_what_could_be_an_id_is_somebodys() -> None:
    for kind in ("mobile_number", "customer_id", "other", "facebook", "android_uuid"):
        assert [usable(BY_NAME[kind], value, JUDGING) for value in SPOILED] == [
            "IDENTITY_SPOILED"
        ] * len(SPOILED)
        assert [
            value for value in SOMEBODYS if isinstance(usable(BY_NAME[kind], value, JUDGING), str)
        ] == []
        assert [
            value for value in SPOILED if isinstance(usable(BY_NAME[kind], value, NO_JUDGING), str)
        ] == []
    assert not isinstance(usable(BY_NAME["email"], SPOILED[0], JUDGING), str), (
        "an e-mail never was a number"
    )


def written(folder: Path, format: str, rows: list[dict[str, str]]) -> str:
    """Write rows of identities in a format and return the file's name."""
    name = f"rows.{format.partition(' ')[0]}"
    if format == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        (folder / name).write_text(out.getvalue(), "utf-8")
    elif format == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)
    else:
        shape = {
            "jsonl flat": lambda row: row,
            "jsonl": lambda row: {"user_identities": row},
            "jsonl slow": lambda row: {"user_identities": row, "user_attributes": {"n": 1.50}},
        }[format]
        (folder / name).write_text(
            "".join(json.dumps(shape(row), ensure_ascii=False) + "\n" for row in rows), "utf-8"
        )
    return name


def imported(folder: Path, name: str, *options: str) -> dict[str, Any]:
    done = call("import", name, "--feed", "f", "--json", *options, folder=folder)
    assert done.exit_code in (0, 3), done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "format", first_now(["csv", "jsonl", "parquet", "jsonl flat", "jsonl slow"], 2)
)
def test_what_is_nobodys_joins_nobody_in_any_format(format: str, tmp_path: Path) -> None:
    rows = [
        {
            "email": f"{place}{side}@example.com",
            "mobile_number": value,
            "customer_id": f"{place}{side}",
        }
        for place, value in enumerate((*MARKS, *SPOILED))
        for side in "ab"
    ]
    name = written(
        tmp_path,
        format,
        [
            *rows,
            {"email": "None@example.com", "mobile_number": "4.47701E+11", "customer_id": "\\N"},
        ],
    )
    report = imported(tmp_path, name)
    assert report["profiles"]["created"] == len(rows)
    assert report["reasons"] == {"NO_IDENTITY": 1}
    assert report["warnings"] == {
        "IDENTITY_PLACEHOLDER": 2 * len(MARKS),
        "IDENTITY_SPOILED": 2 * len(SPOILED),
    }
    (tmp_path / "profiles.duckdb").unlink()
    report = imported(tmp_path, name, "--allow-spoiled")
    assert report["warnings"] == {
        "IDENTITY_PLACEHOLDER": 2 * len(MARKS) + 2,
        "PROTECTED_MATCH": len(SPOILED) + 1,
    }
    assert report["rows"]["rejected"] == 0
    assert call("show", "--identity", "mobile_number=4.47701E+11", folder=tmp_path).exit_code == 0


def test_whoever_has_a_spoiled_identity_is_found_by_it_and_can_be_forgotten(tmp_path: Path) -> None:
    name = written(
        tmp_path, "csv", [{"mobile_number": "4.47701E+11"}, {"mobile_number": "447700900123.0"}]
    )
    imported(tmp_path, name, "--allow-spoiled")
    (tmp_path / "list.txt").write_text("4.47701E+11\n")
    for arguments in (
        ("show", "--mobile-number", "447700900123.0"),
        ("search", "4.477"),
        ("search", "--where", "mobile_number = '4.47701E+11'"),
        ("explain", "--mobile-number", "447700900123.0"),
        ("forget", "--file", "list.txt", "--type", "mobile_number", "--yes"),
    ):
        assert call(*arguments, folder=tmp_path).exit_code == 0, arguments
    assert '"found":true' in _lookup(tmp_path, "447700900123.0")
    assert '"found":false' in _lookup(tmp_path, "4.47701E+11")
    assert imported(tmp_path, name, "--allow-spoiled", "--again")["reasons"] == {"SUPPRESSED": 1}
    assert imported(tmp_path, name, "--again")["reasons"] == {"NO_IDENTITY": 2}


def _lookup(folder: Path, value: str) -> str:
    (folder / "list.txt").write_text(f"{value}\n")
    return call("lookup", "list.txt", "--type", "mobile_number", folder=folder).stdout


def test_an_erased_mark_of_nothing_keeps_nobody_out_and_clears_no_reject(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text('[identity]\nplaceholders = ["x"]\n')
    (tmp_path / "new.toml").write_text("[identity]\n")
    assert call("config", "apply", "old.toml", folder=tmp_path).exit_code == 0
    written(
        tmp_path,
        "csv",
        [{"email": "-", "customer_id": "C-1"}, {"email": "none", "customer_id": "C-2"}],
    )
    assert imported(tmp_path, "rows.csv")["profiles"]["created"] == 2
    # '-' was somebody's then
    assert call("forget", "--customer-id", "C-1", "--yes", folder=tmp_path).exit_code == 0
    assert (
        call(*["config", "apply", "new.toml", "--prune", "--yes"], folder=tmp_path).exit_code == 0
    )
    written(
        tmp_path,
        "csv",
        [{"email": "-", "customer_id": "C-3"}, {"email": "none", "customer_id": "C-4"}],
    )
    assert imported(tmp_path, "rows.csv")["reasons"] == {}
    (tmp_path / "bad.csv").write_text("email,customer_id,mpid\n-,,0\nnone,,0\n")
    imported(tmp_path, "bad.csv")
    # 'none' is nobody's now
    assert call("forget", "--customer-id", "C-2", "--yes", folder=tmp_path).exit_code == 0
    import duckdb

    with duckdb.connect(str(tmp_path / "profiles.duckdb"), read_only=True) as store:
        assert store.execute("select raw from reject order by line").fetchall() == [
            ("-,,0",),
            ("none,,0",),
        ]
    assert call("config", "apply", "old.toml", folder=tmp_path).exit_code == 0
    written(tmp_path, "csv", [{"email": "none", "customer_id": "C-5"}])
    assert imported(tmp_path, "rows.csv")["reasons"] == {}


def test_the_list_is_replaced_extended_and_written_back(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        '[identity]\nplaceholders_add = ["Gast@*", "*@nowhere.test", "***"]\n'
    )
    assert call("config", "apply", "a.toml", folder=tmp_path).exit_code == 0
    rows = [
        {"email": value, "customer_id": str(place)}
        for place, value in enumerate(
            ("gast@x.de", "A@NOWHERE.test", "***", "null", "gastwirt@x.de")
        )
    ]
    assert imported(tmp_path, written(tmp_path, "csv", rows))["warnings"] == {
        "IDENTITY_PLACEHOLDER": 4
    }
    (tmp_path / "b.toml").write_text(call("config", "export", folder=tmp_path).stdout)
    assert call("config", "apply", "b.toml", folder=tmp_path).stdout.strip() in (
        "",
        "nothing changed",
    )
    (tmp_path / "c.toml").write_text('[identity]\nplaceholders = ["x"]\nplaceholders_add = ["y"]\n')
    assert call("config", "apply", "c.toml", folder=tmp_path).exit_code == 0
    listed = json.loads(call("explain", "rules", "--json", folder=tmp_path).stdout)["identity"][
        "placeholders"
    ]
    assert listed == ["x", "y"]


@pytest.mark.parametrize("entry", ["a*b", "**x", " ", "*a*"])
def test_a_placeholder_that_cannot_be_is_refused_with_what_can(entry: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(f'[identity]\nplaceholders_add = ["{entry}"]\n')
    done = call("config", "apply", "a.toml", folder=tmp_path)
    assert "identity.placeholders_add" in str(done.exception)
    assert not (tmp_path / "profiles.duckdb").exists() or not call(
        "config", "export", folder=tmp_path
    ).stdout.count("*")


def test_entries_of_a_list_mean_what_they_say() -> None:
    judging = judging_of(["NULL", "none@*", "*@x.org", "*", "**", "a*b", " ΝΙΚΟΣ "])
    assert judging.exact == {"null", "*", "**", "a*b", "νικος"}
    assert (judging.beginnings, judging.endings) == (("none@",), ("@x.org",))
    assert judging.listed == sorted(["null", "*", "**", "a*b", "νικος", "none@*", "*@x.org"])


def test_an_import_from_before_spoiled_numbers_were_known_is_made_again_as_it_was(
    tmp_path: Path,
) -> None:
    import duckdb

    (tmp_path / "first.csv").write_text("email\nada@example.com\n")
    imported(tmp_path, "first.csv")
    imported(
        tmp_path, written(tmp_path, "csv", [{"mobile_number": "4.47701E+11"}]), "--allow-spoiled"
    )
    with duckdb.connect(str(tmp_path / "profiles.duckdb")) as store:
        (kept,) = store.execute("select request from import where number = 2").fetchone() or ("",)
        request = json.loads(kept)
        del request["allow_spoiled"]
        store.execute("update import set request = $1 where number = 2", [json.dumps(request)])
    done = call("imports", "undo", "1", "--replay", "--yes", folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert call("show", "--mobile-number", "4.47701E+11", folder=tmp_path).exit_code == 0
