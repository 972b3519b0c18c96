"""The stored events of profiles as batches, under the identities that each profile has now.

Attributes stay out: old ones would arrive after newer ones, and a push of profiles sends those in
force. Old events go to the historical endpoint (ages.py), so a batch with old and new ones leaves
as two. That endpoint does not process batches without events or events without a time; there are
none here, because every event leaves with its time.

    standing      arrival, place              each event that is chosen
    sent          arrival, place              each event that the host has
    left_batch    arrival                     each stored batch with an event to send
    event_read    profile, arrival, events    ... of a stretch, with its events
    event_batch   the same                    ... and what the batch says beside them
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypedDict

from profilectl.outputs.packing import PLATFORM, Track, parcels_of
from profilectl.outputs.push.ages import Ages
from profilectl.outputs.push.host import Host
from profilectl.outputs.push.source import PATIENCE_S, Bad, Name, Row, in_blocks
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.exporting.export import ExportRequest, choose
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import BY_NAME
from profilectl.rules.sql.identities import environment_name
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import Number, Value, parse_json, to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.segments import both, known_events

AT_ONCE = 20_000
"""How many stored batches are read at once."""
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
"""How many bytes of a batch may be events; the others are for the person it is about."""

# The profiles that choose (reading/exporting/export.py) has chosen.
CHOSEN_PROFILES = "where profile in (select profile from chosen)"
# How many stored batches the push is about.
BATCHES_BEFORE = "select count(distinct arrival) from standing where arrival < $until"
# The events that a host has.
SENT_TO_HOST = "select arrival, place from store.sent_event where host = $host"
# No events: all are sent again, or no host is known.
SENT_TO_NOBODY = "select arrival, place from store.sent_event where false"
# Each stored batch with at least one event that the host lacks.
LEFT_BATCH = """
select distinct arrival
from (select * from standing where arrival < $until) as event
where not exists (
    select 1
    from sent
    where sent.arrival = event.arrival and sent.place = event.place
)
"""
# The batches from the first that is not done.
BATCHES_TO_SEND = "select arrival from left_batch where arrival >= $start order by arrival"
# Each stored batch, with all of its events that are chosen. The view chosen_event is of a stretch.
EVENT_READ = """
select chosen.profile, chosen.arrival,
       list(
           {place: chosen.place, at_ms: chosen.at_ms, event: chosen.event,
            sent: sent.place is not null}
           order by chosen.place
       ) as events
from chosen_event as chosen
left join sent on sent.arrival = chosen.arrival and sent.place = chosen.place
group by chosen.profile, chosen.arrival
"""
READ_PROFILES = "where profile in (select profile from event_read)"
# ... with its person as they are now, and the other fields of the batch. The hole is the JSON of
# the identities, and the name of the environment.
EVENT_BATCH = """
select batch.arrival, batch.profile, person.mpid, {columns}, extra.rest as fields,
       batch.events
from event_read as batch
join event_person as person on person.profile = batch.profile
left join event_fields as extra on extra.arrival = batch.arrival
order by batch.arrival
"""
# Where no stored batch has other fields.
NO_FIELDS = "select null::bigint as arrival, null::varchar as rest where false"
# In order of arrival, as positions are begun.
BATCHES = """
select arrival, profile, mpid, environment, identities, fields, events
from event_batch
order by arrival
"""


class StoredEvent(TypedDict):
    """A stored event."""

    place: int
    at_ms: int
    event: str
    sent: bool


class StoredBatch(NamedTuple):
    """A stored batch, and its person as they are now."""

    arrival: int
    """When it arrived."""
    profile: int
    """The profile of the person."""
    mpid: int
    """The MPID of the person."""
    environment: str
    """The name of the environment."""
    identities: str | None
    """The JSON of the newest identity of each type."""
    fields: str | None
    """The JSON of the other fields of the batch."""
    events: list[StoredEvent]
    """Its events, in order."""


class Portion(NamedTuple):
    """Events of a stored batch that leave together."""

    historical: bool
    """Whether they go to the historical endpoint."""
    events: list[StoredEvent]
    """The events."""


@dataclass(slots=True)
class OfEvents:
    """The stored batches with events of some profiles; a position is an arrival."""

    scratch: Scratch
    """Where relations are made."""
    path: Path
    """The store."""
    selection: ExportRequest
    """The profiles whose events are pushed."""
    wait_s: float
    """How long it waits for a busy store."""
    ages: Ages
    """Which events are historical."""
    since_ms: int | None = None
    """Only events from then on; None: all."""
    begin: int = 0
    """The first position there can be."""
    total: int = 0
    """How many batches there are, unchanged ones included."""
    unchanged: int = 0
    """How many batches the host has."""
    until: int = 0
    """The arrivals before this one are in a push that begins now."""
    workspace: str | None = None
    """The workspace whose events they are."""
    host: Host = field(default_factory=Host)
    """What they are compared with."""
    names: int = 0
    """How many distinct event names the workspace has."""

    def end_before(self, until: int, host: Host) -> None:
        """Leave out the batches from an arrival on, and the events that a host has."""
        self.until, self.host = until, host
        self.total = int(self.scratch.row(BATCHES_BEFORE, {"until": until})[0])
        with open_store(self.scratch, self.path, wait_s=self.wait_s) as store:
            if host.name is None or host.whole:
                store.scratch.make("sent", SENT_TO_NOBODY)
            else:
                store.scratch.make("sent", SENT_TO_HOST, {"host": host.name})
        self.scratch.make("left_batch", LEFT_BATCH, {"until": until})
        self.unchanged = self.total - self.scratch.count("left_batch")

    def blocks(self, track: Track, name: Name) -> Iterator[list[Row]]:
        """Yield the batches that are not done, in order of arrival.

        The store must not be open for writing during next().
        """
        arrivals = [
            arrival for (arrival,) in self.scratch.rows(BATCHES_TO_SEND, {"start": track.start})
        ]
        for place in range(0, len(arrivals), AT_ONCE):
            end = arrivals[min(place + AT_ONCE, len(arrivals)) - 1]
            with open_store(self.scratch, self.path, wait_s=self.wait_s) as store:
                within = f"where arrival between {arrivals[place]} and {end}"
                chosen = f"{within} and arrival in (select arrival from left_batch)"
                self._read(profiles_of(store), chosen)
            yield from in_blocks(self._rows(track, name))

    def _read(self, profiles: Profiles, stretch: str) -> None:
        """Make `event_batch`: some stored batches, with their people as they are now."""
        scratch = self.scratch
        events = known_events(
            profiles.segments,
            where=happened(profiles, stretch, self.since_ms),
            columns=("profile", "arrival", "place", "at_ms", "event"),
        )
        scratch.make("chosen_event", events, keep=False)
        scratch.make("event_read", EVENT_READ)
        fields = [
            f"select arrival, rest from {segment.table('rest')} {stretch}"
            for segment in profiles.segments
            if "rest" in segment.tables
        ]
        scratch.make("event_fields", " union all ".join(fields) or NO_FIELDS, keep=False)
        scratch.make("event_person", profiles.folded([], READ_PROFILES), keep=False)
        members = ", ".join(f"{quote_text(kind)}: i_{kind}[-1]" for kind in profiles.identities)
        identities = f"to_json({{{members}}})::varchar" if members else quote_text("{}")
        environment = environment_name("person.environment")
        scratch.make(
            "event_batch",
            EVENT_BATCH.format(columns=f"{identities} as identities, {environment} as environment"),
        )

    def _rows(self, track: Track, name: Name) -> Iterator[Row]:
        cursor = self.scratch.connection.execute(BATCHES)
        rows = itertools.chain.from_iterable(iter(lambda: cursor.fetchmany(1000), []))
        for batch in map(StoredBatch._make, rows):
            if track.is_done(batch.arrival):
                continue
            row = Row(
                position=batch.arrival,
                place={"mpid": str(batch.mpid)},
                profile=batch.profile if self.host.noting else None,
            )
            frame = self._frame(batch)
            if not frame:  # nobody would be found by it
                continue
            for part, portion in enumerate(self._portions(batch.events)):
                unsent = [event for event in portion.events if not event["sent"]]
                self._add(row, frame, Portion(portion.historical, unsent), part=part, name=name)
            yield row

    def _frame(self, batch: StoredBatch) -> dict[str, Value]:
        """Return what a batch says beside its events: its person and its device.

        It is empty where the batch would be about nobody.
        """
        frame: dict[str, Value] = {"environment": batch.environment}
        if self.selection.with_mpid:
            frame["mpid"] = Number(str(batch.mpid))
        identities = {
            kind: value for kind, value in _object(batch.identities).items() if value is not None
        }
        fields = _object(batch.fields)
        users: dict[str, Value] = {
            kind: value for kind, value in identities.items() if not BY_NAME[kind].device
        }
        if users:
            frame["user_identities"] = users
        frame |= {member: fields[member] for member in MEMBERS if fields.get(member) is not None}
        devices: dict[str, Value] = {
            kind: value for kind, value in identities.items() if BY_NAME[kind].device
        }
        if not users and not ("device_info" in frame or "mp_deviceid" in frame):
            # Only the devices of the profile can name it: it has no user identity, and the batch
            # no device.
            stamp = devices.pop("mp_deviceid", None)
            if devices:
                frame["device_info"] = devices
            if stamp:
                frame["mp_deviceid"] = stamp
        named = {"mpid", "user_identities", "device_info", "mp_deviceid"} & frame.keys()
        return frame if named else {}

    def _portions(self, events: Sequence[StoredEvent]) -> Iterator[Portion]:
        """Yield the events of a batch by their endpoint, in portions that a batch may have.

        The events that the host has are among them, so that the portions of a push never change.
        """

        def is_historical(event: StoredEvent) -> bool:
            return self.ages.is_historical(event["at_ms"])

        for historical, group in itertools.groupby(
            sorted(events, key=is_historical), is_historical
        ):
            portion: list[StoredEvent] = []
            size = 0
            for event in group:
                more = len(event["event"].encode()) + 50  # room for the time that is added to it
                if portion and size + more > EVENT_BYTES:
                    yield Portion(historical, portion)
                    portion, size = [], 0
                portion.append(event)
                size += more
            yield Portion(historical, portion)

    def _add(
        self, row: Row, frame: Mapping[str, Value], portion: Portion, *, part: int, name: Name
    ) -> None:
        """Add a batch with some events, if there are any; where it cannot be sent, say why."""
        if not portion.events:
            return
        for event in portion.events:
            self.ages.note(event["at_ms"])
        places = tuple(event["place"] for event in portion.events)
        timed = [_with_time(parse_json(event["event"]), event["at_ms"]) for event in portion.events]
        document: dict[str, Value] = {**frame, "events": timed}
        try:
            row.parcels += parcels_of(
                # The id depends on the events, not on the identities, which may change before it
                # is sent again: an event that arrives under two ids counts twice.
                document,
                row.position,
                lambda part, _: name(row.position, part, f"events {places}"),
                first_part=part,
                historical=portion.historical,
                places=places,
            )
        except UnusableRow as error:
            row.bad.append(Bad(part, error, to_json(document)))


def events_of_store(
    scratch: Scratch, path: Path, selection: ExportRequest, *, since_ms: int | None, wait_s: float
) -> OfEvents:
    """Make `standing`, the stored events of some profiles, and return them as a source.

    since_ms: only events from then on. Raises what reading a store raises.
    """
    with open_store(scratch, path, wait_s=wait_s) as store:
        profiles = profiles_of(store)
        choose(profiles, selection)
        chosen = CHOSEN_PROFILES if scratch.has("chosen") else ""
        condition = happened(profiles, chosen, since_ms)
        events = known_events(profiles.segments, where=condition, columns=("arrival", "place"))
        scratch.make("standing", events)
        return OfEvents(
            scratch=scratch,
            path=path,
            selection=selection,
            wait_s=max(wait_s, PATIENCE_S),
            ages=Ages(),
            since_ms=since_ms,
            until=store.next_import()[1],
            workspace=profiles.workspace,
            names=profiles.event_names(),
        )


def happened(profiles: Profiles, condition: str, since_ms: int | None) -> str:
    """Return the WHERE clause of the events that are chosen by time and workspace."""
    since = f"at_ms >= {since_ms}" if since_ms is not None else ""
    return both(profiles.happened(condition), since)


def _with_time(event: Value, at_ms: int) -> Value:
    if not isinstance(event, dict):
        return event
    fields = event.get("data")
    data: dict[str, Value] = dict(fields) if isinstance(fields, dict) else {}
    data["timestamp_unixtime_ms"] = Number(str(at_ms))
    return {**event, "data": data}


def _object(text: str | None) -> dict[str, Value]:
    value = parse_json(text or "{}")
    return value if isinstance(value, dict) else {}
