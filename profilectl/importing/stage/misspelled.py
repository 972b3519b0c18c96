"""A field that --map or a manifest names, and that is a misspelled name of another.

An unknown name is an attribute of that name. So `custmer_id` would quietly become an attribute, and
nobody would be found by it.
"""

from __future__ import annotations

from typing import NamedTuple

from profilectl.rules.batch_fields import PLAIN_FIELDS, RESERVED_KEYS, BatchField
from profilectl.rules.identity import TYPES

MOST_LETTERS = 2
"""How many letters a misspelled name differs in; two letters that changed places count as one."""
RIGHT_NAMES = (
    *(name for kind in TYPES for name in (kind.name, *kind.aliases)),
    *RESERVED_KEYS,
    *PLAIN_FIELDS,
)
"""The names that are more than the name of an attribute."""
DEVICE = "device_info."
DEVICE_NAMES = tuple(
    f"{DEVICE}{name}" for kind in TYPES if kind.device for name in (kind.name, *kind.aliases)
)
"""The dotted names of a device's identities."""


class Misspelled(NamedTuple):
    """A name that is nearly another one."""

    name: str
    """The name as it is written."""
    near: str
    """The name that is meant."""

    @property
    def fault(self) -> str:
        """What is wrong."""
        return f"there is no field {self.name}, but there is {self.near}"

    @property
    def own(self) -> str:
        """The name, written so that it is an attribute of its own."""
        return f"user_attributes.{self.name}"


def misspelled(name: str, field: BatchField) -> Misspelled | None:
    """Return the name that a field is a misspelling of, or None.

    field: the meaning of the name. A dotted name is meant as it is, unless it is nearly that of a
    device's identity.
    """
    names = RIGHT_NAMES
    if field.kind == "kept" and name.startswith(DEVICE):
        # No field of device_info that the platform knows is so near to an identity type.
        names = DEVICE_NAMES
    elif field.kind != "attribute" or "." in name or name in RESERVED_KEYS or field.name != name:
        return None
    folded = _folded(name)
    near = min(names, key=lambda right: _distance(folded, _folded(right)))
    distance = _distance(folded, _folded(near))
    # Of a short name two letters are half of it: "tag" is no misspelled "$Age".
    if distance > MOST_LETTERS or distance * 2 >= min(len(name), len(near)):
        return None
    return Misspelled(name, near)


def _folded(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _distance(typed: str, right: str) -> int:
    """Return in how many letters two names differ, at most one more than MOST_LETTERS.

    A letter too many, one too few, another one, and two that changed places count as one each.
    """
    if abs(len(typed) - len(right)) > MOST_LETTERS:
        return MOST_LETTERS + 1
    older: list[int] = []
    row = list(range(len(right) + 1))
    for place, letter in enumerate(typed, start=1):
        oldest, older, row = older, row, [place]
        for column, counterpart in enumerate(right, start=1):
            cost = min(
                older[column] + 1,
                row[column - 1] + 1,
                older[column - 1] + (letter != counterpart),
            )
            if (
                oldest
                and column > 1
                and letter == right[column - 2]
                and typed[place - 2] == counterpart
            ):
                cost = min(cost, oldest[column - 2] + 1)
            row.append(cost)
    return min(row[-1], MOST_LETTERS + 1)
