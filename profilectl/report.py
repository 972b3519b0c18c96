"""The numbers an import reports, and what they mean (design.md 4).

rows: read = applied + dropped + rejected. profiles: made, changed, or touched without a change.
identities: given to a profile, gone from one profile to another, replaced by a newer value.
attributes: distinct (profile, key) against the state before the import.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from profilectl.codes import CODES, Fate

ROWS = ("read", "applied", "dropped", "rejected")
PROFILES = ("created", "updated", "unchanged")
IDENTITIES = ("added", "moved", "removed")
ATTRIBUTES = ("set", "changed", "unchanged", "deleted", "blocked")


@dataclass(slots=True)
class Counts:
    """The counts of one import; codes holds reasons and warnings together."""

    rows: Counter[str] = field(default_factory=Counter)
    profiles: Counter[str] = field(default_factory=Counter)
    identities: Counter[str] = field(default_factory=Counter)
    attributes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, dict[str, int]]:
        """Return the counts under the keys of design.md 4, every key present."""
        named = sorted((code, count) for code, count in self.codes.items() if count)
        return {
            "rows": {name: self.rows[name] for name in ROWS},
            "profiles": {name: self.profiles[name] for name in PROFILES},
            "identities": {name: self.identities[name] for name in IDENTITIES},
            "attributes": {name: self.attributes[name] for name in ATTRIBUTES},
            "reasons": {code: n for code, n in named if CODES[code].fate is not Fate.WARNING},
            "warnings": {code: n for code, n in named if CODES[code].fate is Fate.WARNING},
        }


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file of an import: sha256 of its content, rows read from it, how its columns were read.

    already_imported: the import that brought this content before, which is why it was left out.
    """

    path: str
    sha256: str
    rows: int
    columns: tuple[tuple[str, str], ...] = ()
    already_imported: int | None = None


@dataclass(slots=True)
class ImportReport:
    """What an import did. number is None where nothing was imported."""

    number: int | None
    feed: str
    source: str
    protection: str
    environment: str
    files: list[FileReport]
    counts: Counts = field(default_factory=Counts)
    already_imported: int | None = None
    feed_registered: bool = False
    slow_path_rows: int = 0
    shared: list[tuple[str, int]] = field(default_factory=list)
    rejects: str | None = None
    elapsed_ms: int = 0
    dry_run: bool = False
    steps: list[tuple[str, float]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the document of `import --json`."""
        document: dict[str, Any] = {
            "import": self.number,
            "feed": self.feed,
            "source": self.source,
            "protection": self.protection,
            "environment": self.environment,
            "dry_run": self.dry_run,
            "files": [self._file(file) for file in self.files],
            **self.counts.as_json(),
            "slow_path_rows": self.slow_path_rows,
            "rejects": self.rejects,
            "elapsed_ms": self.elapsed_ms,
        }
        if self.already_imported is not None:
            document["already_imported"] = self.already_imported
        return document

    @staticmethod
    def _file(file: FileReport) -> dict[str, Any]:
        found: dict[str, Any] = {"path": file.path, "sha256": file.sha256, "rows": file.rows}
        if file.columns:
            found["columns"] = dict(file.columns)
        if file.already_imported is not None:
            found["already_imported"] = file.already_imported
        return found
