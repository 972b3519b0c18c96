"""Criteria and conditions are read without lark as lark reads them by their grammars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profilectl.codes import UsageError
from profilectl.rules.criteria import grammar as criteria_grammar
from profilectl.rules.criteria.text import criterion_of
from profilectl.rules.event import condition_grammar
from profilectl.rules.event.condition import event_condition
from profilectl.rules.text.scanner import NotQuick, Unparsed


class Language(NamedTuple):
    """A language that is read in two ways."""

    quickly: Callable[[str], Any]
    """Reads a text without lark."""
    by_lark: Callable[[str], Any]
    """Reads a text with lark."""
    tokens: dict[str, list[str]]
    """Examples of its tokens, by their name."""
    tests: list[str]
    """Its tests, each once with each of its forms."""
    combining: tuple[str, ...]
    """The words between two tests."""


# fmt: off
STRINGS = ["'x'", "''", "'it''s (or)'", "'2024-01-31'", "'ΟΔΟΣ'", "'and'"]
CRITERIA = Language(
    criteria_grammar.quickly_parsed, criteria_grammar.parsed_by_lark,
    {
        "COMPARISON": ["=", "!=", "<>", "<=", ">=", "<", ">"],
        "NUMBER": ["3", "-0.5", "+.5", "5.", "007"],
        "SPAN": ["30d", "2 weeks", "1 AND", "5\tDays"],
        "DISTANCE": ["10 km", "1.5mi"],
        "STRING": STRINGS,
        "CONDITION": ["()", "(\ue000\ue000)"],
        "NAME": ["tier", "$City", '"or"', '"a ""b"""', "android", "count1", "Ünï", "not$"],
    },
    [
        "NAME COMPARISON STRING", "NAME COMPARISON NUMBER", "NAME is empty", "NAME Is Not Empty",
        "NAME in ( STRING )", "NAME not in ( NUMBER , STRING )", "NAME between STRING and NUMBER",
        "NAME not between NUMBER and NUMBER", "NAME contains STRING", "NAME starts with STRING",
        "NAME not ends with STRING", "NAME matches STRING", "NAME includes STRING",
        "NAME includes NUMBER", "NAME not includes part STRING", "NAME exists", "NAME not exists",
        "NAME before STRING", "NAME after STRING", "NAME not on STRING", "NAME within SPAN",
        "NAME over SPAN ago", "event", "EVENT STRING", "event NAME", "event NAME STRING",
        "event STRING where CONDITION", "event within SPAN", "event NAME where CONDITION on STRING",
        "event STRING between STRING and STRING", "count ( event STRING ) COMPARISON NUMBER",
        "count ( event NAME within SPAN ) between NUMBER and NUMBER", "audience STRING",
        "consent NAME is NAME", "consent NAME is not NAME", "device . NAME COMPARISON STRING",
        "attribution . NAME not exists", "first_seen within SPAN", "LAST_SEEN not before STRING",
        "environment COMPARISON STRING", "location within DISTANCE of NUMBER , NUMBER",
    ],
    ("and", "OR", "exclude"),
)
CONDITIONS = Language(
    condition_grammar.quickly_parsed, condition_grammar.parsed_by_lark,
    {
        "OPERATOR": ["=", "!=", "<>", "<=", ">=", "<", ">"],
        "NUMBER": ["3", "-0.5", "+.5", "5.", "1e5", "1E-2"],
        "BOOLEAN": ["true", "FALSE"],
        "STRING": STRINGS,
        "NAME": ["price", "a.b[].c", '"or"."is"', "$x", "nothing", "or_[]", "a.not", "Ünï"],
    },
    [
        "NAME OPERATOR STRING", "NAME OPERATOR NUMBER", "NAME OPERATOR BOOLEAN",
        "NAME in ( STRING )", "NAME Not in ( NUMBER , BOOLEAN , STRING )", "NAME contains STRING",
        "NAME contains NUMBER", "NAME not contains BOOLEAN", "NAME matches STRING",
        "NAME not matches STRING", "NAME is empty", "NAME IS not empty", "NAME exists",
        "NAME not exists", "NAME is null", "NAME is not Null",
    ],
    ("and", "OR"),
)
# fmt: on
LANGUAGES = {"criteria": CRITERIA, "conditions": CONDITIONS}
ODD = [
    "(",
    ")",
    ",",
    ".",
    "'",
    '"',
    "or",
    "AND",
    "not",
    "is",
    "e",
    "\u00a0",
    "\v",
    "\n",
    "#",
    "9",
    "in.x",
]


def _outline(node: Any) -> Any:
    """Return all that a node says, as plain values."""
    if node is None:
        return None
    if isinstance(node, str):
        return str(node), node.type, node.start_pos  # type: ignore[attr-defined]
    # of a node only the place of a field is asked for (text._Reader._test)
    fields = ("named", "device", "attribution", "first_seen", "last_seen", "environment")
    at = node.meta.start_pos if node.data in fields and hasattr(node.meta, "start_pos") else None
    return str(node.data), at, [_outline(child) for child in node.children]


def _read(read: Callable[[str], Any], text: str, fault: type[Exception]) -> Any:
    try:
        return _outline(read(text))
    except fault:
        return None


def _texts(language: Language) -> st.SearchStrategy[str]:
    """Return texts of a language, and texts that are almost of it."""
    blank = st.sampled_from([" "] * 9 + ["", "\n", "  "])
    pieces = st.sampled_from([*ODD, *(token for of in language.tokens.values() for token in of)])

    @st.composite
    def test(draw: st.DrawFn) -> str:
        words = draw(st.sampled_from(language.tests)).split()
        written = [draw(st.sampled_from(language.tokens.get(word, [word]))) for word in words]
        return "".join(f"{piece}{draw(blank)}" for piece in written)

    @st.composite
    def spoiled(draw: st.DrawFn) -> str:
        text = draw(whole)
        at = draw(st.integers(0, len(text)))
        end = draw(st.integers(at, min(at + 3, len(text))))
        return text[:at] + draw(pieces | st.just("")) + text[end:]

    def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        words = st.sampled_from(language.combining)
        return (
            st.tuples(inner, words, inner).map(" ".join)
            | inner.map(lambda text: f"({text})")
            | inner.map(lambda text: f"Not {text}")
        )

    whole = st.recursive(test(), combined, max_leaves=5)
    return whole | whole | spoiled() | st.lists(pieces, max_size=9).map(" ".join)


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES.keys())
@settings(deadline=None, suppress_health_check=list(HealthCheck))  # lark is built in the first
@given(data=st.data())
def test_texts_are_read_as_lark_reads_them(language: Language, data: st.DataObject) -> None:
    text = data.draw(_texts(language))
    by_lark = _read(language.by_lark, text, Unparsed)
    quickly = _read(language.quickly, text, NotQuick)
    if quickly is None and by_lark is not None:
        # only brackets that lie very deep are left to lark
        assert text.count("(") + text.lower().count("not") > criteria_grammar.DEEPEST
    else:
        assert quickly == by_lark


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES.keys())
def test_each_form_of_a_test_is_read_without_lark(language: Language) -> None:
    for test in language.tests:
        for place in range(max(map(len, language.tokens.values()))):
            examples = {name: of[place % len(of)] for name, of in language.tokens.items()}
            text = " ".join(examples.get(word, word) for word in test.split())
            assert _outline(language.quickly(text)) == _outline(language.by_lark(text))


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES.keys())
def test_brackets_that_lie_deep_are_read_by_lark(language: Language) -> None:
    name, test = "a", "= 1"
    for depth in (1, criteria_grammar.DEEPEST):
        text = "(" * depth + f"{name} {test}" + ")" * depth
        assert _outline(language.quickly(text)) == _outline(language.by_lark(text))
    deep = criteria_grammar.DEEPEST + 1
    with pytest.raises(NotQuick):
        language.quickly("(" * deep + f"{name} {test}" + ")" * deep)


def test_what_is_wrong_is_said_as_lark_finds_it() -> None:
    for text, at in (("tier = 'gold' and and", 19), ("tier = ", 8), ("tier = 'a' 5", 12)):
        with pytest.raises(UsageError, match=f"at character {at}"):
            criterion_of(text)
        with pytest.raises(UsageError, match=f"at character {at}"):
            event_condition(text)
