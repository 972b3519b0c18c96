"""How computed values are written, as SQL: numbers and times as text, lists as JSON."""

from __future__ import annotations

from profilectl.rules.calculated import DECIMALS, FIRST_MS, LAST_MS
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import to_json

PLACES = 6
"""The places of short numbers (calculated_rows_sql)."""


def millionths(number: str) -> str:
    """Return the SQL of a small decimal with PLACES places as a whole number of 10^-PLACES."""
    return f"(({number})::decimal(18, {PLACES}) * {10**PLACES}::decimal({PLACES + 1}, 0))::bigint"


def digits(whole: str, places: int) -> str:
    """Return the SQL of a whole number of 10^-places as plain digits: no zeros at the end."""
    unit, fraction = 10**places, f"abs({whole} % {10**places})"
    before = f"case when {whole} < 0 then '-' else '' end || abs({whole} // {unit})"
    # DuckDB writes a decimal with two places in half the time of whole, point and cents
    cents = f"(({whole} // {unit // 100})::decimal(12, 0) * 0.01::decimal(2, 2))::varchar"
    all_places = f"rtrim(lpad({fraction}::varchar, {places}, '0'), '0')"
    # two places, as prices have, are the most frequent
    has_cents = f"{whole} % {unit // 100} = 0 and {whole} % {unit // 10} <> 0"
    return (
        f"case when {whole} is null then null"
        f" when {whole} % {unit} = 0 then ({whole} // {unit})::varchar"
        f" when {has_cents} then {cents}"
        f" else {before} || '.' || {all_places} end"
    )


def divided(whole: str, by: str) -> str:
    """Return the SQL of a quotient of whole numbers, rounded half to even."""
    twice = f"2 * abs(({whole}) % {by})"
    odd = f"({whole}) // {by} % 2 <> 0"
    up = f"{twice} > {by} or ({twice} = {by} and {odd})"
    return f"(({whole}) // {by} + case when {up} then sign({whole}) else 0 end)::bigint"


def plain(number: str) -> str:
    """Return the SQL of a decimal as plain digits: no zeros at the end."""
    return f"rtrim(rtrim({number}::varchar, '0'), '.')"


def quotient(total: str, scale: int, weight: str) -> str:
    """Return the SQL of total / weight as plain digits, rounded half to even.

    `scale` is the places of the total. It is computed in whole numbers of 10^-DECIMALS, so that
    nothing is rounded twice; null where weight is 0.
    """
    number = f"abs(replace({total}::varchar, '.', '')::hugeint) * {10 ** max(0, DECIMALS - scale)}"
    by = f"nullif({weight}, 0)::hugeint * {10 ** max(0, scale - DECIMALS)}"
    sign = f"case when {total} < 0 then '-' else '' end"
    parts = f"{{'n': {number}, 'w': {by}, 's': {sign}}}"
    # the parts are named in a list of one, so that each is worked out once
    remainder = "2 * (part.n % part.w)"
    odd = "(part.n // part.w) % 2 = 1"
    up = f"case when {remainder} > part.w or ({remainder} = part.w and {odd}) then 1 else 0 end"
    whole = (
        f"list_transform([{parts}], lambda part: {{'q': part.n // part.w + ({up}), 's': part.s}})"
    )
    fraction = f"lpad((part.q % {10**DECIMALS})::varchar, {DECIMALS}, '0')"
    text = f"rtrim(rtrim((part.q // {10**DECIMALS})::varchar || '.' || {fraction}, '0'), '.')"
    written = f"case when part.q = 0 then '0' else part.s || {text} end"
    return (
        f"list_transform({whole}, lambda part: case when part.q is not null then {written} end)[1]"
    )


def timestamp(at_ms: str) -> str:
    """Return the SQL of a time as ISO 8601 in UTC, null where it cannot be written."""
    written = f"strftime(epoch_ms({at_ms}), '%Y-%m-%dT%H:%M:%S.%gZ')"
    return f"case when {at_ms} between {FIRST_MS} and {LAST_MS} then {written} end"


def text_of(held: str) -> str:
    """Return the SQL of the text of a held scalar (values.held_text).

    chr(31) begins what is no text, and with an apostrophe a text that itself begins with chr(31).
    """
    return (
        f"case when not starts_with({held}, chr(31)) then {held}"
        f" when starts_with({held}, chr(31) || '''') then ({held})[3:] else ({held})[2:] end"
    )


def alphabetical(held: str) -> str:
    """Return the members of the struct that held values are sorted by (calculated.alphabetical)."""
    return f"'text': lower({text_of(held)}), 'held': {held}"


def json_list(held: str) -> str:
    """Return the SQL of the JSON text of a list of held scalars as values.to_json writes it.

    DuckDB writes the same, except for control characters (\\u001F, not \\u001f), and so also for
    values that are held with a MARK.
    """
    scalars = f"list_transform({held}, lambda scalar: {json_scalar('scalar')})"
    return (
        f"case when contains(to_json({held})::varchar, '\\u')"
        f" then '[' || array_to_string({scalars}, ',') || ']'"
        f" else to_json({held})::varchar end"
    )


def json_scalar(held: str) -> str:
    """Return the SQL of the JSON text of a held scalar as values.to_json writes it.

    Every escape is replaced by hand, because DuckDB writes some in another way.
    """
    text = text_of(held)
    escaped = text
    for letter in ("\\", '"', *map(chr, range(1, 32))):
        escaped = f"replace({escaped}, chr({ord(letter)}), {quote_text(to_json(letter)[1:-1])})"
    odd = f"""regexp_matches({text}, '["\\\\\\x00-\\x1f]')"""
    string = f"""'"' || case when {odd} then {escaped} else {text} end || '"'"""
    no_string = f"starts_with({held}, chr(31)) and not starts_with({held}, chr(31) || '''')"
    return f"case when {no_string} then ({held})[2:] else {string} end"
