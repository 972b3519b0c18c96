"""Tests of one value as SQL: membership.passes for a whole column.

Each function takes the SQL of a text (or a time) and returns the SQL of a boolean that is never
null. Nothing of the user's text reaches it but through quote_text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from profilectl.rules.criteria.tree import Operand
from profilectl.rules.event.field import fold
from profilectl.rules.sql.events import like, number_compared, string
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.moments import DATE, EPOCH_MS, TIME, Days, Moment
from profilectl.rules.text.numbers import NUMBER, Quantity, quantity
from profilectl.rules.text.presence import EMPTY
from profilectl.rules.text.values import MARK

_SHORT_ENOUGH = 15
"""So many digits a double holds, whatever they are; beyond _FAR it holds no number at all."""
_FAR = 999
SIGNS = {"equals": "=", "less": "<", "at_most": "<=", "more": ">", "at_least": ">="}
ENTRY = r'"(?:[^"\\]|\\.)*"|[^\[\],]+'
"""One entry of the compact JSON of a list of scalars, as it is written."""


def whole_number(text: str) -> str:
    """Return the SQL of the 64-bit whole number that a text without blanks around it states
    (fields.whole_number), null where it states none. DuckDB's own cast would round 1.6, and
    takes 1e5 and 1_000.
    """
    return f"case when regexp_full_match({text}, '[+-]?[0-9]{{1,40}}') then try_cast({text} as bigint) end"


def held_text(held: str) -> str:
    """Return the SQL of the text of a held value (values.py); null of a tag and of a list, which
    have none.
    """
    return (
        f"case when not starts_with({held}, chr(31)) then {held} when {held}[2:2] = '''' then {held}[3:]"
        f" when {held}[2:2] not in ('[', 'n') then {held}[2:] end"
    )


def passes_held(held: str, operator: str, operands: Sequence[Operand], now_ms: int) -> str:
    """Return the SQL of a test of a held value, null where there is none.

    Most values are plain strings: for them the test stands on the column itself, which DuckDB
    evaluates once for each distinct value of a block.
    """
    if operator == "exists":
        return f"({held} is not null)"
    if operator == "filled":
        return f"coalesce({held} not in ({', '.join(map(quote_text, EMPTY))}), false)"
    if operator in ("includes", "part"):
        return _list_passes(held, operator, operands, now_ms)
    if operator in ("equals", "among") and all(
        isinstance(one, str) and _only_a_string(one) for one in operands
    ):
        return passes(held, operator, operands, now_ms)
    if isinstance(operands[0], Decimal):
        # A number is held behind the mark, a string without it; neither has the mark within.
        return passes(f"ltrim({held}, chr(31))", operator, operands, now_ms)
    return f"case when starts_with({held}, chr(31)) then {passes(held_text(held), operator, operands, now_ms)} else {passes(held, operator, operands, now_ms)} end"


_scalar = re.compile("[+-]?[0-9].*|true|false", re.DOTALL)


def _only_a_string(text: str) -> bool:
    """Say whether a text can only be that of a string that is held as itself."""
    return not (_scalar.fullmatch(fold(text)) or text.startswith(MARK))


def _list_passes(held: str, operator: str, operands: Sequence[Operand], now_ms: int) -> str:
    """Return the SQL of whether an entry of a held list passes.

    The JSON of a list without escapes is searched as it stands: for the entry in its quotes, or,
    where that could be found across two entries, to know that taking the list apart is in vain.
    """
    test = passes("entry", "equals" if operator == "includes" else "contains", operands, now_ms)
    entries = f"list_transform(regexp_extract_all({held}[2:], {quote_text(ENTRY)}), lambda raw: {_entry('raw')})"
    slow = f"list_bool_or(list_transform({entries}, lambda entry: {test}))"
    quick = ""
    if isinstance(operands[0], str):
        text = fold(operands[0])
        unescaped = f"not contains({held}, '\\')"
        if (
            operator == "includes"
            and _only_a_string(text)
            and '"' not in text
            and not text.startswith((",", "]"))
        ):
            entry = quote_text(f'"{text}"')
            quick = f"when {unescaped} then contains(lower({held}), {entry})"
        else:
            quick = (
                f"when {unescaped} and not contains(lower({held}), {quote_text(text)}) then false"
            )
    return f"coalesce(case when not starts_with({held}, chr(31) || '[') then false {quick} else {slow} end, false)"


def entries(held: str) -> str:
    """Return the SQL of the entries of a held list, in order: {raw, text}; text is null of null."""
    return f"list_transform(regexp_extract_all({held}[2:], {quote_text(ENTRY)}), lambda raw: {{'raw': raw, 'text': {_entry('raw')}}})"


def _entry(raw: str) -> str:
    """Return the SQL of the text of an entry of a list; null of null."""
    return f"case when starts_with({raw}, '\"') then ({string(raw)}) when {raw} <> 'null' then {raw} end"


def passes(text: str, operator: str, operands: Sequence[Operand], now_ms: int) -> str:
    """Return the SQL of a test of a text, null where there is none."""
    if operator == "exists":
        return f"({text} is not null)"
    if operator == "filled":
        return f"coalesce({text} <> '', false)"
    if operator == "among" and all(isinstance(one, str) for one in operands):
        return f"coalesce(lower({text}) in ({', '.join(quote_text(fold(str(one))) for one in operands)}), false)"
    if operator == "among":
        return "(" + " or ".join(passes(text, "equals", [one], now_ms) for one in operands) + ")"
    if isinstance(operands[0], Moment | Days):
        return f"coalesce({time_passes(time_of(text), operator, operands, now_ms)}, false)"
    if isinstance(operands[0], Decimal):
        return f"coalesce({_number_passes(text, operator, [one for one in operands if isinstance(one, Decimal)])}, false)"
    return f"coalesce({_like(f'lower({text})', operator, fold(str(operands[0])))}, false)"


def _like(text: str, operator: str, other: str) -> str:
    match operator:
        case "equals":
            return f"{text} = {quote_text(other)}"
        case "contains":
            return f"contains({text}, {quote_text(other)})"
        case "starts":
            return f"starts_with({text}, {quote_text(other)})"
        case "ends":
            return f"ends_with({text}, {quote_text(other)})"
    return f"{text} like {quote_text(like(other))} escape '!'"


def _number_passes(text: str, operator: str, others: Sequence[Decimal]) -> str:
    """Return the SQL of a comparison with numbers; null where the text is none."""
    signs = (">=", "<=") if operator == "between" else (SIGNS[operator],)
    numbers = [quantity(str(one)) for one in others]
    tests = [
        by_double(text, sign, one, number_compared(text, sign, one))
        for sign, one in zip(signs, numbers, strict=True)
    ]
    return f"case when regexp_full_match({text}, '{NUMBER}') then {' and '.join(tests)} end"


def by_double(text: str, sign: str, number: Quantity, exact: str) -> str:
    """Return the SQL of a comparison of a text that is a number, exact and many times as fast as
    digit by digit.

    Rounding keeps the order: two numbers whose doubles differ lie as those do. Where they are the
    same, and both are so short that a double holds all their digits, the numbers are the same; else
    `exact` decides.
    """
    written = number.written_out(_SHORT_ENOUGH)
    mine, other = f"try_cast({text} as double)", f"'{_double(number)}'::double"
    more, less, same = (
        str(holds).lower()
        for holds in (sign in (">", ">="), sign in ("<", "<="), sign in ("=", ">=", "<="))
    )
    short = (
        f"when length({text}) <= 15 and not contains(lower({text}), 'e') then {same} "
        if written is not None and len(written) <= _SHORT_ENOUGH
        else ""
    )
    return f"case when {mine} > {other} then {more} when {mine} < {other} then {less} {short}else {exact} end"


def _double(number: Quantity) -> str:
    """Return a number as DuckDB reads a double: what is too far for one is infinite, or 0."""
    magnitude = max(-_FAR, min(number.magnitude, _FAR))
    return f"{'-' if number.sign < 0 else ''}0.{number.digits or '0'}e{magnitude}"


def compared(mine: Sequence[str], operator: str, others: Sequence[str]) -> str:
    """Return the SQL of a comparison of numbers; between has two of each."""
    if operator == "between":
        return f"({mine[0]} >= {others[0]} and {mine[1]} <= {others[1]})"
    return f"{mine[0]} {SIGNS[operator]} {others[0]}"


def time_of(text: str) -> str:
    """Return the SQL of moments.time_of: milliseconds, null where a text is no time."""
    text = f"({text})"
    clock = (
        f"{text}[12:13]::bigint * 3600000 + {text}[15:16]::bigint * 60000"
        f" + coalesce(nullif(regexp_extract({text}, '^.{{16}}:([0-9]{{2}})', 1), '')::bigint, 0) * 1000"
        f" + coalesce(nullif(rpad(regexp_extract({text}, '[.]([0-9]{{1,3}})', 1), 3, '0'), '000')::bigint, 0)"
    )
    offset = "'([+-])([0-9]{2}):?([0-9]{2})$'"
    away = (
        f"coalesce(nullif(regexp_extract({text}, {offset}, 2), '')::bigint, 0) * 3600000"
        f" + coalesce(nullif(regexp_extract({text}, {offset}, 3), '')::bigint, 0) * 60000"
    )
    date = f"epoch_ms(try_cast({text}[1:10] as date))"
    dated = f"regexp_full_match({text}, '{DATE}') and {text}[1:4] <> '0000'"
    return (
        f"case when length({text}) = 10 then case when {dated} then {date} end"
        f" when regexp_full_match({text}, '{EPOCH_MS}') then {text}::bigint"
        f" when regexp_full_match({text}, '{TIME}') and {text}[1:4] <> '0000'"
        f" then {date} + {clock} - case when regexp_extract({text}, {offset}, 1) = '-' then -1 else 1 end * ({away}) end"
    )


def time_passes(at_ms: str, operator: str, operands: Sequence[Operand], now_ms: int) -> str:
    """Return the SQL of membership.time_passes; null where there is no time."""
    first = operands[0]
    if isinstance(first, Days):
        since_ms = now_ms - first.ms
        return (
            f"({at_ms} > {since_ms} and {at_ms} <= {now_ms})"
            if operator == "within"
            else f"{at_ms} <= {since_ms}"
        )
    last = operands[-1]
    assert isinstance(first, Moment)
    assert isinstance(last, Moment)
    match operator:
        case "before":
            return f"{at_ms} < {first.first_ms}"
        case "after":
            return f"{at_ms} >= {first.first_ms}"
    return f"({at_ms} between {first.first_ms} and {last.last_ms})"


DELETED = "chr(31)"


def held_as_json(held: str) -> str:
    """Return the SQL of the JSON text of a held value (values.held_json)."""
    return (
        f"case when starts_with({held}, chr(31) || '''') then to_json({held}[3:])::varchar"
        f" when starts_with({held}, chr(31)) then {held}[2:] else to_json({held})::varchar end"
    )


def held_as_text(held: str) -> str:
    """Return the SQL of a held value as a cell shows it (values.held_text)."""
    return f"case when starts_with({held}, chr(31) || '''') then {held}[3:] when starts_with({held}, chr(31)) then {held}[2:] else {held} end"


def held_as_cell(held: str) -> str:
    """Return the SQL of a held value as a cell of CSV or Parquet has it: its text; null for a tag,
    which no cell can say.
    """
    return f"case when {held} <> chr(31) || 'null' then {held_as_text(held)} end"
