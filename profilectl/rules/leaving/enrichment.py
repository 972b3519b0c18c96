"""Enrichment: a batch that leaves, completed with what the profile has and the batch does not.

Plain values in, plain values out; which batches leave to which output is in connection.py. Sources:
the seed page ("Profile Enrichment"), domain.md 12 (what is added, outgoing differences), 7 PROP i
(Read Only: as it came), 11.1 (when a calculated value leaves), 5.1 (which fields the server sets),
5.2 (`mParticle Source Feed`).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid5

from profilectl.rules.calculated import TYPES as CALCULATED
from profilectl.rules.calculated import Definition, value_of
from profilectl.rules.consent import Purpose, Statement, replaces, state_of, statements_of
from profilectl.rules.event.event import Occurred
from profilectl.rules.feed import Feed
from profilectl.rules.identity import TYPES
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.text.values import Number, Value, held_json, parse_json, whole

# fmt: off
LEAVES = (
    # the other fields of a batch that leave with it; all else is the sender's or the server's own
    # (keys, ip, ids of jobs)
    "device_info", "application_info", "attribution_info", "integration_attributes",
    "partner_identities", "partner_identity", "context", "batch_context", "sdk_version",
)
CHANNELS: dict[str, str] = {
    # source of a feed  source_info.channel of its batches, if the source tells it
    "custom-feed":      "server_to_server",
    "csv":              "server_to_server",
    "account":          "server_to_server",
    "warehouse":        "partner",
    "partner":          "partner",
}
NAMES_ITS_FEED = ("custom-feed", "partner")
"""The sources whose events name their feed in an attribute (domain.md 5.2)."""
NOTIFICATIONS = {"gdpr": "gdpr_change", "ccpa": "ccpa_change"}
"""Regulation -> the notification of a change of consent."""
ORDER = (
    # the members of a document, in the order in which they leave
    "schema_version", "environment", "batch_id", "source_request_id", "timestamp_unixtime_ms",
    "mpid", "user_identities", "user_attributes", "deleted_user_attributes", "consent_state",
    "audience_memberships", "mp_deviceid", "device_info", "application_info", "attribution_info",
    "events",
)
# fmt: on
SOURCE_FEED = "mParticle Source Feed"
SCHEMA = "2"
_RANK = {kind.name: place for place, kind in enumerate(TYPES)}


@dataclass(frozen=True, slots=True)
class Holding:
    """An identity that a profile holds."""

    type: str
    """Its type."""
    value: str
    """Its value."""
    since_ms: int
    """The time of the batch that brought it."""


@dataclass(frozen=True, slots=True)
class MembershipSince:
    """An audience that a profile is in."""

    audience: int
    """The number of the audience."""
    name: str
    """Its name."""
    since_ms: int
    """Since when the profile is in it."""


@dataclass(frozen=True, slots=True)
class LeavingEvent:
    """An event of a batch."""

    at_ms: int
    """Its time, or its batch's if it has none."""
    document: Mapping[str, Value]
    """The whole event."""


@dataclass(frozen=True, slots=True)
class ReceivedBatch:
    """A batch as it arrived."""

    feed: Feed
    """Its feed."""
    arrival: int
    """The arrival of its row."""
    environment: str
    """Its environment."""
    at_ms: int
    """Its own time."""
    received_ms: int
    """When it was received."""
    events: Sequence[LeavingEvent] = ()
    """Its events."""
    rest: Mapping[str, Value] = field(default_factory=dict)
    """Its other fields."""
    deleted: Sequence[str] = ()
    """The deletions of attributes that were applied."""
    devices: Mapping[str, str] = field(default_factory=dict)
    """The device identities that it states outside its other fields."""
    identities: Mapping[str, str] = field(default_factory=dict)
    """The identities as stated; they count only if no profile completes the batch."""
    attributes: Mapping[str, Value] = field(default_factory=dict)
    """The attributes as stated; they count only if no profile completes the batch."""


@dataclass(frozen=True, slots=True)
class ProfileThen:
    """A profile after a batch was applied."""

    mpid: int
    """Its MPID."""
    identities: Sequence[Holding] = ()
    """Its identities."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """The held values (values.hold) of the attributes of the batch's workspace and of the account
    that are not calculated.
    """
    calculated: Mapping[str, str | None] = field(default_factory=dict)
    """The held values of calculated attributes; None: there is nothing to compute."""
    consent: Mapping[Purpose, Statement] = field(default_factory=dict)
    """The consent in force."""
    consent_before: Mapping[Purpose, Statement] = field(default_factory=dict)
    """The consent in force before the batch."""
    attribution: Mapping[str, Value] = field(default_factory=dict)
    """The install attribution."""
    consents: Sequence[Mapping[Purpose, Statement]] = ()
    """The consent in force of each workspace, if the batch belongs to none."""
    memberships: Sequence[MembershipSince] = ()
    """The audiences that it was in before the batch: they are evaluated after it (domain.md 12)."""
    gone: Mapping[str, int] = field(default_factory=dict)
    """The attributes that were deleted and not set again: name -> the arrival of the batch that
    deleted it last.
    """

    def effective(self) -> dict[str, str]:
        """Return the attributes as they leave.

        A calculated one masks a stored one of its name, even if it has no value.
        """
        stored = {
            key: held_value
            for key, held_value in self.attributes.items()
            if key not in self.calculated
        }
        return stored | {
            name: held_value
            for name, held_value in self.calculated.items()
            if held_value is not None
        }


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A batch that is ready to leave, and the facts that forwarding rules test."""

    document: dict[str, Value]
    """The batch."""
    arrival: int
    """The arrival of its row."""
    mpid: int | None
    """The MPID of its profile; None: no profile completes it."""
    feed: Feed
    """Its feed."""
    received_ms: int
    """When it was received."""
    consents: Sequence[Mapping[Purpose, Statement]]
    """The consent in force of each workspace that it is about."""
    attribution: Mapping[str, Value]
    """The install attribution."""
    gone: Mapping[str, int] = field(default_factory=dict)
    """The attributes of the profile that were deleted (ProfileThen.gone)."""

    @property
    def eventless(self) -> bool:
        """Whether it has no events."""
        return not self.document.get("events")


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The attributes of a profile that an output has."""

    arrival: int
    """The arrival of the batch after which this was so first: the output knows of every deletion
    before it.
    """
    keys: frozenset[str]
    """The names of the attributes."""


@dataclass(frozen=True, slots=True)
class IdMaker:
    """The maker of ids: they are the same each time, and different in two stores."""

    secret: str
    """The store's secret."""

    @property
    def namespace(self) -> UUID:
        """The namespace of the store's UUIDs."""
        return _namespace(self.secret)

    def request(self, output: str, arrival: int) -> str:
        """Return the source_request_id of a batch at an output: the same each time it is sent."""
        return str(uuid5(self.namespace, f"{output}:{arrival}"))

    def message(self, arrival: int, place: int) -> str:
        """Return the message_id of an event."""
        return str(uuid5(self.namespace, f"event:{arrival}:{place}"))

    def batch(self, arrival: int) -> int:
        """Return the batch_id: 64 bits with a sign."""
        return int.from_bytes(
            uuid5(self.namespace, f"batch:{arrival}").bytes[:8], "big", signed=True
        )


@functools.cache
def _namespace(secret: str) -> UUID:
    return UUID(bytes=hashlib.sha256(f"forward:{secret}".encode()).digest()[:16])


def completed(
    received: ReceivedBatch, profile: ProfileThen, naming: IdMaker, *, lifetime: bool = False
) -> Outgoing:
    """Return a batch completed with its profile (domain.md 12).

    lifetime: whether there are Lifetime Profiles. Then the consent in force and the memberships
    leave with every batch; else only consent that the batch itself states.
    """
    document = _frame(received, naming, profile.mpid)
    document["user_identities"] = _user_identities(profile.identities)
    effective = profile.effective()
    document["user_attributes"] = {
        key: parse_json(held_json(held_value)) for key, held_value in sorted(effective.items())
    }
    # An attribute that is set again, or that a calculated one masks, leaves with its value instead.
    deleted: list[Value] = [key for key in received.deleted if key not in effective]
    if deleted:
        document["deleted_user_attributes"] = deleted
    consent = profile.consent if lifetime else _own_consent(received, profile)
    if consent:
        document["consent_state"] = state_of(consent)
    if lifetime and profile.memberships:
        document["audience_memberships"] = [
            {
                "audience_id": whole(membership.audience),
                "audience_name": membership.name,
                "since_ms": whole(membership.since_ms),
            }
            for membership in profile.memberships
        ]
    notifications = _notifications(profile.consent_before, profile.consent)
    if notifications:
        document["system_notifications"] = notifications
    return Outgoing(
        document=_in_order(document),
        arrival=received.arrival,
        mpid=profile.mpid,
        feed=received.feed,
        received_ms=received.received_ms,
        # consents is empty unless the batch belongs to no workspace.
        consents=profile.consents or (profile.consent,),
        attribution=profile.attribution or _attribution(received),
        gone=profile.gone,
    )


def _user_identities(holdings: Iterable[Holding]) -> list[Value]:
    """Return the user identities of a profile as they leave, in the order of types."""
    return [
        {
            "identity_type": holding.type,
            "identity": holding.value,
            "timestamp_unixtime_ms": whole(holding.since_ms),
        }
        for holding in sorted(holdings, key=lambda holding: _RANK[holding.type])
        if not TYPES[_RANK[holding.type]].device
    ]


def _own_consent(received: ReceivedBatch, profile: ProfileThen) -> dict[Purpose, Statement]:
    """Return the consent in force to the purposes that a batch itself states."""
    if received.feed.source not in CONSENT_SOURCES:
        return {}
    return {
        purpose: profile.consent.get(purpose, statement)
        for purpose, statement in statements_of(received.rest.get("consent_state")).items()
    }


def with_deletions(outgoing: Outgoing, has: HandedOver | None, after: int) -> Outgoing:
    """Return a batch with the deletions that ride along.

    An attribute is deleted if the output has it of the profile, or if it was deleted since, and it
    does not leave with the batch. A batch that leaves later than a newer one carries no deletions,
    because the newer one carried them. A batch that is nobody's carries none either.

    has: what the output has; None: no batch of the profile. Then deletions after the arrival
    `after` ride along.
    """
    if outgoing.mpid is None:
        return outgoing
    deletions: list[Value] = []
    if has is None or has.arrival < outgoing.arrival:
        since = after if has is None else has.arrival
        # First what was deleted since the output's last batch, then all that it has.
        lost = {key for key, arrival in outgoing.gone.items() if arrival > since}
        lost |= has.keys if has else frozenset()
        deletions = [*sorted(lost - _keys(outgoing.document))]
    document = {
        name: value
        for name, value in outgoing.document.items()
        if name != "deleted_user_attributes"
    }
    if deletions:
        document["deleted_user_attributes"] = deletions
    return replace(outgoing, document=_in_order(document))


def handed_over(has: HandedOver | None, arrival: int, document: Mapping[str, Value]) -> HandedOver:
    """Return the attributes that an output has after it took a batch.

    document: the batch as it left. has: the attributes it had before; it is returned as it is if
    the batch changed nothing.
    """
    names = document.get("deleted_user_attributes")
    deleted = frozenset(map(str, names)) if isinstance(names, list) else frozenset[str]()
    keys = ((has.keys if has else frozenset[str]()) - deleted) | _keys(document)
    if has is not None and keys == has.keys and not deleted:
        return has
    return HandedOver(max(arrival, has.arrival if has else arrival), keys)


def _keys(document: Mapping[str, Value]) -> frozenset[str]:
    attributes = document.get("user_attributes")
    return frozenset(attributes) if isinstance(attributes, dict) else frozenset()


def as_received(received: ReceivedBatch, naming: IdMaker) -> Outgoing:
    """Return a batch as it came, without an MPID: no profile completes it (domain.md 7 PROP i)."""
    document = _frame(received, naming, None)
    holdings = [Holding(kind, value, received.at_ms) for kind, value in received.identities.items()]
    document["user_identities"] = _user_identities(holdings)
    document["user_attributes"] = dict(sorted(received.attributes.items()))
    if received.deleted:
        document["deleted_user_attributes"] = list(received.deleted)
    consent = statements_of(received.rest.get("consent_state"))
    if consent:
        document["consent_state"] = state_of(consent)
    return Outgoing(
        document=_in_order(document),
        arrival=received.arrival,
        mpid=None,
        feed=received.feed,
        received_ms=received.received_ms,
        consents=(consent,),
        attribution=_attribution(received),
    )


def calculated_at(
    definitions: Iterable[Definition], events: Sequence[Occurred], arrival: int, now_ms: int
) -> dict[str, str | None]:
    """Return the calculated attributes that leave with the batch of an arrival (domain.md 11.1).

    A sync type counts this batch, an async one the batches before it; with `within` every type is
    sync.

    events: the person's, also later ones.
    """
    values = {}
    for definition in definitions:
        is_sync = CALCULATED[definition.type].sync == "sync" or definition.within_ms is not None
        # True counts as 1, so a sync type takes the events of this arrival as well.
        counted = [event for event in events if event.arrival < arrival + is_sync]
        values[definition.name] = value_of(definition, counted, now_ms)
    return values


def after(before: Mapping[Purpose, Statement], received: ReceivedBatch) -> dict[Purpose, Statement]:
    """Return the consent in force after a batch (domain.md 5.3)."""
    consent = dict(before)
    if received.feed.source in CONSENT_SOURCES:
        for purpose, statement in statements_of(received.rest.get("consent_state")).items():
            if replaces(statement, consent.get(purpose)):
                consent[purpose] = statement
    return consent


def _frame(received: ReceivedBatch, naming: IdMaker, mpid: int | None) -> dict[str, Value]:
    """Return the part of a batch that leaves with any profile, or with none."""
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
            _event(event, received, naming.message(received.arrival, place))
            for place, event in enumerate(received.events)
        ]
    info = document.get("device_info")
    # In the order of the types: a batch that leaves is the same text in whichever order its
    # identities were stated.
    identities = {
        kind.name: received.devices[kind.name]
        for kind in TYPES
        if kind.name in received.devices and kind.name != "mp_deviceid"
    }
    if identities:
        document["device_info"] = {**identities, **(info if isinstance(info, dict) else {})}
    stamp = received.rest.get("mp_deviceid", received.devices.get("mp_deviceid"))
    if stamp:
        document["mp_deviceid"] = stamp
    channel = CHANNELS.get(received.feed.source)
    if channel:
        partner = {"partner": received.feed.owner.name} if channel == "partner" else {}
        document["source_info"] = {"channel": channel, **partner, "is_historical": False}
    return document


def _event(event: LeavingEvent, received: ReceivedBatch, message: str) -> Value:
    """Return an event as it leaves; message: its message_id, if it states none."""
    members = event.document.get("data")
    data: dict[str, Value] = dict(members) if isinstance(members, dict) else {}
    data["timestamp_unixtime_ms"] = whole(event.at_ms)
    # An id that the sender gave stays, so that the receiver can see a repetition.
    data.setdefault("message_id", message)
    if received.feed.source in NAMES_ITS_FEED:
        attributes = data.get("custom_attributes")
        data["custom_attributes"] = {
            **(attributes if isinstance(attributes, dict) else {}),
            SOURCE_FEED: received.feed.name,
        }
    return {**event.document, "data": data}


def _notifications(
    before: Mapping[Purpose, Statement], in_force: Mapping[Purpose, Statement]
) -> list[Value]:
    """Return a notification for each purpose whose consent in force the batch changed."""
    notifications: list[Value] = []
    for (regulation, purpose), statement in sorted(in_force.items()):
        old = before.get((regulation, purpose))
        if regulation in NOTIFICATIONS and statement != old:
            notifications.append(
                {
                    "type": NOTIFICATIONS[regulation],
                    "data": {
                        "purpose": purpose,
                        "current": dict(statement),
                        "old": dict(old) if old else None,
                    },
                }
            )
    return notifications


def _attribution(received: ReceivedBatch) -> Mapping[str, Value]:
    info = received.rest.get("attribution_info")
    return info if isinstance(info, dict) else {}


def _in_order(document: Mapping[str, Value]) -> dict[str, Value]:
    """Return the members of a document in ORDER, all others after them."""
    names = (*ORDER, *(name for name in document if name not in ORDER))
    return {name: document[name] for name in names if name in document}


def addressed(outgoing: Outgoing, output: str, naming: IdMaker) -> dict[str, Value]:
    """Return the document as it goes to an output: with the id under which it is sent there."""
    return _in_order(
        {**outgoing.document, "source_request_id": naming.request(output, outgoing.arrival)}
    )
