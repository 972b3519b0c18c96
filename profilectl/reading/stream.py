"""The stream of what came in: events, and batches with their effect (domain.md 10, Live Stream)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profilectl.codes import NobodyFound, sentence
from profilectl.profiles.activity import Activity, Origin, Touch
from profilectl.profiles.activity_json import touch_json
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles
from profilectl.profiles.row_places import origins_of
from profilectl.rules.feed import ENVIRONMENTS, PROCESSED, no_feed
from profilectl.rules.identity import BY_NAME
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.values import Number, Value, parse_json, to_json
from profilectl.store.segments import Segment, known_mpids
from profilectl.store.statements import reading, union

NO_LIMIT = 2**62

# The events that are listed. The wide column is read only of the rows that are shown.
KEYS_OF_EVENTS = "select {columns} from happened"
NEWEST_EVENTS = """
select *
from event_key
order by at_ms desc, arrival desc, place desc
limit $limit
"""
PROFILES_LISTED = "select min(profile), max(profile) from listed"
WIDE_EVENTS = """
select event.*, listed.owner
from event
join listed
  on listed.segment = event.segment
 and listed.profile = event.profile
 and listed.arrival = event.arrival
 and listed.place = event.place
"""
# A join keeps no order, so the events are sorted once more.
EVENTS_WITH_OWNER = """
select owner.mpid, event.environment, event.feed, event.arrival, event.type, event.name,
       event.at_ms, event.session, event.event
from wide_event as event
join (
    select mpid, profile from named where profile in (select owner from listed)
) as owner on owner.profile = event.owner
order by event.at_ms desc, event.arrival desc, event.place desc
"""
EVENT_NAMES_AMONG = """
select distinct name
from event
where name in (select unnest($names::varchar[]))
"""
EVENT_NAMES = "select distinct name from event where name is not null order by name"

# An alias is shown with the profile that has it; these are in the shape of rows.
ALIASES = """
select alias.destination as profile, alias.arrival, import.feed, named.environment
from store.alias as alias
join store.import as import on import.number = alias.import
join named on named.profile = alias.destination
"""
NEWEST_BATCHES = """
select profile, arrival
from batch
order by arrival desc
limit $limit
"""
# Batches that are nobody's, in the shape of rows. Where an older version did not write down the
# environment of a batch, it is that of the import.
UNOWNED = """
select null::bigint as profile, dropped.arrival, import.feed,
       coalesce(
           passed.environment, list_position($names::varchar[], import.environment) - 1
       ) as environment
from dropped
asof join (
    select * from store.import where undone_ms is null and arrivals > 0
) as import on dropped.arrival >= import.first_arrival
left join store.passed on passed.arrival = dropped.arrival
"""
PROCESSED_DROPPED = """
select *
from store.dropped
where code in (select unnest($processed::varchar[]))
"""
# If no test leaves any out, no more are looked at than are shown.
NEWEST_DROPPED = """
select *
from store.dropped
where code in (select unnest($processed::varchar[]))
order by arrival desc
limit $limit
"""
UNOWNED_BATCHES = """
select dropped.arrival, dropped.code, import.feed,
       coalesce(passed.environment, list_position($names::varchar[], import.environment) - 1),
       coalesce(passed.at_ms, import.started_ms), passed.types
from (
    select * from store.dropped where list_contains($arrivals::bigint[], arrival)
) as dropped
asof join (
    select * from store.import where undone_ms is null and arrivals > 0
) as import on dropped.arrival >= import.first_arrival
left join store.passed on passed.arrival = dropped.arrival
"""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The choice of the events that are listed."""

    who: tuple[str, str] | None = None
    """Only those of the people with this identity: a type (or mpid, any) and value."""
    types: Sequence[str] = ()
    """Only of these types; all, where it is empty."""
    names: Sequence[str] = ()
    """Only with these names; all, where it is empty."""
    feed: str | None = None
    """Only of this feed."""
    environment: str | None = None
    """Only of this environment."""
    since_ms: int | None = None
    """Only from this time on."""
    until_ms: int | None = None
    """Only before this time."""
    limit: int = 20
    """How many are listed at most, the newest; 0: all."""


@dataclass(frozen=True, slots=True)
class StreamedEvent:
    """An event with its user and where it comes from."""

    mpid: int
    """The MPID of the user."""
    environment: str
    """The environment."""
    feed: str
    """The feed that brought it."""
    import_number: int
    """The import that brought it."""
    file: str
    """The file that it stands in."""
    unit: str
    """What the place counts: line or row."""
    place: int
    """The line or row of its batch."""
    type: str
    """The type of the event."""
    name: str | None
    """Its name."""
    at_ms: int
    """When it happened."""
    session: str | None
    """The session that it belongs to."""
    event: str
    """The whole event, as JSON text."""

    def as_json(self) -> str:
        """Return the line of `events --json`."""
        document: dict[str, Value] = {
            "mpid": str(self.mpid),
            "environment": self.environment,
            "type": self.type,
            "name": self.name,
            "at_ms": Number(str(self.at_ms)),
            "session": self.session,
            "feed": self.feed,
            "import": Number(str(self.import_number)),
            "file": self.file,
            self.unit: Number(str(self.place)),
            "event": parse_json(self.event),
        }
        return to_json(document)


def events_of(profiles: Profiles, listed: EventFilter) -> list[StreamedEvent]:
    """Return events, newest first; of events at the same time, the last to arrive comes first.

    Raises NobodyFound, UsageError.
    """
    scratch = profiles.store.scratch
    segments = [segment for segment in profiles.segments if "event" in segment.tables]
    people = _people(profiles, listed)
    _check_names(profiles, listed.names)
    tests = _tests(profiles, listed)
    if not segments:
        return []
    keys = _keys_of_events(profiles, segments, people, tests=tests)
    limit = {"limit": listed.limit or NO_LIMIT}
    scratch.make("listed", reading(NEWEST_EVENTS, event_key=keys), limit)
    lowest, highest = scratch.row(PROFILES_LISTED)
    if lowest is None:
        return []
    # The span of profiles leaves most blocks of a table unread.
    wide = union(
        reading(
            WIDE_EVENTS,
            event=f"select *, {segment.number} as segment from {segment.table('event')}"
            f" where profile between {lowest} and {highest}",
        )
        for segment in segments
    )
    rows = scratch.rows(
        reading(EVENTS_WITH_OWNER, wide_event=wide, named=known_mpids(profiles.segments))
    )
    return _with_origins(profiles, rows)


def _people(profiles: Profiles, listed: EventFilter) -> list[int] | None:
    """Return the profiles whose events are asked for; None: all. Raises NobodyFound."""
    if not listed.who:
        return None
    kind, value = listed.who
    people = profiles.find(kind, value)
    if not people:
        named = "identity or MPID" if kind == "any" else kind
        raise NobodyFound(f"nobody has the {named} {value}")
    return people


def _tests(profiles: Profiles, listed: EventFilter) -> list[str]:
    """Return the conditions on the events that are listed, except the one on their profiles."""
    tests = _place_tests(profiles, listed.feed, listed.environment)
    for column, values in (("type", listed.types), ("name", listed.names)):
        if values:
            tests.append(f"{column} in ({', '.join(map(quote_text, values))})")
    if listed.since_ms is not None:
        tests.append(f"at_ms >= {listed.since_ms}")
    if listed.until_ms is not None:
        tests.append(f"at_ms < {listed.until_ms}")
    if profiles.until is not None:
        tests.append(f"arrival < {profiles.until}")
    return tests


def _place_tests(profiles: Profiles, feed: str | None, environment: str | None) -> list[str]:
    """Return the conditions on rows of a feed and an environment, where these are named."""
    tests = []
    if feed is not None:
        tests.append(f"feed = {_feed_named(profiles, feed)}")
    if environment is not None:
        tests.append(f"environment = {ENVIRONMENTS.index(environment)}")
    if profiles.feeds:
        tests.append(profiles.feeds)
    return tests


def _where(tests: Sequence[str]) -> str:
    return f" where {' and '.join(tests)}" if tests else ""


def _keys_of_events(
    profiles: Profiles,
    segments: Sequence[Segment],
    people: Sequence[int] | None,
    *,
    tests: Sequence[str],
) -> str:
    """Return the SELECT of the sort keys of events, and of the profile with which each is shown.

    `people` are the profiles that are asked for; None: all. An event that an alias carried over to
    one of them is shown with that one as well.
    """
    own = [f"profile in ({', '.join(map(str, people))})"] if people else []
    owners = {"profile": _where([*own, *tests])}
    carried = [alias for alias in profiles.carrying() if alias.destination in (people or ())]
    parts = []
    for segment in segments:
        sources = [*owners.items()]
        sources += [
            (str(alias.destination), _where([alias.where.removeprefix("where "), *tests]))
            for alias in carried
        ]
        for owner, condition in sources:
            columns = (
                f"{segment.number} as segment, profile, arrival, place, at_ms,"
                f" {owner}::bigint as owner"
            )
            happened = f"select * from {segment.table('event')}{condition}"
            parts.append(reading(KEYS_OF_EVENTS.format(columns=columns), happened=happened))
    return union(parts)


def _with_origins(profiles: Profiles, rows: Sequence[tuple[Any, ...]]) -> list[StreamedEvent]:
    feeds = {feed.number: feed.name for feed in profiles.store.feeds()}
    origins = origins_of(profiles, sorted({arrival for _, _, _, arrival, *_ in rows}))
    events = []
    for mpid, environment, feed, arrival, *event in rows:
        number, file, unit, place, _ = origins[arrival]
        kind, name, at_ms, session, text = event
        events.append(
            StreamedEvent(
                mpid=mpid,
                environment=ENVIRONMENT_NAME[environment],
                feed=feeds[feed],
                import_number=number,
                file=file,
                unit=unit,
                place=place,
                type=kind,
                name=name,
                at_ms=at_ms,
                session=session,
                event=text,
            )
        )
    return events


def _check_names(profiles: Profiles, names: Sequence[str]) -> None:
    """Check that there are events of some names. Raises UsageError."""
    if not names:
        return
    scratch = profiles.store.scratch
    event = profiles.events(profiles.happened(), ("name", "type", "feed"))
    rows = scratch.rows(reading(EVENT_NAMES_AMONG, event=event), {"names": list(names)})
    there = {name for (name,) in rows}
    for name in names:
        if name not in there:
            every = [each for (each,) in scratch.rows(reading(EVENT_NAMES, event=event))]
            raise no_such("event", name, every, option="--name")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A batch that came in and is somebody's."""

    activity: Activity
    """The profile that it is of."""
    touch: Touch
    """What it did."""

    def as_json(self) -> str:
        """Return the line of `stream --json`."""
        return to_json(
            {
                "mpid": str(self.activity.mpid),
                "environment": self.activity.environment,
                "code": None,
                "message": None,
                **touch_json(self.touch),
            }
        )


@dataclass(frozen=True, slots=True)
class Unowned:
    """A batch that came in and is nobody's.

    Its feed is read-only, or it is update-only and nobody matched. Of its content the store keeps
    the types of its events.
    """

    origin: Origin
    """Where it stands."""
    environment: str
    """Its environment."""
    code: str
    """Why nobody has it (feed.PROCESSED)."""
    types: Mapping[str, int]
    """The types of its events, with how many."""

    def as_json(self) -> str:
        """Return the line of `stream --json`."""
        nothing = dict.fromkeys(("name", "at_ms", "session", "event"))
        return to_json(
            {
                "mpid": None,
                "environment": self.environment,
                "code": self.code,
                "message": sentence(self.code),
                **touch_json(Touch(self.origin, False)),
                "events": [
                    {"type": kind, **nothing}
                    for kind, count in self.types.items()
                    for _ in range(count)
                ],
            }
        )


def batches_of(
    profiles: Profiles,
    *,
    after: int | None = None,
    limit: int = 20,
    feed: str | None = None,
    environment: str | None = None,
    device: str | None = None,
) -> list[Arrived | Unowned]:
    """Return the batches that arrived last, oldest first, those that are nobody's as well.

    With `after`, only batches with a higher arrival are returned; with `device`, only those of
    users who have this device identity. Raises NobodyFound where nobody has it, UsageError for a
    feed that there is not.
    """
    tests = [f"arrival > {after}"] if after is not None else []
    tests += _place_tests(profiles, feed, environment)
    bound: dict[str, object] = {"limit": limit or NO_LIMIT}
    nobodys = []
    if device is None:
        bound |= {"names": list(ENVIRONMENTS), "processed": list(PROCESSED)}
        dropped = PROCESSED_DROPPED if tests else NEWEST_DROPPED
        nobodys = [reading(UNOWNED, dropped=dropped)]
    else:
        owners = _owners_of(profiles, device)
        tests.append(f"profile in ({', '.join(map(str, owners))})")
    condition = _where(tests)
    aliases = reading(ALIASES, named=known_mpids(profiles.segments))
    parts = [
        *(
            f"select profile, arrival from {segment.table('row')}{condition}"
            for segment in profiles.segments
            if "row" in segment.tables
        ),
        *(f"select profile, arrival from ({source}){condition}" for source in (aliases, *nobodys)),
    ]
    rows = profiles.store.scratch.rows(reading(NEWEST_BATCHES, batch=union(parts)), bound)
    return _batches(profiles, rows)


def _owners_of(profiles: Profiles, device: str) -> list[int]:
    """Return the profiles that have a device identity. Raises NobodyFound."""
    kinds = [kind for kind in profiles.identities if BY_NAME[kind].device]
    owners = {owner for kind in kinds for owner in profiles.find(kind, device)}
    if not owners:
        raise NobodyFound(f"nobody has the device identity {device}")
    return sorted(owners)


def _batches(profiles: Profiles, rows: Sequence[tuple[Any, ...]]) -> list[Arrived | Unowned]:
    """Return the batches of rows (profile or null, arrival), oldest first."""
    owned = {(profile, arrival) for profile, arrival in rows if profile is not None}
    nobodys = sorted(arrival for profile, arrival in rows if profile is None)
    batches: dict[int, Arrived | Unowned] = {}
    batches.update(_read_unowned(profiles, nobodys))
    for activity in activities(profiles, sorted({profile for profile, _ in owned})):
        for touch in activity.touches:
            if (activity.profile, touch.origin.arrival) in owned:
                batches[touch.origin.arrival] = Arrived(activity, touch)
    return [batches[arrival] for arrival in sorted(batches)]


def _read_unowned(profiles: Profiles, arrivals: Sequence[int]) -> dict[int, Unowned]:
    """Return batches that are nobody's, by arrival."""
    if not arrivals:
        return {}
    feeds = {feed.number: feed for feed in profiles.store.feeds()}
    origins = origins_of(profiles, arrivals)
    rows = profiles.store.scratch.rows(
        UNOWNED_BATCHES, {"arrivals": list(arrivals), "names": list(ENVIRONMENTS)}
    )
    batches = {}
    for arrival, code, feed, environment, at_ms, types in rows:
        number, file, unit, place, protection = origins[arrival]
        origin = Origin(
            arrival=arrival,
            import_number=number,
            feed=feeds[feed],
            protection=protection,
            file=file,
            unit=unit,
            place=place,
            at_ms=at_ms,
        )
        counts = json.loads(types or "{}")
        batches[arrival] = Unowned(origin, ENVIRONMENTS[environment], code=code, types=counts)
    return batches


def _feed_named(profiles: Profiles, name: str) -> int:
    """Return the number of a feed. Raises UsageError where there is none of that name."""
    numbers = {feed.name: feed.number for feed in profiles.store.feeds()}
    if name not in numbers:
        raise no_feed(name, numbers, option="--feed")
    return numbers[name]
