"""One person's activity: the profile, and every batch that touched it with what each did.

Everything a profile is follows from its rows in the order of their arrival. Here the rows of one
profile are read and played through, so that each value has its history and each batch its outcome;
show, explain and browse draw what this returns.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from profilectl.attributes import CONSENT_SOURCES
from profilectl.batch import PARTNER_IDENTITY_REMOVED
from profilectl.codes import NobodyFound, UsageError
from profilectl.consent import replaces, statements_of
from profilectl.device import Id, device_ids, devices_of, kind_in, names_device
from profilectl.event import Occurred, last_opt_out, opted_out
from profilectl.feed import Feed
from profilectl.identity import BY_NAME, NAME, display, key_of
from profilectl.profile import FORGOTTEN, RETIRED, Alias, Profiles
from profilectl.segments import ENVIRONMENT_NAME, IMPORT_FILES, hash_of, known_events, known_mpids
from profilectl.values import DELETED, Value, held_json, parse_json, to_json, whole

DEVICE_PREFERENCE = ("ios_advertising_id", "android_advertising_id", "ios_idfv", "android_uuid")
"""Which device id stands for a device where one is shown (domain.md 10)."""
NOWHERE = (0, "", "line", 0, "")
"""The origin of a row whose place was not asked for, as origins_of has it."""
_SEEN = ("profile", "arrival", "place", "type", "name", "at_ms", "session", "event")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something comes from: the row, its file, its import and feed. line: None where a file has
    rows rather than lines; place: its line or row."""

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
class Entry:
    """One thing that a row did, or tried to do, to an attribute.

    kind: set, changed, unchanged, deleted or blocked (then code says why). before: the value in force
    (None: none), and owner the row it came from.
    """

    key: str
    kind: str
    held: str
    before: str | None
    owner: Origin | None
    origin: Origin
    code: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """An identity of the profile: when it came, and the row that took it away, if one did."""

    type: str
    value: str
    origin: Origin
    lost: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
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
    """One batch that touched the profile. events: in their order. rest: its other fields (consent, device,
    attribution...). alias: no batch, but the past of another profile carried over. taker: the MPID of another profile,
    whose batch only took identities away."""

    origin: Origin
    founded: bool
    added: list[Held] = field(default_factory=list)
    removed: list[Held] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    events: list[Seen] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)
    alias: Carried | None = None
    taker: int | None = None


@dataclass(frozen=True, slots=True)
class Carried:
    """An alias as a profile shows it, by MPIDs. first_seen_ms: what the destination gets, from due_ms on."""

    source: int
    destination: int
    start_ms: int
    end_ms: int
    due_ms: int
    first_seen_ms: int
    in_force: bool


@dataclass(slots=True)
class Device:
    """One device: its identities (mp_deviceid is its application stamp), when it was seen, what was said of it, and
    the install attribution that came with it. earlier: values of a type that it had before the one it has."""

    identities: dict[str, str]
    first_seen_ms: int
    last_seen_ms: int
    info: dict[str, Any] = field(default_factory=dict)
    attribution: dict[str, Any] = field(default_factory=dict)
    earlier: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Membership:
    """A person's membership in an audience. expires_ms: when it ends if nothing arrives; None: it does not."""

    audience: int
    name: str
    since_ms: int
    expires_ms: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a person stands. calculated: name -> held value, None where nothing was to compute; it masks an
    attribute of the same name. definitions: name -> the definition, as the configuration has it."""

    calculated: dict[str, str | None]
    definitions: dict[str, dict[str, object]]
    memberships: list[Membership]


@dataclass(slots=True)
class Activity:
    """A profile with everything that made it. touches: oldest first; attributes: the entry in force of each key.
    standing: what follows from all of that (standing.py), where it was asked for. aged_ms: when retention took its
    attributes, consent and devices away. workspace: whose attributes, devices, consent and batches these are, None:
    everybody's; elsewhere: what touched the profile in others. Identities and first and last seen are the same in all.
    taken: batches of other profiles that took identities away, in whatever workspace. carried: events of other profiles that
    aliases have made this one's as well, each with the arrival of the alias. forgotten: what arrived before counts for nothing
    that is computed of the profile's lifetime (profile.FORGOTTEN); dormant: nothing arrived since, and nothing is computed at all."""

    mpid: int
    environment: str
    profile: int
    first_seen_ms: int
    last_seen_ms: int
    identities: list[Held]
    lost: list[Held]
    attributes: dict[str, Entry]
    history: dict[str, list[Entry]]
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
        """Return what touched the profile in its workspace, and what took identities from it, oldest first."""
        return _in_order(self.touches, self.taken)

    def past(self) -> list[Touch]:
        """Return what touched the profile in any workspace, and what took identities from it, oldest first."""
        return _in_order(self.touches, self.elsewhere, self.taken)

    def taken_by(self, held: Held) -> Origin | None:
        """Return where the row stands that took an identity away."""
        return next((touch.origin for touch in self.past() if touch.origin.arrival == held.lost), None)

    def every(self) -> list[Touch]:
        """Return what touched the profile in any workspace, oldest first."""
        return _in_order(self.touches, self.elsewhere)

    def values(self, kind: str) -> list[str]:
        """Return the identities of a type, oldest first."""
        return [one.value for one in self.identities if one.type == kind]

    def calculated(self) -> dict[str, str | None]:
        """Return the calculated attributes: name -> held value, None where nothing was to compute."""
        return self.standing.calculated if self.standing else {}

    def stored(self) -> dict[str, Entry]:
        """Return the entry in force of each attribute that no calculated one masks."""
        return {key: entry for key, entry in self.attributes.items() if key not in self.calculated()}

    def counted(self, aliases: Container[int] | None = None) -> list[Occurred]:
        """Return those events that calculated attributes and real-time audiences rest on; Profiles.counted is the same of
        everybody. aliases: the arrivals of those that carry events over; None: all that are in force."""
        own = [event for event in self._occurred() if event.arrival >= self.forgotten or event.type == "opt_out"]
        return own + [
            event for arrival, event in self.carried
            if (aliases is None or arrival in aliases) and (arrival >= self.forgotten or event.type == "opt_out")
        ]

    def occurred(self) -> list[Occurred]:
        """Return the events of the workspace, and the opt-outs of all: those hold everywhere."""
        return self._occurred() + [event for _, event in self.carried]

    def _occurred(self) -> list[Occurred]:
        here = {touch.origin.arrival for touch in self.touches}
        return [
            Occurred(event.type, event.name, event.at_ms, touch.origin.arrival, place, event.session, document)
            for touch in self.every() if touch.alias is None for place, event in enumerate(touch.events)
            if (touch.origin.arrival in here or event.type == "opt_out") and isinstance(document := event.document, dict)
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
        stated = [device.info["limit_ad_tracking"] for device in _devices(self.every()) if isinstance(device.info.get("limit_ad_tracking"), bool)]
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
                if (kind, device.identities.get(kind)) in held:  # one that was taken away stands for nothing
                    return kind, device.identities[kind]
        return None

    def consent(self, until: int | None = None) -> dict[tuple[str, str], tuple[dict[str, Any], Origin]]:
        """Return the consent in force: (regulation, purpose) -> what was said, and where. The newest
        statement by its own time counts; of equals the later arrival (domain.md 5.3). until: after that arrival."""
        found: dict[tuple[str, str], tuple[dict[str, Any], Origin]] = {}
        for touch in self.touches:
            if touch.origin.feed.source not in CONSENT_SOURCES or (until is not None and touch.origin.arrival > until):
                continue
            for purpose, said in statements_of(touch.rest.get("consent_state")).items():
                if replaces(said, found[purpose][0] if purpose in found else None):
                    found[purpose] = (dict(said), touch.origin)
        return found

    def partner_identities(self) -> dict[str, tuple[str, Origin]]:
        """Return the partner identities in force, by name: what was said of each last, and where. null or an empty text
        takes one away (batch.PARTNER_IDENTITY_REMOVED)."""
        found: dict[str, tuple[str, Origin]] = {}
        for touch in self.touches:
            stated = touch.rest.get("partner_identities")
            for name, value in (stated.items() if isinstance(stated, dict) else ()):
                found.pop(name, None)
                if value not in PARTNER_IDENTITY_REMOVED:
                    found[name] = (value if isinstance(value, str) else to_json(value), touch.origin)
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
    for (touch, added, info, _), device in zip(told, devices_of([ids for *_, ids in told]), strict=True):
        stamp = touch.rest.get("mp_deviceid", added.get("mp_deviceid"))
        known = found.setdefault(device, Device({}, touch.origin.at_ms, touch.origin.at_ms))
        ids = {"mp_deviceid": str(stamp)} if stamp else {}
        for name, kind in [(name, kind) for name in info if (kind := kind_in(name))]:
            value = info.pop(name)
            if value is not None:
                ids.setdefault(kind, str(value))
        both = (*added.items(), *ids.items())
        keys.setdefault(device, set()).update((kind, key_of(BY_NAME[kind], display(text))) for kind, text in both)
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
    """Tell a device which values it had before those it has, by their keys. keys: all that were stated."""
    for kind, key in sorted(keys):
        if key != key_of(BY_NAME[kind], display(device.identities[kind])) and names_device(BY_NAME[kind], key):
            device.earlier.setdefault(kind, []).append(key)


def activities(profiles: Profiles, found: Sequence[int], *, placed: bool = True) -> list[Activity]:
    """Return the activity of some profiles, in the order given; of the state that `profiles` reads. placed: with the
    import, file and line of each origin, and with what was blocked; that takes as long as all the rest, for a single profile."""
    raw = _Raw(profiles, found, placed)
    return [one for profile in found if (one := _played(profiles, profile, raw))]


def one_meant(profiles: Profiles, who: tuple[str, str], pick: int | None = None, environment: str | None = None) -> Activity:
    """Return the one profile that is meant. who: an identity type (or mpid, any) and value; pick: which of
    several, from 1; environment: in that one only. Raises NobodyFound, and UsageError where several are meant."""
    found = [one for one in activities(profiles, profiles.find(*who)) if environment in (None, one.environment)]
    if not found:
        raise NobodyFound(f"nobody has the {'identity or MPID' if who[0] == 'any' else who[0]} {who[1]}")
    if pick is None and len(found) > 1:
        listed = ", ".join(f"{one.mpid} ({one.environment})" for one in found[:5])
        pick_one = "--pick N, in the order of `profilectl show`"
        by_mpid = who[0] != "mpid" and len({one.mpid for one in found}) == len(found)
        raise UsageError(f"{len(found)} profiles have the {who[0]} {who[1]}: {listed}", f"name one by --mpid, or by {pick_one}" if by_mpid else pick_one)
    if pick is not None and not 1 <= pick <= len(found):
        raise UsageError(f"--pick {pick}: there are {len(found)}")
    return found[(pick or 1) - 1]


def meant_again(profiles: Profiles, who: tuple[str, str], mpid: str, environment: str) -> Activity:
    """Return the profile that a change by hand was about, for making it again: of those that `who` names now the
    one with the MPID it had, or the only one. Raises NobodyFound, UsageError."""
    found = [one for one in activities(profiles, profiles.find(*who)) if one.environment == environment]
    same = [one for one in found if str(one.mpid) == mpid]
    return same[0] if same else one_meant(profiles, who, environment=environment)


class _Raw:
    """The rows of some profiles as they lie in the segments."""

    def __init__(self, profiles: Profiles, found: Sequence[int], placed: bool) -> None:
        self.scratch = profiles.store.scratch
        self.feeds = {feed.number: feed for feed in profiles.store.feeds()}
        self.secret = profiles.store.meta("secret")
        where = profiles.where(found)
        self.rows: dict[int, list[tuple[Any, ...]]] = {}
        self.cells: dict[tuple[int, int], list[tuple[str, str, str]]] = {}
        self.rest: dict[tuple[int, int], str] = {}
        self.events: dict[tuple[int, int], list[Seen]] = {}
        for segment in profiles.segments:
            if "row" not in segment.tables:
                continue
            identities = ", ".join(f"i_{kind}" for kind in segment.identities)
            cells = ", ".join(f"a{n}" for n in range(len(segment.keys)))
            for profile, arrival, founded, environment, feed, at_ms, ids, values in self._ask(
                f"select profile, arrival, mpid, environment, feed, at_ms, [{identities}]::varchar[], [{cells}]::varchar[]"
                f" from {segment.table('row')} {where}"
            ):
                named = [(kind, value) for kind, value in zip(segment.identities, ids, strict=True) if value is not None]
                self.rows.setdefault(profile, []).append((arrival, founded, environment, feed, at_ms, named))
                self._keep(profile, arrival, segment.keys, values, "")
            if "loose" in segment.tables:
                for profile, arrival, key, value in self._ask(f"select profile, arrival, key, value from {segment.table('loose')} {where}"):
                    self._keep(profile, arrival, [key], [value], "")
            if "blocked" in segment.tables and placed:
                # It has the columns of those attributes only that something was refused of.
                none = "".join(f", null::varchar as a{n}" for n in range(len(segment.keys)))
                shaped = f"select null::bigint as profile, null::bigint as arrival, null::varchar as code{none} where false"
                for profile, arrival, code, values in self._ask(
                    f"select profile, arrival, code, [{cells}]::varchar[] from ({shaped} union all by name select * from {segment.table('blocked')} {where})"
                ):
                    self._keep(profile, arrival, segment.keys, values, code)
            if "blocked_loose" in segment.tables and placed:
                for profile, arrival, code, key, value in self._ask(
                    f"select profile, arrival, code, key, value from {segment.table('blocked_loose')} {where}"
                ):
                    self._keep(profile, arrival, [key], [value], code)
            if "rest" in segment.tables:
                for profile, arrival, rest in self._ask(f"select profile, arrival, rest from {segment.table('rest')} {where}"):
                    self.rest[profile, arrival] = rest
        for profile, arrival, *event in self._ask(f"select * from ({known_events(profiles.segments, where=where, columns=_SEEN)}) order by profile, arrival, place"):
            self.events.setdefault((profile, arrival), []).append(Seen(*event[1:]))
        self.removed = self._ask(f"select profile, type, hash, arrival from store.removed {where}") if profiles.removals else []
        self.takers = self._takers(profiles, {arrival for *_, arrival in self.removed} - {row[0] for rows in self.rows.values() for row in rows})
        self.aged: dict[int, list[int]] = {}
        listed = ", ".join(map(str, found)) or "null"
        for profile, at_ms in self._ask(
            f"select aged.profile, erasure.at_ms from store.aged join store.erasure on erasure.number = aged.erasure where aged.profile in ({listed}) order by 2"
        ):
            self.aged.setdefault(profile, []).append(at_ms)
        self.forgotten: dict[int, int] = dict(self._ask(f"select profile, before from ({FORGOTTEN}) where profile in ({listed})"))
        retired = self._ask(f"select profile, aged_ms, before from ({RETIRED}) where profile in ({listed})")
        self.retired: dict[int, tuple[int, int | None]] = {profile: (aged_ms, before) for profile, aged_ms, before in retired}
        self.aliases = [one for one in profiles.aliases if {one.source, one.destination} & set(found)]
        self.carried: dict[int, list[tuple[int, int, int, Seen]]] = {}  # alias -> row, place in it and feed of an event, and the event
        for one in profiles.carrying():
            if one.destination in found:
                happened = known_events(profiles.segments, where=one.where, columns=(*_SEEN, "feed"))
                for _, arrival, position, *event, feed in self._ask(f"select * from ({happened}) order by at_ms, arrival, place"):
                    self.carried.setdefault(one.before, []).append((arrival, position, feed, Seen(*event)))
        self.mpids: dict[int, int] = {}
        self.sources: set[int] = set()  # of aliases: those that the workspace has seen
        self.asked: dict[int, tuple[int, int]] = {}
        if self.aliases:
            sides = ", ".join(str(side) for one in self.aliases for side in (one.source, one.destination))
            self.sources = {source for (source,) in self._ask(profiles.sources_seen())}
            self.mpids = dict(self._ask(f"select profile, mpid from ({known_mpids(profiles.segments)}) where profile in ({sides})"))
            rows = self._ask("select alias.arrival, import.feed, import.started_ms from store.alias join store.import on import.number = alias.import")
            self.asked = {arrival: (feed, at_ms) for arrival, feed, at_ms in rows}
        arrivals = {row[0] for rows in self.rows.values() for row in rows} | {one.arrival for one in self.aliases} | {*self.takers}
        self.origins = origins_of(profiles, sorted(arrivals)) if placed else dict.fromkeys(arrivals, NOWHERE)

    def _takers(self, profiles: Profiles, arrivals: set[int]) -> dict[int, tuple[int, int, int]]:
        """Return whose rows some are: arrival -> (MPID, feed, time)."""
        if not arrivals:
            return {}
        listed = f"where arrival in ({', '.join(map(str, sorted(arrivals)))})"
        rows = " union all ".join(f"select profile, arrival, feed, at_ms from {one.table('row')} {listed}" for one in profiles.segments if "row" in one.tables)
        found = self._ask(f"select row.arrival, named.mpid, row.feed, row.at_ms from ({rows}) as row join ({known_mpids(profiles.segments)}) as named on named.profile = row.profile")
        return {arrival: (mpid, feed, at_ms) for arrival, mpid, feed, at_ms in found}

    def _ask(self, select: str) -> list[tuple[Any, ...]]:
        return self.scratch.rows(select)

    def _keep(self, profile: int, arrival: int, keys: Sequence[str], values: Sequence[str | None], code: str) -> None:
        cells = self.cells.setdefault((profile, arrival), [])
        cells += [(key, value, code) for key, value in zip(keys, values, strict=True) if value is not None]


def origins_of(profiles: Profiles, arrivals: Sequence[int]) -> dict[int, tuple[int, str, str, int, str]]:
    """Return where rows stand: arrival -> (import, file, unit, line or row, protection)."""
    if not arrivals:
        return {}
    rows = profiles.store.scratch.rows(
        "select one.arrival, import.number, import_file.path, import_file.unit, line_run.first_line + one.arrival - line_run.first_arrival,"
        f" import.protection from (select unnest($arrivals::bigint[]) as arrival) as one asof join ({IMPORT_FILES}) as import_file"
        " on one.arrival >= import_file.first_arrival asof join store.line_run as line_run on one.arrival >= line_run.first_arrival"
        " join store.import as import on import.number = import_file.import",
        {"arrivals": list(arrivals)},
    )
    return {arrival: tuple(rest) for arrival, *rest in rows}


def _played(profiles: Profiles, profile: int, raw: _Raw) -> Activity | None:
    """Play the rows of a profile through in order."""
    rows = sorted(raw.rows.get(profile, ()))
    if not rows:
        return None
    feeds, secret = raw.feeds, raw.secret
    mpid = next(row[1] for row in rows if row[1] is not None)
    environment = ENVIRONMENT_NAME[rows[0][2]]
    gone: dict[tuple[str, int], list[int]] = {}
    for owner, code, digest, arrival in raw.removed:
        if owner == profile:
            gone.setdefault((NAME[code], digest), []).append(arrival)
    found = Activity(
        mpid, environment, profile, min(row[4] for row in rows), max(row[4] for row in rows), [], [], {}, {}, [], workspace=profiles.workspace
    )
    owners: dict[str, Origin] = {}
    for arrival, founded, _, feed, at_ms, identities in rows:
        number, file, unit, place, protection = raw.origins[arrival]
        origin = Origin(arrival, number, feeds[feed], protection, file, unit, place, at_ms)
        here = profiles.workspace is None or feeds[feed].seen_in(profiles.workspace)
        rest = raw.rest.get((profile, arrival))
        touch = Touch(origin, founded is not None, events=raw.events.get((profile, arrival), []), rest=_rest(rest) if rest else {})
        for kind, value in identities:
            digest = hash_of(secret, environment, kind, key_of(BY_NAME[kind], value))
            lost = min((one for one in gone.get((kind, digest), ()) if one > arrival), default=None)
            identity = Held(kind, value, origin, lost)
            touch.added.append(identity)
            (found.identities if lost is None else found.lost).append(identity)
        for key, held, code in sorted(raw.cells.get((profile, arrival), ())):
            if not here and not code:
                owners[key] = origin
            elif not here:
                continue
            elif code or held != DELETED or key in found.attributes:  # deleting what is not there does nothing
                touch.entries.append(_entry(found, key, held, code, origin, owners.get(key)))
        (found.touches if here else found.elsewhere).append(touch)
    _carry(profiles, found, raw, feeds)
    found.aged_ms, found.forgotten = raw.aged.get(profile, []), raw.forgotten.get(profile, 0)
    aged_ms, before = raw.retired.get(profile, (None, None))
    found.dormant = aged_ms is not None and (rows[-1][0] < before if before is not None else max(row[4] for row in rows) <= aged_ms)
    by_arrival = {touch.origin.arrival: touch for touch in found.every()}
    for one in found.lost:
        if one.lost in raw.takers and one.lost not in by_arrival:
            mpid, feed, at_ms = raw.takers[one.lost]
            number, file, unit, place, protection = raw.origins[one.lost]
            by_arrival[one.lost] = Touch(Origin(one.lost, number, feeds[feed], protection, file, unit, place, at_ms), False, taker=mpid)
            found.taken.append(by_arrival[one.lost])
        if one.lost in by_arrival:
            by_arrival[one.lost].removed.append(one)
    return found


def _carry(profiles: Profiles, found: Activity, raw: _Raw, feeds: dict[int, Feed]) -> None:
    """Add the aliases of a profile to its activity, and what they carried over."""
    carried = profiles.carried(found.profile)
    if carried:
        later = (touch.origin.at_ms for touch in found.every() if touch.origin.arrival > carried.arrival)
        found.first_seen_ms = min((carried.first_seen_ms, *later))
    for one in raw.aliases:
        if found.profile not in (one.source, one.destination):
            continue
        number, file, unit, place, protection = raw.origins[one.arrival]
        taken = one.in_force and found.profile == one.destination
        attribution = profiles.attribution_carried(one) if taken else {}
        feed, at_ms = raw.asked[one.arrival]
        origin = Origin(one.arrival, number, feeds[feed], protection, file, unit, place, at_ms)
        here, every = _events_carried(found, raw, feeds, one)
        found.carried += [(one.arrival, event) for event in every]
        seen = one.source in raw.sources
        (found.touches if seen else found.elsewhere).append(Touch(
            origin, False, events=here, rest={"attribution_info": attribution} if attribution else {},
            alias=Carried(
                raw.mpids[one.source], raw.mpids[one.destination], one.start_ms, one.end_ms, one.due_ms, one.first_seen_ms, one.in_force
            ),
        ))
    found.touches.sort(key=lambda touch: touch.origin.arrival)
    found.elsewhere.sort(key=lambda touch: touch.origin.arrival)


def _events_carried(found: Activity, raw: _Raw, feeds: dict[int, Feed], alias: Alias) -> tuple[list[Seen], list[Occurred]]:
    """Return the events that an alias carries over to a profile: those of its workspace, and with them the opt-outs of all."""
    here: list[Seen] = []
    every: list[Occurred] = []
    for arrival, place, feed, event in raw.carried.get(alias.arrival, ()) if found.profile == alias.destination else ():
        seen = found.workspace is None or feeds[feed].seen_in(found.workspace)
        if seen:
            here.append(event)
        if (seen or event.type == "opt_out") and isinstance(document := event.document, dict):
            every.append(Occurred(event.type, event.name, event.at_ms, arrival, place, event.session, document))
    return here, every


def _rest(text: str) -> dict[str, Any]:
    found = parse_json(text)
    return found if isinstance(found, dict) else {}


def _entry(found: Activity, key: str, held: str, code: str, origin: Origin, elsewhere: Origin | None) -> Entry:
    """Apply one cell to the profile as it was, and say what it did. elsewhere: who owns the attribute in another
    workspace, which only an account feed can be refused for."""
    before = found.attributes.get(key)
    had = before.held if before else None
    kind = "blocked" if code else "deleted" if held == DELETED else "set" if had is None else "unchanged" if had == held else "changed"
    entry = Entry(key, kind, held, had, before.origin if before else elsewhere if code else None, origin, code)
    found.history.setdefault(key, []).append(entry)
    if kind == "deleted":
        found.attributes.pop(key, None)
    elif kind != "blocked":
        found.attributes[key] = entry
    return entry


def members(activity: Activity, names: Sequence[str]) -> str:
    """Return some parts of an activity as members of a JSON object. names: history, devices, consent,
    attribution, timeline; values exactly as they are held."""
    return ",".join(f'"{name}":{to_json(_part(activity, name))}' for name in names)


def _part(activity: Activity, name: str) -> Value:
    match name:
        case "history":
            return {key: [entry_json(one) for one in entries] for key, entries in sorted(activity.history.items())}
        case "devices":
            return devices_json(activity.devices())
        case "consent":
            return [
                {"regulation": regulation, "purpose": purpose, "said": said, **origin_json(origin)}
                for (regulation, purpose), (said, origin) in sorted(activity.consent().items())
            ]
        case "attribution":
            return activity.attribution()
    return [touch_json(one) for one in activity.timeline()]


def devices_json(devices: Sequence[Device]) -> list[Value]:
    """Return devices as JSON."""
    return [
        {"identities": dict(one.identities), "first_seen_ms": whole(one.first_seen_ms), "last_seen_ms": whole(one.last_seen_ms), "info": one.info,
         **({"attribution": one.attribution} if one.attribution else {}), **({"earlier": {kind: [*texts] for kind, texts in one.earlier.items()}} if one.earlier else {})}
        for one in devices
    ]


def standing_json(activity: Activity) -> dict[str, Value]:
    """Return the answers to tracking and the audiences as members of a JSON object (domain.md 2)."""
    return {
        "partner_identities": {name: value for name, (value, _) in activity.partner_identities().items()},
        "is_opted_out": activity.opted_out(), "limit_ad_tracking": activity.limit_ad_tracking(),
        "audience_memberships": [
            {"audience_id": whole(one.audience), "audience_name": one.name, "since_ms": whole(one.since_ms),
             "expiration_timestamp_ms": None if one.expires_ms is None else whole(one.expires_ms)}
            for one in (activity.standing.memberships if activity.standing else ())
        ],
    }


def origin_json(origin: Origin) -> dict[str, Value]:
    """Return where something comes from, as JSON."""
    return {
        "source": origin.feed.source, "feed": origin.feed.name, "import": whole(origin.import_number), "file": origin.file,
        origin.unit: whole(origin.place), "set_ms": whole(origin.at_ms),
    }


def entry_json(entry: Entry) -> dict[str, Value]:
    """Return what a row did to an attribute, as JSON. A tag is null: what is not there is left out."""
    found: dict[str, Value] = {"change": entry.kind}
    if entry.held != DELETED:
        found["value"] = parse_json(held_json(entry.held))
    if entry.before is not None:
        found["before"] = parse_json(held_json(entry.before))
    return found | {"code": entry.code or None} | origin_json(entry.origin)


def touch_json(touch: Touch) -> dict[str, Value]:
    """Return what a batch did, as JSON; of an alias, and of another's batch that took identities away, in the same form."""
    return origin_json(touch.origin) | {
        "founded": touch.founded,
        "identities_added": [{"type": one.type, "value": one.value} for one in touch.added],
        "identities_removed": [{"type": one.type, "value": one.value} for one in touch.removed],
        "attributes": [{"attribute": one.key, **_only(entry_json(one))} for one in touch.entries],
        "events": [event_json(one) for one in touch.events] if touch.alias is None else [],
        "rest": touch.rest if touch.alias is None else {},
        "alias": _alias_json(touch.alias, touch.events) if touch.alias else None,
        "taken_by": str(touch.taker) if touch.taker is not None else None,
    }


def _alias_json(alias: Carried, events: Sequence[Seen]) -> Value:
    return {
        "from": str(alias.source), "to": str(alias.destination), "start_ms": whole(alias.start_ms), "end_ms": whole(alias.end_ms),
        "due_ms": whole(alias.due_ms), "in_force": alias.in_force, "first_seen_ms": whole(alias.first_seen_ms),
        "events": [event_json(one) for one in events],
    }


def event_json(event: Seen) -> dict[str, Value]:
    """Return an event as JSON: what it is found by, and the whole of it."""
    return {"type": event.type, "name": event.name, "at_ms": whole(event.at_ms), "session": event.session, "event": event.document}


def remark_subject(attribute: str | None, kind: str | None, value: str | None) -> dict[str, Value]:
    """Return what a code is said of, as JSON: an attribute, an identity, or the row itself."""
    if attribute is not None:
        return {"attribute": attribute}
    return {} if kind is None else {"type": kind, "value": value}


def _only(entry: dict[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in entry.items() if name in ("change", "value", "before", "code")}
