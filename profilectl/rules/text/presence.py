"""What is there, and what is empty: one meaning in audiences, in conditions on events and on
profiles.

`is null` is another way to say `not exists`, `is not null` to say `exists`. In SQL:
event_sql.EventSql (events), value_sql.passes_held and where.py (attributes).
"""

from __future__ import annotations

from profilectl.rules.text.values import TAG, Value

# fmt: off
PRESENCE: dict[str, tuple[bool, bool]] = {
    # what stands there                            exists  is not empty
    "nothing":                                    (False,  False),
    "null of an event or a device":               (False,  False),
    "null of a user attribute, which is a tag":   (True,   False),
    "an empty text, list or object":              (True,   False),
    "anything else, also 0, false and blanks":    (True,   True),
}
# fmt: on
EMPTY = ("", "\x1f[]", TAG)
"""The held values (values.py) that are empty."""


def exists(value: Value) -> bool:
    """Say whether what stands in an event or a device exists: there null says nothing."""
    return value is not None


def is_filled(value: object) -> bool:
    """Say whether what stands somewhere is not empty."""
    return value not in (None, "", [], {})
