"""Connections: which batches of a feed leave to an output, and what of them.

Sources: domain.md 12 (forwarding rules, sampling, data filter, in this order), 14 (an opted-out user's batches leave as
ever), 5.2 (`mParticle Source Feed` is never filtered). A rule asks about the batch as it would leave, completed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

from profilectl.codes import UsageError
from profilectl.consent import SALE, Purpose, Said
from profilectl.enrichment import SOURCE_FEED, Outgoing
from profilectl.event import EVENT_TYPES, name_of
from profilectl.identity import no_type, type_named
from profilectl.output import LONGEST_NAME, Output
from profilectl.values import Value, held_text, hold

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
KEYS = ("feed", "output", "active", "sampling", "attribute", "attribution", "consent", "id_sync", "filter", "only")
# fmt: on
SAMPLES = 10_000
OURS = ("system_notifications", "audience_memberships", "mpid")
"""Fields of an outgoing batch that are not sent to the Events API."""


@dataclass(frozen=True, slots=True)
class AttributeRule:
    """A user attribute has exactly this value, or not. What it has as JSON (a number, a list) is compared as its text; a tag
    has no text, so no value is its."""

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
    """What was said of a purpose is `consented: true`, or not. Nothing said is not true: so with `do-not-forward` (the
    CCPA's opt-out) data flows, with `forward-only` (the GDPR's consent) it does not."""

    purpose: Purpose
    action: str

    def as_table(self) -> dict[str, str]:
        """Return the rule as the configuration has it."""
        return {"regulation": self.purpose[0], "purpose": self.purpose[1], "action": self.action}


@dataclass(frozen=True, slots=True)
class Points:
    """Some data points, by kind. events: event type -> names; event_attributes: event type -> name -> keys."""

    event_types: frozenset[str] = frozenset()
    events: Mapping[str, frozenset[str]] = field(default_factory=dict)
    event_attributes: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    user_attributes: frozenset[str] = frozenset()
    user_identities: frozenset[str] = frozenset()

    def as_table(self) -> dict[str, Any]:
        """Return the points as the configuration has them."""
        found: dict[str, Any] = {name: sorted(getattr(self, name)) for name in ("event_types", "user_attributes", "user_identities") if getattr(self, name)}
        if self.events:
            found["events"] = {kind: sorted(names) for kind, names in sorted(self.events.items())}
        if self.event_attributes:
            found["event_attributes"] = {
                kind: {name: sorted(keys) for name, keys in sorted(named.items())} for kind, named in sorted(self.event_attributes.items())
            }
        return {name: found[name] for name in POINTS if name in found}


@dataclass(frozen=True, slots=True)
class Connection:
    """A feed, an output, and what goes from the one to the other. sampling: percent of the users. off: data points that
    are switched off; only: those that are on, where the output takes no others."""

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
            table["sampling"] = int(self.sampling) if self.sampling == int(self.sampling) else str(self.sampling)
        if self.attributes:
            table["attribute"] = [{"name": one.name, "value": one.value, "action": one.action} for one in self.attributes]
        if self.attributions:
            table["attribution"] = [{"publisher": one.publisher, "action": one.action} for one in self.attributions]
        if self.consents:
            table["consent"] = [one.as_table() for one in self.consents]
        if self.id_sync:
            table["id_sync"] = True
        if self.off != Points():
            table["filter"] = self.off.as_table()
        if self.only is not None:
            table["only"] = self.only.as_table()
        return table


def refusal(outgoing: Outgoing, connection: Connection, output: Output, login: Iterable[str]) -> str | None:
    """Return why a completed batch does not leave through a connection (one of REASONS), or None. login: the identity
    types that make a user known. What the data filter leaves is `filtered`."""
    if not output.accepts_unbound and outgoing.feed.source not in BOUND:
        return "UNBOUND"
    if outgoing.eventless and not output.accepts_eventless:
        return "EVENTLESS"
    attributes = outgoing.document.get("user_attributes")
    stated = attributes if isinstance(attributes, dict) else {}
    texts = {key: held_text(hold(value)) for key, value in stated.items() if value is not None}  # a tag has no text
    if not all(_passes(one.action, texts.get(one.name) == one.value) for one in connection.attributes):
        return "ATTRIBUTE"
    publisher = outgoing.attribution.get("publisher")
    if not all(_passes(one.action, publisher == one.publisher) for one in connection.attributions):
        return "ATTRIBUTION"
    if not all(_consents(one, outgoing.consents) for one in connection.consents):
        return "CONSENT"
    if connection.id_sync and not _identity_types(outgoing.document) & set(login):
        return "ID_SYNC"
    if outgoing.mpid is not None and not sampled(connection.output, outgoing.mpid, connection.sampling):
        return "SAMPLED_OUT"
    return None


def _consents(rule: ConsentRule, consents: Sequence[Mapping[Purpose, Said]]) -> bool:
    """Say whether a rule lets through what is about several workspaces: each that has heard of the purpose must."""
    said = [one[rule.purpose] for one in consents if rule.purpose in one] or [{}]
    return all(_passes(rule.action, one.get("consented") is True) for one in said)


def _passes(action: str, met: bool) -> bool:
    return met if action == "forward-only" else not met


def _identity_types(document: Mapping[str, Value]) -> set[str]:
    listed = document.get("user_identities")
    return {str(one["identity_type"]) for one in listed if isinstance(one, dict)} if isinstance(listed, list) else set()


def sampled(output: str, mpid: int, percent: Decimal) -> bool:
    """Say whether a user is in the sample of an output: always or never the same user."""
    digest = hashlib.sha256(f"{output}{mpid}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % SAMPLES < percent * (SAMPLES // 100)


def filtered(document: Mapping[str, Value], connection: Connection, output: Output) -> dict[str, Value] | None:
    """Return what the data filter leaves of a document; None where it had events and has none left, and the output takes
    no batch without."""
    found = dict(document)
    off = connection.off
    only = (connection.only or Points()) if not output.send_new_data_points else None
    identities, keys = (only.user_identities, only.user_attributes) if only is not None else (None, None)
    events = found.get("events")
    if isinstance(events, list):
        left = [kept for event in events if isinstance(event, dict) and (kept := _event(event, off, only)) is not None]
        if left:
            found["events"] = cast(Value, left)
        else:
            del found["events"]
            if not output.accepts_eventless:
                return None
    listed = found.get("user_identities")
    if isinstance(listed, list):
        found["user_identities"] = [
            one for one in listed if isinstance(one, dict) and _on(str(one["identity_type"]), off.user_identities, identities)
        ]
    attributes = found.get("user_attributes")
    if isinstance(attributes, dict):
        found["user_attributes"] = {key: value for key, value in attributes.items() if _on(key, off.user_attributes, keys)}
    deleted = found.get("deleted_user_attributes")
    if isinstance(deleted, list):
        found["deleted_user_attributes"] = [key for key in deleted if _on(str(key), off.user_attributes, keys)]
        if not found["deleted_user_attributes"]:
            del found["deleted_user_attributes"]
    return found


def _on(point: str, off: frozenset[str], only: frozenset[str] | None) -> bool:
    return point not in off and (only is None or point in only)


def _event(event: Mapping[str, Value], off: Points, only: Points | None) -> dict[str, Value] | None:
    """Return what is left of an event; None where its type or its name is switched off. `only` switches on an event by
    its type (and with it all its names and attributes), by its name (all its attributes), or by its attributes."""
    kind, found = str(event.get("event_type")), event.get("data")
    data = found if isinstance(found, dict) else {}
    name = name_of(kind, data) or ""
    if kind in off.event_types or name in off.events.get(kind, frozenset()):
        return None
    keys: frozenset[str] | None = None
    if only is not None and kind not in only.event_types and name not in only.events.get(kind, frozenset()):
        keys = only.event_attributes.get(kind, {}).get(name)
        if keys is None:
            return None
    attributes = data.get("custom_attributes")
    if not isinstance(attributes, dict):
        return dict(event)
    gone = off.event_attributes.get(kind, {}).get(name, frozenset())
    left = {key: value for key, value in attributes.items() if key == SOURCE_FEED or _on(key, gone, keys)}
    return {**event, "data": {**data, "custom_attributes": left}}


def check_connection(connection: Connection) -> None:
    """Refuse what a connection may say and cannot mean: asked where one is declared, not where it is read again. Raises UsageError."""
    where = f"connection {connection.name}"
    if any(not rule.name for rule in connection.attributes):
        raise UsageError(f"{where}: attribute needs name and value, each a text")
    only = connection.only or Points()
    for kind, named in only.event_attributes.items():
        both = sorted(named) if kind in only.event_types else sorted(named.keys() & only.events.get(kind, frozenset()))
        if both:
            by = "event_types" if kind in only.event_types else "events"
            raise UsageError(f"{where}: only: {both[0]} goes with all its attributes by {by}, and with some by event_attributes", "name it in one of them")


def connection_of(name: str, table: object) -> Connection:
    """Read a connection of the configuration. Raises UsageError, naming the key."""
    where = f"connection {name}"
    if not name.strip() or len(name) > LONGEST_NAME:
        raise UsageError(f"{where}: a name has 1 to {LONGEST_NAME} characters")
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} must be a section", f'[connections.{name}] with feed = "crm" and output = "lake"')
    for key in table:
        if key not in KEYS:
            raise UsageError(f"{where}: there is no key {key}", f"a connection has {', '.join(KEYS)}")
    texts = {key: _text(where, key, table.get(key)) for key in ("feed", "output")}
    switches = {key: table.get(key, standing) for key, standing in (("active", True), ("id_sync", False))}
    for key, value in switches.items():
        if not isinstance(value, bool):
            raise UsageError(f"{where}: {key} must be true or false")
    return Connection(
        name, texts["feed"], texts["output"], switches["active"], _percent(where, table.get("sampling", 100)),
        tuple(AttributeRule(*one) for one in _rules(where, table, "attribute", ("name", "value"))),
        tuple(AttributionRule(*one) for one in _rules(where, table, "attribution", ("publisher",))),
        tuple(ConsentRule(*one) for one in consent_rules(where, table)),
        switches["id_sync"], _points(f"{where}: filter", table.get("filter", {})),
        _points(f"{where}: only", table["only"]) if "only" in table else None,
    )


def _text(where: str, key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where}: needs {key}", "a text")
    return value


def _percent(where: str, stated: object) -> Decimal:
    try:
        found = Decimal(str(stated)) if isinstance(stated, int | str | Decimal) and not isinstance(stated, bool) else Decimal(-1)
    except ArithmeticError:
        found = Decimal(-1)
    if not found.is_finite() or not 0 <= found <= 100 or (found * 100) % 1:
        raise UsageError(f"{where}: sampling = {stated!r}", "percent of the users: 0 to 100, at most two digits after the point")
    return found.normalize() if found != 100 else Decimal(100)


def _rules(where: str, table: Mapping[str, Any], key: str, members: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the rules of a kind as their members and the action; one rule may stand without its list."""
    stated = table.get(key, [])
    found = []
    for one in [stated] if isinstance(stated, Mapping) else stated if isinstance(stated, list) else [None]:
        if not isinstance(one, Mapping) or set(one) - {*members, "action"}:
            raise UsageError(f"{where}: {key} must be {{ {', '.join(f'{name} = ...' for name in members)}, action = ... }}, or a list of such")
        action = one.get("action", ACTIONS[0])
        if action not in ACTIONS:
            raise UsageError(f"{where}: {key}: action = {action!r}", "it is one of " + ", ".join(ACTIONS))
        values = [one.get(name) for name in members]
        if not all(isinstance(value, str) for value in values) :
            raise UsageError(f"{where}: {key} needs {' and '.join(members)}, each a text")
        found.append((*map(str, values), action))
    return found


def consent_rules(where: str, table: Mapping[str, Any]) -> list[tuple[Purpose, str]]:
    """Return the rules of consent of a connection: the purpose, and what is done with who consented. Raises UsageError."""
    stated = table.get("consent", [])
    found = []
    for one in [stated] if isinstance(stated, Mapping) else stated if isinstance(stated, list) else [None]:
        if not isinstance(one, Mapping) or one.get("regulation") not in ("gdpr", "ccpa") or set(one) - {"regulation", "purpose", "action"}:
            raise UsageError(f"{where}: consent must be {{ regulation = \"gdpr\" or \"ccpa\", purpose = ..., action = ... }}, or a list of such")
        regulation = one["regulation"]
        purpose = one.get("purpose", SALE[1] if regulation == "ccpa" else None)
        action = one.get("action", "do-not-forward" if regulation == "ccpa" else "forward-only")
        if not isinstance(purpose, str) or not purpose or (regulation == "ccpa" and purpose != SALE[1]):
            raise UsageError(f"{where}: consent: purpose = {purpose!r}", f"the purpose of the GDPR, or {SALE[1]}, the only one of the CCPA")
        if action not in ACTIONS:
            raise UsageError(f"{where}: consent: action = {action!r}", "it is one of " + ", ".join(ACTIONS))
        found.append(((regulation, purpose), action))
    return found


def _points(where: str, table: object) -> Points:
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} must be a table", f"of {', '.join(POINTS)}")
    for kind in table:
        if kind not in POINTS:
            raise UsageError(f"{where}: there is no key {kind}", f"it has {', '.join(POINTS)}")
    identities = frozenset(_type(where, name) for name in _names(where, "user_identities", table.get("user_identities", [])))
    events = {_event_type(where, kind): _names(where, f"events.{kind}", names) for kind, names in _table(where, "events", table).items()}
    attributes = {
        _event_type(where, kind): {
            name: _names(where, f"event_attributes.{kind}.{name}", keys) for name, keys in _table(where, f"event_attributes.{kind}", {f"event_attributes.{kind}": named}).items()
        }
        for kind, named in _table(where, "event_attributes", table).items()
    }
    types = frozenset(_event_type(where, kind) for kind in _names(where, "event_types", table.get("event_types", [])))
    return Points(types, events, attributes, _names(where, "user_attributes", table.get("user_attributes", [])), identities)


def _names(where: str, key: str, value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UsageError(f"{where}: {key} must be a list of names")
    return frozenset(value)


def _table(where: str, key: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, Mapping):
        raise UsageError(f"{where}: {key} must be a table", 'for example { custom_event = ["Viewed"] }')
    return found


def _event_type(where: str, kind: str) -> str:
    if kind not in EVENT_TYPES:
        raise UsageError(f"{where}: there is no event type {kind!r}", "the types are " + ", ".join(EVENT_TYPES))
    return kind


def _type(where: str, name: str) -> str:
    kind = type_named(name)
    if kind is None:
        raise UsageError(f"{where}: there is no user identity {name!r}", no_type(name).hint)
    if kind.device:
        raise UsageError(f"{where}: there is no user identity {name!r}", "device identities are part of device_info, which is not filtered")
    return kind.name


def as_input(document: Mapping[str, Value]) -> dict[str, Value]:
    """Return an outgoing batch as the Events API takes one: identities by type, the newest of each, nothing that only an
    outgoing batch has, and not this store's MPID, which is somebody else's there or nobody's. packing.py makes its attributes text and leaves out what the server sets."""
    found = {name: value for name, value in document.items() if name not in OURS}
    events = found.get("events")
    if isinstance(events, list):
        found["events"] = [_input_event(event) for event in events if isinstance(event, dict)]
    identities: dict[str, Value] = {}
    listed = document.get("user_identities")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            identities[str(one["identity_type"])] = one["identity"]
    found["user_identities"] = identities
    return found


def _input_event(event: Mapping[str, Value]) -> Value:
    stated = event.get("data")
    data = {name: value for name, value in stated.items() if name != "message_id"} if isinstance(stated, dict) else {}
    attributes = data.get("custom_attributes")
    if isinstance(attributes, dict):
        data["custom_attributes"] = {key: value for key, value in attributes.items() if key != SOURCE_FEED}
        if not data["custom_attributes"]:
            del data["custom_attributes"]
    return {**event, "data": data}
