"""When content counts as imported already: read the same way for the same feed, and applied
(design.md R11).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

WAYS: Mapping[str, Any] = {
    "format": None,
    "mapped": [],
    "manifest_sha256": None,
    "delimiter": None,
    "encoding": None,
    "nulls": [],
    "quote": None,
    "escape": None,
    "skip_lines": 0,
    "ragged": "reject",
    "unknown": "refuse",
    "encoding_errors": "refuse",
    "path_columns": False,
    "binary_as_text": False,
    "allow_spoiled": False,
    "empty": "ignore",
    "environment": None,
    "event": None,
}
"""What of a request says how content is read, and what holds where it does not say: an older import
knows less.
"""
OPTIONS = {"mapped": "--map", "manifest_sha256": "--manifest", "nulls": "--null"}
"""The options of which the name is not that of what they say."""


@dataclass(frozen=True, slots=True)
class WayOfReading:
    """How an import read its content."""

    said: tuple[tuple[str, str], ...]
    """What the request said of each of WAYS."""
    protection: str
    """The level that was in force."""

    def differs(self, other: WayOfReading) -> list[str]:
        """Return the options in which two ways differ."""
        theirs = dict(other.said)
        names = [
            OPTIONS.get(name, f"--{name.replace('_', '-')}")
            for name, value in self.said
            if theirs[name] != value
        ]
        return names + (["--protection"] if self.protection != other.protection else [])


@dataclass(frozen=True, slots=True)
class Brought:
    """An import in force that brought a content."""

    number: int
    """The number of the import."""
    way: WayOfReading
    """How it read the content."""
    applied: int
    """How many rows it applied."""
    path: str
    """The path under which it was."""


@dataclass(frozen=True, slots=True)
class ImportedContent:
    """What a feed knows of a content."""

    already: int | None = None
    """The import that makes it needless to import the content."""
    notice: str | None = None
    """What is to be said where it is imported although it is known."""


def way_of(request: Mapping[str, Any], protection: str) -> WayOfReading:
    """Return the way of reading of a request as it is remembered; what it does not say has its
    default.
    """
    said = []
    for name, default in WAYS.items():
        value = request.get(name, default)
        said.append((name, repr(sorted(value) if isinstance(default, list) else value)))
    return WayOfReading(tuple(said), protection)


def known_content(way: WayOfReading, imports: Iterable[Brought]) -> ImportedContent:
    """Say whether content that imports have brought, the newest first, is to be imported again."""
    found = list(imports)
    same = [one for one in found if one.way == way]
    for one in same:
        if one.applied:
            return ImportedContent(already=one.number)
    if same:
        return ImportedContent(
            notice=f"import {same[0].number} brought this content before and applied none of its rows: it is imported again"
        )
    if found:
        differing = ", ".join(way.differs(found[0].way))
        number, stays = found[0].number, ""
        if found[0].applied:
            stays = (
                f"; what that import set stays, and profilectl imports undo {number} takes it back"
            )
        return ImportedContent(
            notice=f"import {number} brought this content before, read another way ({differing}): it is imported again{stays}"
        )
    return ImportedContent()
