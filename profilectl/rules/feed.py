"""A feed, and what its protection level lets a batch do.

Sources: the seed page ("Input protections"), domain.md 1, 6.3, 7, design.md R7, R8, R16.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from profilectl.codes import UsageError
from profilectl.rules.priority import FEED_SOURCES, SOURCES, Owner
from profilectl.rules.text.naming import no_such


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
BECAME: dict[str, str] = {
    # what becomes of a batch that is nobody's, by the code of the refusal
    "UPDATE_ONLY_NO_MATCH": "it is dropped, and counted for the bill",
    "READ_ONLY":            "what has events leaves as it came, and nothing of it is kept",
}
# fmt: on

PROCESSED = tuple(one.code for one in PROTECTIONS.values() if one.code)
"""Codes of dropped rows that were processed all the same: a repeated request, or somebody erased,
was not.
"""
DEFAULT_PROTECTION = "create-and-update"
DEFAULT_SOURCE = "custom-feed"
DEFAULT_WORKSPACE = "default"
ACCOUNT = "account"
"""The source whose attributes belong to the account: every workspace has them (domain.md 6.3)."""
NO_WORKSPACE = ""
"""What stands for the account where a workspace is asked for; none has this name."""
ENVIRONMENTS = ("production", "development")


@dataclass(frozen=True, slots=True)
class Feed:
    """An input: its name, its source, the partner it belongs to, its protection level, its
    workspace.

    number is the store's name for it (0: not registered yet).
    """

    name: str
    source: str = DEFAULT_SOURCE
    protection: str = DEFAULT_PROTECTION
    partner: str | None = None
    number: int = 0
    workspace: str = DEFAULT_WORKSPACE

    def seen_in(self, workspace: str) -> bool:
        """Say whether a workspace has what this feed brings: its own feeds' data, and the
        account's.
        """
        return self.source == ACCOUNT or self.workspace == workspace

    def shares_attributes(self, other: Feed) -> bool:
        """Say whether an attribute of the one and an attribute of that name of the other are the
        same attribute: those of two workspaces are not, those of the account are every
        workspace's.
        """
        return self.source == ACCOUNT or other.seen_in(self.workspace)

    @property
    def owner(self) -> Owner:
        """Whom the attributes of this feed belong to."""
        return Owner(
            self.source, (self.partner or self.name) if self.source == "partner" else self.name
        )


def source_named_by(name: str) -> str:
    """Return the source of a feed that is new, where none is stated: the one that has its name
    (design.md R7).
    """
    return name if name in FEED_SOURCES else DEFAULT_SOURCE


VALUES_OF = {
    "account": "the account's",
    "custom-feed": "a custom feed's",
    "sdk": "the SDK's",
    "csv": "a CSV upload's",
    "partner": "a partner's",
    "warehouse": "a warehouse's",
}
"""Whose values those of a source are, in words."""


def meaning_of(source: str) -> str:
    """Say what the source of a feed means for its values: its rank, and whose values they beat."""
    rank = SOURCES[source].rank
    below = min((one.rank for one in SOURCES.values() if one.rank > rank), default=None)
    beaten = [VALUES_OF[name] for name in FEED_SOURCES if SOURCES[name].rank == below]
    beats = (
        f"its values beat {' and '.join(beaten)}" if beaten else "its values beat no other source's"
    )
    upload = (
        f"; a CSV upload to the platform is --source csv, rank {SOURCES['csv'].rank}"
        if source == DEFAULT_SOURCE
        else ""
    )
    return f"{source}, rank {rank}: {beats}{upload}"


def completed_in(feed: Feed, workspaces: Sequence[str]) -> str:
    """Return the workspace whose attributes complete a batch that leaves: the feed's own; of an
    account feed the only one there is, or NO_WORKSPACE: what the account itself has. Values of
    one workspace never leave with those of another.
    """
    if feed.source != ACCOUNT:
        return feed.workspace
    return workspaces[0] if len(workspaces) == 1 else NO_WORKSPACE


def workspaces_of(feeds: Iterable[Feed]) -> list[str]:
    """Return the names of the workspaces that feeds belong to, sorted; the account is none."""
    return sorted({feed.workspace for feed in feeds if feed.source != ACCOUNT})


def computed(
    feed: Feed, calculated: Mapping[str, Collection[str]], workspaces: Iterable[str]
) -> frozenset[str]:
    """Return the names that a feed may not set, because they are of calculated attributes
    (domain.md 6.3): those of its workspace.

    What the account says is refused only where every workspace calculates it: else it is kept,
    masked where it is calculated, and seen in the others. calculated: by workspace.
    """
    if feed.source != ACCOUNT:
        return frozenset(calculated.get(feed.workspace, ()))
    every = [frozenset(calculated.get(name, ())) for name in {*workspaces, *calculated}]
    return frozenset.intersection(*every) if every else frozenset()


def no_feed(name: str, there: Iterable[str], option: str = "") -> UsageError:
    """Return what is said of a feed that there is not. option: what it was typed behind."""
    return no_such("feed", name, there, option=option, lists="profilectl feeds list")
