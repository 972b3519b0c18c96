"""Times outside 1970 to a year ahead are stated by no row; what a store holds of before that rule
harms nobody.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.doors import NOW_MS, call
from support.effort import spread_now

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.importing.undo import undo_import
from profilectl.rules.batch import Reading, read_document
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.moments import AHEAD_MS, DAY_MS, latest_ms
from profilectl.rules.text.values import parse_json

YEAR_292277026 = 2**63 - 1
LAST_MS = latest_ms(NOW_MS)
TIMES = [
    -(2**63),
    -62_135_596_800_001,
    -1,
    0,
    NOW_MS,
    LAST_MS,
    LAST_MS + 1,
    253_402_300_800_000,
    9_223_372_036_854_776,
    YEAR_292277026,
]
"""Before any date, before 1970, the edges, after any date, beyond what microseconds of 64 bits
hold.
"""
INSIDE = [0, NOW_MS, LAST_MS]


def event(at_ms: int) -> dict[str, Any]:
    return {
        "event_type": "custom_event",
        "data": {"event_name": "buy", "custom_event_type": "other", "timestamp_unixtime_ms": at_ms},
    }


def consent(at_ms: int) -> dict[str, Any]:
    return {"gdpr": {"marketing": {"consented": True, "timestamp_unixtime_ms": at_ms}}}


PLACES = {
    "its own": lambda at_ms: {"timestamp_unixtime_ms": at_ms},
    "of an event": lambda at_ms: {"events": [event(5), event(at_ms)]},
    "of an event of a rare kind": lambda at_ms: {
        "events": [{"event_type": "push_reaction", "data": {"timestamp_unixtime_ms": at_ms}}]
    },
    "of consent": lambda at_ms: {"consent_state": consent(at_ms)},
    "of a device": lambda at_ms: {"device_info": {"att_timestamp_unixtime_ms": at_ms}},
}


def imported(folder: Path, name: str, **more: Any) -> tuple[int, list[tuple[str, str]]]:
    """Import a file; return how many rows were applied, and the code and the message of each that
    was not.
    """
    rejects = folder / f"{name}.rejects"
    done = import_files(
        folder / "profiles.duckdb",
        ImportRequest(
            [str(folder / name)], "f", now_ms=NOW_MS, again=True, rejects=str(rejects), **more
        ),
    )
    lines = rejects.read_text().splitlines() if rejects.exists() else []
    return done.counts.rows["applied"], [
        (one["code"], one["message"]) for one in map(json.loads, lines)
    ]


@pytest.mark.parametrize("place", spread_now(PLACES, 3))
def test_a_time_that_cannot_be_is_rejected_with_its_row(place: str, tmp_path: Path) -> None:
    times = [at_ms for at_ms in TIMES if place != "of consent" or abs(at_ms) < 10**18]
    rows = [
        {
            "user_identities": {"customer_id": f"C{n}"},
            "user_attributes": {"a": 1},
            **PLACES[place](at_ms),
        }
        for n, at_ms in enumerate(times)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    outside = [at_ms for at_ms in times if at_ms not in INSIDE]
    for name in ("a.jsonl", "a.json"):
        applied, rejects = imported(tmp_path, name)
        assert applied == len(INSIDE), name
        assert {code for code, _ in rejects} == {"TIMESTAMP_INVALID"}, name
        assert sorted(int(message.rpartition(": ")[2]) for _, message in rejects) == sorted(
            outside
        ), name
    by_rule = []
    for row in rows:
        try:
            read_document(parse_json(json.dumps(row)), Reading(latest_ms=LAST_MS))
        except UnusableRow as error:
            by_rule.append((error.code, error.detail))
    assert [code for code, _ in by_rule] == ["TIMESTAMP_INVALID"] * len(outside)
    (tmp_path / "a.jsonl.rejects").unlink()
    details = [message.partition("ahead: ")[2] for _, message in imported(tmp_path, "a.jsonl")[1]]
    assert details == [detail for _, detail in by_rule], "engine and interpreter say the same"


def test_columns_of_times_are_held_to_the_rule(tmp_path: Path) -> None:
    names = [
        "customer_id",
        "timestamp_unixtime_ms",
        "events.data.event_name",
        "events.data.timestamp_unixtime_ms",
        "consent_state.gdpr.m.consented",
        "consent_state.gdpr.m.timestamp_unixtime_ms",
    ]
    rows = [
        ["own", "-1", "", "", "", ""],
        ["event", "", "buy", str(YEAR_292277026), "", ""],
        ["consent", "", "", "", "true", "99999999999999"],
        ["good", str(LAST_MS), "buy", "0", "true", str(NOW_MS)],
        ["silent", "", "", "", "", ""],
        ["x", "tomorrow", "", "", "", ""],
    ]
    (tmp_path / "a.csv").write_text("".join(",".join(row) + "\n" for row in [names, *rows]))
    applied, rejects = imported(tmp_path, "a.csv")
    assert applied == 2
    assert [code for code, _ in rejects] == ["TIMESTAMP_INVALID"] * 4
    flat = [
        {
            name: (int(cell) if cell.lstrip("-").isdecimal() else cell)
            for name, cell in zip(names, row, strict=True)
            if cell
        }
        for row in rows
    ]
    (tmp_path / "flat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in flat))
    assert imported(tmp_path, "flat.jsonl", unknown="attribute")[1] == rejects


def test_typed_times_of_parquet_are_held_to_the_rule(tmp_path: Path) -> None:
    duckdb.connect().execute(
        "copy (select * from (values ('A', timestamp '1969-12-31 23:59:59'), ('B',"
        " timestamp '2020-01-01'), ('C', timestamp '290000-01-01'), ('D', null))"
        f" as one(customer_id, timestamp_unixtime_ms)) to '{tmp_path / 'a.parquet'}'"
    )
    applied, rejects = imported(tmp_path, "a.parquet")
    assert (applied, [code for code, _ in rejects]) == (2, ["TIMESTAMP_INVALID"] * 2)


def test_the_year_ahead_is_counted_from_the_moment_an_import_began(tmp_path: Path) -> None:
    """What was taken once is taken again by an undo that makes it again, and what was not is not."""
    path = tmp_path / "profiles.duckdb"
    for number, now_ms in enumerate((NOW_MS, NOW_MS + DAY_MS)):
        file = tmp_path / f"{number}.jsonl"
        file.write_text(
            json.dumps(
                {
                    "customer_id": "A",
                    "timestamp_unixtime_ms": NOW_MS + AHEAD_MS + DAY_MS // 2,
                    f"k{number}": 1,
                }
            )
            + "\n"
        )
        done = import_files(
            path, ImportRequest([str(file)], "f", now_ms=now_ms, rejects=str(tmp_path / "rejects"))
        )
        assert done.counts.rows["rejected"] == 1 - number
    (tmp_path / "first.jsonl").write_text('{"customer_id": "B"}\n')
    undo_import(path, 1, replay=True)
    people = [
        json.loads(line) for line in call("export", "profiles", folder=tmp_path).stdout.splitlines()
    ]
    assert [one["user_attributes"] for one in people] == [{"k1": 1}]


def test_an_import_of_before_the_rule_is_made_again_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "profiles.duckdb"
    for number, at_ms in enumerate((5, YEAR_292277026)):
        file = tmp_path / f"{number}.jsonl"
        file.write_text(
            json.dumps({"customer_id": f"C{number}", "timestamp_unixtime_ms": at_ms}) + "\n"
        )
        import_files(path, ImportRequest([str(file)], "f", any_time=True))
    with duckdb.connect(str(path)) as store:  # as an older version left it
        store.execute("update import set request = replace(request, ',\"any_time\":true', '')")
        assert store.execute(
            "select count(*) from import where request like '%any_time%'"
        ).fetchone() == (0,)
    undo_import(path, 1, replay=True)
    people = [
        json.loads(line) for line in call("export", "profiles", folder=tmp_path).stdout.splitlines()
    ]
    assert [(one["user_identities"], one["last_seen_ms"]) for one in people] == [
        ({"customer_id": ["C1"]}, YEAR_292277026)
    ]


def test_the_window_of_an_alias_is_held_to_the_rule(tmp_path: Path) -> None:
    for start, end in (
        ("1960-01-01", "1960-02-01"),
        ("2960-01-01", "2960-02-01"),
        ("1969-12-01", "1970-02-01"),
    ):
        done = call("alias", "--from=1", "--to=2", "--start", start, "--end", end, folder=tmp_path)
        assert "TIMESTAMP_INVALID" in str(done.exception)


def test_a_request_of_a_time_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(
        json.dumps(
            {
                "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
                "subject_request_type": "access",
                "regulation": "gdpr",
                "submitted_time": "0001-01-01T00:00:00+14:00",
                "subject_identities": {"controller_customer_id": {"value": "A", "encoding": "raw"}},
            }
        )
    )
    done = call("privacy", "request", "r.json", folder=tmp_path)
    assert "submitted_time must lie from 1970 to a year ahead" in str(done.exception)


def old_store(folder: Path) -> None:
    """Make a store as it was left before the rule: with every time that 64 bits hold."""
    rows = []
    for n, at_ms in enumerate(TIMES):
        said = max(min(at_ms, 10**18 - 1), 1 - 10**18)
        opt_out = {
            "event_type": "opt_out",
            "data": {"is_opted_out": n % 2 == 0, "timestamp_unixtime_ms": at_ms},
        }
        rows.append(
            {
                "user_identities": {"customer_id": f"C{n}", "email": f"c{n}@example.com"},
                "timestamp_unixtime_ms": at_ms,
                "user_attributes": {"tier": str(at_ms)},
                "device_info": {"ios_idfv": f"0a0a0a0a-1111-2222-3333-44444444444{n}"},
                "consent_state": consent(said),
                "events": [event(at_ms), opt_out],
                "attribution_info": {"service_provider": "a", "publisher": "b", "campaign": "c"},
            }
        )
        rows.append(
            {"user_identities": {"customer_id": f"C{n}"}, "user_attributes": {"again": "1"}}
        )
    (folder / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_files(
        folder / "profiles.duckdb", ImportRequest([str(folder / "old.jsonl")], "f", any_time=True)
    )


def test_usage_tells_a_time_that_no_month_has_as_it_is(tmp_path: Path) -> None:
    """The milliseconds were multiplied beyond 64 bits, which ended the command for every month."""
    old_store(tmp_path)
    told = json.loads(call("usage", "--json", folder=tmp_path).stdout)
    months = [one["month"] for one in told["months"]]
    assert sum(one["batches"] for one in told["months"]) == 2 * len(TIMES)
    assert {"1970-01", "1969-12", f"{YEAR_292277026} ms", f"{-(2**63)} ms"} <= set(months)


COMMANDS = [
    ["calculated", "add", "buys", "--type", "count", "--event", "buy", "--within", "30 days"],
    ["calculated", "add", "last", "--type", "last_timestamp", "--event", "buy"],
    [
        "calculated",
        "add",
        "first",
        "--type",
        "first_value",
        "--of",
        "x",
        "--event",
        "buy",
        "--since",
        "2020-01-01",
    ],
    ["calculated", "recalculate"],
    ["audiences", "add", "a1", "count(event 'buy' within 30d) >= 1"],
    ["audiences", "add", "a2", "first_seen within 7 days or last_seen before '2000-01-01'"],
    ["audiences", "refresh"],
    ["audiences", "refresh", "--now", "9999-12-31"],
    ["audiences", "members", "a2"],
    ["audiences", "diff", "a2"],
    *(
        ["show", "--customer-id", f"C{n}", *more]
        for n in (0, len(TIMES) - 1)
        for more in ([], ["--json"])
    ),
    ["access", "--customer-id", f"C{len(TIMES) - 1}", "-o", "j.json", "--html", "h.html"],
    ["explain", "--customer-id", "C0", "--attribute", "tier"],
    ["stats"],
    ["usage"],
    ["usage", "--rows"],
    ["search", "C"],
    ["events"],
    ["events", "--since", "2020-01-01", "--json"],
    ["stream"],
    ["diff", "1"],
    ["imports", "show", "1"],
    ["check"],
    *(
        ["export", what, "--format", form, "-o", f"{what}.{form}"]
        for what in ("profiles", "identities", "attributes", "imports")
        for form in ("jsonl", "csv", "parquet")
    ),
    ["export", "profiles", "--whole", "-o", "whole.jsonl"],
    ["export", "batches", "-o", "batches.jsonl"],
    ["push", "--events", "--dry-run", "r.jsonl"],
    ["push", "--dry-run", "r2.jsonl"],
    ["push", "--events", "--historical-after", "72", "--dry-run", "r3.jsonl"],
    ["config", "apply", "o.toml"],
    ["forward"],
    ["outbox", "list"],
    ["set", "--customer-id", "C0", "tier=x"],
    ["modify", "--customer-id", "C0", "--add", "other=z"],
    ["backup", "b.duckdb"],
    ["compact", "--yes"],
    ["retention", "set", "--lifetime-days", "90", "--retention-days", "730"],
    ["retention", "apply", "--dry-run", "--now", "9999-12-31"],
    ["retention", "apply", "--yes"],
    ["forget", "--customer-id", "C5", "--yes"],
    ["usage"],
    ["check"],
]


@pytest.mark.slow
def test_every_command_survives_what_is_already_stored(tmp_path: Path) -> None:
    (tmp_path / "o.toml").write_text(
        '[outputs.lake]\ntype = "jsonl"\npath = "lake.jsonl"\n[connections.a]\nfeed ='
        ' "f"\noutput = "lake"\n'
    )
    old_store(tmp_path)
    for command in COMMANDS:
        done = call(*command, folder=tmp_path)
        assert done.exit_code == 0, (command, done.output, done.exception)
    times = {
        json.loads(line)["last_seen_ms"]
        for line in (tmp_path / "profiles.jsonl").read_text().splitlines()
    }
    assert {YEAR_292277026, LAST_MS + 1} <= times
