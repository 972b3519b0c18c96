"""User attributes: the ranks of sources, and who may overwrite an attribute.

Sources: the seed page ("User attributes and input source priority"), domain.md 6, design.md R1,
R16. The tables are the rule: the interpreter looks them up, and the engine joins them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A kind of input."""

    rank: int
    """Its rank; 1 is best."""
    own_unit: bool
    """Whether each partner, or each feed, of this kind is a unit of its own."""


SET = "SET"
"""The verdict that the attribute is set or deleted."""
CALCULATED = "UA_CALCULATED_READ_ONLY"
"""The verdict on a set or a delete of a calculated attribute, by any source."""

# fmt: off
SOURCES: dict[str, SourceKind] = {
    #                         rank  each is a unit of its own
    "calculated":  SourceKind(1,    False),
    "account":     SourceKind(2,    False),
    "custom-feed": SourceKind(3,    False),
    "sdk":         SourceKind(4,    False),
    "csv":         SourceKind(5,    False),
    "partner":     SourceKind(6,    True),
    "warehouse":   SourceKind(6,    True),
}
# fmt: on

CONSENT_SOURCES = ("account", "custom-feed", "sdk", "calculated")
"""The sources whose batches may change consent (domain.md 5.3)."""
FEED_SOURCES = tuple(name for name in SOURCES if name != "calculated")
"""The sources that a feed may have."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of an attribute."""

    source: str
    """Its source, one of SOURCES."""
    name: str
    """The name of the partner or the feed, which counts if each is a unit of its own."""

    @property
    def unit(self) -> str:
        """The unit of exclusivity: `partner/Punchh`, `warehouse/eu`, or the source alone (R16)."""
        return f"{self.source}/{self.name}" if SOURCES[self.source].own_unit else self.source


def standing(incoming: Owner, owner: Owner) -> str:
    """Return how an incoming source compares with the owner (domain.md 6.1).

    It is "better", "worse", "same unit" or "other unit".
    """
    if incoming.unit == owner.unit:
        return "same unit"
    ours, theirs = SOURCES[incoming.source].rank, SOURCES[owner.source].rank
    # Two units of one rank: two partners, or a partner and a warehouse. They shut each other out.
    if ours == theirs:
        return "other unit"
    return "better" if ours < theirs else "worse"


# fmt: off
OVERWRITE: dict[str, dict[str, str]] = {
    # the setting attributes.priority (design.md R1), and how the incoming source compares with the
    # owner of the attribute
    "rank": {
        "better":     SET,
        "same unit":  SET,
        "other unit": "UA_PDF_EXCLUSIVE",
        "worse":      "UA_LOWER_PRIORITY",
    },
    "first-writer": {
        "better":     "UA_FIRST_WRITER",
        "same unit":  SET,
        "other unit": "UA_PDF_EXCLUSIVE",
        "worse":      "UA_LOWER_PRIORITY",
    },
}
# fmt: on


def verdict(
    incoming: Owner, owner: Owner | None, priority: str, *, calculated: bool = False
) -> str:
    """Return SET, or the code that refuses a set or a delete (domain.md 6.3).

    owner: None if the profile does not have the attribute. priority: "rank" or "first-writer".
    calculated: whether a calculated attribute has this name.
    """
    if calculated:
        return CALCULATED
    return SET if owner is None else OVERWRITE[priority][standing(incoming, owner)]
