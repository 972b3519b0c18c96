"""Connections: the batches of a feed that leave for an output, and the parts of them that do.

A rule tests the batch as it would leave, completed. Sources: domain.md 12 (forwarding rules,
sampling, data filter, in this order), 14 (batches of an opted-out user leave like any other), 5.2
(`mParticle Source Feed` is never filtered).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import cast

from profilectl.rules.consent import Purpose, Statement
from profilectl.rules.event.event import name_of
from profilectl.rules.leaving.enrichment import SOURCE_FEED, Outgoing
from profilectl.rules.leaving.output import Output
from profilectl.rules.text.values import Value, held_text, hold

# fmt: off
REASONS: dict[str, str] = {
    # why a batch does not leave; the first that applies
    "INACTIVE":    "the connection is not active",
    "UNBOUND":     "the output takes no batches of feeds that belong to no platform",
    "EVENTLESS":   "the batch has no events; what it changed rides with the next event",
    "ATTRIBUTE":   "a forwarding rule asks for another value of an attribute",
    "ATTRIBUTION": "a forwarding rule asks for another attribution",
    "CONSENT":     "a forwarding rule asks for consent",
    "ID_SYNC":     "only users with a login identity are forwarded",
    "SAMPLED_OUT": "the user is not in the sample",
    "FILTERED":    "the data filter leaves no event of it",
    "GONE":        "its profile is not there any more",
}
ACTIONS = ("forward-only", "do-not-forward")
BOUND = ("sdk",)
"""The sources whose feeds belong to a platform; all others are unbound."""
POINTS: dict[str, str] = {
    # kind of data point        the shape in which a filter names some
    "event_types":              "list",
    "events":                   "event",
    "event_attributes":         "attribute",
    "user_attributes":          "list",
    "user_identities":          "list",
}
# fmt: on
SAMPLES = 10_000
"""The steps of sampling: a hundredth of a percent each."""


@dataclass(frozen=True, slots=True)
class AttributeRule:
    """A rule on a user attribute: met if it has exactly this value.

    A value that is JSON (a number, a list) is compared as its text; a tag has no text, so it equals
    no value.
    """

    name: str
    """The attribute."""
    value: str
    """The value."""
    action: str
    """What happens to a batch that meets the rule, one of ACTIONS."""


@dataclass(frozen=True, slots=True)
class AttributionRule:
    """A rule on the install attribution: met if it names exactly this publisher."""

    publisher: str
    """The publisher."""
    action: str
    """What happens to a batch that meets the rule, one of ACTIONS."""


@dataclass(frozen=True, slots=True)
class ConsentRule:
    """A rule on the consent in force: met if that is `consented: true`.

    A purpose without a statement does not meet it. So data flows under `do-not-forward` (the CCPA's
    opt-out), and does not under `forward-only` (the GDPR's consent).
    """

    purpose: Purpose
    """The regulation and the purpose."""
    action: str
    """What happens to a batch that meets the rule, one of ACTIONS."""

    def as_table(self) -> dict[str, str]:
        """Return the rule as a table of the configuration."""
        return {"regulation": self.purpose[0], "purpose": self.purpose[1], "action": self.action}


@dataclass(frozen=True, slots=True)
class Points:
    """Some data points, by kind."""

    event_types: frozenset[str] = frozenset()
    """Types of events."""
    events: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Event type -> names."""
    event_attributes: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    """Event type -> name -> keys of attributes."""
    user_attributes: frozenset[str] = frozenset()
    """Keys of attributes."""
    user_identities: frozenset[str] = frozenset()
    """Types of identities."""

    def as_table(self) -> dict[str, object]:
        """Return the points as a table of the configuration."""
        table: dict[str, object] = {}
        if self.event_types:
            table["event_types"] = sorted(self.event_types)
        if self.events:
            table["events"] = {kind: sorted(names) for kind, names in sorted(self.events.items())}
        if self.event_attributes:
            table["event_attributes"] = {
                kind: {name: sorted(keys) for name, keys in sorted(named.items())}
                for kind, named in sorted(self.event_attributes.items())
            }
        if self.user_attributes:
            table["user_attributes"] = sorted(self.user_attributes)
        if self.user_identities:
            table["user_identities"] = sorted(self.user_identities)
        return table


@dataclass(frozen=True, slots=True)
class Connection:
    """A feed, an output, and the rules on what goes from the one to the other."""

    name: str
    """Its name."""
    feed: str
    """The feed."""
    output: str
    """The output."""
    active: bool = True
    """Whether anything goes."""
    sampling: Decimal = Decimal(100)
    """The percentage of users whose batches go."""
    attributes: tuple[AttributeRule, ...] = ()
    """Rules on user attributes."""
    attributions: tuple[AttributionRule, ...] = ()
    """Rules on the install attribution."""
    consents: tuple[ConsentRule, ...] = ()
    """Rules on consent."""
    id_sync: bool = False
    """Whether only batches of users with a login identity go."""
    off: Points = field(default_factory=Points)
    """The data points that are switched off."""
    only: Points | None = None
    """The data points that are switched on, for an output that takes no others."""

    def as_table(self) -> dict[str, object]:
        """Return the connection as a table of the configuration: the opposite of connection_of."""
        table: dict[str, object] = {"feed": self.feed, "output": self.output}
        if not self.active:
            table["active"] = False
        if self.sampling != 100:
            # As text if it has a fraction: JSON has no Decimal.
            is_whole = self.sampling == int(self.sampling)
            table["sampling"] = int(self.sampling) if is_whole else str(self.sampling)
        if self.attributes:
            table["attribute"] = [
                {"name": rule.name, "value": rule.value, "action": rule.action}
                for rule in self.attributes
            ]
        if self.attributions:
            table["attribution"] = [
                {"publisher": rule.publisher, "action": rule.action} for rule in self.attributions
            ]
        if self.consents:
            table["consent"] = [rule.as_table() for rule in self.consents]
        if self.id_sync:
            table["id_sync"] = True
        if self.off != Points():
            table["filter"] = self.off.as_table()
        if self.only is not None:
            table["only"] = self.only.as_table()
        return table


def refusal(
    outgoing: Outgoing, connection: Connection, output: Output, login: Iterable[str]
) -> str | None:
    """Return why a completed batch does not leave through a connection, or None (domain.md 12).

    It is one of REASONS. What the data filter leaves of the batch is `filtered`.

    login: the identity types that make a user known.
    """
    if not output.accepts_unbound and outgoing.feed.source not in BOUND:
        return "UNBOUND"
    if outgoing.eventless and not output.accepts_eventless:
        return "EVENTLESS"
    if not _attributes_pass(outgoing, connection):
        return "ATTRIBUTE"
    publisher = outgoing.attribution.get("publisher")
    if not all(
        _passes(rule.action, publisher == rule.publisher) for rule in connection.attributions
    ):
        return "ATTRIBUTION"
    if not all(_consents(rule, outgoing.consents) for rule in connection.consents):
        return "CONSENT"
    if connection.id_sync and not _identity_types(outgoing.document) & set(login):
        return "ID_SYNC"
    # A batch that is nobody's has no user to sample.
    if outgoing.mpid is not None and not sampled(
        connection.output, outgoing.mpid, connection.sampling
    ):
        return "SAMPLED_OUT"
    return None


def _attributes_pass(outgoing: Outgoing, connection: Connection) -> bool:
    attributes = outgoing.document.get("user_attributes")
    values = attributes if isinstance(attributes, dict) else {}
    # A tag has no text.
    texts = {key: held_text(hold(value)) for key, value in values.items() if value is not None}
    return all(
        _passes(rule.action, texts.get(rule.name) == rule.value) for rule in connection.attributes
    )


def _consents(rule: ConsentRule, consents: Sequence[Mapping[Purpose, Statement]]) -> bool:
    """Return whether a rule lets a batch through.

    If the batch is about several workspaces, the statement of each that has one on the purpose must
    let it through.
    """
    # No workspace has a statement: that counts as one that says nothing.
    statements = [consent[rule.purpose] for consent in consents if rule.purpose in consent] or [{}]
    return all(_passes(rule.action, statement.get("consented") is True) for statement in statements)


def _passes(action: str, is_met: bool) -> bool:
    return is_met if action == "forward-only" else not is_met


def _identity_types(document: Mapping[str, Value]) -> set[str]:
    identities = document.get("user_identities")
    if not isinstance(identities, list):
        return set()
    return {str(identity["identity_type"]) for identity in identities if isinstance(identity, dict)}


def sampled(output: str, mpid: int, percent: Decimal) -> bool:
    """Return whether a user is in the sample of an output: always or never (domain.md 12)."""
    # By the output too, so that two outputs sample different people.
    digest = hashlib.sha256(f"{output}{mpid}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % SAMPLES < percent * (SAMPLES // 100)


@dataclass(frozen=True, slots=True)
class _Filter:
    """A data filter."""

    off: Points
    """The points that are switched off."""
    only: Points | None
    """The points that are switched on; None: all others."""

    def passes_attribute(self, key: str) -> bool:
        is_on = self.only is None or key in self.only.user_attributes
        return key not in self.off.user_attributes and is_on

    def passes_identity(self, kind: str) -> bool:
        is_on = self.only is None or kind in self.only.user_identities
        return kind not in self.off.user_identities and is_on

    def event(self, event: Mapping[str, Value]) -> dict[str, Value] | None:
        """Return the parts of an event that pass, or None if its type or its name is switched off.

        `only` switches on an event by its type (with all names and attributes), by its name (with
        all its attributes), or by some of its attributes.
        """
        kind, members = str(event.get("event_type")), event.get("data")
        data = members if isinstance(members, dict) else {}
        name = name_of(kind, data) or ""
        off, only = self.off, self.only
        if kind in off.event_types or name in off.events.get(kind, frozenset()):
            return None
        keys: frozenset[str] | None = None
        if (
            only is not None
            and kind not in only.event_types
            and name not in only.events.get(kind, frozenset())
        ):
            keys = only.event_attributes.get(kind, {}).get(name)
            if keys is None:
                return None
        attributes = data.get("custom_attributes")
        if not isinstance(attributes, dict):
            return dict(event)
        # The name of the feed is never filtered (domain.md 12).
        dropped = off.event_attributes.get(kind, {}).get(name, frozenset())
        passing = {
            key: value
            for key, value in attributes.items()
            if key == SOURCE_FEED or (key not in dropped and (keys is None or key in keys))
        }
        return {**event, "data": {**data, "custom_attributes": passing}}


def filtered(
    document: Mapping[str, Value], connection: Connection, output: Output
) -> dict[str, Value] | None:
    """Return what the data filter leaves of a document (domain.md 12).

    Returns None if it had events and none is left, and the output takes no batch without events.
    """
    # Such an output takes nothing that no `only` names, so without one it takes no data point.
    only = (connection.only or Points()) if not output.send_new_data_points else None
    data_filter = _Filter(connection.off, only)
    leaving = dict(document)
    events = leaving.get("events")
    if isinstance(events, list):
        passing = [
            filtered_event
            for event in events
            if isinstance(event, dict) and (filtered_event := data_filter.event(event)) is not None
        ]
        if passing:
            leaving["events"] = cast(Value, passing)
        else:
            del leaving["events"]
            if not output.accepts_eventless:
                return None
    _filter_user(leaving, data_filter)
    return leaving


def _filter_user(document: dict[str, Value], data_filter: _Filter) -> None:
    """Take the identities and attributes that the filter does not let through out of a document."""
    identities = document.get("user_identities")
    if isinstance(identities, list):
        document["user_identities"] = [
            identity
            for identity in identities
            if isinstance(identity, dict)
            and data_filter.passes_identity(str(identity["identity_type"]))
        ]
    attributes = document.get("user_attributes")
    if isinstance(attributes, dict):
        document["user_attributes"] = {
            key: value for key, value in attributes.items() if data_filter.passes_attribute(key)
        }
    deleted = document.get("deleted_user_attributes")
    if isinstance(deleted, list):
        document["deleted_user_attributes"] = [
            key for key in deleted if data_filter.passes_attribute(str(key))
        ]
        if not document["deleted_user_attributes"]:
            del document["deleted_user_attributes"]
