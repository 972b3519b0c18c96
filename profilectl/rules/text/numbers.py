"""The comparison of numbers of any size: by their sign, their magnitude and their digits.

An exponent is never worked out, so 1e1000000000 costs no more than 7, and nothing becomes infinite.
The same in SQL: sql.events.number_compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NUMBER = "[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?"
"""The pattern of a number in a value, also of a number in text."""
LITERAL = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?"
"""The pattern of a number in a condition, in any case: `5.` and `.5` are numbers here too."""
LONGEST_EXPONENT = 36
"""The most digits of an exponent that count; one with more digits counts as FARTHEST."""
FARTHEST = 10**LONGEST_EXPONENT
_number = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?)([0-9]+))?")
_value = re.compile(NUMBER)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number: its sign, times 0.digits, times 10 to the power of its magnitude."""

    sign: int
    """-1, 0 or 1."""
    magnitude: int
    """The number of digits before the point; negative if noughts follow the point."""
    digits: str
    """The digits without noughts at either end; empty for zero."""

    def order(self, another: Quantity) -> int:
        """Return -1, 0 or 1: how the number compares with another."""
        if self.sign != another.sign or not self.sign:
            return (self.sign > another.sign) - (self.sign < another.sign)
        # Both are 0.digits: at one magnitude they are ordered like the texts of their digits.
        mine, theirs = (self.magnitude, self.digits), (another.magnitude, another.digits)
        return self.sign * ((mine > theirs) - (mine < theirs))

    def written_out(self, most: int) -> str | None:
        """Return the number without an exponent.

        Returns None if that takes more than `most` digits before or after the point.
        """
        if not self.sign:
            return "0"
        places = len(self.digits) - self.magnitude
        if self.magnitude > most or places > most:
            return None
        digits = self.digits.rjust(places, "0") + "0" * -min(places, 0)
        whole, fraction = (digits[:-places], digits[-places:]) if places > 0 else (digits, "")
        minus = "-" if self.sign < 0 else ""
        return minus + (whole or "0") + (f".{fraction}" if fraction else "")


def quantity(text: str) -> Quantity:
    """Return the number in a text, as a value or a literal has it."""
    match = _number.fullmatch(text)
    assert match is not None, text
    minus, whole, fraction, down, power = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return Quantity(0, 0, "")
    # Leading noughts say nothing: e0001 has an exponent of one digit.
    power = power.lstrip("0")
    exponent = FARTHEST if len(power) > LONGEST_EXPONENT else int(power or 0)
    magnitude = len(digits) - len(fraction) + (-exponent if down == "-" else exponent)
    return Quantity(-1 if minus == "-" else 1, magnitude, digits.rstrip("0"))


def quantity_of(value: object) -> Quantity | None:
    """Return the number in a value, a JSON number or a text; None if it has another form."""
    return quantity(value) if isinstance(value, str) and _value.fullmatch(value) else None
