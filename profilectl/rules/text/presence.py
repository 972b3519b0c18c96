"""The tests "exists" and "is empty": one meaning for audiences, events and searches of profiles.

`is null` is another way to write `not exists`, and `is not null` another for `exists`. The same in
SQL: sql/events.py (events), sql/values.py and reading/where.py (attributes).
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
    """Return whether a value of an event or a device exists: null does not."""
    return value is not None


def is_filled(value: object) -> bool:
    """Return whether a value is not empty."""
    return value not in (None, "", [], {})
