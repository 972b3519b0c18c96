"""A whole configuration: what a file states, completed with what the store has.

A named part (a calculated attribute, an audience, an output, a connection) is stated whole: its
keys that the file leaves out have their defaults. Settings, and the keys of feeds, stand alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from profilectl.codes import InputRefused, UsageError
from profilectl.configuration.stated import AnyConnection, Stated
from profilectl.rules.audience import Audience
from profilectl.rules.calculated import Definition
from profilectl.rules.feed import (
    ACCOUNT,
    DEFAULT_PROTECTION,
    DEFAULT_WORKSPACE,
    Feed,
    source_named_by,
    workspaces_of,
)
from profilectl.rules.leaving.audience_connection import AudienceConnection
from profilectl.rules.leaving.connection import Connection
from profilectl.rules.leaving.output import FILES, Output
from profilectl.rules.settings import check_together
from profilectl.rules.text.naming import advice
from profilectl.store.definitions import (
    audience_connections,
    audiences,
    calculations,
    check_audience_connections,
    check_connections,
    check_references,
    connections,
    outputs,
)
from profilectl.store.store import OpenStore


class HasName(Protocol):
    """A definition."""

    @property
    def name(self) -> str:
        """Its name."""


Named = TypeVar("Named", bound=HasName)


@dataclass(frozen=True, slots=True)
class Declared:
    """A whole configuration, checked."""

    settings: dict[str, object]
    """The settings that are not at their defaults."""
    feeds: list[Feed]
    """The feeds that are stated; others stay as they are."""
    readings: dict[str, dict[str, object]]
    """How the files of some feeds are read; those of other feeds stay as they are."""
    calculated: list[Definition]
    """The calculated attributes."""
    audiences: list[Audience]
    """The audiences."""
    outputs: list[Output]
    """The outputs."""
    connected: list[AnyConnection]
    """The connections, by name."""

    @property
    def connections(self) -> list[Connection]:
        """The connections of feeds."""
        return [each for each in self.connected if isinstance(each, Connection)]

    @property
    def shared(self) -> list[AudienceConnection]:
        """The connections of audiences."""
        return [each for each in self.connected if isinstance(each, AudienceConnection)]


def declared_by(store: OpenStore, statement: Stated, *, prune: bool) -> Declared:
    """Return the configuration that a store would have with what is stated.

    prune: without the settings and definitions of the store that are not stated. Raises
    InputRefused for a configuration that cannot be.
    """
    registered = {feed.name: feed for feed in store.feeds()}
    feeds = [
        _feed_declared(name, members, registered.get(name), title=statement.title, prune=prune)
        for name, members in statement.feeds.items()
    ]
    declared = Declared(
        settings=statement.settings if prune else {**store.settings().stated, **statement.settings},
        feeds=feeds,
        # Feeds are never removed, but what they state no more is.
        readings={name: {} for name in statement.feeds if prune} | statement.readings,
        calculated=statement.calculated
        if prune
        else _completed([each.definition for each in calculations(store)], statement.calculated),
        audiences=statement.audiences
        if prune
        else _completed([each.audience for each in audiences(store)], statement.audiences),
        outputs=statement.outputs if prune else _completed(outputs(store), statement.outputs),
        connected=_by_name(
            statement.connections
            if prune
            else _completed(stored_connections(store), statement.connections)
        ),
    )
    check_whole(declared, statement.title)
    _check_feeds_connected(declared, registered)
    _check_paths(store, declared)
    _check_workspaces(store, declared)
    return declared


def stored_connections(store: OpenStore) -> list[AnyConnection]:
    """Return the connections of a store, by name."""
    return _by_name([*connections(store), *audience_connections(store)])


def _by_name(connected: Iterable[AnyConnection]) -> list[AnyConnection]:
    return sorted(connected, key=lambda connection: connection.name)


def _completed(stored: Sequence[Named], in_place: Sequence[Named]) -> list[Named]:
    """Return what a store has, with what is stated in the place of what has its name."""
    return list({each.name: each for each in (*stored, *in_place)}.values())


def check_whole(declared: Declared, title: str) -> None:
    """Check the parts of a configuration against each other. Raises InputRefused."""
    check_together(declared.settings, title)
    try:
        check_references(declared.audiences)
        listed = declared.settings.get("consent.gdpr_purposes")
        purposes = [str(purpose) for purpose in listed] if isinstance(listed, list) else None
        check_connections(declared.outputs, declared.connections, purposes)
        names = {audience.name for audience in declared.audiences}
        check_audience_connections(declared.outputs, declared.shared, names, purposes=purposes)
    except UsageError as error:
        raise InputRefused(f"{title}: {error.message}", error.hint) from None


def _feed_declared(
    name: str, members: Mapping[str, str], before: Feed | None, *, title: str, prune: bool
) -> Feed:
    """Return a feed: as it is stated, and else as it is registered, or with the defaults.

    Raises InputRefused for what a feed cannot be, or cannot become.
    """
    _check_unchanged(name, members, before)
    registered_source = before.source if before else source_named_by(name)
    source = members.get("source", registered_source)
    if "partner" in members and source != "partner":
        raise InputRefused(
            f"{title}: [feeds.{name}]: partner is the name of the partner of a feed whose source"
            " is partner"
        )
    if "workspace" in members and source == ACCOUNT:
        raise InputRefused(
            f"{title}: [feeds.{name}]: an account feed belongs to no workspace: every one has its"
            " attributes",
            "leave workspace out",
        )
    level = DEFAULT_PROTECTION if prune or before is None else before.protection
    return Feed(
        name=name,
        source=source,
        protection=members.get("protection", level),
        partner=members.get("partner", before.partner if before else None),
        workspace=members.get("workspace", before.workspace if before else DEFAULT_WORKSPACE),
        number=before.number if before else 0,
    )


def _check_unchanged(name: str, members: Mapping[str, str], before: Feed | None) -> None:
    """Refuse another source, partner or workspace for a registered feed. Raises InputRefused."""
    if before is None:
        return
    if before.source != ACCOUNT and members.get("workspace", before.workspace) != before.workspace:
        raise InputRefused(
            f"the feed {name} belongs to the workspace {before.workspace}",
            "its attributes are that workspace's: use another feed name",
        )
    partner = before.partner or name
    if members.get("source", before.source) != before.source or (
        before.source == "partner" and members.get("partner", partner) != partner
    ):
        raise InputRefused(
            f"the feed {name} is registered with source {before.source}"
            + (f" and partner {before.partner}" if before.partner else ""),
            "a feed's source is what its attributes' ownership rests on: use another feed name",
        )


def _check_feeds_connected(declared: Declared, registered: Iterable[str]) -> None:
    """Refuse a connection of a feed that there is not. Raises InputRefused."""
    # A feed that is registered need not be declared: feeds are never removed (design.md R10).
    names = list(dict.fromkeys([*registered, *(feed.name for feed in declared.feeds)]))
    for connection in declared.connections:
        if connection.feed not in names:
            raise InputRefused(
                f"connection {connection.name}: there is no feed {connection.feed}",
                advice(connection.feed, names) or "declare it: [feeds.NAME]",
            )


def _check_paths(store: OpenStore, declared: Declared) -> None:
    """Refuse an output that would be written over the store, its log or another output.

    Several jsonl outputs may share a file; a csv file holds one audience's list.
    Raises InputRefused.
    """
    own = os.path.realpath(store.path)
    files: dict[str, Output] = {}
    for output in declared.outputs:
        if output.type not in FILES:
            continue
        # A relative path begins at the folder of the store; two names of one file are one place.
        place = os.path.realpath(store.path.absolute().parent / output.place)
        if place in (own, f"{own}.wal"):
            raise InputRefused(
                f"[outputs.{output.name}]: path = {output.place!r} is the store itself, or its log",
                "name another path for the output",
            )
        earlier = files.setdefault(place, output)
        if earlier is not output and "csv" in (earlier.type, output.type):
            raise InputRefused(
                f"[outputs.{output.name}]: path = {output.place!r} is the same file as that of"
                f" {earlier.name}",
                "name another path for the output",
            )


def _check_workspaces(store: OpenStore, declared: Declared) -> None:
    """Refuse a definition for a workspace that no feed belongs to, if there are others.

    Raises InputRefused.
    """
    workspaces = workspaces_of([*store.feeds(), *declared.feeds])
    defined = [
        *((f"calculated.{entry.name}", entry.workspace) for entry in declared.calculated),
        *((f"audiences.{audience.name}", audience.workspace) for audience in declared.audiences),
    ]
    for name, workspace in defined:
        if workspaces and workspace not in workspaces:
            raise InputRefused(
                f"[{name}]: there is no workspace {workspace}",
                f'it belongs to one of {", ".join(workspaces)}: workspace = "{workspaces[0]}"',
            )
