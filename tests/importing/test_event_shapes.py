"""Events that are cut out of their lines by their shapes are what reading the lines as JSON says,
and lie in order.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from support.doors import NOW_MS
from support.effort import at_length, spread_now
from support.event_lines import Raw, by_engine, by_rule, check_lines, events, read, written
from support.events import documents, text_of

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.importing.stage.events.event_shapes import MOST_SHAPES, Shape, frequent, shape_of
from profilectl.importing.stage.events.regular_events import MARK, _learned, _matched
from profilectl.reading.check import check
from profilectl.rules.batch import Reading
from profilectl.rules.event.event import EVENT_TYPES, Event, read_event
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.moments import latest_ms
from profilectl.rules.text.values import NotJson, parse_json, to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.segments import known_events

# What a line is broken with: what stands between values, what may not stand in a string, numbers
# that are spelled oddly, and what the cutting itself looks for.
PIECES = [
    '"',
    "\\",
    '\\"',
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    " ",
    "\t",
    "\0",
    "\x01",
    "\x1f",
    "\x7f",
    "\u2028",
    "é",
    "🙂",
    "'",
    "-",
    "0",
    "+",
    ".",
    "1e5",
    "1.50",
    "-0",
    "null",
    "true",
    "NaN",
    "Infinity",
    "\\u0000",
    "\\u0022",
    "\\ud800",
    '""',
    '"a":1,',
    ",,",
    "n" * 257,
    "x" * 4100,
    '"events":[',
    '"events":[{"data":{',
    ',{"data":{',
    '{"data":{',
    "}]",
    "]}",
    "},",
    "profilectl: cut out",
    MARK,
    f'"events":{MARK}',
    f'"events":{MARK},',
    '"event_type":"custom_event"',
    ',"event_type":"view"',
    '"event_name":"",',
    '"custom_event_type":"odd",',
    "9" * 20,
    ": ",
    ", ",
]
PIECES_OF_LINES = [one for one in PIECES if one not in ("\0", "\x01")]
"""A file with one of these is read line by line in Python, all of it."""
NAMES = ["purchase", "view", "é", "a b", "it's", "}]", "{[]}", ",{data:{", "profilectl: cut out"]


@st.composite
def broken(draw: st.DrawFn, text: str, pieces: list[str]) -> str:
    """Break a text in a place or two; or not at all."""
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 0, 1, 1, 2, 7])))
        put = (
            draw(st.sampled_from(pieces))
            if draw(st.integers(0, 3))
            else text[start : start + draw(st.integers(1, 40))]
        )
        text = text[:start] + put + text[end:]
    return text


@st.composite
def plain_events(draw: st.DrawFn) -> Any:
    """Draw an event as a program writes them: few shapes, values that differ."""
    kind = draw(
        st.sampled_from(
            [
                "custom_event",
                "custom_event",
                "screen_view",
                "commerce_event",
                "opt_out",
                "session_start",
                "push_message",
            ]
        )
    )
    name, at = (
        draw(st.sampled_from(NAMES)),
        Raw(draw(st.sampled_from(["1700000000123", "0", "-5", "1", "123456789012345678"]))),
    )
    found: dict[str, Any] = {
        "custom_event": {
            "event_name": name,
            "custom_event_type": draw(st.sampled_from(["other", "search"])),
        },
        "screen_view": {"screen_name": name},
        "commerce_event": {
            "product_action": {
                "action": "purchase",
                "products": [{"id": name, "price": Raw("12.50")}] * draw(st.integers(0, 2)),
            }
        },
        "opt_out": {"is_opted_out": draw(st.booleans())},
        "push_message": {"push_message_type": "sent", "odd": None},
    }
    data: dict[str, Any] = found.get(kind, {})
    data["timestamp_unixtime_ms"] = at
    if draw(st.booleans()):
        data["session_uuid"] = draw(st.sampled_from(["s1", "s2", "é"]))
    if draw(st.booleans()):
        data["custom_attributes"] = {
            "price": draw(st.sampled_from(["1.10", "", name])),
            "count": Raw(draw(st.sampled_from(["1", "1.10", "1e5", "-0"]))),
            "a.b": None,
        }
    return {"data": data, "event_type": kind}


@st.composite
def alike(draw: st.DrawFn) -> list[str]:
    """Draw lines of few shapes, some of them broken."""
    models = draw(st.lists(plain_events(), min_size=1, max_size=4))
    last = draw(st.booleans())
    found = []
    for _ in range(draw(st.integers(2, 8))):
        listed = draw(st.lists(st.sampled_from(models) | plain_events(), min_size=1, max_size=4))
        if not draw(st.integers(0, 9)):
            listed.append(draw(events()))
        batch: dict[str, Any] = {"user_identities": {"customer_id": draw(st.sampled_from("ABCD"))}}
        batch |= {"events": listed} if not last else {}
        batch |= draw(
            st.sampled_from(
                [
                    {},
                    {"user_attributes": {"tier": "gold", "sizes": ["40", "}]"]}},
                    {"timestamp_unixtime_ms": 1_700_000_000_000},
                    {"user_attributes": {"events": ["a"]}},
                    {"user_attributes": {"note": "profilectl: cut out"}},
                    {"environment": "production"},
                ]
            )
        )
        batch |= {"events": listed}
        line = written(batch, spaced=not draw(st.integers(0, 9)))
        found.append(draw(broken(line, PIECES_OF_LINES)) if draw(st.integers(0, 2)) == 0 else line)
    return [line.replace("\n", " ").replace("\r", " ") for line in found]


def shapes_of(models: list[Any]) -> list[Shape]:
    return frequent(shape for model in models if (shape := shape_of(model)))


def event_by_rule(text: str) -> Event | None:
    try:
        return read_event(parse_json(text), 1)
    except (UnusableRow, NotJson):
        return None


def check_shapes(models: list[Any], texts: list[str]) -> None:
    """Whatever a shape matches is an event that is right, and its columns are those that the rule
    says.
    """
    shapes = shapes_of(models)
    if not shapes:
        return
    scratch = Scratch(Path())
    scratch.load(
        "event_text",
        [("seq", "BIGINT"), ("place", "INTEGER"), ("event", "VARCHAR")],
        [(n, 0, text) for n, text in enumerate(texts)],
    )
    matched = _matched("select *, '' as before, '' as after from event_text", shapes)
    for seq, *said, ok in scratch.rows(
        f"select seq, type, name, at_ms, session, event, ok from ({matched})"
    ):
        if ok:
            assert event_by_rule(texts[seq]) == Event(*said), texts[seq]
        else:
            assert (
                not any(re.fullmatch(shape.pattern, texts[seq]) for shape in shapes)
                or len(texts[seq].encode()) > 4096
                or "n" * 257 in texts[seq]
            )
    scratch.close()


@st.composite
def models_and_texts(draw: st.DrawFn) -> tuple[list[Any], list[str]]:
    spelled: st.SearchStrategy[str] = st.one_of(
        plain_events().map(lambda one: written(one, False)),
        events().map(lambda one: written(one, False)),
        documents.map(lambda one: text_of(dict(one))),
    )
    drawn = draw(st.lists(spelled, min_size=1, max_size=5))
    models = []
    for text in drawn:
        try:
            models.append(parse_json(text))
        except NotJson:
            continue
    return models, [
        *drawn,
        *(
            draw(broken(text, PIECES))
            for text in draw(st.lists(st.sampled_from(drawn), min_size=1, max_size=12))
        ),
    ]


def every_way(text: str, pieces: list[str]) -> list[str]:
    """Return a text with each of the pieces at each place, beside what stands there and instead of
    it.
    """
    return [
        text[:place] + piece + text[place + gone :]
        for place in range(len(text) + 1)
        for piece in (*pieces, "")
        for gone in (0, 1)
    ]


@pytest.mark.parametrize("model", spread_now([
    '{"data":{"event_name":"view","custom_event_type":"other","timestamp_unixtime_ms":17,"custom_attributes":{"p":"1","n":1.50,"x":null}},"event_type":"custom_event"}',
    '{"event_type":"commerce_event","data":{"session_id":5,"product_action":{"action":"buy","products":[{"id":"a"},{"id":"b"}]}}}',
    '{"data":{"session_uuid":"s","session_id":"t","screen_name":"a","ok":true},"event_type":"screen_view"}',
    '{"data":{"is_opted_out":true,"custom_attributes":null},"event_type":"opt_out"}',
    '{"data":{"register":true,"registration_token":"t"},"event_type":"push_registration","more":[1]}',
], 3))  # fmt: skip
def test_an_event_broken_in_every_way(model: str) -> None:
    assert shapes_of([parse_json(model)])
    check_shapes([parse_json(model)], [model, *every_way(model, PIECES)])


@pytest.mark.slow
@pytest.mark.parametrize("line", [
    '{"user_identities":{"customer_id":"A"},"events":[{"data":{"screen_name":"a"},"event_type":"screen_view"},{"data":{},"event_type":"opt_out"}],"user_attributes":{"t":"g"}}',
    '{"events":[{"event_type":"screen_view","data":{"n":1.50}}],"environment":"production","user_attributes":{"events":["a"]},"user_identities":{"email":"a@b.de"}}',
])  # fmt: skip
def test_a_line_broken_in_every_way(line: str) -> None:
    lines = [one for one in every_way(line, PIECES_OF_LINES) if len(one) < 500]
    lines = [*lines[: len(lines) // 2], *([line] * 200), *lines[len(lines) // 2 :]]
    assert by_engine("a.jsonl", "".join(f"{one}\n" for one in lines)) == by_rule(
        [read(one, Reading(latest_ms=latest_ms(NOW_MS))) for one in lines]
    )


quick = settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@quick
@given(models_and_texts())
def test_what_matches_a_shape(found: tuple[list[Any], list[str]]) -> None:
    check_shapes(*found)


@pytest.mark.slow
@settings(quick, max_examples=15)
@given(alike())
@example(
    [
        (
            '{"user_attributes":{"events":[{"data":{},"event_type":"session_start"}]},"events":["profilectl:'
            ' cut out"],"user_identities":{"customer_id":"A"}}'
        ),
        '{"user_identities":{"customer_id":"B"},"events":[{"data":{},"event_type":"session_start"}]}',
    ]
)
@example(
    [
        '{"user_attributes":{"events":[{"data":{"a":1},"event_type":"session_start"}]},"user_identities":{"customer_id":"A"}}',
        '{"user_identities":{"customer_id":"B"},"events":[{"data":{"a":1},"event_type":"session_start"}]}',
    ]
)
@example(
    [
        '{"user_identities":{"customer_id":"A"},"events":[{"data":{"a":1},"event_type":"session_start"}],"events":[]}',
        '{"user_identities":{"customer_id":"B"},"events":[{"data":{"a":1},"event_type":"session_start"}]}',
    ]
)
@example(
    [
        '{"user_identities":{"customer_id":"A"},"events":["profilectl: cut out"]}',
        '{"user_identities":{"customer_id":"B"},"events":[{"data":{"a":1},"event_type":"session_start"}]}',
    ]
)
@example(
    [
        '{"user_identities":{"customer_id":"A"},"events":[{"data":{"a":1},"event_type":"session_start"},]}',
        '{"user_identities":{"customer_id":"B"},"events":[{"data":{"a":1},"event_type":"session_start"}]}',
    ]
)
def test_lines_that_are_spelled_alike(found: list[str]) -> None:
    check_lines(found, None)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_shapes_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(400, by_night=20_000),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(models_and_texts())
    def at_length_(found: tuple[list[Any], list[str]]) -> None:
        check_shapes(*found)

    at_length_()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_lines_that_are_spelled_alike_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(100, by_night=3000),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(alike())
    def at_length_(found: list[str]) -> None:
        check_lines(found, None)

    at_length_()


def test_an_event_of_every_type_has_a_shape() -> None:
    for kind, meaning in EVENT_TYPES.items():
        data: dict[str, Any] = dict.fromkeys(meaning.needs, "other") | (
            {"product_action": {"action": "view"}} if kind == "commerce_event" else {}
        )
        event = parse_json(json.dumps({"event_type": kind, "data": data}))
        (shape,) = shapes_of([event])
        assert re.fullmatch(shape.pattern, to_json(event))
        assert (
            len(
                shapes_of(
                    [
                        *([event] * 3),
                        *(
                            parse_json(
                                json.dumps({"event_type": kind, "data": data | {f"more{n}": 1}})
                            )
                            for n in range(30)
                        ),
                    ]
                )
            )
            == MOST_SHAPES
        )


def test_events_of_few_lines_that_could_be_cut_are_not_looked_at_twice() -> None:
    (shape,) = shapes_of([parse_json('{"event_type":"opt_out","data":{}}')])
    assert _learned([[shape], [shape, shape], [None]]) == [shape]
    assert _learned([[shape], [shape, None]]) == []
    assert _learned([]) == []


def lines_of(first: int, rows: int, each: int, *, more: str = "") -> str:
    found = []
    for n in range(first, first + rows):
        times = [1_700_000_000_000 + (n * 7919 + place * 31) % 5_000_000 for place in range(each)]
        listed = ",".join(
            f'{{"data":{{"event_name":"view","custom_event_type":"other","timestamp_unixtime_ms":{at_ms}}},"event_type":"custom_event"}}'
            for at_ms in times
        )
        found.append(f'{{"user_identities":{{"customer_id":"C{n}"}},"events":[{listed}]{more}}}\n')
    return "".join(found)


def test_events_lie_in_order(tmp_path: Path) -> None:
    """A first load of more than one row group; more people, some of them known; rows of people who
    come twice; a row that is rejected.
    """
    contents = [
        [lines_of(0, 15_000, 10), lines_of(15_000, 15_000, 10)],
        [lines_of(25_000, 10_000, 10)],
        [
            lines_of(50_000, 2000, 10)
            + lines_of(50_500, 100, 3)
            + '{"events":[{"data":{},"event_type":"session_start"}]}\n'
        ],
        [
            lines_of(60_000, 100, 2, more=',"user_attributes":{"note":"a\\\\b"}')
            + lines_of(70_000, 2000, 10)
        ],
    ]
    store = tmp_path / "store.duckdb"
    for number, parts in enumerate(contents):
        paths = [tmp_path / f"{number}-{n}.jsonl" for n in range(len(parts))]
        for path, text in zip(paths, parts, strict=True):
            path.write_text(text)
        report = import_files(store, ImportRequest([str(path) for path in paths], "app"))
        assert report.counts.rows["rejected"] == (number == 2)
    scratch = Scratch(tmp_path)
    with open_store(scratch, store) as opened:
        assert check(opened) == []
        events = known_events(opened.segments())
        assert scratch.row(
            f"select count(*), count(distinct (arrival, place)) from ({events})"
        ) == (440_500, 440_500)
    scratch.close()
