"""One person's activity: the profile, and every batch that touched it with what each did.

Everything a profile is follows from its rows in the order of their arrival. Here the rows of one
profile are read and played through, so that each value has its history and each batch its outcome;
show, explain and browse draw what this returns.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from profilectl.rules.batch import PARTNER_IDENTITY_REMOVED
from profilectl.rules.consent import replaces, statements_of
from profilectl.rules.device import Id, device_ids, devices_of, kind_in, names_device
from profilectl.rules.event.event import Occurred, last_opt_out, opted_out
from profilectl.rules.feed import Feed
from profilectl.rules.identity import BY_NAME, display, key_of
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.text.values import Value, parse_json, to_json

DEVICE_PREFERENCE = ("ios_advertising_id", "android_advertising_id", "ios_idfv", "android_uuid")
"""Which device id stands for a device where one is shown (domain.md 10)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something comes from: the row, its file, its import and feed. line: None where a file
    has rows rather than lines; place: its line or row.
    """

    arrival: int
    import_number: int
    feed: Feed
    protection: str
    file: str
    unit: str
    place: int
    at_ms: int

    @property
    def where(self) -> str:
        return f"{self.file}:{self.place}"


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """One thing that a row did, or tried to do, to an attribute.

    kind: set, changed, unchanged, deleted or blocked (then code says why). before: the value in
    force (None: none), and owner the row it came from.
    """

    key: str
    kind: str
    held: str
    before: str | None
    owner: Origin | None
    origin: Origin
    code: str = ""


@dataclass(frozen=True, slots=True)
class HeldIdentity:
    """An identity of the profile: when it came, and the row that took it away, if one did."""

    type: str
    value: str
    origin: Origin
    lost: int | None = None


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """An event of the user: text is the whole of it as JSON, as it came."""

    type: str
    name: str | None
    at_ms: int
    session: str | None
    text: str

    @property
    def document(self) -> Value:
        return parse_json(self.text)


@dataclass(slots=True)
class Touch:
    """One batch that touched the profile.

    events: in their order. rest: its other fields (consent, device, attribution...). alias: no
    batch, but the past of another profile carried over. taker: the MPID of another profile, whose
    batch only took identities away.
    """

    origin: Origin
    founded: bool
    added: list[HeldIdentity] = field(default_factory=list)
    removed: list[HeldIdentity] = field(default_factory=list)
    entries: list[AttributeChange] = field(default_factory=list)
    events: list[SeenEvent] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)
    alias: Carried | None = None
    taker: int | None = None


@dataclass(frozen=True, slots=True)
class Carried:
    """An alias as a profile shows it, by MPIDs.

    first_seen_ms: what the destination gets, from due_ms on.
    """

    source: int
    destination: int
    start_ms: int
    end_ms: int
    due_ms: int
    first_seen_ms: int
    in_force: bool


@dataclass(slots=True)
class Device:
    """One device: its identities (mp_deviceid is its application stamp), when it was seen, what was
    said of it, and the install attribution that came with it. earlier: values of a type that it
    had before the one it has.
    """

    identities: dict[str, str]
    first_seen_ms: int
    last_seen_ms: int
    info: dict[str, Any] = field(default_factory=dict)
    attribution: dict[str, Any] = field(default_factory=dict)
    earlier: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AudienceMembership:
    """A person's membership in an audience.

    expires_ms: when it ends if nothing arrives; None: it does not.
    """

    audience: int
    name: str
    since_ms: int
    expires_ms: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a person stands.

    calculated: name -> held value, None where nothing was to compute; it masks an attribute of the
    same name. definitions: name -> the definition, as the configuration has it.
    """

    calculated: dict[str, str | None]
    definitions: dict[str, dict[str, object]]
    memberships: list[AudienceMembership]


@dataclass(slots=True)
class Activity:
    """A profile with everything that made it.

    touches: oldest first; attributes: the entry in force of each key. standing: what follows from
    all of that (one_person.py), where it was asked for. aged_ms: when retention took its attributes,
    consent and devices away. workspace: whose attributes, devices, consent and batches these are,
    None: everybody's; elsewhere: what touched the profile in others. Identities and first and last
    seen are the same in all. taken: batches of other profiles that took identities away, in
    whatever workspace. carried: events of other profiles that aliases have made this one's as well,
    each with the arrival of the alias. forgotten: what arrived before counts for nothing that is
    computed of the profile's lifetime (profile.FORGOTTEN); dormant: nothing arrived since, and
    nothing is computed at all.
    """

    mpid: int
    environment: str
    profile: int
    first_seen_ms: int
    last_seen_ms: int
    identities: list[HeldIdentity]
    lost: list[HeldIdentity]
    attributes: dict[str, AttributeChange]
    history: dict[str, list[AttributeChange]]
    touches: list[Touch]
    standing: Standing | None = None
    aged_ms: list[int] = field(default_factory=list)
    workspace: str | None = None
    elsewhere: list[Touch] = field(default_factory=list)
    taken: list[Touch] = field(default_factory=list)
    carried: list[tuple[int, Occurred]] = field(default_factory=list)
    forgotten: int = 0
    dormant: bool = False

    def timeline(self) -> list[Touch]:
        """Return what touched the profile in its workspace, and what took identities from it,
        oldest first.
        """
        return _in_order(self.touches, self.taken)

    def past(self) -> list[Touch]:
        """Return what touched the profile in any workspace, and what took identities from it,
        oldest first.
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
        return [one.value for one in self.identities if one.type == kind]

    def calculated(self) -> dict[str, str | None]:
        """Return the calculated attributes: name -> held value, None where nothing was to compute."""
        return self.standing.calculated if self.standing else {}

    def stored(self) -> dict[str, AttributeChange]:
        """Return the entry in force of each attribute that no calculated one masks."""
        return {
            key: entry for key, entry in self.attributes.items() if key not in self.calculated()
        }

    def counted(self, aliases: Container[int] | None = None) -> list[Occurred]:
        """Return those events that calculated attributes and real-time audiences rest on;
        Profiles.counted is the same of everybody. aliases: the arrivals of those that carry
        events over; None: all that are in force.
        """
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
                event.type,
                event.name,
                event.at_ms,
                touch.origin.arrival,
                place,
                event.session,
                document,
            )
            for touch in self.every()
            if touch.alias is None
            for place, event in enumerate(touch.events)
            if (touch.origin.arrival in here or event.type == "opt_out")
            and isinstance(document := event.document, dict)
        ]

    def opted_out(self) -> bool:
        """Say whether the person has opted out (event.opted_out)."""
        return opted_out(self.occurred())

    def opt_out_ms(self) -> int | None:
        """Return when the person said last to be out or in again; None: never."""
        last = last_opt_out(self.occurred())
        return last.at_ms if last else None

    def limit_ad_tracking(self) -> bool | None:
        """Return what the device seen last that said anything of it said (domain.md 14)."""
        stated = [
            device.info["limit_ad_tracking"]
            for device in _devices(self.every())
            if isinstance(device.info.get("limit_ad_tracking"), bool)
        ]
        return stated[0] if stated else None

    def batches(self) -> list[Touch]:
        """Return what touched the user, oldest first, without aliases."""
        return [one for one in self.touches if one.alias is None]

    def feeds(self) -> dict[str, tuple[Feed, int, int]]:
        """Return the feeds the user appeared in: name -> (feed, batches, last seen)."""
        found: dict[str, tuple[Feed, int, int]] = {}
        for touch in self.batches():
            feed, count, last_ms = found.get(touch.origin.feed.name, (touch.origin.feed, 0, 0))
            found[feed.name] = (feed, count + 1, max(last_ms, touch.origin.at_ms))
        return found

    def devices(self) -> list[Device]:
        """Return the devices, last seen first."""
        return _devices(self.touches)

    def latest_device(self) -> tuple[str, str] | None:
        """Return the identity that stands for the device seen last: (type, value)."""
        held = {(one.type, one.value) for one in self.identities}
        for device in self.devices()[:1]:
            for kind in (*DEVICE_PREFERENCE, *device.identities):
                # one that was taken away stands for nothing
                if (kind, device.identities.get(kind)) in held:
                    return kind, device.identities[kind]
        return None

    def consent(
        self, until: int | None = None
    ) -> dict[tuple[str, str], tuple[dict[str, Any], Origin]]:
        """Return the consent in force: (regulation, purpose) -> what was said, and where.

        The newest statement by its own time counts; of equals the later arrival (domain.md 5.3).
        until: after that arrival.
        """
        found: dict[tuple[str, str], tuple[dict[str, Any], Origin]] = {}
        for touch in self.touches:
            if touch.origin.feed.source not in CONSENT_SOURCES or (
                until is not None and touch.origin.arrival > until
            ):
                continue
            for purpose, said in statements_of(touch.rest.get("consent_state")).items():
                if replaces(said, found[purpose][0] if purpose in found else None):
                    found[purpose] = (dict(said), touch.origin)
        return found

    def partner_identities(self) -> dict[str, tuple[str, Origin]]:
        """Return the partner identities in force, by name: what was said of each last, and where.
        null or an empty text takes one away (batch.PARTNER_IDENTITY_REMOVED).
        """
        found: dict[str, tuple[str, Origin]] = {}
        for touch in self.touches:
            stated = touch.rest.get("partner_identities")
            for name, value in stated.items() if isinstance(stated, dict) else ():
                found.pop(name, None)
                if value not in PARTNER_IDENTITY_REMOVED:
                    found[name] = (
                        value if isinstance(value, str) else to_json(value),
                        touch.origin,
                    )
        return dict(sorted(found.items()))

    def attribution(self) -> dict[str, Any]:
        """Return the install attribution that was stated last."""
        for touch in reversed(self.touches):
            found = touch.rest.get("attribution_info")
            if isinstance(found, dict) and found:
                return found
        return {}


def _in_order(*touches: Sequence[Touch]) -> list[Touch]:
    return sorted((one for some in touches for one in some), key=lambda touch: touch.origin.arrival)


def _devices(touches: Sequence[Touch]) -> list[Device]:
    """Return the devices that batches are of (device.py), last seen first."""
    found: dict[Id, Device] = {}
    keys: dict[Id, set[Id]] = {}
    told = []
    for touch in touches:
        added = {one.type: one.value for one in touch.added if BY_NAME[one.type].device}
        info = touch.rest.get("device_info")
        info = dict(info) if isinstance(info, dict) else {}
        if added or info:
            told.append((touch, added, info, device_ids(touch.rest, added)))
    for (touch, added, info, _), device in zip(
        told, devices_of([ids for *_, ids in told]), strict=True
    ):
        stamp = touch.rest.get("mp_deviceid", added.get("mp_deviceid"))
        known = found.setdefault(device, Device({}, touch.origin.at_ms, touch.origin.at_ms))
        ids = {"mp_deviceid": str(stamp)} if stamp else {}
        for name, kind in [(name, kind) for name in info if (kind := kind_in(name))]:
            value = info.pop(name)
            if value is not None:
                ids.setdefault(kind, str(value))
        both = (*added.items(), *ids.items())
        keys.setdefault(device, set()).update(
            (kind, key_of(BY_NAME[kind], display(text))) for kind, text in both
        )
        known.identities |= added | ids
        known.info |= {name: value for name, value in info.items() if value is not None}
        stated = touch.rest.get("attribution_info")
        known.attribution = stated if isinstance(stated, dict) and stated else known.attribution
        known.first_seen_ms = min(known.first_seen_ms, touch.origin.at_ms)
        known.last_seen_ms = max(known.last_seen_ms, touch.origin.at_ms)
    for device, of_device in keys.items():
        _tell_earlier(found[device], of_device)
    return sorted(found.values(), key=lambda one: -one.last_seen_ms)


def _tell_earlier(device: Device, keys: Iterable[Id]) -> None:
    """Tell a device which values it had before those it has, by their keys.

    keys: all that were stated.
    """
    for kind, key in sorted(keys):
        if key != key_of(BY_NAME[kind], display(device.identities[kind])) and names_device(
            BY_NAME[kind], key
        ):
            device.earlier.setdefault(kind, []).append(key)


def remark_subject(attribute: str | None, kind: str | None, value: str | None) -> dict[str, Value]:
    """Return what a code is said of, as JSON: an attribute, an identity, or the row itself."""
    if attribute is not None:
        return {"attribute": attribute}
    return {} if kind is None else {"type": kind, "value": value}
