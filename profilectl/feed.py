"""A feed, and what its protection level lets a batch do.

Sources: the seed page ("Input protections"), domain.md 7, design.md R7, R8, R16.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from profilectl.attributes import Owner


class Effect(enum.Enum):
    """What happens to a batch."""

    CREATE = "create"
    UPDATE = "update"
    DROP = "drop"
    PASS_BY = "pass by"


@dataclass(frozen=True, slots=True)
class Protection:
    """What a level does with a user nobody knows, and with one that is known; code: of its refusal."""

    unknown_user: Effect
    known_user: Effect
    code: str


# fmt: off
PROTECTIONS: dict[str, Protection] = {
    #                               unknown user    known user      code of a refusal
    "create-and-update": Protection(Effect.CREATE,  Effect.UPDATE,  ""),
    "update-only":       Protection(Effect.DROP,    Effect.UPDATE,  "UPDATE_ONLY_NO_MATCH"),
    "read-only":         Protection(Effect.PASS_BY, Effect.PASS_BY, "READ_ONLY"),
}
# fmt: on

DEFAULT_PROTECTION = "create-and-update"
DEFAULT_SOURCE = "custom-feed"
ENVIRONMENTS = ("production", "development")


@dataclass(frozen=True, slots=True)
class Feed:
    """An input: its name, its source, the partner it belongs to, its protection level.

    number is the store's name for it (0: not registered yet).
    """

    name: str
    source: str = DEFAULT_SOURCE
    protection: str = DEFAULT_PROTECTION
    partner: str | None = None
    number: int = 0

    @property
    def owner(self) -> Owner:
        """Whom the attributes of this feed belong to."""
        return Owner(self.source, (self.partner or self.name) if self.source == "partner" else self.name)
