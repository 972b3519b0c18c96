"""The short text of a value for a notebook or a log: a line, however much a person has."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

LONGEST_TEXT = 40
"""The most characters of a text that are shown."""
MOST_NAMES = 3
"""The most names of a mapping that are shown."""


class Short:
    """A dataclass whose `repr` is one line: what is empty is left out, what is long is counted.

    Of a mapping the first names are shown, and none of its values.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[object]]]

    def __repr__(self) -> str:
        """Return the line."""
        shown = [
            f"{field.name}={_shown(value)}"
            for field in dataclasses.fields(self)
            if not _is_empty(value := getattr(self, field.name))
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, Mapping | Sequence) and len(value) == 0)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST_TEXT else value[: LONGEST_TEXT - 1] + "\u2026")
    if isinstance(value, Mapping):
        names = [*map(str, list(value)[:MOST_NAMES]), *(["..."] if len(value) > MOST_NAMES else [])]
        return f"<{len(value)}: {', '.join(names)}>"
    if isinstance(value, Sequence):
        return f"<{len(value)}>"
    return repr(value)
