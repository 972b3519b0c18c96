"""The numbers an import reports, and what they mean (design.md 4).

rows: read = applied + dropped + rejected. profiles: made, changed, or touched without a change.
identities: given to a profile, gone from one profile to another, replaced by a newer value.
attributes: distinct (profile, key) against the state before the import. events: those kept with a
profile. left_out: code -> attribute -> how often that was said of it: left out of its batch,
refused by priority, worth knowing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from profilectl.codes import CODES, NO_FAULT, CodeEffect

ROWS = ("read", "applied", "dropped", "rejected")
PROFILES = ("created", "updated", "unchanged")
IDENTITIES = ("added", "moved", "removed")
ATTRIBUTES = ("set", "changed", "unchanged", "deleted", "blocked")
EVENTS = ("added",)


MOST_NAMES = 5
"""So many attributes are named in a sentence."""
LONGEST_NAMES = 60
"""A line of names is no longer than this, so that a report fits 80 columns."""
LONGEST_NAME = 20


def names_of(attributes: Mapping[str, int]) -> str:
    """Return attributes with their counts, as many as a line has room for: `properties 2,000, tags
    12, and 3 more`.
    """
    line = ""
    for place, (name, number) in enumerate(attributes.items()):
        short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\u2026"
        longer = f"{line}{', ' if line else ''}{short} {number:,}"
        more = len(attributes) - place - 1
        if line and (
            place == MOST_NAMES
            or len(longer) + (len(f", and {more:,} more") if more else 0) > LONGEST_NAMES
        ):
            return f"{line}, and {more + 1:,} more"
        line = longer
    return line


@dataclass(slots=True)
class Counts:
    """The counts of one import; codes holds reasons and warnings together."""

    rows: Counter[str] = field(default_factory=Counter)
    profiles: Counter[str] = field(default_factory=Counter)
    identities: Counter[str] = field(default_factory=Counter)
    attributes: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)

    def remark(self, code: str, attribute: str | None, number: int = 1) -> None:
        """Count a code that was said of rows, and of which attribute."""
        self.codes[code] += number
        if attribute is not None:
            self.left_out[code, attribute] += number

    def as_json(self) -> dict[str, Any]:
        """Return the counts under the keys of design.md 4, every key present."""
        named = sorted((code, count) for code, count in self.codes.items() if count)
        return {
            "rows": {name: self.rows[name] for name in ROWS},
            "profiles": {name: self.profiles[name] for name in PROFILES},
            "identities": {name: self.identities[name] for name in IDENTITIES},
            "attributes": {name: self.attributes[name] for name in ATTRIBUTES},
            "events": {name: self.events[name] for name in EVENTS},
            "reasons": {code: n for code, n in named if CODES[code].fate is not CodeEffect.WARNING},
            "warnings": {code: n for code, n in named if CODES[code].fate is CodeEffect.WARNING},
            "left_out": self._left_out(),
        }

    @property
    def odd(self) -> list[str]:
        """The codes of what was left out of a batch, or is worth knowing: what a strict import has
        none of.
        """
        fates = (CodeEffect.SKIPPED, CodeEffect.WARNING)
        return sorted(
            code
            for code, number in self.codes.items()
            if number and CODES[code].fate in fates and code not in NO_FAULT
        )

    def left_out_of(self, code: str) -> dict[str, int]:
        """Return of which attributes a code was said, the most frequent first."""
        return self._left_out().get(code, {})

    def _left_out(self) -> dict[str, dict[str, int]]:
        """Return what was left out by code and attribute, the most frequent first."""
        by_code: dict[str, dict[str, int]] = {}
        for (code, attribute), number in sorted(
            self.left_out.items(), key=lambda item: (item[0][0], -item[1], item[0][1])
        ):
            if number:
                by_code.setdefault(code, {})[attribute] = number
        return by_code


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


@dataclass(frozen=True, slots=True)
class Shared:
    """An identity that several rows, or rows and profiles, have."""

    type: str
    """Its identity type."""
    value: str
    """Its value, as the first row states it."""
    rows: int
    """How many rows of the files have it."""
    profiles: int
    """How many profiles of the store have it to which none of these rows belongs."""

    def as_json(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "value": self.value,
            "rows": self.rows,
            "profiles": self.profiles,
        }

    def told(self) -> str:
        """Return the identity and by how many it is shared, in a sentence."""
        profiles = (
            f" and {self.profiles:,} other profile{'s' if self.profiles > 1 else ''}"
            if self.profiles
            else ""
        )
        several = self.rows > 1 or self.profiles > 0
        return f"{self.rows:,} row{'s' if self.rows > 1 else ''}{profiles} share{'' if several else 's'} the {self.type} {self.value}"


@dataclass(slots=True)
class ImportReport:
    """What an import did, or with dry_run would do. number is None where nothing was imported.

    shared: identities that many rows and profiles have. locked_ms: how long others were kept out of
    the store. examples: of a dry run, as examples.py gives them. audiences: name -> how many
    entered and left.
    """

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
    shared: list[Shared] = field(default_factory=list)
    rejects: str | None = None
    rejects_as_input: str | None = None
    explained_rows: str | None = None
    elapsed_ms: int = 0
    locked_ms: int = 0
    dry_run: bool = False
    examples: dict[str, Any] | None = None
    audiences: dict[str, dict[str, int]] | None = None
    steps: list[tuple[str, float]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    """What a person should know of how the files were read, in sentences."""

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
            "locked_ms": self.locked_ms,
        }
        document["notices"] = self.notices
        document["shared"] = [one.as_json() for one in self.shared]
        for name in ("rejects_as_input", "explained_rows", "examples", "audiences"):
            if getattr(self, name) is not None:
                document[name] = getattr(self, name)
        if self.already_imported is not None:
            document["already_imported"] = self.already_imported
        return document

    def changes(self) -> bool:
        """Say whether any profile, identity or attribute is another after the import."""
        counts = self.counts
        return any(
            (
                counts.profiles["created"],
                counts.profiles["updated"],
                *(counts.identities[name] for name in IDENTITIES),
                *(counts.attributes[name] for name in ("set", "changed", "deleted")),
            )
        )

    @staticmethod
    def _file(file: FileReport) -> dict[str, Any]:
        found: dict[str, Any] = {"path": file.path, "sha256": file.sha256, "rows": file.rows}
        if file.columns:
            found["columns"] = dict(file.columns)
        if file.already_imported is not None:
            found["already_imported"] = file.already_imported
        return found


@dataclass(frozen=True, slots=True)
class Past:
    """One import of the history. needs: the earlier imports it rests on, None where nobody knows.

    undoable: it still has tables of its own, or never had any."""

    number: int
    feed: str
    source: str
    protection: str
    environment: str
    started_ms: int
    finished_ms: int
    made_by: str | None
    undone_ms: int | None
    undone_by: str | None
    first_arrival: int
    needs: tuple[int, ...] | None
    undoable: bool
    report: dict[str, Any]
    request: dict[str, Any] | None
    kept_out: dict[str, dict[str, Any]] | None = None
    """By code, batches that were processed and are nobody's: how many, with events, and these by
    type. None: not asked for.
    """

    def as_json(self) -> dict[str, Any]:
        """Return the document of `imports show --json`."""
        report: dict[str, Any] = {
            name: self.report.get(name, {})  # an older version did not write down all of them
            for name in (
                "files",
                "rows",
                "profiles",
                "identities",
                "attributes",
                "events",
                "audiences",
                "reasons",
                "warnings",
            )
        }
        return {
            "import": self.number,
            "feed": self.feed,
            "source": self.source,
            "protection": self.protection,
            "environment": self.environment,
            "made_by": self.made_by,
            "started_ms": self.started_ms,
            "elapsed_ms": self.finished_ms - self.started_ms,
            "undone": self.undone_ms is not None,
            "undone_ms": self.undone_ms,
            "undone_by": self.undone_by,
            "undoable": self.undoable and self.undone_ms is None,
            "needs": list(self.needs) if self.needs is not None else None,
            **report,
            **({"kept_out": self.kept_out} if self.kept_out is not None else {}),
        }
