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
