"""A statement of consent whose own time lies in the future counts, and is warned of: what is said
later would not count.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from support import doors
from support.doors import NOW_MS, by_command_line, by_interpreter, call, run_here
from support.effort import spread_now

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.rules.text.moments import written

DAY_MS = 86_400_000
TODAY_MS = time.time_ns() // 1_000_000
AHEAD_MS = (TODAY_MS // DAY_MS + 200) * DAY_MS


def batch(person: str, **purposes: int | None) -> dict[str, Any]:
    said = {
        purpose: {"consented": True, "timestamp_unixtime_ms": at_ms}
        for purpose, at_ms in purposes.items()
    }
    return {
        "user_identities": {"customer_id": person},
        **({"consent_state": {"gdpr": said}} if said else {}),
    }


def put(path: Path, *batches: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in batches))


def test_it_is_counted_named_and_placed(tmp_path: Path) -> None:
    put(
        tmp_path / "a.jsonl",
        batch("A", marketing=5),
        batch("B", marketing=AHEAD_MS, ads=AHEAD_MS),
        batch("C", marketing=AHEAD_MS),
    )
    done = run_here(
        "import",
        "a.jsonl",
        "--feed",
        "f",
        "--json",
        "--explain-rows",
        "rows.jsonl",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["warnings"] == {"CONSENT_FUTURE": 3}
    assert report["left_out"] == {"CONSENT_FUTURE": {"gdpr.marketing": 2, "gdpr.ads": 1}}
    (notice,) = (one for one in report["notices"] if "consent" in one)
    assert notice.startswith("a.jsonl:2: the time of a consent to gdpr.")
    assert written(AHEAD_MS, day=True) in notice
    assert "and 2 more" in notice
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert sorted(
        (row["line"], row["attribute"]) for row in rows if row["code"] == "CONSENT_FUTURE"
    ) == [(2, "gdpr.ads"), (2, "gdpr.marketing"), (3, "gdpr.marketing")]


def test_it_counts_and_a_later_one_does_not(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", batch("A", marketing=AHEAD_MS))
    denied = batch("A", marketing=NOW_MS - DAY_MS)
    denied["consent_state"]["gdpr"]["marketing"]["consented"] = False
    put(tmp_path / "b.jsonl", denied)
    for name in ("a.jsonl", "b.jsonl"):
        assert call("import", name, "--feed", "f", folder=tmp_path).exit_code == 0
    found = json.loads(call("export", "profiles", "--whole", folder=tmp_path).stdout)
    assert found["consent_state"]["gdpr"]["marketing"]["consented"] is True


def test_a_strict_import_refuses_it_and_says_where(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", batch("A"), batch("B", marketing=AHEAD_MS))
    done = run_here("import", "a.jsonl", "--feed", "f", "--strict", folder=tmp_path)
    assert done.returncode == 4
    assert "1 CONSENT_FUTURE (gdpr.marketing 1; first at a.jsonl:2)" in done.stderr


def test_columns_say_it_too(tmp_path: Path) -> None:
    path = "consent_state.ccpa.data_sale_opt_out"
    (tmp_path / "a.csv").write_text(
        f"customer_id,{path}.consented,{path}.timestamp_unixtime_ms\nA,true,{AHEAD_MS}\nB,true,5\n"
    )
    report = json.loads(
        call(
            "import", "a.csv", "--feed", "f", "--source", "custom-feed", "--json", folder=tmp_path
        ).stdout
    )
    assert (report["warnings"], report["left_out"]) == (
        {"CONSENT_FUTURE": 1},
        {"CONSENT_FUTURE": {"ccpa.data_sale_opt_out": 1}},
    )


@pytest.mark.parametrize(
    ("source", "protection", "codes"),
    spread_now(
        [
            ("custom-feed", "create-and-update", {"CONSENT_FUTURE": 2}),
            # it does not count, whenever it is of
            ("partner", "create-and-update", {"CONSENT_SOURCE_NOT_ALLOWED": 2}),
            ("custom-feed", "update-only", {}),
        ],
        3,
    ),
)
def test_the_interpreter_says_the_same(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    protection: str,
    codes: dict[str, int],
) -> None:
    monkeypatch.setattr(doors, "NOW_MS", TODAY_MS)
    rows = [
        batch("A", marketing=AHEAD_MS, ads=NOW_MS - 1),
        batch("B", marketing=AHEAD_MS),
        batch("C"),
    ]
    case = {
        "given": {"feeds": {"f": {"source": source, "protection": protection}}},
        "when": [{"feed": "f", "batches": rows}],
    }
    (by_one,), (by_sets,) = by_interpreter(case, tmp_path)[1], by_command_line(case, tmp_path)[1]
    assert by_one["warnings"] == by_sets["warnings"] == codes
    assert by_one["left_out"] == by_sets["left_out"]


def test_a_time_beyond_all_dates_is_told_as_it_is(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", batch("A", marketing=999_999_999_999_999_999))
    # as older versions took it
    report = import_files(
        tmp_path / "profiles.duckdb", ImportRequest([str(tmp_path / "a.jsonl")], "f", any_time=True)
    )
    assert any("999999999999999999 ms" in notice for notice in report.notices)


def test_a_row_of_parquet_is_placed_by_its_number(tmp_path: Path) -> None:
    consent = "consent_state.gdpr.marketing"
    columns = {
        "customer_id": ["A", "B"],
        f"{consent}.consented": [True, True],
        f"{consent}.timestamp_unixtime_ms": [5, AHEAD_MS],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")

    done = run_here("import", "a.parquet", "--feed", "f", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "a.parquet:2: the time of a consent to gdpr.marketing" in done.stderr
