"""The lines of a CSV file, put together in SQL: a cell is quoted only where it must be."""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.rules.sql.quoting import quote_identifier, quote_text

PLAIN_NUMBER = "[+-]?[0-9]+([.][0-9]+)?"
"""A text that a spreadsheet takes for a number, and does not run."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The beginnings of cells that a spreadsheet would run; a number with a sign is none of them."""


def csv_line(
    columns: Sequence[str], numbers: Sequence[str], *, safe: bool, listed: bool = False
) -> str:
    """Return the SQL of the CSV line of some columns.

    A cell is quoted only where it must be; a null is an empty cell. `numbers` are the columns that
    are whole numbers. With `safe`, an apostrophe comes before a cell that a spreadsheet would run;
    with `listed`, the last column is a list of cells.
    """
    cells = [
        f"ifnull({quote_identifier(name)}::varchar, '')"
        if name in numbers
        else csv_cell(quote_identifier(name), safe=safe)
        for name in columns
    ]
    if listed:
        cell = csv_cell("cell", safe=safe)
        transformed = f"list_transform({columns[-1]}, lambda cell: {cell})"
        cells[-1] = f"array_to_string({transformed}, ',')"
    return f"concat_ws(',', {', '.join(cells)})"


def csv_cell(cell: str, *, safe: bool) -> str:
    """Return the SQL of a text as a CSV cell."""
    if safe:
        begins = " or ".join(f"starts_with({cell}, {quote_text(begin)})" for begin in FORMULA)
        is_number = f"regexp_full_match({cell}, '{PLAIN_NUMBER}')"
        cell = f"if(({begins}) and not {is_number}, '''' || {cell}, {cell})"
    special = " or ".join(
        f"contains({cell}, {text})" for text in ("','", "'\"'", "chr(10)", "chr(13)")
    )
    quoted = f"'\"' || replace({cell}, '\"', '\"\"') || '\"'"
    return f"ifnull(if({special}, {quoted}, {cell}), '')"
