"""Calculated attributes: cases written by hand, and the engine against the definition of right."""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from support.effort import at_length
from support.events import conditions, documents, text_of
from support.places import CASES

from profilectl.audiences.sql.calculated_sql import compute
from profilectl.codes import UsageError
from profilectl.rules.calculated import TYPES, Definition, definition_of, timestamp, value_of
from profilectl.rules.event.event import Occurred
from profilectl.rules.text.values import Value, held_json, parse_json
from profilectl.store.scratch import Scratch

CASES = [
    (file.stem, case)
    for file in sorted((CASES / "calculated").glob("*.json"))
    for case in json.loads(file.read_text("utf-8"))["cases"]
]
COLUMNS = [
    ("profile", "BIGINT"),
    ("arrival", "BIGINT"),
    ("place", "INTEGER"),
    ("environment", "UTINYINT"),
    ("feed", "USMALLINT"),
    ("type", "VARCHAR"),
    ("name", "VARCHAR"),
    ("at_ms", "BIGINT"),
    ("session", "VARCHAR"),
    ("event", "VARCHAR"),
]


@dataclass(frozen=True)
class Row:
    """One event of the relation."""

    profile: int
    arrival: int
    place: int
    type: str
    name: str | None
    at_ms: int
    event: str

    def columns(self) -> tuple[Any, ...]:
        return (
            self.profile,
            self.arrival,
            self.place,
            0,
            1,
            self.type,
            self.name,
            self.at_ms,
            None,
            self.event,
        )

    def occurred(self) -> Occurred:
        return Occurred(
            self.type, self.name, self.at_ms, self.arrival, self.place, None, parse_json(self.event)
        )


@pytest.fixture(scope="module")
def scratch() -> Iterator[Scratch]:
    with tempfile.TemporaryDirectory() as folder:
        found = Scratch(Path(folder))
        yield found
        found.close()


def by_engine(
    scratch: Scratch,
    definitions: Sequence[Definition],
    rows: Sequence[Row],
    now_ms: int,
    some: Sequence[int] | None = None,
) -> dict[tuple[int, str], str]:
    scratch.load("event", COLUMNS, [row.columns() for row in rows])
    if some is not None:
        scratch.load("touched", [("profile", "BIGINT")], [(profile,) for profile in some])
    compute(scratch, definitions, now_ms, profiles=None if some is None else "touched")
    found = scratch.rows("select profile, name, held from calculated")
    values = {(profile, name): held for profile, name, held in found}
    assert len(values) == len(found), "a value twice"
    return values


def by_reference(
    definitions: Sequence[Definition],
    rows: Sequence[Row],
    now_ms: int,
    some: Sequence[int] | None = None,
) -> dict[tuple[int, str], str]:
    values = {}
    for profile in {row.profile for row in rows} if some is None else some:
        occurred = [row.occurred() for row in rows if row.profile == profile]
        for definition in definitions:
            held = value_of(definition, occurred, now_ms)
            if held is not None:
                values[profile, definition.name] = held
    return values


# --- cases


def rows_of(case: dict[str, Any]) -> list[Row]:
    """Return the events of a case, as README.md there says."""
    rows: list[Row] = []
    for stated in case["events"]:
        for number in range(stated.get("times", 1)):
            kind = stated.get("event_type", "custom_event")
            data = stated.get("data") or {"custom_attributes": stated.get("attributes", {})}
            text = json.dumps(
                {"data": data, "event_type": kind}, ensure_ascii=False, separators=(",", ":")
            ).replace("#", str(number))
            # {"$number": "1.10"} is a number with its exact text
            while '{"$number":"' in text:
                before, _, rest = text.partition('{"$number":"')
                spelled, _, after = rest.partition('"}')
                text = before + spelled + after
            at_ms = stated.get("at_ms", 0)
            rows.append(
                Row(
                    7,
                    stated.get("arrival", len(rows)),
                    0,
                    kind,
                    stated.get("name", "purchase"),
                    at_ms,
                    text,
                )
            )
    return rows


@pytest.mark.parametrize(
    ("group", "case"), CASES, ids=[f"{group}-{case['id']}" for group, case in CASES]
)
def test_a_case_by_hand(group: str, case: dict[str, Any], scratch: Scratch) -> None:
    definition = definition_of("it", case["definition"])
    now_ms = case.get("now_ms", 0)
    rows = rows_of(case)
    expected = None if case["then"] is None else case["then"]
    held = value_of(definition, [row.occurred() for row in rows], now_ms)
    assert (None if held is None else held_json(held)) == expected, case["why"]
    assert by_engine(scratch, [definition], rows, now_ms).get((7, "it")) == held, (
        f"SQL: {case['why']}"
    )


def test_every_type_has_cases() -> None:
    counted = dict.fromkeys(TYPES, 0)
    for _, case in CASES:
        counted[case["definition"]["type"]] += 1
        assert case["why"].endswith(".")
    assert min(counted.values()) >= 3, counted
    assert len({case["id"] for _, case in CASES}) == len(CASES)


# --- definitions as the configuration has them


@pytest.mark.parametrize("table", [
    {"type": "count"}, {"type": "sum", "event": "purchase", "of": "price", "where": "currency = 'EUR'", "within": "30 days"},
    {"type": "unique_list", "event_type": "commerce_event", "of": "product_action.products.name", "since": "2024-01-01"}, {"type": "last_timestamp", "within": "1 week", "draft": True},
    {"type": "maximum", "of": '"a.b"', "within": "2 weeks"},
])  # fmt: skip
def test_a_definition_is_written_as_it_was_read(table: dict[str, object]) -> None:
    assert definition_of("it", table).as_table() == table


def test_a_date_of_toml_is_a_date() -> None:
    assert (
        definition_of("it", {"type": "count", "since": datetime.date(2024, 1, 1)}).since_ms
        == 1_704_067_200_000
    )


def test_windows_are_days_and_weeks() -> None:
    assert definition_of("it", {"type": "count", "within": "1 day"}).within_ms == 86_400_000
    assert definition_of("it", {"type": "count", "within": "2 weeks"}).within_ms == 1_209_600_000


@pytest.mark.parametrize(("table", "says"), [
    ({}, "calculated.it.type is missing"), ({"type": "total"}, "calculated.it.type: total"), ({"type": 5}, "calculated.it.type must be a text"),
    ({"type": "sum"}, "calculated.it.of is missing"), ({"type": "count", "of": "price"}, "calculated.it.of: count is computed of events"),
    ({"type": "sum", "of": "a..b"}, "calculated.it.of: 'a..b' names no field"), ({"type": "sum", "of": ""}, "calculated.it.of must be a text that is not empty"),
    ({"type": "count", "where": "price >"}, "calculated.it.where: the condition is not understood at character 8"), ({"type": "count", "within": "30"}, "calculated.it.within: 30 is no window"),
    ({"type": "count", "within": "0 days"}, "calculated.it.within"), ({"type": "count", "within": 30}, "calculated.it.within must be a text"),
    ({"type": "count", "since": "2024-02-30"}, "calculated.it.since: 2024-02-30 is no date"), ({"type": "count", "since": "20240101"}, "calculated.it.since"),
    ({"type": "count", "since": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)}, "calculated.it.since"), ({"type": "count", "within": "1 day", "since": "2024-01-01"}, "do not go together"),
    ({"type": "count", "event_type": "purchase"}, "calculated.it.event_type: purchase"), ({"type": "count", "draft": "no"}, "calculated.it.draft must be true or false"),
    ({"type": "count", "name": "x"}, "calculated.it.name: there is no such key"), ("count", "calculated.it must be a table"),
])  # fmt: skip
def test_a_wrong_definition_names_its_key(table: object, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        definition_of("it", table)
    assert caught.value.message.startswith(says) or says in caught.value.message


@pytest.mark.parametrize(("at_ms", "text"), [
    (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"), (1_577_916_887_105, "2020-01-01T22:14:47.105Z"), (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
    (253_402_300_799_999, "9999-12-31T23:59:59.999Z"), (253_402_300_800_000, "-"), (-(2**63), "-"), (2**63 - 1, "-"),
])  # fmt: skip
def test_a_time_is_iso_8601_in_utc(at_ms: int, text: str, scratch: Scratch) -> None:
    assert timestamp(at_ms) == text
    row = Row(1, 0, 0, "custom_event", "purchase", at_ms, '{"data":{},"event_type":"custom_event"}')
    assert by_engine(scratch, [Definition("it", "first_timestamp")], [row], 0) == {(1, "it"): text}


def test_a_draft_is_not_computed(scratch: Scratch) -> None:
    row = Row(1, 0, 0, "custom_event", "purchase", 0, '{"data":{},"event_type":"custom_event"}')
    assert by_engine(scratch, [Definition("it", "count", draft=True)], [row], 0) == {}


def test_nothing_is_left_behind_and_nothing_is_hard_without_cause(scratch: Scratch) -> None:
    rows = [
        Row(
            one % 3,
            one,
            0,
            "custom_event",
            "purchase",
            one,
            '{"data":{"custom_attributes":{"price":12.50,"color":"red"}},"event_type":"custom_event"}',
        )
        for one in range(20)
    ]
    scratch.load("event", COLUMNS, [row.columns() for row in rows])
    definitions = [
        Definition(name, name, of="price" if kind.of else None) for name, kind in TYPES.items()
    ]
    assert compute(scratch, definitions, 10) == 0
    assert [
        name
        for (name,) in scratch.rows(
            "select table_name from duckdb_tables() union all select view_name from"
            " duckdb_views() where not internal"
        )
        if name.startswith("ca_")
    ] == []


# --- at random

DAY = 86_400_000
NOW = 100 * DAY
times = st.sampled_from(
    [
        NOW,
        NOW + 1,
        NOW - 1,
        NOW - DAY,
        NOW - DAY + 1,
        NOW - DAY - 1,
        NOW - 7 * DAY,
        NOW - 7 * DAY + 1,
        0,
        -1,
        19 * DAY,
        19 * DAY - 1,
        2 * NOW,
    ]
) | st.integers(-(2**63), 2**63 - 1)
fields = st.sampled_from(
    [
        "price",
        "price",
        "color",
        "a b",
        '"a.b"',
        "screen_name",
        "product_action.total_amount",
        "product_action.price",
        "product_action.products.price",
        "product_action.products.price",
        "product_action.products.name",
        "product_action.products.quantity",
        "product_action.products.custom_attributes.price",
        "product_action.products.tags",
        "product_action.products",
        "product_impressions.products.price",
        "product_impressions.products.name",
        "custom_attributes.data.price",
        "missing",
    ]
)


@st.composite
def definitions(draw: st.DrawFn, types: Sequence[str] = tuple(TYPES)) -> Definition:
    """Draw a definition of one of some types."""
    kind = draw(st.sampled_from(types))
    window = draw(st.sampled_from([None, None, "within", "since"]))
    return Definition(
        "it",
        kind,
        draw(st.sampled_from([None, "purchase", "View"])),
        draw(st.sampled_from(["custom_event", "custom_event", "commerce_event"])),
        draw(fields) if TYPES[kind].of else None,
        draw(st.none() | st.none() | conditions),
        draw(st.sampled_from(["1 day", "7 days", "1 week"])) if window == "within" else None,
        draw(st.sampled_from(["1970-01-01", "1970-01-20"])) if window == "since" else None,
    )


@st.composite
def histories(draw: st.DrawFn, most: int = 12) -> list[Row]:
    """Draw the events of a few profiles; arrivals are given out at random, so that time and arrival
    differ.
    """
    count = draw(st.integers(0, most))
    arrivals = draw(st.permutations(range(count)))
    huge = draw(st.integers(0, 9)) == 0
    rows = []
    for place, arrival in enumerate(arrivals):
        kind = draw(
            st.sampled_from(["custom_event", "custom_event", "commerce_event", "screen_view"])
        )
        document: Value = {**draw(documents), "event_type": kind}
        rows.append(
            Row(
                draw(st.integers(1, 3)),
                arrival // 2 + (2**41 if huge else 0),
                place,
                kind,
                draw(st.sampled_from(["purchase", "Purchase", "view", None])),
                draw(times),
                text_of(document),
            )
        )
    return rows


def check(scratch: Scratch, wanted: list[Definition], rows: list[Row]) -> None:
    wanted = [replace(one, name=f"{one.name}{number}") for number, one in enumerate(wanted)]
    note("\n".join([*(str(one.as_table()) for one in wanted), *map(str, rows)]))
    expected = by_reference(wanted, rows, NOW)
    assert by_engine(scratch, wanted, rows, NOW) == expected
    touched = [1, 3]
    assert by_engine(scratch, wanted, rows, NOW, touched) == {
        key: held for key, held in expected.items() if key[0] in touched
    }


quick = settings(
    max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@quick
@given(st.lists(definitions(), min_size=1, max_size=4), histories())
def test_the_engine_computes_what_the_reference_does(
    scratch: Scratch, wanted: list[Definition], rows: list[Row]
) -> None:
    check(scratch, wanted, rows)


@pytest.mark.slow
@quick
@given(
    st.lists(
        definitions(["most_frequent", "unique_list", "unique_values_count"]), min_size=1, max_size=3
    ),
    histories(20),
)
def test_so_it_does_where_only_two_values_are_tracked(
    scratch: Scratch, wanted: list[Definition], rows: list[Row]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("profilectl.rules.calculated.TRACKED", 2)
        patch.setattr("profilectl.audiences.sql.calculated_sql.TRACKED", 2)
        check(scratch, wanted, rows)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_the_engine_computes_what_the_reference_does_at_length(part: int, scratch: Scratch) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(150, by_night=2000),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.lists(definitions(), min_size=1, max_size=5), histories(20))
    def compare(wanted: list[Definition], rows: list[Row]) -> None:
        check(scratch, wanted, rows)

    compare()
