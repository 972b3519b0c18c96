"""Lines of JSON say the same whether they are taken apart all at once or read one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from support.effort import at_length
from support.staging import staged_lines

from profilectl.rules.identity import WHITE_SPACE

NUMBERS = [
    "0", "-0", "7", "-7", "1.0", "1.50", "-0.0", "1e5", "1E400", "-1e-400", "12345678901234567",
    "999999999999999999", "1234567890123456789", "-1234567890123456789",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
    "9999999999999999999", "18446744073709551615", "18446744073709551616",
    "123456789012345678901234567890", "1783000000000",
]  # fmt: skip
STRINGS = [
    "", "a", "é", "🙂", "\u2028", ": x", "x, ", ", ", ": ", ",", ":", "}, {", "-0", ": -0", ",-0",
    "[1, -0]", ",]", ", ]", "user_attributes", "null", "\x1fq", "2020-01-01", "a: b, c", " ", "x ",
    "[", "{}", "\\", "/", "a/b", "\x7f", "'", 'say "hi"', "a\nb", "x" * 5000, "profilectl: cut out",
]  # fmt: skip
OWN_SPELLINGS = [
    '"\\u00e9"', '"a\\/b"', '"\\u0022: "', '"\\", "', '"\\\\"', '"x\\": "', '"\\ud83d\\ude42"',
    '"\\ud83d"', '"\\u0000"', "NaN", "-Infinity", "+1", "01", "1.", "tru", "'a'",
]  # fmt: skip
WORDS = st.sampled_from(STRINGS).map(lambda text: json.dumps(text, ensure_ascii=False))
SCALARS = WORDS | WORDS | st.sampled_from([*NUMBERS, "true", "false", "null", *OWN_SPELLINGS])
# How members and entries are laid out: without blanks, as most programs do, and in any other way.
PLAIN, REGULAR = (",", ":"), (", ", ": ")
LAYOUTS = [PLAIN, REGULAR, (",", ": "), (", ", ":"), (",  ", ":\t"), (" ,", " : ")]


@st.composite
def lists(draw: st.DrawFn, entries: st.SearchStrategy[str], layout: tuple[str, str]) -> str:
    return f"[{layout[0].join(draw(st.lists(entries, max_size=4)))}]"


def an_object(members: list[tuple[str, str]], layout: tuple[str, str]) -> str:
    comma, colon = layout
    return "{" + comma.join(f'"{key}"{colon}{value}' for key, value in members) + "}"


@st.composite
def members(
    draw: st.DrawFn, keys: list[str], values: st.SearchStrategy[str]
) -> list[tuple[str, str]]:
    """Draw members of an object, sometimes one of them twice."""
    chosen = draw(st.lists(st.sampled_from(keys), max_size=4, unique=True))
    twice = chosen[:1] if draw(st.integers(0, 11)) == 0 else []
    return [(key, draw(values)) for key in (*chosen, *twice)]


@st.composite
def events(draw: st.DrawFn, layout: tuple[str, str]) -> str:
    """Draw an order whose lists are of any length, and whose products are alike or not."""
    product = st.tuples(WORDS, st.sampled_from(NUMBERS)).map(
        lambda drawn: an_object([("id", drawn[0]), ("price", drawn[1])], layout)
    )
    strange = members(["id", "price", "coupon"], SCALARS).map(
        lambda drawn: an_object(drawn, layout)
    )
    entry = draw(st.sampled_from([product, product, product, strange]))
    action = an_object(
        [
            ("action", '"purchase"'),
            ("products", layout[0].join(["[" + layout[0].join(draw(st.lists(entry))) + "]"])),
        ],
        layout,
    )
    at = draw(st.sampled_from(["1783000000000", "1783000000000", *NUMBERS]))
    data = an_object([("timestamp_unixtime_ms", at), ("product_action", action)], layout)
    return an_object([("event_type", '"commerce_event"'), ("data", data)], layout)


@st.composite
def batches(draw: st.DrawFn) -> str:
    """Draw a batch, most of them as programs write them."""
    layout = draw(st.sampled_from([PLAIN, PLAIN, REGULAR, REGULAR, *LAYOUTS]))
    identities = an_object(
        draw(members(["customer_id", "email", "other"], SCALARS)) or [("customer_id", '"A"')],
        layout,
    )
    values = SCALARS | lists(SCALARS, layout)
    attributes = an_object(draw(members(["tier", "a", "b", "x y"], values)), layout)
    top = [("user_identities", identities), ("user_attributes", attributes)]
    if draw(st.booleans()):
        top.append(("mpid", draw(st.sampled_from(NUMBERS) | SCALARS)))
    if draw(st.integers(0, 3)) == 0:
        top.append(("timestamp_unixtime_ms", draw(st.sampled_from(NUMBERS))))
    if draw(st.booleans()):
        listed = draw(st.lists(events(layout), max_size=3))
        top.append(("events", f"[{layout[0].join(listed)}]"))
    top = draw(st.permutations(top)) if draw(st.booleans()) else top
    if draw(st.integers(0, 15)) == 0:
        top.append(draw(st.sampled_from([*top, ("odd", "1"), ("user_attributes", "{}")])))
    end = draw(st.sampled_from(["", "", "", "\r", " ", "\t", ",", "x"]))
    return an_object(top, layout) + end


@st.composite
def flat_rows(draw: st.DrawFn) -> str:
    layout = draw(st.sampled_from([PLAIN, REGULAR, *LAYOUTS]))
    values = SCALARS | lists(SCALARS, layout)
    row = draw(members(["tier", "a", "user_attributes.b", "mpid"], values))
    return an_object([("customer_id", draw(SCALARS)), *row], layout)


PIECES = [
    '"', "\\", ",", ":", "{", "}", "[", "]", " ", "\t", "\r", "0", "-", ".5", "1e5", "null", "true",
    "NaN", '""', '"tier":"x",', '"a":1,', '"user_attributes":{}', ", ", ": ", ",,", "é", "x" * 5000,
]  # fmt: skip


@st.composite
def broken(draw: st.DrawFn, text: str) -> str:
    """Break a text in a place or two."""
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 2, 7])))
        text = text[:start] + draw(st.sampled_from(PIECES)) + text[end:]
    return text


PLAIN_WORDS = st.sampled_from([one for one in STRINGS if "\n" not in one]).map(
    lambda text: json.dumps(text, ensure_ascii=False)
)
PLAIN_VALUES = {
    "customer_id": PLAIN_WORDS, "email": PLAIN_WORDS, "other": st.sampled_from(NUMBERS),
    "tier": PLAIN_WORDS, "a": st.sampled_from(NUMBERS), "b": st.sampled_from(["true", "false"]),
    "x y": st.sampled_from(["[]", '["a","b"]', '["a", "b"]', "[1,-0]", '[", ","x"]']),
    "n": st.sampled_from(["null", '"x"', '"x"', "1"]), "mpid": st.sampled_from(NUMBERS),
}  # fmt: skip


@st.composite
def alike(draw: st.DrawFn) -> list[str]:
    """Draw lines that are laid out alike, some members absent, and a few lines broken."""
    layout = draw(st.sampled_from([PLAIN, REGULAR]))
    is_flat = draw(st.booleans())
    lines = []
    for _ in range(draw(st.integers(4, 12))):
        said = {
            key: draw(values)
            for key, values in PLAIN_VALUES.items()
            if key in ("customer_id", "n") or draw(st.integers(0, 4))
        }
        top = list(said.items())
        if not is_flat:
            identities = [item for item in top if item[0] in ("customer_id", "email", "other")]
            attributes = [item for item in top if item[0] in ("tier", "a", "b", "x y", "n")]
            top = [
                ("user_identities", an_object(identities, layout)),
                ("user_attributes", an_object(attributes, layout)),
                *(item for item in top if item[0] == "mpid"),
            ]
        line = an_object(top, layout)
        lines.append(draw(broken(line)) if draw(st.integers(0, 4)) == 0 else line)
    return [line.replace("\n", " ") for line in lines]


@st.composite
def files(draw: st.DrawFn) -> list[str]:
    """Draw the lines of a file, all of one kind, so that most can be taken apart at once."""
    if draw(st.booleans()):
        return draw(alike())
    kind = draw(st.sampled_from([batches(), batches(), flat_rows()]))
    lines = draw(st.lists(kind, min_size=1, max_size=12))
    return [line.replace("\n", " ") for line in lines]


def check(lines: list[str]) -> None:
    """Stage lines in both ways, and compare.

    Who is nobody is judged while a line is read, or for all rows later (sift).
    """
    fast, slow = staged_lines(lines), staged_lines(lines, fast=False)
    refused = [json.loads(line) for line in slow.rejects.splitlines()]
    nobody = {one["line"] - 1 for one in refused if one["code"] == "NO_IDENTITY"}
    unusable = slow.judged - fast.judged
    rows = [
        {name: cell for name, cell in usable(row).items() if (row["seq"], name) not in unusable}
        for row in fast.rows
        if row["seq"] not in nobody
    ]
    assert rows == slow.rows
    assert [event for event in fast.events if event[0] not in nobody] == slow.events
    assert [remark for remark in fast.remarks if remark[0] not in nobody] == slow.remarks
    assert _others(fast.rejects) == _others(slow.rejects)
    assert not slow.fast


def usable(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its identities as they are used: without the blanks around them."""
    trimmed = {
        name: cell.strip(WHITE_SPACE) if name.startswith("i_") else cell
        for name, cell in row.items()
    }
    return {
        name: cell for name, cell in trimmed.items() if not (name.startswith("i_") and cell == "")
    }


def _others(rejects: bytes) -> list[bytes]:
    return [line for line in rejects.splitlines() if b'"NO_IDENTITY"' not in line]


quick = settings(
    max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@quick
@given(files())
def test_lines_say_the_same_in_both_ways(lines: list[str]) -> None:
    note("\n".join(lines))
    check(lines)


@pytest.mark.slow
@settings(quick, max_examples=at_length(300, by_night=10_000))
@given(files())
def test_lines_say_the_same_in_both_ways_at_length(lines: list[str]) -> None:
    note("\n".join(lines))
    check(lines)


def batch(number: int, **more: Any) -> dict[str, Any]:
    """Return a batch as many files have it."""
    return {
        "environment": "production",
        "user_identities": {"customer_id": f"C{number}", "email": f"c{number}@example.com"},
        "user_attributes": {"tier": "gold", "since": "2020-01-01", "note": "a: b, c"},
        **more,
    }


def order(number: int, products: int) -> dict[str, Any]:
    """Return an order of some products."""
    listed = [{"id": f"P{place}", "price": 12.5, "quantity": 1} for place in range(products)]
    action = {"action": "purchase", "products": listed}
    data = {"timestamp_unixtime_ms": 1_783_000_000_000 + number, "product_action": action}
    return {"event_type": "commerce_event", "data": data}


@pytest.mark.parametrize("separators", [PLAIN, REGULAR])
def test_regular_lines_are_all_taken_apart(separators: tuple[str, str]) -> None:
    """With blanks or without, with MPIDs of 19 digits, without attributes, with orders of any
    length.
    """
    documents = [
        *(batch(number) for number in range(20)),
        *(batch(number, mpid=number - 2**63) for number in range(20)),
        *(batch(number, mpid=2**63 - 1 - number, user_attributes={}) for number in range(20)),
        *(
            batch(number, events=[order(number, 1 + number), order(number, 3)])
            for number in range(40)
        ),
    ]
    lines = [json.dumps(document, separators=separators) for document in documents]
    check(lines)
    assert staged_lines(lines).fast == len(lines)


@pytest.mark.parametrize("text", ['": x"', '"x, "', '", "', '": "', '"}, {"', '"[1, -0]"'])
def test_a_blank_in_a_string_stays(text: str) -> None:
    """The blanks that go stand between the parts of a line."""
    lines = [
        f'{{"user_identities": {{"customer_id": "C{n}"}}, "user_attributes": {attributes}}}'
        for n, attributes in enumerate(
            [f'{{"a": {text}}}', f'{{"a": [{text}, {text}], "b": {text}}}', '{"a": "x"}'] * 9
        )
    ]
    check(lines)


@pytest.mark.parametrize("odd", [
    '{"customer_id":"A","tier":5  ,"a":"x"}', '{"customer_id":"A","tier":true  ,"a":"x"}',
    '{"customer_id":"A","tier":"x","a":[]  }', '{"customer_id":"A","tier":"x","a":"x"}x',
    '{"customer_id":"A","tier":"x","a":"x","a":"y"}', '{"customer_id":"A","tier":null,"a":"x"}',
    '{"customer_id":"A","tier":"\\"","a":"x"}', '{"customer_id":"A","tier":"a\\/b","a":"\\u00e9"}',
])  # fmt: skip
def test_a_line_that_is_laid_out_nearly_so(odd: str) -> None:
    """Its texts put together are as long as the line, and are not the line."""
    plain = [f'{{"customer_id":"C{n}","tier":"gold","a":"x"}}' for n in range(20)]
    check([*plain, odd])


@pytest.mark.parametrize("separators", [PLAIN, REGULAR])
@pytest.mark.parametrize("last", [{}, {"z": "always"}, {"z": None}])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("numbers", ["", "b", "ac", "c"])
def test_lines_without_some_members_are_put_together_all_the_same(
    separators: tuple[str, str],
    last: dict[str, str | None],
    grouped: bool,
    numbers: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object, **__: object) -> bool:
        raise AssertionError("a line is not laid out as the others are")

    monkeypatch.setattr("profilectl.importing.stage.json.jsonl.take_apart", refused)
    documents: list[dict[str, Any]] = []
    # Lines with all members say in which order they are.
    for number in [*range(64), *[63] * 20]:
        row: dict[str, Any] = {
            key: number if key in numbers else f"{key}{number}"
            for place, key in enumerate("abc")
            if number >> place & 1
        }
        identities = {"customer_id": f"C{number}"} | ({"email": "e@x.com"} if number & 8 else {})
        if not grouped:
            documents.append({**(identities if number & 16 else {}), **row, **last})
            continue
        attributes = {"user_attributes": {**row, **last}} if row or last else {}
        documents.append({"user_identities": identities, **attributes})
    lines = [json.dumps(document, separators=separators) for document in documents if document]
    assert staged_lines(lines).fast == len(lines)
    monkeypatch.undo()
    check(lines)
