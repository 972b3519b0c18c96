"""Random events, and conditions on them, for the tests of conditions and of calculated attributes:
few names, hostile values.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from profilectl.rules.text.values import Number, Value, to_json

HOSTILE = [
    "",
    "red",
    "RED",
    "Red ",
    "blue",
    "é",
    "É",
    "İ",
    "\u0394\u03a3",
    "\u03b4\u03c3",
    "\u03c2",
    "ß",
    "日本",
    "🙂",
    'a"b',
    "a\\",
    "\\",
    "a\nb",
    "\u001f1",
    "\u001f'",
    "\u001e\u001f",
    '"price":1.10,',
    'x"price":2',
    "%",
    "_",
    "!",
    "a*b?",
    "'",
    "null",
    "true",
    "[1]",
    "{}",
    " 1",
    "1 ",
    "1_0",
    "٣",
    "-",
    "+",
    ".5",
    "5.",
    "1e",
    "0x1",
    "NaN",
    "Infinity",
]
NUMBERS = [
    "0",
    "-0",
    "1",
    "2",
    "9",
    "10",
    "-1",
    "1.0",
    "1.10",
    "1.1",
    "0.1",
    "0.30000000000000004",
    "12.50",
    "-12.5",
    "1e2",
    "1E+2",
    "1e-7",
    "-1.5e3",
    "100",
    "1e999",
    "1e1000",
    "1e999999999",
    "-2e-40000000000000000000",
    "9007199254740993",
    "18446744073709551616",
    "123456789012345678",
    "1234567890123456789",
    "123456789012345678901234567890.123456789",
    "0.0000000000000000000000001",
    "0.005",
    "2.5",
    "3.3333333333",
    "999999999999",
    "1000000000000",
    "99999",
    "100000",
]
TEXT_NUMBERS = [*NUMBERS, "+1", "007", "00.50", "-00", "1.100", "+0.0", "1e+002"]
KEYS = ["price", "color", "a b", "a.b", 'q"x', 'x"price', "é", "$x", "back\\", "0", "data"]

texts = (
    st.sampled_from(HOSTILE)
    | st.sampled_from(TEXT_NUMBERS)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
)
numbers = st.sampled_from(NUMBERS).map(Number)
plain = (
    st.sampled_from(["red", "blue", "Red"])
    | st.sampled_from(["1", "2.5", "12.50"])
    | st.sampled_from(["1", "2.5", "10"]).map(Number)
)
scalars: st.SearchStrategy[Value] = plain | texts | numbers | st.booleans() | st.none()
nested: st.SearchStrategy[Value] = (
    st.lists(scalars, max_size=3)
    | st.dictionaries(st.sampled_from(KEYS), scalars, max_size=2)
    | st.lists(st.lists(scalars, max_size=2), max_size=2)
)
values: st.SearchStrategy[Value] = st.one_of(scalars, scalars, scalars, nested)
attributes = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)
product = st.fixed_dictionaries(
    {},
    optional={
        "price": scalars,
        "name": scalars,
        "quantity": st.sampled_from(
            [
                Number("1"),
                Number("2"),
                Number("3"),
                "2",
                Number("0"),
                Number("-1"),
                Number("1.5"),
                "x",
                None,
            ]
        )
        | scalars,
        "custom_attributes": attributes,
        "tags": values,
    },
)
products: st.SearchStrategy[Any] = st.lists(product | scalars, max_size=4) | values


@st.composite
def data(draw: st.DrawFn) -> dict[str, Value]:
    """Draw the `data` of an event: attributes, products, other members."""
    found: dict[str, Any] = {}
    if draw(st.booleans()):
        found["screen_name"] = draw(scalars)
    if draw(st.integers(0, 9)) < 8:
        found["custom_attributes"] = draw(attributes)
    if draw(st.booleans()):
        found["product_action"] = draw(
            st.fixed_dictionaries(
                {"action": texts},
                optional={"total_amount": scalars, "price": scalars, "products": products},
            )
            | scalars
        )
    if draw(st.integers(0, 9)) == 0:
        found["product_impressions"] = draw(
            st.lists(st.fixed_dictionaries({"products": products}) | scalars, max_size=2)
        )
    return found


documents = data().map(lambda found: {"data": found, "event_type": "custom_event"})

# Random conditions.
names = st.sampled_from(
    [
        *(f'"{key.replace(chr(34), chr(34) * 2)}"' for key in KEYS),
        "price",
        "color",
        "screen_name",
        "product_action.total_amount",
        "product_action.price",
        "product_action.products.price",
        "product_action.products.tags",
        "product_action.products[].name",
        "product_action.products",
        "product_impressions.products.price",
        "custom_attributes",
        "custom_attributes.data.price",
    ]
)
quoted = st.sampled_from([*HOSTILE, *TEXT_NUMBERS]).map(
    lambda text: "'" + text.replace("'", "''") + "'"
)
literals = quoted | st.sampled_from([*NUMBERS[:-2], ".5", "5.", "+7", "true", "FALSE"])
patterns = st.lists(
    st.sampled_from(
        ["*", "?", "a", "e", "1", ".", "é", "%", "_", "!", "\\", "\u03a3", "\n", "🙂", "re"]
    ),
    max_size=5,
).map(lambda parts: "'" + "".join(parts) + "'")
tests = st.one_of(
    st.tuples(names, st.sampled_from(["=", "!=", "<>", "<", "<=", ">", ">="]), literals).map(
        " ".join
    ),
    st.tuples(
        names,
        st.sampled_from(["in (", "not in ("]),
        st.lists(literals, min_size=1, max_size=3).map(", ".join),
    ).map(lambda it: f"{it[0]} {it[1]}{it[2]})"),
    st.tuples(names, st.sampled_from(["contains", "not contains"]), literals).map(" ".join),
    st.tuples(names, st.sampled_from(["matches", "not matches"]), patterns).map(" ".join),
    st.tuples(
        names,
        st.sampled_from(
            ["is empty", "is not empty", "exists", "not exists", "is null", "is not null"]
        ),
    ).map(" ".join),
    st.tuples(names, st.sampled_from(["includes", "not includes", "includes part"]), quoted).map(
        " ".join
    ),
    st.tuples(
        names,
        st.sampled_from(["starts with", "not starts with", "ends with", "not ends with"]),
        quoted,
    ).map(" ".join),
    st.tuples(
        names,
        st.sampled_from(
            [
                "between -1 and 12.5",
                "not between 1e-3 and 1e400",
                "before '2024-08-02'",
                "not after '2024-08-01T12:00Z'",
                "on '2024-08-01'",
                "between '2024-08-01' and '2024-08-02'",
            ]
        ),
    ).map(" ".join),
)
conditions = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map("".join),
        inner.map("not {}".format),
        inner.map("({})".format),
    ),
    max_leaves=4,
)


def text_of(document: Value) -> str:
    """Return an event as it is stored."""
    return to_json(document)
