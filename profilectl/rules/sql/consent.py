"""The members of objects that rows keep, one by one, as SQL; and what is said of consent: the twin
of consent.statements_of.
"""

from __future__ import annotations

STATE = "contains(rest, '\"consent_state\":')"
"""The condition that a row may say something of consent; it costs little."""


def members_of(rows: str, field: str, columns: str) -> str:
    """Return the SELECT of the members of an object in the `rest` of rows: the columns, name and
    value (JSON).

    Not by json_each, which makes the whole document anew for each of its members: the square of its
    length.
    """
    stated = f"select {columns}, json_extract(rest, '$.{field}') as stated from {rows}"
    return f"select {columns}, unnest(json_keys(stated)) as name, unnest(json_extract(stated, '$.*')) as value from ({stated}) where json_type(stated) = 'OBJECT'"


def statements(rows: str, columns: str) -> str:
    """Return the SELECT of what rows, which have `rest`, say of each purpose: the columns,
    regulation, purpose, and said (JSON).
    """
    of_purpose = (
        f"select {columns}, name as regulation, unnest(json_keys(value)) as purpose, unnest(json_extract(value, '$.*')) as said"
        f" from ({members_of(rows, 'consent_state', columns)}) where json_type(value) = 'OBJECT'"
    )
    return f"select * from ({of_purpose}) where json_type(said) = 'OBJECT'"
