"""What an import did, an import of the past, a plan, and what was taken back, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from profilectl.library.short_repr import Short

if TYPE_CHECKING:
    from profilectl.rules.counts import Document, ImportReport, PastImport


@dataclass(frozen=True, slots=True)
class RowCounts:
    """How many rows there were: read = applied + dropped + rejected."""

    read: int
    """Read from the files."""
    applied: int
    """Used."""
    dropped: int
    """Understood, but kept out: by protection, or because they were repeated."""
    rejected: int
    """Of no use."""


@dataclass(frozen=True, slots=True)
class ProfileCounts:
    """How many profiles an import touched."""

    created: int
    """New."""
    updated: int
    """Changed."""
    unchanged: int
    """Touched without a change."""


@dataclass(frozen=True, slots=True)
class IdentityCounts:
    """How many identities of profiles changed."""

    added: int
    """Given to a profile."""
    moved: int
    """Gone from one profile to another."""
    removed: int
    """Replaced by a newer value."""


@dataclass(frozen=True, slots=True)
class AttributeCounts:
    """How many attributes of profiles an import spoke of, against the state before it."""

    set: int
    """New."""
    changed: int
    """With another value."""
    unchanged: int
    """With the same value."""
    deleted: int
    """Deleted."""
    blocked: int
    """Refused by priority."""


@dataclass(frozen=True, slots=True, repr=False)
class Report(Short):
    """What an import did, or with dry_run would do."""

    number: int | None
    """The number of the import; None: nothing was imported."""
    feed: str
    """The feed."""
    dry_run: bool
    """Whether nothing was written."""
    rows: RowCounts
    """The rows."""
    profiles: ProfileCounts
    """The profiles."""
    identities: IdentityCounts
    """The identities."""
    attributes: AttributeCounts
    """The attributes."""
    events: int
    """The number of events that were kept."""
    reasons: Mapping[str, int]
    """Code -> how many rows, identities or attributes were left out for it."""
    warnings: Mapping[str, int]
    """Code -> how often something is worth knowing."""
    rejects: str | None
    """The path of the file of rejected rows."""
    already_imported: int | None
    """The import that brought all of this content before."""
    notices: Sequence[str]
    """Sentences on how the files were read that a person should know."""
    elapsed_ms: int
    """The milliseconds that the import took."""
    document: Document
    """The whole report, as `import --json` prints it."""

    def __repr__(self) -> str:
        """Return a line with the number, the feed, the rows and why some were left out."""
        import_number = "dry run" if self.dry_run else self.number
        reasons = f", reasons={dict(self.reasons)}" if self.reasons else ""
        return f"Report({import_number}, feed={self.feed!r}, {self.rows}, {self.profiles}{reasons})"


def report_of(report: ImportReport) -> Report:
    """Return the report of an import as plain values."""
    document = report.as_json()
    return Report(
        number=report.number,
        feed=report.feed,
        dry_run=report.dry_run,
        rows=RowCounts(**document["rows"]),
        profiles=ProfileCounts(**document["profiles"]),
        identities=IdentityCounts(**document["identities"]),
        attributes=AttributeCounts(**document["attributes"]),
        events=document["events"]["added"],
        reasons=document["reasons"],
        warnings=document["warnings"],
        rejects=report.rejects,
        already_imported=report.already_imported,
        notices=report.notices,
        elapsed_ms=report.elapsed_ms,
        document=document,
    )


@dataclass(frozen=True, slots=True, repr=False)
class StoredImport(Short):
    """An import of the history."""

    number: int
    """Its number."""
    feed: str
    """Its feed."""
    source: str
    """The feed's source."""
    files: Sequence[str]
    """The paths of its files."""
    rows: RowCounts | None
    """Its rows; None: an older version did not count them."""
    started_ms: int
    """When it started, in milliseconds since 1970."""
    undone_ms: int | None
    """When it was undone, in milliseconds since 1970; None: it is in force."""
    undoable: bool
    """Whether it can be undone."""
    needs: Sequence[int] | None
    """The earlier imports that it rests on; None: not known."""
    document: Document
    """All that is known of it, as `imports show --json` prints it."""

    def __repr__(self) -> str:
        """Return a line with the number, the feed, the rows, and whether it is undone."""
        undone = ", undone" if self.undone_ms is not None else ""
        return f"StoredImport({self.number}, feed={self.feed!r}, {self.rows}{undone})"


def import_of_past(past: PastImport) -> StoredImport:
    """Return an import of the history as plain values."""
    document = past.as_json()
    return StoredImport(
        number=past.number,
        feed=past.feed,
        source=past.source,
        files=[file["path"] for file in document["files"]],
        rows=RowCounts(**document["rows"]) if document["rows"] else None,
        started_ms=past.started_ms,
        undone_ms=past.undone_ms,
        undoable=document["undoable"],
        needs=document["needs"],
        document=document,
    )


@dataclass(frozen=True, slots=True, repr=False)
class Plan(Short):
    """A plan: what an import would do, in a file that `apply` carries out."""

    path: Path
    """The file of the plan."""
    report: Report
    """What the import would do."""
    signed: bool
    """Whether the store vouches for it; a plan made before there was a store has nobody to."""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What an undo took back."""

    numbers: Sequence[int]
    """The numbers of the imports, newest first."""
    replayed: Mapping[int, int]
    """Those that were made again: old number -> new number."""
