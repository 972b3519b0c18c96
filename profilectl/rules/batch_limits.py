"""The limits on the attributes of a batch.

Sources: domain.md 2.1 (limits), 2.2 (types of values). An attribute that breaks a limit is left out
of its batch, and the batch goes on without it.
"""

from __future__ import annotations

from collections.abc import Mapping

from profilectl.rules.text.values import Value

# fmt: off
LIMITS = {
    # domain.md 2.1: lengths in Unicode code points
    "attributes":  100,
    "key":         256,
    "value":      4096,
    "list":       1000,
    "entry":       512,
}
# fmt: on


def over_limit(key: str, value: Value, limits: Mapping[str, int] = LIMITS) -> str | None:
    """Return the code of the limit that an attribute breaks, or None (domain.md 2.1)."""
    if not key:
        return "UA_KEY_EMPTY"
    if len(key) > limits["key"]:
        return "UA_KEY_TOO_LONG"
    if not has_value_type(value):
        return "UA_UNSUPPORTED_TYPE"
    if isinstance(value, list):
        if len(value) > limits["list"]:
            return "UA_LIST_TOO_LONG"
        longest = max((len(entry) for entry in value if isinstance(entry, str)), default=0)
        return "UA_ENTRY_TOO_LONG" if longest > limits["entry"] else None
    return "UA_VALUE_TOO_LONG" if isinstance(value, str) and len(value) > limits["value"] else None


def has_value_type(value: Value) -> bool:
    """Return whether a value has a type that an attribute may have (domain.md 2.2).

    An object has not, nor has a list with an object or a list in it.
    """
    return not (
        isinstance(value, dict)
        or (isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value))
    )
