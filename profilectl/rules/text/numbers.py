"""How numbers of any size compare: by their sign, their magnitude and their digits.

Nothing is computed of an exponent, so a number of a thousand million digits costs what 7 costs, and
nothing becomes infinite. The same as SQL: event_sql.number_compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NUMBER = "[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?"
"""What is a number, as a value has it, also in text."""
LITERAL = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?"
"""What is a number, as a condition states it, in any case: `5.` and `.5` are some as well."""
LONGEST_EXPONENT = 36
"""An exponent of more digits than these counts as FARTHEST: no other number comes near it."""
FARTHEST = 10**LONGEST_EXPONENT
_number = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?)([0-9]+))?")
_value = re.compile(NUMBER)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number: sign times 0.digits times 10 to the magnitude."""

    sign: int
    """-1, 0 or 1."""
    magnitude: int
    """How many digits stand before the point, fewer than none where it begins with noughts."""
    digits: str
    """Without noughts at either end; none of zero."""

    def order(self, other: Quantity) -> int:
        """Return -1, 0 or 1: how the number compares with another."""
        if self.sign != other.sign or not self.sign:
            return (self.sign > other.sign) - (self.sign < other.sign)
        mine, its = (self.magnitude, self.digits), (other.magnitude, other.digits)
        return self.sign * ((mine > its) - (mine < its))

    def written_out(self, most: int) -> str | None:
        """Return the number without an exponent; None where that takes more digits than `most`
        before or after the point.
        """
        if not self.sign:
            return "0"
        places = len(self.digits) - self.magnitude
        if self.magnitude > most or places > most:
            return None
        digits = self.digits.rjust(places, "0") + "0" * -min(places, 0)
        whole, fraction = (digits[:-places], digits[-places:]) if places > 0 else (digits, "")
        return (
            ("-" if self.sign < 0 else "") + (whole or "0") + (f".{fraction}" if fraction else "")
        )


def quantity(text: str) -> Quantity:
    """Return the number that a text states, as a value or as a literal."""
    found = _number.fullmatch(text)
    assert found is not None, text
    minus, whole, fraction, down, power = found.groups(default="")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return Quantity(0, 0, "")
    power = power.lstrip("0")
    exponent = FARTHEST if len(power) > LONGEST_EXPONENT else int(power or 0)
    magnitude = len(digits) - len(fraction) + (-exponent if down == "-" else exponent)
    return Quantity(-1 if minus == "-" else 1, magnitude, digits.rstrip("0"))


def quantity_of(value: object) -> Quantity | None:
    """Return the number that a value is, a number or a text that is one; None of anything else."""
    return quantity(value) if isinstance(value, str) and _value.fullmatch(value) else None
