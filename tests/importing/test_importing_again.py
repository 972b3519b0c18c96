"""Made again: corrections after --replay, the same file by two processes, rejects in their own
encoding, damage.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
from support.doors import call, run


def people(folder: Path) -> dict[str, dict[str, object]]:
    lines = run("export", "profiles", folder=folder).stdout.splitlines()
    return {
        str(next(iter(one["user_identities"].values()), ["nobody"])[0]): one["user_attributes"]
        for one in map(json.loads, lines)
    }


def test_a_replayed_correction_is_about_the_person_it_named(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("customer_id,t\nA,1\n")
    (tmp_path / "two.csv").write_text("customer_id,u\nA,2\n")
    for name, feed in (("one.csv", "f"), ("two.csv", "g")):
        assert call("import", name, "--feed", feed, folder=tmp_path).exit_code == 0
    assert run("set", "--customer-id", "A", "tier=gold", folder=tmp_path).returncode == 0
    assert (
        run("modify", "--customer-id", "A", "--add", "email=a@x.io", folder=tmp_path).returncode
        == 0
    )
    for _ in range(2):  # what was made again can be made again
        number = next(
            one["import"]
            for one in json.loads(run("imports", "list", "--json", folder=tmp_path).stdout)
            if one["undone_ms"] is None
        )
        if number == 1:
            done = run("imports", "undo", "1", "--replay", "--yes", folder=tmp_path)
            assert done.returncode == 0, done.stderr
    assert people(tmp_path) == {"A": {"tier": "gold", "u": "2"}}


def test_a_correction_of_a_profile_that_is_no_more_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("customer_id,t\nA,1\n")
    assert call("import", "one.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    assert run("set", "--customer-id", "A", "tier=gold", folder=tmp_path).returncode == 0
    before = run("export", "profiles", folder=tmp_path).stdout
    done = run("imports", "undo", "1", "--replay", "--yes", folder=tmp_path)
    assert done.returncode == 4
    assert "import 2 cannot be made again: nobody has the customer_id A" in done.stderr
    assert run("export", "profiles", folder=tmp_path).stdout == before


def test_the_same_file_by_two_processes_is_imported_once(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "customer_id,n\n" + "".join(f"C{n},{n}\n" for n in range(40_000))
    )
    assert run("feeds", "add", "fx", folder=tmp_path).returncode == 0
    both = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "profilectl",
                "import",
                "x.csv",
                "--feed",
                "fx",
                "--json",
                "--wait",
                "60",
            ],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    reports = [json.loads(one.communicate(timeout=120)[0]) for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sorted((one["import"] or 0, one.get("already_imported") or 0) for one in reports) == [
        (0, 1),
        (1, 0),
    ]
    assert len(json.loads(run("imports", "list", "--json", folder=tmp_path).stdout)) == 1


def test_rejects_of_a_utf_16_file_are_a_utf_16_file(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_bytes("customer_id,name\n,Müller\nD,x\n,Third\n".encode("utf-16"))
    assert (
        run(
            "import",
            "u.csv",
            "--encoding",
            "utf-16",
            "--feed",
            "f",
            "--rejects-as-input",
            "m.csv",
            folder=tmp_path,
        ).returncode
        == 3
    )
    mended = (tmp_path / "m.csv").read_bytes()
    assert mended.decode("utf-16") == "customer_id,name\n,Müller\n,Third\n"
    (tmp_path / "m.csv").write_bytes(
        mended.decode("utf-16")
        .replace(",Müller", "E,Müller")
        .replace(",Third", "F,Third")
        .encode("utf-16")
    )
    assert (
        run("import", "m.csv", "--encoding", "utf-16", "--feed", "f", folder=tmp_path).returncode
        == 0
    )
    assert people(tmp_path) == {"D": {"name": "x"}, "E": {"name": "Müller"}, "F": {"name": "Third"}}


def test_a_reject_of_parquet_names_its_row(tmp_path: Path) -> None:
    duckdb.execute(
        f"copy (select * from (values (null, 'x'), ('A', 'y')) as t(customer_id, n)) to '{tmp_path}/a.parquet' (format parquet)"
    )
    assert run("import", "a.parquet", "--feed", "f", folder=tmp_path).returncode == 3
    reject = json.loads((tmp_path / "a.parquet.rejects.jsonl").read_text())
    assert (reject["row"], "line" in reject, json.loads(reject["raw"])) == (
        1,
        False,
        {"customer_id": None, "n": "x"},
    )


# Damage


def test_a_damaged_store_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "customer_id,n\n" + "".join(f"C{n},{n * 7919 % 10007}\n" for n in range(30_000))
    )
    assert call("import", "x.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    whole = (tmp_path / "profiles.duckdb").read_bytes()
    for place in range(20_000, len(whole), len(whole) // 6):
        (tmp_path / "profiles.duckdb").write_bytes(
            whole[:place]
            + bytes(255 - one for one in whole[place : place + 8])
            + whole[place + 8 :]
        )
        done = run("check", folder=tmp_path)
        assert done.returncode in (0, 6), done.stderr
        assert "fault in profilectl" not in done.stderr
    (tmp_path / "profiles.duckdb").write_bytes(whole[: len(whole) // 2])
    for command in ("check", "stats", "export profiles"):
        done = run(*command.split(), folder=tmp_path)
        assert done.returncode == 6, (command, done.stderr)


def test_a_repair_tells_what_a_wrong_index_hid(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("customer_id,n\nA,1\nB,2\nC,3\n")
    assert call("import", "x.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    with duckdb.connect(str(tmp_path / "profiles.duckdb")) as store:
        store.execute("update row_1 set i_customer_id = 'A' where i_customer_id = 'B'")
    assert run("check", folder=tmp_path).returncode == 6
    done = run("check", "--repair", folder=tmp_path)
    assert done.returncode == 6
    assert "held by several profiles" in done.stdout + done.stderr


def test_a_store_without_its_secret_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("customer_id,n\nA,1\n")
    assert call("import", "x.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    with duckdb.connect(str(tmp_path / "profiles.duckdb")) as store:
        store.execute("delete from meta where name = 'secret'")
    done = run("check", folder=tmp_path)
    assert done.returncode == 6
    assert "its secret is gone" in done.stderr


def test_a_cell_of_nobody_is_a_breach(tmp_path: Path) -> None:
    wide = ",".join(f"k{n}" for n in range(5))
    (tmp_path / "x.csv").write_text(f"customer_id,{wide}\nA,1,2,3,4,5\n")
    (tmp_path / "y.jsonl").write_text(
        json.dumps(
            {
                "user_identities": {"customer_id": "A"},
                "consent_state": {
                    "ccpa": {"data_sale_opt_out": {"consented": True, "timestamp_unixtime_ms": 1}}
                },
            }
        )
        + "\n"
    )
    assert call("import", "x.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    assert call("import", "y.jsonl", "--feed", "g", folder=tmp_path).exit_code == 0
    with duckdb.connect(str(tmp_path / "profiles.duckdb")) as store:
        store.execute("update rest_2 set profile = 123456")
    done = run("check", folder=tmp_path)
    assert done.returncode == 6
    assert "belong to no row that touched their profile" in done.stdout + done.stderr
