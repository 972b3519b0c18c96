"""Lines with events, as the rule and the engine read them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import note
from hypothesis import strategies as st

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.rules.batch import Batch, Reading, read_document
from profilectl.rules.event.event import EVENT_TYPES, added_event
from profilectl.rules.feed import Feed
from profilectl.rules.fields import UnusableRow
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.text.moments import latest_ms
from profilectl.rules.text.values import NotJson, parse_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.segments import known_events
from profilectl.store.settings import settings_from

NOW_MS = 1_790_000_000_000
TEXTS = [
    "purchase",
    "",
    "a b",
    "é",
    'q"\\\n',
    "{",
    "[1.10]",
    ": 1.10,",
    "x" * 257,
    "null",
    "true",
    "1.10",
    "\x1fq",
    "\u2028",
]
NUMBERS = [
    "0",
    "-0",
    "1.10",
    "10",
    "1e5",
    "100000.0",
    "-12",
    "12345678901234567890123",
    "1700000000000",
    "0.30000000000000004",
]


class Raw(str):
    """JSON text that is written as it stands."""

    __slots__ = ()


def written(value: Any, spaced: bool) -> str:
    """Write JSON, numbers as they stand, with or without blanks."""
    comma, colon = (", ", ": ") if spaced else (",", ":")
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, list):
        return "[" + comma.join(written(one, spaced) for one in value) + "]"
    if isinstance(value, (dict, Pairs)):
        pairs = value.items() if isinstance(value, dict) else value
        return (
            "{"
            + comma.join(
                json.dumps(key, ensure_ascii=False) + colon + written(one, spaced)
                for key, one in pairs
            )
            + "}"
        )
    return json.dumps(value, ensure_ascii=False)


class Pairs(list):  # type: ignore[type-arg]
    """An object in which a key may stand twice."""


scalars = st.one_of(
    st.sampled_from(TEXTS),
    st.sampled_from([Raw(one) for one in NUMBERS]),
    st.sampled_from([True, False, None]),
)
attributes = st.one_of(
    st.dictionaries(st.sampled_from(["price", "sku", "é", "a.b", "k" * 257]), scalars, max_size=3),
    st.lists(st.tuples(st.sampled_from(["price", "sku"]), scalars), max_size=3).map(Pairs),
    st.just({"nested": {"a": [1]}}), scalars,
)  # fmt: skip
products = st.lists(
    st.fixed_dictionaries(
        {}, optional={"id": scalars, "price": scalars, "quantity": scalars, "name": scalars}
    ),
    max_size=7,
)


@st.composite
def events(draw: st.DrawFn) -> Any:
    kind = draw(
        st.sampled_from(
            [
                "custom_event",
                "custom_event",
                "screen_view",
                "commerce_event",
                "opt_out",
                *EVENT_TYPES,
                "odd",
            ]
        )
    )
    data = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "event_name": st.sampled_from(["purchase", "view", "", None, "n" * 300]),
                "custom_event_type": st.sampled_from(["other", "search", "odd", None]),
                "timestamp_unixtime_ms": st.sampled_from(
                    [
                        Raw("1700000000123"),
                        "1700000000124",
                        Raw("1.5"),
                        "soon",
                        None,
                        Raw("12345678901234567890"),
                    ]
                ),
                "session_id": scalars,
                "session_uuid": scalars,
                "custom_attributes": attributes,
                "screen_name": scalars,
                "is_opted_out": scalars,
                "product_action": st.one_of(
                    scalars,
                    st.fixed_dictionaries(
                        {"action": st.sampled_from(["purchase", None]), "products": products}
                    ),
                ),
                "promotion_action": st.one_of(st.none(), st.just({"action": "view"})),
                "label": scalars,
                "odd": scalars,
            },
        )
    )
    if kind == "custom_event" and draw(st.integers(0, 3)):
        data |= {"event_name": "purchase", "custom_event_type": "other"}
    made: Any = {"data": data, "event_type": kind}
    shape = draw(st.integers(0, 30))
    return {
        0: [1],
        1: {"event_type": kind},
        2: {**made, "more": 1},
        3: Pairs([("event_type", kind), *made.items()]),
        4: {"event_type": kind, "data": None},
    }.get(shape, made)


def by_rule(
    rows: list[Any], added: str | None = None
) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    """Return the events that the interpreter keeps, and its counts."""
    interpreter = Interpreter(settings_from({}).rules, secret="s")
    counts = interpreter.run(Feed("f", number=1), "create-and-update", rows, NOW_MS)
    kept = [
        (
            one.arrival,
            one.place,
            one.event.type,
            one.event.name,
            one.at_ms,
            one.event.session,
            one.event.text,
        )
        for person in interpreter.people.values()
        for one in person.events
    ]
    return sorted(kept), counts.as_json()


def by_engine(
    name: str, content: str, event: str | None = None
) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path, file = Path(folder) / "store.duckdb", Path(folder) / name
        file.write_text(content, encoding="utf-8", newline="")
        report = import_files(path, ImportRequest([str(file)], "f", now_ms=NOW_MS, event=event))
        scratch = Scratch(Path(folder))
        with open_store(scratch, path) as store:
            wanted = ("arrival", "place", "type", "name", "at_ms", "session", "event")
            kept = scratch.rows(
                f"select * from ({known_events(store.segments(), columns=wanted)}) order by all"
            )
        scratch.close()
    return kept, report.counts.as_json()


def read(text: str, reading: Reading) -> Batch | UnusableRow:
    try:
        return read_document(parse_json(text), reading)
    except NotJson as error:
        return UnusableRow(error.code)
    except UnusableRow as error:
        return error


def check_lines(found: list[str], event: str | None) -> None:
    note("\n".join(found))
    reading = Reading(added=added_event(event) if event else None, latest_ms=latest_ms(NOW_MS))
    kept, counts = by_engine("a.jsonl", "".join(f"{line}\n" for line in found), event)
    expected, said = by_rule([read(line, reading) for line in found])
    assert kept == expected
    assert counts == said
