"""How much a store holds: profiles, identities, attributes, segments, bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from profilectl.files import progress
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.repeated import load_repeated, rows_of_profiles
from profilectl.rules.calculated import NOTHING
from profilectl.rules.feed import ENVIRONMENTS, workspaces_of
from profilectl.rules.identity import BY_NAME, NAME, key_of
from profilectl.rules.sql.identities import ENVIRONMENT_NAME, identity_hash
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.segments import Segment, known_loose, known_mpids
from profilectl.store.statements import reading, rows_of, select, union
from profilectl.store.store import OpenStore

FEW = 5
"""How many of the largest profiles and of the most shared identities are listed."""
ATTRIBUTE_S = 0.5
"""The seconds that an attribute takes (STATS in render/progress/works.py)."""
AT_ONCE = 500
"""How many attributes without a column of their own are counted at once."""

PROFILES_BY_ENVIRONMENT = """
select environment, count(*)
from named
group by environment
"""
# Where no two entries of a type have the same hash, there are as many values as entries; where no
# two have the same profile, as many holders. Only profiles of several rows have a type twice.
IDENTITIES_BY_TYPE = """
select entry.type, entry.entries,
       entry.entries - coalesce(same_value.more, 0),
       entry.entries - coalesce(same_holder.more, 0)
from (select type, count(*) as entries from holding group by type) as entry
left join (
    select type, (count(*) - count(distinct hash)) as more
    from held_again
    group by type
) as same_value on same_value.type = entry.type
left join (
    select type, sum(entries - 1)::bigint as more
    from (
        select type, profile, count(*) as entries
        from holding
        where profile in (select profile from several_rows)
        group by type, profile
    )
    group by type
) as same_holder on same_holder.type = entry.type
order by entry.type
"""
IMPORTS = """
select count(*) filter (undone_ms is null), count(*) filter (undone_ms is not null)
from store.import
"""

PEOPLE_SEEN = "select count(distinct profile) from seen"
SEEN_IN = [("feed", "INTEGER"), ("workspace", "VARCHAR")]
LOOSE_KEYS = "select distinct key from loose"
VALUES = "select * from (select {columns} from stored) where held is not null"
STATED_LOOSE = """
select key, profile, value as held, arrival, feed
from stored
where key in (select unnest($keys::varchar[]))
"""
# The value in force of an attribute for each profile; chr(31) alone is how a deleted one is held.
# Of a profile with one row there is nothing to fold, which halves the time.
CURRENT = """
select key, profile, held, feed
from stated
where held <> chr(31)
  and not exists (select 1 from several_rows where several_rows.profile = stated.profile)
union all
select key, profile, arg_max(held, arrival) as held, arg_max(feed, arrival) as feed
from stated
where profile in (select profile from several_rows)
group by key, profile
having arg_max(held, arrival) <> chr(31)
"""
# The same for each workspace: a value that is in force in any of them counts.
CURRENT_BY_WORKSPACE = """
select key, profile, arg_max(held, arrival) as held, arg_max(feed, arrival) as feed
from stated
join seen_in using (feed)
group by key, profile, workspace
having arg_max(held, arrival) <> chr(31)
"""
COUNTED = """
select counted.key, counted.profiles, counted.held_values, list_sort(list(distinct feed.source))
from (
    select key, {columns} as profiles, count(distinct held) as held_values,
           list(distinct feed::integer) as feeds
    from held_now
    group by key
) as counted
join store.feed as feed on list_contains(counted.feeds, feed.number)
group by counted.key, counted.profiles, counted.held_values
"""
# `-` is no value: computed, with nothing to show (calculated.NOTHING).
CALCULATED = """
select name, count(*), count(distinct held)
from store.calculated
where held <> $nothing
group by name
order by name
"""

LARGEST = """
select named.mpid::varchar, large.rows
from (
    select profile, rows
    from large_profile
    order by rows desc, profile
    limit $few
) as large
join named on named.profile = large.profile
order by large.rows desc, large.profile
"""
MOST_SHARED = """
select type, count(distinct profile) as profiles, min(profile) as profile, to_hex(hash)
from held_again
group by type, hash
having count(distinct profile) > 1
order by profiles desc, profile, type
limit $few
"""
VALUES_OF_PROFILE = "select {columns} from stored where profile = $profile"
PROBE = "select to_hex({columns})"


class _Count(NamedTuple):
    """How an attribute is filled."""

    attribute: str
    """Its name."""
    profiles: int
    """How many profiles have it."""
    values: int
    """How many values it takes."""
    sources: Sequence[str]
    """The sources that its values came from."""

    def as_json(self, total: int) -> dict[str, object]:
        """Return the entry of `attributes`; `total` is the number of profiles."""
        return {
            "attribute": self.attribute,
            "profiles": self.profiles,
            "fill_rate": round(self.profiles / total, 6) if total else 0.0,
            "distinct_values": self.values,
            "sources": self.sources,
        }


def stats_of(store: OpenStore) -> dict[str, object]:
    """Return the document of `stats --json`; its size_bytes are those of the file and its log."""
    scratch = store.scratch
    profiles = profiles_of(store, every=True)
    segments = profiles.segments
    named = known_mpids(segments)
    progress.step("identities")
    environments = dict(scratch.rows(reading(PROFILES_BY_ENVIRONMENT, named=named)))
    load_repeated(scratch, segments, removals=profiles.removals)
    identities = {
        NAME[kind]: {"identities": count, "values": values, "profiles": holders}
        for kind, count, values, holders in scratch.rows(IDENTITIES_BY_TYPE)
    }
    total = sum(environments.values())
    in_force, undone = scratch.row(IMPORTS)
    log = store.path.with_name(store.path.name + ".wal")
    return {
        "profiles": total,
        "environments": {
            ENVIRONMENT_NAME.get(code, ENVIRONMENTS[0]): count
            for code, count in sorted(environments.items())
        },
        "identities": identities,
        "workspace": store.workspace,
        "attributes": _attributes(store, total),
        "largest_profiles": _largest(store),
        "most_shared": _most_shared(store),
        "imports": {"in_force": in_force, "undone": undone},
        "segments": len(segments),
        "rows": sum(segment.rows for segment in segments),
        "size_bytes": store.path.stat().st_size + (log.stat().st_size if log.exists() else 0),
    }


def _attributes(store: OpenStore, total: int) -> list[dict[str, object]]:
    """Return each attribute: how many profiles have it, how many values it takes, and its sources.

    The attributes are those of the workspace that is named, else of all: then what is in force in
    any of them counts. `total` is the number of profiles.
    """
    scratch = store.scratch
    profiles = profiles_of(store, every=store.workspace is None)
    if store.workspace is not None:  # its own people
        total = scratch.row(reading(PEOPLE_SEEN, seen=profiles.seen()))[0]
    several = store.workspace is None and _load_workspaces(store)
    masked = set(store.calculated(store.workspace))
    segments = store.segments()
    wide = {key for segment in segments for key in segment.keys} - masked
    loose_keys = scratch.rows(reading(LOOSE_KEYS, loose=known_loose(segments)))
    loose = {key for (key,) in loose_keys} - masked
    # One attribute at a time, so that memory grows with the profiles and not with all of their
    # values; those without a column, of which there may be thousands, many at a time.
    only_loose = sorted(loose - wide)
    groups = [
        *([key] for key in sorted(wide)),
        *(only_loose[place : place + AT_ONCE] for place in range(0, len(only_loose), AT_ONCE)),
    ]

    def counted(place: int, keys: Sequence[str]) -> list[_Count]:
        progress.part(place, len(groups))
        return _counts(profiles, segments, keys, loose=loose, several=several)

    progress.weigh("attributes", ATTRIBUTE_S * len(groups))
    progress.step("attributes")
    counts = [count for place, keys in enumerate(groups) for count in counted(place, keys)]
    counts += [
        _Count(name, filled, values, sources=["calculated"])
        for name, filled, values in scratch.rows(CALCULATED, {"nothing": NOTHING})
        if name in masked
    ]
    return [count.as_json(total) for count in sorted(counts, key=lambda count: count.attribute)]


def _load_workspaces(store: OpenStore) -> bool:
    """Make `seen_in` (feed, workspace) if there are several workspaces; return if there are."""
    feeds = store.feeds()
    workspaces = workspaces_of(feeds)
    if len(workspaces) < 2:
        return False
    pairs = [
        (feed.number, name) for feed in feeds for name in workspaces if name and feed.seen_in(name)
    ]
    store.scratch.load("seen_in", SEEN_IN, pairs)
    return True


def _counts(
    profiles: Profiles,
    segments: Iterable[Segment],
    keys: Sequence[str],
    *,
    loose: set[str],
    several: bool,
) -> list[_Count]:
    """Return how some attributes are filled.

    `loose` are the attributes that rows have without a column; `several` is whether the store has
    several workspaces, and all of them count.
    """
    feeds = f" where {profiles.feeds}" if profiles.feeds else ""
    parts = []
    for segment in segments:
        stored = rows_of(f"row_{segment.number}") + feeds
        for key in keys:
            column = segment.attribute(key)
            if column:
                columns = f"{quote_text(key)} as key, profile, {column} as held, arrival, feed"
                parts.append(reading(VALUES.format(columns=columns), stored=stored))
    bound = {}
    if not loose.isdisjoint(keys):
        stored = f"select * from ({known_loose(profiles.segments)}){feeds}"
        parts.append(reading(STATED_LOOSE, stored=stored))
        bound = {"keys": list(keys)}
    current = reading(CURRENT_BY_WORKSPACE if several else CURRENT, stated=union(parts))
    counted = COUNTED.format(columns="count(distinct profile)" if several else "count(*)")
    rows = profiles.store.scratch.rows(reading(counted, held_now=current), bound)
    return [_Count(*row) for row in rows]


def _largest(store: OpenStore) -> list[dict[str, object]]:
    """Return the profiles that have the most rows."""
    progress.step("largest")
    segments = store.segments()
    if not segments:
        return []
    large = select("profile, rows", "several_rows")
    if store.scratch.count("several_rows") < FEW:
        large = rows_of_profiles(segments)
    largest = reading(LARGEST, large_profile=large, named=known_mpids(segments))
    return [
        {"mpid": mpid, "rows": count} for mpid, count in store.scratch.rows(largest, {"few": FEW})
    ]


def _most_shared(store: OpenStore) -> list[dict[str, object]]:
    """Return the identities that most profiles hold at once."""
    return [
        {
            "type": NAME[kind],
            "value": _value_with_hash(store, NAME[kind], profile=profile, digest=digest),
            "profiles": count,
        }
        for kind, count, profile, digest in store.scratch.rows(MOST_SHARED, {"few": FEW})
    ]


def _value_with_hash(store: OpenStore, kind: str, *, profile: int, digest: str) -> str | None:
    """Return the value of an identity that has a hash, from the rows of one of its profiles."""
    secret, scratch = store.meta("secret"), store.scratch
    # the environment is part of what is hashed, and that of the profile is not known here
    probes = [
        PROBE.format(columns=identity_hash(secret, quote_text(environment), kind, key="$key"))
        for environment in ENVIRONMENTS
    ]
    select = VALUES_OF_PROFILE.format(columns=f"i_{kind}")
    for segment in store.segments():
        if kind not in segment.identities:
            continue
        stored = rows_of(f"row_{segment.number}")
        for (value,) in scratch.rows(reading(select, stored=stored), {"profile": profile}):
            if value is None:
                continue
            key = {"key": key_of(BY_NAME[kind], value)}
            if any(scratch.row(probe, key)[0] == digest for probe in probes):
                return str(value)
    return None
