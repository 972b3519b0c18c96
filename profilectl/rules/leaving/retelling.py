"""A whole profile as the batches that make it again: in order, each of one device at most.

Identities of a type must arrive in the order in which the profile has them. So a device may take
several batches, its steps: each brings the identities whose turn it is, and the last one states its
other fields too. Most devices need one step.

Sources: domain.md 1 (a batch is of one user and one device), 2 (what a profile has), 5.3 (consent),
14 (opt-out); design.md 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.rules.identity import (
    BY_NAME,
    JUDGING,
    Judging,
    UsableIdentity,
    display,
    key_of,
    usable,
)
from profilectl.rules.text.values import Number, Value, to_json, whole

STAMP, TOKEN = "mp_deviceid", "push_token"
UNSAID: dict[str, Value] = {"platform": None}
"""The device_info of a device of which only the times are known."""

Key = tuple[str, str]
"""The type of an identity, and the key that it is looked up by."""


@dataclass(frozen=True, slots=True)
class RetellingManner:
    """The manner in which a profile becomes batches."""

    times: bool = True
    """Whether batches state their times; if not, one batch of a device does for both its times."""
    again: bool = False
    """Whether each batch names the person anew, because an import finds it by its identities."""
    mpid: bool = True
    """Whether batches name the MPID; if not, a batch without an identity belongs to nobody and does
    not leave.
    """
    opt_outs: bool = True
    """Whether the opt-out in force leaves, as an event."""
    all_of_it: bool = True
    """Whether everything leaves, or only the profile's identities and attributes, consent and
    opt-out.
    """
    attributes: int = 100
    """The most attributes of a batch."""
    judging: Judging = JUDGING
    """The values that are nobody's identity."""


@dataclass(slots=True)
class RetoldBatch:
    """One batch of a profile."""

    at_ms: int | None
    """Its time; None: not known."""
    identities: dict[str, Value] = field(default_factory=dict)
    """The identities of the user, by type."""
    device: dict[str, str] = field(default_factory=dict)
    """The identities of its device, by type."""
    attributes: dict[str, Value] = field(default_factory=dict)
    """The attributes that it sets."""
    rest: dict[str, Value] = field(default_factory=dict)
    """Its other fields, by their names in a batch."""
    events: list[Value] = field(default_factory=list)
    """Its events."""


@dataclass(slots=True)
class _Device:
    """A device, and its steps so far."""

    ids: dict[str, str]
    """The identities that it has."""
    own: frozenset[Key]
    """The identities that the profile has, among these and the earlier ones of the device."""
    first_ms: int | None = None
    """When it was first seen, if that is known."""
    last_ms: int | None = None
    """When it was last seen, if that is known."""
    info: Mapping[str, Value] = field(default_factory=dict)
    """Its device_info."""
    attribution: Mapping[str, Value] = field(default_factory=dict)
    """Its install attribution."""
    current: dict[str, str] = field(default_factory=dict)
    """The identities that its steps have brought."""
    stated: set[Key] = field(default_factory=set)
    """The identities that its steps have stated."""
    steps: list[RetoldBatch] = field(default_factory=list)
    """Its steps."""
    place: int = 0
    """The place of its last step among all batches."""


def retold(profile: Mapping[str, Value], manner: RetellingManner) -> list[RetoldBatch]:
    """Return the batches of a line of `export profiles`, as few as possible.

    profile: the line as exported_line.py has read it.
    """
    start, end = _ms(profile.get("first_seen_ms")), _ms(profile.get("last_seen_ms"))
    if start is not None and end is not None:
        # An alias can carry over a time that is later; no batch can say that.
        start = min(start, end)
    users = {
        name: values for name, values in _lists(profile.get("user_identities")).items() if values
    }
    devices = _devices_of(profile, manner)
    parts = [part for part in devices.within(start, end) if part.device or users or manner.mpid]
    attributes = list(_object(profile.get("user_attributes")).items())
    chunks = [
        dict(attributes[place : place + manner.attributes])
        for place in range(0, len(attributes), manner.attributes)
    ]
    # The first and the last time must each be that of some batch.
    missing = [
        at
        for at in dict.fromkeys((start, end))
        if manner.times and at not in {part.at_ms for part in parts}
    ]
    least = max(len(missing), devices.alone is not None)
    # A batch has one value of each user identity, and a limited number of attributes.
    size = max(1, len(parts) + least, len(chunks), *map(len, users.values()))
    # Batches without a device, for what the steps of devices have no room for.
    plain = [RetoldBatch(start) for _ in range(size - len(parts))]
    if plain and (end in missing or not parts):
        plain[-1].at_ms = end
    if devices.alone is not None:
        plain[-1].rest["attribution_info"] = dict(devices.alone)
    if manner.again and not users:
        devices.name(plain)
    parts += plain
    for place, part in enumerate(parts):
        part.attributes = chunks[place] if place < len(chunks) else {}
        for name, values in users.items():
            if place < len(values) or manner.again:
                part.identities[name] = values[min(place, len(values) - 1)]
    _add_consent(parts[0], profile, manner)
    return parts


def _add_consent(part: RetoldBatch, profile: Mapping[str, Value], manner: RetellingManner) -> None:
    """Add the consent and the opt-out to the first batch, so that a refusal holds from there on."""
    if consent := _object(profile.get("consent_state")):
        part.rest["consent_state"] = dict(consent)
    if manner.all_of_it and (partners := _object(profile.get("partner_identities"))):
        part.rest["partner_identities"] = dict(partners)
    is_out = profile.get("is_opted_out") is True
    at = profile.get("opt_out_ms") or (profile.get("last_seen_ms") if is_out else None)
    if manner.opt_outs and at is not None:
        part.events = [
            {"event_type": "opt_out", "data": {"is_opted_out": is_out, "timestamp_unixtime_ms": at}}
        ]


def _devices_of(profile: Mapping[str, Value], manner: RetellingManner) -> _Devices:
    """Return the devices of a profile, with all their steps."""
    by_type = _lists(profile.get("device_identities"))
    texts = {(kind, _key(kind, text)): text for kind, values in by_type.items() for text in values}
    reading = _DeviceReading(manner, frozenset(texts))
    listed = [
        device
        for document in _documents(profile.get("devices"))
        if (device := reading.device(document))
    ]
    # A line has the device seen last first.
    listed.reverse()
    listed.sort(key=lambda device: device.last_ms if device.last_ms is not None else -1)
    waiting: dict[str, list[Key]] = {}
    for key in texts:
        waiting.setdefault(key[0], []).append(key)
    devices = _Devices(
        manner=manner,
        texts=texts,
        waiting=waiting,
        devices=_unclaimed(by_type, listed) + listed,
    )
    for device in devices.in_order():
        devices.take_step(device)
    # Last, because the attribution in force must arrive after all others.
    devices.credit(_object(profile.get("attribution")) if manner.all_of_it else {})
    return devices


def _unclaimed(by_type: Mapping[str, list[str]], devices: Sequence[_Device]) -> list[_Device]:
    """Return a device for each identity that no device has.

    Each gets a device of its own, because the identities of one batch name one device.
    """
    claimed = {key for device in devices for key in device.own}
    unclaimed = [
        (place, _Device({kind: text}, frozenset([(kind, _key(kind, text))])))
        for kind, values in by_type.items()
        for place, text in enumerate(values)
        if (kind, _key(kind, text)) not in claimed
    ]
    return [device for _, device in sorted(unclaimed, key=lambda placed: placed[0])]


@dataclass(frozen=True, slots=True)
class _DeviceReading:
    """Reads the devices of a line."""

    manner: RetellingManner
    """How the profile becomes batches."""
    own: frozenset[Key]
    """The device identities that the profile has."""

    def device(self, document: Mapping[str, Value]) -> _Device | None:
        """Return the device of a document, or None if all its identities were taken away.

        An identity that this person lost does not leave. One that nobody can hold, such as a
        placeholder, is no identity of anybody, and leaves with the device.
        """
        named, earlier = _texts(document.get("identities")), _lists(document.get("earlier"))
        ids = {kind: text for kind, text in named.items() if self._may_leave(kind, text)}
        for kind, values in earlier.items():
            remaining = [text for text in values if self._may_leave(kind, text)]
            if kind not in ids and remaining:
                ids[kind] = remaining[-1]
        if (named or not self.manner.all_of_it) and not ids:
            return None
        earlier_ids = ((kind, text) for kind, values in earlier.items() for text in values)
        keys = {(kind, _key(kind, text)) for kind, text in (*ids.items(), *earlier_ids)}
        has_all = self.manner.all_of_it
        return _Device(
            ids=ids,
            own=frozenset(keys & self.own),
            first_ms=_ms(document.get("first_seen_ms")),
            last_ms=_ms(document.get("last_seen_ms")),
            info=_object(document.get("info")) if has_all else {},
            attribution=_object(document.get("attribution")) if has_all else {},
        )

    def _may_leave(self, kind: str, text: str) -> bool:
        """Return whether an identity of a device is one of the profile, or one nobody can hold."""
        if (kind, _key(kind, text)) in self.own:
            return True
        return self.manner.all_of_it and not isinstance(
            usable(BY_NAME[kind], text, self.manner.judging), UsableIdentity
        )


@dataclass(slots=True)
class _Devices:
    """The devices of a profile, step by step."""

    manner: RetellingManner
    """How the profile becomes batches."""
    texts: Mapping[Key, str]
    """The device identities of the profile, as they are written."""
    waiting: dict[str, list[Key]]
    """By type, the identities that no step has brought yet, in order."""
    devices: list[_Device]
    """The devices, the one that was seen last at the end."""
    parts: list[RetoldBatch] = field(default_factory=list)
    """The steps of all devices, in order."""
    brought: dict[Key, int] = field(default_factory=dict)
    """Identity -> the place of the step that brought it."""
    alone: Mapping[str, Value] | None = None
    """The install attribution in force, if it is no device's."""

    def in_order(self) -> Iterator[_Device]:
        """Yield the device that takes a step next, until all have taken theirs.

        A device with a stamp waits for the turn of its stamp if it can, because all its steps state
        the stamp.
        """
        unfinished = list(self.devices)
        while unfinished:
            ready = [
                device
                for device in unfinished
                if not self._remaining(device) or self._next_of(device)
            ]
            next_device = next(
                (device for device in ready if not self._stamp_waits(device)), ready[0]
            )
            yield next_device
            if not self._remaining(next_device):
                unfinished.remove(next_device)

    def _remaining(self, device: _Device) -> list[Key]:
        """Return the identities of a device that no step has brought yet."""
        return [key for keys in self.waiting.values() for key in keys if key in device.own]

    def _stamp_waits(self, device: _Device) -> bool:
        """Return whether the stamp of another device comes before that of this one."""
        stamps = self.waiting.get(STAMP, [])
        return any(key in device.own for key in stamps) and stamps[0] not in device.own

    def _next_of(self, device: _Device) -> dict[str, Key]:
        """Return the identities that are next of their type, and are the device's."""
        return {
            kind: keys[0] for kind, keys in self.waiting.items() if keys and keys[0] in device.own
        }

    def take_step(self, device: _Device) -> None:
        """Bring the identities that are next; if none remain, state all else of the device too."""
        keys = _together(device, self._next_of(device))
        if keys:
            for kind, key in keys.items():
                self.waiting[kind].remove(key)
                self.brought[key] = len(self.parts)
                device.current[kind] = self.texts[key]
                device.stated.add(key)
            self._add_step(device, dict(device.current), is_stamped=STAMP in keys)
        if not self._remaining(device):
            self._finish(device)

    def _add_step(
        self, device: _Device, ids: dict[str, str], *, is_stamped: bool = False
    ) -> RetoldBatch:
        # So the device is seen first and last as in the profile.
        at_ms = device.last_ms if device.steps else device.first_ms
        part = RetoldBatch(at_ms, device=dict(sorted(ids.items())))
        _set_info(part, {}, is_stamped=is_stamped)
        device.steps.append(part)
        device.place = len(self.parts)
        self.parts.append(part)
        return part

    def _finish(self, device: _Device) -> None:
        """State all else of a device with its last step, or with one more."""
        self._state_earlier(device)
        if not self._fits_in_last(device):
            self._add_step(device, {})
        final = device.steps[-1]
        final.device = dict(sorted(device.ids.items()))
        final.at_ms = device.last_ms
        _set_info(final, device.info, is_stamped=STAMP in device.current and len(device.steps) == 1)

    def _state_earlier(self, device: _Device) -> None:
        """State the earlier identities of a device that steps of other devices have brought."""
        current = {(kind, _key(kind, text)) for kind, text in device.ids.items()}
        missing = [key for key in self.texts if key in device.own - device.stated - current]
        while missing:
            step = {key[0]: key for key in reversed(missing)}
            texts = {kind: self.texts[key] for kind, key in step.items()}
            self._add_step(device, device.current | texts)
            missing = [key for key in missing if key not in step.values()]

    def _fits_in_last(self, device: _Device) -> bool:
        """Return whether the last step of a device can state everything.

        It cannot if an identity would arrive before its turn or in its earlier spelling, or if the
        device was seen twice and has one step.
        """
        if not device.steps or (
            self.manner.times and device.first_ms != device.last_ms and len(device.steps) == 1
        ):
            return False
        is_early = any(
            self.brought.get((kind, _key(kind, text)), -1) > device.place
            for kind, text in device.ids.items()
        )
        return not is_early and all(
            device.ids.get(kind) == text for kind, text in device.steps[-1].device.items()
        )

    def credit(self, attribution: Mapping[str, Value]) -> None:
        """State the install attribution of each device, and last the one in force.

        attribution: the one in force, which may be no device's.
        """
        text = to_json(dict(attribution))
        owners = (device for device in self.devices if to_json(dict(device.attribution)) == text)
        owner = next(owners, None) if attribution else None
        for device in self.devices:
            if device.attribution:
                step = device.steps[-1 if device is owner else 0]
                step.rest["attribution_info"] = dict(device.attribution)
        attributions = [
            part.rest["attribution_info"] for part in self.parts if "attribution_info" in part.rest
        ]
        if not attribution or (attributions and to_json(attributions[-1]) == text):
            return
        if owner is None:
            self.alone = attribution
        else:
            step = self._add_step(owner, dict(sorted(owner.ids.items())))
            step.rest["attribution_info"] = dict(attribution)

    def within(self, start: int | None, end: int | None) -> list[RetoldBatch]:
        """Return all steps, their times moved into the span in which the profile was seen."""
        # A time outside would change when the profile itself was first or last seen.
        for part in self.parts:
            at_ms = start if part.at_ms is None else part.at_ms
            if at_ms is not None and start is not None and end is not None:
                at_ms = min(max(at_ms, start), end)
            part.at_ms = at_ms
        self._see_in_order()
        return self.parts

    def _see_in_order(self) -> None:
        """Have the last steps of devices arrive in the order in which the devices were seen last.

        That decides between devices that were seen last at the same time.
        """
        latest: dict[int | None, int] = {}
        for device in self.devices:
            if not device.steps:
                continue
            at_ms = device.steps[-1].at_ms if self.manner.times else None
            if device.place < latest.get(at_ms, -1):
                self._add_step(device, dict(sorted(device.ids.items()))).at_ms = at_ms
            latest[at_ms] = device.place

    def name(self, parts: Sequence[RetoldBatch]) -> None:
        """Have batches without a user identity name a device, so that an import finds the person.

        A stamp is preferred, because a batch with a stamp alone changes no time of the device.
        """
        named = [device for device in self.devices if device.ids]
        if not named:
            return
        device = next((device for device in named if STAMP in device.ids), named[-1])
        for part in parts:
            if STAMP in device.ids:
                part.device = {STAMP: device.ids[STAMP]}
            else:
                part.device = dict(device.ids)
                _set_info(part, {}, is_stamped=False)


def _together(device: _Device, keys: dict[str, Key]) -> dict[str, Key]:
    """Return the identities that one step brings, among those that are next.

    A step shares an identity with the step before it, or the two would be two devices.
    """
    if not device.steps or STAMP in device.current:
        return keys
    shared = {kind for kind in device.current if kind not in (STAMP, TOKEN)}
    repeated = next((kind for kind in keys if kind in shared), None)
    if repeated and shared <= keys.keys() and len(keys) > 1:
        return {kind: key for kind, key in keys.items() if kind != repeated}
    return keys


def _set_info(part: RetoldBatch, info: Mapping[str, Value], *, is_stamped: bool) -> None:
    """Set the device_info of a batch.

    is_stamped: whether the batch brings the stamp, which names the device without a device_info.
    """
    members: dict[str, Value] = {kind: text for kind, text in part.device.items() if kind != STAMP}
    members |= info
    part.rest.pop("device_info", None)
    if members or not is_stamped:
        part.rest["device_info"] = members or dict(UNSAID)


def document_of(
    part: RetoldBatch, *, environment: Value, mpid: Value, times: bool
) -> dict[str, Value]:
    """Return a batch as a document of the platform.

    mpid: the MPID that it names, or None. times: whether it states its time.
    """
    document: dict[str, Value] = {"environment": environment}
    if mpid is not None:
        document["mpid"] = Number(str(mpid))
    if times and part.at_ms is not None:
        document["timestamp_unixtime_ms"] = whole(part.at_ms)
    if part.identities:
        document["user_identities"] = dict(sorted(part.identities.items()))
    if "device_info" in part.rest:
        document["device_info"] = part.rest["device_info"]
    if STAMP in part.device:
        document[STAMP] = part.device[STAMP]
    document |= {name: value for name, value in part.rest.items() if name != "device_info"}
    # An object, even if it is empty: it makes the line a batch and no flat row.
    document["user_attributes"] = part.attributes
    if part.events:
        document["events"] = part.events
    return document


def _key(kind: str, text: str) -> str:
    return key_of(BY_NAME[kind], display(text))


def _ms(value: Value) -> int | None:
    return int(value) if isinstance(value, str) and value.removeprefix("-").isdecimal() else None


def _object(value: Value) -> Mapping[str, Value]:
    return value if isinstance(value, dict) else {}


def _documents(value: Value) -> list[dict[str, Value]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _texts(value: Value) -> dict[str, str]:
    """Return the texts of an object, by types of identities."""
    return {
        kind: text
        for kind, text in _object(value).items()
        if isinstance(text, str) and kind in BY_NAME
    }


def _lists(value: Value) -> dict[str, list[str]]:
    """Return the lists of texts of an object, by types of identities."""
    return {
        kind: [text for text in texts if isinstance(text, str)]
        for kind, texts in _object(value).items()
        if isinstance(texts, list) and kind in BY_NAME
    }
