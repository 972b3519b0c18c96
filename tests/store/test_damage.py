"""A damaged store is said to be damaged, and a repair tells what it found."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
from support.doors import call, run_here


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
        done = run_here("check", folder=tmp_path)
        assert done.returncode in (0, 6), done.stderr
        assert "fault in profilectl" not in done.stderr
    (tmp_path / "profiles.duckdb").write_bytes(whole[: len(whole) // 2])
    for command in ("check", "stats", "export profiles"):
        done = run_here(*command.split(), folder=tmp_path)
        assert done.returncode == 6, (command, done.stderr)


def test_a_repair_tells_what_a_wrong_index_hid(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("customer_id,n\nA,1\nB,2\nC,3\n")
    assert call("import", "x.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    with duckdb.connect(str(tmp_path / "profiles.duckdb")) as store:
        store.execute("update row_1 set i_customer_id = 'A' where i_customer_id = 'B'")
    assert run_here("check", folder=tmp_path).returncode == 6
    done = run_here("check", "--repair", folder=tmp_path)
    assert done.returncode == 6
    assert "held by several profiles" in done.stdout + done.stderr


def test_a_store_without_its_secret_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("customer_id,n\nA,1\n")
    assert call("import", "x.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    with duckdb.connect(str(tmp_path / "profiles.duckdb")) as store:
        store.execute("delete from meta where name = 'secret'")
    done = run_here("check", folder=tmp_path)
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
    done = run_here("check", folder=tmp_path)
    assert done.returncode == 6
    assert "belong to no row that touched their profile" in done.stdout + done.stderr
