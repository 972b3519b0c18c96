"""Events: what the rule keeps of a batch, the engine keeps too, letter for letter."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, note, seed, settings
from hypothesis import strategies as st
from support.doors import call, run_here
from support.effort import at_length, spread_now
from support.event_lines import NOW_MS, by_engine, by_rule, check_lines, events, written

from profilectl.rules.batch import Reading, read_flat
from profilectl.rules.event.event import added_event
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.moments import latest_ms


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    found = []
    for _ in range(draw(st.integers(1, 6))):
        batch: dict[str, Any] = {
            "user_identities": {"customer_id": draw(st.sampled_from("AB"))},
            "events": draw(st.lists(events(), max_size=3)),
        }
        if draw(st.booleans()):
            batch["timestamp_unixtime_ms"] = 1_700_000_000_000
        if draw(st.integers(0, 5)) == 0:
            batch["device_info"] = {"platform": "iOS"}
        if draw(st.integers(0, 9)) == 0:
            batch["events"] = draw(st.sampled_from([None, {}, 1, [], [None]]))
        found.append(written(batch, draw(st.booleans())))
    return found


quick = settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@pytest.mark.slow
@quick
@given(lines(), st.sampled_from([None, None, "Attributes Updated"]))
@example(
    [
        (
            '{"user_identities":{"customer_id":"A"},"events":[{"data":{"a": 1e5,"b": [1.0'
            ' ],"event_name":"x","custom_event_type":"other"},"event_type":"custom_event"}]}'
        )
    ],
    None,
)
def test_events_of_lines(found: list[str], event: str | None) -> None:
    check_lines(found, event)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_events_of_lines_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(40, by_night=2000),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(lines(), st.sampled_from([None, "Attributes Updated"]))
    def at_length_(found: list[str], event: str | None) -> None:
        check_lines(found, event)

    at_length_()


COLUMNS = [
    "events.event_type",
    "events.data.event_name",
    "events.data.custom_event_type",
    "events.data.timestamp_unixtime_ms",
    "events.data.custom_attributes.price",
    "events.data.custom_attributes.a.b",
    "events.data.screen_name",
    "events.data.is_opted_out",
    "events.data.product_action.action",
    "events.data.product_action.total_amount",
    "events.data.product_action.products.name",
    "events.data.product_action.products.price",
    "events.data.promotion_action.action",
    "events.data.session_id",
    "events.data.label",
]
CELLS = [
    "",
    "",
    "purchase",
    "custom_event",
    "commerce_event",
    "screen_view",
    "other",
    "1.10",
    "-0",
    "1e5",
    "true",
    "1700000000123",
    "x" * 257,
    'q"\n',
    "é",
    " x ",
]


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[str], list[list[str]]]:
    columns = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=7, unique=True))
    name = draw(st.sampled_from(["a.csv", "a-custom_event.csv", "a-screen_view.csv"]))
    rows = draw(
        st.lists(
            st.lists(st.sampled_from(CELLS), min_size=len(columns), max_size=len(columns)),
            min_size=1,
            max_size=5,
        )
    )
    return name, columns, rows


def check_table(name: str, columns: list[str], rows: list[list[str]], event: str | None) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["customer_id", *columns], *(["A", *row] for row in rows)])
    note(out.getvalue())
    kind = {"a-custom_event.csv": "custom_event", "a-screen_view.csv": "screen_view"}.get(name)
    reading, batches = (
        Reading(added=added_event(event) if event else None, latest_ms=latest_ms(NOW_MS)),
        [],
    )
    for row in rows:
        cells = {
            "customer_id": "A",
            **{column: cell or None for column, cell in zip(columns, row, strict=True)},
        }
        try:
            batches.append(read_flat(cells, reading, event_type=kind))
        except UnusableRow as error:
            batches.append(error)  # type: ignore[arg-type]
    kept, counts = by_engine(name, out.getvalue(), event)
    expected, said = by_rule(batches)
    assert kept == expected
    assert counts == said


@pytest.mark.slow
@quick
@given(tables(), st.sampled_from([None, None, "Attributes Updated"]))
def test_events_of_columns(
    table: tuple[str, list[str], list[list[str]]], event: str | None
) -> None:
    check_table(*table, event)


@pytest.mark.slow
def test_events_of_columns_at_length() -> None:
    @settings(
        max_examples=at_length(50, by_night=2000),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(tables(), st.sampled_from([None, "Attributes Updated"]))
    def at_length_(table: tuple[str, list[str], list[list[str]]], event: str | None) -> None:
        check_table(*table, event)

    at_length_()


def test_the_page_s_batch_with_an_event(tmp_path: Path) -> None:
    batch = {
        "events": [
            {
                "data": {"event_name": "Attributes Updated", "custom_event_type": "other"},
                "event_type": "custom_event",
            }
        ],
        "user_identities": {"email": "john.smith@example.com", "customerid": "JohnSmith911"},
        "user_attributes": {"skill_level": 9},
        "deleted_user_attributes": ["color_preference"],
        "environment": "production",
    }
    (tmp_path / "page.jsonl").write_text(json.dumps(batch) + "\n")
    assert call("import", "page.jsonl", "--feed", "crm", folder=tmp_path).exit_code == 0
    (tmp_path / "plain.csv").write_text("customerid,skill_level\nJohnSmith911,10\n")
    done = call(
        "import",
        "plain.csv",
        "--feed",
        "crm",
        "--event",
        "Attributes Updated",
        "--json",
        folder=tmp_path,
    )
    assert json.loads(done.stdout)["events"] == {"added": 1}
    shown = json.loads(
        call(
            "show",
            "--customer-id",
            "JohnSmith911",
            "--section",
            "timeline",
            "--json",
            folder=tmp_path,
        ).stdout
    )["profiles"][0]
    assert [[event["event"] for event in one["events"]] for one in shown["timeline"]] == [
        [batch["events"][0]]
    ] * 2


def test_a_column_that_is_both_a_value_and_an_object(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "customer_id,events.data.product_action,events.data.product_action.action\nA,x,y\n"
    )
    done = run_here("import", "a.csv", "--feed", "f", folder=tmp_path)
    assert done.returncode == 4
    assert "events.data.product_action is a value" in done.stderr


@pytest.mark.parametrize(
    "said", spread_now(["NaN", "-NaN", "nan", "Infinity", "-inf", "[1, inf]", "[-Infinity]"], 3)
)
def test_an_event_with_a_number_that_is_none_is_rejected(said: str, tmp_path: Path) -> None:
    line = (
        '{"user_identities":{"customer_id":"N"},"events":[{"event_type":"custom_event","data":{"event_name":"view","custom_event_type":"other","custom_attributes":{"x":%s}}}]}\n'
        ""
    )
    (tmp_path / "a.jsonl").write_text(line % said + line % '"inf"')
    done = run_here("import", "a.jsonl", "--feed", "f", "--json", folder=tmp_path)
    assert json.loads(done.stdout)["reasons"] == {"JSON_INVALID": 1}
    assert json.loads(run_here("events", "N", "--json", folder=tmp_path).stdout)["event"]["data"][
        "custom_attributes"
    ] == {"x": "inf"}
