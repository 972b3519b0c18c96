"""Enrichment: a batch that leaves, completed with what the profile has and it lacks.

Sources: the seed page ("Profile Enrichment"), domain.md 12 (what is added, outgoing differences), 7
PROP i (Read Only: as it came), 11.1 (when a calculated value leaves), 5.1 (which fields the server
sets), 5.2 (`mParticle Source Feed`). Plain values in, plain values out; what leaves to which output
is connection.py.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid5

from profilectl.rules.calculated import TYPES as CALCULATED
from profilectl.rules.calculated import Definition, value_of
from profilectl.rules.consent import Purpose, Said, replaces, state_of, statements_of
from profilectl.rules.event.event import Occurred
from profilectl.rules.feed import Feed
from profilectl.rules.identity import TYPES
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.text.values import Number, Value, held_json, parse_json, whole

# fmt: off
LEAVES = (
    # The other fields of a batch that leave with it. The rest is the sender's or the server's own
    # (keys, ip, ids of jobs).
    "device_info", "application_info", "attribution_info", "integration_attributes", "partner_identities", "partner_identity",
    "context", "batch_context", "sdk_version",
)
CHANNELS: dict[str, str] = {
    # source_info.channel of a feed's batches, where the source says it
    "custom-feed": "server_to_server",
    "csv":         "server_to_server",
    "account":     "server_to_server",
    "warehouse":   "partner",
    "partner":     "partner",
}
NAMES_ITS_FEED = ("custom-feed", "partner")
# Sources whose events say in an attribute which feed brought them (domain.md 5.2).
NOTIFICATIONS = {"gdpr": "gdpr_change", "ccpa": "ccpa_change"}
# The notification of a change of consent, by regulation.
# fmt: on
SOURCE_FEED = "mParticle Source Feed"
SCHEMA = "2"
_RANK = {kind.name: place for place, kind in enumerate(TYPES)}


@dataclass(frozen=True, slots=True)
class Holding:
    """An identity that a profile holds: since_ms is the time of the batch that brought it."""

    type: str
    value: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class MembershipSince:
    """An audience that a profile is in, and since when."""

    audience: int
    name: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Sent:
    """An event of a batch: its time (its own, or its batch's) and the whole of it."""

    at_ms: int
    document: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Received:
    """A batch as it arrived.

    at_ms: its own time; received_ms: when it was received. deleted: deletions that were applied.
    devices: device identities it states outside `rest`, its other fields. identities, attributes:
    as stated; they count only where no profile completes it.
    """

    feed: Feed
    arrival: int
    environment: str
    at_ms: int
    received_ms: int
    events: Sequence[Sent] = ()
    rest: Mapping[str, Value] = field(default_factory=dict)
    deleted: Sequence[str] = ()
    devices: Mapping[str, str] = field(default_factory=dict)
    identities: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProfileThen:
    """A profile after a batch was applied.

    attributes: held (values.hold), those of the batch's workspace and of the account, none that is
    calculated; calculated: name -> held, None: nothing to compute. consent_before: that before the
    batch; so are memberships, since audiences are evaluated after it (domain.md 12). consents: of a
    batch that is no workspace's, the consent of each.
    """

    mpid: int
    identities: Sequence[Holding] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    calculated: Mapping[str, str | None] = field(default_factory=dict)
    consent: Mapping[Purpose, Said] = field(default_factory=dict)
    consent_before: Mapping[Purpose, Said] = field(default_factory=dict)
    attribution: Mapping[str, Value] = field(default_factory=dict)
    consents: Sequence[Mapping[Purpose, Said]] = ()
    memberships: Sequence[MembershipSince] = ()
    gone: Mapping[str, int] = field(default_factory=dict)
    """Attributes that were deleted and not set again: name -> the arrival of the batch that deleted
    it last.
    """

    def effective(self) -> dict[str, str]:
        """Return the attributes as they leave: a calculated one masks a stored one of its name,
        also where it has no value.
        """
        stored = {key: held for key, held in self.attributes.items() if key not in self.calculated}
        return stored | {name: held for name, held in self.calculated.items() if held is not None}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A batch that is ready to leave, and what forwarding rules ask about it.

    mpid: None where no profile completes it. consents: in force, of each workspace that it is
    about.
    """

    document: dict[str, Value]
    arrival: int
    mpid: int | None
    feed: Feed
    received_ms: int
    consents: Sequence[Mapping[Purpose, Said]]
    attribution: Mapping[str, Value]
    gone: Mapping[str, int] = field(default_factory=dict)
    """What Known says of the profile: attributes that were deleted, and with which arrival."""

    @property
    def eventless(self) -> bool:
        return not self.document.get("events")


@dataclass(frozen=True, slots=True)
class HandedOver:
    """What an output has of the attributes of a profile."""

    arrival: int
    """The batch with which this was so first: what was deleted before it is no news any more."""
    keys: frozenset[str]
    """The names of the attributes."""


@dataclass(frozen=True, slots=True)
class Naming:
    """What ids are made of: the store's secret, so that two stores never make the same."""

    secret: str

    @property
    def namespace(self) -> UUID:
        return _namespace(self.secret)

    def request(self, output: str, arrival: int) -> str:
        """Return the source_request_id of a batch at an output: the same each time it is sent."""
        return str(uuid5(self.namespace, f"{output}:{arrival}"))

    def message(self, arrival: int, place: int) -> str:
        """Return the message_id of an event."""
        return str(uuid5(self.namespace, f"event:{arrival}:{place}"))

    def batch(self, arrival: int) -> int:
        """Return the batch_id: 64 bits, signed."""
        return int.from_bytes(
            uuid5(self.namespace, f"batch:{arrival}").bytes[:8], "big", signed=True
        )


@functools.cache
def _namespace(secret: str) -> UUID:
    return UUID(bytes=hashlib.sha256(f"forward:{secret}".encode()).digest()[:16])


def completed(
    received: Received, known: ProfileThen, naming: Naming, *, lifetime: bool = False
) -> Outgoing:
    """Return a batch completed with its profile.

    lifetime: whether there are Lifetime Profiles; then the consent in force leaves with every
    batch, and so do memberships; else only what the batch says of consent.
    """
    document = _frame(received, naming, known.mpid)
    ordered = sorted(known.identities, key=lambda one: _RANK[one.type])
    document["user_identities"] = [
        {
            "identity_type": one.type,
            "identity": one.value,
            "timestamp_unixtime_ms": whole(one.since_ms),
        }
        for one in ordered
        if not TYPES[_RANK[one.type]].device
    ]
    effective = known.effective()
    document["user_attributes"] = {
        key: parse_json(held_json(held)) for key, held in sorted(effective.items())
    }
    deleted: list[Value] = [key for key in received.deleted if key not in effective]
    if deleted:
        document["deleted_user_attributes"] = deleted
    own = (
        statements_of(received.rest.get("consent_state"))
        if received.feed.source in CONSENT_SOURCES
        else {}
    )
    leaving = (
        known.consent
        if lifetime
        else {purpose: known.consent.get(purpose, said) for purpose, said in own.items()}
    )
    if leaving:
        document["consent_state"] = state_of(leaving)
    if lifetime and known.memberships:
        document["audience_memberships"] = [
            {
                "audience_id": whole(one.audience),
                "audience_name": one.name,
                "since_ms": whole(one.since_ms),
            }
            for one in known.memberships
        ]
    notices = _notifications(known.consent_before, known.consent)
    if notices:
        document["system_notifications"] = notices
    return Outgoing(
        _in_order(document),
        received.arrival,
        known.mpid,
        received.feed,
        received.received_ms,
        known.consents or (known.consent,),
        known.attribution or _attribution(received),
        known.gone,
    )


def with_deletions(outgoing: Outgoing, has: HandedOver | None, after: int) -> Outgoing:
    """Return a batch with the deletions that ride along: what the output has of the profile, or was
    deleted since, and is not among the attributes that leave.

    has: None where the output has no batch of the profile; then what was deleted after the arrival
    `after` is told. A batch that leaves later than a newer one tells nothing: the newer one has
    told it. Nobody's batch carries nobody's deletions.
    """
    if outgoing.mpid is None:
        return outgoing
    told: list[Value] = []
    if has is None or has.arrival < outgoing.arrival:
        after = after if has is None else has.arrival
        lost = {key for key, arrival in outgoing.gone.items() if arrival > after} | (
            has.keys if has else frozenset()
        )
        told = [*sorted(lost - _keys(outgoing.document))]
    document = {
        name: value
        for name, value in outgoing.document.items()
        if name != "deleted_user_attributes"
    }
    if told:
        document["deleted_user_attributes"] = told
    return replace(outgoing, document=_in_order(document))


def handed_over(has: HandedOver | None, arrival: int, document: Mapping[str, Value]) -> HandedOver:
    """Return what an output has once it took a batch as it left: that, where nothing is another
    then.
    """
    deleted = document.get("deleted_user_attributes")
    told = frozenset(map(str, deleted)) if isinstance(deleted, list) else frozenset[str]()
    keys = ((has.keys if has else frozenset[str]()) - told) | _keys(document)
    if has is not None and keys == has.keys and not told:
        return has
    return HandedOver(max(arrival, has.arrival if has else arrival), keys)


def _keys(document: Mapping[str, Value]) -> frozenset[str]:
    attributes = document.get("user_attributes")
    return frozenset(attributes) if isinstance(attributes, dict) else frozenset()


def as_received(received: Received, naming: Naming) -> Outgoing:
    """Return a batch as it came, for nobody's profile completes it: without an MPID (domain.md 7
    PROP i).
    """
    document = _frame(received, naming, None)
    document["user_identities"] = [
        {"identity_type": kind, "identity": value, "timestamp_unixtime_ms": whole(received.at_ms)}
        for kind, value in sorted(received.identities.items(), key=lambda one: _RANK[one[0]])
        if not TYPES[_RANK[kind]].device
    ]
    document["user_attributes"] = dict(sorted(received.attributes.items()))
    if received.deleted:
        document["deleted_user_attributes"] = list(received.deleted)
    own = statements_of(received.rest.get("consent_state"))
    if own:
        document["consent_state"] = state_of(own)
    return Outgoing(
        _in_order(document),
        received.arrival,
        None,
        received.feed,
        received.received_ms,
        (own,),
        _attribution(received),
    )


def calculated_at(
    definitions: Iterable[Definition], events: Sequence[Occurred], arrival: int, now_ms: int
) -> dict[str, str | None]:
    """Return the calculated attributes that leave with the batch of an arrival (domain.md 11.1): a
    sync type counts this batch, an async one what arrived before it; with `within` every type is
    sync. events: of the person, also later ones.
    """
    found = {}
    for one in definitions:
        sync = CALCULATED[one.type].sync == "sync" or one.within_ms is not None
        counted = [event for event in events if event.arrival < arrival + sync]
        found[one.name] = value_of(one, counted, now_ms)
    return found


def after(before: Mapping[Purpose, Said], received: Received) -> dict[Purpose, Said]:
    """Return the consent in force after a batch."""
    found = dict(before)
    if received.feed.source in CONSENT_SOURCES:
        for purpose, said in statements_of(received.rest.get("consent_state")).items():
            if replaces(said, found.get(purpose)):
                found[purpose] = said
    return found


def _frame(received: Received, naming: Naming, mpid: int | None) -> dict[str, Value]:
    """Return what a batch leaves with whoever it is of."""
    document: dict[str, Value] = {
        name: received.rest[name] for name in LEAVES if name in received.rest
    }
    document["environment"] = received.environment
    document["timestamp_unixtime_ms"] = whole(received.received_ms)
    document["batch_id"] = whole(naming.batch(received.arrival))
    document["schema_version"] = Number(SCHEMA)
    if mpid is not None:
        document["mpid"] = whole(mpid)
    if received.events:
        document["events"] = [
            _event(one, received, place, naming) for place, one in enumerate(received.events)
        ]
    info = document.get("device_info")
    # In the order of the types: a batch that leaves is the same text however its identities were
    # stated.
    stated = {
        kind.name: received.devices[kind.name]
        for kind in TYPES
        if kind.name in received.devices and kind.name != "mp_deviceid"
    }
    if stated:
        document["device_info"] = {**stated, **(info if isinstance(info, dict) else {})}
    stamp = received.rest.get("mp_deviceid", received.devices.get("mp_deviceid"))
    if stamp:
        document["mp_deviceid"] = stamp
    channel = CHANNELS.get(received.feed.source)
    if channel:
        partner = {"partner": received.feed.owner.name} if channel == "partner" else {}
        document["source_info"] = {"channel": channel, **partner, "is_historical": False}
    return document


def _event(event: Sent, received: Received, place: int, naming: Naming) -> Value:
    stated = event.document.get("data")
    data: dict[str, Value] = dict(stated) if isinstance(stated, dict) else {}
    data["timestamp_unixtime_ms"] = whole(event.at_ms)
    data.setdefault("message_id", naming.message(received.arrival, place))
    if received.feed.source in NAMES_ITS_FEED:
        attributes = data.get("custom_attributes")
        data["custom_attributes"] = {
            **(attributes if isinstance(attributes, dict) else {}),
            SOURCE_FEED: received.feed.name,
        }
    return {**event.document, "data": data}


def _notifications(before: Mapping[Purpose, Said], now: Mapping[Purpose, Said]) -> list[Value]:
    """Return one notification for each purpose of which the batch changed what is in force."""
    found: list[Value] = []
    for (regulation, purpose), said in sorted(now.items()):
        old = before.get((regulation, purpose))
        if regulation in NOTIFICATIONS and said != old:
            found.append(
                {
                    "type": NOTIFICATIONS[regulation],
                    "data": {
                        "purpose": purpose,
                        "current": dict(said),
                        "old": dict(old) if old else None,
                    },
                }
            )
    return found


def _attribution(received: Received) -> Mapping[str, Value]:
    found = received.rest.get("attribution_info")
    return found if isinstance(found, dict) else {}


# fmt: off
ORDER = (
    "schema_version", "environment", "batch_id", "source_request_id", "timestamp_unixtime_ms", "mpid", "user_identities", "user_attributes",
    "deleted_user_attributes", "consent_state", "audience_memberships", "mp_deviceid", "device_info", "application_info", "attribution_info", "events",
)
# fmt: on


def _in_order(document: Mapping[str, Value]) -> dict[str, Value]:
    """Return the members in one order, the others after them."""
    return {
        name: document[name]
        for name in (*ORDER, *(name for name in document if name not in ORDER))
        if name in document
    }


def addressed(outgoing: Outgoing, output: str, naming: Naming) -> dict[str, Value]:
    """Return the document as it goes to an output: with the id under which it is sent there."""
    return _in_order(
        {**outgoing.document, "source_request_id": naming.request(output, outgoing.arrival)}
    )
