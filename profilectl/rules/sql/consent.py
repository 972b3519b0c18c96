"""The members of objects in the other fields of rows, and statements of consent, as SQL.

It is the set-based twin of rules/consent.py.
"""

from __future__ import annotations

STATE = "contains(rest, '\"consent_state\":')"
"""The condition that a row may state a consent: a cheap search of the text, before JSON is read."""


def members_of(rows: str, field: str, columns: str) -> str:
    """Return the SELECT of the members of an object in `rest`: the columns, name and value (JSON).

    rows: a relation with `rest` and the columns. field: the name of the object.

    json_each is not used: it makes the whole document anew for each member, so its cost grows with
    the square of the document's length.
    """
    return f"""
    select {columns}, unnest(json_keys(members)) as name,
           unnest(json_extract(members, '$.*')) as value
    from (select {columns}, json_extract(rest, '$.{field}') as members from {rows})
    where json_type(members) = 'OBJECT'
    """


def statements(rows: str, columns: str) -> str:
    """Return the SELECT of the statements of consent in `rest`.

    They are those of consent.statements_of. The SELECT has the columns, regulation, purpose, and
    said (JSON). rows: a relation with `rest` and the columns.
    """
    # Regulations, then purposes below each; a member that is no object states nothing.
    return f"""
    select {columns}, regulation, purpose, said
    from (
        select {columns}, name as regulation, unnest(json_keys(value)) as purpose,
               unnest(json_extract(value, '$.*')) as said
        from ({members_of(rows, "consent_state", columns)})
        where json_type(value) = 'OBJECT'
    )
    where json_type(said) = 'OBJECT'
    """
