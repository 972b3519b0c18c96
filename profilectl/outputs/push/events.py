"""The stored events of profiles as batches: each stored batch with its events, under the identities
that its profile has now.

Attributes stay out: old ones would be said after newer ones, and a push of profiles says those in
force. Old events go to the historical endpoint (ages.py), so that a batch with both leaves as two.
What that endpoint does not process (a batch without events, an event without a time) never comes
about: every event leaves with its time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profilectl.outputs.packing import PLATFORM, Track, parcels_of
from profilectl.outputs.push.ages import Ages
from profilectl.outputs.push.known import Host
from profilectl.outputs.push.source import PATIENCE_S, Bad, Name, Row, in_blocks
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.export import Wanted, choose
from profilectl.rules.fields import Unusable
from profilectl.rules.identity import BY_NAME
from profilectl.rules.sql.identities import environment_name
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import Number, Value, parse_json, to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.segments import both, known_events

AT_ONCE = 20_000
"""So many stored batches are read at once."""
Stored = Mapping[str, Any]
"""A stored event: place, at_ms, event (its JSON), sent (whether the host has it)."""
MEMBERS = (
    "mp_deviceid",
    "device_info",
    "application_info",
    "attribution_info",
    "integration_attributes",
    "context",
    "batch_context",
)
"""The other fields of a stored batch that leave with its events."""
EVENT_BYTES = PLATFORM.batch_bytes * 3 // 4
"""So much of a batch may be events; the rest is for whom it is about."""


@dataclass(slots=True)
class OfEvents:
    """The stored batches with events of some profiles; a position is an arrival.

    total: batches, those that the host has (unchanged) among them; until: the arrivals before it
    are in a push that begins now. names: distinct event names of the workspace. since_ms: only
    events from then on.
    """

    scratch: Scratch
    path: Path
    wanted: Wanted
    wait_s: float
    ages: Ages
    since_ms: int | None = None
    first: int = 0
    total: int = 0
    unchanged: int = 0
    until: int = 0
    workspace: str | None = None
    host: Host = field(default_factory=Host)
    names: int = 0

    def __post_init__(self) -> None:
        with open_store(self.scratch, self.path, wait_s=self.wait_s) as store:
            profiles = profiles_of(store)
            choose(profiles, self.wanted)
            self.workspace, self.until = profiles.workspace, store.next_import()[1]
            self.names = profiles.event_names()
            some = self.scratch.has("chosen")
            chosen = "where profile in (select profile from chosen)" if some else ""
            where = self._happened(profiles, chosen)
            events = known_events(profiles.segments, where=where, columns=("arrival", "place"))
            self.scratch.make("standing", events)
        self.wait_s = max(self.wait_s, PATIENCE_S)

    def _happened(self, profiles: Profiles, where: str) -> str:
        """Return the WHERE clause of the events that are chosen by time and workspace."""
        since = f"at_ms >= {self.since_ms}" if self.since_ms is not None else ""
        return both(profiles.happened(where), since)

    def end_before(self, until: int, host: Host) -> None:
        """Leave out the batches from an arrival on, and the events that a host has."""
        self.until, self.host = until, host
        before = f"from standing where arrival < {until}"
        self.total = int(self.scratch.row(f"select count(distinct arrival) {before}")[0])
        with open_store(self.scratch, self.path, wait_s=self.wait_s) as store:
            every = host.name is None or host.whole
            known = "false" if every else f"host = {quote_text(host.name or '')}"
            store.scratch.make("sent", f"select arrival, place from store.sent_event where {known}")
        self.scratch.make(
            "left_batch",
            f"select distinct arrival from (select * {before}) as one where not exists"
            " (select 1 from sent where sent.arrival = one.arrival and sent.place = one.place)",
        )
        self.unchanged = self.total - self.scratch.count("left_batch")

    def blocks(self, track: Track, name: Name) -> Iterator[list[Row]]:
        """Yield the batches that are not done, in order of arrival. The store must not be open for
        writing during next()."""
        left = f"select arrival from left_batch where arrival >= {track.start} order by arrival"
        arrivals = [one for (one,) in self.scratch.rows(left)]
        for place in range(0, len(arrivals), AT_ONCE):
            last = arrivals[min(place + AT_ONCE, len(arrivals)) - 1]
            with open_store(self.scratch, self.path, wait_s=self.wait_s) as store:
                within = f"where arrival between {arrivals[place]} and {last}"
                chosen = f"{within} and arrival in (select arrival from left_batch)"
                self._read(profiles_of(store), chosen)
            yield from in_blocks(self._rows(track, name))

    def _read(self, profiles: Profiles, where: str) -> None:
        """Make `event_batch`: what is needed to put some stored batches together, as they are now."""
        scratch = self.scratch
        columns = ("profile", "arrival", "place", "at_ms", "event")
        events = known_events(
            profiles.segments, where=self._happened(profiles, where), columns=columns
        )
        told = "{place: one.place, at_ms: at_ms, event: event, sent: sent.place is not null}"
        scratch.make(
            "event_read",
            f"select profile, one.arrival, list({told} order by one.place) as events"
            f" from ({events}) as one left join sent on sent.arrival = one.arrival"
            " and sent.place = one.place group by profile, one.arrival",
        )
        tables = [one.table("rest") for one in profiles.segments if "rest" in one.tables]
        rest = " union all ".join(f"select arrival, rest from {one} {where}" for one in tables)
        rest = rest or "select null::bigint as arrival, null::varchar as rest where false"
        identities = ", ".join(f"{quote_text(kind)}: i_{kind}[-1]" for kind in profiles.identities)
        people = profiles.folded([], "where profile in (select profile from event_read)")
        held = f"to_json({{{identities}}})::varchar" if identities else quote_text("{}")
        scratch.make(
            "event_batch",
            f"select one.arrival, one.profile, mpid, {held} as identities, rest.rest, one.events,"
            f" {environment_name('person.environment')} as environment"
            f" from event_read as one join ({people}) as person on person.profile = one.profile"
            f" left join ({rest}) as rest on rest.arrival = one.arrival order by one.arrival",
        )

    def _rows(self, track: Track, name: Name) -> Iterator[Row]:
        cursor = self.scratch.connection.execute(
            "select arrival, profile, mpid, environment, identities, rest, events"
            " from event_batch order by arrival"
        )
        rows = itertools.chain.from_iterable(iter(lambda: cursor.fetchmany(1000), []))
        for arrival, profile, mpid, environment, identities, rest, events in rows:
            if track.is_done(arrival):
                continue
            row = Row(arrival, {"mpid": str(mpid)}, profile=profile if self.host.noting else None)
            frame = self._frame(_object(identities), _object(rest), environment, mpid)
            if not frame:  # nobody would be found by it
                continue
            for part, (historical, portion) in enumerate(self._portions(events)):
                some = [one for one in portion if not one["sent"]]
                self._add(row, frame, part, some, name, historical=historical)
            yield row

    def _frame(
        self, identities: dict[str, Any], rest: Mapping[str, Any], environment: str, mpid: int
    ) -> dict[str, Value]:
        """Return what a batch says beside its events: whom it is about, and on which device; empty
        where it would be about nobody."""
        found: dict[str, Value] = {"environment": environment}
        if self.wanted.with_mpid:
            found["mpid"] = Number(str(mpid))
        held = {kind: value for kind, value in identities.items() if value is not None}
        users: dict[str, Value] = {kind: held[kind] for kind in held if not BY_NAME[kind].device}
        if users:
            found["user_identities"] = users
        found |= {member: rest[member] for member in MEMBERS if rest.get(member) is not None}
        devices: dict[str, Value] = {kind: held[kind] for kind in held if BY_NAME[kind].device}
        if not users and not ("device_info" in found or "mp_deviceid" in found):
            # The device of the batch is not known, and the profile has no other name.
            stamp = devices.pop("mp_deviceid", None)
            if devices:
                found["device_info"] = devices
            if stamp:
                found["mp_deviceid"] = stamp
        named = {"mpid", "user_identities", "device_info", "mp_deviceid"} & found.keys()
        return found if named else {}

    def _portions(self, events: Sequence[Stored]) -> Iterator[tuple[bool, list[Stored]]]:
        """Yield the events of a batch by the endpoint that they go to, in portions that a batch may
        have. What the host has is among them: a portion is the same each time in a push."""

        def is_historical(one: Stored) -> bool:
            return self.ages.is_historical(one["at_ms"])

        for historical, some in itertools.groupby(sorted(events, key=is_historical), is_historical):
            portion: list[Stored] = []
            size = 0
            for one in some:
                more = len(one["event"].encode()) + 50
                if portion and size + more > EVENT_BYTES:
                    yield historical, portion
                    portion, size = [], 0
                portion.append(one)
                size += more
            yield historical, portion

    def _add(
        self,
        row: Row,
        frame: Mapping[str, Value],
        part: int,
        events: Sequence[Stored],
        name: Name,
        *,
        historical: bool,
    ) -> None:
        """Add a batch with some events, if there are any; where it cannot be sent, say why."""
        if not events:
            return
        for one in events:
            self.ages.note(one["at_ms"])
        places = tuple(one["place"] for one in events)
        timed = [_with_time(parse_json(one["event"]), one["at_ms"]) for one in events]
        document: dict[str, Value] = {**frame, "events": timed}
        try:
            row.parcels += parcels_of(
                # The same id whatever the profile is named by when it is sent again: an event
                # that arrives twice counts twice.
                document,
                row.position,
                lambda part, _: name(row.position, part, f"events {places}"),
                first_part=part,
                historical=historical,
                places=places,
            )
        except Unusable as error:
            row.bad.append(Bad(part, error, to_json(document)))


def _with_time(event: Value, at_ms: int) -> Value:
    if not isinstance(event, dict):
        return event
    stated = event.get("data")
    data: dict[str, Value] = dict(stated) if isinstance(stated, dict) else {}
    data["timestamp_unixtime_ms"] = Number(str(at_ms))
    return {**event, "data": data}


def _object(text: str | None) -> dict[str, Any]:
    found = parse_json(text or "{}")
    return found if isinstance(found, dict) else {}
