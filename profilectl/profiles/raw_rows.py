"""The rows of some profiles as they lie in the segments, read once for everything about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from profilectl.profiles.activity import SeenEvent
from profilectl.profiles.aliases import Alias
from profilectl.profiles.ended_lifetimes import FORGOTTEN, RETIRED
from profilectl.profiles.read_model import Profiles
from profilectl.profiles.row_places import NOWHERE, RowPlace, origins_of
from profilectl.rules.feed import Feed
from profilectl.store.scratch import Scratch
from profilectl.store.segments import Segment, both, known_events, known_mpids, of_each
from profilectl.store.statements import is_in, numbers, reading, select, union_all

EVENT = ("profile", "arrival", "place", "type", "name", "at_ms", "session", "event")
# The events of rows come as they arrived; those that an alias carried over came at once: by time.
IN_ORDER = "select * from happened order by profile, arrival, place"
BY_TIME = "select * from happened order by at_ms, arrival, place"

# A table of blocked cells has columns only for those attributes of which something was refused.
BLOCKED = """
with shaped as (
    select null::bigint as profile, null::bigint as arrival, null::varchar as code{columns}
    where false
)
select * from shaped
union all by name
select * from refused
"""

REMOVED = "profile, type, hash, arrival"

AGED_AT_ALL = "select count(*) from store.aged"

# When retention took something of a profile, oldest first.
AGED = """
select aged.profile, erasure.at_ms
from aged
join store.erasure on erasure.number = aged.erasure
order by erasure.at_ms
"""

# The rows that took identities away, with the MPIDs of their profiles.
TAKERS = """
select stored_row.arrival, named.mpid, stored_row.feed, stored_row.at_ms
from stored_row
join named on named.profile = stored_row.profile
"""

# An alias has no row: its feed and its time are those of its import.
ALIASED_AT = """
select alias.arrival, import.feed, import.started_ms
from store.alias
join store.import on import.number = alias.import
"""

RowKey = tuple[int, int]
"""A profile, and the arrival of one of its rows."""


class RawRow(NamedTuple):
    """A row of a profile."""

    arrival: int
    """Its place in the order of everything that arrived."""
    mpid: int | None
    """The MPID that it founded the profile with; None: it was there."""
    environment: int
    """The code of the environment."""
    feed: int
    """The number of the feed."""
    at_ms: int
    """Its time."""
    identities: list[tuple[str, str]]
    """The identities that it has, by type."""


class RawCell(NamedTuple):
    """A cell of an attribute."""

    key: str
    """The attribute."""
    held: str
    """The held value."""
    code: str
    """Why it was refused; "": it was not."""


class RawRemoval(NamedTuple):
    """An identity that was taken away."""

    profile: int
    """The profile that lost it."""
    type: int
    """The code of the identity type."""
    digest: int
    """The hash of the identity."""
    arrival: int
    """The row that took it."""


class Taker(NamedTuple):
    """A row of another profile that took an identity away."""

    mpid: int
    """The MPID of the other profile."""
    feed: int
    """The number of the feed."""
    at_ms: int
    """The time of the row."""


class CarriedEvent(NamedTuple):
    """An event that an alias carries over."""

    arrival: int
    """The row that brought it."""
    place: int
    """Its place in the row's batch."""
    feed: int
    """The number of the feed."""
    event: SeenEvent
    """The event."""


class Retirement(NamedTuple):
    """When retention last took something of a profile."""

    aged_ms: int
    """The time."""
    before: int | None
    """The arrival of the first row since; None: an older version did not write it down."""


class AliasOrigin(NamedTuple):
    """The origin of an alias."""

    feed: int
    """The number of the feed."""
    at_ms: int
    """When the import of the alias began."""


@dataclass(slots=True)
class RawRows:
    """The rows of some profiles as they lie in the segments."""

    feeds: dict[int, Feed]
    """The feeds of the store, by number."""
    secret: str
    """The secret that identities are hashed with."""
    rows: dict[int, list[RawRow]] = field(default_factory=dict)
    """The rows, by profile."""
    cells: dict[RowKey, list[RawCell]] = field(default_factory=dict)
    """The cells of each row, refused ones too."""
    rest: dict[RowKey, str] = field(default_factory=dict)
    """The other fields of each batch, as JSON."""
    events: dict[RowKey, list[SeenEvent]] = field(default_factory=dict)
    """The events of each batch."""
    removed: list[RawRemoval] = field(default_factory=list)
    """The identities that were taken away."""
    takers: dict[int, Taker] = field(default_factory=dict)
    """The rows of other profiles that took identities away, by arrival."""
    aged: dict[int, list[int]] = field(default_factory=dict)
    """When retention took something of each profile, in milliseconds."""
    forgotten: dict[int, int] = field(default_factory=dict)
    """The arrival before which events do not count, by profile (ended_lifetimes.FORGOTTEN)."""
    retired: dict[int, Retirement] = field(default_factory=dict)
    """When retention last took something, by profile."""
    aliases: list[Alias] = field(default_factory=list)
    """The aliases from or to these profiles."""
    carried: dict[int, list[CarriedEvent]] = field(default_factory=dict)
    """The events that aliases carry over, by the arrival of the alias."""
    mpids: dict[int, int] = field(default_factory=dict)
    """The MPIDs of both sides of the aliases, by profile."""
    sources: set[int] = field(default_factory=set)
    """The sources of aliases that the workspace has seen."""
    alias_origins: dict[int, AliasOrigin] = field(default_factory=dict)
    """Where each alias comes from, by its arrival."""
    places: dict[int, RowPlace] = field(default_factory=dict)
    """The place of each row."""


def raw_rows(profiles: Profiles, numbers_of: Sequence[int], *, placed: bool) -> RawRows:
    """Return the rows of some profiles.

    `numbers_of` are the numbers of the profiles. With `placed`, the import, file and line of each
    row are read, and the cells that were refused.
    """
    scratch = profiles.store.scratch
    raw = RawRows(
        feeds={feed.number: feed for feed in profiles.registered()}, secret=profiles.secret()
    )
    clause = profiles.where(numbers_of)
    for segment in profiles.segments:
        if "row" not in segment.tables:
            continue
        _read_rows(scratch, segment, clause, raw=raw)
        if placed:
            _read_blocked(scratch, segment, clause, raw=raw)
    if any("event" in segment.tables for segment in profiles.segments):
        happened = known_events(profiles.segments, where=clause, columns=EVENT)
        for profile, arrival, _, *event in scratch.rows(reading(IN_ORDER, happened=happened)):
            raw.events.setdefault((profile, arrival), []).append(SeenEvent(*event))
    # the rows that are read already
    own = {row.arrival for rows in raw.rows.values() for row in rows}
    if profiles.removals:
        rows = scratch.rows(select(REMOVED, "store.removed", clause))
        raw.removed = [RawRemoval(*row) for row in rows]
        raw.takers = _takers(profiles, {each.arrival for each in raw.removed} - own)
    _read_lifetimes(scratch, numbers_of, raw)
    _read_aliases(profiles, numbers_of, raw)
    arrivals = own | {alias.arrival for alias in raw.aliases} | {*raw.takers}
    raw.places = (
        origins_of(profiles, sorted(arrivals)) if placed else dict.fromkeys(arrivals, NOWHERE)
    )
    return raw


def _read_rows(scratch: Scratch, segment: Segment, clause: str, *, raw: RawRows) -> None:
    """Read the rows of a segment, their cells and their other fields."""
    identities = ", ".join(f"i_{kind}" for kind in segment.identities)
    mpid_column = "mpid" if segment.holds_mpids else "null::bigint"
    columns = ["profile", "arrival", mpid_column, "environment", "feed", "at_ms"]
    lists = [f"[{identities}]::varchar[]", _cells_of(segment)]
    stored = select([*columns, *lists], segment.table("row"), clause)
    for profile, arrival, stored_mpid, environment, feed, at_ms, ids, values in scratch.rows(
        stored
    ):
        # Python makes the mix: DuckDB would plan it for two milliseconds, for each segment.
        is_mixed = arrival == profile and not segment.holds_mpids
        mpid = segment.mix.mpid(profile) if is_mixed else stored_mpid
        named = [
            (kind, value)
            for kind, value in zip(segment.identities, ids, strict=True)
            if value is not None
        ]
        raw.rows.setdefault(profile, []).append(
            RawRow(arrival, mpid, environment, feed=feed, at_ms=at_ms, identities=named)
        )
        _add_cells(raw, (profile, arrival), zip(segment.keys, values, strict=True))
    if "loose" in segment.tables:
        loose = select("profile, arrival, key, value", segment.table("loose"), clause)
        for profile, arrival, key, value in scratch.rows(loose):
            _add_cells(raw, (profile, arrival), [(key, value)])
    if "rest" in segment.tables:
        other_fields = select("profile, arrival, rest", segment.table("rest"), clause)
        for profile, arrival, text in scratch.rows(other_fields):
            raw.rest[profile, arrival] = text


def _read_blocked(scratch: Scratch, segment: Segment, clause: str, *, raw: RawRows) -> None:
    """Read the cells of a segment that were refused."""
    if "blocked" in segment.tables:
        nulls = "".join(f", null::varchar as a{n}" for n in range(len(segment.keys)))
        refused = select("*", segment.table("blocked"), clause)
        shaped = reading(BLOCKED.format(columns=nulls), refused=refused)
        columns = ["profile", "arrival", "code", _cells_of(segment)]
        for profile, arrival, code, values in scratch.rows(select(columns, f"({shaped})")):
            _add_cells(raw, (profile, arrival), zip(segment.keys, values, strict=True), code=code)
    if "blocked_loose" in segment.tables:
        loose = select("profile, arrival, code, key, value", segment.table("blocked_loose"), clause)
        for profile, arrival, code, key, value in scratch.rows(loose):
            _add_cells(raw, (profile, arrival), [(key, value)], code=code)


def _cells_of(segment: Segment) -> str:
    """Return the SQL of the list of a row's cells."""
    return f"[{', '.join(f'a{n}' for n in range(len(segment.keys)))}]::varchar[]"


def _add_cells(
    raw: RawRows, row: RowKey, cells: Iterable[tuple[str, str | None]], *, code: str = ""
) -> None:
    raw.cells.setdefault(row, []).extend(
        RawCell(key, held, code) for key, held in cells if held is not None
    )


def _takers(profiles: Profiles, arrivals: set[int]) -> dict[int, Taker]:
    """Return the rows of other profiles that have some arrivals."""
    if not arrivals:
        return {}
    clause = both("", is_in("arrival", numbers(sorted(arrivals))))
    rows = of_each(profiles.segments, "row", columns="profile, arrival, feed, at_ms", clause=clause)
    takers = reading(TAKERS, stored_row=union_all(rows), named=known_mpids(profiles.segments))
    return {arrival: Taker(*taker) for arrival, *taker in profiles.store.scratch.rows(takers)}


def _read_lifetimes(scratch: Scratch, numbers_of: Sequence[int], raw: RawRows) -> None:
    """Read what retention took of the profiles, and since when they count anew."""
    if not scratch.row(AGED_AT_ALL)[0]:
        return  # most stores: three statements less, of a millisecond each
    clause = both("", is_in("profile", numbers(numbers_of)))
    aged = reading(AGED, aged=select("*", "store.aged", clause))
    for profile, at_ms in scratch.rows(aged):
        raw.aged.setdefault(profile, []).append(at_ms)
    if not raw.aged:
        return
    raw.forgotten = dict(scratch.rows(select("profile, before", f"({FORGOTTEN})", clause)))
    retired = select("profile, aged_ms, before", f"({RETIRED})", clause)
    raw.retired = {profile: Retirement(*each) for profile, *each in scratch.rows(retired)}


def _read_aliases(profiles: Profiles, numbers_of: Sequence[int], raw: RawRows) -> None:
    """Read the aliases from or to the profiles, and the events that they carry over."""
    scratch, those = profiles.store.scratch, set(numbers_of)
    raw.aliases = [alias for alias in profiles.aliases if {alias.source, alias.destination} & those]
    for alias in profiles.carrying():
        if alias.destination in those:
            happened = known_events(profiles.segments, where=alias.where, columns=(*EVENT, "feed"))
            for _, arrival, place, *event, feed in scratch.rows(
                reading(BY_TIME, happened=happened)
            ):
                raw.carried.setdefault(alias.before, []).append(
                    CarriedEvent(arrival, place, feed, event=SeenEvent(*event))
                )
    if raw.aliases:
        sides = {side for alias in raw.aliases for side in (alias.source, alias.destination)}
        clause = both("", is_in("profile", numbers(sorted(sides))))
        named = select("profile, mpid", f"({known_mpids(profiles.segments)})", clause)
        raw.mpids = dict(scratch.rows(named))
        raw.sources = {source for (source,) in scratch.rows(profiles.sources_seen())}
        raw.alias_origins = {
            arrival: AliasOrigin(*each) for arrival, *each in scratch.rows(ALIASED_AT)
        }
