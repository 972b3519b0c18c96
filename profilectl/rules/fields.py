"""The value of one field, checked: the rules that batches and their events share.

Sources: domain.md 5.1 (types of the fields), 2.2 (numbers), design.md R13 (numbers as identities).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from profilectl.rules.identity import WHITE_SPACE
from profilectl.rules.text.values import Number, Value, to_json

TYPED = re.compile(r"true|false|-?(0|[1-9][0-9]*)(\.[0-9]+)?")
"""A cell that reads as a boolean or a JSON number."""
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
"""The cells of a boolean, in any case, in a column of booleans."""
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
LONGEST_EXPONENT = 18
"""The most digits of an exponent: no text is so long that a larger one leaves a whole number."""
_EXACT_FLOAT = 2**53
"""Below this a float is exactly the whole number that was written."""


class UnusableRow(ValueError):
    """A row that cannot be used.

    code: one of codes.CODES. detail: the particulars.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


def whole_number(value: Value, code: str) -> int | None:
    """Return a 64-bit whole number from a number or a text, or None if there is none.

    Raises UnusableRow with the code if the value is anything else.
    """
    if value is None or value == "":
        return None
    if (
        not isinstance(value, str)
        or not _WHOLE.fullmatch(value.strip(WHITE_SPACE))
        # A text this long is no 64-bit number, and int() of a huge text is slow.
        or len(value) > 40
    ):
        raise UnusableRow(code, shown(value))
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise UnusableRow(code, shown(value))
    return number


def identity_text(value: Value) -> str | None:
    """Return the text of a value as an identity, or None if it cannot be one (design.md R13).

    A text is itself. A number counts by its value: one of digits alone is exact, however long. One
    with a point or an exponent must be a whole number below 2^53. A huge exponent is never worked
    out.
    """
    if not isinstance(value, Number):
        return value if isinstance(value, str) else None
    match = _NUMBER.fullmatch(value)
    if match is None:
        return None
    sign, digits, fraction, exponent = match.groups(default="")
    if not fraction and not exponent:
        return "0" if value == "-0" else str(value)
    # As text: 1e999999999 written out would fill the memory.
    whole = _whole_text(digits + fraction, places=len(fraction), exponent=exponent)
    return whole if whole in (None, "0") else sign + str(whole)


def _whole_text(digits: str, *, places: int, exponent: str) -> str | None:
    """Return a number as the text of a whole number below 2^53, or None if it is none.

    digits: all its digits, `places` of them after the point.
    """
    significant = digits.strip("0")
    if not significant:
        return "0"
    power = exponent.lstrip("+-").lstrip("0")
    if len(power) > LONGEST_EXPONENT:
        return None
    # How far the exponent moves the point to the right.
    shift = -int(power or 0) if exponent.startswith("-") else int(power or 0)
    zeros = len(digits) - len(digits.rstrip("0")) - places + shift
    if zeros < 0 or len(significant) + zeros > len(str(_EXACT_FLOAT)):
        return None
    whole = significant + "0" * zeros
    return whole if int(whole) < _EXACT_FLOAT else None


def shown(value: Value) -> str:
    """Return a value for a message, at most 40 characters of it."""
    text = value if isinstance(value, str) else to_json(value)
    return text if len(text) <= 40 else text[:40] + "..."


def json_type(value: Value) -> str:
    """Return the JSON type of a value, with its article."""
    if isinstance(value, Number):
        return "a number"
    names: dict[type, str] = {str: "a string", bool: "a boolean", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def typed(value: Value) -> Value:
    """Return a cell as the boolean or the number that it reads as, else as it is."""
    if not isinstance(value, str) or not TYPED.fullmatch(value):
        return value
    # As a Number it keeps its digits: 1.10 stays 1.10.
    return value == "true" if value in ("true", "false") else Number(value)


def boolean(value: Value) -> Value:
    """Return a cell as the boolean of BOOLEANS, else as it is."""
    return BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value


def put_cell(tree: dict[str, Value], steps: Sequence[str], value: Value) -> None:
    """Put a cell at its path in a tree; "[]" leads into the only entry of a list.

    An empty cell only makes the objects on its path, so that members keep the order of the columns.
    Raises UnusableRow if the path leads through a value.
    """
    node: Value = tree
    for step, following in zip(steps, (*steps[1:], None), strict=True):
        if isinstance(node, list):
            node = node[0]
            continue
        if not isinstance(node, dict) or (following is None and node.get(step) is not None):
            if value is None:
                return
            raise UnusableRow("BATCH_INVALID", f"{'.'.join(steps)} is a value and more")
        if following is None:
            node[step] = value
        else:
            if node.get(step) is None:
                node[step] = [{}] if following == "[]" else {}
            node = node[step]


def without_empty(tree: dict[str, Value]) -> dict[str, Value]:
    """Return a tree of cells without empty cells, and without objects that have none filled."""
    filled: dict[str, Value] = {}
    for name, value in tree.items():
        # A list of one object, as put_cell makes it.
        is_listed = isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict)
        entry = value[0] if is_listed and isinstance(value, list) else value
        remaining = (without_empty(entry) or None) if isinstance(entry, dict) else entry
        if remaining is not None:
            filled[name] = [remaining] if is_listed else remaining
    return filled
