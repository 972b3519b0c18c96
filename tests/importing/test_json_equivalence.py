"""Flat rows of JSON mean the same to the engine and to the interpreter: lines and documents,
nested, mapped, spelled anyhow.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from support.effort import at_length

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.importing.stage.columns import read_map
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.batch import Batch, Reading, read_document
from profilectl.rules.batch_fields import Columns
from profilectl.rules.feed import Feed
from profilectl.rules.fields import UnusableRow
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.text.values import NotJson, held_json, parse_json, to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.settings import settings_from

NOW_MS = 1_790_000_000_000
MAPPED = (
    "id=customer_id",
    "o.plan=ignore",
    "whole=ignore",
    "_id.x=tier",
    "t=timestamp_unixtime_ms",
)
NULLS = ("NULL", "-")
SCALARS = [
    '"x"',
    '"NULL"',
    '"-"',
    '""',
    '"\\u00e9\\n"',
    "1",
    "1.50",
    "-0",
    "1e999999999999999999999",
    "true",
    "null",
    '"\\u001fq"',
    '["a",1]',
    "[]",
    '[{"$oid":"a"}]',
    '[{"x":1}]',
]
MONGO = [
    '{"$oid":"A"}',
    '{"$numberLong":"7"}',
    '{"$numberDouble":"7.0"}',
    '{"$numberDouble":"NaN"}',
    '{"$date":"2024-02-29"}',
    '{"$date":{"$numberLong":"5"}}',
    '{"$numberInt":7}',
]
IDENTITIES = [
    '"A"',
    '"B"',
    '" a "',
    "7",
    "7.0",
    "7e0",
    "1.5",
    "9007199254740992.0",
    "1e999999999999999999",
    "null",
    '"NULL"',
    '""',
    "true",
    "[]",
    "{}",
    *MONGO,
]


def objects(depth: int) -> st.SearchStrategy[str]:
    """Return objects as JSON text, some with a key twice."""
    inner = st.one_of(st.sampled_from(SCALARS + MONGO), *([objects(depth - 1)] if depth else []))
    members = st.lists(
        st.tuples(st.sampled_from(["plan", "a", "a.b", "b", "$oid", "", "é"]), inner), max_size=3
    )
    return members.map(
        lambda found: (
            "{"
            + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{value}" for key, value in found)
            + "}"
        )
    )


VALUES = st.one_of(st.sampled_from(SCALARS + MONGO), objects(2))
KEYS = {
    "customer_id": st.sampled_from(IDENTITIES),
    "id": st.sampled_from(IDENTITIES),
    "E-mail": st.sampled_from(SCALARS),
    "email": st.sampled_from(['"a@x.org"', '"b@x.org"', "5"]),
    "tier": VALUES,
    "o": VALUES,
    "o.a": VALUES,
    "whole": VALUES,
    "_id": VALUES,
    "user_attributes.tier": VALUES,
    "$firstname": VALUES,
    "foo.bar": VALUES,
    "mpid": st.sampled_from(["7", "7.0", "0", '"-5"', "null", '"NULL"']),
    "environment": st.sampled_from(['"production"', '"-"', "null", '"x"']),
    "t": st.sampled_from(["5", '"6"', '{"$date":{"$numberLong":"5"}}', "null", "1.0"]),
    "deleted_user_attributes": st.sampled_from(['"tier"', '"-"', "null"]),
    "ios_idfv": st.sampled_from(['"0a0a0a0a-1111-2222-3333-444444444444"', "7"]),
    "device_info.limit_ad_tracking": st.sampled_from(["true", '"true"', "null"]),
}


@st.composite
def rows(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 7)) == 0:
        return draw(
            st.sampled_from(
                [
                    '{"user_identities":{"customer_id":"A"},"user_attributes":{"o":{"a":1},"tier":"NULL","id":"q"}}',
                    "7",
                    '{"a":}',
                    '{"mpid":7}',
                    "{}",
                ]
            )
        )
    chosen = draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=5, unique=True))
    names = [
        *(["customer_id"] if draw(st.booleans()) and "customer_id" not in chosen else []),
        *chosen,
    ]
    gap = draw(st.sampled_from(["", "", " "]))
    return (
        "{" + f",{gap}".join(f"{json.dumps(name)}:{gap}{draw(KEYS[name])}" for name in names) + "}"
    )


PLAIN = [
    '"x"',
    '"NULL"',
    '"-"',
    '""',
    '"a\\"b"',
    '"\\/"',
    '"é"',
    "1",
    "12345678901234567890",
    "-0",
    "1.0",
    "true",
    "null",
    '["a","b"]',
    "[]",
]
PLAIN_KEYS = {
    "customer_id": [
        '"A"',
        '"B"',
        '" a "',
        "7",
        "1234567890123456789",
        "-0",
        "7.0",
        "null",
        '"NULL"',
        '""',
        '"null"',
        '"1.2E+11"',
    ],
    "email": ['"a@x.org"', '"A@X.org"', "null", "5"],
    "tier": PLAIN,
    "id": ['"A"', '"B"', "null", "7"],
    "t": ["5", '"6"', "null"],
    "mpid": ["7", "0", "null"],
    "environment": ['"production"', '"development"', "null", '"-"'],
    "source_request_id": ['"r"', '"-"', "null"],
    "ios_idfv": ['"0A0a0a0a-1111-2222-3333-444444444444"', '"x"', "null"],
    "user_attributes.tier": PLAIN,
    "whole": PLAIN,
    "a b": PLAIN,
}


@st.composite
def plain_rows(draw: st.DrawFn) -> str:
    """Rows without objects, of the kind that is taken apart all at once."""
    names = draw(st.lists(st.sampled_from(sorted(PLAIN_KEYS)), min_size=1, max_size=5, unique=True))
    gap = draw(st.sampled_from(["", "", " "]))
    members = [
        f"{json.dumps(name)}:{gap}{draw(st.sampled_from(PLAIN_KEYS[name]))}" for name in names
    ]
    return (
        "{" + f",{gap}".join(members + (members[:1] if draw(st.integers(0, 15)) == 0 else [])) + "}"
    )


def by_engine(
    texts: list[str], folder: Path, name: str, more: dict[str, Any]
) -> tuple[Any, dict[str, Any], list[tuple[int, str]], str]:
    content = (
        "[" + "\n,".join(texts) + "]"
        if name.endswith(".json")
        else "".join(f"{text}\n" for text in texts)
    )
    (folder / name).write_text(content, encoding="utf-8")
    store, rejects = folder / f"{name}.duckdb", folder / f"{name}.rejects"
    request = ImportRequest([str(folder / name)], "f", now_ms=NOW_MS, rejects=str(rejects), **more)
    counts = import_files(store, request).counts.as_json()
    scratch = Scratch(folder)
    with open_store(scratch, store) as opened:
        lines = [
            line
            for (line,) in scratch.rows(
                f"select line from ({profiles_of(opened).json_lines('', provenance=True)})"
                " order by profile"
            )
        ]
        secret = opened.meta("secret")
    scratch.close()
    listed = (
        [json.loads(line) for line in rejects.read_bytes().splitlines()] if rejects.exists() else []
    )
    return (
        [_shown(parse_json(line)) for line in lines],
        counts,
        sorted((one["line"], one["code"]) for one in listed),
        secret,
    )


def _shown(profile: Any) -> dict[str, Any]:
    return {
        "mpid": profile["mpid"],
        "identities": profile["user_identities"],
        "attributes": {key: to_json(value) for key, value in profile["user_attributes"].items()},
        "lines": {key: int(one["line"]) for key, one in profile["provenance"].items()},
    }


def by_interpreter(
    texts: list[str], secret: str, more: dict[str, Any]
) -> tuple[Any, dict[str, Any], list[tuple[int, str]]]:
    reading = Reading(
        nulls=frozenset(more["nulls"]), columns=Columns(read_map(more["mapped"]), more["unknown"])
    )
    read: list[Batch | UnusableRow] = []
    for text in texts:
        try:
            read.append(read_document(parse_json(text), reading))
        except UnusableRow as error:
            read.append(error)
        except NotJson as error:
            read.append(UnusableRow(error.code, error.detail))
    interpreter = Interpreter(settings_from({}).rules, "rank", secret)
    counts = interpreter.run(Feed("f", number=1), "create-and-update", read, NOW_MS, None).as_json()
    people = []
    for _, person in sorted(interpreter.people.items()):
        cells = person.attributes(Feed(""))
        identities: dict[str, list[str]] = {}
        for one, _ in person.identities:
            if one.type != "ios_idfv":
                identities.setdefault(one.type, []).append(one.value)
        people.append(
            {
                "mpid": str(person.mpid),
                "identities": identities,
                "attributes": {key: held_json(cell.held) for key, cell in cells.items()},
                "lines": {key: cell.arrival + 1 for key, cell in cells.items()},
            }
        )
    return (
        people,
        counts,
        [
            (line, one.code)
            for line, one in enumerate(read, start=1)
            if isinstance(one, UnusableRow)
        ],
    )


def check(texts: list[str], mapped: bool, unknown: str) -> None:
    used = [one for one in MAPPED if mapped]
    # Each name that is mapped stands in some row, and a row has an identity, or the file would be
    # refused.
    texts = [
        *texts,
        *(
            ['{"customer_id":"Z","id":null,"o":{"plan":1},"whole":{},"_id":{"x":null},"t":null}']
            if mapped
            else ['{"customer_id":"Z"}']
        ),
    ]
    more = {"mapped": used, "nulls": NULLS if mapped else (), "unknown": unknown}
    note("\n".join(texts))
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.jsonl", "a.json"):
            people, counts, rejects, secret = by_engine(texts, Path(folder), name, more)
            expected, theirs, refused = by_interpreter(texts, secret, more)
            assert rejects == refused, name
            assert Counter(counts["reasons"]) == Counter(theirs["reasons"]), name
            assert counts == theirs, name
            assert people == expected, name


quick = settings(
    max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@quick
@given(
    st.lists(rows(), min_size=1, max_size=12),
    st.booleans(),
    st.sampled_from(["refuse", "attribute", "ignore"]),
)
def test_flat_rows_mean_the_same_to_engine_and_interpreter(
    texts: list[str], mapped: bool, unknown: str
) -> None:
    check(texts, mapped, unknown)


@pytest.mark.slow
@quick
@given(st.lists(plain_rows(), min_size=1, max_size=12), st.booleans())
def test_rows_taken_apart_all_at_once_mean_the_same(texts: list[str], mapped: bool) -> None:
    check(texts, mapped, "refuse")


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_flat_rows_mean_the_same_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(40, by_night=400),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(
        st.lists(plain_rows() if part % 2 else rows(), min_size=1, max_size=12),
        st.booleans(),
        st.sampled_from(["refuse", "attribute", "ignore"]),
    )
    def compare(texts: list[str], mapped: bool, unknown: str) -> None:
        check(texts, mapped, unknown)

    compare()
