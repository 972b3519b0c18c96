"""A whole profile as the batches that make it again: in order, each of one device at most.

Sources: domain.md 1 (a batch is of one user and one device), 2 (what a profile has), 5.3
(consent), 14 (opt-out); design.md 4.

Identities of a type arrive in the order in which the profile has them. So a device is told in
steps: one for what it brings
of the identities that are next, and a last one for what is said of it. Most devices need one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.rules.identity import BY_NAME, JUDGING, Judging, display, key_of, usable
from profilectl.rules.text.values import Number, Value, to_json, whole

STAMP, TOKEN = "mp_deviceid", "push_token"
UNSAID: dict[str, Value] = {"platform": None}
"""What a batch says of a device of which nothing is said but when it was seen."""

Key = tuple[str, str]
"""The type of an identity, and what it is looked up by."""


@dataclass(frozen=True, slots=True)
class RetellingManner:
    """How a profile is told again."""

    times: bool = True
    """Whether batches say when they are of; else a device needs no two of them."""
    again: bool = False
    """Whether each batch names the person anew, for it is found by its identities."""
    mpid: bool = True
    """Whether batches name the MPID; else one without an identity is nobody's, and does not leave.
    """
    opt_outs: bool = True
    """Whether the opt-out in force leaves, as an event."""
    all_of_it: bool = True
    """Whether everything leaves, or the identities and attributes of the profile alone, with
    consent and opt-out."""
    attributes: int = 100
    """How many attributes a batch has at most."""
    judging: Judging = JUDGING
    """Which values are nobody's identity."""


@dataclass(slots=True)
class RetoldBatch:
    """One batch of a profile."""

    at_ms: int | None
    """The time it is of; None: not known."""
    identities: dict[str, Value] = field(default_factory=dict)
    """The identities of the user, by type."""
    device: dict[str, str] = field(default_factory=dict)
    """The identities of its device, by type."""
    attributes: dict[str, Value] = field(default_factory=dict)
    """What it sets."""
    rest: dict[str, Value] = field(default_factory=dict)
    """Its other fields, under their names in a batch."""
    events: list[Value] = field(default_factory=list)
    """Its events."""


@dataclass(slots=True)
class _Device:
    """A device that is told, and how far."""

    ids: dict[str, str]
    """The identities it has now."""
    own: frozenset[Key]
    """Those that the profile has, earlier ones too."""
    first_ms: int | None = None
    last_ms: int | None = None
    info: Mapping[str, Value] = field(default_factory=dict)
    attribution: Mapping[str, Value] = field(default_factory=dict)
    current: dict[str, str] = field(default_factory=dict)
    """The identities that it brought so far."""
    stated: set[Key] = field(default_factory=set)
    """The identities that its steps have said."""
    steps: list[RetoldBatch] = field(default_factory=list)
    place: int = 0
    """Which of all parts its last step is."""


def retold(profile: Mapping[str, Value], manner: RetellingManner) -> list[RetoldBatch]:
    """Return the batches of a line of `export profiles` (exported_line.py has read it), as few as may
    be."""
    first, last = _ms(profile.get("first_seen_ms")), _ms(profile.get("last_seen_ms"))
    if first is not None and last is not None:
        # An alias can carry over a time that is later; no batch can say that.
        first = min(first, last)
    users = {
        name: values for name, values in _lists(profile.get("user_identities")).items() if values
    }
    told = _Devices(profile, manner)
    parts = [part for part in told.parts(first, last) if part.device or users or manner.mpid]
    attributes = list(_object(profile.get("user_attributes")).items())
    chunks = [
        dict(attributes[start : start + manner.attributes])
        for start in range(0, len(attributes), manner.attributes)
    ]
    missing = [
        at
        for at in dict.fromkeys((first, last))
        if manner.times and at not in {one.at_ms for one in parts}
    ]
    least = max(len(missing), told.alone is not None)
    size = max(1, len(parts) + least, len(chunks), *map(len, users.values()))
    plain = [RetoldBatch(first) for _ in range(size - len(parts))]
    if plain and (last in missing or not parts):
        plain[-1].at_ms = last
    if told.alone is not None:
        plain[-1].rest["attribution_info"] = dict(told.alone)
    if manner.again and not users:
        told.name(plain)
    parts += plain
    for place, part in enumerate(parts):
        part.attributes = chunks[place] if place < len(chunks) else {}
        for name, values in users.items():
            if place < len(values) or manner.again:
                part.identities[name] = values[min(place, len(values) - 1)]
    _say_once(parts[0], profile, manner)
    return parts


def _say_once(part: RetoldBatch, profile: Mapping[str, Value], manner: RetellingManner) -> None:
    """Say with the first batch what is of the person: who refused is refused from the first batch
    on."""
    if consent := _object(profile.get("consent_state")):
        part.rest["consent_state"] = dict(consent)
    if manner.all_of_it and (partners := _object(profile.get("partner_identities"))):
        part.rest["partner_identities"] = dict(partners)
    out = profile.get("is_opted_out") is True
    at = profile.get("opt_out_ms") or (profile.get("last_seen_ms") if out else None)
    if manner.opt_outs and at is not None:
        part.events = [
            {"event_type": "opt_out", "data": {"is_opted_out": out, "timestamp_unixtime_ms": at}}
        ]


class _Devices:
    """The devices of a profile, told step by step. alone: the install attribution in force that is
    no device's."""

    def __init__(self, profile: Mapping[str, Value], manner: RetellingManner) -> None:
        self._manner = manner
        held = _lists(profile.get("device_identities"))
        self._held: dict[Key, str] = {
            (kind, _key(kind, text)): text for kind, values in held.items() for text in values
        }
        self._waiting: dict[str, list[Key]] = {}
        for key in self._held:
            self._waiting.setdefault(key[0], []).append(key)
        found = [
            one
            for document in _documents(profile.get("devices"))
            if (one := self._device(document))
        ]
        found.sort(key=lambda one: one.last_ms if one.last_ms is not None else -1)
        self._devices = found + self._unclaimed(held, found)
        self._parts: list[RetoldBatch] = []
        self._brought: dict[Key, int] = {}
        self.alone: Mapping[str, Value] | None = None
        for device in self._in_order():
            self._tell(device)
        self._credit(_object(profile.get("attribution")) if manner.all_of_it else {})

    def _device(self, document: Mapping[str, Value]) -> _Device | None:
        """Read a device; None: all that names it was taken away, so that it is not this person's
        any more.

        An identity that was taken away stays behind. One that nobody could hold is part of what is
        said of the device.
        """
        named, earlier = _texts(document.get("identities")), _lists(document.get("earlier"))
        ids = {kind: text for kind, text in named.items() if self._may_leave(kind, text)}
        for kind, values in earlier.items():
            if kind not in ids and (
                still := [text for text in values if self._may_leave(kind, text)]
            ):
                ids[kind] = still[-1]
        if (named or not self._manner.all_of_it) and not ids:
            return None
        stated = [
            *ids.items(),
            *((kind, text) for kind, values in earlier.items() for text in values),
        ]
        own = frozenset(
            key for kind, text in stated if (key := (kind, _key(kind, text))) in self._held
        )
        first, last = _ms(document.get("first_seen_ms")), _ms(document.get("last_seen_ms"))
        if not self._manner.all_of_it:
            return _Device(ids, own, first, last)
        return _Device(
            ids,
            own,
            first,
            last,
            _object(document.get("info")),
            _object(document.get("attribution")),
        )

    def _may_leave(self, kind: str, text: str) -> bool:
        if (kind, _key(kind, text)) in self._held:
            return True
        return self._manner.all_of_it and not hasattr(
            usable(BY_NAME[kind], text, self._manner.judging), "key"
        )

    def _unclaimed(
        self, held: Mapping[str, list[str]], devices: Sequence[_Device]
    ) -> list[_Device]:
        """Return a device for each identity that no device has: identities of one batch would be
        one device."""
        claimed = {key for one in devices for key in one.own}
        found = [
            (place, _Device({kind: text}, frozenset([(kind, _key(kind, text))])))
            for kind, values in held.items()
            for place, text in enumerate(values)
            if (kind, _key(kind, text)) not in claimed
        ]
        return [device for _, device in sorted(found, key=lambda one: one[0])]

    def _in_order(self) -> Iterator[_Device]:
        """Yield the device that is told next, until all are told. None is told before its stamp
        can be: what names a device
        leaves with all that is of it."""
        untold = list(self._devices)
        while untold:
            ready = [one for one in untold if not self._left(one) or self._next_of(one)]
            device = next((one for one in ready if not self._stamp_waits(one)), ready[0])
            yield device
            if not self._left(device):
                untold.remove(device)

    def _left(self, device: _Device) -> list[Key]:
        """Return the identities of a device that no batch brought yet."""
        return [key for keys in self._waiting.values() for key in keys if key in device.own]

    def _stamp_waits(self, device: _Device) -> bool:
        """Say whether the stamp of another device has to be brought before that of this one."""
        stamps = self._waiting.get(STAMP, [])
        return any(key in device.own for key in stamps) and stamps[0] not in device.own

    def _next_of(self, device: _Device) -> dict[str, Key]:
        """Return the identities that are next of their type, and are the device's."""
        return {
            kind: keys[0] for kind, keys in self._waiting.items() if keys and keys[0] in device.own
        }

    def _tell(self, device: _Device) -> None:
        """Take a step: bring what is next; where nothing is left to bring, say what is said of the
        device."""
        brought = self._together(device, self._next_of(device))
        if brought:
            for kind, key in brought.items():
                self._waiting[kind].remove(key)
                self._brought[key] = len(self._parts)
                device.current[kind] = self._held[key]
                device.stated.add(key)
            self._step(device, dict(device.current), STAMP in brought)
        if not self._left(device):
            self._finish(device)

    @staticmethod
    def _together(device: _Device, found: dict[str, Key]) -> dict[str, Key]:
        """Return those of the next identities that one step brings: it shares an identity with the
        step before it, or they
        would be two devices."""
        if not device.steps or STAMP in device.current:
            return found
        shared = {kind for kind in device.current if kind not in (STAMP, TOKEN)}
        again = next((kind for kind in found if kind in shared), None)
        if again and shared <= found.keys() and len(found) > 1:
            return {kind: key for kind, key in found.items() if kind != again}
        return found

    def _step(self, device: _Device, ids: dict[str, str], stamped: bool = False) -> RetoldBatch:
        part = RetoldBatch(
            device.last_ms if device.steps else device.first_ms, device=dict(sorted(ids.items()))
        )
        _say(part, {}, stamped)
        device.steps.append(part)
        device.place = len(self._parts)
        self._parts.append(part)
        return part

    def _finish(self, device: _Device) -> None:
        """Say what is said of a device with its last step, or with one more."""
        self._say_earlier(device)
        if not self._fits_in_last(device):
            self._step(device, {})
        last = device.steps[-1]
        stamped = STAMP in device.current and len(device.steps) == 1
        last.device = dict(sorted(device.ids.items()))
        last.at_ms = device.last_ms
        _say(last, device.info, stamped)

    def _say_earlier(self, device: _Device) -> None:
        """Say the earlier identities of a device that another device has brought as well."""
        now = {(kind, _key(kind, text)) for kind, text in device.ids.items()}
        missing = [key for key in self._held if key in device.own - device.stated - now]
        while missing:
            step = {key[0]: key for key in reversed(missing)}
            self._step(
                device, device.current | {kind: self._held[key] for kind, key in step.items()}
            )
            missing = [key for key in missing if key not in step.values()]

    def _fits_in_last(self, device: _Device) -> bool:
        """Say whether the last step of a device can say all: no identity would arrive before its
        turn, or be spelled as it was
        before, and the device is seen twice where it was."""
        if not device.steps or (
            self._manner.times and device.first_ms != device.last_ms and len(device.steps) == 1
        ):
            return False
        early = any(
            self._brought.get((kind, _key(kind, text)), -1) > device.place
            for kind, text in device.ids.items()
        )
        return not early and all(
            device.ids.get(kind) == text for kind, text in device.steps[-1].device.items()
        )

    def _credit(self, attribution: Mapping[str, Value]) -> None:
        """Say the install attribution of each device, that in force last; it may be none of a
        device's. attribution: in force."""
        text = to_json(dict(attribution))
        own = (one for one in self._devices if to_json(dict(one.attribution)) == text)
        last = next(own, None) if attribution else None
        for device in self._devices:
            if device.attribution:
                device.steps[-1 if device is last else 0].rest["attribution_info"] = dict(
                    device.attribution
                )
        said = [
            part.rest["attribution_info"] for part in self._parts if "attribution_info" in part.rest
        ]
        if not attribution or (said and to_json(said[-1]) == text):
            return
        if last is None:
            self.alone = attribution
        else:
            self._step(last, dict(sorted(last.ids.items()))).rest["attribution_info"] = dict(
                attribution
            )

    def parts(self, first: int | None, last: int | None) -> list[RetoldBatch]:
        """Return the steps of all devices, none before or after the profile itself was seen."""
        for part in self._parts:
            at = first if part.at_ms is None else part.at_ms
            part.at_ms = (
                at if at is None or first is None or last is None else min(max(at, first), last)
            )
        return self._parts

    def name(self, parts: Sequence[RetoldBatch]) -> None:
        """Have batches without a user's identity name a device, for that is what they are found
        by: by its stamp where there is
        one, which says nothing of when the device was seen."""
        named = [one for one in self._devices if one.ids]
        device = next((one for one in named if STAMP in one.ids), named[-1] if named else None)
        for part in parts if device else ():
            assert device is not None
            part.device = {STAMP: device.ids[STAMP]} if STAMP in device.ids else dict(device.ids)
            if STAMP not in part.device:
                _say(part, {}, False)


def _say(part: RetoldBatch, info: Mapping[str, Value], stamped: bool) -> None:
    """Say something of the device of a batch. stamped: its stamp is new, which tells of it by
    itself."""
    said: dict[str, Value] = {kind: text for kind, text in part.device.items() if kind != STAMP}
    said |= info
    part.rest.pop("device_info", None)
    if said or not stamped:
        part.rest["device_info"] = said or dict(UNSAID)


def document_of(
    part: RetoldBatch, *, environment: Value, mpid: Value, times: bool
) -> dict[str, Value]:
    """Return a part as a batch of the platform. mpid: None: it names none."""
    found: dict[str, Value] = {"environment": environment}
    if mpid is not None:
        found["mpid"] = Number(str(mpid))
    if times and part.at_ms is not None:
        found["timestamp_unixtime_ms"] = whole(part.at_ms)
    if part.identities:
        found["user_identities"] = dict(sorted(part.identities.items()))
    if "device_info" in part.rest:
        found["device_info"] = part.rest["device_info"]
    if STAMP in part.device:
        found[STAMP] = part.device[STAMP]
    found |= {name: value for name, value in part.rest.items() if name != "device_info"}
    found["user_attributes"] = (
        part.attributes
    )  # an object, be it empty: it is what makes the line a batch and no flat row
    if part.events:
        found["events"] = part.events
    return found


def _key(kind: str, text: str) -> str:
    return key_of(BY_NAME[kind], display(text))


def _ms(value: Value) -> int | None:
    return int(value) if isinstance(value, str) and value.removeprefix("-").isdecimal() else None


def _object(value: Value) -> Mapping[str, Value]:
    return value if isinstance(value, dict) else {}


def _documents(value: Value) -> list[dict[str, Value]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _texts(value: Value) -> dict[str, str]:
    """Return the texts of an object, by types of identities of devices."""
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
