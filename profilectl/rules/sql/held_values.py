"""The held form of a value as SQL: what stands in the columns of the store (text/values.py).

It imports nothing, so that a command that only shows a profile loads no criteria.
"""

from __future__ import annotations

# values.MARK is written chr(31) in SQL: the character itself cannot be seen.
DELETED = "chr(31)"
"""The SQL of the held form of "deleted"."""


def held_text(held_value: str) -> str:
    """Return the SQL of the text of a held value, or null for a tag and a list, which have none."""
    # Behind the mark stands an apostrophe and a string, or JSON: `[` begins a list, `n` a tag.
    return (
        f"case when not starts_with({held_value}, chr(31)) then {held_value}"
        f" when {held_value}[2:2] = '''' then {held_value}[3:]"
        f" when {held_value}[2:2] not in ('[', 'n') then {held_value}[2:] end"
    )


def held_as_json(held_value: str) -> str:
    """Return the SQL of the JSON text of a held value (values.held_json)."""
    return (
        f"case when starts_with({held_value}, chr(31) || '''')"
        f" then to_json({held_value}[3:])::varchar"
        f" when starts_with({held_value}, chr(31)) then {held_value}[2:]"
        f" else to_json({held_value})::varchar end"
    )


def held_as_text(held_value: str) -> str:
    """Return the SQL of a held value as a cell shows it (values.held_text)."""
    return (
        f"case when starts_with({held_value}, chr(31) || '''') then {held_value}[3:]"
        f" when starts_with({held_value}, chr(31)) then {held_value}[2:] else {held_value} end"
    )


def held_as_cell(held_value: str) -> str:
    """Return the SQL of a held value as a cell of CSV or Parquet: its text, or null for a tag."""
    return f"case when {held_value} <> chr(31) || 'null' then {held_as_text(held_value)} end"
