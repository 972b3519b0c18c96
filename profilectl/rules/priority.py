"""The sources of user attributes: who outranks whom, and who may overwrite whom.

Sources: the seed page ("User attributes and input source priority"), domain.md 6, design.md R1,
R16. The tables are the rule. The interpreter looks them up; the engine joins what `verdicts`
returns.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A kind of input. rank 1 is best. own_unit: each such partner or feed is a unit of its own."""

    rank: int
    own_unit: bool


SET = "SET"
CALCULATED = "UA_CALCULATED_READ_ONLY"
"""How a set or a delete of a calculated attribute is refused, whoever asks."""

# fmt: off
SOURCES: dict[str, SourceKind] = {
    #                     rank  each is a unit of its own
    "calculated":  SourceKind(1,    False),
    "account":     SourceKind(2,    False),
    "custom-feed": SourceKind(3,    False),
    "sdk":         SourceKind(4,    False),
    "csv":         SourceKind(5,    False),
    "partner":     SourceKind(6,    True),
    "warehouse":   SourceKind(6,    True),
}

OVERWRITE: dict[str, dict[str, str]] = {
    #                the incoming source is ... than the owner of the attribute
    "rank":         {"better": SET,               "same unit": SET, "other unit": "UA_PDF_EXCLUSIVE", "worse": "UA_LOWER_PRIORITY"},
    "first-writer": {"better": "UA_FIRST_WRITER", "same unit": SET, "other unit": "UA_PDF_EXCLUSIVE", "worse": "UA_LOWER_PRIORITY"},
}
# fmt: on

CONSENT_SOURCES = ("account", "custom-feed", "sdk", "calculated")
"""Whose batches may say something of consent (domain.md 5.3)."""
FEED_SOURCES = tuple(name for name in SOURCES if name != "calculated")


@dataclass(frozen=True, slots=True)
class Owner:
    """Who may own an attribute: a source and, where each is a unit of its own, the unit's name."""

    source: str
    name: str

    @property
    def unit(self) -> str:
        """The unit of exclusivity: `partner/Punchh`, `warehouse/eu`, or the source alone (R16)."""
        return f"{self.source}/{self.name}" if SOURCES[self.source].own_unit else self.source


def standing(incoming: Owner, owner: Owner) -> str:
    """Say how an incoming source stands to the owner: better, worse, same unit or other unit."""
    if incoming.unit == owner.unit:
        return "same unit"
    ours, theirs = SOURCES[incoming.source].rank, SOURCES[owner.source].rank
    if ours == theirs:
        return "other unit"
    return "better" if ours < theirs else "worse"


def verdict(
    incoming: Owner, owner: Owner | None, priority: str, *, calculated: bool = False
) -> str:
    """Return SET, or the code with which a set or a delete is refused (domain.md 6.3).

    owner is None where the attribute is not there. priority is "rank" or "first-writer".
    calculated: whether it is the name of a calculated attribute.
    """
    if calculated:
        return CALCULATED
    return SET if owner is None else OVERWRITE[priority][standing(incoming, owner)]
