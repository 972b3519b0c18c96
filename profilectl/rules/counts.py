"""The numbers that an import reports, and their meaning (design.md 4).

rows          read = applied + dropped + rejected
profiles      created, updated, or touched without a change
identities    given to a profile, gone from one profile to another, replaced by a newer value
attributes    distinct (profile, key), against the state before the import
events        kept with a profile
left_out      code -> attribute -> how often: left out of its batch, refused by priority, or
              worth knowing
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from profilectl.codes import CODES, NO_FAULT, CodeEffect

Document = dict[str, Any]
"""A document of JSON, as Python reads and writes it."""

ROWS = ("read", "applied", "dropped", "rejected")
PROFILES = ("created", "updated", "unchanged")
IDENTITIES = ("added", "moved", "removed")
ATTRIBUTES = ("set", "changed", "unchanged", "deleted", "blocked")
EVENTS = ("added",)
NO_REJECTS = "none"
"""The value of --rejects with which rejected rows are counted, and written nowhere."""


MOST_NAMES = 5
"""The most attributes that a sentence names."""
LONGEST_NAMES = 60
"""The most characters of a line of names, so that a report fits 80 columns."""
LONGEST_NAME = 20
"""The most characters of a name in such a line."""


def names_of(attributes: Mapping[str, int]) -> str:
    """Return the names of attributes with their counts, as many as fit on a line.

    For example `properties 2,000, tags 12, and 3 more`.
    """
    line = ""
    for place, (name, number) in enumerate(attributes.items()):
        short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\u2026"
        longer = f"{line}{', ' if line else ''}{short} {number:,}"
        more = len(attributes) - place - 1
        # A name is added only if the words for the others still fit behind it.
        if line and (
            place == MOST_NAMES
            or len(longer) + (len(f", and {more:,} more") if more else 0) > LONGEST_NAMES
        ):
            return f"{line}, and {more + 1:,} more"
        line = longer
    return line


@dataclass(slots=True)
class Counts:
    """The counts of one import."""

    rows: Counter[str] = field(default_factory=Counter)
    """Rows, under the names of ROWS."""
    profiles: Counter[str] = field(default_factory=Counter)
    """Profiles, under the names of PROFILES."""
    identities: Counter[str] = field(default_factory=Counter)
    """Identities, under the names of IDENTITIES."""
    attributes: Counter[str] = field(default_factory=Counter)
    """Attributes, under the names of ATTRIBUTES."""
    events: Counter[str] = field(default_factory=Counter)
    """Events, under the names of EVENTS."""
    codes: Counter[str] = field(default_factory=Counter)
    """How often each code occurred, reasons and warnings together."""
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often a code was about an attribute: (code, attribute)."""

    def remark(self, code: str, attribute: str | None, number: int = 1) -> None:
        """Count a code on a number of rows, and the attribute that it is about."""
        self.codes[code] += number
        if attribute is not None:
            self.left_out[code, attribute] += number

    def as_json(self) -> Document:
        """Return the counts under the keys of design.md 4, every key present."""
        named = sorted((code, count) for code, count in self.codes.items() if count)
        warnings = {code for code, _ in named if CODES[code].fate is CodeEffect.WARNING}
        return {
            "rows": {name: self.rows[name] for name in ROWS},
            "profiles": {name: self.profiles[name] for name in PROFILES},
            "identities": {name: self.identities[name] for name in IDENTITIES},
            "attributes": {name: self.attributes[name] for name in ATTRIBUTES},
            "events": {name: self.events[name] for name in EVENTS},
            "reasons": {code: count for code, count in named if code not in warnings},
            "warnings": {code: count for code, count in named if code in warnings},
            "left_out": self._left_out(),
        }

    @property
    def odd(self) -> list[str]:
        """The codes that make a strict import fail: something was left out, or is worth knowing."""
        effects = (CodeEffect.SKIPPED, CodeEffect.WARNING)
        return sorted(
            code
            for code, number in self.codes.items()
            if number and CODES[code].fate in effects and code not in NO_FAULT
        )

    def left_out_of(self, code: str) -> dict[str, int]:
        """Return the attributes that a code was about, the most frequent first."""
        return self._left_out().get(code, {})

    def _left_out(self) -> dict[str, dict[str, int]]:
        """Return the attributes of each code, the most frequent first."""
        by_code: dict[str, dict[str, int]] = {}
        for (code, attribute), number in sorted(
            self.left_out.items(), key=lambda item: (item[0][0], -item[1], item[0][1])
        ):
            if number:
                by_code.setdefault(code, {})[attribute] = number
        return by_code


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file of an import."""

    path: str
    """Its path."""
    sha256: str
    """The hash of its content."""
    rows: int
    """The number of rows that were read from it."""
    columns: tuple[tuple[str, str], ...] = ()
    """Its columns, and how each was read."""
    already_imported: int | None = None
    """The import that brought this content before, so that it was left out; None: it was read."""

    def as_json(self) -> Document:
        """Return the file's part of the document of `import --json`."""
        document: Document = {
            "path": self.path,
            "sha256": self.sha256,
            "rows": self.rows,
        }
        if self.columns:
            document["columns"] = dict(self.columns)
        if self.already_imported is not None:
            document["already_imported"] = self.already_imported
        return document


@dataclass(frozen=True, slots=True)
class SharedIdentity:
    """An identity that several rows, or rows and profiles, have."""

    type: str
    """Its identity type."""
    value: str
    """Its value, as the first row states it."""
    rows: int
    """The number of rows of the files that have it."""
    profiles: int
    """The number of profiles that have it, beside those that the rows belong to."""

    def as_json(self) -> Document:
        """Return the identity's part of the document of `import --json`."""
        return {
            "type": self.type,
            "value": self.value,
            "rows": self.rows,
            "profiles": self.profiles,
        }

    def told(self) -> str:
        """Return a sentence with the identity, and how many rows and profiles share it."""
        profiles = (
            f" and {self.profiles:,} other profile{'s' if self.profiles > 1 else ''}"
            if self.profiles
            else ""
        )
        rows = f"{self.rows:,} row{'s' if self.rows > 1 else ''}"
        share = "share" if self.rows > 1 or self.profiles > 0 else "shares"
        return f"{rows}{profiles} {share} the {self.type} {self.value}"


@dataclass(frozen=True, slots=True)
class Advice:
    """A piece of advice on what to do after an import."""

    code: str
    """The rule that gives it, for programs."""
    text: str
    """What there is to do, and why."""
    command: str
    """A command that does it, or shows more, as it is typed into a shell."""

    def as_json(self) -> Document:
        """Return the advice's part of the document of `import --json`."""
        return {"code": self.code, "text": self.text, "command": self.command}


@dataclass(slots=True)
class ImportReport:
    """The report of an import, or with dry_run of one that would be made."""

    number: int | None
    """The number of the import; None: nothing was imported."""
    feed: str
    """The feed."""
    source: str
    """The feed's source."""
    protection: str
    """The protection level that was in force."""
    environment: str
    """The environment of rows that state none."""
    files: list[FileReport]
    """The files."""
    counts: Counts = field(default_factory=Counts)
    """The counts."""
    already_imported: int | None = None
    """The import that brought all of this content before."""
    feed_registered: bool = False
    """Whether the import registered the feed."""
    slow_path_rows: int = 0
    """The number of rows that were decided one by one, by the rules of resolution.py."""
    shared: list[SharedIdentity] = field(default_factory=list)
    """The identities that many rows and profiles have."""
    rejects: str | None = None
    """The path of the file of rejected rows."""
    rejects_as_input: str | None = None
    """The path of the rejected rows in the form of the input."""
    explained_rows: str | None = None
    """The path of the file that explains each row."""
    elapsed_ms: int = 0
    """The milliseconds that the import took."""
    locked_ms: int = 0
    """The milliseconds for which it kept other processes out of the store."""
    dry_run: bool = False
    """Whether nothing was written."""
    examples: Document | None = None
    """The examples of a dry run (importing/examples.py)."""
    audiences: dict[str, dict[str, int]] | None = None
    """Audience -> how many people entered and left."""
    steps: list[tuple[str, float]] = field(default_factory=list)
    """The steps, and how many seconds each took."""
    notices: list[str] = field(default_factory=list)
    """Sentences on how the files were read that a person should know."""
    advice: list[Advice] = field(default_factory=list)
    """What to do next, the most important first (importing/answers/advice.py)."""

    def as_json(self) -> Document:
        """Return the document of `import --json`."""
        document: Document = {
            "import": self.number,
            "feed": self.feed,
            "source": self.source,
            "protection": self.protection,
            "environment": self.environment,
            "dry_run": self.dry_run,
            "files": [file.as_json() for file in self.files],
            **self.counts.as_json(),
            "slow_path_rows": self.slow_path_rows,
            "rejects": self.rejects,
            "elapsed_ms": self.elapsed_ms,
            "locked_ms": self.locked_ms,
            "notices": self.notices,
            "shared": [identity.as_json() for identity in self.shared],
            "advice": [piece.as_json() for piece in self.advice],
        }
        # Keys that only some imports have are not there for the others.
        for name in ("rejects_as_input", "explained_rows", "examples", "audiences"):
            if getattr(self, name) is not None:
                document[name] = getattr(self, name)
        if self.already_imported is not None:
            document["already_imported"] = self.already_imported
        return document

    def changes(self) -> bool:
        """Return whether any profile, identity or attribute is different after the import."""
        counts = self.counts
        return any(
            (
                counts.profiles["created"],
                counts.profiles["updated"],
                *(counts.identities[name] for name in IDENTITIES),
                *(counts.attributes[name] for name in ("set", "changed", "deleted")),
            )
        )


REMEMBERED = (
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
"""The parts of a report that the history remembers; an older version remembered fewer."""


@dataclass(frozen=True, slots=True)
class PastImport:
    """One import of the history."""

    number: int
    """Its number."""
    feed: str
    """Its feed."""
    source: str
    """The feed's source."""
    protection: str
    """The protection level that was in force."""
    environment: str
    """The environment of rows that state none."""
    started_ms: int
    """When it started."""
    finished_ms: int
    """When it was done."""
    made_by: str | None
    """The person who made it, user@machine, if that is known."""
    undone_ms: int | None
    """When it was undone; None: it is in force."""
    undone_by: str | None
    """The person who undid it, user@machine."""
    first_arrival: int
    """The arrival of its first row."""
    needs: tuple[int, ...] | None
    """The earlier imports that it rests on; None: not known."""
    undoable: bool
    """Whether it still has tables of its own, or never had any."""
    report: Document
    """Its report, as far as it was remembered."""
    request: Document | None
    """Its request, as it was remembered."""
    kept_out: dict[str, Document] | None = None
    """Code -> its batches that were processed and belong to nobody: how many there are, how many
    have events, and the events by type. None: not looked up.
    """

    @property
    def rows_there(self) -> dict[str, int]:
        """The rows that the store has of it by its report: applied, created, dropped, rejected."""
        there = {**self.report["rows"], "created": self.report["profiles"]["created"]}
        if self.request is not None and self.request.get("rejects") == NO_REJECTS:
            there["rejected"] = 0  # they were counted, and none was kept
        return there

    @property
    def why_not_undoable(self) -> str | None:
        """Why it cannot be undone: undone (already), or laid together with others; None: it can."""
        if self.undone_ms is not None:
            return "undone"
        return None if self.undoable else "laid together"

    def as_json(self) -> Document:
        """Return the document of `imports show --json`."""
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
            "why_not_undoable": self.why_not_undoable,
            "needs": list(self.needs) if self.needs is not None else None,
            # An older version remembered fewer parts.
            **{name: self.report.get(name, {}) for name in REMEMBERED},
            **({"kept_out": self.kept_out} if self.kept_out is not None else {}),
        }
