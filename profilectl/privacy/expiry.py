"""Profiles beyond their clocks are taken out of the store, in the way of an erasure.

The rule is rules/retention.py. Nobody is kept out afterwards, and no list holds an MPID back:
the store knows nothing any more of those who are gone. A stub is a profile whose rows have lost
their cells; the rows stay, because they carry its identities.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from profilectl.files import progress
from profilectl.privacy.audience_removals import remove_members
from profilectl.privacy.erased import Erased, erased_of
from profilectl.privacy.erasure import PreparedErasure, what_stays
from profilectl.privacy.meant import Meant, name_relations
from profilectl.privacy.profile_tables import computed_anew
from profilectl.privacy.stays import Rewriting, Stays
from profilectl.profiles.ended_lifetimes import FORGOTTEN, retired
from profilectl.profiles.read_model import Profiles
from profilectl.rules.interpreter import REQUEST_MEMORY_MS
from profilectl.rules.retention import Clocks
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.text.values import parse_json, to_json
from profilectl.store.statements import count_rows, kind_of, over_each, reading, rows_of

RETENTION = "retention"
"""What the history calls an application of retention."""
# The tables whose rows a stub keeps (domain.md 13): its identities, the times when it was seen, its
# events (`rest` has them as they came) and the audiences it entered and left. It also keeps what
# outputs and hosts have of it: they must learn that it has left, and get no event twice.
KEPT_BY_STUB = (
    "row",
    "index",
    "mpid",
    "event",
    "rest",
    "removed",
    "alias",
    "aged",
    "membership_change",
    "handed_over",
    "audience_told",
    "audience_outbox",
    "sent_profile",
    "sent_event",
)
DEVICE_FIELDS = ("device_info", "mp_deviceid", "integration_attributes")
"""The fields of a batch about a device: they go also where the profile keeps its attributes."""
PROFILE = [("profile", "BIGINT")]
CHANGED_REST = [("arrival", "BIGINT"), ("rest", "VARCHAR")]
CLOCK = [
    ("at_ms", "BIGINT"),
    ("retention_ms", "BIGINT"),
    ("request_memory_ms", "BIGINT"),
    ("mark", "VARCHAR"),
    ("next_arrival", "VARCHAR"),
]
NO_PROFILES = "select null::bigint as profile where false"

# The stage of each profile. A clock has run out when more than its period has passed since the last
# update (domain.md 13). An alias counts as an update of its destination once it is due.
TOUCHES = "select profile, at_ms from stored"
NO_TOUCHES = "select null::bigint as profile, null::bigint as at_ms where false"
LAST_UPDATE = """
select profile,
       max(at_ms) as last_ms,
       case
           when $at_ms - max(at_ms) > $retention_ms::bigint then 'gone'
           when $at_ms - max(at_ms) > $lifetime_ms::bigint then 'stub'
           else 'live'
       end as stage
from (
    select profile, at_ms from profile_touch
    union all
    select destination, due_ms from store.alias where due_ms <= $at_ms
) as touch
group by profile
"""
STUBS = "select profile from last_update where stage = 'stub'"
LEAVING = "select profile from last_update where stage = 'gone'"
AGED_PEOPLE = """
select mpid, environment
from named_profile
where profile in (select profile from aged_profile)
"""

# What stubs lose. A relation of each of these SELECTs tells whose values went.
ROWS_OF_STUBS = "select profile from stored where profile in (select profile from aged_profile)"
CELLS_OF_STUBS = """
select profile
from stored
where profile in (select profile from aged_profile)
  and coalesce({columns}, null) is not null
"""
ROWS_WITHOUT_CELLS = "select * replace ({columns}) from stored"
ROWS_OF_NO_STUB = """
select *
from stored
where profile is null or profile not in (select profile from aged_profile)
"""
# Rows that counted so far. They stay, but no value is computed from their events any more. So a
# profile that has no values is marked as a stub as well, and what is computed for it ends.
COUNTED_ROWS_OF_STUBS = """
select stored.profile
from stored
left join forgotten_profile as forgotten on forgotten.profile = stored.profile
where stored.profile in (select profile from aged_profile)
  and stored.arrival >= coalesce(forgotten.before, 0)
"""
STRIPPED = "select distinct profile from stripped_row"
# Stubs leave their audiences, as those who follow them must learn (domain.md 13).
LEAVING_AUDIENCES = """
select membership.audience, membership.profile, 'left' as change, $at_ms::bigint as at_ms,
       null::integer as import, named.mpid
from store.membership as membership
join named_profile as named on named.profile = membership.profile
where membership.profile in (select profile from aged_profile)
"""
CHANGES_WITH_LEAVING = """
select * from stored
union all
(from leaving_audience order by audience, profile)
"""
# The install attribution that an alias brought to a stub goes like its own.
CARRIED_ATTRIBUTIONS = """
select *
from store.alias
where attribution is not null
  and destination in (select profile from aged_profile)
"""
ALIASES_WITHOUT_ATTRIBUTION = """
select * replace (
    case
        when destination in (select profile from aged_profile) then null
        else attribution
    end as attribution
)
from stored
"""

# The other fields of batches, and events, of stubs or received too long ago.
AGED_FIELDS = """
select field.arrival, field.profile, field.rest, last_update.stage,
       coalesce(arrived.at_ms < clock.at_ms - clock.retention_ms, false) as is_old
from field
cross join clock
join last_update on last_update.profile = field.profile
left join arrived on arrived.arrival = field.arrival and arrived.profile = field.profile
where last_update.stage <> 'gone'
  and (
    last_update.stage = 'stub'
    or coalesce(arrived.at_ms < clock.at_ms - clock.retention_ms, false)
  )
"""
FIELDS_LOOKED_AT = "select arrival, profile, rest, stage, is_old from aged_field"
AGED_EVENTS = """
select event.arrival, event.profile
from event
cross join clock
join last_update on last_update.profile = event.profile
left join arrived on arrived.arrival = event.arrival and arrived.profile = event.profile
where last_update.stage <> 'gone'
  and arrived.at_ms < clock.at_ms - clock.retention_ms
"""
LOSING_FIELDS = """
insert into less_left
select distinct profile
from aged_field
where is_old
"""
LOSING_EVENTS = """
insert into less_left
select distinct profile
from aged_event
"""
OLD_EVENT_ARRIVALS = """
insert into old_event
select distinct arrival
from aged_event
"""
REST_CHANGED = """
select stored.* replace (
    case when changed.arrival is null then stored.rest else changed.rest end as rest
)
from stored
left join changed_rest as changed on changed.arrival = stored.arrival
where changed.arrival is null or changed.rest is not null
order by stored.profile, stored.arrival
"""
EVENTS_OF_GONE = """
select *
from stored
where profile in (select profile from last_update where stage = 'gone')
"""
# An opt-out stays as long as its profile does, however old it is: the person would be back in
# audiences without it (domain.md 14).
OLD_EVENTS = """
select *
from stored
where arrival in (select arrival from old_event) and type <> 'opt_out'
"""
EVENTS_NOT_OLD = """
select *
from stored
where not (arrival in (select arrival from old_event) and type <> 'opt_out')
"""

STUB_COUNT = "select count(distinct profile) from stripped"
AGED_WITH_STUBS = """
select * from stored
union all
select distinct stripped.profile, act.number
from stripped
cross join this_erasure as act
"""
META_WITH_MARK = """
select * from stored
union all
select clock.mark, clock.next_arrival from clock
"""
# Older request ids are not needed any more to recognise a repetition.
REQUESTS_REMEMBERED = """
select *
from stored
where at_ms >= (select clock.at_ms - clock.request_memory_ms from clock)
"""
# A batch without a profile goes by its own age; the others go with their profile.
OUTBOX_NOT_OLD = """
select *
from stored
where profile is not null
   or at_ms >= (select clock.at_ms - clock.retention_ms from clock)
"""
PROFILES_THAT_CARRY_LESS = """
select profile from erased_profile
union all
select profile from less_left
"""
PROFILES_THAT_LOSE = """
select profile from stripped
union all
select profile from less_left
"""


def make_stages(profiles: Profiles, clocks: Clocks, at_ms: int) -> list[int]:
    """Make `last_update` (profile, last_ms, stage) and `aged_profile` (profile), the stubs.

    The stage is that of Clocks.stage, for everybody at once. Return the profiles that go for good.
    """
    scratch = profiles.store.scratch
    tables = [f"row_{segment.number}" for segment in profiles.segments if "row" in segment.tables]
    scratch.make("profile_touch", over_each(TOUCHES, tables, nothing=NO_TOUCHES), keep=False)
    periods = {"retention_ms": clocks.retention_ms, "lifetime_ms": clocks.lifetime_ms}
    scratch.make("last_update", LAST_UPDATE, {"at_ms": at_ms, **periods})
    scratch.make("aged_profile", STUBS)
    return [profile for (profile,) in scratch.rows(LEAVING)]


@dataclass(slots=True)
class PreparedRetention:
    """Retention that is decided and not yet written."""

    clocks: Clocks
    """The clocks in force."""
    erased: Erased
    """Those who go for good."""
    rewriting: Rewriting
    """What stays of each table."""
    stubs: int = 0
    """How many profiles lose what they had."""
    events: int = 0
    """How many events go."""
    stripped: list[str] = field(default_factory=list)
    """SELECTs of the profiles that lose something, once for each row."""

    def anything(self) -> bool:
        """Return whether anything goes."""
        return bool(self.erased.outcome.profiles or self.stubs or self.events)

    def write(self) -> None:
        """Write what stays and put it in the place of the store, as an erasure does."""
        PreparedErasure(self.erased, self.rewriting).write()


def prepare_retention(profiles: Profiles, clocks: Clocks, *, now_ms: int) -> PreparedRetention:
    """Decide what is beyond its clock; the store is attached for writing, except in a dry run."""
    leaving = make_stages(profiles, clocks, now_ms)
    erased = erased_of(
        profiles,
        [Meant("any", "", tuple(leaving))],
        kind=RETENTION,
        keeps_out=False,
        allow_return=True,
        now_ms=now_ms,
    )
    aging = PreparedRetention(clocks, erased, Rewriting(erased.scratch))
    _load_clock(aging)
    if not clocks.lifetime_profiles:
        # The values in the requests of corrections by hand go with the values of the profile.
        name_relations(profiles)
        erased.corrected |= {
            (mpid, ENVIRONMENT_NAME[code]) for mpid, code in erased.scratch.rows(AGED_PEOPLE)
        }
    progress.step("traces")
    aging.rewriting.add(what_stays(erased))
    if not clocks.lifetime_profiles:
        _strip_stubs(aging)
    erased.scratch.make("stripped_row", _union(aging.stripped), keep=False)
    erased.scratch.make("stripped", STRIPPED)
    progress.step("taking")
    _take_old_fields(aging)
    _take_old_events(aging)
    _remember(aging)
    aging.rewriting.add(
        computed_anew(erased, sources=PROFILES_THAT_CARRY_LESS, own=PROFILES_THAT_LOSE)
    )
    return aging


def _load_clock(aging: PreparedRetention) -> None:
    """Make `clock`, one row of values for SELECTs of what stays, to which nothing can be bound."""
    erased, clocks = aging.erased, aging.clocks
    clock = (
        erased.now_ms,
        clocks.retention_ms,
        REQUEST_MEMORY_MS,
        retired(erased.number, forgotten=not clocks.lifetime_profiles),
        str(erased.next_arrival),
    )
    erased.scratch.load("clock", CLOCK, [clock])
    erased.scratch.load("less_left", PROFILE, [])


def _union(selects: list[str]) -> str:
    return "\nunion all\n".join(f"({select})" for select in [NO_PROFILES, *selects])


def _strip_stubs(aging: PreparedRetention) -> None:
    """Take away the cells of stubs, and their rows of all tables but those that a stub keeps."""
    erased, rewriting = aging.erased, aging.rewriting
    _strip_cells(aging)
    for table, columns in erased.columns.items():
        if "profile" not in columns or kind_of(table) in KEPT_BY_STUB:
            continue
        rows = reading(ROWS_OF_STUBS, stored=rows_of(table))
        count = _count(aging, rows)
        if count:
            aging.stripped.append(rows)
            erased.outcome.tell(kind_of(table), count)
            rewriting.add([Stays(table, ROWS_OF_NO_STUB)])
    erased.scratch.make("forgotten_profile", FORGOTTEN, keep=False)
    aging.stripped += [
        reading(COUNTED_ROWS_OF_STUBS, stored=rows_of(f"row_{segment.number}"))
        for segment in erased.segments
        if "row" in segment.tables
    ]
    _leave_audiences(aging)
    if _count(aging, CARRIED_ATTRIBUTIONS):
        rewriting.add([Stays("alias", ALIASES_WITHOUT_ATTRIBUTION, rows_lost=0)])


def _strip_cells(aging: PreparedRetention) -> None:
    """Empty the attribute cells of stubs."""
    for segment in aging.erased.segments:
        if not segment.keys:
            continue
        table = f"row_{segment.number}"
        cells = [f"a{place}" for place in range(len(segment.keys))]
        select = CELLS_OF_STUBS.format(columns=", ".join(cells))
        rows = reading(select, stored=rows_of(table))
        count = _count(aging, rows)
        if count:
            aging.stripped.append(rows)
            aging.erased.outcome.tell("row_cells", count)
            emptied = ", ".join(
                f"if(profile in (from aged_profile), null, {cell}) as {cell}" for cell in cells
            )
            select = ROWS_WITHOUT_CELLS.format(columns=emptied)
            aging.rewriting.add([Stays(table, select, rows_lost=0)])


def _leave_audiences(aging: PreparedRetention) -> None:
    """Let stubs leave their audiences, and removals wait for the outputs that have them."""
    scratch = aging.erased.scratch
    scratch.make("leaving_audience", LEAVING_AUDIENCES, {"at_ms": aging.erased.now_ms})
    count = scratch.count("leaving_audience")
    if count:
        aging.rewriting.add([Stays("membership_change", CHANGES_WITH_LEAVING, rows_lost=-count)])
    aging.rewriting.add([Stays("audience_outbox", ROWS_OF_NO_STUB)])
    aging.rewriting.add(remove_members(aging.erased, "aged_profile", are_erased=False))


def _take_old_fields(aging: PreparedRetention) -> None:
    """Take from the other fields of batches what goes with a stub, and events that are too old."""
    scratch = aging.erased.scratch
    scratch.load("changed_rest", CHANGED_REST, [])
    for segment in aging.erased.segments:
        if "rest" not in segment.tables:
            continue
        table = f"rest_{segment.number}"
        arrived = rows_of(f"row_{segment.number}")
        scratch.make("aged_field", reading(AGED_FIELDS, field=rows_of(table), arrived=arrived))
        scratch.run(LOSING_FIELDS)
        changed: list[tuple[int, str | None]] = []
        stripped: dict[int, None] = {}
        for arrival, profile, text, stage, is_old in scratch.rows(FIELDS_LOOKED_AT):
            fields = parse_json(text)
            assert isinstance(fields, dict)
            stays = dict(fields)
            if stage == "stub":
                stays = {name: value for name, value in fields.items() if _stub_keeps(aging, name)}
            if is_old and "events" in stays:
                aging.events += len(cast(list[object], stays.pop("events")))
            if stays != fields:
                changed.append((arrival, to_json(stays) if stays else None))
                if stage == "stub":
                    stripped[profile] = None
        if changed:
            scratch.append("changed_rest", CHANGED_REST, changed)
            scratch.append("stripped", PROFILE, [(profile,) for profile in stripped])
            aging.erased.outcome.tell("rest", len(changed))
            aging.rewriting.add([Stays(table, REST_CHANGED)])


def _stub_keeps(aging: PreparedRetention, name: str) -> bool:
    """Return whether a stub keeps a field of a batch."""
    return name not in DEVICE_FIELDS if aging.clocks.lifetime_profiles else name == "events"


def _take_old_events(aging: PreparedRetention) -> None:
    """Take the events of those who go, and those that were received too long ago."""
    scratch = aging.erased.scratch
    scratch.load("old_event", [("arrival", "BIGINT")], [])
    for segment in aging.erased.segments:
        if "event" not in segment.tables:
            continue
        table = f"event_{segment.number}"
        arrived = rows_of(f"row_{segment.number}")
        scratch.make("aged_event", reading(AGED_EVENTS, event=rows_of(table), arrived=arrived))
        scratch.run(LOSING_EVENTS)
        scratch.run(OLD_EVENT_ARRIVALS)
        aging.events += _count(aging, reading(EVENTS_OF_GONE, stored=rows_of(table)))
        count = _count(aging, reading(OLD_EVENTS, stored=rows_of(table)))
        if count:
            aging.events += count
            aging.rewriting.add([Stays(table, EVENTS_NOT_OLD)])


def _remember(aging: PreparedRetention) -> None:
    """Write down the stubs, and forget request ids and batches that are too old."""
    rewriting = aging.rewriting
    aging.stubs = int(aging.erased.scratch.row(STUB_COUNT)[0])
    rewriting.add([Stays("aged", AGED_WITH_STUBS, rows_lost=0)])
    if aging.stubs:
        rewriting.add([Stays("meta", META_WITH_MARK, rows_lost=-1)])
    rewriting.add([Stays("request", REQUESTS_REMEMBERED)])
    if aging.clocks.retention_ms is not None:
        rewriting.add([Stays("outbox", OUTBOX_NOT_OLD)])


def _count(aging: PreparedRetention, rows: str) -> int:
    return count_rows(aging.erased.scratch, rows)
