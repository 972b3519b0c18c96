"""The rule for content that was imported already (design.md R11).

Content counts as imported if an import in force read it for the same feed in the same way, and
applied at least one of its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# fmt: off
WAYS: Mapping[str, object] = {
    # the parts of a request that say how content is read, and their defaults: a request that an
    # older version remembered has fewer of them
    "format":          None,
    "mapped":          [],
    "manifest_sha256": None,
    "delimiter":       None,
    "encoding":        None,
    "nulls":           [],
    "quote":           None,
    "escape":          None,
    "skip_lines":      0,
    "ragged":          "reject",
    "unknown":         "refuse",
    "encoding_errors": "refuse",
    "path_columns":    False,
    "binary_as_text":  False,
    "allow_spoiled":   False,
    "empty":           "ignore",
    "environment":     None,
    "event":           None,
}
OPTIONS = {
    # the options whose name is not that of the part
    "mapped":          "--map",
    "manifest_sha256": "--manifest",
    "nulls":           "--null",
}
# fmt: on


@dataclass(frozen=True, slots=True)
class WayOfReading:
    """The way in which an import read its content."""

    parts: tuple[tuple[str, str], ...]
    """Each of WAYS, and its value as text."""
    protection: str
    """The protection level in force."""

    def differs(self, another: WayOfReading) -> list[str]:
        """Return the options in which two ways differ."""
        theirs = dict(another.parts)
        names = [
            OPTIONS.get(name, f"--{name.replace('_', '-')}")
            for name, value in self.parts
            if theirs[name] != value
        ]
        return names + (["--protection"] if self.protection != another.protection else [])


@dataclass(frozen=True, slots=True)
class EarlierImport:
    """An import in force that brought a content."""

    number: int
    """The number of the import."""
    way: WayOfReading
    """The way in which it read the content."""
    applied: int
    """The number of rows that it applied."""
    path: str
    """The path of the content then."""


@dataclass(frozen=True, slots=True)
class ImportedContent:
    """The answer to the question whether a content is to be imported."""

    already: int | None = None
    """The import that brought the content, so that it is left out; None: it is imported."""
    notice: str | None = None
    """The notice to show if it is imported although an import brought it before."""


def way_of(request: Mapping[str, object], protection: str) -> WayOfReading:
    """Return the way of reading of a remembered request; parts that it lacks have their default."""
    parts = []
    for name, default in WAYS.items():
        value = request.get(name, default)
        # The order in which options were given says nothing.
        if isinstance(default, list):
            assert isinstance(value, Iterable)
            value = sorted(value)
        parts.append((name, repr(value)))
    return WayOfReading(tuple(parts), protection)


def content_status(way: WayOfReading, imports: Iterable[EarlierImport]) -> ImportedContent:
    """Return whether content is to be imported again (design.md R11).

    imports: those that brought it, the newest first.
    """
    brought = list(imports)
    same_way = [earlier for earlier in brought if earlier.way == way]
    # An import that applied nothing is no reason to leave the content out.
    for earlier in same_way:
        if earlier.applied:
            return ImportedContent(already=earlier.number)
    if same_way:
        return ImportedContent(
            notice=f"import {same_way[0].number} brought this content before and applied none of"
            " its rows: it is imported again"
        )
    if not brought:
        return ImportedContent()
    newest = brought[0]
    stays = (
        f"; what that import set stays, and profilectl imports undo {newest.number} takes it back"
        if newest.applied
        else ""
    )
    return ImportedContent(
        notice=f"import {newest.number} brought this content before, read another way"
        f" ({', '.join(way.differs(newest.way))}): it is imported again{stays}"
    )
