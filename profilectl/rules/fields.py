"""The value of one field, checked: what a batch and its events have in common.

Sources: domain.md 5.1 (types of the fields), 2.2 (numbers).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from profilectl.rules.identity import WHITE_SPACE
from profilectl.rules.text.values import Number, Value, to_json

TYPED = re.compile(r"true|false|-?(0|[1-9][0-9]*)(\.[0-9]+)?")
"""A cell that reads as a boolean or a JSON number."""
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
"""The cells that stand for a boolean, in any case, where a boolean must be."""
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
LONGEST_EXPONENT = 18
"""An exponent of more digits makes a number that no text of ours is long enough to make whole
again.
"""
_EXACT_FLOAT = 2**53
"""Below this a float is the whole number that was meant."""


class Unusable(ValueError):
    """A row that cannot be used: the code, and what more there is to say."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


def whole_number(value: Value, code: str) -> int | None:
    """Return a 64-bit whole number stated as a number or as text, None for nothing.

    Raises Unusable.
    """
    if value is None or value == "":
        return None
    if (
        not isinstance(value, str)
        or not _WHOLE.fullmatch(value.strip(WHITE_SPACE))
        or len(value) > 40
    ):
        raise Unusable(code, shown(value))
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise Unusable(code, shown(value))
    return number


def identity_text(value: Value) -> str | None:
    """Return the text of a value that may be an identity, None for one that may not (design.md
    R13).

    Text is itself. A number is judged by its value: digits alone are exact, however many; one that
    is spelled with a point or an exponent must be a whole number below 2^53. Nothing is computed of
    a huge exponent.
    """
    if not isinstance(value, Number):
        return value if isinstance(value, str) else None
    found = _NUMBER.fullmatch(value)
    if found is None:
        return None
    sign, digits, fraction, exponent = found.groups(default="")
    if not fraction and not exponent:
        return "0" if value == "-0" else str(value)
    return _whole_text(sign, digits + fraction, len(fraction), exponent)


def _whole_text(sign: str, digits: str, places: int, exponent: str) -> str | None:
    """Return the whole number that digits with so many places and an exponent are, None for another
    number.
    """
    significant = digits.strip("0")
    if not significant:
        return "0"
    power = exponent.lstrip("+-").lstrip("0")
    if len(power) > LONGEST_EXPONENT:
        return None
    zeros = (
        len(digits)
        - len(digits.rstrip("0"))
        - places
        + int(f"-{power or 0}" if exponent.startswith("-") else power or 0)
    )
    if zeros < 0 or len(significant) + zeros > len(str(_EXACT_FLOAT)):
        return None
    whole = significant + "0" * zeros
    return sign + whole if int(whole) < _EXACT_FLOAT else None


def shown(value: Value) -> str:
    """Return a value for a message, not too long."""
    text = value if isinstance(value, str) else to_json(value)
    return text if len(text) <= 40 else text[:40] + "..."


def json_type(value: Value) -> str:
    """Return what JSON calls a value, with its article."""
    if isinstance(value, Number):
        return "a number"
    names: dict[type, str] = {str: "a string", bool: "a boolean", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def typed(value: Value) -> Value:
    """Return a cell as the boolean or the number it reads as; as it is where it reads as neither."""
    if not isinstance(value, str) or not TYPED.fullmatch(value):
        return value
    return value == "true" if value in ("true", "false") else Number(value)


def boolean(value: Value) -> Value:
    """Return a cell as the boolean that it stands for; as it is where it stands for none."""
    return BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value


def put(tree: dict[str, Value], steps: Sequence[str], value: Value) -> None:
    """Put a cell where its path leads ("[]": into the only entry of a list); an empty one only
    keeps the place of the objects that it is in. Raises Unusable where the path leads through a
    value.
    """
    here: Value = tree
    for step, following in zip(steps, (*steps[1:], None), strict=True):
        if isinstance(here, list):
            here = here[0]
            continue
        if not isinstance(here, dict) or (following is None and here.get(step) is not None):
            if value is None:
                return
            raise Unusable("BATCH_INVALID", f"{'.'.join(steps)} stands for a value and for more")
        if following is None:
            here[step] = value
        else:
            if here.get(step) is None:
                here[step] = [{}] if following == "[]" else {}
            here = here[step]


def without_empty(tree: dict[str, Value]) -> dict[str, Value]:
    """Return a tree of cells without those that are empty, and without objects that hold none."""
    found: dict[str, Value] = {}
    for name, value in tree.items():
        # as put makes it
        listed = isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict)
        entry = value[0] if listed and isinstance(value, list) else value
        left = (without_empty(entry) or None) if isinstance(entry, dict) else entry
        if left is not None:
            found[name] = [left] if listed else left
    return found
