"""What was left out, and what is worth knowing, is named: in the report, in JSON, before an import
and row by row; --strict refuses it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.doors import call, run_here

LONG = "x" * 4097
WIDE = {f"c{n}": "v" for n in range(102)}
SHOP: list[dict[str, Any]] = [
    {
        "user_identities": {"customer_id": "A"},
        "user_attributes": {"properties": {"a": 1}, "tags": [["x"]], "bio": LONG},
    },
    {
        "user_identities": {"customer_id": "B"},
        "user_attributes": {"properties": {"a": 1}, "bio": "short"},
    },
]


def put_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))


def report_of(folder: Path, name: str, *options: str, exit: int = 0) -> dict[str, Any]:
    done = call("import", name, "--feed", "f", "--json", *options, folder=folder)
    assert done.exit_code == exit, done.output
    return json.loads(done.stdout)


def test_attributes_left_out_are_named_in_every_report(tmp_path: Path) -> None:
    put_lines(tmp_path / "a.jsonl", SHOP)
    named = {"UA_UNSUPPORTED_TYPE": {"properties": 2, "tags": 1}, "UA_VALUE_TOO_LONG": {"bio": 1}}
    assert (
        report_of(tmp_path, "a.jsonl", "--dry-run", "--explain-rows", "rows.jsonl")["left_out"]
        == named
    )
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(one["line"], one["code"], one["attribute"]) for one in rows] == [
        (1, "UA_UNSUPPORTED_TYPE", "properties"),
        (1, "UA_UNSUPPORTED_TYPE", "tags"),
        (1, "UA_VALUE_TOO_LONG", "bio"),
        (2, "UA_UNSUPPORTED_TYPE", "properties"),
    ]
    done = call("plan", "a.jsonl", "--feed", "f", "-o", "a.plan", folder=tmp_path)
    assert "properties 2, tags 1" in done.stdout
    assert "properties 2, tags 1" in call("plan", "show", "a.plan", folder=tmp_path).stdout
    assert json.loads((tmp_path / "a.plan").read_text())["report"]["left_out"] == named
    done = call("import", "a.jsonl", "--feed", "f", folder=tmp_path)
    lines = [line.strip() for line in done.stdout.splitlines()]
    place = next(n for n, line in enumerate(lines) if "3 UA_UNSUPPORTED_TYPE" in line)
    # below the code's sentence, which may be folded
    assert "properties 2, tags 1" in lines[place + 1 : place + 3]


def test_many_names_are_cut_so_that_a_line_fits(tmp_path: Path) -> None:
    names = [f"an attribute with a name of some length {n}" for n in range(12)]
    put_lines(
        tmp_path / "a.jsonl",
        [
            {
                "user_identities": {"customer_id": "A"},
                "user_attributes": {name: {} for name in names},
            }
        ],
    )
    done = call("import", "a.jsonl", "--feed", "f", folder=tmp_path)
    (line,) = [line for line in done.stdout.splitlines() if "more" in line]
    assert len(line) <= 80
    assert line.endswith(", and 10 more")
    put_lines(
        tmp_path / "b.jsonl",
        [
            {
                "user_identities": {"customer_id": "A"},
                "user_attributes": {f"k{n}": {} for n in range(12)},
            }
        ],
    )
    done = call("import", "b.jsonl", "--feed", "f", folder=tmp_path)
    assert "k0 1, k1 1, k10 1, k11 1, k2 1, and 7 more" in done.stdout


def test_what_a_wide_file_leaves_out_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        ",".join(["customer_id", *WIDE]) + "\n" + ",".join(["A", *WIDE.values()]) + "\n"
    )
    assert report_of(tmp_path, "a.csv")["left_out"] == {"UA_TOO_MANY": {"c100": 1, "c101": 1}}


def test_what_parquet_leaves_out_is_named(tmp_path: Path) -> None:
    pq.write_table(
        pa.table(
            {
                "customer_id": ["A"],
                "many": [["e"] * 1001],
                "long": [["x" * 513]],
                "nested": [[["x"]]],
            }
        ),
        tmp_path / "a.parquet",
    )
    assert report_of(tmp_path, "a.parquet")["left_out"] == {
        "UA_ENTRY_TOO_LONG": {"long": 1},
        "UA_LIST_TOO_LONG": {"many": 1},
        "UA_UNSUPPORTED_TYPE": {"nested": 1},
    }


@pytest.mark.slow
@pytest.mark.parametrize("loose", [False, True])
def test_attributes_refused_by_priority_are_named(tmp_path: Path, loose: bool) -> None:
    more = (
        [
            {
                "user_identities": {"customer_id": f"W{n}"},
                "user_attributes": {f"w{n}-{m}": "v" for m in range(100)},
            }
            for n in range(2)
        ]
        if loose
        else []
    )
    put_lines(
        tmp_path / "a.jsonl",
        [
            *more,
            {
                "user_identities": {"customer_id": "A"},
                "user_attributes": {"tier": "gold", "sizes": ["1"], "x": "1"},
            },
            {"user_identities": {"customer_id": "B"}, "user_attributes": {"tier": "gold"}},
        ],
    )
    report_of(tmp_path, "a.jsonl")
    rows = [
        {"user_identities": {"customer_id": one}, "user_attributes": {"tier": "new", "x": "2"}}
        for one in ("A", "B", "A")
    ]
    put_lines(tmp_path / "b.jsonl", [*more, *rows])
    done = call(
        "import", "b.jsonl", "--feed", "lower", "--source", "csv", "--json", folder=tmp_path
    )
    found = json.loads(done.stdout)
    assert (
        found["reasons"]["UA_LOWER_PRIORITY"],
        found["left_out"]["UA_LOWER_PRIORITY"]["tier"],
        found["left_out"]["UA_LOWER_PRIORITY"]["x"],
    ) == (3 + 200 * loose, 2, 1)
    put_lines(
        tmp_path / "c.jsonl",
        [
            *more,
            {"user_identities": {"customer_id": "A"}, "user_attributes": {"sizes": "1", "x": "3"}},
        ],
    )
    found = report_of(tmp_path, "c.jsonl")
    assert (found["warnings"], found["left_out"]) == (
        {"UA_KIND_CHANGED": 1},
        {"UA_KIND_CHANGED": {"sizes": 1}},
    )


def test_a_purpose_that_is_not_defined_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[consent]\ngdpr_purposes = ["known"]\n')
    call("config", "apply", "c.toml", folder=tmp_path)
    (tmp_path / "a.csv").write_text("customer_id,consent_state.gdpr.mkt.consented\nA,true\n")
    (tmp_path / "a.jsonl").write_text(
        '{"customer_id":"A","consent_state.gdpr.mkt.consented":true}\n'
    )
    for name in ("a.csv", "a.jsonl"):
        assert report_of(tmp_path, name)["left_out"] == {
            "CONSENT_PURPOSE_UNDEFINED": {"gdpr.mkt": 1}
        }


# A key both set and deleted, and reserved keys that nobody knows.
ODD: list[dict[str, Any]] = [
    {
        "user_identities": {"customer_id": "A"},
        "user_attributes": {"k": "1", "$plan": "p", "$firstname": "Bo"},
        "deleted_user_attributes": ["k", "gone"],
    },
    {"user_identities": {"customer_id": "B"}, "user_attributes": {"k": "1", "$plan": None}},
    {
        "user_identities": {"customer_id": "C"},
        "user_attributes": {"$plan": LONG, "k": LONG},
        "deleted_user_attributes": ["k"],
    },
]
ODD_NAMED = {
    "UA_RESERVED_UNKNOWN": {"$plan": 2},
    "UA_SET_AND_DELETED": {"k": 1},
    "UA_VALUE_TOO_LONG": {"$plan": 1, "k": 1},
}


def test_set_and_deleted_and_unknown_reserved_keys_are_warned_of(tmp_path: Path) -> None:
    put_lines(tmp_path / "a.jsonl", ODD)
    (tmp_path / "a.csv").write_text(
        "customer_id,k,$plan,$FIRSTNAME,deleted_user_attributes\n"
        f'A,1,p,Bo,"[""k"",""gone""]"\nB,1,x,,\nC,{LONG},{LONG},,k\n'
    )
    wide = ",".join(f"c{n}" for n in range(99))
    (tmp_path / "w.csv").write_text(
        f"customer_id,k,$plan,{wide},deleted_user_attributes\nA,1,p,{',' * 98},k\n"
        f"B,1,x,{',' * 98},\nC,{LONG},{LONG},{',' * 98},k\n"
    )
    for name in ("a.jsonl", "a.csv", "w.csv"):
        found = report_of(tmp_path, name)
        assert found["left_out"] == ODD_NAMED, name
        assert found["warnings"] == {"UA_RESERVED_UNKNOWN": 2, "UA_SET_AND_DELETED": 1}, name
    line = json.loads(
        call("export", "profiles", "--where", "customer_id = 'A'", folder=tmp_path).stdout
    )
    assert line["user_attributes"] == {"k": "1", "$plan": "p", "$FirstName": "Bo"}


def test_the_fast_way_counts_unknown_reserved_keys(tmp_path: Path) -> None:
    put_lines(
        tmp_path / "a.jsonl",
        [
            {
                "user_identities": {"customer_id": f"P{n}"},
                "user_attributes": {"$plan": "p", **({"$Other": "1"} if n % 2 else {})},
            }
            for n in range(10)
        ],
    )
    assert report_of(tmp_path, "a.jsonl")["left_out"] == {
        "UA_RESERVED_UNKNOWN": {"$plan": 10, "$Other": 5}
    }


# --strict


def test_strict_refuses_what_is_left_out_or_warned_of_and_writes_nothing(tmp_path: Path) -> None:
    put_lines(tmp_path / "a.jsonl", ODD)
    for command in (("import",), ("import", "--dry-run"), ("plan", "-o", "a.plan")):
        done = run_here(
            *command[:1], "a.jsonl", *command[1:], "--feed", "f", "--strict", folder=tmp_path
        )
        assert done.returncode == 4, done.stderr
        for said in (
            "2 UA_RESERVED_UNKNOWN ($plan 2; first at a.jsonl:1)",
            "1 UA_SET_AND_DELETED (k 1; first at a.jsonl:1)",
            "2 UA_VALUE_TOO_LONG ($plan 1, k 1; first at a.jsonl:3)",
        ):
            assert said in done.stderr, done.stderr
        assert not (tmp_path / "profiles.duckdb").exists()
        assert not (tmp_path / "a.plan").exists()


def test_strict_refuses_a_warning_of_resolution_and_registers_no_feed(tmp_path: Path) -> None:
    put_lines(
        tmp_path / "a.jsonl", [{"user_identities": {"customer_id": "A", "email": "a@example.com"}}]
    )
    report_of(tmp_path, "a.jsonl")
    put_lines(tmp_path / "b.jsonl", [{"user_identities": {"email": "a@example.com"}}])
    done = run_here("import", "b.jsonl", "--feed", "g", "--strict", folder=tmp_path)
    assert done.returncode == 4
    assert "1 PROTECTED_MATCH (first at b.jsonl:1)" in done.stderr
    assert [
        one["name"] for one in json.loads(call("feeds", "list", "--json", folder=tmp_path).stdout)
    ] == ["f"]
    assert len(call("export", "profiles", folder=tmp_path).stdout.splitlines()) == 1


def test_strict_lets_rejects_and_what_priority_refuses_pass(tmp_path: Path) -> None:
    put_lines(
        tmp_path / "a.jsonl",
        [{"user_identities": {"customer_id": "A"}, "user_attributes": {"x": "1"}}],
    )
    report_of(tmp_path, "a.jsonl", "--strict")
    put_lines(
        tmp_path / "b.jsonl",
        [
            {"user_identities": {"customer_id": "A"}, "user_attributes": {"x": "2"}},
            {"user_identities": {}},
        ],
    )
    done = call(
        "import", "b.jsonl", "--feed", "lower", "--source", "csv", "--strict", folder=tmp_path
    )
    assert done.exit_code == 3, done.output


def test_a_strict_plan_is_applied_strictly(tmp_path: Path) -> None:
    put_lines(
        tmp_path / "a.jsonl",
        [{"user_identities": {"customer_id": "A"}, "user_attributes": {"x": "1"}}],
    )
    assert (
        call(
            "plan", "a.jsonl", "--feed", "f", "--strict", "-o", "a.plan", folder=tmp_path
        ).exit_code
        == 0
    )
    assert json.loads((tmp_path / "a.plan").read_text())["request"]["strict"] is True
    assert call("apply", "a.plan", folder=tmp_path).exit_code == 0


def test_strict_says_where_consent_stands_that_does_not_count(tmp_path: Path) -> None:
    said = {"gdpr": {"mkt": {"consented": True, "timestamp_unixtime_ms": 5}}}
    put_lines(
        tmp_path / "a.jsonl",
        [
            {"user_identities": {"customer_id": "A"}},
            {"user_identities": {"customer_id": "A"}, "consent_state": said},
        ],
    )
    done = run_here(
        "import",
        "a.jsonl",
        "--feed",
        "p",
        "--source",
        "partner",
        "--strict",
        "--explain-rows",
        "rows.jsonl",
        folder=tmp_path,
    )
    assert done.returncode == 4
    assert "1 CONSENT_SOURCE_NOT_ALLOWED (first at a.jsonl:2)" in done.stderr
    (row,) = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    assert (row["line"], row["code"], row["fate"]) == (2, "CONSENT_SOURCE_NOT_ALLOWED", "warning")
