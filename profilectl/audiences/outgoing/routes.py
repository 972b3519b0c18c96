"""The connections of audiences: which audience goes to which output."""

from __future__ import annotations

from dataclasses import dataclass

from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.feed import workspaces_of
from profilectl.rules.leaving.audience_connection import AudienceConnection
from profilectl.rules.leaving.output import Output
from profilectl.store.definitions import Defined, audience_connections, audiences, outputs
from profilectl.store.store import OpenStore

CONNECTIONS = "select count(*) from store.connection"


@dataclass(frozen=True, slots=True)
class Route:
    """A connection of an audience, with both of its ends."""

    connection: AudienceConnection
    """The connection."""
    output: Output
    """Where it leads."""
    audience: Defined
    """Whose members it hands over."""

    @property
    def place(self) -> dict[str, object]:
        """The output and the audience, as values to bind."""
        return {"output": self.output.name, "audience": self.audience.number}


def audience_routes(store: OpenStore) -> list[Route]:
    """Return the connections of audiences of a store, with their outputs and audiences."""
    if not store.scratch.row(CONNECTIONS)[0]:
        return []
    by_output = {output.name: output for output in outputs(store)}
    by_audience = {audience.name: audience for audience in audiences(store)}
    return [
        Route(connection, by_output[connection.output], by_audience[connection.audience])
        for connection in audience_connections(store)
        if connection.output in by_output and connection.audience in by_audience
    ]


def people_of_audience(store: OpenStore, workspace: str) -> Profiles:
    """Return the read model of an audience's people.

    It has the attributes of the audience's workspace, and the identities of all.
    """
    workspaces = workspaces_of(store.feeds())
    if workspace in workspaces or not workspaces:
        return profiles_of(store, workspace=workspace)
    return profiles_of(store, every=True)
