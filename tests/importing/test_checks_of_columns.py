"""Columns are checked as batches are: what a batch may not say, no cell, no flat row and no value
of Parquet may say.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from support.doors import call
from support.effort import spread_now

from profilectl.importing.stage.options import ReadingOptions
from profilectl.importing.stage.run import stage_files
from profilectl.importing.stage.source.files import Named, open_files
from profilectl.importing.stage.staged import Rejects, Staged
from profilectl.outputs.packing import parcels_of
from profilectl.rules.batch import Reading
from profilectl.rules.fields import UnusableRow, put_cell
from profilectl.rules.text.values import parse_json, to_json
from profilectl.store.scratch import Scratch

SAID = {"consented": True, "timestamp_unixtime_ms": 1_795_000_000_000}
CONSENT = "consent_state.gdpr.mkt"


def brought(
    folder: Path, name: str, text: str, *options: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Import a file; return the report and the rejects."""
    (folder / name).write_text(text)
    done = call("import", name, "--feed", "f", "--json", "--again", *options, folder=folder)
    assert done.exit_code in (0, 3), done.output
    report = json.loads(done.stdout)
    return report, [
        json.loads(line) for line in (folder / report["rejects"]).read_text().splitlines()
    ] if report["rejects"] else []


@pytest.mark.parametrize(("said", "detail"), [
    ({"consented": False},                                        f"{CONSENT}.timestamp_unixtime_ms is missing"),
    ({"timestamp_unixtime_ms": 1},                                f"{CONSENT}.consented is missing"),
    ({**SAID, "consented": None},                                 f"{CONSENT}.consented is missing"),
    ({**SAID, "consented": "TRUE"},                               f"{CONSENT}.consented must be true or false"),
    ({**SAID, "consented": 1},                                    f"{CONSENT}.consented must be true or false"),
    ({**SAID, "timestamp_unixtime_ms": "yesterday"},              f"{CONSENT}.timestamp_unixtime_ms must be a whole number of milliseconds"),
    ({**SAID, "timestamp_unixtime_ms": 1.5},                      f"{CONSENT}.timestamp_unixtime_ms must be a whole number of milliseconds"),
    (False,                                                       f"{CONSENT} must be an object"),
    (None,                                                        f"{CONSENT} is missing"),
    ({},                                                          f"{CONSENT}.consented is missing"),
])  # fmt: skip
def test_half_a_consent_in_a_batch_is_no_consent(tmp_path: Path, said: Any, detail: str) -> None:
    (tmp_path / "a.jsonl").write_text(
        json.dumps(
            {"user_identities": {"customer_id": "A"}, "consent_state": {"gdpr": {"mkt": said}}}
        )
        + "\n"
    )
    assert outcomes(tmp_path, "a.jsonl") == [("BATCH_INVALID", detail)]


def test_a_withdrawal_without_a_time_is_rejected_and_does_not_leave_consent_granted_in_silence(
    tmp_path: Path,
) -> None:
    brought(
        tmp_path,
        "1.jsonl",
        json.dumps(
            {"user_identities": {"customer_id": "A"}, "consent_state": {"gdpr": {"mkt": SAID}}}
        )
        + "\n",
    )
    report, (reject,) = brought(
        tmp_path,
        "2.jsonl",
        (
            '{"user_identities":{"customer_id":"A"},"consent_state":{"gdpr":{"mkt":{"consented":false}}}}\n'
            ""
        ),
    )
    assert (report["rows"]["rejected"], reject["code"]) == (1, "BATCH_INVALID")


def test_booleans_of_a_spreadsheet_are_booleans_and_no_is_none(tmp_path: Path) -> None:
    head = (
        f"customer_id,{CONSENT}.consented,{CONSENT}.timestamp_unixtime_ms,device_info.limit_ad_tracking,events.data.is_opted_out\n"
        ""
    )
    report, rejects = brought(
        tmp_path,
        "a.csv",
        head
        + (
            "B,TRUE,1795000000000,TRUE,\nC,no,1795000000000,1,\nD,0,1795000000000,False,\n"
            "E,,,2,\nF,,,,yes\nG,,,,TRUE\n"
        ),
    )
    assert (report["rows"]["applied"], report["rows"]["rejected"]) == (3, 3)
    assert [(one["line"], one["code"], one["message"].partition(": ")[2]) for one in rejects] == [
        (3, "BATCH_INVALID", f"{CONSENT}.consented must be true or false"),
        (5, "BATCH_INVALID", "device_info.limit_ad_tracking must be true or false"),
        (6, "BATCH_INVALID", "event 1: data.is_opted_out must be true or false"),
    ]
    whole = {
        one["user_identities"]["customer_id"][0]: one
        for one in map(
            json.loads, call("export", "profiles", "--whole", folder=tmp_path).stdout.splitlines()
        )
    }
    assert whole["B"]["consent_state"] == {"gdpr": {"mkt": SAID}}
    assert whole["D"]["consent_state"]["gdpr"]["mkt"]["consented"] is False
    assert (
        whole["B"]["limit_ad_tracking"],
        whole["D"]["limit_ad_tracking"],
        whole["G"]["is_opted_out"],
    ) == (True, False, True)


@pytest.mark.parametrize(("columns", "cells", "detail"), spread_now([
    (f"{CONSENT}.consented", "false", f"{CONSENT}.timestamp_unixtime_ms is missing"),
    (f"{CONSENT}.document", "v2", f"{CONSENT}.consented is missing"),
    (CONSENT, "true", f"{CONSENT} must be an object"),
    ("consent_state.gdpr", "true", "consent_state.gdpr must be an object"),
    ("device_info.att_authorization_status", "sure", (
"device_info.att_authorization_status must be authorized, denied, not_determined or"
" restricted"
)),
    ("attribution_info.campaign", "spring", "attribution_info.service_provider is missing"),
    ("api_keys.a", "k", "api_keys is an object"),
    ("events.event_type,events.data.is_opted_out.x", "opt_out,1", "event 1: data.is_opted_out must be true or false"),
    ("events.data.event_name.x", "1", "event 1: data.event_name is an object"),
    ("events.event_type,events.data.timestamp_unixtime_ms.x", "session_start,1", 'event 1: data.timestamp_unixtime_ms: '),
], 3))  # fmt: skip
def test_what_json_rejects_columns_reject(
    tmp_path: Path, columns: str, cells: str, detail: str
) -> None:
    names = ["customer_id", *columns.split(",")]
    values = ["A", *cells.split(",")]
    pyarrow.parquet.write_table(
        pa.table({name: [value] for name, value in zip(names, values, strict=True)}),
        tmp_path / "a.parquet",
    )
    (tmp_path / "a.csv").write_text(f"{','.join(names)}\n{','.join(values)}\n")
    (tmp_path / "a.jsonl").write_text(json.dumps(dict(zip(names, values, strict=True))) + "\n")
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        (found,) = outcomes(tmp_path, name)
        assert found[0] == "BATCH_INVALID", name
        assert found[1].startswith(detail), name


def test_consent_to_a_purpose_that_is_not_defined_is_left_out_before_it_is_looked_at(
    tmp_path: Path,
) -> None:
    (tmp_path / "c.toml").write_text('[consent]\ngdpr_purposes = ["known"]\n')
    assert call("config", "apply", "c.toml", folder=tmp_path).exit_code == 0
    flat = f'{{"customer_id":"A","{CONSENT}.consented":"maybe"}}\n'
    batch = (
        '{"user_identities":{"customer_id":"A"},"consent_state":{"gdpr":{"mkt":{"consented":"maybe"}}}}\n'
        ""
    )
    for name, text in (
        ("a.jsonl", flat),
        ("b.jsonl", batch),
        ("a.csv", f"customer_id,{CONSENT}.consented\nA,maybe\n"),
    ):
        report, rejects = brought(tmp_path, name, text)
        assert (rejects, report["reasons"]) == ([], {"CONSENT_PURPOSE_UNDEFINED": 1}), name


# Cells that are near to what they must be.
BOOLEANS = st.sampled_from(
    [
        "true",
        "false",
        "TRUE",
        "False",
        "1",
        "0",
        "yes",
        "2",
        "tRuE",
        " true",
        "1.0",
        "01",
        "\uff34RUE",
    ]
)
TIMES = st.sampled_from(
    ["1795000000000", "0", "-5", "007", "1.5", "1e3", "+5", " 5", "soon", "9" * 18, "9" * 19]
)
TEXTS = st.sampled_from(["x", "authorized", "denied", "é", '"', "null", "{}"])
COLUMNS = {
    f"{CONSENT}.consented": BOOLEANS,
    f"{CONSENT}.timestamp_unixtime_ms": TIMES,
    f"{CONSENT}.document": TEXTS,
    "consent_state.ccpa.data_sale_opt_out.consented": BOOLEANS,
    "consent_state.ccpa.data_sale_opt_out.timestamp_unixtime_ms": TIMES,
    "consent_state.ccpa.other.consented": BOOLEANS,
    "device_info.limit_ad_tracking": BOOLEANS,
    "device_info.att_authorization_status": st.sampled_from(
        ["authorized", "denied", "Denied", "no"]
    ),
    "device_info.brand": TEXTS,
    "attribution_info.service_provider": TEXTS,
    "attribution_info.publisher": TEXTS,
    "attribution_info.campaign": TEXTS,
    "partner_identities.p": TEXTS,
    "application_info.os": TEXTS,
    "api_keys.a": st.sampled_from(["k"]),
}
# Each column is rarely empty: half a statement must be as likely as a whole one.
flat_rows = st.lists(
    st.fixed_dictionaries(
        {name: st.one_of(cell, cell, st.none()) for name, cell in COLUMNS.items()}
    ),
    min_size=1,
    max_size=12,
)
names = st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=7, unique=True)
BOOLEAN_ENDS = ("consented", "limit_ad_tracking")


def as_batch(row: dict[str, str]) -> str:
    """Return a flat row as the batch that says the same."""
    batch: dict[str, Any] = {"user_identities": {"customer_id": "A"}}
    for name, cell in row.items():
        value: Any = cell
        if name.endswith(BOOLEAN_ENDS):
            value = {"true": True, "1": True, "false": False, "0": False}.get(cell.lower(), cell)
        elif name.endswith(".timestamp_unixtime_ms"):
            with contextlib.suppress(Exception):
                value = parse_json(cell)  # as a number where it is one
        put_cell(batch, name.split("."), value)
    return to_json(batch)


def outcomes(folder: Path, name: str) -> list[Any]:
    """Return for each row of a file the code it is rejected with, or the other fields it is kept
    with.
    """
    with (
        contextlib.closing(Scratch(folder)) as scratch,
        contextlib.closing(Rejects(folder / f"{name}.rejects")) as rejects,
    ):
        staged: Staged = stage_files(
            scratch,
            open_files([Named(str(folder / name))], format=None, encoding=None, spill=folder).files,
            ReadingOptions(reading=Reading()),
            rejects,
        )
        (file,) = staged.files
        found: dict[int, Any] = {}
        if "rest" in staged.plain:
            found = {
                seq: json.loads(rest) if rest else None
                for seq, rest in scratch.rows("select seq, rest from staged")
            }
        else:
            found = {seq: None for (seq,) in scratch.rows("select seq from staged")}
        for select in file.rejects:
            found |= {seq: (code, detail) for seq, code, detail in scratch.rows(select)}
        rejects.close()
        if rejects.path.exists():
            for reject in map(json.loads, rejects.path.read_text().splitlines()):
                found[reject["line"] - 1] = (reject["code"], reject["message"].partition(": ")[2])
    return [found[seq] for seq in sorted(found)]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(flat_rows, names)
def test_a_row_comes_to_the_same_as_csv_as_parquet_as_flat_json_and_as_a_batch(
    rows: list[dict[str, str | None]], names: list[str]
) -> None:
    note(json.dumps([{name: row[name] for name in names} for row in rows], ensure_ascii=False))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table = {
            "customer_id": ["A"] * len(rows),
            **{name: [row[name] for row in rows] for name in names},
        }
        pyarrow.parquet.write_table(
            pa.table({name: pa.array(cells, pa.string()) for name, cells in table.items()}),
            folder / "a.parquet",
        )
        cells = [
            [cell if cell is None else '"' + cell.replace('"', '""') + '"' for cell in row]
            for row in zip(*table.values(), strict=True)
        ]
        (folder / "a.csv").write_text(
            ",".join(table)
            + "\n"
            + "".join(",".join(cell or "" for cell in row) + "\n" for row in cells)
        )
        (folder / "flat.jsonl").write_text(
            "".join(
                json.dumps(dict(zip(table, row, strict=True))) + "\n"
                for row in zip(*table.values(), strict=True)
            )
        )
        (folder / "batch.jsonl").write_text(
            "".join(
                as_batch({name: cell for name in names if (cell := row[name]) is not None}) + "\n"
                for row in rows
            )
        )
        expected = outcomes(folder, "batch.jsonl")
        for name in ("flat.jsonl", "a.csv", "a.parquet"):
            assert outcomes(folder, name) == expected, name


def test_half_a_consent_is_not_pushed() -> None:
    batch = parse_json(
        '{"user_identities":{"customer_id":"A"},"consent_state":{"gdpr":{"mkt":{"consented":false}}}}'
    )
    with pytest.raises(UnusableRow) as refusal:
        parcels_of(batch, 0, lambda part, content: "id")
    assert (refusal.value.code, refusal.value.detail) == (
        "BATCH_INVALID",
        f"{CONSENT}.timestamp_unixtime_ms is missing",
    )


def test_booleans_of_parquet_are_booleans_whatever_their_type(tmp_path: Path) -> None:
    for name, cells in (
        ("bool", [True, False]),
        ("int", pa.array([1, 0], pa.int8())),
        ("text", ["TRUE", "0"]),
    ):
        pyarrow.parquet.write_table(
            pa.table({"customer_id": ["A", "B"], "device_info.limit_ad_tracking": cells}),
            tmp_path / f"{name}.parquet",
        )
        assert outcomes(tmp_path, f"{name}.parquet") == [
            {"device_info": {"limit_ad_tracking": True}},
            {"device_info": {"limit_ad_tracking": False}},
        ], name
    pyarrow.parquet.write_table(
        pa.table({"customer_id": ["A"], "device_info.limit_ad_tracking": [2]}),
        tmp_path / "two.parquet",
    )
    assert outcomes(tmp_path, "two.parquet") == [
        ("BATCH_INVALID", "device_info.limit_ad_tracking must be true or false")
    ]


def test_numbers_of_a_flat_row_are_booleans_too(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"customer_id":"A","device_info.limit_ad_tracking":1}\n'
        '{"customer_id":"A","device_info":"x","device_info.limit_ad_tracking":false}\n'
    )
    assert outcomes(tmp_path, "a.jsonl")[0] == {"device_info": {"limit_ad_tracking": True}}
