"""The operators of criteria: one table for the expression, TOML, SQL and the documents.

Source: domain.md 11.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CriterionOperator:
    """A way to test a value."""

    name: str
    """Its name in the tree."""
    takes: tuple[str, ...]
    """The kinds of operand that it can have: "text", "number", "time", "day" or "span"."""
    count: int | None
    """The number of its operands; None: one or more."""
    word: str
    """Its word in the expression."""
    negated: str
    """The word of its opposite in the expression; empty: `not` stands before the test."""
    key: str
    """Its key in TOML; that of exists and filled has the value `true` or `false`."""
    negated_key: str
    """The key of its opposite in TOML; empty: the test stands under `exclude`."""


_TEXT, _NUMBER, _BOTH = ("text",), ("number",), ("text", "number")
_TIME, _DAY, _SPAN, _NONE = ("time",), ("day",), ("span",), ()
# fmt: off
_OPERATORS: tuple[tuple[str, tuple[str, ...], int | None, str, str, str, bool], ...] = (
    #              operands: how
    # name         kinds     many   expression       its opposite          TOML             not_
    ("equals",     _BOTH,     1,     "=",             "!=",                 "equals",        True),
    ("among",      _BOTH,     None,  "in",            "not in",             "in",            True),
    ("contains",   _TEXT,     1,     "contains",      "not contains",       "contains",      True),
    ("starts",     _TEXT,     1,     "starts with",   "not starts with",    "starts_with",   True),
    ("ends",       _TEXT,     1,     "ends with",     "not ends with",      "ends_with",     True),
    ("matches",    _TEXT,     1,     "matches",       "not matches",        "matches",       True),
    ("less",       _BOTH,     1,     "<",             "",                   "less_than",     False),
    ("at_most",    _BOTH,     1,     "<=",            "",                   "at_most",       False),
    ("more",       _BOTH,     1,     ">",             "",                   "more_than",     False),
    ("at_least",   _BOTH,     1,     ">=",            "",                   "at_least",      False),
    ("between",    ("number",
                    "time"),  2,     "between",       "not between",        "between",       False),
    ("before",     _TIME,     1,     "before",        "not before",         "before",        False),
    ("after",      _TIME,     1,     "after",         "not after",          "after",         False),
    ("on",         _DAY,      1,     "on",            "not on",             "on",            False),
    ("within",     _SPAN,     1,     "within",        "not within",         "within",        False),
    ("ago",        _SPAN,     1,     "over",          "not over",           "ago",           False),
    ("includes",   _BOTH,     1,     "includes",      "not includes",       "includes",      True),
    ("part",       _TEXT,     1,     "includes part", "not includes part",  "includes_part", True),
    ("exists",     _NONE,     0,     "exists",        "not exists",         "exists",        False),
    ("filled",     _NONE,     0,     "is not empty",  "is empty",           "filled",        False),
)
# fmt: on
OPERATORS: tuple[CriterionOperator, ...] = tuple(
    CriterionOperator(
        name=name,
        takes=takes,
        count=count,
        word=word,
        negated=negated,
        key=key,
        negated_key=f"not_{key}" if has_negated_key else "",
    )
    for name, takes, count, word, negated, key, has_negated_key in _OPERATORS
)
"""All operators: the text, TOML, SQL and the documents follow this table."""
BY_NAME: Mapping[str, CriterionOperator] = {operator.name: operator for operator in OPERATORS}
MEANINGS: Mapping[str, tuple[str, str]] = {
    "equals": ("tier = 'gold'", "it is that text, number or boolean"),
    "among": ("tier in ('gold', 'tin')", "it is one of them"),
    "contains": ("name contains 'ann'", "the text has it in it; of a list, an entry"),
    "starts": ("city starts with 'Le'", "the text begins so"),
    "ends": ("email ends with '.org'", "the text ends so"),
    "matches": (
        "email matches 'a*@example.???'",
        "the whole text is so: `*` is any text, `?` one character",
    ),
    "less": ("visits < 3", "the number is less; or the text, letter by letter"),
    "at_most": ("visits <= 1e3", "it is that or less"),
    "more": ("visits > 3.5", "it is more"),
    "at_least": ("visits >= 3", "it is that or more"),
    "between": ("visits between 1 and 9", "the number or time lies there, bounds included"),
    "before": ("signup before '2020-01-01'", "the time is before that day or moment"),
    "after": ("signup after '2020-01-01T12:00Z'", "the time is that or later"),
    "on": ("signup on '2019-05-17'", "the time is of that day, in UTC"),
    "within": ("last_order within 30 days", "the time is not longer ago, and not to come"),
    "ago": ("last_order over 2 weeks ago", "the time is that long ago or longer"),
    "includes": ("sizes includes '40'", "an entry of the list is that"),
    "part": ("sizes includes part '4'", "an entry of the list has it in it"),
    "exists": ("tier exists", "there is a value, also an empty one"),
    "filled": ("tier is not empty", "there is a value with something in it"),
}
"""An example of each operator, and when it holds, for the documents."""
