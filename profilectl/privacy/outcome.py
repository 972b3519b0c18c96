"""What an erasure takes away, as it is reported: counts, and the places beyond the store."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Erasure:
    """What an erasure takes away; of a dry run, would take. Each part of it fills in its fields."""

    profiles: list[tuple[str, str]] = field(default_factory=list)
    """MPID and environment of the profiles that go."""
    tables: dict[str, int] = field(default_factory=dict)
    """How many rows go, by the kind of table."""
    suppressed: int = 0
    """How many identities keep people out from now on."""
    shared: list[tuple[str, str]] = field(default_factory=list)
    """MPID and environment of the profiles that stay and hold an identity of the erased."""
    faded: int = 0
    """How many identities are cleared from the past of others."""
    rejects: int = 0
    """How many rejected rows lose their text."""
    corrections: int = 0
    """How many corrections by hand lose what they set."""
    requests: int = 0
    """How many source_request_ids are forgotten."""
    files: list[str] = field(default_factory=list)
    """The files that brought the erased."""
    rejects_files: list[str] = field(default_factory=list)
    """The files to which rejected rows that name the erased were written."""
    losing: list[tuple[str, str]] = field(default_factory=list)
    """MPID and environment of the profiles that stay and lose what aliases carried over to them."""
    outputs: list[str] = field(default_factory=list)
    """The outputs that have batches of theirs, or have them in an audience and are not connected
    any more.
    """
    may_have: list[str] = field(default_factory=list)
    """The outputs that have batches of feeds that only read: the store does not know whose."""
    removals: dict[str, int] = field(default_factory=dict)
    """How many messages wait that remove the erased from audiences, by output."""
    quoted: list[tuple[str, str]] = field(default_factory=list)
    """Kind and name of each text that somebody wrote and that quotes a value of theirs: its author
    must change it.
    """
    others: dict[str, int] | None = field(default_factory=dict)
    """How many rows of profiles that stay quote a value, by attribute or kind of table; None: they
    were not looked through.
    """
    answers: list[str] = field(default_factory=list)
    """The files that answered requests of theirs."""

    def anything(self) -> bool:
        """Return whether there is anything to erase."""
        return bool(
            self.profiles
            or self.faded
            or self.rejects
            or self.corrections
            or self.requests
            or self.removals
            or self.tables.get("outbox")
        )

    def tell(self, kind: str, rows: int) -> None:
        """Add rows that go to those of a kind of table."""
        self.tables[kind] = self.tables.get(kind, 0) + rows
