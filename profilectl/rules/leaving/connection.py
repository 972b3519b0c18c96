"""Connections: which batches of a feed leave to an output, and what of them.

Sources: domain.md 12 (forwarding rules, sampling, data filter, in this order), 14 (an opted-out
user's batches leave as ever), 5.2 (`mParticle Source Feed` is never filtered). A rule asks about
the batch as it would leave, completed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

from profilectl.rules.consent import Purpose, Said
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
# Sources whose feeds belong to a platform; all others are unbound.
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


@dataclass(frozen=True, slots=True)
class AttributeRule:
    """A user attribute has exactly this value, or not.

    What it has as JSON (a number, a list) is compared as its text; a tag has no text, so no value
    is its.
    """

    name: str
    value: str
    action: str


@dataclass(frozen=True, slots=True)
class AttributionRule:
    """The install attribution names exactly this publisher, or not."""

    publisher: str
    action: str


@dataclass(frozen=True, slots=True)
class ConsentRule:
    """What was said of a purpose is `consented: true`, or not. Nothing said is not true: so with
    `do-not-forward` (the CCPA's opt-out) data flows, with `forward-only` (the GDPR's consent) it
    does not.
    """

    purpose: Purpose
    action: str

    def as_table(self) -> dict[str, str]:
        """Return the rule as the configuration has it."""
        return {"regulation": self.purpose[0], "purpose": self.purpose[1], "action": self.action}


@dataclass(frozen=True, slots=True)
class Points:
    """Some data points, by kind.

    events: event type -> names; event_attributes: event type -> name -> keys.
    """

    event_types: frozenset[str] = frozenset()
    events: Mapping[str, frozenset[str]] = field(default_factory=dict)
    event_attributes: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    user_attributes: frozenset[str] = frozenset()
    user_identities: frozenset[str] = frozenset()

    def as_table(self) -> dict[str, Any]:
        """Return the points as the configuration has them."""
        found: dict[str, Any] = {
            name: sorted(getattr(self, name))
            for name in ("event_types", "user_attributes", "user_identities")
            if getattr(self, name)
        }
        if self.events:
            found["events"] = {kind: sorted(names) for kind, names in sorted(self.events.items())}
        if self.event_attributes:
            found["event_attributes"] = {
                kind: {name: sorted(keys) for name, keys in sorted(named.items())}
                for kind, named in sorted(self.event_attributes.items())
            }
        return {name: found[name] for name in POINTS if name in found}


@dataclass(frozen=True, slots=True)
class Connection:
    """A feed, an output, and what goes from the one to the other.

    sampling: percent of the users. off: data points that are switched off; only: those that are on,
    where the output takes no others.
    """

    name: str
    feed: str
    output: str
    active: bool = True
    sampling: Decimal = Decimal(100)
    attributes: tuple[AttributeRule, ...] = ()
    attributions: tuple[AttributionRule, ...] = ()
    consents: tuple[ConsentRule, ...] = ()
    id_sync: bool = False
    off: Points = field(default_factory=Points)
    only: Points | None = None

    def as_table(self) -> dict[str, Any]:
        """Return the connection as the configuration has it: what connection_of reads as the same."""
        table: dict[str, Any] = {"feed": self.feed, "output": self.output}
        if not self.active:
            table["active"] = False
        if self.sampling != 100:
            table["sampling"] = (
                int(self.sampling) if self.sampling == int(self.sampling) else str(self.sampling)
            )
        if self.attributes:
            table["attribute"] = [
                {"name": one.name, "value": one.value, "action": one.action}
                for one in self.attributes
            ]
        if self.attributions:
            table["attribution"] = [
                {"publisher": one.publisher, "action": one.action} for one in self.attributions
            ]
        if self.consents:
            table["consent"] = [one.as_table() for one in self.consents]
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
    """Return why a completed batch does not leave through a connection (one of REASONS), or None.

    login: the identity types that make a user known. What the data filter leaves is `filtered`.
    """
    if not output.accepts_unbound and outgoing.feed.source not in BOUND:
        return "UNBOUND"
    if outgoing.eventless and not output.accepts_eventless:
        return "EVENTLESS"
    attributes = outgoing.document.get("user_attributes")
    stated = attributes if isinstance(attributes, dict) else {}
    # a tag has no text
    texts = {key: held_text(hold(value)) for key, value in stated.items() if value is not None}
    if not all(
        _passes(one.action, texts.get(one.name) == one.value) for one in connection.attributes
    ):
        return "ATTRIBUTE"
    publisher = outgoing.attribution.get("publisher")
    if not all(_passes(one.action, publisher == one.publisher) for one in connection.attributions):
        return "ATTRIBUTION"
    if not all(_consents(one, outgoing.consents) for one in connection.consents):
        return "CONSENT"
    if connection.id_sync and not _identity_types(outgoing.document) & set(login):
        return "ID_SYNC"
    if outgoing.mpid is not None and not sampled(
        connection.output, outgoing.mpid, connection.sampling
    ):
        return "SAMPLED_OUT"
    return None


def _consents(rule: ConsentRule, consents: Sequence[Mapping[Purpose, Said]]) -> bool:
    """Say whether a rule lets through what is about several workspaces: each that has heard of the
    purpose must.
    """
    said = [one[rule.purpose] for one in consents if rule.purpose in one] or [{}]
    return all(_passes(rule.action, one.get("consented") is True) for one in said)


def _passes(action: str, met: bool) -> bool:
    return met if action == "forward-only" else not met


def _identity_types(document: Mapping[str, Value]) -> set[str]:
    listed = document.get("user_identities")
    return (
        {str(one["identity_type"]) for one in listed if isinstance(one, dict)}
        if isinstance(listed, list)
        else set()
    )


def sampled(output: str, mpid: int, percent: Decimal) -> bool:
    """Say whether a user is in the sample of an output: always or never the same user."""
    digest = hashlib.sha256(f"{output}{mpid}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % SAMPLES < percent * (SAMPLES // 100)


def filtered(
    document: Mapping[str, Value], connection: Connection, output: Output
) -> dict[str, Value] | None:
    """Return what the data filter leaves of a document; None where it had events and has none left,
    and the output takes no batch without.
    """
    found = dict(document)
    off = connection.off
    only = (connection.only or Points()) if not output.send_new_data_points else None
    identities, keys = (
        (only.user_identities, only.user_attributes) if only is not None else (None, None)
    )
    events = found.get("events")
    if isinstance(events, list):
        left = [
            kept
            for event in events
            if isinstance(event, dict) and (kept := _event(event, off, only)) is not None
        ]
        if left:
            found["events"] = cast(Value, left)
        else:
            del found["events"]
            if not output.accepts_eventless:
                return None
    listed = found.get("user_identities")
    if isinstance(listed, list):
        found["user_identities"] = [
            one
            for one in listed
            if isinstance(one, dict)
            and _on(str(one["identity_type"]), off.user_identities, identities)
        ]
    attributes = found.get("user_attributes")
    if isinstance(attributes, dict):
        found["user_attributes"] = {
            key: value for key, value in attributes.items() if _on(key, off.user_attributes, keys)
        }
    deleted = found.get("deleted_user_attributes")
    if isinstance(deleted, list):
        found["deleted_user_attributes"] = [
            key for key in deleted if _on(str(key), off.user_attributes, keys)
        ]
        if not found["deleted_user_attributes"]:
            del found["deleted_user_attributes"]
    return found


def _on(point: str, off: frozenset[str], only: frozenset[str] | None) -> bool:
    return point not in off and (only is None or point in only)


def _event(event: Mapping[str, Value], off: Points, only: Points | None) -> dict[str, Value] | None:
    """Return what is left of an event; None where its type or its name is switched off.

    `only` switches on an event by its type (and with it all its names and attributes), by its name
    (all its attributes), or by its attributes.
    """
    kind, found = str(event.get("event_type")), event.get("data")
    data = found if isinstance(found, dict) else {}
    name = name_of(kind, data) or ""
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
    gone = off.event_attributes.get(kind, {}).get(name, frozenset())
    left = {
        key: value
        for key, value in attributes.items()
        if key == SOURCE_FEED or _on(key, gone, keys)
    }
    return {**event, "data": {**data, "custom_attributes": left}}
