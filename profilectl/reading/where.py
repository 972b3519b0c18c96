"""Conditions on profiles: `tier = 'gold' and visits >= 3`, read with a grammar, written as SQL.

A name means what a column of that name means in an import (batch.field_named): an identity type, or
an attribute; `environment`, `mpid`, `first_seen_ms` and `last_seen_ms` are the profile's own.

    what a value is compared as        text in quotes             number              true, false
    a text                             it                         the number it is    -
    a number                           its text, as it came       it                  -
    a boolean                          true, false                -                   it
    a tag                              -                          -                   -
    a list                             its JSON text              -                   -
    an entry of a list (contains)      as a value                 as a value          as a value
    an identity                        its key (identity.py)      its key; for < and > as a number

What is compared as nothing (-), and what is not there, passes no test but `is empty`; `not`, `!=`
and `<>` turn a test around, so that they hold for it. A test of an identity holds where any of its
values passes. What exists and what is empty: presence.py.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from profilectl.codes import UsageError
from profilectl.profiles.read_model import Profiles
from profilectl.rules.batch import field_named
from profilectl.rules.fields import Unusable
from profilectl.rules.identity import BY_NAME, display, key_of
from profilectl.rules.sql.events import number_compared
from profilectl.rules.sql.identities import ENVIRONMENT_CODE, key
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import entries, held_as_cell
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.numbers import LITERAL, quantity
from profilectl.rules.text.presence import EMPTY

GRAMMAR = rf"""
?start: any
?any: all ("or"i all)*                                 -> any
?all: one ("and"i one)*                                -> all
?one: "not"i one                                       -> negation
    | "(" any ")"
    | NAME ("exists"i | "is"i "not"i "null"i)          -> exists
    | NAME ("not"i "exists"i | "is"i "null"i)          -> not_exists
    | NAME "is"i "not"i "empty"i                       -> filled
    | NAME "is"i "empty"i                              -> not_filled
    | NAME OPERATOR literal                            -> compared
    | NAME "in"i "(" literal ("," literal)* ")"        -> among
    | NAME "not"i "in"i "(" literal ("," literal)* ")" -> not_among
    | NAME "like"i STRING                              -> like
    | NAME "not"i "like"i STRING                       -> not_like
    | NAME "contains"i literal                         -> contains
    | NAME "not"i "contains"i literal                  -> not_contains
    | NAME "matches"i STRING                           -> matches
    | NAME "not"i "matches"i STRING                    -> not_matches
?literal: STRING -> text
    | NUMBER     -> number
    | BOOLEAN    -> boolean
OPERATOR: "=" | "!=" | "<>" | "<=" | ">=" | "<" | ">"
NUMBER: /{LITERAL}/i
BOOLEAN: /(true|false)\b/i
STRING: /'([^']|'')*'/
NAME: /"([^"]|"")+"/ | /(?!(and|or|not|is|in|like|contains|matches|null|true|false)\b)[^\W\d][\w.$]*|\$\w+/i
%import common.WS
%ignore WS
"""
EXAMPLE = "for example tier = 'gold' and visits >= 3; a text stands in single quotes"
CRITERIA = "events, consent and audiences are criteria: profilectl audiences preview takes them"
_CRITERION = re.compile(r"(?:\b(?:consent|event|audience)\s+|\bcount\s*)$", re.IGNORECASE)
OWN = {
    "environment": "environment",
    "mpid": "mpid",
    "first_seen_ms": "first_seen_ms",
    "last_seen_ms": "last_seen_ms",
}
"""What is the profile's own, and its column."""


@dataclass(slots=True)
class ProfileCondition:
    """A condition as SQL over the columns of Profiles.folded(keys).

    keys: the attributes it reads.
    """

    sql: str
    keys: list[str] = field(default_factory=list)


def check_condition(text: str) -> None:
    """Refuse a condition that is empty: it would mean everybody. Raises UsageError."""
    if not text.strip():
        raise UsageError(
            "--where is empty", f"{EXAMPLE.partition(';')[0]}; leave --where out for everybody"
        )


def condition_of(text: str, profiles: Profiles) -> ProfileCondition:
    """Read a condition on the profiles of a read model.

    Raises UsageError for a condition that is empty, for an attribute that nobody has, and with a
    mark under the character that was not expected.
    """
    from lark.exceptions import UnexpectedEOF, UnexpectedInput, UnexpectedToken

    check_condition(text)
    written = _ConditionWriter(profiles)
    try:
        return ProfileCondition(written.sql(_parser().parse(text)), written.keys)
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedEOF) or (
            isinstance(error, UnexpectedToken) and error.token.type == "$END"
        )
        at = len(text) if ended else int(error.pos_in_stream or 0)
        raise UsageError(
            f"the condition is not understood at character {at + 1}: {text[:at]}>>>{text[at:]}",
            CRITERIA if _CRITERION.search(text[:at]) else EXAMPLE,
        ) from None
    except RecursionError:
        raise UsageError("the condition is nested too deep", "take brackets away") from None


@functools.cache
def _parser() -> Any:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=False)


@dataclass(frozen=True, slots=True)
class _Field:
    """What a name means."""

    kind: str
    """own, identity or attribute."""
    name: str
    """Its name, or the identity type."""
    column: str
    """The SQL of its column, of an identity a list."""

    def text(self, column: str) -> str:
        """Return the SQL of the text of one value, null of a tag; of an identity, of its key."""
        if self.kind == "attribute":
            return held_as_cell(column)
        if self.kind == "identity":
            return key(BY_NAME[self.name], column)
        return _environment(column) if self.name == "environment" else f"{column}::varchar"

    def sought(self, text: str) -> str:
        """Return the text that is compared with: of an identity, its key."""
        return key_of(BY_NAME[self.name], display(text)) if self.kind == "identity" else text

    def any(self, test: Callable[[str], str]) -> str:
        """Return the SQL of whether a value passes a test of its column; never null."""
        if self.kind != "identity":
            return f"coalesce({test(self.column)}, false)"
        return f"coalesce(len(list_filter({self.column}, lambda one: {test('one')})) > 0, false)"


class _ConditionWriter:
    """Writes a condition's tree as SQL. Nothing of the text reaches the SQL unquoted."""

    def __init__(self, profiles: Profiles) -> None:
        self.profiles = profiles
        self.keys: list[str] = []

    def sql(self, tree: Any) -> str:
        match tree.data:
            case "any" | "all":
                word = " or " if tree.data == "any" else " and "
                return "(" + word.join(self.sql(one) for one in tree.children) + ")"
            case "negation":
                return f"(not {self.sql(tree.children[0])})"
        name, *operands = tree.children
        test = _TESTS[str(tree.data).removeprefix("not_")]
        passed = test(self._named(str(name)), operands)
        return f"(not {passed})" if tree.data.startswith("not_") else f"({passed})"

    def _named(self, name: str) -> _Field:
        """Return what a name means. Raises UsageError for an attribute that nobody has."""
        bare = name[1:-1].replace('""', '"') if name.startswith('"') else name
        if bare in OWN and not name.startswith('"'):
            return _Field("own", bare, OWN[bare])
        try:
            meant = field_named(bare)
        except Unusable:
            meant = None
        if meant is not None and meant.kind == "identity":
            held = meant.name in self.profiles.identities
            return _Field("identity", meant.name, f"i_{meant.name}" if held else "null::varchar[]")
        stored = meant.name if meant is not None and meant.kind == "attribute" else bare
        if not self.profiles.has(stored):
            known = (*self.profiles.names(), *OWN, *BY_NAME)
            raise no_such("attribute", bare, known, option="--where", lists="profilectl stats")
        if stored not in self.keys:
            self.keys.append(stored)
        return _Field("attribute", stored, f"v{self.keys.index(stored)}")


def _exists(meant: _Field, operands: Sequence[Any]) -> str:
    if meant.kind == "identity":
        return f"coalesce(len({meant.column}) > 0, false)"
    return f"{meant.column} is not null"


def _filled(meant: _Field, operands: Sequence[Any]) -> str:
    if meant.kind != "attribute":
        return _exists(meant, operands)
    return f"coalesce({meant.column} not in ({', '.join(map(quote_text, EMPTY))}), false)"


def _compared(meant: _Field, operands: Sequence[Any]) -> str:
    sign, literal = str(operands[0]), operands[1]
    if sign in ("!=", "<>"):
        return f"not {_compared(meant, ['=', literal])}"
    return meant.any(lambda one: _value_compared(meant, one, sign, literal))


def _value_compared(meant: _Field, column: str, sign: str, literal: Any) -> str:
    """Return the SQL of how one value compares with a literal; null where it does not compare."""
    token = literal.children[0]
    if literal.data == "boolean" and meant.kind == "attribute":
        if sign != "=":
            raise UsageError(
                f"{meant.name} {sign} {token}: true and false are compared by = and != only",
                "compare with a number, or with a text in quotes",
            )
        return f"{column} = chr(31) || '{str(token).lower()}'"
    if literal.data == "number" and (meant.kind != "identity" or sign != "="):
        return number_compared(meant.text(column), sign, quantity(str(token)))
    bare = str(token).lower() if literal.data == "boolean" else str(token)
    stated = _string(token) if literal.data == "text" else bare
    return f"{meant.text(column)} {sign} {quote_text(meant.sought(stated))}"


def _among(meant: _Field, operands: Sequence[Any]) -> str:
    return "(" + " or ".join(_compared(meant, ["=", literal]) for literal in operands) + ")"


def _contains(meant: _Field, operands: Sequence[Any]) -> str:
    """A list has an entry that = would find; what is no list is one entry."""
    (literal,) = operands
    equal = _compared(meant, ["=", literal])
    if meant.kind != "attribute":
        return equal
    token = literal.children[0]
    match literal.data:
        case "number":
            test = number_compared("entry.text", "=", quantity(str(token)))
        case "boolean":
            test = f"entry.raw = '{str(token).lower()}'"
        case _:
            test = f"entry.text = {quote_text(_string(token))}"
    listed = f"coalesce(len(list_filter({entries(meant.column)}, lambda entry: {test})) > 0, false)"
    return f"case when starts_with({meant.column}, chr(31) || '[') then {listed} else {equal} end"


def _like(meant: _Field, operands: Sequence[Any]) -> str:
    pattern = quote_text(meant.sought(_string(operands[0])))
    return meant.any(lambda one: f"{meant.text(one)} like {pattern}")


def _matches(meant: _Field, operands: Sequence[Any]) -> str:
    pattern = _string(operands[0])
    folds = meant.kind == "identity" and BY_NAME[meant.name].shape != "text"
    pattern = display(pattern) if meant.kind == "identity" else pattern
    _check_pattern(pattern)
    # A pattern cannot be folded letter by letter (\D is not \d): it ignores case instead.
    case = ", 'i'" if folds else ""
    return meant.any(lambda one: f"regexp_matches({meant.text(one)}, {quote_text(pattern)}{case})")


_TESTS: dict[str, Callable[[_Field, Sequence[Any]], str]] = {
    "exists": _exists,
    "filled": _filled,
    "compared": _compared,
    "among": _among,
    "contains": _contains,
    "like": _like,
    "matches": _matches,
}


def _string(token: Any) -> str:
    return str(token)[1:-1].replace("''", "'")


def _environment(column: str) -> str:
    return (
        f"case {column} "
        + " ".join(
            f"when {code} then {quote_text(name)}" for name, code in ENVIRONMENT_CODE.items()
        )
        + " end"
    )


def _check_pattern(pattern: str) -> None:
    import duckdb

    try:
        duckdb.execute("select regexp_matches('', $pattern)", {"pattern": pattern})
    except duckdb.Error as error:
        why = str(error).splitlines()[0].removeprefix("Invalid Input Error: ")[:200]
        raise UsageError(
            f"{pattern!r} is not a regular expression: {why}",
            "for example '^A.*n$'; like takes a pattern with % for any text",
        ) from None
