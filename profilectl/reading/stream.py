"""What came in, newest first: events, and batches with what each did (domain.md 10, Live Stream)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profilectl.codes import NobodyFound, sentence
from profilectl.profiles.activity import Activity, Origin, Touch
from profilectl.profiles.activity_json import touch_json
from profilectl.profiles.played import activities, origins_of
from profilectl.profiles.read_model import Profiles
from profilectl.rules.feed import ENVIRONMENTS, PROCESSED, no_feed
from profilectl.rules.identity import BY_NAME
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.values import Number, Value, parse_json, to_json
from profilectl.store.segments import known_mpids


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are listed.

    who: an identity type (or mpid, any) and value; types, names: any of them, all where empty;
    since_ms inclusive, until_ms exclusive; limit: the newest so many, 0 for all.
    """

    who: tuple[str, str] | None = None
    types: Sequence[str] = ()
    names: Sequence[str] = ()
    feed: str | None = None
    environment: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    limit: int = 20


@dataclass(frozen=True, slots=True)
class StreamedEvent:
    """An event with its user and where it comes from.

    unit: line or row; event: the whole of it, as JSON text.
    """

    mpid: int
    environment: str
    feed: str
    import_number: int
    file: str
    unit: str
    place: int
    type: str
    name: str | None
    at_ms: int
    session: str | None
    event: str

    def as_json(self) -> str:
        found: dict[str, Value] = {
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
        return to_json(found)


def events_of(profiles: Profiles, listed: EventFilter) -> list[StreamedEvent]:
    """Return events, newest first; of those at the same time the one that arrived last.

    Raises NobodyFound.
    """
    scratch, segments = (
        profiles.store.scratch,
        [one for one in profiles.segments if "event" in one.tables],
    )
    tests: list[str] = []
    found: list[int] = []
    if listed.who:
        found = profiles.find(*listed.who)
        if not found:
            raise NobodyFound(
                f"nobody has the {'identity or MPID' if listed.who[0] == 'any' else listed.who[0]} {listed.who[1]}"
            )
    _check_names(profiles, listed.names)
    if listed.feed is not None:
        tests.append(f"feed = {_feed_named(profiles, listed.feed)}")
    if listed.environment is not None:
        tests.append(f"environment = {ENVIRONMENTS.index(listed.environment)}")
    for column, values in (("type", listed.types), ("name", listed.names)):
        if values:
            tests.append(f"{column} in ({', '.join(map(quote_text, values))})")
    if listed.since_ms is not None:
        tests.append(f"at_ms >= {listed.since_ms}")
    if listed.until_ms is not None:
        tests.append(f"at_ms < {listed.until_ms}")
    if profiles.feeds:
        tests.append(profiles.feeds)
    if profiles.until is not None:
        tests.append(f"arrival < {profiles.until}")
    if not segments:
        return []
    of = [
        (
            "profile",
            " and ".join(
                [*([f"profile in ({', '.join(map(str, found))})"] if listed.who else []), *tests]
            ),
        )
    ]
    # What an alias carried over is told of the one that has it as well, where that one is asked
    # for.
    of += [
        (str(one.destination), " and ".join([one.where.removeprefix("where "), *tests]))
        for one in profiles.carrying()
        if one.destination in found
    ]
    # The wide column is read only of the rows that are shown.
    union = " union all ".join(
        f"select {one.number} as segment, profile, arrival, place, at_ms, {owner}::bigint as owner from {one.table('event')}"
        + (f" where {test}" if test else "")
        for one in segments
        for owner, test in of
    )
    scratch.make(
        "listed",
        f"select * from ({union}) order by at_ms desc, arrival desc, place desc limit {listed.limit or 2**62}",
    )
    lowest, highest = scratch.row("select min(profile), max(profile) from listed")
    if lowest is None:
        return []
    parts = " union all ".join(
        f"select one.*, listed.owner from {one.table('event')} as one join listed on listed.segment = {one.number} and listed.profile = one.profile"
        f" and listed.arrival = one.arrival and listed.place = one.place where one.profile between {lowest} and {highest}"
        for one in segments
    )
    rows = scratch.rows(
        "select mpid.mpid, one.environment, one.feed, one.arrival, one.type, one.name, one.at_ms, one.session, one.event"
        f" from ({parts}) as one join (select mpid, profile from ({known_mpids(profiles.segments)}) where profile in (select owner from listed)) as mpid"
        " on mpid.profile = one.owner order by one.at_ms desc, one.arrival desc, one.place desc"
    )
    feeds = {one.number: one.name for one in profiles.store.feeds()}
    origins = origins_of(profiles, sorted({row[3] for row in rows}))
    return [
        StreamedEvent(
            mpid, ENVIRONMENT_NAME[environment], feeds[feed], *origins[arrival][:4], *event
        )
        for mpid, environment, feed, arrival, *event in rows
    ]


def _check_names(profiles: Profiles, names: Sequence[str]) -> None:
    """See that there are events of some names. Raises UsageError."""
    if names:
        listed = ", ".join(map(quote_text, names))
        select = f"select distinct name from ({profiles.events(profiles.happened(), ('name', 'type', 'feed'))}) where name"
        there = {name for (name,) in profiles.store.scratch.rows(f"{select} in ({listed})")}
        for name in names:
            if name not in there:
                known = profiles.store.scratch.rows(f"{select} is not null order by 1")
                raise no_such("event", name, [each for (each,) in known], option="--name")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A batch that came in, what it did, and whose it is."""

    activity: Activity
    touch: Touch

    def as_json(self) -> str:
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
    """A batch that came in and is nobody's: the feed only reads, or may only update and nobody
    matched. Of its content the store keeps the types of its events.
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


_ALIASES = (
    "select alias.destination as profile, alias.arrival, import.feed, named.environment from store.alias as alias"
    " join store.import as import on import.number = alias.import join ({profiles}) as named on named.profile = alias.destination"
)
"""Who has which alias, in the shape of rows."""


def batches_of(
    profiles: Profiles,
    *,
    after: int | None = None,
    limit: int = 20,
    feed: str | None = None,
    environment: str | None = None,
    device: str | None = None,
) -> list[Arrived | Unowned]:
    """Return the batches that arrived last, oldest first, nobody's as well.

    after: only those with a higher arrival; device: only those of users who have this device
    identity. Raises NobodyFound where nobody has it.
    """
    tests = [f"arrival > {after}"] if after is not None else []
    if feed is not None:
        tests.append(f"feed = {_feed_named(profiles, feed)}")
    if environment is not None:
        tests.append(f"environment = {ENVIRONMENTS.index(environment)}")
    if profiles.feeds:
        tests.append(profiles.feeds)
    if device is not None:
        devices = [kind for kind in profiles.identities if BY_NAME[kind].device]
        owners = {owner for kind in devices for owner in profiles.find(kind, device)}
        if not owners:
            raise NobodyFound(f"nobody has the device identity {device}")
        tests.append(f"profile in ({', '.join(map(str, sorted(owners)))})")
    where = f"where {' and '.join(tests)}" if tests else ""
    parts = [
        f"select profile, arrival from {one.table('row')} {where}"
        for one in profiles.segments
        if "row" in one.tables
    ]
    # An alias is told of the profile that has it.
    parts.append(
        f"select profile, arrival from ({_ALIASES.format(profiles=known_mpids(profiles.segments))}) {where}"
    )
    if device is None:
        parts.append(_unowned(tests, limit))
    rows = profiles.store.scratch.rows(
        f"select profile, arrival from ({' union all '.join(parts)}) order by arrival desc limit {limit or 2**62}"
    )
    wanted = {(profile, arrival) for profile, arrival in rows if profile is not None}
    found_activities = activities(
        profiles, sorted({profile for profile, _ in rows if profile is not None})
    )
    found: dict[int, Arrived | Unowned] = {}
    found.update(
        _read_unowned(profiles, sorted(arrival for profile, arrival in rows if profile is None))
    )
    found.update(
        {
            touch.origin.arrival: Arrived(one, touch)
            for one in found_activities
            for touch in one.touches
            if (one.profile, touch.origin.arrival) in wanted
        }
    )
    return [found[arrival] for arrival in sorted(found)]


def _unowned(tests: Sequence[str], limit: int) -> str:
    """Return the SELECT of the batches that are nobody's, as rows of profiles are read.

    tests: of arrival, feed, environment.
    """
    where = f" where {' and '.join(tests)}" if tests else ""
    # Of all of them no more are looked at than are shown.
    newest = f" order by arrival desc limit {limit}" if limit and not tests else ""
    return (
        "select null::bigint as profile, arrival from (select one.arrival, import.feed,"
        f" coalesce(passed.environment, list_position({list(ENVIRONMENTS)}, import.environment) - 1) as environment"
        f" from (select * from store.dropped where code in ({', '.join(map(quote_text, PROCESSED))}){newest}) as one"
        " asof join (select * from store.import where undone_ms is null and arrivals > 0) as import on one.arrival >= import.first_arrival"
        f" left join store.passed on passed.arrival = one.arrival){where}"
    )


def _read_unowned(profiles: Profiles, arrivals: Sequence[int]) -> dict[int, Unowned]:
    """Return batches that are nobody's, by arrival."""
    feeds = {one.number: one for one in profiles.store.feeds()}
    origins = origins_of(profiles, arrivals)
    rows = (
        profiles.store.scratch.rows(
            "select one.arrival, one.code, import.feed, coalesce(passed.environment, list_position($names::varchar[], import.environment) - 1),"
            " coalesce(passed.at_ms, import.started_ms), passed.types from (select * from store.dropped where list_contains($arrivals::bigint[], arrival)) as one"
            " asof join (select * from store.import where undone_ms is null and arrivals > 0) as import on one.arrival >= import.first_arrival"
            " left join store.passed on passed.arrival = one.arrival",
            {"arrivals": list(arrivals), "names": list(ENVIRONMENTS)},
        )
        if arrivals
        else []
    )
    found = {}
    for arrival, code, feed, environment, at_ms, types in rows:
        number, file, unit, place, protection = origins[arrival]
        origin = Origin(arrival, number, feeds[feed], protection, file, unit, place, at_ms)
        found[arrival] = Unowned(origin, ENVIRONMENTS[environment], code, json.loads(types or "{}"))
    return found


def _feed_named(profiles: Profiles, name: str) -> int:
    """Return the number of a feed. Raises UsageError where there is none of that name."""
    known = {feed.name: feed.number for feed in profiles.store.feeds()}
    if name not in known:
        raise no_feed(name, known, option="--feed")
    return known[name]
