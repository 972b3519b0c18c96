"""Conditions on profiles: `tier = 'gold' and visits >= 3`, read with a grammar, written as SQL.

A name means the same as the name of a column in an import (batch_fields.field_named): an identity
type or an attribute. `environment`, `mpid`, `first_seen_ms` and `last_seen_ms` are the profile's
own.

    what a value is compared as        text in quotes             number              true, false
    a text                             it                         the number it is    -
    a number                           its text, as it came       it                  -
    a boolean                          true, false                -                   it
    a tag                              -                          -                   -
    a list                             its JSON text              -                   -
    an entry of a list (contains)      as a value                 as a value          as a value
    an identity                        its key (identity.py)      its key; for < and > as a number

A value that is compared as nothing (-), and one that is not there, passes no test but `is empty`.
`not`, `!=` and `<>` turn a test around, so they hold for such a value. A test of an identity holds
if any of its values passes. presence.py says what exists and what is empty.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from profilectl.codes import UsageError
from profilectl.profiles.read_model import Profiles
from profilectl.rules.batch_fields import field_named
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import BY_NAME, display, key_of
from profilectl.rules.sql.events import number_compared
from profilectl.rules.sql.held_values import held_as_cell
from profilectl.rules.sql.identities import ENVIRONMENT_CODE, key
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import entries
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.numbers import LITERAL, quantity
from profilectl.rules.text.presence import EMPTY

if TYPE_CHECKING:
    from lark import Lark

WORDS = "and|or|not|is|in|like|contains|matches|null|true|false"
"""The words that are no names."""
# A name in double quotes may be any text, also one of the words.
GRAMMAR = rf"""
?start: any
?any: all ("or"i all)*                                 -> any
?all: test ("and"i test)*                              -> all
?test: "not"i test                                     -> negation
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
NAME: /"([^"]|"")+"/ | /(?!({WORDS})\b)[^\W\d][\w.$]*|\$\w+/i
%import common.WS
%ignore WS
"""
Branch = Any
"""A tree or a token of lark, which has no types for what is in them."""
EXAMPLE = "for example tier = 'gold' and visits >= 3; a text stands in single quotes"
CRITERIA = "events, consent and audiences are criteria: profilectl audiences preview takes them"
_CRITERION = re.compile(r"(?:\b(?:consent|event|audience)\s+|\bcount\s*)$", re.IGNORECASE)
OWN = ("environment", "mpid", "first_seen_ms", "last_seen_ms")
"""The names of the profile's own columns."""


@dataclass(slots=True)
class ProfileCondition:
    """A condition as SQL over the columns of Profiles.folded(keys)."""

    sql: str
    """The SQL of the condition."""
    keys: list[str] = field(default_factory=list)
    """The attributes that it reads."""


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
def _parser() -> Lark:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=False)


@dataclass(frozen=True, slots=True)
class _ConditionField:
    """The field that a name means."""

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
        """Return the text to compare with; for an identity, its key."""
        return key_of(BY_NAME[self.name], display(text)) if self.kind == "identity" else text

    def any(self, test: Callable[[str], str]) -> str:
        """Return the SQL of whether a value passes a test of its column; never null."""
        if self.kind != "identity":
            return f"ifnull({test(self.column)}, false)"
        return f"ifnull(len(list_filter({self.column}, lambda value: {test('value')})) > 0, false)"


class _ConditionWriter:
    """Writes a condition's tree as SQL. Nothing of the text reaches the SQL unquoted."""

    def __init__(self, profiles: Profiles) -> None:
        self.profiles = profiles
        self.keys: list[str] = []

    def sql(self, tree: Branch) -> str:
        """Return the SQL of a part of the condition."""
        match tree.data:
            case "any" | "all":
                word = " or " if tree.data == "any" else " and "
                return "(" + word.join(self.sql(child) for child in tree.children) + ")"
            case "negation":
                return f"(not {self.sql(tree.children[0])})"
        name, *operands = tree.children
        test = _TESTS[str(tree.data).removeprefix("not_")]
        passed = test(self._named(str(name)), operands)
        return f"(not {passed})" if tree.data.startswith("not_") else f"({passed})"

    def _named(self, name: str) -> _ConditionField:
        """Return the field that a name means.

        Raises UsageError for an attribute that nobody has.
        """
        bare = name[1:-1].replace('""', '"') if name.startswith('"') else name
        # in double quotes it is the attribute of that name
        if bare in OWN and not name.startswith('"'):
            return _ConditionField("own", bare, bare)
        try:
            column = field_named(bare)
        except UnusableRow:
            column = None
        if column is not None and column.kind == "identity":
            is_held = column.name in self.profiles.identities
            sql = f"i_{column.name}" if is_held else "null::varchar[]"
            return _ConditionField("identity", column.name, sql)
        stored = column.name if column is not None and column.kind == "attribute" else bare
        if not self.profiles.has(stored):
            names = (*self.profiles.names(), *OWN, *BY_NAME)
            raise no_such("attribute", bare, names, option="--where", lists="profilectl stats")
        if stored not in self.keys:
            self.keys.append(stored)
        return _ConditionField("attribute", stored, f"v{self.keys.index(stored)}")


def _exists(named: _ConditionField, operands: Sequence[Branch]) -> str:
    if named.kind == "identity":
        return f"ifnull(len({named.column}) > 0, false)"
    return f"{named.column} is not null"


def _filled(named: _ConditionField, operands: Sequence[Branch]) -> str:
    if named.kind != "attribute":
        return _exists(named, operands)
    return f"ifnull({named.column} not in ({', '.join(map(quote_text, EMPTY))}), false)"


def _compared(named: _ConditionField, operands: Sequence[Branch]) -> str:
    sign, literal = str(operands[0]), operands[1]
    # the whole test is turned around, so that it also holds where nothing is there
    if sign in ("!=", "<>"):
        return f"not {_compared(named, ['=', literal])}"
    return named.any(lambda column: _value_compared(named, column, sign=sign, literal=literal))


def _value_compared(named: _ConditionField, column: str, *, sign: str, literal: Branch) -> str:
    """Return the SQL of how one value compares with a literal; null where it does not compare."""
    token = literal.children[0]
    if literal.data == "boolean" and named.kind == "attribute":
        if sign != "=":
            raise UsageError(
                f"{named.name} {sign} {token}: true and false are compared by = and != only",
                "compare with a number, or with a text in quotes",
            )
        return f"{column} = chr(31) || '{str(token).lower()}'"
    if literal.data == "number" and (named.kind != "identity" or sign != "="):
        return number_compared(named.text(column), sign, quantity(str(token)))
    bare = str(token).lower() if literal.data == "boolean" else str(token)
    text = _string(token) if literal.data == "text" else bare
    return f"{named.text(column)} {sign} {quote_text(named.sought(text))}"


def _among(named: _ConditionField, operands: Sequence[Branch]) -> str:
    return "(" + " or ".join(_compared(named, ["=", literal]) for literal in operands) + ")"


def _contains(named: _ConditionField, operands: Sequence[Branch]) -> str:
    """Return the SQL of whether a list has an entry that = would find.

    A value that is no list counts as its own entry.
    """
    (literal,) = operands
    equal = _compared(named, ["=", literal])
    if named.kind != "attribute":
        return equal
    token = literal.children[0]
    match literal.data:
        case "number":
            test = number_compared("entry.text", "=", quantity(str(token)))
        case "boolean":
            test = f"entry.raw = '{str(token).lower()}'"
        case _:
            test = f"entry.text = {quote_text(_string(token))}"
    listed = f"ifnull(len(list_filter({entries(named.column)}, lambda entry: {test})) > 0, false)"
    return f"if(starts_with({named.column}, chr(31) || '['), {listed}, {equal})"


def _like(named: _ConditionField, operands: Sequence[Branch]) -> str:
    pattern = quote_text(named.sought(_string(operands[0])))
    return named.any(lambda column: f"{named.text(column)} like {pattern}")


def _matches(named: _ConditionField, operands: Sequence[Branch]) -> str:
    pattern = _string(operands[0])
    folds = named.kind == "identity" and BY_NAME[named.name].shape != "text"
    pattern = display(pattern) if named.kind == "identity" else pattern
    _check_pattern(pattern)
    # A pattern cannot be folded letter by letter (\D is not \d): it ignores case instead.
    case = ", 'i'" if folds else ""
    quoted = quote_text(pattern)
    return named.any(lambda column: f"regexp_matches({named.text(column)}, {quoted}{case})")


_TESTS: dict[str, Callable[[_ConditionField, Sequence[Branch]], str]] = {
    "exists": _exists,
    "filled": _filled,
    "compared": _compared,
    "among": _among,
    "contains": _contains,
    "like": _like,
    "matches": _matches,
}


def _string(token: object) -> str:
    return str(token)[1:-1].replace("''", "'")


def _environment(column: str) -> str:
    """Return the SQL of the name of an environment; null for a code that has none."""
    names = " ".join(
        f"when {code} then {quote_text(name)}" for name, code in ENVIRONMENT_CODE.items()
    )
    return f"case {column} {names} end"


def _check_pattern(pattern: str) -> None:
    """Refuse a pattern that DuckDB, which is to run it, does not take. Raises UsageError."""
    import duckdb

    try:
        duckdb.execute("select regexp_matches('', $pattern)", {"pattern": pattern})
    except duckdb.Error as error:
        why = str(error).splitlines()[0].removeprefix("Invalid Input Error: ")[:200]
        raise UsageError(
            f"{pattern!r} is not a regular expression: {why}",
            "for example '^A.*n$'; like takes a pattern with % for any text",
        ) from None
