"""A feed, and the batches that its protection level lets through.

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
    """An effect of a protection level on a batch."""

    CREATE = "create"
    UPDATE = "update"
    DROP = "drop"
    PASS_BY = "pass by"


@dataclass(frozen=True, slots=True)
class Protection:
    """The rule of a protection level (domain.md 7)."""

    unknown_user: Effect
    """The effect on a batch that matches nobody."""
    known_user: Effect
    """The effect on a batch that matches somebody."""
    code: str
    """The code of a batch that is refused."""


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

PROCESSED = tuple(level.code for level in PROTECTIONS.values() if level.code)
"""The codes of dropped rows that count as processed; a repeated request and a row of an erased
person do not.
"""
DEFAULT_PROTECTION = "create-and-update"
DEFAULT_SOURCE = "custom-feed"
DEFAULT_WORKSPACE = "default"
ACCOUNT = "account"
"""The source whose attributes belong to the account: every workspace has them (domain.md 6.3)."""
NO_WORKSPACE = ""
"""The account in the place of a workspace; no workspace has this name."""
ENVIRONMENTS = ("production", "development")


@dataclass(frozen=True, slots=True)
class Feed:
    """An input."""

    name: str
    """Its name."""
    source: str = DEFAULT_SOURCE
    """Its source, one of FEED_SOURCES: the ownership of its attributes rests on it."""
    protection: str = DEFAULT_PROTECTION
    """Its protection level, one of PROTECTIONS."""
    partner: str | None = None
    """The partner it belongs to; None: the partner has the feed's name."""
    number: int = 0
    """The store's number for it; 0: it is not registered yet."""
    workspace: str = DEFAULT_WORKSPACE
    """The workspace it belongs to; it does not count if the source is ACCOUNT."""

    def seen_in(self, workspace: str) -> bool:
        """Return whether a workspace has this feed's data: its own, or that of the account."""
        return self.source == ACCOUNT or self.workspace == workspace

    def shares_attributes(self, feed: Feed) -> bool:
        """Return whether this feed and another set the same attribute if they use one name.

        Attributes of two workspaces are not the same; those of the account are every workspace's
        (domain.md 6.3).
        """
        return self.source == ACCOUNT or feed.seen_in(self.workspace)

    @property
    def owner(self) -> Owner:
        """The owner of this feed's attributes (design.md R16)."""
        name = (self.partner or self.name) if self.source == "partner" else self.name
        return Owner(self.source, name)


def source_named_by(name: str) -> str:
    """Return the source of a new feed without `--source`: the one of its name (design.md R7)."""
    return name if name in FEED_SOURCES else DEFAULT_SOURCE


# fmt: off
VALUES_OF = {
    # the values of a source, in words
    "account":     "the account's",
    "custom-feed": "a custom feed's",
    "sdk":         "the SDK's",
    "csv":         "a CSV upload's",
    "partner":     "a partner's",
    "warehouse":   "a warehouse's",
}
# fmt: on


def meaning_of(source: str) -> str:
    """Return the meaning of a feed's source for its values, in words.

    That is its rank, and the source whose values they beat next (design.md R7).
    """
    rank = SOURCES[source].rank
    # Partners and warehouses share a rank, so several sources may come next.
    below = min((kind.rank for kind in SOURCES.values() if kind.rank > rank), default=None)
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
    """Return the workspace whose attributes complete a batch that leaves (domain.md 12).

    It is the feed's own. For an account feed it is the only workspace there is, else NO_WORKSPACE:
    the account's attributes alone. Values of two workspaces never leave together.
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
    """Return the names of calculated attributes that a feed may not set (domain.md 6.3).

    A feed may not set those of its workspace, and an account feed those that every workspace
    calculates. An attribute of the account that only some workspaces calculate is kept: it is
    masked there, and seen in the others.

    calculated: workspace -> names of calculated attributes.
    """
    if feed.source != ACCOUNT:
        return frozenset(calculated.get(feed.workspace, ()))
    # A workspace without a feed may still have definitions, so both lists count.
    every = [frozenset(calculated.get(name, ())) for name in {*workspaces, *calculated}]
    return frozenset.intersection(*every) if every else frozenset()


def no_feed(name: str, there: Iterable[str], option: str = "") -> UsageError:
    """Return the refusal of a feed that does not exist.

    there: the feeds there are. option: the option it was typed behind.
    """
    return no_such("feed", name, there, option=option, lists="profilectl feeds list")
