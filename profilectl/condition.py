"""Conditions on profiles: `tier = 'gold' and visits >= 3`, read with a grammar, written as SQL.

A name means what a column of that name means in an import (batch.field_named): an identity type, or an
attribute; `environment`, `mpid`, `first_seen_ms` and `last_seen_ms` are the profile's own. A number
is compared as a number wherever the value is one, also in text; a text as text. A test of an
identity, or of a list with `contains`, holds where any of the values passes it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from profilectl.batch import field_named
from profilectl.codes import UsageError
from profilectl.fields import Unusable
from profilectl.identity import BY_NAME, display, key_of
from profilectl.identity_sql import key
from profilectl.profile import held_as_text
from profilectl.scratch import quote_text
from profilectl.segments import ENVIRONMENT_CODE

GRAMMAR = r"""
?start: any
?any: all ("or"i all)*                                 -> any
?all: one ("and"i one)*                                -> all
?one: "not"i one                                       -> negation
    | "(" any ")"
    | NAME "is"i "null"i                               -> absent
    | NAME "is"i "not"i "null"i                        -> present
    | NAME OPERATOR literal                            -> compared
    | NAME "in"i "(" literal ("," literal)* ")"        -> among
    | NAME "not"i "in"i "(" literal ("," literal)* ")" -> not_among
    | NAME "like"i STRING                              -> like
    | NAME "contains"i literal                         -> contains
    | NAME "matches"i STRING                           -> matches
?literal: STRING -> text
    | NUMBER     -> number
    | "true"i    -> true
    | "false"i   -> false
OPERATOR: "=" | "!=" | "<>" | "<=" | ">=" | "<" | ">"
NUMBER: /[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]{1,3})?/i
STRING: /'([^']|'')*'/
NAME: /"([^"]|"")+"/ | /(?!(and|or|not|is|in|like|contains|matches|null|true|false)\b)[^\W\d][\w.$]*|\$\w+/i
%import common.WS
%ignore WS
"""
OWN = {"environment": "environment", "mpid": "mpid", "first_seen_ms": "first_seen_ms", "last_seen_ms": "last_seen_ms"}


@dataclass(slots=True)
class Condition:
    """A condition as SQL over the columns of Profiles.folded(keys). keys: the attributes it reads."""

    sql: str
    keys: list[str] = field(default_factory=list)


def condition_of(text: str, identities: list[str]) -> Condition:
    """Read a condition. identities: the types that the store has columns for.

    Raises UsageError, with a mark under the character that was not expected.
    """
    from lark.exceptions import UnexpectedEOF, UnexpectedInput, UnexpectedToken

    written = _Written(identities)
    try:
        return Condition(written.sql(_parser().parse(text)), written.keys)
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END")
        at = len(text) if ended else int(error.pos_in_stream or 0)
        raise UsageError(f"the condition is not understood at character {at + 1}: {text[:at]}>>>{text[at:]}", "for example tier = 'gold' and visits >= 3") from None
    except RecursionError:
        raise UsageError("the condition is nested too deep", "take brackets away") from None


@functools.cache
def _parser() -> Any:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=False)


class _Written:
    """Writes a condition's tree as SQL. Nothing of the text reaches the SQL unquoted."""

    def __init__(self, identities: list[str]) -> None:
        self.identities = identities
        self.keys: list[str] = []

    def sql(self, tree: Any) -> str:
        match tree.data:
            case "any" | "all":
                word = " or " if tree.data == "any" else " and "
                return "(" + word.join(self.sql(one) for one in tree.children) + ")"
            case "negation":
                return f"(not {self.sql(tree.children[0])})"
        name, *rest = tree.children
        kind, column = self._named(str(name))
        match tree.data:
            case "absent":
                return f"({column} is null)"
            case "present":
                return f"({column} is not null)"
            case "compared":
                return self._any(kind, column, lambda one: _compared(kind, one, str(rest[0]), rest[1]))
            case "among" | "not_among":
                parts = " or ".join(self._any(kind, column, lambda one, literal=literal: _compared(kind, one, "=", literal)) for literal in rest)
                return f"(not ({parts}))" if tree.data == "not_among" else f"({parts})"
            case "like":
                return self._any(kind, column, lambda one: f"coalesce({_text(kind, one)} like {quote_text(_string(rest[0]))}, false)")
            case "matches":
                _check_pattern(_string(rest[0]))
                return self._any(kind, column, lambda one: f"coalesce(regexp_matches({_text(kind, one)}, {quote_text(_string(rest[0]))}), false)")
        return self._contains(kind, column, rest[0])

    def _named(self, name: str) -> tuple[str, str]:
        """Return what a name means: (own, identity or attribute; the SQL of its column)."""
        bare = name[1:-1].replace('""', '"') if name.startswith('"') else name
        if bare in OWN and not name.startswith('"'):
            return bare, OWN[bare]
        try:
            found = field_named(bare)
        except Unusable:
            found = None
        if found is not None and found.kind == "identity":
            return f"identity {found.name}", f"i_{found.name}" if found.name in self.identities else "null::varchar[]"
        key = found.name if found is not None and found.kind == "attribute" else bare
        if key not in self.keys:
            self.keys.append(key)
        return "attribute", f"v{self.keys.index(key)}"

    def _any(self, kind: str, column: str, test: Any) -> str:
        if not kind.startswith("identity"):
            return f"({test(column)})"
        return f"coalesce(len(list_filter({column}, lambda one: {test('one')})) > 0, false)"

    def _contains(self, kind: str, column: str, literal: Any) -> str:
        if kind.startswith("identity"):
            return self._any(kind, column, lambda one: _compared(kind, one, "=", literal))
        found = [_json(literal)]
        if literal.data == "number":  # also where it is held as text, as with =
            found.append(f'"{literal.children[0]}"')
        tests = " or ".join(f"json_contains({column}[2:], {quote_text(one)})" for one in found)
        return f"coalesce(case when starts_with({column}, chr(31) || '[') then {tests} end, false)"


def _string(token: Any) -> str:
    return str(token)[1:-1].replace("''", "'")


def _json(literal: Any) -> str:
    import json

    if literal.data == "text":
        return json.dumps(_string(literal.children[0]), ensure_ascii=False)
    return str(literal.children[0]) if literal.data == "number" else str(literal.data)


def _text(kind: str, column: str) -> str:
    if kind == "attribute":
        return held_as_text(column)
    if kind == "environment":
        return _environment(column)
    return f"{column}::varchar"


def _environment(column: str) -> str:
    return f"case {column} " + " ".join(f"when {code} then {quote_text(name)}" for name, code in ENVIRONMENT_CODE.items()) + " end"


def _check_pattern(pattern: str) -> None:
    import duckdb

    try:
        duckdb.execute("select regexp_matches('', $pattern)", {"pattern": pattern})
    except duckdb.Error as error:
        raise UsageError(f"{pattern!r} is not a regular expression: {str(error).splitlines()[0][:200]}") from None


_PLAIN = "'[+-]?[0-9]+([.][0-9]+)?'"
_WITH_EXPONENT = "'[+-]?[0-9]+([.][0-9]+)?[eE][+-]?[0-9]{1,3}'"


def _order(text: str, literal: str) -> str:
    """Return the SQL of -1, 0 or 1: how a text that is a number compares with another; null where it is none.

    Digit by digit, whatever their count: sign, then the length of the whole part, then the digits. A number with
    an exponent is compared as a double.
    """
    from decimal import Decimal

    number = Decimal(literal)
    whole, _, fraction = format(number.copy_abs(), "f").partition(".")
    mine = (whole.lstrip("0"), fraction.rstrip("0"))
    sign = 0 if not any(mine) else -1 if number < 0 else 1
    parts = (
        f"list_transform([{text}], lambda t: {{'w': ltrim(regexp_extract(t, '[0-9]+'), '0'),"
        " 'f': rtrim(regexp_extract(t, '[.]([0-9]+)', 1), '0'), 'n': starts_with(t, '-')})"
    )
    order = (
        f"list_transform(list_transform({parts}, lambda p: {{'s': case when p.w = '' and p.f = '' then 0 when p.n then -1 else 1 end,"
        f" 'm': case when len(p.w) <> {len(mine[0])} then sign(len(p.w) - {len(mine[0])}) when p.w <> '{mine[0]}' then (case when p.w < '{mine[0]}' then -1 else 1 end)"
        f" when p.f = '{mine[1]}' then 0 when p.f < '{mine[1]}' then -1 else 1 end}}),"
        f" lambda o: case when o.s <> {sign} then sign(o.s - {sign}) else o.s * o.m end)[1]"
    )
    return (
        f"case when regexp_full_match({text}, {_PLAIN}) then {order}"
        f" when regexp_full_match({text}, {_WITH_EXPONENT}) then sign({text}::double - {float(number)!r}::double) end"
    )


def _compared(kind: str, column: str, operator: str, literal: Any) -> str:
    operator = {"!=": "<>"}.get(operator, operator)
    absent = "true" if operator == "<>" else "false"  # what is not there is not equal to anything
    if literal.data == "number":
        return f"coalesce({_order(_text(kind, column), str(literal.children[0]))} {operator} 0, {absent})"
    if literal.data in ("true", "false"):
        return f"coalesce({column}::varchar {operator} chr(31) || '{literal.data}', {absent})"
    value = _string(literal.children[0])
    if kind.startswith("identity"):
        type_ = BY_NAME[kind.removeprefix("identity ")]
        column, value = key(type_, column), key_of(type_, display(value))
    return f"coalesce({_text(kind, column)} {operator} {quote_text(value)}, {absent})"
