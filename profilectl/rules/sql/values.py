"""Tests of one value as SQL: membership.passes for a whole column.

Each function takes the SQL of a text (or of a time) and returns the SQL of a boolean that is never
null. The user's text reaches it through quote_text only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from profilectl.rules.criteria.tree import Operand
from profilectl.rules.event.field import caseless
from profilectl.rules.sql.events import definite, like, number_compared, string
from profilectl.rules.sql.held_values import held_text
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.moments import DATE, EPOCH_MS, TIME, Days, Moment
from profilectl.rules.text.numbers import NUMBER, Quantity, quantity
from profilectl.rules.text.presence import EMPTY
from profilectl.rules.text.values import MARK

_SHORT_ENOUGH = 15
"""The number of digits that a double always holds."""
_FAR = 999
"""Beyond this magnitude a double holds no number at all."""
SIGNS = {"equals": "=", "less": "<", "at_most": "<=", "more": ">", "at_least": ">="}
ENTRY = r'"(?:[^"\\]|\\.)*"|[^\[\],]+'
"""The pattern of an entry in the compact JSON of a list of scalars."""


def whole_number(text: str) -> str:
    """Return the SQL of the 64-bit whole number in a text, or null: fields.whole_number.

    The text has no outer white space. DuckDB's own cast would round 1.6, and takes 1e5 and 1_000.
    """
    return (
        f"case when regexp_full_match({text}, '[+-]?[0-9]{{1,40}}')"
        f" then try_cast({text} as bigint) end"
    )


def passes_held(held_value: str, operator: str, operands: Sequence[Operand], now_ms: int) -> str:
    """Return the SQL of a test of a held value, which is null if there is none.

    Most values are plain strings. For them the test stands on the column itself, which DuckDB
    evaluates once for each distinct value of a block.
    """
    if operator == "exists":
        return f"({held_value} is not null)"
    if operator == "filled":
        return definite(f"{held_value} not in ({', '.join(map(quote_text, EMPTY))})")
    if operator in ("includes", "part"):
        return _list_passes(held_value, operator, operands, now_ms=now_ms)
    if operator == "contains":
        return _contains_passes(held_value, operands, now_ms=now_ms)
    # Such texts are never held behind the mark, so the column needs no second form.
    if operator in ("equals", "among") and all(
        isinstance(operand, str) and _only_a_string(operand) for operand in operands
    ):
        return passes(held_value, operator, operands, now_ms=now_ms)
    if isinstance(operands[0], Decimal):
        # A number is held behind the mark, a string without it; neither has the mark within.
        return passes(f"ltrim({held_value}, chr(31))", operator, operands, now_ms=now_ms)
    return _text_held_passes(held_value, operator, operands, now_ms=now_ms)


def _text_held_passes(
    held_value: str, operator: str, operands: Sequence[Operand], *, now_ms: int
) -> str:
    marked = passes(held_text(held_value), operator, operands, now_ms=now_ms)
    plain = passes(held_value, operator, operands, now_ms=now_ms)
    return f"case when starts_with({held_value}, chr(31)) then {marked} else {plain} end"


def _contains_passes(held_value: str, operands: Sequence[Operand], *, now_ms: int) -> str:
    """Return the SQL of `contains`: a list contains what an entry of it contains."""
    entry = _list_passes(held_value, "part", operands, now_ms=now_ms)
    text = _text_held_passes(held_value, "contains", operands, now_ms=now_ms)
    return f"case when starts_with({held_value}, chr(31) || '[') then {entry} else {text} end"


_scalar = re.compile("[+-]?[0-9].*|true|false", re.DOTALL)


def _only_a_string(text: str) -> bool:
    """Return whether a text can only be that of a string that is held as itself."""
    return not (_scalar.fullmatch(caseless(text)) or text.startswith(MARK))


def _list_passes(
    held_value: str, operator: str, operands: Sequence[Operand], *, now_ms: int
) -> str:
    """Return the SQL of whether an entry of a held list passes.

    If the JSON of a list has no escapes, it is searched as a text. An entry in its quotes that is
    found there is in the list. A text that may also be found across two entries only shows, if it
    is not found, that the list need not be taken apart.
    """
    inner = "equals" if operator == "includes" else "contains"
    test = passes("entry", inner, operands, now_ms=now_ms)
    texts = f"list_transform({_raw_entries(held_value)}, lambda raw: {_entry('raw')})"
    slow = f"list_bool_or(list_transform({texts}, lambda entry: {test}))"
    quick = ""
    if isinstance(operands[0], str):
        text = caseless(operands[0])
        unescaped = f"not contains({held_value}, '\\')"
        if (
            operator == "includes"
            and _only_a_string(text)
            and '"' not in text
            and not text.startswith((",", "]"))
        ):
            entry = quote_text(f'"{text}"')
            quick = f"when {unescaped} then contains(lower({held_value}), {entry})"
        else:
            within = f"contains(lower({held_value}), {quote_text(text)})"
            quick = f"when {unescaped} and not {within} then false"
    return definite(
        f"case when not starts_with({held_value}, chr(31) || '[') then false"
        f" {quick} else {slow} end"
    )


def _raw_entries(held_value: str) -> str:
    """Return the SQL of the entries of a held list as its JSON has them."""
    return f"regexp_extract_all({held_value}[2:], {quote_text(ENTRY)})"


def entries(held_value: str) -> str:
    """Return the SQL of the entries of a held list, in order: {raw, text}; null has no text."""
    entry = f"{{'raw': raw, 'text': {_entry('raw')}}}"
    return f"list_transform({_raw_entries(held_value)}, lambda raw: {entry})"


def _entry(raw: str) -> str:
    """Return the SQL of the text of an entry of a list; it is null if the entry is null."""
    return (
        f"case when starts_with({raw}, '\"') then ({string(raw)})"
        f" when {raw} <> 'null' then {raw} end"
    )


def passes(text: str, operator: str, operands: Sequence[Operand], now_ms: int) -> str:
    """Return the SQL of a test of a text, which is null if there is none."""
    if operator == "exists":
        return f"({text} is not null)"
    if operator == "filled":
        return definite(f"{text} <> ''")
    if operator == "among":
        if all(isinstance(operand, str) for operand in operands):
            listed = ", ".join(quote_text(caseless(str(operand))) for operand in operands)
            return definite(f"lower({text}) in ({listed})")
        # Numbers one by one: each is compared exactly, as a number and not as text.
        tests = (passes(text, "equals", [operand], now_ms=now_ms) for operand in operands)
        return "(" + " or ".join(tests) + ")"
    if isinstance(operands[0], Moment | Days):
        return definite(time_passes(time_of(text), operator, operands, now_ms=now_ms))
    if isinstance(operands[0], Decimal):
        limits = [operand for operand in operands if isinstance(operand, Decimal)]
        return definite(_number_passes(text, operator, limits))
    return definite(_text_passes(f"lower({text})", operator, caseless(str(operands[0]))))


def _text_passes(text: str, operator: str, sought: str) -> str:
    literal = quote_text(sought)
    match operator:
        case "equals":
            return f"{text} = {literal}"
        case "contains":
            return f"contains({text}, {literal})"
        case "starts":
            return f"starts_with({text}, {literal})"
        case "ends":
            return f"ends_with({text}, {literal})"
        case "less" | "at_most" | "more" | "at_least":
            return f"{text} {SIGNS[operator]} {literal}"
    return f"{text} like {quote_text(like(sought))} escape '!'"


def _number_passes(text: str, operator: str, limits: Sequence[Decimal]) -> str:
    """Return the SQL of a comparison with numbers, or null if the text is no number."""
    signs = (">=", "<=") if operator == "between" else (SIGNS[operator],)
    tests = []
    for sign, limit in zip(signs, limits, strict=True):
        number = quantity(str(limit))
        exact = number_compared(text, sign, number)
        tests.append(by_double(text, sign, number, exact=exact))
    # Only texts of this form are numbers: a cast to double would take `inf` and `nan` too.
    return f"case when regexp_full_match({text}, '{NUMBER}') then {' and '.join(tests)} end"


def by_double(text: str, sign: str, number: Quantity, exact: str) -> str:
    """Return the SQL of a comparison of a text that is a number, much faster than digit by digit.

    It is exact all the same, because rounding keeps the order: two numbers whose doubles differ
    compare as those do. If the doubles are the same, and both numbers are so short that a double
    holds all their digits, the numbers are the same; else `exact` decides.

    exact: the SQL of the comparison digit by digit.
    """
    written = number.written_out(_SHORT_ENOUGH)
    mine, limit = f"try_cast({text} as double)", f"'{_double(number)}'::double"
    more, less, same = (
        str(is_true).lower()
        for is_true in (sign in (">", ">="), sign in ("<", "<="), sign in ("=", ">=", "<="))
    )
    short = (
        f"when length({text}) <= 15 and not contains(lower({text}), 'e') then {same} "
        if written is not None and len(written) <= _SHORT_ENOUGH
        else ""
    )
    return (
        f"case when {mine} > {limit} then {more} when {mine} < {limit} then {less}"
        f" {short}else {exact} end"
    )


def _double(number: Quantity) -> str:
    """Return a number as DuckDB reads a double; one too far for a double is infinite, or 0."""
    magnitude = max(-_FAR, min(number.magnitude, _FAR))
    return f"{'-' if number.sign < 0 else ''}0.{number.digits or '0'}e{magnitude}"


def compared(numbers: Sequence[str], operator: str, limits: Sequence[str]) -> str:
    """Return the SQL of a comparison of numbers; between has two of each."""
    if operator == "between":
        return f"({numbers[0]} >= {limits[0]} and {numbers[1]} <= {limits[1]})"
    return f"{numbers[0]} {SIGNS[operator]} {limits[0]}"


def time_of(text: str) -> str:
    """Return the SQL of moments.time_of: milliseconds, or null if a text is no time."""
    text = f"({text})"
    offset = "'([+-])([0-9]{2}):?([0-9]{2})$'"
    seconds = _number_in(text, "'^.{16}:([0-9]{2})'")
    # A fraction is filled up to three digits: .5 is 500 milliseconds.
    clock = (
        f"{text}[12:13]::bigint * 3600000 + {text}[15:16]::bigint * 60000"
        f" + {seconds} * 1000"
        f" + coalesce(nullif(rpad(regexp_extract({text}, '[.]([0-9]{{1,3}})', 1), 3, '0'), '000')"
        "::bigint, 0)"
    )
    hours, minutes = (_number_in(text, offset, group=group) for group in (2, 3))
    date = f"epoch_ms(try_cast({text}[1:10] as date))"
    # DuckDB has a year 0; the dates of Python begin with the year 1.
    has_year = f"{text}[1:4] <> '0000'"
    # A text of ten characters can only be a day: EPOCH_MS has eleven digits or more.
    return (
        f"case when length({text}) = 10"
        f" then case when regexp_full_match({text}, '{DATE}') and {has_year} then {date} end"
        f" when regexp_full_match({text}, '{EPOCH_MS}') then {text}::bigint"
        f" when regexp_full_match({text}, '{TIME}') and {has_year} then {date} + {clock}"
        f" - case when regexp_extract({text}, {offset}, 1) = '-' then -1 else 1 end"
        f" * ({hours} * 3600000 + {minutes} * 60000) end"
    )


def _number_in(text: str, pattern: str, group: int = 1) -> str:
    """Return the SQL of the whole number in a group of a pattern, or 0."""
    return f"coalesce(nullif(regexp_extract({text}, {pattern}, {group}), '')::bigint, 0)"


def time_passes(at_ms: str, operator: str, operands: Sequence[Operand], now_ms: int) -> str:
    """Return the SQL of membership.time_passes, or null if there is no time."""
    start, end = operands[0], operands[-1]
    if isinstance(start, Days):
        since_ms = now_ms - start.ms
        if operator == "within":
            return f"({at_ms} > {since_ms} and {at_ms} <= {now_ms})"
        return f"{at_ms} <= {since_ms}"
    assert isinstance(start, Moment)
    assert isinstance(end, Moment)
    match operator:
        case "before":
            return f"{at_ms} < {start.first_ms}"
        case "after":
            return f"{at_ms} >= {start.first_ms}"
    return f"({at_ms} between {start.first_ms} and {end.last_ms})"
