"""One person's activity: the profile, and every batch that touched it with what each did.

Everything about a profile follows from its rows in the order of their arrival. The rows of one
profile are read (raw_rows) and played through (played), so that each value has its history and each
batch its outcome. show, explain and browse draw the result, whose types are here.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from profilectl.rules.consent import replaces, statements_of
from profilectl.rules.device import Id, device_ids, devices_of, kind_in, names_device
from profilectl.rules.event.event import Occurred, last_opt_out, opted_out
from profilectl.rules.feed import Feed
from profilectl.rules.identity import BY_NAME, display, key_of
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.text.values import Value, parse_json, to_json

Document = dict[str, Any]
"""A JSON object, as a batch has it."""

DEVICE_PREFERENCE = ("ios_advertising_id", "android_advertising_id", "ios_idfv", "android_uuid")
"""The device ids by which a device is shown, the first that it has (domain.md 10)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of something: the row, its file, its import and feed."""

    arrival: int
    """The row's place in the order of everything that arrived."""
    import_number: int
    """The import that brought it."""
    feed: Feed
    """The feed of the import."""
    protection: str
    """The protection that was in force for the import."""
    file: str
    """The file it was in."""
    unit: str
    """line, or row where a file has rows rather than lines."""
    place: int
    """Its line or row in the file."""
    at_ms: int
    """The time of the row."""

    @property
    def where(self) -> str:
        """The file and the line, as an editor takes them."""
        return f"{self.file}:{self.place}"


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """One thing that a row did, or tried to do, to an attribute."""

    key: str
    """The attribute."""
    kind: str
    """set, changed, unchanged, deleted or blocked."""
    held: str
    """The value of the row, as it is held."""
    before: str | None
    """The value that was in force, as it is held; None: none."""
    owner: Origin | None
    """Where the value in force came from."""
    origin: Origin
    """The row."""
    code: str = ""
    """Why it was blocked."""


@dataclass(frozen=True, slots=True)
class HeldIdentity:
    """An identity of the profile."""

    type: str
    """The identity type."""
    value: str
    """The value, as the row has it."""
    origin: Origin
    """The row it came in."""
    lost: int | None = None
    """The arrival of the row that took it away, if one did."""


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """An event of the user."""

    type: str
    """The type, such as custom_event."""
    name: str | None
    """The name, if its type has one."""
    at_ms: int
    """When it happened."""
    session: str | None
    """The session it was in."""
    text: str
    """The whole event as JSON, as it came."""

    @property
    def document(self) -> Value:
        """The whole event."""
        return parse_json(self.text)


@dataclass(slots=True)
class Touch:
    """One batch that touched the profile."""

    origin: Origin
    """Where it comes from."""
    founded: bool
    """Whether it founded the profile."""
    added: list[HeldIdentity] = field(default_factory=list)
    """The identities that it added."""
    removed: list[HeldIdentity] = field(default_factory=list)
    """The identities that it took away."""
    entries: list[AttributeChange] = field(default_factory=list)
    """What it did to attributes."""
    events: list[SeenEvent] = field(default_factory=list)
    """Its events, in their order."""
    rest: Document = field(default_factory=dict)
    """Its other fields: consent, device, attribution ..."""
    alias: Carried | None = None
    """The alias, if this is one and no batch."""
    taker: int | None = None
    """The MPID of another profile, if this is its batch, which took identities away."""


@dataclass(frozen=True, slots=True)
class Carried:
    """An alias as a profile shows it, by MPIDs."""

    source: int
    """The MPID of the profile whose past it is."""
    destination: int
    """The MPID of the profile that gets it."""
    start_ms: int
    """The time of the first event that is carried over."""
    end_ms: int
    """The time of the last event that is carried over."""
    due_ms: int
    """When it takes effect."""
    first_seen_ms: int
    """When the destination was first seen, from due_ms on."""
    in_force: bool
    """Whether it has taken effect."""


@dataclass(slots=True)
class Device:
    """A device of the person."""

    identities: dict[str, str]
    """Its ids by type; mp_deviceid is its application stamp."""
    first_seen_ms: int
    """The time of its first batch."""
    last_seen_ms: int
    """The time of its last batch."""
    info: Document = field(default_factory=dict)
    """What batches say of it."""
    attribution: Document = field(default_factory=dict)
    """The install attribution that came with it."""
    earlier: dict[str, list[str]] = field(default_factory=dict)
    """The ids that it had before those it has, by type."""


@dataclass(frozen=True, slots=True)
class AudienceMembership:
    """A person's membership in an audience."""

    audience: int
    """The number of the audience."""
    name: str
    """Its name."""
    since_ms: int
    """Since when the person is in it."""
    expires_ms: int | None
    """When the membership ends if nothing arrives; None: it does not."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The computed values of a person, and the memberships."""

    calculated: dict[str, str | None]
    """The held values of calculated attributes; None where nothing was to compute.

    Each masks an attribute of the same name.
    """
    definitions: dict[str, dict[str, object]]
    """The definitions of the calculated attributes, as the configuration has them."""
    memberships: list[AudienceMembership]
    """The audiences that the person is in."""


class FeedSeen(NamedTuple):
    """A feed that a person appeared in."""

    feed: Feed
    """The feed."""
    batches: int
    """In how many batches."""
    last_seen_ms: int
    """The time of the last one."""


@dataclass(slots=True)
class Activity:
    """A profile with everything that made it.

    Identities and first and last seen are the same in all workspaces.
    """

    mpid: int
    """Its MPID."""
    environment: str
    """production or development."""
    profile: int
    """Its number in the store: the arrival that founded it."""
    first_seen_ms: int
    """The time of its first batch, or the one that an alias carried over."""
    last_seen_ms: int
    """The time of its last batch."""
    identities: list[HeldIdentity]
    """The identities that it has, in order of arrival."""
    lost: list[HeldIdentity]
    """The identities that were taken away."""
    attributes: dict[str, AttributeChange]
    """The change in force of each attribute."""
    history: dict[str, list[AttributeChange]]
    """All changes of each attribute, oldest first."""
    touches: list[Touch]
    """The batches that touched it in its workspace, oldest first."""
    standing: Standing | None = None
    """What is computed of all of that (one_person.py), if it was asked for."""
    aged_ms: list[int] = field(default_factory=list)
    """When retention took its attributes, consent and devices away."""
    workspace: str | None = None
    """Whose attributes, devices, consent and batches these are; None: everybody's."""
    elsewhere: list[Touch] = field(default_factory=list)
    """The batches that touched it in other workspaces."""
    taken: list[Touch] = field(default_factory=list)
    """The batches of other profiles that took identities away, in all workspaces."""
    carried: list[tuple[int, Occurred]] = field(default_factory=list)
    """The events that aliases carried over to it, each with the arrival of the alias."""
    forgotten: int = 0
    """Events that came before this arrival count for nothing that is computed of its lifetime
    (ended_lifetimes.FORGOTTEN)."""
    dormant: bool = False
    """Whether nothing arrived since retention took something: then nothing is computed at all."""

    def timeline(self) -> list[Touch]:
        """Return what touched the profile in its workspace, and took identities from it.

        The oldest come first.
        """
        return _in_order(self.touches, self.taken)

    def past(self) -> list[Touch]:
        """Return what touched the profile in any workspace, and took identities from it.

        The oldest come first.
        """
        return _in_order(self.touches, self.elsewhere, self.taken)

    def taken_by(self, held: HeldIdentity) -> Origin | None:
        """Return where the row stands that took an identity away."""
        return next(
            (touch.origin for touch in self.past() if touch.origin.arrival == held.lost), None
        )

    def every(self) -> list[Touch]:
        """Return what touched the profile in any workspace, oldest first."""
        return _in_order(self.touches, self.elsewhere)

    def values(self, kind: str) -> list[str]:
        """Return the identities of a type, oldest first."""
        return [each.value for each in self.identities if each.type == kind]

    def calculated(self) -> dict[str, str | None]:
        """Return the held values of calculated attributes; None where nothing was to compute."""
        return self.standing.calculated if self.standing else {}

    def stored(self) -> dict[str, AttributeChange]:
        """Return the entry in force of each attribute that no calculated one masks."""
        return {
            key: entry for key, entry in self.attributes.items() if key not in self.calculated()
        }

    def counted(self, aliases: Container[int] | None = None) -> list[Occurred]:
        """Return the events that calculated attributes and real-time audiences rest on.

        Profiles.counted is the same for everybody. `aliases` are the arrivals of those that carry
        events over; None: all that are in force.
        """
        # an opt-out holds however old it is
        own = [
            event
            for event in self._occurred()
            if event.arrival >= self.forgotten or event.type == "opt_out"
        ]
        return own + [
            event
            for arrival, event in self.carried
            if (aliases is None or arrival in aliases)
            and (arrival >= self.forgotten or event.type == "opt_out")
        ]

    def occurred(self) -> list[Occurred]:
        """Return the events of the workspace, and the opt-outs of all: those hold everywhere."""
        return self._occurred() + [event for _, event in self.carried]

    def _occurred(self) -> list[Occurred]:
        here = {touch.origin.arrival for touch in self.touches}
        return [
            Occurred(
                type=event.type,
                name=event.name,
                at_ms=event.at_ms,
                arrival=touch.origin.arrival,
                place=place,
                session=event.session,
                document=document,
            )
            for touch in self.every()
            if touch.alias is None
            for place, event in enumerate(touch.events)
            if (touch.origin.arrival in here or event.type == "opt_out")
            and isinstance(document := event.document, dict)
        ]

    def opted_out(self) -> bool:
        """Return whether the person has opted out (event.opted_out)."""
        return opted_out(self.occurred())

    def opt_out_ms(self) -> int | None:
        """Return the time of the last opt-out event, which says out or in again; None: none."""
        opt_out = last_opt_out(self.occurred())
        return opt_out.at_ms if opt_out else None

    def limit_ad_tracking(self) -> bool | None:
        """Return the word on ad tracking of the device seen last that has one (domain.md 14)."""
        statements = [
            device.info["limit_ad_tracking"]
            for device in _devices(self.every())  # it counts in all workspaces
            if isinstance(device.info.get("limit_ad_tracking"), bool)
        ]
        return statements[0] if statements else None

    def batches(self) -> list[Touch]:
        """Return what touched the user, oldest first, without aliases."""
        return [touch for touch in self.touches if touch.alias is None]

    def feeds(self) -> dict[str, FeedSeen]:
        """Return the feeds the user appeared in, by name."""
        by_name: dict[str, FeedSeen] = {}
        for touch in self.batches():
            feed, at_ms = touch.origin.feed, touch.origin.at_ms
            before = by_name.get(feed.name, FeedSeen(feed, 0, 0))
            last_ms = max(before.last_seen_ms, at_ms)
            by_name[feed.name] = FeedSeen(before.feed, before.batches + 1, last_ms)
        return by_name

    def devices(self) -> list[Device]:
        """Return the devices, last seen first."""
        return _devices(self.touches)

    def latest_device(self) -> tuple[str, str] | None:
        """Return the identity by which the device seen last is shown: (type, value)."""
        held = {(each.type, each.value) for each in self.identities}
        for device in self.devices()[:1]:
            for kind in (*DEVICE_PREFERENCE, *device.identities):
                # an id that was taken away is not shown
                if (kind, device.identities.get(kind)) in held:
                    return kind, device.identities[kind]
        return None

    def consent(self, until: int | None = None) -> dict[tuple[str, str], tuple[Document, Origin]]:
        """Return the consent in force by (regulation, purpose): the statement, and where it is.

        The newest statement by its own time counts; of equals the later arrival (domain.md 5.3).
        With `until`, later arrivals do not count.
        """
        in_force: dict[tuple[str, str], tuple[Document, Origin]] = {}
        # only some sources may speak of consent (domain.md 5.3)
        for touch in self.touches:
            if touch.origin.feed.source not in CONSENT_SOURCES or (
                until is not None and touch.origin.arrival > until
            ):
                continue
            for purpose, statement in statements_of(touch.rest.get("consent_state")).items():
                before = in_force[purpose][0] if purpose in in_force else None
                if replaces(statement, before):
                    in_force[purpose] = (dict(statement), touch.origin)
        return in_force

    def partner_identities(self) -> dict[str, tuple[str, Origin]]:
        """Return the partner identities in force, by name: the value, and where it stands.

        Null or an empty text takes one away (batch_fields.PARTNER_IDENTITY_REMOVED).
        """
        in_force: dict[str, tuple[str, Origin]] = {}
        for touch in self.touches:
            by_name = touch.rest.get("partner_identities")
            for name, value in by_name.items() if isinstance(by_name, dict) else ():
                from profilectl.rules.batch_fields import PARTNER_IDENTITY_REMOVED

                in_force.pop(name, None)
                if value not in PARTNER_IDENTITY_REMOVED:
                    text = value if isinstance(value, str) else to_json(value)
                    in_force[name] = (text, touch.origin)
        return dict(sorted(in_force.items()))

    def attribution(self) -> Document:
        """Return the install attribution that was stated last."""
        for touch in reversed(self.touches):
            attribution = touch.rest.get("attribution_info")
            if isinstance(attribution, dict) and attribution:
                return attribution
        return {}


def _in_order(*groups: Sequence[Touch]) -> list[Touch]:
    return sorted(
        (touch for group in groups for touch in group), key=lambda touch: touch.origin.arrival
    )


class _Described(NamedTuple):
    """The statements of a batch about its device."""

    touch: Touch
    """The batch."""
    added: dict[str, str]
    """The device ids that its columns have, by type."""
    info: Document
    """The fields of device_info."""
    ids: list[Id]
    """The ids that name the device (device.device_ids)."""


def _described(touches: Sequence[Touch]) -> list[_Described]:
    """Return the batches that say something of their device."""
    described = []
    for touch in touches:
        added = {each.type: each.value for each in touch.added if BY_NAME[each.type].device}
        info = touch.rest.get("device_info")
        fields = dict(info) if isinstance(info, dict) else {}
        if added or fields:
            ids = list(device_ids(touch.rest, added))
            described.append(_Described(touch, added, info=fields, ids=ids))
    return described


def _devices(touches: Sequence[Touch]) -> list[Device]:
    """Return the devices that batches are of (device.py), last seen first.

    Of two that were seen last at the same time, the one whose batch arrived later is first.
    """
    described = _described(touches)
    keys: dict[Id, set[Id]] = {}
    devices: dict[Id, Device] = {}
    last_seen: dict[Id, tuple[int, int]] = {}  # time in milliseconds, arrival
    of_batches = devices_of([batch.ids for batch in described])
    for batch, device_id in zip(described, of_batches, strict=True):
        at_ms = batch.touch.origin.at_ms
        sighting = at_ms, batch.touch.origin.arrival
        last_seen[device_id] = max(last_seen.get(device_id, sighting), sighting)
        device = devices.setdefault(device_id, Device({}, at_ms, at_ms))
        keys.setdefault(device_id, set()).update(_describe(device, batch))
    for device_id, of_device in keys.items():
        _tell_earlier(devices[device_id], of_device)
    return [devices[key] for key in sorted(devices, key=last_seen.__getitem__, reverse=True)]


def _describe(device: Device, batch: _Described) -> list[Id]:
    """Add what a batch says to its device; return the keys of the ids it states."""
    touch, added, info = batch.touch, batch.added, batch.info
    stamp = touch.rest.get("mp_deviceid", added.get("mp_deviceid"))
    ids = {"mp_deviceid": str(stamp)} if stamp else {}
    for name, kind in [(name, kind) for name in info if (kind := kind_in(name))]:
        value = info.pop(name)
        if value is not None:
            ids.setdefault(kind, str(value))
    # what the batch says comes before what its columns say
    device.identities |= added | ids
    device.info |= {name: value for name, value in info.items() if value is not None}
    attribution = touch.rest.get("attribution_info")
    if isinstance(attribution, dict) and attribution:
        device.attribution = attribution
    device.first_seen_ms = min(device.first_seen_ms, touch.origin.at_ms)
    device.last_seen_ms = max(device.last_seen_ms, touch.origin.at_ms)
    return [
        (kind, key_of(BY_NAME[kind], display(text)))
        for kind, text in (*added.items(), *ids.items())
    ]


def _tell_earlier(device: Device, keys: Iterable[Id]) -> None:
    """Add to a device its earlier ids: of the keys of all its ids, those that it has no more."""
    for kind, key in sorted(keys):
        current = key_of(BY_NAME[kind], display(device.identities[kind]))
        if key != current and names_device(BY_NAME[kind], key):
            device.earlier.setdefault(kind, []).append(key)


def remark_subject(attribute: str | None, kind: str | None, value: str | None) -> dict[str, Value]:
    """Return the subject of a code as JSON: an attribute, an identity, or {} for the row itself."""
    if attribute is not None:
        return {"attribute": attribute}
    return {} if kind is None else {"type": kind, "value": value}
